//! What is at a target already: whether it exists, its schema, and which load it holds.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrowload_core::{Error, ErrorKind, LoadState, Receipt, Result};
use futures::TryStreamExt;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

use crate::error::{blocking, from_arrow, from_io, from_store};
use crate::options::Format;
use crate::place::Place;
use crate::target::marker;

/// The key of a schema's metadata under which a single file keeps the load that wrote it.
pub(crate) const LOAD_ID: &str = "arrowload.load_id";

/// How many folders deep a dataset may be.
const DEPTH: usize = 32;

pub(crate) async fn is_folder(place: &Place) -> Result<bool> {
    match place {
        Place::Local(path) => Ok(path.is_dir()),
        Place::Store(..) => Ok(false),
    }
}

pub(crate) fn is_file(place: &Place) -> bool {
    matches!(place, Place::Local(path) if path.is_file())
}

pub(crate) async fn file_exists(place: &Place) -> Result<bool> {
    match place {
        Place::Local(path) => Ok(path.exists()),
        Place::Store(store, path) => match store.head(path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(from_store(error)),
        },
    }
}

pub(crate) async fn folder_has_files(place: &Place) -> Result<bool> {
    Ok(first_data_file(place).await?.is_some())
}

pub(crate) async fn format_of_folder(place: &Place) -> Result<Option<Format>> {
    Ok(first_data_file(place).await?.and_then(|name| Format::of_name(&name)))
}

/// The name of one data file of a folder.
async fn first_data_file(place: &Place) -> Result<Option<String>> {
    match place {
        Place::Local(path) => {
            let path = path.clone();
            blocking(move || Ok(data_files(&path)?.into_iter().next().map(|file| file.display().to_string()))).await
        }
        Place::Store(store, prefix) => {
            let mut objects = store.list(Some(prefix));
            while let Some(object) = objects.try_next().await.map_err(from_store)? {
                let name = object.location.filename().unwrap_or_default();
                if !is_hidden(name) && Format::of_name(name).is_some() {
                    return Ok(Some(object.location.to_string()));
                }
            }
            Ok(None)
        }
    }
}

pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

/// All data files below a local folder, sorted. A folder that is missing has none.
pub(crate) fn data_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    walk(folder, DEPTH, &mut |path, name| {
        if Format::of_name(name).is_some() {
            files.push(path.to_owned());
        }
        Ok(())
    })?;
    files.sort();
    Ok(files)
}

