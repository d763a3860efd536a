//! One row group on all cores: a lane for each column, and a message to every lane for each piece of rows.
//!
//! A lane is encoded by at most one thread at a time, in order; different lanes, and the lanes of the next row group,
//! run beside it. So a column that takes longer than the others holds nobody up: it lags behind, as far as the
//! budget of rows in flight allows, while the other threads go on with what comes after.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow_array::RecordBatch;
use arrow_schema::{FieldRef, SchemaRef};
use arrowload_core::Result;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::Statistics;
use crate::error::{encoder as failed, stopped};
use crate::extremes::{self, Extremes};
use crate::pool::{Pool, lock};

/// Rows on their way into the lanes; the budget they take is given back when the last lane is done with them.
pub(crate) struct Piece {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) rows: usize,
    pub(crate) _budget: OwnedSemaphorePermit,
}

/// The encoded columns of a row group, in order.
pub(crate) type Chunks = Vec<ArrowColumnChunk>;
/// Where the encoded columns of a row group arrive once all of them are done.
pub(crate) type Encoded = oneshot::Receiver<Result<Chunks>>;

/// A row group that takes rows.
pub(crate) struct RowGroup {
    lanes: Vec<Arc<Lane>>,
    shared: Arc<Shared>,
    encoded: Encoded,
    rows: usize,
}

impl RowGroup {
    /// `writers` are those of the leaves of `schema`, in order; `leaves` says how many each field has.
    pub(crate) fn new(
        schema: &SchemaRef,
        leaves: &[usize],
        writers: Vec<ArrowColumnWriter>,
        statistics: Statistics,
        pool: &Arc<Pool>,
    ) -> Self {
        let (sender, encoded) = oneshot::channel();
        let columns = schema.fields().len();
        let shared = Arc::new(Shared {
            pool: pool.clone(),
            progress: (0..columns).map(|_| Progress::default()).collect(),
            done: Mutex::new(Done {
                left: columns,
                chunks: (0..columns).map(|_| Vec::new()).collect(),
                sender: Some(sender),
            }),
        });
        let mut writers = writers.into_iter();
        let lanes =
            schema
                .fields()
                .iter()
                .zip(leaves)
                .enumerate()
                .map(|(column, (field, leaves))| {
                    let leaves = writers.by_ref().take(*leaves).collect();
                    let extremes = (statistics == Statistics::Chunk
                        && extremes::found_here(field.data_type()))
                    .then(Extremes::default);
                    let state = State {
                        encoder: Some(Encoder { leaves, extremes }),
                        queue: VecDeque::new(),
                        closing: false,
                    };
                    Arc::new(Lane {
                        column,
                        field: field.clone(),
                        shared: shared.clone(),
                        state: Mutex::new(state),
                    })
                });
        Self {
            lanes: lanes.collect(),
            shared: shared.clone(),
            encoded,
            rows: 0,
        }
    }

    /// The rows given so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Gives the rows to every column.
    pub(crate) fn submit(&mut self, piece: Piece) {
        self.rows += piece.rows;
        let piece = Arc::new(piece);
        for lane in &self.lanes {
            lane.send(Some(piece.clone()));
        }
    }

    /// No more rows come; the columns arrive at the receiver.
    pub(crate) fn end(self) -> (Encoded, Size) {
        for lane in &self.lanes {
            lane.send(None);
        }
        (
            self.encoded,
            Size {
                shared: self.shared,
                rows: self.rows,
            },
        )
    }

    /// How large it has become, as far as is known.
    pub(crate) fn size(&self) -> Size {
        Size {
            shared: self.shared.clone(),
            rows: self.rows,
        }
    }
}

/// The size of a row group, while it is encoded and after.
pub(crate) struct Size {
    shared: Arc<Shared>,
    rows: usize,
}

impl Size {
    /// The bytes in the file, about, once all rows that were given are encoded.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        let column = |progress: &Progress| {
            let rows = progress.rows.load(Ordering::Relaxed);
            let bytes = progress.bytes.load(Ordering::Relaxed);
            if rows == 0 {
                0
            } else {
                (bytes as f64 * (self.rows as f64 / rows as f64)) as u64
            }
        };
        self.shared.progress.iter().map(column).sum()
    }

    /// The bytes held by the encoders now, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.shared
            .progress
            .iter()
            .map(|progress| progress.memory.load(Ordering::Relaxed))
            .sum()
    }
}

struct Shared {
    pool: Arc<Pool>,
    progress: Vec<Progress>,
    done: Mutex<Done>,
}

/// What one column has done so far; read from outside while its lane works.
#[derive(Default)]
struct Progress {
    rows: AtomicUsize,
    bytes: AtomicUsize,
    memory: AtomicUsize,
}

