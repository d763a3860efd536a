//! Panics of the program: no backtrace on the screen, but the place in the code, which the user can
//! report.

use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;
use std::sync::{Mutex, PoisonError};

/// Where the last one was, and what it said.
static LAST: Mutex<Option<String>> = Mutex::new(None);

/// Hides panics from the screen: the error of the failed work is printed instead, and the log
/// (`-v`) has the place.
pub(crate) fn silence() {
    std::panic::set_hook(Box::new(|panic| {
        let place = described(panic);
        tracing::error!(backtrace = %Backtrace::capture(), "panic {place}");
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }));
}

fn described(panic: &PanicHookInfo<'_>) -> String {
    let said = panic.payload_as_str().unwrap_or("no message");
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    match panic.location() {
        Some(place) => format!("at {place}: {line}"),
        None => format!("at an unknown place: {line}"),
    }
}

/// The message for a panic that has ended the program.
pub(crate) fn apology() -> String {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
    format!(
        "internal error {}; this is a defect of arrowload: please report it at {}/issues, with the command and what it says \
         under -vv",
        last.as_deref().unwrap_or("at an unknown place"),
        env!("CARGO_PKG_REPOSITORY")
    )
}
