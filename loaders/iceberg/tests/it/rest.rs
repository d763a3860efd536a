//! A REST catalog: the server that `ARROWLOAD_TEST_ICEBERG_REST_URL` names, whose warehouse is on the local disk.

use std::path::Path;

use arrow_array::RecordBatch;
use arrowload_core::{ErrorKind, LoadReport, Result};
use arrowload_iceberg::IcebergLoader;
use arrowload_testkit::{loads, skip};
use serde_json::{Value, json};

use crate::support::{available, rows, script};

/// The server, and a namespace that no other run has.
struct Server {
    url: String,
    namespace: String,
}

impl Server {
    fn find(test: &str) -> Option<Self> {
        let Ok(url) = std::env::var("ARROWLOAD_TEST_ICEBERG_REST_URL") else {
            let why =
                "ARROWLOAD_TEST_ICEBERG_REST_URL names no server of the Iceberg REST protocol";
            skip("iceberg-rest", why);
            return None;
        };
        let namespace = format!("{test}_{}", std::process::id());
        if !available() {
            return None;
        }
        let program = "from pyiceberg.catalog.rest import RestCatalog\n\
                       RestCatalog('rest', uri=sys.argv[2]).create_namespace(sys.argv[3])\n\
                       print(1)";
        script(program, &["", "", &url, &namespace]);
        Some(Self { url, namespace })
    }

    async fn run(
        &self,
        table: &str,
        batch: &RecordBatch,
        mut options: Value,
    ) -> Result<LoadReport> {
        options["catalog_type"] = json!("rest");
        options["catalog_uri"] = json!(self.url);
        options["namespace"] = json!(self.namespace);
        loads::run::<IcebergLoader>(Path::new(table), batch, options).await
    }

    /// A JSON value of an expression over `table`, a table of PyIceberg, and `rows`.
    fn ask(&self, table: &str, expression: &str) -> Value {
        let program = format!(
            "from pyiceberg.catalog.rest import RestCatalog\n\
             table = RestCatalog('rest', uri=sys.argv[2]).load_table((sys.argv[3], sys.argv[4]))\n\
             rows = table.scan().to_arrow().to_pylist()\n\
             print(json.dumps({expression}, default=str))"
        );
        script(&program, &["", "", &self.url, &self.namespace, table])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_is_one_commit_of_the_server() {
    let Some(server) = Server::find("modes") else {
        return;
    };
    let options = || json!({"partition_by": ["bucket(4, id)"], "load_id": "first"});
    let report = server.run("t", &rows(0..10), options()).await;
    assert_eq!(report.expect("a table").rows, 10);
    let again = server.run("t", &rows(0..10), options()).await;
    assert!(again.expect("the same load").already_loaded);
    server
        .run("t", &rows(10..20), json!({}))
        .await
        .expect("an append");
    let options = json!({"mode": "upsert", "keys": ["id"]});
    let report = server.run("t", &rows(15..25), options).await;
    let keys = report.expect("an upsert").keys.expect("counts");
    assert_eq!((keys.inserted, keys.updated), (5, 5));
    let said = server.ask(
        "t",
        "[sorted(row['id'] for row in rows), len(table.metadata.snapshots)]",
    );
    assert_eq!(said, json!([(0..25).collect::<Vec<_>>(), 3]));
    let options = json!({"mode": "overwrite"});
    server
        .run("t", &rows(7..9), options)
        .await
        .expect("an overwrite");
    assert_eq!(
        server.ask("t", "sorted(row['id'] for row in rows)"),
        json!([7, 8])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_there_is_not_created() {
    let Some(server) = Server::find("create") else {
        return;
    };
    server
        .run("t", &rows(0..2), json!({}))
        .await
        .expect("a table");
    let options = json!({"mode": "create"});
    let error = server
        .run("t", &rows(7..9), options)
        .await
        .expect_err("it is there");
    assert_eq!(error.kind(), ErrorKind::TargetExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_side_by_side_lose_nothing() {
    let Some(server) = Server::find("races") else {
        return;
    };
    let server = std::sync::Arc::new(server);
    server
        .run("t", &rows(0..1), json!({}))
        .await
        .expect("a table");
    let writers = (1..5_i64).map(|writer| {
        let server = std::sync::Arc::clone(&server);
        tokio::spawn(async move {
            let rows = rows(writer * 10..writer * 10 + 10);
            server.run("t", &rows, json!({})).await.expect("an append");
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("it ends");
    }
    let said = server.ask("t", "[len(rows), len({row['id'] for row in rows})]");
    assert_eq!(said, json!([41, 41]));
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_and_versions_are_those_of_the_load() {
    let Some(server) = Server::find("columns") else {
        return;
    };
    let wide = loads::batch([
        (
            "id",
            std::sync::Arc::new(arrow_array::Int64Array::from(vec![50])) as _,
        ),
        (
            "more",
            std::sync::Arc::new(arrow_array::Int64Array::from(vec![1])),
        ),
    ]);
    for version in [1, 2, 3] {
        let table = format!("v{version}");
        let options = json!({"format_version": version, "sort_by": ["id"]});
        server
            .run(&table, &rows(0..3), options)
            .await
            .expect("a table");
        let options = json!({"schema_evolution": true});
        server
            .run(&table, &wide, options)
            .await
            .expect("an evolving load");
        let said = server.ask(
            &table,
            "[table.format_version, len(rows), [f.name for f in table.schema().fields], len(table.sort_order().fields)]",
        );
        assert_eq!(said, json!([version, 4, ["id", "name", "more"], 1]));
    }
}
