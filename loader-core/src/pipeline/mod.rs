//! The one load pipeline: query, check, write, prove, commit, report.
//!
//! Source and sink run as two tasks joined by a bounded channel, so that decoding the next batch overlaps writing this
//! one, and memory stays bounded by the depth of the channel times the bytes of a batch.

mod attempt;
mod feed;
mod progress;
pub(crate) mod retry;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::Mutex;

use self::attempt::Attempt;
use self::progress::{Meter, Settled};
use self::retry::with_retries;
use crate::dead_letter::find_dead_letters;
use crate::{
    Atomicity, BatchStream, Error, ErrorKind, LoadOptions, LoadReport, LoadState, Loader,
    LoaderDescriptor, Mode, Plan, Progress, Receipt, Result, Retry, Settings,
};

/// How long a lost commit is asked after, and how long a commit may take beyond the load's own timeout.
const ASK_TIMEOUT: Duration = Duration::from_secs(60);

/// A callback that sees how far a load is.
pub type OnProgress = Arc<dyn Fn(&Progress) + Send + Sync>;

/// What to load, and how: everything but the rows and the connection.
#[derive(Clone)]
#[non_exhaustive]
pub struct LoadSpec {
    /// Where to, in the loader's own terms.
    pub target: String,
    /// The options that all loaders share.
    pub load: LoadOptions,
    /// The loader's own options.
    pub options: Settings,
    /// The name of the connection, for dead letters.
    pub connection: Option<String>,
    /// Whether the connection, or a part of it, has no name: it was a URL, or given with the load. Dead letters keep none of
    /// that, so that who replays them has to say it again.
    pub connection_is_inline: bool,
    /// When the load began, if something, such as connecting, came before the pipeline: its time counts too.
    pub started: Option<Instant>,
    /// Sees how far the load is.
    pub on_progress: Option<OnProgress>,
}

impl LoadSpec {
    /// A load with default options.
    pub fn new(target: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            load: LoadOptions::default(),
            options: Settings::new(),
            connection: None,
            connection_is_inline: false,
            started: None,
            on_progress: None,
        }
    }

    /// Refuses, before any I/O, what the loader cannot do.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] or [`ErrorKind::InvalidOption`].
    pub fn check(&self, loader: &LoaderDescriptor) -> Result<()> {
        if self.target.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "the target is empty; name a table, path or key",
            ));
        }
        self.load.check(loader.name(), loader.capabilities())
    }
}

/// The rows of a load.
pub struct Input(Kind);

enum Kind {
    Query(Box<dyn Fn() -> BoxFuture<'static, Result<BatchStream>> + Send + Sync>),
    Once(Mutex<Option<BatchStream>>),
}

impl Input {
    /// A query, which is run again if the whole load has to be.
    pub fn query(
        run: impl Fn() -> BoxFuture<'static, Result<BatchStream>> + Send + Sync + 'static,
    ) -> Self {
        Self(Kind::Query(Box::new(run)))
    }

    /// A stream, which cannot be read twice: the load ends at its first transient error.
    pub fn stream(stream: BatchStream) -> Self {
        Self(Kind::Once(Mutex::new(Some(stream))))
    }

    fn is_repeatable(&self) -> bool {
        matches!(self.0, Kind::Query(_))
    }

