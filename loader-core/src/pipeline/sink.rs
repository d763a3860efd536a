//! One destination of a run: its options, its retries, its questions to the store, and the report of its end.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arrow_schema::SchemaRef;

use super::progress::{Meter, Settled};
use super::retry::with_retries;
use super::telemetry::Telemetry;
use super::{ASK_TIMEOUT, Destination, Input, LoadSpec, LoadStatus, Phase};
use crate::dead_letter::find_dead_letters;
use crate::erased::{DynResolved, UntypedRequest};
use crate::panics::caught;
use crate::schema::check_loadable;
use crate::{
    Aftermath, Atomicity, Definition, Error, ErrorKind, Guarantees, LoadReport, LoadRequest,
    LoadState, Loader, Mode, QueryProgress, Receipt, Result, Retry, TargetColumns, keys,
};

/// The limit for opening the input again: a source that widens its types each time must not keep a load running
/// for ever.
const MOST_REOPENED: usize = 1_000;

pub(crate) struct Sink<'a> {
    pub(crate) loader: &'a Loader,
    pub(crate) spec: &'a LoadSpec,
    pub(crate) load_id: String,
    definition: Definition,
    /// How many destinations of the run share the connection.
    sharers: usize,
    input_is_repeatable: bool,
    pub(crate) started: Instant,
    /// How many times something was retried, of `max_retries`.
    pub(crate) retries: AtomicU32,
    /// How many times the whole load was begun.
    pub(crate) attempts: AtomicU32,
    /// What the plan of the last attempt said.
    planned: Mutex<Option<Planned>>,
    /// Types must be checked on the whole input before rows go to this target.
    pub(crate) needs_proof: AtomicBool,
    /// Why the input was opened again, each time that a value did not fit a sampled type.
    reopened: Mutex<Vec<String>>,
    /// Nothing for a plan.
    telemetry: OnceLock<Telemetry>,
}

/// The facts of a plan that are needed after it.
#[derive(Clone)]
pub(crate) struct Planned {
    pub(crate) guarantees: Guarantees,
    pub(crate) unproved: Vec<String>,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(destination: &Destination<'a>, sharers: usize, input: &Input) -> Self {
        let Destination { loader, spec } = *destination;
        let made_up = || uuid::Uuid::now_v7().to_string();
        let given = spec.load.load_id.as_ref().or(spec.new_load_id.as_ref());
        let load_id = given.cloned().unwrap_or_else(made_up);
        let known = loader.descriptor.options_schema();
        Self {
            loader,
            spec,
            load_id,
            definition: Definition::of(input, &spec.load, &spec.options, &known),
            sharers,
            input_is_repeatable: input.is_repeatable(),
            started: spec.started.unwrap_or_else(Instant::now),
            retries: AtomicU32::new(0),
            attempts: AtomicU32::new(0),
            planned: Mutex::default(),
            needs_proof: AtomicBool::new(false),
            reopened: Mutex::default(),
            telemetry: OnceLock::new(),
        }
    }

    /// The load begins.
    pub(crate) fn start(&self) {
        self.status().start(&self.load_id);
        self.telemetry
            .get_or_init(|| Telemetry::start(self.name(), &self.spec.target, &self.load_id));
    }

    /// The load enters a phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.status().enter(phase);
        if let Some(telemetry) = self.telemetry.get() {
            telemetry.enter(phase);
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.loader.descriptor.name()
    }

    pub(crate) fn status(&self) -> &LoadStatus {
        &self.spec.status
    }

