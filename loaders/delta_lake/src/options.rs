//! How tables are written: the loader's own options, and the checks between them.

use std::time::Duration;

use arrowload_common_parquet::Compression;
use arrowload_core::{Error, ErrorKind, LoadRequest, Mode, Result, Verify};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long a load that shows no sign of life counts as alive by default.
const LEASE: Duration = Duration::from_secs(3600);

/// What to do with timestamps in nanoseconds, which Delta keeps in microseconds.
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

/// What an upsert does with a row of the table whose keys the load has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenMatched {
    /// Replace it by the load's row.
    #[default]
    Update,
    /// Remove it.
    Delete,
    /// Leave it as it is.
    Ignore,
}

/// What an upsert does with a row of the load whose keys the table does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenNotMatched {
    /// Add it.
    #[default]
    Insert,
    /// Leave it out.
    Ignore,
}

/// What an upsert does with a row of the table whose keys the load does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenNotMatchedBySource {
    /// Leave it as it is.
    #[default]
    Keep,
    /// Remove it.
    Delete,
}

/// How to load into a Delta table. What does not fit the mode is refused.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeltaLakeOptions {
    /// The partition columns of a table that is created, outermost first. A table that is there must have the same.
    pub partition_by: Vec<String>,
    /// How the data files are compressed: `snappy` (default), `zstd(3)`, `lz4`, `gzip(6)`, `brotli(1)`, `none`.
    #[schemars(extend("x-tuning" = true))]
    pub compression: Option<Compression>,
    /// A data file of about this size in bytes is closed, and the next one begun; 256 MiB by default.
    #[schemars(extend("x-tuning" = true))]
    pub max_file_bytes: Option<u64>,
    /// On the local disk, data files are flushed (`fsync`) before they are committed, so that a power failure cannot leave a
    /// commit without its rows. On by default.
    #[schemars(extend("x-tuning" = true))]
    pub sync: Option<bool>,
    /// The rows of a row group, at most; 262,144 by default.
    #[schemars(extend("x-tuning" = true))]
    pub row_group_rows: Option<usize>,
    /// `overwrite` replaces only the partitions that the load has rows for.
    pub overwrite_partitions: bool,
    /// `overwrite` replaces only the rows for which this SQL predicate is true; all rows of the load must fulfil it.
    pub replace_where: Option<String>,
    /// `upsert`: what happens to a row of the table whose keys the load has: `update` (default), `delete`, `ignore`.
    pub when_matched: WhenMatched,
    /// `upsert`: what happens to a row of the load whose keys the table does not have: `insert` (default), `ignore`.
    pub when_not_matched: WhenNotMatched,
    /// `upsert`: what happens to a row of the table whose keys the load does not have: `keep` (default), `delete`.
    pub when_not_matched_by_source: WhenNotMatchedBySource,
    /// `upsert`: how many bytes the keys of the load may take in memory; 128 MiB by default, about 2.5 million keys. With
    /// more keys the table's key columns are read several times.
    #[schemars(extend("x-tuning" = true))]
    pub key_memory_bytes: Option<usize>,
    /// Timestamps in nanoseconds: `refuse` (default), `exact` (a value that is no whole number of microseconds is refused)
    /// or `truncate`.
    pub nanoseconds: Nanoseconds,
    /// After the commit, small files are joined into large ones, in a commit of its own.
    #[schemars(extend("x-tuning" = true))]
    pub optimize_after_write: bool,
    /// After the commit, the table's files are rewritten in Z-order of these columns, in a commit of its own.
    #[schemars(extend("x-tuning" = true))]
    pub z_order_by: Vec<String>,
    /// After the commit, files that no version of this age needs are removed, such as `7 days`. Less than the table's
    /// own retention is refused.
    #[schemars(extend("x-tuning" = true))]
    pub vacuum_retention: Option<String>,
    /// A checkpoint is written at every commit whose number is a multiple of this; by default what the table's property
    /// `delta.checkpointInterval` says, or 100.
    #[schemars(extend("x-tuning" = true))]
    pub checkpoint_interval: Option<u64>,
    /// How long a load that shows no sign of life counts as alive; 1 hour by default. The next load of the table then removes
    /// what it has left. A load whose process has ended on this machine is known to be dead at once.
    #[schemars(extend("x-tuning" = true))]
    pub lease: Option<String>,
}

