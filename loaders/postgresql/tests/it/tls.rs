//! Who the server is, and who we are: encrypted connections with certificates of an authority made here, passwords, password
//! files, sockets, several hosts.

use std::path::{Path, PathBuf};

use arrowload_core::{Error, ErrorKind, Loader, Mode, Settings, load};
use arrowload_testkit::{PostgresPrograms, PostgresSetup, ThrowawayPostgres};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use tempfile::TempDir;

use crate::support::{descriptor, input, people, spec};

/// An authority, which signs certificates.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("signed").pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate and its key.
    fn signs(
        &self,
        mut params: CertificateParams,
        common_name: &str,
        purpose: ExtendedKeyUsagePurpose,
    ) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.extended_key_usages.push(purpose);
        (
            params.signed_by(&key, &self.issuer).expect("signed").pem(),
            key.serialize_pem(),
        )
    }

    fn server(&self, host: &str) -> (String, String) {
        self.signs(
            CertificateParams::new([host.to_owned()]).expect("a name"),
            host,
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    fn client(&self, user: &str) -> (String, String) {
        self.signs(
            CertificateParams::default(),
            user,
            ExtendedKeyUsagePurpose::ClientAuth,
        )
    }
}

/// A server with a certificate for `localhost`, and the files that clients need.
struct Guarded {
    server: ThrowawayPostgres,
    files: TempDir,
}

/// Who may come in, and how.
const HBA: &str = "local all postgres trust
local all all scram-sha-256
hostnossl plain all 127.0.0.1/32 trust
hostssl certificates all 127.0.0.1/32 cert
hostssl all all 127.0.0.1/32 scram-sha-256
";

impl Guarded {
    fn start() -> Option<Self> {
        let Some(programs) = PostgresPrograms::find()
            .into_iter()
            .find(PostgresPrograms::has_tls)
        else {
            arrowload_testkit::skip(
                "postgresql_tls",
                "no PostgreSQL that is here was built to encrypt connections",
            );
            return None;
        };
        let (trusted, other) = (Authority::new("trusted"), Authority::new("other"));
        let (certificate, key) = trusted.server("localhost");
        let files = tempfile::tempdir().expect("a folder");
        let (alice, alice_key) = trusted.client("alice");
        let (stranger, stranger_key) = other.client("alice");
        let texts = [
            ("ca.pem", &trusted.pem),
            ("other.pem", &other.pem),
            ("alice.pem", &alice),
            ("alice.key", &alice_key),
            ("stranger.pem", &stranger),
            ("stranger.key", &stranger_key),
        ];
        for (name, text) in texts {
            std::fs::write(files.path().join(name), text).expect("written");
        }
        let setup = PostgresSetup::new()
            .programs(programs)
            .hba(HBA)
            .file("server.pem", certificate)
            .file("server.key", key);
        let setup = setup
            .file("ca.pem", trusted.pem.clone())
            .setting("ssl", "on")
            .setting("ssl_cert_file", "server.pem");
        let setup = setup
            .setting("ssl_key_file", "server.key")
            .setting("ssl_ca_file", "ca.pem");
        let server = ThrowawayPostgres::start(&setup).expect("started");
        for sql in [
            "CREATE ROLE alice SUPERUSER LOGIN PASSWORD 'hunter2'",
            "CREATE DATABASE plain",
            "CREATE DATABASE certificates",
        ] {
            server.psql("postgres", sql).expect("set up");
        }
        Some(Self { server, files })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A connection as Alice, with these keys; `ca.pem` and the like stand for the files.
    fn settings(&self, keys: &[(&str, &str)]) -> Settings {
        let port = self.server.port().expect("a port").to_string();
        let mut settings = Settings::new();
        let usual = [
            ("host", "localhost"),
            ("port", port.as_str()),
            ("user", "alice"),
            ("password", "hunter2"),
            ("database", "postgres"),
        ];
        for (key, value) in usual.iter().chain(keys) {
            let path = self.file(value);
            let value = if path.is_file() {
                path.display().to_string()
            } else {
                (*value).to_owned()
            };
            settings.set(*key, value, "the test");
        }
        settings
    }

    async fn connect(&self, keys: &[(&str, &str)]) -> Result<Loader, Error> {
        Loader::connect(&descriptor(), &self.settings(keys), 0).await
    }

    /// Whether a connection with these keys is encrypted, as the server sees it; a load goes through it first.
    async fn encrypted(&self, keys: &[(&str, &str)]) -> bool {
        let loader = self
            .connect(keys)
            .await
            .unwrap_or_else(|error| panic!("{keys:?}: {error:?}"));
        let mut load_spec = spec("t", Mode::Append);
        load_spec.load.load_id = None;
        load(&loader, &load_spec, &input(&[people(0..2000, "a")]))
            .await
            .unwrap_or_else(|error| panic!("{keys:?}: {error:?}"));
        let sql = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'arrowload'";
        let seen = self.server.psql("postgres", sql).expect("asked");
        drop(loader);
        for _ in 0..200 {
            if self.server.psql("postgres", sql).expect("asked").is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert!(["t", "f"].contains(&seen.as_str()), "{keys:?}: {seen:?}");
        seen == "t"
    }

    async fn refused(&self, keys: &[(&str, &str)], kind: ErrorKind, words: &str) {
        let error = self.connect(keys).await.expect_err(words);
        assert_eq!(error.kind(), kind, "{keys:?}: {error:?}");
        let text = format!("{error:#}");
        assert!(text.contains(words), "{keys:?}: {text}");
        assert!(
            !format!("{error:?} {text}").contains("hunter"),
            "{keys:?}: {error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sslmode_means_what_it_means_to_libpq() {
    let Some(guarded) = Guarded::start() else {
        return;
    };
    assert!(
        !guarded
            .encrypted(&[("sslmode", "disable"), ("database", "plain")])
            .await
    );
    for keys in [
        [("sslmode", "prefer"), ("host", "127.0.0.1")].as_slice(),
        &[("sslmode", "require"), ("host", "127.0.0.1")],
        &[
            ("sslmode", "require"),
            ("host", "127.0.0.1"),
            ("sslrootcert", "ca.pem"),
        ],
        &[
            ("sslmode", "verify-ca"),
            ("host", "127.0.0.1"),
            ("sslrootcert", "ca.pem"),
        ],
        &[("sslmode", "verify-full"), ("sslrootcert", "ca.pem")],
        // A bare `prefer` comes as far as it can, and an authority does not make it prove anything.
        &[("sslrootcert", "other.pem")],
    ] {
        assert!(guarded.encrypted(keys).await, "{keys:?}");
    }
    // No line of the server's lets an unencrypted connection in.
    guarded
        .refused(
            &[("sslmode", "disable")],
            ErrorKind::Authentication,
            "pg_hba.conf",
        )
        .await;
    for mode in ["require", "verify-ca", "verify-full"] {
        guarded
            .refused(
                &[("sslmode", mode), ("sslrootcert", "other.pem")],
                ErrorKind::Tls,
                "sslrootcert",
            )
            .await;
    }
    for mode in ["verify-ca", "verify-full"] {
        // The operating system's authorities did not sign it.
        guarded
            .refused(&[("sslmode", mode)], ErrorKind::Tls, "sslrootcert")
            .await;
        guarded
            .refused(
                &[("sslmode", mode), ("sslrootcert", "system")],
                ErrorKind::Tls,
                "sslrootcert",
            )
            .await;
    }
    let other_name = [
        ("sslmode", "verify-full"),
        ("sslrootcert", "ca.pem"),
        ("host", "127.0.0.1"),
    ];
    guarded
        .refused(&other_name, ErrorKind::Tls, "127.0.0.1")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_proves_itself_by_its_certificate() {
    let Some(guarded) = Guarded::start() else {
        return;
    };
    let database = ("database", "certificates");
    assert!(
        guarded
            .encrypted(&[database, ("sslcert", "alice.pem"), ("sslkey", "alice.key")])
            .await
    );
    let full = [
        database,
        ("sslmode", "verify-full"),
        ("sslrootcert", "ca.pem"),
        ("sslcert", "alice.pem"),
        ("sslkey", "alice.key"),
    ];
    assert!(guarded.encrypted(&full).await);
    guarded
        .refused(&[database], ErrorKind::Authentication, "certificate")
        .await;
    // The server does not know the authority.
    let stranger = [
        database,
        ("sslmode", "require"),
        ("sslcert", "stranger.pem"),
        ("sslkey", "stranger.key"),
    ];
    guarded.refused(&stranger, ErrorKind::Tls, "sslcert").await;
    // The certificate is another's.
    let bob = [
        database,
        ("user", "bob"),
        ("sslmode", "require"),
        ("sslcert", "alice.pem"),
        ("sslkey", "alice.key"),
    ];
    guarded
        .refused(&bob, ErrorKind::Authentication, "bob")
        .await;
    guarded
        .refused(
            &[("sslcert", "alice.pem")],
            ErrorKind::InvalidOption,
            "sslkey",
        )
        .await;
    guarded
        .refused(
            &[("sslcert", "alice.pem"), ("sslkey", "stranger.key")],
            ErrorKind::Tls,
            "sslkey",
        )
        .await;
    guarded
        .refused(
            &[("sslcert", "alice.key"), ("sslkey", "alice.pem")],
            ErrorKind::Tls,
            "sslkey",
        )
        .await;
    guarded
        .refused(
            &[("sslcert", "none.pem"), ("sslkey", "alice.key")],
            ErrorKind::Tls,
            "sslcert",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_come_from_keys_or_the_password_file() {
    let Some(guarded) = Guarded::start() else {
        return;
    };
    guarded
        .refused(
            &[("password", "hunter3")],
            ErrorKind::Authentication,
            "check user, password",
        )
        .await;
    guarded
        .refused(
            &[("user", "nobody_here")],
            ErrorKind::Authentication,
            "nobody_here",
        )
        .await;
    let port = guarded.server.port().expect("a port");
    let passfile = |text: &str, mode: u32| {
        let path = guarded.file("pgpass");
        std::fs::write(&path, text).expect("written");
        permit(&path, mode);
    };
    let without = |extra: &[(&str, &str)]| {
        let mut settings = guarded.settings(&[&[("passfile", "pgpass")], extra].concat());
        settings.remove("password");
        settings
    };
    passfile(
        &format!(
            "# a comment\nlocalhost:1:*:alice:wrong\n*:{port}:postgres:bob:wrong\nlocalhost:{port}:*:alice:hunter2\n"
        ),
        0o600,
    );
    Loader::connect(&descriptor(), &without(&[]), 0)
        .await
        .expect("connected");
    // A file that others may read is not used.
    permit(&guarded.file("pgpass"), 0o644);
    let error = Loader::connect(&descriptor(), &without(&[]), 0)
        .await
        .expect_err("no password");
    assert!(
        error.kind() == ErrorKind::Authentication && error.to_string().contains("password"),
        "{error:?}"
    );
    passfile("*:*:*:*:hunter3\n", 0o600);
    let error = Loader::connect(&descriptor(), &without(&[]), 0)
        .await
        .expect_err("a wrong password");
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error:?}");
    assert!(!format!("{error:?}").contains("hunter3"), "{error:?}");
}

#[cfg(unix)]
fn permit(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permitted");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn sockets_and_several_hosts_are_tried_in_turn() {
    let Some(guarded) = Guarded::start() else {
        return;
    };
    let port = guarded.server.port().expect("a port");
    let socket = guarded
        .server
        .folder()
        .expect("a folder")
        .display()
        .to_string();
    assert!(
        !guarded
            .encrypted(&[("host", &socket), ("sslmode", "prefer")])
            .await
    );
    assert!(
        !guarded
            .encrypted(&[("host", &socket), ("sslmode", "disable")])
            .await
    );
    let url = format!("postgresql://alice:hunter2@/postgres?host={socket}&port={port}");
    let keys = descriptor().config_from_url(&url).expect("a URL");
    Loader::connect(&descriptor(), &Settings::from_map(keys, "the test"), 0)
        .await
        .expect("connected");
    // Nobody listens at port 1, nor in that folder.
    for host in ["localhost,localhost", "/no/such/folder,localhost"] {
        let ports = format!("1,{port}");
        assert!(
            guarded.encrypted(&[("host", host), ("port", &ports)]).await,
            "{host}"
        );
    }
    guarded
        .refused(
            &[("host", "localhost,127.0.0.1"), ("port", "1,2")],
            ErrorKind::Connection,
            "127.0.0.1:2",
        )
        .await;
    guarded
        .refused(
            &[("host", "no-such-host.invalid")],
            ErrorKind::Connection,
            "no-such-host.invalid",
        )
        .await;
    guarded
        .refused(
            &[("host", "a,b,c"), ("port", "1,2")],
            ErrorKind::InvalidOption,
            "3 hosts and 2 ports",
        )
        .await;
}
