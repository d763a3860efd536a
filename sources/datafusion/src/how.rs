//! How files are read: the options of a table function, over those of the connection.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use arrowload_common_csv as csv;
use arrowload_common_json as json;
use arrowload_common_parquet_read::ParquetOptions;
use arrowload_core::{Error, ErrorKind, KeySchema, Result, nearest};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::kind::Kind;

/// Whether the name of each row's file is a column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FileName {
    /// Whether it is: the column `filename`.
    Is(bool),
    /// It is, under this name.
    Named(String),
}

/// How files become a table, whatever their format.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FileOptions {
    /// Whether there is a column `filename` with the file of each row, or the name of such a column; there is none by default.
    pub filename: Option<FileName>,
    /// Whether folders named `key=value` are columns, also where a file has a column of that name, which is not read then. By default
    /// they are, and such a file is refused.
    pub hive_partitioning: Option<bool>,
    /// Types of such columns by their names, `{ month = "text" }`; the others are proved as for CSV.
    pub hive_types: BTreeMap<String, String>,
}

impl FileOptions {
    /// The name of the column with the name of the file.
    pub(crate) fn filename(&self) -> Option<&str> {
        match &self.filename {
            Some(FileName::Is(true)) => Some("filename"),
            Some(FileName::Named(name)) => Some(name),
            Some(FileName::Is(false)) | None => None,
        }
    }
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct CsvReading {
    #[serde(flatten)]
    csv: csv::Options,
    #[serde(flatten)]
    files: FileOptions,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct JsonReading {
    #[serde(flatten)]
    json: json::Options,
    #[serde(flatten)]
    files: FileOptions,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct ParquetReading {
    #[serde(flatten)]
    parquet: ParquetOptions,
    #[serde(flatten)]
    files: FileOptions,
}

/// The options that a format has, with their documentation; `None` for a format that is not known.
pub fn read_options(format: &str) -> Option<KeySchema> {
    Some(options_of(Kind::of_word(format)?).clone())
}

static OF_FILES: LazyLock<KeySchema> = LazyLock::new(KeySchema::of::<FileOptions>);
static OF_CSV: LazyLock<KeySchema> = LazyLock::new(KeySchema::of::<CsvReading>);
static OF_PARQUET: LazyLock<KeySchema> = LazyLock::new(KeySchema::of::<ParquetReading>);
static OF_JSON: LazyLock<KeySchema> = LazyLock::new(KeySchema::of::<JsonReading>);

fn options_of(kind: Kind) -> &'static KeySchema {
    match kind {
        Kind::Csv => &OF_CSV,
        Kind::Json => &OF_JSON,
        Kind::Parquet => &OF_PARQUET,
        Kind::Arrow => &OF_FILES,
    }
}

/// Options by format, as a connection has them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReadConfig {
    /// Options for files of any format; each format takes those that it has.
    pub any: Map<String, Value>,
    /// Options for CSV.
    pub csv: Map<String, Value>,
    /// Options for JSON.
    pub json: Map<String, Value>,
    /// Options for Arrow files and streams.
    pub arrow: Map<String, Value>,
    /// Options for Parquet.
    pub parquet: Map<String, Value>,
}

impl ReadConfig {
    fn of(&self, kind: Kind) -> &Map<String, Value> {
        match kind {
            Kind::Csv => &self.csv,
            Kind::Json => &self.json,
            Kind::Arrow => &self.arrow,
            Kind::Parquet => &self.parquet,
        }
    }

    /// Refuses options that no file could be read with.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`], naming the option.
    pub(crate) fn check(&self) -> Result<()> {
        How::new(None, self, Map::new())?;
        for kind in Kind::ALL {
            How::new(Some(kind), self, Map::new())?.check(kind)?;
        }
        Ok(())
    }
}

/// How the files of one table are read.
#[derive(Debug, Clone)]
pub(crate) struct How {
    kind: Option<Kind>,
    /// The options of the connection, by format; and those of the table function.
    defaults: ReadConfig,
    given: Map<String, Value>,
}

impl How {
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for an option that the format does not have, or that no format has.
    pub(crate) fn new(
        kind: Option<Kind>,
        defaults: &ReadConfig,
        given: Map<String, Value>,
    ) -> Result<Self> {
        let how = Self {
            kind,
            defaults: defaults.clone(),
            given,
        };
        how.given.keys().try_for_each(|key| known(key, kind))?;
        defaults.any.keys().try_for_each(|key| known(key, None))?;
        for kind in Kind::ALL {
            let keys = defaults.of(kind).keys();
            keys.into_iter()
                .try_for_each(|key| known(key, Some(kind)))?;
        }
        Ok(how)
    }

