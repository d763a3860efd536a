//! Arrow's own example in Go, SQLite behind Flight SQL: a server that binds parameters, changes rows, has transactions, and
//! lists what it has.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrowload_core::{DataSource, Listed, Listing, Param, Params, Query};
use arrowload_flight_sql::FlightSqlSource;
use futures::TryStreamExt;

use crate::servers::{Server, same_as_adbc, start_program};
use crate::{ids, rows};

/// The program's path, set by the task that builds it where there is Go.
const PROGRAM: &str = "ARROWLOAD_FLIGHT_SQL_SQLITE";

async fn sqlite() -> Option<(Server, FlightSqlSource)> {
    let Some(program) = std::env::var_os(PROGRAM) else {
        arrowload_testkit::skip(
            "flight-sql-sqlite",
            &format!("{PROGRAM} does not say where the server is"),
        );
        return None;
    };
    let arguments = |port: &str, _: &std::path::Path| {
        ["-host", "127.0.0.1", "-port", port]
            .map(str::to_owned)
            .to_vec()
    };
    start_program(program.into(), arguments).await
}

async fn names(source: &FlightSqlSource, listing: Listing, column: &str) -> Vec<String> {
    let batches: Vec<_> = source
        .list(&listing)
        .await
        .expect("a listing")
        .try_collect()
        .await
        .expect("rows");
    let texts = batches.iter().flat_map(|batch| {
        let column = batch
            .column_by_name(column)
            .expect(column)
            .as_string::<i32>()
            .clone();
        (0..column.len())
            .map(move |row| column.value(row).to_owned())
            .collect::<Vec<_>>()
    });
    texts.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_read_as_adbc_reads_it() {
    let Some((server, source)) = sqlite().await else {
        return;
    };
    if arrowload_testkit::python::available() {
        for sql in [
            "SELECT * FROM intTable ORDER BY id",
            "SELECT keyName, value * 1.5 AS real FROM intTable WHERE id < 3",
        ] {
            same_as_adbc(&server, &source, sql).await;
        }
    }
    let error = rows(&source, &Query::new("SELECT * FROM nosuch"))
        .await
        .expect_err("no table");
    assert!(error.to_string().contains("nosuch"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_bound_and_rows_changed() {
    let Some((_server, source)) = sqlite().await else {
        return;
    };
    let positional = |values: Vec<Param>| Params::Positional(values);
    let select = |name: &str| {
        Query::new("SELECT id FROM intTable WHERE keyName = ? AND value < ?")
            .with_params(positional(vec![name.into(), 10_i64.into()]))
    };
    assert_eq!(
        ids(&rows(&source, &select("one")).await.expect("rows")),
        [1]
    );
    assert_eq!(
        ids(&rows(&source, &select("one' OR '1'='1"))
            .await
            .expect("rows")),
        [0_i64; 0]
    );
    let insert = Query::new("INSERT INTO intTable (keyName, value) VALUES (?, ?)")
        .with_params(positional(vec!["it's".into(), 5_i64.into()]));
    assert_eq!(source.execute(&insert).await.expect("inserted"), Some(1));
    assert_eq!(
        source
            .execute(&Query::new(
                "UPDATE intTable SET value = 6 WHERE value >= 0"
            ))
            .await
            .expect("updated"),
        Some(3)
    );
    assert_eq!(
        ids(&rows(&source, &select("it's")).await.expect("rows")).len(),
        1
    );
    source
        .execute(&Query::new("CREATE TABLE other (id INTEGER)"))
        .await
        .expect("created");
    let error = source
        .execute(&Query::new("UPDATE nosuch SET x = 1"))
        .await
        .expect_err("no table");
    assert!(error.to_string().contains("nosuch"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_kept_or_undone() {
    let Some((_server, source)) = sqlite().await else {
        return;
    };
    let insert = Query::new("INSERT INTO intTable (keyName, value) VALUES ('tx', 1)");
    let select = Query::new("SELECT id FROM intTable WHERE keyName = 'tx'");
    let undone = source.begin_transaction().await.expect("a transaction");
    assert_eq!(undone.execute(&insert).await.expect("inserted"), Some(1));
    let inside: Vec<_> = undone
        .query(&select)
        .await
        .expect("a stream")
        .try_collect()
        .await
        .expect("rows");
    assert_eq!(ids(&inside).len(), 1);
    undone.rollback().await.expect("rolled back");
    assert_eq!(ids(&rows(&source, &select).await.expect("rows")).len(), 0);
    let kept = source.begin_transaction().await.expect("a transaction");
    kept.execute(&insert).await.expect("inserted");
    kept.commit().await.expect("committed");
    assert_eq!(ids(&rows(&source, &select).await.expect("rows")).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_lists_what_it_has() {
    let Some((_server, source)) = sqlite().await else {
        return;
    };
    assert_eq!(
        names(&source, Listed::Catalogs.into(), "catalog_name").await,
        ["main"]
    );
    assert!(
        names(&source, Listed::TableTypes.into(), "table_type")
            .await
            .contains(&"table".to_owned())
    );
    let mut tables = names(&source, Listed::Tables.into(), "table_name").await;
    tables.sort_unstable();
    assert_eq!(tables, ["foreignTable", "intTable", "sqlite_sequence"]);
    let mut int = Listing::new(Listed::Tables);
    int.name = Some("int%".into());
    assert_eq!(names(&source, int, "table_name").await, ["intTable"]);
    assert!(
        names(&source, Listed::Types.into(), "type_name")
            .await
            .contains(&"integer".to_owned())
    );
    let info: Vec<_> = source
        .list(&Listed::Info.into())
        .await
        .expect("a listing")
        .try_collect()
        .await
        .expect("rows");
    assert!(info.iter().map(|batch| batch.num_rows()).sum::<usize>() > 5);
    source.ping().await.expect("it answers");
    assert_eq!(
        names(&source, Listed::Schemas.into(), "db_schema_name").await,
        [""]
    );
}
