//! Several connections that copy at once: each takes the next batch when it is done with the last.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrowload_core::{Error, ErrorKind, Result};
use futures::future::try_join_all;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::connect::Lease;
use crate::copy::CopyIn;
use crate::encode::{CopyEncoder, Pieces};
use crate::prepared::{self, Prepared};
use crate::session::COPY_BYTES;

/// A batch, and the number of its first row in the load.
type Numbered = (RecordBatch, u64);

/// Connections under way, each in a transaction of its own. Dropped, their transactions are rolled back.
pub(crate) struct Lanes {
    batches: Option<mpsc::Sender<Numbered>>,
    tasks: JoinSet<Result<Lane>>,
    /// The connections whose rows are all there, and whose transactions are open.
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
    sql: &str,
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
            copy = Some(CopyIn::start(&lane.lease, sql, first_row, &mut pieces).await?);
        }
        if let Some(open) = &mut copy {
            open.write_at(&mut encoder, &batch, first_row, &mut pieces, None)
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
            self.rows += copy.finish(pieces, None).await?;
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
        try_join_all(leases.iter().map(|lease| {
            lease.run(
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL row_security = off",
            )
        }))
        .await?;
        let (sender, receiver) = mpsc::channel(1);
        let (receiver, count) = (Arc::new(Mutex::new(receiver)), leases.len());
        let mut tasks = JoinSet::new();
        for lease in leases {
            let (receiver, encoder, sql) =
                (Arc::clone(&receiver), encoder.another(), sql.to_owned());
            tasks.spawn(async move { copy_all(lease, &sql, encoder, &receiver).await });
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

    /// Prepares each connection's transaction; if one refuses, all are rolled back.
    pub(crate) async fn prepare(&self, names: &Prepared) -> Result<()> {
        let all = self
            .done
            .iter()
            .enumerate()
            .map(|(number, lane)| async move { lane.lease.run(&names.prepare_sql(number)).await });
        let ended = futures::future::join_all(all).await;
        if ended.iter().all(Result::is_ok) {
            return Ok(());
        }
        self.roll_back(names).await;
        ended.into_iter().collect()
    }

    /// Rolls back what was prepared. What cannot be reached is rolled back when the next load of the target begins.
    pub(crate) async fn roll_back(&self, names: &Prepared) {
        let all = self
            .done
            .iter()
            .enumerate()
            .map(
                |(number, lane)| async move { lane.lease.run(&names.end_sql(number, false)).await },
            );
        for error in futures::future::join_all(all)
            .await
            .into_iter()
            .filter_map(Result::err)
        {
            tracing::debug!(%error, "a prepared transaction was not rolled back");
        }
    }

    /// Commits what was prepared.
    pub(crate) async fn commit_prepared(&mut self, names: &Prepared) -> Result<()> {
        let all = self
            .done
            .iter()
            .enumerate()
            .map(|(number, lane)| async move {
                prepared::end(&lane.lease, &names.end_sql(number, true)).await
            });
        futures::future::join_all(all)
            .await
            .into_iter()
            .collect::<Result<()>>()?;
        self.give_back();
        Ok(())
    }

    fn give_back(&mut self) {
        self.done.drain(..).for_each(|lane| lane.lease.give_back());
    }
}
