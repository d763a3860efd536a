//! One load into files: staged where no reader sees it, then published.

use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_common_object_store::blocking;
use arrowload_common_parquet::{Destination, FileNaming, ParquetOptions, ParquetWriter, Staged};
use arrowload_core::{
    ColumnChecksum, Error, ErrorKind, LoadRequest, LoadSession, LoadState, Mode, Prepared, Receipt,
    Result,
};
use object_store::ObjectStore;
use object_store::path::Path as StorePath;

use crate::error::commit_unknown;
use crate::existing::{Kind, complete_history};
use crate::local::{Publication, publish_file, publish_folder, try_exchange};
use crate::options::{FileOptions, Format};
use crate::place::Place;
use crate::record::{History, Record, Recorded, file_prefix};
use crate::remote;
use crate::stage::Stage;
use crate::store_commit;
use crate::target::FileTarget;
use crate::types::stored_schema;
use crate::verify::{self, StagedFile};
use crate::write::{Layout, Naming, PlainWriter, Site};

/// The name of a single file while it is staged on the local disk.
const STAGED: &str = "file";

/// One load into files.
pub struct FileSession {
    target: FileTarget,
    request: LoadRequest<FileOptions>,
    attempt: String,
    stage: Option<Arc<Stage>>,
    state: State,
    files: Vec<StagedFile>,
    rows: u64,
    bytes: u64,
    file_count: u64,
}

enum State {
    Parquet(Box<ParquetWriter>),
    Plain(Box<PlainWriter>),
    /// Uploaded, but the uploads are not completed yet.
    StagedParquet(Staged),
    StagedPlain(Box<PlainWriter>),
    /// On the local disk, in the stage.
    StagedFiles,
    /// An earlier call failed or was cancelled.
    Torn,
}

fn torn() -> Error {
    Error::new(
        ErrorKind::Unexpected,
        "an earlier call of this load failed or was cancelled; begin a new one",
    )
}

impl FileSession {
    pub(crate) async fn begin(
        target: FileTarget,
        request: LoadRequest<FileOptions>,
    ) -> Result<Self> {
        let attempt = uuid::Uuid::now_v7().simple().to_string();
        let (stage, history) = match target.local() {
            Some(path) => {
                let (stage, history) = stage(&target, path, &request, &attempt).await?;
                (Some(stage), history)
            }
            None => (None, target.found.history.clone()),
        };
        let schema = match target.is_folder {
            true => Arc::clone(&target.mapping.schema),
            false => history.label(&target.mapping.schema, &request),
        };
        let (site, naming) = place(&target, &request, stage.as_ref(), &attempt)?;
        let state = match target.format {
            Format::Parquet => {
                let settings = target.parquet(&request);
                State::Parquet(Box::new(parquet(settings, schema, site, &naming)?))
            }
            format => {
                let schema = if format == Format::Arrow {
                    stored_schema(format, &schema)?
                } else {
                    schema
                };
                let layout = Layout {
                    format,
                    codec: target.codec,
                    schema,
                    options: request.options.clone(),
                };
                State::Plain(Box::new(PlainWriter::new(site, naming, layout)))
            }
        };
        Ok(Self {
            target,
            request,
            attempt,
            stage,
            state,
            files: Vec::new(),
            rows: 0,
            bytes: 0,
            file_count: 0,
        })
    }

    #[cfg(test)]
    pub(crate) fn guarantees(&self) -> arrowload_core::Guarantees {
        let most = <crate::FileLoader as arrowload_core::DataLoader>::CAPABILITIES;
        self.target.guarantees(&most, &self.request)
    }

    /// The record of this load in a folder.
    fn record(&self) -> Result<Record> {
        let schema = stored_schema(self.target.format, &self.target.mapping.schema)?;
        let mut record = Record::new(
            &self.request.load_id,
            self.target.format,
            &self.target.partition_by,
            &schema,
        )?;
        (record.rows, record.files, record.attempt) =
            (self.rows, self.file_count, self.attempt.clone());
        record.recorded = Recorded::of(&self.request);
        Ok(record)
    }

