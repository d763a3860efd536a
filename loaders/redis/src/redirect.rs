//! Following a cluster whose slots move: everything on its way is waited for, then what was turned away is sent again, row
//! by row in the order of the load, so that the last row of a key still wins.

use arrowload_core::{Error, ErrorKind, Result};

use crate::error::is_redirection;
use crate::pipeline::Pipeline;
use crate::resp::{Reply, parse};
use crate::session::RedisSession;

/// The commands of a row that was turned away.
struct Again {
    row: u64,
    bytes: Vec<u8>,
    count: usize,
    /// Rows that its commands write: several only where a batch is one entry.
    weight: u64,
}

pub(crate) async fn follow(
    session: &mut RedisSession,
    index: usize,
    pipeline: Pipeline,
) -> Result<()> {
    tracing::debug!("slots of the cluster have moved");
    let mut again = Vec::new();
    collect(session, pipeline, &mut again)?;
    for other in (index..session.lanes.len()).chain(0..index) {
        while let Some(lane) = session.lanes[other].as_mut().filter(|lane| !lane.is_idle()) {
            let answered = lane.receive().await?;
            collect(session, answered, &mut again)?;
        }
    }
    // What has not been sent yet was put together for the old places.
    for lane in session.lanes.iter_mut().flatten() {
        let filling = std::mem::take(&mut lane.filling);
        again.extend(
            filling
                .numbers()
                .into_iter()
                .map(|row| again_of(&filling, row)),
        );
    }
    session.end_lanes().await?;
    session.nodes.refresh().await?;
    session.lanes = session.nodes.topology.places.iter().map(|_| None).collect();
    again.sort_by_key(|row| row.row);
    session.sent_again += again.len() as u64;
    for row in again {
        send(session, &row).await?;
    }
    Ok(())
}

fn again_of(pipeline: &Pipeline, row: u64) -> Again {
    let (bytes, count) = pipeline.commands_of(row);
    let weight = if pipeline.numbers().len() == 1 {
        pipeline.rows
    } else {
        1
    };
    Again {
        row,
        bytes: bytes.to_vec(),
        count,
        weight,
    }
}

/// Settles the rows of a pipeline, but for those that were turned away.
fn collect(
    session: &mut RedisSession,
    mut pipeline: Pipeline,
    again: &mut Vec<Again>,
) -> Result<()> {
    let mut rows: Vec<u64> = pipeline
        .failures
        .iter()
        .filter(|failure| is_redirection(&failure.text))
        .map(|failure| failure.row)
        .collect();
    rows.dedup();
    let turned_away: Vec<Again> = rows.iter().map(|row| again_of(&pipeline, *row)).collect();
    pipeline
        .failures
        .retain(|failure| !rows.contains(&failure.row));
    pipeline.rows -= turned_away.iter().map(|row| row.weight).sum::<u64>();
    again.extend(turned_away);
    session.settle(&pipeline)
}

async fn send(session: &mut RedisSession, row: &Again) -> Result<()> {
    let key = key_of(&row.bytes)?;
    let replies = session.nodes.ask_about(&key, &row.bytes, row.count).await?;
    let nested = |reply: Reply| match reply {
        Reply::Array(items) => items,
        other => vec![other],
    };
    let refused = replies.into_iter().flat_map(nested).find_map(|reply| {
        if let Reply::Error(text) = reply {
            Some(text)
        } else {
            None
        }
    });
    match refused {
        Some(text) => session.refuse(row.row, crate::error::from_server(&text)),
        None => {
            session.taken += row.weight;
            Ok(())
        }
    }
}

/// The key that the commands of a row are about.
fn key_of(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut rest = bytes;
    while let Some((command, length)) = parse(rest)? {
        let words: Vec<Vec<u8>> = command
            .array()
            .into_iter()
            .filter_map(Reply::bytes)
            .collect();
        let at = if words.first().is_some_and(|name| name == b"EVAL") {
            3
        } else {
            1
        };
        if let Some(key) = words.into_iter().nth(at) {
            return Ok(key);
        }
        rest = &rest[length..];
    }
    Err(Error::new(ErrorKind::Unexpected, "a command has no key"))
}
