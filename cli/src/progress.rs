//! How far a load is: a bar on a terminal, lines at intervals elsewhere.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrowload::{LoadStatus, Phase, Progress};
use arrowload_common_text::printable;
use comfy_table::Table;
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use tokio::task::AbortHandle;

use crate::show::{count, note, rate};

/// How often a line is written where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(5);
/// How often a bar is drawn: waiting is seen to go on.
const REFRESH: Duration = Duration::from_millis(200);
/// A terminal of fewer columns has no room for a bar beside the words.
const ROOM_FOR_A_BAR: usize = 100;

/// Shows the progress of loads on standard error.
#[derive(Debug, Clone)]
pub(crate) enum Display {
    Silent,
    Bars(MultiProgress),
    Lines,
}

/// One load's share of the display.
#[derive(Clone)]
pub(crate) struct Meter(Option<Arc<Shown>>);

struct Shown {
    name: String,
    /// `None` where lines are written.
    bar: Option<ProgressBar>,
    status: LoadStatus,
    began: Instant,
    state: Mutex<State>,
    ticking: Mutex<Option<AbortHandle>>,
}

struct State {
    progress: Option<Progress>,
    /// When rows were first written, and how many there were then.
    first: Option<(Instant, u64)>,
    /// When the last line was written.
    told: Instant,
}

impl Display {
    pub(crate) fn new(quiet: bool, only_lines: bool) -> Self {
        match quiet {
            true => Self::Silent,
            false if std::io::stderr().is_terminal() && !only_lines => {
                Self::Bars(MultiProgress::new())
            }
            false => Self::Lines,
        }
    }

