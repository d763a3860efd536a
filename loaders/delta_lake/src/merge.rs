//! Upserts: what happens to the rows of the table and of the load after their keys were matched.

use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_buffer::BooleanBuffer;
use arrow_select::filter::filter_record_batch;
use arrowload_common_merge::{Meeting, OldValues, OldValuesSpool, Part, Spooled, Target, meet};
use arrowload_common_object_store::blocking;
use arrowload_core::{KeyCounts, Result};
use futures::stream::BoxStream;
use futures::{TryStreamExt, pin_mut};

use crate::columns::ColumnProgram;
use crate::commit::Scope;
use crate::options::{DeltaLakeOptions, WhenMatched, WhenNotMatched, WhenNotMatchedBySource};
use crate::removal::{Removal, Rewriter};
use crate::scan::Scan;
use crate::table::TableFile;

/// The memory that the keys of a load may take by default.
const KEY_MEMORY: usize = 128 << 20;

/// An upsert whose rows have all come.
pub(crate) struct Merge<'a> {
    pub(crate) spooled: &'a Arc<Spooled>,
    /// The key columns, as places in the table's schema.
    pub(crate) keys: Vec<usize>,
    pub(crate) scan: Scan,
    /// The columns in which rows of the load keep the values of those that they replace.
    pub(crate) kept: &'a [usize],
    pub(crate) columns: &'a ColumnProgram,
    pub(crate) options: &'a DeltaLakeOptions,
}

/// What an upsert did.
pub(crate) struct Merged {
    pub(crate) removal: Removal,
    pub(crate) counts: KeyCounts,
    /// Rows of the table that were deleted and not replaced.
    pub(crate) deleted: u64,
    /// Rows of the load that were written.
    pub(crate) written: u64,
}

/// The key columns of a table's files.
struct KeyColumns(Scan);

impl Target for KeyColumns {
    type Part = TableFile;

    async fn keys(&self, file: &TableFile) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        self.0.read(file).await
    }
}

