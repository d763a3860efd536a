//! What people see: lines on standard error and output, tables, numbers, logs.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use arrowload::LoadReport;
use arrowload_common_text::printable_lines;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::args::{Common, LogFormat};
use crate::exit::Failure;
use crate::progress::Display;
use crate::spool;
use crate::telemetry::Telemetry;

/// The form of lines on standard error, set by the flags.
static SPEECH: OnceLock<Speech> = OnceLock::new();
/// Why something was tried again.
static RETRIES: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// More of these are not kept.
const MOST_RETRIES: usize = 100;

#[derive(Debug)]
struct Speech {
    json: bool,
    quiet: bool,
    display: Display,
}

/// Sets the form of lines from the flags.
pub(crate) fn set_up(common: &Common) {
    let json = common.log_format == LogFormat::Json;
    let speech = Speech {
        json,
        quiet: common.quiet,
        display: Display::new(common.quiet, json),
    };
    // A second call has nothing new to say.
    let _ = SPEECH.set(speech);
}

/// Where progress is shown.
pub(crate) fn display() -> Display {
    SPEECH
        .get()
        .map_or(Display::Silent, |speech| speech.display.clone())
}

/// A line on standard error that nothing keeps back.
pub(crate) fn complain(line: &str) {
    say_at("ERROR", line, Value::Null);
}

/// An error, with what programs want to know of it.
pub(crate) fn complain_of(line: &str, error: Value) {
    say_at("ERROR", line, error);
}

/// A line on standard error that is not an error.
pub(crate) fn note(line: &str) {
    if !SPEECH.get().is_some_and(|speech| speech.quiet) {
        say_at("INFO", line, Value::Null);
    }
}

fn say_at(level: &str, line: &str, error: Value) {
    let line = &spool::shown(line);
    let speech = SPEECH.get();
    let is_json = speech.is_some_and(|speech| speech.json);
    let text = match is_json {
        true => {
            let mut fields = json!({ "message": line });
            if !error.is_null() {
                fields["error"] = error;
            }
            let now = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
            json!({ "timestamp": now, "level": level, "fields": fields, "target": "arrowload" })
                .to_string()
        }
        // A message may quote data.
        false => printable_lines(line).into_owned(),
    };
    // There is nobody left to tell if this fails.
    let write = || {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    };
    match speech.map(|speech| &speech.display) {
        Some(Display::Bars(bars)) => bars.suspend(write),
        _ => write(),
    }
}

/// Text on standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.is_terminal() {
        true => out.write_all(printable_lines(text).as_bytes())?,
        false => out.write_all(text.as_bytes())?,
    }
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// A table without lines, as wide as the terminal.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    if !std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(head.iter().map(|title| title.to_uppercase()));
    table.add_rows(rows);
    let last = head.len().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { 2 }));
    }
    let text = table.to_string();
    text.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// The columns of the terminal that standard output is, if it is one.
pub(crate) fn width() -> Option<u16> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let columns = std::env::var("COLUMNS").ok();
    let by_variable = columns.and_then(|text| text.parse().ok());
    by_variable.or_else(|| Table::new().width())
}

/// A number with separators between thousands.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

/// Rows in a second.
pub(crate) fn rate(rows: u64, seconds: f64) -> String {
    count((rows as f64 / seconds.max(1e-9)) as u64)
}

/// Whether a load that had committed was not all in place, and was completed by this run.
pub(crate) fn was_completed(report: &LoadReport) -> bool {
    report.already_loaded && report.details.contains_key("completed")
}

/// What a load did, in a word or two.
pub(crate) fn status(report: &LoadReport) -> &'static str {
    match report.already_loaded {
        true if was_completed(report) => "completed",
        true => "already there",
        false => "loaded",
    }
}

/// What a load did, in one line and as many as its details need.
pub(crate) fn report(report: &LoadReport) -> String {
    let seconds = report.elapsed.as_secs_f64();
    let (loader, target) = (&report.loader, &report.target);
    if report.already_loaded {
        let (load_id, rows) = (&report.load_id, count(report.rows));
        let there = match was_completed(report) {
            true => format!(
                "load {load_id} was already recorded, {rows} rows, and cut off before all of it was in place; it was completed now"
            ),
            false => {
                format!("load {load_id} was already there, {rows} rows; nothing was written")
            }
        };
        return format!("{loader} `{target}`: {there}\n{}", set_aside(report));
    }
    let speed = rate(report.rows, seconds);
    let mut text = format!(
        "{loader} `{target}`: {} rows in {seconds:.2} s ({speed} rows/s), load_id {}\n",
        count(report.rows),
        report.load_id
    );
    if let Some(keys) = &report.keys {
        text += &format!(
            "  {} inserted, {} updated, {} unchanged, {} duplicate\n",
            count(keys.inserted),
            count(keys.updated),
            count(keys.unchanged),
            count(keys.duplicate)
        );
        if let Some(deleted) = report
            .details
            .get("rows_deleted")
            .filter(|rows| *rows != "0")
        {
            text += &format!("  {deleted} rows of the target deleted\n");
        }
    }
    for why in &report.reopened {
        text += &format!("  begun again with a wider type: {why}\n");
    }
    if report.retries > 0 {
        let why = retries()
            .pop()
            .map(|why| format!(", the last time after: {why}"));
        text += &format!(
            "  tried again {} times{}\n",
            report.retries,
            why.unwrap_or_default()
        );
    }
    text + &set_aside(report)
}

