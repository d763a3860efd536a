//! The reference implementation passes.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow_array::RecordBatch;
use arrowload_core::memory::{MemoryLoader, read_table};
use arrowload_core::{LoaderDescriptor, Settings};
use arrowload_testkit::{Subject, check_support_table, conformance};
use futures::FutureExt;
use futures::future::BoxFuture;

/// A store in memory under some loader.
pub(crate) struct InMemory {
    descriptor: LoaderDescriptor,
    database: String,
}

static STORES: AtomicU32 = AtomicU32::new(0);

impl InMemory {
    pub(crate) fn new(descriptor: LoaderDescriptor) -> Self {
        let number = STORES.fetch_add(1, Ordering::Relaxed);
        Self {
            descriptor,
            database: format!("conformance_{number}"),
        }
    }
}

impl Subject for InMemory {
    fn descriptor(&self) -> LoaderDescriptor {
        self.descriptor
    }

    fn connection(&self) -> Settings {
        let mut settings = Settings::new();
        settings.set("database", self.database.as_str(), "the test");
        settings
    }

    fn read<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<Option<RecordBatch>, String>> {
        async { Ok(read_table(&self.database, target)) }.boxed()
    }

    fn is_plugin(&self) -> bool {
        self.descriptor.name() == "memory"
    }

    fn streams(&self) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_loader_passes() {
    let report = conformance(&InMemory::new(LoaderDescriptor::of::<MemoryLoader>(
        "arrowload-core",
        "0",
    )))
    .await;
    report.assert();
    check_support_table(
        &report,
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../loader-core/README.md"),
    );
    assert!(report.cases().len() > 90, "{} cases", report.cases().len());
}
