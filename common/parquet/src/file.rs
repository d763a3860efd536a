//! One open file: rows come in, row groups are encoded, and a task brings their bytes to the sink in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_common_object_store::from_join;
use arrowload_core::{Error, Result};
use bytes::Bytes;
use object_store::path::Path;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::add_encoded_arrow_schema_to_metadata;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::writer::SerializedFileWriter;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::encode::{Chunks, Encoded, Piece, RowGroup, Size};
use crate::error::{encoder, stopped};
use crate::partition::Partition;
use crate::pool::Pool;
use crate::sink::{Sink, Sinks, StagedSink};
use crate::{ParquetOptions, profile};

/// Row groups that may be encoded and not yet written, for each file.
const GROUPS_IN_FLIGHT: usize = 2;

/// What the open files of one writer share.
pub(crate) struct Shared {
    pub(crate) options: ParquetOptions,
    pub(crate) schema: SchemaRef,
    pub(crate) sinks: Sinks,
    pub(crate) pool: Arc<Pool>,
    /// Bytes of Arrow rows that are given to the encoders and not yet encoded.
    pub(crate) budget: Arc<Semaphore>,
    pub(crate) budget_bytes: usize,
    /// Set when nothing that is in progress is wanted any more.
    pub(crate) cancelled: AtomicBool,
}

/// A file whose bytes are all at their place.
#[derive(Debug)]
pub(crate) struct StagedFile {
    pub(crate) index: usize,
    pub(crate) path: Path,
    pub(crate) partition: Option<Arc<Partition>>,
    pub(crate) bytes: u64,
    pub(crate) metadata: Arc<ParquetMetaData>,
    pub(crate) sink: StagedSink,
}

/// What the task that writes a file is told.
enum Message {
    Group(Encoded),
    Finish,
}

type Writer = SerializedFileWriter<Vec<u8>>;

/// A file that takes rows.
pub(crate) struct OpenFile {
    shared: Arc<Shared>,
    factory: ArrowRowGroupWriterFactory,
    leaves: Vec<usize>,
    group: Option<RowGroup>,
    groups_begun: usize,
    ended: Vec<Size>,
    messages: mpsc::Sender<Message>,
    task: Task,
}

/// The task that writes a file; it ends with its owner. It is gone once its answer was taken: a task answers once.
pub(crate) struct Task(Option<JoinHandle<Result<StagedFile>>>);

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Task {
    async fn answer(&mut self) -> Result<StagedFile> {
        let Some(task) = &mut self.0 else {
            return Err(stopped("the file failed before"));
        };
        let answer = task.await;
        self.0 = None;
        answer.map_err(from_join)?
    }

    pub(crate) async fn wait(mut self) -> Result<StagedFile> {
        self.answer().await
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl OpenFile {
    /// Opens a file whose encodings suit the rows of `first`. Nothing is sent yet.
    pub(crate) fn open(
        shared: Arc<Shared>,
        index: usize,
        path: Path,
        partition: Option<Arc<Partition>>,
        first: &[RecordBatch],
    ) -> Result<Self> {
        let mut properties = profile::properties(&shared.options, &shared.schema, first)?;
        add_encoded_arrow_schema_to_metadata(&shared.schema, &mut properties);
        let parquet_schema = ArrowSchemaConverter::new()
            .convert(&shared.schema)
            .map_err(encoder)?;
        let root = parquet_schema.root_schema_ptr();
        let writer =
            SerializedFileWriter::new(Vec::new(), root, Arc::new(properties)).map_err(encoder)?;
        let factory = ArrowRowGroupWriterFactory::new(&writer, shared.schema.clone());
        let leaves = leaves(&writer, shared.schema.fields().len());
        let (messages, receiver) = mpsc::channel(GROUPS_IN_FLIGHT);
        let drain = Drain {
            shared: shared.clone(),
            writer: Some(writer),
            bytes: 0,
        };
        let task = tokio::spawn(drain.run(receiver, index, path, partition));
        Ok(Self {
            shared,
            factory,
            leaves,
            group: None,
            groups_begun: 0,
            ended: Vec::new(),
            messages,
            task: Task(Some(task)),
        })
    }

    /// Encodes rows; waits while too many are in progress.
    pub(crate) async fn write(&mut self, batches: Vec<RecordBatch>, bytes: usize) -> Result<()> {
        let mut rest = batches;
        let all: usize = rest.iter().map(RecordBatch::num_rows).sum();
        while !rest.is_empty() {
            let room =
                self.shared.options.row_group_rows - self.group.as_ref().map_or(0, RowGroup::rows);
            let (now, later) = split(rest, room);
            rest = later;
            let rows = now.iter().map(RecordBatch::num_rows).sum();
            self.submit(
                now,
                rows,
                (bytes as f64 * rows as f64 / all as f64) as usize,
            )
            .await?;
            if self
                .group
                .as_ref()
                .is_some_and(|group| group.rows() >= self.shared.options.row_group_rows)
            {
                self.end_group().await?;
            }
        }
        Ok(())
    }

    async fn submit(&mut self, batches: Vec<RecordBatch>, rows: usize, bytes: usize) -> Result<()> {
        let permits = bytes.clamp(1, self.shared.budget_bytes) as u32;
        let budget = self.shared.budget.clone().acquire_many_owned(permits).await;
        let budget = budget.map_err(|_| stopped("it was closed"))?;
        let piece = Piece {
            batches,
            rows,
            _budget: budget,
        };
        if self.group.is_none() {
            let writers = self
                .factory
                .create_column_writers(self.groups_begun)
                .map_err(encoder)?;
            self.groups_begun += 1;
            self.group = Some(RowGroup::new(
                &self.shared.schema,
                &self.leaves,
                writers,
                self.shared.options.statistics,
                &self.shared.pool,
            ));
        }
        if let Some(group) = &mut self.group {
            group.submit(piece);
        }
        Ok(())
    }

    /// Ends the row group that is in progress, if any; waits while the sink is behind.
    pub(crate) async fn end_group(&mut self) -> Result<()> {
        let Some(group) = self.group.take() else {
            return Ok(());
        };
        let (encoded, size) = group.end();
        self.ended.push(size);
        self.send(Message::Group(encoded)).await
    }

    async fn send(&mut self, message: Message) -> Result<()> {
        if self.messages.send(message).await.is_ok() {
            return Ok(());
        }
        // The task has given up, and knows why.
        match self.task.answer().await {
            Err(error) => Err(error),
            Ok(_) => Err(stopped("the task of a file ended early")),
        }
    }

    /// Removes what there is of the file.
    pub(crate) async fn abort(self) {
        let Self { messages, task, .. } = self;
        // The task sees that its sender is gone, and tidies up before it ends.
        drop(messages);
        // It ends with the error that says so.
        let _ = task.wait().await;
    }

    /// No more rows come: the task writes the rest and the footer, and stages the file.
    pub(crate) async fn close(mut self) -> Result<Task> {
        self.end_group().await?;
        self.send(Message::Finish).await?;
        Ok(self.task)
    }

    /// The size that the file has reached, about.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        let group = self
            .group
            .as_ref()
            .map_or(0, |group| group.size().encoded_bytes());
        group + self.ended.iter().map(Size::encoded_bytes).sum::<u64>()
    }

    /// The bytes that the row group in progress holds, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.group
            .as_ref()
            .map_or(0, |group| group.size().memory_bytes())
    }
}

