//! The environment's variables, and the profiles in them: `ARROWLOAD_CONNECTIONS__NAME__KEY=value`.

use std::collections::BTreeMap;
use std::fmt;

use arrowload_core::{Error, ErrorKind, Result, Settings, nearest};
use serde_json::{Map, Value};

use crate::overlay::overlay;

const PREFIX: &str = "ARROWLOAD_CONNECTIONS__";

/// Variables by name. Sorted, so that of two mistakes the same one is reported each time.
pub(crate) struct Environment(BTreeMap<String, String>);

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl Environment {
    /// The variables of this process. Those that are not UTF-8 are left out, but it is an error if one of our own is
    /// among them.
    pub(crate) fn of_process() -> Result<Self> {
        let mut variables = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => drop(variables.insert(name, value)),
                (Ok(name), Err(_)) if name.starts_with(PREFIX) => {
                    return Err(invalid(&name, "is not UTF-8"));
                }
                _ => {}
            }
        }
        Ok(Self(variables))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A variable, where an empty one is as good as none.
    pub(crate) fn non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// The profiles by name. Names and keys are in lower case; values stay text, as only a schema can tell the number 7
    /// from the password 007.
    pub(crate) fn profiles(&self) -> Result<BTreeMap<String, Settings>> {
        let mut profiles: BTreeMap<String, Settings> = BTreeMap::new();
        for (variable, value) in &self.0 {
            let Some(rest) = variable.strip_prefix(PREFIX) else {
                refuse_misspelt(variable)?;
                continue;
            };
            let rest = rest.to_lowercase();
            let path: Vec<&str> = rest.split("__").collect();
            let [name, key, inner @ ..] = path.as_slice() else {
                return Err(nameless(variable));
            };
            if path.iter().any(|part| part.is_empty()) {
                return Err(nameless(variable));
            }
            let profile = profiles.entry((*name).to_owned()).or_default();
            refuse_twice(profile, key, inner, variable)?;
            let mut setting = Settings::new();
            setting.set(
                *key,
                nested(inner, value),
                &format!("environment variable {variable}"),
            );
            overlay(profile, setting);
        }
        Ok(profiles)
    }
}

/// A value below a path of keys.
fn nested(path: &[&str], value: &str) -> Value {
    let inward = |inner, key: &&str| Value::Object(Map::from_iter([((*key).to_owned(), inner)]));
    path.iter().rev().fold(value.into(), inward)
}

/// Refuses `…__KEY=1` together with `…__KEY__INNER=2`: one of them would be lost.
fn refuse_twice(profile: &Settings, key: &str, path: &[&str], variable: &str) -> Result<()> {
    let Some(known) = profile.get(key) else {
        return Ok(());
    };
    let mut value = &known.value;
    for part in path {
        let Value::Object(map) = value else { break };
        let Some(inner) = map.get(*part) else {
            return Ok(());
        };
        value = inner;
    }
    Err(invalid(
        variable,
        &format!(
            "contradicts {}: a key has one value, or keys below it",
            known.origin
        ),
    ))
}

/// `ARROWLOAD_CONNECTION__…` would set nothing, and nobody would notice.
fn refuse_misspelt(variable: &str) -> Result<()> {
    let prefix = variable
        .strip_prefix("ARROWLOAD_")
        .and_then(|rest| rest.split_once("__"));
    match prefix.and_then(|(word, _)| nearest(word, ["CONNECTIONS"])) {
        Some(_) => Err(invalid(
            variable,
            &format!("is unknown; did you mean `{PREFIX}…`?"),
        )),
        None => Ok(()),
    }
}

fn nameless(variable: &str) -> Error {
    invalid(
        variable,
        &format!(
            "names no connection and key; write {PREFIX}NAME__KEY, or {PREFIX}NAME__KEY__INNER_KEY"
        ),
    )
}

fn invalid(variable: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidOption,
        format!("the environment variable {variable} {why}"),
    )
}

/// Values may be secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} environment variables", self.0.len())
    }
}
