//! The writer that callers hold: checks, converts and splits batches, and hands the rows to their partitions.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_core::Result;
use tokio::sync::Semaphore;

use crate::error::stopped;
use crate::file::Shared;
use crate::partition::{Partition, Splitter};
use crate::pool::Pool;
use crate::sink::Sinks;
use crate::slots::Slots;
use crate::types::Storage;
use crate::{Destination, FileNaming, ParquetOptions, Staged};

/// Bytes of Arrow rows that may wait for each thread: enough for the others to go on while one column lags behind.
const BUDGET_PER_THREAD: usize = 24 << 20;

/// Writes batches of one schema to Parquet files. See the crate's page for how the steps fit together.
///
/// Dropping it publishes nothing and removes what was staged, as far as that can be done at once.
pub struct ParquetWriter {
    shared: Arc<Shared>,
    storage: Arc<Storage>,
    splitter: Option<Arc<Splitter>>,
    slots: Slots,
    rows: u64,
    /// Set while rows are on their way: still set at the next call when a write failed or was cancelled half-way.
    torn: bool,
}

impl ParquetWriter {
    /// A writer for batches of `schema`. Nothing is created before the first rows are encoded.
    ///
    /// # Errors
    /// [`UnsupportedType`](arrowload_core::ErrorKind::UnsupportedType) for a column that Parquet cannot hold,
    /// [`InvalidOption`](arrowload_core::ErrorKind::InvalidOption) for options that do not fit, [`Unexpected`](arrowload_core::ErrorKind::Unexpected) when
    /// no thread can be started.
    pub fn new(
        destination: Destination,
        schema: SchemaRef,
        options: ParquetOptions,
        naming: FileNaming,
    ) -> Result<Self> {
        options.check(&schema)?;
        let storage = Storage::new(schema)?;
        let splitter = match options.partition_by.as_slice() {
            [] => None,
            names => Some(Arc::new(Splitter::new(storage.schema(), names)?)),
        };
        let file_schema = splitter
            .as_ref()
            .map_or(storage.schema(), |splitter| splitter.file_schema())
            .clone();
        let threads = options.threads();
        let budget_bytes = (threads * BUDGET_PER_THREAD)
            .min(options.memory_limit_bytes)
            .max(1 << 20);
        let shared = Arc::new(Shared {
            schema: file_schema,
            sinks: Sinks::new(destination, options.sync),
            pool: Arc::new(Pool::new(threads)?),
            budget: Arc::new(Semaphore::new(budget_bytes)),
            budget_bytes,
            cancelled: AtomicBool::new(false),
            options,
        });
        let slots = Slots::new(shared.clone(), naming);
        Ok(Self {
            shared,
            storage: Arc::new(storage),
            splitter,
            slots,
            rows: 0,
            torn: false,
        })
    }

    /// The rows taken so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The schema of the columns in the files: without partition columns, and with the types that are stored.
    pub fn file_schema(&self) -> &SchemaRef {
        &self.shared.schema
    }

    /// Takes a batch; waits while the encoders or the destination are behind.
    ///
    /// Must run inside a Tokio runtime.
    ///
    /// # Errors
    /// [`SchemaMismatch`](arrowload_core::ErrorKind::SchemaMismatch) and [`InvalidData`](arrowload_core::ErrorKind::InvalidData) refuse the whole batch and
    /// leave the writer as it was. After any other error, and after a call that was cancelled, the writer only refuses.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.check_whole()?;
        let parts = self.prepare(batch).await?;
        self.torn = true;
        for (partition, rows) in parts {
            self.slots.push(partition, rows).await?;
        }
        self.slots.relieve().await?;
        self.rows += batch.num_rows() as u64;
        self.torn = false;
        Ok(())
    }

    fn check_whole(&self) -> Result<()> {
        if self.torn {
            return Err(stopped("an earlier write failed or was cancelled half-way"));
        }
        Ok(())
    }

    /// Converts and splits a batch, off the runtime's threads where that is work.
    async fn prepare(
        &mut self,
        batch: &RecordBatch,
    ) -> Result<Vec<(Option<Arc<Partition>>, RecordBatch)>> {
        if self.splitter.is_none() && !self.storage.converts() {
            return Ok(vec![(None, self.storage.convert(batch)?)]);
        }
        let (storage, splitter, batch) =
            (self.storage.clone(), self.splitter.clone(), batch.clone());
        let split = move || {
            let stored = storage.convert(&batch)?;
            let Some(splitter) = splitter else {
                return Ok(vec![(None, stored)]);
            };
            let parts = splitter.split(&stored)?.into_iter();
            Ok(parts
                .map(|(partition, rows)| (Some(Arc::new(partition)), rows))
                .collect())
        };
        self.shared.pool.run(split).await
    }

    /// Encodes the rest and brings every byte to where it will stay, without making anything visible.
    ///
    /// Without rows there is one file that has the columns and no rows, or no file when there are partitions.
    ///
    /// # Errors
    /// When encoding or the destination fails; nothing is left behind then.
    pub async fn finish(self) -> Result<Staged> {
        self.check_whole()?;
        let schema = self.shared.schema.clone();
        Ok(Staged::new(self.slots.finish().await?, &schema))
    }

    /// Removes everything that was staged.
    ///
    /// # Errors
    /// When something could not be removed; what is left is invisible.
    pub async fn abort(self) -> Result<()> {
        self.slots.abort().await
    }
}

impl fmt::Debug for ParquetWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetWriter")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}
