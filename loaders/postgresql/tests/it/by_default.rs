//! Nothing is said of connections: a large load into a new table, and the reading of a large one, take as many as are free, and
//! change nothing else.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrowload_core::{BatchStream, Input, LoadReport, Mode, Query, load, plan_load};
use futures::StreamExt;
use serde_json::json;

use crate::parallel::detail;
use crate::server::{Database, database};
use crate::support::{batch, input, people, spec, with};

/// More than the bytes from which on a load is shared, 1 MiB a batch.
fn large() -> Vec<RecordBatch> {
    let rows = |start: i64| {
        let texts = StringArray::from_iter_values((start..start + 256).map(|id| {
            let mut text = id.to_string();
            text.push_str(&"x".repeat(4096 - text.len()));
            text
        }));
        let ids = Int64Array::from_iter_values(start..start + 256);
        batch(vec![
            ("id", Arc::new(ids) as _),
            ("filler", Arc::new(texts) as _),
        ])
    };
    (0..24).map(|number| rows(number * 256)).collect()
}

/// Whether this machine has cores for more than one connection.
fn several() -> bool {
    std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1)
}

impl Database {
    async fn load_large(&self, mode: Mode) -> LoadReport {
        self.run("DROP TABLE IF EXISTS t").await;
        let loaded = load(&self.loader().await, &spec("t", mode), &input(&large())).await;
        let report = loaded.unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(report.rows, 6_144);
        let sums = "SELECT count(*), count(DISTINCT id), sum(id), min(length(filler)), max(length(filler)) FROM t";
        assert_eq!(self.rows(sums).await, ["6144|6144|18871296|4096|4096"]);
        self.assert_clean().await;
        report
    }

    /// The same load, where several connections cannot or should not share it.
    async fn is_loaded_by_one(&self, why: &str) {
        let report = self.load_large(Mode::Create).await;
        assert_eq!(detail(&report, "copy"), "direct", "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_new_table_is_filled_by_several_connections_and_a_small_one_by_one() {
    let Some(database) = database("large_load").await else {
        return;
    };
    for mode in [Mode::Create, Mode::Append, Mode::Overwrite] {
        let report = database.load_large(mode).await;
        let copied = if several() { "renamed" } else { "direct" };
        assert_eq!(detail(&report, "copy"), copied);
        // It is known by its id, as every load is.
        let mut again = spec("t", mode);
        again.load.load_id = Some(report.load_id.clone());
        let loader = database.loader().await;
        let again = load(&loader, &again, &input(&large())).await;
        assert!(again.expect("it is known").already_loaded);
    }
    let report = database
        .load(&spec("small", Mode::Create), &people(0..10, "n"))
        .await;
    assert_eq!(detail(&report, "copy"), "direct");
    let rows = BatchStream::from_batches(large()[0].schema(), large());
    let loader = database.loader().await;
    let plan = plan_load(&loader, &spec("other", Mode::Create), &Input::stream(rows)).await;
    let plan = plan.expect("a plan");
    assert_eq!(
        plan.resources[0].contains("a load of 16 MiB and more"),
        several(),
        "{plan:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_loads_where_no_others_are_free_or_they_would_be_seen() {
    let Some(database) = database("large_alone").await else {
        return;
    };
    if !several() {
        return;
    }
    let name = database.rows("SELECT current_database()").await[0].clone();
    database
        .run(&format!("ALTER DATABASE {name} CONNECTION LIMIT 0"))
        .await;
    database.is_loaded_by_one("no connections are left").await;
    database
        .run(&format!("ALTER DATABASE {name} CONNECTION LIMIT -1"))
        .await;
    database
        .run("CREATE PUBLICATION everything FOR ALL TABLES")
        .await;
    database
        .is_loaded_by_one("a subscriber would be sent a table of the load's own")
        .await;
    database.run("DROP PUBLICATION everything").await;
    // What is created stays, says a trigger.
    database
        .run(
            "CREATE FUNCTION stays() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF current_setting('application_name') = 'arrowload' THEN RAISE 'it stays'; END IF; END $$; \
             CREATE EVENT TRIGGER stays ON sql_drop EXECUTE FUNCTION stays()",
        )
        .await;
    database
        .is_loaded_by_one("its table cannot be dropped again")
        .await;
    database.run("DROP EVENT TRIGGER stays").await;
    // What else is done in the load's transaction may be what the table is made with.
    database.run("DROP TABLE IF EXISTS t").await;
    let with_sql = with("t", json!({ "mode": "create", "pre_sql": "SELECT 1" }));
    let loaded = load(&database.loader().await, &with_sql, &input(&large())).await;
    assert_eq!(detail(&loaded.expect("it loads"), "copy"), "direct");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_table_is_read_by_several_connections_in_its_order() {
    let Some(database) = database("large_read").await else {
        return;
    };
    // More than 32 MiB.
    database
        .run(
            "CREATE TABLE t AS SELECT i::bigint AS id, repeat('x', 300) AS filler FROM generate_series(1, 120000) i; \
             DELETE FROM t WHERE id % 1000 = 7",
        )
        .await;
    let source = database.source(&[("application_name", "reader")]).await;
    let mut stream = source
        .query(&Query::new("SELECT id FROM t WHERE id > 10"))
        .await
        .expect("a stream");
    let used = database
        .rows("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'reader' AND backend_xmin IS NOT NULL")
        .await;
    let many = database.rows("SHOW server_version_num").await[0]
        .parse::<i32>()
        .expect("a number")
        >= 140_000;
    assert_eq!(used[0] != "1", several() && many, "{used:?}");
    database.run("DELETE FROM t WHERE id > 60000").await;
    let mut ids = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = batch.expect("a batch");
        ids.extend_from_slice(batch.column(0).as_primitive::<Int64Type>().values());
    }
    let expected: Vec<i64> = (11..=120_000).filter(|id| id % 1000 != 7).collect();
    assert!(ids == expected, "{} rows, or another order", ids.len());
    // Who may not lend a snapshot reads alone.
    database
        .run(
            "DROP ROLE IF EXISTS arrowload_alone; CREATE ROLE arrowload_alone LOGIN; GRANT SELECT ON t TO arrowload_alone; \
             REVOKE EXECUTE ON FUNCTION pg_catalog.pg_export_snapshot() FROM PUBLIC",
        )
        .await;
    let alone = database.source(&[("user", "arrowload_alone")]).await;
    let query = Query::new("SELECT id FROM t WHERE id > 10");
    let mut stream = alone.query(&query).await.expect("a stream");
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        rows += batch.expect("a batch").num_rows();
    }
    assert_eq!(rows, 59_931);
    database
        .run("DROP OWNED BY arrowload_alone; DROP ROLE arrowload_alone")
        .await;
    // An error comes, and where it is.
    let mut stream = source
        .query(&Query::new("SELECT 1 / (id - 50000) AS v FROM t"))
        .await
        .expect("a stream");
    let mut failed = false;
    while let Some(batch) = stream.next().await {
        failed |= batch.is_err();
    }
    assert!(failed);
}
