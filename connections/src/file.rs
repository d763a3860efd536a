//! The config file: where it is found, and what is in it.

use std::path::{Path, PathBuf};

use arrowload_core::{Error, ErrorKind, Result, Settings, nearest};
use figment::Figment;
use figment::providers::{Format, Json, Toml};
use serde_json::{Map, Value};

use crate::environment::Environment;

const NAME: &str = "arrowload.toml";
const CONNECTIONS: &str = "connections";
const DATETIME: &str = "$__toml_private_datetime";

/// The file that `ARROWLOAD_CONFIG` names, whether or not it exists, else the working directory's, else the user's; and the
/// reason why it is used.
pub(crate) fn discover(environment: &Environment) -> Option<(PathBuf, &'static str)> {
    if let Some(path) = environment.non_empty("ARROWLOAD_CONFIG") {
        return Some((path.into(), "the environment variable ARROWLOAD_CONFIG"));
    }
    let users = user_folder(environment).map(|folder| folder.join("arrowload").join(NAME));
    let found = [Some(PathBuf::from(NAME)), users]
        .into_iter()
        .flatten()
        .find(|path| path.is_file());
    found.map(|path| (path, "discovery"))
}

/// A config file that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundFile {
    /// Where it is, or would be.
    pub path: PathBuf,
    /// Whether there is a file.
    pub is_there: bool,
    /// Whether it is the one that counts.
    pub is_used: bool,
}

/// The files that [`discover`] looks for, in its order.
pub(crate) fn all(environment: &Environment) -> Vec<FoundFile> {
    let used = discover(environment).map(|(path, _)| path);
    let named = environment.non_empty("ARROWLOAD_CONFIG").map(PathBuf::from);
    let users = user_folder(environment).map(|folder| folder.join("arrowload").join(NAME));
    let paths = named.into_iter().chain([PathBuf::from(NAME)]).chain(users);
    let found = paths.map(|path| FoundFile {
        is_there: path.is_file(),
        is_used: used.as_ref() == Some(&path),
        path,
    });
    found.collect()
}

/// Where this system keeps a user's configuration.
fn user_folder(environment: &Environment) -> Option<PathBuf> {
    let absolute = |name| {
        environment
            .non_empty(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let home = || {
        absolute("HOME").map(|home| {
            home.join(if cfg!(target_os = "macos") {
                "Library/Application Support"
            } else {
                ".config"
            })
        })
    };
    let windows = || absolute("APPDATA").filter(|_| cfg!(windows));
    absolute("XDG_CONFIG_HOME").or_else(windows).or_else(home)
}

/// The profiles of a file, each with its name.
pub(crate) fn read(path: &Path, named_by: &str) -> Result<Vec<(String, Settings)>> {
    if !path.is_file() {
        let message = format!(
            "the config file {} is not there; make it, or correct {named_by}",
            path.display()
        );
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let is_json = path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let file = if is_json {
        Figment::from(Json::file_exact(&path))
    } else {
        Figment::from(Toml::file_exact(&path))
    };
    let whole: Map<String, Value> = file
        .extract()
        .map_err(|error| invalid(&path, &without_values(&error.kind.to_string())))?;
    profiles(&path, whole)
}

fn profiles(path: &Path, whole: Map<String, Value>) -> Result<Vec<(String, Settings)>> {
    let mut profiles = Vec::new();
    for (table, value) in whole {
        if table != CONNECTIONS {
            return Err(invalid(path, &unknown_table(&table)));
        }
        let Value::Object(tables) = value else {
            return Err(invalid(
                path,
                "`connections` must hold tables: [connections.NAME]",
            ));
        };
        for (name, profile) in tables {
            let Value::Object(mut profile) = profile else {
                return Err(invalid(
                    path,
                    &format!("`connections.{name}` must be a table: [connections.{name}]"),
                ));
            };
            profile.values_mut().for_each(plain_datetimes);
            let origin = format!("{} ({CONNECTIONS}.{name})", path.display());
            profiles.push((name, Settings::from_map(profile, &origin)));
        }
    }
    Ok(profiles)
}

fn unknown_table(table: &str) -> String {
    let hint = nearest(table, [CONNECTIONS])
        .map(|known| format!("; did you mean `{known}`?"))
        .unwrap_or_else(|| ".".into());
    format!(
        "the top-level key `{table}` is unknown{hint} Known: {CONNECTIONS}, with a table [{CONNECTIONS}.NAME] for each connection"
    )
}

/// A TOML date arrives as an object of one private key; what is meant is its text.
fn plain_datetimes(value: &mut Value) {
    match value {
        Value::Object(map) => match map.get_mut(DATETIME) {
            Some(text) => *value = text.take(),
            None => map.values_mut().for_each(plain_datetimes),
        },
        Value::Array(items) => items.iter_mut().for_each(plain_datetimes),
        _ => {}
    }
}

fn invalid(path: &Path, why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidOption,
        format!("the config file {} is malformed: {why}", path.display()),
    )
}

/// A parser's message without what may be a value. TOML's quotes the line in a frame, between the place and the reason;
/// a value of the wrong type is named by serde in `invalid type: …`.
fn without_values(message: &str) -> String {
    let mut lines = message.trim().lines().map(str::trim);
    let place = lines.next().unwrap_or_default();
    if place.starts_with("TOML parse error at ") {
        let reason: Vec<&str> = lines
            .skip_while(|line| !is_marker(line))
            .skip(1)
            .filter(|line| !line.is_empty())
            .collect();
        let place = place.trim_start_matches("TOML parse error at ");
        return if reason.is_empty() {
            place.to_owned()
        } else {
            format!("{place}: {}", reason.join(", "))
        };
    }
    let (reason, position) = place.split_once(" at line ").unwrap_or((place, ""));
    let position = if position.is_empty() {
        String::new()
    } else {
        format!("line {}: ", position.replace(" column", ", column"))
    };
    let quotes = ["invalid type", "invalid value"]
        .iter()
        .any(|start| reason.starts_with(start));
    if quotes {
        format!("{position}it must be a table of keys and values")
    } else {
        format!("{position}{reason}")
    }
}

/// The frame's last line, `  |     ^^^`. The quoted line may look alike, but starts with its number.
fn is_marker(line: &str) -> bool {
    line.strip_prefix('|').is_some_and(|rest| {
        rest.trim_start().starts_with('^') && rest.trim().bytes().all(|byte| byte == b'^')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_place_and_reason_and_lose_the_line() {
        let toml = "TOML parse error at line 3, column 10\n  |\n3 | password = hunter2\n  |          ^^\ninvalid string\nexpected `\"`\n";
        assert_eq!(
            without_values(toml),
            "line 3, column 10: invalid string, expected `\"`"
        );
        assert_eq!(
            without_values("expected value at line 2 column 5"),
            "line 2, column 5: expected value"
        );
        let typed = "invalid type: string \"hunter2\", expected a map at line 1 column 9";
        assert_eq!(
            without_values(typed),
            "line 1, column 9: it must be a table of keys and values"
        );
    }
}
