//! Merges the layers of one connection: a URL is split into keys, and secrets stay with their server.
//!
//! The reasons are in docs/adr/0003-environment-and-named-connections.md.

use std::collections::BTreeSet;

use arrowload_core::{Error, ErrorKind, KeySchema, Result, Settings, looks_secret};
use serde_json::Value;

use crate::backend::{Backend, urls};
use crate::ecosystem::{self, Whole};
use crate::environment::Environment;
use crate::interpolate::in_value;
use crate::overlay::{URL, overlay, put};

/// The context in which a connection is merged.
pub(crate) struct Context<'a> {
    pub(crate) backend: Backend<'a>,
    pub(crate) environment: &'a Environment,
    /// How the connection is called in error messages.
    pub(crate) label: String,
    /// Whether `url` is a key of the backend's own, which is not taken apart.
    pub(crate) owns_url: bool,
    schema: KeySchema,
    server_keys: BTreeSet<String>,
}

/// One layer as it was found.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) settings: Settings,
    /// It is made from variables that were not written for this connection.
    pub(crate) ecosystem: bool,
}

impl From<Settings> for Layer {
    fn from(settings: Settings) -> Self {
        Self {
            settings,
            ecosystem: false,
        }
    }
}

/// Keys and values whose URL is taken apart, with the keys that the URL gave.
#[derive(Default)]
pub(crate) struct Expanded {
    pub(crate) settings: Settings,
    pub(crate) from_url: BTreeSet<String>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(backend: Backend<'a>, environment: &'a Environment, label: String) -> Self {
        let schema = backend.config_schema();
        let owns_url = schema.contains(URL);
        let server_keys = backend.server_keys(owns_url);
        Self {
            backend,
            environment,
            label,
            owns_url,
            schema,
            server_keys,
        }
    }

    /// Merges a named connection: the variables of the store's own tools fill keys that its layers do not set.
    pub(crate) fn named(&self, layers: Vec<Settings>) -> Result<Settings> {
        let settings = self
            .merge(layers.into_iter().map(Layer::from).collect())?
            .settings;
        let mut filled = self.not_in_url(
            ecosystem::single_keys(&self.backend, self.environment),
            &settings,
        );
        overlay(&mut filled, settings);
        self.resolve(&filled)
    }

    /// Merges the default connection: those variables are a layer that overrides the file, and is overridden by the
    /// others.
    pub(crate) fn default(&self, file: Settings, stronger: Vec<Settings>) -> Result<Settings> {
        let stronger: Vec<Layer> = stronger.into_iter().map(Layer::from).collect();
        let mut ours = ecosystem::single_keys(&self.backend, self.environment);
        match ecosystem::whole(&self.backend, self.environment) {
            Whole::Ours(url) => {
                if self.is_for_server_of(&url, &stronger)? {
                    ours = self.not_in_url(ours, &url);
                    ours.overlay(url);
                }
            }
            Whole::Foreign(variable, scheme) => {
                let layers = stronger.iter().map(|layer| &layer.settings);
                if !layers
                    .chain([&ours, &file])
                    .any(|layer| self.says_where(layer))
                {
                    return Err(self.foreign(variable, &scheme));
                }
                tracing::info!(
                    connection = self.label,
                    "{variable} holds a URL of {scheme}://, and is passed over"
                );
            }
            Whole::None => {}
        }
        let mut layers = vec![
            Layer::from(file),
            Layer {
                settings: ours,
                ecosystem: true,
            },
        ];
        layers.extend(stronger);
        self.resolve(&self.merge(layers)?.settings)
    }

    /// Merges layers, the weakest first. Only the strongest URL counts.
    fn merge(&self, layers: Vec<Layer>) -> Result<Expanded> {
        let mut merged = Expanded::default();
        let strongest_url = layers
            .iter()
            .rposition(|layer| layer.settings.get(URL).is_some());
        for (index, layer) in layers.into_iter().enumerate() {
            self.check_type(&layer.settings)?;
            let (ecosystem, has_url) = (layer.ecosystem, layer.settings.get(URL).is_some());
            let expanded = match self.expand(layer.clone()) {
                // A URL that is not used need not be valid. But without it, it is not known to which server its secrets
                // belong.
                Err(_) if strongest_url.is_some_and(|strongest| index < strongest) => {
                    self.without_url(layer.settings)
                }
                expanded => expanded?,
            };
            self.lay(&mut merged, expanded, has_url, ecosystem);
        }
        Ok(merged)
    }