    /// A load begins.
    pub(crate) fn meter(&self, name: &str, status: LoadStatus) -> Meter {
        let bar = match self {
            Self::Silent => return Meter(None),
            Self::Lines => None,
            Self::Bars(bars) => {
                let bar = bars.add(ProgressBar::no_length());
                bar.set_style(style("{prefix} {spinner} {wide_msg}"));
                bar.set_prefix(printable(name).into_owned());
                Some(bar)
            }
        };
        let now = Instant::now();
        let shown = Arc::new(Shown {
            name: name.to_owned(),
            bar,
            status,
            began: now,
            state: Mutex::new(State {
                progress: None,
                first: None,
                told: now,
            }),
            ticking: Mutex::new(None),
        });
        // There are no reports while a store is waited for.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let ticked = Arc::clone(&shown);
            let task = runtime.spawn(async move {
                loop {
                    tokio::time::sleep(REFRESH).await;
                    ticked.refresh();
                }
            });
            *lock(&shown.ticking) = Some(task.abort_handle());
        }
        Meter(Some(shown))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Meter {
    /// Takes what the load says of itself.
    pub(crate) fn show(&self, progress: &Progress) {
        let Some(shown) = &self.0 else { return };
        let mut state = lock(&shown.state);
        // A load that is run again starts from no rows.
        if progress.rows_written == 0 {
            state.first = None;
        } else if state.first.is_none() {
            state.first = Some((Instant::now(), progress.rows_written));
        }
        state.progress = Some(progress.clone());
    }

    /// The load has ended.
    pub(crate) fn end(&self) {
        let Some(shown) = &self.0 else { return };
        if let Some(task) = lock(&shown.ticking).take() {
            task.abort();
        }
        if let Some(bar) = &shown.bar {
            bar.finish_and_clear();
        }
    }
}

impl Shown {
    fn refresh(&self) {
        let mut state = lock(&self.state);
        let phase = self.status.phase();
        let rate = match (&state.progress, state.first) {
            (Some(progress), Some((first, before))) => {
                let seconds = first.elapsed().as_secs_f64();
                let rows = progress.rows_written.saturating_sub(before);
                (seconds > 0.3).then(|| rows as f64 / seconds)
            }
            _ => None,
        };
        let words = words(phase, state.progress.as_ref(), rate, self.began.elapsed());
        match &self.bar {
            Some(bar) => {
                let expected = state.progress.as_ref().and_then(|told| told.expected_rows);
                let width = usize::from(console_width());
                if let (Some(rows), None) = (expected, bar.length())
                    && width >= ROOM_FOR_A_BAR
                {
                    bar.set_length(rows.max(1));
                    bar.set_style(style("{prefix} {bar:24.green} {wide_msg}"));
                }
                let written = state.progress.as_ref().map_or(0, |told| told.rows_written);
                bar.set_position(written);
                bar.set_message(words);
                bar.tick();
            }
            None if state.told.elapsed() >= INTERVAL => {
                state.told = Instant::now();
                note(&format!("{}: {words}", self.name));
            }
            None => {}
        }
    }
}

/// The columns of the terminal.
fn console_width() -> u16 {
    let columns = std::env::var("COLUMNS").ok();
    let by_variable = columns.and_then(|text| text.parse().ok());
    by_variable.unwrap_or_else(|| Table::new().use_stderr().width().unwrap_or(80))
}

/// What a load is doing, the most important first, because a narrow terminal cuts off the end.
fn words(
    phase: Phase,
    progress: Option<&Progress>,
    rate_of_rows: Option<f64>,
    elapsed: Duration,
) -> String {
    let seconds = format!("{:.0} s", elapsed.as_secs_f64());
    let written = progress.map_or(0, |told| told.rows_written);
    let again = match progress.map_or(1, |told| told.attempt) {
        0 | 1 => String::new(),
        attempt => format!(", attempt {attempt}"),
    };
    let rows = || match written {
        0 => String::new(),
        rows => format!(", {} rows", count(rows)),
    };
    match (phase, progress) {
        (Phase::Writing, Some(told)) if written > 0 => {
            let total = told.expected_rows.filter(|total| *total >= written);
            let done = match total {
                // The time for the remaining rows is not estimated.
                Some(total) => format!(
                    "{}% {}/{} rows",
                    (written * 100 / total.max(1)).min(99),
                    count(written),
                    count(total)
                ),
                None => format!("{} rows", count(written)),
            };
            let speed = rate_of_rows.map(|speed| format!(", {} rows/s", rate(speed as u64, 1.0)));
            let left = match (total, rate_of_rows) {
                (Some(total), Some(speed)) if speed > 0.0 => {
                    format!(", {:.0} s left", (total - written) as f64 / speed)
                }
                _ => String::new(),
            };
            let bytes = HumanBytes(told.bytes);
            format!(
                "{done}{}, {bytes}, {seconds}{left}{again}",
                speed.unwrap_or_default()
            )
        }
        (Phase::Querying | Phase::Resolving | Phase::Writing, told) => {
            let query = told
                .and_then(|told| told.query_done.filter(|_| told.rows_read == 0))
                .map(|done| format!(", {:.0}% done", done * 100.0));
            let phase = match phase {
                Phase::Writing => "waiting for rows".to_owned(),
                other => other.to_string(),
            };
            format!("{phase}{}, {seconds}{again}", query.unwrap_or_default())
        }
        (phase, _) => format!("{phase}{}, {seconds}{again}", rows()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaky::progress;

    #[tokio::test]
    async fn phases_and_rates_are_said_as_people_write_them() {
        let told = progress().await;
        let said = |phase, rate, rows, expected| {
            let mut told = told.clone();
            (told.rows_written, told.expected_rows, told.bytes) = (rows, expected, 2048);
            words(phase, Some(&told), rate, Duration::from_secs(3))
        };
        assert_eq!(
            said(Phase::Writing, Some(402_053.4), 1_200_000, None),
            "1,200,000 rows, 402,053 rows/s, 2.00 KiB, 3 s"
        );
        assert_eq!(
            said(Phase::Writing, Some(100.0), 1_000, Some(1_200)),
            "83% 1,000/1,200 rows, 100 rows/s, 2.00 KiB, 3 s, 2 s left"
        );
        // All are written, which is not all that is to be done.
        assert!(said(Phase::Writing, None, 10, Some(10)).starts_with("99%"));
        for (phase, word) in [
            (Phase::Connecting, "connecting"),
            (Phase::Preparing, "preparing, 10 rows, 3 s"),
            (Phase::Verifying, "verifying, 10 rows, 3 s"),
            (Phase::Committing, "committing, 10 rows, 3 s"),
        ] {
            let said = said(phase, Some(1.0), 10, Some(10));
            assert!(said.starts_with(word) && !said.contains('%'), "{said}");
        }
        let waiting = words(Phase::Connecting, None, None, Duration::from_secs(7));
        assert_eq!(waiting, "connecting, 7 s");
    }
}
