//! Errors for bytes that are not Arrow IPC, or a form of it that is not supported.

use std::fmt::Display;
use std::io;

use arrowload_core::{Error, ErrorKind};

/// Bytes that are not Arrow IPC.
pub(crate) fn malformed(why: impl Display) -> Error {
    // The verifier of flatbuffers has a line for each level.
    let why = why.to_string();
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
    Error::new(
        ErrorKind::InvalidData,
        format!("malformed Arrow data: {why}"),
    )
}

/// Arrow IPC that is not read.
pub(crate) fn unsupported(what: impl Display) -> Error {
    Error::new(
        ErrorKind::InvalidData,
        format!("Arrow data of a kind that is not read: {what}"),
    )
}

/// The input ended too early.
pub(crate) fn cut(within: &str) -> Error {
    malformed(format!(
        "it is cut off within {within}, so that rows are missing"
    ))
}

/// A failure to read. A decompressor in between says so if its input is cut off.
pub(crate) fn from_io(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
            malformed(&error).with_source(error)
        }
        _ => error.into(),
    }
}
