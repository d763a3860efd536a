//! The registry of the loaders and sources that are linked in: their descriptors, found by name or URL scheme.

use std::collections::BTreeMap;
use std::fmt;

use arrow_schema::DataType;
use serde_json::{Map, Value};

use crate::erased::{Connecting, DynLoader, DynSource, connect_loader, connect_source};
use crate::settings::suggestion;
use crate::{
    Capabilities, DataLoader, DataSource, Error, ErrorKind, KeySchema, LoadOptions, Result,
    Settings, SplitSettings, TypeSupport,
};

/// What is known of a loader without connecting: constants and functions, no state.
#[derive(Clone, Copy)]
pub struct LoaderDescriptor {
    name: &'static str,
    package: &'static str,
    version: &'static str,
    url_schemes: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    capabilities: Capabilities,
    config_schema: fn() -> KeySchema,
    options_schema: fn() -> KeySchema,
    check_config: fn(&Settings) -> Result<()>,
    check_options: fn(&Settings) -> Result<()>,
    supports_type: fn(&DataType) -> TypeSupport,
    config_from_url: fn(&str) -> Result<Map<String, Value>>,
    pub(crate) connect: fn(Settings) -> Connecting<dyn DynLoader>,
}

impl LoaderDescriptor {
    /// Describes a loader of this package.
    pub const fn of<L: DataLoader>(package: &'static str, version: &'static str) -> Self {
        Self {
            name: L::NAME,
            package,
            version,
            url_schemes: L::URL_SCHEMES,
            environment: L::ENVIRONMENT,
            capabilities: L::CAPABILITIES,
            config_schema: KeySchema::of::<L::Config>,
            options_schema: KeySchema::of::<L::Options>,
            check_config: |settings| settings.parse::<L::Config>(L::NAME).map(drop),
            check_options: |settings| settings.parse::<L::Options>(L::NAME).map(drop),
            supports_type: L::supports_type,
            config_from_url: L::config_from_url,
            connect: connect_loader::<L>,
        }
    }

    /// The name in `.load("name", …)`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The package that registered it.
    pub fn package(&self) -> &'static str {
        self.package
    }

    /// The version of that package.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// URL schemes that mean this loader.
    pub fn url_schemes(&self) -> &'static [&'static str] {
        self.url_schemes
    }

    /// Environment variables that the store's own tools read, and the keys they set.
    pub fn environment(&self) -> &'static [(&'static str, &'static str)] {
        self.environment
    }

    /// What it can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The keys to connect with.
    pub fn config_schema(&self) -> KeySchema {
        (self.config_schema)()
    }

    /// The loader's own options.
    pub fn options_schema(&self) -> KeySchema {
        (self.options_schema)()
    }

    /// How a column of this type arrives.
    pub fn supports_type(&self, data_type: &DataType) -> TypeSupport {
        (self.supports_type)(data_type)
    }

    /// Turns a URL into connection keys.
    ///
    /// # Errors
    /// If the URL is malformed.
    pub fn config_from_url(&self, url: &str) -> Result<Map<String, Value>> {
        (self.config_from_url)(url)
    }

    /// Sorts a profile's keys into connection, load and loader options, and checks that each parses.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a key that nobody knows, or a value that does not fit.
    pub fn split(&self, settings: Settings) -> Result<(SplitSettings, LoadOptions)> {
        let split = crate::options::split(
            self.name,
            settings,
            &self.config_schema(),
            &self.options_schema(),
        )?;
        (self.check_config)(&split.config)?;
        (self.check_options)(&split.options)?;
        let load = split.load.parse::<LoadOptions>(self.name)?;
        Ok((split, load))
    }
}

/// What is known of a source without connecting.
#[derive(Clone, Copy)]
pub struct SourceDescriptor {
    name: &'static str,
    package: &'static str,
    version: &'static str,
    url_schemes: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    finds_types: bool,
    config_schema: fn() -> KeySchema,
    check_config: fn(&Settings) -> Result<()>,
    config_from_url: fn(&str) -> Result<Map<String, Value>>,
    pub(crate) connect: fn(Settings) -> Connecting<dyn DynSource>,
}

impl SourceDescriptor {
    /// Describes a source of this package.
    pub const fn of<S: DataSource>(package: &'static str, version: &'static str) -> Self {
        Self {
            name: S::NAME,
            package,
            version,
            url_schemes: S::URL_SCHEMES,
            environment: S::ENVIRONMENT,
            finds_types: S::FINDS_TYPES,
            config_schema: KeySchema::of::<S::Config>,
            check_config: |settings| settings.parse::<S::Config>(S::NAME).map(drop),
            config_from_url: S::config_from_url,
            connect: connect_source::<S>,
        }
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The package that registered it.
    pub fn package(&self) -> &'static str {
        self.package
    }

