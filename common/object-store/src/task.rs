//! Runs blocking work on threads for it, and handles tasks that end without a result.

use arrowload_core::{Error, ErrorKind, Result};
use tokio::task::{JoinError, spawn_blocking};

/// Runs work where it may block, such as on the disk.
///
/// # Errors
/// Those of the work. A panic in it is an error of kind [`ErrorKind::Unexpected`], and not a panic here.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    spawn_blocking(work).await.map_err(from_join)?
}

/// A task that panicked, or was given up as its runtime ended.
pub fn from_join(error: JoinError) -> Error {
    let message = if error.is_panic() {
        format!("internal error: {error}; please report it")
    } else {
        "the runtime ended before the work was done".into()
    };
    Error::new(ErrorKind::Unexpected, message).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let error = blocking(|| -> Result<()> { panic!("out of luck") })
            .await
            .expect_err("it panicked");
        assert_eq!(error.kind(), ErrorKind::Unexpected);
        assert!(error.to_string().contains("out of luck"), "{error}");
        let refused = blocking(|| -> Result<()> { Err(Error::new(ErrorKind::Io, "no")) }).await;
        assert_eq!(refused.expect_err("its own error").kind(), ErrorKind::Io);
    }
}
