//! Reads the state of a target: whether it exists, its columns, and which loads it has recorded.

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, SchemaRef};
use arrowload_common_object_store::{blocking, from_io};
use arrowload_core::{Error, ErrorKind, LoadState, Result};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

use crate::options::Format;
use crate::place::Place;
use crate::record::{History, RECORD_PREFIX, Record, file_prefix, record_name};
use crate::remote;
use crate::stage::{has_left, home};

/// How many folders deep a dataset may be.
const DEPTH: usize = 32;

/// What was found at a target.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) kind: Kind,
    /// The format of what is there, if known.
    pub(crate) format: Option<Format>,
    /// The existing columns; `None` where nothing says.
    pub(crate) schema: Option<SchemaRef>,
    /// The newest record of a folder.
    pub(crate) record: Option<Record>,
    /// The loads that a single file remembers.
    pub(crate) history: History,
    /// Tells whether a single file was replaced since.
    pub(crate) stamp: Option<Stamp>,
    /// In an object store: files of an earlier run of this very load are there, which was killed as it published them.
    pub(crate) resumes: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Nothing,
    /// A local folder that holds nothing at all.
    EmptyFolder,
    Folder,
    File,
}

/// Which file it is: its size, its age and, on Unix, its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp(u64, Option<SystemTime>, u64);

/// Looks at a target, and changes nothing. Files in a folder that a killed run of the same load has left are ignored: the load
/// replaces them.
pub(crate) async fn inspect(place: &Place, load_id: Option<&str>) -> Result<Found> {
    let left = load_id.map(file_prefix);
    match place {
        Place::Local(path) => {
            let path = path.clone();
            blocking(move || inspect_local(&path, left.as_deref())).await
        }
        Place::Store(store, path) => remote::inspect(store, path, left.as_deref()).await,
    }
}

/// Whether a file was left by a killed run of a load, judged by its name.
pub(crate) fn is_left(name: &str, left: Option<&str>) -> bool {
    left.is_some_and(|prefix| name.starts_with(prefix))
}

/// Whether a load committed to this target. Changes nothing.
pub(crate) async fn find_load(place: &Place, load_id: &str) -> Result<LoadState> {
    match place {
        Place::Local(path) => {
            let (path, id) = (path.clone(), load_id.to_owned());
            blocking(move || {
                let found = find_local(&path, &id)?;
                let LoadState::Committed { receipt, .. } = found else {
                    return Ok(found);
                };
                let complete = !has_left(home(&path)?, &id);
                Ok(LoadState::Committed { receipt, complete })
            })
            .await
        }
        Place::Store(store, path) => remote::find_load(store, path, load_id).await,
    }
}

fn inspect_local(path: &Path, left: Option<&str>) -> Result<Found> {
    if path.is_dir() {
        return inspect_folder(path, left);
    }
    let Some(stamp) = stamp(path)? else {
        return Ok(Found::default());
    };
    let (format, known) = file_schema(path)?;
    let history = known
        .as_ref()
        .map(|(schema, rows)| History::of(schema, *rows))
        .unwrap_or_default();
    let schema = known.map(|(schema, _)| schema);
    Ok(Found {
        kind: Kind::File,
        format,
        schema,
        history,
        stamp: Some(stamp),
        record: None,
        resumes: false,
    })
}

fn inspect_folder(path: &Path, left: Option<&str>) -> Result<Found> {
    let empty = fs::read_dir(path)
        .map_err(|error| from_io(path, error))?
        .next()
        .is_none();
    if empty {
        return Ok(Found {
            kind: Kind::EmptyFolder,
            ..Found::default()
        });
    }
    let found = Found {
        kind: Kind::Folder,
        ..Found::default()
    };
    if let Some(record) = newest_record(path)? {
        return Ok(Found {
            format: Some(record.format),
            schema: Some(record.schema()?),
            record: Some(record),
            ..found
        });
    }
    // Another program's folder: the newest file has the columns that count.
    let age = |file: &PathBuf| {
        fs::metadata(file)
            .and_then(|metadata| metadata.modified())
            .ok()
    };
    let mut files = data_files(path)?;
    files.retain(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        !is_left(&name, left)
    });
    let Some(newest) = files.into_iter().max_by_key(age) else {
        return Ok(found);
    };
    let format = newest
        .file_name()
        .and_then(|name| Format::of_name(&name.to_string_lossy()));
    Ok(Found {
        format,
        schema: file_schema(&newest)?.1.map(|(schema, _)| schema),
        ..found
    })
}

/// The stamp of a file, or `None` if there is nothing. Refuses what is neither a file nor a folder.
pub(crate) fn stamp(path: &Path) -> Result<Option<Stamp>> {
    let metadata = match fs::metadata(path) {
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        metadata => metadata.map_err(|error| from_io(path, error))?,
    };
    // Reading a pipe waits for ever, and a rename would put a file in place of a device.
    if !metadata.is_file() && !metadata.is_dir() {
        let message = format!(
            "`{}` is a device, pipe or socket; name a file or a folder",
            path.display()
        );
        return Err(Error::new(ErrorKind::Unsupported, message).with("path", path.display()));
    }
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let number = 0;
    Ok(Some(Stamp(
        metadata.len(),
        metadata.modified().ok(),
        number,
    )))
}