    /// The version of that package.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// URL schemes that mean this source.
    pub fn url_schemes(&self) -> &'static [&'static str] {
        self.url_schemes
    }

    /// Environment variables that the engine's own tools read, and the keys they set.
    pub fn environment(&self) -> &'static [(&'static str, &'static str)] {
        self.environment
    }

    /// Whether it uses the types of a target's columns.
    pub fn finds_types(&self) -> bool {
        self.finds_types
    }

    /// The keys to connect with.
    pub fn config_schema(&self) -> KeySchema {
        (self.config_schema)()
    }

    /// Turns a URL into connection keys.
    ///
    /// # Errors
    /// If the URL is malformed.
    pub fn config_from_url(&self, url: &str) -> Result<Map<String, Value>> {
        (self.config_from_url)(url)
    }

    /// The connection keys of a profile. Load defaults, and the options of the loader of the same name, may be beside them, and do
    /// not concern a source.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a key that nobody knows, or a value that does not fit.
    pub fn split(&self, settings: Settings, loader: Option<&LoaderDescriptor>) -> Result<Settings> {
        let options = loader.map_or_else(KeySchema::of::<()>, LoaderDescriptor::options_schema);
        let config =
            crate::options::split(self.name, settings, &self.config_schema(), &options)?.config;
        (self.check_config)(&config)?;
        Ok(config)
    }
}

impl fmt::Debug for LoaderDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "loader {} of {} {}",
            self.name, self.package, self.version
        )
    }
}

impl fmt::Debug for SourceDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "source {} of {} {}",
            self.name, self.package, self.version
        )
    }
}

inventory::collect!(LoaderDescriptor);
inventory::collect!(SourceDescriptor);

/// Loaders and sources by name and by URL scheme.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    loaders: BTreeMap<&'static str, LoaderDescriptor>,
    sources: BTreeMap<&'static str, SourceDescriptor>,
}

impl Registry {
    /// Everything that is linked into this program.
    ///
    /// A crate that is listed as a dependency but never named is dropped by the linker, and so is not registered: name it
    /// with `use the_loader as _;`.
    ///
    /// # Errors
    /// [`ErrorKind::Registry`] if two packages claim one name or URL scheme.
    pub fn linked() -> Result<Self> {
        let mut registry = Self::default();
        for descriptor in inventory::iter::<LoaderDescriptor> {
            registry = registry.with_loader(*descriptor)?;
        }
        for descriptor in inventory::iter::<SourceDescriptor> {
            registry = registry.with_source(*descriptor)?;
        }
        Ok(registry)
    }

    /// Nothing: for tests, and for static libraries, where the linker drops registrations.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds a loader.
    ///
    /// # Errors
    /// [`ErrorKind::Registry`] if its name or one of its URL schemes is taken.
    pub fn with_loader(mut self, new: LoaderDescriptor) -> Result<Self> {
        let others = self
            .loaders
            .values()
            .map(|known| (known.name, known.package, known.url_schemes));
        refuse_twins("loader", (new.name, new.package, new.url_schemes), others)?;
        self.loaders.insert(new.name, new);
        Ok(self)
    }

    /// Adds a source.
    ///
    /// # Errors
    /// [`ErrorKind::Registry`] if its name or one of its URL schemes is taken.
    pub fn with_source(mut self, new: SourceDescriptor) -> Result<Self> {
        let others = self
            .sources
            .values()
            .map(|known| (known.name, known.package, known.url_schemes));
        refuse_twins("source", (new.name, new.package, new.url_schemes), others)?;
        self.sources.insert(new.name, new);
        Ok(self)
    }

    /// All loaders, sorted by name.
    pub fn loaders(&self) -> impl Iterator<Item = &LoaderDescriptor> {
        self.loaders.values()
    }

    /// All sources, sorted by name.
    pub fn sources(&self) -> impl Iterator<Item = &SourceDescriptor> {
        self.sources.values()
    }

    /// The loader of this name.
    ///
    /// # Errors
    /// [`ErrorKind::LoaderNotFound`], with the nearest name and the list.
    pub fn loader(&self, name: &str) -> Result<&LoaderDescriptor> {
        let missing = || {
            not_found(
                ErrorKind::LoaderNotFound,
                "loader",
                name,
                self.loaders.keys().copied(),
            )
        };
        self.loaders.get(name).ok_or_else(missing)
    }

