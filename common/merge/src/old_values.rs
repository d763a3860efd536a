//! Upserts of some columns: the others keep the values of the rows that are replaced.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take;
use arrowload_core::{Error, Result};
use futures::stream::{self, Stream};
use futures::{StreamExt, TryStreamExt, pin_mut};

use crate::keys::KeyMap;
use crate::meeting::Meeting;
use crate::spool::{Spool, Spooled};

/// Takes rows of the target that are replaced.
pub struct OldValuesSpool {
    spool: Spool,
    columns: Vec<usize>,
    /// The keys and then the columns, as places in the load's schema.
    places: Vec<usize>,
}

/// What the rows of a load keep of the rows that they replace.
pub struct OldValues {
    rows: Spooled,
    /// Where the columns are in the load's schema. In `rows` they follow the keys.
    columns: Vec<usize>,
    keys: usize,
}

/// Old rows in memory, by their keys.
struct OldRows {
    places: KeyMap<u32>,
    rows: RecordBatch,
}

impl OldValuesSpool {
    /// For the columns at these places, which the load does not bring: in its batches they are null.
    ///
    /// # Errors
    /// As [`Spool::new`].
    pub fn new(load: &Spooled, columns: Vec<usize>) -> Result<Self> {
        let places: Vec<usize> = load.keys().iter().chain(&columns).copied().collect();
        let schema = Arc::new(load.schema().project(&places)?);
        let keys = (0..load.keys().len()).collect();
        Ok(Self {
            spool: load.sibling(&schema, keys)?,
            columns,
            places,
        })
    }

    /// The columns of the rows to be taken, as places in the load's schema: the keys, and then the others.
    pub fn places(&self) -> &[usize] {
        &self.places
    }

    /// Takes rows that are replaced, with the columns of [`places`](Self::places) and nothing else. This blocks on the disk.
    ///
    /// # Errors
    /// If the disk cannot take them.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.spool.write(batch)
    }

    /// All have come. This blocks on the disk.
    ///
    /// # Errors
    /// If the disk cannot take what is left.
    pub fn finish(self) -> Result<OldValues> {
        let rows = self.spool.finish()?;
        Ok(OldValues {
            keys: rows.keys().len(),
            rows,
            columns: self.columns,
        })
    }
}

impl OldValues {
    /// The rows of the load that are to be written, as [`Meeting::chosen`] says, with these values in those whose key the target
    /// has: each batch with the numbers of its rows in the load. Where the target had several rows of a key, the values are those of
    /// the first that was taken. About `memory` bytes hold values at a time: with more, the load is read again for each further pass.
    ///
    /// # Errors
    /// What reading the spooled rows fails with.
    pub fn fill<'a, P: Sync>(
        &'a self,
        load: &'a Spooled,
        meeting: &'a Meeting<P>,
        (matched, new): (bool, bool),
        memory: usize,
    ) -> Result<impl Stream<Item = Result<(RecordBatch, Vec<u64>)>> + Send + 'a> {
        let passes = self.rows.bytes()?.div_ceil(memory.max(1) as u64);
        let passes = passes.clamp(1, self.rows.rows().max(1));
        let fill = move |pass| async move {
            let old = self.read(pass, passes).await?;
            let mut first = 0;
            let batches = load.hashed_batches()?.map(move |batch| {
                let (batch, hashes) = batch?;
                let chosen = meeting.chosen(first, batch.num_rows(), matched, new);
                let in_pass = chosen.values().iter().zip(&hashes);
                let mask: Vec<bool> = in_pass
                    .map(|(chosen, hash)| chosen && hash.pass(passes) == pass)
                    .collect();
                let rows: Vec<usize> = (0..mask.len()).filter(|row| mask[*row]).collect();
                let places = rows
                    .iter()
                    .map(|row| old.places.get(&hashes[*row]).copied());
                let filled = self.filled(&batch, mask, &old.rows, &places.collect())?;
                let numbers = rows.iter().map(|row| first + *row as u64).collect();
                first += batch.num_rows() as u64;
                Ok((filled, numbers))
            });
            Ok(batches)
        };
        Ok(stream::iter((0..passes).map(Ok::<u64, Error>))
            .and_then(fill)
            .try_flatten())
    }

    /// The old rows of a pass, the first of each key.
    async fn read(&self, pass: u64, passes: u64) -> Result<OldRows> {
        let mut places = KeyMap::default();
        let mut kept = Vec::new();
        let batches = self.rows.hashed_batches()?;
        pin_mut!(batches);
        while let Some((batch, hashes)) = batches.try_next().await? {
            let mut is_first = |hash| {
                let next = places.len() as u32;
                *places.entry(hash).or_insert(next) == next
            };
            let mask = hashes
                .into_iter()
                .map(|hash| Some(hash.pass(passes) == pass && is_first(hash)));
            kept.push(filter_record_batch(&batch, &mask.collect())?);
        }
        let rows = concat_batches(self.rows.schema(), &kept)?;
        Ok(OldRows { places, rows })
    }

    fn filled(
        &self,
        batch: &RecordBatch,
        mask: Vec<bool>,
        old: &RecordBatch,
        places: &UInt32Array,
    ) -> Result<RecordBatch> {
        let batch = filter_record_batch(batch, &mask.into())?;
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        for (index, column) in self.columns.iter().enumerate() {
            columns[*column] = take(old.column(self.keys + index), places, None)?;
        }
        Ok(RecordBatch::try_new(batch.schema(), columns)?)
    }
}
