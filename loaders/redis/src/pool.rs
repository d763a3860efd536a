//! Connections that outlive one call: a load goes on with those that `connect` has made, so that each server is dialled once.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrowload_core::Result;

use crate::RedisConfig;
use crate::nodes::Nodes;

/// A connection that was used within this time is taken to be alive. An older one is asked first.
const FRESH: Duration = Duration::from_secs(1);

/// Sentinel is asked for the master again after this time.
const MASTER_FOR: Duration = Duration::from_secs(5);

/// Sets of connections that are kept while nothing uses them.
const KEPT: usize = 4;

type Idle = Arc<Mutex<Vec<Kept>>>;

/// The connections of one loader or source.
#[derive(Debug)]
pub(crate) struct Pool {
    config: Arc<RedisConfig>,
    idle: Idle,
}

#[derive(Debug)]
struct Kept {
    nodes: Nodes,
    found: Instant,
    used: Instant,
}

impl Pool {
    /// Connects, and keeps the connections for the first that needs them.
    pub(crate) async fn connect(config: RedisConfig) -> Result<Self> {
        let pool = Self {
            config: Arc::new(config),
            idle: Idle::default(),
        };
        pool.take().await?.give_back();
        Ok(pool)
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// Connections of the caller's own: kept ones if they are alive, else new ones.
    pub(crate) async fn take(&self) -> Result<Leased> {
        loop {
            let kept = lock(&self.idle).pop();
            let Some(mut kept) = kept else {
                let nodes = Nodes::find(&self.config).await?;
                return Ok(self.lease(nodes, Instant::now()));
            };
            let may_be_replica = self.config.sentinel_master.is_some();
            if may_be_replica && kept.found.elapsed() > MASTER_FOR {
                continue;
            }
            if kept.used.elapsed() < FRESH || kept.nodes.still_there().await.is_ok() {
                return Ok(self.lease(kept.nodes, kept.found));
            }
        }
    }

    fn lease(&self, nodes: Nodes, found: Instant) -> Leased {
        Leased {
            nodes,
            rests: false,
            found,
            idle: Arc::clone(&self.idle),
        }
    }
}

fn lock(idle: &Idle) -> std::sync::MutexGuard<'_, Vec<Kept>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections that are in use. Dropped amid their work, as after an error, they are closed, since it is unknown what they are
/// about to answer; dropped [at rest](Self::rest), they go back to the pool.
#[derive(Debug)]
pub(crate) struct Leased {
    nodes: Nodes,
    rests: bool,
    found: Instant,
    idle: Idle,
}

impl Leased {
    /// Everything that was asked is answered: until something is asked again, they may be used by others.
    pub(crate) fn rest(&mut self) {
        self.rests = true;
    }

    pub(crate) fn give_back(mut self) {
        self.rest();
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.nodes.beat = None;
        let mut idle = lock(&self.idle);
        if self.rests && idle.len() < KEPT {
            idle.push(Kept {
                nodes: std::mem::take(&mut self.nodes),
                found: self.found,
                used: Instant::now(),
            });
        }
    }
}

impl Deref for Leased {
    type Target = Nodes;

    fn deref(&self) -> &Nodes {
        &self.nodes
    }
}

impl DerefMut for Leased {
    fn deref_mut(&mut self) -> &mut Nodes {
        self.rests = false;
        &mut self.nodes
    }
}
