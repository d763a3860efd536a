//! Files as tables: each file or folder below the configured folder under its stem, and `FROM 'file.parquet'`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrowload_common_datafusion::{Tables, from_datafusion};
use arrowload_core::{Error, ErrorKind, Result, Secret, nearest};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::datasource::listing::{ListingTable, ListingTableConfig};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;

use crate::format::{Format, stem};
use crate::stores;

/// How many folders deep a dataset may be.
const DEPTH: usize = 32;

/// The tables of a folder. Nothing is listed or opened that is not asked for.
#[derive(Debug)]
pub(crate) struct FolderTables {
    folder: PathBuf,
    storage_options: BTreeMap<String, Secret>,
}

impl FolderTables {
    pub(crate) fn new(folder: PathBuf, storage_options: BTreeMap<String, Secret>) -> Self {
        Self {
            folder,
            storage_options,
        }
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

    fn is_path(&self, name: &str) -> bool {
        (stem(name).is_some() || name.contains('/') || name == ".")
            && self.folder.join(name).exists()
    }

    /// Opens a file, folder, pattern or URL.
    async fn open_at(
        &self,
        place: &str,
        shown: &str,
        session: &SessionState,
    ) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        let url = stores::parse(place)?;
        stores::register(session, &url, &self.storage_options)?;
        let at = |error: DataFusionError| error.context(format!("`{shown}`"));
        let sample = match url.is_folder() || place.contains('*') {
            true => stores::first_file(session, &url).await.map_err(at)?,
            false => stores::file(session, &url)
                .await
                .map(|()| place.to_owned())?,
        };
        let format = Format::of_name(&sample)
            .ok_or_else(|| DataFusionError::External(Box::new(Format::unknown(shown))))?;
        let config = ListingTableConfig::new(url).with_listing_options(format.options(session)?);
        let config = config
            .infer_partitions_from_path(session)
            .await
            .map_err(at)?
            .infer_schema(session)
            .await
            .map_err(at)?;
        Ok(Arc::new(ListingTable::try_new(config).map_err(at)?))
    }

    /// Where the file or folder of a table is, if there is one.
    fn find(&self, name: &str) -> Result<Option<String>> {
        let path = self.folder.join(name);
        if name.contains('*') {
            return Ok(Some(path.display().to_string()));
        }
        if self.is_path(name) {
            return Ok(Some(as_place(&path)));
        }
        let found: Vec<PathBuf> = self
            .entries()
            .into_iter()
            .filter(|(table, _)| table == name)
            .map(|(_, path)| path)
            .collect();
        match found.as_slice() {
            [] => Ok(None),
            [path] => Ok(Some(as_place(path))),
            [one, two, ..] => {
                let (one, two) = (one.display(), two.display());
                let message = format!(
                    "the table `{name}` could be {one} or {two}; name the file in quotes: FROM 'file.parquet'"
                );
                Err(Error::new(ErrorKind::Query, message))
            }
        }
    }
}

/// A path as the engine has it: that of a folder ends in a slash.
fn as_place(path: &Path) -> String {
    let mut place = path.display().to_string();
    if path.is_dir() && !place.ends_with('/') {
        place.push('/');
    }
    place
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
impl Tables for FolderTables {
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.entries().into_iter().map(|(name, _)| name).collect();
        names.dedup();
        names
    }

    async fn open(
        &self,
        name: &str,
        session: &SessionState,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        let place = match name.contains("://") {
            true => Some(name.to_owned()),
            false => self.find(name)?,
        };
        let Some(place) = place else { return Ok(None) };
        let opened = self.open_at(&place, name, session).await;
        opened.map(Some).map_err(from_datafusion)
    }

    fn missing(&self, name: &str) -> Error {
        let folder = self.folder.display();
        if stem(name).is_some() || name.contains('/') {
            return Error::new(
                ErrorKind::NotFound,
                format!("there is no file `{name}` (names are relative to {folder})"),
            );
        }
        let known = self.names();
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
}
