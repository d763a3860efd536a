//! Keys and values with the layer each came from. They are converted by a schema and parsed into typed configs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, schema_for};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::options::UPSERT_KEY;
use crate::{Error, ErrorKind, Result};

/// One value and where it came from: `environment variable PGPORT`, `arrowload.toml`, `.option(..)`.
#[derive(Clone, PartialEq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where it came from, as it is shown in an error message.
    pub origin: Arc<str>,
    /// Whether no error may show the value, whatever its key: a reference such as `${env:NAME}` stood for it.
    pub hidden: bool,
}

/// One key of a connection as people read it: its value, `***` for a secret, and the layer that it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConnectionKey {
    /// The key.
    pub key: String,
    /// Its value, unless that may be secret.
    pub value: String,
    /// The layer that it came from.
    pub origin: String,
}

impl ConnectionKey {
    /// A key with its value and origin.
    pub fn new(
        key: impl Into<String>,
        value: impl Into<String>,
        origin: impl Into<String>,
    ) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            origin: origin.into(),
        }
    }
}

impl fmt::Display for ConnectionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.key, self.value, self.origin)
    }
}

/// Keys with values and origins. `Debug` shows keys and origins only, as values may be secret.
#[derive(Clone, Default, PartialEq)]
pub struct Settings(BTreeMap<String, Setting>);

impl Settings {
    /// No keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// The members of an object, all from one origin.
    pub fn from_map(map: Map<String, Value>, origin: &str) -> Self {
        let origin: Arc<str> = origin.into();
        let setting = |(key, value)| {
            (
                key,
                Setting {
                    value,
                    origin: Arc::clone(&origin),
                    hidden: false,
                },
            )
        };
        Self(map.into_iter().map(setting).collect())
    }

    /// Sets a key, in place of an earlier value.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>, origin: &str) {
        self.0.insert(
            key.into(),
            Setting {
                value: value.into(),
                origin: origin.into(),
                hidden: false,
            },
        );
    }

    /// Keeps a key's value out of every error, as is done anyway for keys whose type is [`Secret`](crate::Secret).
    pub fn hide(&mut self, key: &str) {
        if let Some(setting) = self.0.get_mut(key) {
            setting.hidden = true;
        }
    }

    /// Adds other settings, which override these.
    pub fn overlay(&mut self, other: Settings) {
        if other.names_keys() {
            self.0.retain(|key, _| !is_keys(key));
        }
        self.0.extend(other.0);
    }

    /// Adds other settings for keys that are not set here.
    pub fn underlay(&mut self, mut other: Settings) {
        std::mem::swap(self, &mut other);
        self.overlay(other);
    }

    fn names_keys(&self) -> bool {
        self.0.keys().any(|key| is_keys(key))
    }

    /// One setting.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.0.get(key)
    }

    /// Takes one setting out.
    pub fn remove(&mut self, key: &str) -> Option<Setting> {
        self.0.remove(key)
    }

    /// All settings, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.0.iter().map(|(key, setting)| (key.as_str(), setting))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn insert(&mut self, key: String, setting: Setting) {
        self.0.insert(key, setting);
    }

    pub(crate) fn into_inner(self) -> BTreeMap<String, Setting> {
        self.0
    }

    /// Parses into a typed config. Text is first fitted to the type that the schema asks for, so that `"5432"` from the
    /// environment is a port, and `a,b` a list.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`], naming the key, where its value came from and what was expected; secret values are
    /// not shown.
    pub fn parse<T: DeserializeOwned + JsonSchema>(&self, what: &str) -> Result<T> {
        let schema = KeySchema::of::<T>();
        let fitted = self
            .0
            .iter()
            .map(|(key, setting)| (key.clone(), schema.fit(key, &setting.value)));
        let map: Map<String, Value> = fitted.collect();
        serde_path_to_error::deserialize(Value::Object(map))
            .map_err(|error| self.explain(what, &schema, &error))
    }

    fn explain(
        &self,
        what: &str,
        schema: &KeySchema,
        error: &serde_path_to_error::Error<serde_json::Error>,
    ) -> Error {
        let path = error.path().to_string();
        let key = path.split(['.', '[']).next().unwrap_or_default();
        let Some(setting) = self.0.get(key) else {
            let message = format!("{what}: {}", error.inner());
            return Error::new(ErrorKind::InvalidOption, message);
        };
        let why = match setting.hidden || schema.holds_secrets(key) || looks_secret(&path) {
            true => format!("the value is malformed{}", schema.expected(key)),
            // Serde names Rust's types.
            false => ["usize", "u64", "u32", "u16"]
                .iter()
                .fold(error.inner().to_string(), |text, name| {
                    text.replace(&format!("expected {name}"), "expected a whole number")
                }),
        };
        let message = format!("{what}: `{path}` (from {}): {why}", setting.origin);
        Error::new(ErrorKind::InvalidOption, message).with("key", key)
    }
}