/// Visits each file below a folder whose name, and whose folders' names, are not hidden.
fn walk(folder: &Path, depth: usize, visit: &mut dyn FnMut(&Path, &str) -> Result<()>) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| from_io(folder, error))?,
    };
    for entry in entries {
        let path = entry.map_err(|error| from_io(folder, error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match () {
            () if is_hidden(&name) => {}
            () if path.is_dir() && depth > 0 => walk(&path, depth - 1, visit)?,
            () => visit(&path, &name)?,
        }
    }
    Ok(())
}

/// The columns of the files that are at a local target; `None` where the format does not say, or nothing is there.
pub(crate) async fn schema(place: &Place, is_folder: bool, format: Format, has_header: bool) -> Result<Option<SchemaRef>> {
    let Place::Local(path) = place else { return Ok(None) };
    let path = path.clone();
    blocking(move || {
        let file = if is_folder { data_files(&path)?.into_iter().next() } else { path.is_file().then_some(path) };
        file.map_or(Ok(None), |file| file_schema(&file, format, has_header))
    })
    .await
}

fn file_schema(path: &Path, format: Format, has_header: bool) -> Result<Option<SchemaRef>> {
    let open = || File::open(path).map_err(|error| from_io(path, error));
    Ok(match format {
        Format::Parquet => Some(Arc::clone(parquet_metadata(path)?.schema())),
        Format::Arrow => Some(FileReader::try_new(BufReader::new(open()?), None).map_err(|error| from_arrow(path, error))?.schema()),
        Format::ArrowStream => {
            Some(StreamReader::try_new(BufReader::new(open()?), None).map_err(|error| from_arrow(path, error))?.schema())
        }
        Format::Csv if has_header && path.extension().is_some_and(|ending| ending == "csv") => {
            let mut line = String::new();
            BufReader::new(open()?).read_line(&mut line).map_err(|error| from_io(path, error))?;
            csv_names(line.trim_end_matches(['\r', '\n']))
        }
        Format::Csv | Format::Ndjson => None,
    })
}

/// The names of a plain header; one with quotes is not taken apart.
fn csv_names(line: &str) -> Option<SchemaRef> {
    let fields = || line.split(',').map(|name| Field::new(name, DataType::Null, true));
    (!line.contains('"')).then(|| Arc::new(Schema::new(fields().collect::<Vec<_>>())))
}

fn parquet_metadata(path: &Path) -> Result<ArrowReaderMetadata> {
    let file = File::open(path).map_err(|error| from_io(path, error))?;
    let broken = |error: parquet::errors::ParquetError| {
        let message = format!("`{}` is no Parquet file, or broken; remove it, or name another target", path.display());
        Error::new(ErrorKind::InvalidData, message).with_source(error)
    };
    ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(broken)
}

/// Whether a load committed to this target.
pub(crate) async fn find_load(place: &Place, load_id: &str) -> Result<LoadState> {
    let id = load_id.to_owned();
    match place {
        Place::Local(path) if path.is_dir() => {
            let path = path.join(marker(load_id));
            blocking(move || match std::fs::read_to_string(&path) {
                Ok(rows) => Ok(LoadState::Committed(Receipt::rows(rows.trim().parse().unwrap_or_default()))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(LoadState::NotCommitted),
                Err(error) => Err(from_io(&path, error)),
            })
            .await
        }
        Place::Local(path) if path.is_file() => {
            let path = path.clone();
            blocking(move || find_in_file(&path, &id)).await
        }
        Place::Local(_) => Ok(LoadState::NotCommitted),
        Place::Store(store, prefix) => find_in_store(store, prefix, load_id).await,
    }
}

async fn find_in_store(store: &Arc<dyn ObjectStore>, prefix: &StorePath, load_id: &str) -> Result<LoadState> {
    match store.get(&prefix.clone().join(marker(load_id))).await {
        Ok(found) => {
            let rows = found.bytes().await.map_err(from_store)?;
            let rows = String::from_utf8_lossy(&rows).trim().parse().unwrap_or_default();
            Ok(LoadState::Committed(Receipt::rows(rows)))
        }
        // A single object does not say which load wrote it.
        Err(object_store::Error::NotFound { .. }) => Ok(LoadState::Unknown),
        Err(error) => Err(from_store(error)),
    }
}

/// A file's schema says which load wrote it; text has no schema.
fn find_in_file(path: &Path, load_id: &str) -> Result<LoadState> {
    let mut file = File::open(path).map_err(|error| from_io(path, error))?;
    let mut magic = [0; 6];
    let read = file.read(&mut magic).map_err(|error| from_io(path, error))?;
    file.rewind().map_err(|error| from_io(path, error))?;
    let holds = |schema: &Schema| schema.metadata().get(LOAD_ID).is_some_and(|known| known == load_id);
    let known = match &magic[..read] {
        [b'P', b'A', b'R', b'1', ..] => {
            let metadata = parquet_metadata(path)?;
            holds(metadata.schema()).then(|| metadata.metadata().file_metadata().num_rows() as u64)
        }
        b"ARROW1" => {
            let reader = FileReader::try_new(BufReader::new(file), None).map_err(|error| from_arrow(path, error))?;
            if holds(&reader.schema()) { Some(count(reader, path)?) } else { None }
        }
        [0xFF, 0xFF, 0xFF, 0xFF, ..] => {
            let reader = StreamReader::try_new(BufReader::new(file), None).map_err(|error| from_arrow(path, error))?;
            if holds(&reader.schema()) { Some(count(reader, path)?) } else { None }
        }
        _ => return Ok(LoadState::Unknown),
    };
    Ok(known.map_or(LoadState::NotCommitted, |rows| LoadState::Committed(Receipt::rows(rows))))
}

fn count(batches: impl Iterator<Item = Result<arrow_array::RecordBatch, arrow_schema::ArrowError>>, path: &Path) -> Result<u64> {
    batches.map(|batch| batch.map(|batch| batch.num_rows() as u64)).sum::<Result<u64, _>>().map_err(|error| from_arrow(path, error))
}