    /// The format that was declared.
    pub(crate) fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// The options as they were given, for a format.
    pub(crate) fn given(&self, kind: Kind) -> Map<String, Value> {
        let schema = options_of(kind);
        let any = self.defaults.any.iter();
        let any = any.filter(|(key, _)| schema.contains(key));
        let all = any.chain(self.defaults.of(kind)).chain(&self.given);
        all.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Checks the options for a format.
    fn check(&self, kind: Kind) -> Result<()> {
        self.files(kind)?;
        match kind {
            Kind::Csv => self.csv()?.check(),
            Kind::Json => self.json()?.check(),
            Kind::Parquet => self.parquet().map(|_| ()),
            Kind::Arrow => Ok(()),
        }
    }

    /// The options of a format, without those of all files or only with them.
    fn part<T: serde::de::DeserializeOwned>(&self, kind: Kind, of_files: bool) -> Result<T> {
        let given = self.given(kind);
        // Those that were given for another format, once it is known that this one is what the file has.
        given.keys().try_for_each(|key| known(key, Some(kind)))?;
        let schema = options_of(kind);
        let part: Map<String, Value> = given
            .into_iter()
            .filter(|(key, _)| OF_FILES.contains(key) == of_files)
            .map(|(key, value)| {
                let value = fit(schema, &key, value);
                (key, value)
            })
            .collect();
        let keys: Vec<String> = part.keys().cloned().collect();
        serde_json::from_value(Value::Object(part)).map_err(|error| {
            let message = format!(
                "an option of {kind} ({}) is malformed: {error}",
                keys.join(", ")
            );
            Error::new(ErrorKind::InvalidOption, message)
        })
    }

    pub(crate) fn files(&self, kind: Kind) -> Result<FileOptions> {
        self.part(kind, true)
    }

    pub(crate) fn csv(&self) -> Result<csv::Options> {
        let mut options: csv::Options = self.part(Kind::Csv, false)?;
        // A tab, as it comes from a shell or from SQL.
        if options.delim.as_deref() == Some("\\t") {
            options.delim = Some("\t".into());
        }
        Ok(options)
    }

    pub(crate) fn parquet(&self) -> Result<ParquetOptions> {
        self.part(Kind::Parquet, false)
    }

    pub(crate) fn json(&self) -> Result<json::Options> {
        self.part(Kind::Json, false)
    }

    /// What is declared about the bytes of a file, before its format is known.
    pub(crate) fn opening(&self) -> Result<csv::Options> {
        let kind = self.kind.unwrap_or(Kind::Csv);
        let given = self.given(kind);
        let part: Map<String, Value> = ["encoding", "compression"]
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), given.get(key)?.clone())))
            .collect();
        serde_json::from_value(Value::Object(part)).map_err(|error| {
            let message = format!("`encoding` or `compression` is malformed: {error}");
            Error::new(ErrorKind::InvalidOption, message)
        })
    }
}

/// Names that other tools have for options.
const ELSEWHERE: [(&str, &str); 22] = [
    ("sep", "delim"),
    ("delimiter", "delim"),
    ("separator", "delim"),
    ("quotechar", "quote"),
    ("escapechar", "escape"),
    ("skiprows", "skip"),
    ("skip_rows", "skip"),
    ("skipfooter", "skip_footer"),
    ("column_names", "names"),
    ("columns", "types"),
    ("dtypes", "types"),
    ("dtype", "types"),
    ("column_types", "types"),
    ("schema_overrides", "types"),
    ("nullstr", "null_text"),
    ("null_values", "null_text"),
    ("na_values", "null_text"),
    ("thousands", "thousands_separator"),
    ("sample_size", "infer_rows"),
    ("infer_schema_length", "infer_rows"),
    ("null_padding", "ragged"),
    ("max_line_size", "max_row_bytes"),
];

