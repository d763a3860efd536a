//! From a name or URL to the keys of one connection.

use arrowload_core::{
    Error, ErrorKind, KeySchema, LoaderDescriptor, Registry, Result, Setting, Settings, SourceDescriptor, nearest, url_scheme,
};
use serde_json::{Map, Value};

use crate::Connections;
use crate::environment::{URL, ecosystem};
use crate::interpolate::interpolate;
use crate::layers::TYPE;

/// What connecting needs to know of a loader or source: the two roles' common part.
struct Backend<'a> {
    role: &'static str,
    name: &'static str,
    schemes: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    config: KeySchema,
    config_from_url: &'a dyn Fn(&str) -> Result<Map<String, Value>>,
}

impl Connections {
    /// The settings of a load: connection keys, load defaults and loader options side by side, each with its origin.
    /// Without a name, the profile that is named as the loader, and the environment, serve.
    ///
    /// # Errors
    /// [`ErrorKind::ConnectionNotFound`], or [`ErrorKind::InvalidOption`] for a profile of another type or a value that
    /// cannot be resolved.
    pub fn for_loader(&self, loader: &LoaderDescriptor, name: Option<&str>, inline: Option<Value>) -> Result<Settings> {
        let from_url = |url: &str| loader.config_from_url(url);
        let backend = Backend {
            role: "loader",
            name: loader.name(),
            schemes: loader.url_schemes(),
            environment: loader.environment(),
            config: loader.config_schema(),
            config_from_url: &from_url,
        };
        let mut settings = self.settings(&backend, name)?;
        match inline {
            None => {}
            Some(Value::Object(map)) => settings.overlay(self.expand(&backend, Settings::from_map(map, ".config(..)"))?),
            Some(_) => return Err(Error::new(ErrorKind::InvalidOption, ".config(..) must be an object of keys and values")),
        }
        Ok(settings)
    }

    /// The source that a URL, a connection's name, or a source's own name means, and its settings.
    ///
    /// # Errors
    /// [`ErrorKind::SourceNotFound`], [`ErrorKind::ConnectionNotFound`] or [`ErrorKind::InvalidOption`].
    pub fn for_source(&self, registry: &Registry, url_or_name: &str) -> Result<(SourceDescriptor, Settings)> {
        let (source, url) = match url_scheme(url_or_name) {
            Some(scheme) => (*registry.source_for_scheme(&scheme).ok_or_else(|| unknown_scheme("source", &scheme, source_schemes(registry)))?, true),
            None => (*self.source_of(registry, url_or_name)?, false),
        };
        let from_url = |url: &str| source.config_from_url(url);
        let backend = Backend {
            role: "source",
            name: source.name(),
            schemes: source.url_schemes(),
            environment: source.environment(),
            config: source.config_schema(),
            config_from_url: &from_url,
        };
        if !url {
            return Ok((source, self.settings(&backend, Some(url_or_name))?));
        }
        let mut given = Settings::new();
        given.set(URL, url_or_name, "the URL");
        let mut settings = self.expand(&backend, given)?;
        settings.underlay(ecosystem(self.variables(), backend.environment, backend.schemes, false));
        Ok((source, settings))
    }

