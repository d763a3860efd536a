//! A target as it was found, and what a load is to do there: decided once, before the first row.

use arrow_schema::DataType;
use arrowload_core::{
    AfterFailure, Atomicity, Error, ErrorKind, Guarantees, LoadRequest, Mode, Plan, Result,
};

use crate::RedisOptions;
use crate::key::{KeyPattern, Names, default_pattern};
use crate::lease::{Attempt, Held};
use crate::ledger::{self, Load};
use crate::loader::RedisLoader;
use crate::nodes::Nodes;
use crate::options::{self, Overwrite, StreamEntry};
use crate::own::Own;
use crate::pool::{Leased, Pool};
use crate::record::{Record, Seen};
use crate::structures::Rows;
use crate::{lease, limits, modules, stage, types};

type Request = LoadRequest<RedisOptions>;

/// What was found at a target, and what a load will do there.
#[derive(Debug)]
pub enum Resolved {
    /// The load is recorded already.
    Recorded(Box<Recorded>),
    /// It is to be written.
    New(Box<Target>),
}

/// A load that was there already.
#[derive(Debug)]
pub struct Recorded {
    pub(crate) nodes: Leased,
    pub(crate) own: Own,
    pub(crate) load: Load,
}

/// How the rows of a load become visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Each as it is written.
    InPlace,
    /// They are staged, and added to their keys once the load is recorded.
    Moved,
    /// They are staged under keys that take the place of others once the load is recorded.
    Replaced,
    /// They are the keys of a new generation, which readers are switched to as the load is recorded.
    Generation(String),
}

impl Manner {
    pub(crate) fn stages(&self) -> bool {
        matches!(self, Self::Moved | Self::Replaced)
    }

    pub(crate) fn generation(&self) -> Option<&str> {
        match self {
            Self::Generation(generation) => Some(generation),
            _ => None,
        }
    }
}

/// A target, and what a load will do there.
pub struct Target {
    pub(crate) nodes: Leased,
    pub(crate) own: Own,
    pub(crate) seen: Seen,
    pub(crate) exists: bool,
    /// Rows of an earlier run of this very load, which was cut off before its record, are there.
    pub(crate) resumes: bool,
    pub(crate) pattern: KeyPattern,
    pub(crate) manner: Manner,
    pub(crate) rows: Rows,
    /// Distinguishes this attempt from all others.
    pub(crate) nonce: String,
    /// Its unfinished work while it runs, if any.
    pub(crate) attempt: Option<Attempt>,
    /// Its lease, once it has begun.
    pub(crate) held: Option<Held>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the target {}", self.own.target())
    }
}

/// A name that no other attempt has.
fn nonce() -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = || {
        std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish()
    };
    format!("{:016x}{:016x}", random(), random())
}

fn bad_pattern(pattern: &KeyPattern, why: &str) -> Error {
    let message = format!("the key_pattern `{}` {why}", pattern.text);
    Error::new(ErrorKind::InvalidOption, message).with("key", "key_pattern")
}

