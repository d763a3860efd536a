//! Delta tables as a source: names, versions, pruning.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use arrowload_core::{Error, ErrorKind, Param, Params, Query, Settings, Source, SourceDescriptor};
use arrowload_delta_lake::DeltaLakeSource;
use futures::TryStreamExt;
use serde_json::json;

use crate::support::{rows, run};

pub(crate) async fn source(url: &str) -> Source {
    let descriptor =
        SourceDescriptor::of::<DeltaLakeSource>(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let settings = Settings::from_map(descriptor.config_from_url(url).expect("a URL"), "the test");
    Source::connect(&descriptor, &settings, 0)
        .await
        .expect("it connects")
}

pub(crate) async fn ask(source: &Source, sql: &str) -> Result<Vec<RecordBatch>, Error> {
    source.query(&Query::new(sql)).await?.try_collect().await
}

async fn count(url: &str, table: &str) -> i64 {
    let batches = ask(&source(url).await, &format!("SELECT count(*) FROM {table}"))
        .await
        .expect("it answers");
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

async fn table(folder: &Path) -> String {
    let path = folder.join("events");
    run(&path, &rows(0..3), json!({})).await.expect("it loads");
    run(&path, &rows(3..5), json!({})).await.expect("it loads");
    run(&path, &rows(9..10), json!({ "mode": "overwrite" }))
        .await
        .expect("it loads");
    format!("delta://{}", path.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_versions() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = table(folder.path()).await;
    let below = format!("delta://{}", folder.path().display());
    for (url, name, expected) in [
        (url.clone(), "delta", 1),
        (url.clone(), "events", 1),
        (format!("{url}@0"), "events", 3),
        (format!("{url}@1"), "delta", 5),
        (url.clone(), "\"events@1\"", 5),
        (format!("{url}@2999-01-01T00:00:00Z"), "delta", 1),
        (below.clone(), "events", 1),
        (below.clone(), "\"events@0\"", 3),
    ] {
        assert_eq!(count(&url, name).await, expected, "{name} of {url}");
    }
    let source = source(&below).await;
    let error = ask(&source, "SELECT * FROM nothing")
        .await
        .expect_err("no table");
    assert!(
        error.kind() == ErrorKind::NotFound && error.message().contains("`nothing`"),
        "{error:#}"
    );
    let error = ask(&source, "SELECT * FROM \"events@77\"")
        .await
        .expect_err("no version");
    assert!(
        error
            .message()
            .contains("no version 77 yet: the newest is 2"),
        "{error:#}"
    );
    let error = ask(&source, "CREATE VIEW x AS SELECT 1")
        .await
        .expect_err("it changes something");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_parameters_and_skipped_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t");
    for first in [0, 10, 20] {
        run(&path, &rows(first..first + 5), json!({}))
            .await
            .expect("it loads");
    }
    let source = source(&format!("delta://{}", path.display())).await;
    let mut query = Query::new("SELECT id, name FROM delta WHERE id >= $1 ORDER BY id");
    query.params = Params::Positional(vec![Param::from(13_i64)]);
    let batches: Vec<RecordBatch> = source
        .query(&query)
        .await
        .expect("it answers")
        .try_collect()
        .await
        .expect("rows");
    let ids: Vec<i64> = batches
        .iter()
        .flat_map(|batch| {
            batch
                .column(0)
                .as_primitive::<Int64Type>()
                .values()
                .to_vec()
        })
        .collect();
    assert_eq!(ids, [13, 14, 20, 21, 22, 23, 24]);
    // A file that cannot hold such a row is not opened: it need not be there.
    let files = std::fs::read_dir(&path)
        .expect("a folder")
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let first = files
        .filter(|file| file.is_file())
        .min()
        .expect("the oldest file");
    std::fs::remove_file(first).expect("removed");
    let batches = ask(&source, "SELECT name FROM delta WHERE id >= 10")
        .await
        .expect("the first file is skipped");
    assert_eq!(
        batches
            .iter()
            .map(|batch| batch.column(0).len())
            .sum::<usize>(),
        10
    );
    assert!(
        ask(&source, "SELECT name FROM delta").await.is_err(),
        "the first file is missed"
    );
}