    /// The source of this name.
    ///
    /// # Errors
    /// [`ErrorKind::SourceNotFound`], with the nearest name and the list.
    pub fn source(&self, name: &str) -> Result<&SourceDescriptor> {
        let missing = || {
            not_found(
                ErrorKind::SourceNotFound,
                "source",
                name,
                self.sources.keys().copied(),
            )
        };
        self.sources.get(name).ok_or_else(missing)
    }

    /// The loader that a URL scheme means.
    pub fn loader_for_scheme(&self, scheme: &str) -> Option<&LoaderDescriptor> {
        self.loaders
            .values()
            .find(|known| known.url_schemes.contains(&scheme))
    }

    /// The source that a URL scheme means.
    pub fn source_for_scheme(&self, scheme: &str) -> Option<&SourceDescriptor> {
        self.sources
            .values()
            .find(|known| known.url_schemes.contains(&scheme))
    }
}

type Claim = (&'static str, &'static str, &'static [&'static str]);

fn refuse_twins(role: &str, new: Claim, others: impl Iterator<Item = Claim>) -> Result<()> {
    let (name, package, schemes) = new;
    if !is_snake_case(name) {
        return Err(Error::new(
            ErrorKind::Registry,
            format!("the {role} name `{name}` of {package} is not snake_case"),
        ));
    }
    for (other, other_package, other_schemes) in others {
        if name == other {
            let message = format!(
                "two packages register the {role} `{name}`: {other_package} and {package}; depend on one of them"
            );
            return Err(Error::new(ErrorKind::Registry, message));
        }
        if let Some(scheme) = schemes.iter().find(|scheme| other_schemes.contains(scheme)) {
            let message = format!(
                "two {role}s claim URLs of `{scheme}://`: `{other}` of {other_package} and `{name}` of {package}"
            );
            return Err(Error::new(ErrorKind::Registry, message));
        }
    }
    Ok(())
}

fn not_found<'a>(
    kind: ErrorKind,
    role: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Error {
    let list: Vec<&str> = known.clone().collect();
    let hint = suggestion(name, known);
    let full_stop = if hint.is_empty() { "." } else { "" };
    let linked = if list.is_empty() {
        "none".to_owned()
    } else {
        list.join(", ")
    };
    let message = format!("no {role} `{name}` is linked in{hint}{full_stop} Linked in: {linked}");
    Error::new(kind, message).with_source(not_linked())
}

/// Advice for programmers, as the cause of an error, because users of a program do not need it.
pub fn not_linked() -> Error {
    let message = "a program has what it links in: switch on the cargo feature, or name the crate with `use … as _;`";
    Error::new(ErrorKind::Unsupported, message)
}

/// Whether a name is `snake_case`: a letter, then letters, digits and single underscores.
pub const fn is_snake_case(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || !bytes[0].is_ascii_lowercase() || bytes[bytes.len() - 1] == b'_' {
        return false;
    }
    let mut index = 1;
    while index < bytes.len() {
        let well_formed = match bytes[index] {
            b'a'..=b'z' | b'0'..=b'9' => true,
            b'_' => bytes[index - 1] != b'_',
            _ => false,
        };
        if !well_formed {
            return false;
        }
        index += 1;
    }
    true
}

/// Registers a [`DataLoader`] with every program that links this crate: `register_loader!(PostgresLoader);`.
///
/// A name that is not `snake_case` does not compile. A program that depends on the crate names it once, with
/// `use the_crate as _;`, so that the linker keeps it.
#[macro_export]
macro_rules! register_loader {
    ($loader:ty) => {
        const _: () = assert!(
            $crate::is_snake_case(<$loader as $crate::DataLoader>::NAME),
            "DataLoader::NAME must be snake_case: a lower-case letter, then letters, digits and single underscores"
        );
        $crate::__private::inventory::submit! {
            $crate::LoaderDescriptor::of::<$loader>(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        }
    };
}

/// Registers a [`DataSource`] with every program that links this crate: `register_source!(PostgresSource);`.
#[macro_export]
macro_rules! register_source {
    ($source:ty) => {
        const _: () = assert!(
            $crate::is_snake_case(<$source as $crate::DataSource>::NAME),
            "DataSource::NAME must be snake_case: a lower-case letter, then letters, digits and single underscores"
        );
        $crate::__private::inventory::submit! {
            $crate::SourceDescriptor::of::<$source>(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        }
    };
}
