//! Loads: what stands in the collection afterwards, and what faults on the way do to it.

use std::sync::Arc;

use arrow_array::builder::FixedSizeBinaryBuilder;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema};
use arrowload_core::{
    ErrorKind, Input, LoadReport, LoadSpec, Loader, LoaderDescriptor, Mode, OnError, Result,
    Settings, load, plan_load,
};
use arrowload_mongodb::MongoLoader;
use arrowload_testkit::mongo::{Fault, MongoEmulator, MongoFault};
use bson::{Document, doc};

use crate::support::{emulator, seed};

async fn connect(emulator: &MongoEmulator) -> Loader {
    let (package, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let descriptor = LoaderDescriptor::of::<MongoLoader>(package, version);
    let mut settings = Settings::new();
    settings.set("uri", emulator.url("test"), "the test");
    Loader::connect(&descriptor, &settings, 2)
        .await
        .expect("a loader")
}

fn spec(target: &str, mode: Mode) -> LoadSpec {
    let mut spec = LoadSpec::new(target);
    spec.load.mode = mode;
    spec.load.batch_size = Some(10);
    spec
}

fn set(spec: &mut LoadSpec, key: &str, value: impl Into<serde_json::Value>) {
    spec.options.set(key, value.into(), "the test");
}

fn rows(ids: std::ops::Range<i64>, version: &str) -> RecordBatch {
    let texts: StringArray = ids
        .clone()
        .map(|id| Some(format!("{version}-{id}")))
        .collect();
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(ids)), true),
        ("name", Arc::new(texts), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

/// Rows that can be read again.
fn table(batch: &RecordBatch) -> Input {
    Input::table(batch.schema(), vec![batch.clone()])
}

async fn run(emulator: &MongoEmulator, spec: &LoadSpec, batch: &RecordBatch) -> Result<LoadReport> {
    load(&connect(emulator).await, spec, &table(batch)).await
}

/// The ids of a collection's documents, sorted.
fn ids(emulator: &MongoEmulator, target: &str) -> Vec<i64> {
    let documents = emulator.documents("test", target).expect("a collection");
    let mut ids: Vec<i64> = documents
        .iter()
        .map(|document| document.get_i64("id").expect("an id"))
        .collect();
    ids.sort_unstable();
    ids
}

/// Nothing of a load is left beside the target.
fn is_tidy(emulator: &MongoEmulator) -> bool {
    let names = emulator.collections("test");
    !names.iter().any(|name| name.starts_with("_arrowload."))
}

#[tokio::test]
async fn faults_on_the_way_neither_double_nor_lose_a_row() {
    let emulator = emulator();
    let all: Vec<i64> = (0..60).collect();
    let faults = |command: &str| {
        [
            MongoFault::new(command, Fault::Cut).after(1),
            MongoFault::new(command, Fault::LoseAnswer).after(1),
            // The driver itself tries once more: the second time is ours.
            MongoFault::new(command, Fault::LoseAnswer)
                .after(2)
                .times(2),
            MongoFault::new(
                command,
                Fault::Refuse {
                    code: 10107,
                    labels: vec!["RetryableWriteError".into()],
                },
            )
            .times(2),
        ]
    };
    let cases = [
        (Mode::Create, "insert"),
        (Mode::Append, "insert"),
        (Mode::Overwrite, "insert"),
        (Mode::Upsert, "update"),
    ];
    for (mode, command) in cases {
        for (number, fault) in faults(command).into_iter().enumerate() {
            for there in [false, true] {
                if there && mode == Mode::Create {
                    continue;
                }
                let target = format!("{mode}_{number}_{there}");
                if there {
                    run(&emulator, &spec(&target, Mode::Create), &rows(0..0, "old"))
                        .await
                        .expect("made");
                }
                let mut spec = spec(&target, mode);
                if mode == Mode::Upsert {
                    spec.load.keys = vec!["id".into()];
                }
                emulator.fail(fault.clone());
                let report = run(&emulator, &spec, &rows(0..60, "a")).await;
                let report = report.unwrap_or_else(|error| panic!("{target}: {error:#}"));
                assert_eq!(emulator.faults_left(), 0, "{target}");
                assert_eq!(
                    (report.rows, ids(&emulator, &target)),
                    (60, all.clone()),
                    "{target}"
                );
            }
        }
    }
    assert!(is_tidy(&emulator), "{:?}", emulator.collections("test"));
}

#[tokio::test]
async fn an_answer_to_the_commit_that_is_lost_is_resolved() {
    let emulator = emulator();
    let all: Vec<i64> = (0..30).collect();
    // The rename of a swap: done or not done, its answer is lost.
    for (number, what) in [Fault::LoseAnswer, Fault::Cut].into_iter().enumerate() {
        for mode in [Mode::Create, Mode::Overwrite] {
            let target = format!("{mode}_{number}");
            emulator.fail(MongoFault::new("renameCollection", what.clone()));
            let report = run(&emulator, &spec(&target, mode), &rows(0..30, "a")).await;
            report.unwrap_or_else(|error| panic!("{target}: {error:#}"));
            assert_eq!(ids(&emulator, &target), all, "{target}");
            assert_eq!(emulator.faults_left(), 0, "{target}");
        }
    }
    // The commit of a transaction; the driver asks once more, and so do we.
    for times in [1, 2] {
        let target = format!("transaction_{times}");
        let mut spec = spec(&target, Mode::Append);
        set(&mut spec, "transaction", true);
        emulator.fail(MongoFault::new("commitTransaction", Fault::LoseAnswer).times(times));
        let report = run(&emulator, &spec, &rows(0..30, "a")).await;
        report.unwrap_or_else(|error| panic!("{target}: {error:#}"));
        assert_eq!(ids(&emulator, &target), all, "{target}");
    }
}

#[tokio::test]
async fn a_swap_that_fails_is_never_taken_for_committed() {
    let emulator = emulator();
    run(&emulator, &spec("c", Mode::Create), &rows(0..5, "old"))
        .await
        .expect("made");
    let mut overwrite = spec("c", Mode::Overwrite);
    overwrite.load.load_id = Some("the load".into());
    overwrite.load.max_retries = 0;
    let refused = Fault::Refuse {
        code: 96,
        labels: Vec::new(),
    };
    emulator.fail(MongoFault::new("renameCollection", refused));
    // The record cannot be taken back at once, whoever tries: the load and the driver.
    emulator.fail(MongoFault::new("delete", Fault::Cut).times(2));
    let failed = run(&emulator, &overwrite, &rows(10..20, "new")).await;
    failed.expect_err("it was not renamed");
    assert_eq!(emulator.faults_left(), 0);
    for _ in 0..100 {
        if is_tidy(&emulator) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(is_tidy(&emulator), "{:?}", emulator.collections("test"));
    assert_eq!(ids(&emulator, "c").len(), 5);
    let report = run(&emulator, &overwrite, &rows(10..20, "new")).await;
    let report = report.expect("the load");
    assert!(!report.already_loaded);
    assert_eq!(ids(&emulator, "c"), (10..20).collect::<Vec<i64>>());
}

#[tokio::test]
async fn a_load_that_died_is_completed_by_its_id_and_adds_nothing_twice() {
    let emulator = emulator();
    run(&emulator, &spec("c", Mode::Create), &rows(0..5, "old"))
        .await
        .expect("made");
    let mut again = spec("c", Mode::Append);
    again.load.load_id = Some("the load".into());
    again.load.max_retries = 0;
    emulator.fail(MongoFault::new("insert", Fault::Cut).after(3).times(2));
    let error = run(&emulator, &again, &rows(10..70, "new"))
        .await
        .expect_err("it died");
    assert!(
        error.to_string().contains("rows of this load may remain"),
        "{error}"
    );
    let some = ids(&emulator, "c").len();
    assert!(some > 5 && some < 65, "{some} rows");
    let report = run(&emulator, &again, &rows(10..70, "new"))
        .await
        .expect("the rest");
    assert_eq!((report.rows, ids(&emulator, "c").len()), (60, 65));
    let report = run(&emulator, &again, &rows(10..70, "new"))
        .await
        .expect("nothing");
    assert!(report.already_loaded);
    assert_eq!(ids(&emulator, "c").len(), 65);
}

#[tokio::test]
async fn an_id_that_is_there_with_other_values_is_refused() {
    let emulator = emulator();
    seed(&emulator, "c", &[]);
    let columns = |text: &str| -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![text, "same"]));
        RecordBatch::try_from_iter([("_id", ids), ("v", texts)]).expect("columns")
    };
    run(&emulator, &spec("c", Mode::Append), &columns("one"))
        .await
        .expect("new ids");
    let error = run(&emulator, &spec("c", Mode::Append), &columns("other")).await;
    let error = error.expect_err("another document has the id");
    assert_eq!(
        (error.kind(), error.code(), error.row()),
        (ErrorKind::InvalidData, Some("11000"), Some(0))
    );
    let folder = std::env::temp_dir().join("arrowload-mongodb-rejects");
    let mut skipping = spec("c", Mode::Append);
    skipping.load.on_error = OnError::Skip;
    skipping.load.dead_letters = folder;
    let report = run(&emulator, &skipping, &columns("other"))
        .await
        .expect("set aside");
    // The second is there, byte for byte.
    assert_eq!((report.rows, report.rows_rejected), (1, 1));
    let file = report.dead_letters.expect("a file");
    std::fs::remove_file(file).expect("removed");
}

