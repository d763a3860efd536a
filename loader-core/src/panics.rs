//! Turns panics of sources, loaders and the libraries below them into errors, so that they never end the
//! program.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use crate::{Error, ErrorKind, Result};

/// Runs something of a loader or source, and turns a panic into an error.
///
/// Whatever has panicked is not used again, except to drop it.
pub(crate) async fn caught<T>(who: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => Err(panicked(who, panic.as_ref())),
    }
}

/// The error for a panic.
pub(crate) fn panicked(who: &str, panic: &(dyn Any + Send)) -> Error {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let message = format!(
        "internal error: {who} panicked: {}",
        said.unwrap_or("without a message")
    );
    Error::new(ErrorKind::Unexpected, message)
}
