//! The engine: a session with limits, and the way from a query to a stream of batches.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use arrowload_core::{BatchStream, Error, ErrorKind, Query, Result};
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use futures::{FutureExt, StreamExt};

use crate::error::from_datafusion;
use crate::options::EngineOptions;
use crate::params::bind;
use crate::tables::{Asked, Schema, Tables};
use crate::{calls, offer};

/// Where the tables are in the session's catalog.
const CATALOG: &str = "arrowload";
const SCHEMA: &str = "tables";

/// A DataFusion session over the tables of one source. It serves many queries, several at once.
pub struct Engine {
    /// The state that all queries share. Each query also has its own catalog.
    state: SessionState,
    tables: Arc<dyn Tables>,
}

impl Engine {
    /// A session with these limits over these tables. `config` holds what the source wants of the engine beside that.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a limit of zero; [`ErrorKind::Io`] if the folder for what spills cannot be used.
    pub fn new(
        options: &EngineOptions,
        config: SessionConfig,
        tables: Arc<dyn Tables>,
    ) -> Result<Self> {
        let mut runtime = RuntimeEnvBuilder::new();
        if let Some(limit) = options.memory_limit {
            runtime = runtime.with_memory_pool(Arc::new(FairSpillPool::new(limit.bytes())));
        }
        if let Some(folder) = &options.spill_folder {
            let mode = DiskManagerMode::Directories(vec![folder.clone()]);
            runtime =
                runtime.with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode));
        }
        let mut config = config
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, SCHEMA)
            .with_information_schema(true);
        if let Some(threads) = at_least_one("threads", options.threads)? {
            config = config.with_target_partitions(threads);
        }
        if let Some(rows) = at_least_one("batch_size", options.batch_size)? {
            config = config.with_batch_size(rows);
        }
        // Most stores accept plain text directly, but string views only after a conversion.
        config
            .options_mut()
            .execution
            .parquet
            .schema_force_view_types = false;
        let runtime = runtime.build_arc().map_err(from_datafusion)?;
        let context = SessionContext::new_with_config_rt(config, runtime);
        let state = context.state();
        Ok(Self { state, tables })
    }

    /// What the engine has: its runtime, and its settings.
    pub fn session(&self) -> &SessionState {
        &self.state
    }

    /// Runs a query. Dropping the stream cancels it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a statement that does more than read, [`ErrorKind::InvalidOption`] for parameters and
    /// values that do not match, and what [`from_datafusion`] says of the engine's errors.
    pub async fn query(&self, query: &Query) -> Result<BatchStream> {
        let Planned {
            state,
            plan,
            tables,
        } = self.plan(query).await?;
        let rows = plan
            .partition_statistics(None)
            .map_err(from_datafusion)?
            .num_rows;
        let limit = limit(plan.as_ref());
        let batches = execute_stream(plan, state.task_ctx()).map_err(from_datafusion)?;
        let schema = batches.schema();
        let batches = AssertUnwindSafe(batches).catch_unwind().map(move |batch| {
            let _ = &tables;
            batch.map_err(panicked)?.map_err(from_datafusion)
        });
        let stream = BatchStream::new(schema, batches);
        Ok(match rows {
            Precision::Exact(rows) => stream.with_expected_rows(rows.min(limit) as u64),
            _ => stream,
        })
    }

    /// The schema of a query's batches. Nothing is run.
    ///
    /// # Errors
    /// As [`query`](Self::query) has before the first batch.
    pub async fn schema(&self, query: &Query) -> Result<SchemaRef> {
        Ok(self.plan(query).await?.plan.schema())
    }

    async fn plan(&self, query: &Query) -> Result<Planned> {
        let plan = async {
            let dialect = &self.state.config().options().sql_parser.dialect;
            let mut statement = self
                .state
                .sql_to_statement(&query.sql, dialect)
                .map_err(from_datafusion)?;
            calls::replace(&mut statement, self.tables.as_ref())?;
            let types = query.reading.types.as_ref();
            let asked = Asked {
                reading: query.reading.clone(),
                types: types
                    .map_or_else(Default::default, |target| offer::types(&statement, target)),
                whole: offer::is_whole(&statement),
            };
            let state = self.asked(asked)?;
            let plan = match state.statement_to_plan(statement.clone()).await {
                Ok(plan) => plan,
                Err(error) => {
                    let missing = self.missing_table(&state, &statement).await;
                    return Err(missing.unwrap_or_else(|| from_datafusion(error)));
                }
            };
            check_reads(&plan)?;
            let tables = bind(plan, &query.params)?;
            let plan = state.create_physical_plan(&tables).await;
            Ok(Planned {
                state,
                plan: plan.map_err(from_datafusion)?,
                tables,
            })
        };
        AssertUnwindSafe(plan)
            .catch_unwind()
            .await
            .map_err(panicked)?
    }

    /// The session of one query: its tables are opened for what the query asks.
    fn asked(&self, asked: Asked) -> Result<SessionState> {
        let schema = Schema {
            tables: Arc::clone(&self.tables),
            session: self.state.clone(),
            asked,
        };
        let catalog = MemoryCatalogProvider::new();
        catalog
            .register_schema(SCHEMA, Arc::new(schema))
            .map_err(from_datafusion)?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.into(), Arc::new(catalog));
        Ok(SessionStateBuilder::new_from_existing(self.state.clone())
            .with_catalog_list(Arc::new(catalogs))
            .build())
    }

    /// Why a statement could not be planned, if it names a table that is not there.
    async fn missing_table(&self, state: &SessionState, statement: &Statement) -> Option<Error> {
        for reference in state.resolve_table_references(statement).ok()? {
            let name = reference.table();
            if reference.schema().is_some() || state.table_functions().contains_key(name) {
                continue;
            }
            let asked = Asked::default();
            if let Ok(None) = self.tables.open(name, &self.state, &asked).await {
                return Some(self.tables.missing(name));
            }
        }
        None
    }
}

