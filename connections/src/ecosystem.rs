//! The variables that each store's own tools read, such as `PGHOST` and `DATABASE_URL`. When they count is decided in
//! docs/adr/0003-environment-and-named-connections.md.

use arrowload_core::{Settings, url_scheme};
use serde_json::{Map, Value};

use crate::backend::Backend;
use crate::environment::Environment;
use crate::interpolate::{escape, percent_encode};
use crate::overlay::{URL, overlay};

/// What variables with a whole URL say about a connection.
pub(crate) enum Whole {
    /// Nothing.
    None,
    /// The URL of one of the backend's schemes, or another text that the backend may understand.
    Ours(Settings),
    /// Only URLs of other schemes: the first of these variables, and its scheme.
    Foreign(&'static str, String),
}

/// Those that set one key each. Of two for one key, the one that the loader lists first counts.
pub(crate) fn single_keys(backend: &Backend<'_>, environment: &Environment) -> Settings {
    let mut settings = Settings::new();
    // The last one that is set wins, so they are set from the last to the first.
    for (variable, key) in backend
        .environment()
        .iter()
        .rev()
        .filter(|(_, key)| opening(key).is_none())
    {
        if let Some(value) = environment.non_empty(variable) {
            overlay(&mut settings, setting(variable, key, value));
        }
    }
    settings
}

/// What a URL that such a variable holds begins with: nothing for one that holds the whole, and for `url=x://?name=` that.
fn opening(key: &str) -> Option<&str> {
    match key.strip_prefix(URL)? {
        "" => Some(""),
        behind => behind.strip_prefix('='),
    }
}

/// The first variable that holds a whole URL of one of the backend's schemes, or another text that the backend may understand. A
/// URL with another scheme is for another program.
pub(crate) fn whole(backend: &Backend<'_>, environment: &Environment) -> Whole {
    let mut foreign = None;
    for (variable, key) in backend.environment() {
        let (Some(opening), Some(value)) = (opening(key), environment.non_empty(variable)) else {
            continue;
        };
        let text = match opening {
            "" => unquoted(value).to_owned(),
            opening => format!("{opening}{}", percent_encode(value.trim())),
        };
        match url_scheme(&text) {
            _ if text.is_empty() => {}
            Some(scheme) if !backend.schemes().contains(&scheme.as_str()) => {
                foreign.get_or_insert((*variable, scheme));
            }
            _ => return Whole::Ours(setting(variable, URL, &text)),
        }
    }
    foreign.map_or(Whole::None, |(variable, scheme)| {
        Whole::Foreign(variable, scheme)
    })
}

/// A file of variables that no shell has read keeps its quotes.
fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let within = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(text).trim()
}

/// Other programs read these variables too, and know no `${…}`: values are taken as they are. A key such as
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
