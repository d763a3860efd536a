//! The connected loaders of a client: one for each set of connection keys, even if several connection names have the same keys,
//! so that loads share connections.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrowload_core::{Loader, LoaderDescriptor, Settings};
use serde_json::Value;
use tokio::sync::OnceCell;

/// What a connection is made with: equal for two names of one connection.
#[derive(Clone, PartialEq)]
pub(crate) struct ConnectionKeys {
    loader: &'static str,
    keys: BTreeMap<String, Value>,
}

impl ConnectionKeys {
    /// Of these settings, without where each came from. A key at its default is as good as none.
    pub(crate) fn of(descriptor: &LoaderDescriptor, config: &Settings) -> Self {
        let schema = descriptor.config_schema();
        let default = |key: &str| {
            let property = schema.as_value().get("properties")?.get(key)?;
            property.get("default").cloned()
        };
        let fitted = config
            .iter()
            .map(|(key, setting)| (key, schema.fit(key, &setting.value)));
        Self {
            loader: descriptor.name(),
            keys: fitted
                .filter(|(key, value)| default(key).as_ref() != Some(value))
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        }
    }
}

/// Connected loaders by the keys they were connected with.
#[derive(Default)]
pub(crate) struct ConnectedLoaders(Mutex<Vec<(ConnectionKeys, Arc<OnceCell<Loader>>)>>);

impl ConnectedLoaders {
    /// The place of the loader with these keys: the first that waits for it connects, and the others wait.
    pub(crate) fn place(&self, keys: &ConnectionKeys) -> Arc<OnceCell<Loader>> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, place)) = places.iter().find(|(known, _)| known == keys) {
            return Arc::clone(place);
        }
        let place = Arc::default();
        places.push((keys.clone(), Arc::clone(&place)));
        place
    }
}

/// Keys may be secret.
impl fmt::Debug for ConnectedLoaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_list()
            .entries(places.iter().map(|(keys, _)| keys.loader))
            .finish()
    }
}
