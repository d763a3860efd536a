//! CSV as PostgreSQL reads it: null is nothing, the empty text is `""`.

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use arrowload_core::{Error, ErrorKind, Result};

use crate::{Column, Format, is_nested, refused};

/// The characters that make a file: one byte each, so that values are scanned byte by byte.
#[derive(Debug, Clone)]
pub struct CsvStyle {
    delimiter: u8,
    quote: u8,
    null_text: Vec<u8>,
    /// For each byte, whether a value that holds it goes in quotes.
    special: [bool; 256],
}

impl CsvStyle {
    /// By default a comma, `"` and nothing.
    ///
    /// # Errors
    /// When a character would be in values too, or they contradict each other; the error names the option.
    pub fn new(
        delimiter: Option<char>,
        quote: Option<char>,
        null_text: Option<&str>,
    ) -> Result<Self> {
        let byte = |key: &str, given: Option<char>, default: u8| {
            let Some(character) = given else {
                return Ok(default);
            };
            // Letters, digits and the signs of numbers and times are in values that are never in quotes.
            let usable = character.is_ascii()
                && !character.is_ascii_alphanumeric()
                && !"\r\n\0+-.:".contains(character);
            let message = format!(
                "`{key}` must be one ASCII character that is no letter, digit, line end, nor one of + - . :"
            );
            if usable {
                Ok(character as u8)
            } else {
                Err(invalid(key, message))
            }
        };
        let (delimiter, quote) = (
            byte("delimiter", delimiter, b',')?,
            byte("quote", quote, b'"')?,
        );
        if delimiter == quote {
            return Err(invalid("quote", "`delimiter` and `quote` must differ"));
        }
        let null_text = null_text.unwrap_or_default().as_bytes().to_vec();
        if null_text
            .iter()
            .any(|byte| [delimiter, quote, b'\r', b'\n'].contains(byte))
        {
            return Err(invalid(
                "null_text",
                "`null_text` must not hold the delimiter, the quote or a line end",
            ));
        }
        let mut special = [false; 256];
        for byte in [delimiter, quote, b'\r', b'\n'] {
            special[usize::from(byte)] = true;
        }
        Ok(Self {
            delimiter,
            quote,
            null_text,
            special,
        })
    }

    /// Whether a text would be read as something else without quotes: as null, as the end of PostgreSQL's data (`\.`),
    /// as a byte order mark, without its blanks, or without what looks like quotes.
    fn needs_quotes(&self, text: &[u8]) -> bool {
        let [first, .., last] = text else {
            return text.first().is_none_or(|only| {
                matches!(only, b'\\' | 0xEF | b' ' | b'\t' | b'"' | b'\'')
                    || self.special[usize::from(*only)]
            }) || text == self.null_text;
        };
        matches!(first, b'\\' | 0xEF | b' ' | b'\t' | b'"' | b'\'')
            || matches!(last, b' ' | b'\t')
            || (first == last && first.is_ascii_punctuation())
            || text == self.null_text
            || text.iter().any(|byte| self.special[usize::from(*byte)])
    }

    /// Adds text, in quotes if it needs them.
    fn put(&self, text: &[u8], out: &mut Vec<u8>) {
        match self.needs_quotes(text) {
            true => self.put_quoted(text, out),
            false => out.extend_from_slice(text),
        }
    }

    fn put_quoted(&self, text: &[u8], out: &mut Vec<u8>) {
        out.push(self.quote);
        for &byte in text {
            if byte == self.quote {
                out.push(byte);
            }
            out.push(byte);
        }
        out.push(self.quote);
    }

    /// Puts a number, time or binary that was added since `start` into quotes if it looks like null.
    fn settle(&self, start: usize, out: &mut Vec<u8>) {
        if out[start..] == self.null_text {
            let text = out.split_off(start);
            self.put_quoted(&text, out);
        }
    }
}

/// Writes the lines of a CSV file.
#[derive(Debug, Clone)]
pub struct Csv {
    style: CsvStyle,
    names: Vec<String>,
    empty_lines: bool,
}

impl Csv {
    /// For batches of this schema.
    pub fn new(schema: &Schema, style: CsvStyle) -> Self {
        let names = schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        Self {
            style,
            names,
            empty_lines: false,
        }
    }

    /// Writes a null in the only column as an empty line, which not every reader sees, rather than refusing it.
    pub fn with_empty_lines(mut self) -> Self {
        self.empty_lines = true;
        self
    }

    /// Refuses columns that CSV has no text for.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedType`], naming the column.
    pub fn check(schema: &Schema) -> Result<()> {
        let Some(field) = schema
            .fields()
            .iter()
            .find(|field| is_nested(field.data_type()))
        else {
            return Ok(());
        };
        let message = format!(
            "column `{}` is {}, and CSV has no lists, structs, maps or unions",
            field.name(),
            field.data_type()
        );
        Err(Error::new(ErrorKind::UnsupportedType, message).with("column", field.name()))
    }

    /// Adds the line with the names of the columns.
    pub fn header(&self, out: &mut Vec<u8>) {
        for (index, name) in self.names.iter().enumerate() {
            if index > 0 {
                out.push(self.style.delimiter);
            }
            self.style.put(name.as_bytes(), out);
        }
        out.push(b'\n');
    }

    /// Adds a line for each row; `first_row` is the number of the first in errors.
    ///
    /// # Errors
    /// When a value has no text, or a line would be empty; the error names column and row.
    pub fn lines(&self, batch: &RecordBatch, first_row: u64, out: &mut Vec<u8>) -> Result<()> {
        let columns: Vec<Column> = batch.columns().iter().map(Column::new).collect();
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
                if let (true, Some(text)) = (column.is_text(), column.bytes(row)) {
                    self.style.put(text, out);
                    continue;
                }
                let start = out.len();
                column
                    .text(row, &Format::CSV, out)
                    .map_err(|why| refused(&self.names[index], why, first_row + row as u64))?;
                self.style.settle(start, out);
            }
            out.push(b'\n');
        }
        Ok(())
    }

    /// A single null without a text would be an empty line, which most readers skip.
    fn check_visible(&self, row: u64) -> Result<()> {
        if self.empty_lines || self.names.len() > 1 || !self.style.null_text.is_empty() {
            return Ok(());
        }
        let message = format!(
            "the only column, `{}`, is null: the line would be empty, and readers pass over such lines; set null_text",
            self.names[0]
        );
        Err(Error::new(ErrorKind::InvalidData, message)
            .with("column", &self.names[0])
            .at_row(row))
    }
}

fn invalid(key: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, message).with("key", key)
}
