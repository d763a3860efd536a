//! Arrow batches as the binary form of `COPY`: column after column over chunks of rows, so that each column's loop knows
//! its types, and nothing is allocated for a row or a value.
//!
//! A chunk is encoded in two passes. The first sums up the size of each row, and so knows where each row begins; the
//! second writes each column's values to their places. The format is described in the manual of PostgreSQL under
//! `COPY`, "Binary Format".

mod bind;
mod bytes;
mod column;
mod conversion;
mod fixed;
mod json;
mod list;
mod numbers;
mod numeric;
mod numeric_text;
mod pieces;
mod staged;
pub(crate) mod temporal;
mod text;
mod vector;

use ::bytes::Bytes;
use arrow_array::RecordBatch;
use arrow_schema::Schema;
use arrowload_core::{Error, ErrorKind, Result};

pub(crate) use self::column::Column;
pub(crate) use self::column::Refused;
pub(crate) use self::conversion::{ArrayTarget, Conversion, NumericTarget, Precision, TextTarget};
pub(crate) use self::pieces::Pieces;
pub(crate) use self::vector::LONGEST as LONGEST_VECTOR;

/// The signature, no flags, no header extension.
pub(crate) const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// A row of -1 fields: the end.
pub(crate) const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// Rows that are encoded together: few enough that they stay in the cache from one column to the next.
const CHUNK: usize = 256;

/// What is written in each field of a row.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    /// The batch's column.
    pub(crate) source: usize,
    pub(crate) conversion: Conversion,
}

/// Encodes Arrow batches as the binary form of `COPY … FROM STDIN (FORMAT binary)`.
///
/// This is the encoder that loads use, for programs that run the `COPY` themselves.
///
/// ```
/// # use std::sync::Arc;
/// # use arrow_array::{Int32Array, RecordBatch};
/// let batch = RecordBatch::try_from_iter([("a", Arc::new(Int32Array::from(vec![7])) as _)])?;
/// let mut encoder = arrowload_postgresql::CopyEncoder::new(batch.schema_ref())?;
/// let mut out = encoder.header().to_vec();
/// encoder.encode(&batch, &mut out)?;
/// out.extend(encoder.trailer());
/// assert_eq!(out.len(), 19 + (2 + 4 + 4) + 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CopyEncoder {
    pub(crate) fields: Vec<Field>,
    /// Whether each row is followed by its number, as a `bigint`.
    numbered: bool,
    sizes: Vec<usize>,
}

impl CopyEncoder {
    /// For a table with the columns that a load would create for this schema.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedType`] if a column has no such type.
    pub fn new(schema: &Schema) -> Result<Self> {
        let mut fields = Vec::with_capacity(schema.fields().len());
        for (source, field) in schema.fields().iter().enumerate() {
            let refused =
                |why| Error::new(ErrorKind::UnsupportedType, why).with("column", field.name());
            let conversion =
                crate::matrix::for_new_column(field, &crate::PostgresqlOptions::default())
                    .map_err(refused)?
                    .conversion;
            fields.push(Field { source, conversion });
        }
        Ok(Self::of(fields, false))
    }

    /// Another for the same rows.
    pub(crate) fn another(&self) -> Self {
        Self::of(self.fields.clone(), self.numbered)
    }

    pub(crate) fn of(fields: Vec<Field>, numbered: bool) -> Self {
        Self {
            fields,
            numbered,
            sizes: Vec::new(),
        }
    }

    /// The bytes before the first row.
    pub fn header(&self) -> &'static [u8] {
        HEADER
    }

    /// The bytes after the last row.
    pub fn trailer(&self) -> &'static [u8] {
        const { &TRAILER }
    }

    /// Appends the rows of a batch.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] for a value that cannot be stored, naming row and column.
    pub fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let mut run = self.start(batch, 0)?;
        run.append_to(out)
            .map_err(|(column, refused)| run.explain(column, &refused))
    }

    /// Begins a batch, whose first row has this number in the load.
    pub(crate) fn start<'a>(
        &'a mut self,
        batch: &'a RecordBatch,
        first_row: u64,
    ) -> Result<Run<'a>> {
        let mut columns = Vec::with_capacity(self.fields.len() + 1);
        for field in &self.fields {
            columns.push(bind::bind(batch.column(field.source), &field.conversion)?);
        }
        if self.numbered {
            columns.push(number_column(first_row));
        }
        self.sizes.clear();
        Ok(Run {
            encoder: self,
            columns,
            batch,
            first_row,
            start: 0,
            written: 0,
        })
    }
}

