//! The config file: where it is found, and what stands in it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use arrowload_core::{Error, ErrorKind, Result, Settings, nearest};
use figment::Figment;
use figment::providers::{Format, Json, Toml};
use serde_json::{Map, Value};

const NAME: &str = "arrowload.toml";
const CONNECTIONS: &str = "connections";

/// The file that `ARROWLOAD_CONFIG` names, else the working directory's, else the user's.
pub(crate) fn discover(variables: &HashMap<String, String>) -> Option<PathBuf> {
    let named = |variable: &str| variables.get(variable).filter(|value| !value.is_empty());
    if let Some(path) = named("ARROWLOAD_CONFIG") {
        return Some(path.into());
    }
    let home = named("HOME").map(|home| {
        let folder = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".config" };
        Path::new(home).join(folder)
    });
    let user = named("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| named("APPDATA").map(PathBuf::from)).or(home);
    let found = [Some(PathBuf::from(NAME)), user.map(|folder| folder.join("arrowload").join(NAME))];
    found.into_iter().flatten().find(|path| path.is_file())
}

/// The profiles of a file.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, Settings>> {
    let shown = path.display();
    let fail = |why: String| Error::new(ErrorKind::InvalidOption, format!("the config file {shown}: {why}"));
    if !path.is_file() {
        let message = format!("the config file {shown} is not there; make it, or correct ARROWLOAD_CONFIG");
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    let is_json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let figment = if is_json { Figment::from(Json::file_exact(path)) } else { Figment::from(Toml::file_exact(path)) };
    let whole: Map<String, Value> = figment.extract().map_err(|error| fail(first_lines(&error.to_string())))?;
    let mut profiles = BTreeMap::new();
    for (key, value) in whole {
        if key != CONNECTIONS {
            let hint = nearest(&key, [CONNECTIONS]).map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
            return Err(fail(format!("the table `{key}` is unknown{hint} Profiles stand under [connections.NAME]")));
        }
        let Value::Object(tables) = value else { return Err(fail("`connections` holds tables: [connections.NAME]".into())) };
        for (name, profile) in tables {
            let Value::Object(profile) = profile else {
                return Err(fail(format!("`connections.{name}` must be a table of keys and values")));
            };
            let origin = format!("{shown} (connections.{name})");
            profiles.insert(name, Settings::from_map(profile, &origin));
        }
    }
    Ok(profiles)
}

/// A syntax error's place and reason, without the source line, which may hold a secret.
fn first_lines(message: &str) -> String {
    let kept = message.lines().filter(|line| !line.trim_start().starts_with(|first: char| first.is_ascii_digit() || first == '|'));
    kept.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ")
}
