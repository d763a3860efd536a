//! A load in progress: its target, the rows it removes, and its end.

use std::collections::HashSet;
use std::sync::Arc;

use arrowload_common_merge::Spooled;
use arrowload_common_parquet::{FileInfo, Staged};
use arrowload_core::{Error, ErrorKind, KeyCounts, LoadRequest, Mode, Receipt, Result};

use iceberg::spec::Struct;

use crate::catalog::Catalog;
use crate::commit::{Commit, Outcome, Scope, files_of};
use crate::ledger::Facts;
use crate::merge::Merge;
use crate::options::IcebergOptions;
use crate::removal::Removal;
use crate::snapshot::{Removed, discard};
use crate::table::{Table, TableFile};
use crate::target::Target;
use crate::writer::{Noted, Writer};

/// What is known of a load.
pub(crate) struct Load {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) target: Target,
    pub(crate) request: LoadRequest<IcebergOptions>,
    /// Distinguishes the attempts of a load.
    pub(crate) attempt: String,
    /// Rows that were taken.
    pub(crate) rows: u64,
    /// What goes.
    pub(crate) removal: Removal,
    /// For an upsert.
    pub(crate) counts: Option<KeyCounts>,
    /// Rows that an upsert has deleted without a replacement.
    pub(crate) deleted: u64,
}

impl Load {
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        target: Target,
        request: LoadRequest<IcebergOptions>,
    ) -> Self {
        Self {
            catalog,
            target,
            request,
            attempt: uuid::Uuid::now_v7().to_string(),
            rows: 0,
            removal: Removal::default(),
            counts: None,
            deleted: 0,
        }
    }

    pub(crate) fn writer(&self) -> Result<Writer> {
        Writer::new(&self.target, &self.request, &self.attempt)
    }

    /// The key columns, as places in the table's columns.
    pub(crate) fn keys(&self) -> Result<Vec<usize>> {
        let keys = self.request.load.keys.iter();
        keys.map(|key| Ok(self.target.columns.index_of(key)?))
            .collect()
    }

    async fn old_files(&self) -> Result<Vec<TableFile>> {
        match &self.target.table {
            Some(table) => table.files().await,
            None => Ok(Vec::new()),
        }
    }

    async fn old_rows(&self) -> Result<u64> {
        match &self.target.table {
            Some(table) => table.rows().await,
            None => Ok(0),
        }
    }

    /// Writes the rows that `replace_where` leaves.
    pub(crate) async fn replace(&mut self, writer: &mut Writer) -> Result<()> {
        let Some(predicate) = self.target.replaces.clone() else {
            return Ok(());
        };
        let files = self.old_files().await?;
        self.removal = Removal::matching(&self.target.scan(), files, &predicate, writer).await?;
        Ok(())
    }

    /// Decides which files an overwrite removes, now that its own are known, and whether so many rows may go.
    pub(crate) async fn overwrite(&mut self, partitions: HashSet<Struct>) -> Result<()> {
        if self.request.load.mode != Mode::Overwrite {
            return Ok(());
        }
        let limits = self.request.load.limits();
        if self.target.replaces.is_none() {
            let rows = self.old_rows().await?;
            self.removal.removed = Removed::Everything;
            self.removal.scope = Scope::Whole;
            self.removal.rows = rows;
            if self.request.options.overwrite_partitions {
                self.overwrite_partitions(partitions).await?;
            }
        }
        if limits.is_empty() {
            return Ok(());
        }
        limits.check(0, self.removal.rows, self.old_rows().await?)
    }

    /// The partitions that written files are of.
    pub(crate) fn partitions(&self, files: &[FileInfo], noted: &Noted) -> Result<HashSet<Struct>> {
        let new = noted.data_files(&self.target, files)?;
        Ok(new.iter().map(|file| file.partition().clone()).collect())
    }

    async fn overwrite_partitions(&mut self, partitions: HashSet<Struct>) -> Result<()> {
        self.removal.removed = match &self.target.table {
            Some(table) => files_of(table, &partitions).await?,
            None => Removed::Nothing,
        };
        let mut rows = 0;
        if let Removed::Files(paths) = &self.removal.removed {
            let files = self.old_files().await?;
            let gone = files.iter().filter(|file| paths.contains(&file.path));
            rows = gone.map(|file| file.rows).sum();
        }
        self.removal.rows = rows;
        self.removal.scope = Scope::Partitions(partitions);
        Ok(())
    }

    /// Matches the rows of an upsert with those of the table, and writes the result.
    pub(crate) async fn merge(&mut self, spooled: Spooled) -> Result<(Staged, Noted)> {
        let (files, mut writer) = (self.old_files().await?, self.writer()?);
        let merge = Merge {
            spooled: &Arc::new(spooled),
            keys: self.keys()?,
            scan: self.target.scan(),
            kept: &self.target.kept,
            key_memory: self.request.options.key_memory_bytes,
            merges_on_read: self
                .target
                .table
                .as_ref()
                .is_some_and(Table::merges_on_read),
        };
        let merged = merge.run(files, &mut writer).await?;
        let limits = self.request.load.limits();
        if !limits.is_empty() {
            let old = self.old_rows().await?;
            limits.check(merged.counts.updated, merged.deleted, old)?;
        }
        self.counts = Some(merged.counts);
        let expected = merged.removal.kept + merged.written;
        self.removal = merged.removal;
        self.deleted = merged.deleted;
        let (staged, noted) = writer.finish().await?;
        let found: u64 = staged.files().iter().map(|file| file.rows).sum();
        if found != expected {
            let message = format!("{expected} rows were written, and the files hold {found}");
            return Err(Error::new(ErrorKind::Verification, message));
        }
        Ok((staged, noted))
    }

    /// Commits files that have their names, and which no snapshot names yet.
    pub(crate) async fn commit(&self, files: &[FileInfo], noted: &Noted) -> Result<Outcome> {
        let added = noted.data_files(&self.target, files)?;
        let commit = Commit {
            catalog: &self.catalog,
            target: &self.target,
            base: self.target.table.clone(),
            added: &added,
            removed: self.removal.removed.clone(),
            deletes: &self.removal.deletes,
            scope: self.removal.scope.clone(),
            facts: Facts::new(&self.request, &self.attempt, self.rows),
        };
        let committed = commit.run().await;
        committed.map_err(|error| match (self.request.load.mode, error.kind()) {
            (Mode::Create, ErrorKind::Conflict) if self.target.table.is_none() => {
                let target = &self.request.target;
                let message = format!("another writer made `{target}` meanwhile");
                Error::new(ErrorKind::TargetExists, message).with("target", target)
            }
            _ => error,
        })
    }

    pub(crate) fn receipt(&self, files: &[FileInfo], snapshot: i64, removed: u64) -> Receipt {
        let mut receipt = Receipt::rows(self.rows)
            .with("snapshot_id", snapshot)
            .with("files", files.len())
            .with("files_removed", removed);
        if self.deleted > 0 {
            receipt = receipt.with("rows_deleted", self.deleted);
        }
        receipt.bytes = files.iter().map(|file| file.bytes).sum();
        receipt.keys = self.counts;
        receipt
    }

    /// Removes files that no snapshot names.
    pub(crate) async fn discard(&self, files: &[FileInfo]) {
        let Ok(folder) = self.target.data_location() else {
            return;
        };
        let location = |file: &FileInfo| format!("{folder}/{}", file.path.as_ref());
        let locations: Vec<String> = files.iter().map(location).collect();
        discard(&self.target.stores.file_io(), &locations).await;
    }
}
