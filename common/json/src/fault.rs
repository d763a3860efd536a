//! Faults: text that is not JSON, rows that are refused for it, and values that do not fit their type.

use std::fmt;
use std::sync::Arc;

use arrow_schema::DataType;
use arrowload_common_text_files::{Mark, shown};
use arrowload_core::{Error, ErrorKind};

use crate::profile::Profile;

/// Why some text is not JSON, or no row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It has bytes that are not UTF-8.
    NotText,
    /// It ends within a value.
    Ends,
    /// A value is missing.
    Missing,
    /// Something else was expected than this character.
    Expected(&'static str, char),
    /// A number begins with a zero that is not all of it.
    LeadingZero,
    /// `NaN` or an infinity, which JSON does not have.
    NotFinite,
    /// A control character in a string, which JSON wants escaped.
    Control(u8),
    /// A backslash that begins no escape.
    Escape,
    /// Half of a surrogate pair, which is not a character.
    Surrogate,
    /// Objects and arrays are nested deeper than this.
    Depth(u32),
    /// An object has this key twice.
    DuplicateKey(String),
    /// An object on the way to the rows has this key twice.
    DuplicateStep(String),
    /// The row is not an object, though others are.
    NoObject,
    /// Something follows the value.
    Trailing,
    /// A value does not fit the declared type of its column: what is to be said of it.
    Misfit(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => f.write_str("bytes that are no UTF-8; declare the `encoding`"),
            Self::Ends => f.write_str("the text ends within a value"),
            Self::Missing => f.write_str("a value is missing"),
            Self::Expected(what, found) => {
                write!(f, "{what} was expected, not `{}`", found.escape_debug())
            }
            Self::LeadingZero => f.write_str("a number begins with a zero"),
            Self::NotFinite => f.write_str("NaN and infinities are no JSON"),
            Self::Control(byte) => {
                write!(f, "a control character that is not escaped: {byte:#04x}")
            }
            Self::Escape => f.write_str("a backslash that begins no escape"),
            Self::Surrogate => f.write_str("half of a surrogate pair, which is no character"),
            Self::Depth(limit) => write!(
                f,
                "values are nested deeper than {limit}; `max_depth` says otherwise"
            ),
            Self::DuplicateKey(key) => write!(
                f,
                "the key `{}` stands twice in an object; `duplicate_keys = \"last\"` takes the last one",
                key.escape_debug()
            ),
            Self::DuplicateStep(key) => write!(
                f,
                "the key `{}` stands twice in an object on the way to the rows (`records`); `duplicate_keys` is about rows",
                key.escape_debug()
            ),
            Self::NoObject => f.write_str("the row is not an object, and others are"),
            Self::Trailing => f.write_str("something follows the value"),
            Self::Misfit(text) => f.write_str(text),
        }
    }
}

/// A place in a file: line and byte of the line, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

impl Place {
    /// The place of a byte, where the text before begins at this place.
    pub(crate) fn after(self, text: &[u8]) -> Self {
        match memchr::memrchr(b'\n', text) {
            None => Self {
                column: self.column + text.len() as u64,
                ..self
            },
            Some(last) => Self {
                line: self.line + memchr::memchr_iter(b'\n', text).count() as u64,
                column: (text.len() - last) as u64,
            },
        }
    }
}

/// The error of text that is not JSON.
pub(crate) fn fault_error(fault: &Fault, place: Place) -> Error {
    let message = match fault {
        Fault::Misfit(text) => text.clone(),
        fault => format!("no JSON: {fault}"),
    };
    Error::new(ErrorKind::InvalidData, message)
        .with("line", place.line)
        .with("column", place.column)
}

/// A line of NDJSON that is not a row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedRow {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The byte of the line, from 1, at which it is wrong.
    pub column: u64,
    /// Its bytes, with its line end, in UTF-8 as far as they are text.
    pub raw: Vec<u8>,
    /// What is wrong with it.
    pub fault: Fault,
}

impl RefusedRow {
    /// The error, for who does not set such rows aside.
    pub fn error(&self) -> Error {
        let place = Place {
            line: self.line,
            column: self.column,
        };
        fault_error(&self.fault, place)
            .with("file", &self.file)
            .with("row", shown(self.raw.trim_ascii_end()).escape_debug())
    }
}

/// A value that does not fit the type of its column, or a key that no column has.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Misfit {
    /// The file.
    pub file: String,
    /// The line in which the value begins, from 1.
    pub line: u64,
    /// The keys that lead to it, `a.b`; `[]` stands for the values of an array.
    pub column: String,
    /// The value as it is written, cut after 100 characters.
    pub value: String,
    /// The type that it does not fit; none if the key is not known.
    pub data_type: Option<DataType>,
    /// Where that type comes from.
    pub mark: Mark,
    /// What the values around it are.
    pub(crate) found: Arc<Profile>,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&misfit_text(
            &self.value,
            &self.column,
            self.data_type.as_ref(),
            self.mark,
        ))
    }
}

/// What is to be said of a value that does not fit the type of its column, or of a key that no column has.
pub(crate) fn misfit_text(
    value: &str,
    column: &str,
    data_type: Option<&DataType>,
    mark: Mark,
) -> String {
    let origin = match mark {
        Mark::Declared => "declared",
        Mark::Sampled => "found in a sample",
        Mark::Proved => "proved",
    };
    let (value, column) = (value.escape_debug(), column.escape_debug());
    match data_type {
        Some(data_type) => {
            format!("`{value}` does not fit column `{column}`, whose type {data_type} was {origin}")
        }
        None => format!("the key `{column}` is not among those that were {origin}"),
    }
}

/// The source of the error for values that do not fit; [`misfits`] finds it there.
#[derive(Debug, Clone)]
pub struct Misfits(pub(crate) Vec<Misfit>);

impl fmt::Display for Misfits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, misfit) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{misfit}, in line {}", misfit.line)?;
        }
        Ok(())
    }
}

impl std::error::Error for Misfits {}

/// The values that an error is about, if it is about values that do not fit their types; [`Layout::widen`](crate::Layout::widen)
/// takes them.
pub fn misfits(error: &Error) -> Option<&[Misfit]> {
    let source = std::error::Error::source(error)?;
    source
        .downcast_ref::<Misfits>()
        .map(|misfits| misfits.0.as_slice())
}

/// The error for a value that does not fit.
pub(crate) fn misfit_error(misfit: Misfit) -> Error {
    let hint = match misfit.mark {
        Mark::Declared => {
            "; declare a type that holds it, or set such lines of NDJSON aside with `on_error`"
        }
        _ => "; declare its type, or prove the whole file first with `infer_rows = \"all\"`",
    };
    Error::new(ErrorKind::InvalidData, format!("{misfit}{hint}"))
        .with("file", &misfit.file)
        .with("line", misfit.line)
        .with("column", &misfit.column)
        .with("value", &misfit.value)
        .with_source(Misfits(vec![misfit]))
}
