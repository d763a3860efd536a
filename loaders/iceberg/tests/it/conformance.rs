//! The conformance suite over tables on the local disk with a catalog in SQLite, read back by PyIceberg.

use std::path::Path;

use arrow_array::RecordBatch;
use arrowload_core::{LoaderDescriptor, Settings};
use arrowload_testkit::{Subject, check_support_table, conformance, python};
use futures::FutureExt;
use futures::future::BoxFuture;
use tempfile::TempDir;

struct Tables(TempDir);

impl Subject for Tables {
    fn descriptor(&self) -> LoaderDescriptor {
        crate::support::descriptor()
    }

    fn connection(&self) -> Settings {
        let mut settings = Settings::new();
        let path = self.0.path().display().to_string();
        settings.set("warehouse", path, "the test");
        settings
    }

    fn read<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<Option<RecordBatch>, String>> {
        async move { python::iceberg(&self.0.path().join("catalog.db"), target) }.boxed()
    }

    fn case_sensitive_columns(&self) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_keep_their_promises() {
    if crate::support::available() {
        let report = conformance(&Tables(tempfile::tempdir().expect("a folder"))).await;
        report.assert();
        check_support_table(
            &report,
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/types/iceberg.md"),
        );
    }
}
