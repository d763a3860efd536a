//! The embedded engine as a source.

use std::path::PathBuf;
use std::sync::Arc;

use arrowload_core::{BatchStream, DataSource, Error, ErrorKind, Query, Result};
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider};
use datafusion::common::stats::Precision;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use futures::StreamExt;
use serde_json::{Map, Value};

use crate::config::{DataFusionConfig, config_from_url};
use crate::error::from_datafusion;
use crate::params;
use crate::tables::FolderTables;

/// Queries files with DataFusion.
pub struct DataFusionSource {
    context: Arc<SessionContext>,
}

impl DataSource for DataFusionSource {
    const NAME: &'static str = "datafusion";
    const URL_SCHEMES: &'static [&'static str] = &["datafusion"];

    type Config = DataFusionConfig;

    async fn connect(config: DataFusionConfig) -> Result<Self> {
        let path = PathBuf::from(config.path.as_deref().unwrap_or("."));
        if !path.exists() {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no folder or file {}", path.display())));
        }
        let folder = std::path::absolute(&path)?;
        let mut runtime = RuntimeEnvBuilder::new();
        if let Some(bytes) = config.memory_bytes()? {
            runtime = runtime.with_memory_pool(Arc::new(FairSpillPool::new(bytes)));
        }
        if let Some(folder) = &config.spill_folder {
            let mode = DiskManagerMode::Directories(vec![folder.clone()]);
            runtime = runtime.with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode));
        }
        let mut session = SessionConfig::new().with_default_catalog_and_schema("arrowload", "files").with_information_schema(true);
        if let Some(threads) = config.threads {
            session = session.with_target_partitions(threads);
        }
        if let Some(rows) = config.batch_size {
            session = session.with_batch_size(rows);
        }
        session.options_mut().execution.parquet.schema_force_view_types = false;
        session = session.with_create_default_catalog_and_schema(false);
        let context = SessionContext::new_with_config_rt(session, Arc::new(runtime.build().map_err(from_datafusion)?));
        let tables = FolderTables::new(folder);
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema("files", Arc::clone(&tables) as _).map_err(from_datafusion)?;
        context.register_catalog("arrowload", Arc::new(catalog));
        let context = Arc::new(context);
        tables.set_context(&context);
        Ok(Self { context })
    }

    async fn query(&self, query: &Query) -> Result<BatchStream> {
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let mut frame = self.context.sql_with_options(&query.sql, read_only).await.map_err(from_datafusion)?;
        if let Some(values) = params::values(&query.params)? {
            frame = frame.with_param_values(values).map_err(from_datafusion)?;
        }
        let task = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await.map_err(from_datafusion)?;
        let rows = plan.partition_statistics(None).map_err(from_datafusion)?.num_rows;
        let batches = datafusion::physical_plan::execute_stream(plan, task).map_err(from_datafusion)?;
        let stream = BatchStream::new(batches.schema(), batches.map(|batch| batch.map_err(from_datafusion)));
        Ok(match rows {
            Precision::Exact(rows) => stream.with_expected_rows(rows as u64),
            _ => stream,
        })
    }

    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        config_from_url(url)
    }
}
