//! Errors of files as ours, beside those that all stores and disks share.

use std::path::Path;

use arrow_schema::ArrowError;
use arrowload_common_object_store::from_io;
use arrowload_core::{Error, ErrorKind};

/// An error of Arrow's IPC writer or reader at a file.
pub(crate) fn from_arrow(path: &Path, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, error) => from_io(path, error),
        error => Error::new(
            ErrorKind::Unexpected,
            format!("`{}`: {error}", path.display()),
        )
        .with_source(error),
    }
}

/// An error after which the load may be committed or not: only the target itself can tell.
pub(crate) fn commit_unknown(message: &str, error: Error) -> Error {
    Error::new(ErrorKind::CommitUnknown, message).with_source(error)
}
