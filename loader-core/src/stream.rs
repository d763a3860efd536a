//! The stream of batches that a query returns.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::stream::{BoxStream, Stream, StreamExt};

use crate::Result;
use crate::panics::panicked;

/// A schema, known before the first batch, and the batches that follow it.
///
/// Every batch has the schema that was announced; the pipeline checks it. Dropping the stream cancels the query. A panic while a
/// batch is made is an error of kind [`ErrorKind::Unexpected`](crate::ErrorKind::Unexpected), and ends the stream.
pub struct BatchStream {
    schema: SchemaRef,
    expected_rows: Option<u64>,
    /// `None` after a panic.
    batches: Option<BoxStream<'static, Result<RecordBatch>>>,
}

impl BatchStream {
    /// A stream of batches of this schema.
    pub fn new(
        schema: SchemaRef,
        batches: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
    ) -> Self {
        Self {
            schema,
            expected_rows: None,
            batches: Some(batches.boxed()),
        }
    }

    /// A stream over batches that are already there.
    pub fn from_batches(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        Self::new(schema, futures::stream::iter(batches.into_iter().map(Ok)))
            .with_expected_rows(rows)
    }

    /// Says how many rows will come: for progress bars, never for correctness.
    #[must_use]
    pub fn with_expected_rows(mut self, rows: u64) -> Self {
        self.expected_rows = Some(rows);
        self
    }

    /// The schema of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many rows will come, where the source knows.
    pub fn expected_rows(&self) -> Option<u64> {
        self.expected_rows
    }
}

impl Stream for BatchStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(batches) = &mut self.batches else {
            return Poll::Ready(None);
        };
        // What panicked is not polled again, so that its broken state is never seen.
        match catch_unwind(AssertUnwindSafe(|| batches.poll_next_unpin(cx))) {
            Ok(polled) => polled,
            Err(panic) => {
                self.batches = None;
                Poll::Ready(Some(Err(panicked("the source", panic.as_ref()))))
            }
        }
    }
}

impl fmt::Debug for BatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchStream")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}
