//! Encrypted connections by rustls, with a provider of this connection's own: tonic would take the process's, and panic
//! where another crate has linked a second one.

use std::path::Path;
use std::sync::Arc;

use arrowload_core::{Error, ErrorKind, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::FlightSqlConfig;

/// Encrypts a connection, and proves the server.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: TlsConnector,
    name: ServerName<'static>,
}

impl Connector {
    pub(crate) async fn connect(self, tcp: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.tls.connect(self.name, tcp).await
    }
}

fn failed(message: String, file: Option<&Path>) -> Error {
    let error = Error::new(ErrorKind::Tls, message);
    file.map_or(error.clone(), |file| error.with("file", file.display()))
}

/// How to connect to a host, as the connection says, to speak a protocol.
pub(crate) fn connector(
    config: &FlightSqlConfig,
    host: &str,
    protocol: &[u8],
) -> Result<Connector> {
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string(), None))?
            .with_root_certificates(roots(config)?);
    let mut client = match (&config.tls_cert, &config.tls_key) {
        (Some(certificate), Some(key)) => {
            let key_bytes = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| failed(format!("tls_key cannot be read: {error}"), Some(key)))?;
            let built =
                builder.with_client_auth_cert(certificates(certificate, "tls_cert")?, key_bytes);
            built.map_err(|error| {
                failed(
                    format!("tls_cert and tls_key do not fit: {error}"),
                    Some(certificate),
                )
            })?
        }
        _ => builder.with_no_client_auth(),
    };
    client.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        failed(
            format!("`{host}` is no name that a certificate can have"),
            None,
        )
    })?;
    Ok(Connector {
        tls: TlsConnector::from(Arc::new(client)),
        name,
    })
}

fn certificates(file: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|error| failed(format!("{key} cannot be read: {error}"), Some(file)))
}

fn roots(config: &FlightSqlConfig) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match &config.tls_ca {
        Some(file) => {
            for certificate in certificates(file, "tls_ca")? {
                roots.add(certificate).map_err(|error| {
                    failed(
                        format!("tls_ca has a malformed certificate: {error}"),
                        Some(file),
                    )
                })?;
            }
            if roots.is_empty() {
                return Err(failed("tls_ca has no certificate".into(), Some(file)));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(failed(
                    "this system trusts no authority; give tls_ca the file of one".into(),
                    None,
                ));
            }
        }
    }
    Ok(roots)
}
