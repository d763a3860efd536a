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

use crate::commit::Scope;
use crate::deletes::Deletes;
use crate::removal::Removal;
use crate::scan::Scan;
use crate::table::TableFile;
use crate::writer::Writer;

/// The memory that the keys of a load may take by default.
const KEY_MEMORY: usize = 128 << 20;

/// An upsert whose rows have all come.
pub(crate) struct Merge<'a> {
    pub(crate) spooled: &'a Arc<Spooled>,
    /// The key columns, as places in the table's columns.
    pub(crate) keys: Vec<usize>,
    pub(crate) scan: Scan,
    /// The columns in which rows of the load keep the values of those that they replace.
    pub(crate) kept: &'a [usize],
    pub(crate) key_memory: Option<usize>,
    /// Rows are deleted by their positions, and files are not written again for it.
    pub(crate) merges_on_read: bool,
}

/// What an upsert did.
pub(crate) struct Merged {
    pub(crate) removal: Removal,
    pub(crate) counts: KeyCounts,
    /// Rows of the table that were deleted and not replaced: the table had several rows with a key,
    /// and gets one.
    pub(crate) deleted: u64,
    /// Rows of the load that were written.
    pub(crate) written: u64,
}

/// The key columns of a table's files.
struct KeyColumns(Scan);

impl Target for KeyColumns {
    type Part = TableFile;

    async fn keys(&self, file: &TableFile) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        self.0.read(file)
    }
}

impl Merge<'_> {
    /// Matches the rows, and writes the rows that stay and the new ones.
    pub(crate) async fn run(&self, files: Vec<TableFile>, writer: &mut Writer) -> Result<Merged> {
        let target = Arc::new(KeyColumns(self.scan.project(&self.keys)?));
        let memory = self.key_memory.unwrap_or(KEY_MEMORY);
        let mut meeting = meet(self.spooled, &target, files, memory).await?;
        let mut merged = Merged {
            removal: Removal::of_files(Scope::Derived),
            counts: self.counts(&meeting),
            deleted: 0,
            written: 0,
        };
        let old = match self.kept {
            [] => None,
            kept => Some(self.old_values(kept.to_vec(), &meeting.parts).await?),
        };
        for file in std::mem::take(&mut meeting.parts) {
            let Some(matched) = file.matched() else {
                continue;
            };
            let removal = &mut merged.removal;
            let gone = matched.count_set_bits();
            // A file that has deletes already, or loses all of its rows, is rewritten or removed,
            // because that is cheaper to read.
            if self.merges_on_read && file.part.task.deletes.is_empty() && gone < file.rows() {
                removal.rows += gone as u64;
                removal.deletes.push(Deletes {
                    rows: matched.clone(),
                    file: file.part,
                });
                continue;
            }
            let dropped = BooleanArray::new(matched.clone(), None);
            let rewritten = removal.rewrite(&self.scan, &file.part, &dropped, writer);
            rewritten.await?;
        }
        merged.deleted = merged.removal.rows.saturating_sub(merged.counts.updated);
        merged.written = match old {
            None => self.write_rows(&meeting, writer).await?,
            Some(old) => self.write_filled(&meeting, &old, memory, writer).await?,
        };
        Ok(merged)
    }

    fn counts(&self, meeting: &Meeting<TableFile>) -> KeyCounts {
        KeyCounts {
            inserted: meeting.counts.new,
            updated: meeting.counts.matched,
            duplicate: meeting.counts.duplicate,
            null: self.spooled.null_keys(),
            ..KeyCounts::default()
        }
    }

    /// What the rows that are replaced have in the columns that the load lacks.
    async fn old_values(&self, kept: Vec<usize>, files: &[Part<TableFile>]) -> Result<OldValues> {
        let spooled = Arc::clone(self.spooled);
        let mut old = blocking(move || OldValuesSpool::new(&spooled, kept)).await?;
        let scan = self.scan.project(old.places())?;
        for file in files {
            let Some(matched): Option<&BooleanBuffer> = file.matched() else {
                continue;
            };
            let matched = BooleanArray::new(matched.clone(), None);
            let mut batches = scan.read(&file.part)?;
            let mut row = 0;
            while let Some(batch) = batches.try_next().await? {
                let rows = filter_record_batch(&batch, &matched.slice(row, batch.num_rows()))?;
                row += batch.num_rows();
                old = blocking(move || old.write(&rows).map(|()| old)).await?;
            }
        }
        blocking(move || old.finish()).await
    }

    async fn write_rows(&self, meeting: &Meeting<TableFile>, writer: &mut Writer) -> Result<u64> {
        let batches = self.spooled.batches()?;
        pin_mut!(batches);
        let (mut row, mut written) = (0, 0);
        while let Some(batch) = batches.try_next().await? {
            let chosen = meeting.chosen(row, batch.num_rows(), true, true);
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
        writer: &mut Writer,
    ) -> Result<u64> {
        let filled = old.fill(self.spooled, meeting, (true, true), memory)?;
        pin_mut!(filled);
        let mut written = 0;
        while let Some((batch, _)) = filled.try_next().await? {
            written += batch.num_rows() as u64;
            writer.write(&batch).await?;
        }
        Ok(written)
    }
}