    /// The loader that a connection's name or a URL means.
    ///
    /// # Errors
    /// [`ErrorKind::LoaderNotFound`] or [`ErrorKind::ConnectionNotFound`].
    pub fn loader_of<'r>(&self, registry: &'r Registry, url_or_name: &str) -> Result<&'r LoaderDescriptor> {
        if let Some(scheme) = url_scheme(url_or_name) {
            return registry.loader_for_scheme(&scheme).ok_or_else(|| unknown_scheme("loader", &scheme, loader_schemes(registry)));
        }
        let Some(profile) = self.profile(url_or_name) else { return registry.loader(url_or_name) };
        match (text(&profile, TYPE), self.url_scheme_of(&profile)?) {
            (Some(kind), _) => registry.loader(&kind),
            (None, Some(scheme)) => {
                registry.loader_for_scheme(&scheme).ok_or_else(|| unknown_scheme("loader", &scheme, loader_schemes(registry)))
            }
            (None, None) => Err(typeless(url_or_name)),
        }
    }

    fn source_of<'r>(&self, registry: &'r Registry, name: &str) -> Result<&'r SourceDescriptor> {
        let Some(profile) = self.profile(name) else {
            let own = registry.sources().map(SourceDescriptor::name);
            return registry.source(name).map_err(|_| self.not_found(name, own));
        };
        match (text(&profile, TYPE), self.url_scheme_of(&profile)?) {
            (Some(kind), _) => registry.source(&kind),
            (None, Some(scheme)) => {
                registry.source_for_scheme(&scheme).ok_or_else(|| unknown_scheme("source", &scheme, source_schemes(registry)))
            }
            (None, None) => registry.source(name).map_err(|_| typeless(name)),
        }
    }

    fn url_scheme_of(&self, profile: &Settings) -> Result<Option<String>> {
        let profile = interpolate(profile, self.variables())?;
        Ok(text(&profile, URL).and_then(|url| url_scheme(&url)))
    }

    /// All layers of a connection but the inline one.
    fn settings(&self, backend: &Backend<'_>, name: Option<&str>) -> Result<Settings> {
        let is_default = name.is_none_or(|name| name == backend.name);
        if is_default {
            let (below, above) = self.default_profile(backend.name);
            let mut settings = self.expand(backend, below)?;
            settings.overlay(self.expand(backend, ecosystem(self.variables(), backend.environment, backend.schemes, true))?);
            settings.overlay(self.expand(backend, above)?);
            return Ok(settings);
        }
        let name = name.unwrap_or_default();
        let profile = self.profile(name).ok_or_else(|| self.not_found(name, std::iter::once(backend.name)))?;
        let mut settings = self.expand(backend, profile)?;
        settings.underlay(ecosystem(self.variables(), backend.environment, backend.schemes, false));
        Ok(settings)
    }

    /// Resolves references, checks and drops `type`, and takes a `url` apart: keys beside it win.
    fn expand(&self, backend: &Backend<'_>, settings: Settings) -> Result<Settings> {
        let mut settings = interpolate(&settings, self.variables())?;
        if let Some(kind) = settings.remove(TYPE)
            && kind.value.as_str() != Some(backend.name)
        {
            let kind_name = kind.value.as_str().unwrap_or("something else");
            let message = format!("the connection is of type {kind_name} (from {}), and the {} is {}", kind.origin, backend.role, backend.name);
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        if backend.config.contains(URL) {
            return Ok(settings);
        }
        if let Some(Setting { value, origin, .. }) = settings.remove(URL) {
            let at = |error: Error| error.with("from", &origin);
            settings.underlay(Settings::from_map(self.take_apart(backend, &value).map_err(at)?, &origin));
        }
        Ok(settings)
    }

    fn take_apart(&self, backend: &Backend<'_>, url: &Value) -> Result<Map<String, Value>> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidOption, message);
        let url = url.as_str().ok_or_else(|| invalid("`url` must be text".into()))?;
        let scheme = url_scheme(url).ok_or_else(|| invalid("`url` is no URL: it has no scheme, such as in `scheme://host`".into()))?;
        if !backend.schemes.contains(&scheme.as_str()) {
            let message = format!("URLs of {scheme}:// are not for the {} {}, which takes {}", backend.role, backend.name, list(backend.schemes));
            return Err(invalid(message));
        }
        (backend.config_from_url)(url)
    }

    fn not_found<'a>(&self, name: &str, own: impl Iterator<Item = &'a str>) -> Error {
        let mut names: Vec<String> = self.names().into_iter().collect();
        names.extend(own.map(str::to_owned));
        names.sort();
        names.dedup();
        let hint = nearest(name, names.iter().map(String::as_str)).map(|known| format!("; did you mean `{known}`?")).unwrap_or_else(|| ".".into());
        let message = format!(
            "no connection is named `{name}`{hint} Known: {}. Name it in arrowload.toml ([connections.{name}]), in the environment (ARROWLOAD_CONNECTIONS__{}__…), or with configure_connection",
            names.join(", "),
            name.to_uppercase()
        );
        Error::new(ErrorKind::ConnectionNotFound, message)
    }
}

fn text(settings: &Settings, key: &str) -> Option<String> {
    Some(settings.get(key)?.value.as_str()?.to_owned())
}

fn typeless(name: &str) -> Error {
    Error::new(ErrorKind::InvalidOption, format!("the connection `{name}` has neither `type` nor `url`; set type = \"…\""))
}

fn list(schemes: &[&str]) -> String {
    if schemes.is_empty() { "none".into() } else { schemes.iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(", ") }
}

fn source_schemes(registry: &Registry) -> Vec<&'static str> {
    registry.sources().flat_map(|source| source.url_schemes()).copied().collect()
}

fn loader_schemes(registry: &Registry) -> Vec<&'static str> {
    registry.loaders().flat_map(|loader| loader.url_schemes()).copied().collect()
}

fn unknown_scheme(role: &str, scheme: &str, known: Vec<&'static str>) -> Error {
    let kind = if role == "source" { ErrorKind::SourceNotFound } else { ErrorKind::LoaderNotFound };
    let message = format!(
        "no {role} for {scheme}:// is linked in; those that are take {}. Switch on its cargo feature, or name its crate with `use … as _;`",
        list(&known)
    );
    Error::new(kind, message)
}
