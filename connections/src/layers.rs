//! The layers of named connections, weakest first: the config file, the environment, the program.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrowload_core::{Error, ErrorKind, Result, Settings};
use serde_json::Value;

use crate::{environment, file};

/// The key of a profile that names its loader or source.
pub(crate) const TYPE: &str = "type";

/// Profiles by name, each with the layer that every value came from.
type Profiles = BTreeMap<String, Settings>;

/// All layers of connections. Clones share what is configured.
#[derive(Clone)]
pub struct Connections(Arc<Layers>);

struct Layers {
    file: Profiles,
    environment: Profiles,
    program: Mutex<Profiles>,
    pub(crate) variables: HashMap<String, String>,
}

/// A named connection, without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionSummary {
    /// Its name.
    pub name: String,
    /// Its `type`, if it says one.
    pub kind: Option<String>,
    /// The layers that it is made of, weakest first.
    pub origins: Vec<String>,
}

impl Connections {
    /// The config file that is found, and the process's environment.
    ///
    /// # Errors
    /// If the file is malformed, or `ARROWLOAD_CONFIG` names one that is missing.
    pub fn discover() -> Result<Self> {
        Self::builder().build()
    }

    /// Sets up layers other than those of the process.
    pub fn builder() -> ConnectionsBuilder {
        ConnectionsBuilder::default()
    }

    /// Sets or changes a connection, over what files and the environment say.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if `config` is no object.
    pub fn configure(&self, name: &str, loader_or_source: &str, config: Value) -> Result<()> {
        let origin = format!("configure_connection(\"{name}\")");
        let Value::Object(map) = config else {
            return Err(Error::new(ErrorKind::InvalidOption, format!("{origin}: the config must be an object of keys and values")));
        };
        let mut settings = Settings::from_map(map, &origin);
        settings.set(TYPE, loader_or_source, &origin);
        self.program().entry(name.to_owned()).or_default().overlay(settings);
        Ok(())
    }

    /// The named connections, sorted, without values.
    pub fn list(&self) -> Vec<ConnectionSummary> {
        let summary = |name: String| {
            let profile = self.profile(&name).unwrap_or_default();
            let kind = profile.get(TYPE).and_then(|setting| setting.value.as_str()).map(str::to_owned);
            let origins: BTreeSet<String> = profile.iter().map(|(_, setting)| setting.origin.to_string()).collect();
            ConnectionSummary { name, kind, origins: origins.into_iter().collect() }
        };
        self.names().into_iter().map(summary).collect()
    }

    pub(crate) fn names(&self) -> BTreeSet<String> {
        let program = self.program();
        let mut names: BTreeSet<String> = self.0.file.keys().chain(program.keys()).cloned().collect();
        for name in self.0.environment.keys() {
            if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                names.insert(name.clone());
            }
        }
        names
    }

    /// The profile of a name: all named layers, one over the other.
    pub(crate) fn profile(&self, name: &str) -> Option<Settings> {
        let file = self.0.file.get(name);
        let environment = self.0.environment.get(&name.to_ascii_lowercase());
        let program = self.program().get(name).cloned();
        let layers: Vec<Settings> = [file.cloned(), environment.cloned(), program].into_iter().flatten().collect();
        let any = !layers.is_empty();
        let mut profile = Settings::new();
        for layer in layers {
            profile.overlay(layer);
        }
        any.then_some(profile)
    }

    /// The parts of a profile on both sides of what the ecosystem's own variables say.
    pub(crate) fn default_profile(&self, name: &str) -> (Settings, Settings) {
        let below = self.0.file.get(name).cloned().unwrap_or_default();
        let mut above = self.0.environment.get(name).cloned().unwrap_or_default();
        above.overlay(self.program().get(name).cloned().unwrap_or_default());
        (below, above)
    }

    pub(crate) fn variables(&self) -> &HashMap<String, String> {
        &self.0.variables
    }

    fn program(&self) -> MutexGuard<'_, Profiles> {
        self.0.program.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connections").field(&self.list()).finish()
    }
}

/// Sets up [`Connections`].
#[derive(Default)]
pub struct ConnectionsBuilder {
    file: ConfigFile,
    environment: Option<HashMap<String, String>>,
}

#[derive(Default)]
enum ConfigFile {
    #[default]
    Discover,
    None,
    Path(PathBuf),
}

impl ConnectionsBuilder {
    /// Reads this config file, which must exist, in place of the one that would be found.
    #[must_use]
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = ConfigFile::Path(path.into());
        self
    }

    /// Reads no config file.
    #[must_use]
    pub fn no_config_file(mut self) -> Self {
        self.file = ConfigFile::None;
        self
    }

    /// Takes these variables in place of the process's own.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment = Some(variables.into_iter().collect());
        self
    }

    /// Reads the layers.
    ///
    /// # Errors
    /// If the config file is malformed, or was named and is missing.
    pub fn build(self) -> Result<Connections> {
        let process = || std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))).collect();
        let variables = self.environment.unwrap_or_else(process);
        let path = match self.file {
            ConfigFile::None => None,
            ConfigFile::Path(path) => Some(path),
            ConfigFile::Discover => file::discover(&variables),
        };
        let file = path.map_or_else(|| Ok(Profiles::new()), |path| file::read(&path))?;
        let environment = environment::profiles(&variables)?;
        Ok(Connections(Arc::new(Layers { file, environment, program: Mutex::default(), variables })))
    }
}

impl fmt::Debug for ConnectionsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionsBuilder").finish_non_exhaustive()
    }
}
