//! Where a target is: on the local disk, or in an object store that is open.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrowload_common_object_store::{Location, from_io, open};
use arrowload_core::Result;
use object_store::ObjectStore;
use object_store::path::Path as StorePath;
use url::Url;

use crate::config::FileConfig;

/// Stands for an object store in unit tests.
#[cfg(test)]
pub(crate) static MEMORY: std::sync::LazyLock<Arc<dyn ObjectStore>> =
    std::sync::LazyLock::new(|| Arc::new(object_store::memory::InMemory::new()));

/// A place that a target names.
#[derive(Clone)]
pub(crate) enum Place {
    Local(PathBuf),
    Store(Arc<dyn ObjectStore>, StorePath),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            // A store's Display names the bucket and no credentials.
            Self::Store(store, path) => write!(f, "{store}, {path}"),
        }
    }
}

/// Finds places. The store that was opened last stays open: a load asks for its target several times.
pub(crate) struct Places {
    config: FileConfig,
    opened: Mutex<Option<Opened>>,
}

/// A store, with the URL for which it was opened, and where that points in it.
type Opened = (Url, Arc<dyn ObjectStore>, StorePath);

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the URL, as it may hold a password.
        self.config.fmt(f)
    }
}

impl Places {
    pub(crate) fn new(config: FileConfig) -> Self {
        Self {
            config,
            opened: Mutex::default(),
        }
    }

    /// Finds a target, below the configured root if it is relative.
    pub(crate) fn find(&self, target: &str) -> Result<Place> {
        match Location::find(self.config.root.as_deref(), "root", target)? {
            // A symbolic link stands for what it points to: a rename would put the data in the link's place.
            Location::Local(path) if path.is_symlink() => {
                let end = path.canonicalize().map_err(|error| from_io(&path, error))?;
                Ok(Place::Local(end))
            }
            Location::Local(path) => Ok(Place::Local(path)),
            #[cfg(test)]
            Location::Store(url) if url.scheme() == "memory" => {
                Ok(Place::Store(Arc::clone(&MEMORY), url.path().into()))
            }
            Location::Store(url) => self.open(url),
        }
    }

    fn open(&self, url: Url) -> Result<Place> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, store, path)) = &*opened
            && *known == url
        {
            return Ok(Place::Store(Arc::clone(store), path.clone()));
        }
        let (store, path) = open(&url, &self.config.storage_options)?;
        *opened = Some((url, Arc::clone(&store), path.clone()));
        Ok(Place::Store(store, path))
    }
}
