//! Resolves the special values of one layer: its `type`, its `url`, and references.

use arrowload_core::{Error, ErrorKind, Result, Setting, Settings, url_scheme};
use serde_json::{Map, Value};

use crate::backend::urls;
use crate::interpolate::{escape, in_url, in_value};
use crate::merge::{Context, Expanded, Layer};
use crate::overlay::{TYPE, URL, overlay, put};

impl Context<'_> {
    /// Splits the layer's URL into keys. Keys in the same layer override those of the URL. But if the layer consists
    /// of the store's own variables, the URL overrides single variables, as with libpq and sqlx.
    pub(crate) fn expand(&self, layer: Layer) -> Result<Expanded> {
        let Layer {
            mut settings,
            ecosystem,
        } = layer;
        if self.owns_url || settings.get(URL).is_none() {
            return Ok(Expanded {
                settings,
                ..Expanded::default()
            });
        }
        let parts = self.url_parts(&settings)?;
        settings.remove(URL);
        let counts = |key: &str| ecosystem || settings.get(key).is_none();
        let from_url = parts
            .iter()
            .map(|(key, _)| key.to_owned())
            .filter(|key| counts(key))
            .collect();
        let (mut weak, strong) = if ecosystem {
            (settings, parts)
        } else {
            (parts, settings)
        };
        overlay(&mut weak, strong);
        Ok(Expanded {
            settings: weak,
            from_url,
        })
    }

    /// The keys that a layer's `url` stands for, from its origin; nothing if there is none.
    pub(crate) fn url_parts(&self, layer: &Settings) -> Result<Settings> {
        let Some(Setting {
            value,
            origin,
            hidden,
            ..
        }) = layer.get(URL)
        else {
            return Ok(Settings::new());
        };
        let invalid = |why: String| self.invalid(URL, origin, &why);
        let text = value
            .as_str()
            .ok_or_else(|| invalid("it must be text".into()))?;
        let url = in_url(text, self.environment).map_err(invalid)?;
        let (role, name, schemes) = (
            self.backend.role().word(),
            self.backend.name(),
            self.backend.schemes(),
        );
        let scheme = url_scheme(&url.value);
        // Some stores have connection strings of `key=value` beside URLs.
        if scheme.is_none() && !url.value.contains('=') {
            return Err(invalid(
                "it is no URL, as it does not begin with `scheme://`".into(),
            ));
        }
        if let Some(scheme) = scheme.filter(|scheme| !schemes.contains(&scheme.as_str())) {
            let takes = urls(schemes.iter().copied());
            return Err(invalid(format!(
                "URLs of {scheme}:// are not for the {role} `{name}`, which takes {takes}"
            )));
        }
        let parts = self.backend.config_from_url(&url.value);
        let parts = parts.map_err(|error| {
            Error::new(error.kind(), invalid(error.message().to_owned()).message())
        })?;
        let mut settings = Settings::new();
        for (key, value) in parts {
            put(
                &mut settings,
                &key,
                escaped(value),
                origin,
                *hidden || url.referred,
            );
        }
        Ok(settings)
    }

    /// Refuses a layer that says it is for another loader or source.
    pub(crate) fn check_type(&self, layer: &Settings) -> Result<()> {
        let Some(Setting { value, origin, .. }) = layer.get(TYPE) else {
            return Ok(());
        };
        let resolved = in_value(value, self.environment)
            .map_err(|problem| self.invalid(TYPE, origin, &problem.why))?;
        let (role, name) = (self.backend.role().word(), self.backend.name());
        match resolved.value.as_str() {
            Some(kind) if kind == name => Ok(()),
            Some(kind) => {
                let kind = if resolved.referred {
                    "another one".to_owned()
                } else {
                    format!("`{kind}`")
                };
                Err(self.invalid(
                    TYPE,
                    origin,
                    &format!(
                        "it is {kind}, and the {role} is `{name}`; name a connection of that type"
                    ),
                ))
            }
            None => Err(self.invalid(
                TYPE,
                origin,
                "it must be text: the name of a loader or source",
            )),
        }
    }

    /// The settings after all layers are merged: without `type`, and with all references resolved.
    pub(crate) fn resolve(&self, merged: &Settings) -> Result<Settings> {
        let mut resolved = Settings::new();
        for (key, setting) in merged.iter().filter(|(key, _)| *key != TYPE) {
            let wrong =
                |path: &str, why: &str| self.invalid(&format!("{key}{path}"), &setting.origin, why);
            let replaced = match &setting.value {
                Value::String(url) if key == URL => {
                    let url = in_url(url, self.environment).map_err(|why| wrong("", &why))?;
                    (Value::String(url.value), url.referred)
                }
                value => {
                    let value = in_value(value, self.environment)
                        .map_err(|problem| wrong(&problem.path, &problem.why))?;
                    (value.value, value.referred)
                }
            };
            put(
                &mut resolved,
                key,
                replaced.0,
                &setting.origin,
                setting.hidden || replaced.1,
            );
        }
        Ok(resolved)
    }

    fn invalid(&self, key: &str, origin: &str, why: &str) -> Error {
        let message = format!("{}: `{key}` (from {origin}): {why}", self.label);
        Error::new(ErrorKind::InvalidOption, message).with("key", key)
    }
}

/// A URL's parts mean what they say: a password may hold `${`.
fn escaped(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(escape(&text)),
        Value::Array(items) => items.into_iter().map(escaped).collect(),
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| (key, escaped(value)))
                .collect::<Map<_, _>>(),
        ),
        other => other,
    }
}
