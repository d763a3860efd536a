//! Tables in an object store: the conformance suite, read back by Python's `deltalake`, and writers at once.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrowload_core::{BatchStream, Input, LoadSpec, Loader, LoaderDescriptor, Settings, load};
use arrowload_testkit::{Subject, ThrowawayS3, conformance, python};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use serde_json::Value;

use crate::support::{descriptor, rows};

struct Bucket(Arc<ThrowawayS3>);

fn settings(store: &ThrowawayS3, path: &str) -> Settings {
    let options = store
        .options()
        .into_iter()
        .map(|(key, value)| (key.to_ascii_uppercase(), Value::from(value)))
        .collect();
    let mut settings = Settings::new();
    settings.set("table_path", store.url(path), "the test");
    settings.set("storage_options", Value::Object(options), "the test");
    settings
}

fn table(store: &ThrowawayS3, path: &str) -> Result<Option<RecordBatch>, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    store.copy(path, folder.path())?;
    python::read("delta", folder.path())
}

impl Subject for Bucket {
    fn descriptor(&self) -> LoaderDescriptor {
        descriptor()
    }

    fn connection(&self) -> Settings {
        settings(&self.0, "delta")
    }

    fn read<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<Option<RecordBatch>, String>> {
        async move { table(&self.0, &format!("delta/{target}/")) }.boxed()
    }

    fn case_sensitive_columns(&self) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_a_bucket_keep_their_promises() {
    let Some(store) = ThrowawayS3::available() else {
        return;
    };
    conformance(&Bucket(store)).await.assert();
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_need_no_lock_table() {
    let Some(store) = ThrowawayS3::available() else {
        return;
    };
    let writer = async |number: i64| {
        let loader = Loader::connect(&descriptor(), &settings(&store, "race"), 0)
            .await
            .expect("a loader");
        let batch = rows(number * 10..number * 10 + 10);
        let input = Input::stream(BatchStream::from_batches(
            batch.schema(),
            vec![batch.clone()],
        ));
        load(&loader, &LoadSpec::new("events"), &input)
            .await
            .expect("a load")
            .rows
    };
    writer(0).await;
    let loaded: u64 = join_all((1..9).map(writer)).await.into_iter().sum();
    let seen = table(&store, "race/events/")
        .expect("a table")
        .expect("rows");
    let mut ids: Vec<i64> =
        arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(seen.column(0))
            .values()
            .to_vec();
    ids.sort_unstable();
    assert_eq!((loaded, ids), (80, (0..90).collect()));
}
