//! One `COPY … FROM STDIN`: pieces go to the connection while the next is being encoded.

use std::pin::Pin;

use arrow_array::RecordBatch;
use arrowload_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::SinkExt;
use tokio_postgres::{Client, CopyInSink, Statement};

use crate::encode::{CopyEncoder, HEADER, Pieces, TRAILER};
use crate::error::{copy_line, from_pg};

/// A COPY ends after this many bytes and the next begins, so that errors of the server are noticed early.
pub(crate) const COPY_BYTES: u64 = 256 << 20;

/// The longest message of a COPY, in bytes.
const LONGEST: usize = 1 << 20;

/// A COPY in progress. Dropped, it fails, and with it the transaction.
pub(crate) struct CopyIn {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    /// For each batch: its first row in this COPY, and the number of that row in the load.
    starts: Vec<(u64, u64)>,
    /// Rows that were encoded.
    rows: u64,
    /// Bytes that were sent.
    bytes: u64,
}

impl CopyIn {
    /// Runs the statement.
    pub(crate) async fn start(
        client: &Client,
        statement: &Statement,
        first_row: u64,
        pieces: &mut Pieces,
    ) -> Result<Self> {
        let sink = Box::pin(client.copy_in(statement).await.map_err(from_pg)?);
        pieces.clear();
        pieces.take_room(HEADER.len()).copy_from_slice(HEADER);
        Ok(Self {
            sink,
            starts: vec![(0, first_row)],
            rows: 0,
            bytes: 0,
        })
    }

    /// Bytes that were sent.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number in the load of one of its rows.
    fn number(&self, row: u64) -> u64 {
        let index = self
            .starts
            .partition_point(|(start, _)| *start <= row)
            .saturating_sub(1);
        self.starts
            .get(index)
            .map_or(row, |(start, number)| number + row - start)
    }

    /// Encodes and sends the next batch; its end may wait in `pieces`.
    pub(crate) async fn write(
        &mut self,
        encoder: &mut CopyEncoder,
        batch: &RecordBatch,
        pieces: &mut Pieces,
    ) -> Result<()> {
        self.write_at(encoder, batch, self.number(self.rows), pieces)
            .await
    }

    /// The same for a batch that begins at any row of the load.
    pub(crate) async fn write_at(
        &mut self,
        encoder: &mut CopyEncoder,
        batch: &RecordBatch,
        first_row: u64,
        pieces: &mut Pieces,
    ) -> Result<()> {
        if self.number(self.rows) != first_row {
            self.starts.push((self.rows, first_row));
        }
        let mut run = encoder.start(batch, first_row)?;
        while let Some(piece) = run.next_piece(pieces)? {
            self.send(piece).await?;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    async fn send(&mut self, mut piece: Bytes) -> Result<()> {
        while !piece.is_empty() {
            let part = piece.split_to(piece.len().min(LONGEST));
            self.bytes += part.len() as u64;
            self.sink.feed(part).await.map_err(from_pg)?;
        }
        Ok(())
    }

    /// Ends the statement, and returns how many rows the server took.
    pub(crate) async fn finish(mut self, pieces: &mut Pieces) -> Result<u64> {
        if pieces.room() < TRAILER.len() {
            let piece = pieces.take();
            self.send(piece).await?;
        }
        pieces.take_room(TRAILER.len()).copy_from_slice(&TRAILER);
        let piece = pieces.take();
        self.send(piece).await?;
        let taken = self
            .sink
            .as_mut()
            .finish()
            .await
            .map_err(|error| self.at_row(error))?;
        if taken != self.rows {
            let message = format!(
                "{} rows were sent, and the server took {taken}: a trigger or rule of the table keeps rows out",
                self.rows
            );
            return Err(Error::new(ErrorKind::Verification, message));
        }
        Ok(taken)
    }

    /// The server counts lines from 1.
    fn at_row(&self, error: tokio_postgres::Error) -> Error {
        let line = copy_line(&error).filter(|line| (1..=self.rows).contains(line));
        let error = from_pg(error);
        // After a timeout or a full disk, the row that the server was at is not the cause.
        let is_of_row = !matches!(
            error.kind(),
            ErrorKind::Timeout
                | ErrorKind::Connection
                | ErrorKind::ResourceExhausted
                | ErrorKind::Conflict
                | ErrorKind::PermissionDenied
        );
        let line = line.filter(|_| is_of_row);
        line.map_or(error.clone(), |line| error.at_row(self.number(line - 1)))
    }
}
