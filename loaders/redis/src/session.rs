//! One load: rows become commands, commands become pipelines, and the load is recorded when all replies have arrived.

use arrow_array::RecordBatch;
use arrowload_core::{
    Error, ErrorKind, LoadRequest, LoadSession, NullKeys, Prepared, Receipt, Rejects, Result,
};

use crate::RedisOptions;
use crate::encode::Column;
use crate::key::NoKey;
use crate::lease::{self, Held};
use crate::ledger::Doubts;
use crate::options::{NullKey, StreamEntry};
use crate::publish::{Commit, Publication};
use crate::sender::Sender;
use crate::stage;
use crate::structures::{Refused, Row, Rows};
use crate::target::Target;

/// One load into Redis.
pub struct RedisSession {
    sender: Sender,
    publication: Publication,
    rows: Rows,
    request: LoadRequest<RedisOptions>,
    started: bool,
    key: Vec<u8>,
    /// The last one, as it is dropped when nothing is sent any more.
    held: Option<Held>,
}

impl std::fmt::Debug for RedisSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "load {} into {}",
            self.request.load_id, self.request.target
        )
    }
}

impl RedisSession {
    pub(crate) fn new(
        target: Target,
        request: LoadRequest<RedisOptions>,
        rejects: Rejects,
        doubts: Doubts,
    ) -> Self {
        Self {
            sender: Sender::new(target.nodes, rejects),
            publication: Publication {
                own: target.own,
                pattern: target.pattern,
                manner: target.manner,
                seen: target.seen,
                nonce: target.nonce,
                attempt: target.attempt,
                doubts,
            },
            rows: target.rows,
            request,
            started: false,
            key: Vec::new(),
            held: target.held,
        }
    }

    /// Shows that the load is alive, before the first row comes.
    pub(crate) async fn keep_alive(&mut self) -> Result<()> {
        self.sender.keep_alive().await
    }

    /// Writes the key of a row, or says why it has none.
    fn key_of(&mut self, columns: &[Column], row: usize, number: u64) -> Result<(), NoKey> {
        let matches = self.request.load.null_keys == NullKeys::Match;
        let pattern = &self.publication.pattern;
        self.key.clear();
        pattern.write(columns, row, number, matches, &mut self.key)
    }

    /// The row has no key: it is set aside, or ends the load.
    fn without_key(&mut self, no_key: NoKey, number: u64) -> Result<()> {
        let schema = std::sync::Arc::clone(&self.request.schema);
        let name = |column: usize| schema.field(column).name();
        let error = match no_key {
            NoKey::Null(column) => {
                let message = format!(
                    "the column `{}`, which is part of the key, is null; see null_key",
                    name(column)
                );
                let error = Error::new(ErrorKind::NullKey, message).with("column", name(column));
                if self.request.options.null_key == NullKey::Error {
                    return Err(error.at_row(number));
                }
                error
            }
            NoKey::Value(column, why) => {
                let message = format!(
                    "the value of column `{}`, which is part of the key, {why}",
                    name(column)
                );
                Error::new(ErrorKind::InvalidData, message).with("column", name(column))
            }
            NoKey::Own => {
                let message =
                    "the row's key would begin with `arrowload:`, as only the loader's own keys do";
                Error::new(ErrorKind::InvalidData, message)
            }
        };
        self.sender.refuse(number, error)
    }

    /// The key that is written: that of the row, or the staged one for it.
    fn stage(&mut self) -> Result<()> {
        if self.publication.manner.stages() {
            let staged = stage::stage_key(&self.key, &self.publication.nonce);
            stage::check(&self.sender.nodes, &self.key, &staged)?;
            self.key = staged;
        }
        Ok(())
    }

    /// Puts one row into the pipeline of its node, and returns the node, if the pipeline is full.
    fn row(
        &mut self,
        batch: &RecordBatch,
        columns: &[Column],
        row: usize,
        number: u64,
    ) -> Result<Option<usize>> {
        if let Err(no_key) = self.key_of(columns, row, number) {
            return self.without_key(no_key, number).map(|()| None);
        }
        self.stage()?;
        let (index, filling) = self.sender.filling(&self.key);
        let mark = filling.mark();
        filling.begin_row(number);
        let row = Row {
            batch,
            columns,
            row,
            key: &self.key,
            number,
        };
        if let Err(refused) = self.rows.write(&row, filling) {
            filling.rewind(mark);
            return self.sender.refuse(number, unfit(refused)).map(|()| None);
        }
        let is_full = filling.bytes.len() >= self.request.options.pipeline_bytes;
        Ok(is_full.then_some(index))
    }

