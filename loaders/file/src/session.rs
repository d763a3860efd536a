//! One load into files: staged where nobody looks, then published.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use arrowload_common_parquet::{Destination, FileNaming, ParquetOptions, ParquetWriter, Staged};
use arrowload_core::{ColumnMapping, Error, ErrorKind, LoadRequest, LoadSession, LoadState, Mode, Prepared, Receipt, Result};
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::error::{blocking, from_parquet, from_store};
use crate::existing::{self, LOAD_ID};
use crate::local::Stage;
use crate::options::{FileOptions, Format};
use crate::place::Place;
use crate::target::{Target, marker};
use crate::types::stored_schema;
use crate::write::{Layout, PlainWriter};

/// The name of a single file while it is staged.
const STAGED: &str = "file";

/// One load into files.
pub struct FileSession {
    target: Target,
    mapping: ColumnMapping,
    request: LoadRequest<FileOptions>,
    stage: Option<Arc<Stage>>,
    state: State,
    rows: u64,
    bytes: u64,
    files: u64,
}

enum State {
    Parquet(Box<ParquetWriter>),
    Plain(Box<PlainWriter>),
    StagedParquet(Staged),
    StagedPlain(Box<PlainWriter>),
    /// On the local disk, in the stage.
    StagedFiles,
    /// An earlier call failed or was cancelled.
    Torn,
}

impl FileSession {
    pub(crate) async fn begin(target: Target, mapping: ColumnMapping, request: LoadRequest<FileOptions>) -> Result<Self> {
        let adds = target.is_folder && target.exists && request.mode == Mode::Append;
        let stage = match target.local() {
            Some(path) => Some(Arc::new(Stage::new(path, adds, request.create_table)?)),
            None => None,
        };
        let schema = labelled(&mapping.schema, &target, &request.load_id);
        let state = match target.format {
            Format::Parquet => State::Parquet(Box::new(parquet(&target, &request, stage.as_deref(), schema)?)),
            _ => State::Plain(Box::new(plain(&target, &request, stage.as_deref(), &schema).await?)),
        };
        Ok(Self { target, mapping, request, stage, state, rows: 0, bytes: 0, files: 0 })
    }

    /// Publishes what is staged on the local disk.
    async fn publish_local(&mut self, stage: Arc<Stage>) -> Result<()> {
        let (target, mode, load_id, rows) = (self.target.clone(), self.request.mode, self.request.load_id.clone(), self.rows);
        blocking(move || {
            let Some(path) = target.local() else { return Ok(()) };
            match target.is_folder {
                true => stage.publish_folder(path, mode, &load_id, rows),
                false => stage.publish_file(&staged_name(&target), path, mode == Mode::Overwrite),
            }
        })
        .await
    }

    /// Readers of an object store see each object when its upload is completed; the marker comes last.
    async fn publish_in_store(&mut self, store: &Arc<dyn ObjectStore>, path: &StorePath) -> Result<()> {
        if !self.target.is_folder && self.request.mode != Mode::Overwrite && existing::file_exists(&self.target.place).await? {
            let message = format!("`{}` has appeared during the load; it was not replaced", self.request.target);
            return Err(Error::new(ErrorKind::TargetExists, message));
        }
        match std::mem::replace(&mut self.state, State::Torn) {
            State::StagedParquet(staged) => drop(staged.publish().await.map_err(from_parquet)?),
            State::StagedPlain(writer) => writer.publish().await?,
            _ => return Err(torn()),
        }
        if self.target.is_folder {
            let rows = format!("{}\n", self.rows);
            store.put(&path.clone().join(marker(&self.request.load_id)), rows.into()).await.map_err(from_store)?;
        }
        Ok(())
    }

    fn receipt(&self) -> Receipt {
        let mut receipt = Receipt::rows(self.rows).with("files", self.files).with("format", self.target.format.name());
        receipt.bytes = self.bytes;
        receipt
    }
}

fn torn() -> Error {
    Error::new(ErrorKind::Unexpected, "an earlier call of this load failed or was cancelled; begin a new one")
}

/// A single file keeps the load that wrote it in its schema, where it has one.
fn labelled(schema: &SchemaRef, target: &Target, load_id: &str) -> SchemaRef {
    let mut metadata: HashMap<String, String> = schema.metadata().clone();
    if !target.is_folder {
        metadata.insert(LOAD_ID.into(), load_id.into());
    }
    Arc::new(Schema::new_with_metadata(schema.fields().clone(), metadata))
}

fn staged_name(target: &Target) -> String {
    format!("{STAGED}.{}", target.format.ending())
}