/// The value of an array of one row in its binary form; `None` for null. The inner error is a sentence on the value.
pub(crate) fn bind_one(
    array: &arrow_array::ArrayRef,
    conversion: &Conversion,
) -> Result<Result<Option<Vec<u8>>, String>> {
    let column = bind::bind(array, conversion)?;
    let mut out = Vec::new();
    if let Err(reason) = column.append(0, &mut out) {
        return Ok(Err(reason.text().to_owned()));
    }
    // The length word comes first.
    Ok(Ok((!column.is_null(0)).then(|| out.split_off(4))))
}

fn number_column(first_row: u64) -> Box<dyn Column> {
    let frame = bind::Frame {
        index: None,
        nulls: None,
    };
    fixed::fixed::<8, _>(frame, move |row| Ok((first_row + row as u64).to_be_bytes()))
}

/// One batch on its way.
pub(crate) struct Run<'a> {
    encoder: &'a mut CopyEncoder,
    columns: Vec<Box<dyn Column>>,
    batch: &'a RecordBatch,
    first_row: u64,
    /// The first row of the chunk; its sizes are in the encoder.
    start: usize,
    /// How many rows of the chunk are written.
    written: usize,
}

impl Run<'_> {
    /// Encodes until a piece is full. `None`: the batch is done, and its end may wait in `pieces`.
    pub(crate) fn next_piece(&mut self, pieces: &mut Pieces) -> Result<Option<Bytes>> {
        self.fill(pieces)
            .map_err(|(column, refused)| self.explain(column, &refused))
    }

    fn fill(&mut self, pieces: &mut Pieces) -> Result<Option<Bytes>, (usize, Refused)> {
        loop {
            if self.written == self.encoder.sizes.len() && !self.measure()? {
                return Ok(None);
            }
            let (rows, bytes) = self.fitting(pieces.room());
            match rows {
                0 if !pieces.is_empty() => return Ok(Some(pieces.take())),
                // A row that is longer than a piece has a buffer of its own.
                0 => self.write(1, pieces.take_room(self.encoder.sizes[self.written]))?,
                rows => self.write(rows, pieces.take_room(bytes))?,
            }
        }
    }

    /// Encodes all rows after what is there.
    fn append_to(&mut self, out: &mut Vec<u8>) -> Result<(), (usize, Refused)> {
        while self.measure()? {
            let start = out.len();
            out.resize(start + self.encoder.sizes.iter().sum::<usize>(), 0);
            self.write(self.encoder.sizes.len(), &mut out[start..])?;
        }
        Ok(())
    }

    /// Sizes of the next chunk; `false` if there is none.
    fn measure(&mut self) -> Result<bool, (usize, Refused)> {
        self.start += self.written;
        self.written = 0;
        let rows = CHUNK.min(self.batch.num_rows() - self.start);
        let sizes = &mut self.encoder.sizes;
        sizes.clear();
        sizes.resize(rows, 2 + 4 * self.columns.len());
        for (number, column) in self.columns.iter_mut().enumerate() {
            column
                .measure(self.start..self.start + rows, sizes)
                .map_err(|refused| (number, refused))?;
        }
        Ok(rows > 0)
    }

    /// How many of the rows that are left fit, and how long they are.
    fn fitting(&self, room: usize) -> (usize, usize) {
        let left = &self.encoder.sizes[self.written..];
        let all: usize = left.iter().sum();
        if all <= room {
            return (left.len(), all);
        }
        let (mut rows, mut bytes) = (0, 0);
        while bytes + left[rows] <= room {
            bytes += left[rows];
            rows += 1;
        }
        (rows, bytes)
    }

    /// The next rows of the chunk, whose sizes sum up to the length of `out`.
    fn write(&mut self, rows: usize, out: &mut [u8]) -> Result<(), (usize, Refused)> {
        let sizes = &self.encoder.sizes[self.written..self.written + rows];
        let count = (self.columns.len() as i16).to_be_bytes();
        let (mut cursors, mut at) = ([0; CHUNK], 0);
        for (cursor, size) in cursors.iter_mut().zip(sizes) {
            out[at..at + 2].copy_from_slice(&count);
            *cursor = at + 2;
            at += size;
        }
        let first = self.start + self.written;
        for (number, column) in self.columns.iter().enumerate() {
            column
                .write(first..first + rows, out, &mut cursors[..rows])
                .map_err(|refused| (number, refused))?;
        }
        self.written += rows;
        Ok(())
    }

    /// The error for a value that cannot be encoded.
    fn explain(&self, column: usize, refused: &Refused) -> Error {
        let schema = self.batch.schema_ref();
        let name = self
            .encoder
            .fields
            .get(column)
            .map_or("", |field| schema.field(field.source).name());
        let message = format!("column `{name}`: {}", refused.reason.text());
        Error::new(ErrorKind::InvalidData, message)
            .with("column", name)
            .at_row(self.first_row + refused.row as u64)
    }
}