    /// Publishes what is staged on the local disk. Once begun it goes on to its end, also when nobody waits any more.
    async fn publish_local(&mut self, stage: Arc<Stage>) -> Result<Option<Receipt>> {
        let (target, record) = (self.target.clone(), self.record()?);
        let (mode, load_id) = (self.request.load.mode, self.request.load_id.clone());
        let publishing = blocking(move || {
            let Some(path) = target.local() else {
                return Ok(Err(torn()));
            };
            let what = Publication {
                target: path,
                mode,
                load_id: &load_id,
                adds: target.adds(mode),
                stamp: target.found.stamp.as_ref(),
                base: target.found.record.as_ref(),
            };
            Ok(if target.is_folder {
                publish_folder(&stage, record, &what)
            } else {
                publish_file(&stage, STAGED, &what)
            })
        });
        publishing
            .await
            .map_err(|error| commit_unknown("the load ended while it was published", error))?
    }

    /// Readers of an object store see each object when its upload is completed; the record comes last.
    async fn publish_in_store(
        &mut self,
        store: &Arc<dyn ObjectStore>,
        path: &StorePath,
    ) -> Result<Option<Receipt>> {
        let load_id = self.request.load_id.clone();
        if let LoadState::Committed { receipt, .. } =
            remote::find_load(store, path, &load_id).await?
        {
            return Ok(Some(receipt));
        }
        if self.target.is_folder {
            let record = self.record()?;
            let (mode, base) = (self.request.load.mode, self.target.found.record.clone());
            let outcome = match self.complete_uploads().await {
                Ok(()) => store_commit::complete(store, path, record, mode, base.as_ref()).await,
                Err(error) => Err(error),
            };
            if outcome
                .as_ref()
                .is_err_and(|error| error.kind() != ErrorKind::CommitUnknown)
            {
                store_commit::withdraw(store, path, &load_id, &self.attempt).await;
            }
            return outcome;
        }
        if self.request.load.mode == Mode::Overwrite {
            return self
                .complete_uploads()
                .await
                .map(|()| None)
                .map_err(store_commit::at_commit);
        }
        let staged = store_commit::staged_object(path, &load_id, &self.attempt);
        if let Err(error) = self.complete_uploads().await {
            store_commit::remove(
                store,
                &staged,
                "a temporary object could not be removed; remove it",
            )
            .await;
            return Err(error);
        }
        let placed = store_commit::place_new(store, &staged, path, &load_id).await;
        if placed.is_ok() {
            store_commit::sweep(store, path, &load_id).await;
        }
        placed
    }

    async fn complete_uploads(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Torn) {
            State::StagedParquet(staged) => staged.publish().await.map(drop),
            State::StagedPlain(writer) => writer.publish().await,
            _ => Err(torn()),
        }
    }

    fn receipt(&self) -> Receipt {
        let mut receipt = Receipt::rows(self.rows)
            .with("files", self.file_count)
            .with("format", self.target.format.name());
        receipt.bytes = self.bytes;
        receipt.with("path", &self.request.target)
    }

    fn set_files(&mut self, files: Vec<StagedFile>, bytes: u64) {
        self.file_count = files.len() as u64;
        self.bytes = bytes;
        self.files = files;
    }
}

/// Makes a stage on the local disk, and finds out what the commit will need of it.
async fn stage(
    target: &FileTarget,
    path: &Path,
    request: &LoadRequest<FileOptions>,
    attempt: &str,
) -> Result<(Arc<Stage>, History)> {
    let (path, load_id, attempt) = (path.to_owned(), request.load_id.clone(), attempt.to_owned());
    let replaces = request.load.mode == Mode::Overwrite && target.found.kind == Kind::Folder;
    let history = target.found.history.clone();
    blocking(move || {
        let stage = Stage::new(&path, &load_id, &attempt)?;
        if replaces {
            try_exchange(&stage, &path)?;
        }
        Ok((stage, complete_history(&path, history)?))
    })
    .await
}

/// Where this load's files are staged, and what they are called there.
fn place(
    target: &FileTarget,
    request: &LoadRequest<FileOptions>,
    stage: Option<&Arc<Stage>>,
    attempt: &str,
) -> Result<(Site, Naming)> {
    let numbered = || {
        Naming::Numbered(
            format!("{}{attempt}", file_prefix(&request.load_id)),
            target.ending(),
        )
    };
    match (&target.place, stage) {
        (Place::Local(_), Some(stage)) => {
            let naming = match target.is_folder {
                true => numbered(),
                false => Naming::Single(STAGED.into()),
            };
            Ok((Site::Local(Arc::clone(stage)), naming))
        }
        (Place::Store(store, path), _) if target.is_folder => {
            Ok((Site::Store(Arc::clone(store), path.clone()), numbered()))
        }
        (Place::Store(store, path), _) => {
            let object = if request.load.mode == Mode::Overwrite {
                path.clone()
            } else {
                store_commit::staged_object(path, &request.load_id, attempt)
            };
            let parts: Vec<_> = object.parts().collect();
            let (name, folder) = parts.split_last().ok_or_else(|| {
                Error::new(ErrorKind::InvalidOption, "the target names no object")
            })?;
            Ok((
                Site::Store(Arc::clone(store), folder.iter().cloned().collect()),
                Naming::Single(name.as_ref().to_owned()),
            ))
        }
        (Place::Local(_), None) => Err(torn()),
    }
}

