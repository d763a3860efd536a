//! Worker threads that process the chunks of a file, and return the results in the order of the file.

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

/// The work on each chunk, on any thread.
pub trait Work<C: Chunks>: Send + Sync + 'static {
    /// The result of a chunk.
    type Done: Send + 'static;

    /// Works on one chunk.
    ///
    /// # Errors
    /// Those that the chunk has; the chunks before it are passed on first.
    fn work(&self, chunk: &[u8], note: C::Note) -> Result<Self::Done>;
}

/// The threads that parse if nobody says how many: as many as there are cores.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The bytes of chunks that are held at once, for all threads and for each.
const BUDGET: usize = 8 << 20;
const BUDGET_OF_A_THREAD: usize = 3 << 20;

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
    /// With so many bytes held, no further chunk is begun. It takes very long rows to get there.
    budget: usize,
    /// A result was taken, or the workers shall stop.
    taken: Condvar,
    stop: AtomicBool,
}

struct Results<D> {
    /// What came of a chunk, and the chunk's bytes.
    ready: BTreeMap<u64, (Result<D>, usize)>,
    /// Chunks that may still be begun: it bounds the memory.
    room: usize,
    /// The bytes of the chunks that were begun, whose results are still here or were the last to be taken.
    held: usize,
    /// The bytes of the chunk whose result was taken last.
    taken: usize,
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
    /// Begins to work. Memory is bounded by three chunks a thread, or one chunk if it is large, and what came of them.
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
                held: 0,
                taken: 0,
                working: threads,
                total: None,
            }),
            came: Condvar::new(),
            budget: BUDGET + threads * BUDGET_OF_A_THREAD,
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
        // Whoever asks for the next result has no more need of the last one.
        results.held -= std::mem::take(&mut results.taken);
        if results.held < self.shared.budget {
            self.shared.taken.notify_all();
        }
        loop {
            if let Some((result, bytes)) = results.ready.remove(&self.next) {
                results.room += 1;
                results.taken = bytes;
                self.next += 1;
                drop(results);
                self.shared.taken.notify_all();
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
            if !self.may_hold() {
                return;
            }
            let number = source.next;
            let filled = source.chunks.fill(&mut buffer);
            source.next += u64::from(matches!(filled, Ok(Some(_))));
            // Before another worker fills a buffer.
            lock(&self.results).held += buffer.len();
            drop(source);
            let bytes = buffer.len();
            let result = match filled {
                Ok(None) => {
                    self.end(number);
                    return;
                }
                Ok(Some(note)) => self.work.work(&buffer, note),
                Err(error) => {
                    lock(&self.results)
                        .ready
                        .insert(number, (Err(error), bytes));
                    self.end(number + 1);
                    return;
                }
            };
            // One long row should not hold its memory for the rest of the file; where all are long, the next is as long.
            let capacity = buffer.capacity();
            if capacity > BUDGET && (capacity > 4 * BUDGET || bytes < capacity / 4) {
                buffer = Vec::new();
            }
            lock(&self.results).ready.insert(number, (result, bytes));
            self.came.notify_one();
        }
    }

    /// Waits until few enough bytes are held; whether to go on.
    fn may_hold(&self) -> bool {
        let mut results = lock(&self.results);
        while results.held >= self.budget {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            results = self
                .taken
                .wait(results)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Chunks of one size, and how many were cut.
    struct Same {
        bytes: usize,
        left: usize,
        cut: Arc<AtomicUsize>,
    }

    impl Chunks for Same {
        type Note = ();

        fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<Option<()>> {
            buffer.clear();
            if self.left == 0 {
                return Ok(None);
            }
            self.left -= 1;
            self.cut.fetch_add(1, Ordering::SeqCst);
            buffer.resize(self.bytes, 0);
            Ok(Some(()))
        }
    }

    struct Length;

    impl Work<Same> for Length {
        type Done = usize;

        fn work(&self, chunk: &[u8], (): ()) -> Result<usize> {
            Ok(chunk.len())
        }
    }

    /// The chunks that were cut before the last one was done with, at most, and how many there were.
    fn ahead(bytes: usize) -> (usize, usize) {
        let cut = Arc::new(AtomicUsize::new(0));
        let chunks = Same {
            bytes,
            left: 6,
            cut: Arc::clone(&cut),
        };
        let (mut done, mut most) = (0, 0);
        for length in Pool::new("test", chunks, Length, 2).expect("threads") {
            assert_eq!(length.expect("no error"), bytes);
            // Time for the others to go too far.
            std::thread::sleep(std::time::Duration::from_millis(20));
            most = most.max(cut.load(Ordering::SeqCst) - done);
            done += 1;
        }
        (most, done)
    }

    #[test]
    fn large_chunks_come_one_at_a_time() {
        assert_eq!(ahead(BUDGET + 2 * BUDGET_OF_A_THREAD), (1, 6));
    }

    #[test]
    fn small_chunks_come_ahead() {
        let (most, done) = ahead(1_000);
        assert_eq!(done, 6);
        assert!((2..=5).contains(&most), "{most}");
    }
}
