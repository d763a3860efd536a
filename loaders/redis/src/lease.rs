//! Attempts with unfinished work: staged keys, a generation that nobody reads yet, a claim on the target.
//!
//! Each has an entry in a hash of the target, and a lease beside it that it renews as long as it runs. If the lease has
//! expired, the attempt is dead: it cannot commit any more, and the next load of the target removes what it has left.

use std::time::{Duration, Instant};

use arrowload_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::ledger::{Load, patterns, remove};
use crate::nodes::{Beat, Nodes};
use crate::own::Own;
use crate::resp::{Reply, command};
use crate::stage;

/// What an attempt has open.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Attempt {
    pub(crate) load_id: String,
    /// It creates the target. Two loads cannot.
    pub(crate) creates: bool,
    /// It removes what is in the target, and writes there. Two loads cannot at once.
    pub(crate) empties: bool,
    /// It has keys staged.
    pub(crate) stages: bool,
    /// The staged key, if there is only one.
    pub(crate) key: Option<String>,
    /// The generation that it makes, and the pattern of its keys.
    pub(crate) generation: Option<(String, String)>,
    /// The load is recorded: the staged keys are its rows.
    pub(crate) recorded: bool,
}

/// The attempts in an answer to `HGETALL`, by their nonce.
pub(crate) fn parse(reply: Reply, key: &str) -> Result<Vec<(String, Attempt)>> {
    let mut texts = reply.array().into_iter().map(Reply::bytes);
    let mut attempts = Vec::new();
    while let (Some(Some(nonce)), Some(Some(text))) = (texts.next(), texts.next()) {
        let attempt = serde_json::from_slice(&text).map_err(|error| {
            let message = format!("the key `{key}` is not as a load writes it; remove it");
            Error::new(ErrorKind::Unexpected, message).with_source(error)
        })?;
        attempts.push((String::from_utf8_lossy(&nonce).into_owned(), attempt));
    }
    Ok(attempts)
}

/// The load has lost its lease: another run of it has taken over, or it was silent for too long.
pub(crate) fn lapsed() -> Error {
    let message = "another run of this load has taken over, or it was silent for longer than its lease and counts as dead; run it again";
    Error::new(ErrorKind::Conflict, message)
}

/// How the lease of an attempt is renewed.
pub(crate) fn beat(own: &Own, nonce: &str, seconds: u64) -> Beat {
    let lease = own.lease(nonce).into_bytes();
    let mut bytes = Vec::new();
    command(
        &mut bytes,
        &[b"EXPIRE", &lease, seconds.to_string().as_bytes()],
    );
    Beat {
        key: lease,
        bytes,
        every: Duration::from_millis(seconds * 1_000 / 5),
    }
}

/// The lease of an attempt that runs. Dropped amid the work, as at an interrupt, it is given back, so that other loads need not
/// wait until it ends. What the attempt has left is removed by the next load, as that of any dead one.
pub(crate) struct Held {
    nodes: Option<Nodes>,
    key: Vec<u8>,
}

impl Held {
    pub(crate) fn of(nodes: &Nodes, own: &Own, nonce: &str) -> Self {
        Self {
            nodes: Some(nodes.apart()),
            key: own.lease(nonce).into_bytes(),
        }
    }

    /// The attempt has ended, and its lease with it.
    pub(crate) fn end(&mut self) {
        self.nodes = None;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let key = std::mem::take(&mut self.key);
        if let (Some(mut nodes), Ok(runtime)) =
            (self.nodes.take(), tokio::runtime::Handle::try_current())
        {
            // A commit that is on its way watches the lease: it fails, or was there first.
            runtime.spawn(async move {
                if let Err(error) = nodes.call(&key, &[b"DEL", &key]).await {
                    tracing::debug!(%error, "the lease of a load that was cut off stays until it ends");
                }
            });
        }
    }
}

impl Attempt {
    /// Whether readers of the target may see what it has written.
    pub(crate) fn is_in_place(&self) -> bool {
        !self.stages && self.generation.is_none()
    }

    fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| {
            let message = "an attempt cannot be written as JSON";
            Error::new(ErrorKind::Unexpected, message).with_source(error)
        })
    }

    /// The entry as it is once the load is recorded, and not yet all in place.
    pub(crate) fn recorded(&self) -> Result<String> {
        let recorded = Self {
            recorded: true,
            ..self.clone()
        };
        recorded.text()
    }

    /// Why it cannot run beside another attempt, which is alive or has `seconds` left until it counts as dead.
    fn conflict(&self, other: &Self, target: &str, seconds: i64) -> Option<Error> {
        if self.load_id == other.load_id {
            return None;
        }
        let what = |does: &str| {
            format!(
                "another load {does} `{target}`, or was cut off: then its lease ends in {seconds} s, and this load can be run again"
            )
        };
        if self.creates && other.creates {
            return Some(Error::new(ErrorKind::TargetExists, what("creates")));
        }
        if self.empties && other.empties {
            return Some(Error::new(ErrorKind::Conflict, what("overwrites")).transient());
        }
        None
    }

    /// Refuses an attempt that cannot run beside those that are alive.
    pub(crate) async fn check(
        &self,
        nodes: &mut Nodes,
        own: &Own,
        others: &[(String, Self)],
    ) -> Result<()> {
        for (nonce, other) in others {
            if self.conflict(other, own.target(), 0).is_none() {
                continue;
            }
            let lease = own.lease(nonce);
            let lease = lease.as_bytes();
            let left = nodes.call(lease, &[b"PTTL", lease]).await?.int();
            // A negative answer says that there is none.
            if let Some(left) = left.filter(|left| *left >= 0)
                && let Some(conflict) = self.conflict(other, own.target(), left / 1_000 + 1)
            {
                return Err(conflict);
            }
        }
        Ok(())
    }

    /// Makes the entry and its lease, unless another one is in the way.
    pub(crate) async fn enter(
        &self,
        nodes: &mut Nodes,
        own: &Own,
        nonce: &str,
        seconds: u64,
    ) -> Result<()> {
        let (attempts, lease) = (own.attempts.as_bytes(), own.lease(nonce));
        let text = self.text()?;
        for _ in 0..8 {
            let mut bytes = Vec::new();
            command(&mut bytes, &[b"WATCH", attempts]);
            command(&mut bytes, &[b"HGETALL", attempts]);
            let mut replies = nodes.ask_all(attempts, &bytes, 2).await?;
            let others = parse(replies.pop().unwrap_or(Reply::Nil), &own.attempts)?;
            self.check(nodes, own, &others).await?;
            let mut bytes = Vec::new();
            command(&mut bytes, &[b"MULTI"]);
            let ttl = seconds.to_string();
            let set = [b"SET", lease.as_bytes(), b"1", b"EX", ttl.as_bytes()];
            command(&mut bytes, &set);
            let entry = [b"HSET", attempts, nonce.as_bytes(), text.as_bytes()];
            command(&mut bytes, &entry);
            command(&mut bytes, &[b"EXEC"]);
            let mut replies = nodes.ask_all(attempts, &bytes, 4).await?;
            if replies.pop() != Some(Reply::Nil) {
                nodes.beat = Some((beat(own, nonce, seconds), Instant::now()));
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Conflict, "too many loads of this target begin").transient())
    }

    /// Removes what it has staged.
    pub(crate) async fn remove(&self, nodes: &mut Nodes, own: &Own, nonce: &str) -> Result<()> {
        if let Some(key) = &self.key {
            let staged = stage::stage_key(key.as_bytes(), nonce);
            nodes.unlink(&[staged]).await?;
        } else if self.stages {
            let staged = stage::staged(nodes, nonce).await?;
            let keys: Vec<Vec<u8>> = staged.into_iter().map(|(stage, _)| stage).collect();
            nodes.unlink(&keys).await?;
        }
        if let Some((generation, pattern)) = &self.generation {
            let texts = [pattern.clone()];
            let made = patterns(&texts, own.target(), Some(generation));
            remove(nodes, made).await?;
        }
        Ok(())
    }
}

