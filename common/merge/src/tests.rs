//! The meeting against a model that holds everything in memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrowload_core::{Error, ErrorKind, Result};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::keys::KEY_BYTES;
use crate::{Counts, OldValuesSpool, Spool, Spooled, Target, meet};

/// A key of two columns.
type Key = (Option<i64>, String);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("value", DataType::Int64, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("number", DataType::Int64, true),
    ]))
}

/// Rows with these keys, and a value that is the number of the row.
fn batch(keys: &[Key], first: usize) -> RecordBatch {
    let values = first as i64..(first + keys.len()) as i64;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(values)),
        Arc::new(keys.iter().map(|key| Some(&key.1)).collect::<StringArray>()),
        Arc::new(keys.iter().map(|key| key.0).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(schema(), columns).expect("a batch")
}

/// The places of the key columns, in the order of the keys.
const KEYS: [usize; 2] = [2, 1];

fn spool(rows: &[Key], batch_rows: usize) -> Arc<Spooled> {
    let mut spool = Spool::new(&schema(), KEYS.to_vec()).expect("a spool");
    for (index, keys) in rows.chunks(batch_rows).enumerate() {
        spool
            .write(&batch(keys, index * batch_rows))
            .expect("written");
    }
    Arc::new(spool.finish().expect("finished"))
}

struct Memory {
    parts: Vec<Vec<Key>>,
    batch_rows: usize,
}

impl Target for Memory {
    type Part = usize;

    async fn keys(&self, part: &usize) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let rows = &self.parts[*part];
        let batches = rows.chunks(self.batch_rows).enumerate();
        let batches: Vec<_> = batches
            .map(|(index, keys)| Ok(batch(keys, index).project(&KEYS)?))
            .collect();
        Ok(stream::iter(batches).boxed())
    }
}

fn key() -> impl Strategy<Value = Key> {
    (proptest::option::weighted(0.9, 0..20_i64), "[ab]?")
}

fn rows(most: usize) -> impl Strategy<Value = Vec<Key>> {
    proptest::collection::vec(key(), 0..most)
}

