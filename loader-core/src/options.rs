//! The options that every load shares, and how keys are split into those of the connection, of every load, and of the loader.

use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use crate::settings::suggestion_of;
use crate::{BatchSize, Capabilities, Error, ErrorKind, KeySchema, Mode, Result, Settings};

/// What to do with a row that the store refuses, or that cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// End the load; nothing is published.
    #[default]
    Fail,
    /// Set the row aside in a dead-letter file, with its reason, and count it.
    Skip,
    /// Set rows aside that cannot be parsed, and end the load at one that the store refuses: for every loader, as it takes nothing of
    /// it.
    SkipUnparsed,
}

/// What to do with a null in a key column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NullKeys {
    /// Refuse the row, naming it.
    #[default]
    Refuse,
    /// Nulls are equal to one another.
    Match,
}

impl NullKeys {
    /// Its name, as options write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Match => "match",
        }
    }
}

/// What is proved before a load is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// The rows that the source gave, the store acknowledged and the report states are the same number.
    #[default]
    Counts,
    /// Also, a checksum of each column over the Arrow values equals the one recomputed from what the store holds.
    Checksum,
}

/// A number of rows, or a part of the rows that were in the target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ChangeLimit {
    /// At most this many rows.
    Rows(u64),
    /// At most this many percent of the rows that the target had.
    Percent(f64),
}

impl ChangeLimit {
    fn allows(self, changed: u64, of: u64) -> bool {
        match self {
            Self::Rows(most) => changed <= most,
            Self::Percent(percent) => changed as f64 <= of as f64 * percent / 100.0,
        }
    }
}

impl std::fmt::Display for ChangeLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rows(rows) => write!(f, "{rows}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl<'de> Deserialize<'de> for ChangeLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = match &value {
            Value::String(text) => text.trim().to_owned(),
            other => other.to_string(),
        };
        let limit = match text.strip_suffix('%') {
            Some(percent) => percent
                .trim()
                .parse()
                .ok()
                .filter(|percent| *percent >= 0.0)
                .map(Self::Percent),
            None => text.parse().ok().map(Self::Rows),
        };
        limit.ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is neither a number of rows nor a percentage such as \"10%\""
            ))
        })
    }
}

impl JsonSchema for ChangeLimit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ChangeLimit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "pattern": "^[0-9]+(\\.[0-9]+)? ?%?$" })
    }
}

/// How many rows of the target a load may change.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct ChangeLimits {
    /// Rows that get other values.
    pub updates: Option<ChangeLimit>,
    /// Rows that are removed.
    pub deletes: Option<ChangeLimit>,
}

impl ChangeLimits {
    /// Whether none is set, so that nothing need be counted.
    pub fn is_empty(&self) -> bool {
        self.updates.is_none() && self.deletes.is_none()
    }

