//! Lists the files and folders of a folder as tables.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrowload_common_object_store::{blocking, from_io};
use arrowload_core::{Error, ErrorKind, Listed, Listing, Result};
use datafusion::execution::SessionState;
use serde_json::Map;

use crate::file::DataFile;
use crate::how::How;
use crate::kind::{Kind, Opened, recognise, stem};
use crate::look::Wanted;
use crate::tables::FileTables;

/// A folder with more files is not opened file by file to count its rows.
const MOST_FILES: usize = 1_000;
/// The folder by which a Delta table is recognised.
const DELTA_LOG: &str = "_delta_log";

/// A table, as far as it is known.
#[derive(Default)]
struct Row {
    /// As a query calls it.
    name: String,
    kind: &'static str,
    format: Option<String>,
    files: Option<u64>,
    bytes: Option<u64>,
    rows: Option<u64>,
    note: Option<String>,
}

/// Lists the tables of a folder, and those that the connection names. A file that cannot be read is listed with the reason.
pub(crate) async fn list(
    tables: &FileTables,
    listing: &Listing,
    session: &SessionState,
) -> Result<RecordBatch> {
    let refused = |what: &str| Err(Error::new(ErrorKind::Unsupported, what.to_owned()));
    if listing.what != Listed::Tables {
        return refused(&format!(
            "files have no list of {}; list their tables",
            listing.what
        ));
    }
    if listing.catalog.is_some() || listing.schema.is_some() {
        return refused("files are in no catalog or schema; narrow the list by the name");
    }
    let folder = &tables.places.folder;
    let entries = std::fs::read_dir(folder);
    entries.map_err(|error| from_io(folder, error))?;
    let entries = tables.entries();
    let named = tables.named.keys().map(|name| (name.clone(), name.clone()));
    let below = entries.iter().filter_map(|(name, path)| {
        let file = path.file_name()?.to_str()?;
        let is_alone = entries.iter().filter(|(other, _)| other == name).count() == 1
            && !tables.named.contains_key(name);
        // Two files of one name are distinguished by their endings.
        let called = match is_alone || stem(file).is_none() {
            true => name.clone(),
            false => file.to_owned(),
        };
        Some((called, file.to_owned()))
    });
    let mut all: Vec<(String, String)> = named.chain(below).collect();
    all.retain(|(called, _)| listing.takes_name(called));
    all.sort();
    let mut rows = Vec::with_capacity(all.len());
    for (called, place) in all {
        rows.push(row(tables, called, &place, session).await);
    }
    batch(&rows)
}

async fn row(tables: &FileTables, called: String, place: &str, session: &SessionState) -> Row {
    let path = tables.places.folder.join(place);
    let mut row = Row {
        name: called,
        kind: if path.is_dir() { "FOLDER" } else { "FILE" },
        ..Row::default()
    };
    if tables.named.contains_key(place) {
        row.kind = "NAMED";
    } else if path.join(DELTA_LOG).is_dir() {
        row.kind = "DELTA TABLE";
        row.note = Some(format!("read it as {}", delta_url(&path)));
        return row;
    }
    let files = match tables.files(place, false, session).await {
        Ok(files) => files,
        Err(error) => {
            row.note = Some(error.message().to_owned());
            return row;
        }
    };
    row.files = Some(files.len() as u64);
    row.bytes = Some(files.iter().map(|file| file.meta.size).sum());
    match looked(tables, files, session).await {
        Ok((format, rows)) => (row.format, row.rows) = (Some(format), rows),
        Err(error) => row.note = Some(error.message().to_owned()),
    }
    row
}

fn delta_url(path: &Path) -> String {
    format!("delta://{}", path.display())
}

/// The format of files, and their rows if all of them say how many they have.
async fn looked(
    tables: &FileTables,
    files: Vec<DataFile>,
    session: &SessionState,
) -> Result<(String, Option<u64>)> {
    let how = How::new(None, &tables.read, Map::new())?;
    let counts = |file: &DataFile| Kind::of_name(file.name()) == Some(Kind::Parquet);
    if files.len() <= MOST_FILES && files.iter().all(counts) {
        let looked = tables.look(files, &how, Wanted::default(), session).await?;
        let rows = looked.iter().map(|looked| looked.rows).sum();
        let format = looked.first().map(|looked| looked.kind.word());
        return Ok((format.unwrap_or_default().to_owned(), rows));
    }
    let Some(first) = files.into_iter().next() else {
        return Ok((String::new(), None));
    };
    let kind = blocking(move || {
        Ok(match recognise(&first, &how)? {
            Opened::Text(kind, _) | Opened::Binary(kind) => kind,
        })
    });
    Ok((kind.await?.word().to_owned(), None))
}

fn batch(rows: &[Row]) -> Result<RecordBatch> {
    let texts = |value: fn(&Row) -> Option<&str>| -> ArrayRef {
        Arc::new(rows.iter().map(value).collect::<StringArray>())
    };
    let numbers = |value: fn(&Row) -> Option<u64>| -> ArrayRef {
        Arc::new(rows.iter().map(value).collect::<UInt64Array>())
    };
    let columns = [
        ("table_name", texts(|row| Some(row.name.as_str())), false),
        ("table_type", texts(|row| Some(row.kind)), false),
        ("format", texts(|row| row.format.as_deref()), true),
        ("files", numbers(|row| row.files), true),
        ("bytes", numbers(|row| row.bytes), true),
        ("rows", numbers(|row| row.rows), true),
        ("note", texts(|row| row.note.as_deref()), true),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}
