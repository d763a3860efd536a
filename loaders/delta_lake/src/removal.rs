//! Which rows of a table are removed, file by file, and the files that are rewritten without them.

use arrow_array::{BooleanArray, RecordBatch};
use arrow_buffer::BooleanBufferBuilder;
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use arrowload_common_object_store::from_join;
use arrowload_common_parquet::{FileInfo, ParquetWriter};
use arrowload_core::{Error, Result};
use futures::{StreamExt, TryStreamExt, stream};
use tokio_util::task::AbortOnDropHandle;

use crate::batch::relabel_batch;
use crate::commit::Scope;
use crate::partitions::Partitions;
use crate::predicate::Expression;
use crate::scan::Scan;
use crate::stats::{note_nan, partition_values};
use crate::table::TableFile;

/// How many files are read at once.
const FILES_AT_ONCE: usize = 4;

/// What goes.
#[derive(Debug)]
pub(crate) struct Removal {
    /// Files that the commit removes.
    pub(crate) files: Vec<TableFile>,
    /// Which changes of other writers conflict with it.
    pub(crate) scope: Scope,
    /// Rows that are gone.
    pub(crate) rows: u64,
    /// Rows of removed files that were written again.
    pub(crate) kept: u64,
}

impl Removal {
    /// Nothing goes.
    pub(crate) fn none() -> Self {
        Self::files(Vec::new(), Scope::Append)
    }

    /// These files go.
    pub(crate) fn files(files: Vec<TableFile>, scope: Scope) -> Self {
        let rows = files.iter().filter_map(|file| file.rows).sum();
        Self {
            files,
            scope,
            rows,
            kept: 0,
        }
    }

    /// The files of the partitions that new files are in.
    pub(crate) fn partitions(
        files: Vec<TableFile>,
        new: &[FileInfo],
        mut partitions: Partitions,
    ) -> Result<Self> {
        for file in new {
            let text = |(key, value): (String, serde_json::Value)| {
                (key, value.as_str().map(str::to_owned))
            };
            partitions.insert(&partition_values(file).into_iter().map(text).collect())?;
        }
        let mut gone = Vec::new();
        for file in files {
            if partitions.contains(&file.partition_values())? {
                gone.push(file);
            }
        }
        Ok(Self::files(gone, Scope::Partitions(partitions)))
    }

    /// The rows for which a predicate is true; the others of their files are written again.
    pub(crate) async fn matching(
        scan: &Scan,
        files: Vec<TableFile>,
        predicate: &Expression,
        writer: &mut Rewriter<'_>,
    ) -> Result<Self> {
        let (narrow, predicate) = predicate.narrowed(scan)?;
        let dropped = stream::iter(files).map(|file| {
            let (scan, predicate) = (narrow.clone(), predicate.clone());
            let work = async move {
                if let Some(dropped) = scan
                    .constant_row(&file)?
                    .map(|row| predicate.holds(&row))
                    .transpose()?
                {
                    let rows = usize::try_from(file.rows.unwrap_or(1)).unwrap_or(usize::MAX);
                    let mut all = BooleanBufferBuilder::new(rows);
                    all.append_n(rows, dropped.value(0));
                    return Ok((file, BooleanArray::new(all.finish(), None)));
                }
                let mut dropped = BooleanBufferBuilder::new(0);
                let mut batches = scan.read(&file).await?;
                while let Some(batch) = batches.try_next().await? {
                    dropped.append_buffer(predicate.holds(&batch)?.values());
                }
                Ok::<_, Error>((file, BooleanArray::new(dropped.finish(), None)))
            };
            // On threads of the runtime, and only as long as the caller waits.
            async {
                AbortOnDropHandle::new(tokio::spawn(work))
                    .await
                    .map_err(from_join)?
            }
        });
        let dropped: Vec<(TableFile, BooleanArray)> =
            dropped.buffered(FILES_AT_ONCE).try_collect().await?;
        let mut removal = Self::files(Vec::new(), Scope::Whole);
        for (file, dropped) in dropped {
            removal.rewrite(scan, file, &dropped, writer).await?;
        }
        Ok(removal)
    }

    /// Rewrites a file without the rows that are to be removed.
    pub(crate) async fn rewrite(
        &mut self,
        scan: &Scan,
        file: TableFile,
        dropped: &BooleanArray,
        writer: &mut Rewriter<'_>,
    ) -> Result<()> {
        let gone = dropped.true_count();
        if gone == 0 {
            return Ok(());
        }
        if gone < dropped.len() {
            let keep = BooleanArray::new(!dropped.values(), None);
            let mut row = 0;
            let mut batches = scan.read(&file).await?;
            while let Some(batch) = batches.try_next().await? {
                let kept = filter_record_batch(&batch, &keep.slice(row, batch.num_rows()))?;
                row += batch.num_rows();
                writer.write(&kept).await?;
            }
        }
        self.rows += gone as u64;
        self.kept += (dropped.len() - gone) as u64;
        self.files.push(file);
        Ok(())
    }
}

/// Takes rows that stay, and writes them as files have them.
pub(crate) struct Rewriter<'a> {
    pub(crate) writer: &'a mut ParquetWriter,
    pub(crate) file_schema: &'a SchemaRef,
    pub(crate) with_nan: &'a mut std::collections::HashSet<String>,
}

impl Rewriter<'_> {
    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = relabel_batch(batch, self.file_schema)?;
        note_nan(&batch, self.with_nan);
        self.writer.write(&batch).await
    }
}
