//! One load into files: staged where nobody looks, then published.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_common_parquet::{Destination, FileNaming, ParquetOptions, ParquetWriter, Staged};
use arrowload_core::{
    ColumnChecksum, Error, ErrorKind, LoadRequest, LoadSession, LoadState, Mode, Prepared, Receipt,
    Result,
};
use object_store::ObjectStore;
use object_store::path::Path as StorePath;

use crate::error::{blocking, commit_unknown, from_parquet};
use crate::existing::Kind;
use crate::local::{Publication, Stage, check_exchange};
use crate::options::{FileOptions, Format};
use crate::place::Place;
use crate::record::{Record, file_prefix};
use crate::remote;
use crate::store_commit;
use crate::target::Target;
use crate::types::stored_schema;
use crate::verify::{self, StagedFile};
use crate::write::{Layout, Naming, PlainWriter, Site};

/// The name of a single file while it is staged on the local disk.
const STAGED: &str = "file";

/// One load into files.
pub struct FileSession {
    target: Target,
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
    /// Uploaded, all but the last word.
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
    pub(crate) async fn begin(target: Target, request: LoadRequest<FileOptions>) -> Result<Self> {
        let attempt = uuid::Uuid::now_v7().simple().to_string();
        let (stage, replaces) = (
            target.local().map(Stage::new).transpose()?,
            request.mode == Mode::Overwrite,
        );
        if let (Some(stage), Some(path), true, Kind::Folder) =
            (&stage, target.local(), replaces, target.found.kind)
        {
            check_exchange(stage, path)?;
        }
        let schema = match target.is_folder {
            true => Arc::clone(&target.mapping.schema),
            false => target
                .found
                .history
                .label(&target.mapping.schema, &request.load_id),
        };
        let (site, naming) = place(&target, &request, stage.as_ref(), &attempt)?;
        let state = match target.format {
            Format::Parquet => {
                State::Parquet(Box::new(parquet(&target, &request, schema, site, &naming)?))
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
        let stage = stage.map(Arc::new);
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
        Ok(record)
    }

    /// Publishes what is staged on the local disk. Once begun it goes on to its end, also when nobody waits any more.
    async fn publish_local(&mut self, stage: Arc<Stage>) -> Result<Option<Receipt>> {
        let (target, record) = (self.target.clone(), self.record()?);
        let (mode, load_id) = (self.request.mode, self.request.load_id.clone());
        let publishing = blocking(move || {
            let Some(path) = target.local() else {
                return Ok(Err(torn()));
            };
            let (stamp, base) = (target.found.stamp.as_ref(), target.found.record.as_ref());
            let what = Publication {
                target: path,
                mode,
                load_id: &load_id,
                stamp,
                base,
            };
            Ok(if target.is_folder {
                stage.publish_folder(record, &what)
            } else {
                stage.publish_file(STAGED, &what)
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
        if let LoadState::Committed(receipt) = remote::find_load(store, path, &load_id).await? {
            return Ok(Some(receipt));
        }
        if self.target.is_folder {
            let record = self.record()?;
            let outcome = match self.complete_uploads().await {
                Ok(()) => store_commit::complete(store, path, record).await,
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
        if self.request.mode == Mode::Overwrite {
            return self
                .complete_uploads()
                .await
                .map(|()| None)
                .map_err(store_commit::at_commit);
        }
        let staged = store_commit::staged_name(path, &self.attempt);
        if let Err(error) = self.complete_uploads().await {
            store_commit::remove(
                store,
                &staged,
                "a temporary object could not be removed; remove it",
            )
            .await;
            return Err(error);
        }
        store_commit::place_new(store, &staged, path, &load_id).await
    }

    async fn complete_uploads(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Torn) {
            State::StagedParquet(staged) => staged.publish().await.map(drop).map_err(from_parquet),
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

/// Where this load's files are staged, and what they are called there.
fn place(
    target: &Target,
    request: &LoadRequest<FileOptions>,
    stage: Option<&Stage>,
    attempt: &str,
) -> Result<(Site, Naming)> {
    let numbered = || {
        Naming::Numbered(
            format!("{}{attempt}", file_prefix(&request.load_id)),
            target.ending(),
        )
    };
    match (&target.place, stage) {
        (Place::Local(_), Some(stage)) if target.is_folder => {
            Ok((Site::Local(stage.data()), numbered()))
        }
        (Place::Local(_), Some(stage)) => {
            Ok((Site::Local(stage.data()), Naming::Single(STAGED.into())))
        }
        (Place::Store(store, path), _) if target.is_folder => {
            Ok((Site::Store(Arc::clone(store), path.clone()), numbered()))
        }
        (Place::Store(store, path), _) => {
            let object = if request.mode == Mode::Overwrite {
                path.clone()
            } else {
                store_commit::staged_name(path, attempt)
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
    target: &Target,
    request: &LoadRequest<FileOptions>,
    schema: SchemaRef,
    site: Site,
    naming: &Naming,
) -> Result<ParquetWriter> {
    let mut settings = ParquetOptions {
        compression: target.codec,
        write_threads: request.parallelism,
        ..ParquetOptions::default()
    };
    settings.row_group_rows = request
        .options
        .row_group_rows
        .unwrap_or(settings.row_group_rows);
    settings.max_file_bytes = request.options.max_file_bytes;
    settings.partition_by.clone_from(&target.partition_by);
    let destination = match site {
        Site::Local(folder) => Destination::local(folder),
        Site::Store(store, prefix) => Destination::store(store, prefix),
    };
    let naming = match naming {
        Naming::Single(name) => FileNaming::single(name.as_str()),
        Naming::Numbered(prefix, _) => FileNaming::prefix(prefix.as_str()),
    };
    ParquetWriter::new(destination, schema, settings, naming).map_err(from_parquet)
}

impl LoadSession for FileSession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = self.target.mapping.apply(batch, self.rows)?;
        match &mut self.state {
            State::Parquet(writer) => writer.write(&batch).await.map_err(from_parquet)?,
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
                let staged = writer.finish().await.map_err(from_parquet)?;
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
                    Some(_) => staged
                        .publish()
                        .await
                        .map(|_| State::StagedFiles)
                        .map_err(from_parquet)?,
                    None => State::StagedParquet(staged),
                };
                Ok(Prepared::rows(rows))
            }
            State::Plain(mut writer) => {
                writer.finish().await?;
                let rows = writer.rows();
                let files = writer.paths().into_iter().map(|path| StagedFile {
                    path,
                    partition: None,
                });
                self.set_files(files.collect(), writer.bytes());
                self.state = if data.is_some() {
                    State::StagedFiles
                } else {
                    State::StagedPlain(writer)
                };
                Ok(Prepared::rows(rows))
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
        let Some(mut receipt) = faster else {
            return Ok(self.receipt());
        };
        receipt.already_loaded = true;
        Ok(receipt)
    }

    async fn abort(self) -> Result<()> {
        match self.state {
            State::Parquet(writer) => writer.abort().await.map_err(from_parquet),
            State::StagedParquet(staged) => staged.abort().await.map_err(from_parquet),
            State::Plain(writer) | State::StagedPlain(writer) => writer.abort().await,
            State::StagedFiles | State::Torn => Ok(()),
        }
    }
}
