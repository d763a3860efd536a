//! The one mapping from the errors of the Delta library to ours.

use arrowload_common_object_store::Fault;
use arrowload_core::{Error, ErrorKind};
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::TransactionError;

/// An error of the Delta library.
pub(crate) fn from_delta(error: DeltaTableError) -> Error {
    use DeltaTableError as D;
    use TransactionError as T;
    if let Some(fault) = Fault::beneath(&error) {
        let message = format!("the storage of the Delta table failed: {error}");
        return fault.error(message, error);
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
        _ => (
            ErrorKind::Unexpected,
            format!("the Delta table could not be used: {error}"),
        ),
    };
    Error::new(kind, message).with_source(error)
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
