//! The stream of rows that the caller gets.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_core::{BatchStream, Result};
use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};

use crate::announced;

/// The code of an error that another run of the query may mend.
pub(crate) const EXPIRED: &str = "expired_ticket";

/// Rows, and what the server said with them for the application. Dropping it before its end tells the server to stop.
pub struct FlightStream {
    pub(crate) schema: SchemaRef,
    pub(crate) expected_rows: Option<u64>,
    pub(crate) app_metadata: Bytes,
    pub(crate) batches: BoxStream<'static, Result<FlightBatch>>,
}

/// A batch, and what the server said with it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FlightBatch {
    /// The rows.
    pub batch: RecordBatch,
    /// The metadata of the application that came with them; empty if there was none.
    pub app_metadata: Bytes,
}

impl FlightStream {
    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many rows the server says there are.
    pub fn expected_rows(&self) -> Option<u64> {
        self.expected_rows
    }

    /// The metadata of the application that came with the announcement of the rows; empty if there was none.
    pub fn app_metadata(&self) -> &Bytes {
        &self.app_metadata
    }

    /// Runs the query again, once, if its tickets have expired before any row came.
    pub(crate) fn or_again<F>(mut self, again: impl FnOnce() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Self>> + Send,
    {
        let schema = Arc::clone(&self.schema);
        let first = std::mem::replace(&mut self.batches, stream::empty().boxed());
        let batches = stream::unfold((first, Some(again)), move |(mut batches, mut again)| {
            let schema = Arc::clone(&schema);
            async move {
                let mut item = batches.next().await;
                if let (Some(Err(error)), Some(again)) = (&item, again.take())
                    && error.code() == Some(EXPIRED)
                {
                    tracing::debug!(%error, "the query is run again");
                    item = match again().await {
                        Ok(second) => {
                            batches = second.batches;
                            match announced::check(&schema, &second.schema) {
                                Ok(()) => batches.next().await,
                                Err(error) => Some(Err(error)),
                            }
                        }
                        Err(error) => Some(Err(error)),
                    };
                }
                Some((item?, (batches, again)))
            }
        });
        Self {
            batches: batches.boxed(),
            ..self
        }
    }

    /// The rows alone.
    pub fn into_batches(self) -> BatchStream {
        let stream = BatchStream::new(self.schema, self.batches.map_ok(|item| item.batch));
        match self.expected_rows {
            Some(rows) => stream.with_expected_rows(rows),
            None => stream,
        }
    }
}

impl std::fmt::Debug for FlightStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlightStream")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl Stream for FlightStream {
    type Item = Result<FlightBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_next_unpin(context)
    }
}