    /// Refuses a load that would update or delete more than is allowed of the rows that the target has.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`].
    pub fn check(&self, updates: u64, deletes: u64, target_rows: u64) -> Result<()> {
        let cases = [
            ("update", "max_updates", self.updates, updates),
            ("delete", "max_deletes", self.deletes, deletes),
        ];
        for (verb, key, limit, count) in cases {
            let Some(limit) = limit.filter(|limit| !limit.allows(count, target_rows)) else {
                continue;
            };
            let message = format!(
                "the load would {verb} {count} of {target_rows} rows, and `{key}` allows {limit}"
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(())
    }
}

/// The options that every load shares, whatever the loader.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// What happens to rows that are in the target: `create`, `append`, `overwrite` or `upsert`.
    pub mode: Mode,
    /// Create the target if it is missing.
    pub create_table: bool,
    /// Add new columns to the target, in the same commit; `overwrite` replaces the schema.
    pub schema_evolution: bool,
    /// The columns that identify a row. `upsert_key` is another name for it.
    pub keys: Vec<String>,
    /// A null in a key column: `refuse` it, or `match` nulls as equal.
    pub null_keys: NullKeys,
    /// Refuse a load that would update more rows than this number, or percentage of the target such as `"10%"`.
    pub max_updates: Option<ChangeLimit>,
    /// Refuse a load that would delete more rows than this number, or percentage of the target.
    pub max_deletes: Option<ChangeLimit>,
    /// Refuse a load without a row before its commit; the target stays as it was.
    pub refuse_empty: bool,
    /// Rows in each batch that is handed to the store. The default suits the loader.
    pub batch_size: Option<usize>,
    /// Arrow bytes at most in each batch that is handed to the store. The default suits the loader.
    pub batch_bytes: Option<usize>,
    /// Connections or threads to use at most. The default suits the loader.
    pub parallelism: Option<usize>,
    /// A row that the store refuses, or that cannot be parsed: `fail` the load, or `skip` the row into a dead-letter file;
    /// `skip_unparsed` only skips those that cannot be parsed, and works with every loader.
    pub on_error: OnError,
    /// The folder for dead-letter files.
    pub dead_letters: PathBuf,
    /// How many times a transient error is retried, with exponential backoff.
    pub max_retries: u32,
    /// End the load after this long, before its commit: seconds, or text such as `"5m"`.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "Option<TextOrSeconds>")]
    pub timeout: Option<Duration>,
    /// Identifies the load: repeating it with the same id writes nothing again. Made up, and reported, if absent.
    pub load_id: Option<String>,
    /// What is proved before the load is published: `counts`, or `checksum` as well.
    pub verify: Verify,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Append,
            create_table: true,
            schema_evolution: false,
            keys: Vec::new(),
            null_keys: NullKeys::Refuse,
            max_updates: None,
            max_deletes: None,
            refuse_empty: false,
            batch_size: None,
            batch_bytes: None,
            parallelism: None,
            on_error: OnError::Fail,
            dead_letters: "arrowload-dead-letters".into(),
            max_retries: 5,
            timeout: None,
            load_id: None,
            verify: Verify::Counts,
        }
    }
}

/// The schema of a duration.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum TextOrSeconds {
    Seconds(f64),
    Text(String),
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = match Option::<Value>::deserialize(deserializer)? {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    };
    let seconds = text
        .trim()
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let parsed = seconds
        .or_else(|| humantime::parse_duration(text.trim()).ok())
        .filter(|duration| !duration.is_zero());
    parsed.map(Some).ok_or_else(|| {
        de::Error::custom(format!(
            "invalid duration `{text}`; write seconds, or text such as \"90s\" or \"5m\""
        ))
    })
}

/// The longest `load_id`, in bytes.
pub(crate) const LOAD_ID_LIMIT: usize = 200;

