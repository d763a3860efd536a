//! What a load does around its rows: claims or empties its target before the first, and what is to be moved after the last.

use arrowload_core::{Error, ErrorKind, Mode, Result};

use crate::key::KeyPattern;
use crate::options::Overwrite;
use crate::resp::Reply;
use crate::session::{RedisSession, replaces};
use crate::stage::LEFT_ASIDE;
use crate::target::Move;

impl RedisSession {
    /// What must be done before the first row is seen: the target is claimed, or emptied.
    pub(crate) async fn start(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.started, true) {
            return Ok(());
        }
        if self.request.mode == Mode::Create {
            self.claim().await?;
        }
        let deletes = self.request.mode == Mode::Overwrite
            && self.request.options.overwrite == Overwrite::Delete;
        if deletes && !replaces(&self.request, &self.pattern) {
            self.remove_old().await?;
        }
        if self.request.mode == Mode::Overwrite && self.generation.is_some() {
            // What an attempt that failed has left of this very generation.
            let pattern = self.pattern.clone();
            self.remove(std::slice::from_ref(&pattern)).await?;
        }
        Ok(())
    }

    async fn claim(&mut self) -> Result<()> {
        let (claim, id) = (self.own.claim.as_bytes(), self.request.load_id.as_bytes());
        let seconds = LEFT_ASIDE.to_string();
        let made = self
            .nodes
            .call(
                claim,
                &[b"SET", claim, id, b"NX", b"EX", seconds.as_bytes()],
            )
            .await?;
        if made != Reply::Nil
            || self
                .nodes
                .call(claim, &[b"GET", claim])
                .await?
                .bytes()
                .as_deref()
                == Some(id)
        {
            return Ok(());
        }
        let message = format!("another load creates `{}`", self.request.target);
        Err(Error::new(ErrorKind::TargetExists, message))
    }

    pub(crate) async fn remove_old(&mut self) -> Result<()> {
        let old = self.old.clone();
        self.remove(&old).await
    }

    /// Removes every key of some patterns.
    async fn remove(&mut self, patterns: &[KeyPattern]) -> Result<()> {
        for pattern in patterns {
            if let Some(key) = pattern.constant() {
                self.nodes.unlink(&[key.to_vec()]).await?;
                continue;
            }
            for place in self.nodes.topology.places.clone() {
                let mut cursor = b"0".to_vec();
                loop {
                    let (next, mut keys) = self
                        .nodes
                        .scan_once(&place, &cursor, &pattern.glob(), None)
                        .await?;
                    keys.retain(|key| pattern.owns(key));
                    if !keys.is_empty() {
                        self.nodes.unlink(&keys).await?;
                    }
                    cursor = next;
                    if cursor == b"0" {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn movement(&self) -> Option<Move> {
        let options = &self.request.options;
        Some(Move {
            nonce: self.aside.clone()?,
            structure: options.data_structure.name().to_owned(),
            key: self
                .pattern
                .constant()
                .map(|key| String::from_utf8_lossy(key).into_owned()),
            replace: replaces(&self.request, &self.pattern),
            keeps_ttl: self.keeps_ttl(),
            maxlen: options.maxlen,
            minid: options.minid.clone(),
        })
    }

    pub(crate) async fn wait_for_replicas(&mut self) -> Result<()> {
        let wanted = self.request.options.wait_replicas;
        if wanted == 0 {
            return Ok(());
        }
        for place in self.nodes.topology.places.clone() {
            let connection = self.nodes.connection(&place).await?;
            let limit = (connection.patience * 500).to_string();
            let have = connection
                .call(&[b"WAIT", wanted.to_string().as_bytes(), limit.as_bytes()])
                .await?
                .int()
                .unwrap_or_default();
            if have < i64::from(wanted) {
                let message = format!(
                    "{have} replicas of {place} have the load, and wait_replicas asks for {wanted}; nothing is recorded"
                );
                return Err(Error::new(ErrorKind::ResourceExhausted, message).transient());
            }
        }
        Ok(())
    }
}
