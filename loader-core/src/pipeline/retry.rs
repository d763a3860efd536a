//! Trying again: exponential backoff with jitter, on transient errors only, no sooner than the other side asks.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};

use crate::{Error, Result, Retry};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Calls until it succeeds, fails for good, or was repeated `max_retries` times. All
/// pauses together last no longer than `pauses_within`. `notify` sees each error that is answered by another try.
pub(crate) async fn with_retries<T, F: Future<Output = Result<T>>>(
    max_retries: u32,
    pauses_within: Option<Duration>,
    notify: &(dyn Fn(&Error) + Sync),
    call: impl FnMut() -> F,
) -> Result<T> {
    let backoff = ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_max_times(max_retries as usize)
        .with_total_delay(pauses_within);
    call.retry(backoff)
        .when(Error::is_transient)
        .adjust(|error, pause| match error.retry() {
            Retry::Transient { after: Some(asked) } => pause.map(|pause| pause.max(asked)),
            _ => pause,
        })
        .notify(|error, pause| {
            tracing::warn!(%error, ?pause, "trying again");
            notify(error);
        })
        .await
}
