//! The main job, end to end on real files.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use arrowload::{BatchStream, ErrorKind, Mode, OnError, Param, Query, Verify};
use futures::TryStreamExt;

use crate::{client, file};

fn batch(ids: Vec<i64>, names: Vec<Option<&str>>) -> RecordBatch {
    let columns: [(&str, ArrayRef); 2] = [
        ("id", Arc::new(Int64Array::from(ids))),
        ("name", Arc::new(StringArray::from(names))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
        .expect("a batch")
}

fn people() -> RecordBatch {
    batch(vec![1, 2, 3], vec![Some("Ann"), None, Some("")])
}

#[tokio::test]
async fn a_query_becomes_a_file_that_can_be_queried() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client(folder.path()).await;
    let people_file = file(folder.path(), "people.parquet");
    let report = client
        .load_table(vec![people()], "file", &people_file)
        .expect("a schema")
        .await
        .expect("loaded");
    assert_eq!(
        (report.rows, report.rows_read, report.loader.as_str()),
        (3, 3, "file")
    );
    assert!(report.bytes > 0 && !report.load_id.is_empty() && !report.already_loaded);

    let copy = file(folder.path(), "copy.parquet");
    let load = client
        .sql("SELECT id, name FROM people WHERE id >= $1 ORDER BY id")
        .param(2)
        .load("file", &copy);
    assert_eq!(load.await.expect("loaded").rows, 2);
    let proved = client
        .sql("SELECT id, name FROM people")
        .load("memory", "client_proved")
        .verify(Verify::Checksum)
        .await
        .expect("proved");
    assert_eq!(proved.checksums.expect("asked for").len(), 2);
    let table = client
        .sql("SELECT * FROM 'copy.parquet' ORDER BY id")
        .to_arrow()
        .await
        .expect("readable");
    assert_eq!(table.num_rows(), 2);
    let ids = table.batches()[0]
        .column(0)
        .as_primitive::<Int64Type>()
        .values()
        .to_vec();
    assert_eq!(ids, [2, 3]);
    assert!(table.to_string().contains("name"), "{table}");
}

#[tokio::test]
async fn each_format_keeps_null_and_the_empty_text_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client(folder.path()).await;
    let source = file(folder.path(), "people.arrow");
    client
        .load_table(vec![people()], "file", &source)
        .expect("a schema")
        .await
        .expect("loaded");
    let all = || client.sql("SELECT * FROM people ORDER BY id");
    all()
        .to_csv(folder.path().join("out.csv"))
        .await
        .expect("CSV");
    all()
        .to_json(folder.path().join("out.ndjson"))
        .await
        .expect("NDJSON");
    all()
        .to_parquet(folder.path().join("out.parquet"))
        .await
        .expect("Parquet");
    let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("a file");
    assert_eq!(text("out.csv"), "id,name\n1,Ann\n2,\n3,\"\"\n");
    let lines: Vec<serde_json::Value> = text("out.ndjson")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines[0], serde_json::json!({"id": 1, "name": "Ann"}));
    assert!(lines[1]["name"].is_null() && lines[2]["name"] == "");
    // Each may be repeated: the file is replaced.
    assert_eq!(
        all()
            .to_csv(folder.path().join("out.csv"))
            .await
            .expect("CSV again")
            .rows,
        3
    );
}

#[tokio::test]
async fn parameters_are_bound_never_spliced() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client(folder.path()).await;
    let evil = "x'; DROP TABLE t; --";
    let table = client
        .sql("SELECT $1 AS a, $2 AS b")
        .param(evil)
        .param(None::<i64>)
        .to_arrow()
        .await
        .expect("bound");
    assert!(table.to_string().contains(evil), "{table}");
    let table = client
        .sql("SELECT $low + $high AS a")
        .named_param("low", 1_i64)
        .named_param("high", 2_i64)
        .to_arrow()
        .await
        .expect("bound");
    assert_eq!(
        table.batches()[0]
            .column(0)
            .as_primitive::<Int64Type>()
            .value(0),
        3
    );
    let three = [Param::from(1_i64), Param::from(2_i64)];
    assert_eq!(
        client
            .sql("SELECT $1 + $2 AS a")
            .params(three)
            .to_arrow()
            .await
            .expect("bound")
            .num_rows(),
        1
    );
}