/// How many leaves each field has.
fn leaves(writer: &Writer, fields: usize) -> Vec<usize> {
    let schema = writer.schema_descr();
    let mut counts = vec![0; fields];
    for leaf in 0..schema.num_columns() {
        counts[schema.get_column_root_idx(leaf)] += 1;
    }
    counts
}

/// The first `rows` rows, and the others.
fn split(batches: Vec<RecordBatch>, rows: usize) -> (Vec<RecordBatch>, Vec<RecordBatch>) {
    let (mut now, mut later, mut room) = (Vec::new(), Vec::new(), rows);
    for batch in batches {
        let take = batch.num_rows().min(room);
        room -= take;
        if take == batch.num_rows() {
            now.push(batch);
            continue;
        }
        if take > 0 {
            now.push(batch.slice(0, take));
        }
        later.push(batch.slice(take, batch.num_rows() - take));
    }
    (now, later)
}

/// Puts the columns of each row group into the file and sends the bytes on.
struct Drain {
    shared: Arc<Shared>,
    /// Not there while a thread of the pool works with it.
    writer: Option<Writer>,
    bytes: u64,
}

fn cancelled() -> Error {
    stopped("it was aborted")
}

fn lost() -> Error {
    stopped("an earlier step of the file did not return")
}

impl Drain {
    async fn run(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        index: usize,
        path: Path,
        partition: Option<Arc<Partition>>,
    ) -> Result<StagedFile> {
        let mut sink = self.shared.sinks.create(&path).await?;
        loop {
            let step = match messages.recv().await {
                Some(Message::Group(_)) if self.shared.cancelled.load(Ordering::Relaxed) => {
                    Err(cancelled())
                }
                Some(Message::Group(encoded)) => self.group(encoded, &mut sink).await,
                Some(Message::Finish) => break,
                None => Err(cancelled()),
            };
            if let Err(error) = step {
                // What came first is what the caller should hear of; that the rest could not be removed is noted.
                if let Err(abort) = sink.abort().await {
                    tracing::debug!(%abort, "what was staged of a file could not be removed");
                }
                return Err(error);
            }
        }
        let writer = self.writer.take().ok_or_else(lost)?;
        let (bytes, metadata) = self.shared.pool.run(move || footer(writer)).await?;
        let size = self.bytes + bytes.len() as u64;
        sink.write(bytes).await?;
        let sink = sink.stage().await?;
        Ok(StagedFile {
            index,
            path,
            partition,
            bytes: size,
            metadata: Arc::new(metadata),
            sink,
        })
    }

    async fn group(&mut self, encoded: Encoded, sink: &mut Sink) -> Result<()> {
        let chunks = encoded.await.map_err(|_| stopped("a column was lost"))??;
        let writer = self.writer.take().ok_or_else(lost)?;
        let (writer, bytes) = self.shared.pool.run(move || append(writer, chunks)).await?;
        self.writer = Some(writer);
        self.bytes += bytes.len() as u64;
        sink.write(bytes).await
    }
}

/// Adds a row group to the file, and takes the bytes that are new.
fn append(mut writer: Writer, chunks: Chunks) -> Result<(Writer, Bytes)> {
    let bytes: usize = chunks
        .iter()
        .map(|chunk| chunk.close().metadata.compressed_size() as usize)
        .sum();
    writer.inner_mut().reserve(bytes + 4096);
    let mut group = writer.next_row_group().map_err(encoder)?;
    for chunk in chunks {
        chunk.append_to_row_group(&mut group).map_err(encoder)?;
    }
    group.close().map_err(encoder)?;
    writer.flush().map_err(|error| encoder(error.into()))?;
    let bytes = std::mem::take(writer.inner_mut());
    Ok((writer, Bytes::from(bytes)))
}

fn footer(mut writer: Writer) -> Result<(Bytes, ParquetMetaData)> {
    let metadata = writer.finish().map_err(encoder)?;
    writer.flush().map_err(|error| encoder(error.into()))?;
    let bytes = std::mem::take(writer.inner_mut());
    Ok((Bytes::from(bytes), metadata))
}
