//! Loads through a store that fails, loses answers and answers late, at random: one commit a load, or none.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrowload_core::{BatchStream, Input, load};
use arrowload_testkit::loads::prepare;
use arrowload_testkit::{Fate, FaultyStore, StoreStep};
use futures::stream;
use object_store::memory::InMemory;
use serde_json::json;

use super::{place, register};
use crate::DeltaLakeLoader;
use crate::table::Table;

fn rows(ids: Range<i64>) -> RecordBatch {
    RecordBatch::try_from_iter([(
        "id",
        Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef,
    )])
    .expect("a batch")
}

/// Ten rows from `first` on, by a pipeline that may try again.
async fn add(table: &str, first: i64) -> arrowload_core::Result<()> {
    let options = json!({ "load_id": format!("load {first}"), "max_retries": 3 });
    let (loader, spec) = prepare::<DeltaLakeLoader>(format!("faulty://{table}"), options).await?;
    let input = Input::repeatable(move |_| {
        let batches = stream::iter([Ok(rows(first..first + 4)), Ok(rows(first + 4..first + 10))]);
        Box::pin(async move { Ok(BatchStream::new(rows(0..0).schema(), batches)) })
    });
    load(&loader, &spec, &input).await.map(drop)
}

async fn count(table: &str) -> u64 {
    let table = Table::open(&place(table).log_store, true).await;
    let files = table.expect("it opens").expect("a table").files();
    files
        .expect("files")
        .iter()
        .filter_map(|file| file.rows)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_at_random_holds_each_load_once() {
    let (mut failed, mut loads) = (0, 0);
    for (name, every) in [("a", 5), ("b", 13), ("c", 29)] {
        let fails = Arc::new(AtomicU64::new(0));
        let (rule, calls) = (Arc::clone(&fails), AtomicU64::new(0));
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
        register(name, store);
        for first in (0..200).step_by(10) {
            fails.store(every, Ordering::Relaxed);
            let first_try = add(name, first).await;
            failed += u32::from(first_try.is_err());
            // Whoever got an error asks again with the same id.
            for _ in 0..50 {
                if add(name, first).await.is_ok() {
                    break;
                }
            }
            fails.store(0, Ordering::Relaxed);
            add(name, first).await.expect("the store is well again");
            loads += 1;
            let rows = count(name).await;
            assert_eq!(
                rows,
                (first as u64) + 10,
                "{name}, {first}: rows are lost or doubled"
            );
        }
    }
    assert!(
        failed > 0 && failed < loads,
        "{failed} of {loads} loads failed"
    );
}

/// Twice to answer whether the load has committed, once to look at the table; no more to begin, commit and tidy up.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_reads_the_log_three_times() {
    let store = FaultyStore::new(Arc::new(InMemory::new()), |_| Fate::Done);
    register("calls", store.clone());
    let commits = 20;
    for first in 0..commits {
        add("calls", first * 10).await.expect("it loads");
    }
    let before = store.calls(StoreStep::Get);
    add("calls", commits * 10).await.expect("it loads");
    let read = store.calls(StoreStep::Get) - before;
    assert!(
        read <= 3 * commits as u64 + 5,
        "{read} reads of {commits} commits"
    );
}
