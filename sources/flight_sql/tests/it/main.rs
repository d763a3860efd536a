//! The source against a server that does what it should, and one that does not.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so and ends"
)]

mod depth;
mod oauth;
mod servers;
mod sqlite;

use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrowload_core::{DataSource, Error, ErrorKind, Param, Params, Query, Result, Settings};
use arrowload_flight_sql::FlightSqlSource;
use arrowload_testkit::{AnnouncedSchema, ExpiredTickets, FlightSqlBehaviour, ThrowawayFlightSql};
use futures::TryStreamExt;

const NUMBERS: &str =
    "SELECT value AS id, CAST(value AS VARCHAR) AS name FROM generate_series(1, 1000)";

async fn source(url: &str) -> Result<FlightSqlSource> {
    let keys = FlightSqlSource::config_from_url(url)?;
    FlightSqlSource::connect(Settings::from_map(keys, "the test").parse("flight_sql")?).await
}

async fn rows(source: &FlightSqlSource, query: &Query) -> Result<Vec<RecordBatch>> {
    source.query(query).await?.try_collect().await
}

fn ids(batches: &[RecordBatch]) -> Vec<i64> {
    batches
        .iter()
        .flat_map(|batch| {
            batch
                .column(0)
                .as_primitive::<Int64Type>()
                .values()
                .to_vec()
        })
        .collect()
}

