//! Files in an object store: the conformance suite, and what an upload leaves behind.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrowload_core::{
    BatchStream, Error, ErrorKind, Input, LoadReport, LoadSpec, Loader, LoaderDescriptor, Mode,
    Settings, load,
};
use arrowload_testkit::{Subject, ThrowawayS3, conformance, python};
use futures::future::BoxFuture;
use futures::{FutureExt, stream};
use serde_json::Value;

use crate::support::{descriptor, rows};

/// Targets are folders of a bucket.
struct Bucket(Arc<ThrowawayS3>);

fn settings(store: &ThrowawayS3) -> Settings {
    let options = store
        .options()
        .into_iter()
        .map(|(key, value)| (key.to_owned(), Value::from(value)))
        .collect();
    let mut settings = Settings::new();
    settings.set("storage_options", Value::Object(options), "the test");
    settings
}

impl Subject for Bucket {
    fn descriptor(&self) -> LoaderDescriptor {
        descriptor()
    }

    fn connection(&self) -> Settings {
        let mut settings = settings(&self.0);
        settings.set("root", self.0.url("conformance"), "the test");
        settings
    }

    /// A folder of a bucket cannot be replaced at once, its files appear one after the other, and what is uploaded cannot be read
    /// before it is published.
    fn never_kept(&self) -> &[&'static str] {
        &["atomicity", "checksum", "overwrite"]
    }

    fn target(&self, name: &str) -> String {
        format!("{name}/")
    }

    fn read<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<Option<RecordBatch>, String>> {
        async move {
            let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
            self.0
                .copy(&format!("conformance/{target}"), folder.path())?;
            python::read("parquet", folder.path())
        }
        .boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_in_a_bucket_keep_their_promises() {
    let Some(store) = ThrowawayS3::available() else {
        return;
    };
    conformance(&Bucket(store)).await.assert();
}

async fn run(
    store: &ThrowawayS3,
    target: &str,
    mode: Mode,
    input: Input,
) -> Result<LoadReport, Error> {
    let loader = Loader::connect(&descriptor(), &settings(store), 0)
        .await
        .expect("a loader");
    let mut spec = LoadSpec::new(store.url(target));
    (spec.load.mode, spec.load.max_retries) = (mode, 0);
    load(&loader, &spec, &input).await
}

fn whole(batch: &RecordBatch) -> Input {
    Input::stream(BatchStream::from_batches(
        batch.schema(),
        vec![batch.clone()],
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_a_bucket_is_replaced_whole_or_not_at_all() {
    let Some(store) = ThrowawayS3::available() else {
        return;
    };
    let key = "single/rows.parquet";
    let seen = || {
        let folder = tempfile::tempdir().expect("a folder");
        store.copy(key, folder.path()).expect("a copy");
        python::read("parquet", folder.path())
            .expect("rows")
            .map(|rows| rows.num_rows())
    };
    run(&store, key, Mode::Create, whole(&rows(0..5)))
        .await
        .expect("a load");
    assert_eq!(seen(), Some(5));
    let error = run(&store, key, Mode::Create, whole(&rows(0..7)))
        .await
        .expect_err("it is there");
    assert_eq!((error.kind(), seen()), (ErrorKind::TargetExists, Some(5)));
    run(&store, key, Mode::Overwrite, whole(&rows(0..9)))
        .await
        .expect("a load");
    assert_eq!(seen(), Some(9));
    // The source breaks after more than an upload's part is there.
    let batch = rows(0..1_000_000);
    let broken = stream::iter([
        Ok(batch.clone()),
        Ok(batch.clone()),
        Err(Error::new(ErrorKind::Connection, "reset by peer")),
    ]);
    let error = run(
        &store,
        key,
        Mode::Overwrite,
        Input::stream(BatchStream::new(batch.schema(), broken)),
    )
    .await;
    assert_eq!(
        error.expect_err("the source broke").kind(),
        ErrorKind::Connection
    );
    assert_eq!(seen(), Some(9));
    assert_eq!(
        store.uploads("single/").expect("a list"),
        Vec::<String>::new()
    );
    assert_eq!(store.keys("single/").expect("a list"), [key]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_missing_or_a_wrong_key_is_said() {
    let Some(store) = ThrowawayS3::available() else {
        return;
    };
    let loader = Loader::connect(&descriptor(), &settings(&store), 0)
        .await
        .expect("a loader");
    let mut spec = LoadSpec::new("s3://no-such-bucket/rows.parquet");
    spec.load.max_retries = 0;
    let error = load(&loader, &spec, &whole(&rows(0..5)))
        .await
        .expect_err("no bucket");
    assert!(error.to_string().contains("NoSuchBucket"), "{error:#}");
    let mut settings = settings(&store);
    settings.set(
        "storage_options",
        serde_json::json!({"aws_regoin": "x"}),
        "the test",
    );
    let loader = Loader::connect(&descriptor(), &settings, 0).await;
    let spec = LoadSpec::new(store.url("rows.parquet"));
    let error = match loader {
        Ok(loader) => load(&loader, &spec, &whole(&rows(0..5)))
            .await
            .map(|_| ())
            .expect_err("a misspelt key"),
        Err(error) => error,
    };
    assert!(error.to_string().contains("aws_regoin"), "{error:#}");
}
