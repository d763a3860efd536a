//! Where tables are: the keys of a connection, all of them optional.

use std::collections::BTreeMap;
use std::fmt;

use arrowload_core::Secret;
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
        f.debug_struct("DeltaLakeConfig").field("table_path", &self.table_path).field("storage_options", &keys).finish()
    }
}