async fn is_alive(nodes: &mut Nodes, own: &Own, nonce: &str) -> Result<bool> {
    let lease = own.lease(nonce);
    let lease = lease.as_bytes();
    Ok(nodes.call(lease, &[b"EXISTS", lease]).await?.int() == Some(1))
}

/// Removes the attempt's own entry.
pub(crate) async fn leave(
    nodes: &mut Nodes,
    own: &Own,
    nonce: &str,
    attempt: &Attempt,
) -> Result<()> {
    let (attempts, lease) = (own.attempts.as_bytes(), own.lease(nonce));
    let mut bytes = Vec::new();
    command(&mut bytes, &[b"DEL", lease.as_bytes()]);
    let stays = attempt.creates && attempt.is_in_place();
    if !stays {
        command(&mut bytes, &[b"HDEL", attempts, nonce.as_bytes()]);
    }
    let count = if stays { 1 } else { 2 };
    nodes.ask_all(attempts, &bytes, count).await.map(|_| ())
}

/// Refuses to begin where a load that was recorded and cut off cannot be completed, as [`clear`] would have to.
pub(crate) async fn check_cut_off(
    nodes: &mut Nodes,
    own: &Own,
    attempts: &[(String, Attempt)],
) -> Result<()> {
    for (_, attempt) in attempts.iter().filter(|(_, attempt)| attempt.recorded) {
        let its = Own::of(own.target(), &attempt.load_id);
        let cut_off = |error: Error| error.with("cut_off_load", &its.ledger);
        if let Some(load) = Load::find(nodes, &its).await.map_err(cut_off)? {
            load.check_finish(nodes).await.map_err(cut_off)?;
        }
    }
    Ok(())
}

/// Before a load begins: completes loads that are recorded and were cut off, and removes what dead attempts have left, and
/// attempts of this very load, which it takes over. Attempts that are alive are not touched.
pub(crate) async fn clear(
    nodes: &mut Nodes,
    own: &Own,
    load_id: &str,
    attempts: &[(String, Attempt)],
) -> Result<()> {
    for (nonce, attempt) in attempts {
        if attempt.load_id == load_id {
            let lease = own.lease(nonce);
            nodes
                .call(lease.as_bytes(), &[b"DEL", lease.as_bytes()])
                .await?;
        } else if !attempt.recorded && is_alive(nodes, own, nonce).await? {
            continue;
        }
        // Without its lease it can no longer commit, so its state does not change any more.
        let key = own.attempts.as_bytes();
        let found = nodes.call(key, &[b"HGET", key, nonce.as_bytes()]).await?;
        let Some(text) = found.bytes() else { continue };
        let pair = vec![Reply::Bulk(nonce.clone().into_bytes()), Reply::Bulk(text)];
        for (nonce, attempt) in parse(Reply::Array(pair), &own.attempts)? {
            if attempt.recorded {
                let its = Own::of(own.target(), &attempt.load_id);
                match Load::find(nodes, &its).await? {
                    Some(load) => {
                        let cut_off = |error: Error| error.with("cut_off_load", &its.ledger);
                        tracing::info!(load_id = %attempt.load_id, "completing a load that was cut off");
                        load.finish(nodes, &its).await.map_err(cut_off)?;
                    }
                    None => attempt.remove(nodes, own, &nonce).await?,
                }
            } else if attempt.load_id != load_id && attempt.creates && attempt.is_in_place() {
                // Its rows are in the target, by which its repetition knows that they are its own.
                continue;
            } else {
                attempt.remove(nodes, own, &nonce).await?;
            }
            nodes.call(key, &[b"HDEL", key, nonce.as_bytes()]).await?;
        }
    }
    Ok(())
}
