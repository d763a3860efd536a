//! The reading of a table's files, as a part of a plan: one after another, each on all cores, with one or two batches ahead. When
//! the stream is dropped, reading stops.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{Schema, SchemaRef};
use arrowload_common_object_store::from_join;
use arrowload_core::{Error, ErrorKind, Result, Retry};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::error::{DataFusionError, Result as EngineResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use datafusion::scalar::ScalarValue;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::known::Known;
use crate::look::{Aside, Ask, Batches};
use crate::union::Union;

/// Batches that wait to be taken.
const WAITING: usize = 2;

/// What is read, and what to do with values that do not fit.
#[derive(Debug, Clone)]
pub(crate) struct Reads {
    pub(crate) union: Arc<Union>,
    /// The numbers of the files that are read.
    pub(crate) files: Vec<usize>,
    /// The numbers of the table's columns that are wanted.
    pub(crate) projection: Vec<usize>,
    pub(crate) aside: Aside,
    /// Whether types were found in the whole files.
    pub(crate) proved: bool,
    pub(crate) known: Arc<Known>,
    /// The key of the table in the cache.
    pub(crate) key: String,
}

/// A scan of files by our own readers.
#[derive(Debug, Clone)]
pub(crate) struct FileScan {
    reads: Reads,
    fetch: Option<usize>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl FileScan {
    pub(crate) fn new(reads: Reads, fetch: Option<usize>) -> EngineResult<Self> {
        let schema: SchemaRef = Arc::new(reads.union.schema.project(&reads.projection)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            reads,
            fetch,
            schema,
            properties: Arc::new(properties),
        })
    }
}

impl DisplayAs for FileScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let union = &self.reads.union;
        let (files, all) = (self.reads.files.len(), union.files.len());
        write!(f, "FileScan: format={}, files={files}", union.kind.word())?;
        if files != all {
            write!(f, " of {all}")?;
        }
        if let Some(first) = self.reads.files.first() {
            write!(f, " [{}", union.files[*first].file.shown())?;
            f.write_str(if files > 1 { ", …]" } else { "]" })?;
        }
        let names = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str());
        write!(f, ", projection=[{}]", names.collect::<Vec<_>>().join(", "))?;
        if let Some(fetch) = self.fetch {
            write!(f, ", fetch={fetch}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for FileScan {
    fn name(&self) -> &str {
        "FileScan"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        _: usize,
        context: Arc<TaskContext>,
    ) -> EngineResult<SendableRecordBatchStream> {
        let job = Job {
            reads: self.reads.clone(),
            schema: Arc::clone(&self.schema),
            left: self.fetch.unwrap_or(usize::MAX),
            batch_rows: context.session_config().batch_size(),
        };
        let schema = Arc::clone(&self.schema);
        let stream = futures::stream::unfold(Reading::Waits(job), Reading::next);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }

    fn partition_statistics(&self, _: Option<usize>) -> EngineResult<Statistics> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        let rows = self
            .reads
            .files
            .iter()
            .map(|file| self.reads.union.files[*file].rows)
            .sum::<Option<u64>>();
        if let Some(rows) = rows.and_then(|rows| usize::try_from(rows).ok()) {
            let rows = self.fetch.map_or(rows, |fetch| rows.min(fetch));
            statistics.num_rows = Precision::Exact(rows);
        }
        Ok(statistics)
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn with_fetch(&self, fetch: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let mut limited = self.clone();
        limited.fetch = fetch;
        Some(Arc::new(limited))
    }
}

/// A reading that runs on a thread of its own, from the first batch that is asked for.
enum Reading {
    Waits(Job),
    Runs(Receiver<Result<RecordBatch>>, JoinHandle<()>),
    Ended,
}

impl Reading {
    async fn next(self) -> Option<(EngineResult<RecordBatch>, Self)> {
        let (mut batches, worker) = match self {
            Self::Waits(job) => {
                let (sender, receiver) = channel(WAITING);
                (receiver, spawn_blocking(move || job.run(&sender)))
            }
            Self::Runs(batches, worker) => (batches, worker),
            Self::Ended => return None,
        };
        let external = |error: Error| DataFusionError::External(Box::new(error));
        match batches.recv().await {
            Some(Ok(batch)) => Some((Ok(batch), Self::Runs(batches, worker))),
            Some(Err(error)) => Some((Err(external(error)), Self::Ended)),
            // The worker has sent everything, or has failed: then rows are missing, and the error must be reported.
            None => match worker.await {
                Ok(()) => None,
                Err(error) => Some((Err(external(from_join(error))), Self::Ended)),
            },
        }
    }
}

struct Job {
    reads: Reads,
    schema: SchemaRef,
    /// Rows that are still wanted.
    left: usize,
    batch_rows: usize,
}

impl Job {
    fn run(mut self, sender: &Sender<Result<RecordBatch>>) {
        let files = std::mem::take(&mut self.reads.files);
        for file in files {
            if self.left == 0 {
                return;
            }
            match self.file(file, sender) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    let error = self.explained(file, error);
                    // Nobody waits for it if it cannot be sent.
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            }
        }
    }

    /// Reads a file; whether more is wanted.
    fn file(&mut self, file: usize, sender: &Sender<Result<RecordBatch>>) -> Result<bool> {
        let columns = self.columns(file)?;
        for batch in self.batches(file, &columns)? {
            let batch = columns.whole(&batch?, &self.schema)?;
            let batch = batch.slice(0, batch.num_rows().min(self.left));
            self.left -= batch.num_rows();
            if batch.num_rows() > 0 && sender.blocking_send(Ok(batch)).is_err() {
                return Ok(false);
            }
            if self.left == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn batches(&self, file: usize, columns: &Columns) -> Result<Batches> {
        let looked = &self.reads.union.files[file];
        let layout = looked.layout.as_ref().ok_or_else(|| {
            let message = format!("{} is not read here: a defect of the engine", looked.kind);
            Error::new(ErrorKind::Unexpected, message)
        })?;
        let ask = Ask {
            projection: columns.projection.clone(),
            batch_rows: self.batch_rows,
            aside: self.reads.aside.clone(),
        };
        layout.read(&looked.file, &ask)
    }

    /// What each wanted column is made from.
    fn columns(&self, file: usize) -> Result<Columns> {
        let union = &self.reads.union;
        let mut projection: Vec<usize> = Vec::new();
        let mut parts = Vec::with_capacity(self.reads.projection.len());
        for number in &self.reads.projection {
            parts.push(match number.checked_sub(union.own) {
                Some(constant) => {
                    let values = union.constants.column(constant);
                    let value = ScalarValue::try_from_array(values, file)
                        .map_err(arrowload_common_datafusion::from_datafusion)?;
                    Part::Constant(value)
                }
                None => match union.places[file][*number] {
                    Some(place) => {
                        projection.push(place);
                        Part::Own(projection.len() - 1)
                    }
                    None => Part::Missing,
                },
            });
        }
        Ok(Columns { projection, parts })
    }

    /// An error with its file; for a value that does not fit a type that was found, what to do about it.
    fn explained(&self, file: usize, error: Error) -> Error {
        let looked = &self.reads.union.files[file];
        let error = error.with("file", looked.file.shown());
        let misfits = looked
            .layout
            .as_ref()
            .and_then(|layout| layout.misfits(&error));
        match misfits {
            Some((columns, true)) => {
                let reads = &self.reads;
                reads.known.learn(&reads.key, &columns, reads.proved);
                error.with_retry(Retry::Reopen)
            }
            _ => error,
        }
    }
}

/// What a column of the answer is made from.
enum Part {
    /// A column of the file's batches.
    Own(usize),
    /// The file does not have it.
    Missing,
    /// The same for all rows of the file.
    Constant(ScalarValue),
}

struct Columns {
    projection: Vec<usize>,
    parts: Vec<Part>,
}

impl Columns {
    /// A batch of a file with the columns of the table.
    fn whole(&self, batch: &RecordBatch, schema: &Arc<Schema>) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.parts.len());
        for (part, field) in self.parts.iter().zip(schema.fields()) {
            columns.push(match part {
                Part::Own(index) => {
                    let column = batch.column(*index);
                    if column.data_type() == field.data_type() {
                        Arc::clone(column)
                    } else {
                        // Only to a type that holds every value, and never with a null for one that does not fit.
                        let options = CastOptions {
                            safe: false,
                            ..CastOptions::default()
                        };
                        cast_with_options(column, field.data_type(), &options)?
                    }
                }
                Part::Missing => new_null_array(field.data_type(), rows),
                Part::Constant(value) => value
                    .to_array_of_size(rows)
                    .map_err(arrowload_common_datafusion::from_datafusion)?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(schema);
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }
}
