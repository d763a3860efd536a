//! The current state of a table: its metadata, its files with their delete files, and its properties.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use arrowload_core::{Error, ErrorKind, Result};
use futures::TryStreamExt;
use iceberg::io::FileIO;
use iceberg::scan::FileScanTask;
use iceberg::spec::{
    DataFile, DataFileFormat, FormatVersion, ManifestContentType, ManifestEntryRef, ManifestFile,
    SnapshotRef, TableMetadata,
};
use iceberg::{Runtime, TableIdent};

use crate::catalog::Known;
use crate::error::from_iceberg;
use crate::schema::file_schema;
use crate::storage::Stores;

/// A table as a catalog knew it at one moment.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) ident: TableIdent,
    pub(crate) known: Known,
    pub(crate) stores: Stores,
}

/// A data file of a table.
#[derive(Debug, Clone)]
pub(crate) struct TableFile {
    pub(crate) path: String,
    pub(crate) rows: u64,
    /// How to read the rows that are not deleted.
    pub(crate) task: Arc<FileScanTask>,
    pub(crate) entry: ManifestEntryRef,
    /// The partition spec that it was written with.
    pub(crate) spec_id: i32,
}

impl Table {
    /// What the catalog has given to reach its files overrides what the connection has.
    pub(crate) fn new(ident: &TableIdent, known: Known, stores: &Stores) -> Self {
        Self {
            ident: ident.clone(),
            stores: stores.with(&known.vended),
            known,
        }
    }

    pub(crate) fn metadata(&self) -> &TableMetadata {
        &self.known.metadata
    }

    pub(crate) fn file_io(&self) -> FileIO {
        self.stores.file_io()
    }

    /// The columns, as data files have them.
    pub(crate) fn columns(&self) -> Result<SchemaRef> {
        file_schema(self.metadata().current_schema())
    }

    pub(crate) fn snapshot(&self) -> Option<&SnapshotRef> {
        self.metadata().current_snapshot()
    }

    pub(crate) fn property(&self, key: &str) -> Option<&str> {
        self.metadata().properties().get(key).map(String::as_str)
    }

    /// Whether files that were prepared for the other table can be committed to this one.
    pub(crate) fn fits_files_of(&self, other: &Self) -> bool {
        let (now, then) = (self.metadata(), other.metadata());
        now.uuid() == then.uuid()
            && now.current_schema_id() == then.current_schema_id()
            && now.default_partition_spec_id() == then.default_partition_spec_id()
            && now.default_sort_order_id() == then.default_sort_order_id()
            && now.format_version() == then.format_version()
            && now.location() == then.location()
    }

    /// Whether an upsert writes position deletes: tables of version 3 have deletion vectors in their place.
    pub(crate) fn merges_on_read(&self) -> bool {
        let mode = self.property("write.merge.mode");
        self.format_version() == FormatVersion::V2 && mode == Some("merge-on-read")
    }

    /// Refuses a table that asks for what this loader does not do.
    pub(crate) fn check_writable(&self) -> Result<()> {
        let unsupported = |message: String| Err(Error::new(ErrorKind::Unsupported, message));
        if let Some(format) = self.property("write.format.default")
            && !format.eq_ignore_ascii_case("parquet")
        {
            return unsupported(format!(
                "the table is configured for {format} files (write.format.default), and this loader writes Parquet"
            ));
        }
        if self.property("encryption.key-id").is_some() {
            return unsupported("the table is encrypted, and this loader cannot encrypt".into());
        }
        Ok(())
    }

    /// What the library reads the table by.
    pub(crate) fn reader(&self) -> Result<iceberg::table::Table> {
        let runtime = Runtime::try_current().map_err(from_iceberg)?;
        iceberg::table::Table::builder()
            .file_io(self.file_io())
            .metadata_location(self.known.location.clone())
            .metadata(Arc::clone(&self.known.metadata))
            .identifier(self.ident.clone())
            .runtime(runtime)
            .build()
            .map_err(from_iceberg)
    }

