//! All layers of connections, and the lookup of a connection in them.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arrowload_core::{
    ConnectionKey, Error, ErrorKind, KeySchema, LoaderDescriptor, Registry, Result, Secret,
    Settings, SourceDescriptor, url_scheme,
};
use serde_json::{Map, Value};

use crate::backend::{Backend, Role};
use crate::effective;
use crate::environment::Environment;
use crate::file::{self, FoundFile};
use crate::interpolate::in_text;
use crate::merge::Context;
use crate::overlay::{TYPE, URL};
use crate::profiles::{Profile, Profiles, fold};
use crate::{ConnectionSummary, ConnectionsBuilder};

const GIVEN_URL: &str = "the connection URL";

/// All layers of connections. Clones share them, and what is configured later.
#[derive(Clone)]
pub struct Connections(Arc<Inner>);

struct Inner {
    environment: Environment,
    profiles: RwLock<Profiles>,
}

impl Connections {
    pub(crate) fn new(environment: Environment, profiles: Profiles) -> Self {
        Self(Arc::new(Inner {
            environment,
            profiles: RwLock::new(profiles),
        }))
    }

    /// The config file that is found, and the process's environment, both as they are now.
    ///
    /// # Errors
    /// As for [`ConnectionsBuilder::build`].
    pub fn discover() -> Result<Self> {
        Self::builder().build()
    }

    /// Resolves the references in a text, with the environment of this process: `${env:NAME}`, `${env:NAME:-default}`,
    /// `${file:/path}`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if a variable is not set, or a file cannot be read. The text is not shown.
    pub fn resolve(text: &str) -> Result<Secret> {
        let replaced = in_text(text, &Environment::of_process()?);
        replaced
            .map(|replaced| Secret::new(replaced.value))
            .map_err(|why| Error::new(ErrorKind::InvalidOption, why))
    }

    /// The config files that are looked for, the strongest first. Only one of them counts.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the environment cannot be read.
    pub fn config_files() -> Result<Vec<FoundFile>> {
        Ok(file::all(&Environment::of_process()?))
    }

    /// Sets up layers other than those of the process.
    pub fn builder() -> ConnectionsBuilder {
        ConnectionsBuilder::default()
    }

    /// Sets the layer of the program for this name: it overrides the file and the environment, and replaces an earlier call for
    /// the same name. `config` holds connection keys, load defaults and loader options side by side.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if `config` is not an object, or the name is empty or looks like a URL.
    pub fn configure(&self, name: &str, loader_or_source: &str, config: Value) -> Result<()> {
        let origin = format!("configure_connection(\"{name}\")");
        self.configure_from(name, loader_or_source, config, &origin)?;
        self.profiles_mut().entry(name).hidden = false;
        Ok(())
    }

