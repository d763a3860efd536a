//! What can go wrong while Parquet files are written.

use std::fmt::Display;

use arrow_schema::{ArrowError, DataType};
use arrowload_core::{Error, ErrorKind};
use parquet::errors::ParquetError;

/// A column's type cannot be stored in Parquet; known before the first write.
pub(crate) fn unsupported_type(column: &str, data_type: &DataType, reason: &str) -> Error {
    let message =
        format!("column `{column}` of type {data_type} cannot be stored in Parquet: {reason}");
    Error::new(ErrorKind::UnsupportedType, message).with("column", column)
}

/// The options contradict each other or the schema; known before the first write.
pub(crate) fn invalid_option(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}

/// A batch does not have the columns that were announced.
pub(crate) fn mismatch(message: impl Display) -> Error {
    let message = format!("the batch does not fit the schema: {message}");
    Error::new(ErrorKind::SchemaMismatch, message)
}

/// A value of a partition column has no faithful form in a path.
pub(crate) fn partition_value(column: &str, reason: &str) -> Error {
    let message =
        format!("a value of partition column `{column}` cannot be part of a path: {reason}");
    Error::new(ErrorKind::InvalidData, message).with("column", column)
}

/// A value does not fit the type it is stored as, such as a timestamp in seconds beyond the range of milliseconds.
pub(crate) fn value(column: &str, source: ArrowError) -> Error {
    let message = format!("a value of column `{column}` cannot be stored: {source}");
    Error::new(ErrorKind::InvalidData, message)
        .with("column", column)
        .with_source(source)
}

/// The encoder failed. It writes to memory only.
pub(crate) fn encoder(source: ParquetError) -> Error {
    let message = format!("the Parquet encoder failed: {source}");
    Error::new(ErrorKind::Unexpected, message).with_source(source)
}

/// Work ended without an answer: a defect, a call that was cancelled, or a runtime that is shutting down.
pub(crate) fn stopped(message: impl Display) -> Error {
    Error::new(
        ErrorKind::Unexpected,
        format!("the Parquet writer stopped: {message}"),
    )
}
