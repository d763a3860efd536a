//! Configuration as it stands in other tools, TLS, and what does not go together.

use arrowload_core::{ErrorKind, Loader, Mode, Settings, load};
use arrowload_testkit::ThrowawayRedis;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::support::{Database, descriptor, integers, once, settings, spec, table};

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_as_it_stands_is_taken() {
    let Some(database) = Database::new() else {
        return;
    };
    let Some(port) = database.server.port() else {
        return;
    };
    let text = json!({
        "host": "localhost", "port": port, "db": database.number, "password": null,
        "data_structure": "hash", "key_pattern": "{table}:{id}", "batch_size": 1000, "ttl": 3600
    });
    let Value::Object(map) = text else {
        panic!("an object")
    };
    let (split, common) = descriptor()
        .split(Settings::from_map(map, "the test"))
        .expect("known keys");
    let loader = Loader::connect(&descriptor(), &split.config, 0)
        .await
        .expect("connected");
    let mut spec = arrowload_core::LoadSpec::new("t");
    (spec.load, spec.options) = (common, split.options);
    assert_eq!(spec.load.batch_size, Some(1000));
    load(&loader, &spec, &once(&table(vec![("id", integers([5]))])))
        .await
        .expect("loaded");
    assert_eq!(
        (database.hash("t:5"), database.cli(&["TTL", "t:5"])),
        (vec!["id=5".into()], "3600".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_do_not_go_together_are_refused_before_the_first_row() {
    let Some(database) = Database::new() else {
        return;
    };
    let batch = table(vec![("id", integers([1]))]);
    let cases = [
        json!({ "key_pattern": "{table}" }),
        json!({ "key_pattern": "{table}:{nobody}" }),
        json!({ "key_pattern": "{table}:{id}", "ttl": 0 }),
        json!({ "key_pattern": "{table}:{id}", "ttl_column": "nobody" }),
        json!({ "data_structure": "sorted_set" }),
        json!({ "data_structure": "geo", "longitude_column": "id" }),
        json!({ "data_structure": "list", "if_not_exists": true }),
        json!({ "data_structure": "list", "maxlen": 5 }),
        json!({ "data_structure": "stream", "maxlen": 5, "minid": "1-0" }),
        json!({ "data_structure": "hash", "encoding": "msgpack" }),
        json!({ "data_structure": "timeseries", "duplicate_policy": "sum" }),
        json!({ "key_pattern": "{table}:{id}", "pipeline_bytes": 1 }),
        json!({ "key_pattern": "{table}:{id}", "overwrite": "generation" }),
        json!({ "key_pattern": "{table}:{id}", "index": "i" }),
        json!({ "key_pattern": "{table}:{id}", "no_such": 1 }),
    ];
    for options in cases {
        let error = database
            .load("t", Mode::Append, options.clone(), &batch)
            .await
            .expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidOption, "{options}: {error}");
    }
    let error = database
        .load(
            "t",
            Mode::Upsert,
            json!({ "data_structure": "list", "keys": ["id"] }),
            &batch,
        )
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = database
        .load("arrowload:x", Mode::Append, json!({}), &batch)
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert_eq!(database.cli(&["KEYS", "*"]), "");
    for url in [
        "redis://h?cluster=true&sentinel_master=m",
        "redis://h/1?cluster=true",
        "redis://a,b",
        "redis://h?protocol=4",
        "redis://h?tls_ca=x",
    ] {
        let error = Loader::connect(&descriptor(), &settings(url), 0)
            .await
            .expect_err("refused");
        assert!(
            matches!(
                error.kind(),
                ErrorKind::InvalidOption | ErrorKind::Connection
            ),
            "{url}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_connection_proves_the_server() {
    if ThrowawayRedis::available().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let authority = |name: &str| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("an authority").pem();
        (pem, Issuer::new(params, key))
    };
    let ((ours_pem, ours), (other_pem, _)) =
        (authority("arrowload test authority"), authority("another"));
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .expect("a name")
        .signed_by(&key, &ours)
        .expect("a certificate");
    let (ca, wrong_ca) = (write("ca.pem", ours_pem), write("other.pem", other_pem));
    let (certificate, key) = (
        write("server.pem", certificate.pem()),
        write("server.key", key.serialize_pem()),
    );
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port")
        .port();
    let lines = [
        format!("tls-port {port}"),
        format!("tls-cert-file {certificate}"),
        format!("tls-key-file {key}"),
        format!("tls-ca-cert-file {ca}"),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let server = match ThrowawayRedis::start(&lines) {
        Ok(server) => server,
        // Built without TLS.
        Err(why) => return arrowload_testkit::skip("redis_tls", &why),
    };
    // The server's name is proved, and so is who signed it; a client of its own has a certificate too.
    let with = |host: &str, ca: &str| {
        format!("rediss://{host}:{port}?tls_ca={ca}&tls_cert={certificate}&tls_key={key}")
    };
    let loader = Loader::connect(&descriptor(), &settings(&with("localhost", &ca)), 0)
        .await
        .expect("connected");
    let batch = table(vec![("id", integers(0..1_000))]);
    load(
        &loader,
        &spec(
            "t",
            Mode::Append,
            json!({ "key_pattern": "{table}:{id}", "pipeline_bytes": 2048 }),
        ),
        &once(&batch),
    )
    .await
    .expect("loaded");
    assert_eq!(
        server.cli(&["HGET", "t:999", "id"]).expect("redis-cli"),
        "999"
    );
    for url in [with("localhost", &wrong_ca), with("127.0.0.1", &ca)] {
        let error = Loader::connect(&descriptor(), &settings(&url), 0)
            .await
            .expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    }
    // A server that is not encrypted waits for the rest of what it takes for a command.
    let plain = format!(
        "rediss://localhost:{}?tls_ca={ca}&connect_timeout=1",
        server.port().expect("a port")
    );
    let error = Loader::connect(&descriptor(), &settings(&plain), 0)
        .await
        .expect_err("refused");
    assert!(
        error.kind() == ErrorKind::Timeout && error.to_string().contains("tls"),
        "{error}"
    );
}
