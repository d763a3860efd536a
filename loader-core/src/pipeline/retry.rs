//! Trying again: exponential backoff with jitter, on transient errors only, no sooner than the other side asks.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder, Retryable};

use crate::{Error, Result, Retry};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The context of an error that was answered by other tries.
const TRIED: &str = "tried";

fn backoff(max_retries: u32, pauses_within: Option<Duration>) -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_max_times(max_retries as usize)
        .with_total_delay(pauses_within)
}

/// The pauses before each other try.
pub(crate) fn pauses(
    max_retries: u32,
    pauses_within: Option<Duration>,
) -> impl Iterator<Item = Duration> {
    backoff(max_retries, pauses_within).build()
}

/// A pause no shorter than the other side asks for.
pub(crate) fn at_least(pause: Duration, error: &Error) -> Duration {
    match error.retry() {
        Retry::Transient { after: Some(asked) } => pause.max(asked),
        _ => pause,
    }
}

/// Calls until it succeeds, fails for good, or was repeated `max_retries` times. All
/// pauses together last no longer than `pauses_within`. `notify` sees each error that is answered by another try; the last one
/// says how often and how long it was tried.
pub(crate) async fn with_retries<T, F: Future<Output = Result<T>>>(
    max_retries: u32,
    pauses_within: Option<Duration>,
    notify: &(dyn Fn(&Error) + Sync),
    call: impl FnMut() -> F,
) -> Result<T> {
    let (started, repeated) = (Instant::now(), AtomicU32::new(0));
    let outcome = call
        .retry(backoff(max_retries, pauses_within))
        // What was tried until nobody hoped any more is not tried all over again by who called it.
        .when(|error| error.is_transient() && error.get(TRIED).is_none())
        .adjust(|error, pause| pause.map(|pause| at_least(pause, error)))
        .notify(|error, pause| {
            tracing::warn!(%error, ?pause, "trying again");
            repeated.fetch_add(1, Ordering::Relaxed);
            notify(error);
        })
        .await;
    match repeated.into_inner() {
        0 => outcome,
        more => {
            let tried = format!(
                "{} times in {:.1} s",
                more + 1,
                started.elapsed().as_secs_f64()
            );
            outcome.map_err(|error| error.replace(TRIED, tried))
        }
    }
}