/// A query that can be run.
struct Planned {
    state: SessionState,
    plan: Arc<dyn ExecutionPlan>,
    /// Holds the tables, which may hold what is read: a copy of a file on the disk is there as long as its table.
    tables: LogicalPlan,
}

fn at_least_one(key: &'static str, value: Option<usize>) -> Result<Option<usize>> {
    if value == Some(0) {
        let message = format!("`{key}` must be at least 1");
        return Err(Error::new(ErrorKind::InvalidOption, message).with("key", key));
    }
    Ok(value)
}

/// How many rows a plan returns at most. Its statistics may be those of its files, without its LIMIT.
fn limit(plan: &dyn ExecutionPlan) -> usize {
    let own = plan.fetch().unwrap_or(usize::MAX);
    match plan.children().as_slice() {
        [child] if matches!(plan.cardinality_effect(), CardinalityEffect::Equal) => {
            own.min(limit(child.as_ref()))
        }
        _ => own,
    }
}

/// Refuses a plan with a part that does more than read. `EXPLAIN ANALYZE` runs what it explains, so it is looked into.
fn check_reads(plan: &LogicalPlan) -> Result<()> {
    let mut found = None;
    let visited = plan.apply(|part| {
        found = match part {
            LogicalPlan::Ddl(_) => Some("changes tables"),
            LogicalPlan::Dml(_) => Some("changes rows"),
            LogicalPlan::Copy(_) => Some("writes files"),
            LogicalPlan::Statement(_) => Some("changes the session"),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    });
    visited.map_err(from_datafusion)?;
    let Some(what) = found else { return Ok(()) };
    let message =
        format!("the statement {what}, and a source only reads; write SELECT, and load its answer");
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// A panic of the engine as an error.
fn panicked(panic: Box<dyn Any + Send>) -> Error {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it gave no reason");
    Error::new(
        ErrorKind::Unexpected,
        format!("the query engine broke down, which is a defect of it: {said}"),
    )
}