impl Merge<'_> {
    /// Matches the rows, and writes the rows that stay and the new ones.
    pub(crate) async fn run(
        &self,
        files: Vec<TableFile>,
        writer: &mut Rewriter<'_>,
    ) -> Result<Merged> {
        let target = Arc::new(KeyColumns(self.scan.project(&self.keys)?));
        let memory = self.options.key_memory_bytes.unwrap_or(KEY_MEMORY);
        let mut meeting = meet(self.spooled, &target, files, memory).await?;
        let mut merged = Merged {
            removal: Removal::files(Vec::new(), Scope::Derived),
            counts: self.counts(&meeting),
            deleted: 0,
            written: 0,
        };
        let old = match self.kept {
            [] => None,
            kept => Some(self.old_values(kept.to_vec(), &meeting.parts).await?),
        };
        let mut met = 0;
        for file in std::mem::take(&mut meeting.parts) {
            met += self.rewrite(file, &mut merged, writer).await?;
        }
        match self.options.when_matched {
            // The table may have had several rows of a key, and gets one.
            WhenMatched::Update => merged.deleted += met.saturating_sub(merged.counts.updated),
            WhenMatched::Delete => merged.deleted += met,
            WhenMatched::Ignore => {}
        }
        merged.written = match old {
            None => self.write_rows(&meeting, writer).await?,
            Some(old) => self.write_filled(&meeting, &old, memory, writer).await?,
        };
        Ok(merged)
    }

    fn counts(&self, meeting: &Meeting<TableFile>) -> KeyCounts {
        let (matched, new) = (meeting.counts.matched, meeting.counts.new);
        let mut counts = KeyCounts {
            duplicate: meeting.counts.duplicate,
            null: self.spooled.null_keys(),
            ..KeyCounts::default()
        };
        match self.options.when_matched {
            WhenMatched::Update => counts.updated = matched,
            WhenMatched::Ignore => counts.unchanged = matched,
            WhenMatched::Delete => {}
        }
        if self.options.when_not_matched == WhenNotMatched::Insert {
            counts.inserted = new;
        }
        counts
    }

    /// Removes a file with rows that go, and writes the others again. Returns how many of its rows have a key of the load.
    async fn rewrite(
        &self,
        file: Part<TableFile>,
        merged: &mut Merged,
        writer: &mut Rewriter<'_>,
    ) -> Result<u64> {
        let matched_go = self.options.when_matched != WhenMatched::Ignore;
        let others_go = self.options.when_not_matched_by_source == WhenNotMatchedBySource::Delete;
        let rows = file.rows();
        let met = file.matched().map_or(0, BooleanBuffer::count_set_bits);
        let dropped = match (matched_go, others_go, file.matched()) {
            (true, true, _) | (_, true, None) => BooleanBuffer::new_set(rows),
            (true, false, Some(matched)) => matched.clone(),
            (false, true, Some(matched)) => !matched,
            (_, false, None) | (false, false, _) => return Ok(met as u64),
        };
        if others_go {
            merged.deleted += (rows - met) as u64;
        }
        let dropped = BooleanArray::new(dropped, None);
        merged
            .removal
            .rewrite(&self.scan, file.part, &dropped, writer)
            .await?;
        Ok(met as u64)
    }

    /// What the rows that are replaced have in the columns that the load lacks.
    async fn old_values(&self, kept: Vec<usize>, files: &[Part<TableFile>]) -> Result<OldValues> {
        let spooled = Arc::clone(self.spooled);
        let mut old = blocking(move || OldValuesSpool::new(&spooled, kept)).await?;
        let scan = self.scan.project(old.places())?;
        for file in files {
            let Some(matched) = file.matched() else {
                continue;
            };
            let matched = BooleanArray::new(matched.clone(), None);
            let mut batches = scan.read(&file.part).await?;
            let mut row = 0;
            while let Some(batch) = batches.try_next().await? {
                let rows = filter_record_batch(&batch, &matched.slice(row, batch.num_rows()))?;
                row += batch.num_rows();
                old = blocking(move || old.write(&rows).map(|()| old)).await?;
            }
        }
        blocking(move || old.finish()).await
    }

    /// Which rows of the load are written: those that replace others, and those that are new.
    fn choice(&self) -> (bool, bool) {
        let replaces = self.options.when_matched == WhenMatched::Update;
        let inserts = self.options.when_not_matched == WhenNotMatched::Insert;
        (replaces, inserts)
    }

    async fn write_rows(
        &self,
        meeting: &Meeting<TableFile>,
        writer: &mut Rewriter<'_>,
    ) -> Result<u64> {
        let (replaces, inserts) = self.choice();
        let batches = self.spooled.batches()?;
        pin_mut!(batches);
        let (mut row, mut written) = (0, 0);
        while let Some(batch) = batches.try_next().await? {
            let chosen = meeting.chosen(row, batch.num_rows(), replaces, inserts);
            row += batch.num_rows() as u64;
            let chosen = match chosen.true_count() == chosen.len() {
                true => batch,
                false => filter_record_batch(&batch, &chosen)?,
            };
            written += chosen.num_rows() as u64;
            writer.write(&chosen).await?;
        }
        Ok(written)
    }

    /// Writes the rows of the load with the values that they keep.
    async fn write_filled(
        &self,
        meeting: &Meeting<TableFile>,
        old: &OldValues,
        memory: usize,
        writer: &mut Rewriter<'_>,
    ) -> Result<u64> {
        let filled = old.fill(self.spooled, meeting, self.choice(), memory)?;
        pin_mut!(filled);
        let mut written = 0;
        while let Some((batch, rows)) = filled.try_next().await? {
            let batch = self.columns.finish(batch, &rows)?;
            written += batch.num_rows() as u64;
            writer.write(&batch).await?;
        }
        Ok(written)
    }
}
