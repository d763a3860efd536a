//! The loader: connects, looks at targets, begins loads, and knows which have committed.

use arrow_schema::DataType;
use arrowload_core::arrow_types::decoded;
use arrowload_core::{
    Atomicity, BatchSize, Begun, Capabilities, DataLoader, Error, ErrorKind, LoadRequest,
    LoadState, Mode, Plan, Rejects, Result, TargetColumns, TypeSupport,
};
use serde_json::{Map, Value};

use crate::config::{self, RedisConfig};
use crate::lease::Held;
use crate::ledger::{Doubts, Load};
use crate::nodes::Nodes;
use crate::options::RedisOptions;
use crate::own::Own;
use crate::pool::Pool;
use crate::record::Seen;
use crate::session::RedisSession;
use crate::target::{self, Recorded, Resolved, Target};
use crate::{lease, modules, types};

/// Loads into Redis, Valkey and other servers of their protocol.
#[derive(Debug)]
pub struct RedisLoader {
    pool: Pool,
    doubts: Doubts,
}

type Request = LoadRequest<RedisOptions>;

/// Checks the target again, registers the load among those of the target, and removes what dead loads have left. Returns the
/// load, if another run of it has committed meanwhile.
async fn enter(target: &mut Target, request: &Request) -> Result<Option<Load>> {
    let (nodes, own): (&mut Nodes, &Own) = (&mut target.nodes, &target.own);
    let seen = Seen::read(nodes, own).await?;
    if let Some(load) = seen.load {
        return Ok(Some(load));
    }
    if !seen.decides_as(&target.seen) {
        target.nodes.rest();
        let message = format!("another load has changed `{}` meanwhile", request.target);
        return Err(Error::new(ErrorKind::Conflict, message).transient());
    }
    if let Some(attempt) = &target.attempt {
        let (nonce, seconds) = (&target.nonce, request.options.lease);
        attempt.enter(nodes, own, nonce, seconds).await?;
        target.held = Some(Held::of(nodes, own, nonce));
    }
    lease::clear(nodes, own, &request.load_id, &seen.attempts).await?;
    modules::create_index(nodes, request, &target.pattern).await?;
    target.seen = seen;
    Ok(None)
}

/// Answers for a load that is recorded, all of which is in place then.
async fn already_loaded(recorded: Recorded) -> Result<Begun<RedisSession>> {
    let Recorded {
        mut nodes,
        own,
        load,
    } = recorded;
    load.finish(&mut nodes, &own).await?;
    nodes.give_back();
    Ok(Begun::AlreadyLoaded(load.receipt_once_finished()))
}

impl DataLoader for RedisLoader {
    const NAME: &'static str = "redis";
    const URL_SCHEMES: &'static [&'static str] = config::URL_SCHEMES;
    const ENVIRONMENT: &'static [(&'static str, &'static str)] = config::ENVIRONMENT;
    const CAPABILITIES: Capabilities = Capabilities::new(&Mode::ALL, Atomicity::Load)
        .create_target()
        .schema_evolution()
        .load_ids()
        .skip_rows()
        .change_limits()
        .batch(BatchSize {
            min_rows: 0,
            max_rows: 1 << 16,
            max_bytes: 16 << 20,
        });

    type Config = RedisConfig;
    type Options = RedisOptions;
    type Resolved = Resolved;
    type Session = RedisSession;

    async fn connect(config: RedisConfig) -> Result<Self> {
        Ok(Self {
            pool: Pool::connect(config).await?,
            doubts: Doubts::default(),
        })
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        types::support(data_type)
    }

    async fn resolve(&self, request: &Request) -> Result<Resolved> {
        target::resolve(&self.pool, request).await
    }

    fn plan(request: &Request, resolved: &Resolved) -> Plan {
        match resolved {
            Resolved::New(target) => target.plan(request),
            Resolved::Recorded(recorded) => {
                let mut plan = Plan::of::<Self>(request);
                plan.target_exists = true;
                plan.already_loaded = Some(recorded.load.rows);
                plan.incomplete = !recorded.load.is_complete();
                plan
            }
        }
    }

    async fn begin(
        &self,
        request: Request,
        resolved: Resolved,
        rejects: Rejects,
    ) -> Result<Begun<RedisSession>> {
        let mut target = match resolved {
            Resolved::New(target) => *target,
            Resolved::Recorded(recorded) => return already_loaded(*recorded).await,
        };
        if let Some(load) = enter(&mut target, &request).await? {
            let Target { nodes, own, .. } = target;
            return already_loaded(Recorded { nodes, own, load }).await;
        }
        let mut session = RedisSession::new(target, request, rejects, self.doubts.clone());
        session.keep_alive().await?;
        Ok(Begun::Session(session))
    }

    async fn describe(&self, target: &str) -> Result<Option<TargetColumns>> {
        let mut nodes = self.pool.take().await?;
        let seen = Seen::read(&mut nodes, &Own::of(target, "")).await?;
        nodes.give_back();
        let record = seen.record;
        Ok(record.map(|record| {
            let fields = record.schema.fields().iter();
            let plain = |field: &arrow_schema::FieldRef| {
                let kind = decoded(field.data_type()).clone();
                field.as_ref().clone().with_data_type(kind)
            };
            let fields: Vec<_> = fields.map(plain).collect();
            TargetColumns::of_schema(&arrow_schema::Schema::new(fields))
        }))
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        let mut nodes = self.pool.take().await?;
        let own = Own::of(target, load_id);
        let seen = Seen::read(&mut nodes, &own).await?;
        let state = match &seen.load {
            Some(load) => LoadState::Committed {
                receipt: load.receipt(),
                complete: load.is_complete(),
            },
            None if self.doubts.would_be_there(&own) => LoadState::NotCommitted,
            // It may have committed so long ago that its record has expired.
            None if seen.may_have_forgotten(&mut nodes, &own).await? => LoadState::Unknown,
            None => LoadState::NotCommitted,
        };
        nodes.give_back();
        Ok(state)
    }

    async fn recover(&self, target: &str, load_id: &str) -> Result<()> {
        let mut nodes = self.pool.take().await?;
        let own = Own::of(target, load_id);
        if let Some(load) = Load::find(&mut nodes, &own).await? {
            load.finish(&mut nodes, &own).await?;
        }
        nodes.give_back();
        Ok(())
    }

    async fn ping(&self) -> Result<()> {
        let mut nodes = self.pool.take().await?;
        nodes.still_there().await?;
        nodes.give_back();
        Ok(())
    }

    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        config::from_url(url)
    }
}
