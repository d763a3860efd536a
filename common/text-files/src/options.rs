//! Options for types, with the same names for every format.

use std::collections::BTreeMap;

use arrowload_core::{Error, ErrorKind};
use schemars::JsonSchema;
use serde::Deserialize;

/// How many rows types are found from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum InferRows {
    /// Those of the file's first MiB.
    #[default]
    #[serde(skip)]
    Head,
    /// So many.
    Rows(u64),
    /// `"all"`: types are proved on the whole file before it is read.
    All(All),
}

/// The word `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum All {
    /// Every row.
    All,
}

/// Types that are declared.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Types {
    /// One type for all columns.
    All(String),
    /// Types by the names of columns; the others are found.
    Columns(BTreeMap<String, String>),
}

impl Default for Types {
    fn default() -> Self {
        Self::Columns(BTreeMap::new())
    }
}

/// How sure a column's type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// The user said so.
    Declared,
    /// The values of a sample fit. A later one may not, and is an error then.
    Sampled,
    /// Every value of the file fits.
    Proved,
}

/// An error about one option.
pub fn invalid(key: &'static str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, message).with("key", key)
}
