//! Counts rows and bytes, and reports them: to a callback, to the log at intervals, and in the
//! report.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;

use super::Phase;
use super::sink::Sink;
use super::telemetry::count_written;
use crate::{ColumnChecksum, LoadReport, Progress, QueryProgress, Receipt};

const CALLBACK_INTERVAL: Duration = Duration::from_millis(100);
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The counts of one attempt.
pub(crate) struct Meter<'a> {
    pub(crate) sink: &'a Sink<'a>,
    pub(crate) rows_read: AtomicU64,
    pub(crate) rows_written: AtomicU64,
    pub(crate) rows_rejected: AtomicU64,
    pub(crate) null_keys: AtomicU64,
    pub(crate) rows_unparsed: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) expected_rows: Mutex<Option<u64>>,
    query: QueryProgress,
    told: Mutex<(Instant, Instant)>,
    settled: Mutex<Settled>,
}

/// What is known when the commit begins.
#[derive(Default)]
pub(crate) struct Settled {
    /// The file of the rows that were set aside.
    pub(crate) dead_letters: Option<PathBuf>,
    /// The file of the rows that could not be parsed.
    pub(crate) unparsed: Option<PathBuf>,
    /// The checksums, equal for the rows that were sent and the rows in the store.
    pub(crate) checksums: Option<Vec<ColumnChecksum>>,
}

impl Settled {
    /// The load did not commit, so that no row was set aside.
    pub(crate) fn take_back(self) {
        for path in self.dead_letters.into_iter().chain(self.unparsed) {
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(%error, file = %path.display(), "a dead-letter file of a load that failed could not be removed");
            }
        }
    }
}

fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

impl<'a> Meter<'a> {
    pub(crate) fn new(sink: &'a Sink<'a>, query: QueryProgress) -> Self {
        let now = Instant::now();
        Self {
            sink,
            rows_read: AtomicU64::new(0),
            rows_written: AtomicU64::new(0),
            rows_rejected: AtomicU64::new(0),
            null_keys: AtomicU64::new(0),
            rows_unparsed: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            expected_rows: Mutex::new(None),
            query,
            told: Mutex::new((now, now)),
            settled: Mutex::default(),
        }
    }

    pub(crate) fn settle(&self, settled: Settled) {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = settled;
    }

    pub(crate) fn settled(&self) -> Settled {
        std::mem::take(&mut *self.settled.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a batch that was handed to the store.
    pub(crate) fn count(&self, batch: &RecordBatch, bytes: usize, rejected: u64) {
        self.rows_written
            .fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        count_written(self.sink.name(), batch.num_rows() as u64, bytes as u64);
        self.rows_rejected.store(rejected, Ordering::Relaxed);
        self.tick();
    }

    /// Reports to the callback and the log, if it is time.
    pub(crate) fn tick(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now.duration_since(told.0) >= CALLBACK_INTERVAL {
            told.0 = now;
            self.call_back(false);
        }
        if now.duration_since(told.1) >= LOG_INTERVAL {
            told.1 = now;
            let progress = self.progress(false);
            tracing::info!(
                load_id = progress.load_id,
                rows = progress.rows_written,
                bytes = progress.bytes,
                rejected = progress.rows_rejected,
                elapsed = ?progress.elapsed,
                phase = %progress.phase,
                "loading"
            );
        }
    }

    fn call_back(&self, done: bool) {
        if let Some(callback) = &self.sink.spec.on_progress {
            callback(&self.progress(done));
        }
    }

    fn progress(&self, done: bool) -> Progress {
        Progress {
            load_id: self.sink.load_id.clone(),
            phase: self.sink.status().phase(),
            rows_read: get(&self.rows_read),
            rows_written: get(&self.rows_written),
            rows_rejected: get(&self.rows_rejected),
            bytes: get(&self.bytes),
            elapsed: self.sink.started.elapsed(),
            expected_rows: *self
                .expected_rows
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
            query_done: self.query.done(),
            attempt: self.sink.attempts.load(Ordering::Relaxed),
            done,
        }
    }

    /// The report of a load that is in the target, from the store's receipt and these counts.
    pub(crate) fn report(&self, receipt: Receipt, settled: Settled) -> LoadReport {
        self.sink.enter(Phase::Committed);
        self.call_back(true);
        // Rows that this run set aside are not those of the load that is there.
        let rows_rejected = if receipt.already_loaded {
            receipt.rows_rejected
        } else {
            get(&self.rows_rejected)
        };
        let planned = self.sink.planned();
        let mut keys = receipt.keys;
        if let Some(keys) = &mut keys {
            keys.null += get(&self.null_keys);
        }
        LoadReport {
            load_id: self.sink.load_id.clone(),
            loader: self.sink.name().into(),
            target: self.sink.spec.target.clone(),
            mode: self.sink.spec.load.mode,
            rows: receipt.rows,
            rows_read: get(&self.rows_read),
            rows_rejected,
            dead_letters: settled.dead_letters,
            rows_unparsed: get(&self.rows_unparsed),
            unparsed: settled.unparsed,
            bytes: if receipt.bytes > 0 {
                receipt.bytes
            } else {
                get(&self.bytes)
            },
            batches: get(&self.batches),
            keys,
            already_loaded: receipt.already_loaded,
            retries: self.sink.retries.load(Ordering::Relaxed),
            reopened: self.sink.reopened(),
            elapsed: self.sink.started.elapsed(),
            unproved: match settled.checksums {
                Some(_) => planned
                    .iter()
                    .flat_map(|plan| plan.unproved.clone())
                    .collect(),
                None => Vec::new(),
            },
            checksums: settled.checksums,
            guarantees: planned
                .filter(|_| !receipt.already_loaded)
                .map(|planned| planned.guarantees),
            details: receipt.details,
        }
    }
}
