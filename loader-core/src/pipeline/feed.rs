//! The source's half of the pipeline: a task that polls the query, checks each batch, and sends what the store wants.

use arrow_array::RecordBatch;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::rebatch::Rebatcher;
use crate::schema::conform;
use crate::{BatchSize, BatchStream, Result};

/// How many batches wait for the store: one that is ready while the next is made.
const DEPTH: usize = 2;

/// What the source's task sends.
pub(crate) enum Fed {
    /// The next batch, and its bytes, about.
    Batch(RecordBatch, usize),
    /// The source has no more, and has given this many rows in all.
    End(u64),
}

/// The receiving end. Dropping it cancels the query.
pub(crate) struct Feed {
    receiver: mpsc::Receiver<Result<Fed>>,
    task: AbortOnDropHandle<()>,
}

impl Feed {
    pub(crate) fn start(stream: BatchStream, size: BatchSize) -> Self {
        let (sender, receiver) = mpsc::channel(DEPTH);
        let task = tokio::spawn(async move {
            if let Err(error) = feed(stream, size, &sender).await {
                // If nobody listens, nobody cares.
                let _ = sender.send(Err(error)).await;
            }
        });
        Self {
            receiver,
            task: AbortOnDropHandle::new(task),
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Fed> {
        match self.receiver.recv().await {
            Some(fed) => fed,
            None => Err(self.died().await),
        }
    }

    /// The task ended without a last word: it panicked.
    async fn died(&mut self) -> crate::Error {
        let message = "the source ended without an answer";
        let error = crate::Error::new(crate::ErrorKind::Unexpected, message);
        match (&mut self.task).await {
            Ok(()) => error,
            Err(join) => error.with_source(join),
        }
    }
}

async fn feed(
    mut stream: BatchStream,
    size: BatchSize,
    sender: &mpsc::Sender<Result<Fed>>,
) -> Result<()> {
    let schema = stream.schema().clone();
    let mut rebatcher = Rebatcher::new(size);
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        let batch = conform(batch?, &schema, rows)?;
        rows += batch.num_rows() as u64;
        rebatcher.push(batch);
        if !send_ready(&mut rebatcher, sender).await {
            return Ok(());
        }
    }
    rebatcher.flush();
    if send_ready(&mut rebatcher, sender).await {
        let _ = sender.send(Ok(Fed::End(rows))).await;
    }
    Ok(())
}

/// Sends what is ready; false if nobody listens any more.
async fn send_ready(rebatcher: &mut Rebatcher, sender: &mpsc::Sender<Result<Fed>>) -> bool {
    while let Some((batch, bytes)) = rebatcher.next() {
        if sender.send(Ok(Fed::Batch(batch, bytes))).await.is_err() {
            return false;
        }
    }
    true
}
