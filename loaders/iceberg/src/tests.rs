//! Loads through a store that fails, loses answers and answers late, and a catalog that loses the answers to commits: one
//! snapshot a load, or none. `faulty://name` is such a store.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrowload_core::{BatchStream, Input, load};
use arrowload_testkit::loads::prepare;
use arrowload_testkit::{Fate, FaultyStore};
use futures::{TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use serde_json::{Value, json};

use crate::IcebergLoader;
use crate::catalog::{Catalog, LOSES_ANSWERS};
use crate::config::IcebergConfig;
use crate::resolve::open;
use crate::scan::Scan;
use crate::schema::file_schema;
use crate::storage::Stores;

/// The stores that tests have made.
static STORES: LazyLock<Mutex<HashMap<String, FaultyStore>>> = LazyLock::new(Mutex::default);

/// The store of a name.
pub(crate) fn store(name: &str) -> Arc<dyn ObjectStore> {
    let stores = STORES.lock().expect("no test panics with it");
    Arc::new(stores[name].clone())
}

/// Makes a store that fails now and then, as often as the number says at that moment.
fn faulty(name: &str) -> Arc<AtomicU64> {
    let every = Arc::new(AtomicU64::new(0));
    let (rule, calls) = (Arc::clone(&every), AtomicU64::new(0));
    let store = FaultyStore::new(Arc::new(InMemory::new()), move |_| {
        // The steps of a linear congruential generator (Knuth's MMIX constants) stand for chance.
        let call = calls.fetch_add(1, Ordering::Relaxed);
        let chance = call
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407)
            >> 33;
        let every = rule.load(Ordering::Relaxed);
        let fate = match every > 0 && chance.is_multiple_of(every) {
            false => Fate::Done,
            true if (chance / every).is_multiple_of(2) => Fate::lost(),
            true => Fate::unanswered(),
        };
        match every > 0 && chance.is_multiple_of(7) {
            true => Fate::Late(Duration::from_micros(chance % 3000), Box::new(fate)),
            false => fate,
        }
    });
    let mut stores = STORES.lock().expect("no test panics with it");
    stores.insert(name.to_owned(), store);
    every
}

fn rows(ids: Range<i64>) -> RecordBatch {
    let ids = Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef;
    RecordBatch::try_from_iter([("id", ids)]).expect("a batch")
}

fn config(folder: &Path, name: &str) -> IcebergConfig {
    let uri = format!("sqlite://{}/{name}.db", folder.display());
    IcebergConfig {
        catalog_uri: Some(arrowload_core::Secret::new(uri)),
        warehouse: Some(format!("faulty://{name}/warehouse")),
        ..IcebergConfig::default()
    }
}

/// Ten rows from `first` on, by a pipeline that may try again.
async fn add(folder: &Path, name: &str, first: i64, mode: Value) -> arrowload_core::Result<()> {
    let mut options = json!({
        "catalog_uri": format!("sqlite://{}/{name}.db", folder.display()),
        "warehouse": format!("faulty://{name}/warehouse"),
        "load_id": format!("load {first}"), "max_retries": 3,
    });
    for (key, value) in mode.as_object().into_iter().flatten() {
        options[key] = value.clone();
    }
    let (loader, spec) = prepare::<IcebergLoader>("t", options).await?;
    let input = Input::repeatable(move |_| {
        let batches = stream::iter([Ok(rows(first..first + 4)), Ok(rows(first + 4..first + 10))]);
        Box::pin(async move { Ok(BatchStream::new(rows(0..0).schema(), batches)) })
    });
    load(&loader, &spec, &input).await.map(drop)
}

/// The rows of the table, in order, and how many snapshots it has.
async fn read(folder: &Path, name: &str) -> (Vec<i64>, usize) {
    let config = config(folder, name);
    let stores = Stores::new(config.storage_options.clone());
    let catalog = Catalog::connect(&config, &stores).await.expect("a catalog");
    let ident = config.table("t").expect("a name");
    let table = open(&stores, &catalog, &ident).await.expect("it opens");
    let table = table.expect("a table");
    let schema = Arc::clone(table.metadata().current_schema());
    let scan = Scan {
        table: Some(table.clone()),
        columns: file_schema(&schema).expect("columns"),
        schema,
    };
    let mut ids = Vec::new();
    for file in table.files().await.expect("files") {
        let batches: Vec<RecordBatch> = scan
            .read(&file)
            .expect("a file")
            .try_collect()
            .await
            .expect("rows");
        for batch in batches {
            ids.extend(batch.column(0).as_primitive::<Int64Type>().values());
        }
    }
    ids.sort_unstable();
    (ids, table.metadata().snapshots().count())
}

/// One test at a time: an answer is lost for whoever commits next.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_at_random_holds_each_load_once() {
    let _one = ONE_AT_A_TIME.lock().await;
    let folder = tempfile::tempdir().expect("a folder");
    let upsert = json!({"mode": "upsert", "keys": ["id"]});
    let (mut failed, mut loads) = (0, 0);
    for (name, often, mode) in [("a", 5, json!({})), ("b", 17, json!({})), ("c", 19, upsert)] {
        let every = faulty(name);
        for (snapshots, first) in (0..60).step_by(10).enumerate() {
            every.store(often, Ordering::Relaxed);
            let first_try = add(folder.path(), name, first, mode.clone()).await;
            failed += u32::from(first_try.is_err());
            // Whoever got an error asks again with the same id.
            for _ in 0..20 {
                if add(folder.path(), name, first, mode.clone()).await.is_ok() {
                    break;
                }
            }
            every.store(0, Ordering::Relaxed);
            let again = add(folder.path(), name, first, mode.clone()).await;
            again.expect("the store is well again");
            loads += 1;
            let (ids, found) = read(folder.path(), name).await;
            let expected: Vec<i64> = (0..first + 10).collect();
            assert_eq!(ids, expected, "{name}, {first}: rows are lost or doubled");
            assert_eq!(found, snapshots + 1, "{name}, {first}");
        }
    }
    assert!(failed > 0 && failed < loads, "{failed} of {loads} failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_commit_is_asked_after() {
    let _one = ONE_AT_A_TIME.lock().await;
    let folder = tempfile::tempdir().expect("a folder");
    faulty("lost");
    for (first, mode) in [
        (0, json!({})),
        (10, json!({})),
        (5, json!({"mode": "upsert", "keys": ["id"]})),
        (100, json!({"mode": "overwrite"})),
    ] {
        LOSES_ANSWERS.store(true, Ordering::SeqCst);
        let lost = add(folder.path(), "lost", first, mode.clone()).await;
        lost.expect("the table is asked, and has it");
        let is_lost = !LOSES_ANSWERS.load(Ordering::SeqCst);
        assert!(is_lost, "no answer was lost");
        let (ids, _) = read(folder.path(), "lost").await;
        let expected: Vec<i64> = match first {
            0 => (0..10).collect(),
            100 => (100..110).collect(),
            _ => (0..20).collect(),
        };
        assert_eq!(ids, expected, "{first} {mode}");
    }
    assert_eq!(read(folder.path(), "lost").await.1, 4);
}