/// Looks at a target, and decides everything that can be before the first row.
pub(crate) async fn resolve(pool: &Pool, request: &Request) -> Result<Resolved> {
    options::check(request)?;
    let rows = Rows::new(&request.schema, &request.options)?;
    let mut nodes = pool.take().await?;
    let own = Own::of(&request.target, &request.load_id);
    let seen = Seen::read(&mut nodes, &own).await?;
    if let Some(load) = seen.load {
        nodes.rest();
        return Ok(Resolved::Recorded(Box::new(Recorded { nodes, own, load })));
    }
    // The field does not exist, so this changes nothing; a server or user that does not accept writes gives an
    // error now.
    let attempts = own.attempts.as_bytes();
    nodes.call(attempts, &[b"HDEL", attempts, b"-"]).await?;

    let nonce = nonce();
    let text = pattern_text(request, &seen)?;
    let made = makes_generation(request, &seen).then(|| nonce[..12].to_owned());
    let names = Names {
        target: &request.target,
        load_id: &request.load_id,
        generation: made.as_deref().or(seen.generation.as_deref()),
    };
    let pattern = KeyPattern::parse(&text, &request.schema, names)?;
    Record::after(seen.record.as_ref(), request, &text)?;
    let manner = manner(request, &pattern, made);
    check_pattern(request, &pattern, &manner, &nodes)?;
    check_ownership(request, &pattern, &manner, &seen)?;
    modules::check(&mut nodes, request).await?;
    let attempt = attempt(request, &pattern, &manner);
    let mut target = Target {
        exists: seen.record.is_some(),
        resumes: false,
        nodes,
        own,
        seen,
        pattern,
        manner,
        rows,
        nonce,
        attempt,
        held: None,
    };
    if request.load.mode == Mode::Create && !target.exists {
        let has_keys = target.has_keys().await?;
        target.resumes = has_keys && target.was_begun(request);
        target.exists = has_keys && !target.resumes;
    }
    request.must_create(target.exists)?;
    if let Some(attempt) = &target.attempt {
        let others = &target.seen.attempts;
        attempt
            .check(&mut target.nodes, &target.own, others)
            .await?;
    }
    let wanted = request.options.data_structure.name();
    if let (Manner::Moved, Some(key)) = (&target.manner, target.pattern.constant()) {
        stage::check_kind(&mut target.nodes, wanted, &[key.to_vec()]).await?;
    }
    if target.manner.stages() && !target.pattern.start().is_empty() {
        let sample = [target.pattern.start(), b"0"].concat();
        let key = target.pattern.constant().unwrap_or(&sample);
        stage::check_may_move(&mut target.nodes, key).await?;
    }
    let attempts = &target.seen.attempts;
    lease::check_cut_off(&mut target.nodes, &target.own, attempts).await?;
    target.check_limits(request).await?;
    target.nodes.rest();
    Ok(Resolved::New(Box::new(target)))
}

fn makes_generation(request: &Request, seen: &Seen) -> bool {
    request.options.overwrite == Overwrite::Generation
        && (request.load.mode == Mode::Overwrite || seen.generation.is_none())
}

fn pattern_text(request: &Request, seen: &Seen) -> Result<String> {
    let options = &request.options;
    let generations = options.overwrite == Overwrite::Generation;
    let text = options.key_pattern.clone().unwrap_or_else(|| {
        default_pattern(
            &request.load.keys,
            options.data_structure.facts().gathers,
            generations || seen.generation.is_some(),
        )
    });
    if generations && !text.contains("{generation}") {
        let message = "overwrite = generation needs {generation} in the key_pattern";
        return Err(Error::new(ErrorKind::InvalidOption, message).with("key", "key_pattern"));
    }
    Ok(text)
}

fn manner(request: &Request, pattern: &KeyPattern, generation: Option<String>) -> Manner {
    let facts = request.options.data_structure.facts();
    let whole = matches!(request.load.mode, Mode::Create | Mode::Overwrite);
    let one_key = facts.gathers && pattern.constant().is_some() && facts.module.is_none();
    let overwrites = request.load.mode == Mode::Overwrite;
    match generation {
        Some(generation) => Manner::Generation(generation),
        None if whole && one_key || overwrites && facts.repeats => Manner::Replaced,
        None if facts.repeats => Manner::Moved,
        None => Manner::InPlace,
    }
}

fn attempt(request: &Request, pattern: &KeyPattern, manner: &Manner) -> Option<Attempt> {
    let constant = pattern.constant().filter(|_| manner.stages());
    let in_place = *manner == Manner::InPlace;
    let attempt = Attempt {
        load_id: request.load_id.clone(),
        creates: request.load.mode == Mode::Create,
        empties: request.load.mode == Mode::Overwrite && in_place,
        stages: manner.stages(),
        key: constant.map(|key| String::from_utf8_lossy(key).into_owned()),
        generation: manner
            .generation()
            .map(|generation| (generation.to_owned(), pattern.text.clone())),
        recorded: false,
    };
    (!in_place || attempt.creates || attempt.empties).then_some(attempt)
}

