//! Keeps track of the loads in progress, so that after an interrupt the program can say what happened to each target.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrowload::{Aftermath, Error, LoadStatus};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::args::Common;
use crate::exit::aftermath;
use crate::show::complain;

/// Follows loads until they have ended. Clones follow the same ones.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<State>>);

type TellJob = dyn Fn(&Common, &[Value]) + Send;
type CallHooks = dyn FnOnce(Vec<Value>) -> BoxFuture<'static, ()> + Send;

#[derive(Default)]
struct State {
    followed: Vec<Followed>,
    /// A load that has ended is neither whole nor not there.
    half_done: bool,
    /// Says how the loads of a job have ended, at an interrupt: it adds what happened to those in progress.
    job: Option<Box<TellJob>>,
    /// Calls the hooks of a job, likewise.
    hooks: Option<Box<CallHooks>>,
}

#[derive(Debug)]
struct Followed {
    number: usize,
    name: String,
    status: LoadStatus,
}

/// The loads of one call.
#[must_use = "loads that have not reported their end are listed as interrupted"]
pub(crate) struct Following {
    watch: Watch,
    numbers: Vec<usize>,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads begin: what each is called, and what follows it.
    pub(crate) fn follow(&self, loads: Vec<(String, LoadStatus)>) -> Following {
        let followed = &mut self.lock().followed;
        let first = followed.last().map_or(0, |last| last.number + 1);
        let numbers = (first..first + loads.len()).collect();
        followed.extend(
            loads
                .into_iter()
                .zip(first..)
                .map(|((name, status), number)| Followed {
                    number,
                    name,
                    status,
                }),
        );
        Following {
            watch: self.clone(),
            numbers,
        }
    }

    /// A job begins, which tells of its loads if it is interrupted.
    pub(crate) fn job(&self, tell: impl Fn(&Common, &[Value]) + Send + 'static) {
        self.lock().job = Some(Box::new(tell));
    }

    /// A job begins, which calls its hooks if it is interrupted.
    pub(crate) fn hooks(
        &self,
        call: impl FnOnce(Vec<Value>) -> BoxFuture<'static, ()> + Send + 'static,
    ) {
        self.lock().hooks = Some(Box::new(call));
    }

    /// Calls the hooks of the job that is in progress.
    pub(crate) async fn hooks_at_interrupt(&self) {
        let targets = self.targets();
        let hooks = self.lock().hooks.take();
        if let Some(call) = hooks {
            call(targets).await;
        }
    }

    /// The job has ended.
    pub(crate) fn no_job(&self) {
        let mut state = self.lock();
        state.job = None;
        state.hooks = None;
    }

    /// Lets the job that is in progress tell of its loads; whether there is one.
    pub(crate) fn job_at_interrupt(&self, common: &Common) -> bool {
        let targets = self.targets();
        let job = self.lock().job.take();
        job.is_some_and(|tell| {
            tell(common, &targets);
            true
        })
    }

    /// What happened to each target in progress, for programs.
    fn targets(&self) -> Vec<Value> {
        let target = |Followed { name, status, .. }: &Followed| json!({ "name": name, "aftermath": status.aftermath(), "load_id": status.load_id() });
        self.lock().followed.iter().map(target).collect()
    }

    /// The object that an interrupted command prints.
    pub(crate) fn interrupted(&self) -> Value {
        json!({ "status": "interrupted", "targets": self.targets() })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().followed.is_empty()
    }

    /// Says what happened to the target of each load that has not ended, and returns whether each load is whole, or not there.
    pub(crate) fn tell(&self, opening: &str) -> bool {
        let mut all_whole = !self.lock().half_done;
        for (line, is_whole) in self.lines() {
            complain(&format!("{opening}{line}"));
            all_whole &= is_whole;
        }
        all_whole
    }

    fn lines(&self) -> Vec<(String, bool)> {
        let line = |Followed { name, status, .. }: &Followed| {
            let aftermath = status.aftermath();
            let is_whole = is_whole(aftermath);
            let load_id = match status.load_id() {
                Some(load_id) if !is_whole => format!(" (load_id: {load_id})"),
                _ => String::new(),
            };
            (format!("{name}: {aftermath}{load_id}"), is_whole)
        };
        self.lock().followed.iter().map(line).collect()
    }
}

impl Following {
    /// The loads have ended, and their ends are told otherwise.
    pub(crate) fn ended<'a>(self, failed: impl IntoIterator<Item = &'a Error>) {
        let half_done = failed.into_iter().any(|error| !is_whole(aftermath(error)));
        let mut state = self.watch.lock();
        state.half_done |= half_done;
        let is_other = |load: &Followed| !self.numbers.contains(&load.number);
        state.followed.retain(is_other);
    }
}

fn is_whole(aftermath: Aftermath) -> bool {
    matches!(aftermath, Aftermath::Unchanged | Aftermath::Committed)
}

#[cfg(test)]
mod tests {
    use std::future::IntoFuture;

    use super::*;
    use crate::leaky::{WRITES, load};

    #[tokio::test]
    async fn what_has_not_ended_is_told_of() {
        let watch = Watch::default();
        let well = load("well");
        let following = watch.follow(vec![("well".into(), well.status())]);
        well.await.expect("loaded");
        following.ended([]);
        assert!(watch.is_empty() && watch.tell(""));

        let waiting = load("waits").load_id("day 1");
        let other = load("well");
        let (one, two) = (
            ("one".into(), waiting.status()),
            ("two".into(), other.status()),
        );
        let _following = watch.follow(vec![one, two]);
        tokio::select! {
            ended = waiting.into_future() => drop(ended),
            () = WRITES.notified() => {}
        }
        let expected = [
            (
                "one: rows of this load may remain in the target (load_id: day 1)".to_owned(),
                false,
            ),
            ("two: the target is unchanged".to_owned(), true),
        ];
        assert_eq!(watch.lines(), expected);
        assert!(!watch.tell("interrupted: "));

        // What an earlier load of the same job has left counts too.
        let watch = Watch::default();
        let fails = load("fails");
        let following = watch.follow(vec![("fails".into(), fails.status())]);
        following.ended(fails.await.as_ref().err());
        assert!(watch.is_empty() && !watch.tell(""));
    }
}
