//! A load in progress: its target, the files it writes, and the rows it removes.

use std::collections::HashSet;
use std::sync::Arc;

use arrowload_common_merge::Spooled;
use arrowload_common_parquet::{FileInfo, FileNaming, ParquetOptions, ParquetWriter, Staged};
use arrowload_core::{Error, ErrorKind, KeyCounts, LoadRequest, Result};

use crate::commit::Scope;
use crate::lease::file_prefix;
use crate::merge::Merge;
use crate::options::DeltaLakeOptions;
use crate::partitions::Partitions;
use crate::removal::{Removal, Rewriter};
use crate::table::{Table, TableFile};
use crate::target::Target;

/// The size of a data file by default.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// What is known of a load.
pub(crate) struct Load {
    pub(crate) target: Target,
    pub(crate) request: LoadRequest<DeltaLakeOptions>,
    /// Distinguishes the attempts of a load.
    pub(crate) attempt: String,
    /// Columns that hold a NaN.
    pub(crate) with_nan: HashSet<String>,
    /// Rows that were taken.
    pub(crate) rows: u64,
    /// What goes.
    pub(crate) removal: Removal,
    /// Rows that an upsert has deleted without a replacement.
    pub(crate) deleted: u64,
    /// For an upsert.
    pub(crate) counts: Option<KeyCounts>,
}

impl Load {
    pub(crate) fn new(target: Target, request: LoadRequest<DeltaLakeOptions>) -> Self {
        let attempt = uuid::Uuid::now_v7().to_string();
        Self {
            target,
            request,
            attempt,
            with_nan: HashSet::new(),
            rows: 0,
            removal: Removal::none(),
            deleted: 0,
            counts: None,
        }
    }

    /// The size of a data file at which the next one is begun.
    pub(crate) fn max_file_bytes(&self) -> u64 {
        self.request
            .options
            .max_file_bytes
            .unwrap_or(MAX_FILE_BYTES)
    }

    pub(crate) fn writer(&self) -> Result<ParquetWriter> {
        let (target, request) = (&self.target, &self.request);
        let mut settings = ParquetOptions {
            write_threads: request.load.parallelism,
            ..ParquetOptions::default()
        };
        settings.compression = request.options.compression.unwrap_or(settings.compression);
        settings.row_group_rows = request
            .options
            .row_group_rows
            .unwrap_or(settings.row_group_rows);
        settings.max_file_bytes = Some(self.max_file_bytes());
        settings.sync = request.options.sync.unwrap_or(settings.sync);
        settings.partition_by = target.partitions_in_files()?;
        let naming = FileNaming::prefix(file_prefix(&self.attempt));
        ParquetWriter::new(
            target.place.destination(),
            target.file_schema.clone(),
            settings,
            naming,
        )
    }

    /// The key columns, as places in the table's schema.
    pub(crate) fn keys(&self) -> Result<Vec<usize>> {
        self.request
            .load
            .keys
            .iter()
            .map(|key| Ok(self.target.mapping.schema.index_of(key)?))
            .collect()
    }

    /// The files that the table has.
    pub(crate) fn old_files(&self) -> Result<Vec<TableFile>> {
        self.target
            .table
            .as_ref()
            .map_or_else(|| Ok(Vec::new()), Table::files)
    }

    /// How many rows the table has, as far as its files say.
    pub(crate) fn old_rows(&self) -> Result<u64> {
        self.target.table.as_ref().map_or(Ok(0), Table::rows)
    }

    /// Writes the rows that `replace_where` leaves.
    pub(crate) async fn replace(&mut self, writer: &mut ParquetWriter) -> Result<Removal> {
        let files = self.old_files()?;
        match &self.target.replaces {
            Some(predicate) => {
                let mut rewriter = Rewriter {
                    writer,
                    file_schema: &self.target.file_schema,
                    with_nan: &mut self.with_nan,
                };
                Removal::matching(&self.target.scan(), files, predicate, &mut rewriter).await
            }
            None => Ok(Removal::none()),
        }
    }

    /// Which files an overwrite removes, now that its own are known.
    pub(crate) fn overwrite(&self, new: &[FileInfo]) -> Result<Removal> {
        let files = self.old_files()?;
        if self.request.options.overwrite_partitions {
            let partitions = Partitions::new(
                &self.target.file_schema,
                &self.target.partitions_in_files()?,
            )?;
            return Removal::partitions(files, new, partitions);
        }
        Ok(Removal::files(files, Scope::Whole))
    }

    /// Matches the rows of an upsert with those of the table, and writes the result.
    pub(crate) async fn merge(&mut self, spooled: Spooled) -> Result<Staged> {
        let (files, mut writer) = (self.old_files()?, self.writer()?);
        let old_rows = self.old_rows()?;
        let merge = Merge {
            spooled: &Arc::new(spooled),
            keys: self.keys()?,
            scan: self.target.scan(),
            kept: &self.target.kept,
            columns: &self.target.columns,
            options: &self.request.options,
        };
        let mut rewriter = Rewriter {
            writer: &mut writer,
            file_schema: &self.target.file_schema,
            with_nan: &mut self.with_nan,
        };
        let merged = merge.run(files, &mut rewriter).await?;
        self.request
            .load
            .limits()
            .check(merged.counts.updated, merged.deleted, old_rows)?;
        self.counts = Some(merged.counts);
        let expected = merged.removal.kept + merged.written;
        self.removal = merged.removal;
        self.deleted = merged.deleted;
        let staged = writer.finish().await?;
        let found: u64 = staged.files().iter().map(|file| file.rows).sum();
        if found != expected {
            let message = format!("{expected} rows were written, and the files hold {found}");
            return Err(Error::new(ErrorKind::Verification, message));
        }
        Ok(staged)
    }
}
