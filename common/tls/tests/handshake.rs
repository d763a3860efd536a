//! Handshakes in memory, with certificates of an authority made here.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on says so and ends"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrowload_common_tls::{KeyNames, TlsClient, Verify, server_name};
use arrowload_core::{Error, ErrorKind, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use tempfile::TempDir;

/// A server for `localhost`, and the files that clients need: `ca`, `other` (a stranger), `empty`.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().expect("a folder"));
        for name in ["ca", "other"] {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let authority = params.self_signed(&key).expect("signed").pem();
            files.write(&format!("{name}.pem"), &authority);
            let issuer = Issuer::new(params, key);
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
            let signed = params.signed_by(&key, &issuer).expect("signed").pem();
            files.write(&format!("{name}.cert.pem"), &signed);
            files.write(&format!("{name}.key.pem"), &key.serialize_pem());
        }
        files.write("empty.pem", "");
        files
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The server, which asks for a certificate of its authority if `asks`.
    fn server(&self, asks: bool) -> ServerConnection {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain: Vec<_> = CertificateDer::pem_file_iter(self.path("ca.cert.pem"))
            .and_then(Iterator::collect)
            .expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(self.path("ca.key.pem")).expect("a key");
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.path("ca.pem")).expect("an authority");
        roots.add(ca).expect("added");
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = match asks {
            false => builder.with_no_client_auth(),
            true => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .expect("a verifier"),
            ),
        };
        let config = builder.with_single_cert(chain, key).expect("a server");
        ServerConnection::new(Arc::new(config)).expect("a server")
    }

    fn client<'a>(&self, ca: Option<&'a Path>, verify: Verify) -> TlsClient<'a> {
        TlsClient {
            names: KeyNames::USUAL,
            ca,
            cert: None,
            key: None,
            verify,
        }
    }

    /// Whether client and server agree, each on the other.
    fn agree(&self, client: TlsClient<'_>, host: &str, asks: bool) -> bool {
        let config = Arc::new(client.config().expect("a configuration"));
        let name = server_name(host).expect("a name");
        let mut client = ClientConnection::new(config, name).expect("a client");
        let mut server = self.server(asks);
        let mut bytes = Vec::new();
        while client.is_handshaking() || server.is_handshaking() || client.wants_write() {
            bytes.clear();
            client.write_tls(&mut bytes).expect("sent");
            server.read_tls(&mut bytes.as_slice()).expect("arrived");
            if server.process_new_packets().is_err() {
                return false;
            }
            bytes.clear();
            server.write_tls(&mut bytes).expect("sent");
            client.read_tls(&mut bytes.as_slice()).expect("arrived");
            if client.process_new_packets().is_err() {
                return false;
            }
        }
        true
    }
}

#[test]
fn the_server_is_verified_as_far_as_the_level_says() {
    let files = Files::new();
    let (ca, other) = (files.path("ca.pem"), files.path("other.pem"));
    let (ca, other) = (Some(ca.as_path()), Some(other.as_path()));
    for (verify, ca, host, expected) in [
        (Verify::Full, ca, "localhost", true),
        (Verify::Full, ca, "127.0.0.1", false),
        (Verify::Full, ca, "elsewhere.example", false),
        (Verify::Full, other, "localhost", false),
        (Verify::Full, None, "localhost", false),
        (Verify::Authority, ca, "localhost", true),
        (Verify::Authority, ca, "127.0.0.1", true),
        (Verify::Authority, ca, "elsewhere.example", true),
        (Verify::Authority, other, "localhost", false),
        (Verify::Nothing, other, "elsewhere.example", true),
        (Verify::Nothing, None, "localhost", true),
    ] {
        // A system without authorities refuses before the handshake.
        let client = files.client(ca, verify);
        let agreed = client.config().is_ok() && files.agree(client, host, false);
        assert_eq!(agreed, expected, "{verify:?} {ca:?} {host}");
    }
}

#[test]
fn the_client_shows_its_certificate() {
    let files = Files::new();
    let (cert, key) = (files.path("ca.cert.pem"), files.path("ca.key.pem"));
    let (stranger, strange_key) = (files.path("other.cert.pem"), files.path("other.key.pem"));
    let without = files.client(None, Verify::Nothing);
    let with = |cert, key| TlsClient {
        cert: Some(cert),
        key: Some(key),
        ..without
    };
    assert!(files.agree(with(&cert, &key), "localhost", true));
    assert!(!files.agree(with(&stranger, &strange_key), "localhost", true));
    assert!(!files.agree(without, "localhost", true));
}

#[test]
fn errors_name_the_key_and_the_file() {
    let files = Files::new();
    let [ca, cert, key, other_key, empty, none] = [
        "ca.pem",
        "ca.cert.pem",
        "ca.key.pem",
        "other.key.pem",
        "empty.pem",
        "none.pem",
    ]
    .map(|name| files.path(name));
    let try_files = |[ca, cert, key]: [Option<&Path>; 3]| -> Result<()> {
        let client = TlsClient {
            names: KeyNames {
                ca: "sslrootcert",
                cert: "sslcert",
                key: "sslkey",
            },
            ca,
            cert,
            key,
            verify: Verify::Full,
        };
        client.config().map(|_| ())
    };
    try_files([Some(&ca), Some(&cert), Some(&key)]).expect("good files");
    let (kept, lost) = (ErrorKind::InvalidOption, ErrorKind::Tls);
    for (paths, kind, word) in [
        ([Some(&none), None, None], lost, "sslrootcert"),
        ([Some(&empty), None, None], lost, "sslrootcert"),
        ([Some(&key), None, None], lost, "sslrootcert"),
        ([Some(&ca), Some(&cert), None], kept, "sslkey"),
        ([Some(&ca), None, Some(&key)], kept, "sslcert"),
        ([Some(&ca), Some(&none), Some(&key)], lost, "sslcert"),
        ([Some(&ca), Some(&cert), Some(&none)], lost, "sslkey"),
        ([Some(&ca), Some(&cert), Some(&empty)], lost, "sslkey"),
        ([Some(&ca), Some(&empty), Some(&key)], lost, "sslcert"),
        ([Some(&ca), Some(&cert), Some(&other_key)], lost, "sslkey"),
    ] {
        let paths = paths.map(|path| path.map(PathBuf::as_path));
        let error: Error = try_files(paths).expect_err(word);
        assert_eq!(error.kind(), kind, "{paths:?}: {error}");
        assert!(error.message().contains(word), "{paths:?}: {error}");
        assert_eq!(error.get("file").is_some(), kind == lost, "{error:?}");
    }
    let error = server_name("no host").expect_err("no host");
    assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
}