    pub(crate) fn planned(&self) -> Option<Planned> {
        self.planned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The request of plan and load alike.
    pub(crate) fn request(&self, schema: SchemaRef) -> Result<UntypedRequest> {
        check_loadable(&schema)?;
        keys::key_indices(&schema, &self.spec.load.keys)?;
        let options = self.spec.options.clone();
        let mut request = LoadRequest::new(&self.load_id, &self.spec.target, schema, options);
        request.load = self.spec.load.clone();
        request.definition = Some(self.definition.clone());
        request.mark.clone_from(&self.spec.mark);
        request.destinations = self.sharers;
        request.status = self.spec.status.clone();
        Ok(request)
    }

    /// Resolves the target, and refuses everything that the target does not support, except column types.
    pub(crate) async fn resolve(&self, request: UntypedRequest) -> Result<Box<dyn DynResolved>> {
        let asked = request.clone();
        let loader = std::sync::Arc::clone(&self.loader.inner);
        let resolved = caught(self.name(), loader.resolve(request)).await?;
        let plan = resolved.plan();
        plan.check_request(&asked, self.loader.descriptor.capabilities())?;
        let planned = Planned {
            guarantees: plan.guarantees,
            unproved: plan.unproved(),
        };
        *self.planned.lock().unwrap_or_else(PoisonError::into_inner) = Some(planned);
        Ok(resolved)
    }

    /// The columns of the target, if it exists.
    pub(crate) async fn describe(&self) -> Result<Option<TargetColumns>> {
        let describe = || caught(self.name(), self.loader.inner.describe(&self.spec.target));
        self.retrying(describe).await
    }

    /// Whether the input is opened again after this error, as a value did not fit a sampled type.
    pub(crate) fn reopens(&self, error: &Error) -> bool {
        error.retry() == Retry::Reopen && self.may_repeat() && self.reopened().len() < MOST_REOPENED
    }

    pub(crate) fn note_reopened(&self, error: &Error) {
        if self.needs_proof.load(Ordering::Relaxed) {
            return;
        }
        self.reopened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(error.to_string());
    }

    pub(crate) fn reopened(&self) -> Vec<String> {
        self.reopened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Calls until it succeeds, with what is left of the retries.
    pub(crate) async fn retrying<T, F: Future<Output = Result<T>>>(
        &self,
        call: impl FnMut() -> F,
    ) -> Result<T> {
        let count = |_: &Error| self.count_retry();
        with_retries(self.retries_left(), self.time_left(), &count, call).await
    }

    pub(crate) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// The response to a commit was lost: the store is queried, and the load is repeated only if it says no.
    pub(crate) async fn resolve_commit(
        &self,
        lost: Error,
        meter: &Meter<'_>,
    ) -> Result<LoadReport> {
        tracing::warn!(error = %lost, "the response to the commit was lost; asking the store");
        let asked = tokio::time::timeout(ASK_TIMEOUT, self.find_load()).await;
        match asked {
            Ok(Ok(LoadState::Committed { receipt, complete })) => {
                self.complete(complete).await?;
                Ok(meter.report(receipt, meter.settled()))
            }
            Ok(Ok(LoadState::NotCommitted)) => {
                meter.settled().take_back();
                let error = Error::new(ErrorKind::Connection, "the commit did not arrive");
                Err(error.with_source(lost).transient())
            }
            Ok(Ok(LoadState::Unknown)) => {
                let message = "the response to the commit was lost, and this target does not record its loads: look into it before you \
                               repeat the load, which would write the rows again if it committed";
                Err(Error::new(ErrorKind::CommitUnknown, message).with_source(lost))
            }
            _ => {
                let message = format!(
                    "the response to the commit was lost, and the store could not be asked; repeat the load with load_id = \"{}\", which writes nothing if it committed",
                    self.load_id
                );
                Err(Error::new(ErrorKind::CommitUnknown, message).with_source(lost))
            }
        }
    }

    /// Completes a load that is recorded, and whose rows are not all in place.
    async fn complete(&self, complete: bool) -> Result<()> {
        if complete {
            return Ok(());
        }
        tracing::info!(load_id = %self.load_id, "completing a load that was cut off after its record");
        let recover = || {
            caught(
                self.name(),
                self.loader.inner.recover(&self.spec.target, &self.load_id),
            )
        };
        self.status().set_incomplete(true);
        let recovered = with_retries(self.spec.load.max_retries, None, &|_| (), recover).await;
        self.status().set_incomplete(recovered.is_err());
        recovered.map_err(|error| {
            error
                .with_retry(Retry::Never)
                .with_aftermath(Aftermath::Incomplete)
        })
    }

    /// Whether the load may be run again: it must not duplicate rows that a failed attempt has left.
    pub(crate) fn may_repeat(&self) -> bool {
        let leaves_nothing = self.planned().is_none_or(|planned| {
            planned.guarantees.atomicity == Atomicity::Load || planned.guarantees.exactly_once
        });
        self.input_is_repeatable && (leaves_nothing || self.spec.load.mode != Mode::Append)
    }

    pub(crate) async fn find_load(&self) -> Result<LoadState> {
        let find = || {
            let loader = &self.loader.inner;
            caught(
                self.name(),
                loader.find_load(&self.spec.target, &self.load_id),
            )
        };
        with_retries(self.spec.load.max_retries, None, &|_| (), find).await
    }

    /// The report of a load that has committed already, completed if it was cut off.
    pub(crate) async fn find_committed(&self) -> Result<Option<LoadReport>> {
        if self.spec.load.load_id.is_none() {
            return Ok(None);
        }
        match self.within_timeout(self.find_load()).await? {
            LoadState::Committed { receipt, complete } => {
                self.check_definition(&receipt)?;
                self.complete(complete).await?;
                let receipt = match complete {
                    true => receipt,
                    false => receipt.completed(),
                };
                self.already_loaded(receipt).map(Some)
            }
            LoadState::NotCommitted | LoadState::Unknown => Ok(None),
        }
    }

    pub(crate) fn check_definition(&self, recorded: &Receipt) -> Result<()> {
        self.definition
            .check_recorded(recorded.definition.as_ref(), &self.load_id)
    }

    /// The report of a load that was found committed.
    pub(crate) fn already_loaded(&self, receipt: Receipt) -> Result<LoadReport> {
        self.check_definition(&receipt)?;
        let find = || {
            let folder = &self.spec.load.dead_letters;
            find_dead_letters(folder, &self.load_id, self.name(), &self.spec.target)
        };
        let settled = Settled {
            dead_letters: (receipt.rows_rejected > 0).then(find).flatten(),
            unparsed: None,
            checksums: None,
        };
        Ok(Meter::new(self, QueryProgress::default()).report(receipt.repeated(), settled))
    }

    /// Adds to an error what it is about and what happened to the target, and tells log and metrics of the end.
    pub(crate) fn end(&self, outcome: Result<LoadReport>) -> Result<LoadReport> {
        let name = self.name();
        match outcome {
            Ok(report) => {
                if let Some(telemetry) = self.telemetry.get() {
                    telemetry.loaded(&report);
                }
                tracing::info!(loader = name, target = %self.spec.target, load_id = %self.load_id, rows = report.rows, elapsed = ?report.elapsed, "loaded");
                Ok(report)
            }
            Err(error) => {
                let aftermath = match error.kind() {
                    ErrorKind::CommitUnknown => Aftermath::Unknown,
                    _ => self.status().after_failure(),
                };
                let error = error
                    .with_aftermath(aftermath)
                    .with("loader", name)
                    .with("target", &self.spec.target)
                    .with("load_id", &self.load_id);
                if let Some(telemetry) = self.telemetry.get() {
                    telemetry.failed(error.kind(), self.retries.load(Ordering::Relaxed));
                }
                tracing::error!(%error, "the load failed");
                Err(error)
            }
        }
    }

    /// What is left of `max_retries`.
    pub(crate) fn retries_left(&self) -> u32 {
        let retried = self.retries.load(Ordering::Relaxed);
        self.spec.load.max_retries.saturating_sub(retried)
    }

    pub(crate) fn time_left(&self) -> Option<Duration> {
        let timeout = self.spec.load.timeout?;
        Some(timeout.saturating_sub(self.started.elapsed()))
    }

    /// Runs something that may be abandoned when the load's time is up.
    pub(crate) async fn within_timeout<T>(
        &self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let (Some(timeout), Some(left)) = (self.spec.load.timeout, self.time_left()) else {
            return work.await;
        };
        let late = |_| {
            let message = format!(
                "the load took longer than its timeout of {}",
                humantime::format_duration(timeout)
            );
            Error::new(ErrorKind::Timeout, message)
        };
        tokio::time::timeout(left, work).await.map_err(late)?
    }

    /// A commit is not abandoned when the load's time is up, but it has a limit of its own.
    pub(crate) async fn commit_within<T>(
        &self,
        commit: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some(left) = self.time_left() else {
            return commit.await;
        };
        let late = |_| {
            Error::new(
                ErrorKind::CommitUnknown,
                "the commit was not answered in time",
            )
        };
        tokio::time::timeout(left + ASK_TIMEOUT, commit)
            .await
            .map_err(late)?
    }
}
