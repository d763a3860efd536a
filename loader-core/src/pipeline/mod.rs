//! The load pipeline: query, resolve, write, verify, commit, report.
//!
//! Source and sinks run as tasks joined by bounded channels, so that decoding the next batch overlaps writing this one, and
//! memory stays bounded by the depth of the channels times the bytes of a batch.

mod attempt;
mod feed;
mod input;
mod progress;
pub(crate) mod retry;
mod run;
mod sink;
mod status;
mod telemetry;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_schema::SchemaRef;
use futures::future::join_all;

pub use self::input::{Input, Operator, Rename};
use self::run::Run;
use self::sink::Sink;
pub use self::status::{LoadStatus, Phase};
pub use self::telemetry::{count_unconnected, describe_metrics};
use crate::plan::named_twice;
use crate::{
    Error, ErrorKind, LoadOptions, LoadReport, LoadState, Loader, LoaderDescriptor, Mark, Plan,
    Progress, Reading, Result, Settings,
};

/// How long to query the store after a lost commit response, and how long a commit or an abort may take beyond the load's own
/// timeout.
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
    /// The id of a load that was not given one, where the caller makes it up: no load can have committed under it, so that the
    /// store is not asked.
    pub new_load_id: Option<String>,
    /// The high-water mark of an incremental load.
    pub mark: Option<Mark>,
    /// The name of the connection, for dead letters.
    pub connection: Option<String>,
    /// Whether the connection, or a part of it, has no name: it was a URL, or given with the load. Dead-letter files do not keep
    /// it, so whoever replays them has to give it again.
    pub connection_is_inline: bool,
    /// When the load began, if something, such as connecting, came before the pipeline: its time counts too.
    pub started: Option<Instant>,
    /// Sees how far the load is.
    pub on_progress: Option<OnProgress>,
    /// Follows the load from outside, also after it was interrupted.
    pub status: LoadStatus,
}

impl LoadSpec {
    /// A load with default options.
    pub fn new(target: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            load: LoadOptions::default(),
            options: Settings::new(),
            new_load_id: None,
            mark: None,
            connection: None,
            connection_is_inline: false,
            started: None,
            on_progress: None,
            status: LoadStatus::default(),
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

/// Runs a load. Dropping the future publishes nothing; [`LoadSpec::status`] then says what it has left.
///
/// # Errors
/// Any [`ErrorKind`]; [`Error::aftermath`] says what happened to the target.
pub async fn load(loader: &Loader, spec: &LoadSpec, input: &Input) -> Result<LoadReport> {
    let mut outcomes = load_all(&[Destination { loader, spec }], input, false).await?;
    outcomes.remove(0)
}

/// One of the places that a run loads into.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    /// The connected loader.
    pub loader: &'a Loader,
    /// What to load into it, and how.
    pub spec: &'a LoadSpec,
}

/// Loads the rows of one input into several destinations. Each batch is read once, and handed to each destination in order; each
/// keeps its own promises and has its own outcome, in the order given. One that fails does not stop the others, unless
/// `fail_fast` is set: then none that is not committed yet is committed after a failure.
///
/// With the same `load_id`s, a repetition writes only where the load is missing; the input is read again for that, and a query
/// that is run again may answer otherwise.
///
/// # Errors
/// Before any I/O, what a destination's loader cannot do, and the same target named twice.
pub async fn load_all(
    destinations: &[Destination<'_>],
    input: &Input,
    fail_fast: bool,
) -> Result<Vec<Result<LoadReport>>> {
    let sinks = sinks(destinations, input)?;
    let run = Run {
        input,
        sinks,
        fail_fast,
    };
    for sink in &run.sinks {
        sink.start();
    }
    let outcomes = run.to_end().await;
    let ended = run.sinks.iter().zip(outcomes);
    Ok(ended.map(|(sink, outcome)| sink.end(outcome)).collect())
}

/// The sink of each destination, or an error for what is refused before any I/O.
fn sinks<'a>(destinations: &[Destination<'a>], input: &Input) -> Result<Vec<Sink<'a>>> {
    let of = |(index, one): (usize, &Destination<'a>)| {
        one.spec.check(&one.loader.descriptor)?;
        let shares = |other: &&Destination<'_>| other.loader.is_same(one.loader);
        let mut before = destinations[..index].iter().filter(shares);
        if before.any(|other| other.spec.target == one.spec.target) {
            return Err(named_twice(one.loader.descriptor.name(), &one.spec.target));
        }
        let sharers = destinations.iter().filter(shares).count();
        Ok(Sink::new(one, sharers, input))
    };
    destinations.iter().enumerate().map(of).collect()
}

