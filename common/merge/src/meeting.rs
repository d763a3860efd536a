//! Matches a load's keys with those of its target, in as many passes as the memory limit needs.

use std::future::Future;
use std::sync::Arc;

use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use arrow_schema::DataType;
use arrowload_common_object_store::{blocking, from_join};
use arrowload_core::{Error, ErrorKind, Result};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tokio_util::task::AbortOnDropHandle;

use crate::bits::Bits;
use crate::keys::{KEY_BYTES, Keys};
use crate::spool::Spooled;

/// How many parts are read at once.
const PARTS_AT_ONCE: usize = 4;

/// A table whose rows are in parts that can be read again, in the same order each time.
pub trait Target: Send + Sync + 'static {
    /// A part, such as a data file.
    type Part: Clone + Send + Sync + 'static;

    /// The key columns of a part, in the order of the load's keys and with their types, and nothing else.
    fn keys(
        &self,
        part: &Self::Part,
    ) -> impl Future<Output = Result<BoxStream<'static, Result<RecordBatch>>>> + Send;
}

/// The result of matching the keys of a load with those of its target.
#[derive(Debug)]
pub struct Meeting<P> {
    /// The parts of the target, in the order in which they were given.
    pub parts: Vec<Part<P>>,
    /// How many keys there are of each kind.
    pub counts: Counts,
    /// Rows of the load that are not the last of their key.
    superseded: Bits,
    /// Rows of the load that are, and whose key the target has.
    matched: Bits,
}

/// How many keys a load has that the target has too, and that it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Keys of the load that the target has.
    pub matched: u64,
    /// Keys of the load that the target does not have.
    pub new: u64,
    /// Rows of the load that are followed by another row with the same key.
    pub duplicate: u64,
}

/// A part of the target after the meeting.
#[derive(Debug, Clone)]
pub struct Part<P> {
    /// What it is.
    pub part: P,
    rows: usize,
    matched: Option<BooleanBuffer>,
}

impl<P> Part<P> {
    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// For each row, whether its key is one of the load's; `None` if that is so for no row.
    pub fn matched(&self) -> Option<&BooleanBuffer> {
        self.matched.as_ref()
    }
}

impl<P> Meeting<P> {
    /// Which of `rows` rows of the load, from row `first` on, are to be written: of those that are the last of their key, the
    /// ones whose key the target has if `matched` says so, and the others if `new` does.
    pub fn chosen(&self, first: u64, rows: usize, matched: bool, new: bool) -> BooleanArray {
        let chosen = |row: u64| {
            let wanted = if self.matched.get(row) { matched } else { new };
            wanted && !self.superseded.get(row)
        };
        let rows = (first..first + rows as u64).map(chosen);
        BooleanArray::new(rows.collect::<BooleanBuffer>(), None)
    }
}

/// Matches the keys of a load with those of its target. At most `key_memory` bytes hold keys at a time: with more, the target
/// is read again for each further pass.
///
/// # Errors
/// What reading the target or the spooled rows fails with.
pub async fn meet<T: Target>(
    load: &Arc<Spooled>,
    target: &Arc<T>,
    parts: Vec<T::Part>,
    key_memory: usize,
) -> Result<Meeting<T::Part>> {
    let rows = load.rows();
    let passes = rows
        .saturating_mul(KEY_BYTES as u64)
        .div_ceil(key_memory.max(1) as u64)
        .max(1);
    let unread = |part| Part {
        part,
        rows: 0,
        matched: None,
    };
    let mut meeting = Meeting {
        parts: parts.into_iter().map(unread).collect(),
        counts: Counts::default(),
        superseded: Bits::new(rows),
        matched: Bits::new(rows),
    };
    for pass in 0..passes {
        let keys = Arc::new(meeting.take_keys(load, pass, passes).await?);
        meeting.meet(load, target, &keys).await?;
        for (row, matched) in keys.rows() {
            if matched {
                meeting.counts.matched += 1;
                meeting.matched.set(row);
            } else {
                meeting.counts.new += 1;
            }
        }
    }
    Ok(meeting)
}

impl<P: Clone + Send + Sync + 'static> Meeting<P> {
    /// The keys of one pass, each with its last row.
    async fn take_keys(&mut self, load: &Arc<Spooled>, pass: u64, passes: u64) -> Result<Keys> {
        let load = Arc::clone(load);
        let mut superseded = std::mem::take(&mut self.superseded);
        let read = blocking(move || {
            let mut keys = Keys::with_capacity((load.rows() / passes) as usize);
            let mut duplicate = 0;
            load.hashes(|row, hash| {
                if hash.pass(passes) != pass {
                    return;
                }
                if let Some(earlier) = keys.insert(hash, row) {
                    superseded.set(earlier);
                    duplicate += 1;
                }
            })?;
            Ok((keys, superseded, duplicate))
        });
        let (keys, superseded, duplicate) = read.await?;
        self.superseded = superseded;
        self.counts.duplicate += duplicate;
        Ok(keys)
    }

    /// Notes which rows of the target have one of the keys, beside those of earlier passes.
    async fn meet<T: Target<Part = P>>(
        &mut self,
        load: &Arc<Spooled>,
        target: &Arc<T>,
        keys: &Arc<Keys>,
    ) -> Result<()> {
        let read = std::mem::take(&mut self.parts).into_iter().map(|part| {
            let (load, target, keys) = (Arc::clone(load), Arc::clone(target), Arc::clone(keys));
            // On threads of the runtime, and only as long as the caller waits.
            let reading = async move { meet_part(&load, target.as_ref(), part, &keys).await };
            async {
                AbortOnDropHandle::new(tokio::spawn(reading))
                    .await
                    .map_err(from_join)?
            }
        });
        self.parts = stream::iter(read)
            .buffered(PARTS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(())
    }
}

async fn meet_part<T: Target>(
    load: &Spooled,
    target: &T,
    part: Part<T::Part>,
    keys: &Keys,
) -> Result<Part<T::Part>> {
    let hasher = load.hasher()?;
    let mut rows = 0;
    let mut matched: Option<BooleanBufferBuilder> = None;
    let mut batches = target.keys(&part.part).await?;
    while let Some(batch) = batches.try_next().await? {
        check_types(&batch, load.key_types())?;
        for hash in hasher.hash(batch.columns())? {
            let was = part.matched.as_ref().is_some_and(|was| was.value(rows));
            let is = keys.meet(hash) || was;
            if is && matched.is_none() {
                let mut none = BooleanBufferBuilder::new(rows + batch.num_rows());
                none.append_n(rows, false);
                matched = Some(none);
            }
            if let Some(matched) = &mut matched {
                matched.append(is);
            }
            rows += 1;
        }
    }
    Ok(Part {
        part: part.part,
        rows,
        matched: matched.map(|mut matched| matched.finish()),
    })
}

/// Rows of other types would have other hashes, and silently match nothing.
fn check_types(batch: &RecordBatch, types: &[DataType]) -> Result<()> {
    let found = batch.columns().iter().map(|column| column.data_type());
    if found.eq(types) {
        return Ok(());
    }
    let message = "the target's key columns were not read with the types of the load's";
    Err(Error::new(ErrorKind::Unexpected, message))
}
