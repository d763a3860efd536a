#![doc = include_str!("../README.md")]

mod column;
mod columns;
mod csv;
mod format;
mod json;
mod printable;
mod text;

use arrowload_core::{Error, ErrorKind};

pub use column::{Column, Member, Ranges, Refused, Ticks, Values};
pub use columns::{is_nested, is_text, text_type};
pub use csv::{Csv, CsvStyle};
pub use format::{Binary, Durations, Format, MapKeys, NonFinite, Nul, Times};
pub use json::{Json, key, object, string};
pub use printable::{printable, printable_lines};

/// The error for a value that a format refuses.
pub fn refused(column: &str, why: Refused, row: u64) -> Error {
    Error::new(ErrorKind::InvalidData, format!("column `{column}` {why}"))
        .with("column", column)
        .at_row(row)
}
