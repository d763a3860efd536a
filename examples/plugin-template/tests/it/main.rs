//! The conformance suite, with pyarrow as the reader.

use std::path::Path;

use arrow_array::RecordBatch;
use arrowload_core::{LoaderDescriptor, Settings};
use arrowload_plugin_template::PluginTemplateLoader;
use arrowload_testkit::{Subject, check_support_table, conformance, python};
use futures::FutureExt;
use futures::future::BoxFuture;
use tempfile::TempDir;

struct Folder(TempDir);

impl Subject for Folder {
    fn descriptor(&self) -> LoaderDescriptor {
        LoaderDescriptor::of::<PluginTemplateLoader>(
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
        )
    }

    fn connection(&self) -> Settings {
        let mut settings = Settings::new();
        settings.set("root", self.0.path().display().to_string(), "the test");
        settings
    }

    fn read<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<Option<RecordBatch>, String>> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let name: String = target
            .bytes()
            .map(|byte| {
                if plain(&byte) {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect();
        async move { python::read("arrows", &self.0.path().join(name)) }.boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_its_promises() {
    if python::available() {
        let report = conformance(&Folder(tempfile::tempdir().expect("a folder"))).await;
        report.assert();
        check_support_table(
            &report,
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"),
        );
    }
}
