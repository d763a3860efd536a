//! Sorts a stream by the keys of its rows, on the disk where memory does not suffice.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_common_datafusion::from_datafusion;
use arrowload_core::{BatchStream, Error, ErrorKind, Result};
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::Side;
use crate::comparison::{Comparison, KEY, row_bytes};

/// What a comparison may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of memory for rows that are being sorted, of both sides together; what needs more goes to the disk.
    pub memory: usize,
    /// The folder for that; the system's temporary folder if there is none.
    pub spill_folder: Option<PathBuf>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            spill_folder: None,
        }
    }
}

/// Rows of a sorted batch, at most. Two batches of each run on the disk are in memory at a time.
const ROWS: usize = 1024;
/// The part of the memory that a sorted batch takes, and the part of one on its way into the sort: about, and at most.
const SORTED: usize = 128;
const UNSORTED: usize = 64;
/// Kept free for the merge of the runs, at most.
const RESERVED: usize = 10 << 20;

/// Reads the first rows of a stream, which stay in it, and returns how many bytes a row has, about.
pub(crate) async fn looked_at(mut stream: BatchStream) -> Result<(BatchStream, usize)> {
    let schema = Arc::clone(stream.schema());
    let mut first = None;
    while let Some(batch) = stream.try_next().await? {
        if batch.num_rows() > 0 {
            first = Some(batch);
            break;
        }
    }
    let bytes = first.as_ref().map_or(1, row_bytes);
    let whole = futures::stream::iter(first.map(Ok)).chain(stream);
    Ok((BatchStream::new(schema, whole), bytes))
}

/// What both sorts share. The wider rows are, the fewer a batch has.
pub(crate) fn context(limits: &Limits, row_bytes: usize) -> Result<Arc<TaskContext>> {
    let mut runtime =
        RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(limits.memory)));
    if let Some(folder) = &limits.spill_folder {
        let mode = DiskManagerMode::Directories(vec![folder.clone()]);
        runtime = runtime.with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode));
    }
    let rows = (limits.memory / SORTED / row_bytes).clamp(1, ROWS);
    let mut config = SessionConfig::new().with_batch_size(rows);
    config.options_mut().execution.sort_spill_reservation_bytes = RESERVED.min(limits.memory / 8);
    let runtime = runtime.build_arc().map_err(from_datafusion)?;
    Ok(SessionContext::new_with_config_rt(config, runtime).task_ctx())
}

/// The rows of a side in the order of their keys. They are read and sorted by a task of its own; dropping this ends it.
pub(crate) struct Sorted {
    /// Rows that the source gave.
    read: Arc<AtomicU64>,
    batches: mpsc::Receiver<Result<RecordBatch>>,
    task: JoinSet<()>,
}

impl Sorted {
    pub(crate) fn new(
        comparison: Arc<Comparison>,
        side: Side,
        stream: BatchStream,
        context: Arc<TaskContext>,
        memory: usize,
    ) -> Result<Self> {
        let schema = comparison.sorted_schema(side);
        let read = Arc::default();
        let source = Source::new(
            comparison,
            side,
            stream,
            memory / UNSORTED,
            Arc::clone(&read),
        );
        let input = StreamingTableExec::try_new(
            Arc::clone(&schema),
            vec![Arc::new(source)],
            None,
            [],
            false,
            None,
        )
        .map_err(from_datafusion)?;
        let key = col(KEY, &schema).map_err(from_datafusion)?;
        let order = LexOrdering::new([PhysicalSortExpr::new_default(key)])
            .ok_or_else(|| Error::new(ErrorKind::Unexpected, "there is nothing to sort by"))?;
        let sort = SortExec::new(order, Arc::new(input));
        let mut sorted = sort.execute(0, context).map_err(from_datafusion)?;
        let (sender, batches) = mpsc::channel(2);
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Some(batch) = sorted.next().await {
                let failed = batch.is_err();
                let sent = sender.send(batch.map_err(from_datafusion)).await;
                if failed || sent.is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            read,
            batches,
            task,
        })
    }

    /// How many rows the source has given so far.
    pub(crate) fn rows_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// The next batch.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        match self.batches.recv().await {
            Some(batch) => batch.map(Some),
            None => match self.task.join_next().await {
                // A panic there must not look like the end of the rows.
                Some(Err(error)) => Err(Error::new(
                    ErrorKind::Unexpected,
                    format!("sorting broke off: {error}"),
                )),
                _ => Ok(None),
            },
        }
    }
}

/// A stream as the one partition of a table. It can be read once.
struct Source {
    schema: SchemaRef,
    stream: Mutex<Option<SendableRecordBatchStream>>,
}

impl Source {
    fn new(
        comparison: Arc<Comparison>,
        side: Side,
        stream: BatchStream,
        bytes: usize,
        read: Arc<AtomicU64>,
    ) -> Self {
        let schema = comparison.sorted_schema(side);
        let counter = Arc::clone(&read);
        let parts = stream
            .map(move |batch| -> Result<_> {
                let batch = batch?;
                let rows = batch.num_rows() as u64;
                let first_row = counter.fetch_add(rows, Ordering::Relaxed);
                let parts = Arc::clone(&comparison).parts(batch, side, first_row, bytes);
                Ok(futures::stream::iter(parts))
            })
            .try_flatten()
            .map_err(|error: Error| DataFusionError::External(Box::new(error)));
        let stream = RecordBatchStreamAdapter::new(Arc::clone(&schema), parts);
        Self {
            schema,
            stream: Mutex::new(Some(Box::pin(stream))),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

impl PartitionStream for Source {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let stream = self
            .stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        stream.unwrap_or_else(|| {
            let again = futures::stream::once(async {
                Err(DataFusionError::Internal("rows are read once".to_owned()))
            });
            Box::pin(RecordBatchStreamAdapter::new(
                Arc::clone(&self.schema),
                again,
            ))
        })
    }
}
