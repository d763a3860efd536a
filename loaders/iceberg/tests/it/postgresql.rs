//! A SQL catalog in PostgreSQL, with its warehouse on the local disk.

use std::path::Path;
use std::sync::Arc;

use arrowload_iceberg::IcebergLoader;
use arrowload_testkit::{ThrowawayPostgres, loads};
use serde_json::json;

use crate::support::{available, rows, script};

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_in_postgresql_commits_one_writer_after_the_other() {
    let (Some(server), true) = (ThrowawayPostgres::available(), available()) else {
        return;
    };
    let url = server
        .create_database("iceberg_catalog")
        .expect("a database");
    let folder = tempfile::tempdir().expect("a folder");
    let options = Arc::new(json!({"catalog_uri": url, "warehouse": folder.path()}));
    let run = |first: i64, mode: &'static str| {
        let options = Arc::clone(&options);
        async move {
            let mut options = options.as_ref().clone();
            options["mode"] = json!(mode);
            if mode == "upsert" {
                options["keys"] = json!(["id"]);
            }
            let rows = rows(first..first + 10);
            loads::run::<IcebergLoader>(Path::new("t"), &rows, options).await
        }
    };
    run(0, "append").await.expect("a new table");
    let writers: Vec<_> = (1..5)
        .map(|writer| tokio::spawn(run(writer * 10, "append")))
        .collect();
    for writer in writers {
        writer.await.expect("it ends").expect("an append");
    }
    run(45, "upsert").await.expect("an upsert");
    let location = server.psql(
        "iceberg_catalog",
        "SELECT metadata_location FROM iceberg_tables WHERE table_namespace = 'default' AND table_name = 't'",
    );
    let said = script(
        "from pyiceberg.table import StaticTable\n\
         table = StaticTable.from_metadata(sys.argv[2])\n\
         rows = table.scan().to_arrow().to_pylist()\n\
         print(json.dumps([sorted(row['id'] for row in rows), len(table.metadata.snapshots)]))",
        &["", "", location.expect("an answer").trim()],
    );
    assert_eq!(said, json!([(0..55).collect::<Vec<_>>(), 6]));
}