proptest! {
    #[test]
    fn it_meets_as_the_model_does(
        load in rows(60),
        parts in proptest::collection::vec(rows(30), 0..5),
        batch_rows in 1..20_usize,
        keys_in_memory in 1..60_usize,
    ) {
        let spooled = spool(&load, batch_rows);
        let target = Arc::new(Memory { parts: parts.clone(), batch_rows });
        let numbers = (0..parts.len()).collect();
        let meeting = Runtime::new()?
            .block_on(meet(&spooled, &target, numbers, keys_in_memory * KEY_BYTES))
            .expect("they meet");

        let last: HashMap<&Key, usize> = load.iter().enumerate().map(|(row, key)| (key, row)).collect();
        let old: HashSet<&Key> = parts.iter().flatten().collect();
        let matched = last.keys().filter(|key| old.contains(*key)).count();
        let counts = Counts {
            matched: matched as u64,
            new: (last.len() - matched) as u64,
            duplicate: (load.len() - last.len()) as u64,
        };
        prop_assert_eq!(meeting.counts, counts);
        prop_assert_eq!(spooled.rows(), load.len() as u64);
        prop_assert_eq!(spooled.null_keys(), load.iter().filter(|key| key.0.is_none()).count() as u64);

        prop_assert_eq!(meeting.parts.len(), parts.len());
        for (index, (found, rows)) in meeting.parts.iter().zip(&parts).enumerate() {
            prop_assert_eq!((found.part, found.rows()), (index, rows.len()));
            let expected: Vec<bool> = rows.iter().map(|key| last.contains_key(key)).collect();
            let seen = found.matched().map_or_else(|| vec![false; rows.len()], |rows| rows.iter().collect());
            prop_assert_eq!(found.matched().is_some(), expected.contains(&true));
            prop_assert_eq!(seen, expected);
        }

        for (take_matched, take_new) in [(true, true), (true, false), (false, true), (false, false)] {
            let expected = load.iter().enumerate().map(|(row, key)| {
                let wanted = if old.contains(key) { take_matched } else { take_new };
                wanted && last[key] == row
            });
            let seen = (0..load.len()).step_by(batch_rows).flat_map(|first| {
                let rows = batch_rows.min(load.len() - first);
                let chosen = meeting.chosen(first as u64, rows, take_matched, take_new);
                chosen.values().iter().collect::<Vec<_>>()
            });
            prop_assert_eq!(seen.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }

    }
}

/// Rows of the target: a key, and what the load does not bring.
fn with_old(parts: &[Vec<Key>]) -> Vec<Vec<(Key, i64)>> {
    let numbered = |part: usize, row: usize| (part * 1000 + row) as i64;
    let part = |(part, rows): (usize, &Vec<Key>)| {
        let rows = rows.iter().cloned().enumerate();
        rows.map(|(row, key)| (key, numbered(part, row))).collect()
    };
    parts.iter().enumerate().map(part).collect()
}

proptest! {
    #[test]
    fn columns_that_the_load_lacks_keep_their_values(
        load in rows(60),
        parts in proptest::collection::vec(rows(30), 0..5),
        batch_rows in 1..20_usize,
        memory in prop_oneof![Just(500_usize), Just(5000), Just(1 << 20)],
    ) {
        let spooled = spool(&load, batch_rows);
        let target = Arc::new(Memory { parts: parts.clone(), batch_rows });
        let runtime = Runtime::new()?;
        let numbers = (0..parts.len()).collect();
        let meeting = runtime.block_on(meet(&spooled, &target, numbers, 1 << 20)).expect("they meet");

        let mut old = OldValuesSpool::new(&spooled, vec![0]).expect("a spool");
        let all = with_old(&parts);
        for (part, rows) in meeting.parts.iter().zip(&all) {
            let Some(matched) = part.matched() else { continue };
            for ((key, value), _) in rows.iter().zip(matched).filter(|(_, matched)| *matched) {
                let row = batch(std::slice::from_ref(key), *value as usize);
                old.write(&row.project(old.places()).expect("columns")).expect("written");
            }
        }
        let old = old.finish().expect("finished");
        let filled = old.fill(&spooled, &meeting, (true, true), memory).expect("filled");
        let filled: Vec<(RecordBatch, Vec<u64>)> =
            runtime.block_on(filled.try_collect()).expect("filled");
        let mut seen: Vec<(u64, Option<i64>)> = Vec::new();
        for (batch, rows) in filled {
            prop_assert_eq!(batch.num_rows(), rows.len());
            seen.extend(rows.into_iter().zip(batch.column(0).as_primitive::<Int64Type>()));
        }
        seen.sort_unstable();

        let last: HashMap<&Key, usize> = load.iter().enumerate().map(|(row, key)| (key, row)).collect();
        let mut first: HashMap<&Key, i64> = HashMap::new();
        for (key, value) in all.iter().flatten() {
            first.entry(key).or_insert(*value);
        }
        let mut expected: Vec<(u64, Option<i64>)> = last
            .iter()
            .map(|(key, row)| (*row as u64, first.get(key).copied()))
            .collect();
        expected.sort_unstable();
        prop_assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn batches_come_back_as_they_were_and_more_than_once() {
    let keys: Vec<Key> = (0..10).map(|number| (Some(number), "a".into())).collect();
    let spooled = spool(&keys, 4);
    for _ in 0..2 {
        let batches: Result<Vec<_>> = spooled.batches().expect("batches").try_collect().await;
        let expected = vec![
            batch(&keys[..4], 0),
            batch(&keys[4..8], 4),
            batch(&keys[8..], 8),
        ];
        assert_eq!(batches.expect("read"), expected);
    }
}

#[tokio::test]
async fn floats_are_keys_by_their_bits() {
    let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Float64, true)]));
    let floats = |values: Vec<f64>| {
        let column: ArrayRef = Arc::new(arrow_array::Float64Array::from(values));
        RecordBatch::try_new(Arc::clone(&schema), vec![column]).expect("a batch")
    };
    struct Floats(RecordBatch);
    impl Target for Floats {
        type Part = ();
        async fn keys(&self, (): &()) -> Result<BoxStream<'static, Result<RecordBatch>>> {
            Ok(stream::iter([Ok(self.0.clone())]).boxed())
        }
    }
    let mut spool = Spool::new(&schema, vec![0]).expect("a spool");
    spool
        .write(&floats(vec![0.0, f64::NAN, 1.0]))
        .expect("written");
    let spooled = Arc::new(spool.finish().expect("finished"));
    let target = Arc::new(Floats(floats(vec![-0.0, f64::NAN, 2.0])));
    let meeting = meet(&spooled, &target, vec![()], 1 << 20)
        .await
        .expect("they meet");
    assert_eq!((meeting.counts.matched, meeting.counts.new), (1, 2));
}

#[tokio::test]
async fn errors_and_other_types_end_the_meeting() {
    #[derive(Debug, Clone, Copy)]
    enum Fails {
        Error,
        Panic,
        Type,
    }
    struct Broken;
    impl Target for Broken {
        type Part = Fails;
        async fn keys(&self, part: &Fails) -> Result<BoxStream<'static, Result<RecordBatch>>> {
            match part {
                Fails::Error => Err(Error::new(ErrorKind::NotFound, "gone")),
                Fails::Panic => panic!("a defect"),
                Fails::Type => {
                    let keys = batch(&[(Some(1), "a".into())], 0).project(&[1, 2])?;
                    Ok(stream::iter([Ok(keys)]).boxed())
                }
            }
        }
    }
    let spooled = spool(&[(Some(1), "a".into())], 1);
    for (fails, kind) in [
        (Fails::Error, ErrorKind::NotFound),
        (Fails::Panic, ErrorKind::Unexpected),
        (Fails::Type, ErrorKind::Unexpected),
    ] {
        let error = meet(&spooled, &Arc::new(Broken), vec![fails], 1 << 20).await;
        assert_eq!(error.expect_err("it fails").kind(), kind);
    }
}