/// Where rows are that were not loaded; nothing if there are none.
pub(crate) fn set_aside(report: &LoadReport) -> String {
    let unparsed = report.unparsed.as_ref();
    let unparsed =
        unparsed.map(|file| format!("  {}\n", unparsed_rows(report.rows_unparsed, file, "")));
    unparsed.unwrap_or_default() + &refused(report)
}

/// Where rows went that could not be parsed.
pub(crate) fn unparsed_rows(rows: u64, file: &Path, to: &str) -> String {
    let (rows, file) = (count(rows), file.display());
    format!(
        "{rows} rows could not be parsed, and were set aside in {file} with the reasons; with options that make them readable (--read-option \
         ragged=pad, --types …), load them again: arrowload replay {file}{to}"
    )
}

fn refused(report: &LoadReport) -> String {
    let rows = count(report.rows_rejected);
    match &report.dead_letters {
        Some(file) => {
            format!(
                "  {rows} rows were set aside in {}; load them again with: arrowload replay {}\n",
                file.display(),
                file.display()
            )
        }
        None if report.rows_rejected > 0 => {
            format!("  {rows} rows had been set aside, in a dead-letter file that is not here\n")
        }
        None => String::new(),
    }
}

/// Why something was tried again, in order.
pub(crate) fn retries() -> Vec<String> {
    RETRIES
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// Log lines go to standard error: ours with -v and -vv, those of the engines too with -vvv, nothing with --quiet. What went wrong is
/// said once, at the end.
pub(crate) fn logs(common: &Common, telemetry: &Telemetry) {
    let json = common.log_format == LogFormat::Json;
    let (ours, others) = match (common.quiet, common.verbose) {
        (true, _) if json => (LevelFilter::ERROR, LevelFilter::OFF),
        (true, _) => (LevelFilter::OFF, LevelFilter::OFF),
        (_, 0) if json => (LevelFilter::WARN, LevelFilter::WARN),
        (_, 0) => (LevelFilter::OFF, LevelFilter::OFF),
        (_, 1) => (LevelFilter::INFO, LevelFilter::WARN),
        (_, 2) => (LevelFilter::DEBUG, LevelFilter::WARN),
        _ => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    let targets = Targets::new()
        .with_target("arrowload", ours)
        .with_default(others);
    let lines = fmt::layer()
        // There is nobody left to tell if standard error is closed.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let lines = match json {
        true => lines.json().boxed(),
        false => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    let told = Told {
        shows: !json && common.verbose == 0,
    };
    // The pipeline warns of tries that failed, and readers of files of lines that are left out.
    let warnings = filter_fn(|metadata| {
        let target = metadata.target();
        *metadata.level() == tracing::Level::WARN
            && ["arrowload_core", "arrowload::input"]
                .iter()
                .any(|ours| target.starts_with(ours))
    });
    // Spans are for traces: a line says itself what it is about.
    let lines = lines.with_filter(targets.and(filter_fn(|metadata| metadata.is_event())));
    let registry = tracing_subscriber::registry()
        .with(lines)
        .with(told.with_filter(warnings));
    #[cfg(feature = "otlp")]
    let registry = registry.with(telemetry.traces().map(|tracer| {
        let ours =
            filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("arrowload"));
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(ours)
    }));
    #[cfg(not(feature = "otlp"))]
    let _ = telemetry;
    registry.init();
}

/// Prints warnings at once. Failed attempts of the pipeline are kept for the report.
struct Told {
    /// Nothing else says it.
    shows: bool,
}

impl<S: tracing::Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let line = match (words.pause, words.error) {
            (Some(pause), Some(error)) => {
                let mut kept = RETRIES.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() < MOST_RETRIES {
                    kept.push(error.clone());
                }
                format!("{} in {}: {error}", words.message, rounded(&pause))
            }
            (None, Some(error)) => format!("{}: {error}", words.message),
            _ => words.message,
        };
        if self.shows {
            note(&line);
        }
    }
}

/// A duration as `Debug` writes it, in seconds.
fn rounded(pause: &str) -> String {
    let end = pause.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, unit) = pause.split_at(end.unwrap_or(pause.len()));
    let seconds = match (number.parse::<f64>(), unit) {
        (Ok(number), "s") => number,
        (Ok(number), "ms") => number / 1e3,
        (Ok(number), "µs") => number / 1e6,
        _ => return pause.to_owned(),
    };
    format!("{seconds:.1} s")
}

/// The fields of an event.
#[derive(Default)]
struct Words {
    message: String,
    error: Option<String>,
    pause: Option<String>,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            "error" => self.error = Some(text),
            "pause" => self.pause = Some(text),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine;

    #[tokio::test]
    async fn a_load_that_was_completed_is_not_said_to_have_written_nothing() {
        let mut done = crate::leaky::load("well").await.expect("loaded");
        assert_eq!(machine::report(&done)["status"], "loaded");
        done.already_loaded = true;
        assert!(report(&done).contains("already there, 2 rows; nothing was written"));
        assert_eq!(machine::report(&done)["status"], "already there");
        done.details.insert("completed".into(), "true".into());
        let said = report(&done);
        assert!(said.contains("2 rows, and cut off before") && said.contains("completed now"));
        assert!(!said.contains("nothing was written"), "{said}");
        assert_eq!(machine::report(&done)["status"], "completed");
    }

    #[test]
    fn pauses_are_said_in_seconds() {
        let pauses = [
            std::time::Duration::from_micros(162_913),
            std::time::Duration::from_millis(30_040),
            std::time::Duration::from_micros(7),
        ];
        let said = pauses.map(|pause| rounded(&format!("{pause:?}")));
        assert_eq!(said, ["0.2 s", "30.0 s", "0.0 s"]);
    }
}
