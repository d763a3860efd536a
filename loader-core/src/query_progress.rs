//! How far a query is before its first rows come: a word from the source to whoever waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a source has said; the bits of a number, and those of a negative one before it says anything.
#[derive(Debug, Clone)]
pub(crate) struct QueryProgress(Arc<AtomicU64>);

tokio::task_local! {
    static WAITING: QueryProgress;
}

impl QueryProgress {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new((-1.0_f64).to_bits())))
    }

    /// From 0 to 1, if the source has said so.
    pub(crate) fn done(&self) -> Option<f64> {
        let done = f64::from_bits(self.0.load(Ordering::Relaxed));
        (0.0..=1.0).contains(&done).then_some(done)
    }

    /// Hears what a source says while it opens a query.
    pub(crate) async fn hear<T>(&self, opening: impl Future<Output = T>) -> T {
        WAITING.scope(self.clone(), opening).await
    }
}

/// Says how much of a query the engine has done, from 0 to 1. For sources, in [`DataSource::query`](crate::DataSource::query),
/// as long as the first rows are not there; it is heard where a load waits for them, and else goes to the log alone.
pub fn report_query_progress(done: f64) {
    tracing::info!("{:.0}% of the query is done", done.clamp(0.0, 1.0) * 100.0);
    // Where nobody listens, nothing is to be done.
    let _ = WAITING.try_with(|progress| {
        progress
            .0
            .store(done.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_who_waits_hears() {
        report_query_progress(0.9);
        let progress = QueryProgress::new();
        assert_eq!(progress.done(), None);
        progress.hear(async { report_query_progress(0.25) }).await;
        assert_eq!(progress.done(), Some(0.25));
    }
}
