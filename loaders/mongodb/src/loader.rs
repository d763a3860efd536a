//! The loader: connects, looks at targets, begins loads, and knows which have committed.

use arrow_schema::DataType;
use arrowload_core::{
    Atomicity, BatchSize, Begun, Capabilities, DataLoader, LoadRequest, LoadState, Mode, Plan,
    Rejects, Result, TargetColumns, TypeSupport,
};
use serde_json::{Map, Value};

use crate::config::{self, Connected, MongoConfig};
use crate::ledger::Ledger;
use crate::options::MongoOptions;
use crate::session::MongoSession;
use crate::target::{self, Decision, Resolved};
use crate::types;

/// Loads into collections of MongoDB.
#[derive(Debug)]
pub struct MongoLoader {
    connected: Connected,
}

impl DataLoader for MongoLoader {
    const NAME: &'static str = "mongodb";
    const URL_SCHEMES: &'static [&'static str] = config::URL_SCHEMES;
    const ENVIRONMENT: &'static [(&'static str, &'static str)] = config::ENVIRONMENT;
    const CAPABILITIES: Capabilities = Capabilities::new(&Mode::ALL, Atomicity::Load)
        .create_target()
        .schema_evolution()
        .load_ids()
        .skip_rows()
        .batch(BatchSize {
            min_rows: 0,
            max_rows: 1 << 15,
            max_bytes: 8 << 20,
        });

    type Config = MongoConfig;
    type Options = MongoOptions;
    type Resolved = Resolved;
    type Session = MongoSession;

    async fn connect(config: MongoConfig) -> Result<Self> {
        Ok(Self {
            connected: config.connect().await?,
        })
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        types::support(data_type, &MongoOptions::default())
    }

    async fn resolve(&self, request: &LoadRequest<MongoOptions>) -> Result<Resolved> {
        target::resolve(&self.connected, request).await
    }

    fn plan(request: &LoadRequest<MongoOptions>, resolved: &Resolved) -> Plan {
        match &resolved.0 {
            Decision::Recorded(load) => target::recorded(request, load),
            Decision::New(target) => target.plan(request),
        }
    }

    async fn begin(
        &self,
        request: LoadRequest<MongoOptions>,
        resolved: Resolved,
        rejects: Rejects,
    ) -> Result<Begun<MongoSession>> {
        match resolved.0 {
            Decision::Recorded(load) => Ok(Begun::AlreadyLoaded(load.receipt)),
            Decision::New(target) => {
                MongoSession::begin(&self.connected, request, *target, rejects).await
            }
        }
    }

    async fn ping(&self) -> Result<()> {
        self.connected.ping().await
    }

    async fn describe(&self, target: &str) -> Result<Option<TargetColumns>> {
        let database = self.connected.database();
        if !target::is_there(&database, target).await? {
            return Ok(None);
        }
        let uuid = target::uuid(&database, target).await?;
        let columns = Ledger::of(&database)
            .columns(target, uuid.as_deref())
            .await?;
        Ok(columns.map(|schema| TargetColumns::of_schema(&schema)))
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        let database = self.connected.database();
        match Ledger::of(&database).find(target, load_id).await? {
            Some(load) if target::is_committed(&database, &load).await? => {
                Ok(LoadState::committed(load.receipt))
            }
            _ => Ok(LoadState::NotCommitted),
        }
    }

    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        config::from_url(url)
    }
}
