//! The binary form of `COPY … TO STDOUT` as Arrow batches: each field goes straight to the end of its column.

mod column;
mod nested;
mod numeric;
mod read_type;
mod scalar;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use arrowload_core::{Error, ErrorKind, Result};

use self::column::Decoder;
pub(crate) use self::column::Wrong;
pub(crate) use self::read_type::ReadType;
use crate::encode::HEADER;

/// Bytes of values after which a batch ends, however few rows it has.
const BATCH_BYTES: usize = 16 << 20;

/// Turns rows into batches.
pub(crate) struct RowDecoder {
    schema: SchemaRef,
    columns: Vec<Box<dyn Decoder>>,
    batch_rows: usize,
    /// Rows and bytes that wait in the columns.
    rows: usize,
    bytes: usize,
    /// Rows that went into batches.
    finished_rows: u64,
    /// The start of a row whose end is still to come.
    rest: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Rows,
    /// The trailer was there.
    End,
}

fn malformed(why: &str) -> Error {
    Error::new(
        ErrorKind::Unexpected,
        format!("the server's answer is not what PostgreSQL's COPY sends: {why}"),
    )
}

/// What was found in the bytes.
enum Found {
    Row(usize),
    Trailer,
    Incomplete,
}

fn i16_at(bytes: &[u8], at: usize) -> Option<i16> {
    bytes
        .get(at..at + 2)?
        .first_chunk()
        .copied()
        .map(i16::from_be_bytes)
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes
        .get(at..at + 4)?
        .first_chunk()
        .copied()
        .map(i32::from_be_bytes)
}

/// The end of the row that begins the bytes.
fn look(bytes: &[u8], columns: usize) -> Result<Found> {
    let Some(fields) = i16_at(bytes, 0) else {
        return Ok(Found::Incomplete);
    };
    if fields == -1 {
        return Ok(Found::Trailer);
    }
    if usize::try_from(fields) != Ok(columns) {
        return Err(malformed(&format!(
            "a row has {fields} fields in place of {columns}"
        )));
    }
    let mut at = 2;
    for _ in 0..columns {
        let Some(length) = i32_at(bytes, at) else {
            return Ok(Found::Incomplete);
        };
        at += 4 + usize::try_from(length).unwrap_or(0);
    }
    Ok(if at <= bytes.len() {
        Found::Row(at)
    } else {
        Found::Incomplete
    })
}

impl RowDecoder {
    /// For rows of these types.
    pub(crate) fn new(schema: SchemaRef, types: &[ReadType], batch_rows: usize) -> Self {
        let columns = types.iter().map(ReadType::decoder).collect();
        Self {
            schema,
            columns,
            batch_rows,
            rows: 0,
            bytes: 0,
            finished_rows: 0,
            rest: Vec::new(),
            state: State::Header,
        }
    }

    /// Takes a message of a COPY. Messages need not end where rows do.
    pub(crate) fn feed(&mut self, message: &[u8]) -> Result<()> {
        if self.rest.is_empty() {
            let used = self.take_rows(message)?;
            self.rest.extend_from_slice(&message[used..]);
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.rest);
        joined.extend_from_slice(message);
        let used = self.take_rows(&joined)?;
        joined.drain(..used);
        self.rest = joined;
        Ok(())
    }

    /// Takes whole rows, and returns how many bytes they were.
    fn take_rows(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut at = 0;
        if self.state == State::Header {
            let Some(header) = bytes.get(..HEADER.len()) else {
                return Ok(0);
            };
            if header[..11] != HEADER[..11] {
                return Err(malformed("it does not begin with COPY's signature"));
            }
            let extension = usize::try_from(i32_at(header, 15).unwrap_or(0)).unwrap_or(0);
            if bytes.len() < HEADER.len() + extension {
                return Ok(0);
            }
            at = HEADER.len() + extension;
            self.state = State::Rows;
        }
        while self.state == State::Rows {
            match look(&bytes[at..], self.columns.len())? {
                Found::Row(length) => {
                    self.take_row(&bytes[at..at + length])?;
                    at += length;
                }
                Found::Trailer => {
                    self.state = State::End;
                    at += 2;
                }
                Found::Incomplete => return Ok(at),
            }
        }
        if at < bytes.len() {
            return Err(malformed("something follows its end"));
        }
        Ok(at)
    }

    /// A row whose length is known to be right.
    fn take_row(&mut self, row: &[u8]) -> Result<()> {
        let mut at = 2;
        for index in 0..self.columns.len() {
            let value = match i32_at(row, at).and_then(|length| usize::try_from(length).ok()) {
                Some(length) => {
                    at += 4 + length;
                    row.get(at - length..at)
                }
                None => {
                    at += 4;
                    None
                }
            };
            self.columns[index]
                .push(value)
                .map_err(|wrong| self.explain(index, self.rows, wrong))?;
        }
        self.rows += 1;
        self.bytes += row.len();
        Ok(())
    }

    /// Takes one field of a row that did not come by COPY.
    pub(crate) fn push_field(&mut self, index: usize, value: Option<&[u8]>) -> Result<()> {
        self.bytes += value.map_or(0, <[u8]>::len);
        self.columns[index]
            .push(value)
            .map_err(|wrong| self.explain(index, self.rows, wrong))
    }

    /// Ends a row of [`push_field`](Self::push_field).
    pub(crate) fn end_row(&mut self) {
        self.rows += 1;
    }

    #[cold]
    fn explain(&self, column: usize, row: usize, wrong: Wrong) -> Error {
        let name = self.schema.field(column).name();
        let message = format!("column `{name}`: {}", wrong.0);
        Error::new(ErrorKind::InvalidData, message)
            .with("column", name)
            .at_row(self.finished_rows + row as u64)
    }

    /// Whether the rows that wait are a batch.
    pub(crate) fn is_full(&self) -> bool {
        self.rows >= self.batch_rows || self.bytes >= BATCH_BYTES
    }

    /// Whether the trailer was there: without it, the answer was cut off.
    pub(crate) fn has_ended(&self) -> bool {
        self.state == State::End
    }

    /// Gets ready for the next COPY.
    pub(crate) fn restart(&mut self) {
        self.state = State::Header;
    }

    /// The rows that wait, if there are any.
    pub(crate) fn finish(&mut self) -> Result<Option<RecordBatch>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let mut arrays = Vec::with_capacity(self.columns.len());
        for index in 0..self.columns.len() {
            let finished = self.columns[index].finish();
            arrays.push(finished.map_err(|(row, wrong)| self.explain(index, row, wrong))?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|error| {
                Error::new(ErrorKind::Unexpected, "the rows do not fit their schema")
                    .with_source(error)
            })?;
        self.finished_rows += self.rows as u64;
        (self.rows, self.bytes) = (0, 0);
        Ok(Some(batch))
    }
}
