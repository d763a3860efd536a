//! Errors for files whose metadata contradicts their content.

use std::fmt::Display;

use arrowload_core::{Error, ErrorKind};
use datafusion::error::DataFusionError;

/// A file that contradicts itself.
pub(crate) fn malformed(why: impl Display) -> Error {
    Error::new(ErrorKind::InvalidData, format!("malformed Parquet: {why}"))
}

/// An error of ours on its way through the engine.
pub(crate) fn through(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Says where an error of the engine happened; an error of ours says so itself.
pub(crate) fn at(error: DataFusionError, file: &str, group: usize) -> DataFusionError {
    if let DataFusionError::External(inner) = &error
        && let Some(ours) = inner.downcast_ref::<Error>()
    {
        return through(ours.clone().with("row group", group).with("file", file));
    }
    error.context(format!("`{file}`, row group {group}"))
}
