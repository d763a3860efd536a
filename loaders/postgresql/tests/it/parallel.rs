//! `parallelism`: several connections copy, and still all rows arrive or none, once.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use arrowload_core::{BatchStream, Error, ErrorKind, Input, LoadReport, Result, load};
use serde_json::{Value, json};

use crate::server::{Database, database};
use crate::support::{batch, people, with};

/// Many batches, so that every connection gets some.
fn many(ids: std::ops::Range<i64>) -> Vec<RecordBatch> {
    let starts = ids.clone().step_by(100);
    starts
        .map(|start| people(start..(start + 100).min(ids.end), "n"))
        .collect()
}

impl Database {
    async fn load_many(
        &self,
        target: &str,
        options: Value,
        batches: Vec<RecordBatch>,
    ) -> Result<LoadReport> {
        let stream = BatchStream::from_batches(batches[0].schema(), batches);
        let mut options = options;
        options["batch_size"] = 100.into();
        load(
            &self.loader().await,
            &with(target, options),
            &Input::stream(stream),
        )
        .await
    }

    /// Nothing of a load's own is left, at the latest after another load that shares: it removes what a dropped one left, once
    /// the server has noticed that nobody is there any more.
    pub(crate) async fn assert_clean_after_another(&self) {
        for _ in 0..100 {
            if self
                .rows("SELECT relname FROM pg_class WHERE relname LIKE 'arrowload_part%'")
                .await
                .is_empty()
            {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            self.load_many(
                "another",
                json!({ "parallelism": 3, "mode": "overwrite" }),
                many(0..300),
            )
            .await
            .expect("it loads");
        }
        self.assert_clean().await;
    }

    /// Nothing of a load's own is left.
    pub(crate) async fn assert_clean(&self) {
        assert!(
            self.rows("SELECT relname FROM pg_class WHERE relname LIKE 'arrowload_part%'")
                .await
                .is_empty()
        );
        assert!(
            self.rows("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
                .await
                .is_empty()
        );
    }
}

fn detail(report: &LoadReport, key: &str) -> String {
    report
        .details
        .get(key)
        .map(|value| value.to_string().trim_matches('"').to_owned())
        .unwrap_or_default()
}

const SUM: &str = "SELECT count(*), count(DISTINCT id), sum(id) FROM t";

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_has_a_way_to_share() {
    let Some(database) = database("share").await else {
        return;
    };
    let options = |mode: &str| json!({ "parallelism": 3, "mode": mode, "keys": ["id"] });
    let report = database
        .load_many("t", options("append"), many(0..5_000))
        .await
        .expect("a new table");
    assert_eq!(
        (
            detail(&report, "copy").as_str(),
            detail(&report, "connections").as_str(),
            report.rows
        ),
        ("renamed", "3", 5_000)
    );
    assert_eq!(
        database
            .rows(
                "SELECT conname FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'p'"
            )
            .await,
        ["t_pkey"]
    );
    let report = database
        .load_many("t", options("append"), many(5_000..10_000))
        .await
        .expect("an append");
    assert_eq!(
        (detail(&report, "copy").as_str(), report.rows),
        ("prepared transactions", 5_000)
    );
    assert_eq!(database.rows(SUM).await, ["10000|10000|49995000"]);
    let report = database
        .load_many(
            "t",
            options("upsert"),
            [many(9_000..11_000), many(10_500..12_000)].concat(),
        )
        .await
        .expect("an upsert");
    let keys = report.keys.expect("counts");
    assert_eq!(
        (
            detail(&report, "copy").as_str(),
            keys.inserted,
            keys.updated,
            keys.duplicate
        ),
        ("staged", 2_000, 1_000, 500)
    );
    let report = database
        .load_many("t", options("overwrite"), many(0..100))
        .await
        .expect("an overwrite");
    assert_eq!(
        (detail(&report, "copy").as_str(), report.rows),
        ("staged", 100)
    );
    assert_eq!(database.rows(SUM).await, ["100|100|4950"]);
    let with_sql = json!({ "parallelism": 3, "pre_sql": "DELETE FROM t WHERE id < 50", "post_sql": "CREATE TABLE seen AS SELECT count(*) FROM t" });
    let report = database
        .load_many("t", with_sql, many(100..600))
        .await
        .expect("SQL of the user's");
    assert_eq!(detail(&report, "copy"), "staged");
    assert_eq!(database.rows("SELECT * FROM seen").await, ["550"]);
    database.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_row_of_a_key_wins_whoever_copies_it() {
    let Some(database) = database("share_last").await else {
        return;
    };
    let rounds: Vec<RecordBatch> = (0..60)
        .map(|round| people(0..100, &format!("{round}-")))
        .collect();
    database
        .load_many(
            "t",
            json!({ "parallelism": 4, "mode": "upsert", "keys": ["id"] }),
            rounds,
        )
        .await
        .expect("an upsert");
    assert_eq!(
        database
            .rows("SELECT count(*) FROM t WHERE name = '59-' || id")
            .await,
        ["100"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_on_one_connection_leaves_nothing() {
    let Some(database) = database("share_error").await else {
        return;
    };
    database.run("CREATE TABLE t (id bigint CHECK (id <> 3210), name text, UNIQUE (id) DEFERRABLE INITIALLY DEFERRED); INSERT INTO t VALUES (-1, '')").await;
    let refused = |mode: &'static str, batches: Vec<RecordBatch>| {
        let database = &database;
        async move {
            database
                .load_many("t", json!({ "parallelism": 3, "mode": mode }), batches)
                .await
                .expect_err("refused")
        }
    };
    let is_row = |error: &Error, row: &str| {
        assert_eq!(
            (error.kind(), error.get("row")),
            (ErrorKind::InvalidData, Some(row)),
            "{error}"
        )
    };
    is_row(&refused("append", many(0..5_000)).await, "3210");
    // What the server checks at the end only: one connection refuses to prepare.
    let error = refused("append", [many(0..3_000), many(-1..50)].concat()).await;
    assert_eq!(
        (error.kind(), error.get("sqlstate")),
        (ErrorKind::InvalidData, Some("23505")),
        "{error}"
    );
    let error = refused("overwrite", many(3_000..5_000)).await;
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    assert_eq!(database.rows("SELECT count(*) FROM t").await, ["1"]);
    database.assert_clean().await;
    let error = database
        .load_many(
            "u",
            json!({ "parallelism": 2, "freeze": true }),
            many(0..10),
        )
        .await
        .expect_err("freeze");
    assert!(
        error.kind() == ErrorKind::InvalidOption && error.to_string().contains("freeze"),
        "{error}"
    );
    let nul = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1]))),
        (
            "name",
            Arc::new(arrow_array::StringArray::from(vec!["a\0"])),
        ),
    ]);
    let error = database
        .load_many(
            "u",
            json!({ "parallelism": 2 }),
            [many(0..1_000), vec![nul]].concat(),
        )
        .await
        .expect_err("a NUL byte");
    is_row(&error, "1000");
    assert!(
        database
            .rows("SELECT 1 FROM pg_class WHERE relname = 'u'")
            .await
            .is_empty()
    );
    database.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeating_a_shared_load_writes_nothing() {
    let Some(database) = database("share_again").await else {
        return;
    };
    let options = json!({ "parallelism": 2, "load_id": "once" });
    for again in [false, true, true] {
        let report = database
            .load_many("t", options.clone(), many(0..1_000))
            .await
            .expect("a load");
        assert_eq!((report.already_loaded, report.rows), (again, 1_000));
    }
    // Several at once, of a load into the table that is there now. The second may end what the first has prepared: it is the
    // first's load all the same.
    for round in 0..10 {
        let options = json!({ "parallelism": 2, "load_id": format!("at once {round}") });
        let loads = (0..4).map(|_| {
            database.load_many(
                "t",
                options.clone(),
                many(1_000 + 200 * round..1_200 + 200 * round),
            )
        });
        let reports = futures::future::join_all(loads)
            .await
            .into_iter()
            .collect::<Result<Vec<_>>>()
            .expect("loads");
        assert_eq!(
            reports
                .iter()
                .filter(|report| !report.already_loaded)
                .count(),
            1,
            "{reports:?}"
        );
    }
    assert_eq!(database.rows(SUM).await, ["3000|3000|4498500"]);
    database.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_is_completed_or_undone_by_the_next() {
    let Some(database) = database("share_cut").await else {
        return;
    };
    database
        .load_many("t", json!({ "load_id": "first" }), many(0..100))
        .await
        .expect("a load");
    // As a client leaves it that was killed between the commits: the load is recorded, a part of it prepared; and as one that was
    // killed before.
    let base = database
        .rows(
            "SELECT 'arrowload:' || left(md5(current_database() || ' ' || '\"public\".\"t\"'), 16)",
        )
        .await;
    let (committed, never) = (
        format!("{}:0123456789abcdef:0", base[0]),
        format!("{}:fedcba9876543210:0", base[0]),
    );
    database
        .run("UPDATE arrowload_loads SET attempt = '0123456789abcdef' WHERE load_id = 'first'")
        .await;
    database
        .run(&format!(
            "BEGIN; INSERT INTO t VALUES (-1, 'late'); PREPARE TRANSACTION '{committed}'"
        ))
        .await;
    database
        .run(&format!(
            "BEGIN; INSERT INTO t VALUES (-2, 'never'); PREPARE TRANSACTION '{never}'"
        ))
        .await;
    database
        .run("CREATE TABLE arrowload_part_0123456789abcdef (a int)")
        .await;
    let report = database
        .load_many("t", json!({ "load_id": "first" }), many(0..100))
        .await
        .expect("a repeat");
    assert!(report.already_loaded);
    assert_eq!(database.rows("SELECT id FROM t WHERE id < 0").await, ["-1"]);
    database
        .load_many(
            "t",
            json!({ "parallelism": 2, "mode": "overwrite" }),
            many(0..10),
        )
        .await
        .expect("an overwrite");
    database.assert_clean().await;
}
