//! Rows that were set aside: written with their reason to an Arrow IPC stream, and read back for a replay.
//!
//! A dead-letter file has the columns of the load and three more: [`ROW`], [`REASON`] and [`CODE`]. It is the *stream*
//! format, as dictionaries may grow from batch to batch. It appears just before the load commits, under a name of its own that
//! begins with the load's id; a load that fails leaves none. One that was killed while it committed may leave its file whether
//! it committed or not.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tempfile::NamedTempFile;

use crate::options::LOAD_ID_LIMIT;
use crate::{
    BatchStream, Checksums, Error, ErrorKind, Mode, NullKeys, Result, UNPARSED_BYTES, Unparsed,
};

/// The column with the row's number in the load, from 0.
pub const ROW: &str = "_arrowload_row";
/// The column with the store's own message.
pub const REASON: &str = "_arrowload_reason";
/// The column with the store's own error code, or null.
pub const CODE: &str = "_arrowload_code";

/// Collects rows that the store refuses. Clones write to the same file.
#[derive(Clone, Default)]
pub struct Rejects(Option<Arc<Mutex<Writer>>>);

struct Writer {
    folder: PathBuf,
    /// The beginning of the file's name.
    stem: String,
    schema: SchemaRef,
    out: Option<StreamWriter<BufWriter<NamedTempFile>>>,
    /// Rows that are not written yet.
    waiting: Vec<RecordBatch>,
    rows: u64,
    /// Source rows that were set aside before a session saw them: their positions shift the session's row numbers.
    hidden: Vec<u64>,
    /// The checksums of rows that a session saw and that were set aside: they are subtracted from the expected checksums.
    checksums: Checksums,
}

/// The load that the rows come from, as far as a replay needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterOrigin {
    /// The id of the load.
    pub load_id: String,
    /// Its loader; empty for a query that was [no load](Self::is_of_query).
    pub loader: String,
    /// Its target.
    pub target: String,
    /// The name of its connection, if it had one.
    pub connection: Option<String>,
    /// Whether that name is all of its connection, and none of it was a URL or given with the load.
    pub connection_is_kept: bool,
    /// Its mode.
    pub mode: Mode,
    /// Its keys.
    pub keys: Vec<String>,
    /// Its rule for null keys.
    pub null_keys: NullKeys,
    /// The loader's own options, but for secrets.
    pub options: Map<String, Value>,
    /// Whether the rows are those of the input that could not be parsed: their bytes, and how their files were read.
    pub unparsed: bool,
}

impl DeadLetterOrigin {
    /// The origin of rows of a query that was not a load: there is no target.
    pub(crate) fn of_query() -> Self {
        Self {
            load_id: format!("query-{}", uuid::Uuid::now_v7().simple()),
            loader: String::new(),
            target: String::new(),
            connection: None,
            connection_is_kept: true,
            mode: Mode::Append,
            keys: Vec::new(),
            null_keys: NullKeys::default(),
            options: Map::new(),
            unparsed: true,
        }
    }

    /// Whether the rows come from a query that was not a load: no loader and no target are known.
    pub fn is_of_query(&self) -> bool {
        self.loader.is_empty()
    }

    /// The id of the load that brings these rows again: the first one's with `.replay` at the end, or `.unparsed.replay`, as a load may
    /// have set aside rows of both kinds.
    pub fn replay_id(&self) -> String {
        let kind = if self.unparsed { ".unparsed" } else { "" };
        let id = format!("{}{kind}.replay", self.load_id);
        if id.len() <= LOAD_ID_LIMIT {
            return id;
        }
        let hash = xxhash_rust::xxh3::xxh3_64(self.load_id.as_bytes());
        let kept: String = self
            .load_id
            .char_indices()
            .take_while(|(at, _)| *at < LOAD_ID_LIMIT - 50)
            .map(|(_, letter)| letter)
            .collect();
        format!("{kept}-{hash:016x}{kind}.replay")
    }
}

/// What a file keeps of the load beside its ids.
#[derive(Serialize, Deserialize)]
struct HowLoaded {
    connection_is_kept: bool,
    mode: Mode,
    keys: Vec<String>,
    null_keys: NullKeys,
    options: Map<String, Value>,
}

/// File systems allow 255 bytes.
const LONGEST_NAME: usize = 120;

/// More parts than these do not wait to be written.
const MOST_WAITING: usize = 1_024;

const ORIGIN_KEYS: [&str; 5] = [
    "arrowload.load_id",
    "arrowload.loader",
    "arrowload.target",
    "arrowload.connection",
    "arrowload.how",
];

impl Rejects {
    /// Accepts no rows: `on_error = fail`.
    pub fn none() -> Self {
        Self(None)
    }

