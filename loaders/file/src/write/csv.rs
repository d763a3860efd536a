//! CSV as PostgreSQL reads it: null is nothing, the empty text is `""`.

use std::io::Write;
use std::path::PathBuf;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_core::{Error, ErrorKind, Result};

use super::output::Compressor;
use super::text::{Column, Form};
use super::{Encoder, refused};
use crate::error::{from_arrow, from_io};
use crate::options::{FileOptions, invalid};
use crate::types::as_text_columns;

/// The characters that make a file: one byte each, so that values are scanned byte by byte.
#[derive(Debug, Clone)]
struct Style {
    delimiter: u8,
    quote: u8,
    null_text: Vec<u8>,
    /// For each byte, whether a value that holds it goes in quotes.
    special: [bool; 256],
}

impl Style {
    fn new(options: &FileOptions) -> Result<Self> {
        let byte = |key: &str, given: Option<char>, default: u8| {
            let Some(character) = given else { return Ok(default) };
            // Letters, digits and the signs of numbers and times stand in values that are never in quotes.
            let usable = character.is_ascii() && !character.is_ascii_alphanumeric() && !"\r\n\0+-.:".contains(character);
            let message = format!("`{key}` must be one ASCII character that is no letter, digit, line end, nor one of + - . :");
            if usable { Ok(character as u8) } else { Err(invalid(key, message)) }
        };
        let (delimiter, quote) = (byte("delimiter", options.delimiter, b',')?, byte("quote", options.quote, b'"')?);
        if delimiter == quote {
            return Err(invalid("quote", "`delimiter` and `quote` must differ"));
        }
        let null_text = options.null_text.clone().unwrap_or_default().into_bytes();
        if null_text.iter().any(|byte| [delimiter, quote, b'\r', b'\n'].contains(byte)) {
            return Err(invalid("null_text", "`null_text` must not hold the delimiter, the quote or a line end"));
        }
        let mut special = [false; 256];
        for byte in [delimiter, quote, b'\r', b'\n'] {
            special[usize::from(byte)] = true;
        }
        Ok(Self { delimiter, quote, null_text, special })
    }

    /// Whether a text would be read as something else without quotes: as null, as the end of PostgreSQL's data (`\.`),
    /// or as a byte order mark.
    fn needs_quotes(&self, text: &[u8]) -> bool {
        text.is_empty()
            || matches!(text[0], b'\\' | 0xEF)
            || text == self.null_text
            || text.iter().any(|byte| self.special[usize::from(*byte)])
    }

    /// Puts what was added since `start` into quotes if it needs them.
    fn settle(&self, start: usize, form: Form, out: &mut Vec<u8>) {
        let quotes = match form {
            Form::Free => self.needs_quotes(&out[start..]),
            _ => out[start..] == self.null_text,
        };
        if quotes {
            let text = out.split_off(start);
            out.push(self.quote);
            for byte in text {
                if byte == self.quote {
                    out.push(byte);
                }
                out.push(byte);
            }
            out.push(self.quote);
        }
    }
}

pub(super) struct CsvEncoder {
    output: Compressor,
    shown: PathBuf,
    style: Style,
    names: Vec<String>,
    header: bool,
    buffer: Vec<u8>,
}

impl CsvEncoder {
    pub(super) fn new(output: Compressor, shown: PathBuf, schema: &SchemaRef, options: &FileOptions) -> Result<Self> {
        let names = schema.fields().iter().map(|field| field.name().clone()).collect();
        let header = options.header.unwrap_or(true);
        Ok(Self { output, shown, style: Style::new(options)?, names, header, buffer: Vec::new() })
    }

    /// Refuses options that contradict each other, before anything is written.
    pub(super) fn check(options: &FileOptions) -> Result<()> {
        Style::new(options).map(drop)
    }

    fn put_header(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.header) {
            return Ok(());
        }
        let mut line = Vec::new();
        for (index, name) in self.names.iter().enumerate() {
            if index > 0 {
                line.push(self.style.delimiter);
            }
            let start = line.len();
            line.extend_from_slice(name.as_bytes());
            self.style.settle(start, Form::Free, &mut line);
        }
        line.push(b'\n');
        self.output.write_all(&line).map_err(|error| from_io(&self.shown, error))
    }

    fn lines(&self, batch: &RecordBatch, first_row: u64, out: &mut Vec<u8>) -> Result<()> {
        let batch = as_text_columns(batch).map_err(|error| from_arrow(&self.shown, error))?;
        let columns: Vec<Column<'_>> = batch.columns().iter().map(Column::new).collect();
        for row in 0..batch.num_rows() {
            for (index, column) in columns.iter().enumerate() {
                if index > 0 {
                    out.push(self.style.delimiter);
                }
                if column.is_null(row) {
                    self.check_visible(first_row + row as u64)?;
                    out.extend_from_slice(&self.style.null_text);
                    continue;
                }
                let start = out.len();
                column.write(row, out).map_err(|why| refused(&self.names[index], why, first_row + row as u64))?;
                // Also binary of no bytes must not look like null.
                if column.form == Form::Free || !self.style.null_text.is_empty() || out.len() == start {
                    self.style.settle(start, column.form, out);
                }
            }
            out.push(b'\n');
        }
        Ok(())
    }

    /// A single null without a text would be an empty line, which most readers pass over.
    fn check_visible(&self, row: u64) -> Result<()> {
        if self.names.len() > 1 || !self.style.null_text.is_empty() {
            return Ok(());
        }
        let message = format!(
            "the only column, `{}`, is null: the line would be empty, and readers pass over such lines; set null_text",
            self.names[0]
        );
        Err(Error::new(ErrorKind::InvalidData, message).with("column", &self.names[0]).at_row(row))
    }
}

impl Encoder for CsvEncoder {
    fn write(&mut self, batch: &RecordBatch, first_row: u64) -> Result<()> {
        self.put_header()?;
        let mut lines = std::mem::take(&mut self.buffer);
        lines.clear();
        self.lines(batch, first_row, &mut lines)?;
        self.output.write_all(&lines).map_err(|error| from_io(&self.shown, error))?;
        self.buffer = lines;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.put_header()?;
        self.output.finish().map_err(|error| from_io(&self.shown, error))
    }
}