fn parquet(
    settings: ParquetOptions,
    schema: SchemaRef,
    site: Site,
    naming: &Naming,
) -> Result<ParquetWriter> {
    let destination = match site {
        Site::Local(stage) => Destination::local_in_place(stage.data()).owned_by(stage),
        Site::Store(store, prefix) => Destination::store(store, prefix),
    };
    let naming = match naming {
        Naming::Single(name) => FileNaming::single(name.as_str()),
        Naming::Numbered(prefix, _) => FileNaming::prefix(prefix.as_str()),
    };
    ParquetWriter::new(destination, schema, settings, naming)
}

impl LoadSession for FileSession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = self.target.mapping.apply(batch, self.rows)?;
        match &mut self.state {
            State::Parquet(writer) => writer.write(&batch).await?,
            State::Plain(writer) => writer.write(&batch).await?,
            _ => return Err(torn()),
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        let data = self.stage.as_ref().map(|stage| stage.data());
        match std::mem::replace(&mut self.state, State::Torn) {
            State::Parquet(writer) => {
                let staged = writer.finish().await?;
                let rows = staged.files().iter().map(|file| file.rows).sum();
                let bytes = staged.files().iter().map(|file| file.bytes).sum();
                let place = |path: &StorePath| {
                    path.parts()
                        .fold(data.clone().unwrap_or_default(), |folder, part| {
                            folder.join(part.as_ref())
                        })
                };
                let files = staged.files().iter();
                let files = files.map(|file| StagedFile {
                    path: place(&file.path),
                    partition: file.partition_values.clone(),
                });
                self.set_files(files.collect(), bytes);
                self.state = match data {
                    // Named, but in the stage.
                    Some(_) => staged.publish().await.map(|_| State::StagedFiles)?,
                    None => State::StagedParquet(staged),
                };
                Ok(Prepared::rows(rows))
            }
            State::Plain(mut writer) => {
                let finished = writer.finish().await;
                let (rows, bytes) = (writer.rows(), writer.bytes());
                let files = writer.paths().into_iter().map(|path| StagedFile {
                    path,
                    partition: None,
                });
                self.set_files(files.collect(), bytes);
                self.state = match data {
                    Some(_) if finished.is_ok() => State::StagedFiles,
                    _ => State::StagedPlain(writer),
                };
                finished.map(|()| Prepared::rows(rows))
            }
            _ => Err(torn()),
        }
    }

    async fn checksums(&mut self) -> Result<Vec<ColumnChecksum>> {
        let (files, schema) = (self.files.clone(), Arc::clone(&self.request.schema));
        blocking(move || verify::checksums(&files, &schema)).await
    }

    async fn commit(mut self) -> Result<Receipt> {
        let faster = match (self.stage.take(), self.target.place.clone()) {
            (Some(stage), _) => self.publish_local(stage).await?,
            (None, Place::Store(store, path)) => self.publish_in_store(&store, &path).await?,
            (None, Place::Local(_)) => return Err(torn()),
        };
        Ok(faster.map_or_else(|| self.receipt(), Receipt::repeated))
    }

    async fn abort(self) -> Result<()> {
        let aborted = match self.state {
            State::Parquet(writer) => writer.abort().await,
            State::StagedParquet(staged) => staged.abort().await,
            State::Plain(writer) | State::StagedPlain(writer) => writer.abort().await,
            State::StagedFiles | State::Torn => Ok(()),
        };
        let Some(stage) = self.stage else {
            return aborted;
        };
        // If a cancelled call is still writing there, it removes the folder when it is done.
        let removed =
            blocking(move || Arc::into_inner(stage).map_or(Ok(()), |mut stage| stage.remove()));
        aborted.and(removed.await)
    }
}