fn parquet(target: &Target, request: &LoadRequest<FileOptions>, stage: Option<&Stage>, schema: SchemaRef) -> Result<ParquetWriter> {
    let options = &request.options;
    let mut settings = ParquetOptions { compression: target.codec, ..ParquetOptions::default() };
    settings.row_group_rows = options.row_group_rows.unwrap_or(settings.row_group_rows);
    settings.max_file_bytes = options.max_file_bytes;
    settings.partition_by.clone_from(&options.partition_by);
    settings.write_threads = request.parallelism;
    let folder_naming = || FileNaming::prefix(Target::prefix(&request.load_id));
    let (destination, naming) = match (&target.place, stage) {
        (Place::Store(store, path), _) if target.is_folder => (Destination::store(Arc::clone(store), path.clone()), folder_naming()),
        (Place::Store(store, path), _) => {
            let parts: Vec<_> = path.parts().collect();
            let (name, parent) = parts.split_last().ok_or_else(|| Error::new(ErrorKind::InvalidOption, "the target names no object"))?;
            (Destination::store(Arc::clone(store), parent.iter().cloned().collect()), FileNaming::single(name.as_ref()))
        }
        (Place::Local(_), Some(stage)) if target.is_folder => (Destination::local(stage.data()), folder_naming()),
        (Place::Local(_), Some(stage)) => (Destination::local(stage.data()), FileNaming::single(staged_name(target))),
        (Place::Local(_), None) => return Err(torn()),
    };
    ParquetWriter::new(destination, schema, settings, naming).map_err(from_parquet)
}

async fn plain(target: &Target, request: &LoadRequest<FileOptions>, stage: Option<&Stage>, schema: &SchemaRef) -> Result<PlainWriter> {
    let schema = match target.format {
        Format::Arrow => stored_schema(target.format, schema)?,
        _ => Arc::clone(schema),
    };
    let layout = Layout { format: target.format, codec: target.codec, schema: &schema, options: &request.options };
    let in_folder = || format!("{}-00000.{}", Target::prefix(&request.load_id), target.ending());
    match (&target.place, stage) {
        (Place::Store(store, path), _) if target.is_folder => PlainWriter::to_store(store, &path.clone().join(in_folder()), &layout).await,
        (Place::Store(store, path), _) => PlainWriter::to_store(store, path, &layout).await,
        (Place::Local(_), Some(stage)) if target.is_folder => PlainWriter::to_file(&stage.data().join(in_folder()), &layout),
        (Place::Local(_), Some(stage)) => PlainWriter::to_file(&stage.data().join(staged_name(target)), &layout),
        (Place::Local(_), None) => Err(torn()),
    }
}

impl LoadSession for FileSession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = self.mapping.apply(batch, self.rows)?;
        match &mut self.state {
            State::Parquet(writer) => writer.write(&batch).await.map_err(from_parquet)?,
            State::Plain(writer) => writer.write(&batch).await?,
            _ => return Err(torn()),
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        let is_local = self.stage.is_some();
        match std::mem::replace(&mut self.state, State::Torn) {
            State::Parquet(writer) => {
                let staged = writer.finish().await.map_err(from_parquet)?;
                let rows = staged.files().iter().map(|file| file.rows).sum();
                self.bytes = staged.files().iter().map(|file| file.bytes).sum();
                self.files = staged.files().len() as u64;
                self.state = if is_local {
                    staged.publish().await.map_err(from_parquet)?;
                    State::StagedFiles
                } else {
                    State::StagedParquet(staged)
                };
                Ok(Prepared::rows(rows))
            }
            State::Plain(mut writer) => {
                writer.finish().await?;
                let rows = writer.rows();
                (self.bytes, self.files) = (writer.bytes(), 1);
                self.state = if is_local { State::StagedFiles } else { State::StagedPlain(writer) };
                Ok(Prepared::rows(rows))
            }
            _ => Err(torn()),
        }
    }

    async fn commit(mut self) -> Result<Receipt> {
        // Another run of the same load may have been faster.
        if let LoadState::Committed(mut receipt) = existing::find_load(&self.target.place, &self.request.load_id).await? {
            receipt.already_loaded = true;
            return Ok(receipt);
        }
        match (self.stage.take(), self.target.place.clone()) {
            (Some(stage), _) => self.publish_local(stage).await?,
            (None, Place::Store(store, path)) => self.publish_in_store(&store, &path).await?,
            (None, Place::Local(_)) => return Err(torn()),
        }
        Ok(self.receipt())
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
