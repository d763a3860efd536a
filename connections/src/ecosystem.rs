//! The variables that each store's own tools read, such as `PGHOST` and `DATABASE_URL`. When they count is decided in
//! docs/adr/0003-environment-and-named-connections.md.

use arrowload_core::{Settings, url_scheme};
use serde_json::{Map, Value};

use crate::backend::Backend;
use crate::environment::Environment;
use crate::interpolate::escape;
use crate::overlay::{URL, overlay};

/// Those that set one key each. Of two for one key, the one that the loader lists first counts.
pub(crate) fn single_keys(backend: &Backend<'_>, environment: &Environment) -> Settings {
    let mut settings = Settings::new();
    // The last one laid wins, so they are laid from the last to the first.
    for (variable, key) in backend
        .environment()
        .iter()
        .rev()
        .filter(|(_, key)| *key != URL)
    {
        if let Some(value) = environment.non_empty(variable) {
            overlay(&mut settings, setting(variable, key, value));
        }
    }
    settings
}

/// The first that holds a whole URL of one of the backend's schemes. One of another scheme is for another program.
pub(crate) fn url(backend: &Backend<'_>, environment: &Environment) -> Option<Settings> {
    let urls = backend.environment().iter().filter(|(_, key)| *key == URL);
    let mut set =
        urls.filter_map(|(variable, key)| Some((variable, key, environment.non_empty(variable)?)));
    let ours = |url: &str| {
        url_scheme(url).is_some_and(|scheme| backend.schemes().contains(&scheme.as_str()))
    };
    set.find(|(_, _, value)| ours(value))
        .map(|(variable, key, value)| setting(variable, key, value))
}

/// Other programs read these variables too, and know no `${…}`: values are taken as they stand. A key such as
/// `storage_options.aws_region` is one inside an object.
fn setting(variable: &str, key: &str, value: &str) -> Settings {
    let mut path = key.split('.');
    let key = path.next().unwrap_or_default();
    let inward = |inner, key: &str| Value::Object(Map::from_iter([(key.to_owned(), inner)]));
    let value = path.rev().fold(Value::String(escape(value)), inward);
    let mut settings = Settings::new();
    settings.set(key, value, &format!("environment variable {variable}"));
    settings
}
