//! Retries: exponential backoff with jitter, on transient errors only, no sooner than the other side asks.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder, Retryable};

use crate::{Error, Result, Retry};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

fn backoff(max_retries: u32, pauses_within: Option<Duration>) -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_max_times(max_retries as usize)
        .with_total_delay(pauses_within)
}

/// The pauses before each retry of something that is retried step by step, and how many there were.
pub(crate) struct Pauses {
    pauses: backon::ExponentialBackoff,
    started: Instant,
    taken: u32,
}

impl Pauses {
    pub(crate) fn new(max_retries: u32, pauses_within: Option<Duration>) -> Self {
        Self {
            pauses: backoff(max_retries, pauses_within).build(),
            started: Instant::now(),
            taken: 0,
        }
    }

    /// The next pause, if there is one left.
    pub(crate) fn next(&mut self) -> Option<Duration> {
        let pause = self.pauses.next()?;
        self.taken += 1;
        Some(pause)
    }

    /// The last error, with what was tried.
    pub(crate) fn exhausted(&self, error: Error) -> Error {
        tried(error, self.taken, self.started)
    }
}

/// Says how often something was tried: an error that has used up its retries is not retried by an outer level.
fn tried(error: Error, retried: u32, started: Instant) -> Error {
    if retried == 0 {
        return error;
    }
    let seconds = started.elapsed().as_secs_f64();
    error
        .with("tried", format!("{} times in {seconds:.1} s", retried + 1))
        .exhausted()
}

/// A pause no shorter than the other side asks for.
pub(crate) fn at_least(pause: Duration, error: &Error) -> Duration {
    match error.retry() {
        Retry::Transient { after: Some(asked) } => pause.max(asked),
        _ => pause,
    }
}

/// Calls until it succeeds, fails for good, or was repeated `max_retries` times. All pauses together last no longer than
/// `pauses_within`. `notify` sees each error that is retried; the last one says how often and how long it was tried.
pub(crate) async fn with_retries<T, F: Future<Output = Result<T>>>(
    max_retries: u32,
    pauses_within: Option<Duration>,
    notify: &(dyn Fn(&Error) + Sync),
    call: impl FnMut() -> F,
) -> Result<T> {
    let (started, repeated) = (Instant::now(), AtomicU32::new(0));
    call.retry(backoff(max_retries, pauses_within))
        .when(|error| error.is_transient() && !error.is_exhausted())
        .adjust(|error, pause| pause.map(|pause| at_least(pause, error)))
        .notify(|error, pause| {
            tracing::warn!(%error, ?pause, "retrying");
            repeated.fetch_add(1, Ordering::Relaxed);
            notify(error);
        })
        .await
        .map_err(|error| tried(error, repeated.load(Ordering::Relaxed), started))
}
