//! Values that do not fit their type, and rows that do not fit their table.

use std::fmt;

use arrow_schema::DataType;
use arrowload_common_text_files::{ColumnType, Mark, shown};
use arrowload_core::{Error, ErrorKind};

use crate::syntax::Fault;

/// A value that does not fit the type of its column.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Misfit {
    /// The file.
    pub file: String,
    /// The line in which the value begins, from 1.
    pub line: u64,
    /// The name of the column.
    pub column: String,
    /// The number of the column in its file, from 0.
    pub index: usize,
    /// The value, cut after 100 characters.
    pub value: String,
    /// The type that it does not fit.
    pub data_type: DataType,
    /// Where that type comes from.
    pub mark: Mark,
    /// The next wider type, which holds this value.
    pub wider: ColumnType,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = match self.mark {
            Mark::Declared => "declared",
            Mark::Sampled => "found in a sample",
            Mark::Proved => "proved",
        };
        write!(
            f,
            "`{}` does not fit column `{}`, whose type {} was {origin}; it would fit {}",
            self.value.escape_debug(),
            self.column.escape_debug(),
            self.data_type,
            self.wider.data_type
        )
    }
}

/// The first value of each column that does not fit, in one part of a file; the first in the file comes first.
///
/// It is the source of an error, and [`misfits`] finds it there.
#[derive(Debug, Clone, PartialEq)]
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

/// The values that an error is about, if it is about values that do not fit their types.
pub fn misfits(error: &Error) -> Option<&[Misfit]> {
    let source = std::error::Error::source(error)?;
    source
        .downcast_ref::<Misfits>()
        .map(|misfits| misfits.0.as_slice())
}

/// The error for values that do not fit; there is at least one.
pub(crate) fn misfit_error(misfits: Vec<Misfit>) -> Error {
    let Some(first) = misfits.first() else {
        return Error::new(ErrorKind::Unexpected, "a misfit without a value");
    };
    let hint = match first.mark {
        Mark::Declared => "; declare a type that holds it, or set such rows aside with `on_error`",
        _ => "; declare its type, or prove the whole file first with `infer_rows = \"all\"`",
    };
    Error::new(ErrorKind::InvalidData, format!("{first}{hint}"))
        .with("file", &first.file)
        .with("line", first.line)
        .with("column", &first.column)
        .with("value", &first.value)
        .with_source(Misfits(misfits))
}

/// A row that does not fit its table.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RefusedRow {
    /// The file.
    pub file: String,
    /// Its first line, from 1.
    pub line: u64,
    /// How many lines it has.
    pub lines: u64,
    /// Its bytes, with its line end, in UTF-8 as far as they are text.
    pub raw: Vec<u8>,
    /// What is wrong with it.
    pub fault: Fault,
    /// The fields that the table has.
    pub expected: usize,
    /// The value that does not fit, where that is what is wrong.
    pub misfit: Option<Box<Misfit>>,
}

impl RefusedRow {
    /// The error, for who does not set such rows aside.
    pub fn error(&self) -> Error {
        let message = match self.fault {
            Fault::Short(_) => format!(
                "{}, and the table has {}; `ragged = \"pad\"` fills with nulls",
                self.fault, self.expected
            ),
            Fault::Long(_) => format!("{}, and the table has {}", self.fault, self.expected),
            Fault::AfterQuote | Fault::Unclosed => self.fault.to_string(),
            Fault::LikeComment => format!(
                "{}; `comment = \"\"` takes all lines for rows, and a `comment` that is declared leaves it out",
                self.fault
            ),
            Fault::NotText => format!("{}; declare its `encoding`", self.fault),
            Fault::Misfit => match &self.misfit {
                Some(misfit) => misfit.to_string(),
                None => self.fault.to_string(),
            },
        };
        Error::new(ErrorKind::InvalidData, message)
            .with("file", &self.file)
            .with("line", self.line)
            .with("row", shown(&self.raw).escape_debug())
    }
}