    async fn open(&self) -> Result<BatchStream> {
        let used = || {
            Error::new(
                ErrorKind::Unexpected,
                "the stream was already read; a load from a stream cannot be repeated",
            )
        };
        match &self.0 {
            Kind::Query(run) => run().await,
            Kind::Once(stream) => stream.lock().await.take().ok_or_else(used),
        }
    }
}

/// Runs a load. Dropping the future publishes nothing.
///
/// # Errors
/// Any [`ErrorKind`]. All but [`ErrorKind::CommitUnknown`] mean that the target is as it was, as far as the loader's
/// [atomicity](crate::Capabilities::atomicity) goes; but for an [`ErrorKind::Verification`] that says that the load is committed,
/// where the store's receipt contradicts what it had acknowledged.
pub async fn load(loader: &Loader, spec: &LoadSpec, input: &Input) -> Result<LoadReport> {
    let name = loader.descriptor.name();
    spec.check(&loader.descriptor)?;
    let load_id = spec
        .load
        .load_id
        .clone()
        .unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let started = spec.started.unwrap_or_else(Instant::now);
    let run = Run {
        loader,
        spec,
        input,
        load_id,
        started,
        retries: AtomicU32::new(0),
        attempts: AtomicU32::new(0),
    };
    let outcome = run.to_end().await.map_err(|error| {
        error
            .with("loader", name)
            .with("target", &spec.target)
            .with("load_id", &run.load_id)
    });
    match &outcome {
        Ok(report) => {
            count_in_metrics(name, report);
            tracing::info!(loader = name, target = %spec.target, load_id = %run.load_id, rows = report.rows, elapsed = ?report.elapsed, "loaded");
        }
        Err(error) => {
            metrics::counter!("arrowload_loads_total", "loader" => name, "outcome" => "error")
                .increment(1);
            tracing::error!(%error, "the load failed");
        }
    }
    outcome
}

fn count_in_metrics(loader: &'static str, report: &LoadReport) {
    let outcome = if report.already_loaded {
        "already_loaded"
    } else {
        "ok"
    };
    metrics::counter!("arrowload_loads_total", "loader" => loader, "outcome" => outcome)
        .increment(1);
    metrics::counter!("arrowload_retries_total", "loader" => loader)
        .increment(report.retries.into());
    if !report.already_loaded {
        metrics::counter!("arrowload_rows_loaded_total", "loader" => loader).increment(report.rows);
        metrics::counter!("arrowload_rows_rejected_total", "loader" => loader)
            .increment(report.rows_rejected);
        metrics::counter!("arrowload_bytes_loaded_total", "loader" => loader)
            .increment(report.bytes);
        metrics::histogram!("arrowload_load_seconds", "loader" => loader).record(report.elapsed);
    }
}

/// Says what a load would do, and changes nothing: neither the target nor, for a query, more than its first rows.
///
/// # Errors
/// As for [`load`]. A column that cannot be held is no error: the plan says so.
pub async fn plan(
    loader: &Loader,
    spec: &LoadSpec,
    schema: arrow_schema::SchemaRef,
) -> Result<Plan> {
    spec.check(&loader.descriptor)?;
    let name = loader.descriptor.name();
    let at = |error: Error| error.with("loader", name).with("target", &spec.target);
    if let Some(load_id) = &spec.load.load_id
        && let LoadState::Committed(receipt) =
            loader.find_load(&spec.target, load_id).await.map_err(at)?
    {
        return Ok(Plan::of_nothing(
            name,
            &spec.target,
            spec.load.mode,
            receipt.rows,
        ));
    }
    let request = attempt::request(spec, "plan", schema, crate::Rejects::none())?;
    with_retries(spec.load.max_retries, spec.load.timeout, &|_| (), || {
        loader.inner.plan(request.clone())
    })
    .await
    .map_err(at)
}

pub(crate) struct Run<'a> {
    pub(crate) loader: &'a Loader,
    pub(crate) spec: &'a LoadSpec,
    pub(crate) input: &'a Input,
    pub(crate) load_id: String,
    pub(crate) started: Instant,
    /// How often something was tried again, of `max_retries`.
    pub(crate) retries: AtomicU32,
    /// How often the whole load was begun.
    pub(crate) attempts: AtomicU32,
}

