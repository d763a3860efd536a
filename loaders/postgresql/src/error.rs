//! The one mapping from PostgreSQL's errors: by SQLSTATE, never by the text of a message.

use std::error::Error as StdError;

use arrowload_core::{Error, ErrorKind};
use tokio_postgres::error::DbError;

/// What a SQLSTATE means to a load, and whether the same call may pass later.
fn kind_of(code: &str) -> (ErrorKind, bool) {
    use ErrorKind as K;
    match code {
        "23502" | "23503" | "23505" | "23514" | "23P01" | "23000" | "23001" => {
            (K::InvalidData, false)
        }
        "28000" | "28P01" => (K::Authentication, false),
        "3D000" | "3F000" => (K::NotFound, false),
        "40001" | "40P01" | "55P03" => (K::Conflict, true),
        "42501" => (K::PermissionDenied, false),
        "25006" => (K::Unsupported, false),
        "42P01" => (K::TargetNotFound, false),
        // A table, or the type that comes with it: two creators at once meet at either.
        "42P07" | "42710" => (K::TargetExists, false),
        "42703" | "42701" | "42804" | "2BP01" => (K::SchemaMismatch, false),
        "53300" => (K::ResourceExhausted, true),
        "57014" => (K::Timeout, false),
        "57P01" | "57P02" | "57P03" | "57P05" => (K::Connection, true),
        // The code that poolers use for all of their errors: no connection left, a parameter that they do
        // not pass on.
        "08P01" => (K::Connection, false),
        _ => (
            kind_of_class(code.get(..2).unwrap_or_default()),
            code.starts_with("08"),
        ),
    }
}

fn kind_of_class(class: &str) -> ErrorKind {
    use ErrorKind as K;
    match class {
        "08" => K::Connection,
        "0A" | "54" => K::Unsupported,
        "22" | "23" | "44" => K::InvalidData,
        "42" | "26" | "34" => K::Query,
        "53" => K::ResourceExhausted,
        _ => K::Unexpected,
    }
}

/// What to do about it, where that is known.
fn advice(code: &str) -> &'static str {
    match code {
        "08P01" => {
            "; a pooler may have no connection left (lower parallelism and pool_size, or raise its own), or may not pass on `options` \
             and statement_timeout (leave them out, or connect to the server itself)"
        }
        "28000" | "28P01" => "; check user, password and pg_hba.conf",
        "3D000" => "; check the database's name",
        "40P01" => "; another transaction waited for this one",
        "25006" => "; a source only reads, and so do its transactions",
        "42501" => "; grant the right to the user of this connection",
        "53100" => "; make room on the server's disk",
        "53300" => "; raise max_connections, or lower pool_size",
        "55P03" => "; another transaction holds it for longer than lock_timeout allows",
        "57014" => "; raise statement_timeout, or see who cancelled it",
        _ => "",
    }
}

/// The kind and message of an error that the server sent.
fn from_server(error: &DbError) -> Error {
    let code = error.code().code();
    let (mut kind, transient) = kind_of(code);
    // If two sessions create the same object at once, one of them violates a unique key of the catalog.
    if code == "23505" && error.schema() == Some("pg_catalog") {
        kind = ErrorKind::TargetExists;
    }
    let detail = error
        .detail()
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default();
    let mut mapped = Error::new(kind, format!("{}{detail}{}", error.message(), advice(code)))
        .with_code(code.to_owned());
    if let Some(column) = error.column() {
        mapped = mapped.with("column", column);
    }
    if let Some(constraint) = error.constraint() {
        mapped = mapped.with("constraint", constraint);
    }
    if transient {
        mapped.transient()
    } else {
        mapped
    }
}

/// Maps an error of the driver.
pub(crate) fn from_pg(error: tokio_postgres::Error) -> Error {
    if let Some(server) = error.as_db_error() {
        return from_server(server);
    }
    let cause = root_cause(&error);
    if tls_cause(&error) {
        let see = if refuses_our_certificate(&error) {
            "sslcert and sslkey"
        } else {
            "sslmode and sslrootcert"
        };
        return Error::new(
            ErrorKind::Tls,
            format!("the connection could not be encrypted: {cause}; see {see}"),
        );
    }
    if io_cause(&error).is_some_and(|cause| cause.kind() == std::io::ErrorKind::InvalidInput) {
        let message = format!(
            "{cause}: names, comments and keys of connections hold no NUL byte, and paths of sockets are short"
        );
        return Error::new(ErrorKind::InvalidOption, message);
    }
    if error.is_closed() || io_cause(&error).is_some() {
        return Error::new(
            ErrorKind::Connection,
            format!("the connection to PostgreSQL broke: {cause}"),
        )
        .transient();
    }
    Error::new(
        ErrorKind::Unexpected,
        format!("PostgreSQL's driver says: {error}"),
    )
    .with_source(error)
}

