//! Delta tables as a source: names, versions, pruning.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use arrowload_core::{Error, ErrorKind, Param, Params, Query, Settings, Source, SourceDescriptor};
use arrowload_delta_lake::DeltaLakeSource;
use arrowload_testkit::python;
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

/// A log that begins with a checkpoint, as other engines leave it when they clean up.
#[tokio::test(flavor = "multi_thread")]
async fn versions_that_are_gone_or_not_there_yet_say_so() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t");
    let write = "import sys, os, glob, pyarrow as pa\n\
        from deltalake import write_deltalake, DeltaTable\n\
        path = sys.argv[1]\n\
        for i in range(12): write_deltalake(path, pa.table({'id': [i]}), mode='append')\n\
        DeltaTable(path).create_checkpoint()\n\
        for file in glob.glob(path + '/_delta_log/0*.json'):\n    \
            if int(os.path.basename(file).split('.')[0]) < 11: os.remove(file)\n\
        write_deltalake(path, pa.table({'id': [12]}), mode='append')\n\
        print('0')";
    crate::support::ask(write, &[path.to_str().expect("UTF-8")]);
    let url = format!("delta://{}", path.display());
    for with_pointer in [true, false] {
        if !with_pointer {
            std::fs::remove_file(path.join("_delta_log/_last_checkpoint")).expect("removed");
        }
        for (url, rows) in [
            (url.clone(), 13),
            (format!("{url}@11"), 12),
            (format!("{url}@2999-01-01"), 13),
        ] {
            assert_eq!(count(&url, "delta").await, rows, "{url}");
        }
        for (at, part) in [
            ("3", "version 3 of the table is no longer there"),
            ("3", "the oldest version that can be read is 11"),
            ("99", "no version 99 yet: the newest is 12"),
            ("2000-01-01T00:00:00Z", "no version of 2000-01-01"),
            ("2000-01-01T00:00:00Z", "the oldest that is left, 11,"),
        ] {
            let source = source(&format!("{url}@{at}")).await;
            let error = ask(&source, "SELECT * FROM delta").await.expect_err(at);
            assert!(
                error.kind() == ErrorKind::NotFound && error.message().contains(part),
                "{at}: {error}"
            );
        }
    }
    run(&path, &rows(13..14).project(&[0]).expect("ids"), json!({}))
        .await
        .expect("it loads");
    assert_eq!(count(&url, "delta").await, 14);
    let first = "the table has no version of 1970-01-02 00:00:00 UTC: its first is of";
    let folder = tempfile::tempdir().expect("a folder");
    let source = source(&format!("{}@1970-01-02", table(folder.path()).await)).await;
    let error = ask(&source, "SELECT * FROM delta")
        .await
        .expect_err("before the first");
    assert!(error.message().starts_with(first), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_file_that_is_gone_is_an_error_of_queries_and_upserts() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t");
    run(&path, &rows(0..3), json!({})).await.expect("it loads");
    for entry in std::fs::read_dir(&path).expect("a folder") {
        let file = entry.expect("an entry").path();
        if file.is_file() {
            std::fs::remove_file(file).expect("removed");
        }
    }
    let source = source(&format!("delta://{}", path.display())).await;
    let read = ask(&source, "SELECT sum(id) FROM delta").await;
    let options = json!({ "mode": "upsert", "keys": ["id"] });
    let loaded = run(&path, &rows(0..1), options).await;
    // The engine's readers do not say that a file is gone but in words.
    for (error, kind) in [
        (read.expect_err("gone"), ErrorKind::InvalidData),
        (loaded.expect_err("gone"), ErrorKind::NotFound),
    ] {
        assert_eq!(error.kind(), kind, "{error:#}");
        let text = error.to_string();
        assert!(
            text.contains("part-") && text.contains("not found"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_has_the_keys_and_answers_of_the_source_of_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = table(folder.path()).await;
    let descriptor =
        SourceDescriptor::of::<DeltaLakeSource>(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let connect = async |keys: serde_json::Value| {
        let mut settings =
            Settings::from_map(descriptor.config_from_url(&url).expect("a URL"), "the test");
        for (key, value) in keys.as_object().expect("an object") {
            settings.set(key, value.clone(), "the test");
        }
        Source::connect(&descriptor, &settings, 0).await
    };
    let limits = json!({ "memory_limit": "100MB", "threads": 1, "batch_size": 2,
        "spill_folder": folder.path() });
    let limited = connect(limits).await.expect("it connects");
    let batches = ask(&limited, "SELECT * FROM \"events@1\" ORDER BY id")
        .await
        .expect("rows");
    assert_eq!(batches.len(), 3, "batches of two rows");
    let old = connect(json!({ "memory_limit_bytes": 1000 }))
        .await
        .expect_err("the old key");
    assert!(old.message().contains("`memory_limit`"), "{old}");

    let unused =
        Query::new("SELECT * FROM delta").with_params(Params::Positional(vec![Param::from(1)]));
    let error = limited.query(&unused).await.expect_err("it is not used");
    assert!(error.message().contains("given for $1, "), "{error}");
    let schema = limited
        .schema(&Query::new("SELECT * FROM delta"))
        .await
        .expect("a schema");
    assert_eq!(schema.field(1).data_type(), &arrow_schema::DataType::Utf8);
    let error = ask(&limited, "EXPLAIN ANALYZE DELETE FROM delta")
        .await
        .expect_err("it writes");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
