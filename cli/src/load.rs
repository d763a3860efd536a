//! `arrowload load` and `arrowload replay`.

use arrowload::{Client, Destination, DestinationOutcome, LoadAllBuilder, LoadReport};

use crate::args::{Common, LoadArgs, ReplayArgs, Report};
use crate::exit::{Exit, Failure};
use crate::input::Question;
use crate::outcome::{self, exit_of, tell};
use crate::params::settings;
use crate::progress::Display;
use crate::show;
use crate::to::{To, destination};
use crate::watch::Watch;

pub(crate) async fn command(
    args: LoadArgs,
    common: &Common,
    watch: &Watch,
) -> Result<Exit, Failure> {
    let ended = into_each(&args, common, watch).await;
    outcome::with_error_as(args.output, ended)
}

async fn into_each(args: &LoadArgs, common: &Common, watch: &Watch) -> Result<Exit, Failure> {
    let question = Question::ask(&args.from)?;
    let loads = Load::each(&question, &args.to.0, None)?;
    if args.dry_run {
        let planned = all(&question, loads.into_iter().map(|load| load.to)).plan();
        return outcome::plans(planned.await?, args.output, common);
    }
    let display = Display::new(common);
    let mut ended = run(&question, loads, args.fail_fast, &display, watch).await?;
    if ended.len() == 1 {
        return finish(&ended.remove(0).result?, args.output, common);
    }
    outcome::several(&ended, args.output, common)
}

pub(crate) async fn replay(
    args: ReplayArgs,
    common: &Common,
    watch: &Watch,
) -> Result<Exit, Failure> {
    let client = Client::builder().build()?;
    let mut load = client
        .replay(&args.file)?
        .with_options(settings("--option", &args.options)?);
    if let Some(connection) = args.connection {
        load = load.connection(connection);
    }
    let meter = Display::new(common).meter("replay");
    let shown = meter.clone();
    let load = load.on_progress(move |progress| shown.show(progress));
    let name = format!("replay of {}", args.file.display());
    let following = watch.follow(vec![(name, load.status())]);
    let ended = load.await;
    following.ended(ended.as_ref().err());
    meter.end();
    let ended = ended
        .map_err(Failure::Load)
        .and_then(|report| finish(&report, args.output, common));
    outcome::with_error_as(args.output, ended)
}

/// Says what the load into the one destination did.
fn finish(report: &LoadReport, output: Report, common: &Common) -> Result<Exit, Failure> {
    match output {
        Report::Json => tell(&json(report)?)?,
        Report::Text if common.quiet => {}
        Report::Text => tell(&show::report(report))?,
    }
    Ok(exit_of(report))
}

/// A destination, and how it is called.
pub(crate) struct Load {
    /// Beside its progress.
    name: String,
    /// Where its end is told.
    full_name: String,
    pub(crate) to: Destination,
}

impl Load {
    /// Each destination of a load, which may be one of a job.
    pub(crate) fn each(
        question: &Question,
        to: &[To],
        job_load: Option<&str>,
    ) -> Result<Vec<Self>, Failure> {
        let each = to.iter().map(|one| {
            let destination = destination(&question.client, one)?;
            let (loader, target) = (destination.loader(), destination.target());
            // A URL may hold a password.
            let place = one.to.split("://").next().unwrap_or(&one.to);
            let full_name = format!("{loader} `{target}`");
            let (name, full_name) = match (job_load, to.len()) {
                (None, 1) => (place.to_owned(), full_name),
                (None, _) => (format!("{place} {target}"), full_name),
                (Some(load), 1) => (load.to_owned(), format!("{load}: {full_name}")),
                (Some(load), _) => (
                    format!("{load} {place} {target}"),
                    format!("{load}: {full_name}"),
                ),
            };
            Ok(Self {
                name,
                full_name,
                to: destination,
            })
        });
        each.collect()
    }
}

/// The answer to the question into all destinations.
pub(crate) fn all(
    question: &Question,
    to: impl IntoIterator<Item = Destination>,
) -> LoadAllBuilder {
    question.query.clone().load_all(to)
}

/// Runs a load into all its destinations, with a bar for each.
pub(crate) async fn run(
    question: &Question,
    loads: Vec<Load>,
    fail_fast: bool,
    display: &Display,
    watch: &Watch,
) -> Result<Vec<DestinationOutcome>, Failure> {
    let (mut followed, mut meters, mut destinations) = (Vec::new(), Vec::new(), Vec::new());
    for load in loads {
        let meter = display.meter(&load.name);
        let shown = meter.clone();
        followed.push((load.full_name, load.to.status()));
        destinations.push(load.to.on_progress(move |progress| shown.show(progress)));
        meters.push(meter);
    }
    let mut builder = all(question, destinations);
    if fail_fast {
        builder = builder.fail_fast();
    }
    let following = watch.follow(followed);
    let ended = builder.await;
    let outcomes = ended.as_ref().map(Vec::as_slice).unwrap_or_default();
    following.ended(outcomes.iter().filter_map(|one| one.result.as_ref().err()));
    meters.iter().for_each(|meter| meter.end());
    Ok(ended?)
}

/// Any value as JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::failed(error.to_string()))
}
