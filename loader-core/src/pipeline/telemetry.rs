//! The metrics and traces of a load. Labels and attributes never have values of rows, or parts of a connection.

use std::sync::{Mutex, PoisonError};

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use tracing::Span;
use tracing::field::Empty;

use super::Phase;
use crate::{ErrorKind, LoadReport};

const LOADS: &str = "arrowload_loads_total";
const IN_PROGRESS: &str = "arrowload_loads_in_progress";
const RETRIES: &str = "arrowload_retries_total";
const WRITTEN_ROWS: &str = "arrowload_written_rows_total";
const WRITTEN_BYTES: &str = "arrowload_written_bytes_total";
const LOADED_ROWS: &str = "arrowload_loaded_rows_total";
const LOADED_BYTES: &str = "arrowload_loaded_bytes_total";
const REJECTED_ROWS: &str = "arrowload_rejected_rows_total";
const DURATION: &str = "arrowload_load_duration_seconds";

/// Registers the description and unit of each metric with the installed recorder.
pub fn describe_metrics() {
    let counters = [
        (
            LOADS,
            Unit::Count,
            "Loads that have ended, by their outcome: ok, already_loaded or error.",
        ),
        (
            RETRIES,
            Unit::Count,
            "What was tried again after an error that was taken to pass.",
        ),
        (
            WRITTEN_ROWS,
            Unit::Count,
            "Rows handed to a store so far, also by attempts that failed.",
        ),
        (WRITTEN_BYTES, Unit::Bytes, "Bytes of these rows in memory."),
        (
            LOADED_ROWS,
            Unit::Count,
            "Rows of loads that have committed.",
        ),
        (
            LOADED_BYTES,
            Unit::Bytes,
            "Bytes of these rows, as the store counts them, else in memory.",
        ),
        (
            REJECTED_ROWS,
            Unit::Count,
            "Rows set aside in dead-letter files by loads that have committed.",
        ),
    ];
    for (name, unit, what) in counters {
        describe_counter!(name, unit, what);
    }
    describe_gauge!(IN_PROGRESS, Unit::Count, "Loads that are under way.");
    describe_histogram!(
        DURATION,
        Unit::Seconds,
        "How long loads took that have committed."
    );
}

/// Counts a load whose store could not be connected to, so that it did not begin.
pub fn count_unconnected(loader: &'static str) {
    counter!(LOADS, "loader" => loader, "outcome" => "error").increment(1);
}

/// Counts a batch that was handed to a store.
pub(crate) fn count_written(loader: &'static str, rows: u64, bytes: u64) {
    counter!(WRITTEN_ROWS, "loader" => loader).increment(rows);
    counter!(WRITTEN_BYTES, "loader" => loader).increment(bytes);
}

/// A load that is in progress: its metrics, and its spans, which end with it, also where it is dropped.
pub(crate) struct Telemetry {
    loader: &'static str,
    load: Span,
    phase: Mutex<Option<(Phase, Span)>>,
}

impl Telemetry {
    pub(crate) fn start(loader: &'static str, target: &str, load_id: &str) -> Self {
        gauge!(IN_PROGRESS, "loader" => loader).increment(1);
        let load = tracing::info_span!(
            "load",
            loader,
            target = without_secrets(target),
            load_id,
            outcome = Empty,
            rows = Empty,
            bytes = Empty,
            retries = Empty,
            error.r#type = Empty,
            otel.status_code = Empty,
        );
        let telemetry = Self {
            loader,
            load,
            phase: Mutex::default(),
        };
        telemetry.enter(Phase::Connecting);
        telemetry
    }

    /// The load enters a phase, and leaves the one before.
    pub(crate) fn enter(&self, phase: Phase) {
        let mut current = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|(known, _)| *known == phase) {
            return;
        }
        // One ends before the next begins.
        *current = None;
        if phase != Phase::Committed {
            let span = tracing::info_span!(parent: &self.load, "phase", otel.name = phase.word());
            *current = Some((phase, span));
        }
    }

    /// The load is in its target.
    pub(crate) fn loaded(&self, report: &LoadReport) {
        let loader = self.loader;
        let outcome = match report.already_loaded {
            true => "already_loaded",
            false => "ok",
        };
        self.ended(outcome, report.retries);
        self.load.record("rows", signed(report.rows));
        if report.already_loaded {
            return;
        }
        self.load.record("bytes", signed(report.bytes));
        counter!(LOADED_ROWS, "loader" => loader).increment(report.rows);
        counter!(LOADED_BYTES, "loader" => loader).increment(report.bytes);
        counter!(REJECTED_ROWS, "loader" => loader)
            .increment(report.rows_rejected + report.rows_unparsed);
        histogram!(DURATION, "loader" => loader).record(report.elapsed);
    }

    /// The load has failed.
    pub(crate) fn failed(&self, kind: ErrorKind, retries: u32) {
        self.ended("error", retries);
        // A message may quote a value.
        self.load.record("error.type", kind.to_string());
        self.load.record("otel.status_code", "ERROR");
    }

    fn ended(&self, outcome: &'static str, retries: u32) {
        counter!(LOADS, "loader" => self.loader, "outcome" => outcome).increment(1);
        counter!(RETRIES, "loader" => self.loader).increment(retries.into());
        self.load.record("outcome", outcome);
        self.load.record("retries", i64::from(retries));
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        gauge!(IN_PROGRESS, "loader" => self.loader).decrement(1);
    }
}

/// Traces have no larger numbers.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A target that is a URL may have a user, a password or a signature.
fn without_secrets(target: &str) -> String {
    let Some((scheme, rest)) = target.split_once("://") else {
        return target.to_owned();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_told_without_what_lets_others_in() {
        for (target, told) in [
            ("sales.orders", "sales.orders"),
            ("a@b?c", "a@b?c"),
            ("s3://bucket/x?X-Amz-Signature=hunter2", "s3://bucket/x"),
            ("https://me:hunter2@host:1/a@b#c", "https://host:1/a@b"),
            ("https://hunter2@host", "https://host"),
        ] {
            assert_eq!(without_secrets(target), told);
        }
    }
}
