//! `arrowload load` and `arrowload replay`.

use arrowload::core::read_dead_letters;
use arrowload::{Client, Destination, DestinationOutcome, LoadAllBuilder, LoadReport};
use serde_json::{Map, json};

use crate::args::{Common, LoadArgs, ReplayArgs, Report, StateAction, StateArgs};
use crate::exit::{Exit, Failure};
use crate::incremental::{self, Next};
use crate::input::{Question, read_options};
use crate::machine;
use crate::outcome::{self, Planned, exit_of, tell};
use crate::params::settings;
use crate::show;
use crate::to::{To, destination};
use crate::watch::Watch;

pub(crate) async fn command(
    args: LoadArgs,
    common: &Common,
    watch: &Watch,
) -> Result<Exit, Failure> {
    let wanted = args.incremental.wanted();
    if wanted.is_some() {
        args.from.shape.check_incremental()?;
    }
    let question = Question::ask(&args.from).await?;
    if let Some(wanted) = wanted {
        let next = Next::find(&question, &wanted, &args.to.0, None).await?;
        if args.dry_run {
            let planned = plan_next(&next, &question, None, common).await?;
            if common.output == Report::Json {
                machine::tell(&planned.object)?;
            }
            return Ok(planned.exit);
        }
        return told(next.run(None, watch).await?, common);
    }
    let loads = Load::each(&question, &args.to.0, None)?;
    if args.dry_run {
        let planned = all(&question, loads.into_iter().map(|load| load.to)).plan();
        let planned = outcome::plans(planned.await?, &question.connection, common)?;
        if common.output == Report::Json {
            machine::tell(&planned.object)?;
        }
        return Ok(planned.exit);
    }
    let mut ended = run(&question, loads, args.fail_fast, watch).await?;
    if ended.len() == 1 {
        return finish(&ended.remove(0).result?, common);
    }
    outcome::several(&ended, common)
}

/// Shows what an incremental load would do, and where it would begin and end.
pub(crate) async fn plan_next(
    next: &Next<'_>,
    question: &Question,
    job_load: Option<&str>,
    common: &Common,
) -> Result<Planned, Failure> {
    let (planned, foreseen) = next.plan(job_load).await?;
    let mut planned = outcome::plans(planned, &question.connection, common)?;
    if common.output == Report::Text && !common.quiet {
        show::print(&foreseen.text)?;
    }
    planned.object["incremental"] = foreseen.object;
    Ok(planned)
}

/// Says how an incremental load ended.
fn told(ended: incremental::Ended, common: &Common) -> Result<Exit, Failure> {
    match ended {
        incremental::Ended::Loaded(mut ended) => finish(&ended.remove(0).result?, common),
        incremental::Ended::NothingNew(mark) => {
            let since = mark.as_deref().map(|mark| format!(" since {mark}"));
            match common.output {
                Report::Json => machine::tell(&json!({ "status": "nothing new", "mark": mark }))?,
                Report::Text if common.quiet => {}
                Report::Text => tell(&format!("nothing is new{}", since.unwrap_or_default()))?,
            }
            Ok(Exit::Done)
        }
    }
}

/// `arrowload state`.
pub(crate) async fn state(
    args: StateArgs,
    common: &Common,
    watch: &Watch,
) -> Result<Exit, Failure> {
    let wanted = args
        .incremental
        .wanted()
        .ok_or_else(|| Failure::usage("whose state? say --incremental COLUMN, as the load does"))?;
    args.from.shape.check_incremental()?;
    let question = Question::ask(&args.from).await?;
    let next = Next::find(&question, &wanted, &args.to.0, None).await?;
    // A column that is not there has no mark, which says nothing.
    next.check_cursor().await?;
    let mark = match args.action {
        StateAction::Show => {
            let mark = next.mark.as_deref();
            match common.output {
                Report::Json => {
                    let (loads, is_other) = (next.loads(), next.is_of_other);
                    machine::tell(
                        &json!({ "status": "done", "mark": mark, "loads": loads, "of_another_query": is_other }),
                    )?
                }
                Report::Text => show::print(&format!(
                    "{}, after {} loads{}",
                    mark.unwrap_or("no mark"),
                    next.loads(),
                    match next.is_of_other {
                        true => ", of another query, source, parameter or choice of columns",
                        false => "",
                    }
                ))?,
            }
            return Ok(Exit::Done);
        }
        StateAction::Set => args.mark,
        StateAction::Reset => None,
    };
    let incremental::Ended::Loaded(mut ended) = next.set(mark.as_deref(), watch).await? else {
        return Ok(Exit::Done);
    };
    let report = ended.remove(0).result?;
    match common.output {
        Report::Json => {
            let mut shown = machine::report(&report);
            shown["mark"] = json!(mark);
            tell(&machine::json(&shown)?)?;
        }
        Report::Text if common.quiet => {}
        Report::Text => tell(&next.told_of_set(mark.as_deref()))?,
    }
    Ok(exit_of(&report))
}

