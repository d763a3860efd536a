//! What Redis's errors mean: by the code that is their first word.

use arrowload_core::{Error, ErrorKind};

/// The kind of an error code, whether it passes by itself, and what to do about it.
fn meaning(code: &str) -> (ErrorKind, bool, &'static str) {
    use ErrorKind as K;
    match code {
        "OOM" => (
            K::ResourceExhausted,
            false,
            "the server's maxmemory is reached; raise it, or set another maxmemory-policy",
        ),
        "READONLY" => (
            K::Connection,
            true,
            "the server is a replica that takes no writes; connect to its master, or through Sentinel",
        ),
        "LOADING" => (K::Connection, true, "the server is still loading its data"),
        "MASTERDOWN" => (K::Connection, true, "the replica has lost its master"),
        "CLUSTERDOWN" => (
            K::Connection,
            true,
            "the cluster does not serve all of its slots",
        ),
        "TRYAGAIN" => (K::Conflict, true, "a slot is on its way to another node"),
        "MOVED" | "ASK" => (
            K::InvalidOption,
            false,
            "the server is one of a cluster; set cluster = true",
        ),
        "CROSSSLOT" => (
            K::Unsupported,
            false,
            "the keys of one command are in several slots of the cluster",
        ),
        "BUSY" => (
            K::ResourceExhausted,
            true,
            "the server runs a script that takes long",
        ),
        "NOREPLICAS" => (
            K::ResourceExhausted,
            true,
            "the server has too few replicas to take writes",
        ),
        "MISCONF" => (
            K::ResourceExhausted,
            false,
            "the server cannot save its data to disk, and so takes no writes",
        ),
        "NOAUTH" => (
            K::Authentication,
            false,
            "the server asks for a password; set password, and username if it has ACL users",
        ),
        "WRONGPASS" => (
            K::Authentication,
            false,
            "the server refuses user and password",
        ),
        "NOPERM" => (K::PermissionDenied, false, "the ACL user may not do this"),
        "WRONGTYPE" => (
            K::InvalidData,
            false,
            "the key holds another data structure",
        ),
        "UNBLOCKED" => (K::Connection, true, "the server is no longer the master"),
        "TSDB:" => (K::InvalidData, false, ""),
        "ERR" => (K::InvalidData, false, ""),
        _ => (K::Unexpected, false, ""),
    }
}

/// Maps what the server says.
pub(crate) fn from_server(text: &str) -> Error {
    let code = code(text);
    let (mut kind, transient, advice) = meaning(code);
    let mut advice = advice.to_owned();
    // `ERR` is what commands say that have no code of their own; the words choose the kind, never whether to try again.
    if code == "ERR" {
        if text.starts_with("ERR unknown command") {
            kind = ErrorKind::Unsupported;
            advice = "this server does not have the command; it may need a module".into();
        } else if text.contains("password") || text.starts_with("ERR AUTH") {
            kind = ErrorKind::Authentication;
        } else if text.starts_with("ERR DB index") || text.starts_with("ERR SELECT") {
            kind = ErrorKind::NotFound;
            advice = "there is no such database; see db".into();
        } else if text.starts_with("ERR max number of clients") {
            kind = ErrorKind::ResourceExhausted;
        } else if text.starts_with("ERR This instance has cluster support disabled") {
            kind = ErrorKind::InvalidOption;
            advice = "the server is not a cluster; set cluster = false".into();
        }
    }
    let message = if advice.is_empty() {
        format!("Redis says: {text}")
    } else {
        format!("{advice}; Redis says: {text}")
    };
    let error = Error::new(kind, message).with_code(code.to_owned());
    if transient { error.transient() } else { error }
}

/// The code of an error: its first word.
pub(crate) fn code(text: &str) -> &str {
    text.split([' ', '\r', '\n']).next().unwrap_or_default()
}

/// Whether commands are to be sent again elsewhere in the cluster, or a little later.
pub(crate) fn is_redirection(text: &str) -> bool {
    matches!(code(text), "MOVED" | "ASK" | "TRYAGAIN")
}

/// The connection broke, or was never made.
pub(crate) fn broken(place: &str, error: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Connection,
        format!("the connection to Redis at {place} broke: {error}"),
    )
    .with_source(error)
    .transient()
}

/// The server said nothing in time.
pub(crate) fn silent(place: &str, seconds: u64) -> Error {
    let message =
        format!("Redis at {place} has not answered for {seconds} seconds; see response_timeout");
    Error::new(ErrorKind::Timeout, message).transient()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_kinds() {
        use ErrorKind as K;
        let table = [
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                K::ResourceExhausted,
                false,
            ),
            (
                "READONLY You can't write against a read only replica.",
                K::Connection,
                true,
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                K::Connection,
                true,
            ),
            ("MASTERDOWN Link with MASTER is down", K::Connection, true),
            ("MOVED 3999 127.0.0.1:6381", K::InvalidOption, false),
            ("ASK 3999 127.0.0.1:6381", K::InvalidOption, false),
            (
                "TRYAGAIN Multiple keys request during rehashing of slot",
                K::Conflict,
                true,
            ),
            (
                "CROSSSLOT Keys in request don't hash to the same slot",
                K::Unsupported,
                false,
            ),
            ("CLUSTERDOWN The cluster is down", K::Connection, true),
            (
                "BUSY Redis is busy running a script.",
                K::ResourceExhausted,
                true,
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                K::ResourceExhausted,
                true,
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots",
                K::ResourceExhausted,
                false,
            ),
            ("NOAUTH Authentication required.", K::Authentication, false),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                K::Authentication,
                false,
            ),
            (
                "ERR AUTH <password> called without any password configured",
                K::Authentication,
                false,
            ),
            (
                "NOPERM this user has no permissions to run the 'hset' command",
                K::PermissionDenied,
                false,
            ),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                K::InvalidData,
                false,
            ),
            ("ERR value is not a valid float", K::InvalidData, false),
            (
                "ERR unknown command 'JSON.SET', with args beginning with: ",
                K::Unsupported,
                false,
            ),
            ("ERR DB index is out of range", K::NotFound, false),
            (
                "ERR max number of clients reached",
                K::ResourceExhausted,
                false,
            ),
            (
                "ERR This instance has cluster support disabled",
                K::InvalidOption,
                false,
            ),
            ("TSDB: value is not a valid float", K::InvalidData, false),
            ("NOSCRIPT No matching script.", K::Unexpected, false),
        ];
        for (text, kind, transient) in table {
            let error = from_server(text);
            assert_eq!(
                (error.kind(), error.is_transient()),
                (kind, transient),
                "{text}"
            );
            assert_eq!(error.code(), text.split(' ').next());
        }
    }
}
