//! Several connections that copy at once: each takes the next batch when it is done with the last.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrowload_core::{Error, ErrorKind, Result};
use futures::future::try_join_all;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_postgres::Statement;

use crate::connect::{BEGIN, Lease, STAY};
use crate::copy::{COPY_BYTES, CopyIn};
use crate::encode::{CopyEncoder, Pieces};
use crate::error::from_pg;

/// A batch, and the number of its first row in the load.
type Numbered = (RecordBatch, u64);

/// Connections in progress, each in a transaction of its own. Dropped, their transactions are rolled back.
pub(crate) struct Lanes {
    batches: Option<mpsc::Sender<Numbered>>,
    tasks: JoinSet<Result<Lane>>,
    /// The connections that have sent all rows, and whose transactions are still open.
    done: Vec<Lane>,
    pub(crate) count: usize,
}

/// One connection that has copied its share.
struct Lane {
    lease: Lease,
    rows: u64,
    bytes: u64,
}

async fn copy_all(
    lease: Lease,
    statement: Statement,
    mut encoder: CopyEncoder,
    batches: &Mutex<mpsc::Receiver<Numbered>>,
) -> Result<Lane> {
    let (mut pieces, mut copy) = (Pieces::new(), None);
    let mut lane = Lane {
        lease,
        rows: 0,
        bytes: 0,
    };
    loop {
        let next = batches.lock().await.recv().await;
        let Some((batch, first_row)) = next else {
            break;
        };
        if copy.is_none() {
            copy = Some(CopyIn::start(&lane.lease, &statement, first_row, &mut pieces).await?);
        }
        if let Some(open) = &mut copy {
            open.write_at(&mut encoder, &batch, first_row, &mut pieces)
                .await?;
            if open.bytes() < COPY_BYTES {
                continue;
            }
        }
        lane.end(copy.take(), &mut pieces).await?;
    }
    lane.end(copy, &mut pieces).await?;
    Ok(lane)
}

impl Lane {
    async fn end(&mut self, copy: Option<CopyIn>, pieces: &mut Pieces) -> Result<()> {
        if let Some(copy) = copy {
            let bytes = copy.bytes();
            self.rows += copy.finish(pieces).await?;
            self.bytes += bytes;
        }
        Ok(())
    }
}

fn joined(ended: std::result::Result<Result<Lane>, tokio::task::JoinError>) -> Result<Lane> {
    ended.map_err(|error| {
        Error::new(ErrorKind::Unexpected, "a connection's task ended early").with_source(error)
    })?
}

impl Lanes {
    /// Starts a transaction and a task for each connection.
    pub(crate) async fn start(
        leases: Vec<Lease>,
        sql: &str,
        encoder: &CopyEncoder,
    ) -> Result<Self> {
        let begin = format!("{BEGIN}; {STAY}");
        let statements = try_join_all(leases.iter().map(async |lease| {
            let (begun, statement) = futures::join!(lease.run(&begin), lease.prepare(sql));
            begun?;
            statement.map_err(from_pg)
        }))
        .await?;
        let (sender, receiver) = mpsc::channel(1);
        let (receiver, count) = (Arc::new(Mutex::new(receiver)), leases.len());
        let mut tasks = JoinSet::new();
        for (lease, statement) in leases.into_iter().zip(statements) {
            let (receiver, encoder) = (Arc::clone(&receiver), encoder.another());
            tasks.spawn(async move { copy_all(lease, statement, encoder, &receiver).await });
        }
        Ok(Self {
            batches: Some(sender),
            tasks,
            done: Vec::new(),
            count,
        })
    }

    /// Hands a batch to the connection that is free first.
    pub(crate) async fn write(&mut self, batch: &RecordBatch, first_row: u64) -> Result<()> {
        // A connection ends before its time only with an error.
        if let Some(ended) = self.tasks.try_join_next() {
            self.done.push(joined(ended)?);
        }
        let sent = match &self.batches {
            Some(batches) => batches.send((batch.clone(), first_row)).await.is_ok(),
            None => false,
        };
        if sent { Ok(()) } else { self.finish().await }
    }

    /// Waits until every row is there.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        self.batches = None;
        while let Some(ended) = self.tasks.join_next().await {
            self.done.push(joined(ended)?);
        }
        Ok(())
    }

    /// Rows that the server took, and bytes that were sent.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (
            self.done.iter().map(|lane| lane.rows).sum(),
            self.done.iter().map(|lane| lane.bytes).sum(),
        )
    }

    /// Commits each connection's transaction: into a table that no reader knows of.
    pub(crate) async fn commit(&mut self) -> Result<()> {
        try_join_all(self.done.iter().map(|lane| lane.lease.run("COMMIT"))).await?;
        self.give_back();
        Ok(())
    }

    /// Ends what is in progress; the server rolls it back.
    pub(crate) fn cut(&mut self) {
        self.batches = None;
        // A task that has ended keeps its connection, and with it the lock of the table, until the task set is
        // dropped.
        self.tasks = JoinSet::new();
        self.done.clear();
    }

    fn give_back(&mut self) {
        self.done.drain(..).for_each(|lane| lane.lease.give_back());
    }
}
