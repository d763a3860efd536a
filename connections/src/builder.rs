//! Where the layers are read from.

use std::path::PathBuf;

use arrowload_core::Result;

use crate::Connections;
use crate::environment::Environment;
use crate::file;
use crate::profiles::Profiles;

/// Sets up [`Connections`].
#[derive(Debug, Default)]
pub struct ConnectionsBuilder {
    file: ConfigFile,
    environment: Option<Environment>,
}

#[derive(Debug, Default)]
enum ConfigFile {
    #[default]
    Discover,
    None,
    Path(PathBuf),
}

impl ConnectionsBuilder {
    /// Reads this config file, which must exist, in place of the one that would be found. It is TOML, or JSON if its name
    /// ends in `.json`.
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
    /// [`NotFound`](arrowload_core::ErrorKind::NotFound) if the config file was named and is not there;
    /// [`InvalidOption`](arrowload_core::ErrorKind::InvalidOption) if it, or a variable `ARROWLOAD_CONNECTIONS__…`, is
    /// malformed.
    pub fn build(self) -> Result<Connections> {
        let environment = self.environment.map_or_else(Environment::of_process, Ok)?;
        let profiles_of_file = match self.file {
            ConfigFile::None => Vec::new(),
            ConfigFile::Path(path) => file::read(&path, "ConnectionsBuilder::config_file")?,
            ConfigFile::Discover => match file::discover(&environment) {
                Some((path, named_by)) => file::read(&path, named_by)?,
                None => Vec::new(),
            },
        };
        let mut profiles = Profiles::default();
        for (name, settings) in profiles_of_file {
            profiles.add_file(name, settings)?;
        }
        for (name, settings) in environment.profiles()? {
            profiles.entry(&name).environment = settings;
        }
        Ok(Connections::new(environment, profiles))
    }
}
