//! The embedded engine as a source.

use std::path::PathBuf;
use std::sync::Arc;

use arrowload_core::{BatchStream, DataSource, Error, ErrorKind, Query, Result};
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider};
use datafusion::common::stats::Precision;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use serde_json::{Map, Value};

use crate::config::{DataFusionConfig, config_from_url};
use crate::error::from_datafusion;
use crate::params;
use crate::tables::FolderTables;

/// Queries files with DataFusion.
pub struct DataFusionSource {
    context: Arc<SessionContext>,
    tables: Arc<FolderTables>,
}

impl DataSource for DataFusionSource {
    const NAME: &'static str = "datafusion";
    const URL_SCHEMES: &'static [&'static str] = &["datafusion"];

    type Config = DataFusionConfig;

    async fn connect(config: DataFusionConfig) -> Result<Self> {
        let path = PathBuf::from(config.path.as_deref().unwrap_or("."));
        if !path.exists() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no folder or file {}", path.display()),
            ));
        }
        let absolute = std::path::absolute(&path)?;
        let folder = if absolute.is_file() {
            absolute.parent().unwrap_or(&absolute).to_owned()
        } else {
            absolute
        };
        let mut runtime = RuntimeEnvBuilder::new();
        if let Some(bytes) = config.memory_bytes()? {
            runtime = runtime.with_memory_pool(Arc::new(FairSpillPool::new(bytes)));
        }
        if let Some(folder) = &config.spill_folder {
            let mode = DiskManagerMode::Directories(vec![folder.clone()]);
            runtime =
                runtime.with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode));
        }
        let mut session = SessionConfig::new()
            .with_default_catalog_and_schema("arrowload", "files")
            .with_information_schema(true);
        if let Some(threads) = config.threads {
            session = session.with_target_partitions(threads);
        }
        if let Some(rows) = config.batch_size {
            session = session.with_batch_size(rows);
        }
        session
            .options_mut()
            .execution
            .parquet
            .schema_force_view_types = false;
        session = session.with_create_default_catalog_and_schema(false);
        let context = SessionContext::new_with_config_rt(
            session,
            Arc::new(runtime.build().map_err(from_datafusion)?),
        );
        let tables = FolderTables::new(folder, config.storage_options);
        let catalog = MemoryCatalogProvider::new();
        catalog
            .register_schema("files", Arc::clone(&tables) as _)
            .map_err(from_datafusion)?;
        context.register_catalog("arrowload", Arc::new(catalog));
        let context = Arc::new(context);
        tables.set_context(&context);
        Ok(Self { context, tables })
    }

    async fn query(&self, query: &Query) -> Result<BatchStream> {
        let plan = self.plan(&query.sql).await?;
        params::check_used(&plan, &query.params)?;
        let mut frame = self
            .context
            .execute_logical_plan(plan)
            .await
            .map_err(from_datafusion)?;
        if let Some(values) = params::values(&query.params)? {
            frame = frame.with_param_values(values).map_err(from_datafusion)?;
        }
        let task = Arc::new(frame.task_ctx());
        let plan = frame
            .create_physical_plan()
            .await
            .map_err(from_datafusion)?;
        let rows = plan
            .partition_statistics(None)
            .map_err(from_datafusion)?
            .num_rows;
        // The statistics of a plan may be those of its files, without its LIMIT.
        let limit = plan.fetch().unwrap_or(usize::MAX);
        let batches =
            datafusion::physical_plan::execute_stream(plan, task).map_err(from_datafusion)?;
        let stream = BatchStream::new(
            batches.schema(),
            batches.map(|batch| batch.map_err(from_datafusion)),
        );
        Ok(match rows {
            Precision::Exact(rows) => stream.with_expected_rows(rows.min(limit) as u64),
            _ => stream,
        })
    }

    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        config_from_url(url)
    }
}

impl DataFusionSource {
    /// Plans a statement that reads; any other is refused.
    async fn plan(&self, sql: &str) -> Result<LogicalPlan> {
        let plan = match self.context.state().create_logical_plan(sql).await {
            Ok(plan) => plan,
            Err(error) => {
                return Err(self
                    .missing_table(sql)
                    .unwrap_or_else(|| from_datafusion(error)));
            }
        };
        let what = match &plan {
            LogicalPlan::Ddl(_) => "changes tables",
            LogicalPlan::Dml(_) => "changes rows",
            LogicalPlan::Copy(_) => "writes files",
            LogicalPlan::Statement(_) => "changes the session",
            _ => return Ok(plan),
        };
        let message = format!(
            "the statement {what}, and a source only reads; write SELECT, and load its answer"
        );
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// What a failed plan is about, if a name in it is no table.
    fn missing_table(&self, sql: &str) -> Option<Error> {
        let state = self.context.state();
        let statement = state
            .sql_to_statement(sql, &state.config().options().sql_parser.dialect)
            .ok()?;
        let names = state.resolve_table_references(&statement).ok()?;
        let is_missing =
            |name: &str| !self.tables.has(name) && !state.table_functions().contains_key(name);
        let missing = names
            .iter()
            .filter(|name| name.schema().is_none())
            .find(|name| is_missing(name.table()))?;
        Some(self.tables.missing(missing.table()))
    }
}
