//! A JSON object on each line, with every column, null or not.

use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, OffsetSizeTrait, RecordBatch};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Fields};
use arrowload_common_text::{Column, Form, Refused, refused, text_columns};
use arrowload_core::Result;

use super::Encoder;
use super::output::Compressor;
use crate::error::{from_arrow, from_io};

pub(super) struct NdjsonEncoder {
    output: Compressor,
    shown: PathBuf,
    buffer: Vec<u8>,
}

impl NdjsonEncoder {
    pub(super) fn new(output: Compressor, shown: PathBuf) -> Self {
        Self {
            output,
            shown,
            buffer: Vec::new(),
        }
    }

    fn lines(&self, batch: &RecordBatch, first_row: u64, out: &mut Vec<u8>) -> Result<()> {
        let batch = text_columns(batch).map_err(|error| from_arrow(&self.shown, error))?;
        let members = members(batch.schema_ref().fields(), batch.columns());
        for row in 0..batch.num_rows() {
            out.push(b'{');
            for (index, (key, node)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(key);
                let column = batch.schema_ref().field(index).name();
                node.write(row, out)
                    .map_err(|why| refused(column, why, first_row + row as u64))?;
            }
            out.extend_from_slice(b"}\n");
        }
        Ok(())
    }
}

impl Encoder for NdjsonEncoder {
    fn write(&mut self, batch: &RecordBatch, first_row: u64) -> Result<()> {
        let mut lines = std::mem::take(&mut self.buffer);
        lines.clear();
        self.lines(batch, first_row, &mut lines)?;
        self.output
            .write_all(&lines)
            .map_err(|error| from_io(&self.shown, error))?;
        self.buffer = lines;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.output
            .finish()
            .map_err(|error| from_io(&self.shown, error))
    }
}

/// An array, with what is below it.
struct Node<'a> {
    nulls: Option<NullBuffer>,
    kind: Kind<'a>,
}

type Span<'a> = Box<dyn Fn(usize) -> Range<usize> + 'a>;

enum Kind<'a> {
    Null,
    Value(Column<'a>),
    Array(Span<'a>, Box<Node<'a>>),
    Object(Vec<(Vec<u8>, Node<'a>)>),
    Map(Span<'a>, Column<'a>, Box<Node<'a>>),
}

/// The members of an object, each with its key as it is written.
fn members<'a>(fields: &Fields, columns: &'a [ArrayRef]) -> Vec<(Vec<u8>, Node<'a>)> {
    let member = |(field, array): (&arrow_schema::FieldRef, &'a ArrayRef)| {
        let mut key = Vec::new();
        string(field.name().as_bytes(), &mut key);
        key.push(b':');
        (key, Node::new(array))
    };
    fields.iter().zip(columns).map(member).collect()
}

fn offsets<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> Span<'_> {
    Box::new(|row| offsets[row].as_usize()..offsets[row + 1].as_usize())
}

impl<'a> Node<'a> {
    fn new(array: &'a ArrayRef) -> Self {
        let boxed = |array| Box::new(Self::new(array));
        let kind = match array.data_type() {
            DataType::Null => Kind::Null,
            DataType::List(_) => Kind::Array(
                offsets(array.as_list::<i32>().offsets()),
                boxed(array.as_list::<i32>().values()),
            ),
            DataType::LargeList(_) => Kind::Array(
                offsets(array.as_list::<i64>().offsets()),
                boxed(array.as_list::<i64>().values()),
            ),
            DataType::FixedSizeList(_, size) => {
                let size = usize::try_from(*size).unwrap_or_default();
                Kind::Array(
                    Box::new(move |row| row * size..(row + 1) * size),
                    boxed(array.as_fixed_size_list().values()),
                )
            }
            DataType::Struct(fields) => Kind::Object(members(fields, array.as_struct().columns())),
            DataType::Map(..) => {
                let map = array.as_map();
                Kind::Map(
                    offsets(map.offsets()),
                    Column::new(map.keys()),
                    boxed(map.values()),
                )
            }
            _ => Kind::Value(Column::new(array)),
        };
        Self {
            nulls: array.logical_nulls(),
            kind,
        }
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Refused> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match &self.kind {
            Kind::Null => out.extend_from_slice(b"null"),
            Kind::Value(column) => value(column, row, out)?,
            Kind::Array(span, items) => {
                let write = |item, out: &mut Vec<u8>| items.write(item, out);
                enclosed(b'[', span(row), b']', out, write)?;
            }
            Kind::Object(members) => enclosed(b'{', 0..members.len(), b'}', out, |index, out| {
                out.extend_from_slice(&members[index].0);
                members[index].1.write(row, out)
            })?,
            Kind::Map(span, keys, values) => enclosed(b'{', span(row), b'}', out, |entry, out| {
                value(keys, entry, out)?;
                out.push(b':');
                values.write(entry, out)
            })?,
        }
        Ok(())
    }
}

fn enclosed(
    open: u8,
    items: Range<usize>,
    close: u8,
    out: &mut Vec<u8>,
    write: impl Fn(usize, &mut Vec<u8>) -> Result<(), Refused>,
) -> Result<(), Refused> {
    out.push(open);
    let first = items.start;
    for item in items {
        if item > first {
            out.push(b',');
        }
        write(item, out)?;
    }
    out.push(close);
    Ok(())
}

/// A value that is not null: numbers and booleans bare, all else as a string.
fn value(column: &Column<'_>, row: usize, out: &mut Vec<u8>) -> Result<(), Refused> {
    let start = out.len();
    match column.form() {
        Form::Bare => {
            column.write(row, out)?;
            // `NaN`, `inf` and `-inf` end in a letter; so do `true` and `false`, in another.
            if matches!(out.last(), Some(b'N' | b'f')) {
                return Err(
                    "NaN or infinity, which JSON has no number for; cast it to text in the query",
                );
            }
        }
        Form::Plain => {
            out.push(b'"');
            column.write(row, out)?;
            out.push(b'"');
        }
        Form::Free => {
            column.write(row, out)?;
            if out[start..].iter().any(|byte| needs_escape(*byte)) {
                let text = out.split_off(start);
                string(&text, out);
            } else {
                out.insert(start, b'"');
                out.push(b'"');
            }
        }
    }
    Ok(())
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\')
}

/// Adds a JSON string.
fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
