//! One load: rows become commands, commands pipelines, and the load is recorded once every reply is there.

use std::collections::VecDeque;

use arrow_array::RecordBatch;
use arrowload_core::{
    Error, ErrorKind, LoadRequest, LoadSession, Mode, NullKeys, Prepared, Receipt, Result,
};

use crate::encode::Column;
use crate::error::{from_server, is_redirection};
use crate::key::KeyPattern;
use crate::lane::Lane;
use crate::nodes::Nodes;
use crate::options::{DataStructure, NullKey, StreamEntry};
use crate::packed::ipc;
use crate::pipeline::{Pipeline, Role};
use crate::rows::{Refused, Rows};
use crate::stage::{self, LEFT_ASIDE};
use crate::target::{Load, Own, Record};
use crate::{RedisOptions, redirect};

/// What was decided before the first row.
pub(crate) struct Begun {
    pub(crate) nodes: Nodes,
    pub(crate) own: Own,
    pub(crate) record: Record,
    pub(crate) pattern: KeyPattern,
    /// The patterns of the keys that an overwrite removes first, or after the switch to a new generation.
    pub(crate) old: Vec<KeyPattern>,
    /// The generation that this load makes.
    pub(crate) generation: Option<String>,
}

/// One load into Redis.
pub struct RedisSession {
    pub(crate) nodes: Nodes,
    pub(crate) lanes: Vec<Option<Lane>>,
    pub(crate) own: Own,
    pub(crate) record: Record,
    pub(crate) pattern: KeyPattern,
    pub(crate) old: Vec<KeyPattern>,
    pub(crate) generation: Option<String>,
    pub(crate) request: LoadRequest<RedisOptions>,
    rows: Rows,
    /// Names what is built aside, if this load does so.
    pub(crate) aside: Option<String>,
    pub(crate) started: bool,
    /// Rows that were given.
    given: u64,
    /// Rows that the server acknowledged.
    pub(crate) taken: u64,
    /// Rows that were there already, under `if_not_exists`.
    idle: u64,
    /// Rows that were sent again to another node of the cluster.
    pub(crate) sent_again: u64,
    bytes: u64,
    /// Rows that have no reply yet, for those that may have to be set aside.
    open: VecDeque<(u64, RecordBatch)>,
    key: Vec<u8>,
    stage_of: Vec<u8>,
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

impl RedisSession {
    pub(crate) fn new(begun: Begun, request: LoadRequest<RedisOptions>) -> Result<Self> {
        let Begun {
            nodes,
            own,
            record,
            pattern,
            old,
            generation,
        } = begun;
        let structure = request.options.data_structure;
        let rows = Rows::new(&request.schema, &request.options)?;
        let replaces = replaces(&request, &pattern);
        let aside = (structure.repeats() || replaces).then(nonce);
        let lanes = nodes.topology.places.iter().map(|_| None).collect();
        Ok(Self {
            nodes,
            lanes,
            own,
            record,
            pattern,
            old,
            generation,
            request,
            rows,
            aside,
            started: false,
            given: 0,
            taken: 0,
            idle: 0,
            sent_again: 0,
            bytes: 0,
            open: VecDeque::new(),
            key: Vec::new(),
            stage_of: Vec::new(),
        })
    }

    /// Sets a row aside, or ends the load.
    pub(crate) fn refuse(&mut self, row: u64, error: Error) -> Result<()> {
        let is_rows = matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::NullKey);
        if !is_rows || !self.request.rejects.accepts() {
            return Err(error.at_row(row));
        }
        let found = self
            .open
            .iter()
            .find(|(first, batch)| (*first..first + batch.num_rows() as u64).contains(&row));
        let Some((first, batch)) = found else {
            return Err(error.at_row(row));
        };
        let code = error.get("code").map(str::to_owned);
        self.request.rejects.set_aside(
            &batch.slice((row - first) as usize, 1),
            row,
            error.message(),
            code.as_deref(),
        )
    }

