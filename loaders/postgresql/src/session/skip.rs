//! Rows that the server refuses are set aside, and all others arrive: a COPY that fails is undone by a savepoint, and repeated
//! without the row that the error names.

use arrow_array::RecordBatch;
use arrowload_core::{Error, ErrorKind, Result};
use tokio_postgres::Statement;

use super::PostgresqlSession;
use crate::copy::CopyIn;

const SAVE: &str = "SAVEPOINT arrowload_rows";
const SAVE_NEXT: &str = "RELEASE SAVEPOINT arrowload_rows; SAVEPOINT arrowload_rows";
const UNDO: &str = "ROLLBACK TO SAVEPOINT arrowload_rows";
const UNDO_LAST: &str = "ROLLBACK TO SAVEPOINT arrowload_rows; RELEASE SAVEPOINT arrowload_rows";
const RELEASE: &str = "RELEASE SAVEPOINT arrowload_rows";

/// The state of the search for refused rows, from batch to batch.
pub(super) struct Skipping {
    /// How many rows the next COPY has at most: many while they are taken, few where rows are refused.
    reach: usize,
    /// What is to run before the next COPY.
    before: &'static str,
}

impl Skipping {
    pub(super) fn new() -> Self {
        Self {
            reach: usize::MAX,
            before: SAVE,
        }
    }
}

impl PostgresqlSession {
    /// Copies a batch, but for the rows that the server refuses.
    ///
    /// A row is set aside only if the server has refused it while all earlier rows that stay were in the table: as the first or
    /// only one of a COPY, or named by an error, once the rows before it have been taken by themselves. An error without a row,
    /// such as that of a foreign key, halves the next COPY.
    pub(super) async fn copy_or_set_aside(
        &mut self,
        batch: &RecordBatch,
        statement: &Statement,
    ) -> Result<()> {
        let (first, rows) = (self.given, batch.num_rows());
        if rows == 0 {
            return Ok(());
        }
        // The row after those of the next COPY, which was refused, and why.
        let mut refused: Option<Error> = None;
        let mut at = 0;
        while at < rows {
            let length = self.skipping.reach.min(rows - at);
            let error = match self
                .try_copy(&batch.slice(at, length), first + at as u64, statement)
                .await
            {
                Ok(()) => {
                    at += length;
                    self.skipping.reach = length.saturating_mul(2).max(2);
                    if let Some(error) = refused.take() {
                        self.set_aside(batch, at, &error)?;
                        at += 1;
                    }
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::InvalidData => error,
                Err(error) => return Err(error),
            };
            refused = None;
            let named = error
                .row()
                .and_then(|row| row.checked_sub(first + at as u64));
            match named
                .and_then(|row| usize::try_from(row).ok())
                .filter(|row| *row < length)
            {
                Some(row) if row > 0 => {
                    self.skipping.reach = row;
                    refused = Some(error);
                }
                None if length > 1 => self.skipping.reach = length / 2,
                _ => {
                    self.set_aside(batch, at, &error)?;
                    at += 1;
                    self.skipping.reach = self.skipping.reach.min(2);
                }
            }
        }
        self.lease
            .run(if self.skipping.before == UNDO {
                UNDO_LAST
            } else {
                RELEASE
            })
            .await?;
        self.skipping.before = SAVE;
        Ok(())
    }

    fn set_aside(&self, batch: &RecordBatch, at: usize, error: &Error) -> Result<()> {
        self.rejects.set_aside(
            &batch.slice(at, 1),
            self.given + at as u64,
            error.message(),
            error.code(),
        )
    }

    async fn try_copy(
        &mut self,
        part: &RecordBatch,
        first_row: u64,
        statement: &Statement,
    ) -> Result<()> {
        // Both are on their way at once.
        let (saved, started) = futures::join!(
            self.lease.run(self.skipping.before),
            CopyIn::start(&self.lease, statement, first_row, &mut self.pieces)
        );
        self.skipping.before = UNDO;
        saved?;
        let mut copy = started?;
        copy.write(&mut self.encoder, part, &mut self.pieces)
            .await?;
        let bytes = copy.bytes();
        self.taken += copy.finish(&mut self.pieces).await?;
        self.bytes += bytes;
        self.skipping.before = SAVE_NEXT;
        Ok(())
    }
}
