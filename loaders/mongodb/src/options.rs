//! How to load, beside what all loaders share.

use schemars::JsonSchema;
use serde::Deserialize;

/// What becomes of a null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Nulls {
    /// The field is there, and null.
    #[default]
    Null,
    /// The field is left out of the document. An update that sets fields removes it.
    Absent,
}

/// What becomes of times that are finer than the milliseconds of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Submilliseconds {
    /// Columns in microseconds and nanoseconds are refused.
    #[default]
    Refuse,
    /// They become dates; a value that is no whole millisecond is an error.
    Exact,
}

/// How to load into MongoDB.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct MongoOptions {
    /// Everything in one transaction: readers see all of the load or nothing. Needs a replica set or a sharded cluster, and keeps to the
    /// server's limits on transactions: 60 seconds, unless it is set otherwise.
    pub transaction: bool,
    /// For `upsert`: replace whole documents; by default the fields that the load has are set, and others keep their values.
    pub replace: bool,
    /// A null is written as `null`, or left out as `absent`.
    pub nulls: Nulls,
    /// Times in microseconds or nanoseconds: `refuse` them, or write dates where that is `exact`.
    pub submilliseconds: Submilliseconds,
    /// Columns of text that hold the 24 digits of an ObjectId, and become one.
    pub object_ids: Vec<String>,
    /// Updates in one command at most; 1,000 by default.
    #[schemars(extend("x-tuning" = true))]
    pub update_batch: Option<usize>,
}