/// Says what a load would do, and changes nothing: neither the target nor, for a query, more than its first rows. What the load
/// would refuse before its first row is refused here, in the same words.
///
/// # Errors
/// As for [`load`]. A column that cannot be held is not an error: the plan says so, and [`Plan::check`] refuses it as the load
/// does.
pub async fn plan(loader: &Loader, spec: &LoadSpec, input: &Input) -> Result<Plan> {
    let mut plans = plan_all(&[Destination { loader, spec }], input).await?;
    plans.remove(0)
}

/// Says what a load into several destinations would do, as [`plan`] does of each.
///
/// # Errors
/// As for [`load_all`].
pub async fn plan_all(
    destinations: &[Destination<'_>],
    input: &Input,
) -> Result<Vec<Result<Plan>>> {
    let sinks = sinks(destinations, input)?;
    let found = join_all(sinks.iter().map(committed)).await;
    let mut plans: Vec<Option<Result<Plan>>> = found.into_iter().map(Result::transpose).collect();
    let open: Vec<usize> = (0..plans.len())
        .filter(|index| plans[*index].is_none())
        .collect();
    if !open.is_empty() {
        let asked: Vec<&Sink<'_>> = open.iter().map(|index| &sinks[*index]).collect();
        let mut reading = Reading::default();
        let schema = async {
            reading.types = run::offered_types(input, &asked).await?;
            input.schema(reading.clone()).await
        }
        .await;
        let planned = |sink| planned(sink, schema.clone(), reading.found.remarks());
        let planned = join_all(asked.into_iter().map(planned)).await;
        for (index, plan) in open.into_iter().zip(planned) {
            plans[index] = Some(plan);
        }
    }
    let plans: Vec<Result<Plan>> = plans.into_iter().flatten().collect();
    Plan::check_distinct(plans.iter().flatten())?;
    Ok(plans)
}

/// The plan of a load that has committed already.
async fn committed(sink: &Sink<'_>) -> Result<Option<Plan>> {
    let spec = sink.spec;
    if spec.load.load_id.is_none() {
        return Ok(None);
    }
    let LoadState::Committed { receipt, complete } = sink.find_load().await.map_err(at(sink))?
    else {
        return Ok(None);
    };
    sink.check_definition(&receipt).map_err(at(sink))?;
    let descriptor = &sink.loader.descriptor;
    Ok(Some(Plan::of_nothing(
        (descriptor.name(), descriptor.capabilities()),
        &spec.target,
        spec.load.mode,
        (receipt.rows, !complete),
    )))
}

async fn planned(sink: &Sink<'_>, schema: Result<SchemaRef>, remarks: Vec<String>) -> Result<Plan> {
    let request = sink.request(schema?).map_err(at(sink))?;
    let resolved = sink.retrying(|| sink.resolve(request.clone())).await;
    let mut plan = resolved.map_err(at(sink))?.plan().clone();
    plan.input = remarks;
    Ok(plan)
}

/// Says which destination an error of a plan is about.
fn at<'a>(sink: &'a Sink<'_>) -> impl Fn(Error) -> Error + use<'a> {
    let (name, target) = (sink.loader.descriptor.name(), sink.spec.target.as_str());
    move |error| error.with("loader", name).with("target", target)
}
