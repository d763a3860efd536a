//! Sends rows to the servers: fills and sends pipelines, reads their replies, and counts rows or sets them aside.

use std::collections::VecDeque;

use arrow_array::RecordBatch;
use arrowload_core::{Error, ErrorKind, Rejects, Result};

use crate::error::{from_server, is_redirection};
use crate::lane::Lane;
use crate::pipeline::Pipeline;
use crate::pool::Leased;

/// Rows on their way.
pub(crate) struct Sender {
    pub(crate) nodes: Leased,
    /// One for each place of the topology.
    pub(crate) lanes: Vec<Lane>,
    rejects: Rejects,
    /// Rows that were given.
    pub(crate) given: u64,
    /// Rows that the server acknowledged.
    pub(crate) taken: u64,
    /// Existing rows, under `if_not_exists`.
    pub(crate) idle: u64,
    /// Rows that were sent again to another node of the cluster.
    pub(crate) sent_again: u64,
    pub(crate) bytes: u64,
    /// Rows that have no reply yet, for those that may have to be set aside.
    open: VecDeque<(u64, RecordBatch)>,
}

impl Sender {
    pub(crate) fn new(nodes: Leased, rejects: Rejects) -> Self {
        let lanes = nodes.topology.places.iter().map(|_| Lane::default());
        Self {
            lanes: lanes.collect(),
            nodes,
            rejects,
            given: 0,
            taken: 0,
            idle: 0,
            sent_again: 0,
            bytes: 0,
            open: VecDeque::new(),
        }
    }

    /// Takes note of rows that come, and returns the number of the first.
    pub(crate) fn expect(&mut self, batch: &RecordBatch) -> u64 {
        let first = self.given;
        self.given += batch.num_rows() as u64;
        if self.rejects.accepts() {
            self.open.push_back((first, batch.clone()));
        }
        first
    }

    pub(crate) fn rejected(&self) -> u64 {
        self.rejects.rows()
    }

    /// The pipeline that is being filled for the node of a key, and its position.
    #[inline]
    pub(crate) fn filling(&mut self, key: &[u8]) -> (usize, &mut Pipeline) {
        let index = self.nodes.topology.of(key);
        let shares = !self.nodes.topology.is_cluster();
        let filling = &mut self.lanes[index].filling;
        filling.shares = shares;
        (index, filling)
    }

    /// Sets a row aside, or ends the load.
    pub(crate) fn refuse(&mut self, row: u64, error: Error) -> Result<()> {
        let is_rows = matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::NullKey);
        if !is_rows || !self.rejects.accepts() {
            return Err(error.at_row(row));
        }
        let found = self
            .open
            .iter()
            .find(|(first, batch)| (*first..first + batch.num_rows() as u64).contains(&row));
        let Some((first, batch)) = found else {
            return Err(error.at_row(row));
        };
        let one = batch.slice((row - first) as usize, 1);
        self.rejects
            .set_aside(&one, row, error.message(), error.code())
    }

    /// Connects a lane, if it is not.
    async fn connect(&mut self, index: usize) -> Result<()> {
        if self.lanes[index].is_connected() {
            return Ok(());
        }
        let connection = self.nodes.take(index).await?;
        let beat = self.nodes.beat.as_ref().map(|(beat, _)| beat.clone());
        let here = beat.filter(|beat| self.nodes.topology.of(&beat.key) == index);
        self.lanes[index].connect(connection, here);
        Ok(())
    }

    /// From here on the load renews its lease, if it has one, whether rows come or not.
    pub(crate) async fn keep_alive(&mut self) -> Result<()> {
        let beat = self.nodes.beat.as_ref();
        match beat.map(|(beat, _)| self.nodes.topology.of(&beat.key)) {
            Some(index) => self.connect(index).await,
            None => Ok(()),
        }
    }

    /// Sends the pipeline of a node, and looks at the replies of one that came back.
    pub(crate) async fn send(&mut self, index: usize) -> Result<()> {
        self.connect(index).await?;
        let lane = &mut self.lanes[index];
        self.bytes += lane.filling.bytes.len() as u64;
        if let Some(answered) = lane.send().await? {
            self.look(index, answered).await?;
        }
        Ok(())
    }

    /// Understands the replies of a pipeline.
    async fn look(&mut self, index: usize, pipeline: Pipeline) -> Result<()> {
        let mut failures = pipeline.failures.iter();
        if self.nodes.topology.is_cluster() && failures.any(|failure| is_redirection(&failure.text))
        {
            return self.follow(index, pipeline).await;
        }
        self.settle(&pipeline)?;
        self.lanes[index].recycle(pipeline);
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
        let open_rows = self.lanes.iter().filter_map(Lane::first_open_row);
        let first = open_rows.min().unwrap_or(self.given);
        while self
            .open
            .front()
            .is_some_and(|(start, batch)| start + batch.num_rows() as u64 <= first)
        {
            self.open.pop_front();
        }
    }

    /// Sends everything, and waits for every reply.
    pub(crate) async fn drain(&mut self) -> Result<()> {
        // Following the cluster may send again, and so fill lanes again.
        loop {
            let filled = |lane: &Lane| !lane.filling.is_empty() || !lane.is_idle();
            let Some(index) = self.lanes.iter().position(filled) else {
                return Ok(());
            };
            self.send(index).await?;
            while self.lanes.get(index).is_some_and(|lane| !lane.is_idle()) {
                let answered = self.lanes[index].receive().await?;
                self.look(index, answered).await?;
            }
        }
    }

    /// Takes every connection back from its lane.
    pub(crate) async fn disconnect(&mut self) -> Result<()> {
        for index in 0..self.lanes.len() {
            if let Some(connection) = self.lanes[index].disconnect().await? {
                self.nodes.put_back(index, connection);
            }
        }
        Ok(())
    }
}
