//! The loader: connects, says what a load would do, begins loads, and knows which have committed.

use std::sync::Arc;

use arrow_schema::DataType;
use arrowload_core::{
    Atomicity, BatchSize, Capabilities, ColumnPlan, DataLoader, Error, ErrorKind, LoadRequest,
    LoadState, Mode, Plan, Result, TypeSupport,
};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use crate::config::{self, RedisConfig};
use crate::key::{KeyPattern, Names, default_pattern};
use crate::nodes::Nodes;
use crate::options::{DataStructure, Encoding, NullKey, Overwrite, RedisOptions, StreamEntry};
use crate::rows::Rows;
use crate::session::{Begun, RedisSession, replaces};
use crate::target::{Load, Own, Record};
use crate::types;

/// Loads into Redis, Valkey and other servers of their protocol.
#[derive(Debug)]
pub struct RedisLoader {
    config: Arc<RedisConfig>,
}

type Request = LoadRequest<RedisOptions>;

/// What the server says of a target, and what the load is to do with it.
struct Looked {
    begun: Begun,
    exists: bool,
}

fn invalid(key: &'static str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, message).with("key", key)
}

/// Options that do not go together.
fn check(request: &Request) -> Result<()> {
    use DataStructure as S;
    let options = &request.options;
    let structure = options.data_structure;
    if request.target == "arrowload" || request.target.starts_with(crate::target::PREFIX) {
        return Err(invalid(
            "target",
            "keys that begin with `arrowload:` are the loader's own; choose another target",
        ));
    }
    if options.null_key == NullKey::Skip && !request.rejects.accepts() && request.load_id != "plan"
    {
        return Err(invalid(
            "null_key",
            "null_key = skip needs on_error = skip, so that the rows are set aside and do not vanish",
        ));
    }
    if options.if_not_exists && structure.repeats() {
        return Err(invalid(
            "if_not_exists",
            format!(
                "data_structure = {} has no items that could be there already",
                structure.name()
            ),
        ));
    }
    if options.if_not_exists && structure == S::Timeseries {
        return Err(invalid(
            "if_not_exists",
            "for timeseries set duplicate_policy = first",
        ));
    }
    let json_expires =
        options.ttl.is_some() || options.ttl_column.is_some() || options.expire_at.is_some();
    if options.if_not_exists
        && json_expires
        && !matches!(structure, S::Hash | S::Vector | S::String)
    {
        return Err(invalid(
            "if_not_exists",
            "with a time of expiry, if_not_exists serves hash, vector and string only",
        ));
    }
    if request.mode == Mode::Upsert && structure.repeats() {
        let message = format!(
            "a {} has no keys that rows could be replaced by; use append or overwrite",
            structure.name()
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    if structure != S::Stream
        && (options.stream_entry == StreamEntry::Batch
            || options.maxlen.is_some()
            || options.minid.is_some())
    {
        return Err(invalid(
            "stream_entry",
            "stream_entry, maxlen and minid need data_structure = stream",
        ));
    }
    if options.maxlen.is_some() && options.minid.is_some() {
        return Err(invalid("maxlen", "maxlen and minid exclude one another"));
    }
    if options.stream_entry == StreamEntry::Batch && request.rejects.accepts() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "stream_entry = batch has no single rows that on_error = skip could set aside",
        ));
    }
    if options.index.is_some() && structure != S::Vector {
        return Err(invalid("index", "index needs data_structure = vector"));
    }
    if options.encoding != Encoding::Json
        && matches!(
            structure,
            S::Hash | S::Vector | S::Json | S::Stream | S::Timeseries
        )
    {
        return Err(invalid(
            "encoding",
            format!(
                "encoding does not serve data_structure = {}",
                structure.name()
            ),
        ));
    }
    if !(1_024..=64 << 20).contains(&options.pipeline_bytes) {
        return Err(invalid(
            "pipeline_bytes",
            "pipeline_bytes is between 1,024 and 67,108,864",
        ));
    }
    Ok(())
}

impl RedisLoader {
    /// Decides everything that can be before the first row, and changes nothing.
    async fn look(&self, request: &Request) -> Result<Looked> {
        check(request)?;
        Rows::new(&request.schema, &request.options)?;
        let mut nodes = Nodes::find(&self.config).await?;
        let own = Own::of(&request.target, &request.load_id);
        let found = Record::read(&mut nodes, &own).await?;
        let key = own.generation.as_bytes();
        let current = nodes.call(key, &[b"GET", key]).await?.text();
        let generations = request.options.overwrite == Overwrite::Generation;
        // An attempt that is run again makes the same generation, and never the one that readers see.
        let named = format!(
            "{}\n{}",
            request.load_id,
            current.as_deref().unwrap_or_default()
        );
        let made = (generations && (request.mode == Mode::Overwrite || current.is_none()))
            .then(|| format!("{:012x}", xxh3_64(named.as_bytes()) >> 16));
        let text = request.options.key_pattern.clone().unwrap_or_else(|| {
            default_pattern(
                &request.keys,
                request.options.data_structure.gathers(),
                generations || current.is_some(),
            )
        });
        if generations && !text.contains("{generation}") {
            return Err(invalid(
                "key_pattern",
                "overwrite = generation needs {generation} in the key_pattern",
            ));
        }
        let names = Names {
            target: &request.target,
            load_id: &request.load_id,
            generation: made.as_deref().or(current.as_deref()),
        };
        let pattern = KeyPattern::parse(&text, &request.schema, names)?;
        let record = Record::after(found.as_ref(), request, &text)?;
        let before = Names {
            generation: current.as_deref(),
            ..names
        };
        let old = record
            .patterns
            .iter()
            .filter_map(|old| KeyPattern::of_keys(old, before).ok())
            .collect();
        self.check_keys(request, &pattern, &nodes)?;
        crate::modules::check(&mut nodes, request).await?;
        let exists = found.is_some();
        let begun = Begun {
            nodes,
            own,
            record,
            pattern,
            old,
            generation: made,
        };
        let mut looked = Looked { begun, exists };
        if request.mode == Mode::Create && !exists {
            looked.exists = self.has_keys(&mut looked.begun, request).await?;
        }
        request.must_create(looked.exists)?;
        Ok(looked)
    }

