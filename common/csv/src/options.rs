//! The options for reading a file. An option that is not given is detected.

use std::collections::BTreeMap;

use arrow_schema::DataType;
use arrowload_common_text_files::{Compression, InferRows, Numbers, Opening, Types, invalid};
use arrowload_core::Result;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::dialect::{BlankLines, Empty, Escape, LineEnd};

/// What happens to a row that does not have the fields of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ragged {
    /// It is refused.
    #[default]
    Error,
    /// Fields that are missing are null. A row that is too long is refused.
    Pad,
}

/// One text or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Texts {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Texts {
    /// The texts.
    pub fn list(&self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text.clone()],
            Self::Several(texts) => texts.clone(),
        }
    }
}

/// How to read a CSV file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// What stands between values, 1 to 8 bytes: `,`, `;`, `||`, a tab, which may be written `\t`.
    pub delim: Option<String>,
    /// What stands around values that need it: one ASCII character, or nothing for none.
    pub quote: Option<String>,
    /// What stands before a quote inside quotes: the quote itself, `\`, or nothing if a quote cannot stand there.
    pub escape: Option<String>,
    /// What ends a line: `lf`, `crlf`, `cr` or `mixed`.
    pub new_line: Option<LineEnd>,
    /// Whether there is a row with the names of the columns.
    pub header: Option<bool>,
    /// The rows that hold the names; the parts of a name are joined by a space.
    pub header_rows: Option<usize>,
    /// Lines before the header.
    pub skip: Option<u64>,
    /// Lines after the rows.
    pub skip_footer: Option<u64>,
    /// What begins a line that is no row; nothing for no comments.
    pub comment: Option<String>,
    /// Whether spaces and tabs around values are left out.
    pub trim: Option<bool>,
    /// What an empty line is: `auto` (a row in files of one column, nothing in others) or `skip`.
    pub blank_lines: BlankLines,
    /// The encoding, by its name in the WHATWG's list: `utf-8`, `utf-16le`, `windows-1252`, `iso-8859-2`, …; `latin1` means
    /// `windows-1252`, which has all of its characters.
    pub encoding: Option<String>,
    /// `none`, `gzip`, `zstd`, `bzip2`, `xz`, `lz4`, `snappy` or `zip`.
    pub compression: Option<Compression>,
    /// The names of the columns, in place of those in the file.
    pub names: Vec<String>,
    /// Types by the names of columns, `{ zip = "text", amount = "decimal(20,2)" }`, or one for all, `"text"`.
    pub types: Types,
    /// As `types`, for values that must be written as those of a type that is found: no leading zeros, no `+`, no float that
    /// is rounded. What is written otherwise is refused. `types` goes before them.
    pub strict_types: BTreeMap<String, String>,
    /// Text that stands for null where it is not quoted, or a list of such texts.
    pub null_text: Option<Texts>,
    /// What a value of no characters means: `auto`, `null` or `text`.
    pub empty: Empty,
    /// What numbers with a point become: `auto`, `decimal` or `float`.
    pub numbers: Numbers,
    /// How dates are written, in the language of `strftime`: `%d/%m/%Y`.
    pub date_format: Option<String>,
    /// How timestamps are written, in the language of `strftime`: `%d/%m/%Y %H:%M:%S%.f`.
    pub timestamp_format: Option<String>,
    /// What stands before the fraction of a number; a point by default.
    pub decimal_separator: Option<char>,
    /// What stands between groups of three digits; nothing by default.
    pub thousands_separator: Option<char>,
    /// Words for true.
    pub true_values: Vec<String>,
    /// Words for false.
    pub false_values: Vec<String>,
    /// What happens to rows that are too short: `error` or `pad`.
    pub ragged: Ragged,
    /// How many rows types are found from: a number, or `all`.
    pub infer_rows: InferRows,
    /// The bytes that a row may have, 512 MiB by default: a quote that is open for longer is taken for one that is never
    /// closed.
    pub max_row_bytes: Option<usize>,
    /// Types by the names of columns, as a program offers them: values are not rounded to be floats. `types` and
    /// `strict_types` go before them.
    #[serde(skip)]
    pub declared: BTreeMap<String, DataType>,
}

fn ascii(key: &'static str, text: &str) -> Result<Option<u8>> {
    match text.as_bytes() {
        [] => Ok(None),
        [byte] if byte.is_ascii() && !matches!(byte, b'\r' | b'\n') => Ok(Some(*byte)),
        _ => Err(invalid(
            key,
            format!("`{key}` must be one ASCII character that ends no line, or nothing"),
        )),
    }
}

impl Options {
    /// The declared delimiter. A backslash and a `t` are how a tab is written where none can be typed.
    pub(crate) fn delimiter(&self) -> Option<&str> {
        match self.delim.as_deref() {
            Some("\\t") => Some("\t"),
            other => other,
        }
    }

    /// The declared quote: none, or perhaps no quote.
    pub(crate) fn quote(&self) -> Result<Option<Option<u8>>> {
        self.quote
            .as_deref()
            .map(|text| ascii("quote", text))
            .transpose()
    }

    /// The declared escape, where this is the quote.
    pub(crate) fn escape(&self, quote: Option<u8>) -> Result<Option<Escape>> {
        let Some(text) = self.escape.as_deref() else {
            return Ok(None);
        };
        Ok(Some(match ascii("escape", text)? {
            None => Escape::None,
            Some(byte) if Some(byte) == quote => Escape::Doubled,
            Some(byte) => Escape::Byte(byte),
        }))
    }

    /// The declared header rows.
    pub(crate) fn header_rows(&self) -> Result<Option<usize>> {
        match (self.header, self.header_rows) {
            (Some(false), Some(rows)) if rows > 0 => Err(invalid(
                "header_rows",
                "`header` says that there is no header, and `header_rows` that there is",
            )),
            (Some(true), Some(0)) => Err(invalid(
                "header_rows",
                "`header` says that there is a header, and `header_rows` that there is none",
            )),
            (_, Some(rows)) => Ok(Some(rows)),
            (Some(header), None) => Ok(Some(usize::from(header))),
            (None, None) => Ok(None),
        }
    }

    /// Refuses what contradicts itself.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`](arrowload_core::ErrorKind::InvalidOption), naming the option.
    pub fn check(&self) -> Result<()> {
        let delimiter = self.delimiter();
        if let Some(text) = delimiter
            && (text.is_empty() || text.len() > 8 || text.contains(['\r', '\n']))
        {
            return Err(invalid(
                "delim",
                "`delim` must be 1 to 8 bytes without line ends",
            ));
        }
        let quote = self.quote()?;
        let escape = self.escape(quote.flatten())?;
        let first = delimiter.and_then(|text| text.bytes().next());
        if first.is_some() && quote.flatten() == first {
            return Err(invalid("quote", "`delim` and `quote` must differ"));
        }
        if let (Some(Escape::Byte(byte)), Some(first)) = (escape, first)
            && byte == first
        {
            return Err(invalid("escape", "`delim` and `escape` must differ"));
        }
        self.header_rows()?;
        if self.max_row_bytes.is_some_and(crate::tokens::too_long) {
            return Err(invalid(
                "max_row_bytes",
                "`max_row_bytes` must be less than 1 GiB",
            ));
        }
        Opening::from(self).check()
    }
}

impl From<&Options> for Opening {
    fn from(options: &Options) -> Self {
        Self {
            encoding: options.encoding.clone(),
            compression: options.compression,
            unicode: false,
        }
    }
}
