//! The conformance suite over folders of Parquet and of Arrow IPC, read back by pyarrow.

use std::path::Path;

use arrow_array::RecordBatch;
use arrowload_core::{LoaderDescriptor, Settings};
use arrowload_file::FileLoader;
use arrowload_testkit::{Subject, check_support_table, conformance, python};
use futures::FutureExt;
use futures::future::BoxFuture;
use tempfile::TempDir;

/// Targets are folders, which can be added to.
struct Folders(TempDir);

impl Subject for Folders {
    fn descriptor(&self) -> LoaderDescriptor {
        LoaderDescriptor::of::<FileLoader>(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
    }

    fn connection(&self) -> Settings {
        let mut settings = Settings::new();
        settings.set("root", self.0.path().display().to_string(), "the test");
        settings
    }

    fn target(&self, name: &str) -> String {
        format!("{name}/")
    }

    fn read<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<Option<RecordBatch>, String>> {
        async move { python::read("parquet", &self.0.path().join(target)) }.boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_parquet_keep_their_promises() {
    if python::available() {
        let report = conformance(&Folders(tempfile::tempdir().expect("a folder"))).await;
        report.assert();
        check_support_table(&report, &Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    }
}
