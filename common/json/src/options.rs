//! The options for reading a file. An option that is not given is detected.

use std::collections::BTreeMap;

use arrow_schema::DataType;
use arrowload_common_text_files::{Compression, InferRows, Numbers, Opening, Types, invalid};
use arrowload_core::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::path::RecordPath;

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// As the file shows.
    #[default]
    Auto,
    /// Each line is a row: NDJSON, JSON Lines.
    Ndjson,
    /// The elements of one array are the rows.
    Array,
    /// Each document is a row, and what stands around it is no matter: one document, or several one after the other. Of an
    /// array, each element is a row.
    Document,
}

/// What becomes of values that are of different kinds, as numbers and texts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mixed {
    /// JSON text: each value as it is written.
    #[default]
    Json,
    /// An error.
    Error,
}

/// What becomes of an object that has a key twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateKeys {
    /// It is refused.
    #[default]
    Error,
    /// The last value counts, as in JavaScript and Python.
    Last,
}

/// How to read a JSON file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How the rows are written: `auto`, `ndjson`, `array` or `document`.
    pub format: Format,
    /// Where the rows are in a document: `$.data.items[*]`. A step is a key, `[*]` or a number in brackets.
    pub records: Option<String>,
    /// Whether the members of nested objects become columns of their own.
    pub flatten: bool,
    /// What stands between the keys in the names of such columns: `.` by default.
    pub separator: Option<String>,
    /// Types by the keys that lead to the values, `{ zip = "text", "item.price" = "decimal(20,2)", "tags[]" = "text" }`, or one
    /// for all columns, `"text"`. A column that is declared is there, also if no row has its key.
    pub types: Types,
    /// As `types`, for values that must be written as those of a type that is found: strings are no numbers, and no float is
    /// rounded. What is written otherwise is refused.
    pub strict_types: BTreeMap<String, String>,
    /// What numbers with a point become: `auto`, `decimal` or `float`.
    pub numbers: Numbers,
    /// What values of different kinds become: `json` or `error`.
    pub mixed: Mixed,
    /// What becomes of an object that has a key twice: `error` or `last`.
    pub duplicate_keys: DuplicateKeys,
    /// How dates are written in columns that are declared so, in the language of `strftime`: `%d/%m/%Y`.
    pub date_format: Option<String>,
    /// How timestamps are written in columns that are declared so, in the language of `strftime`.
    pub timestamp_format: Option<String>,
    /// How many rows types are found from: a number, or `all`.
    pub infer_rows: InferRows,
    /// The encoding, by its name in the WHATWG's list. UTF-8 and UTF-16 are found.
    pub encoding: Option<String>,
    /// `none`, `gzip`, `zstd`, `bzip2`, `xz`, `lz4`, `snappy` or `zip`.
    pub compression: Option<Compression>,
    /// How deep values may be nested: 128 by default, 1,000 at most.
    pub max_depth: Option<u32>,
    /// The bytes that a row may have, 512 MiB by default.
    pub max_row_bytes: Option<usize>,
    /// Types by the keys that lead to the values, as a program offers them: those of keys that the file has count. `types` goes
    /// before them.
    #[serde(skip)]
    pub declared: BTreeMap<String, DataType>,
}

impl Options {
    /// Refuses what contradicts itself.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`](arrowload_core::ErrorKind::InvalidOption), naming the option.
    pub fn check(&self) -> Result<()> {
        if self.separator.is_some() && !self.flatten {
            return Err(invalid("separator", "`separator` needs `flatten`"));
        }
        if self.records.is_some() && !matches!(self.format, Format::Auto | Format::Document) {
            return Err(invalid(
                "records",
                "`records` needs `format = \"document\"`",
            ));
        }
        if self
            .max_depth
            .is_some_and(|depth| depth == 0 || depth > 1_000)
        {
            return Err(invalid("max_depth", "`max_depth` must be 1 to 1,000"));
        }
        if self.max_row_bytes.is_some_and(|bytes| bytes >= 1 << 30) {
            return Err(invalid(
                "max_row_bytes",
                "`max_row_bytes` must be less than 1 GiB",
            ));
        }
        RecordPath::new(self.records.as_deref())?;
        Opening::from(self).check()
    }
}

impl From<&Options> for Opening {
    fn from(options: &Options) -> Self {
        Self {
            encoding: options.encoding.clone(),
            compression: options.compression,
            // JSON is UTF-8 by its standard; bytes that are not are refused, and not guessed to be Latin-1.
            unicode: true,
        }
    }
}