fn check_pattern(
    request: &Request,
    pattern: &KeyPattern,
    manner: &Manner,
    nodes: &Nodes,
) -> Result<()> {
    let facts = request.options.data_structure.facts();
    if !facts.gathers && pattern.constant().is_some() {
        let why = format!(
            "gives all rows one key, and each {} is one row; name a column",
            facts.name
        );
        return Err(bad_pattern(pattern, &why));
    }
    if request.load.mode == Mode::Upsert && pattern.is_numbered() {
        let why = "gives each row a key of its own, so that an upsert would replace none";
        return Err(bad_pattern(pattern, why));
    }
    let batches = request.options.stream_entry == StreamEntry::Batch;
    if batches && pattern.constant().is_none() {
        let why = "names columns, and stream_entry = batch writes all rows of a batch to one key";
        return Err(bad_pattern(pattern, why));
    }
    if let (true, Some(key)) = (manner.stages(), pattern.constant()) {
        stage::check(nodes, key, &stage::stage_key(key, "nonce"))?;
    }
    Ok(())
}

/// Loads that remove keys, or check that there are none, must know which keys belong to the target.
fn check_ownership(
    request: &Request,
    pattern: &KeyPattern,
    manner: &Manner,
    seen: &Seen,
) -> Result<()> {
    let mode = request.load.mode;
    if matches!(mode, Mode::Create | Mode::Overwrite) || manner.generation().is_some() {
        pattern.must_be_told_apart(mode.name())?;
    }
    // An upsert matches rows by their keys in Redis: those under other patterns would stay beside the new
    // ones.
    if mode == Mode::Upsert
        && let Some(record) = &seen.record
        && let Some(other) = record.patterns.iter().find(|known| **known != pattern.text)
    {
        let message = format!(
            "`{}` has rows under keys like `{other}`, where an upsert by `{}` does not find them: set key_pattern to theirs, or overwrite the target",
            request.target, pattern.text
        );
        return Err(Error::new(ErrorKind::SchemaMismatch, message).with("key", "key_pattern"));
    }
    let record = seen.record.as_ref().filter(|_| mode == Mode::Overwrite);
    let texts = record.map_or(&[][..], |record| &record.patterns);
    ledger::patterns(texts, &request.target, seen.generation.as_deref())
        .iter()
        .try_for_each(|old| old.must_be_told_apart(mode.name()))
}

impl Target {
    /// For `create`: whether an earlier run of this very load was begun, so that what is there may be its own.
    fn was_begun(&self, request: &Request) -> bool {
        let mut attempts = self.seen.attempts.iter();
        attempts.any(|(_, attempt)| attempt.creates && attempt.load_id == request.load_id)
    }

    /// For `create`: whether there is a key of the pattern.
    async fn has_keys(&mut self) -> Result<bool> {
        if let Some(key) = self.pattern.constant() {
            return Ok(self.nodes.call(key, &[b"EXISTS", key]).await?.int() == Some(1));
        }
        let mut any = false;
        let pattern = &self.pattern;
        let found = |keys: Vec<Vec<u8>>| {
            any |= keys.iter().any(|key| pattern.owns(key));
            !any
        };
        self.nodes.scan(&pattern.glob(), found).await?;
        Ok(any)
    }

    /// The patterns of the keys that an overwrite replaces.
    pub(crate) fn old(&self) -> Vec<KeyPattern> {
        old_patterns(&self.own, &self.pattern, &self.seen)
    }

    async fn check_limits(&mut self, request: &Request) -> Result<()> {
        limits::check_countable(request, self)?;
        let old = self.old();
        limits::check(&mut self.nodes, request, &old, self.seen.record.as_ref()).await
    }

