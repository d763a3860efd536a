//! How the program ends: exit codes, errors in one line, and what an interrupt or a panic does.

use std::error::Error as StdError;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use arrowload::{Aftermath, ErrorKind};
use tokio::signal;

use crate::panics;
use crate::show::complain;
use crate::watch::Watch;

/// An end without an error that is not said yet. The worse comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    Done,
    /// Loaded, but for rows that are in a dead-letter file.
    Partly,
    /// Refused before anything was done.
    Refused,
    /// A load failed, and left its target as it was.
    Failed,
    /// A load failed, and its target has changed, or nobody knows.
    Changed,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Refused => 2,
            Self::Partly => 3,
            Self::Changed => 4,
        }
    }

    /// The end of a load that failed.
    pub(crate) fn of(error: &arrowload::Error) -> Self {
        match aftermath(error) {
            Aftermath::Unchanged if is_refusal(error.kind()) => Self::Refused,
            Aftermath::Unchanged => Self::Failed,
            _ => Self::Changed,
        }
    }
}

/// What became of the target of a load that failed. An error that says nothing of it came before the load began.
pub(crate) fn aftermath(error: &arrowload::Error) -> Aftermath {
    error.aftermath().unwrap_or(Aftermath::Unchanged)
}

const INTERNAL: u8 = 70;
const INTERRUPTED: u8 = 130;

/// An end with an error.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library's.
    Load(arrowload::Error),
    /// Wrong use, in one sentence.
    Usage(String),
    /// Anything else, in one sentence; no load was begun.
    Failed(String),
    /// A load has ended, and what it did could not be printed.
    Unreported(String),
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
    fn report(self, verbose: bool, watch: &Watch) -> u8 {
        match self {
            Self::Load(error) => {
                say(&error, verbose);
                Exit::of(&error).code()
            }
            Self::Usage(text) => {
                complain(&format!("error: {text}"));
                Exit::Refused.code()
            }
            Self::Failed(text) => {
                complain(&format!("error: {text}"));
                Exit::Failed.code()
            }
            Self::Unreported(text) => {
                complain(&format!(
                    "error: the load has ended, and what it did cannot be printed: {text}"
                ));
                Exit::Changed.code()
            }
            Self::BrokenPipe => Exit::Done.code(),
            Self::Interrupted => {
                if watch.is_empty() {
                    complain("interrupted");
                }
                match watch.tell("interrupted: ") {
                    true => INTERRUPTED,
                    false => Exit::Changed.code(),
                }
            }
        }
    }
}

/// An error in one line, and its causes in lines of their own.
pub(crate) fn say(error: &arrowload::Error, verbose: bool) {
    complain(&format!("error: {error}"));
    let mut cause = error.source().filter(|_| verbose);
    while let Some(error) = cause {
        complain(&format!("  caused by: {error}"));
        cause = error.source();
    }
}

fn is_refusal(kind: ErrorKind) -> bool {
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

/// Runs the program to its end, whatever that is, and answers with the exit code.
pub(crate) fn guarded(
    verbose: bool,
    watch: &Watch,
    run: impl FnOnce() -> Result<Exit, Failure>,
) -> u8 {
    panics::silence();
    match std::panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(exit)) => exit.code(),
        Ok(Err(failure)) => failure.report(verbose, watch),
        Err(_) => {
            complain(&panics::apology());
            watch.tell("");
            INTERNAL
        }
    }
}

/// Runs the work until its end, or until the first interrupt. What is under way is then dropped, so that it is not committed; a
/// second interrupt does not wait for that.
pub(crate) async fn interruptible(
    work: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    let ended = tokio::select! {
        // First, so that reading standard input, which blocks, is ended as the system does.
        biased;
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::leaky::load;

    #[tokio::test]
    async fn codes_say_what_became_of_the_target() {
        let error = async |target| load(target).await.expect_err(target);
        let cases = [
            // Rows that were written stay there.
            (
                "fails",
                Aftermath::from(arrowload::AfterFailure::UNCHANGED.with_new_rows()),
                4,
            ),
            ("loses the answer", Aftermath::Unknown, 4),
            // It refused before it began.
            ("is forbidden", Aftermath::Unchanged, 1),
            ("is unsupported", Aftermath::Unchanged, 2),
        ];
        for (target, left, code) in cases {
            let error = error(target).await;
            assert_eq!(
                (aftermath(&error), Exit::of(&error).code()),
                (left, code),
                "{error}"
            );
            assert!(error.to_string().ends_with(&format!("; {left}")), "{error}");
        }
        // Wrong use, and what keeps a load from its store.
        assert_eq!(Failure::usage("no").report(false, &Watch::default()), 2);
        assert_eq!(
            Failure::Unreported("full".into()).report(false, &Watch::default()),
            4
        );
    }

    #[test]
    fn a_panic_ends_with_a_line_and_a_code_of_its_own() {
        const INSIDE: &str = "ARROWLOAD_TEST_INSIDE";
        if std::env::var_os(INSIDE).is_some() {
            let code = guarded(false, &Watch::default(), || panic!("a defect,\n  {}", 0));
            std::process::exit(code.into());
        }
        let this = std::env::current_exe().expect("this program");
        let name = "exit::tests::a_panic_ends_with_a_line_and_a_code_of_its_own";
        let ended = Command::new(this)
            .args([name, "--exact", "--nocapture"])
            .env(INSIDE, "1")
            .env("RUST_BACKTRACE", "1")
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(70), "{said}");
        assert!(
            said.starts_with("error: internal error at cli/src/exit.rs:")
                && said.contains(
                    ": a defect, 0; this is a defect of arrowload: please report it at https://"
                )
                && said.lines().count() == 1,
            "{said}"
        );
    }
}
