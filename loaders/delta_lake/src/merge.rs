//! Upserts: the rows of the table that go, the rows of the load that come, and how many there were of each.

use std::sync::Arc;

use arrow_array::BooleanArray;
use arrow_buffer::BooleanBufferBuilder;
use arrow_select::filter::filter_record_batch;
use arrowload_core::{KeyCounts, Result};
use futures::{StreamExt, TryStreamExt, stream};

use crate::commit::Scope;
use crate::keys::{KEY_BYTES, KeyHasher, Keys};
use crate::options::{DeltaLakeOptions, WhenMatched, WhenNotMatched, WhenNotMatchedBySource};
use crate::removal::{FILES_AT_ONCE, Removal, Rewriter, in_task};
use crate::scan::Scan;
use crate::spool::Spooled;
use crate::table::TableFile;

/// What the keys of a load may take in memory where nothing else is said.
const KEY_MEMORY: usize = 128 << 20;

/// An upsert whose rows have all come.
pub(crate) struct Merge<'a> {
    pub(crate) spooled: &'a Spooled,
    /// The key columns, as places in the table's schema.
    pub(crate) keys: Vec<usize>,
    pub(crate) seed: u64,
    pub(crate) scan: Scan,
    pub(crate) options: &'a DeltaLakeOptions,
}

/// What an upsert did.
pub(crate) struct Merged {
    pub(crate) removal: Removal,
    pub(crate) counts: KeyCounts,
    /// Rows of the table whose keys the load has.
    met: u64,
    /// Rows of the table that are gone and not replaced.
    pub(crate) deleted: u64,
    /// Rows of the load that were written.
    pub(crate) written: u64,
}

/// A file of the table, and which of its rows have a key of the load.
type Matches = (TableFile, BooleanArray);

