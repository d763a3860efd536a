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

#[tokio::test(flavor = "multi_thread")]
async fn hashes_keep_their_promises() {
    let Some(database) = Database::new() else {
        return;
    };
    let connection = reader::connect(&database.url()).await;
    let report = conformance(&Hashes(database, connection)).await;
    let failures = report.failures();
    assert!(failures.is_empty(), "{failures:#?}");
    check_support_table(
        &report,
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/types/redis.md"),
    );
}
