//! Merges one layer over another: its keys override, and objects are merged key by key.

use arrowload_core::{Setting, Settings};
use serde_json::{Map, Value};

/// The key that names the loader or source of a connection.
pub(crate) const TYPE: &str = "type";

/// The key that stands for a whole connection URL.
pub(crate) const URL: &str = "url";

/// Lays stronger settings over weaker ones. `{a, b}` over `{b, c}` is all three, from both origins: so that
/// `…__STORAGE_OPTIONS__AWS_REGION` changes one storage option and leaves the others.
pub(crate) fn overlay(below: &mut Settings, above: Settings) {
    let mut joined = Settings::new();
    for (key, strong) in above.iter() {
        match (below.get(key), &strong.value) {
            (
                Some(
                    weak @ Setting {
                        value: Value::Object(map),
                        ..
                    },
                ),
                Value::Object(stronger),
            ) => {
                let origin = format!("{} and {}", weak.origin, strong.origin);
                put(
                    &mut joined,
                    key,
                    join(map, stronger),
                    &origin,
                    weak.hidden || strong.hidden,
                );
            }
            _ => put(
                &mut joined,
                key,
                strong.value.clone(),
                &strong.origin,
                strong.hidden,
            ),
        }
    }
    below.overlay(joined);
}

/// Sets a key, and keeps whether its value is hidden.
pub(crate) fn put(settings: &mut Settings, key: &str, value: Value, origin: &str, hidden: bool) {
    settings.set(key, value, origin);
    if hidden {
        settings.hide(key);
    }
}

fn join(below: &Map<String, Value>, above: &Map<String, Value>) -> Value {
    let mut joined = below.clone();
    for (key, value) in above {
        let value = match (joined.get(key), value) {
            (Some(Value::Object(weak)), Value::Object(strong)) => join(weak, strong),
            _ => value.clone(),
        };
        joined.insert(key.clone(), value);
    }
    Value::Object(joined)
}