pub(crate) async fn replay(
    args: ReplayArgs,
    common: &Common,
    watch: &Watch,
) -> Result<Exit, Failure> {
    let client = Client::builder().build()?;
    let reading = read_options(Map::new(), &args.read_options, args.types.as_deref())?;
    let mut load = match args.to {
        Some(to) => {
            let to = To {
                to,
                target: args.target,
                config: args.config,
                options: args.options,
                ..To::default()
            };
            client.replay_into(&args.file, reading, destination(&client, &to)?)?
        }
        None => client
            .replay_reading(&args.file, reading)
            .map_err(|error| match read_dead_letters(&args.file) {
                Ok((_, origin)) if origin.is_of_query() => {
                    Failure::usage(format!("{error}: add --to and --target"))
                }
                _ => error.into(),
            })?
            .with_options(settings("--option", &args.options)?)
            .with_config(settings("--config", &args.config)?),
    };
    if let Some(connection) = args.connection {
        load = load.connection(connection);
    }
    let meter = show::display().meter("replay", load.status());
    let shown = meter.clone();
    let load = load.on_progress(move |progress| shown.show(progress));
    let name = format!("replay of {}", args.file.display());
    let following = watch.follow(vec![(name, load.status())]);
    let ended = load.await;
    following.ended(ended.as_ref().err());
    meter.end();
    let report = ended.map_err(|error| match error.get("key") {
        Some("connection") => Failure::usage(format!(
            "{}, with --connection NAME or --connection URL; keys that --config gave, with --config again",
            error.message()
        )),
        _ => error.into(),
    })?;
    finish(&report, common)
}

/// Says what the load into the one destination did.
fn finish(report: &LoadReport, common: &Common) -> Result<Exit, Failure> {
    match common.output {
        Report::Json => tell(&machine::json(&machine::report(report))?)?,
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
    let mut load = question.query.clone().load_all(to);
    if let Some(carried) = question.carried.clone() {
        load = load.through(carried);
    }
    match question.columns.clone() {
        Some(columns) => load.through(columns),
        None => load,
    }
}

/// Runs a load into all its destinations, with a bar for each.
pub(crate) async fn run(
    question: &Question,
    loads: Vec<Load>,
    fail_fast: bool,
    watch: &Watch,
) -> Result<Vec<DestinationOutcome>, Failure> {
    let builder = |to: Vec<Destination>| {
        let all = all(question, to);
        match fail_fast {
            true => all.fail_fast(),
            false => all,
        }
    };
    run_by(builder, loads, watch).await
}

/// Like [`run`], with the settings of `builder`.
pub(crate) async fn run_by(
    builder: impl FnOnce(Vec<Destination>) -> LoadAllBuilder,
    loads: Vec<Load>,
    watch: &Watch,
) -> Result<Vec<DestinationOutcome>, Failure> {
    let (mut followed, mut meters, mut destinations) = (Vec::new(), Vec::new(), Vec::new());
    for load in loads {
        let meter = show::display().meter(&load.name, load.to.status());
        let shown = meter.clone();
        followed.push((load.full_name, load.to.status()));
        destinations.push(load.to.on_progress(move |progress| shown.show(progress)));
        meters.push(meter);
    }
    let following = watch.follow(followed);
    let ended = builder(destinations).await;
    let outcomes = ended.as_ref().map(Vec::as_slice).unwrap_or_default();
    following.ended(outcomes.iter().filter_map(|one| one.result.as_ref().err()));
    meters.iter().for_each(|meter| meter.end());
    Ok(ended?)
}
