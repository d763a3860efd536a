//! A query over one table, read by several connections: each takes ranges of the table's pages, all from one snapshot.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrowload_core::{Error, ErrorKind, Result};
use futures::Stream;
use futures::future::try_join_all;
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_postgres::SimpleQueryMessage;

use super::source::{BEGIN, Readable, copy};
use super::sql::Sql;
use super::stream::Reading;
use crate::connect::{Connections, Lease, STAY};
use crate::decode::RowDecoder;
use crate::error::from_pg;
use crate::ident::{literal, quote};
use crate::parallel::default_count;

/// A table of fewer pages is read by one connection.
const FEWEST_PAGES: u64 = 256;
/// The same where nobody has asked for several.
const FEWEST_BY_DEFAULT: u64 = 4096;
/// Pages in a part: few enough that what a connection has read ahead is small, and enough that it is worth a query.
const PART_PAGES: RangeInclusive<u64> = 64..=512;
/// Parts for each connection, where they have so many pages: enough parts that no connection waits long for the last one.
const PARTS_EACH: u64 = 8;
/// Batches of a part that wait for those before it; a part of usual rows has fewer.
const BATCHES_AHEAD: usize = 8;
/// The time limit for beginning on connections that the user has not asked for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many connections read one table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readers {
    pub(super) most: usize,
    is_default: bool,
}

impl Readers {
    pub(super) fn of(asked: Option<usize>, pool_size: usize) -> Self {
        Self {
            most: asked
                .unwrap_or_else(default_count)
                .clamp(1, pool_size.max(1)),
            is_default: asked.is_none(),
        }
    }

    pub(super) fn fewest_pages(self) -> u64 {
        match self.is_default {
            true => FEWEST_BY_DEFAULT,
            false => FEWEST_PAGES,
        }
    }

    /// Connections beside the first, with the snapshot of its transaction. `None` if none was asked for, and none is free.
    pub(super) async fn others(
        self,
        connections: &Connections,
        first: &Lease,
    ) -> Result<Option<Vec<Lease>>> {
        let mut others = Vec::new();
        if !self.is_default {
            for _ in 1..self.most {
                others.push(connections.lease().await?);
            }
            share_snapshot(first, &others).await?;
            return Ok(Some(others));
        }
        others.extend(connections.spare(self.most - 1, PATIENCE).await);
        if others.is_empty() {
            return Ok(None);
        }
        let why = match tokio::time::timeout(PATIENCE, share_snapshot(first, &others)).await {
            Ok(Ok(())) => return Ok(Some(others)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "others did not begin in time".to_owned(),
        };
        tracing::debug!(
            why,
            "one connection reads, as others cannot share its snapshot"
        );
        // A transaction in which a statement has failed takes no other, and nothing was read in it.
        first.run(&format!("ROLLBACK; {BEGIN}")).await?;
        Ok(None)
    }
}

/// The first connection's transaction lends its snapshot to the others.
async fn share_snapshot(first: &Lease, others: &[Lease]) -> Result<()> {
    let row = first
        .query_one("SELECT pg_catalog.pg_export_snapshot()", &[])
        .await
        .map_err(from_pg)?;
    let snapshot: String = row.try_get(0).map_err(from_pg)?;
    first.run(STAY).await?;
    let begin = format!(
        "{BEGIN}; SET TRANSACTION SNAPSHOT {}; {STAY}",
        literal(&snapshot)
    );
    try_join_all(others.iter().map(|lease| lease.run(&begin))).await?;
    Ok(())
}

/// How a query is read in parts.
pub(super) struct Parts {
    /// The query up to the condition on the pages, and behind it.
    query: [String; 2],
    pages: u64,
}

impl Parts {
    /// The query for some of the pages; the last part has no end.
    fn sql(&self, first: u64, end: Option<u64>) -> String {
        let [head, tail] = &self.query;
        let end = end
            .map(|end| format!(" AND ctid < '({end},0)'::pg_catalog.tid"))
            .unwrap_or_default();
        format!("{head}ctid >= '({first},0)'::pg_catalog.tid{end}{tail}")
    }
}

/// How to read the query in parts; `None` if its rows depend on each other, its table has fewer pages than this, or the server
/// cannot scan ranges of pages (before version 14).
pub(super) async fn parts(
    lease: &Lease,
    sql: &Sql<'_>,
    fewest_pages: u64,
) -> Result<Option<Parts>> {
    let Some(query) = sql.over_one_table() else {
        return Ok(None);
    };
    let parts = Parts { query, pages: 0 };
    // A relation that is not a table has no pages; the server answers with an error.
    lease.run("SAVEPOINT arrowload_parts").await?;
    let plan = lease
        .simple_query(&format!(
            "EXPLAIN (VERBOSE, FORMAT JSON) {}",
            parts.sql(0, Some(1))
        ))
        .await;
    // A snapshot is not lent from within a savepoint.
    lease
        .run("ROLLBACK TO SAVEPOINT arrowload_parts; RELEASE SAVEPOINT arrowload_parts")
        .await?;
    let Ok(plan) = plan else { return Ok(None) };
    let Some(table) = scanned_table(&plan) else {
        return Ok(None);
    };
    let pages = "SELECT pg_catalog.pg_relation_size($1::text::pg_catalog.regclass) / pg_catalog.current_setting('block_size')::bigint";
    let row = lease.query_one(pages, &[&table]).await.map_err(from_pg)?;
    let pages: i64 = row.try_get(0).map_err(from_pg)?;
    let pages = pages.unsigned_abs();
    Ok((pages >= fewest_pages).then_some(Parts { pages, ..parts }))
}

/// The table, if the plan is a scan of a range of its pages and nothing else.
fn scanned_table(answer: &[SimpleQueryMessage]) -> Option<String> {
    let json = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    })?;
    let parsed: Value = serde_json::from_str(json).ok()?;
    let plan = parsed.get(0)?.get("Plan")?;
    let text = |key: &str| plan.get(key).and_then(Value::as_str);
    (text("Node Type")? == "Tid Range Scan").then_some(())?;
    Some(format!(
        "{}.{}",
        quote(text("Schema")?),
        quote(text("Relation Name")?)
    ))
}