pub(crate) fn find_local(path: &Path, load_id: &str) -> Result<LoadState> {
    if path.is_dir() {
        let record = read_record(&path.join(record_name(load_id)))?;
        return Ok(record.map_or(LoadState::NotCommitted, |record| {
            LoadState::committed(record.receipt())
        }));
    }
    if stamp(path)?.is_none() {
        return Ok(LoadState::NotCommitted);
    }
    match file_schema(path)?.1 {
        // Text has no place for it.
        None => Ok(LoadState::Unknown),
        Some((schema, rows)) => {
            let mut history = History::of(&schema, rows);
            let found = history.find(load_id);
            if !history.lacks_rows() || matches!(found, LoadState::NotCommitted) {
                return Ok(found);
            }
            history.set_rows(count_rows(path)?);
            Ok(history.find(load_id))
        }
    }
}

/// The loads that a file remembers, for one that is written in its place: each with its rows.
pub(crate) fn complete_history(path: &Path, mut history: History) -> Result<History> {
    if history.lacks_rows() {
        history.set_rows(count_rows(path)?);
    }
    Ok(history)
}

fn read_record(path: &Path) -> Result<Option<Record>> {
    match fs::read(path) {
        Ok(bytes) => Record::decode(&bytes, &path.display().to_string()).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(from_io(path, error)),
    }
}

/// The records of a folder, each with its age.
pub(crate) fn records(folder: &Path) -> Result<Vec<(Option<SystemTime>, PathBuf)>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| from_io(folder, error))? {
        let entry = entry.map_err(|error| from_io(folder, error))?;
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(RECORD_PREFIX)
        {
            records.push((
                entry
                    .metadata()
                    .and_then(|metadata| metadata.modified())
                    .ok(),
                entry.path(),
            ));
        }
    }
    Ok(records)
}

/// The record of the last load. Clocks of file systems tick slowly, so those of one tick are read and compared.
pub(crate) fn newest_record(folder: &Path) -> Result<Option<Record>> {
    let records = records(folder)?;
    let newest = records.iter().map(|(age, _)| *age).max();
    let mut found: Option<Record> = None;
    for (_, path) in records.iter().filter(|(age, _)| Some(*age) == newest) {
        found = found
            .into_iter()
            .chain(read_record(path)?)
            .max_by_key(|record| record.sequence);
    }
    Ok(found)
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
    })?;
    files.sort();
    Ok(files)
}

/// Visits each file below a folder whose name, and whose folders' names, are not hidden.
fn walk(folder: &Path, depth: usize, visit: &mut dyn FnMut(&Path, &str)) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| from_io(folder, error))?,
    };
    for entry in entries {
        let path = entry.map_err(|error| from_io(folder, error))?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        match () {
            () if is_hidden(&name) => {}
            () if path.is_dir() && depth > 0 => walk(&path, depth - 1, visit)?,
            () => visit(&path, &name),
        }
    }
    Ok(())
}

/// A schema, and the number of rows where the format tells without reading them.
type Known = Option<(SchemaRef, Option<u64>)>;

/// The format of a file, from its first bytes, and its schema; text has none.
fn file_schema(path: &Path) -> Result<(Option<Format>, Known)> {
    let mut file = File::open(path).map_err(|error| from_io(path, error))?;
    let mut magic = Vec::new();
    file.by_ref()
        .take(6)
        .read_to_end(&mut magic)
        .and_then(|_| file.rewind())
        .map_err(|error| from_io(path, error))?;
    let broken = |error: ArrowError| broken(path, error);
    Ok(match magic.as_slice() {
        [b'P', b'A', b'R', b'1', ..] => {
            let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
                .map_err(|error| broken(error.into()))?;
            let rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).ok();
            (
                Some(Format::Parquet),
                Some((metadata.schema().clone(), rows)),
            )
        }
        b"ARROW1" => {
            let reader = FileReader::try_new(BufReader::new(file), None).map_err(broken)?;
            (Some(Format::Arrow), Some((reader.schema(), None)))
        }
        [0xFF, 0xFF, 0xFF, 0xFF, ..] => {
            let reader = StreamReader::try_new(BufReader::new(file), None).map_err(broken)?;
            (Some(Format::ArrowStream), Some((reader.schema(), None)))
        }
        _ => (None, None),
    })
}

fn broken(path: &Path, error: ArrowError) -> Error {
    let message = format!(
        "`{}` is broken; remove it, or name another target",
        path.display()
    );
    Error::new(ErrorKind::InvalidData, message).with_source(error)
}

/// Reads an Arrow file to its end: its footer does not say how many rows it has.
fn count_rows(path: &Path) -> Result<u64> {
    let mut rows = 0;
    crate::verify::read(path, &mut |batch| {
        rows += batch.num_rows() as u64;
        Ok(())
    })?;
    Ok(rows)
}