    /// Puts a whole batch into the pipeline of its node, as one entry of a stream, and returns the node.
    fn batch_entry(&mut self, batch: &RecordBatch, number: u64) -> Result<usize> {
        let pattern = &self.publication.pattern;
        self.key = pattern.constant().unwrap_or_default().to_vec();
        self.stage()?;
        let (index, filling) = self.sender.filling(&self.key);
        self.rows.write_batch(batch, &self.key, number, filling)?;
        Ok(index)
    }

    /// What is to be done before the first row is seen.
    async fn start(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.started, true) || !self.publication.starts(&self.request) {
            return Ok(());
        }
        self.sender.disconnect().await?;
        let nodes = &mut self.sender.nodes;
        self.publication.start(nodes, &self.request).await?;
        self.sender.keep_alive().await
    }

    async fn send(&mut self, index: usize) -> Result<()> {
        self.start().await?;
        self.sender.send(index).await
    }

    /// Removes what is staged, and the entry of the attempt.
    async fn clean(&mut self) -> Result<()> {
        let (nodes, publication) = (&mut self.sender.nodes, &self.publication);
        let (own, nonce) = (&publication.own, &publication.nonce);
        let Some(attempt) = &publication.attempt else {
            return Ok(());
        };
        attempt.remove(nodes, own, nonce).await?;
        lease::leave(nodes, own, nonce, attempt).await?;
        if let Some(held) = &mut self.held {
            held.end();
        }
        Ok(())
    }
}

fn unfit(refused: Refused) -> Error {
    match refused.column {
        Some(column) => Error::new(
            ErrorKind::InvalidData,
            format!("the value of column `{column}` {}", refused.why),
        )
        .with("column", column),
        None => Error::new(
            ErrorKind::InvalidData,
            format!("the row cannot be written: {}", refused.why),
        ),
    }
}

impl LoadSession for RedisSession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let first = self.sender.expect(batch);
        if self.request.options.stream_entry == StreamEntry::Batch {
            let index = self.batch_entry(batch, first)?;
            return self.send(index).await;
        }
        let columns: Vec<Column> = batch.columns().iter().map(Column::new).collect();
        for row in 0..batch.num_rows() {
            if let Some(full) = self.row(batch, &columns, row, first + row as u64)? {
                self.send(full).await?;
            }
        }
        Ok(())
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        self.start().await?;
        self.sender.drain().await?;
        self.sender.disconnect().await?;
        let (nodes, rows) = (&mut self.sender.nodes, self.sender.taken);
        self.publication.prepare(nodes, &self.request, rows).await?;
        self.sender.keep_alive().await?;
        Ok(Prepared::rows(self.sender.taken))
    }

    async fn commit(mut self) -> Result<Receipt> {
        self.sender.disconnect().await?;
        let counted = (self.sender.taken, self.sender.bytes, self.sender.rejected());
        let nodes = &mut self.sender.nodes;
        // A server that was started again may have lost what it had acknowledged; the connections would not be the same.
        nodes.still_there().await?;
        let commit = self.publication.commit(nodes, &self.request, counted);
        let commit = match commit.await {
            Err(error) if error.kind() != ErrorKind::CommitUnknown => {
                let _ = self.abort().await;
                return Err(error);
            }
            commit => commit?,
        };
        nodes.beat = None;
        if let (Commit::Recorded(_), Some(held)) = (&commit, &mut self.held) {
            held.end();
        }
        let (Commit::Recorded(load) | Commit::Other(load)) = &commit;
        self.request.status.set_incomplete(!load.is_complete());
        let own = &self.publication.own;
        match commit {
            Commit::Other(load) => {
                load.finish(nodes, own).await.map_err(incomplete)?;
                if let Err(error) = self.clean().await {
                    tracing::warn!(%error, "what this run had staged is left");
                }
                self.sender.nodes.give_back();
                Ok(load.receipt_once_finished().repeated())
            }
            Commit::Recorded(load) => {
                // From here on, every load of the target finishes what is left.
                load.finish(nodes, own).await.map_err(incomplete)?;
                let mut receipt = load.receipt();
                if self.request.options.if_not_exists {
                    receipt = receipt.with("rows_there_already", self.sender.idle);
                }
                if self.sender.sent_again > 0 {
                    receipt = receipt.with("rows_sent_again", self.sender.sent_again);
                }
                if let Some(generation) = self.publication.manner.generation() {
                    receipt = receipt.with("generation", generation);
                }
                self.sender.nodes.give_back();
                Ok(receipt)
            }
        }
    }

    async fn abort(mut self) -> Result<()> {
        self.sender.lanes.clear();
        self.sender.nodes.close();
        self.sender.nodes.beat = None;
        self.clean().await
    }
}

/// The load is recorded, and not yet all in place.
fn incomplete(error: Error) -> Error {
    let message = format!(
        "the load is recorded, and not yet all in place: {}",
        error.message()
    );
    Error::new(ErrorKind::CommitUnknown, message).with_source(error)
}
