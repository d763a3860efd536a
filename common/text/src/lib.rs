#![doc = include_str!("../README.md")]

mod cell;
mod columns;
mod csv;

use arrowload_core::{Error, ErrorKind};

pub use cell::{Column, Form, Refused};
pub use columns::{is_nested, text_columns, text_type};
pub use csv::{Csv, CsvStyle};

/// A value that a format refuses.
pub fn refused(column: &str, why: &str, row: u64) -> Error {
    let message = format!("column `{column}` holds {why}");
    Error::new(ErrorKind::InvalidData, message)
        .with("column", column)
        .at_row(row)
}
