//! Following a cluster whose slots move: it waits for all replies, and then sends the redirected commands again, row by
//! row in the order of the load, so that the last row of a key still wins.

use arrowload_core::{Error, ErrorKind, Result};

use crate::error::is_redirection;
use crate::lane::Lane;
use crate::pipeline::Pipeline;
use crate::resp::{Reply, parse};
use crate::sender::Sender;

/// The commands of a row that was turned away.
struct Again {
    row: u64,
    bytes: Vec<u8>,
    count: usize,
    /// Rows that its commands write: several only where a batch is one entry.
    weight: u64,
}

impl Sender {
    /// Sends commands again that were redirected to another node of the cluster.
    pub(crate) async fn follow(&mut self, index: usize, pipeline: Pipeline) -> Result<()> {
        tracing::debug!("slots of the cluster have moved");
        let mut again = Vec::new();
        self.collect(pipeline, &mut again)?;
        for other in (index..self.lanes.len()).chain(0..index) {
            while !self.lanes[other].is_idle() {
                let answered = self.lanes[other].receive().await?;
                self.collect(answered, &mut again)?;
            }
        }
        // Commands that have not been sent yet were encoded for the old nodes.
        for lane in &mut self.lanes {
            let filling = std::mem::take(&mut lane.filling);
            let rows = filling.numbers().into_iter();
            again.extend(rows.map(|row| again_of(&filling, row)));
        }
        self.disconnect().await?;
        self.nodes.refresh().await?;
        let places = self.nodes.topology.places.iter();
        self.lanes = places.map(|_| Lane::default()).collect();
        again.sort_by_key(|row| row.row);
        self.sent_again += again.len() as u64;
        for row in again {
            self.send_again(&row).await?;
        }
        self.keep_alive().await
    }

    /// Settles the rows of a pipeline, except those whose commands were redirected.
    fn collect(&mut self, mut pipeline: Pipeline, again: &mut Vec<Again>) -> Result<()> {
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
        self.settle(&pipeline)
    }

    async fn send_again(&mut self, row: &Again) -> Result<()> {
        let key = key_of(&row.bytes)?;
        let replies = self.nodes.ask_about(&key, &row.bytes, row.count).await?;
        match replies.iter().find_map(Reply::error) {
            Some(text) => self.refuse(row.row, crate::error::from_server(text)),
            None => {
                self.taken += row.weight;
                Ok(())
            }
        }
    }
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
