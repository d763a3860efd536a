//! Native errors as ours: one function for each kind of native error.

use std::error::Error as StdError;

use arrowload_common_parquet as writer;
use arrowload_core::{Error, ErrorKind, Result};
use datafusion::error::DataFusionError;
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::TransactionError;

/// The kind of an object store's error, and whether it may pass if it is repeated: the network, and a store that is busy.
pub(crate) fn store_kind(error: &object_store::Error) -> (ErrorKind, bool) {
    use object_store::Error as E;
    match error {
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
        E::Generic { source, .. } => {
            match find::<std::io::Error>(source.as_ref()).map(std::io::Error::kind) {
                Some(
                    std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem,
                ) => (ErrorKind::PermissionDenied, false),
                Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) => {
                    (ErrorKind::ResourceExhausted, false)
                }
                _ => (ErrorKind::Connection, true),
            }
        }
        _ => (ErrorKind::Connection, true),
    }
}

/// The first error of a type in a chain of causes.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// An error of the object store.
pub(crate) fn from_store(error: object_store::Error) -> Error {
    let (kind, transient) = store_kind(&error);
    let mapped = Error::new(kind, format!("the storage refused: {error}")).with_source(error);
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
        E::Io { path, source } => {
            let kind = match source.kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    ErrorKind::PermissionDenied
                }
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    ErrorKind::ResourceExhausted
                }
                _ => ErrorKind::Io,
            };
            Error::new(
                kind,
                format!("`{}` could not be written: {source}", path.display()),
            )
            .with_source(source)
        }
        E::Store(error) => from_store(error),
        E::Publish { source, .. } => from_parquet(*source),
        other => Error::new(ErrorKind::Unexpected, message).with_source(other),
    }
}

/// An error of the Delta library.
pub(crate) fn from_delta(error: DeltaTableError) -> Error {
    use DeltaTableError as D;
    use TransactionError as T;
    if let Some((kind, transient)) = find::<object_store::Error>(&error).map(store_kind) {
        let mapped = Error::new(
            kind,
            format!("the storage of the Delta table refused: {error}"),
        )
        .with_source(error);
        return if transient {
            mapped.transient()
        } else {
            mapped
        };
    }
    let (kind, message) = match &error {
        D::Transaction {
            source: T::UnsupportedTableFeatures(features),
        } => {
            let names: Vec<String> = features.iter().map(ToString::to_string).collect();
            let message = format!(
                "the table needs {} of its writers, which this loader does not have; write it with the engine that made it",
                names.join(", ")
            );
            (ErrorKind::Unsupported, message)
        }
        D::Transaction {
            source: T::DeltaTableAppendOnly,
        } => (
            ErrorKind::Unsupported,
            "the table is append-only (`delta.appendOnly`); use mode append".into(),
        ),
        D::Transaction {
            source: T::TableFeaturesRequired(feature),
        } => (
            ErrorKind::Unsupported,
            format!(
                "the table's protocol lacks the feature {feature}; enable it on the table first"
            ),
        ),
        D::Transaction {
            source: T::MaxCommitAttempts(_) | T::CommitConflict(_) | T::VersionAlreadyExists(_),
        }
        | D::VersionAlreadyExists(_) => (
            ErrorKind::Conflict,
            format!("another writer changed the table meanwhile: {error}"),
        ),
        D::NotATable(_) => (
            ErrorKind::TargetNotFound,
            format!("there is no Delta table: {error}"),
        ),
        D::InvalidVersion(version) => (
            ErrorKind::NotFound,
            format!("the table has no version {version}"),
        ),
        D::SchemaMismatch { .. } => (ErrorKind::SchemaMismatch, error.to_string()),
        D::InvalidData { .. } | D::InvalidJsonLog { .. } | D::InvalidStatsJson { .. } => {
            (ErrorKind::InvalidData, error.to_string())
        }
        D::InvalidTableLocation(_) | D::MissingFeature { .. } => {
            (ErrorKind::InvalidOption, error.to_string())
        }
        D::Io { .. } => (ErrorKind::Io, error.to_string()),
        _ => (
            ErrorKind::Unexpected,
            format!("the Delta table could not be used: {error}"),
        ),
    };
    Error::new(kind, message).with_source(error)
}

/// An error of the query engine, by its type, never by its text.
pub(crate) fn from_datafusion(error: DataFusionError) -> Error {
    use DataFusionError as F;
    let root = error.find_root();
    if let F::External(inner) = root
        && let Some(ours) = inner.downcast_ref::<Error>()
    {
        return ours.clone();
    }
    if let Some((kind, transient)) = find::<object_store::Error>(&error).map(store_kind) {
        let mapped = Error::new(
            kind,
            format!("the storage of the Delta table refused: {error}"),
        )
        .with_source(error);
        return if transient {
            mapped.transient()
        } else {
            mapped
        };
    }
    let kind = match root {
        F::SQL(..) | F::Plan(_) | F::SchemaError(..) | F::Execution(_) | F::ArrowError(..) => {
            ErrorKind::Query
        }
        F::NotImplemented(_) => ErrorKind::Unsupported,
        F::ResourcesExhausted(_) => ErrorKind::ResourceExhausted,
        F::Configuration(_) => ErrorKind::InvalidOption,
        F::ParquetError(_) => ErrorKind::InvalidData,
        F::IoError(_) => ErrorKind::Io,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, root.to_string()).with_source(error)
}

/// A blocking task that ended without an answer.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let ended = |error: tokio::task::JoinError| {
        Error::new(ErrorKind::Unexpected, "a task ended without an answer").with_source(error)
    };
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_the_cause() {
        let lost = DeltaTableError::ObjectStore {
            source: object_store::Error::Generic {
                store: "S3",
                source: "reset".into(),
            },
        };
        let mapped = from_delta(lost);
        assert_eq!(
            (mapped.kind(), mapped.is_transient()),
            (ErrorKind::Connection, true)
        );
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let denied = object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(denied),
        };
        assert_eq!(from_store(denied).kind(), ErrorKind::PermissionDenied);
        let late = DeltaTableError::Transaction {
            source: TransactionError::MaxCommitAttempts(0),
        };
        assert_eq!(from_delta(late).kind(), ErrorKind::Conflict);
        assert_eq!(
            from_delta(DeltaTableError::NotATable("x".into())).kind(),
            ErrorKind::TargetNotFound
        );
        let only = DeltaTableError::Transaction {
            source: TransactionError::DeltaTableAppendOnly,
        };
        assert_eq!(from_delta(only).kind(), ErrorKind::Unsupported);
    }
}
