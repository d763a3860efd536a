//! Workers that take the chunks of a file in turn, and hand on what came of them in the order of the file.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use arrowload_core::{Error, ErrorKind, Result};

use crate::feed::Feed;
use crate::parse::{Parsed, Parser};
use crate::tokens::Chunk;

/// What is made of the chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Batches,
    Profile,
}

struct Shared {
    parser: Parser,
    work: Work,
    feed: Mutex<Feed>,
    results: Mutex<Results>,
    /// A result is there, or a worker ended.
    came: Condvar,
    /// A result was taken, or the workers shall stop.
    taken: Condvar,
    stop: AtomicBool,
}

struct Results {
    ready: BTreeMap<u64, Result<Parsed>>,
    /// Chunks that may still be begun: it bounds the memory.
    room: usize,
    working: usize,
    /// The chunks of the file, once its end is known.
    total: Option<u64>,
}

/// The workers of a file.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    next: u64,
}

/// A panic in another thread has left nothing half done: results are put in whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    pub(crate) fn new(feed: Feed, parser: Parser, work: Work, threads: usize) -> Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            parser,
            work,
            feed: Mutex::new(feed),
            results: Mutex::new(Results {
                ready: BTreeMap::new(),
                room: threads * 2,
                working: threads,
                total: None,
            }),
            came: Condvar::new(),
            taken: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let mut pool = Self {
            shared,
            workers: Vec::new(),
            next: 0,
        };
        for _ in 0..threads {
            let shared = Arc::clone(&pool.shared);
            let worker = std::thread::Builder::new()
                .name("csv".into())
                .spawn(move || {
                    let _leave = Leave(&shared);
                    shared.run();
                });
            pool.workers.push(worker.map_err(Error::from)?);
        }
        Ok(pool)
    }

    pub(crate) fn parser(&self) -> &Parser {
        &self.shared.parser
    }

    /// The lines of the footer, at the end.
    pub(crate) fn footer_lines(&self) -> u64 {
        lock(&self.shared.feed).footer_lines
    }

    /// What came of the next chunk; `None` after the last.
    pub(crate) fn next(&mut self) -> Option<Result<Parsed>> {
        let mut results = lock(&self.shared.results);
        loop {
            if let Some(result) = results.ready.remove(&self.next) {
                results.room += 1;
                self.next += 1;
                drop(results);
                self.shared.taken.notify_one();
                return Some(result);
            }
            if results.total == Some(self.next) {
                return None;
            }
            if results.working == 0 {
                results.total = Some(self.next);
                let message = "a worker ended before its chunk was read: a defect of the reader";
                return Some(Err(Error::new(ErrorKind::Unexpected, message)));
            }
            results = self
                .shared
                .came
                .wait(results)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Whoever waits looks at the flag under this lock.
        drop(lock(&self.shared.results));
        self.shared.taken.notify_all();
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so already, as a missing chunk.
            let _ended = worker.join();
        }
    }
}

/// Says that a worker ended, however it did.
struct Leave<'a>(&'a Shared);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        lock(&self.0.results).working -= 1;
        self.0.came.notify_all();
        self.0.taken.notify_all();
    }
}

impl Shared {
    fn run(&self) {
        let mut buffer = Vec::new();
        while self.enter() {
            let mut feed = lock(&self.feed);
            let number = feed.next;
            let filled = feed.fill(&mut buffer);
            drop(feed);
            let result = match filled {
                Ok(None) => {
                    self.end(number);
                    return;
                }
                Ok(Some(len)) => {
                    let chunk = Chunk { data: &buffer, len };
                    match self.work {
                        Work::Batches => self.parser.batches(chunk),
                        Work::Profile => self.parser.profile(chunk),
                    }
                }
                Err(error) => {
                    lock(&self.results).ready.insert(number, Err(error));
                    self.end(number + 1);
                    return;
                }
            };
            lock(&self.results).ready.insert(number, result);
            self.came.notify_one();
            // One row of hundreds of MiB should not hold that much for the rest of the file.
            if buffer.capacity() > 8 << 20 {
                buffer = Vec::new();
            }
        }
    }

    /// Waits for room; whether there is work to do.
    fn enter(&self) -> bool {
        let mut results = lock(&self.results);
        loop {
            if self.stop.load(Ordering::Relaxed) || results.total.is_some() {
                return false;
            }
            if results.room > 0 {
                results.room -= 1;
                return true;
            }
            results = self
                .taken
                .wait(results)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No chunk has this number or a higher one.
    fn end(&self, number: u64) {
        let mut results = lock(&self.results);
        let total = results.total.map_or(number, |total| total.min(number));
        results.total = Some(total);
        drop(results);
        self.came.notify_all();
        self.taken.notify_all();
    }
}
