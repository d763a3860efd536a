//! What a load does before and after its rows: it empties its target before the first one; after the last one it is recorded,
//! and staged rows are moved into place.

use std::collections::HashSet;

use arrowload_core::{Error, ErrorKind, LoadRequest, Mode, Result};

use crate::RedisOptions;
use crate::error::from_server;
use crate::key::KeyPattern;
use crate::lease::{self, Attempt};
use crate::ledger::{Doubts, Keys, Load, Move, Removal, remove};
use crate::limits;
use crate::nodes::Nodes;
use crate::own::Own;
use crate::record::{EMPTIED, FORGETS, Record, Seen};
use crate::resp::{Reply, command};
use crate::stage;
use crate::target::{Manner, old_patterns};

type Request = LoadRequest<RedisOptions>;

/// How a load becomes visible.
pub(crate) struct Publication {
    pub(crate) own: Own,
    pub(crate) pattern: KeyPattern,
    pub(crate) manner: Manner,
    /// What it was decided by.
    pub(crate) seen: Seen,
    pub(crate) nonce: String,
    /// Its unfinished work, if any.
    pub(crate) attempt: Option<Attempt>,
    pub(crate) doubts: Doubts,
}

/// The outcome of a commit.
pub(crate) enum Commit {
    /// The load is recorded, as this.
    Recorded(Load),
    /// Another run of it was.
    Other(Load),
}

/// How often a commit is tried if other loads conflict with it.
const TRIES: usize = 16;

fn conflict(message: String) -> Error {
    Error::new(ErrorKind::Conflict, message).transient()
}

impl Publication {
    fn empties(&self, request: &Request) -> bool {
        request.load.mode == Mode::Overwrite && self.manner == Manner::InPlace
    }

    /// Whether there is anything to do before the first row.
    pub(crate) fn starts(&self, request: &Request) -> bool {
        self.empties(request)
    }

    /// Empties the target, if the load does so before its first row.
    pub(crate) async fn start(&mut self, nodes: &mut Nodes, request: &Request) -> Result<()> {
        let old = self.check_limits(nodes, request).await?;
        let record = self.own.record.as_bytes();
        // Other loads that are writing find out at their commit.
        let words: [&[u8]; 4] = [b"HINCRBY", record, EMPTIED, b"1"];
        let emptied = nodes.call(record, &words).await?;
        self.seen.emptied = emptied.int().unwrap_or_default();
        remove(nodes, old).await
    }

    async fn check_limits(&self, nodes: &mut Nodes, request: &Request) -> Result<Vec<KeyPattern>> {
        let old = old_patterns(&self.own, &self.pattern, &self.seen);
        limits::check(nodes, request, &old, self.seen.record.as_ref()).await?;
        Ok(old)
    }

    /// Makes the last checks before the load is recorded, and stages the removal of keys that the load replaces by nothing.
    pub(crate) async fn prepare(
        &self,
        nodes: &mut Nodes,
        request: &Request,
        rows: u64,
    ) -> Result<()> {
        if !self.starts(request) {
            let old = self.check_limits(nodes, request).await?;
            if self.manner == Manner::Replaced && request.load.mode == Mode::Overwrite {
                self.stage_removal(nodes, old, rows).await?;
            }
        }
        if self.manner == Manner::Moved {
            let keys = match self.pattern.constant() {
                Some(key) => vec![key.to_vec()],
                None => {
                    let staged = stage::staged(nodes, &self.nonce).await?.into_iter();
                    staged.map(|(_, key)| key).collect()
                }
            };
            stage::check_kind(nodes, request.options.data_structure.name(), &keys).await?;
        }
        wait_for_replicas(nodes, request.options.wait_replicas).await
    }