impl Merge<'_> {
    /// Finds what matches, and writes what stays and what comes.
    pub(crate) async fn run(
        &self,
        files: Vec<TableFile>,
        writer: &mut Rewriter<'_>,
    ) -> Result<Merged> {
        let limit = self.options.key_memory_bytes.unwrap_or(KEY_MEMORY);
        let rows = usize::try_from(self.spooled.rows).unwrap_or(usize::MAX);
        let passes = (rows.saturating_mul(KEY_BYTES).div_ceil(limit)).max(1) as u64;
        let mut left_out = Bits::new(rows);
        let mut counts = KeyCounts::default();
        let mut matches: Option<Vec<Matches>> = None;
        for pass in 0..passes {
            let keys = Arc::new(self.keys_of(pass, passes, &mut left_out, &mut counts)?);
            matches = Some(self.meet(&keys, matches, &files).await?);
            self.decide(&keys, &mut left_out, &mut counts);
        }
        let mut merged = Merged {
            removal: Removal::files(Vec::new(), Scope::Derived),
            counts,
            met: 0,
            deleted: 0,
            written: 0,
        };
        for (file, matched) in matches.unwrap_or_default() {
            self.rewrite(file, &matched, &mut merged, writer).await?;
        }
        if self.options.when_matched == WhenMatched::Update {
            // The table had several rows of a key, and gets one.
            merged.deleted += merged.met.saturating_sub(merged.counts.updated);
        }
        self.write_rows(&left_out, &mut merged, writer).await?;
        Ok(merged)
    }

    /// The keys of one pass, each with its last row.
    fn keys_of(
        &self,
        pass: u64,
        passes: u64,
        left_out: &mut Bits,
        counts: &mut KeyCounts,
    ) -> Result<Keys> {
        let mut keys = Keys::with_capacity((self.spooled.rows / passes) as usize);
        self.spooled.hashes(|row, hash| {
            if hash[1] % passes != pass {
                return;
            }
            if let Some(earlier) = keys.insert(hash, row) {
                left_out.set(earlier);
                counts.duplicate += 1;
            }
        })?;
        Ok(keys)
    }

    /// Which rows of the table have one of the keys, beside those of earlier passes.
    async fn meet(
        &self,
        keys: &Arc<Keys>,
        earlier: Option<Vec<Matches>>,
        files: &[TableFile],
    ) -> Result<Vec<Matches>> {
        let known: Vec<(TableFile, Option<BooleanArray>)> = match earlier {
            Some(earlier) => earlier
                .into_iter()
                .map(|(file, matched)| (file, Some(matched)))
                .collect(),
            None => files.iter().map(|file| (file.clone(), None)).collect(),
        };
        let mut sorted = self.keys.clone();
        sorted.sort_unstable();
        let scan = self.scan.project(&sorted)?;
        let order: Vec<usize> = self
            .keys
            .iter()
            .filter_map(|key| sorted.iter().position(|index| index == key))
            .collect();
        let found = stream::iter(known).map(|(file, before)| {
            let (scan, keys, order, seed) =
                (scan.clone(), Arc::clone(keys), order.clone(), self.seed);
            in_task(async move {
                let hasher = KeyHasher::new(&scan.schema, order, seed)?;
                let mut matched = BooleanBufferBuilder::new(0);
                let mut batches = scan.read(&file).await?;
                while let Some(batch) = batches.try_next().await? {
                    for hash in hasher.hash(&batch)? {
                        let row = matched.len();
                        matched.append(
                            keys.meet(hash)
                                || before.as_ref().is_some_and(|before| before.value(row)),
                        );
                    }
                }
                Ok((file, BooleanArray::new(matched.finish(), None)))
            })
        });
        found.buffered(FILES_AT_ONCE).try_collect().await
    }

    /// Counts the keys of a pass, and leaves out the rows of the load that shall not be written.
    fn decide(&self, keys: &Keys, left_out: &mut Bits, counts: &mut KeyCounts) {
        let (replaces, inserts) = (
            self.options.when_matched == WhenMatched::Update,
            self.options.when_not_matched == WhenNotMatched::Insert,
        );
        for (row, matched) in keys.rows() {
            match matched {
                true if replaces => counts.updated += 1,
                true if self.options.when_matched == WhenMatched::Ignore => counts.unchanged += 1,
                false if inserts => counts.inserted += 1,
                _ => {}
            }
            if (matched && !replaces) || (!matched && !inserts) {
                left_out.set(row);
            }
        }
    }

    async fn rewrite(
        &self,
        file: TableFile,
        matched: &BooleanArray,
        merged: &mut Merged,
        writer: &mut Rewriter<'_>,
    ) -> Result<()> {
        let goes = self.options.when_matched != WhenMatched::Ignore;
        let others_go = self.options.when_not_matched_by_source == WhenNotMatchedBySource::Delete;
        let dropped = match (goes, others_go) {
            (true, false) => matched.clone(),
            (true, true) => BooleanArray::from(vec![true; matched.len()]),
            (false, true) => BooleanArray::new(!matched.values(), None),
            (false, false) => return Ok(()),
        };
        let met = matched.true_count();
        merged.met += met as u64;
        if self.options.when_matched == WhenMatched::Delete {
            merged.deleted += met as u64;
        }
        if others_go {
            merged.deleted += (matched.len() - met) as u64;
        }
        merged
            .removal
            .rewrite(&self.scan, file, &dropped, writer)
            .await
    }

    /// Writes the rows of the load that are not left out.
    async fn write_rows(
        &self,
        left_out: &Bits,
        merged: &mut Merged,
        writer: &mut Rewriter<'_>,
    ) -> Result<()> {
        let mut row = 0;
        for batch in self.spooled.batches()? {
            let batch = batch?;
            let keep = left_out.others(row, batch.num_rows());
            row += batch.num_rows();
            let kept = if keep.true_count() == keep.len() {
                batch
            } else {
                filter_record_batch(&batch, &keep)?
            };
            merged.written += kept.num_rows() as u64;
            writer.write(&kept).await?;
        }
        Ok(())
    }
}

/// One bit for each row.
struct Bits(Vec<u64>);

impl Bits {
    fn new(rows: usize) -> Self {
        Self(vec![0; rows.div_ceil(64)])
    }

    fn set(&mut self, row: u64) {
        self.0[(row / 64) as usize] |= 1 << (row % 64);
    }

    /// The rows from `first` on whose bit is not set.
    fn others(&self, first: usize, rows: usize) -> BooleanArray {
        (first..first + rows)
            .map(|row| Some(self.0[row / 64] & (1 << (row % 64)) == 0))
            .collect()
    }
}
