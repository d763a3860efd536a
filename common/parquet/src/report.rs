//! What was written: files, and the statistics of their columns.

use std::fmt;

use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_ord::sort::{SortOptions, sort_to_indices};
use arrow_schema::SchemaRef;
use arrow_select::take::take;
use arrowload_core::Result;
use object_store::path::Path;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;

use crate::error::encoder;

/// One file that was written.
#[derive(Clone)]
#[non_exhaustive]
pub struct FileInfo {
    /// Where it is, relative to the destination's folder or prefix; partition folders are percent-encoded.
    pub path: Path,
    /// Its rows.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// The partition columns and this file's values of them, as text before percent-encoding; `None` is null.
    pub partition: Vec<(String, Option<String>)>,
    /// The same values with their own types: one row of the partition columns. `None` without partitions.
    pub partition_values: Option<RecordBatch>,
    /// The schema of the columns in the file.
    pub schema: SchemaRef,
    /// The footer as it was written, with the statistics of each column chunk.
    pub metadata: std::sync::Arc<ParquetMetaData>,
}

impl fmt::Debug for FileInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileInfo")
            .field("path", &self.path.as_ref())
            .field("rows", &self.rows)
            .field("bytes", &self.bytes)
            .field("partition", &self.partition)
            .finish_non_exhaustive()
    }
}

/// What a file's footer knows of one column.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ColumnStats {
    /// The column's name; nested columns have no statistics here and are not listed.
    pub column: String,
    /// How many values are null; `None` when statistics are off.
    pub null_count: Option<u64>,
    /// An array of one value that no value is below; `None` when it is unknown or every value is null.
    pub min: Option<ArrayRef>,
    /// An array of one value that no value is above; `None` when it is unknown or every value is null.
    pub max: Option<ArrayRef>,
    /// Whether `min` is a value of the column, and not a shortened string below it.
    pub min_exact: bool,
    /// Whether `max` is a value of the column, and not a shortened string above it.
    pub max_exact: bool,
    /// The bytes of the column in the file, compressed.
    pub compressed_bytes: u64,
}

impl FileInfo {
    /// The statistics of each column that is not nested, over all row groups.
    ///
    /// # Errors
    /// When the footer cannot be read as Arrow values, which would be a fault of the encoder.
    pub fn column_stats(&self) -> Result<Vec<ColumnStats>> {
        let groups = self.metadata.row_groups();
        let parquet_schema = self.metadata.file_metadata().schema_descr();
        let mut all = Vec::new();
        for field in self.schema.fields() {
            if field.data_type().is_nested() {
                continue;
            }
            let converter =
                StatisticsConverter::try_new(field.name(), &self.schema, parquet_schema)
                    .map_err(encoder)?;
            let Some(leaf) = converter.parquet_column_index() else {
                continue;
            };
            let nulls = converter.row_group_null_counts(groups).map_err(encoder)?;
            let rows: Vec<_> = groups.iter().map(|group| group.num_rows() as u64).collect();
            let all_null =
                |group: usize| nulls.is_valid(group) && nulls.value(group) == rows[group];
            let (mins, maxes) = (
                converter.row_group_mins(groups).map_err(encoder)?,
                converter.row_group_maxes(groups).map_err(encoder)?,
            );
            let exact =
                |flags: arrow_array::BooleanArray| flags.iter().flatten().all(|exact| exact);
            all.push(ColumnStats {
                column: field.name().clone(),
                null_count: (nulls.null_count() == 0).then(|| nulls.values().iter().sum()),
                min: extreme(&mins, all_null, false)?,
                max: extreme(&maxes, all_null, true)?,
                min_exact: exact(
                    converter
                        .row_group_is_min_value_exact(groups)
                        .map_err(encoder)?,
                ),
                max_exact: exact(
                    converter
                        .row_group_is_max_value_exact(groups)
                        .map_err(encoder)?,
                ),
                compressed_bytes: groups
                    .iter()
                    .map(|group| group.column(leaf).compressed_size() as u64)
                    .sum(),
            });
        }
        Ok(all)
    }
}

/// The smallest or largest of the row groups' values; `None` when a row group that has values does not tell its own.
fn extreme(
    values: &ArrayRef,
    all_null: impl Fn(usize) -> bool,
    largest: bool,
) -> Result<Option<ArrayRef>> {
    let unknown = (0..values.len()).any(|group| values.is_null(group) && !all_null(group));
    if unknown || values.logical_null_count() == values.len() {
        return Ok(None);
    }
    let order = SortOptions {
        descending: largest,
        nulls_first: false,
    };
    let first: UInt32Array = sort_to_indices(values, Some(order), Some(1))?;
    Ok(Some(take(values, &first, None)?))
}
