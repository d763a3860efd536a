//! The named profiles, each with the layers that it is made from.

use std::collections::BTreeMap;

use arrowload_core::{Error, ErrorKind, Result, Setting, Settings, url_scheme};
use serde::Serialize;

use crate::overlay::{TYPE, URL};

/// A named connection, without its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConnectionSummary {
    /// Its name.
    pub name: String,
    /// Its `type`, else the scheme of its `url`, if either is written out.
    pub kind: Option<String>,
    /// The places that its values come from, weakest layer first.
    pub origins: Vec<String>,
}

/// One profile. A layer that says nothing is empty.
#[derive(Debug, Clone, Default)]
pub(crate) struct Profile {
    /// The name as it was first written.
    pub(crate) name: String,
    pub(crate) file: Settings,
    pub(crate) environment: Settings,
    pub(crate) program: Settings,
    /// A program has made it for its own use; it is not shown to users.
    pub(crate) hidden: bool,
}

impl Profile {
    /// The layers, weakest first.
    pub(crate) fn layers(&self) -> [&Settings; 3] {
        [&self.file, &self.environment, &self.program]
    }

    /// A key's setting in the strongest layer that has it.
    pub(crate) fn strongest(&self, key: &str) -> Option<&Setting> {
        self.layers()
            .into_iter()
            .rev()
            .find_map(|layer| layer.get(key))
    }

    pub(crate) fn summary(&self) -> ConnectionSummary {
        let text = |key| {
            self.strongest(key)
                .and_then(|setting| setting.value.as_str())
        };
        let kind = text(TYPE)
            .map(str::to_owned)
            .or_else(|| text(URL).and_then(url_scheme));
        let mut origins: Vec<String> = Vec::new();
        for setting in self
            .layers()
            .into_iter()
            .flat_map(Settings::iter)
            .map(|(_, setting)| setting)
        {
            if !origins.iter().any(|known| **known == *setting.origin) {
                origins.push(setting.origin.to_string());
            }
        }
        ConnectionSummary {
            name: self.name.clone(),
            kind,
            origins,
        }
    }
}

/// Profiles by folded name.
#[derive(Debug, Default)]
pub(crate) struct Profiles(BTreeMap<String, Profile>);

impl Profiles {
    /// The profile of a name, made if it is new.
    pub(crate) fn entry(&mut self, name: &str) -> &mut Profile {
        let new = || Profile {
            name: name.to_owned(),
            ..Profile::default()
        };
        self.0.entry(fold(name)).or_insert_with(new)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Profile> {
        self.0.get(&fold(name))
    }

    /// Adds a profile of the config file, where two names that the environment cannot distinguish are refused.
    pub(crate) fn add_file(&mut self, name: String, settings: Settings) -> Result<()> {
        if let Some(twin) = self.get(&name) {
            let message = format!(
                "the config file holds two connections of one name, `{}` and `{name}`; rename one of them",
                twin.name
            );
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        self.entry(&name).file = settings;
        Ok(())
    }

    /// Those that users know of.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.0.values().filter(|profile| !profile.hidden)
    }
}

/// Names are equal whatever their case, and with `-` for `_`, as variables are written in capitals and know no `-`.
pub(crate) fn fold(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}
