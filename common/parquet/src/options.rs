//! The options of a writer, which are also their documentation, and the checks on them.

use arrow_schema::Schema;
use arrowload_core::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Compression;
use crate::error::invalid_option;

/// How files are written. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ParquetOptions {
    /// How pages are compressed: `none`, `snappy` (default), `lz4`, `zstd`, `gzip` or `brotli`, the last three with
    /// an optional level, as in `zstd(3)`.
    pub compression: Compression,
    /// Which encodings may be used: `v1` (default) is read by everything, `v2` is smaller and faster to write.
    pub encodings: Encodings,
    /// The rows of a row group, at most; 262,144 by default. Also what is held in memory for each open file, encoded.
    pub row_group_rows: usize,
    /// A file that has reached this size in bytes is closed and the next one is begun. The rows that are being encoded at
    /// that moment, at most 24 MiB of Arrow for each thread, still go into it. No limit by default.
    pub max_file_bytes: Option<u64>,
    /// Columns that become folders, Hive's way (`day=2024-01-01/`), outermost first. They are not stored in the files.
    pub partition_by: Vec<String>,
    /// Which minima, maxima and null counts are stored: `none`, `chunk` (default: for each row group) or `page`
    /// (for each page too, as a page index).
    pub statistics: Statistics,
    /// How many threads encode; all cores by default.
    pub write_threads: Option<usize>,
    /// How many files may be open at once, when there are many partitions; 64 by default. Beyond it, the file that
    /// has waited longest is closed.
    pub max_open_files: usize,
    /// How many bytes may be held by open files, about; 128 MiB by default. Beyond it, row groups are ended early.
    pub memory_limit_bytes: usize,
    /// Local files are flushed to the disk (`fsync`) before they are published, so that a power failure cannot leave
    /// a published file without its bytes. On by default.
    pub sync: bool,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        Self {
            compression: Compression::default(),
            encodings: Encodings::default(),
            row_group_rows: 1 << 18,
            max_file_bytes: None,
            partition_by: Vec::new(),
            statistics: Statistics::default(),
            write_threads: None,
            max_open_files: 64,
            memory_limit_bytes: 128 << 20,
            sync: true,
        }
    }
}

/// Which encodings the files may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encodings {
    /// Plain and dictionary only, which every reader knows.
    #[default]
    V1,
    /// Also `DELTA_BINARY_PACKED` for integers and `DELTA_LENGTH_BYTE_ARRAY` for strings, where a dictionary does not
    /// pay. Arrow, DuckDB, polars, Spark and Trino read them; Snowflake's documentation rules them out.
    V2,
}

/// Which statistics the files carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Statistics {
    /// None.
    None,
    /// Minimum, maximum and null count of each column in each row group.
    #[default]
    Chunk,
    /// Those, and the same of each page, as a page index.
    Page,
}

impl ParquetOptions {
    /// Checks the options against each other and the schema.
    ///
    /// # Errors
    /// [`InvalidOption`](arrowload_core::ErrorKind::InvalidOption), naming the option.
    pub fn check(&self, schema: &Schema) -> Result<()> {
        let invalid = |message: String| Err(invalid_option(message));
        for (name, value) in [
            ("row_group_rows", self.row_group_rows),
            ("write_threads", self.write_threads.unwrap_or(1)),
            ("max_open_files", self.max_open_files),
            (
                "max_file_bytes",
                self.max_file_bytes
                    .map_or(1, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            ),
        ] {
            if value == 0 {
                return invalid(format!("`{name}` must be at least 1"));
            }
        }
        self.compression.codec().map_err(invalid_option)?;
        for (at, column) in self.partition_by.iter().enumerate() {
            if self.partition_by[..at].contains(column) {
                return invalid(format!("partition_by names column `{column}` twice"));
            }
            if schema.field_with_name(column).is_err() {
                let known: Vec<_> = schema
                    .fields()
                    .iter()
                    .map(|field| field.name().as_str())
                    .collect();
                return invalid(format!(
                    "partition_by names `{column}`, the columns are {}",
                    known.join(", ")
                ));
            }
        }
        if self.partition_by.len() == schema.fields().len() {
            return invalid(
                "the files would have no column: every column is in partition_by, or there is none"
                    .into(),
            );
        }
        Ok(())
    }

    /// How many threads encode.
    pub fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.write_threads.unwrap_or_else(cores)
    }
}
