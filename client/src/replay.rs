//! Loads rows again that were set aside. Rows that the store refused are loaded as they are; for rows that could not be
//! parsed, their bytes are parsed again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::SchemaRef;
use arrowload_core::{
    BatchStream, Error, ErrorKind, Input, Query, Reading, Result, UNPARSED_BYTES, UNPARSED_OPTIONS,
    read_dead_letters,
};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use serde::Deserialize;
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::Client;

/// The rows of a file of unparsed rows, parsed again by the embedded engine.
pub(crate) fn unparsed(client: Client, path: PathBuf, read: Map<String, Value>) -> Input {
    let again = Arc::new(Again { client, path, read });
    let schema_of = Arc::clone(&again);
    Input::repeatable(move |reading| {
        let again = Arc::clone(&again);
        async move { again.open(reading).await }.boxed()
    })
    .with_schema(move |reading| -> BoxFuture<'static, Result<SchemaRef>> {
        let again = Arc::clone(&schema_of);
        async move { Ok(again.open(reading).await?.schema().clone()) }.boxed()
    })
    .finding_types(true)
}

struct Again {
    client: Client,
    path: PathBuf,
    /// Options of the reader, over those that the file keeps.
    read: Map<String, Value>,
}

impl Again {
    async fn open(&self, reading: Reading) -> Result<BatchStream> {
        let parts = Parts::of(&self.path, &self.read).await?;
        let query = Query::new(parts.sql.clone()).with_reading(reading);
        let stream = self.client.source().await?.query(&query).await;
        let stream = stream.map_err(|error| parts.placed(error, &self.path))?;
        let schema = stream.schema().clone();
        let path = self.path.clone();
        // The files are there as long as they are read.
        let batches = stream.map(move |batch| batch.map_err(|error| parts.placed(error, &path)));
        Ok(BatchStream::new(schema, batches))
    }
}

/// How the rows of a file were read.
#[derive(Deserialize)]
#[serde(untagged)]
enum How {
    /// By this table function.
    By {
        read: String,
        options: Map<String, Value>,
    },
    /// So that they cannot be read apart from the rest.
    Not { not_again: String },
}

/// The bytes of the rows in files of their own: one for each way in which they were read.
struct Parts {
    folder: TempDir,
    sql: String,
    /// For each file the rows of the dead-letter file that it has, by the lines on which they end.
    rows: Vec<Vec<(u64, u64)>>,
}

impl Parts {
    /// An error in a file of this folder as one in the dead-letter file, which is the one that its user knows.
    fn placed(&self, error: Error, path: &Path) -> Error {
        let file = error.get("file").map(Path::new);
        let Some(file) = file.filter(|file| file.starts_with(self.folder.path())) else {
            return error;
        };
        let rows = file
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let rows: &[(u64, u64)] = rows
            .and_then(|number: usize| self.rows.get(number))
            .map_or(&[], Vec::as_slice);
        let line: Option<u64> = error.get("line").and_then(|line| line.parse().ok());
        let at = rows.partition_point(|(end, _)| line.is_some_and(|line| *end < line));
        // Nobody has given the names that the rows are read with: they are those of their table.
        let message = match error.get("key") {
            Some("names") => {
                "these rows do not have as many values as their table has columns; `ragged = \"pad\"` fills with nulls what \
                              is missing"
            }
            _ => error.message(),
        };
        let mut placed = Error::new(error.kind(), message)
            .with("file", path.display())
            .with_retry(error.retry());
        let is_known = line.is_some() || rows.len() == 1;
        if let Some((_, row)) = rows.get(at).filter(|_| is_known) {
            placed = placed.with("dead_letter", row);
        }
        for (key, value) in error.context() {
            if !["file", "line", "key"].contains(key) {
                placed = placed.with(key, value);
            }
        }
        placed.with_source(error)
    }