/// The same, while a connection is made: an error that is not an answer of the server means that there is
/// no connection. If nothing listens on a `local` port, waiting does not help.
pub(crate) fn from_connecting(error: tokio_postgres::Error, place: &str, local: bool) -> Error {
    let refused = io_cause(&error).is_some_and(|cause| {
        use std::io::ErrorKind::{ConnectionRefused, NotFound};
        [ConnectionRefused, NotFound].contains(&cause.kind())
    });
    let mapped = from_pg(error);
    let named = match mapped.kind() {
        ErrorKind::Connection if mapped.code().is_none() => {
            let message = format!(
                "PostgreSQL cannot be reached at {place}: {}",
                mapped.message()
            );
            match refused && local {
                true => Error::new(ErrorKind::Connection, message),
                false => Error::new(ErrorKind::Connection, message).transient(),
            }
        }
        ErrorKind::Unexpected => {
            let cause = StdError::source(&mapped)
                .and_then(|error| chain(error).last())
                .map(ToString::to_string)
                .unwrap_or_default();
            let message = format!("PostgreSQL at {place} takes no connection: {cause}");
            // The driver keeps its kinds to itself; its words only choose ours.
            let hint = match cause.as_str() {
                "password missing" => "no password is set: set password, or see passfile",
                cause if cause.contains("channel binding") => {
                    "channel_binding = require takes only a server that asks for a password by SCRAM, over TLS"
                }
                _ => return Error::new(ErrorKind::Connection, message).with("server", place),
            };
            Error::new(ErrorKind::Authentication, format!("{message}; {hint}"))
        }
        // Only the settings of the session have been sent so far.
        ErrorKind::InvalidData | ErrorKind::Query => {
            let message = format!("{}; see statement_timeout and options", mapped.message());
            let code = mapped.code().unwrap_or_default().to_owned();
            Error::new(ErrorKind::InvalidOption, message).with_code(code)
        }
        _ => mapped,
    };
    named.with("server", place)
}

/// The error for a port that belongs to another kind of server.
pub(crate) fn not_postgresql(place: &str, what: &str) -> Error {
    let message = format!(
        "{place} answers, but not as PostgreSQL: it looks like {what}; check host and port"
    );
    Error::new(ErrorKind::Connection, message).with("server", place)
}

fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

fn root_cause(error: &tokio_postgres::Error) -> String {
    chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn io_cause(error: &tokio_postgres::Error) -> Option<&std::io::Error> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

fn rustls_cause(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    chain(error).find_map(|cause| {
        let inner = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        cause.downcast_ref().or_else(|| inner?.downcast_ref())
    })
}

/// The server ended the handshake over the client's certificate.
fn refuses_our_certificate(error: &tokio_postgres::Error) -> bool {
    use rustls::AlertDescription as Alert;
    let Some(rustls::Error::AlertReceived(alert)) = rustls_cause(error) else {
        return false;
    };
    let about = [
        Alert::UnknownCA,
        Alert::BadCertificate,
        Alert::CertificateUnknown,
        Alert::CertificateExpired,
    ];
    let more = [
        Alert::CertificateRevoked,
        Alert::CertificateRequired,
        Alert::UnsupportedCertificate,
        Alert::AccessDenied,
    ];
    about.contains(alert) || more.contains(alert)
}

/// Whether rustls refused, or the server offers no encryption.
fn tls_cause(error: &tokio_postgres::Error) -> bool {
    // The driver keeps its own kinds to itself; this one only chooses the word, never whether to try again.
    rustls_cause(error).is_some()
        || error
            .to_string()
            .starts_with("error performing TLS handshake")
}

/// The line of the input that the server speaks of in the context of a failed COPY: rows, from 1.
pub(crate) fn copy_line(error: &tokio_postgres::Error) -> Option<u64> {
    let context = error.as_db_error()?.where_()?;
    let copy = context.lines().find(|line| line.starts_with("COPY "))?;
    let digits = copy.rsplit_once(", line ").map(|(_, rest)| rest)?;
    let end = digits
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_kinds() {
        let table = [
            ("23505", ErrorKind::InvalidData, false),
            ("22003", ErrorKind::InvalidData, false),
            ("28P01", ErrorKind::Authentication, false),
            ("3D000", ErrorKind::NotFound, false),
            ("40001", ErrorKind::Conflict, true),
            ("40P01", ErrorKind::Conflict, true),
            ("42501", ErrorKind::PermissionDenied, false),
            ("42P01", ErrorKind::TargetNotFound, false),
            ("42P07", ErrorKind::TargetExists, false),
            ("42710", ErrorKind::TargetExists, false),
            ("42601", ErrorKind::Query, false),
            ("53100", ErrorKind::ResourceExhausted, false),
            ("53300", ErrorKind::ResourceExhausted, true),
            ("57014", ErrorKind::Timeout, false),
            ("57P01", ErrorKind::Connection, true),
            ("08006", ErrorKind::Connection, true),
            ("08P01", ErrorKind::Connection, false),
            ("0A000", ErrorKind::Unsupported, false),
            ("54011", ErrorKind::Unsupported, false),
            ("XX000", ErrorKind::Unexpected, false),
        ];
        for (code, kind, transient) in table {
            assert_eq!(kind_of(code), (kind, transient), "{code}");
        }
    }
}