    /// The same for programs that know where the keys come from, such as a command line: errors say so, and the name is not added
    /// to lists of connections.
    ///
    /// # Errors
    /// As for [`configure`](Self::configure).
    pub fn configure_from(
        &self,
        name: &str,
        loader_or_source: &str,
        config: Value,
        origin: &str,
    ) -> Result<()> {
        if name.trim().is_empty() || url_scheme(name).is_some() {
            let message =
                "configure_connection: a connection's name must be neither empty nor a URL";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let mut settings = Settings::from_map(object(config, origin)?, origin);
        if settings
            .get(TYPE)
            .is_some_and(|kind| kind.value != loader_or_source)
        {
            let message = format!(
                "{origin}: the config's `type` contradicts `{loader_or_source}`; leave it out"
            );
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        settings.set(TYPE, loader_or_source, origin);
        let mut profiles = self.profiles_mut();
        let is_new = profiles.get(name).is_none();
        let profile = profiles.entry(name);
        profile.hidden |= is_new;
        profile.program = settings;
        Ok(())
    }

    /// The named connections, sorted by name, without values.
    pub fn list(&self) -> Vec<ConnectionSummary> {
        self.profiles().iter().map(Profile::summary).collect()
    }

    /// The settings of a load into `loader`: connection keys, load defaults and loader options side by side, each with its
    /// origin. `name` is a connection's, or a URL. Without one, or with the loader's own, it is the default connection: the
    /// profile that is named as the loader, and the variables that the store's own tools read. `inline` wins.
    ///
    /// # Errors
    /// [`ErrorKind::ConnectionNotFound`], with the nearest name and the list; [`ErrorKind::InvalidOption`] for a profile of
    /// another type, a URL that is not the loader's, or a reference to what is not there.
    pub fn for_loader(
        &self,
        loader: &LoaderDescriptor,
        name: Option<&str>,
        inline: Option<Value>,
    ) -> Result<Settings> {
        let inline = inline.map(|config| {
            Ok::<_, Error>(Settings::from_map(
                object(config, ".config(..)")?,
                ".config(..)",
            ))
        });
        self.settings(Backend::Loader(loader), name, inline.transpose()?)
    }

    /// As [`for_loader`](Self::for_loader), with inline settings that know where they come from, such as a program's flags.
    ///
    /// # Errors
    /// As for [`for_loader`](Self::for_loader).
    pub fn for_loader_with(
        &self,
        loader: &LoaderDescriptor,
        name: Option<&str>,
        inline: Settings,
    ) -> Result<Settings> {
        self.settings(
            Backend::Loader(loader),
            name,
            Some(inline).filter(|inline| !inline.is_empty()),
        )
    }

    /// The source that a URL, a connection's name, or a source's own name means, and its settings. A source's own name means
    /// its default connection.
    ///
    /// # Errors
    /// [`ErrorKind::SourceNotFound`] or [`ErrorKind::ConnectionNotFound`], with what there is; else as for
    /// [`for_loader`](Self::for_loader).
    pub fn for_source(
        &self,
        registry: &Registry,
        url_or_name: &str,
    ) -> Result<(SourceDescriptor, Settings)> {
        let source = match self.backend_of(Role::Source, registry, url_or_name)? {
            Backend::Source(source) => source,
            Backend::Loader(loader) => registry.source(loader.name())?,
        };
        Ok((
            *source,
            self.settings(Backend::Source(source), Some(url_or_name), None)?,
        ))
    }

    /// The loader that a URL, a connection's name, or a loader's own name means: by the profile's `type`, else by the
    /// scheme of the URL.
    ///
    /// # Errors
    /// [`ErrorKind::LoaderNotFound`] or [`ErrorKind::ConnectionNotFound`], with what there is.
    pub fn loader_of<'r>(
        &self,
        registry: &'r Registry,
        url_or_name: &str,
    ) -> Result<&'r LoaderDescriptor> {
        match self.backend_of(Role::Loader, registry, url_or_name)? {
            Backend::Loader(loader) => Ok(loader),
            Backend::Source(source) => registry.loader(source.name()),
        }
    }

    /// The effective settings, for people to read: each key with its value, unless that may be secret, and the layer it came
    /// from. Those that say where the connection leads come first, set or not.
    pub fn effective(&self, schema: &KeySchema, config: &Settings) -> Vec<ConnectionKey> {
        effective::keys(schema, config, self.environment())
    }

    fn settings(
        &self,
        backend: Backend<'_>,
        name: Option<&str>,
        inline: Option<Settings>,
    ) -> Result<Settings> {
        let context = |label| Context::new(backend, self.environment(), label);
        if let Some(url) = name.filter(|name| url_scheme(name).is_some()) {
            let mut given = Settings::new();
            given.set(URL, url, GIVEN_URL);
            return context(GIVEN_URL.into())
                .named([Some(given), inline].into_iter().flatten().collect());
        }
        match name.filter(|name| fold(name) != fold(backend.name())) {
            Some(name) => {
                let own = std::iter::once(backend.name());
                let Profile {
                    name,
                    file,
                    environment,
                    program,
                    ..
                } = self
                    .profile(name)
                    .ok_or_else(|| self.not_found(name, own))?;
                let layers = [file, environment, program]
                    .into_iter()
                    .chain(inline)
                    .collect();
                context(format!("connection `{name}`")).named(layers)
            }
            None => {
                let Profile {
                    file,
                    environment,
                    program,
                    ..
                } = self.profile(backend.name()).unwrap_or_default();
                let stronger = [environment, program].into_iter().chain(inline).collect();
                context(format!("the default connection of `{}`", backend.name()))
                    .default(file, stronger)
            }
        }
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.0.environment
    }

    pub(crate) fn profiles(&self) -> RwLockReadGuard<'_, Profiles> {
        self.0
            .profiles
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn profiles_mut(&self) -> RwLockWriteGuard<'_, Profiles> {
        self.0
            .profiles
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn profile(&self, name: &str) -> Option<Profile> {
        self.profiles().get(name).cloned()
    }
}

fn object(config: Value, origin: &str) -> Result<Map<String, Value>> {
    match config {
        Value::Object(map) => Ok(map),
        _ => Err(Error::new(
            ErrorKind::InvalidOption,
            format!("{origin}: the config must be an object of keys and values"),
        )),
    }
}

/// Names, types and origins; no values.
impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connections").field(&self.list()).finish()
    }
}