    async fn stage_removal(
        &self,
        nodes: &mut Nodes,
        old: Vec<KeyPattern>,
        rows: u64,
    ) -> Result<()> {
        let nonce = &self.nonce;
        if let Some(key) = self.pattern.constant() {
            let keys = if rows == 0 {
                vec![key.to_vec()]
            } else {
                Vec::new()
            };
            return stage::stage_removal(nodes, &keys, nonce).await;
        }
        let staged = stage::staged(nodes, nonce).await?;
        let new: HashSet<Vec<u8>> = staged.into_iter().map(|(_, key)| key).collect();
        let mut found = Keys::of(old, Vec::new());
        while let Some(mut keys) = found.next(nodes).await? {
            keys.retain(|key| !new.contains(key));
            stage::stage_removal(nodes, &keys, nonce).await?;
        }
        Ok(())
    }

    /// What is to be moved once the load is recorded.
    fn movement(&self, request: &Request) -> Option<Move> {
        let options = &request.options;
        let key = self.pattern.constant();
        self.manner.stages().then(|| Move {
            nonce: self.nonce.clone(),
            structure: options.data_structure.name().to_owned(),
            key: key.map(|key| String::from_utf8_lossy(key).into_owned()),
            replace: self.manner == Manner::Replaced,
            maxlen: options.maxlen,
            minid: options.minid.clone(),
        })
    }

    /// What is to be removed once the load is recorded.
    fn removal(&self, request: &Request, seen: &Seen) -> Option<Removal> {
        let record = seen.record.as_ref()?;
        let is_staged = self.manner == Manner::Replaced && self.pattern.constant().is_none();
        if request.load.mode != Mode::Overwrite || self.manner == Manner::InPlace || is_staged {
            return None;
        }
        let before = seen.generation.as_deref();
        let generation = self.manner.generation().or(before);
        Removal::of(
            &self.nonce,
            (&record.patterns, before),
            (&self.pattern.text, generation),
        )
    }

    /// Whether what the load was decided by still holds.
    fn check(&self, request: &Request, seen: &Seen) -> Result<()> {
        if self.attempt.is_some() && !seen.is_alive {
            return Err(lease::lapsed());
        }
        if request.load.mode == Mode::Create {
            request.must_create(seen.record.is_some())?;
        }
        let target = &request.target;
        let overwrites = request.load.mode == Mode::Overwrite && self.manner.generation().is_some();
        if !overwrites && seen.generation != self.seen.generation {
            let message =
                format!("another load has switched `{target}` to a new generation meanwhile");
            return Err(conflict(message));
        }
        if self.manner == Manner::InPlace && seen.emptied != self.seen.emptied {
            let message = format!("another load has overwritten `{target}` meanwhile");
            return Err(conflict(message));
        }
        Ok(())
    }

    /// Records the load, its target and the generation in one transaction, unless another run of it has.
    pub(crate) async fn commit(
        &self,
        nodes: &mut Nodes,
        request: &Request,
        (rows, bytes, rejected): (u64, u64, u64),
    ) -> Result<Commit> {
        let lease = self.own.lease(&self.nonce);
        for _ in 0..TRIES {
            let seen = Seen::watch(nodes, &self.own, &lease).await?;
            if let Some(other) = seen.load {
                nodes
                    .call(self.own.ledger.as_bytes(), &[b"UNWATCH"])
                    .await?;
                return Ok(Commit::Other(other));
            }
            self.check(request, &seen)?;
            let load = Load {
                rows,
                bytes,
                rejected,
                definition: request.definition.clone(),
                mark: request.mark.clone(),
                ttl: request.options.ledger_ttl,
                moving: self.movement(request),
                removing: self.removal(request, &seen),
            };
            let (words, count) = self.transaction(request, &seen, &load)?;
            let key = self.own.ledger.as_bytes();
            self.doubts.begin(&self.own, load.ttl);
            let replies = match nodes.ask_about(key, &words, count).await.map_err(unknown) {
                Err(error) if error.kind() == ErrorKind::CommitUnknown => return Err(error),
                answered => {
                    self.doubts.end(&self.own);
                    answered?
                }
            };
            let refused = replies.iter().find_map(Reply::error).map(from_server);
            match (replies.last(), refused) {
                // Others were in the way.
                (Some(Reply::Nil), _) => {}
                (Some(Reply::Array(_)), None) => return Ok(Commit::Recorded(load)),
                // A part of it was done.
                (Some(Reply::Array(_)), Some(refused)) => return Err(lost(refused)),
                (_, refused) => {
                    let missing = || Error::new(ErrorKind::Unexpected, "EXEC is not answered");
                    return Err(refused.unwrap_or_else(missing));
                }
            }
        }
        let message = format!("other loads of `{}` are at their commit", request.target);
        Err(conflict(message))
    }

