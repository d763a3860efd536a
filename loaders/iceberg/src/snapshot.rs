//! A snapshot of a table: manifests of what a load adds and of what it removes, and the list of all manifests.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrowload_core::{Error, ErrorKind, Result};
use chrono::Utc;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, DataFileBuilder, FormatVersion, Manifest, ManifestContentType, ManifestEntryRef,
    ManifestFile, ManifestListWriter, ManifestWriter, ManifestWriterBuilder, Operation,
    PartitionSpec, Schema, SchemaRef, Snapshot, SnapshotSummaryCollector, Summary, TableMetadata,
};
use uuid::Uuid;

use crate::deletes::Deletes;
use crate::error::from_iceberg;
use crate::table::Table;

/// What a snapshot removes from the one before it.
#[derive(Debug, Clone, Default)]
pub(crate) enum Removed {
    /// Nothing.
    #[default]
    Nothing,
    /// Every file, and every file of deletes.
    Everything,
    /// These data files, by their paths.
    Files(HashSet<String>),
}

/// What a new snapshot is made from.
pub(crate) struct Draft<'a> {
    pub(crate) file_io: FileIO,
    /// The table before it, or one that is made for it.
    pub(crate) base: Option<&'a Table>,
    pub(crate) metadata: &'a TableMetadata,
    /// The columns of the table after it, and their id.
    pub(crate) schema: SchemaRef,
    pub(crate) added: &'a [DataFile],
    pub(crate) removed: &'a Removed,
    /// Rows that go from files that stay.
    pub(crate) deletes: &'a [Deletes],
    /// What the summary says beside the counts.
    pub(crate) facts: HashMap<String, String>,
}

/// A snapshot whose files are written.
pub(crate) struct Drawn {
    pub(crate) snapshot: Snapshot,
    /// Manifests and their list, for the case that it is given up.
    pub(crate) files: Vec<String>,
    pub(crate) removed_files: u64,
}

