//! A query over one table, read by several connections: each takes ranges of the table's pages, all from one snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arrow_array::RecordBatch;
use arrowload_core::{Error, ErrorKind, Result};
use futures::Stream;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::SimpleQueryMessage;

use super::source::{Readable, copy};
use super::sql::Sql;
use super::stream::Reading;
use crate::connect::{Connections, Lease};
use crate::decode::RowDecoder;
use crate::error::from_pg;
use crate::ident::{literal, quote};

/// A table of fewer pages is read by one connection.
const FEWEST_PAGES: u64 = 256;
/// Parts for each connection: enough that none waits long for the last.
const PARTS_EACH: u64 = 8;

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

/// How to read the query in parts; `None` if its rows depend on each other, its table is small, or the server cannot scan
/// ranges of pages (before version 14).
pub(super) async fn parts(lease: &Lease, sql: &Sql<'_>) -> Result<Option<Parts>> {
    let Some(query) = sql.over_one_table() else {
        return Ok(None);
    };
    let parts = Parts { query, pages: 0 };
    // What is no table has no pages, and the server says so.
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
    Ok((pages >= FEWEST_PAGES).then_some(Parts { pages, ..parts }))
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
    /// Pages in each part.
    stride: u64,
    /// The number of the next part.
    next: AtomicU64,
}

impl Shared {
    /// The next part's query; `None` if there is none.
    fn next_sql(&self) -> Option<String> {
        let first = self.next.fetch_add(1, Relaxed).checked_mul(self.stride)?;
        let end = first + self.stride;
        (first < self.parts.pages).then(|| {
            self.parts
                .sql(first, (end < self.parts.pages).then_some(end))
        })
    }
}

/// Reads the parts. The first connection's transaction lends its snapshot to the others.
pub(super) async fn read(
    connections: &Connections,
    first: Lease,
    readable: Readable,
    parts: Parts,
    count: usize,
    batch_rows: usize,
) -> Result<impl Stream<Item = Result<RecordBatch>> + Send + 'static> {
    let row = first
        .query_one("SELECT pg_catalog.pg_export_snapshot()", &[])
        .await
        .map_err(from_pg)?;
    let snapshot: String = row.try_get(0).map_err(from_pg)?;
    let mut leases = vec![first];
    for _ in 1..count {
        let lease = connections.lease().await?;
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
            literal(&snapshot)
        );
        lease.run(&begin).await?;
        leases.push(lease);
    }
    let stride = parts
        .pages
        .div_ceil(count as u64 * PARTS_EACH)
        .max(FEWEST_PAGES / 4);
    let shared = Arc::new(Shared {
        parts,
        stride,
        next: AtomicU64::new(0),
    });
    let (sender, receiver) = mpsc::channel(count);
    let mut tasks = JoinSet::new();
    for lease in leases {
        let (shared, sender, decoder) = (
            Arc::clone(&shared),
            sender.clone(),
            readable.decoder(batch_rows),
        );
        tasks.spawn(async move {
            if let Err(error) = read_parts(&shared, lease, decoder, &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        });
    }
    drop(sender);
    // Dropped with the stream, the set ends its tasks, and each task's lease its query.
    Ok(futures::stream::try_unfold(
        (receiver, tasks),
        |(mut receiver, mut tasks)| async move {
            if let Some(batch) = receiver.recv().await {
                return batch.map(|batch| Some((batch, (receiver, tasks))));
            }
            // A task that panicked said nothing.
            while let Some(ended) = tasks.join_next().await {
                ended.map_err(|error| {
                    Error::new(ErrorKind::Unexpected, "a reader ended early").with_source(error)
                })?;
            }
            Ok(None)
        },
    ))
}

/// Reads one part after the other on one connection.
async fn read_parts(
    shared: &Shared,
    lease: Lease,
    decoder: RowDecoder,
    sender: &mpsc::Sender<Result<RecordBatch>>,
) -> Result<()> {
    let Some(sql) = shared.next_sql() else {
        return Ok(());
    };
    let answer = copy(&lease, &sql).await?;
    let mut reading = Reading {
        answer,
        decoder,
        lease: Some(lease),
    };
    loop {
        while let Some(batch) = reading.next_in_part().await? {
            if sender.send(Ok(batch)).await.is_err() {
                return Ok(());
            }
        }
        let Some(sql) = shared.next_sql() else { break };
        reading.go_on(&sql).await?;
    }
    if let Some(batch) = reading.end().await? {
        let _ = sender.send(Ok(batch)).await;
    }
    Ok(())
}
