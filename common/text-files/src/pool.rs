//! Workers that take the chunks of a file in turn, and hand on what came of them in the order of the file.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use arrowload_core::{Error, ErrorKind, Result};

/// Cuts a file into chunks.
pub trait Chunks: Send + 'static {
    /// What is to be known of a chunk besides its bytes.
    type Note: Send;

    /// Puts the next chunk into the buffer, whose content is of no use; `None` after the last.
    ///
    /// # Errors
    /// When the file cannot be read, or not be cut. No chunk is asked for then.
    fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<Option<Self::Note>>;
}

/// What is made of each chunk, on whichever thread.
pub trait Work<C: Chunks>: Send + Sync + 'static {
    /// What comes of a chunk.
    type Done: Send + 'static;

    /// Works on one chunk.
    ///
    /// # Errors
    /// Those that the chunk has; the chunks before it are handed on first.
    fn work(&self, chunk: &[u8], note: C::Note) -> Result<Self::Done>;
}

/// The threads that parse if nobody says how many: as many as there are cores.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The chunks that are still to be cut.
struct Source<C> {
    chunks: C,
    /// The number of the next one.
    next: u64,
}

struct Shared<C: Chunks, W: Work<C>> {
    work: W,
    source: Mutex<Source<C>>,
    results: Mutex<Results<W::Done>>,
    /// A result is there, or a worker ended.
    came: Condvar,
    /// A result was taken, or the workers shall stop.
    taken: Condvar,
    stop: AtomicBool,
}

struct Results<D> {
    ready: BTreeMap<u64, Result<D>>,
    /// Chunks that may still be begun: it bounds the memory.
    room: usize,
    working: usize,
    /// The chunks of the file, once its end is known.
    total: Option<u64>,
}

/// The workers of a file.
pub struct Pool<C: Chunks, W: Work<C>> {
    shared: Arc<Shared<C, W>>,
    workers: Vec<JoinHandle<()>>,
    next: u64,
}

/// A panic in another thread has left nothing half done: results are put in whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<C: Chunks, W: Work<C>> Pool<C, W> {
    /// Begins to work. Memory is bounded by three chunks a thread, and what came of them.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn new(name: &str, chunks: C, work: W, threads: usize) -> Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            work,
            source: Mutex::new(Source { chunks, next: 0 }),
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
                .name(name.into())
                .spawn(move || {
                    let _leave = Leave(&*shared);
                    shared.run();
                });
            pool.workers.push(worker.map_err(Error::from)?);
        }
        Ok(pool)
    }

    /// The work that is done.
    pub fn work(&self) -> &W {
        &self.shared.work
    }

    /// Asks whoever cuts the chunks; whoever is about to cut one waits.
    pub fn chunks<T>(&self, ask: impl FnOnce(&C) -> T) -> T {
        ask(&lock(&self.shared.source).chunks)
    }
}

/// What came of the chunks, in the order of the file.
impl<C: Chunks, W: Work<C>> Iterator for Pool<C, W> {
    type Item = Result<W::Done>;

    fn next(&mut self) -> Option<Self::Item> {
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

impl<C: Chunks, W: Work<C>> Drop for Pool<C, W> {
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
struct Leave<'a, C: Chunks, W: Work<C>>(&'a Shared<C, W>);

impl<C: Chunks, W: Work<C>> Drop for Leave<'_, C, W> {
    fn drop(&mut self) {
        lock(&self.0.results).working -= 1;
        self.0.came.notify_all();
        self.0.taken.notify_all();
    }
}

impl<C: Chunks, W: Work<C>> Shared<C, W> {
    fn run(&self) {
        let mut buffer = Vec::new();
        while self.enter() {
            let mut source = lock(&self.source);
            let number = source.next;
            let filled = source.chunks.fill(&mut buffer);
            source.next += u64::from(matches!(filled, Ok(Some(_))));
            drop(source);
            let result = match filled {
                Ok(None) => {
                    self.end(number);
                    return;
                }
                Ok(Some(note)) => self.work.work(&buffer, note),
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
