//! Delta tables as a source: SQL over one table or a folder of tables, of now or of an earlier version.

use std::path::Path;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use arrowload_common_datafusion::{Asked, Engine, EngineOptions, Tables, from_datafusion};
use arrowload_core::{BatchStream, DataSource, Error, ErrorKind, Listing, Query, Result, nearest};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::execution::SessionState;
use deltalake::delta_datafusion::DeltaSessionConfig;
use deltalake::{DeltaTable, DeltaTableConfig};
use serde_json::{Map, Value};

use crate::config::{DeltaLakeConfig, DeltaLakeSourceConfig, Version};
use crate::error::from_delta;
use crate::listing;
use crate::place::Place;
use crate::versions::Versions;

/// The name that the table at the connection's own path has, beside that of its folder.
const THIS: &str = "delta";

/// Queries Delta Lake tables with DataFusion. See the crate's page.
pub struct DeltaLakeSource {
    engine: Engine,
    tables: Arc<DeltaTables>,
}

impl DataSource for DeltaLakeSource {
    const NAME: &'static str = "delta_lake";
    const URL_SCHEMES: &'static [&'static str] = &["delta"];

    type Config = DeltaLakeSourceConfig;

    async fn connect(config: DeltaLakeSourceConfig) -> Result<Self> {
        let version = config.at.as_deref().map(Version::parse).transpose()?;
        let options = EngineOptions {
            memory_limit: config.memory_limit,
            spill_folder: config.spill_folder,
            batch_size: config.batch_size,
            threads: config.threads,
        };
        let place = DeltaLakeConfig {
            table_path: config.table_path,
            storage_options: config.storage_options,
        };
        check_folder(&place)?;
        let tables = Arc::new(DeltaTables { place, version });
        let session = DeltaSessionConfig::default().into();
        Ok(Self {
            engine: Engine::new(&options, session, tables.clone())?,
            tables,
        })
    }

    async fn query(&self, query: &Query) -> Result<BatchStream> {
        self.engine.query(query).await
    }

    async fn schema(&self, query: &Query) -> Result<SchemaRef> {
        self.engine.schema(query).await
    }

    async fn list(&self, listing: &Listing) -> Result<BatchStream> {
        let DeltaTables { place, version } = self.tables.as_ref();
        let own = self.tables.own_name().unwrap_or(THIS);
        let batch = listing::list(place, *version, own, listing).await?;
        Ok(BatchStream::from_batches(batch.schema(), vec![batch]))
    }

    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        let path = url.split_once("://").map_or(url, |(_, path)| path);
        let (path, at) = match path
            .rsplit_once('@')
            .filter(|(_, at)| Version::parse(at).is_ok())
        {
            Some((path, at)) => (path, Some(at)),
            None => (path, None),
        };
        let keys = [
            ("table_path", Some(path).filter(|path| !path.is_empty())),
            ("at", at),
        ];
        Ok(keys
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?.into())))
            .collect())
    }
}

/// Refuses a folder on the local disk that is not there. What is at a store is found by asking for a table.
fn check_folder(place: &DeltaLakeConfig) -> Result<()> {
    let Some(path) = place.table_path.as_deref() else {
        return Ok(());
    };
    let Some(folder) = Place::find(place, ".")?.local else {
        return Ok(());
    };
    if folder.is_dir() {
        return Ok(());
    }
    if folder.exists() {
        let message = format!("`{path}` is a file, and a Delta table is a folder");
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    let hint = match path.rsplit_once('@') {
        Some((table, at)) if Path::new(table).is_dir() => format!(
            "; if `{at}` is to be a version: that is a number, {table}@3, or a time, {table}@2024-01-31T12:00:00Z"
        ),
        _ => beside(&folder),
    };
    let message = format!("there is no folder `{path}`{hint}");
    Err(Error::new(ErrorKind::NotFound, message))
}

/// `; did you mean …?` with the name of an existing folder next to the missing one.
fn beside(folder: &Path) -> String {
    let entries = folder.parent().and_then(|above| above.read_dir().ok());
    let names: Vec<String> = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().filter(|entry| entry.path().is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let near = nearest(&name, names.iter().map(String::as_str));
    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// The tables at and below a place. Only what is asked for is opened.
#[derive(Debug)]
struct DeltaTables {
    place: DeltaLakeConfig,
    version: Option<Version>,
}

impl DeltaTables {
    /// The name of the folder that the connection's path is.
    fn own_name(&self) -> Option<&str> {
        self.place
            .table_path
            .as_deref()
            .and_then(|path| path.trim_end_matches('/').rsplit('/').next())
    }

    /// The places that a name may mean, with the version that it asks for.
    fn targets(&self, name: &str) -> Result<Vec<(String, Option<Version>)>> {
        let (plain, version) = match name.rsplit_once('@') {
            Some((plain, at)) => (plain, Some(Version::parse(at)?)),
            None => (name, self.version),
        };
        let own = (plain == THIS || Some(plain) == self.own_name()).then(|| ".".to_owned());
        let below = (!plain.is_empty()).then(|| plain.to_owned());
        Ok(own
            .into_iter()
            .chain(below)
            .map(|target| (target, version))
            .collect())
    }
}

#[async_trait]
impl Tables for DeltaTables {
    fn names(&self) -> Vec<String> {
        vec![THIS.into()]
    }

    async fn open(
        &self,
        name: &str,
        session: &SessionState,
        _: &Asked,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        for (target, version) in self.targets(name)? {
            let log_store = Place::find(&self.place, &target)?.log_store;
            let is_table = log_store.is_delta_table_location().await;
            if !is_table.map_err(from_delta)? {
                continue;
            }
            let mut table = DeltaTable::new(log_store.clone(), DeltaTableConfig::default());
            let opened = match version {
                None => table.load().await,
                Some(version) => {
                    let number = Versions::list(&log_store).await?.find(version)?;
                    table.load_version(number).await
                }
            };
            opened
                .and_then(|()| table.update_datafusion_session(session))
                .map_err(from_delta)?;
            let session = Arc::new(session.clone());
            let provider = table.table_provider().with_session(session).await;
            return provider.map(Some).map_err(from_datafusion);
        }
        Ok(None)
    }

    fn missing(&self, name: &str) -> Error {
        let place = match (&self.place.table_path, self.own_name()) {
            (None, _) | (_, None) => "the working directory".to_owned(),
            (Some(_), Some(own)) => format!("`{own}`"),
        };
        if let (Some(path), true) = (&self.place.table_path, name == THIS) {
            let message = format!(
                "`{path}` is no Delta table; the tables below it have the names of their folders"
            );
            return Error::new(ErrorKind::NotFound, message);
        }
        let message = format!(
            "there is no Delta table `{name}` at or below {place}; the table at the connection's own path is called `{THIS}`"
        );
        Error::new(ErrorKind::NotFound, message)
    }
}
