//! What connecting needs from a loader or a source alike, and how either is found in the registry.

use std::collections::BTreeSet;

use arrowload_core::{
    Error, ErrorKind, KeySchema, LoaderDescriptor, Registry, Result, SourceDescriptor, nearest,
    not_linked,
};
use serde_json::{Map, Value};

use crate::overlay::URL;

/// What is looked for: something to load into, or something to query.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Role {
    Loader,
    Source,
}

impl Role {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Loader => "loader",
            Self::Source => "source",
        }
    }

    pub(crate) fn by_name<'r>(self, registry: &'r Registry, name: &str) -> Result<Backend<'r>> {
        match self {
            Self::Loader => registry.loader(name).map(Backend::Loader),
            Self::Source => registry.source(name).map(Backend::Source),
        }
    }

    pub(crate) fn all(self, registry: &Registry) -> Vec<Backend<'_>> {
        match self {
            Self::Loader => registry.loaders().map(Backend::Loader).collect(),
            Self::Source => registry.sources().map(Backend::Source).collect(),
        }
    }

    pub(crate) fn by_scheme<'r>(self, registry: &'r Registry, scheme: &str) -> Result<Backend<'r>> {
        let takes = |backend: &Backend<'_>| backend.schemes().contains(&scheme);
        self.all(registry)
            .into_iter()
            .find(takes)
            .ok_or_else(|| self.unknown_scheme(registry, scheme))
    }

    fn unknown_scheme(self, registry: &Registry, scheme: &str) -> Error {
        let (kind, other, can, cannot) = match self {
            Self::Loader => (
                ErrorKind::LoaderNotFound,
                Self::Source,
                "queried",
                "loaded into",
            ),
            Self::Source => (
                ErrorKind::SourceNotFound,
                Self::Loader,
                "loaded into",
                "queried",
            ),
        };
        let takes = |backend: &Backend<'_>| backend.schemes().contains(&scheme);
        let twin = other.all(registry).into_iter().find(takes);
        let twin = twin
            .map(|twin| format!(" (`{}` can be {can}, not {cannot})", twin.name()))
            .unwrap_or_default();
        let schemes: BTreeSet<&str> = self
            .all(registry)
            .iter()
            .flat_map(|backend| backend.schemes().iter().copied())
            .collect();
        let near = nearest(scheme, schemes.iter().copied()).filter(|_| twin.is_empty());
        let hint = near.map(|near| format!("; did you mean {near}://?"));
        let message = format!(
            "no {} for URLs of {scheme}:// is linked in{twin}{}; those that are take {}",
            self.word(),
            hint.unwrap_or_default(),
            urls(schemes)
        );
        Error::new(kind, message).with_source(not_linked())
    }
}

/// A loader or a source.
#[derive(Clone, Copy)]
pub(crate) enum Backend<'r> {
    Loader(&'r LoaderDescriptor),
    Source(&'r SourceDescriptor),
}

impl Backend<'_> {
    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Loader(_) => Role::Loader,
            Self::Source(_) => Role::Source,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Loader(loader) => loader.name(),
            Self::Source(source) => source.name(),
        }
    }

    pub(crate) fn schemes(&self) -> &'static [&'static str] {
        match self {
            Self::Loader(loader) => loader.url_schemes(),
            Self::Source(source) => source.url_schemes(),
        }
    }

    /// The variables that its own tools read, and the keys they set.
    pub(crate) fn environment(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Loader(loader) => loader.environment(),
            Self::Source(source) => source.environment(),
        }
    }

    pub(crate) fn config_schema(&self) -> KeySchema {
        match self {
            Self::Loader(loader) => loader.config_schema(),
            Self::Source(source) => source.config_schema(),
        }
    }

    pub(crate) fn config_from_url(&self, url: &str) -> Result<Map<String, Value>> {
        match self {
            Self::Loader(loader) => loader.config_from_url(url),
            Self::Source(source) => source.config_from_url(url),
        }
    }

    /// The keys that say which server a connection goes to. No list of names is needed: they are the keys that differ
    /// between two URLs that differ only in host and port.
    pub(crate) fn server_keys(&self, owns_url: bool) -> BTreeSet<String> {
        let probe = |place: &str| {
            let scheme = self.schemes().first()?;
            self.config_from_url(&format!("{scheme}://user:password@{place}/name"))
                .ok()
        };
        let mut keys: BTreeSet<String> =
            match (probe("one.invalid:1001"), probe("two.invalid:1002")) {
                (Some(one), Some(two)) => one
                    .into_iter()
                    .filter(|(key, value)| two.get(key) != Some(value))
                    .map(|(key, _)| key)
                    .collect(),
                _ => ["host", "port"].map(str::to_owned).into(),
            };
        if owns_url {
            keys.insert(URL.into());
        }
        keys
    }
}

/// Schemes as they are in URLs, for an error message.
pub(crate) fn urls<'a>(schemes: impl IntoIterator<Item = &'a str>) -> String {
    let list: Vec<String> = schemes
        .into_iter()
        .map(|scheme| format!("{scheme}://"))
        .collect();
    if list.is_empty() {
        "none".into()
    } else {
        list.join(", ")
    }
}
