//! How tables are written: the loader's own options, and the checks between them.

use arrowload_common_parquet::Compression;
use arrowload_core::{Error, ErrorKind, LoadRequest, Mode, Result, Verify};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::invalid;

/// What to do with times in nanoseconds where a table has microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Nanoseconds {
    /// Refuse such columns before the first write.
    #[default]
    Refuse,
    /// Take them, and refuse a value that is no whole number of microseconds.
    Exact,
    /// Cut what is below a microsecond.
    Truncate,
}

/// How to load into an Iceberg table. What does not fit the mode is refused.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IcebergOptions {
    /// The partition fields of a table that is created, such as `day(ts)`, `bucket(16, id)`, `truncate(4, name)` or a column's
    /// name. A table that is there must have the same.
    pub partition_by: Vec<String>,
    /// The sort order that is recorded with a table that is created, such as `id`, `ts desc` or `bucket(16, id) nulls last`.
    pub sort_by: Vec<String>,
    /// The format version of a table that is created: 1, 2 (default) or 3.
    pub format_version: Option<u8>,
    /// Where a table that is created is put; below the connection's warehouse by default.
    pub location: Option<String>,
    /// How the data files are compressed: `snappy`, `zstd(3)`, `lz4`, `gzip(6)`, `brotli(1)`, `none`; by default what the
    /// table's `write.parquet.compression-codec` says, or `zstd`.
    #[schemars(extend("x-tuning" = true))]
    pub compression: Option<Compression>,
    /// A data file of about this size in bytes is closed, and the next one begun; by default what the table's
    /// `write.target-file-size-bytes` says, or 512 MiB.
    #[schemars(extend("x-tuning" = true))]
    pub max_file_bytes: Option<u64>,
    /// The rows of a row group, at most; 262,144 by default.
    #[schemars(extend("x-tuning" = true))]
    pub row_group_rows: Option<usize>,
    /// How many data files may be open at once, when there are many partitions; 64 by default.
    #[schemars(extend("x-tuning" = true))]
    pub max_open_files: Option<usize>,
    /// On the local disk, data files are flushed (`fsync`) before they are committed. On by default.
    #[schemars(extend("x-tuning" = true))]
    pub sync: Option<bool>,
    /// `overwrite` replaces only the partitions that the load has rows for.
    pub overwrite_partitions: bool,
    /// `overwrite` replaces only the rows for which this SQL predicate is true; all rows of the load must fulfil it.
    pub replace_where: Option<String>,
    /// `upsert`: how many bytes the keys of the load may take in memory; 128 MiB by default, about 2.5 million keys. With
    /// more keys the table's key columns are read several times.
    #[schemars(extend("x-tuning" = true))]
    pub key_memory_bytes: Option<usize>,
    /// Times in nanoseconds, in tables that have microseconds: `refuse` (default), `exact` (a value that is no whole number
    /// of microseconds is refused) or `truncate`.
    pub nanoseconds: Nanoseconds,
}

impl IcebergOptions {
    /// Whether the new files of a load hold rows of the table too.
    pub(crate) fn mixes_rows(&self, mode: Mode) -> bool {
        mode == Mode::Upsert || self.replace_where.is_some()
    }

    /// Refuses options that the mode has no use for, and values that mean nothing.
    pub(crate) fn check(request: &LoadRequest<Self>) -> Result<()> {
        let options = &request.options;
        let (mode, partial) = (
            request.load.mode,
            options.overwrite_partitions || options.replace_where.is_some(),
        );
        let uses = [
            (
                "overwrite_partitions",
                options.overwrite_partitions,
                Mode::Overwrite,
            ),
            (
                "replace_where",
                options.replace_where.is_some(),
                Mode::Overwrite,
            ),
            ("keys", !request.load.keys.is_empty(), Mode::Upsert),
            (
                "key_memory_bytes",
                options.key_memory_bytes.is_some(),
                Mode::Upsert,
            ),
        ];
        if let Some((key, _, of)) = uses.into_iter().find(|(_, set, of)| *set && *of != mode) {
            let message =
                format!("`{key}` is an option of mode {of}, and this load has mode {mode}");
            return Err(invalid(key, message));
        }
        if options.overwrite_partitions && options.replace_where.is_some() {
            let message = "`replace_where` and `overwrite_partitions` both say which rows go; set one of them";
            return Err(invalid("replace_where", message));
        }
        if partial && request.load.schema_evolution {
            let message = "a part of a table cannot be overwritten with another schema; append with schema_evolution first";
            return Err(invalid("schema_evolution", message));
        }
        let numbers = [
            ("max_file_bytes", options.max_file_bytes),
            ("row_group_rows", options.row_group_rows.map(|n| n as u64)),
            ("max_open_files", options.max_open_files.map(|n| n as u64)),
            (
                "key_memory_bytes",
                options.key_memory_bytes.map(|n| n as u64),
            ),
        ];
        if let Some((key, _)) = numbers.into_iter().find(|(_, number)| *number == Some(0)) {
            return Err(invalid(key, format!("`{key}` must be at least 1")));
        }
        if options
            .format_version
            .is_some_and(|version| !(1..=3).contains(&version))
        {
            let message = "`format_version` must be 1, 2 or 3";
            return Err(invalid("format_version", message));
        }
        if request.load.verify == Verify::Checksum && options.mixes_rows(mode) {
            let message = "an upsert or replace_where writes rows of the table again, so that its files have no checksum of the load; set verify = counts";
            return Err(Error::new(ErrorKind::Unsupported, message).with("key", "verify"));
        }
        Ok(())
    }
}
