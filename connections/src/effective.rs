//! The effective keys of a connection, for people to read: each with its value and the layer that it came from.

use arrowload_core::{ConnectionKey, KeySchema, Settings, looks_secret};
use serde_json::Value;

use crate::environment::Environment;

/// In place of a secret.
const HIDDEN: &str = "***";
/// The origin of a key without a setting.
const DEFAULT: &str = "default";

/// The keys that are set, and those that say where the connection leads whether set or not, which come first. The schema says which
/// those are (`x-place`, a number), and what one is by default (`x-default`: a text, `$NAME` for a variable, `=key` for another
/// key's value).
pub(crate) fn keys(
    schema: &KeySchema,
    config: &Settings,
    environment: &Environment,
) -> Vec<ConnectionKey> {
    let property = |key: &str| schema.as_value().get("properties")?.get(key);
    let place = |key: &str| property(key)?.get("x-place")?.as_u64();
    let mut names: Vec<&str> = config.iter().map(|(key, _)| key).collect();
    names.extend(schema.keys().into_iter().filter(|key| place(key).is_some()));
    names.sort_by_key(|key| (place(key).unwrap_or(u64::MAX), *key));
    names.dedup();
    let set = |key: &str| {
        let setting = config.get(key)?;
        let value = match &setting.value {
            _ if setting.hidden || schema.holds_secrets(key) || looks_secret(key) => HIDDEN.into(),
            value => shown(value),
        };
        Some((value, setting.origin.to_string()))
    };
    let default = |key: &str| {
        let property = property(key)?;
        let text = property.get("x-default").or(property.get("default"))?;
        let text = text
            .as_str()
            .map_or_else(|| text.to_string(), str::to_owned);
        Some(text)
    };
    let by_default = |key: &str| {
        let text = default(key)?;
        if let Some(variable) = text.strip_prefix('$') {
            let value = environment.non_empty(variable)?.to_owned();
            return Some((value, format!("{DEFAULT}, from {variable}")));
        }
        Some((text, DEFAULT.to_owned()))
    };
    let whole = |key: &str| {
        let (value, origin) = set(key).or_else(|| by_default(key))?;
        match value.strip_prefix('=').filter(|_| origin == DEFAULT) {
            None => Some((value, origin)),
            Some(other) => {
                let (value, _) = set(other).or_else(|| by_default(other))?;
                Some((value, format!("{DEFAULT}, as {other}")))
            }
        }
    };
    let named = |key: &str| {
        let (value, origin) = whole(key)?;
        Some(ConnectionKey::new(key, value, origin))
    };
    names.into_iter().filter_map(named).collect()
}

/// A value as people write it, without what may be secret in it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| match looks_secret(key) {
                true => format!("{key}={HIDDEN}"),
                false => format!("{key}={}", shown(value)),
            });
            entries.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}
