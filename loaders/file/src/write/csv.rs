//! CSV as PostgreSQL reads it: null is nothing, the empty text is `""`.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, DurationFormat, FormatOptions};
use arrow_schema::SchemaRef;
use arrowload_core::{Error, ErrorKind, Result};

use super::{Compressor, Encoder};
use crate::error::{from_arrow, from_io};
use crate::options::{FileOptions, invalid};
use crate::types::as_text_columns;

pub(super) struct CsvEncoder {
    output: Compressor,
    shown: PathBuf,
    delimiter: char,
    quote: char,
    null_text: String,
    names: Vec<String>,
    header: bool,
}

impl CsvEncoder {
    pub(super) fn new(output: Compressor, shown: PathBuf, schema: &SchemaRef, options: &FileOptions) -> Result<Self> {
        let (delimiter, quote) = (options.delimiter.unwrap_or(','), options.quote.unwrap_or('"'));
        if delimiter == quote || [delimiter, quote].iter().any(|character| matches!(character, '\r' | '\n' | '\0')) {
            return Err(invalid("delimiter", "`delimiter` and `quote` must differ, and be no line ends"));
        }
        let null_text = options.null_text.clone().unwrap_or_default();
        if null_text.contains([delimiter, quote, '\r', '\n']) {
            return Err(invalid("null_text", "`null_text` must not hold the delimiter, the quote or a line end"));
        }
        let names = schema.fields().iter().map(|field| field.name().clone()).collect();
        Ok(Self { output, shown, delimiter, quote, null_text, names, header: options.header.unwrap_or(true) })
    }

    fn put_header(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.header) {
            return Ok(());
        }
        let mut line = String::new();
        for (index, name) in self.names.iter().enumerate() {
            if index > 0 {
                line.push(self.delimiter);
            }
            self.put(&mut line, name);
        }
        line.push('\n');
        self.output.write_all(line.as_bytes()).map_err(|error| from_io(&self.shown, error))
    }

    /// Adds a value that is not null, in quotes if it would be read as something else without.
    fn put(&self, out: &mut String, value: &str) {
        let special = |character: char| character == self.delimiter || character == self.quote || character == '\n' || character == '\r';
        if !value.is_empty() && value != self.null_text && !value.contains(special) {
            out.push_str(value);
            return;
        }
        out.push(self.quote);
        for character in value.chars() {
            if character == self.quote {
                out.push(self.quote);
            }
            out.push(character);
        }
        out.push(self.quote);
    }

    fn lines(&self, batch: &RecordBatch, first_row: u64) -> Result<String> {
        let at = |error| from_arrow(&self.shown, error);
        let batch = as_text_columns(batch).map_err(at)?;
        let format = FormatOptions::new().with_display_error(false).with_duration_format(DurationFormat::ISO8601);
        let columns = batch.columns().iter().map(|array| ArrayFormatter::try_new(array.as_ref(), &format)).collect::<Result<Vec<_>, _>>();
        let columns: Vec<_> = columns.map_err(at)?.into_iter().zip(batch.columns()).collect();
        let (mut out, mut value) = (String::new(), String::new());
        for row in 0..batch.num_rows() {
            for (index, (formatter, array)) in columns.iter().enumerate() {
                if index > 0 {
                    out.push(self.delimiter);
                }
                if array.is_null(row) || array.data_type().is_null() {
                    self.check_visible(first_row + row as u64)?;
                    out.push_str(&self.null_text);
                    continue;
                }
                value.clear();
                let at_row = |_| {
                    let message = format!("column `{}` holds a value that has no text, such as a time out of range", self.names[index]);
                    Error::new(ErrorKind::InvalidData, message).with("column", &self.names[index]).at_row(first_row + row as u64)
                };
                write!(value, "{}", formatter.value(row)).map_err(at_row)?;
                self.put(&mut out, &value);
            }
            out.push('\n');
        }
        Ok(out)
    }

    /// A single null without a text would be an empty line, which most readers pass over.
    fn check_visible(&self, row: u64) -> Result<()> {
        if self.names.len() > 1 || !self.null_text.is_empty() {
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
        let lines = self.lines(batch, first_row)?;
        self.output.write_all(lines.as_bytes()).map_err(|error| from_io(&self.shown, error))
    }

    fn finish(&mut self) -> Result<()> {
        self.put_header()?;
        self.output.finish().map_err(|error| from_io(&self.shown, error))
    }
}
