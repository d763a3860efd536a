//! `ARROWLOAD_CONNECTIONS__NAME__KEY=value`, and the variables that each ecosystem's own tools read.

use std::collections::{BTreeMap, HashMap};

use arrowload_core::{Error, ErrorKind, Result, Settings, url_scheme};
use serde_json::{Map, Value};

const PREFIX: &str = "ARROWLOAD_CONNECTIONS__";

/// The key that stands for a whole connection URL.
pub(crate) const URL: &str = "url";

/// The profiles that the environment names. Names and keys are in lower case; values stay text, as only a schema can tell
/// the number 7 from the password 007.
pub(crate) fn profiles(variables: &HashMap<String, String>) -> Result<BTreeMap<String, Settings>> {
    let sorted: BTreeMap<&String, &String> = variables.iter().collect();
    let mut profiles: BTreeMap<String, Settings> = BTreeMap::new();
    for (variable, value) in sorted {
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        let rest = rest.to_ascii_lowercase();
        let mut parts = rest.split("__");
        let (name, key) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let path: Vec<&str> = parts.collect();
        if name.is_empty() || key.is_empty() || path.iter().any(|part| part.is_empty()) {
            let message = format!("the environment variable {variable} names no key; write {PREFIX}NAME__KEY");
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let profile = profiles.entry(name.to_owned()).or_default();
        let known = profile.get(key).map(|setting| setting.value.clone());
        profile.set(key, nested(known, &path, value), &format!("environment variable {variable}"));
    }
    Ok(profiles)
}

/// A value below a path of keys, beside what is there already.
fn nested(known: Option<Value>, path: &[&str], value: &str) -> Value {
    let Some((key, rest)) = path.split_first() else { return value.into() };
    let mut map = match known {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let inner = map.remove(*key);
    map.insert((*key).to_owned(), nested(inner, rest, value));
    Value::Object(map)
}

/// What the ecosystem's own variables say: single keys first, then a URL of one of the schemes, whose parts are weaker.
pub(crate) fn ecosystem(
    variables: &HashMap<String, String>,
    known: &[(&str, &str)],
    schemes: &[&str],
    with_url: bool,
) -> Settings {
    let mut settings = Settings::new();
    for (variable, key) in known {
        let Some(value) = variables.get(*variable).filter(|value| !value.is_empty()) else { continue };
        if *key == URL && !(with_url && url_scheme(value).is_some_and(|scheme| schemes.contains(&scheme.as_str()))) {
            continue;
        }
        if settings.get(key).is_none() {
            settings.set(*key, value.as_str(), &format!("environment variable {variable}"));
        }
    }
    settings
}