    /// Puts one row into the pipeline of its node, and answers with the node, if the pipeline is full.
    async fn row(
        &mut self,
        batch: &RecordBatch,
        columns: &[Column],
        row: usize,
        number: u64,
    ) -> Result<Option<usize>> {
        self.key.clear();
        let matches = self.request.null_keys == NullKeys::Match;
        if let Err(no_key) = self
            .pattern
            .write(columns, row, number, matches, &mut self.key)
        {
            let name = batch.schema_ref().field(no_key.column).name();
            let message = format!(
                "the column `{name}`, which is part of the key, {}; see null_key",
                no_key.why
            );
            let error = Error::new(ErrorKind::NullKey, message).with("column", name);
            return match self.request.options.null_key {
                NullKey::Error => Err(error.at_row(number)),
                NullKey::Skip => self.refuse(number, error).map(|()| None),
            };
        }
        if let Some(nonce) = &self.aside {
            self.stage_of = stage::stage_key(&self.key, nonce);
            stage::check(&self.nodes, &self.key, &self.stage_of)?;
            std::mem::swap(&mut self.key, &mut self.stage_of);
        }
        let index = self.nodes.topology.of(&self.key);
        let leaves = self.aside.is_some() && !self.keeps_ttl();
        let lane = match &mut self.lanes[index] {
            Some(lane) => lane,
            empty => empty.insert(Lane::start(self.nodes.take(index).await?)),
        };
        lane.filling.shares = !self.nodes.topology.is_cluster();
        let mark = lane.filling.mark();
        lane.filling.begin_row(number);
        if let Err(refused) =
            self.rows
                .write(batch, columns, row, &self.key, number, &mut lane.filling)
        {
            lane.filling.rewind(mark);
            return self.refuse(number, unfit(refused)).map(|()| None);
        }
        if leaves && (lane.filling.rows == 1 || self.pattern.constant().is_none()) {
            let seconds = LEFT_ASIDE.to_string();
            lane.filling.command(
                Role::Extra,
                number,
                &[b"EXPIRE", &self.key, seconds.as_bytes()],
            );
        }
        Ok((lane.filling.bytes.len() >= self.request.options.pipeline_bytes).then_some(index))
    }

    pub(crate) fn keeps_ttl(&self) -> bool {
        let options = &self.request.options;
        options.ttl.is_some() || options.ttl_column.is_some() || options.expire_at.is_some()
    }

    /// Sends the pipeline of a node, and looks at the replies of one that came back.
    async fn send(&mut self, index: usize) -> Result<()> {
        self.start().await?;
        let Some(lane) = &mut self.lanes[index] else {
            return Ok(());
        };
        self.bytes += lane.filling.bytes.len() as u64;
        if let Some(answered) = lane.send().await? {
            self.look(index, answered).await?;
        }
        Ok(())
    }

    /// Understands the replies of a pipeline.
    async fn look(&mut self, index: usize, pipeline: Pipeline) -> Result<()> {
        let redirected = self.nodes.topology.is_cluster()
            && pipeline
                .failures
                .iter()
                .any(|failure| is_redirection(&failure.text));
        if redirected {
            return redirect::follow(self, index, pipeline).await;
        }
        self.settle(&pipeline)?;
        if let Some(lane) = &mut self.lanes[index] {
            lane.recycle(pipeline);
        }
        self.forget_answered();
        Ok(())
    }

    /// Counts the rows of a pipeline that has its replies, and deals with those that were refused.
    pub(crate) fn settle(&mut self, pipeline: &Pipeline) -> Result<()> {
        let failed = pipeline.failed_rows();
        self.taken += pipeline.rows - failed.len() as u64;
        self.idle += pipeline.idle;
        for row in failed {
            if let Some(failure) = pipeline.failures.iter().find(|failure| failure.row == row) {
                self.refuse(row, from_server(&failure.text))?;
            }
        }
        Ok(())
    }

    fn forget_answered(&mut self) {
        let open_row = |lane: &Lane| {
            lane.first_open_row()
                .into_iter()
                .chain((!lane.filling.is_empty()).then_some(lane.filling.first_row))
                .min()
        };
        let first = self
            .lanes
            .iter()
            .flatten()
            .filter_map(open_row)
            .min()
            .unwrap_or(self.given);
        while self
            .open
            .front()
            .is_some_and(|(start, batch)| start + batch.num_rows() as u64 <= first)
        {
            self.open.pop_front();
        }
    }

    /// Sends everything, and waits for every reply.
    async fn drain(&mut self) -> Result<()> {
        // Following the cluster may send again, and so fill lanes anew.
        loop {
            let filled = |lane: &Option<Lane>| {
                lane.as_ref()
                    .is_some_and(|lane| !lane.filling.is_empty() || !lane.is_idle())
            };
            let Some(index) = self.lanes.iter().position(filled) else {
                return Ok(());
            };
            self.send(index).await?;
            while let Some(lane) = self
                .lanes
                .get_mut(index)
                .and_then(Option::as_mut)
                .filter(|lane| !lane.is_idle())
            {
                let answered = lane.receive().await?;
                self.look(index, answered).await?;
            }
        }
    }