impl Draft<'_> {
    /// Writes the manifests and their list.
    pub(crate) async fn draw(self) -> Result<Drawn> {
        let mut files = Vec::new();
        match self.write(&mut files).await {
            Ok((snapshot, removed_files)) => Ok(Drawn {
                snapshot,
                files,
                removed_files,
            }),
            Err(error) => {
                discard(&self.file_io, &files).await;
                Err(error)
            }
        }
    }

    async fn write(&self, files: &mut Vec<String>) -> Result<(Snapshot, u64)> {
        let (metadata, id) = (self.metadata, self.new_id());
        let folder = self.folder();
        let commit = Uuid::now_v7();
        let mut name = {
            let mut counter = 0;
            move || {
                counter += 1;
                format!("{folder}/{commit}-m{}.avro", counter - 1)
            }
        };
        let mut summary = SnapshotSummaryCollector::default();
        let limit = metadata.properties().get("write.summary.partition-limit");
        let limit = limit.and_then(|limit| limit.parse().ok());
        summary.set_partition_summary_limit(limit.unwrap_or_default());
        let spec = metadata.default_partition_spec();
        let mut manifests = Vec::new();
        if !self.added.is_empty() {
            let path = name();
            files.push(path.clone());
            let mut writer = self.writer(id, path, Arc::clone(&self.schema), spec, true)?;
            for file in self.added {
                // The catalog gives the sequence number, with the snapshot's.
                writer.add_file(file.clone(), -1).map_err(from_iceberg)?;
                summary.add_file(file, Arc::clone(&self.schema), Arc::clone(spec));
            }
            manifests.push(writer.write_manifest_file().await.map_err(from_iceberg)?);
        }
        let deletes = self.write_deletes(id, &mut name, files, &mut summary);
        manifests.extend(deletes.await?);
        let mut gone = 0;
        for manifest in self.known().await? {
            let filtered = self.filtered(manifest, id, &mut name, files, &mut summary);
            let (manifest, removed) = filtered.await?;
            gone += removed;
            manifests.extend(manifest);
        }
        if let Removed::Files(paths) = self.removed
            && gone != paths.len() as u64
        {
            let message = "files that the load replaces are no longer part of the table";
            return Err(Error::new(ErrorKind::Conflict, message).transient());
        }
        let list = format!("{}/snap-{id}-0-{commit}.avro", self.folder());
        files.push(list.clone());
        let rows = self.write_list(id, &list, manifests).await?;
        let operation = match self.removed {
            _ if !self.deletes.is_empty() => Operation::Overwrite,
            Removed::Nothing => Operation::Append,
            _ if gone == 0 && !matches!(self.removed, Removed::Everything) => Operation::Append,
            _ => Operation::Overwrite,
        };
        let mut properties = self.facts.clone();
        properties.extend(summary.build());
        self.add_totals(&mut properties);
        let snapshot = Snapshot::builder()
            .with_snapshot_id(id)
            .with_parent_snapshot_id(metadata.current_snapshot_id())
            .with_sequence_number(metadata.next_sequence_number())
            .with_timestamp_ms(
                Utc::now()
                    .timestamp_millis()
                    .max(metadata.last_updated_ms()),
            )
            .with_manifest_list(list)
            .with_schema_id(self.schema.schema_id())
            .with_summary(Summary {
                operation,
                additional_properties: properties,
            });
        let snapshot = match rows {
            Some((first, rows)) => snapshot.with_row_range(first, rows).build(),
            None => snapshot.build(),
        };
        Ok((snapshot, gone))
    }

    /// Writes files of deletes, and their manifests: one for each partition spec.
    async fn write_deletes(
        &self,
        id: i64,
        name: &mut impl FnMut() -> String,
        files: &mut Vec<String>,
        summary: &mut SnapshotSummaryCollector,
    ) -> Result<Vec<ManifestFile>> {
        let mut by_spec: BTreeMap<i32, Vec<DataFile>> = BTreeMap::new();
        for deletes in self.deletes {
            let path = format!(
                "{}/deletes-{}.parquet",
                data_folder(self.metadata),
                Uuid::now_v7()
            );
            files.push(path.clone());
            let written = deletes.write(&self.file_io, path).await?;
            by_spec
                .entry(deletes.file.spec_id)
                .or_default()
                .push(written);
        }
        let mut manifests = Vec::new();
        for (spec, written) in by_spec {
            let spec = self.metadata.partition_spec_by_id(spec).ok_or_else(|| {
                let message = "a data file has a partition spec that the table does not know";
                Error::new(ErrorKind::InvalidData, message)
            })?;
            let path = name();
            files.push(path.clone());
            let mut writer = self.writer(id, path, Arc::clone(&self.schema), spec, false)?;
            for file in written {
                summary.add_file(&file, Arc::clone(&self.schema), Arc::clone(spec));
                writer.add_file(file, -1).map_err(from_iceberg)?;
            }
            manifests.push(writer.write_manifest_file().await.map_err(from_iceberg)?);
        }
        Ok(manifests)
    }

    fn folder(&self) -> String {
        let own = self.metadata.properties().get("write.metadata.path");
        match own {
            Some(own) => own.trim_end_matches('/').to_owned(),
            None => format!(
                "{}/metadata",
                self.metadata.location().trim_end_matches('/')
            ),
        }
    }

    /// A number that no snapshot of the table has.
    fn new_id(&self) -> i64 {
        loop {
            let (high, low) = Uuid::new_v4().as_u64_pair();
            let id = ((high ^ low) >> 1) as i64;
            if id != 0 && self.metadata.snapshot_by_id(id).is_none() {
                return id;
            }
        }
    }

    /// The manifests of the snapshot before, without those that have no entries left.
    async fn known(&self) -> Result<Vec<ManifestFile>> {
        let Some(base) = self.base else {
            return Ok(Vec::new());
        };
        let manifests = base.manifests().await?.into_iter();
        Ok(manifests
            .filter(|manifest| manifest.has_added_files() || manifest.has_existing_files())
            .collect())
    }

    /// A manifest without the files that go: itself if it has none of them. Returns how many go.
    async fn filtered(
        &self,
        manifest: ManifestFile,
        id: i64,
        name: &mut impl FnMut() -> String,
        files: &mut Vec<String>,
        summary: &mut SnapshotSummaryCollector,
    ) -> Result<(Option<ManifestFile>, u64)> {
        let is_data = manifest.content == ManifestContentType::Data;
        let may_go = match self.removed {
            Removed::Nothing => false,
            Removed::Everything => true,
            Removed::Files(paths) => is_data && !paths.is_empty(),
        };
        if !may_go {
            return Ok((Some(manifest), 0));
        }
        let loaded = manifest.load_manifest(&self.file_io).await;
        let loaded = loaded.map_err(from_iceberg)?;
        let goes = |entry: &ManifestEntryRef| match self.removed {
            Removed::Nothing => false,
            Removed::Everything => true,
            Removed::Files(paths) => paths.contains(entry.file_path()),
        };
        let alive = || loaded.entries().iter().filter(|entry| entry.is_alive());
        let gone = alive().filter(|entry| goes(entry)).count() as u64;
        if gone == 0 {
            return Ok((Some(manifest), 0));
        }
        let spec = loaded.metadata().partition_spec();
        let schema = self.schema_of(&loaded)?;
        let path = name();
        files.push(path.clone());
        let mut writer = self.writer(id, path, Arc::clone(&schema), spec, is_data)?;
        let mut first_row = manifest.first_row_id;
        let spec_ref = Arc::new(spec.clone());
        for entry in alive() {
            let file = with_first_row(entry.data_file(), &mut first_row, spec.spec_id())?;
            let sequence = entry.sequence_number().unwrap_or_default();
            let file_sequence = entry.file_sequence_number.or(Some(sequence));
            if goes(entry) {
                summary.remove_file(&file, Arc::clone(&schema), Arc::clone(&spec_ref));
                writer.add_delete_file(file, sequence, file_sequence)
            } else {
                let snapshot = entry.snapshot_id().unwrap_or(manifest.added_snapshot_id);
                writer.add_existing_file(file, snapshot, sequence, file_sequence)
            }
            .map_err(from_iceberg)?;
        }
        let written = writer.write_manifest_file().await.map_err(from_iceberg)?;
        Ok((Some(written), gone))
    }

    /// The columns that a manifest was written for. Their partition fields may be of columns that are gone since.
    fn schema_of(&self, manifest: &Manifest) -> Result<SchemaRef> {
        let current: &Schema = &self.schema;
        let spec = manifest.metadata().partition_spec();
        match spec.partition_type(current) {
            Ok(_) => Ok(Arc::clone(&self.schema)),
            Err(_) => Ok(Arc::clone(manifest.metadata().schema())),
        }
    }

    fn writer(
        &self,
        id: i64,
        path: String,
        schema: SchemaRef,
        spec: &PartitionSpec,
        is_data: bool,
    ) -> Result<ManifestWriter> {
        let output = self.file_io.new_output(path).map_err(from_iceberg)?;
        let builder = ManifestWriterBuilder::new(output, Some(id), schema, spec.clone());
        Ok(match (self.metadata.format_version(), is_data) {
            (FormatVersion::V1, _) => builder.build_v1(),
            (FormatVersion::V2, true) => builder.build_v2_data(),
            (FormatVersion::V2, false) => builder.build_v2_deletes(),
            (FormatVersion::V3, true) => builder.build_v3_data(),
            (FormatVersion::V3, false) => builder.build_v3_deletes(),
        })
    }

    /// Writes the list. Answers the first row's id and how many ids were given, in tables that have them.
    async fn write_list(
        &self,
        id: i64,
        path: &str,
        manifests: Vec<ManifestFile>,
    ) -> Result<Option<(u64, u64)>> {
        let output = self.file_io.new_output(path).map_err(from_iceberg)?;
        let writer = output.writer().await.map_err(from_iceberg)?;
        let (parent, sequence) = (
            self.metadata.current_snapshot_id(),
            self.metadata.next_sequence_number(),
        );
        let first = self.metadata.next_row_id();
        let mut list = match self.metadata.format_version() {
            FormatVersion::V1 => ManifestListWriter::v1(writer, id, parent),
            FormatVersion::V2 => ManifestListWriter::v2(writer, id, parent, sequence),
            FormatVersion::V3 => ManifestListWriter::v3(writer, id, parent, sequence, Some(first)),
        };
        let added = list.add_manifests(manifests.into_iter());
        added.map_err(from_iceberg)?;
        let next = list.next_row_id();
        list.close().await.map_err(from_iceberg)?;
        Ok(next.map(|next| (first, next.saturating_sub(first))))
    }

    /// The totals after the snapshot, from those before it.
    fn add_totals(&self, properties: &mut HashMap<String, String>) {
        let before = self.metadata.current_snapshot();
        let before = before.map(|snapshot| &snapshot.summary().additional_properties);
        let number = |map: Option<&HashMap<String, String>>, key: &str| -> Option<i64> {
            map?.get(key)?.parse().ok()
        };
        for (total, added, removed) in [
            ("total-records", "added-records", "deleted-records"),
            ("total-data-files", "added-data-files", "deleted-data-files"),
            ("total-files-size", "added-files-size", "removed-files-size"),
            (
                "total-delete-files",
                "added-delete-files",
                "removed-delete-files",
            ),
            (
                "total-position-deletes",
                "added-position-deletes",
                "removed-position-deletes",
            ),
            (
                "total-equality-deletes",
                "added-equality-deletes",
                "removed-equality-deletes",
            ),
        ] {
            let known = match before {
                None => Some(0),
                // If the previous snapshot has no total, the new one has none either.
                Some(_) => number(before, total),
            };
            let Some(known) = known else { continue };
            let (added, removed) = (
                number(Some(properties), added).unwrap_or_default(),
                number(Some(properties), removed).unwrap_or_default(),
            );
            let now = (known + added - removed).max(0);
            properties.insert(total.to_owned(), now.to_string());
        }
    }
}

