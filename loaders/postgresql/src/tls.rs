//! Encrypted connections by rustls: what libpq's `sslmode` promises, with a provider of this connection's own, so that
//! nothing is installed for the whole process.

use std::path::Path;
use std::sync::Arc;

use arrowload_core::{Error, ErrorKind, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{PostgresqlConfig, SslMode};

fn failed(message: String, file: Option<&Path>) -> Error {
    let error = Error::new(ErrorKind::Tls, message);
    file.map_or(error.clone(), |file| error.with("file", file.display()))
}

/// How to encrypt; `None` for `sslmode = disable`.
pub(crate) fn connector(config: &PostgresqlConfig) -> Result<Option<MakeRustlsConnect>> {
    if config.sslmode == SslMode::Disable {
        return Ok(None);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = verifier(config, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string(), None))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let client = match (&config.sslcert, &config.sslkey) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let key_bytes = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| failed(format!("sslkey cannot be read: {error}"), Some(key)))?;
            let built =
                builder.with_client_auth_cert(certificates(certificate, "sslcert")?, key_bytes);
            built.map_err(|error| {
                failed(
                    format!("sslcert and sslkey do not fit: {error}"),
                    Some(certificate),
                )
            })?
        }
        _ => {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "sslcert and sslkey go together: give both, or neither",
            ));
        }
    };
    Ok(Some(MakeRustlsConnect::new(client)))
}

fn certificates(file: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|error| failed(format!("{key} cannot be read: {error}"), Some(file)))
}

fn verifier(
    config: &PostgresqlConfig,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>> {
    let proves = match config.sslmode {
        SslMode::VerifyCa | SslMode::VerifyFull => true,
        // As libpq does, for the sake of old configurations.
        SslMode::Require => config.sslrootcert.is_some(),
        SslMode::Disable | SslMode::Prefer => false,
    };
    if !proves {
        return Ok(Arc::new(Unproved(Arc::clone(provider))));
    }
    let roots = Arc::new(roots(config.sslrootcert.as_deref())?);
    let built = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
    let inner = built.map_err(|error| {
        failed(
            format!("the trusted authorities cannot be used: {error}"),
            config.sslrootcert.as_deref(),
        )
    })?;
    Ok(if config.sslmode == SslMode::VerifyFull {
        inner
    } else {
        Arc::new(AnyName(inner))
    })
}

fn roots(file: Option<&Path>) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    match file.filter(|file| *file != Path::new("system")) {
        Some(file) => {
            for certificate in certificates(file, "sslrootcert")? {
                let added = store.add(certificate);
                added.map_err(|error| {
                    failed(
                        format!("sslrootcert has a certificate that cannot be used: {error}"),
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
            "there is no trusted authority to prove the server with; set sslrootcert".into(),
            file,
        ));
    }
    Ok(store)
}

/// `prefer` and `require`: encrypted, with whoever answers.
#[derive(Debug)]
struct Unproved(Arc<CryptoProvider>);

impl ServerCertVerifier for Unproved {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// `verify-ca`: a certificate of a trusted authority, for any host.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self
            .0
            .verify_server_cert(certificate, chain, name, ocsp, now)
        {
            // The name is looked at last, when everything else has been found good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
