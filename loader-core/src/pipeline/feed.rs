//! The source's half of the pipeline: a task that polls the query, checks each batch, and sends it to each destination in the
//! batch size that it wants.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::panics::panicked;
use crate::rebatch::Rebatcher;
use crate::schema::conform;
use crate::{BatchSize, BatchStream, Error, ErrorKind, Result};

/// How many batches wait for a store: one that is ready while the next is made.
const DEPTH: usize = 2;

/// What the source's task sends.
pub(crate) enum Fed {
    /// The next batch, and its bytes, about.
    Batch(RecordBatch, usize),
    /// The source has no more, and has given this many rows in all.
    End(u64),
}

/// One destination's receiving end. Dropping the last one cancels the query.
pub(crate) struct Feed {
    receiver: mpsc::Receiver<Result<Fed>>,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl Feed {
    /// Starts the task; one feed for each size of batch that is wanted. Without any, the stream is dropped.
    pub(crate) fn start(stream: BatchStream, sizes: Vec<BatchSize>) -> Vec<Self> {
        let (outlets, receivers): (Vec<_>, Vec<_>) = sizes
            .into_iter()
            .map(|size| {
                let (sender, receiver) = mpsc::channel(DEPTH);
                let outlet = Outlet {
                    sender,
                    rebatcher: Rebatcher::new(size),
                };
                (outlet, receiver)
            })
            .unzip();
        if receivers.is_empty() {
            return Vec::new();
        }
        let senders: Vec<_> = outlets.iter().map(|outlet| outlet.sender.clone()).collect();
        let task = tokio::spawn(async move {
            let fed = AssertUnwindSafe(feed(stream, outlets)).catch_unwind().await;
            let error = match fed {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(panic) => panicked("the source", panic.as_ref()),
            };
            for sender in senders {
                // A receiver that is gone belongs to a load that has already ended.
                let _ = sender.send(Err(error.clone())).await;
            }
        });
        let task = Arc::new(AbortOnDropHandle::new(task));
        receivers
            .into_iter()
            .map(|receiver| Self {
                receiver,
                _task: Arc::clone(&task),
            })
            .collect()
    }

    pub(crate) async fn next(&mut self) -> Result<Fed> {
        let ended = || {
            Err(Error::new(
                ErrorKind::Unexpected,
                "the source ended without an answer",
            ))
        };
        self.receiver.recv().await.unwrap_or_else(ended)
    }
}

/// The sending end for one destination.
struct Outlet {
    sender: mpsc::Sender<Result<Fed>>,
    rebatcher: Rebatcher,
}

impl Outlet {
    /// Sends what is ready; false if the receiver is gone.
    async fn send_ready(&mut self) -> bool {
        while let Some((batch, bytes)) = self.rebatcher.next() {
            if self
                .sender
                .send(Ok(Fed::Batch(batch, bytes)))
                .await
                .is_err()
            {
                return false;
            }
        }
        true
    }
}

async fn feed(mut stream: BatchStream, mut outlets: Vec<Outlet>) -> Result<()> {
    let schema = stream.schema().clone();
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        let batch = conform(batch?, &schema, rows)?;
        rows += batch.num_rows() as u64;
        let mut index = 0;
        while let Some(outlet) = outlets.get_mut(index) {
            outlet.rebatcher.push(batch.clone());
            if outlet.send_ready().await {
                index += 1;
            } else {
                outlets.remove(index);
            }
        }
        if outlets.is_empty() {
            return Ok(());
        }
    }
    for mut outlet in outlets {
        outlet.rebatcher.flush();
        if outlet.send_ready().await {
            let _ = outlet.sender.send(Ok(Fed::End(rows))).await;
        }
    }
    Ok(())
}
