//! What a load and a source tell each other about one run of a query. The source gets it with the query.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::{DeadLetterOrigin, Error, ErrorKind, QueryProgress, Rejects, Result};

/// What a load asks of a reading of its rows, and what the source says of it. Clones are handles of the same reading. Sources
/// whose rows have types already need none of it but [`progress`](Self::progress).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Reading {
    /// Takes how far the engine is, before the first rows.
    pub progress: QueryProgress,
    /// The types of the target's columns, if the target exists. A source that infers types, such as a reader of CSV, uses them
    /// for columns of the same names, if the values fit them.
    pub types: Option<SchemaRef>,
    /// Types must be checked on every value before the source answers, because the target cannot remove rows that were written
    /// before a later value turned out not to fit.
    pub prove: bool,
    /// Takes rows that cannot be parsed.
    pub unparsed: Unparsed,
    /// Takes what the source has found out about its input.
    pub found: Found,
}

/// What a source has found out about its input.
#[derive(Debug, Clone, Default)]
pub struct Found(Arc<Mutex<Facts>>);

#[derive(Debug, Default)]
struct Facts {
    sampled: bool,
    remarks: Vec<String>,
}

impl Found {
    /// Says that types were taken from a sample. A later value that does not fit one ends the stream with an error whose
    /// [`retry`](Error::retry) is [`Retry::Reopen`](crate::Retry::Reopen).
    pub fn say_sampled(&self) {
        self.with(|facts| facts.sampled = true);
    }

    /// Whether types were taken from a sample.
    pub fn is_sampled(&self) -> bool {
        self.with(|facts| facts.sampled)
    }

    /// Adds a sentence for the plan: what a file is, and how it is read.
    pub fn remark(&self, remark: impl Into<String>) {
        self.with(|facts| {
            let remark = remark.into();
            if !facts.remarks.contains(&remark) {
                facts.remarks.push(remark);
            }
        });
    }

    /// The sentences for the plan.
    pub fn remarks(&self) -> Vec<String> {
        self.with(|facts| facts.remarks.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Facts) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The column of a file of unparsed rows with the name of the file that a row is in.
pub const UNPARSED_FILE: &str = "_arrowload_file";
/// The column with the line at which the row begins, from 1.
pub const UNPARSED_LINE: &str = "_arrowload_line";
/// The column with the bytes of the row, as they are in the file after unpacking, line end included.
pub const UNPARSED_BYTES: &str = "_arrowload_bytes";
/// The column with how the file was read: the options of its reader, as JSON.
pub const UNPARSED_OPTIONS: &str = "_arrowload_options";

/// Takes rows that cannot be parsed: each into the dead-letter file of every destination of the load. Clones take them to the
/// same files.
///
/// They are accepted only if all destinations skip rows; else the first one is an error.
#[derive(Debug, Clone, Default)]
pub struct Unparsed {
    files: Arc<[Rejects]>,
    of_changed_rows: bool,
}

/// A row that cannot be parsed.
#[derive(Debug, Clone, Copy)]
pub struct UnparsedRow<'a> {
    /// The file it is in.
    pub file: &'a str,
    /// The line at which it begins, from 1.
    pub line: u64,
    /// Its bytes, line end included.
    pub bytes: &'a [u8],
    /// What is wrong with it.
    pub reason: &'a str,
    /// How the file is read: the options of its reader, as JSON.
    pub options: &'a str,
}

/// In place of the options of rows that are changed on their way: why they are not parsed again.
const CHANGED: &str = r#"{"not_again":"the load chose, renamed, cast or masked columns, which a replay would leave out"}"#;

/// Rows of more bytes than these do not wait to be written.
const MOST_BYTES_WAITING: usize = 1 << 20;

impl Unparsed {
    /// Writes rows to these files.
    pub(crate) fn to(files: Vec<Rejects>) -> Self {
        Self {
            files: files.into(),
            of_changed_rows: false,
        }
    }

    /// Takes the rows of a query that is not a load to a file of its own in this folder. A load has its own.
    pub fn in_folder(folder: &Path) -> Self {
        let origin = DeadLetterOrigin::of_query();
        Self::to(vec![Rejects::unparsed_to_folder(folder, &origin)])
    }

    /// The same files for rows that are changed after they were parsed, as by an [`Operator`](crate::Operator): parsed again they
    /// would be other rows (a masked value would be readable), so that a replay refuses them.
    #[must_use]
    pub fn of_changed_rows(mut self) -> Self {
        self.of_changed_rows = true;
        self
    }

    /// Makes the file of a query durable, and gives it its name, if rows were set aside: after the last batch. A load does so by
    /// itself.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn publish(&self) -> Result<Option<PathBuf>> {
        self.files.first().map_or(Ok(None), Rejects::publish)
    }

    /// The columns of a file of unparsed rows, before those that every dead-letter file has.
    pub(crate) fn schema() -> Schema {
        Schema::new(vec![
            Field::new(UNPARSED_FILE, DataType::Utf8, false),
            Field::new(UNPARSED_LINE, DataType::UInt64, false),
            Field::new(UNPARSED_BYTES, DataType::Binary, false),
            Field::new(UNPARSED_OPTIONS, DataType::Utf8, false),
        ])
    }

    /// Whether rows may be set aside. If not, the first one is an error.
    pub fn accepts(&self) -> bool {
        !self.files.is_empty()
    }

    /// Sets a row aside.
    ///
    /// # Errors
    /// If no rows are taken, or the file cannot be written.
    pub fn set_aside(&self, row: &UnparsedRow<'_>) -> Result<()> {
        if !self.accepts() {
            let error = Error::new(ErrorKind::InvalidData, row.reason);
            return Err(error.with("file", row.file).with("line", row.line));
        }
        let options = match self.of_changed_rows {
            true => CHANGED,
            false => row.options,
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![row.file])),
            Arc::new(UInt64Array::from(vec![row.line])),
            Arc::new(BinaryArray::from_vec(vec![row.bytes])),
            Arc::new(StringArray::from(vec![options])),
        ];
        let batch = RecordBatch::try_new(Arc::new(Self::schema()), columns)?;
        for file in self.files.iter() {
            file.set_aside(&batch, file.rows(), row.reason, None)?;
            if row.bytes.len() >= MOST_BYTES_WAITING {
                file.flush()?;
            }
        }
        Ok(())
    }

    /// How many rows were set aside.
    pub fn rows(&self) -> u64 {
        self.files.first().map_or(0, Rejects::rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_refused_where_none_are_taken() {
        let row = UnparsedRow {
            file: "a.csv",
            line: 7,
            bytes: b"1,2,3\n",
            reason: "3 fields where the table has 2 columns",
            options: "{}",
        };
        let error = Unparsed::default().set_aside(&row).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "3 fields where the table has 2 columns (file: a.csv, line: 7)"
        );
    }

    #[test]
    fn what_one_clone_finds_another_knows() {
        let found = Found::default();
        let other = found.clone();
        other.say_sampled();
        other.remark("a.csv: CSV");
        other.remark("a.csv: CSV");
        assert!(found.is_sampled());
        assert_eq!(found.remarks(), ["a.csv: CSV"]);
    }
}