    /// The commands of the commit, and how many they are.
    fn transaction(&self, request: &Request, seen: &Seen, load: &Load) -> Result<(Vec<u8>, usize)> {
        let (own, nonce) = (&self.own, self.nonce.as_bytes());
        let mut commands: Vec<Vec<u8>> = Vec::new();
        let mut add = |words: &[&[u8]]| {
            let mut bytes = Vec::new();
            command(&mut bytes, words);
            commands.push(bytes);
        };
        add(&[b"MULTI"]);
        let forgets = seen.now.saturating_add_unsigned(load.ttl);
        if load.ttl > 0 && seen.forgets.is_none_or(|known| forgets < known) {
            let record = own.record.as_bytes();
            add(&[b"HSET", record, FORGETS, forgets.to_string().as_bytes()]);
        }
        let generation = own.generation.as_bytes();
        match self.manner.generation() {
            Some(made) => add(&[b"SET", generation, made.as_bytes()]),
            // An overwrite by keys without a generation has removed those of the last one.
            None if request.load.mode == Mode::Overwrite
                && !self.pattern.text.contains("{generation}") =>
            {
                add(&[b"DEL", generation]);
            }
            None => {}
        }
        let attempts = own.attempts.as_bytes();
        if let Some(attempt) = &self.attempt {
            add(&[b"DEL", own.lease(&self.nonce).as_bytes()]);
            if load.is_complete() {
                add(&[b"HDEL", attempts, nonce]);
            } else {
                let recorded = attempt.recorded()?;
                add(&[b"HSET", attempts, nonce, recorded.as_bytes()]);
            }
        }
        // Attempts that tried to create the target need no entry any more, because the target exists.
        for (stale, other) in &self.seen.attempts {
            if other.creates && other.is_in_place() {
                add(&[b"HDEL", attempts, stale.as_bytes()]);
            }
        }
        let record = Record::after(seen.record.as_ref(), request, &self.pattern.text)?;
        if seen.record.as_ref() != Some(&record) {
            let mut bytes = Vec::new();
            record.write(own, &mut bytes)?;
            commands.push(bytes);
        }
        let mut bytes = Vec::new();
        load.write(own, &mut bytes)?;
        command(&mut bytes, &[b"EXEC"]);
        commands.push(bytes);
        Ok((commands.concat(), commands.len() + 1))
    }
}

/// The answer to a commit may have been lost with the connection.
fn unknown(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Connection | ErrorKind::Timeout => lost(error),
        _ => error,
    }
}

fn lost(error: Error) -> Error {
    let message = format!("the answer to the commit was lost: {}", error.message());
    Error::new(ErrorKind::CommitUnknown, message).with_source(error)
}

async fn wait_for_replicas(nodes: &mut Nodes, wanted: u32) -> Result<()> {
    if wanted == 0 {
        return Ok(());
    }
    for place in nodes.topology.places.clone() {
        let connection = nodes.connection(&place).await?;
        let (number, limit) = (wanted.to_string(), connection.patience * 500);
        let limit = limit.to_string();
        let words: [&[u8]; 3] = [b"WAIT", number.as_bytes(), limit.as_bytes()];
        let have = connection.call(&words).await?.int().unwrap_or_default();
        if have < i64::from(wanted) {
            let message = format!(
                "{have} replicas of {place} have the load, and wait_replicas asks for {wanted}"
            );
            return Err(Error::new(ErrorKind::ResourceExhausted, message).transient());
        }
    }
    Ok(())
}
