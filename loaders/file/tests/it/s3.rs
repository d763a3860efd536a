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
use serde_json::{Value, json};

use crate::gate::{Point, child_at, kill_at};
use crate::support::{self, descriptor, rows};

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

/// Two loads at once, one of which is killed, and others that come and go: what is staged and uploaded is left alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_loads_stage_in_a_bucket_is_left_alone() {
    let Some(store) = ThrowawayS3::available() else {
        return;
    };
    let options = |id: &str| {
        let storage: serde_json::Map<String, Value> = store
            .options()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        json!({"load_id": id, "mode": "create", "storage_options": storage})
    };
    let target = |name: &str| store.url(&format!("leftovers/{name}"));
    let run = |name: &str, id: &str, count: i64| {
        let (target, options, rows) = (target(name), options(id), rows(0..count));
        async move { support::run(target, &rows, options).await }
    };
    for ending in [".parquet", "/"] {
        let named = |name: &str| format!("{name}{ending}");
        let live = named("live");
        let mut process = child_at(&target(&live), &options("live"), 0..10, Point::Committing);
        let killed = named("killed");
        kill_at(
            &target(&killed),
            &options("killed"),
            0..10,
            Point::Committing,
        );
        let uploads = || store.uploads("leftovers/").expect("a list").len();
        let under_way = uploads();
        run(&named("other"), "other", 5).await.expect("a load");
        run(&killed, "killed", 10).await.expect("a repeat");
        assert_eq!(
            uploads(),
            under_way,
            "{ending}: nobody's upload was given up"
        );
        process.kill().expect("killed");
        process.wait().expect("its end");
        run(&live, "live", 10).await.expect("a repeat");
    }
    // A folder whose files came before its load was killed: its plan says that they are there.
    let new = target("cut/");
    let planned = async |id: &str| {
        let plan = support::plan(&new, &rows(0..5), options(id)).await;
        let plan = plan.map_err(|error| error.kind())?;
        let says = plan.to_string().contains("files of an earlier run");
        assert_eq!(says, plan.target_exists, "{plan}");
        Ok::<_, ErrorKind>(plan.target_exists)
    };
    assert_eq!(planned("cut").await, Ok(false));
    run("cut/", "cut", 5).await.expect("a load");
    let keys = store.keys("leftovers/cut/").expect("a list");
    let is_record = |key: &&String| key.contains("/_arrowload-");
    for record in keys.iter().filter(is_record) {
        store.remove(record).expect("removed");
    }
    assert_eq!(planned("cut").await, Ok(true));
    let refusal = ErrorKind::TargetExists;
    assert_eq!(planned("another").await, Err(refusal));
    run("cut/", "cut", 5).await.expect("a repeat");
    // What a load leaves that is killed between its upload and its copy.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x");
    std::fs::write(&file, "x").expect("a file");
    let staged = |id: &str| format!("leftovers/.arrowload-{}-0.tmp", hash(id));
    for id in ["again", "fresh", "old"] {
        store.put(&staged(id), &file).expect("an object");
    }
    store
        .age(&staged("old"), std::time::Duration::from_secs(2 * 60 * 60))
        .expect("aged");
    run("again.parquet", "again", 5).await.expect("a load");
    let mut left = store.keys("leftovers/").expect("a list");
    left.retain(|key| key.contains(".arrowload-"));
    assert_eq!(left, [staged("fresh")]);
}

/// Stands for a load's id in the names of what it stages.
fn hash(load_id: &str) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(load_id.as_bytes()))
}