impl Run<'_> {
    async fn to_end(&self) -> Result<LoadReport> {
        if self.spec.load.load_id.is_some()
            && let Some(receipt) = self.within_timeout(self.find_committed()).await?
        {
            return Ok(self.already_loaded(receipt));
        }
        let count = |_: &Error| {
            self.retries.fetch_add(1, Ordering::Relaxed);
        };
        with_retries(self.spec.load.max_retries, self.time_left(), &count, || {
            self.once()
        })
        .await
    }

    /// One attempt, whose error is transient only if the whole load may be run again.
    async fn once(&self) -> Result<LoadReport> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let meter = Meter::new(self);
        let attempt = Attempt {
            run: self,
            meter: &meter,
        };
        match attempt.run().await {
            Ok(report) => Ok(report),
            Err(error) if error.kind() == ErrorKind::CommitUnknown => {
                self.resolve_commit(error, &meter).await
            }
            Err(error) if self.may_repeat() => Err(error),
            Err(error) => Err(error.with_retry(Retry::Never)),
        }
    }

    /// The answer to a commit was lost: the store is asked, and never written to again unless it says no.
    async fn resolve_commit(&self, lost: Error, meter: &Meter<'_>) -> Result<LoadReport> {
        tracing::warn!(error = %lost, "the answer to the commit was lost; asking the store");
        let asked = tokio::time::timeout(ASK_TIMEOUT, self.find_load()).await;
        match &asked {
            Ok(Ok(LoadState::Committed(receipt))) => {
                Ok(meter.report(receipt.clone(), meter.settled()))
            }
            Ok(Ok(LoadState::NotCommitted)) if self.may_repeat() => {
                meter.settled().take_back();
                Err(
                    Error::new(ErrorKind::Connection, "the commit did not arrive")
                        .with_source(lost)
                        .transient(),
                )
            }
            Ok(Ok(LoadState::NotCommitted)) => {
                meter.settled().take_back();
                let left = match self.loader.descriptor.capabilities().atomicity {
                    Atomicity::Load => "the target is as it was",
                    _ => "the target may hold a part of the load",
                };
                Err(Error::new(
                    ErrorKind::Connection,
                    format!("the commit did not arrive, and {left}"),
                )
                .with_source(lost))
            }
            _ if !self.loader.descriptor.capabilities().load_ids
                || matches!(asked, Ok(Ok(LoadState::Unknown))) =>
            {
                let message = "the answer to the commit was lost, and this target does not record its loads: look into it before you \
                               repeat the load, which would write the rows again if it committed";
                Err(Error::new(ErrorKind::CommitUnknown, message).with_source(lost))
            }
            _ => {
                let message = format!(
                    "the answer to the commit was lost, and the store could not be asked; repeat the load with load_id = \"{}\", which writes nothing if it committed",
                    self.load_id
                );
                Err(Error::new(ErrorKind::CommitUnknown, message).with_source(lost))
            }
        }
    }

    /// A repeated load must not duplicate what an attempt that failed has left.
    fn may_repeat(&self) -> bool {
        let capabilities = self.loader.descriptor.capabilities();
        let leaves_nothing = capabilities.atomicity == Atomicity::Load
            || capabilities.load_ids
            || capabilities.idempotent_writes;
        self.input.is_repeatable() && (leaves_nothing || self.spec.load.mode != Mode::Append)
    }

    async fn find_load(&self) -> Result<LoadState> {
        let find = || {
            self.loader
                .inner
                .find_load(&self.spec.target, &self.load_id)
        };
        with_retries(self.spec.load.max_retries, None, &|_| (), find).await
    }

    async fn find_committed(&self) -> Result<Option<Receipt>> {
        match self.find_load().await? {
            LoadState::Committed(receipt) => Ok(Some(receipt)),
            LoadState::NotCommitted | LoadState::Unknown => Ok(None),
        }
    }

    fn already_loaded(&self, mut receipt: Receipt) -> LoadReport {
        receipt.already_loaded = true;
        let (folder, loader) = (&self.spec.load.dead_letters, self.loader.descriptor.name());
        let find = || find_dead_letters(folder, &self.load_id, loader, &self.spec.target);
        let dead_letters = (receipt.rows_rejected > 0).then(find).flatten();
        Meter::new(self).report(
            receipt,
            Settled {
                dead_letters,
                checksums: None,
            },
        )
    }

    /// What is left of `max_retries`, for what is tried again within an attempt.
    pub(crate) fn retries_left(&self) -> u32 {
        self.spec
            .load
            .max_retries
            .saturating_sub(self.retries.load(Ordering::Relaxed))
    }

    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.spec
            .load
            .timeout
            .map(|timeout| timeout.saturating_sub(self.started.elapsed()))
    }

    /// Runs something that may be abandoned when the load's time is up.
    pub(crate) async fn within_timeout<T>(
        &self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some(timeout) = self.spec.load.timeout else {
            return work.await;
        };
        let left = self.time_left().unwrap_or(timeout);
        let late = |_| {
            let message = format!(
                "the load took longer than its timeout of {}; nothing was published",
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
        let left = left + ASK_TIMEOUT;
        let late = |_| {
            Error::new(
                ErrorKind::CommitUnknown,
                "the commit was not answered in time",
            )
        };
        tokio::time::timeout(left, commit).await.map_err(late)?
    }
}
