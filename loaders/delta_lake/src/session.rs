//! One load into a table: data files where no reader looks, then one commit that names them.

use std::collections::HashSet;

use arrow_array::RecordBatch;
use arrowload_common_parquet::{FileInfo, FileNaming, ParquetOptions, ParquetWriter, Staged};
use arrowload_core::{Error, ErrorKind, LoadRequest, LoadSession, Mode, Prepared, Receipt, Result};
use deltalake::protocol::{DeltaOperation, SaveMode};
use object_store::ObjectStoreExt;
use serde_json::{Value, json};

use crate::commit::{Commit, Outcome, Scope};
use crate::error::from_parquet;
use crate::options::DeltaLakeOptions;
use crate::stats::{Indexed, add_action, note_nan};
use crate::table::TableFile;
use crate::target::Target;

/// The size of a data file at which the next one is begun.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// One load into a Delta table.
pub struct DeltaLakeSession {
    load: Load,
    state: State,
}

/// What is known of the load.
struct Load {
    target: Target,
    request: LoadRequest<DeltaLakeOptions>,
    attempt: String,
    with_nan: HashSet<String>,
    rows: u64,
}

enum State {
    Writing(Box<ParquetWriter>),
    /// Complete, under no name.
    Staged(Staged),
    /// Under their names, in no commit.
    Published(Vec<FileInfo>),
    /// An earlier call failed or was cancelled.
    Torn,
}

fn torn() -> Error {
    Error::new(ErrorKind::Unexpected, "an earlier call of this load failed or was cancelled; begin a new one")
}

impl DeltaLakeSession {
    pub(crate) fn begin(target: Target, request: LoadRequest<DeltaLakeOptions>) -> Result<Self> {
        let attempt = uuid::Uuid::now_v7().to_string();
        let writer = writer(&target, &request, &attempt)?;
        let load = Load { target, request, attempt, with_nan: HashSet::new(), rows: 0 };
        Ok(Self { load, state: State::Writing(Box::new(writer)) })
    }

    /// Gives the staged files their names, which no reader knows yet.
    async fn publish(&mut self) -> Result<Vec<FileInfo>> {
        match std::mem::replace(&mut self.state, State::Torn) {
            State::Staged(staged) if self.load.rows == 0 => {
                staged.abort().await.map_err(from_parquet)?;
                Ok(Vec::new())
            }
            State::Staged(staged) => staged.publish().await.map_err(from_parquet),
            State::Published(files) => Ok(files),
            _ => Err(torn()),
        }
    }
}

impl Load {
    /// The files that go, and which changes of others stand against it.
    fn removed(&self, files: &[FileInfo]) -> Result<(Vec<TableFile>, Scope)> {
        if self.request.mode != Mode::Overwrite {
            return Ok((Vec::new(), Scope::Append));
        }
        let _ = files;
        let all = self.target.table.as_ref().map_or_else(|| Ok(Vec::new()), |table| table.files())?;
        Ok((all, Scope::Whole))
    }

    fn operation(&self) -> DeltaOperation {
        let mode = match self.request.mode {
            Mode::Create => SaveMode::ErrorIfExists,
            Mode::Overwrite => SaveMode::Overwrite,
            Mode::Append | Mode::Upsert => SaveMode::Append,
        };
        let partition_by = (!self.target.partition_by.is_empty()).then(|| self.target.partition_by.clone());
        DeltaOperation::Write { mode, partition_by, predicate: self.request.options.replace_where.clone() }
    }

