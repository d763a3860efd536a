//! The threads that encode.
//!
//! Encoding is pure CPU work in pieces of about a millisecond. It has its own threads, and not the runtime's:
//! `spawn_blocking` would let hundreds of pieces compete for the cores, and a shared rayon pool would let another
//! user's long task delay ours. The threads belong to one writer and end with it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use arrowload_core::Result;

use crate::error::stopped;

type Job = Box<dyn FnOnce() + Send>;

/// A queue of jobs and the threads that serve it.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// Locks without panicking: every holder leaves its data whole, so a poisoned lock is as good as another.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// Starts `threads` threads, or as many as the system gives.
    ///
    /// # Errors
    /// When it gives none.
    pub(crate) fn new(threads: usize) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        for started in 0..threads.max(1) {
            let worker = shared.clone();
            let thread = std::thread::Builder::new().name(format!("parquet-{started}"));
            match thread.spawn(move || worker.serve()) {
                Ok(_) => {}
                Err(_) if started > 0 => break,
                Err(error) => {
                    return Err(stopped(format!("no thread could be started: {error}")));
                }
            }
        }
        Ok(Self { shared })
    }

    /// Puts a job at the end of the queue.
    pub(crate) fn spawn(&self, job: impl FnOnce() + Send + 'static) {
        lock(&self.shared.queue).jobs.push_back(Box::new(job));
        self.shared.ready.notify_one();
    }

    /// Runs a job before those that wait, and gives its answer: for what frees memory or has someone waiting.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let job = Box::new(move || {
            // The receiver is gone when the load was cancelled; nobody is left to tell.
            let _ = sender.send(job());
        });
        lock(&self.shared.queue).jobs.push_front(job);
        self.shared.ready.notify_one();
        receiver
            .await
            .map_err(|_| stopped("an encoding step panicked; please report it"))?
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queue = lock(&self.shared.queue);
        queue.closed = true;
        let dropped = std::mem::take(&mut queue.jobs);
        drop(queue);
        self.shared.ready.notify_all();
        // Only now, as a job may own what locks the queue again.
        drop(dropped);
    }
}

impl Shared {
    fn serve(&self) {
        while let Some(job) = self.next() {
            // The panic was reported by its hook; whoever waits for the job learns it from the lost answer.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self
                .ready
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