/// `keys` and its other name stand for one option, so a stronger layer's replaces a weaker one's, whichever is used.
fn is_keys(key: &str) -> bool {
    key == "keys" || key == UPSERT_KEY
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(key, setting)| (key, &setting.origin)))
            .finish()
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {}", self.origin)
    }
}

/// Whether a key's name says that its value is secret, wherever it is.
pub fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    [
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "token",
        "credential",
        "private",
        "api_key",
        "apikey",
        "access_key",
        "account_key",
        "sas",
    ]
    .iter()
    .any(|word| key.contains(word))
}

/// As the schema of a [`Secret`](crate::Secret) says.
fn is_write_only(schema: &Value) -> bool {
    schema.get("writeOnly") == Some(&Value::Bool(true))
}

/// The keys that a config or options type knows, from its JSON schema.
#[derive(Debug, Clone)]
pub struct KeySchema(Value);

impl KeySchema {
    /// The keys of a type.
    pub fn of<T: JsonSchema>() -> Self {
        Self(schema_for!(T).to_value())
    }

    /// The JSON schema itself.
    pub fn as_value(&self) -> &Value {
        &self.0
    }

    /// The names of the keys, sorted.
    pub fn keys(&self) -> Vec<&str> {
        let properties = self.0.get("properties").and_then(Value::as_object);
        let mut keys: Vec<&str> = properties
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .collect();
        keys.sort_unstable();
        keys
    }

    /// Whether the type has this key.
    pub fn contains(&self, key: &str) -> bool {
        self.property(key).is_some()
    }

    /// Whether unknown keys are refused, as they must be.
    pub fn is_closed(&self) -> bool {
        self.0.get("additionalProperties") == Some(&Value::Bool(false))
            || self.0.get("properties").is_none()
    }

    /// Whether the key's value is a [`Secret`](crate::Secret).
    pub fn is_secret(&self, key: &str) -> bool {
        self.property(key)
            .is_some_and(|property| self.any_variant(property, &is_write_only))
    }

    /// Whether the key's value is a [`Secret`](crate::Secret), or a map or list of them.
    pub fn holds_secrets(&self, key: &str) -> bool {
        let within = |schema: &Value| {
            ["additionalProperties", "items"]
                .iter()
                .filter_map(|part| schema.get(part))
                .any(|part| self.any_variant(part, &is_write_only))
        };
        self.is_secret(key)
            || self
                .property(key)
                .is_some_and(|property| self.any_variant(property, &within))
    }

    /// Whether the key only tunes how a load runs, as its schema says: `#[schemars(extend("x-tuning" = true))]` on the field. Such
    /// keys are not part of a load's [`Definition`](crate::Definition).
    pub fn is_tuning(&self, key: &str) -> bool {
        self.property(key)
            .is_some_and(|property| property.get("x-tuning") == Some(&Value::Bool(true)))
    }