/// What the connections share.
struct Shared {
    parts: Parts,
    next: Mutex<Next>,
}

/// The next part, and where its batches go.
struct Next {
    first_page: u64,
    /// Pages in a part.
    stride: u64,
    parts: mpsc::Sender<mpsc::Receiver<Result<RecordBatch>>>,
}

impl Shared {
    /// The next part's query, and the channel for its batches; the channels are passed on in the order of the parts. `None` if
    /// there is no more part, or the reader has gone. It waits while enough parts are in progress.
    async fn next(&self) -> Option<(String, mpsc::Sender<Result<RecordBatch>>)> {
        let mut next = self.next.lock().await;
        let (first, pages) = (next.first_page, self.parts.pages);
        if first >= pages {
            return None;
        }
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        next.parts.send(receiver).await.ok()?;
        next.first_page += next.stride;
        let end = (next.first_page < pages).then_some(next.first_page);
        Some((self.parts.sql(first, end), sender))
    }
}

/// Reads the parts, by connections whose transactions have one snapshot, and gives their rows in the order of the pages.
pub(super) fn read(
    first: Lease,
    others: Vec<Lease>,
    readable: Readable,
    parts: Parts,
    batch_rows: usize,
) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static {
    let leases: Vec<Lease> = std::iter::once(first).chain(others).collect();
    // Each may be one part ahead.
    let (sender, receiver) = mpsc::channel(leases.len());
    let stride = parts.pages.div_ceil(leases.len() as u64 * PARTS_EACH);
    let shared = Arc::new(Shared {
        parts,
        next: Mutex::new(Next {
            first_page: 0,
            stride: stride.clamp(*PART_PAGES.start(), *PART_PAGES.end()),
            parts: sender,
        }),
    });
    let mut tasks = JoinSet::new();
    for lease in leases {
        let (shared, decoder) = (Arc::clone(&shared), readable.decoder(batch_rows));
        tasks.spawn(async move { read_parts(&shared, lease, decoder).await });
    }
    drop(shared);
    let reader = Reader {
        parts: receiver,
        part: None,
        tasks,
    };
    // Dropped with the stream, the set ends its tasks, and each task's lease its query.
    futures::stream::try_unfold(reader, |mut reader| async {
        Ok(reader.next_batch().await?.map(|batch| (batch, reader)))
    })
}

/// The parts in their order.
struct Reader {
    parts: mpsc::Receiver<mpsc::Receiver<Result<RecordBatch>>>,
    /// The one whose batches come.
    part: Option<mpsc::Receiver<Result<RecordBatch>>>,
    tasks: JoinSet<Result<()>>,
}

impl Reader {
    async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(part) = &mut self.part {
                match part.recv().await {
                    Some(batch) => return batch.map(Some),
                    None => self.part = None,
                }
            }
            // A task that ended early has said why, or has panicked: what it did not send must not be skipped.
            while let Some(ended) = self.tasks.try_join_next() {
                ended_well(ended)?;
            }
            match self.parts.recv().await {
                Some(part) => self.part = Some(part),
                None => break,
            }
        }
        while let Some(ended) = self.tasks.join_next().await {
            ended_well(ended)?;
        }
        Ok(None)
    }
}

fn ended_well(ended: std::result::Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    ended.map_err(|error| {
        Error::new(ErrorKind::Unexpected, "a reader ended early").with_source(error)
    })?
}

/// Reads one part after the other on one connection. An error goes the way of the part's batches, so that it comes in its place.
async fn read_parts(shared: &Shared, lease: Lease, decoder: RowDecoder) -> Result<()> {
    let Some((sql, mut sender)) = shared.next().await else {
        return lease.run("ROLLBACK").await.map(|()| lease.give_back());
    };
    let answer = match copy(&lease, &sql).await {
        Ok(answer) => answer,
        Err(error) => return tell(&sender, error).await,
    };
    let mut reading = Reading {
        answer,
        decoder,
        lease: Some(lease),
    };
    loop {
        loop {
            let read = match reading.next_in_part().await {
                // What is left of the part.
                Ok(None) => reading.decoder.finish().map(|batch| (batch, true)),
                read => read.map(|batch| (batch, false)),
            };
            let (batch, is_last) = match read {
                Ok(read) => read,
                Err(error) => return tell(&sender, error).await,
            };
            if let Some(batch) = batch
                && sender.send(Ok(batch)).await.is_err()
            {
                return Ok(());
            }
            if is_last {
                break;
            }
        }
        // The end of the part is visible to the reader before this task waits for the next part.
        drop(sender);
        let Some((sql, next)) = shared.next().await else {
            break;
        };
        sender = next;
        if let Err(error) = reading.go_on(&sql).await {
            return tell(&sender, error).await;
        }
    }
    reading.end().await?;
    Ok(())
}

async fn tell(sender: &mpsc::Sender<Result<RecordBatch>>, error: Error) -> Result<()> {
    let _ = sender.send(Err(error)).await;
    Ok(())
}
