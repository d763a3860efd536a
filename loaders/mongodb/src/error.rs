//! The driver's errors, as ours.

use arrowload_core::{Error, ErrorKind};
use mongodb::error::{ErrorKind as Native, WriteFailure};

/// Labels of transient errors.
const PASSING: [&str; 2] = ["TransientTransactionError", "RetryableWriteError"];

/// What a code of the server means, and whether the same call may succeed later.
pub(crate) fn kind_of_code(code: i32) -> (ErrorKind, bool) {
    match code {
        13 | 8000 => (ErrorKind::PermissionDenied, false),
        11 | 18 => (ErrorKind::Authentication, false),
        26 => (ErrorKind::NotFound, false),
        48 => (ErrorKind::TargetExists, false),
        50 | 262 => (ErrorKind::Timeout, false),
        64 | 100 => (ErrorKind::Timeout, true),
        // The primary has gone, or the server is going down: another will answer.
        6 | 7 | 89 | 91 | 189 | 9001 | 10107 | 11600 | 11602 | 13435 | 13436 => {
            (ErrorKind::Connection, true)
        }
        // Cursors are lost with their server, or if they were not used for a long time.
        43 | 237 => (ErrorKind::Connection, true),
        112 | 117 | 225 | 244 | 251 => (ErrorKind::Conflict, true),
        146 | 292 | 14031 => (ErrorKind::ResourceExhausted, false),
        66 | 121 | 10334 | 11000 | 17280 | 17419 | 17420 => (ErrorKind::InvalidData, false),
        20 | 115 | 303 | 238 => (ErrorKind::Unsupported, false),
        _ => (ErrorKind::Query, false),
    }
}

/// An error of the server, by its code.
pub(crate) fn of_code(code: i32, message: &str) -> Error {
    let (kind, passing) = kind_of_code(code);
    let error = Error::new(kind, format!("MongoDB says: {message}")).with_code(code.to_string());
    if passing { error.transient() } else { error }
}

/// Maps an error of the driver.
pub(crate) fn from_native(error: mongodb::error::Error) -> Error {
    let mapped = match error.kind.as_ref() {
        Native::Command(command) => of_code(command.code, &command.message),
        Native::Write(WriteFailure::WriteError(write)) => of_code(write.code, &write.message),
        Native::Write(WriteFailure::WriteConcernError(concern)) => {
            of_code(concern.code, &concern.message)
        }
        Native::InsertMany(many) => match (&many.write_errors, &many.write_concern_error) {
            (Some(errors), _) if !errors.is_empty() => of_code(errors[0].code, &errors[0].message),
            (_, Some(concern)) => of_code(concern.code, &concern.message),
            _ => Error::new(ErrorKind::Unexpected, "an insert failed without a reason"),
        },
        Native::Authentication { .. } => Error::new(
            ErrorKind::Authentication,
            "MongoDB refuses the user or password",
        ),
        Native::ServerSelection { message, .. } => {
            let message = format!("no MongoDB server can be reached: {message}");
            Error::new(ErrorKind::Connection, message).transient()
        }
        Native::Io(cause) => {
            let message = format!("the connection to MongoDB broke: {cause}");
            Error::new(ErrorKind::Connection, message).transient()
        }
        Native::ConnectionPoolCleared { message, .. } => {
            Error::new(ErrorKind::Connection, message.clone()).transient()
        }
        Native::DnsResolve { message, .. } => Error::new(ErrorKind::Connection, message.clone()),
        Native::InvalidArgument { message, .. } => {
            Error::new(ErrorKind::InvalidOption, message.clone())
        }
        Native::InvalidTlsConfig { message, .. } => Error::new(ErrorKind::Tls, message.clone()),
        Native::IncompatibleServer { message, .. } => {
            Error::new(ErrorKind::Unsupported, message.clone())
        }
        Native::Transaction { message, .. } => Error::new(ErrorKind::Unsupported, message.clone()),
        Native::SessionsNotSupported => Error::new(
            ErrorKind::Unsupported,
            "the server has no sessions, and so no transactions",
        ),
        other => Error::new(
            ErrorKind::Unexpected,
            format!("the MongoDB driver: {other}"),
        ),
    };
    let passes = PASSING.iter().any(|label| error.contains_label(label));
    let mapped = if passes { mapped.transient() } else { mapped };
    mapped.with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_the_server_says() {
        for (code, kind, passes) in [
            (11000, ErrorKind::InvalidData, false),
            (13, ErrorKind::PermissionDenied, false),
            (18, ErrorKind::Authentication, false),
            (43, ErrorKind::Connection, true),
            (112, ErrorKind::Conflict, true),
            (10107, ErrorKind::Connection, true),
            (40324, ErrorKind::Query, false),
        ] {
            let error = of_code(code, "x");
            assert_eq!(
                (error.kind(), error.is_transient()),
                (kind, passes),
                "{code}"
            );
            assert_eq!(error.code(), Some(code.to_string().as_str()));
        }
    }
}