#[tokio::test]
async fn a_stream_gives_batches_and_may_be_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client(folder.path()).await;
    let stream = client
        .sql("SELECT * FROM generate_series(1, 100000) AS t(id)")
        .stream()
        .await
        .expect("a stream");
    let schema = stream.schema().clone();
    let batches: Vec<RecordBatch> = stream.try_collect().await.expect("batches");
    assert!(batches.len() > 1, "more than one batch of 100,000 rows");
    let stream = BatchStream::from_batches(schema, batches);
    let report = client
        .load_stream(stream, "memory", "client_stream")
        .await
        .expect("loaded");
    assert_eq!(report.rows, 100_000);
    let query = Query::new("SELECT 1 AS id");
    assert_eq!(
        client
            .query_and_load(query, "memory", "client_query")
            .await
            .expect("loaded")
            .rows,
        1
    );
}

#[tokio::test]
async fn a_plan_says_what_would_happen_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client(folder.path()).await;
    let target = file(folder.path(), "planned.parquet");
    let plan = client
        .sql("SELECT 1 AS id, 'a' AS name")
        .load("file", &target)
        .plan()
        .await
        .expect("a plan");
    let names: Vec<&str> = plan
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!((plan.target_exists, names), (false, vec!["id", "name"]));
    assert!(plan.to_string().contains("would be created"), "{plan}");
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        0
    );
}

#[tokio::test]
async fn repeating_a_load_with_its_id_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client(folder.path()).await;
    let load = || {
        client
            .sql("SELECT 1 AS id")
            .load("memory", "client_repeated")
            .load_id("day 1")
    };
    assert!(!load().await.expect("loaded").already_loaded);
    let again = load().await.expect("known");
    assert_eq!(
        (again.already_loaded, again.rows, again.load_id.as_str()),
        (true, 1, "day 1")
    );
}

#[tokio::test]
async fn progress_knows_how_many_rows_will_come() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client(folder.path()).await;
    client
        .load_table(
            vec![people()],
            "file",
            file(folder.path(), "people.parquet"),
        )
        .expect("a schema")
        .await
        .expect("loaded");
    let (rows, expected) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(None)));
    let (rows_seen, expected_seen) = (Arc::clone(&rows), Arc::clone(&expected));
    let load = client
        .sql("SELECT * FROM people")
        .load("memory", "client_progress")
        .on_progress(move |progress| {
            rows_seen.store(progress.rows_written, Ordering::Relaxed);
            *expected_seen.lock().expect("no panic") = progress.expected_rows;
        });
    load.await.expect("loaded");
    assert_eq!(
        (
            rows.load(Ordering::Relaxed),
            *expected.lock().expect("no panic")
        ),
        (3, Some(3))
    );
}

#[tokio::test]
async fn upsert_counts_what_it_met() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client(folder.path()).await;
    let upsert = |rows: RecordBatch| {
        client
            .load_table(vec![rows], "memory", "client_upsert")
            .expect("a schema")
            .mode(Mode::Upsert)
            .keys(["id"])
    };
    upsert(people()).await.expect("loaded");
    let report = upsert(batch(vec![3, 4, 4], vec![Some("c"), Some("d"), Some("e")]))
        .await
        .expect("loaded");
    let keys = report.keys.expect("counted");
    assert_eq!((keys.inserted, keys.updated, keys.duplicate), (1, 1, 1));
    let refused = upsert(batch(vec![1, 2], vec![None, None]))
        .option("max_updates", 1)
        .await
        .expect_err("too many");
    assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
}

