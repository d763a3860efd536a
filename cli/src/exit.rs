//! How the program ends: exit codes, errors in one line, and what an interrupt does.

use std::error::Error as StdError;
use std::process::ExitCode;
use std::time::Duration;

use arrowload::ErrorKind;
use tokio::signal;

use crate::show::complain;

/// An end without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    /// Loaded, but for rows that are in a dead-letter file.
    Partly,
    /// Some loads of a job failed, which has been said.
    Failed,
}

impl Exit {
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Partly => 3,
        })
    }
}

/// An end with an error.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library's.
    Load(arrowload::Error),
    /// Wrong use, in one sentence.
    Usage(String),
    /// Anything else, in one sentence.
    Failed(String),
    /// Nobody reads what is written.
    BrokenPipe,
    Interrupted,
}

impl Failure {
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    /// Says what happened, and answers with the exit code.
    pub(crate) fn report(self, verbose: bool) -> ExitCode {
        ExitCode::from(match self {
            Self::Load(error) => {
                complain(&format!("error: {error}"));
                if verbose {
                    causes(&error);
                }
                if is_usage(error.kind()) { 2 } else { 1 }
            }
            Self::Usage(text) => {
                complain(&format!("error: {text}"));
                2
            }
            Self::Failed(text) => {
                complain(&format!("error: {text}"));
                1
            }
            Self::BrokenPipe => 0,
            Self::Interrupted => {
                complain("interrupted; nothing of an unfinished load was published");
                130
            }
        })
    }
}

fn causes(error: &arrowload::Error) {
    let mut cause = error.source();
    while let Some(error) = cause {
        complain(&format!("  caused by: {error}"));
        cause = error.source();
    }
}

fn is_usage(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidOption
            | ErrorKind::ConnectionNotFound
            | ErrorKind::LoaderNotFound
            | ErrorKind::SourceNotFound
            | ErrorKind::Unsupported
    )
}

impl From<arrowload::Error> for Failure {
    fn from(error: arrowload::Error) -> Self {
        Self::Load(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Runs the work until its end, or until the first interrupt. What is under way is then dropped, which publishes nothing; a
/// second interrupt does not wait for that.
pub(crate) async fn interruptible(
    work: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    let ended = tokio::select! {
        outcome = work => return outcome,
        ended = interrupted() => ended,
    };
    // The stores are told: transactions are cancelled, files removed.
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(300)) => {}
        _ = interrupted() => {}
    }
    Err(ended)
}

#[cfg(unix)]
async fn interrupted() -> Failure {
    let terminated = async {
        match signal::unix::signal(signal::unix::SignalKind::terminate()) {
            Ok(mut stream) => stream.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = signal::ctrl_c() => {}
        _ = terminated => {}
    }
    Failure::Interrupted
}

#[cfg(not(unix))]
async fn interrupted() -> Failure {
    let _ = signal::ctrl_c().await;
    Failure::Interrupted
}