#[tokio::test]
async fn an_overwrite_keeps_indexes_validator_and_collation_or_refuses() {
    let emulator = emulator();
    let url = emulator.url("test");
    let client = mongodb::Client::with_uri_str(&url).await.expect("a client");
    let database = client.database("test");
    let create = doc! { "create": "c", "validator": { "id": { "$gte": 0 } }, "collation": { "locale": "en" } };
    database.run_command(create).await.expect("made");
    let index = doc! { "createIndexes": "c", "indexes": [{ "key": { "name": 1 }, "name": "by_name", "unique": true, "expireAfterSeconds": 5 }] };
    database.run_command(index).await.expect("made");
    seed(
        &emulator,
        "c",
        &[doc! { "_id": 1, "id": 1_i64, "name": "old" }],
    );
    run(&emulator, &spec("c", Mode::Overwrite), &rows(0..20, "new"))
        .await
        .expect("overwritten");
    assert_eq!(ids(&emulator, "c").len(), 20);
    let listed = database
        .run_command(doc! { "listCollections": 1, "filter": { "name": "c" } })
        .await;
    let listed = listed.expect("a list").to_string();
    assert!(
        listed.contains("$gte") && listed.contains("locale"),
        "{listed}"
    );
    let indexes = database
        .run_command(doc! { "listIndexes": "c" })
        .await
        .expect("a list")
        .to_string();
    assert!(
        indexes.contains("by_name") && indexes.contains("expireAfterSeconds"),
        "{indexes}"
    );
    // The validator refuses a document: the load fails, and the old rows stay.
    let error = run(&emulator, &spec("c", Mode::Overwrite), &rows(-1..5, "bad"))
        .await
        .expect_err("refused");
    assert_eq!(
        (error.code(), error.row()),
        (Some("121"), Some(0)),
        "{error}"
    );
    assert_eq!(ids(&emulator, "c").len(), 20);
    let folder = std::env::temp_dir().join("arrowload-mongodb-validator");
    let mut skipping = spec("c", Mode::Overwrite);
    skipping.load.on_error = OnError::Skip;
    skipping.load.dead_letters = folder;
    let report = run(&emulator, &skipping, &rows(-1..5, "bad"))
        .await
        .expect("set aside");
    assert_eq!((report.rows, report.rows_rejected), (5, 1));
    std::fs::remove_file(report.dead_letters.expect("a file")).expect("removed");
    assert!(is_tidy(&emulator));
    let create = doc! { "create": "series", "timeseries": { "timeField": "at" } };
    database.run_command(create).await.expect("made");
    let error = run(
        &emulator,
        &spec("series", Mode::Overwrite),
        &rows(0..1, "a"),
    )
    .await;
    assert_eq!(error.expect_err("refused").kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn an_update_sets_fields_or_replaces_documents() {
    let emulator = emulator();
    let old = doc! { "_id": "mine", "id": 1_i64, "name": "old", "extra": true };
    seed(&emulator, "c", &[]);
    let client = mongodb::Client::with_uri_str(emulator.url("test"))
        .await
        .expect("a client");
    let collection = client.database("test").collection::<Document>("c");
    collection.insert_one(old).await.expect("inserted");
    let mut upsert = spec("c", Mode::Upsert);
    upsert.load.keys = vec!["id".into()];
    run(&emulator, &upsert, &rows(1..3, "new"))
        .await
        .expect("set");
    let found = emulator.documents("test", "c").expect("documents");
    assert_eq!(
        found[0],
        doc! { "_id": "mine", "id": 1_i64, "name": "new-1", "extra": true }
    );
    assert_eq!(found.len(), 2);
    set(&mut upsert, "replace", true);
    run(&emulator, &upsert, &rows(1..2, "whole"))
        .await
        .expect("replaced");
    let found = emulator.documents("test", "c").expect("documents");
    assert_eq!(
        found[0],
        doc! { "_id": "mine", "id": 1_i64, "name": "whole-1" }
    );
    // Keys that are not unique are refused before anything is changed.
    seed(
        &emulator,
        "twice",
        &[
            doc! { "_id": 1, "id": 1_i64 },
            doc! { "_id": 2, "id": 1_i64 },
        ],
    );
    let mut twice = upsert.clone();
    twice.target = "twice".into();
    let error = run(&emulator, &twice, &rows(1..2, "a"))
        .await
        .expect_err("two have the key");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(error.message().contains("equal keys"), "{error}");
}

#[tokio::test]
async fn ids_and_times_by_option() {
    let emulator = emulator();
    let id = Field::new("_id", DataType::FixedSizeBinary(12), false).with_metadata(
        [(
            "ARROW:extension:name".to_owned(),
            "mongodb.objectid".to_owned(),
        )]
        .into(),
    );
    let at = Field::new(
        "at",
        DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, None),
        true,
    );
    let schema = Schema::new(vec![
        id,
        Field::new("hex", DataType::Utf8, true),
        at,
        Field::new("none", DataType::Int64, true),
    ]);
    let batch = |micros: i64| -> RecordBatch {
        let mut ids = FixedSizeBinaryBuilder::new(12);
        ids.append_value([7; 12]).expect("12 bytes");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(ids.finish()),
            Arc::new(StringArray::from(vec!["507f1f77bcf86cd799439011"])),
            Arc::new(TimestampMicrosecondArray::from(vec![micros])),
            Arc::new(Int64Array::from(vec![None])),
        ];
        RecordBatch::try_new(Arc::new(schema.clone()), columns).expect("columns")
    };
    let mut odd = spec("c", Mode::Create);
    let plan = plan_load(&connect(&emulator).await, &odd, &table(&batch(1000)))
        .await
        .expect("a plan");
    assert_eq!(
        plan.check().expect_err("microseconds").get("column"),
        Some("at")
    );
    set(&mut odd, "submilliseconds", "exact");
    set(&mut odd, "object_ids", serde_json::json!(["hex"]));
    set(&mut odd, "nulls", "absent");
    let error = run(&emulator, &odd, &batch(1001))
        .await
        .expect_err("a part of a millisecond");
    assert_eq!(
        (error.kind(), error.get("column"), error.row()),
        (ErrorKind::InvalidData, Some("at"), Some(0))
    );
    run(&emulator, &odd, &batch(5000)).await.expect("loaded");
    let hex = bson::oid::ObjectId::parse_str("507f1f77bcf86cd799439011").expect("an id");
    let expected = doc! {
        "_id": bson::oid::ObjectId::from_bytes([7; 12]), "hex": hex, "at": bson::DateTime::from_millis(5),
    };
    assert_eq!(emulator.documents("test", "c"), Some(vec![expected]));
}

#[tokio::test]
async fn a_server_that_stands_alone_has_no_transactions() {
    let emulator = MongoEmulator::start_standalone().expect("an emulator");
    run(&emulator, &spec("c", Mode::Append), &rows(0..10, "a"))
        .await
        .expect("rows");
    assert_eq!(ids(&emulator, "c").len(), 10);
    let mut spec = spec("c", Mode::Append);
    set(&mut spec, "transaction", true);
    let error = run(&emulator, &spec, &rows(0..10, "b"))
        .await
        .expect_err("no transactions");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:#}");
    assert_eq!(ids(&emulator, "c").len(), 10);
}