#[tokio::test]
async fn rows_that_are_set_aside_can_be_loaded_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client(folder.path()).await;
    let letters = folder.path().join("letters").display().to_string();
    let not_null = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, false),
    ]);
    let stream = BatchStream::from_batches(Arc::new(not_null), vec![]);
    client
        .load_stream(stream, "memory", "client_letters")
        .await
        .expect("a table whose names are not null");
    let load = client
        .load_table(vec![people()], "memory", "client_letters")
        .expect("a schema");
    let report = load
        .on_error(OnError::Skip)
        .option("dead_letters", letters.as_str())
        .load_id("first")
        .await
        .expect("two arrive");
    assert_eq!(
        (report.rows, report.rows_read, report.rows_rejected),
        (2, 3, 1)
    );
    let path = report.dead_letters.expect("a file");
    // They are refused again, as the table is as it was; nothing is lost, and nothing changes.
    let again = client
        .replay(&path)
        .expect("dead letters")
        .await
        .expect_err("still null");
    assert_eq!(
        (again.kind(), again.get("target")),
        (ErrorKind::InvalidData, Some("client_letters"))
    );
    let rows = arrowload::core::memory::read_table("default", "client_letters")
        .expect("a table")
        .num_rows();
    assert_eq!(rows, 2);
    // Elsewhere they fit.
    let (mended, _) = arrowload::core::read_dead_letters(&path).expect("dead letters");
    assert_eq!(
        client
            .load_stream(mended, "memory", "client_mended")
            .await
            .expect("loaded")
            .rows,
        1
    );
}

#[tokio::test]
async fn a_replay_keeps_mode_and_keys_and_asks_for_a_connection_that_was_not_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client(folder.path()).await;
    let letters = folder.path().join("letters").display().to_string();
    let rows = RecordBatch::try_from_iter_with_nullable([
        (
            "id",
            Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef,
            true,
        ),
        (
            "name",
            Arc::new(StringArray::from(vec!["one", "none"])),
            true,
        ),
    ]);
    let load = client
        .load_table(vec![rows.expect("a batch")], "memory", "client_replay")
        .expect("a schema");
    let load = load
        .config(serde_json::json!({ "database": "client_replayed" }))
        .mode(Mode::Upsert)
        .keys(["id"]);
    let report = load
        .on_error(OnError::Skip)
        .option("dead_letters", letters.as_str())
        .await
        .expect("one arrives");
    let path = report.dead_letters.expect("a file");

    let error = client
        .replay(&path)
        .expect("dead letters")
        .await
        .expect_err("no connection");
    assert!(
        error.kind() == ErrorKind::InvalidOption
            && error.message().contains("name the connection again"),
        "{error}"
    );
    let replay = || {
        client
            .replay(&path)
            .expect("dead letters")
            .config(serde_json::json!({ "database": "client_replayed" }))
    };
    let error = replay().await.expect_err("the key is still null");
    assert_eq!(
        (error.kind(), error.get("column")),
        (ErrorKind::NullKey, Some("id"))
    );
    let report = replay()
        .option("null_keys", "match")
        .await
        .expect("nulls are equal");
    assert_eq!(
        (
            report.mode,
            report.rows,
            report.load_id.ends_with(".replay")
        ),
        (Mode::Upsert, 1, true)
    );
    assert_eq!(
        arrowload::core::memory::read_table("client_replayed", "client_replay")
            .expect("a table")
            .num_rows(),
        2
    );
}

#[tokio::test]
async fn keys_among_a_connections_defaults_bind_no_append() {
    let folder = tempfile::tempdir().expect("a folder");
    let profile =
        serde_json::json!({ "upsert_key": "order_id", "batch_size": 10_000, "create_table": true });
    let client = client(folder.path()).await;
    client
        .configure_connection("orders", "memory", profile)
        .expect("a connection");
    let load = || {
        client
            .load_table(vec![people()], "memory", "client_defaults")
            .expect("a schema")
            .connection("orders")
    };
    assert_eq!(load().await.expect("an append needs no key").rows, 3);
    let error = load().mode(Mode::Upsert).await.expect_err("an upsert does");
    assert!(error.message().contains("order_id"), "{error}");
    let error = load()
        .keys(["order_id"])
        .await
        .expect_err("a key that was asked for");
    assert!(error.message().contains("order_id"), "{error}");
}

#[test]
fn no_debug_shows_a_password() {
    let builder = arrowload::Client::builder().source("postgresql://ann:hunter2@localhost/db");
    assert_eq!(format!("{builder:?}").matches("hunter2").count(), 0);
}