    /// Lays one layer over the weaker ones. If a URL, or a variable that was not written for this connection, leads to
    /// another server, the secrets of the weaker layers are not sent there.
    fn lay(&self, merged: &mut Expanded, layer: Expanded, has_url: bool, ecosystem: bool) {
        if (has_url || ecosystem) && self.differ(&merged.settings, &layer.settings) {
            tracing::debug!(
                connection = self.label,
                "a stronger layer leads to another server: weaker layers' secrets are not used"
            );
            self.drop_secrets(&mut merged.settings);
            for key in &self.server_keys {
                merged.settings.remove(key);
            }
        }
        if has_url {
            for key in std::mem::take(&mut merged.from_url) {
                merged.settings.remove(&key);
            }
        }
        merged
            .from_url
            .retain(|key| layer.settings.get(key).is_none());
        merged.from_url.extend(layer.from_url);
        overlay(&mut merged.settings, layer.settings);
    }

    /// Whether a layer names the server, in a URL or by a key.
    fn says_where(&self, layer: &Settings) -> bool {
        let keys = self.server_keys.iter().map(String::as_str);
        keys.chain([URL]).any(|key| layer.get(key).is_some())
    }

    /// The error for a variable whose URL belongs to another kind of store, if nothing else names the server: a default
    /// would be a guess.
    fn foreign(&self, variable: &str, scheme: &str) -> Error {
        let name = self.backend.name();
        let takes = urls(self.backend.schemes().iter().copied());
        let message = format!(
            "{}: {variable} holds a URL of {scheme}://, which is not for {name} ({takes}), and nothing else says which server is meant: \
             name a URL or a connection, or set {variable} to one of {name}",
            self.label
        );
        Error::new(ErrorKind::InvalidOption, message).with("key", URL)
    }

    fn without_url(&self, mut settings: Settings) -> Expanded {
        settings.remove(URL);
        self.drop_secrets(&mut settings);
        Expanded {
            settings,
            ..Expanded::default()
        }
    }

    /// Whether a URL that was written for no connection goes where the stronger layers go, as far as they say.
    fn is_for_server_of(&self, url: &Settings, stronger: &[Layer]) -> Result<bool> {
        if stronger
            .iter()
            .any(|layer| layer.settings.get(URL).is_some())
        {
            return Ok(false);
        }
        let stronger = self.merge(stronger.to_vec())?.settings;
        // A backend that keeps URLs whole may not know how to take one apart.
        let parts = self.url_parts(url).or_else(|error| {
            if self.owns_url {
                Ok(Settings::new())
            } else {
                Err(error)
            }
        });
        Ok(!self.differ(&stronger, &parts?))
    }

    /// Whether both name a server, and not the same.
    fn differ(&self, one: &Settings, other: &Settings) -> bool {
        let text = |value: &Value| {
            let value = in_value(value, self.environment).ok()?.value;
            Some(
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_lowercase),
            )
        };
        let both = self
            .server_keys
            .iter()
            .filter_map(|key| Some((one.get(key)?, other.get(key)?)));
        both.into_iter().any(|(one, other)| {
            let (one, other) = (text(&one.value), text(&other.value));
            one.is_none() || one != other
        })
    }

    fn drop_secrets(&self, settings: &mut Settings) {
        for (key, setting) in settings.clone().iter() {
            let mut value = setting.value.clone();
            if self.schema.is_secret(key) || looks_secret(key) {
                settings.remove(key);
            } else if prune(&mut value) {
                put(settings, key, value, &setting.origin, setting.hidden);
            }
        }
    }

    /// The single variables without those that a whole `url` says already, where it is not taken apart.
    fn not_in_url(&self, mut single: Settings, settings: &Settings) -> Settings {
        if !self.owns_url || settings.get(URL).is_none() {
            return single;
        }
        let parts = self.url_parts(settings).unwrap_or_default();
        for key in parts
            .iter()
            .map(|(key, _)| key)
            .chain(self.server_keys.iter().map(String::as_str))
        {
            single.remove(key);
        }
        single
    }
}

/// Removes secrets from an object, at any depth; returns whether there were any.
fn prune(value: &mut Value) -> bool {
    let Value::Object(map) = value else {
        return false;
    };
    let before = map.len();
    map.retain(|key, _| !looks_secret(key));
    let mut pruned = map.len() < before;
    for inner in map.values_mut() {
        pruned |= prune(inner);
    }
    pruned
}