struct Done {
    left: usize,
    chunks: Vec<Chunks>,
    sender: Option<oneshot::Sender<Result<Chunks>>>,
}

impl Shared {
    fn complete(&self, column: usize, result: Result<Chunks>) {
        let mut done = lock(&self.done);
        let answer = match result {
            Ok(chunks) => {
                done.chunks[column] = chunks;
                done.left -= 1;
                if done.left > 0 {
                    return;
                }
                Ok(std::mem::take(&mut done.chunks)
                    .into_iter()
                    .flatten()
                    .collect())
            }
            Err(error) => Err(error),
        };
        if let Some(sender) = done.sender.take() {
            // The receiver is gone when the load was cancelled.
            let _ = sender.send(answer);
        }
    }
}

/// One column of one row group.
struct Lane {
    column: usize,
    field: FieldRef,
    shared: Arc<Shared>,
    state: Mutex<State>,
}

/// What a column's values go into.
struct Encoder {
    leaves: Vec<ArrowColumnWriter>,
    /// Where the statistics are not the leaf's own.
    extremes: Option<Extremes>,
}

struct State {
    /// Not there while a thread works with them, and after the end or a failure.
    encoder: Option<Encoder>,
    queue: VecDeque<Arc<Piece>>,
    closing: bool,
}

impl Lane {
    /// Queues a piece, or the end; a lane that rests is put to work.
    fn send(self: &Arc<Self>, piece: Option<Arc<Piece>>) {
        let mut state = lock(&self.state);
        match piece {
            Some(piece) => state.queue.push_back(piece),
            None => state.closing = true,
        }
        let waiting = state.queue.len() + usize::from(state.closing);
        if waiting == 1 || (state.closing && state.queue.is_empty()) {
            self.schedule(&mut state);
        }
    }

    fn schedule(self: &Arc<Self>, state: &mut State) {
        let Some(encoder) = state.encoder.take() else {
            return;
        };
        let lane = self.clone();
        self.shared.pool.spawn(move || lane.work(encoder));
    }

    /// Encodes one piece, or closes the column, and queues itself again after the others if more is there.
    fn work(self: Arc<Self>, encoder: Encoder) {
        let piece = lock(&self.state).queue.pop_front();
        let step = || match &piece {
            Some(piece) => self.encode(encoder, piece).map(Step::More),
            None => self.close(encoder).map(Step::Closed),
        };
        let result = catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| {
            Err(stopped(format!(
                "the encoder of column `{}` panicked; please report it",
                self.field.name()
            )))
        });
        drop(piece);
        match result {
            Ok(Step::More(encoder)) => {
                let mut state = lock(&self.state);
                state.encoder = Some(encoder);
                if !state.queue.is_empty() || state.closing {
                    self.schedule(&mut state);
                }
            }
            Ok(Step::Closed(chunks)) => self.shared.complete(self.column, Ok(chunks)),
            Err(error) => {
                // Gives the budget of what waits back, so that the writer hears of the error instead of waiting.
                lock(&self.state).queue.clear();
                self.shared.complete(self.column, Err(error));
            }
        }
    }

    fn encode(&self, mut encoder: Encoder, piece: &Piece) -> Result<Encoder> {
        for batch in &piece.batches {
            let column = batch.column(self.column);
            if let Some(extremes) = &mut encoder.extremes {
                extremes.add(column);
            }
            let leaves = compute_leaves(&self.field, column).map_err(failed)?;
            for (writer, leaf) in encoder.leaves.iter_mut().zip(&leaves) {
                writer.write(leaf).map_err(failed)?;
            }
        }
        let progress = &self.shared.progress[self.column];
        let sum = |size: fn(&ArrowColumnWriter) -> usize| encoder.leaves.iter().map(size).sum();
        progress.bytes.store(
            sum(ArrowColumnWriter::get_estimated_total_bytes),
            Ordering::Relaxed,
        );
        progress
            .memory
            .store(sum(ArrowColumnWriter::memory_size), Ordering::Relaxed);
        progress.rows.fetch_add(piece.rows, Ordering::Relaxed);
        Ok(encoder)
    }

    fn close(&self, encoder: Encoder) -> Result<Chunks> {
        let mut chunks = encoder
            .leaves
            .into_iter()
            .map(ArrowColumnWriter::close)
            .collect::<Result<Chunks, _>>()
            .map_err(failed)?;
        if let (Some(extremes), [chunk]) = (encoder.extremes, chunks.as_mut_slice()) {
            extremes.describe(&self.field, chunk)?;
        }
        Ok(chunks)
    }
}

enum Step {
    More(Encoder),
    Closed(Chunks),
}