/// Refuses an option that a format, or every format, does not have.
fn known(key: &str, kind: Option<Kind>) -> Result<()> {
    let kinds = kind.map_or(Kind::ALL.to_vec(), |kind| vec![kind]);
    let schemas: Vec<&KeySchema> = kinds.into_iter().map(options_of).collect();
    if schemas.iter().any(|schema| schema.contains(key)) {
        return Ok(());
    }
    let mut keys: Vec<&str> = schemas.iter().flat_map(|schema| schema.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let elsewhere = ELSEWHERE.iter().find(|(word, _)| *word == key);
    let hint = match elsewhere {
        Some((_, ours)) if keys.contains(ours) => Some(*ours),
        _ => nearest(key, keys.iter().copied()),
    };
    let hint = hint.map_or_else(String::new, |word| format!("; did you mean `{word}`?"));
    let whose = kind.map_or_else(|| "reading".to_owned(), |kind| kind.to_string());
    let message = format!(
        "`{key}` is no option of {whose}{hint} The options are {}",
        keys.join(", ")
    );
    let hinted = if hint.is_empty() {
        message.replacen(" The options", ". The options", 1)
    } else {
        message
    };
    Err(Error::new(ErrorKind::InvalidOption, hinted).with("key", key))
}

/// Fits a value to the type of its option: flags give text.
fn fit(schema: &KeySchema, key: &str, value: Value) -> Value {
    match (key, &value) {
        ("types" | "strict_types" | "hive_types", Value::String(text)) if text.contains('=') => {
            Value::Object(pairs(text))
        }
        // As a command line has them: other texts are a name, and `all`.
        ("filename", Value::String(text)) if matches!(text.as_str(), "true" | "false") => {
            Value::Bool(text == "true")
        }
        ("infer_rows", Value::String(text)) => match text.parse::<u64>() {
            Ok(rows) => rows.into(),
            Err(_) => value,
        },
        _ => schema.fit(key, &value),
    }
}

/// `zip=text,amount=decimal(20,2)`.
fn pairs(text: &str) -> Map<String, Value> {
    let (mut pairs, mut depth, mut begin) = (Map::new(), 0_i32, 0);
    let ends = text.char_indices().chain([(text.len(), ',')]);
    for (at, letter) in ends {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth <= 0 => {
                let pair = &text[begin..at];
                let (name, kind) = pair.rsplit_once('=').unwrap_or((pair, ""));
                if !pair.trim().is_empty() {
                    pairs.insert(name.trim().to_owned(), kind.trim().into());
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    #[test]
    fn text_is_fitted_and_the_function_stands_over_the_connection() {
        let defaults = ReadConfig {
            any: given(json!({ "delim": ";", "skip": "1", "filename": true })),
            csv: given(json!({ "quote": "'" })),
            ..ReadConfig::default()
        };
        defaults.check().expect("known");
        let words = json!({ "skip": "2", "header": "false", "delim": "\\t", "types": "a=text,b=decimal(20,2)" });
        let how = How::new(None, &defaults, given(words)).expect("known");
        let csv = how.csv().expect("fits");
        assert_eq!((csv.delim.as_deref(), csv.skip), (Some("\t"), Some(2)));
        assert_eq!((csv.quote.as_deref(), csv.header), (Some("'"), Some(false)));
        let types = BTreeMap::from([
            ("a".to_owned(), "text".to_owned()),
            ("b".to_owned(), "decimal(20,2)".to_owned()),
        ]);
        assert_eq!(csv.types, csv::Types::Columns(types));
        let files = how.files(Kind::Csv).expect("fits");
        assert_eq!(files.filename(), Some("filename"));
    }

    #[test]
    fn unknown_options_are_refused_with_a_suggestion() {
        for (kind, key, part) in [
            (Some(Kind::Csv), "delimm", "did you mean `delim`?"),
            (Some(Kind::Csv), "nullstr", "did you mean `null_text`?"),
            (
                Some(Kind::Parquet),
                "delim",
                "`delim` is no option of Parquet",
            ),
            (None, "hive_partition", "did you mean `hive_partitioning`?"),
        ] {
            let map = given(json!({ key: "x" }));
            let error = How::new(kind, &ReadConfig::default(), map).expect_err(key);
            assert_eq!(error.kind(), ErrorKind::InvalidOption);
            assert!(error.message().contains(part), "{error}");
        }
        // Known to CSV, and refused once the file is Parquet.
        let map = given(json!({ "delim": ";" }));
        let how = How::new(None, &ReadConfig::default(), map).expect("of some format");
        assert!(how.files(Kind::Parquet).is_err());
    }
}