    /// A whole batch as one entry of a stream.
    async fn batch_entry(&mut self, batch: &RecordBatch, number: u64) -> Result<()> {
        let Some(key) = self.pattern.constant() else {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "stream_entry = batch needs a key_pattern without columns",
            ));
        };
        let nonce = self.aside.clone().unwrap_or_default();
        let stage = stage::stage_key(key, &nonce);
        stage::check(&self.nodes, key, &stage)?;
        let chosen = match &self.request.options.value_columns {
            Some(names) => {
                let indices = names
                    .iter()
                    .map(|name| batch.schema_ref().index_of(name))
                    .collect::<Result<Vec<_>, _>>()?;
                batch.project(&indices)?
            }
            None => batch.clone(),
        };
        let (value, rows) = (ipc(&chosen)?, batch.num_rows().to_string());
        let index = self.nodes.topology.of(&stage);
        let keeps_ttl = self.keeps_ttl();
        let lane = match &mut self.lanes[index] {
            Some(lane) => lane,
            empty => empty.insert(Lane::start(self.nodes.take(index).await?)),
        };
        lane.filling.begin_row(number);
        lane.filling.rows = batch.num_rows() as u64;
        lane.filling.command(
            Role::Write,
            number,
            &[
                b"XADD",
                &stage,
                b"*",
                b"rows",
                rows.as_bytes(),
                b"arrow",
                &value,
            ],
        );
        let seconds = LEFT_ASIDE.to_string();
        if !keeps_ttl {
            lane.filling.command(
                Role::Extra,
                number,
                &[b"EXPIRE", &stage, seconds.as_bytes()],
            );
        }
        self.send(index).await
    }

    /// Gives every connection back.
    pub(crate) async fn end_lanes(&mut self) -> Result<()> {
        for index in 0..self.lanes.len() {
            if let Some(lane) = self.lanes[index].take() {
                let connection = lane.finish().await?;
                self.nodes.give_back(index, connection);
            }
        }
        Ok(())
    }
}

/// Whether the load replaces its one key in one step.
pub(crate) fn replaces(request: &LoadRequest<RedisOptions>, pattern: &KeyPattern) -> bool {
    let structure = request.options.data_structure;
    let whole = matches!(request.mode, Mode::Create | Mode::Overwrite);
    whole
        && structure.gathers()
        && structure != DataStructure::Timeseries
        && pattern.constant().is_some()
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
        let first = self.given;
        self.given += batch.num_rows() as u64;
        if self.request.options.data_structure == DataStructure::Stream
            && self.request.options.stream_entry == StreamEntry::Batch
        {
            return self.batch_entry(batch, first).await;
        }
        if self.request.rejects.accepts() {
            self.open.push_back((first, batch.clone()));
        }
        let columns: Vec<Column> = batch.columns().iter().map(Column::new).collect();
        for row in 0..batch.num_rows() {
            if let Some(full) = self.row(batch, &columns, row, first + row as u64).await? {
                self.send(full).await?;
            }
        }
        Ok(())
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        self.start().await?;
        self.drain().await?;
        self.end_lanes().await?;
        self.wait_for_replicas().await?;
        Ok(Prepared::rows(self.taken))
    }

    async fn commit(mut self) -> Result<Receipt> {
        let ttl = self.request.options.ledger_ttl;
        // A server that was started anew may have lost what it had acknowledged; the connections would not be the same.
        self.nodes.still_there().await?;
        let rejected = self.request.rejects.rows();
        let load = Load {
            rows: self.taken,
            bytes: self.bytes,
            rejected,
            moving: self.movement(),
        };
        if let Some(other) = load
            .record(
                &mut self.nodes,
                &self.own,
                &self.record,
                self.generation.as_deref(),
                ttl,
            )
            .await?
        {
            // Its rows are where ours would go.
            if let Some(movement) = &other.moving {
                movement.run(&mut self.nodes, other.rows).await?;
                other.moved(&mut self.nodes, &self.own).await?;
            }
            let mut receipt = other.receipt();
            receipt.already_loaded = true;
            let _ = self.abort().await;
            return Ok(receipt);
        }
        // From here on the load is recorded: whoever asks for it finishes what is left.
        if let Some(movement) = &load.moving {
            let moved = async {
                movement.run(&mut self.nodes, load.rows).await?;
                load.moved(&mut self.nodes, &self.own).await
            };
            moved.await.map_err(|error: Error| {
                let message = format!("the load is recorded, and not yet all in place: {}; repeat it with its load_id", error.message());
                Error::new(ErrorKind::CommitUnknown, message).with_source(error)
            })?;
        }
        if self.generation.is_some()
            && self.request.mode == Mode::Overwrite
            && let Err(error) = self.remove_old().await
        {
            tracing::warn!(%error, "the keys of the last generation are left");
        }
        let mut receipt = load.receipt();
        if self.request.options.if_not_exists {
            receipt = receipt.with("rows_there_already", self.idle);
        }
        if self.sent_again > 0 {
            receipt = receipt.with("rows_sent_again", self.sent_again);
        }
        if let Some(generation) = &self.generation {
            receipt = receipt.with("generation", generation);
        }
        Ok(receipt)
    }

    async fn abort(mut self) -> Result<()> {
        self.lanes.clear();
        let Some(movement) = self.movement() else {
            return Ok(());
        };
        let keys = match &movement.key {
            Some(key) => vec![stage::stage_key(key.as_bytes(), &movement.nonce)],
            None => stage::staged(&mut self.nodes, &movement.nonce)
                .await?
                .into_iter()
                .map(|(stage, _)| stage)
                .collect(),
        };
        if !keys.is_empty() {
            self.nodes.unlink(&keys).await?;
        }
        Ok(())
    }
}
