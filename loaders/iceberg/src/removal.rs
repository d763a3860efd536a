//! Which rows of a table are removed, file by file, and the files that are rewritten without them.

use std::collections::HashSet;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_buffer::BooleanBufferBuilder;
use arrow_select::filter::filter_record_batch;
use arrowload_core::Result;
use futures::TryStreamExt;

use crate::commit::Scope;
use crate::deletes::Deletes;
use crate::predicate::Expression;
use crate::scan::Scan;
use crate::snapshot::Removed;
use crate::table::TableFile;
use crate::writer::Writer;

/// What goes.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    /// Files that the commit removes.
    pub(crate) removed: Removed,
    /// Which changes of other writers conflict with it.
    pub(crate) scope: Scope,
    /// Rows that are gone.
    pub(crate) rows: u64,
    /// Rows of removed files that were written again.
    pub(crate) kept: u64,
    /// Rows that are removed from files that stay.
    pub(crate) deletes: Vec<Deletes>,
}

impl Removal {
    /// No file yet, of those that will be named.
    pub(crate) fn of_files(scope: Scope) -> Self {
        Self {
            removed: Removed::Files(HashSet::new()),
            scope,
            ..Self::default()
        }
    }

    /// The rows for which a predicate is true; the others of their files are written again.
    pub(crate) async fn matching(
        scan: &Scan,
        files: Vec<TableFile>,
        predicate: &Expression,
        writer: &mut Writer,
    ) -> Result<Self> {
        let (columns, predicate) = predicate.narrowed(&scan.columns)?;
        let narrow = scan.project(&columns)?;
        let mut removal = Self::of_files(Scope::Whole);
        for file in files {
            let mut dropped = BooleanBufferBuilder::new(0);
            let mut batches = narrow.read(&file)?;
            while let Some(batch) = batches.try_next().await? {
                dropped.append_buffer(predicate.holds(&batch)?.values());
            }
            let dropped = BooleanArray::new(dropped.finish(), None);
            removal.rewrite(scan, &file, &dropped, writer).await?;
        }
        Ok(removal)
    }

    /// Rewrites a file without the rows that are to be removed.
    pub(crate) async fn rewrite(
        &mut self,
        scan: &Scan,
        file: &TableFile,
        dropped: &BooleanArray,
        writer: &mut Writer,
    ) -> Result<()> {
        let gone = dropped.true_count();
        if gone == 0 {
            return Ok(());
        }
        if gone < dropped.len() {
            let keep = BooleanArray::new(!dropped.values(), None);
            let mut row = 0;
            let mut batches = scan.read(file)?;
            while let Some(batch) = batches.try_next().await? {
                let batch: RecordBatch = batch;
                let kept = filter_record_batch(&batch, &keep.slice(row, batch.num_rows()))?;
                row += batch.num_rows();
                writer.write(&kept).await?;
            }
        }
        self.rows += gone as u64;
        self.kept += (dropped.len() - gone) as u64;
        if let Removed::Files(paths) = &mut self.removed {
            paths.insert(file.path.clone());
        }
        Ok(())
    }
}