/// An error about one option.
pub(crate) fn invalid(key: &'static str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, message).with("key", key)
}

impl DeltaLakeOptions {
    /// The age that `vacuum_retention` says.
    pub(crate) fn vacuum_retention(&self) -> Result<Option<chrono::Duration>> {
        let parse = |text: &String| {
            let duration = humantime::parse_duration(text)
                .ok()
                .and_then(|duration| chrono::Duration::from_std(duration).ok());
            duration.ok_or_else(|| {
                invalid(
                    "vacuum_retention",
                    format!("`vacuum_retention` is `{text}`; write a time such as \"7 days\""),
                )
            })
        };
        self.vacuum_retention.as_ref().map(parse).transpose()
    }

    /// Whether the new files of a load hold rows of the table too.
    pub(crate) fn mixes_rows(&self, mode: Mode) -> bool {
        mode == Mode::Upsert || self.replace_where.is_some()
    }

    /// How long a lease is valid.
    pub(crate) fn lease(&self) -> Result<Duration> {
        let Some(text) = &self.lease else {
            return Ok(LEASE);
        };
        let duration = humantime::parse_duration(text).ok();
        duration
            .filter(|duration| duration.as_secs() > 0)
            .ok_or_else(|| {
                let message = format!("`lease` is `{text}`; write a time such as \"1 hour\"");
                invalid("lease", message)
            })
    }

    /// Refuses options that the mode has no use for, and values that mean nothing.
    pub(crate) fn check(request: &LoadRequest<Self>) -> Result<()> {
        let options = &request.options;
        let own = Self::default();
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
                "when_matched",
                options.when_matched != own.when_matched,
                Mode::Upsert,
            ),
            (
                "when_not_matched",
                options.when_not_matched != own.when_not_matched,
                Mode::Upsert,
            ),
            (
                "when_not_matched_by_source",
                options.when_not_matched_by_source != own.when_not_matched_by_source,
                Mode::Upsert,
            ),
            (
                "key_memory_bytes",
                options.key_memory_bytes.is_some(),
                Mode::Upsert,
            ),
        ];
        if let Some((key, _, mode)) = uses
            .into_iter()
            .find(|(_, set, mode)| *set && *mode != request.load.mode)
        {
            return Err(invalid(
                key,
                format!(
                    "`{key}` is an option of mode {mode}, and this load has mode {}",
                    request.load.mode
                ),
            ));
        }
        if options.overwrite_partitions && options.replace_where.is_some() {
            return Err(invalid(
                "replace_where",
                "`replace_where` and `overwrite_partitions` both say which rows go; set one of them",
            ));
        }
        let partial = options.overwrite_partitions || options.replace_where.is_some();
        if partial && request.load.schema_evolution {
            return Err(invalid(
                "schema_evolution",
                "a part of a table cannot be overwritten with another schema; append with schema_evolution first",
            ));
        }
        let numbers = [
            ("max_file_bytes", options.max_file_bytes),
            (
                "row_group_rows",
                options.row_group_rows.map(|rows| rows as u64),
            ),
            (
                "key_memory_bytes",
                options.key_memory_bytes.map(|bytes| bytes as u64),
            ),
            ("checkpoint_interval", options.checkpoint_interval),
        ];
        if let Some((key, _)) = numbers.into_iter().find(|(_, number)| *number == Some(0)) {
            return Err(invalid(key, format!("`{key}` must be at least 1")));
        }
        if request.load.verify == Verify::Checksum && options.mixes_rows(request.load.mode) {
            let message = "an upsert or replace_where writes rows of the table again, so that its files have no checksum of the load; set verify = counts";
            return Err(Error::new(ErrorKind::Unsupported, message).with("key", "verify"));
        }
        options.vacuum_retention()?;
        options.lease()?;
        if options.optimize_after_write && !options.z_order_by.is_empty() {
            return Err(invalid(
                "z_order_by",
                "`z_order_by` joins files too; set `optimize_after_write` or `z_order_by`",
            ));
        }
        Ok(())
    }
}
