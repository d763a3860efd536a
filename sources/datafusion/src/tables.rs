//! Files as tables: each file or folder below the configured folder under its stem, and `FROM 'file.parquet'`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use arrowload_core::{Error, ErrorKind, Secret, nearest};
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::listing::{ListingTable, ListingTableConfig};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;

use crate::format::{Format, stem};
use crate::stores;

/// How many folders deep a dataset may be.
const DEPTH: usize = 32;

/// The tables of a folder. Nothing is listed or opened that is not asked for.
pub(crate) struct FolderTables {
    folder: PathBuf,
    storage_options: BTreeMap<String, Secret>,
    context: OnceLock<Weak<SessionContext>>,
}

impl FolderTables {
    pub(crate) fn new(folder: PathBuf, storage_options: BTreeMap<String, Secret>) -> Arc<Self> {
        Arc::new(Self {
            folder,
            storage_options,
            context: OnceLock::new(),
        })
    }

    /// The session that opens the tables, and that has them in its catalog.
    pub(crate) fn set_context(&self, context: &Arc<SessionContext>) {
        let _ = self.context.set(Arc::downgrade(context));
    }

    /// Files and folders by the names of their tables, sorted.
    fn entries(&self) -> Vec<(String, PathBuf)> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let table = |path: PathBuf| {
            let name = path.file_name()?.to_str()?.to_owned();
            let is_dataset = || path.is_dir() && first_file(&path, DEPTH).is_some();
            let table = if is_hidden(&name) {
                None
            } else {
                stem(&name).or_else(|| is_dataset().then_some(name))
            };
            Some((table?, path))
        };
        let mut tables: Vec<(String, PathBuf)> = entries
            .filter_map(|entry| table(entry.ok()?.path()))
            .collect();
        tables.sort();
        tables
    }

    /// Whether there is a table or file of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        name.contains("://")
            || name.contains('*')
            || self.is_path(name)
            || self.entries().iter().any(|(table, _)| table == name)
    }

    fn is_path(&self, name: &str) -> bool {
        (stem(name).is_some() || name.contains('/') || name == ".")
            && self.folder.join(name).exists()
    }

    /// What to say of a name that is no table.
    pub(crate) fn missing(&self, name: &str) -> Error {
        let folder = self.folder.display();
        if stem(name).is_some() || name.contains('/') {
            return Error::new(
                ErrorKind::NotFound,
                format!("there is no file `{name}` (names are relative to {folder})"),
            );
        }
        let known = self.table_names();
        let hint = nearest(name, known.iter().map(String::as_str))
            .map_or_else(|| ".".into(), |known| format!("; did you mean `{known}`?"));
        let list = if known.is_empty() {
            "none".into()
        } else {
            known.join(", ")
        };
        let message = format!(
            "there is no table `{name}` in {folder}{hint} Tables: {list}. A file is named in quotes: FROM 'file.parquet'"
        );
        Error::new(ErrorKind::NotFound, message)
    }

    fn state(&self) -> Result<SessionState> {
        let context = self.context.get().and_then(Weak::upgrade);
        context
            .map(|context| context.state())
            .ok_or_else(|| DataFusionError::Internal("the session has ended".into()))
    }

    /// Opens a file, folder, pattern or URL.
    async fn open(&self, place: &str, shown: &str) -> Result<Arc<dyn TableProvider>> {
        let state = self.state()?;
        let url = stores::parse(place)?;
        stores::register(&state, &url, &self.storage_options)?;
        let at = |error: DataFusionError| error.context(format!("`{shown}`"));
        let sample = match url.is_folder() || place.contains('*') {
            true => stores::first_file(&state, &url).await.map_err(at)?,
            false => stores::file(&state, &url)
                .await
                .map(|()| place.to_owned())?,
        };
        let format = Format::of_name(&sample)
            .ok_or_else(|| DataFusionError::External(Box::new(Format::unknown(shown))))?;
        let config = ListingTableConfig::new(url).with_listing_options(format.options(&state)?);
        let config = config
            .infer_partitions_from_path(&state)
            .await
            .map_err(at)?
            .infer_schema(&state)
            .await
            .map_err(at)?;
        Ok(Arc::new(ListingTable::try_new(config).map_err(at)?))
    }

    async fn open_local(&self, path: &Path, shown: &str) -> Result<Arc<dyn TableProvider>> {
        let mut place = path.display().to_string();
        if path.is_dir() && !place.ends_with('/') {
            place.push('/');
        }
        self.open(&place, shown).await
    }
}

fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

/// A data file of a folder, however deep.
fn first_file(folder: &Path, depth: usize) -> Option<PathBuf> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(folder).ok()? {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_string_lossy().into_owned();
        match path.is_dir() {
            _ if is_hidden(&name) => {}
            true => folders.push(path),
            false if Format::of_name(&name).is_some() => return Some(path),
            false => {}
        }
    }
    if depth == 0 {
        None
    } else {
        folders
            .iter()
            .find_map(|folder| first_file(folder, depth - 1))
    }
}

#[async_trait]
impl SchemaProvider for FolderTables {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.entries().into_iter().map(|(name, _)| name).collect();
        names.dedup();
        names
    }

    fn table_exist(&self, name: &str) -> bool {
        self.has(name)
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if name.contains("://") {
            return self.open(name, name).await.map(Some);
        }
        let path = self.folder.join(name);
        if name.contains('*') {
            return self.open(&path.display().to_string(), name).await.map(Some);
        }
        if self.is_path(name) {
            return self.open_local(&path, name).await.map(Some);
        }
        let found: Vec<PathBuf> = self
            .entries()
            .into_iter()
            .filter(|(table, _)| table == name)
            .map(|(_, path)| path)
            .collect();
        match found.as_slice() {
            [] => Ok(None),
            [path] => self.open_local(path, name).await.map(Some),
            [one, two, ..] => {
                let (one, two) = (one.display(), two.display());
                let message = format!(
                    "the table `{name}` could be {one} or {two}; name the file in quotes: FROM 'file.parquet'"
                );
                Err(DataFusionError::External(Box::new(Error::new(
                    ErrorKind::Query,
                    message,
                ))))
            }
        }
    }
}

impl fmt::Debug for FolderTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FolderTables")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}