    async fn of(path: &Path, read: &Map<String, Value>) -> Result<Self> {
        let (mut rows, _) = read_dead_letters(path)?;
        let folder = tempfile::tempdir()?;
        let mut files: BTreeMap<String, (PathBuf, BufWriter<File>, usize)> = BTreeMap::new();
        let (mut numbers, mut number): (Vec<Vec<(u64, u64)>>, u64) = (Vec::new(), 0);
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let (bytes, how) = (
                column(&batch, UNPARSED_BYTES),
                column(&batch, UNPARSED_OPTIONS),
            );
            let (Some(bytes), Some(how)) = (bytes, how) else {
                let message = "this is no file of rows that could not be parsed";
                return Err(
                    Error::new(ErrorKind::InvalidOption, message).with("file", path.display())
                );
            };
            let (bytes, how) = (bytes.as_binary::<i32>(), how.as_string::<i32>());
            for row in 0..batch.num_rows() {
                let path = folder.path().join(files.len().to_string());
                let (_, file, part) = match files.entry(how.value(row).to_owned()) {
                    Entry::Occupied(file) => file.into_mut(),
                    Entry::Vacant(place) => {
                        let file = BufWriter::new(File::create_new(&path)?);
                        numbers.push(Vec::new());
                        place.insert((path, file, numbers.len() - 1))
                    }
                };
                let bytes = bytes.value(row);
                file.write_all(bytes)?;
                // The last row of its file may have no line end.
                if !bytes.ends_with(b"\n") && !bytes.ends_with(b"\r") {
                    file.write_all(b"\n")?;
                }
                let part = &mut numbers[*part];
                let ends = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
                let lines = ends + u64::from(!bytes.ends_with(b"\n"));
                let before = part.last().map_or(0, |(end, _)| *end);
                part.push((before + lines, number));
                number += 1;
            }
        }
        let mut selects = Vec::with_capacity(files.len());
        for (how, (path, mut file, _)) in files {
            file.flush()?;
            selects.push(select(&path, &how, read)?);
        }
        let sql = selects.join(" UNION ALL ");
        Ok(Self {
            folder,
            sql,
            rows: numbers,
        })
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a dyn Array> {
    batch.column_by_name(name).map(AsRef::as_ref)
}

/// The query of one of the files.
fn select(file: &Path, how: &str, over: &Map<String, Value>) -> Result<String> {
    let how: How = serde_json::from_str(how).map_err(|error| {
        let message = "the file does not say how its rows were read; load them by hand";
        Error::new(ErrorKind::InvalidOption, message).with_source(error)
    })?;
    let (read, mut options) = match how {
        How::By { read, options } => (read, options),
        How::Not { not_again } => {
            let message = format!(
                "these rows cannot be loaded by themselves, as {not_again}; mend their file, and load it in place of what is there"
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    };
    if !read
        .bytes()
        .all(|byte| byte == b'_' || byte.is_ascii_lowercase())
    {
        let message = format!("`{read}` is no function that reads files");
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    options.extend(over.clone());
    let mut arguments = vec![text(&file.to_string_lossy())];
    for (key, value) in &options {
        arguments.push(format!(
            "\"{}\" => {}",
            key.replace('"', "\"\""),
            literal(value)
        ));
    }
    Ok(format!("SELECT * FROM {}({})", read, arguments.join(", ")))
}

fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(value) => text(value),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(literal).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Object(pairs) => {
            let pair =
                |(key, value): (&String, &Value)| format!("{}: {}", text(key), literal(value));
            let pairs: Vec<String> = pairs.iter().map(pair).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_becomes_a_query() {
        let how = r#"{"read":"read_csv","options":{"delim":"'","header":false,"names":["a","b"],"types":{"a":"int64"}}}"#;
        let mut over = Map::new();
        over.insert("ragged".into(), "pad".into());
        let sql = select(Path::new("/tmp/0"), how, &over).expect("a query");
        assert_eq!(
            sql,
            "SELECT * FROM read_csv('/tmp/0', \"delim\" => '''', \"header\" => false, \"names\" => ['a', 'b'], \"ragged\" => 'pad', \"types\" => {'a': 'int64'})"
        );
        assert!(select(Path::new("x"), r#"{"read":"x(); --","options":{}}"#, &over).is_err());
        assert!(select(Path::new("x"), "{}", &over).is_err());
        let not = select(Path::new("x"), r#"{"not_again":"their query sums"}"#, &over);
        assert!(not.is_err_and(|error| error.message().contains("their query sums")));
    }
}