    pub(crate) fn to_folder(folder: &Path, schema: &Schema, origin: &DeadLetterOrigin) -> Self {
        let extra = [
            Field::new(ROW, DataType::UInt64, false),
            Field::new(REASON, DataType::Utf8, false),
            Field::new(CODE, DataType::Utf8, true),
        ];
        let fields: Vec<FieldRef> = schema
            .fields()
            .iter()
            .cloned()
            .chain(extra.map(Arc::new))
            .collect();
        let mut metadata = schema.metadata().clone();
        let how = HowLoaded {
            connection_is_kept: origin.connection_is_kept,
            mode: origin.mode,
            keys: origin.keys.clone(),
            null_keys: origin.null_keys,
            options: origin.options.clone(),
        };
        let how = serde_json::to_string(&how).ok();
        let values = [
            Some(&origin.load_id),
            Some(&origin.loader),
            Some(&origin.target),
            origin.connection.as_ref(),
            how.as_ref(),
        ];
        let entries = ORIGIN_KEYS
            .into_iter()
            .zip(values)
            .filter_map(|(key, value)| Some((key.to_owned(), value?.clone())));
        metadata.extend(entries.collect::<HashMap<_, _>>());
        Self::to_file_of(
            folder,
            stem(&origin.load_id, &origin.loader, &origin.target),
            schema,
            (fields, metadata),
        )
    }

    /// A file of rows that could not be parsed.
    pub(crate) fn unparsed_to_folder(folder: &Path, origin: &DeadLetterOrigin) -> Self {
        let rejects = Self::to_folder(folder, &Unparsed::schema(), origin);
        if let Some(mut writer) = rejects.writer() {
            writer.stem.push_str("-unparsed");
        }
        rejects
    }

    fn to_file_of(
        folder: &Path,
        stem: String,
        schema: &Schema,
        (fields, metadata): (Vec<FieldRef>, HashMap<String, String>),
    ) -> Self {
        Self(Some(Arc::new(Mutex::new(Writer {
            folder: folder.to_owned(),
            stem,
            schema: Arc::new(Schema::new_with_metadata(fields, metadata)),
            out: None,
            waiting: Vec::new(),
            rows: 0,
            hidden: Vec::new(),
            checksums: Checksums::new(schema),
        }))))
    }

    /// Whether rows may be set aside. If not, the first refused row is an error.
    pub fn accepts(&self) -> bool {
        self.0.is_some()
    }

    /// Sets aside all rows of a batch (usually a slice of what was written), of which the first is the `first_row`th
    /// that the session was given, counted from 0.
    ///
    /// # Errors
    /// If no rows are taken, or the file cannot be written.
    pub fn set_aside(
        &self,
        rows: &RecordBatch,
        first_row: u64,
        reason: &str,
        code: Option<&str>,
    ) -> Result<()> {
        let mut writer = self
            .writer()
            .ok_or_else(|| Error::new(ErrorKind::InvalidData, reason).at_row(first_row))?;
        let numbers: Vec<u64> = (first_row..first_row + rows.num_rows() as u64)
            .map(|row| writer.source_row(row))
            .collect();
        writer.checksums.add(rows)?;
        writer.write(rows, numbers, reason, code)
    }

    /// Sets aside rows that no session has seen.
    pub(crate) fn set_aside_unseen(
        &self,
        rows: &RecordBatch,
        numbers: Vec<u64>,
        reason: &str,
    ) -> Result<()> {
        let Some(mut writer) = self.writer() else {
            return Ok(());
        };
        writer.hidden.extend(&numbers);
        writer.write(rows, numbers, reason, None)
    }

    /// Writes the rows that were set aside, so that the batches that they were part of can be freed.
    pub(crate) fn flush(&self) -> Result<()> {
        self.writer().map_or(Ok(()), |mut writer| writer.flush())
    }

    /// How many rows were set aside.
    pub fn rows(&self) -> u64 {
        self.writer().map_or(0, |writer| writer.rows)
    }

    pub(crate) fn checksums(&self) -> Option<Checksums> {
        self.writer().map(|writer| writer.checksums.clone())
    }

    /// The number in the load of the `row`th row that the session was given.
    pub(crate) fn source_row(&self, row: u64) -> u64 {
        self.writer().map_or(row, |writer| writer.source_row(row))
    }

    /// Flushes the file to the disk and renames it to its final name, if there are rows.
    pub(crate) fn publish(&self) -> Result<Option<PathBuf>> {
        let Some(mut writer) = self.writer() else {
            return Ok(None);
        };
        let folder = writer.folder.clone();
        writer.publish().map_err(|error| in_folder(error, &folder))
    }

