//! The loader: what Delta tables can do, and what a load would do to them.

use arrow_schema::DataType;
use arrowload_core::{
    Atomicity, BatchSize, Begun, Capabilities, DataLoader, Error, ErrorKind, LoadRequest,
    LoadState, Mode, Plan, Rejects, Result, TargetColumns, TargetNames, TypeSupport,
};

use crate::config::DeltaLakeConfig;
use crate::ledger::Absent;
use crate::options::{DeltaLakeOptions, Nanoseconds};
use crate::place::Place;
use crate::plan::{described, planned};
use crate::resolve::{Found, resolve};
use crate::session::DeltaLakeSession;
use crate::table::Table;
use crate::types::support;

/// Loads into Delta Lake tables. See the crate's page.
#[derive(Debug)]
pub struct DeltaLakeLoader {
    config: DeltaLakeConfig,
    absent: Absent,
}

impl DataLoader for DeltaLakeLoader {
    const NAME: &'static str = "delta_lake";
    const URL_SCHEMES: &'static [&'static str] = &["delta"];
    const CAPABILITIES: Capabilities = Capabilities::new(&Mode::ALL, Atomicity::Load)
        .create_target()
        .schema_evolution()
        .load_ids()
        .target_names(TargetNames::Path)
        .checksum()
        .parallel()
        .change_limits()
        .batch(BatchSize {
            min_rows: 1024,
            max_rows: 1 << 16,
            max_bytes: 16 << 20,
        });

    type Config = DeltaLakeConfig;
    type Options = DeltaLakeOptions;
    type Resolved = DeltaLakeTarget;
    type Session = DeltaLakeSession;

    async fn connect(config: DeltaLakeConfig) -> Result<Self> {
        let absent = Absent::default();
        Ok(Self { config, absent })
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        support(data_type, Nanoseconds::Refuse)
    }

    async fn resolve(&self, request: &LoadRequest<DeltaLakeOptions>) -> Result<DeltaLakeTarget> {
        let place = Place::find(&self.config, &request.target)?;
        let identity = place.identity();
        let found = resolve(place, request).await?;
        Ok(DeltaLakeTarget { found, identity })
    }

    fn plan(request: &LoadRequest<DeltaLakeOptions>, found: &DeltaLakeTarget) -> Plan {
        let nanoseconds = request.options.nanoseconds;
        let new = Plan::with_types::<Self>(request, |data_type| support(data_type, nanoseconds));
        let mut plan = planned(new, request, &found.found);
        plan.identity.clone_from(&found.identity);
        plan
    }

    async fn begin(
        &self,
        request: LoadRequest<DeltaLakeOptions>,
        found: DeltaLakeTarget,
        _: Rejects,
    ) -> Result<Begun<DeltaLakeSession>> {
        let Found::Fits(target) = found.found else {
            let message = "the load has a column whose type Delta cannot hold";
            return Err(Error::new(ErrorKind::UnsupportedType, message));
        };
        let target = target.refreshed(&request).await?;
        if let Some(table) = &target.table
            && !self.absent.is_known(table, &request.load_id)
            && let Some(recorded) = table.find_load(&request.load_id).await?
        {
            return Ok(Begun::AlreadyLoaded(recorded.receipt));
        }
        DeltaLakeSession::begin(target, request)
            .await
            .map(Begun::Session)
    }

    async fn describe(&self, target: &str) -> Result<Option<TargetColumns>> {
        let place = Place::find(&self.config, target)?;
        let table = Table::open(&place.log_store, false).await;
        let table = table.map_err(|error| place.refusal(error))?;
        table.map(|table| described(&table)).transpose()
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        let place = Place::find(&self.config, target)?;
        let found = self.absent.find_load(&place.log_store, load_id).await;
        found.map_err(|error| place.refusal(error))
    }

    fn config_from_url(url: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
        let path = url.split_once("://").map_or(url, |(_, path)| path);
        Ok([("table_path".to_owned(), path.into())]
            .into_iter()
            .collect())
    }
}

/// A table as it was found, and what a load would make of it.
pub struct DeltaLakeTarget {
    found: Found,
    /// The identity, which distinguishes it from other targets.
    identity: Option<String>,
}
