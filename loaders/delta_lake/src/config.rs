//! Where tables are: the keys of a connection, all of them optional.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use arrowload_common_datafusion::MemoryLimit;
use arrowload_core::{Error, ErrorKind, Result, Secret};
use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::Deserialize;

/// Where relative targets are, and how object stores are reached. A load needs neither.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeltaLakeConfig {
    /// The folder or URL (`s3://`, `gs://`, `az://`, `abfss://`, `file://`) below which relative targets are; the target
    /// `.` is the table at this place itself. The working directory by default.
    pub table_path: Option<String>,
    /// Keys and values for the object store, such as `AWS_REGION`, over those from the environment (`AWS_*`, `GOOGLE_*`,
    /// `AZURE_*`).
    pub storage_options: BTreeMap<String, Secret>,
}

/// Shows which storage options are set, not what they are.
impl fmt::Debug for DeltaLakeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.storage_options.keys().collect();
        f.debug_struct("DeltaLakeConfig")
            .field("table_path", &self.table_path)
            .field("storage_options", &keys)
            .finish()
    }
}

/// Which tables to query, of which time.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeltaLakeSourceConfig {
    /// A table, which queries call `delta` or by its folder's name, or a folder of tables, which have their folders' names. The
    /// working directory by default.
    pub table_path: Option<String>,
    /// Keys and values for the object store, as for loads.
    pub storage_options: BTreeMap<String, Secret>,
    /// The version to query: a number, or a time such as `2024-01-31T12:00:00Z`, of which the last version before it is read.
    /// A table's name may end in `@` and either; quote it then: `FROM "events@3"`.
    pub at: Option<String>,
    /// Memory for sorts, joins and aggregations, in bytes or as text such as `"2GB"`; what needs more spills. The default is
    /// no limit.
    pub memory_limit: Option<MemoryLimit>,
    /// The folder for what spills. The default is the system's temporary folder.
    pub spill_folder: Option<PathBuf>,
    /// Rows in each batch. The default is 8192.
    pub batch_size: Option<usize>,
    /// How many threads a query uses. The default is one for each core.
    pub threads: Option<usize>,
}

impl fmt::Debug for DeltaLakeSourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.storage_options.keys().collect();
        f.debug_struct("DeltaLakeSourceConfig")
            .field("table_path", &self.table_path)
            .field("storage_options", &keys)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// A version of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Number(u64),
    Time(DateTime<Utc>),
}

impl Version {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        let day = || {
            Some(
                NaiveDate::parse_from_str(text, "%Y-%m-%d")
                    .ok()?
                    .and_hms_opt(0, 0, 0)?
                    .and_utc(),
            )
        };
        let time = DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|time| time.to_utc())
            .or_else(day);
        time.map(Self::Time).ok_or_else(|| {
            let message = format!("`{text}` is no version of a table; write a number, or a time such as 2024-01-31T12:00:00Z");
            Error::new(ErrorKind::InvalidOption, message).with("key", "at")
        })
    }
}
