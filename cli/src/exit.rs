//! How the program ends: exit codes, errors in one line, and what an interrupt or a panic does.

use std::error::Error as StdError;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use arrowload::{Aftermath, ErrorKind};
use tokio::signal;

use crate::args::{Common, Report};
use crate::show::{complain, complain_of};
use crate::watch::Watch;
use crate::{machine, panics};

/// How the program ends, if no error is left to print. The worst comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    Done,
    /// Loaded, except rows that are in a dead-letter file.
    Partly,
    /// Refused before anything was done.
    Refused,
    /// A load failed, and left its target as it was.
    Failed,
    /// What was compared is not equal.
    Different,
    /// A load failed, and its target has changed, or nobody knows.
    Changed,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed | Self::Different => 1,
            Self::Refused => 2,
            Self::Partly => 3,
            Self::Changed => 4,
        }
    }

    /// The end of a load that failed.
    pub(crate) fn of(error: &arrowload::Error) -> Self {
        match aftermath(error) {
            Aftermath::Unchanged if is_refusal(error.kind()) => Self::Refused,
            // The end is that of the destination that stopped it.
            Aftermath::Unchanged if error.kind() == ErrorKind::Stopped => Self::Refused,
            Aftermath::Unchanged => Self::Failed,
            _ => Self::Changed,
        }
    }
}

/// What happened to the target of a load that failed. An error that says nothing of it came before the load began.
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
    /// The reader of the output has gone.
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

    /// Says what happened, and returns the exit code.
    pub(crate) fn report(self, common: &Common, watch: &Watch) -> u8 {
        let as_json = |object: serde_json::Value| match common.output {
            // The error itself is said in any case.
            Report::Json => drop(machine::tell(&object)),
            Report::Text => {}
        };
        match self {
            Self::Load(error) => {
                as_json(machine::failure(machine::error(&error)));
                say(&error, common.verbose > 0);
                Exit::of(&error).code()
            }
            Self::Usage(text) => {
                let error = machine::plain_error("usage", &text);
                as_json(machine::failure(error.clone()));
                complain_of(&format!("error: {text}"), error);
                Exit::Refused.code()
            }
            Self::Failed(text) => {
                let error = machine::plain_error("failed", &text);
                as_json(machine::failure(error.clone()));
                complain_of(&format!("error: {text}"), error);
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
                // Loads in progress are listed by name; a job lists the others in its table.
                let object = watch.interrupted();
                if watch.is_empty() {
                    complain("interrupted");
                }
                let all_whole = watch.tell("interrupted: ");
                match watch.job_at_interrupt(common) {
                    true => {}
                    false => as_json(object),
                }
                match all_whole {
                    true => INTERRUPTED,
                    false => Exit::Changed.code(),
                }
            }
        }
    }
}

/// An error in one line, and its causes in lines of their own.
pub(crate) fn say(error: &arrowload::Error, verbose: bool) {
    complain_of(&format!("error: {error}"), machine::error(error));
    let mut cause = error.source().filter(|_| verbose);
    while let Some(error) = cause {
        complain(&format!("  caused by: {error}"));
        cause = error.source();
    }
}

/// Prints what is wrong with the flags, or the text of `--help` and `--version`. The flags were not parsed then, so the form of
/// messages is found by looking at the arguments.
pub(crate) fn misused(error: &clap::Error) -> u8 {
    if error.use_stderr() && asks_for_json() {
        let text = error.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let message = text.split("\n\n").next().unwrap_or_default();
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = machine::tell(&machine::failure(machine::plain_error("usage", &message)));
    }
    // If this fails, it cannot be reported anywhere.
    let _ = error.print();
    match error.use_stderr() {
        true => Exit::Refused.code(),
        false => Exit::Done.code(),
    }
}

fn asks_for_json() -> bool {
    let arguments: Vec<_> = std::env::args_os().collect();
    let is_pair = |pair: &[std::ffi::OsString]| pair[0] == "--output" && pair[1] == "json";
    arguments.windows(2).any(is_pair) || arguments.iter().any(|one| one == "--output=json")
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

/// Runs the program to its end, whatever that is, and returns the exit code.
pub(crate) fn guarded(
    common: &Common,
    watch: &Watch,
    run: impl FnOnce() -> Result<Exit, Failure>,
) -> u8 {
    panics::silence();
    match std::panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(exit)) => exit.code(),
        Ok(Err(failure)) => failure.report(common, watch),
        Err(_) => {
            let text = panics::apology();
            let error = machine::plain_error("internal", &text);
            if common.output == Report::Json {
                let _ = machine::tell(&machine::failure(error.clone()));
            }
            complain_of(&format!("error: {text}"), error);
            watch.tell("");
            INTERNAL
        }
    }
}

/// Runs the work until its end, or until the first interrupt. What is in progress is then dropped, so that it is not committed; a
/// second interrupt does not wait for that.
pub(crate) async fn interruptible(
    work: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    let ended = tokio::select! {
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
        let stopped = arrowload::Error::new(ErrorKind::Stopped, "another one failed");
        assert_eq!(Exit::of(&stopped), Exit::Refused);
        // Wrong use, and what keeps a load from its store.
        let common = Common::default();
        assert_eq!(Failure::usage("no").report(&common, &Watch::default()), 2);
        assert_eq!(
            Failure::Unreported("full".into()).report(&common, &Watch::default()),
            4
        );
    }

    #[test]
    fn a_panic_ends_with_a_line_and_a_code_of_its_own() {
        const INSIDE: &str = "ARROWLOAD_TEST_INSIDE";
        if std::env::var_os(INSIDE).is_some() {
            let code = guarded(&Common::default(), &Watch::default(), || {
                panic!("a defect,\n  {}", 0)
            });
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