    fn property(&self, key: &str) -> Option<&Value> {
        self.0.get("properties")?.get(key)
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let reference = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|name| name.strip_prefix('#'));
        reference
            .and_then(|pointer| self.0.pointer(pointer))
            .unwrap_or(schema)
    }

    /// Whether the schema, or one of its alternatives, satisfies the test.
    fn any_variant(&self, schema: &Value, test: &dyn Fn(&Value) -> bool) -> bool {
        let schema = self.resolve(schema);
        let variants = ["anyOf", "oneOf", "allOf"]
            .iter()
            .filter_map(|key| schema.get(key)?.as_array())
            .flatten();
        test(schema)
            || variants
                .into_iter()
                .any(|variant| self.any_variant(variant, test))
    }

    fn allows(&self, schema: &Value, kind: &str) -> bool {
        self.any_variant(schema, &|schema| match schema.get("type") {
            Some(Value::String(name)) => name == kind,
            Some(Value::Array(names)) => names.iter().any(|name| name == kind),
            _ => schema
                .get("const")
                .is_some_and(|value| kind == "string" && value.is_string()),
        })
    }

    fn expected(&self, key: &str) -> String {
        let Some(property) = self.property(key) else {
            return String::new();
        };
        let kinds = ["string", "integer", "number", "boolean", "array", "object"];
        let allowed: Vec<&str> = kinds
            .into_iter()
            .filter(|kind| self.allows(property, kind))
            .collect();
        if allowed.is_empty() {
            String::new()
        } else {
            format!(", expected {}", allowed.join(" or "))
        }
    }

    /// Converts text to the type that the key needs, and a number to text. Anything else is left as it is: the parser refuses it
    /// if it does not fit.
    pub fn fit(&self, key: &str, value: &Value) -> Value {
        let Some(property) = self.property(key) else {
            return value.clone();
        };
        let allows = |kind| self.allows(property, kind);
        match value {
            Value::String(text) if !allows("string") => self.fit_text(property, text),
            Value::String(text) if allows("array") => list(text),
            Value::Number(_) | Value::Bool(_)
                if allows("string")
                    && !allows("number")
                    && !allows("integer")
                    && !allows("boolean") =>
            {
                Value::String(value.to_string())
            }
            _ => value.clone(),
        }
    }

    fn fit_text(&self, property: &Value, text: &str) -> Value {
        let allows = |kind| self.allows(property, kind);
        let parsed = serde_json::from_str::<Value>(text.trim())
            .ok()
            .filter(|value| match value {
                Value::Number(_) => allows("integer") || allows("number"),
                Value::Bool(_) => allows("boolean"),
                Value::Array(_) => allows("array"),
                Value::Object(_) => allows("object"),
                Value::Null => allows("null"),
                Value::String(_) => false,
            });
        match parsed {
            Some(value) => value,
            None if allows("boolean") && is_word(text, &["yes", "on", "true"]) => true.into(),
            None if allows("boolean") && is_word(text, &["no", "off", "false"]) => false.into(),
            None if allows("array") => list(text),
            None => text.into(),
        }
    }
}

fn is_word(text: &str, words: &[&str]) -> bool {
    words
        .iter()
        .any(|word| text.trim().eq_ignore_ascii_case(word))
}

/// `a, b` as a list of texts.
fn list(text: &str) -> Value {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(Value::from)
        .collect()
}

/// The known word that a misspelt one most likely stands for.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let simple = |text: &str| text.to_lowercase().replace('-', "_");
    let word = simple(word);
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word, &simple(candidate));
    let known: BTreeSet<&str> = known.into_iter().collect();
    // The beginning of one word only is that word.
    let mut begun = known
        .iter()
        .copied()
        .filter(|candidate| word.len() >= 3 && simple(candidate).starts_with(&word));
    if let (Some(candidate), None) = (begun.next(), begun.next()) {
        return Some(candidate);
    }
    let (score, candidate) = known
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .min_by_key(|(score, _)| *score)?;
    (score <= 1 + candidate.len().min(word.len()) / 4).then_some(candidate)
}

/// As [`suggestion`], for words of several kinds: of those that are equally near, one of the first kind.
pub(crate) fn suggestion_of<'a, W: IntoIterator<Item = &'a str>>(
    word: &str,
    kinds: impl IntoIterator<Item = W>,
) -> String {
    let near = kinds.into_iter().filter_map(|kind| nearest(word, kind));
    let distance = |near: &&str| match near.starts_with(word) {
        true => 0,
        false => strsim::damerau_levenshtein(word, near),
    };
    suggestion(word, near.min_by_key(distance))
}

/// `; did you mean …?`, or nothing.
pub(crate) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known)
        .map(|candidate| format!("; did you mean `{candidate}`?"))
        .unwrap_or_default()
}
