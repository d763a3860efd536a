//! How Parquet files are read.

use arrow_schema::TimeUnit;
use schemars::JsonSchema;
use serde::Deserialize;

/// How Parquet files are read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ParquetOptions {
    /// Whether byte arrays that are not said to be text are read as text, and refused where they are none; false by default:
    /// they are binary.
    pub binary_as_string: bool,
    /// The unit of timestamps in the old form of 96 bits; `us` by default. A value that it cannot hold is an error.
    pub int96: Int96,
    /// Whether row groups are passed over whose statistics say that no row of theirs is wanted; true by default.
    pub pruning: bool,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        Self {
            binary_as_string: false,
            int96: Int96::default(),
            pruning: true,
        }
    }
}

/// The unit of timestamps in the old form of 96 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Int96 {
    /// Microseconds: every date that is written in practice.
    #[default]
    #[serde(rename = "us")]
    Microseconds,
    /// Nanoseconds: from 1677 to 2262.
    #[serde(rename = "ns")]
    Nanoseconds,
}

impl Int96 {
    pub(crate) fn unit(self) -> TimeUnit {
        match self {
            Self::Microseconds => TimeUnit::Microsecond,
            Self::Nanoseconds => TimeUnit::Nanosecond,
        }
    }
}
