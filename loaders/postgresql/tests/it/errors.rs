//! What goes wrong: each with its kind, and a message that says what to do.

use arrowload_core::{Error, ErrorKind, Loader, Mode, Settings};
use arrowload_testkit::{PostgresSetup, ThrowawayPostgres};

use crate::server::{database, database_on};
use crate::support::{descriptor, input, people, query, spec, with};

async fn connecting(settings: &Settings) -> Error {
    Loader::connect(&descriptor(), settings, 0)
        .await
        .expect_err("the connection should have failed")
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_fail_say_why() {
    let Some(database) = database("connecting").await else {
        return;
    };
    let with = |key: &str, value: &str| {
        let mut settings = database.settings();
        settings.set(key, value, "the test");
        settings
    };
    // Nobody listens on this machine, and nobody is waited for.
    let error = connecting(&with("port", "1")).await;
    assert!(
        error.kind() == ErrorKind::Connection
            && !error.is_transient()
            && error.to_string().contains(":1"),
        "{error}"
    );
    let error = connecting(&with("database", "no_such")).await;
    assert!(
        error.kind() == ErrorKind::NotFound && error.to_string().contains("no_such"),
        "{error}"
    );
    let error = connecting(&with("user", "no_such")).await;
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    // The server has no certificate.
    let error = connecting(&with("sslmode", "require")).await;
    assert!(
        error.kind() == ErrorKind::Tls && error.to_string().contains("sslmode"),
        "{error}"
    );
    for (key, value) in [
        ("sslmode", "verify-full"),
        ("sslmode", "encrypted"),
        ("port", "x"),
        ("sslrootcert", "/no/such/file"),
    ] {
        let mut settings = with(key, value);
        if key == "sslrootcert" {
            settings.set("sslmode", "verify-ca", "the test");
        }
        let error = connecting(&settings).await;
        assert!(
            matches!(error.kind(), ErrorKind::Tls | ErrorKind::InvalidOption),
            "{key}={value}: {error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_and_not_shown() {
    let Some(database) = database("password").await else {
        return;
    };
    // The server trusts everybody, so that a role that may not log in stands for a refusal at the door.
    database.run("DROP ROLE IF EXISTS arrowload_locked; CREATE ROLE arrowload_locked NOLOGIN PASSWORD 'hunter2'").await;
    let mut settings = database.settings();
    settings.set("user", "arrowload_locked", "the test");
    settings.set("password", "hunter2", "the test");
    let error = connecting(&settings).await;
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    assert!(
        !format!("{error:?} {error:#}").contains("hunter2"),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_schemas_and_timeouts_have_their_kinds() {
    let Some(database) = database("rights").await else {
        return;
    };
    database
        .run(
            "DROP ROLE IF EXISTS arrowload_reader; CREATE ROLE arrowload_reader LOGIN; CREATE TABLE t (id bigint, name text);
             CREATE SCHEMA closed; GRANT SELECT ON t TO arrowload_reader",
        )
        .await;
    let mut settings = database.settings();
    settings.set("user", "arrowload_reader", "the test");
    let loader = Loader::connect(&descriptor(), &settings, 0)
        .await
        .expect("connected");
    for target in ["t", "closed.t", "new"] {
        let input = input(&[people(0..2, "a")]);
        let error = arrowload_core::load(&loader, &spec(target, Mode::Append), &input)
            .await
            .expect_err("no right");
        assert_eq!(
            error.kind(),
            ErrorKind::PermissionDenied,
            "{target}: {error}"
        );
    }
    let error = database
        .refused(&spec("no_such.t", Mode::Append), &people(0..2, "a"))
        .await;
    assert!(
        error.kind() == ErrorKind::NotFound && error.to_string().contains("no_such"),
        "{error}"
    );
    for (target, sql) in [
        ("v", "CREATE VIEW v AS SELECT 1 AS id"),
        ("s", "CREATE SEQUENCE s"),
    ] {
        database.run(sql).await;
        let error = database
            .refused(&spec(target, Mode::Append), &people(0..2, "a"))
            .await;
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    let mut settings = database.settings();
    settings.set("statement_timeout", "100ms", "the test");
    let slow = Loader::connect(&descriptor(), &settings, 0)
        .await
        .expect("connected");
    let holder = database.client().await;
    holder
        .batch_execute("BEGIN; LOCK TABLE t")
        .await
        .expect("locked");
    let input = input(&[people(0..2, "a")]);
    let error = arrowload_core::load(&slow, &spec("t", Mode::Append), &input)
        .await
        .expect_err("a timeout");
    assert!(
        error.kind() == ErrorKind::Timeout && error.to_string().contains("statement_timeout"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_violated_constraint_names_the_row() {
    let Some(database) = database("violated").await else {
        return;
    };
    database
        .run("CREATE TABLE t (id bigint CONSTRAINT small CHECK (id < 50), name text UNIQUE)")
        .await;
    let error = database
        .refused(&spec("t", Mode::Append), &people(0..100, "a"))
        .await;
    assert_eq!(
        (error.kind(), error.row(), error.get("constraint")),
        (ErrorKind::InvalidData, Some(50), Some("small")),
        "{error}"
    );
    let error = database
        .refused(
            &spec("t", Mode::Append),
            &crate::support::batch(vec![
                ("id", people(0..2, "").column(0).clone()),
                ("name", {
                    let same: arrow_array::ArrayRef =
                        std::sync::Arc::new(arrow_array::StringArray::from(vec!["x", "x"]));
                    same
                }),
            ]),
        )
        .await;
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::InvalidData, Some("23505")),
        "{error}"
    );
    assert_eq!(database.rows("SELECT count(*) FROM t").await, ["0"]);
}

/// A small file system at a folder, for as long as it is kept.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn at(folder: &std::path::Path) -> Result<Self, String> {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(folder)
            .output();
        let output = mounted.map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(Self(folder.to_owned()))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn resize(&self, megabytes: u32) {
        let status = std::process::Command::new("mount")
            .args(["-o", &format!("remount,size={megabytes}m")])
            .arg(&self.0)
            .status();
        assert!(status.is_ok_and(|status| status.success()));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may still have files of it open.
        let _ = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(&self.0)
            .status();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_the_target_as_it_was() {
    use std::os::unix::fs::{MetadataExt, chown};
    if ThrowawayPostgres::available().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let Ok(disk) = SmallDisk::at(folder.path()) else {
        return arrowload_testkit::skip("small_disk", "only root can make a small disk");
    };
    let server = ThrowawayPostgres::start(&PostgresSetup::new()).expect("started");
    let owner = std::fs::metadata(server.folder().expect("a folder")).expect("metadata");
    chown(folder.path(), Some(owner.uid()), Some(owner.gid())).expect("given");
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .expect("permitted");
    let database = database_on(&server, "disk").await;
    database
        .run(&format!(
            "CREATE TABLESPACE small LOCATION '{}'",
            folder.path().display()
        ))
        .await;
    for mode in Mode::ALL {
        let mut load_spec = database.stage(mode, &format!("full {mode}")).await;
        if mode == Mode::Create {
            load_spec = with(
                "t",
                serde_json::json!({ "mode": "create", "pre_sql": "SET LOCAL default_tablespace = small" }),
            );
            load_spec.load.load_id = Some("full create".into());
        } else {
            database.run("ALTER TABLE t SET TABLESPACE small").await;
        }
        let before = database.seen().await;
        let rows = people(0..300_000, "a name of some length, to fill the disk ");
        let error = database.refused(&load_spec, &rows).await;
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::ResourceExhausted, Some("53100")),
            "{mode}: {error:?}"
        );
        assert!(error.to_string().contains("make room"), "{error}");
        assert_eq!(database.seen().await, before, "{mode}");
        // Nothing of the load is known: it is loaded under the same id once there is room.
        disk.resize(256);
        let report = database.load(&load_spec, &rows).await;
        assert!(!report.already_loaded, "{mode}");
        let added = if matches!(mode, Mode::Append | Mode::Upsert) {
            300_100
        } else {
            300_000
        };
        assert_eq!(
            database.rows("SELECT count(*) FROM t").await,
            [added.to_string()],
            "{mode}"
        );
        database.run("DROP TABLE t; CHECKPOINT").await;
        disk.resize(8);
    }
}

/// Two who wait for each other: the server ends the load, and the load of a query comes again when the other is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_a_conflict_that_passes() {
    let Some(database) = database("deadlock").await else {
        return;
    };
    database
        .run("CREATE TABLE first (v bigint); CREATE TABLE t (id bigint, name text)")
        .await;
    for retries in [0, 5] {
        let mut settings = database.settings();
        // The server looks for a deadlock once, this long after the wait began: the rival must have crossed by then.
        settings.set("options", "-c deadlock_timeout=3s", "the test");
        let loader = Loader::connect(&descriptor(), &settings, 0)
            .await
            .expect("connected");
        let mut load_spec = with("t", serde_json::json!({ "pre_sql": "LOCK TABLE first" }));
        load_spec.load.max_retries = retries;
        let rival = database.client().await;
        rival
            .batch_execute("SET deadlock_timeout = '1min'; BEGIN; LOCK TABLE t")
            .await
            .expect("locked");
        let rows = people(0..10, "a");
        let (mut source, crossing) = (query(&rows), async {
            // The load has the first table, and waits for the second.
            let waits =
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass";
            while database.rows(waits).await != ["1"] {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            rival
                .batch_execute("LOCK TABLE first; ROLLBACK")
                .await
                .expect("the rival goes on");
        });
        if retries == 0 {
            source = input(std::slice::from_ref(&rows));
        }
        let (outcome, ()) =
            tokio::join!(arrowload_core::load(&loader, &load_spec, &source), crossing);
        match outcome {
            Ok(report) => assert!(
                retries > 0 && report.retries > 0 && report.rows == 10,
                "{report:?}"
            ),
            Err(error) => {
                assert_eq!(
                    (error.kind(), error.code()),
                    (ErrorKind::Conflict, Some("40P01")),
                    "{error:?}"
                );
                assert!(
                    retries == 0 && error.to_string().contains("another transaction"),
                    "{error:?}"
                );
                assert_eq!(database.rows("SELECT count(*) FROM t").await, ["0"]);
            }
        }
    }
    assert_eq!(database.rows("SELECT count(*) FROM t").await, ["10"]);
}

/// Every timeout of the server's has its kind, and ends the load as if it had not been.
#[tokio::test(flavor = "multi_thread")]
async fn timeouts_of_the_server_end_a_load() {
    let Some(database) = database("timeouts").await else {
        return;
    };
    database.run("CREATE TABLE t (id bigint, name text)").await;
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END';
                CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION slow()";
    database.run(slow).await;
    let outcome = async |options: &str| {
        let mut settings = database.settings();
        settings.set("options", options, "the test");
        let loader = Loader::connect(&descriptor(), &settings, 0)
            .await
            .expect("connected");
        arrowload_core::load(
            &loader,
            &spec("t", Mode::Append),
            &input(&[people(0..200, "a")]),
        )
        .await
    };
    // In the COPY itself.
    let error = outcome("-c statement_timeout=300ms")
        .await
        .expect_err("too slow");
    assert!(
        error.kind() == ErrorKind::Timeout && error.to_string().contains("raise statement_timeout"),
        "{error:?}"
    );
    assert_eq!(error.row(), None, "{error}");
    let holder = database.client().await;
    holder
        .batch_execute("BEGIN; LOCK TABLE t")
        .await
        .expect("locked");
    let error = outcome("-c lock_timeout=100ms").await.expect_err("locked");
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Conflict, Some("55P03")),
        "{error:?}"
    );
    assert!(error.to_string().contains("lock_timeout"), "{error}");
    holder.batch_execute("ROLLBACK").await.expect("released");
    assert_eq!(database.rows("SELECT count(*) FROM t").await, ["0"]);
    // A source that pauses for too long, in a transaction that the server ends.
    database.run("DROP TRIGGER slow ON t").await;
    let mut settings = database.settings();
    settings.set(
        "options",
        "-c idle_in_transaction_session_timeout=100ms",
        "the test",
    );
    let loader = Loader::connect(&descriptor(), &settings, 0)
        .await
        .expect("connected");
    let rows = people(0..10, "a");
    let pausing = futures::stream::once(async move {
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        Ok(people(0..10, "a"))
    });
    let source =
        arrowload_core::Input::stream(arrowload_core::BatchStream::new(rows.schema(), pausing));
    let error = arrowload_core::load(&loader, &spec("t", Mode::Append), &source)
        .await
        .expect_err("idle for too long");
    assert_eq!(error.kind(), ErrorKind::Connection, "{error:?}");
    assert_eq!(database.rows("SELECT count(*) FROM t").await, ["0"]);
}
