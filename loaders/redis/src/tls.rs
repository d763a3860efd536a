//! Encrypted connections by rustls, with a provider of this connection's own, so that nothing is installed for the whole
//! process. The server is always proved.

use std::path::Path;
use std::sync::Arc;

use arrowload_core::{Error, ErrorKind, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::RedisConfig;

fn failed(message: String, file: Option<&Path>) -> Error {
    let error = Error::new(ErrorKind::Tls, message);
    file.map_or(error.clone(), |file| error.with("file", file.display()))
}

/// How to encrypt; `None` for `tls = false`.
pub(crate) fn connector(config: &RedisConfig) -> Result<Option<TlsConnector>> {
    if !config.tls {
        if config.tls_ca.is_some() || config.tls_cert.is_some() || config.tls_key.is_some() {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "tls_ca, tls_cert and tls_key need tls = true, or a URL of rediss://",
            ));
        }
        return Ok(None);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string(), None))?
        .with_root_certificates(roots(config.tls_ca.as_deref())?);
    let client = match (&config.tls_cert, &config.tls_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| failed(format!("tls_key cannot be read: {error}"), Some(key)))?;
            let built =
                builder.with_client_auth_cert(certificates(certificate, "tls_cert")?, private);
            built.map_err(|error| {
                failed(
                    format!("tls_cert and tls_key do not fit: {error}"),
                    Some(certificate),
                )
            })?
        }
        _ => {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "tls_cert and tls_key go together: give both, or neither",
            ));
        }
    };
    Ok(Some(TlsConnector::from(Arc::new(client))))
}

fn certificates(file: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|error| failed(format!("{key} cannot be read: {error}"), Some(file)))
}

fn roots(file: Option<&Path>) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    match file {
        Some(file) => {
            for certificate in certificates(file, "tls_ca")? {
                let added = store.add(certificate);
                added.map_err(|error| {
                    failed(
                        format!("tls_ca has a certificate that cannot be used: {error}"),
                        Some(file),
                    )
                })?;
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if store.is_empty() {
        return Err(failed(
            "there is no trusted authority to prove the server with; set tls_ca".into(),
            file,
        ));
    }
    Ok(store)
}