impl LoadOptions {
    /// Refuses, before any I/O, what these capabilities do not allow.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] or [`ErrorKind::InvalidOption`], naming the option and what to do.
    pub fn check(&self, loader: &str, capabilities: &Capabilities) -> Result<()> {
        self.check_mode(loader, capabilities)?;
        let wishes = [
            (
                "on_error = skip",
                self.on_error == OnError::Skip,
                capabilities.skip_rows,
            ),
            (
                "verify = checksum",
                self.verify == Verify::Checksum,
                capabilities.checksum,
            ),
            (
                "keys",
                !self.keys.is_empty(),
                capabilities.supports(Mode::Upsert),
            ),
            (
                "schema_evolution",
                self.schema_evolution,
                capabilities.schema_evolution,
            ),
            (
                "max_updates and max_deletes",
                self.max_updates.is_some() || self.max_deletes.is_some(),
                capabilities.change_limits,
            ),
            (
                "parallelism",
                self.parallelism.is_some_and(|count| count > 1),
                capabilities.parallel,
            ),
        ];
        for (option, wanted, able) in wishes {
            if wanted && !able {
                let instead = match option.starts_with("on_error") {
                    true => "; on_error = skip_unparsed sets aside only rows that cannot be parsed",
                    false => "; leave the option out",
                };
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{loader} does not support {option}{instead}"),
                ));
            }
        }
        let zero = [
            ("batch_size", self.batch_size),
            ("batch_bytes", self.batch_bytes),
            ("parallelism", self.parallelism),
        ];
        if let Some((option, _)) = zero.into_iter().find(|(_, value)| *value == Some(0)) {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                format!("`{option}` must be at least 1"),
            ));
        }
        let bad_id = |id: &String| {
            id.trim().is_empty() || id.len() > LOAD_ID_LIMIT || id.chars().any(char::is_control)
        };
        if self.load_id.as_ref().is_some_and(bad_id) {
            let message = format!(
                "`load_id` must be 1 to {LOAD_ID_LIMIT} bytes of text without control characters"
            );
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        Ok(())
    }

    fn check_mode(&self, loader: &str, capabilities: &Capabilities) -> Result<()> {
        if !capabilities.supports(self.mode) {
            let modes: Vec<&str> = capabilities.modes.iter().map(|mode| mode.name()).collect();
            let message = format!(
                "{loader} has no mode {}; it has {}",
                self.mode,
                modes.join(", ")
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if self.mode == Mode::Upsert && self.keys.is_empty() {
            let message = "mode upsert needs `keys`: the columns that identify a row";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        if self.mode == Mode::Create && !capabilities.create_target {
            let message = format!(
                "{loader} cannot create a target; create it in the store, and use another mode"
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if self.mode == Mode::Create && !self.create_table {
            let message = "mode create contradicts `create_table = false`; leave one of them out";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        Ok(())
    }

    /// The sizes of batch for a loader that prefers these.
    pub fn batch_size(&self, preferred: BatchSize) -> BatchSize {
        let max_bytes = self
            .batch_bytes
            .unwrap_or(preferred.max_bytes)
            .clamp(1, BatchSize::BYTES_LIMIT);
        match self.batch_size {
            Some(rows) => BatchSize {
                min_rows: rows,
                max_rows: rows,
                max_bytes,
            },
            None => BatchSize {
                max_bytes,
                max_rows: preferred.max_rows.max(1),
                ..preferred
            },
        }
    }

    /// The limits on changes.
    pub fn limits(&self) -> ChangeLimits {
        ChangeLimits {
            updates: self.max_updates,
            deletes: self.max_deletes,
        }
    }
}

/// Another name for `keys`, as older configurations write it.
pub(crate) const UPSERT_KEY: &str = "upsert_key";

/// A profile's keys, sorted into how to connect, how to load, and the loader's own options.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SplitSettings {
    /// Keys of the loader's `Config`.
    pub config: Settings,
    /// Keys of [`LoadOptions`].
    pub load: Settings,
    /// Keys of the loader's `Options`.
    pub options: Settings,
}

/// Sorts keys. An unknown key is an error that names it, the most similar known key, and all known keys.
pub(crate) fn split(
    what: &str,
    settings: Settings,
    config: &KeySchema,
    options: &KeySchema,
) -> Result<SplitSettings> {
    let load = KeySchema::of::<LoadOptions>();
    let mut split = SplitSettings::default();
    for (key, setting) in settings.into_inner() {
        if config.contains(&key) {
            split.config.insert(key, setting);
        } else if options.contains(&key) {
            split.options.insert(key, setting);
        } else if load.contains(&key) {
            split.load.insert(key, setting);
        } else if key == UPSERT_KEY {
            insert_upsert_key(&mut split.load, setting)?;
        } else {
            return Err(unknown_key(
                what,
                &key,
                &setting.origin,
                &[("connection", config), ("load", &load), (what, options)],
            ));
        }
    }
    Ok(split)
}

fn insert_upsert_key(load: &mut Settings, setting: crate::Setting) -> Result<()> {
    // `keys` sorts before `upsert_key`, so it is there already if it was given.
    if load
        .get("keys")
        .is_some_and(|keys| keys.value != setting.value)
    {
        let message = format!(
            "`{UPSERT_KEY}` (from {}) is another name for `keys`, which is also set; leave one of them out",
            setting.origin
        );
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    load.insert("keys".into(), setting);
    Ok(())
}

pub(crate) fn unknown_key(
    what: &str,
    key: &str,
    origin: &str,
    known: &[(&str, &KeySchema)],
) -> Error {
    let hint = suggestion_of(key, known.iter().rev().map(|(_, schema)| schema.keys()));
    let full_stop = if hint.is_empty() { "." } else { "" };
    let named = known.iter().filter(|(_, schema)| !schema.keys().is_empty());
    let lists: Vec<String> = named
        .map(|(name, schema)| format!("{name}: {}", schema.keys().join(", ")))
        .collect();
    let message = format!(
        "{what} does not know the key `{key}` (from {origin}){hint}{full_stop} Known keys: {}",
        lists.join("; ")
    );
    Error::new(ErrorKind::InvalidOption, message).with("key", key)
}
