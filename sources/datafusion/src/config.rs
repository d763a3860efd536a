//! How the embedded engine is set up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrowload_common_datafusion::{EngineOptions, MemoryLimit};
use arrowload_core::{Result, Secret};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::how::ReadConfig;

/// The folder or file to query, and what the engine may use.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataFusionConfig {
    /// The folder whose files are tables, or one file. Relative names in queries are below it. The default is the working
    /// directory.
    pub path: Option<String>,
    /// Memory for sorts, joins and aggregations, in bytes or as text such as `"2GB"`; what needs more spills. The default is
    /// no limit.
    pub memory_limit: Option<MemoryLimit>,
    /// The folder for what spills. The default is the system's temporary folder.
    pub spill_folder: Option<PathBuf>,
    /// Rows in each batch. The default is 8192.
    pub batch_size: Option<usize>,
    /// How many threads a query uses. The default is one for each core.
    pub threads: Option<usize>,
    /// Keys and values for the object stores of URLs in queries, such as `aws_region`, over those from the environment
    /// (`AWS_*`, `GOOGLE_*`, `AZURE_*`).
    pub storage_options: BTreeMap<String, Secret>,
    /// Tables by name, over those of the folder: each a file, folder, pattern or URL.
    pub tables: BTreeMap<String, String>,
    /// Whether `tables` are all tables that have names, so that a name which is not among them is an error, and files are named in
    /// quotes. By default files and folders of the folder are tables, too.
    pub only_named_tables: bool,
    /// How files are read: options by format, `{ csv = { delim = ";" } }`; those of `any` are for all formats that have them. A table
    /// function goes over them.
    pub read: ReadConfig,
}

impl DataFusionConfig {
    /// What the engine may use.
    pub(crate) fn engine(&self) -> EngineOptions {
        EngineOptions {
            memory_limit: self.memory_limit,
            spill_folder: self.spill_folder.clone(),
            batch_size: self.batch_size,
            threads: self.threads,
        }
    }
}

/// `datafusion://path?key=value`: the path as it is, relative unless it begins with a slash.
pub(crate) fn config_from_url(url: &str) -> Result<Map<String, Value>> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut keys = Map::new();
    if !path.is_empty() {
        keys.insert("path".into(), path.into());
    }
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        keys.insert(key.into_owned(), value.into_owned().into());
    }
    Ok(keys)
}
