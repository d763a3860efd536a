//! The record of a load, kept under its id; and the work that may remain after the load is recorded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrowload_core::{Definition, Error, ErrorKind, Mark, Receipt, Result};
use serde::{Deserialize, Serialize};

use crate::key::{KeyPattern, Names};
use crate::nodes::Nodes;
use crate::own::Own;
use crate::resp::command;

/// What the ledger says of a load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Rows of the load.
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Rows that were set aside.
    #[serde(default)]
    pub(crate) rejected: u64,
    #[serde(default)]
    pub(crate) definition: Option<Definition>,
    #[serde(default)]
    pub(crate) mark: Option<Mark>,
    /// Seconds for which the load is remembered from when all of it is in place; 0 is for ever.
    #[serde(default)]
    pub(crate) ttl: u64,
    /// The staged keys that are still to be moved.
    pub(crate) moving: Option<Move>,
    /// The replaced keys that are still to be removed.
    #[serde(default)]
    pub(crate) removing: Option<Removal>,
}

/// How staged keys are moved into place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Move {
    /// Distinguishes the keys of this attempt from those of others.
    pub(crate) nonce: String,
    pub(crate) structure: String,
    /// The one key, or none for all that are found.
    pub(crate) key: Option<String>,
    /// The key is replaced, and not added to.
    pub(crate) replace: bool,
    pub(crate) maxlen: Option<u64>,
    pub(crate) minid: Option<String>,
}

/// Which keys a load replaces: those of these patterns that are not its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Removal {
    nonce: String,
    patterns: Vec<String>,
    generation: Option<String>,
    /// The pattern of the load's own keys.
    keep: String,
    keep_generation: Option<String>,
}

impl Removal {
    /// What an overwrite by `keep` leaves to be removed, where there is anything.
    pub(crate) fn of(
        nonce: &str,
        (patterns, generation): (&[String], Option<&str>),
        (keep, keep_generation): (&str, Option<&str>),
    ) -> Option<Self> {
        let kept = |pattern: &&String| *pattern == keep && generation == keep_generation;
        let patterns = patterns.iter().filter(|pattern| !kept(pattern));
        let patterns: Vec<String> = patterns.cloned().collect();
        (!patterns.is_empty()).then(|| Self {
            nonce: nonce.to_owned(),
            patterns,
            generation: generation.map(str::to_owned),
            keep: keep.to_owned(),
            keep_generation: keep_generation.map(str::to_owned),
        })
    }

    async fn run(&self, nodes: &mut Nodes, own: &Own) -> Result<()> {
        let of = |texts: &[String], generation: &Option<String>| {
            patterns(texts, own.target(), generation.as_deref())
        };
        let old = of(&self.patterns, &self.generation);
        let keep = of(std::slice::from_ref(&self.keep), &self.keep_generation);
        let mut keys = Keys::of(old, keep);
        while let Some(some) = keys.next(nodes).await? {
            // Another load may have done it meanwhile, and later loads may have written such keys again.
            let load = Load::find(nodes, own).await?;
            if load.is_none_or(|load| load.removing.is_none()) {
                return Ok(());
            }
            nodes.unlink(&some).await?;
        }
        Ok(())
    }
}

/// Patterns of a target's keys. One with a generation that the target does not have has no keys.
pub(crate) fn patterns(
    texts: &[String],
    target: &str,
    generation: Option<&str>,
) -> Vec<KeyPattern> {
    let names = Names {
        target,
        load_id: "",
        generation,
    };
    let pattern = |text: &String| KeyPattern::of_keys(text, names).ok();
    texts.iter().filter_map(pattern).collect()
}

/// The keys of some patterns that are not those of others, found piece by piece; some may come twice.
pub(crate) struct Keys {
    patterns: Vec<KeyPattern>,
    keep: Vec<KeyPattern>,
    /// Which pattern is searched, on which node, and where that scan is.
    at: (usize, usize, Vec<u8>),
}

impl Keys {
    pub(crate) fn of(patterns: Vec<KeyPattern>, keep: Vec<KeyPattern>) -> Self {
        Self {
            patterns,
            keep,
            at: (0, 0, b"0".to_vec()),
        }
    }

    /// The next keys, perhaps none; nothing at the end.
    pub(crate) async fn next(&mut self, nodes: &mut Nodes) -> Result<Option<Vec<Vec<u8>>>> {
        let (index, place, cursor) = &mut self.at;
        let Some(pattern) = self.patterns.get(*index) else {
            return Ok(None);
        };
        let mut keys = vec![pattern.constant().unwrap_or_default().to_vec()];
        if pattern.constant().is_some() {
            *index += 1;
        } else {
            let places = &nodes.topology.places;
            let Some(asked) = places.get(*place).cloned() else {
                (*index, *place) = (*index + 1, 0);
                return Ok(Some(Vec::new()));
            };
            let glob = pattern.glob();
            (*cursor, keys) = nodes.scan_once(&asked, cursor, &glob, None).await?;
            *place += usize::from(cursor == b"0");
        }
        let keep = |key: &Vec<u8>| self.keep.iter().any(|keep| keep.owns(key));
        keys.retain(|key| pattern.owns(key) && !keep(key));
        Ok(Some(keys))
    }
}

