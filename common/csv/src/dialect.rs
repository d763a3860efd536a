//! The dialect of a file: its delimiter, quote, escape and line end, and the lines that are not rows.

use std::fmt;

use arrowload_common_text_files::Compression;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a quote is written inside quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Escape {
    /// It is written twice.
    Doubled,
    /// This byte before the quote; it may also be before a delimiter, a line end or itself, in quotes or not. Before anything
    /// else the byte is itself.
    Byte(u8),
    /// It cannot be written.
    None,
}

/// What ends a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineEnd {
    /// `\n`. A `\r` that stands before it belongs to it; any other is part of a value.
    Lf,
    /// `\r\n`, read as [`Lf`](Self::Lf) is.
    Crlf,
    /// `\r`, read as [`Mixed`](Self::Mixed) is.
    Cr,
    /// `\n`, `\r\n` and `\r`.
    Mixed,
}

impl LineEnd {
    /// Whether a `\r` alone ends a line.
    pub(crate) fn lone_cr(self) -> bool {
        matches!(self, Self::Cr | Self::Mixed)
    }
}

/// What a value of no characters means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// Nothing is null, and `""` is the empty text. Where another text stands for null, nothing is the empty text too. In
    /// columns that are no text, nothing is null.
    #[default]
    Auto,
    /// Nothing and `""` are null.
    Null,
    /// Nothing and `""` are the empty text; in columns that are no text, they are null.
    Text,
}

/// What an empty line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlankLines {
    /// A row in files of one column, nothing in others.
    #[default]
    Auto,
    /// Nothing.
    Skip,
}

/// How a file is written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dialect {
    /// The delimiter between values: 1 to 8 bytes.
    pub delimiter: String,
    /// The quote around values that need it: an ASCII character.
    pub quote: Option<u8>,
    /// How a quote is written inside quotes.
    pub escape: Escape,
    /// What ends a line.
    pub line_end: LineEnd,
    /// The text that begins a comment line.
    pub comment: Option<String>,
    /// Whether that was found and not declared: then a line with the fields of a row is not skipped.
    pub comment_found: bool,
    /// Whether blanks around values are left out.
    pub trim: bool,
    /// Lines before the header, or before the rows where there is no header.
    pub preamble: u64,
    /// Rows that hold the names of the columns.
    pub header_rows: usize,
    /// Lines after the rows.
    pub footer: u64,
    /// What an empty line is.
    pub blank_lines: BlankLines,
    /// Texts that stand for null where they are not quoted.
    pub null_text: Vec<String>,
    /// What a value of no characters means.
    pub empty: Empty,
    /// The name of the encoding, as the WHATWG has it.
    pub encoding: &'static str,
    /// What the file is packed with.
    pub compression: Compression,
}

impl Default for Dialect {
    /// Comma, `"` that is doubled, LF, a header, UTF-8.
    fn default() -> Self {
        Self {
            delimiter: ",".into(),
            quote: Some(b'"'),
            escape: Escape::Doubled,
            line_end: LineEnd::Lf,
            comment: None,
            comment_found: false,
            trim: false,
            preamble: 0,
            header_rows: 1,
            footer: 0,
            blank_lines: BlankLines::Auto,
            null_text: Vec::new(),
            empty: Empty::Auto,
            encoding: "UTF-8",
            compression: Compression::None,
        }
    }
}

fn shown(byte: u8) -> String {
    match byte {
        b'\t' => "tab".into(),
        b' ' => "space".into(),
        _ => format!("`{}`", char::from(byte).escape_default()),
    }
}

/// One line, for a plan.
impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delimiter = match self.delimiter.as_bytes() {
            [byte] => shown(*byte),
            _ => format!("`{}`", self.delimiter.escape_debug()),
        };
        write!(f, "delimiter {delimiter}")?;
        match self.quote {
            Some(quote) => write!(f, ", quote {}", shown(quote))?,
            None => f.write_str(", no quote")?,
        }
        match self.escape {
            Escape::Doubled if self.quote.is_none() => {}
            Escape::Doubled => f.write_str(" (doubled)")?,
            Escape::Byte(byte) => write!(f, " (escape {})", shown(byte))?,
            Escape::None => {}
        }
        f.write_str(match self.line_end {
            LineEnd::Lf => ", LF",
            LineEnd::Crlf => ", CRLF",
            LineEnd::Cr => ", CR",
            LineEnd::Mixed => ", mixed line ends",
        })?;
        match self.header_rows {
            0 => f.write_str(", no header")?,
            1 => f.write_str(", header")?,
            rows => write!(f, ", {rows} header rows")?,
        }
        for (count, what) in [(self.preamble, "preamble"), (self.footer, "footer")] {
            match count {
                0 => {}
                1 => write!(f, ", a line of {what}")?,
                _ => write!(f, ", {count} lines of {what}")?,
            }
        }
        if let Some(comment) = &self.comment {
            write!(f, ", comments `{comment}`")?;
        }
        if self.trim {
            f.write_str(", surrounding blanks left out")?;
        }
        for text in &self.null_text {
            write!(f, ", null `{}`", text.escape_debug())?;
        }
        write!(f, ", {}", self.encoding)?;
        if self.compression != Compression::None {
            write!(f, ", {}", self.compression)?;
        }
        Ok(())
    }
}