/// Waits until the server was told to cancel.
async fn assert_cancelled(server: &ThrowawayFlightSql) {
    for _ in 0..100 {
        if server.was_told("CancelFlightInfo") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server was not told to cancel");
}

/// Runs a query against a server that behaves so, and answers with its error, which must come soon.
async fn fails(behaviour: FlightSqlBehaviour, keys: &str) -> Error {
    let server = ThrowawayFlightSql::start(behaviour).await;
    let began = Instant::now();
    let outcome = async {
        rows(
            &source(&format!("{}{keys}", server.url())).await?,
            &Query::new(NUMBERS),
        )
        .await
    }
    .await;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "it took {:?}",
        began.elapsed()
    );
    outcome.expect_err("an error")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_arrives_whole_from_one_endpoint_and_from_many() {
    for (endpoints, ordered) in [(1, false), (1, true), (7, false), (7, true), (40, true)] {
        let server = ThrowawayFlightSql::start(FlightSqlBehaviour {
            endpoints,
            ordered,
            ..FlightSqlBehaviour::default()
        })
        .await;
        let source = source(&server.url()).await.expect("a source");
        let stream = source.query(&Query::new(NUMBERS)).await.expect("a stream");
        assert_eq!(stream.schema().field(1).name(), "name");
        assert_eq!(stream.expected_rows(), Some(1000));
        let batches: Vec<RecordBatch> = stream.try_collect().await.expect("rows");
        let mut found = ids(&batches);
        if !ordered {
            found.sort_unstable();
        }
        assert_eq!(
            found,
            (1..=1000).collect::<Vec<_>>(),
            "{endpoints} endpoints, ordered: {ordered}"
        );
        assert!(
            !server.was_told("CancelFlightInfo"),
            "a stream that ended was cancelled"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_of_several_endpoints_are_each_there_once() {
    for (endpoints, ordered) in [(4, false), (60, true)] {
        let server = ThrowawayFlightSql::start(FlightSqlBehaviour {
            endpoints,
            ordered,
            ..FlightSqlBehaviour::default()
        })
        .await;
        let source = source(&server.url()).await.expect("a source");
        let query = Query::new("SELECT value AS id FROM generate_series(1, 200000)");
        let batches = tokio::time::timeout(Duration::from_secs(60), rows(&source, &query))
            .await
            .expect("it ends")
            .expect("rows");
        let mut found = ids(&batches);
        if !ordered {
            found.sort_unstable();
        }
        assert!(
            found == (1..=200_000).collect::<Vec<_>>(),
            "{endpoints} endpoints: {} rows",
            found.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_from_their_own_locations_or_the_next() {
    let other = ThrowawayFlightSql::start(FlightSqlBehaviour::default()).await;
    for locations in [
        vec![other.url()],
        vec!["grpc://127.0.0.1:1".into(), other.url()],
        vec!["arrow-flight-reuse-connection://?".into()],
        vec![
            "nosuch://x".into(),
            "arrow-flight-reuse-connection://?".into(),
        ],
    ] {
        let is_there = locations.contains(&other.url());
        other.forget();
        let server = ThrowawayFlightSql::start(FlightSqlBehaviour {
            endpoints: 3,
            ordered: true,
            locations: locations.clone(),
            ..FlightSqlBehaviour::default()
        })
        .await;
        let source = source(&server.url()).await.expect("a source");
        let found = ids(&rows(&source, &Query::new(NUMBERS)).await.expect("rows"));
        assert_eq!(found, (1..=1000).collect::<Vec<_>>(), "{locations:?}");
        assert_eq!(
            (other.was_told("get"), server.was_told("get")),
            (is_there, !is_there),
            "{locations:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_bound() {
    let server = ThrowawayFlightSql::start(FlightSqlBehaviour::default()).await;
    let source = source(&server.url()).await.expect("a source");
    let query = |sql: &str, params| Query::new(sql).with_params(params);
    let positional = Params::Positional(vec![Param::from(7_i64), Param::from("7' OR '1'='1")]);
    let sql = "SELECT value AS id FROM generate_series(1, 1000) WHERE value = $1 OR CAST(value AS VARCHAR) = $2";
    assert_eq!(
        ids(&rows(&source, &query(sql, positional)).await.expect("rows")),
        [7]
    );
    let named = Params::Named(vec![
        ("low".into(), Param::from(998_i64)),
        ("high".into(), Param::from(2000_i64)),
    ]);
    let sql =
        "SELECT value AS id FROM generate_series(1, 1000) WHERE value < $high AND value > $low";
    assert_eq!(
        ids(&rows(&source, &query(sql, named)).await.expect("rows")),
        [999, 1000]
    );
    let error = rows(&source, &query(sql, Params::Positional(vec![])))
        .await
        .expect_err("parameters are missing");
    assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error:#}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(server.was_told("close"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_said_by_token_handshake_or_header() {
    let server = ThrowawayFlightSql::start(FlightSqlBehaviour {
        token: Some("t0ken"),
        ..FlightSqlBehaviour::default()
    })
    .await;
    let address = format!("127.0.0.1:{}", server.port());
    for url in [
        format!("grpc://ada:pw@{address}"),
        format!("grpc://{address}?token=t0ken"),
    ] {
        assert_eq!(
            ids(
                &rows(&source(&url).await.expect(&url), &Query::new(NUMBERS))
                    .await
                    .expect(&url)
            )
            .len(),
            1000
        );
    }
    // A token that has run out is asked for anew.
    let long = source(&format!("grpc://ada:pw@{address}"))
        .await
        .expect("a source");
    server.accept_only("fr3sh");
    assert_eq!(
        ids(&rows(&long, &Query::new(NUMBERS)).await.expect("rows")).len(),
        1000
    );
    server.accept_only("t0ken");
    let headers = serde_json::json!({"host": "127.0.0.1", "port": server.port(), "headers": {"Authorization": "Bearer t0ken"}});
    let by_header = FlightSqlSource::connect(serde_json::from_value(headers).expect("a config"))
        .await
        .expect("a source");
    assert_eq!(
        ids(&rows(&by_header, &Query::new(NUMBERS)).await.expect("rows")).len(),
        1000
    );
    for url in [
        format!("grpc://ada:hunter2@{address}"),
        format!("grpc://{address}?token=hunter2"),
        format!("grpc://{address}"),
    ] {
        let error = async { rows(&source(&url).await?, &Query::new(NUMBERS)).await }
            .await
            .expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error:#}");
        assert!(
            !format!("{error:#} {error:?}").contains("hunter2"),
            "{error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_misbehaviour_is_an_error_that_says_what_to_do() {
    let silent = "?idle_timeout=0.5";
    let usual = FlightSqlBehaviour::default;
    for (behaviour, keys, kind, words) in [
        (
            FlightSqlBehaviour {
                late: Some(Duration::from_secs(60)),
                ..usual()
            },
            silent,
            ErrorKind::Timeout,
            "raise idle_timeout",
        ),
        (
            FlightSqlBehaviour {
                silent_after: Some(3),
                ..usual()
            },
            silent,
            ErrorKind::Timeout,
            "in the middle of the rows",
        ),
        (
            FlightSqlBehaviour {
                cut_after: Some((3, 100)),
                ..usual()
            },
            "",
            ErrorKind::Connection,
            "it goes down",
        ),
        (
            FlightSqlBehaviour {
                announces: AnnouncedSchema::Other,
                ..usual()
            },
            "",
            ErrorKind::SchemaMismatch,
            "announced the columns other Utf8",
        ),
        (
            FlightSqlBehaviour {
                expired: Some(ExpiredTickets::Refused),
                ..usual()
            },
            "",
            ErrorKind::Connection,
            "expired",
        ),
        (
            FlightSqlBehaviour {
                garbage: true,
                ..usual()
            },
            "",
            ErrorKind::InvalidData,
            "malformed",
        ),
        (
            FlightSqlBehaviour {
                unavailable: 100,
                ..usual()
            },
            "",
            ErrorKind::Connection,
            "it is starting",
        ),
        (
            FlightSqlBehaviour {
                locations: vec!["nosuch://x".into()],
                ..usual()
            },
            "",
            ErrorKind::Unsupported,
            "nosuch://",
        ),
    ] {
        let shown = format!("{behaviour:?}");
        let error = fails(behaviour, keys).await;
        assert!(
            error.kind() == kind && error.to_string().contains(words),
            "{shown}: {error:#} ({:?})",
            error.kind()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_mended_is_mended() {
    for behaviour in [
        FlightSqlBehaviour {
            expired: Some(ExpiredTickets::Renewed),
            ..FlightSqlBehaviour::default()
        },
        FlightSqlBehaviour {
            expired: Some(ExpiredTickets::Taken),
            ..FlightSqlBehaviour::default()
        },
        FlightSqlBehaviour {
            expired: Some(ExpiredTickets::FirstRefused),
            endpoints: 3,
            ..FlightSqlBehaviour::default()
        },
        FlightSqlBehaviour {
            announces: AnnouncedSchema::Nothing,
            ..FlightSqlBehaviour::default()
        },
        FlightSqlBehaviour {
            announces: AnnouncedSchema::OtherMetadata,
            ..FlightSqlBehaviour::default()
        },
    ] {
        let server = ThrowawayFlightSql::start(behaviour).await;
        let source = source(&server.url()).await.expect("a source");
        assert_eq!(
            ids(&rows(&source, &Query::new(NUMBERS)).await.expect("rows")).len(),
            1000
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_dropped_cancels_the_query() {
    let server = ThrowawayFlightSql::start(FlightSqlBehaviour {
        endpoints: 4,
        silent_after: Some(2),
        ..FlightSqlBehaviour::default()
    })
    .await;
    let source = source(&server.url()).await.expect("a source");
    let mut stream = source.query(&Query::new(NUMBERS)).await.expect("a stream");
    stream.try_next().await.expect("a batch");
    drop(stream);
    assert_cancelled(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_connections_are_proved() {
    // For the server, which takes the process's own; it fails if another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certified = rcgen::generate_simple_self_signed(vec!["flight.example".to_owned()])
        .expect("a certificate");
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &certificate).expect("written");
    let server =
        ThrowawayFlightSql::with_tls(FlightSqlBehaviour::default(), &certificate, &key, None).await;
    let address = format!("127.0.0.1:{}", server.port());
    let good = format!(
        "grpc+tls://{address}?tls_ca={}&tls_server_name=flight.example",
        ca.display()
    );
    assert_eq!(
        ids(&rows(
            &source(&good).await.expect("a source"),
            &Query::new(NUMBERS)
        )
        .await
        .expect("rows"))
        .len(),
        1000
    );
    for (url, kind, words) in [
        (format!("grpc+tls://{address}"), ErrorKind::Tls, "tls_ca"),
        (
            format!("grpc+tls://{address}?tls_ca={}", ca.display()),
            ErrorKind::Tls,
            "tls_server_name",
        ),
        (
            format!("grpc://{address}"),
            ErrorKind::Connection,
            "grpc+tls://",
        ),
        (
            format!("grpc+tls://{address}?tls_ca=/no/such.pem"),
            ErrorKind::Tls,
            "/no/such.pem",
        ),
    ] {
        let error = async { rows(&source(&url).await?, &Query::new(NUMBERS)).await }
            .await
            .expect_err("refused");
        assert!(
            error.kind() == kind && error.to_string().contains(words),
            "{url}: {error:#} ({:?})",
            error.kind()
        );
    }
    let plain = ThrowawayFlightSql::start(FlightSqlBehaviour::default()).await;
    let url = format!(
        "grpc+tls://127.0.0.1:{}?tls_ca={}",
        plain.port(),
        ca.display()
    );
    let error = async { rows(&source(&url).await?, &Query::new(NUMBERS)).await }
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("grpc://"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_want_to_know_the_client() {
    // For the server, which takes the process's own; it fails if another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().expect("a folder");
    let written = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let certified = |name: &str| {
        rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate")
    };
    let (ours, client, stranger) = (
        certified("localhost"),
        certified("client"),
        certified("stranger"),
    );
    let ca = written("ca.pem", &ours.cert.pem());
    let files = |name: &str, of: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        let certificate = written(&format!("{name}.pem"), &of.cert.pem());
        format!(
            "&tls_cert={certificate}&tls_key={}",
            written(&format!("{name}.key"), &of.signing_key.serialize_pem())
        )
    };
    let (known, unknown) = (files("client", &client), files("stranger", &stranger));
    let server = ThrowawayFlightSql::with_tls(
        FlightSqlBehaviour::default(),
        &ours.cert.pem(),
        &ours.signing_key.serialize_pem(),
        Some(&client.cert.pem()),
    )
    .await;
    let url = format!("grpc+tls://localhost:{}?tls_ca={ca}", server.port());
    let source_of = async |keys: &str| {
        rows(
            &source(&format!("{url}{keys}")).await?,
            &Query::new(NUMBERS),
        )
        .await
    };
    assert_eq!(ids(&source_of(&known).await.expect("rows")).len(), 1000);
    for keys in ["", unknown.as_str()] {
        let error = source_of(keys).await.expect_err("refused");
        assert!(
            matches!(error.kind(), ErrorKind::Connection | ErrorKind::Tls),
            "{error:#}"
        );
        assert!(error.to_string().contains("tls_cert"), "{error:#}");
    }
}

#[tokio::test]
async fn connections_that_contradict_themselves_are_refused() {
    for (url, words) in [
        ("grpc+tls://h?tls=false", "write grpc:// for plain text"),
        ("grpc://h:1?port=2", "`port` twice"),
        (
            "grpc://h?idle_timeout=3&idle_timeout=4",
            "`idle_timeout` twice",
        ),
        ("grpc://h?idle_timeout=0", "more than 0"),
        ("grpc://h?password=c", "a password without a user"),
        ("grpc://ada:pw@h?token=t", "give one"),
        ("grpc://h?max_batch_bytes=0", "max_batch_bytes is 0"),
        ("grpc://h?max_endpoints=0", "max_endpoints is 0"),
        ("grpc://h?tls_ca=x.pem", "set tls"),
        ("grpc://h?oauth_scope=x", "oauth_token_url"),
        ("grpc://h?host=h:1", "twice"),
    ] {
        let error = source(url).await.expect_err(url);
        assert!(
            error.kind() == ErrorKind::InvalidOption && error.to_string().contains(words),
            "{url}: {error:#}"
        );
    }
    for (keys, words) in [
        (
            serde_json::json!({"token": "t", "headers": {"Authorization": "x"}}),
            "authorization",
        ),
        (
            serde_json::json!({"database": "d", "headers": {"database": "e"}}),
            "database",
        ),
        (serde_json::json!({"host": "h:8815"}), "the key `port`"),
        (
            serde_json::json!({"tls": true, "tls_cert": "x"}),
            "tls_cert and tls_key go together",
        ),
    ] {
        let error =
            FlightSqlSource::connect(serde_json::from_value(keys.clone()).expect("a config"))
                .await
                .expect_err("refused");
        assert!(
            error.kind() == ErrorKind::InvalidOption && error.to_string().contains(words),
            "{keys}: {error:#}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    for (url, words) in [
        ("grpc://127.0.0.1:1", "127.0.0.1:1"),
        ("grpc+unix:///no/such.sock", "/no/such.sock"),
    ] {
        let error = source(url).await.expect_err("nobody is there");
        assert!(
            error.kind() == ErrorKind::Connection
                && error.is_transient()
                && error.to_string().contains(words),
            "{error:#}"
        );
    }
}