    pub(crate) fn plan(&self, request: &Request) -> Plan {
        let structure = request.options.data_structure;
        let support = |data_type: &DataType| types::support_in(structure, data_type);
        let mut plan = Plan::with_types::<RedisLoader>(request, support);
        plan.target_exists = self.exists || self.resumes;
        for column in &mut plan.columns {
            column.target_type = types::target_type(structure, &column.support);
        }
        let places = self.nodes.topology.places.iter();
        let places: Vec<String> = places.map(ToString::to_string).collect();
        let own = &self.own;
        let mut used = vec![format!("1 connection to each of {}", places.join(", "))];
        used.push(format!("keys `{}`", self.pattern.text));
        used.push(format!("keys `{}` and `{}`", own.record, own.ledger));
        if self.manner.generation().is_some() {
            used.push(format!("key `{}`", own.generation));
        }
        if self.resumes {
            used.push(
                "rows of an earlier run of this load, which was cut off: they are written again"
                    .into(),
            );
        }
        if self.attempt.is_some() {
            let (attempts, lease) = (&own.attempts, own.lease("…"));
            let staged = match self.manner.stages() {
                true => format!(", `{}…`", stage::START),
                false => String::new(),
            };
            used.push(format!(
                "keys `{attempts}`, `{lease}`{staged}, until the load is in place"
            ));
        }
        plan.resources = used;
        let index = request.options.index.as_ref();
        plan.ddl = index.map_or_else(Vec::new, |index| vec![format!("FT.CREATE {index}")]);
        plan.guarantees = self.guarantees(request, plan.guarantees);
        plan
    }

    fn guarantees(&self, request: &Request, most: Guarantees) -> Guarantees {
        let mut held = most;
        let batches = request.options.stream_entry == StreamEntry::Batch;
        held.skip_rows = !batches;
        let limits = request.load.limits();
        let updates = limits.is_empty() || limits.updates.is_some();
        held.change_limits = limits::uncountable(request, self, updates).is_none();
        held.after_failure = AfterFailure::UNCHANGED;
        // Where there is more than one key, they come and go one by one.
        let one_key = self.pattern.constant().is_some();
        let only_key = one_key && self.old().iter().all(|old| old.text == self.pattern.text);
        held.atomicity = match self.manner {
            Manner::Generation(_) => Atomicity::Load,
            Manner::Replaced if only_key => Atomicity::Load,
            Manner::Replaced | Manner::Moved | Manner::InPlace => Atomicity::Row,
        };
        if self.manner == Manner::InPlace {
            held.after_failure = held.after_failure.with_new_rows();
            if self.replaces_rows(request) {
                held.after_failure = held.after_failure.with_old_rows_gone();
            }
        }
        if request.options.index.is_some() {
            held.after_failure = held.after_failure.with_schema_evolved();
        }
        held
    }

    /// Whether a row that is written may take the place of one that was there.
    pub(crate) fn replaces_rows(&self, request: &Request) -> bool {
        let options = &request.options;
        match request.load.mode {
            Mode::Create => false,
            Mode::Overwrite => true,
            Mode::Append | Mode::Upsert => {
                let facts = options.data_structure.facts();
                let adds = facts.only_adds || !facts.gathers && self.pattern.is_unique();
                !adds && !options.if_not_exists
            }
        }
    }
}

/// The patterns of the keys that an overwrite replaces: those of the target, and its own.
pub(crate) fn old_patterns(own: &Own, pattern: &KeyPattern, seen: &Seen) -> Vec<KeyPattern> {
    let record = seen.record.as_ref();
    let mut texts = record.map_or_else(Vec::new, |record| record.patterns.clone());
    if !texts.contains(&pattern.text) {
        texts.push(pattern.text.clone());
    }
    ledger::patterns(&texts, own.target(), seen.generation.as_deref())
}
