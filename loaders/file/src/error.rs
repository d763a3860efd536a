//! Native errors as ours: one function for each kind of native error.

use std::io;
use std::path::Path;

use arrow_schema::ArrowError;
use arrowload_common_parquet as writer;
use arrowload_core::{Error, ErrorKind, Result};

/// An error of the local file system.
pub(crate) fn from_io(path: &Path, error: io::Error) -> Error {
    use io::ErrorKind as E;
    let (kind, what) = match error.kind() {
        E::NotFound => (ErrorKind::NotFound, "is not there"),
        E::PermissionDenied | E::ReadOnlyFilesystem => {
            (ErrorKind::PermissionDenied, "may not be used")
        }
        E::StorageFull | E::QuotaExceeded => {
            (ErrorKind::ResourceExhausted, "does not fit on the disk")
        }
        E::AlreadyExists | E::DirectoryNotEmpty => (ErrorKind::TargetExists, "exists already"),
        _ => (ErrorKind::Io, "could not be used"),
    };
    Error::new(kind, format!("`{}` {what}: {error}", path.display()))
        .with("path", path.display())
        .with_source(error)
}

/// An error of the object store. What may pass if it is repeated is transient: the network, and a store that is busy.
pub(crate) fn from_store(error: object_store::Error) -> Error {
    use object_store::Error as E;
    let (kind, transient) = match &error {
        E::NotFound { .. } => (ErrorKind::NotFound, false),
        E::AlreadyExists { .. } => (ErrorKind::TargetExists, false),
        E::Precondition { .. } | E::NotModified { .. } => (ErrorKind::Conflict, false),
        E::PermissionDenied { .. } => (ErrorKind::PermissionDenied, false),
        E::Unauthenticated { .. } => (ErrorKind::Authentication, false),
        E::NotSupported { .. } | E::NotImplemented { .. } => (ErrorKind::Unsupported, false),
        E::InvalidPath { .. } | E::UnknownConfigurationKey { .. } => {
            (ErrorKind::InvalidOption, false)
        }
        E::JoinError { .. } => (ErrorKind::Unexpected, false),
        _ => (ErrorKind::Connection, true),
    };
    let mapped = Error::new(kind, format!("the object store refused: {error}")).with_source(error);
    if transient {
        mapped.transient()
    } else {
        mapped
    }
}

/// An error of the Parquet writer.
pub(crate) fn from_parquet(error: writer::Error) -> Error {
    use writer::Error as E;
    let message = error.to_string();
    match error {
        E::UnsupportedType { column, .. } => {
            Error::new(ErrorKind::UnsupportedType, message).with("column", column)
        }
        E::InvalidOptions(_) => Error::new(ErrorKind::InvalidOption, message),
        E::SchemaMismatch(_) => Error::new(ErrorKind::SchemaMismatch, message),
        E::PartitionValue { column, .. } => {
            Error::new(ErrorKind::InvalidData, message).with("column", column)
        }
        E::Value { column, source } => Error::new(ErrorKind::InvalidData, message)
            .with("column", column)
            .with_source(source),
        E::Io { path, source } => from_io(&path, source),
        E::Store(error) => from_store(error),
        E::Publish { source, .. } => from_parquet(*source),
        other => Error::new(ErrorKind::Unexpected, message).with_source(other),
    }
}

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

/// An error after which the load may be there, or is: only the target itself can tell.
pub(crate) fn commit_unknown(message: &str, error: Error) -> Error {
    Error::new(ErrorKind::CommitUnknown, message).with_source(error)
}

/// A blocking task that ended without an answer.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let ended = |error: tokio::task::JoinError| {
        Error::new(ErrorKind::Unexpected, "a disk task ended without an answer").with_source(error)
    };
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_have_kinds() {
        let cases = [
            (io::ErrorKind::NotFound, ErrorKind::NotFound),
            (io::ErrorKind::PermissionDenied, ErrorKind::PermissionDenied),
            (
                io::ErrorKind::ReadOnlyFilesystem,
                ErrorKind::PermissionDenied,
            ),
            (io::ErrorKind::StorageFull, ErrorKind::ResourceExhausted),
            (io::ErrorKind::DirectoryNotEmpty, ErrorKind::TargetExists),
            (io::ErrorKind::Other, ErrorKind::Io),
        ];
        for (native, kind) in cases {
            let error = from_io(Path::new("x"), native.into());
            assert_eq!(
                (error.kind(), error.is_transient()),
                (kind, false),
                "{native}"
            );
        }
    }

    #[test]
    fn only_the_network_is_worth_another_try() {
        let lost = object_store::Error::Generic {
            store: "S3",
            source: "reset".into(),
        };
        assert!(from_store(lost).is_transient());
        let missing = object_store::Error::NotFound {
            path: "x".into(),
            source: "404".into(),
        };
        assert_eq!((from_store(missing).kind()), ErrorKind::NotFound);
        let denied = writer::Error::Io {
            path: "x".into(),
            source: io::ErrorKind::PermissionDenied.into(),
        };
        assert_eq!(from_parquet(denied).kind(), ErrorKind::PermissionDenied);
    }
}