/// A data file of a manifest with the id of its first row, which other manifests cannot give it any more.
fn with_first_row(file: &DataFile, first: &mut Option<u64>, spec_id: i32) -> Result<DataFile> {
    let (Some(next), None) = (*first, file.first_row_id()) else {
        return Ok(file.clone());
    };
    *first = Some(next + file.record_count());
    let mut builder = DataFileBuilder::default();
    builder
        .content(file.content_type())
        .file_path(file.file_path().to_owned())
        .file_format(file.file_format())
        .partition(file.partition().clone())
        .partition_spec_id(spec_id)
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .column_sizes(file.column_sizes().clone())
        .value_counts(file.value_counts().clone())
        .null_value_counts(file.null_value_counts().clone())
        .nan_value_counts(file.nan_value_counts().clone())
        .lower_bounds(file.lower_bounds().clone())
        .upper_bounds(file.upper_bounds().clone())
        .key_metadata(file.key_metadata().map(<[u8]>::to_vec))
        .split_offsets(file.split_offsets().map(<[i64]>::to_vec))
        .equality_ids(file.equality_ids())
        .first_row_id(i64::try_from(next).ok())
        .referenced_data_file(file.referenced_data_file())
        .content_offset(file.content_offset())
        .content_size_in_bytes(file.content_size_in_bytes());
    if let Some(order) = file.sort_order_id() {
        builder.sort_order_id(order);
    }
    builder.build().map_err(|error| {
        let message = format!("a data file could not be described: {error}");
        Error::new(ErrorKind::Unexpected, message)
    })
}

/// Where the data files of a table are.
pub(crate) fn data_folder(metadata: &TableMetadata) -> String {
    match metadata.properties().get("write.data.path") {
        Some(own) => own.trim_end_matches('/').to_owned(),
        None => format!("{}/data", metadata.location().trim_end_matches('/')),
    }
}

/// Removes files that no snapshot names.
pub(crate) async fn discard(file_io: &FileIO, files: &[String]) {
    for file in files {
        if let Err(error) = file_io.delete(file).await {
            tracing::debug!(%error, file, "a file that no snapshot names is left");
        }
    }
}
