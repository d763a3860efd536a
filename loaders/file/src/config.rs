//! Where files are: the keys of a connection, all of them optional.

use std::collections::BTreeMap;
use std::fmt;

use arrowload_core::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where relative targets are, and how object stores are reached. A load needs neither.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FileConfig {
    /// The folder or URL below which relative targets are; the working directory by default.
    pub root: Option<String>,
    /// Keys and values for the object store, such as `aws_region`, over those from the environment (`AWS_*`,
    /// `GOOGLE_*`, `AZURE_*`).
    pub storage_options: BTreeMap<String, Secret>,
}

/// Shows which storage options are set, not what they are.
impl fmt::Debug for FileConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.storage_options.keys().collect();
        f.debug_struct("FileConfig")
            .field("root", &self.root)
            .field("storage_options", &keys)
            .finish()
    }
}
