#![doc = include_str!("../README.md")]

mod verifier;

use std::path::Path;
use std::sync::Arc;

use arrowload_core::{Error, ErrorKind, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// How far the server's certificate is verified, in the words of PostgreSQL's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Not at all: encrypted, with whoever answers (`prefer`, `require`).
    Nothing,
    /// It is signed by a trusted authority, for any host (`verify-ca`).
    Authority,
    /// It is signed by a trusted authority, for this host (`verify-full`).
    Full,
}

/// What a connection calls the keys that name its PEM files.
#[derive(Debug, Clone, Copy)]
pub struct KeyNames {
    /// The key of [`TlsClient::ca`].
    pub ca: &'static str,
    /// The key of [`TlsClient::cert`].
    pub cert: &'static str,
    /// The key of [`TlsClient::key`].
    pub key: &'static str,
}

impl KeyNames {
    /// The names of connections that have no older names to keep.
    pub const USUAL: Self = Self {
        ca: "tls_ca",
        cert: "tls_cert",
        key: "tls_key",
    };
}

/// What a connection says of encryption.
#[derive(Debug, Clone, Copy)]
pub struct TlsClient<'a> {
    /// The keys that errors name.
    pub names: KeyNames,
    /// A PEM file with the trusted authorities; those of the operating system by default.
    pub ca: Option<&'a Path>,
    /// A PEM file with the client's certificate and those of the authorities between; goes with `key`.
    pub cert: Option<&'a Path>,
    /// A PEM file with the private key of the client's certificate; goes with `cert`.
    pub key: Option<&'a Path>,
    /// How far the server is verified. [`Verify::Nothing`] does not read `ca`.
    pub verify: Verify,
}

impl TlsClient<'_> {
    /// Checks what can be checked without reading a file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a certificate without its key, or a key without its certificate.
    pub fn check(&self) -> Result<()> {
        if self.cert.is_some() == self.key.is_some() {
            return Ok(());
        }
        let KeyNames { cert, key, .. } = self.names;
        Err(Error::new(
            ErrorKind::InvalidOption,
            format!("{cert} and {key} go together: give both, or neither"),
        ))
    }

    /// Reads the files. No protocol is set for ALPN.
    ///
    /// # Errors
    /// Those of [`check`](Self::check); [`ErrorKind::Tls`] with the file, for a file that cannot be read or used.
    pub fn config(&self) -> Result<ClientConfig> {
        self.check()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string(), None))?;
        let builder = match self.verify {
            Verify::Full => builder.with_root_certificates(self.roots()?),
            Verify::Authority => {
                let verifier = verifier::any_host(provider, self.roots()?);
                let message = |error| {
                    failed(
                        format!("{} cannot be used: {error}", self.names.ca),
                        self.ca,
                    )
                };
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(verifier.map_err(message)?)
            }
            Verify::Nothing => builder
                .dangerous()
                .with_custom_certificate_verifier(verifier::anybody(provider)),
        };
        let (Some(cert), Some(key)) = (self.cert, self.key) else {
            return Ok(builder.with_no_client_auth());
        };
        let names = self.names;
        let private = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| failed(format!("{} cannot be read: {error}", names.key), Some(key)))?;
        let built = builder.with_client_auth_cert(certificates(cert, names.cert)?, private);
        built.map_err(|error| {
            let message = format!("{} and {} do not fit: {error}", names.cert, names.key);
            failed(message, Some(cert))
        })
    }

    /// The trusted authorities.
    fn roots(&self) -> Result<RootCertStore> {
        let (mut store, name) = (RootCertStore::empty(), self.names.ca);
        let Some(file) = self.ca else {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            if store.is_empty() {
                let why = found.errors.first().map(|error| format!(" ({error})"));
                let why = why.unwrap_or_default();
                let message = format!("this system trusts no authority{why}; set {name}");
                return Err(failed(message, None));
            }
            return Ok(store);
        };
        for certificate in certificates(file, name)? {
            store.add(certificate).map_err(|error| {
                let message = format!("{name} has a certificate that cannot be used: {error}");
                failed(message, Some(file))
            })?;
        }
        if store.is_empty() {
            return Err(failed(format!("{name} has no certificate"), Some(file)));
        }
        Ok(store)
    }
}

/// The name that the server's certificate has to be for: a host name or an IP address.
///
/// # Errors
/// [`ErrorKind::InvalidOption`] if no certificate can be for it.
pub fn server_name(host: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(|error| {
        let message = format!("no certificate can be for the host `{host}`: {error}");
        Error::new(ErrorKind::InvalidOption, message)
    })
}

fn failed(message: String, file: Option<&Path>) -> Error {
    let error = Error::new(ErrorKind::Tls, message);
    match file {
        Some(file) => error.with("file", file.display()),
        None => error,
    }
}

fn certificates(file: &Path, name: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|error| failed(format!("{name} cannot be read: {error}"), Some(file)))
}
