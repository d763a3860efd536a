//! Files as tables: `FROM 'file.parquet'`, and each file of the folder under its stem.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrowload_core::{Error, ErrorKind, nearest};
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::listing::{ListingTable, ListingTableConfig, ListingTableConfigExt, ListingTableUrl};
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::SessionContext;
use std::sync::Weak;

/// Endings that the engine can read.
const ENDINGS: [&str; 7] = ["parquet", "csv", "json", "ndjson", "jsonl", "arrow", "feather"];
/// Endings of compressed files.
const COMPRESSED: [&str; 4] = ["gz", "zst", "bz2", "xz"];

/// The files below a folder.
pub(crate) struct FolderTables {
    folder: PathBuf,
    context: OnceLock<Weak<SessionContext>>,
}

impl FolderTables {
    pub(crate) fn new(folder: PathBuf) -> Arc<Self> {
        Arc::new(Self { folder, context: OnceLock::new() })
    }

    pub(crate) fn set_context(&self, context: &Arc<SessionContext>) {
        let _ = self.context.set(Arc::downgrade(context));
    }

    /// The name of a table for a file: what stands before its first known ending.
    fn stem(path: &Path) -> Option<String> {
        let name = path.file_name()?.to_str()?;
        let mut plain = name;
        if let Some((rest, ending)) = plain.rsplit_once('.')
            && COMPRESSED.contains(&ending.to_ascii_lowercase().as_str())
        {
            plain = rest;
        }
        let (stem, ending) = plain.rsplit_once('.')?;
        ENDINGS.contains(&ending.to_ascii_lowercase().as_str()).then(|| stem.to_owned())
    }

    fn files(&self) -> Vec<(String, PathBuf)> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut files: Vec<(String, PathBuf)> = paths.filter_map(|path| Some((Self::stem(&path)?, path))).collect();
        files.sort();
        files
    }

    async fn open(&self, url: &str, shown: &str) -> Result<Arc<dyn TableProvider>> {
        let context = self.context.get().and_then(Weak::upgrade).ok_or_else(|| DataFusionError::Internal("no session".into()))?;
        let state = context.state();
        let config = ListingTableConfig::new(ListingTableUrl::parse(url)?);
        let at = |error: DataFusionError| error.context(shown.to_owned());
        let config = config.infer_options(&state).await.map_err(at)?.infer_partitions_from_path(&state).await.map_err(at)?;
        let config = config.infer_schema(&state).await.map_err(at)?;
        Ok(Arc::new(ListingTable::try_new(config)?))
    }

    fn missing(&self, name: &str) -> DataFusionError {
        let known = self.table_names();
        let hint = nearest(name, known.iter().map(String::as_str)).map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
        let message = format!("there is no table or file `{name}` in {}{hint} Tables: {}", self.folder.display(), known.join(", "));
        DataFusionError::External(Box::new(Error::new(ErrorKind::NotFound, message)))
    }
}

#[async_trait]
impl SchemaProvider for FolderTables {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.files().into_iter().map(|(name, _)| name).collect();
        names.dedup();
        names
    }

    fn table_exist(&self, _: &str) -> bool {
        true
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if name.contains("://") {
            return self.open(name, name).await.map(Some);
        }
        let path = self.folder.join(name);
        let is_file_name = Self::stem(Path::new(name)).is_some() || name.contains(['/', '*']);
        if is_file_name {
            if !name.contains('*') && !path.exists() {
                return Err(self.missing(name));
            }
            return self.open(&path.display().to_string(), name).await.map(Some);
        }
        match self.files().into_iter().find(|(stem, _)| stem == name) {
            Some((_, path)) => self.open(&path.display().to_string(), name).await.map(Some),
            None => Err(self.missing(name)),
        }
    }
}

impl fmt::Debug for FolderTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FolderTables").field("folder", &self.folder).finish_non_exhaustive()
    }
}
