//! What people see: lines on standard error and output, tables, numbers, logs.

use std::io::{IsTerminal, Write};

use arrowload::LoadReport;
use arrowload_common_text::printable_lines;
use comfy_table::{ContentArrangement, Table, presets};
use tracing_subscriber::filter::LevelFilter;

use crate::args::{Common, LogFormat};
use crate::exit::Failure;

/// A line on standard error.
pub(crate) fn complain(line: &str) {
    // A message may quote data. There is nobody left to tell if this fails.
    let _ = writeln!(std::io::stderr().lock(), "{}", printable_lines(line));
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

/// What a load did, in one line and as many as its details need.
pub(crate) fn report(report: &LoadReport) -> String {
    let seconds = report.elapsed.as_secs_f64();
    let (loader, target) = (&report.loader, &report.target);
    if report.already_loaded {
        let there = format!(
            "load {} was already there, {} rows; nothing was written",
            report.load_id,
            count(report.rows)
        );
        return format!("{loader} `{target}`: {there}\n{}", set_aside(report));
    }
    let speed = count((report.rows as f64 / seconds.max(1e-9)) as u64);
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
    }
    text + &set_aside(report)
}

fn set_aside(report: &LoadReport) -> String {
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

/// Log lines go to standard error: warnings, more with -v, nothing with --quiet.
pub(crate) fn logs(common: &Common) {
    let level = match (common.quiet, common.verbose) {
        (true, _) => LevelFilter::OFF,
        // What went wrong is said once, at the end.
        (_, 0) => LevelFilter::OFF,
        (_, 1) => LevelFilter::INFO,
        (_, 2) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        // There is nobody left to tell if standard error is closed.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    match common.log_format {
        LogFormat::Json => builder
            .with_max_level(level.max(LevelFilter::WARN))
            .json()
            .init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
    }
}
