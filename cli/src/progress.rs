//! How far a load is: a bar on a terminal, lines at intervals elsewhere.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrowload::Progress;
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

use crate::args::Common;
use crate::show::{complain, count};

/// How often a line is written where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(5);

/// Shows the progress of loads on standard error.
#[derive(Debug, Clone)]
pub(crate) enum Display {
    Silent,
    Bars(MultiProgress),
    Lines,
}

/// One load's share of the display.
#[derive(Debug, Clone)]
pub(crate) enum Meter {
    Silent,
    Bar(ProgressBar),
    Lines {
        name: String,
        last: Arc<Mutex<Instant>>,
    },
}

impl Display {
    pub(crate) fn new(common: &Common) -> Self {
        if common.quiet {
            return Self::Silent;
        }
        if std::io::stderr().is_terminal() {
            Self::Bars(MultiProgress::new())
        } else {
            Self::Lines
        }
    }

    /// A load begins.
    pub(crate) fn meter(&self, name: &str) -> Meter {
        match self {
            Self::Silent => Meter::Silent,
            Self::Lines => Meter::Lines {
                name: name.to_owned(),
                last: Arc::new(Mutex::new(Instant::now())),
            },
            Self::Bars(bars) => {
                let bar = bars.add(ProgressBar::no_length());
                bar.set_style(style(
                    "{prefix} {spinner} {human_pos} rows  {msg}  {per_sec}  {elapsed}",
                ));
                bar.set_prefix(name.to_owned());
                bar.enable_steady_tick(Duration::from_millis(100));
                Meter::Bar(bar)
            }
        }
    }

    /// A line between bars.
    pub(crate) fn line(&self, line: &str) {
        match self {
            Self::Silent => {}
            Self::Lines => complain(line),
            Self::Bars(bars) => bars.suspend(|| complain(line)),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Meter {
    /// Takes what the load says of itself.
    pub(crate) fn show(&self, progress: &Progress) {
        match self {
            Self::Silent => {}
            Self::Bar(bar) => {
                if let (Some(rows), None) = (progress.expected_rows, bar.length()) {
                    bar.set_length(rows);
                    bar.set_style(style(
                        "{prefix} {bar:32.green} {percent:>3}% {human_pos}/{human_len} rows  {msg}  {per_sec}  {elapsed}, {eta} left",
                    ));
                }
                bar.set_position(progress.rows_written);
                bar.set_message(match waits(progress) {
                    Some(query) => query,
                    None => HumanBytes(progress.bytes).to_string(),
                });
            }
            Self::Lines { name, last } => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.elapsed() >= INTERVAL {
                    *last = Instant::now();
                    if let Some(query) = waits(progress) {
                        complain(&format!("{name}: {query}"));
                        return;
                    }
                    let total = progress
                        .expected_rows
                        .map(|rows| format!(" of {}", count(rows)))
                        .unwrap_or_default();
                    let seconds = progress.elapsed.as_secs_f64();
                    let speed = count((progress.rows_written as f64 / seconds.max(1e-9)) as u64);
                    complain(&format!(
                        "{name}: {}{total} rows, {}, {speed} rows/s, {seconds:.0} s",
                        count(progress.rows_written),
                        HumanBytes(progress.bytes)
                    ));
                }
            }
        }
    }

    /// The load has ended.
    pub(crate) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// What is said before the first rows come, where the engine says how far it is.
fn waits(progress: &Progress) -> Option<String> {
    let done = progress.query_done.filter(|_| progress.rows_read == 0)?;
    Some(format!("the query is {:.0}% done", done * 100.0))
}