/// Removes every key of some patterns.
pub(crate) async fn remove(nodes: &mut Nodes, patterns: Vec<KeyPattern>) -> Result<()> {
    let mut keys = Keys::of(patterns, Vec::new());
    while let Some(some) = keys.next(nodes).await? {
        nodes.unlink(&some).await?;
    }
    Ok(())
}

impl Load {
    pub(crate) fn parse(text: &[u8], key: &str) -> Result<Self> {
        serde_json::from_slice(text).map_err(|error| {
            let message = format!("the key `{key}` is not as a load writes it");
            Error::new(ErrorKind::Unexpected, message).with_source(error)
        })
    }

    pub(crate) async fn find(nodes: &mut Nodes, own: &Own) -> Result<Option<Self>> {
        let key = own.ledger.as_bytes();
        let found = nodes.call(key, &[b"GET", key]).await?.bytes();
        found
            .map(|text| Self::parse(&text, &own.ledger))
            .transpose()
    }

    pub(crate) fn receipt(&self) -> Receipt {
        let mut receipt = Receipt::rows(self.rows);
        (receipt.bytes, receipt.rows_rejected) = (self.bytes, self.rejected);
        receipt.definition.clone_from(&self.definition);
        receipt.mark.clone_from(&self.mark);
        receipt
    }

    /// The receipt for another run of the load, which found it recorded as this and has finished it.
    pub(crate) fn receipt_once_finished(&self) -> Receipt {
        match self.is_complete() {
            true => self.receipt(),
            false => self.receipt().completed(),
        }
    }

    /// Whether all of it is in place.
    pub(crate) fn is_complete(&self) -> bool {
        self.moving.is_none() && self.removing.is_none()
    }

    /// The command that records it. What is not complete never expires.
    pub(crate) fn write(&self, own: &Own, out: &mut Vec<u8>) -> Result<()> {
        let text = serde_json::to_string(self).map_err(|error| {
            Error::new(ErrorKind::Unexpected, "a load cannot be written as JSON").with_source(error)
        })?;
        let (ledger, ttl) = (own.ledger.as_bytes(), self.ttl.to_string());
        let mut words = vec![b"SET".as_slice(), ledger, text.as_bytes()];
        if self.ttl > 0 && self.is_complete() {
            words.extend([b"EX".as_slice(), ttl.as_bytes()]);
        }
        command(out, &words);
        Ok(())
    }

    /// Checks whether the remaining work can be done. It cannot if another program has written something else under its keys:
    /// then the user has to remove that.
    pub(crate) async fn check_finish(&self, nodes: &mut Nodes) -> Result<()> {
        match &self.moving {
            Some(movement) if !movement.replace => movement.check(nodes).await,
            _ => Ok(()),
        }
    }

    /// Does the work that remains after the load is recorded. It may be called again at any time, by anybody: each item is moved
    /// once, and every load of the target begins with it.
    pub(crate) async fn finish(&self, nodes: &mut Nodes, own: &Own) -> Result<()> {
        if let Some(movement) = &self.moving {
            movement.run(nodes).await?;
        }
        if let Some(removal) = &self.removing {
            removal.run(nodes, own).await?;
        }
        let movement = self.moving.as_ref().map(|movement| &movement.nonce);
        let removal = self.removing.as_ref().map(|removal| &removal.nonce);
        let Some(nonce) = movement.or(removal) else {
            return Ok(());
        };
        let done = Self {
            moving: None,
            removing: None,
            ..self.clone()
        };
        let mut bytes = Vec::new();
        command(&mut bytes, &[b"MULTI"]);
        done.write(own, &mut bytes)?;
        let attempts = own.attempts.as_bytes();
        command(&mut bytes, &[b"HDEL", attempts, nonce.as_bytes()]);
        command(&mut bytes, &[b"EXEC"]);
        nodes.ask_all(own.ledger.as_bytes(), &bytes, 4).await?;
        Ok(())
    }
}

/// The loads whose commit this process has sent without an answer, by their ledger key, with the time until which a record of
/// theirs would exist; none if for ever.
///
/// The absence of a record says that they did not commit. Of others it may say that the record has expired.
#[derive(Debug, Clone, Default)]
pub(crate) struct Doubts(Arc<Mutex<HashMap<String, Option<Instant>>>>);

impl Doubts {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Option<Instant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The commit is about to be sent.
    pub(crate) fn begin(&self, own: &Own, ttl: u64) {
        let until = (ttl > 0).then(|| Instant::now() + Duration::from_secs(ttl.min(1 << 32)));
        self.lock().insert(own.ledger.clone(), until);
    }

    /// It is answered.
    pub(crate) fn end(&self, own: &Own) {
        self.lock().remove(&own.ledger);
    }

    /// Whether a record of the load would exist still, if there ever was one.
    pub(crate) fn would_be_there(&self, own: &Own) -> bool {
        let until = self.lock().get(&own.ledger).copied();
        until.is_some_and(|until| until.is_none_or(|until| Instant::now() < until))
    }
}