    /// The manifests of the table's snapshot.
    pub(crate) async fn manifests(&self) -> Result<Vec<ManifestFile>> {
        match self.snapshot() {
            None => Ok(Vec::new()),
            Some(snapshot) => self.manifests_of(snapshot).await,
        }
    }

    /// The manifests of a snapshot.
    pub(crate) async fn manifests_of(&self, snapshot: &SnapshotRef) -> Result<Vec<ManifestFile>> {
        let list = self.reader()?.manifest_list_reader(snapshot).load().await;
        let list = list.map_err(from_iceberg)?;
        Ok(list.consume_entries().into_iter().collect())
    }

    /// The files of the table's snapshot, in the order in which its manifests have them.
    pub(crate) async fn files(&self) -> Result<Vec<TableFile>> {
        if self.snapshot().is_none() {
            return Ok(Vec::new());
        }
        let mut entries = HashMap::new();
        for manifest in self.manifests().await? {
            let is_data = manifest.content == ManifestContentType::Data;
            for entry in self.entries(&manifest).await? {
                check_readable(entry.data_file())?;
                if is_data {
                    let path = entry.file_path().to_owned();
                    entries.insert(path, (entry, manifest.partition_spec_id));
                }
            }
        }
        let scan = self.reader()?.scan().select_all().build();
        let tasks = scan.map_err(from_iceberg)?.plan_files().await;
        let tasks = tasks.map_err(from_iceberg)?.try_collect::<Vec<_>>().await;
        let mut files = Vec::new();
        for task in tasks.map_err(from_iceberg)? {
            let Some((entry, spec_id)) = entries.remove(&task.data_file_path) else {
                let message = "a data file of the table is in its scan and in no manifest";
                return Err(
                    Error::new(ErrorKind::InvalidData, message).with("file", &task.data_file_path)
                );
            };
            files.push(TableFile {
                path: task.data_file_path.clone(),
                rows: entry.record_count(),
                task: Arc::new(task),
                entry,
                spec_id,
            });
        }
        if let Some(path) = entries.keys().next() {
            let message = "a data file of the table is in a manifest and not in its scan";
            return Err(Error::new(ErrorKind::InvalidData, message).with("file", path));
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// The files of a manifest that are part of the table.
    pub(crate) async fn entries(&self, manifest: &ManifestFile) -> Result<Vec<ManifestEntryRef>> {
        let loaded = manifest.load_manifest(&self.file_io()).await;
        let (entries, _) = loaded.map_err(from_iceberg)?.into_parts();
        Ok(entries
            .into_iter()
            .filter(|entry| entry.is_alive())
            .collect())
    }

    /// How many rows the table has, as far as its snapshot says; rows that are deleted and still in files count.
    pub(crate) async fn rows(&self) -> Result<u64> {
        let said = self.snapshot().and_then(|snapshot| {
            let summary = &snapshot.summary().additional_properties;
            summary.get("total-records")?.parse().ok()
        });
        match said {
            Some(rows) => Ok(rows),
            None => Ok(self.files().await?.iter().map(|file| file.rows).sum()),
        }
    }

    /// The format version as a number.
    pub(crate) fn format_version(&self) -> FormatVersion {
        self.metadata().format_version()
    }
}

/// Refuses files that the library cannot read as they are.
fn check_readable(file: &DataFile) -> Result<()> {
    let message = match file.file_format() {
        DataFileFormat::Parquet => return Ok(()),
        DataFileFormat::Puffin => {
            "the table has deletion vectors, which this loader cannot read yet; append, overwrite the table as a whole, or let its own engine rewrite its files first"
        }
        _ => {
            "the table has data files that are not Parquet, which this loader cannot read; append, or overwrite the table as a whole"
        }
    };
    Err(Error::new(ErrorKind::Unsupported, message).with("file", file.file_path()))
}