    async fn commit_files(&self, files: &[FileInfo]) -> Result<(Outcome, Receipt)> {
        let (removed, scope) = self.removed(files)?;
        let old_rows: u64 = removed.iter().filter_map(|file| file.rows).sum();
        self.request.limits.check(0, old_rows, old_rows)?;
        let indexed = Indexed { columns: self.target.indexed_columns(), with_nan: self.with_nan.clone() };
        let mut actions: Vec<Value> = removed.iter().map(TableFile::remove_action).collect::<Result<_>>()?;
        for file in files {
            actions.push(add_action(file, &indexed, true)?);
        }
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let metrics = json!({
            "numFiles": files.len().to_string(), "numOutputRows": self.rows.to_string(), "numOutputBytes": bytes.to_string(),
            "numRemovedFiles": removed.len().to_string(),
        });
        let commit = Commit {
            log_store: &self.target.place.log_store,
            base: self.target.table.clone(),
            protocol: self.target.protocol.clone(),
            metadata: self.target.metadata.clone(),
            actions,
            operation: self.operation(),
            metrics,
            scope,
            load_id: &self.request.load_id,
            attempt: &self.attempt,
            rows: self.rows,
        };
        let outcome = commit.run().await.map_err(|error| match (self.request.mode, error.kind()) {
            (Mode::Create, ErrorKind::Conflict) => {
                let message = format!("another writer made `{}` meanwhile", self.request.target);
                Error::new(ErrorKind::TargetExists, message).with("target", &self.request.target)
            }
            _ => error,
        })?;
        let mut receipt = Receipt::rows(self.rows).with("files", files.len()).with("files_removed", removed.len());
        receipt.bytes = bytes;
        Ok((outcome, receipt))
    }

    /// Removes files that no commit names.
    async fn discard(&self, files: &[FileInfo]) {
        let store = self.target.place.log_store.object_store(None);
        for file in files {
            if let Err(error) = store.delete(&file.path).await {
                tracing::debug!(%error, "a data file that no commit names is left; VACUUM removes it");
            }
        }
    }
}

fn writer(target: &Target, request: &LoadRequest<DeltaLakeOptions>, attempt: &str) -> Result<ParquetWriter> {
    let mut settings = ParquetOptions { write_threads: request.parallelism, ..ParquetOptions::default() };
    settings.compression = request.options.compression.unwrap_or(settings.compression);
    settings.row_group_rows = request.options.row_group_rows.unwrap_or(settings.row_group_rows);
    settings.max_file_bytes = Some(request.options.max_file_bytes.unwrap_or(MAX_FILE_BYTES));
    settings.partition_by.clone_from(&target.partition_by);
    let naming = FileNaming::prefix(format!("part-{attempt}"));
    ParquetWriter::new(target.place.destination(), target.mapping.schema.clone(), settings, naming).map_err(from_parquet)
}

impl LoadSession for DeltaLakeSession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = self.load.target.arrange(batch, self.load.rows)?;
        note_nan(&batch, &mut self.load.with_nan);
        match &mut self.state {
            State::Writing(writer) => writer.write(&batch).await.map_err(from_parquet)?,
            _ => return Err(torn()),
        }
        self.load.rows += batch.num_rows() as u64;
        Ok(())
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        match std::mem::replace(&mut self.state, State::Torn) {
            State::Writing(writer) => {
                let staged = writer.finish().await.map_err(from_parquet)?;
                let rows = staged.files().iter().map(|file| file.rows).sum();
                self.state = State::Staged(staged);
                Ok(Prepared::rows(rows))
            }
            _ => Err(torn()),
        }
    }

    async fn commit(mut self) -> Result<Receipt> {
        let files = self.publish().await?;
        match self.load.commit_files(&files).await {
            Ok((Outcome::Committed(version), receipt)) => Ok(receipt.with("version", version)),
            Ok((Outcome::AlreadyLoaded(rows), _)) => {
                self.load.discard(&files).await;
                let mut receipt = Receipt::rows(rows);
                receipt.already_loaded = true;
                Ok(receipt)
            }
            Err(error) => {
                // Where the commit is unknown the files may be part of the table.
                if error.kind() != ErrorKind::CommitUnknown {
                    self.load.discard(&files).await;
                }
                Err(error)
            }
        }
    }

    async fn abort(mut self) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Torn) {
            State::Writing(writer) => writer.abort().await.map_err(from_parquet),
            State::Staged(staged) => staged.abort().await.map_err(from_parquet),
            State::Published(files) => {
                self.load.discard(&files).await;
                Ok(())
            }
            State::Torn => Ok(()),
        }
    }
}
