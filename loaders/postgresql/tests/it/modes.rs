//! Modes beside the suite: what hangs on a table, who reads meanwhile, what a second load finds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrowload_core::{ErrorKind, Input, Loader, Mode, load};
use serde_json::json;

use crate::server::database;
use crate::support::{batch, descriptor, input, people, spec, with};

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_an_overwrite_see_the_old_rows_or_the_new() {
    let Some(database) = database("readers").await else {
        return;
    };
    database
        .load(&spec("t", Mode::Append), &people(0..1000, "a"))
        .await;
    // A transaction whose snapshot is older than the overwrite keeps seeing the old rows.
    let old = database.client().await;
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        .await
        .expect("begun");
    let done = Arc::new(AtomicBool::new(false));
    let (reader, stop) = (database.client().await, Arc::clone(&done));
    let watch = tokio::spawn(async move {
        let mut seen = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let row = reader
                .query_one(
                    "SELECT count(*), min(left(name, 1)), max(left(name, 1)) FROM t",
                    &[],
                )
                .await
                .expect("no error");
            seen.push((
                row.get::<_, i64>(0),
                row.get::<_, String>(1),
                row.get::<_, String>(2),
            ));
        }
        seen
    });
    for (version, rows) in [("b", 500), ("c", 2000), ("d", 1000)] {
        let report = database
            .load(&spec("t", Mode::Overwrite), &people(0..rows, version))
            .await;
        assert_eq!(report.rows as i64, rows);
    }
    done.store(true, Ordering::Relaxed);
    let seen = watch.await.expect("a reader");
    let whole = [(1000, "a"), (500, "b"), (2000, "c"), (1000, "d")]
        .map(|(rows, name)| (rows, name.to_owned(), name.to_owned()));
    assert!(
        !seen.is_empty() && seen.iter().all(|seen| whole.contains(seen)),
        "{seen:?}"
    );
    let row = old
        .query_one("SELECT count(*), min(left(name, 1)) FROM t", &[])
        .await
        .expect("no error");
    assert_eq!(
        (row.get::<_, i64>(0), row.get::<_, String>(1)),
        (1000, "a".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_overwrites_at_once_leave_the_rows_of_one() {
    let Some(database) = database("overwrites").await else {
        return;
    };
    database
        .load(&spec("t", Mode::Append), &people(0..10, "a"))
        .await;
    let (first, second) = (people(0..3000, "b"), people(0..3000, "c"));
    let spec = spec("t", Mode::Overwrite);
    tokio::join!(database.load(&spec, &first), database.load(&spec, &second));
    assert_eq!(
        database
            .rows("SELECT count(*), count(DISTINCT left(name, 1)) FROM t")
            .await,
        ["3000|1"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwrite_keeps_what_hangs_on_the_table() {
    let Some(database) = database("hangs").await else {
        return;
    };
    database
        .run(
            "CREATE TABLE parent (id bigint PRIMARY KEY, name text); INSERT INTO parent VALUES (1, 'a'), (2, 'b');
             CREATE INDEX by_name ON parent (name); CREATE VIEW v AS SELECT * FROM parent; GRANT SELECT ON parent TO PUBLIC;
             CREATE TABLE child (parent bigint REFERENCES parent); INSERT INTO child VALUES (1), (2)",
        )
        .await;
    database
        .load(&spec("parent", Mode::Overwrite), &people(1..4, "n"))
        .await;
    assert_eq!(
        database.rows("SELECT * FROM v ORDER BY 1").await,
        ["1|n1", "2|n2", "3|n3"]
    );
    let kept = "SELECT (SELECT count(*) FROM pg_index WHERE indrelid = 'parent'::regclass), \
                has_table_privilege('pg_monitor', 'parent', 'SELECT'), (SELECT count(*) FROM child)";
    assert_eq!(database.rows(kept).await, ["2|t|2"]);
    // Row 2 is still referred to: the server refuses, and everything is as it was.
    let error = database
        .refused(&spec("parent", Mode::Overwrite), &people(0..2, "x"))
        .await;
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::InvalidData, Some("23503")),
        "{error}"
    );
    assert_eq!(database.rows("SELECT count(*) FROM parent").await, ["3"]);
    for action in ["CASCADE", "SET NULL", "RESTRICT"] {
        let drop = "ALTER TABLE child DROP CONSTRAINT IF EXISTS child_parent_fkey, DROP CONSTRAINT IF EXISTS acts";
        database.run(&format!("{drop}, ADD CONSTRAINT acts FOREIGN KEY (parent) REFERENCES parent ON DELETE {action}")).await;
        let error = database
            .refused(&spec("parent", Mode::Overwrite), &people(1..4, "x"))
            .await;
        assert!(
            error.kind() == ErrorKind::Unsupported && error.to_string().contains("acts"),
            "{action}: {error}"
        );
        assert_eq!(
            database.rows("SELECT count(parent) FROM child").await,
            ["2"],
            "{action}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwrite_with_another_schema_replaces_it() {
    let Some(database) = database("replaced").await else {
        return;
    };
    database.run("CREATE TABLE t (id integer NOT NULL, gone text, name text NOT NULL); INSERT INTO t VALUES (1, 'x', 'y')").await;
    let mut load = spec("t", Mode::Overwrite);
    load.load.schema_evolution = true;
    database.load(&load, &people(0..2, "n")).await;
    let columns =
        database.rows("SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = 't' ORDER BY 1").await;
    assert_eq!(columns, ["id|bigint|YES", "name|text|YES"]);
    assert_eq!(
        database.rows("SELECT id, name FROM t").await,
        ["0|n0", "1|n1"]
    );
    database.run("CREATE VIEW v AS SELECT name FROM t").await;
    let ids = batch(vec![("id", people(0..2, "").column(0).clone())]);
    let error = database.refused(&load, &ids).await;
    assert!(
        error.kind() == ErrorKind::SchemaMismatch && error.to_string().contains("view v"),
        "{error}"
    );
    assert_eq!(database.rows("SELECT count(name) FROM t").await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn upserts_count_what_they_did() {
    let Some(database) = database("upserts").await else {
        return;
    };
    let rows = |keys: Vec<i64>, names: Vec<&str>, more: i64| {
        let more: ArrayRef = Arc::new(Int64Array::from(vec![more; keys.len()]));
        batch(vec![
            ("id", Arc::new(Int64Array::from(keys))),
            ("name", Arc::new(StringArray::from(names))),
            ("more", more),
        ])
    };
    for kind in ["", " PARTITION BY HASH (id)"] {
        database.run(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint PRIMARY KEY, name text, more bigint){kind}")).await;
        if !kind.is_empty() {
            database
                .run("CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0)")
                .await;
            database
                .run("CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)")
                .await;
        }
        database
            .run("INSERT INTO t VALUES (1, 'one', 0), (2, 'two', 0)")
            .await;
        let new = rows(vec![2, 3, 3, 4, 2], vec!["a", "b", "c", "d", "e"], 5);
        let report = database
            .load(
                &with(
                    "t",
                    json!({ "mode": "upsert", "keys": "id", "update_columns": "name" }),
                ),
                &new,
            )
            .await;
        let keys = report.keys.expect("counts");
        assert_eq!(
            (
                report.rows,
                keys.inserted,
                keys.updated,
                keys.unchanged,
                keys.duplicate
            ),
            (5, 2, 1, 0, 2),
            "{kind}"
        );
        assert_eq!(
            database.rows("SELECT * FROM t ORDER BY id").await,
            ["1|one|0", "2|e|0", "3|c|5", "4|d|5"],
            "{kind}"
        );
        let new = rows(vec![4, 5], vec!["x", "y"], 6);
        let report = database
            .load(
                &with(
                    "t",
                    json!({ "mode": "upsert", "keys": "id", "on_conflict": "ignore" }),
                ),
                &new,
            )
            .await;
        let keys = report.keys.expect("counts");
        assert_eq!(
            (keys.inserted, keys.updated, keys.unchanged),
            (1, 0, 1),
            "{kind}"
        );
        assert_eq!(
            database
                .rows("SELECT * FROM t WHERE id > 3 ORDER BY id")
                .await,
            ["4|d|5", "5|y|6"],
            "{kind}"
        );
    }
    database.run("CREATE TABLE u (id bigint, name text)").await;
    let error = database
        .refused(
            &with("u", json!({ "mode": "upsert", "keys": "id" })),
            &people(0..2, "a"),
        )
        .await;
    assert!(
        error.kind() == ErrorKind::SchemaMismatch
            && error.to_string().contains("CREATE UNIQUE INDEX"),
        "{error}"
    );
    // A table of ours whose keys are not unique.
    database
        .load(&spec("w", Mode::Append), &people(0..3, "a"))
        .await;
    database
        .load(&spec("w", Mode::Append), &people(2..3, "b"))
        .await;
    let error = database
        .refused(
            &with("w", json!({ "mode": "upsert", "keys": "id" })),
            &people(0..2, "c"),
        )
        .await;
    assert!(
        error.kind() == ErrorKind::InvalidData && error.to_string().contains("not unique"),
        "{error}"
    );
    assert_eq!(database.rows("SELECT count(*) FROM w").await, ["4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_refused_are_set_aside_with_the_servers_words() {
    let Some(database) = database("skip").await else {
        return;
    };
    database
        .run("CREATE TABLE t (id integer CHECK (id <> 7), name text)")
        .await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut load_spec = spec("t", Mode::Append);
    load_spec.load.on_error = arrowload_core::OnError::Skip;
    load_spec.load.dead_letters = folder.path().to_owned();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(
        (0..20).map(|id| if id == 12 { 1 << 40 } else { id }),
    ));
    let rows = batch(vec![
        ("id", ids),
        ("name", people(0..20, "n").column(1).clone()),
    ]);
    let report = database.load(&load_spec, &rows).await;
    assert_eq!((report.rows, report.rows_rejected), (18, 2));
    assert_eq!(
        database.rows("SELECT count(*), sum(id) FROM t").await,
        ["18|171"]
    );
    let (_, _) = arrowload_core::read_dead_letters(&report.dead_letters.expect("a file"))
        .expect("dead letters");
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_before_and_after_is_part_of_the_load() {
    let Some(database) = database("sql").await else {
        return;
    };
    database.run("CREATE TABLE log (what text)").await;
    let options = json!({ "pre_sql": "INSERT INTO log VALUES ('before')", "post_sql": "INSERT INTO log SELECT count(*)::text FROM t" });
    database.load(&with("t", options), &people(0..3, "a")).await;
    assert_eq!(database.rows("SELECT what FROM log").await, ["before", "3"]);
    let fails = json!({ "pre_sql": "INSERT INTO log VALUES ('again')", "post_sql": "SELECT 1/0" });
    let error = database
        .refused(&with("t", fails), &people(0..3, "a"))
        .await;
    assert_eq!(error.get("key"), Some("post_sql"), "{error}");
    for key in ["pre_sql", "post_sql"] {
        for sql in [
            "COMMIT",
            "SELECT 1; COMMIT; BEGIN",
            "commit and chain",
            "ROLLBACK",
            "END -- $arrowload$",
        ] {
            let error = database
                .refused(&with("t", json!({ (key): sql })), &people(0..3, "a"))
                .await;
            assert!(
                error.kind() == ErrorKind::InvalidOption && error.to_string().contains(key),
                "{key}, {sql}: {error}"
            );
        }
    }
    let several = json!({ "pre_sql": "CREATE TABLE made (a int); INSERT INTO made VALUES (1)", "post_sql": "DROP TABLE made; -- done" });
    database
        .load(&with("empty", several), &people(0..1, "a"))
        .await;
    assert_eq!(
        database
            .rows("SELECT (SELECT count(*) FROM log), (SELECT count(*) FROM t)")
            .await,
        ["2|3"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_whose_table_is_gone_is_not_called_loaded() {
    let Some(database) = database("gone").await else {
        return;
    };
    let load = with("t", json!({ "load_id": "one" }));
    database.load(&load, &people(0..3, "a")).await;
    database.run("DROP TABLE t").await;
    let error = database.refused(&load, &people(0..3, "a")).await;
    assert!(
        error.kind() == ErrorKind::TargetNotFound && error.to_string().contains("another load_id"),
        "{error}"
    );
    database
        .load(&with("t", json!({ "load_id": "two" })), &people(0..3, "a"))
        .await;
    assert_eq!(database.rows("SELECT count(*) FROM t").await, ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_columns_are_mapped_and_folded() {
    let Some(database) = database("names").await else {
        return;
    };
    let rows = || {
        batch(vec![
            ("ID", people(0..1, "").column(0).clone()),
            ("Name", people(0..1, "n").column(1).clone()),
        ])
    };
    let options = json!({ "case": "lower", "column_map": { "Name": "Full Name" }, "mode": "upsert", "keys": "ID" });
    database.load(&with("t", options.clone()), &rows()).await;
    database.load(&with("t", options), &rows()).await;
    assert_eq!(
        database.rows("SELECT id, \"Full Name\" FROM t").await,
        ["0|n0"]
    );
    let twins = batch(vec![
        ("a", rows().column(0).clone()),
        ("A", rows().column(0).clone()),
    ]);
    let error = database
        .refused(&with("u", json!({ "case": "lower" })), &twins)
        .await;
    assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
}

/// Kills the server's process of a load at many points: the target is as before or loaded, and the repeated load makes one
/// copy of each row.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_backend_leaves_all_or_nothing() {
    let Some(database) = database("killed").await else {
        return;
    };
    let killer = database.client().await;
    for (round, mode) in [Mode::Append, Mode::Overwrite, Mode::Upsert]
        .into_iter()
        .cycle()
        .take(24)
        .enumerate()
    {
        database.run("DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint PRIMARY KEY, name text); INSERT INTO t VALUES (-1, 'old')").await;
        let mut load_spec = spec("t", mode);
        load_spec.load.load_id = Some(format!("round {round}"));
        load_spec.load.keys = if mode == Mode::Upsert {
            vec!["id".into()]
        } else {
            Vec::new()
        };
        let rows = people(0..20_000, "n");
        let loader = Loader::connect(&descriptor(), &database.settings(), 0)
            .await
            .expect("connected");
        let pause = Duration::from_micros(500 * round as u64 * round as u64 % 60_000);
        let kill = async {
            tokio::time::sleep(pause).await;
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'arrowload' AND datname = current_database()";
            killer.execute(sql, &[]).await.expect("asked");
        };
        let first_input = input(std::slice::from_ref(&rows));
        let (outcome, ()) = tokio::join!(load(&loader, &load_spec, &first_input), kill);
        let seen = database.rows("SELECT count(*) FROM t").await;
        let whole = if mode == Mode::Overwrite {
            "20000"
        } else {
            "20001"
        };
        assert!(
            seen == ["1"] || seen == [whole],
            "{mode} after {pause:?}: {seen:?}, {outcome:?}"
        );
        assert!(
            outcome.is_err() || seen == [whole],
            "{mode} after {pause:?}: reported, and not there"
        );
        database.load(&load_spec, &rows).await;
        assert_eq!(
            database.rows("SELECT count(*) FROM t").await,
            [whole],
            "{mode} after {pause:?}, repeated"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_load_that_is_dropped_leaves_no_transaction() {
    let Some(database) = database("dropped").await else {
        return;
    };
    let rows = people(0..1000, "a");
    let stream = futures::stream::iter(vec![Ok(rows.clone()); 3]);
    let endless = arrowload_core::BatchStream::new(
        rows.schema(),
        futures::StreamExt::chain(stream, futures::stream::pending()),
    );
    let (loader, endless, spec) = (
        database.loader().await,
        Input::stream(endless),
        spec("t", Mode::Append),
    );
    assert!(
        tokio::time::timeout(Duration::from_millis(300), load(&loader, &spec, &endless))
            .await
            .is_err()
    );
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()";
    for _ in 0..100 {
        if database.rows(open).await == ["0"] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a transaction is still open");
}
