//! The conformance suite over hashes.

use std::path::Path;

use arrow_array::RecordBatch;
use arrowload_core::{LoaderDescriptor, Settings};
use arrowload_testkit::{Subject, check_support_table, conformance};
use futures::FutureExt;
use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;

use crate::reader;
use crate::support::{self, Database};

struct Hashes(Database, MultiplexedConnection);

impl Subject for Hashes {
    fn descriptor(&self) -> LoaderDescriptor {
        support::descriptor()
    }

    fn connection(&self) -> Settings {
        self.0.settings()
    }

    fn never_kept(&self) -> &[&'static str] {
        // Keys of one load become visible together only under `overwrite = generation`, or where one key holds all rows.
        &["atomicity"]
    }

    fn read<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<Option<RecordBatch>, String>> {
        async move { reader::read(&mut self.1.clone(), target).await }.boxed()
    }
}

/// What arrives as JSON, which the reader does not turn back: see `values.rs` for those.
const AS_JSON: [&str; 13] = [
    "type List(Int32)",
    "type LargeList(Int32)",
    "type ListView(Int32)",
    "type LargeListView(Int32)",
    "type FixedSizeList(2 x Float32)",
    "type List(Utf8)",
    "type List(List(Int32))",
    "type Struct",
    "type Struct(Struct, List)",
    "type List(Struct)",
    "type Map(Utf8, Int64)",
    "type Union(dense)",
    "type Union(sparse)",
];

#[tokio::test(flavor = "multi_thread")]
async fn hashes_keep_their_promises() {
    let Some(database) = Database::new() else {
        return;
    };
    let connection = reader::connect(&database.url()).await;
    let report = conformance(&Hashes(database, connection)).await;
    let is_known =
        |name: &str, why: &str| AS_JSON.contains(&name) && why.contains("rows should be there");
    let failures: Vec<_> = report
        .failures()
        .into_iter()
        .filter(|(name, why)| !is_known(name, why))
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");
    check_support_table(
        &report,
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"),
    );
}
