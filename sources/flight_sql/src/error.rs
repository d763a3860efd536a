//! The one mapping from gRPC's and Flight's errors to ours.

use arrow_flight::error::FlightError;
use arrowload_core::{Error, ErrorKind, Retry};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// An answer other than the one that was asked for.
pub(crate) fn from_status(status: Status) -> Error {
    // The connection's own failures carry their cause; what the server says comes without one.
    let broken = std::error::Error::source(&status).is_some();
    let asked = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    let (kind, transient) = if broken {
        (ErrorKind::Connection, true)
    } else {
        classify(status.code())
    };
    // A server that is short of something says when to ask again, if asking again can help.
    let transient = transient && (asked.is_some() || status.code() != Code::ResourceExhausted);
    let text = status.message();
    let message = match status.code() {
        _ if broken => {
            let (mut causes, mut next) = (Vec::new(), std::error::Error::source(&status));
            while let Some(cause) = next {
                causes.push(cause.to_string());
                next = cause.source();
            }
            causes.dedup();
            let hint = "if it broke at once, see whether the server is encrypted (grpc+tls://) or not (grpc://), or wants to know the client (tls_cert, tls_key)";
            format!("the connection broke: {}; {hint}", causes.join(": "))
        }
        Code::Unauthenticated => {
            format!("the server wants to know who asks: {text}; set token, or user and password")
        }
        Code::PermissionDenied => format!("the server refuses this to the user: {text}"),
        Code::Unimplemented => format!("the server cannot do this: {text}"),
        Code::ResourceExhausted => format!("the server has no room for the call: {text}"),
        Code::Unavailable => format!("the server is not there, or went away: {text}"),
        Code::DeadlineExceeded => format!("the server took too long: {text}"),
        code => format!("the server answered {code:?}: {text}"),
    };
    let error = Error::new(kind, message)
        .with_code(format!("{:?}", status.code()))
        .with_source(status);
    if transient {
        error.with_retry(Retry::Transient { after: asked })
    } else {
        error
    }
}

/// Which kind of failure a code stands for, and whether another try may help.
fn classify(code: Code) -> (ErrorKind, bool) {
    match code {
        Code::Unauthenticated => (ErrorKind::Authentication, false),
        Code::PermissionDenied => (ErrorKind::PermissionDenied, false),
        Code::Unavailable | Code::Aborted => (ErrorKind::Connection, true),
        Code::ResourceExhausted => (ErrorKind::ResourceExhausted, true),
        Code::DeadlineExceeded => (ErrorKind::Timeout, true),
        Code::Unimplemented => (ErrorKind::Unsupported, false),
        Code::NotFound => (ErrorKind::NotFound, false),
        Code::AlreadyExists => (ErrorKind::Conflict, false),
        Code::DataLoss => (ErrorKind::InvalidData, false),
        _ => (ErrorKind::Query, false),
    }
}

/// An error of decoding a stream, or the stream's own.
pub(crate) fn from_flight(error: FlightError) -> Error {
    match error {
        FlightError::Tonic(status) => from_status(*status),
        other => malformed(format!("{other}")).with_source(other),
    }
}

/// Bytes that are not Flight SQL.
pub(crate) fn malformed(why: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::InvalidData,
        format!("what the server sent is malformed: {why}"),
    )
}

/// Rows that cannot be decoded.
pub(crate) fn undecoded(error: Error) -> Error {
    let message = format!("what the server sent is not read: {}", error.message());
    Error::new(error.kind(), message).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_kinds_and_say_whether_to_try_again() {
        for (code, kind, transient) in [
            (Code::Unavailable, ErrorKind::Connection, true),
            (Code::Unauthenticated, ErrorKind::Authentication, false),
            (Code::PermissionDenied, ErrorKind::PermissionDenied, false),
            (Code::ResourceExhausted, ErrorKind::ResourceExhausted, false),
            (Code::InvalidArgument, ErrorKind::Query, false),
            (Code::Internal, ErrorKind::Query, false),
            (Code::Unimplemented, ErrorKind::Unsupported, false),
        ] {
            let error = from_status(Status::new(code, "why"));
            assert_eq!(
                (error.kind(), error.is_transient()),
                (kind, transient),
                "{code:?}"
            );
            assert!(error.to_string().contains("why"));
        }
        let details = tonic_types::ErrorDetails::with_retry_info(Some(
            std::time::Duration::from_millis(1500),
        ));
        let error = from_status(Status::with_error_details(
            Code::ResourceExhausted,
            "busy",
            details,
        ));
        assert_eq!(
            error.retry(),
            Retry::Transient {
                after: Some(std::time::Duration::from_millis(1500))
            }
        );
    }
}
