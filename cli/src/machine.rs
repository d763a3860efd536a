//! What `--output json` prints: one object for each command, of success and of failure. `output_schema.json` describes it.

use arrowload::{DestinationOutcome, Error, LoadReport};
use serde_json::{Map, Value, json};

use crate::exit::{Failure, aftermath};
use crate::outcome::status;
use crate::{show, spool};

/// The JSON schema of all that is printed.
pub(crate) const SCHEMA: &str = include_str!("output_schema.json");

/// Any value as JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::failed(error.to_string()))
}

/// Prints an object. A failure to print is ignored, because the exit code has the result too.
pub(crate) fn tell(object: &Value) -> Result<(), Failure> {
    match show::print(&json(object)?) {
        Err(Failure::BrokenPipe) => Ok(()),
        printed => printed,
    }
}

/// An error with what happened to the target.
pub(crate) fn error(error: &Error) -> Value {
    let context = error.context().iter();
    let context: Map<String, Value> = context
        .map(|(key, value)| ((*key).to_owned(), spool::shown(value).into()))
        .collect();
    json!({
        "kind": error.kind().to_string().replace(' ', "_"),
        "message": spool::shown(error.message()),
        "context": context,
        "row": error.row(),
        "code": error.code(),
        "aftermath": aftermath(error),
        "dead_letters": error.get("dead_letters"),
    })
}

/// An error of the program's own, before any load began.
pub(crate) fn plain_error(kind: &str, message: &str) -> Value {
    json!({
        "kind": kind,
        "message": message,
        "context": {},
        "row": null,
        "code": null,
        "aftermath": "unchanged",
        "dead_letters": null,
    })
}

/// The end of a command that failed as a whole.
pub(crate) fn failure(error: Value) -> Value {
    json!({ "status": "failed", "error": error })
}

/// What a load did.
pub(crate) fn report(report: &LoadReport) -> Value {
    let status = show::status(report);
    let retries = match report.retries {
        0 => Vec::new(),
        _ => show::retries(),
    };
    let mut shown = json!(report);
    shown["status"] = status.into();
    shown["retry_reasons"] = retries.into();
    shown
}

/// The outcome of one of several destinations.
pub(crate) fn outcome(outcome: &DestinationOutcome) -> Value {
    let mut shown = json!({
        "loader": outcome.loader,
        "target": outcome.target,
        "connection": outcome.connection,
        "status": status(outcome),
        "asked_again": outcome.asked_again,
    });
    match &outcome.result {
        Ok(done) => shown["report"] = report(done),
        Err(failed) => shown["error"] = error(failed),
    }
    shown
}
