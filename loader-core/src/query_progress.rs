//! The progress of a query before its first rows, from the source to the caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A source reports the progress of its query here. Clones are one handle, across tasks too; it comes with the
/// [`Query`](crate::Query).
#[derive(Debug, Clone)]
pub struct QueryProgress(Arc<AtomicU64>);

/// The value for: nothing reported yet.
const NOTHING: f64 = -1.0;

impl Default for QueryProgress {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(NOTHING.to_bits())))
    }
}

impl QueryProgress {
    /// Says how much of the query the engine has done, from 0 to 1, as long as the first rows are not there. A load that waits for
    /// them shows it.
    pub fn report(&self, done: f64) {
        let done = done.clamp(0.0, 1.0);
        tracing::info!("{:.0}% of the query is done", done * 100.0);
        self.0.store(done.to_bits(), Ordering::Relaxed);
    }

    /// From 0 to 1, if the source has said so.
    pub fn done(&self) -> Option<f64> {
        let done = f64::from_bits(self.0.load(Ordering::Relaxed));
        (0.0..=1.0).contains(&done).then_some(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_clone_says_another_hears() {
        let progress = QueryProgress::default();
        assert_eq!(progress.done(), None);
        progress.clone().report(0.25);
        assert_eq!(progress.done(), Some(0.25));
        progress.report(7.0);
        assert_eq!(progress.done(), Some(1.0));
    }
}
