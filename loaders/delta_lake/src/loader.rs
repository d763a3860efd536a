//! The loader: what Delta tables can do, and what a load would do to them.

use arrow_schema::DataType;
use arrowload_core::{
    Atomicity, BatchSize, Capabilities, DataLoader, LoadRequest, LoadState, Mode, Plan, Result,
    TypeSupport,
};

use crate::config::DeltaLakeConfig;
use crate::options::{DeltaLakeOptions, Nanoseconds};
use crate::place::Place;
use crate::session::DeltaLakeSession;
use crate::table;
use crate::target::Target;
use crate::types::{name, support};

/// Loads into Delta Lake tables. See the crate's page.
#[derive(Debug)]
pub struct DeltaLakeLoader {
    config: DeltaLakeConfig,
}

impl DataLoader for DeltaLakeLoader {
    const NAME: &'static str = "delta_lake";
    const URL_SCHEMES: &'static [&'static str] = &["delta"];
    const CAPABILITIES: Capabilities = Capabilities::new(&Mode::ALL, Atomicity::Load)
        .create_target()
        .schema_evolution()
        .load_ids()
        .checksum()
        .parallel()
        .change_limits()
        .batch(BatchSize {
            min_rows: 1024,
            max_rows: 1 << 17,
            max_bytes: 16 << 20,
        });

    type Config = DeltaLakeConfig;
    type Options = DeltaLakeOptions;
    type Session = DeltaLakeSession;

    async fn connect(config: DeltaLakeConfig) -> Result<Self> {
        Ok(Self { config })
    }

    async fn begin(&self, request: LoadRequest<DeltaLakeOptions>) -> Result<DeltaLakeSession> {
        let place = Place::find(&self.config, &request.target)?;
        DeltaLakeSession::begin(Target::of(place, &request).await?, request)
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        support(data_type, Nanoseconds::Refuse)
    }

    async fn plan(&self, request: &LoadRequest<DeltaLakeOptions>) -> Result<Plan> {
        let mut plan = Plan::from_types(&request.schema, |data_type| {
            support(data_type, request.options.nanoseconds)
        });
        if plan
            .columns
            .iter()
            .any(|column| matches!(column.support, TypeSupport::Unsupported(_)))
        {
            return Ok(plan);
        }
        let target = Target::of(Place::find(&self.config, &request.target)?, request).await?;
        for (field, source) in target
            .mapping
            .schema
            .fields()
            .iter()
            .zip(&target.mapping.sources)
        {
            if let Some(index) = source {
                plan.columns[*index].target_type = name(field.data_type());
            }
        }
        plan.target_exists = target.table.is_some();
        plan.resources = vec![target.place.log_store.root_url().to_string()];
        Ok(plan)
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        table::find_load(&Place::find(&self.config, target)?.log_store, load_id).await
    }

    fn config_from_url(url: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
        let path = url.split_once("://").map_or(url, |(_, path)| path);
        Ok([("table_path".to_owned(), path.into())]
            .into_iter()
            .collect())
    }
}
