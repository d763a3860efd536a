//! The embedded engine over files, as a source.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use arrowload_common_datafusion::Engine;
use arrowload_core::{BatchStream, DataSource, Error, ErrorKind, Listing, Query, Result};
use datafusion::prelude::SessionConfig;
use serde_json::{Map, Value};

use crate::config::{DataFusionConfig, config_from_url};
use crate::listing;
use crate::place::{Places, without_parents};
use crate::tables::FileTables;

/// Queries files with DataFusion.
pub struct DataFusionSource {
    engine: Engine,
    tables: Arc<FileTables>,
}

impl DataSource for DataFusionSource {
    const NAME: &'static str = "datafusion";
    const URL_SCHEMES: &'static [&'static str] = &["datafusion"];
    const FINDS_TYPES: bool = true;

    type Config = DataFusionConfig;

    async fn connect(config: DataFusionConfig) -> Result<Self> {
        let path = PathBuf::from(config.path.as_deref().unwrap_or("."));
        if !path.exists() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no folder or file {}", path.display()),
            ));
        }
        let absolute = without_parents(&std::path::absolute(&path)?)?;
        let folder = if absolute.is_file() {
            absolute.parent().unwrap_or(&absolute).to_owned()
        } else {
            absolute
        };
        config.read.check()?;
        let options = config.engine();
        let tables = Arc::new(FileTables {
            places: Places {
                folder,
                storage_options: config.storage_options,
            },
            named: config.tables,
            only_named: config.only_named_tables,
            read: config.read,
            known: Arc::default(),
        });
        Ok(Self {
            engine: Engine::new(&options, SessionConfig::new(), tables.clone())?,
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
        let batch = listing::list(&self.tables, listing, self.engine.session()).await?;
        Ok(BatchStream::from_batches(batch.schema(), vec![batch]))
    }

    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        config_from_url(url)
    }
}