    fn check_keys(&self, request: &Request, pattern: &KeyPattern, nodes: &Nodes) -> Result<()> {
        let structure = request.options.data_structure;
        if !structure.gathers() && pattern.constant().is_some() {
            let message = format!(
                "the key_pattern `{}` gives all rows one key, and each {} is one row; name a column",
                pattern.text,
                structure.name()
            );
            return Err(invalid("key_pattern", message));
        }
        if request.mode == Mode::Upsert && pattern.is_numbered() {
            let message = format!(
                "the key_pattern `{}` gives each row a key of its own, so that an upsert would replace none",
                pattern.text
            );
            return Err(invalid("key_pattern", message));
        }
        let builds_aside = structure.repeats() || replaces(request, pattern);
        if let (true, Some(key)) = (builds_aside, pattern.constant()) {
            crate::stage::check(nodes, key, &crate::stage::stage_key(key, "nonce"))?;
        }
        Ok(())
    }

    /// For `create`: whether there is a key of the pattern that this very load has not made.
    async fn has_keys(&self, begun: &mut Begun, request: &Request) -> Result<bool> {
        let claim = begun.own.claim.as_bytes();
        if begun
            .nodes
            .call(claim, &[b"GET", claim])
            .await?
            .bytes()
            .as_deref()
            == Some(request.load_id.as_bytes())
        {
            return Ok(false);
        }
        let mut any = false;
        let pattern = begun.pattern.clone();
        if let Some(key) = pattern.constant() {
            return Ok(begun.nodes.call(key, &[b"EXISTS", key]).await?.int() == Some(1));
        }
        begun
            .nodes
            .scan(&pattern.glob(), |keys| {
                any |= keys.iter().any(|key| pattern.owns(key));
                !any
            })
            .await?;
        Ok(any)
    }
}

impl DataLoader for RedisLoader {
    const NAME: &'static str = "redis";
    const URL_SCHEMES: &'static [&'static str] = config::URL_SCHEMES;
    const ENVIRONMENT: &'static [(&'static str, &'static str)] = config::ENVIRONMENT;
    const CAPABILITIES: Capabilities = Capabilities::new(&Mode::ALL, Atomicity::Row)
        .create_target()
        .schema_evolution()
        .load_ids()
        .skip_rows()
        .batch(BatchSize {
            min_rows: 0,
            max_rows: 1 << 16,
            max_bytes: 16 << 20,
        });

    type Config = RedisConfig;
    type Options = RedisOptions;
    type Session = RedisSession;

    async fn connect(config: RedisConfig) -> Result<Self> {
        let config = Arc::new(config);
        Nodes::find(&config).await?;
        Ok(Self { config })
    }

    async fn begin(&self, request: Request) -> Result<RedisSession> {
        let looked = self.look(&request).await?;
        let mut session = RedisSession::new(looked.begun, request)?;
        session.create_index().await?;
        Ok(session)
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        types::support(data_type)
    }

    async fn plan(&self, request: &Request) -> Result<Plan> {
        let looked = self.look(request).await?;
        let mut plan = Plan::from_types(&request.schema, Self::supports_type);
        plan.target_exists = looked.exists;
        for planned in &mut plan.columns {
            let planned_type = types::target_type(request.options.data_structure, &planned.support);
            *planned = ColumnPlan {
                target_type: planned_type,
                ..planned.clone()
            };
        }
        let places: Vec<String> = looked
            .begun
            .nodes
            .topology
            .places
            .iter()
            .map(ToString::to_string)
            .collect();
        plan.resources = vec![format!("1 connection to each of {}", places.join(", "))];
        plan.ddl = vec![format!("keys `{}`", looked.begun.pattern.text)];
        Ok(plan)
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        let mut nodes = Nodes::find(&self.config).await?;
        let own = Own::of(target, load_id);
        let Some(load) = Load::find(&mut nodes, &own).await? else {
            return Ok(LoadState::NotCommitted);
        };
        if let Some(movement) = &load.moving {
            // It is recorded, and was cut off before all of it was in place.
            movement.run(&mut nodes, load.rows).await?;
            load.moved(&mut nodes, &own).await?;
        }
        Ok(LoadState::Committed(load.receipt()))
    }

    async fn ping(&self) -> Result<()> {
        Nodes::find(&self.config).await.map(|_| ())
    }

    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        config::from_url(url)
    }
}
