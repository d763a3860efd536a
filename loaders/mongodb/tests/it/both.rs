//! From one collection into another, through the pipeline: late types, broken documents, cursors that are lost.

use arrowload_core::{
    Input, LoadReport, LoadSpec, Loader, LoaderDescriptor, OnError, Query, Result, Settings,
    Source, SourceDescriptor, load, plan_load,
};
use arrowload_mongodb::{MongoLoader, MongoSource};
use arrowload_testkit::mongo::{Fault, MongoEmulator, MongoFault};
use bson::{Bson, Document, doc};

use crate::support::{bytes, emulator, seed};

async fn run(emulator: &MongoEmulator, query: &str, spec: &LoadSpec) -> Result<LoadReport> {
    let (package, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let mut settings = Settings::new();
    settings.set("uri", emulator.url("test"), "the test");
    let source = SourceDescriptor::of::<MongoSource>(package, version);
    let source = Source::connect(&source, &settings, 2).await?;
    let loader = LoaderDescriptor::of::<MongoLoader>(package, version);
    let loader = Loader::connect(&loader, &settings, 2).await?;
    load(&loader, spec, &Input::query(source, Query::new(query))).await
}

/// The documents of a collection by their `_id`.
fn sorted(emulator: &MongoEmulator, collection: &str) -> Vec<Document> {
    let mut found = emulator
        .documents("test", collection)
        .expect("a collection");
    found.sort_by_key(|document| document.get_i32("_id").expect("an id"));
    found
}

const LATE: &str = r#"{"collection": "from", "sampleSize": 20, "batchSize": 50}"#;

#[tokio::test]
async fn a_late_type_begins_the_load_again_with_the_wider_one() {
    let emulator = emulator();
    let mut rows: Vec<Document> = (0..300)
        .map(|n| doc! { "_id": n, "v": n, "list": [n] })
        .collect();
    rows[170] = doc! { "_id": 170, "v": 1_i64 << 40, "list": [170] };
    rows[260] = doc! { "_id": 260, "v": 2, "list": [260], "late": { "x": true } };
    seed(&emulator, "from", &rows);
    let report = run(&emulator, LATE, &LoadSpec::new("to"))
        .await
        .expect("a load");
    assert_eq!(
        (report.rows, report.reopened.len()),
        (300, 2),
        "{:?}",
        report.reopened
    );
    assert!(
        report.reopened[0].contains("`v`") && report.reopened[0].contains("170"),
        "{:?}",
        report.reopened
    );
    let found = sorted(&emulator, "to");
    assert_eq!(found.len(), 300);
    assert_eq!(found[170].get("v"), Some(&Bson::Int64(1 << 40)));
    assert_eq!(found[3].get("v"), Some(&Bson::Int64(3)));
    assert_eq!(
        found[260].get("late"),
        Some(&Bson::from(doc! { "x": true }))
    );
}

#[tokio::test]
async fn types_that_never_meet_fail_the_load_and_leave_nothing() {
    let emulator = emulator();
    let mut rows: Vec<Document> = (0..300).map(|n| doc! { "_id": n, "v": n }).collect();
    rows[170] = doc! { "_id": 170, "v": "text" };
    seed(&emulator, "from", &rows);
    let error = run(&emulator, LATE, &LoadSpec::new("to"))
        .await
        .expect_err("two types");
    for part in ["`v`", "int32", "string (1 value, first _id 170)"] {
        assert!(error.message().contains(part), "{error}");
    }
    assert!(!emulator.collections("test").iter().any(|name| name == "to"));
}

#[tokio::test]
async fn broken_documents_are_set_aside_and_the_others_arrive() {
    let emulator = emulator();
    let mut rows: Vec<Vec<u8>> = (0..200)
        .map(|n| bytes(&doc! { "_id": n, "v": "text" }))
        .collect();
    for broken in [5, 150] {
        let place = rows[broken].len() - 4;
        rows[broken][place] = 0xff;
    }
    emulator.seed("test", "from", rows);
    let query = r#"{"collection": "from", "sampleSize": 20, "batchSize": 50}"#;
    let error = run(&emulator, query, &LoadSpec::new("to"))
        .await
        .expect_err("no UTF-8");
    assert_eq!(
        (error.get("path"), error.get("_id")),
        (Some("v"), Some("5"))
    );
    let mut skipping = LoadSpec::new("to");
    skipping.load.on_error = OnError::Skip;
    skipping.load.dead_letters = std::env::temp_dir().join("arrowload-mongodb-unparsed");
    let report = run(&emulator, query, &skipping).await.expect("the others");
    assert_eq!((report.rows, report.rows_unparsed), (198, 2));
    assert_eq!(sorted(&emulator, "to").len(), 198);
    std::fs::remove_file(report.unparsed.expect("a file")).expect("removed");
}

#[tokio::test]
async fn a_cursor_that_is_lost_is_opened_again() {
    let emulator = emulator();
    let rows: Vec<Document> = (0..300).map(|n| doc! { "_id": n }).collect();
    seed(&emulator, "from", &rows);
    emulator.fail(MongoFault::new("getMore", Fault::KillCursors).after(2));
    let report = run(&emulator, LATE, &LoadSpec::new("to"))
        .await
        .expect("a load");
    assert_eq!((report.rows, report.retries), (300, 1));
    assert_eq!(sorted(&emulator, "to"), rows);
}

#[tokio::test]
async fn a_plan_says_what_is_widened() {
    let emulator = emulator();
    seed(
        &emulator,
        "from",
        &[doc! { "_id": 1, "v": 1 }, doc! { "_id": 2, "v": 1.5 }],
    );
    let (package, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let mut settings = Settings::new();
    settings.set("uri", emulator.url("test"), "the test");
    let source = SourceDescriptor::of::<MongoSource>(package, version);
    let source = Source::connect(&source, &settings, 2)
        .await
        .expect("a source");
    let loader = LoaderDescriptor::of::<MongoLoader>(package, version);
    let loader = Loader::connect(&loader, &settings, 2)
        .await
        .expect("a loader");
    let input = Input::query(source, Query::new("SELECT * FROM from"));
    let plan = plan_load(&loader, &LoadSpec::new("to"), &input)
        .await
        .expect("a plan");
    assert_eq!(
        plan.input,
        [
            "`v` holds int32 (1 value, first _id 1), double (1 value, first _id 2); it is read as Float64"
        ]
    );
}
