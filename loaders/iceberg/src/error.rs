//! The one mapping from the errors of the Iceberg library and of catalogs' databases to ours.

use arrowload_common_object_store::Fault;
use arrowload_core::{Error, ErrorKind};

/// An error of the Iceberg library.
pub(crate) fn from_iceberg(error: iceberg::Error) -> Error {
    use iceberg::ErrorKind as I;
    if let Some(fault) = Fault::beneath(&error) {
        let message = format!("the storage of the Iceberg table failed: {error}");
        return fault.error(message, error);
    }
    // Errors that come from `storage` have their kind already.
    if let Some(ours) = beneath(&error) {
        let message = format!(
            "the storage of the Iceberg table failed: {}",
            ours.message()
        );
        return Error::new(ours.kind(), message)
            .with_retry(ours.retry())
            .with_source(error);
    }
    let kind = match error.kind() {
        I::DataInvalid => ErrorKind::InvalidData,
        I::TableNotFound | I::NamespaceNotFound => ErrorKind::TargetNotFound,
        I::TableAlreadyExists | I::NamespaceAlreadyExists => ErrorKind::TargetExists,
        I::FeatureUnsupported => ErrorKind::Unsupported,
        I::CatalogCommitConflicts => ErrorKind::Conflict,
        _ => ErrorKind::Unexpected,
    };
    Error::new(
        kind,
        format!("the Iceberg table could not be used: {error}"),
    )
    .with_source(error)
}

fn beneath(error: &iceberg::Error) -> Option<&Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(found) = cause {
        if let Some(ours) = found.downcast_ref() {
            return Some(ours);
        }
        cause = found.source();
    }
    None
}

/// An error of the database of a SQL catalog.
pub(crate) fn from_sql(error: sqlx::Error) -> Error {
    use sqlx::Error as S;
    let message = format!("the database of the catalog failed: {error}");
    let (kind, transient) = match &error {
        S::Io(_) | S::Tls(_) | S::PoolTimedOut | S::PoolClosed => (ErrorKind::Connection, true),
        S::Configuration(_) => (ErrorKind::InvalidOption, false),
        S::Database(database) => of_code(database.code().as_deref().unwrap_or_default()),
        _ => (ErrorKind::Unexpected, false),
    };
    let error = Error::new(kind, message).with_source(error);
    if transient { error.transient() } else { error }
}

/// SQLite's result codes are numbers; those of PostgreSQL are SQLSTATEs of five characters.
fn of_code(code: &str) -> (ErrorKind, bool) {
    match code {
        // Busy and locked, in all their variants; serialization failures and deadlocks.
        "5" | "6" | "261" | "262" | "517" | "40001" | "40P01" => (ErrorKind::Conflict, true),
        // A unique key is there already.
        "1555" | "2067" | "23505" => (ErrorKind::Conflict, true),
        "8" | "1032" | "23" | "42501" => (ErrorKind::PermissionDenied, false),
        "13" => (ErrorKind::ResourceExhausted, false),
        "14" => (ErrorKind::NotFound, false),
        code if code.starts_with("28") && code.len() == 5 => (ErrorKind::Authentication, false),
        code if code.starts_with("08") || code.starts_with("57P") => (ErrorKind::Connection, true),
        _ => (ErrorKind::Unexpected, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_the_cause() {
        let lost = object_store::Error::Generic {
            store: "S3",
            source: "reset".into(),
        };
        let lost = iceberg::Error::new(iceberg::ErrorKind::Unexpected, "x").with_source(lost);
        let mapped = from_iceberg(lost);
        assert_eq!(
            (mapped.kind(), mapped.is_transient()),
            (ErrorKind::Connection, true)
        );
        let ours = Error::new(ErrorKind::InvalidOption, "no such key");
        let ours = iceberg::Error::new(iceberg::ErrorKind::Unexpected, "x").with_source(ours);
        assert_eq!(from_iceberg(ours).kind(), ErrorKind::InvalidOption);
        let broken = iceberg::Error::new(iceberg::ErrorKind::DataInvalid, "x");
        assert_eq!(from_iceberg(broken).kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn codes_of_databases_have_their_kinds() {
        for (code, kind, transient) in [
            ("5", ErrorKind::Conflict, true),
            ("1555", ErrorKind::Conflict, true),
            ("23505", ErrorKind::Conflict, true),
            ("08006", ErrorKind::Connection, true),
            ("28P01", ErrorKind::Authentication, false),
            ("42601", ErrorKind::Unexpected, false),
        ] {
            assert_eq!(of_code(code), (kind, transient), "{code}");
        }
    }
}
