//! Delta tables as a source: SQL over one table or a folder of tables, of now or of an earlier version.

use std::fmt;
use std::sync::Arc;

use arrowload_core::{BatchStream, DataSource, Error, ErrorKind, Param, Params, Query, Result};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::ParamValues;
use datafusion::common::stats::Precision;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use deltalake::delta_datafusion::{DeltaSessionContext, create_session_state_with_spill_config};
use deltalake::{DeltaTable, DeltaTableConfig};
use futures::StreamExt;
use serde_json::{Map, Value};

use crate::config::{DeltaLakeConfig, DeltaLakeSourceConfig, Version};
use crate::error::{from_datafusion, from_delta};
use crate::place::Place;

/// The name that the table at the connection's own path has, beside that of its folder.
const THIS: &str = "delta";

/// Queries Delta Lake tables with DataFusion. See the crate's page.
pub struct DeltaLakeSource {
    context: SessionContext,
}

impl DataSource for DeltaLakeSource {
    const NAME: &'static str = "delta_lake";
    const URL_SCHEMES: &'static [&'static str] = &["delta"];

    type Config = DeltaLakeSourceConfig;

    async fn connect(config: DeltaLakeSourceConfig) -> Result<Self> {
        let version = config.at.as_deref().map(Version::parse).transpose()?;
        let place = DeltaLakeConfig {
            table_path: config.table_path,
            storage_options: config.storage_options,
        };
        let session: SessionContext = match config.memory_limit_bytes {
            Some(bytes) => SessionContext::new_with_state(create_session_state_with_spill_config(
                Some(bytes),
                None,
            )),
            None => DeltaSessionContext::new().into(),
        };
        let mut state = session.state();
        let options = state.config_mut();
        *options = options
            .clone()
            .with_default_catalog_and_schema("arrowload", "tables")
            .with_create_default_catalog_and_schema(false);
        let context = SessionContext::new_with_state(state);
        let tables = Tables {
            place,
            version,
            state: context.clone(),
        };
        let catalog = MemoryCatalogProvider::new();
        catalog
            .register_schema("tables", Arc::new(tables))
            .map_err(from_datafusion)?;
        context.register_catalog("arrowload", Arc::new(catalog));
        Ok(Self { context })
    }

    async fn query(&self, query: &Query) -> Result<BatchStream> {
        let plan = self
            .context
            .state()
            .create_logical_plan(&query.sql)
            .await
            .map_err(from_datafusion)?;
        if matches!(
            plan,
            LogicalPlan::Ddl(_)
                | LogicalPlan::Dml(_)
                | LogicalPlan::Copy(_)
                | LogicalPlan::Statement(_)
        ) {
            let message = "the statement changes something, and a source only reads; write SELECT, and load its answer";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let mut frame = self
            .context
            .execute_logical_plan(plan)
            .await
            .map_err(from_datafusion)?;
        if let Some(values) = values(&query.params)? {
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

fn values(params: &Params) -> Result<Option<ParamValues>> {
    let scalar =
        |param: &Param| ScalarValue::try_from_array(param.array(), 0).map_err(from_datafusion);
    Ok(match params {
        Params::Positional(values) if !values.is_empty() => Some(ParamValues::from(
            values.iter().map(scalar).collect::<Result<Vec<_>>>()?,
        )),
        Params::Named(values) if !values.is_empty() => {
            let named = values
                .iter()
                .map(|(name, param)| Ok((name.clone(), scalar(param)?)));
            Some(ParamValues::from(
                named.collect::<Result<Vec<(String, ScalarValue)>>>()?,
            ))
        }
        _ => None,
    })
}

/// The tables at and below a place. Nothing is opened that is not asked for.
struct Tables {
    place: DeltaLakeConfig,
    version: Option<Version>,
    state: SessionContext,
}

impl Tables {
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

    async fn open(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        for (target, version) in self.targets(name)? {
            let log_store = Place::find(&self.place, &target)?.log_store;
            if !log_store
                .is_delta_table_location()
                .await
                .map_err(from_delta)?
            {
                continue;
            }
            let mut table = DeltaTable::new(log_store, DeltaTableConfig::default());
            let opened = match version {
                None => table.load().await,
                Some(Version::Number(version)) => table.load_version(version).await,
                Some(Version::Time(time)) => table.load_with_datetime(time).await,
            };
            opened.map_err(from_delta)?;
            if let Some(Version::Time(time)) = version {
                check_time(&table, time)?;
            }
            table
                .update_datafusion_session(&self.state.state())
                .map_err(from_delta)?;
            return table
                .table_provider()
                .await
                .map(Some)
                .map_err(from_datafusion);
        }
        Ok(None)
    }
}

/// Refuses a time before the table was there: its first version would stand for it.
fn check_time(table: &DeltaTable, asked: DateTime<Utc>) -> Result<()> {
    let state = table.snapshot().map_err(from_delta)?;
    let made = state
        .version_timestamp(state.version())
        .and_then(DateTime::from_timestamp_millis);
    match made.filter(|made| asked < *made) {
        Some(made) => {
            let message =
                format!("the table has no version of {asked}: the first that is left is of {made}");
            Err(Error::new(ErrorKind::NotFound, message))
        }
        None => Ok(()),
    }
}

#[async_trait]
impl SchemaProvider for Tables {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        vec![THIS.into()]
    }

    fn table_exist(&self, _: &str) -> bool {
        true
    }

    async fn table(&self, name: &str) -> datafusion::error::Result<Option<Arc<dyn TableProvider>>> {
        self.open(name)
            .await
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
