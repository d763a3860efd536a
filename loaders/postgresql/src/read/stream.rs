//! One answer in progress: the messages of a `COPY`, or rows, into batches.

use std::pin::Pin;

use arrow_array::RecordBatch;
use arrowload_core::{Error, ErrorKind, Result};
use futures::{Stream, StreamExt};
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{CopyOutStream, Row, RowStream};

use crate::connect::Lease;
use crate::decode::RowDecoder;
use crate::error::from_pg;
use crate::read::source::copy;

/// What the server sends.
pub(super) enum Answer {
    Copy(Pin<Box<CopyOutStream>>),
    Rows(Pin<Box<RowStream>>),
}

/// An answer, its connection, and the columns that it fills. Dropped before its end, it cancels the query.
pub(super) struct Reading {
    pub(super) answer: Answer,
    pub(super) decoder: RowDecoder,
    /// `None` once the answer has ended.
    pub(super) lease: Option<Lease>,
}

/// A field as it came.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn take_row(decoder: &mut RowDecoder, row: &Row) -> Result<()> {
    for index in 0..row.len() {
        let field: Option<Raw<'_>> = row.try_get(index).map_err(from_pg)?;
        decoder.push_field(index, field.map(|raw| raw.0))?;
    }
    decoder.end_row();
    Ok(())
}

async fn next<S: Stream<Item = Result<T, tokio_postgres::Error>>, T>(
    stream: &mut Pin<Box<S>>,
) -> Result<Option<T>> {
    stream.next().await.transpose().map_err(from_pg)
}

impl Reading {
    /// Takes the next message; `false` at the end.
    async fn advance(&mut self) -> Result<bool> {
        match &mut self.answer {
            Answer::Copy(copy) => match next(copy).await? {
                Some(message) => self.decoder.feed(&message)?,
                None if self.decoder.has_ended() => return Ok(false),
                None => {
                    return Err(Error::new(
                        ErrorKind::Connection,
                        "the server's answer was cut off",
                    )
                    .transient());
                }
            },
            Answer::Rows(rows) => match next(rows).await? {
                Some(row) => take_row(&mut self.decoder, &row)?,
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    /// The next full batch; `None` once the server has sent everything, though rows may wait.
    pub(super) async fn next_in_part(&mut self) -> Result<Option<RecordBatch>> {
        while self.advance().await? {
            if self.decoder.is_full() {
                return self.decoder.finish();
            }
        }
        Ok(None)
    }

    /// Goes on with another query of the same columns.
    pub(super) async fn go_on(&mut self, sql: &str) -> Result<()> {
        if let Some(lease) = &self.lease {
            self.decoder.restart();
            self.answer = copy(lease, sql).await?;
        }
        Ok(())
    }

    /// Gives the connection back, and the rows that wait.
    pub(super) async fn end(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(lease) = self.lease.take() {
            lease.run("ROLLBACK").await?;
            lease.give_back();
        }
        self.decoder.finish()
    }

    /// The next batch; `None` at the end, when the connection has gone back.
    pub(super) async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        if self.lease.is_none() {
            return Ok(None);
        }
        match self.next_in_part().await? {
            Some(batch) => Ok(Some(batch)),
            None => self.end().await,
        }
    }
}
