//! What goes wrong: each with its kind, and a message that says what to do.

use arrowload_core::{Error, ErrorKind, Loader, Mode, Settings};

use crate::server::database;
use crate::support::{descriptor, people, spec};

async fn connecting(settings: &Settings) -> Error {
    Loader::connect(&descriptor(), settings, 0).await.expect_err("the connection should have failed")
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_fail_say_why() {
    let Some(database) = database("connecting").await else { return };
    let with = |key: &str, value: &str| {
        let mut settings = database.settings();
        settings.set(key, value, "the test");
        settings
    };
    let error = connecting(&with("port", "1")).await;
    assert!(error.kind() == ErrorKind::Connection && error.is_transient() && error.to_string().contains(":1"), "{error}");
    let error = connecting(&with("database", "no_such")).await;
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("no_such"), "{error}");
    let error = connecting(&with("user", "no_such")).await;
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    // The server has no certificate.
    let error = connecting(&with("sslmode", "require")).await;
    assert!(error.kind() == ErrorKind::Tls && error.to_string().contains("sslmode"), "{error}");
    for (key, value) in [("sslmode", "verify-full"), ("sslmode", "allow"), ("port", "x"), ("sslrootcert", "/no/such/file")] {
        let mut settings = with(key, value);
        if key == "sslrootcert" {
            settings.set("sslmode", "verify-ca", "the test");
        }
        let error = connecting(&settings).await;
        assert!(matches!(error.kind(), ErrorKind::Tls | ErrorKind::InvalidOption), "{key}={value}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_and_not_shown() {
    let Some(database) = database("password").await else { return };
    // The server trusts everybody, so that a role that may not log in stands for a refusal at the door.
    database.run("DROP ROLE IF EXISTS arrowload_locked; CREATE ROLE arrowload_locked NOLOGIN PASSWORD 'hunter2'").await;
    let mut settings = database.settings();
    settings.set("user", "arrowload_locked", "the test");
    settings.set("password", "hunter2", "the test");
    let error = connecting(&settings).await;
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    assert!(!format!("{error:?} {error:#}").contains("hunter2"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_schemas_and_timeouts_have_their_kinds() {
    let Some(database) = database("rights").await else { return };
    database
        .run(
            "DROP ROLE IF EXISTS arrowload_reader; CREATE ROLE arrowload_reader LOGIN; CREATE TABLE t (id bigint, name text);
             CREATE SCHEMA closed; GRANT SELECT ON t TO arrowload_reader",
        )
        .await;
    let mut settings = database.settings();
    settings.set("user", "arrowload_reader", "the test");
    let loader = Loader::connect(&descriptor(), &settings, 0).await.expect("connected");
    for target in ["t", "closed.t", "new"] {
        let input = crate::support::input(&[people(0..2, "a")]);
        let error = arrowload_core::load(&loader, &spec(target, Mode::Append), &input).await.expect_err("no right");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{target}: {error}");
    }
    let error = database.refused(&spec("no_such.t", Mode::Append), &people(0..2, "a")).await;
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("no_such"), "{error}");
    for (target, sql) in [("v", "CREATE VIEW v AS SELECT 1 AS id"), ("s", "CREATE SEQUENCE s")] {
        database.run(sql).await;
        let error = database.refused(&spec(target, Mode::Append), &people(0..2, "a")).await;
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    let mut settings = database.settings();
    settings.set("statement_timeout", "100ms", "the test");
    let slow = Loader::connect(&descriptor(), &settings, 0).await.expect("connected");
    let holder = database.client().await;
    holder.batch_execute("BEGIN; LOCK TABLE t").await.expect("locked");
    let input = crate::support::input(&[people(0..2, "a")]);
    let error = arrowload_core::load(&slow, &spec("t", Mode::Append), &input).await.expect_err("a timeout");
    assert!(error.kind() == ErrorKind::Timeout && error.to_string().contains("statement_timeout"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_violated_constraint_names_the_row() {
    let Some(database) = database("violated").await else { return };
    database.run("CREATE TABLE t (id bigint CONSTRAINT small CHECK (id < 50), name text UNIQUE)").await;
    let error = database.refused(&spec("t", Mode::Append), &people(0..100, "a")).await;
    assert_eq!((error.kind(), error.get("row"), error.get("constraint")), (ErrorKind::InvalidData, Some("50"), Some("small")), "{error}");
    let error = database
        .refused(
            &spec("t", Mode::Append),
            &crate::support::batch(vec![
                ("id", people(0..2, "").column(0).clone()),
                ("name", {
                    let same: arrow_array::ArrayRef = std::sync::Arc::new(arrow_array::StringArray::from(vec!["x", "x"]));
                    same
                }),
            ]),
        )
        .await;
    assert_eq!((error.kind(), error.get("sqlstate")), (ErrorKind::InvalidData, Some("23505")), "{error}");
    assert_eq!(database.rows("SELECT count(*) FROM t").await, ["0"]);
}
