//! `parallelism`: several connections fill a new table, and still all rows arrive or none, once; any other load has one.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use arrowload_core::{BatchStream, Error, ErrorKind, Input, LoadReport, Result, load, plan_load};
use serde_json::{Value, json};

use futures::StreamExt;

use crate::server::{Database, database};
use crate::support::{batch, input, people, query, with};

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
            self.run("DROP TABLE IF EXISTS another").await;
            self.load_many("another", json!({ "parallelism": 3 }), many(0..300))
                .await
                .expect("it loads");
        }
        self.assert_clean().await;
    }

    /// Nothing of a load's own is left.
    pub(crate) async fn assert_clean(&self) {
        let parts = "SELECT relname FROM pg_class WHERE relname LIKE 'arrowload_part%'";
        assert_eq!(self.rows(parts).await, [] as [String; 0]);
    }
}

pub(crate) fn detail(report: &LoadReport, key: &str) -> String {
    report
        .details
        .get(key)
        .map(|value| value.to_string().trim_matches('"').to_owned())
        .unwrap_or_default()
}

const SUM: &str = "SELECT count(*), count(DISTINCT id), sum(id) FROM t";

#[tokio::test(flavor = "multi_thread")]
async fn new_tables_are_shared_and_others_are_not() {
    let Some(database) = database("share").await else {
        return;
    };
    let how = |report: &LoadReport| (detail(report, "copy"), detail(report, "connections"));
    let is = |copy: &str, connections: &str| (copy.to_owned(), connections.to_owned());
    let options = |mode: &str| json!({ "parallelism": 3, "mode": mode, "keys": ["id"] });
    let load = async |mode: &str, batches| {
        let loaded = database.load_many("t", options(mode), batches).await;
        loaded.unwrap_or_else(|error| panic!("{mode}: {error:?}"))
    };
    for mode in ["create", "append", "overwrite"] {
        database.run("DROP TABLE IF EXISTS t").await;
        let report = load(mode, many(0..5_000)).await;
        assert_eq!((how(&report), report.rows), (is("renamed", "3"), 5_000));
        let primary =
            "SELECT conname FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'p'";
        assert_eq!(database.rows(primary).await, ["t_pkey"]);
    }
    let report = load("append", many(5_000..10_000)).await;
    assert_eq!((how(&report), report.rows), (is("direct", "1"), 5_000));
    assert_eq!(database.rows(SUM).await, ["10000|10000|49995000"]);
    let report = load("upsert", many(9_000..11_000)).await;
    assert_eq!(how(&report), is("staged", "1"));
    let report = load("overwrite", many(0..100)).await;
    assert_eq!(how(&report), is("direct", "1"));
    assert_eq!(database.rows(SUM).await, ["100|100|4950"]);
    let with_sql = json!({ "parallelism": 3, "pre_sql": "CREATE TABLE seen (rows bigint)", "post_sql": "INSERT INTO seen SELECT count(*) FROM new" });
    let report = database
        .load_many("new", with_sql, many(100..600))
        .await
        .expect("SQL of the user's");
    assert_eq!(how(&report), is("renamed", "3"));
    assert_eq!(database.rows("SELECT * FROM seen").await, ["500"]);
    database.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_how_many_connections_copy_and_why() {
    let Some(database) = database("share_plan").await else {
        return;
    };
    database
        .run("CREATE TABLE t (id bigint PRIMARY KEY, name text)")
        .await;
    let loader = database.loader().await;
    for (target, options, words) in [
        ("new", json!({ "parallelism": 3 }), "4 connections to"),
        ("new", json!({}), "1 connection to"),
        (
            "new",
            json!({ "parallelism": 99 }),
            "pool_size allows no more",
        ),
        ("t", json!({ "parallelism": 3 }), "the table is there"),
        (
            "new",
            json!({ "parallelism": 3, "mode": "upsert", "keys": ["id"] }),
            "an upsert stages its rows on one",
        ),
        (
            "new",
            json!({ "parallelism": 3, "verify": "checksum" }),
            "verify = checksum",
        ),
        (
            "new",
            json!({ "parallelism": 3, "on_error": "skip" }),
            "on_error = skip",
        ),
    ] {
        let rows = people(0..1, "a");
        let plan = plan_load(&loader, &with(target, options), &input(&[rows]))
            .await
            .expect("a plan");
        assert!(
            plan.resources.iter().any(|line| line.contains(words)),
            "{words}: {:?}",
            plan.resources
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_on_one_connection_leaves_nothing() {
    let Some(database) = database("share_error").await else {
        return;
    };
    let is_row = |error: &Error, row: u64| {
        assert_eq!(
            (error.kind(), error.row()),
            (ErrorKind::InvalidData, Some(row)),
            "{error}"
        )
    };
    // A key that comes twice, to whichever connections.
    let twice = [many(0..3_000), many(2_990..3_050)].concat();
    let keyed = json!({ "parallelism": 3, "keys": ["id"] });
    let error = database.load_many("u", keyed, twice).await;
    let error = error.expect_err("a duplicate");
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::InvalidData, Some("23505")),
        "{error}"
    );
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
    // The other connection is done before the load is undone, or it is not.
    for _ in 0..20 {
        let batches = [many(0..1_000), vec![nul.clone()]].concat();
        let loaded = database.load_many("u", json!({ "parallelism": 2 }), batches);
        is_row(&loaded.await.expect_err("a NUL byte"), 1000);
        database.assert_clean().await;
    }
    assert!(
        database
            .rows("SELECT 1 FROM pg_class WHERE relname = 'u'")
            .await
            .is_empty()
    );
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
    // Several at once, which all find no table, and of which one creates it.
    let loader = database.loader().await;
    for round in 0..10 {
        let target = format!("t{round}");
        let rows = people(0..1_000, "n");
        let loads = (0..4).map(|_| {
            let mut spec = with(
                &target,
                json!({ "parallelism": 2, "batch_size": 100, "load_id": "at once", "max_retries": 9 }),
            );
            spec.load.max_retries = 9;
            let (loader, rows) = (&loader, query(&rows));
            async move { load(loader, &spec, &rows).await }
        });
        let reports = futures::future::join_all(loads)
            .await
            .into_iter()
            .collect::<Result<Vec<_>>>()
            .expect("loads");
        let fresh = reports.iter().filter(|report| !report.already_loaded);
        assert_eq!(fresh.count(), 1, "{reports:?}");
        let count = format!("SELECT count(*) FROM {target}");
        assert_eq!(database.rows(&count).await, ["1000"]);
    }
    database.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_is_removed_and_what_is_under_way_is_not() {
    let Some(database) = database("share_cut").await else {
        return;
    };
    let of_load = |random: u32| {
        let check = random.wrapping_mul(0x9e37_79b1) ^ 0x6172_6c64;
        format!("arrowload_part_{random:08x}{check:08x}")
    };
    let (left, held) = (of_load(0x0123_4567), of_load(0xfedc_ba98));
    // Somebody else's, with a name that only looks so.
    let strange = "arrowload_part_0123456789abcdef";
    database
        .run(&format!(
            "CREATE TABLE {left} (a int); CREATE TABLE {held} (a int); CREATE TABLE {strange} (a int)"
        ))
        .await;
    let error = database.load_many(&left, json!({}), many(0..10)).await;
    let error = error.expect_err("a name that loads remove");
    assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
    // As the load holds it to which the second belongs.
    let holder = database.client().await;
    holder
        .batch_execute(&format!(
            "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('\"public\".\"{held}\"', 0))"
        ))
        .await
        .expect("locked");
    let load = |target: &'static str| {
        database.load_many(target, json!({ "parallelism": 2 }), many(0..300))
    };
    // One connection is enough.
    let alone = database.load_many("alone", json!({}), many(0..10)).await;
    alone.expect("loaded");
    let parts = "SELECT relname FROM pg_class WHERE relname LIKE 'arrowload_part%' ORDER BY 1";
    assert_eq!(database.rows(parts).await, [strange, &held]);
    holder.batch_execute("ROLLBACK").await.expect("ended");
    load("second").await.expect("loaded");
    assert_eq!(database.rows(parts).await, [strange]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_waits_for_others_is_not_ended_for_being_idle() {
    let Some(database) = database("share_idle").await else {
        return;
    };
    let name = database.rows("SELECT current_database()").await[0].clone();
    let idle = format!("ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '200ms'");
    database.run(&idle).await;
    let batches = many(0..300);
    let slow = futures::stream::iter(batches.clone()).then(|batch| async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        Ok(batch)
    });
    let mut spec = with("t", json!({ "parallelism": 2, "batch_size": 100 }));
    spec.load.max_retries = 0;
    let rows = Input::stream(BatchStream::new(batches[0].schema(), slow));
    let loader = database.loader().await;
    load(&loader, &spec, &rows).await.expect("loaded");
    assert_eq!(database.rows("SELECT count(*) FROM t").await, ["300"]);
    database.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_publication_would_send_their_table_connections_do_not_share() {
    let Some(database) = database("share_published").await else {
        return;
    };
    let version = database.rows("SHOW server_version_num").await[0].clone();
    let of_schema = (version.as_str() >= "150000").then_some("TABLES IN SCHEMA public");
    for what in std::iter::once("ALL TABLES").chain(of_schema) {
        let publish = format!("CREATE PUBLICATION everything FOR {what}");
        database.run(&publish).await;
        let spec = with("t", json!({ "parallelism": 3 }));
        let loader = database.loader().await;
        let rows = input(&[people(0..1, "n")]);
        let plan = plan_load(&loader, &spec, &rows).await.expect("a plan");
        assert!(plan.resources[0].contains("publication"), "{plan:?}");
        let report = database.load_many("t", json!({ "parallelism": 3 }), many(0..300));
        let report = report.await.expect("loaded");
        assert_eq!(detail(&report, "connections"), "1");
        database.run("DROP TABLE t").await;
        database.run("DROP PUBLICATION everything").await;
    }
}