    fn writer(&self) -> Option<MutexGuard<'_, Writer>> {
        self.0
            .as_ref()
            .map(|writer| writer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Says where dead letters could not be written.
fn in_folder(error: Error, folder: &Path) -> Error {
    error.with("dead-letter folder", folder.display())
}

impl Writer {
    fn publish(&mut self) -> Result<Option<PathBuf>> {
        self.flush()?;
        let Some(out) = self.out.take() else {
            return Ok(None);
        };
        // The name is unique, because two runs of one load, or an earlier run that was cut off, may have a file here.
        let unique = uuid::Uuid::now_v7().simple().to_string();
        let path = self.folder.join(format!("{}-{unique}.arrows", self.stem));
        let file = out
            .into_inner()?
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(&path)
            .map_err(|error| Error::from(error.error).with("file", path.display()))?;
        Ok(Some(path))
    }

    fn source_row(&self, written: u64) -> u64 {
        // The k-th hidden row lies before the wanted one if at most `written` visible rows precede it.
        let (mut low, mut high) = (0, self.hidden.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.hidden[middle] - middle as u64 <= written {
                low = middle + 1
            } else {
                high = middle
            }
        }
        written + low as u64
    }

    fn write(
        &mut self,
        rows: &RecordBatch,
        numbers: Vec<u64>,
        reason: &str,
        code: Option<&str>,
    ) -> Result<()> {
        let count = rows.num_rows();
        let extra: [ArrayRef; 3] = [
            Arc::new(UInt64Array::from(numbers)),
            Arc::new(StringArray::from(vec![reason; count])),
            Arc::new(StringArray::from(vec![code; count])),
        ];
        let columns = rows.columns().iter().cloned().chain(extra).collect();
        self.waiting
            .push(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
        self.rows += count as u64;
        if self.waiting.len() >= MOST_WAITING {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes what waits as one batch: rows are often set aside one by one.
    fn flush(&mut self) -> Result<()> {
        let folder = self.folder.clone();
        self.write_waiting()
            .map_err(|error| in_folder(error, &folder))
    }

    fn write_waiting(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        // What cannot be one batch, such as dictionaries that are too large together, stays several.
        let batches = match concat_batches(&self.schema, &waiting) {
            Ok(whole) => vec![whole],
            Err(_) => waiting,
        };
        if self.out.is_none() {
            std::fs::create_dir_all(&self.folder)?;
            let file = tempfile::Builder::new()
                .prefix(".arrowload-")
                .suffix(".tmp")
                .tempfile_in(&self.folder)?;
            self.out = Some(StreamWriter::try_new(BufWriter::new(file), &self.schema)?);
        }
        if let Some(out) = &mut self.out {
            batches.iter().try_for_each(|batch| out.write(batch))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Rejects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Rejects({})",
            if self.accepts() { "set aside" } else { "fail" }
        )
    }
}

/// Where the rows of a load that were set aside are; the newest file, where an earlier run did not come to its end.
pub(crate) fn find_dead_letters(
    folder: &Path,
    load_id: &str,
    loader: &str,
    target: &str,
) -> Option<PathBuf> {
    let stem = stem(load_id, loader, target);
    let names = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let ours = |name: &String| {
        let unique = name
            .strip_prefix(&stem)
            .and_then(|rest| rest.strip_prefix('-')?.strip_suffix(".arrows"));
        unique.is_some_and(|unique| {
            unique.len() == 32 && unique.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    Some(folder.join(names.filter(ours).max()?))
}

/// The beginning of the names of a load's files: its id, shortened if needed, and a hash that distinguishes it from the same id for
/// another target.
fn stem(load_id: &str, loader: &str, target: &str) -> String {
    let hash = xxhash_rust::xxh3::xxh3_64(format!("{load_id}\n{loader}\n{target}").as_bytes());
    format!("{}-{:08x}", file_name(load_id), hash >> 32)
}

/// A load id as the name of a file: what is not a letter, digit, `-`, `_` or `.` becomes `%XX`, and a long one ends early.
fn file_name(load_id: &str) -> String {
    let mut name = String::new();
    for byte in load_id.bytes() {
        match byte {
            _ if name.len() >= LONGEST_NAME => break,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(byte.into()),
            b'.' if !name.is_empty() => name.push('.'),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

/// Opens a dead-letter file: the rows as they were, without the three columns of reasons, and the load they come from.
///
/// # Errors
/// If it is missing or no dead-letter file.
pub fn read_dead_letters(path: &Path) -> Result<(BatchStream, DeadLetterOrigin)> {
    let at = |error: Error| error.with("file", path.display());
    let file = File::open(path).map_err(|error| at(error.into()))?;
    let not_ours = || {
        let message = "this is no dead-letter file: those are Arrow IPC streams that a load with on_error = skip has written";
        Error::new(ErrorKind::InvalidOption, message)
    };
    let reader = StreamReader::try_new(BufReader::new(file), None)
        .map_err(|error| at(not_ours().with_source(error)))?;
    let schema = reader.schema();
    let mut metadata = schema.metadata().clone();
    let [load_id, loader, target, connection, how] = ORIGIN_KEYS.map(|key| metadata.remove(key));
    let (Some(load_id), Some(loader), Some(target), Some(how)) = (load_id, loader, target, how)
    else {
        return Err(at(not_ours()));
    };
    let how: HowLoaded =
        serde_json::from_str(&how).map_err(|error| at(not_ours().with_source(error)))?;
    let HowLoaded {
        connection_is_kept,
        mode,
        keys,
        null_keys,
        options,
    } = how;
    let own = schema
        .fields()
        .len()
        .checked_sub(3)
        .ok_or_else(|| at(not_ours()))?;
    let original: SchemaRef = Arc::new(Schema::new_with_metadata(
        schema.fields()[..own].to_vec(),
        metadata,
    ));
    let announced = Arc::clone(&original);
    let batches = reader.map(move |batch| {
        let columns = batch?.columns()[..own].to_vec();
        Ok(RecordBatch::try_new(Arc::clone(&announced), columns)?)
    });
    let origin = DeadLetterOrigin {
        load_id,
        loader,
        target,
        connection,
        connection_is_kept,
        mode,
        keys,
        null_keys,
        options,
        unparsed: original.column_with_name(UNPARSED_BYTES).is_some(),
    };
    Ok((
        BatchStream::new(original, futures::stream::iter(batches)),
        origin,
    ))
}

#[cfg(test)]
mod tests {
    use arrow_array::Int64Array;
    use futures::TryStreamExt;

    use super::*;

    fn batch(values: Vec<i64>) -> RecordBatch {
        RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(values)) as ArrayRef)])
            .expect("a batch")
    }

    fn origin() -> DeadLetterOrigin {
        DeadLetterOrigin {
            load_id: "a/b".into(),
            loader: "memory".into(),
            target: "t".into(),
            connection: None,
            connection_is_kept: true,
            mode: Mode::Upsert,
            keys: vec!["a".into()],
            null_keys: NullKeys::Match,
            options: Map::from_iter([("indexed".to_owned(), Value::Bool(true))]),
            unparsed: false,
        }
    }

    #[tokio::test]
    async fn what_is_set_aside_reads_back_and_says_where_it_belongs() {
        let folder = tempfile::tempdir().expect("a folder");
        let rejects = Rejects::to_folder(folder.path(), &batch(vec![]).schema(), &origin());
        rejects
            .set_aside(&batch(vec![5]), 0, "too large", Some("22003"))
            .expect("written");
        rejects
            .set_aside(&batch(vec![6, 7]), 4, "too large", None)
            .expect("written");
        assert_eq!(rejects.rows(), 3);
        let path = rejects.publish().expect("published").expect("a file");
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        assert!(
            name.starts_with("a%2Fb-") && name.ends_with(".arrows"),
            "{name}"
        );
        assert_eq!(
            find_dead_letters(folder.path(), "a/b", "memory", "t"),
            Some(path.clone())
        );
        assert_eq!(find_dead_letters(folder.path(), "a/b", "memory", "u"), None);
        let (stream, found) = read_dead_letters(&path).expect("a dead-letter file");
        assert_eq!(found, origin());
        let batches: Vec<RecordBatch> = stream.try_collect().await.expect("batches");
        assert_eq!(batches, [batch(vec![5, 6, 7])]);
    }

    #[test]
    fn row_numbers_are_those_of_the_source() {
        let folder = tempfile::tempdir().expect("a folder");
        let rejects = Rejects::to_folder(folder.path(), &batch(vec![]).schema(), &origin());
        rejects
            .set_aside_unseen(&batch(vec![1, 2]), vec![0, 3], "null key")
            .expect("written");
        let numbers: Vec<u64> = (0..4).map(|row| rejects.source_row(row)).collect();
        assert_eq!(numbers, [1, 2, 4, 5]);
    }

    #[test]
    fn no_run_of_a_load_takes_the_place_of_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let long = DeadLetterOrigin {
            load_id: "\u{65E5}".repeat(60),
            ..origin()
        };
        let publish = || {
            let rejects = Rejects::to_folder(folder.path(), &batch(vec![]).schema(), &long);
            rejects
                .set_aside(&batch(vec![5]), 0, "no", None)
                .expect("written");
            rejects.publish().expect("published").expect("a file")
        };
        let (first, second) = (publish(), publish());
        assert!(first.is_file() && second.is_file() && first != second);
        let found = find_dead_letters(folder.path(), &long.load_id, "memory", "t");
        assert!(found.is_some_and(|file| file == first || file == second));
    }

    #[test]
    fn a_load_that_does_not_publish_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let rejects = Rejects::to_folder(folder.path(), &batch(vec![]).schema(), &origin());
        rejects
            .set_aside(&batch(vec![5]), 0, "no", None)
            .expect("written");
        drop(rejects);
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            0
        );
    }
}
