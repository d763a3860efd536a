//! `arrowload run`: the loads of a job, each as soon as those before it have ended well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use arrowload::core::{LoadState, nearest};
use arrowload::{DestinationOutcome, Error};
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};

use crate::args::{Common, From, Report, RunArgs};
use crate::begun::{self, Begun};
use crate::exit::{Exit, Failure, say};
use crate::input::Question;
use crate::job::{Job, JobLoad};
use crate::job_to::{JobDestination, texts};
use crate::load::{self, Load};
use crate::outcome;
use crate::params::pair;
use crate::progress::Display;
use crate::show;
use crate::watch::Watch;

/// More runs of one job with the same variables are not told apart.
const MOST_RUNS: u32 = 10_000;

/// How a load ended.
enum Ended {
    /// Each destination has its outcome.
    Ran(Vec<DestinationOutcome>),
    /// It did not begin.
    Refused(String, Option<Error>),
    /// A load before it did not end well.
    Skipped(String),
}

impl Ended {
    fn is_well(&self) -> bool {
        match self {
            Self::Ran(outcomes) => outcomes.iter().all(|outcome| outcome.result.is_ok()),
            Self::Refused(..) | Self::Skipped(_) => false,
        }
    }

    fn exit(&self) -> Exit {
        let exit = match self {
            Self::Ran(outcomes) => outcome::worst(outcomes),
            Self::Refused(_, Some(error)) => Exit::of(error),
            Self::Refused(_, None) | Self::Skipped(_) => Exit::Failed,
        };
        // Other loads of the job may have run.
        if exit == Exit::Refused {
            Exit::Failed
        } else {
            exit
        }
    }
}

pub(crate) async fn command(
    args: RunArgs,
    common: &Common,
    watch: &Watch,
) -> Result<Exit, Failure> {
    let vars = args
        .vars
        .iter()
        .map(|text| pair("--var", text).map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut job = Job::read(&args.job, &vars.collect::<Result<Vec<_>, _>>()?)?;
    choose(&mut job, &args.only)?;
    let folder = args.job.parent().unwrap_or(Path::new("")).to_owned();
    if args.dry_run {
        return dry_run(&job, &folder, common).await;
    }
    let number = run_number(&job, &folder, args.resume).await?;
    let display = Display::new(common);
    remember(&job, &args, &folder, number, &display).await?;
    let started = Instant::now();
    let ended = run_all(&job, &folder, number, (&display, watch)).await?;
    summarise(&job, &ended, number, started, args.output)
}

/// Only the loads that were asked for; what they wait for is taken to have been done.
fn choose(job: &mut Job, only: &[String]) -> Result<(), Failure> {
    for name in only {
        if !job.loads.contains_key(name) {
            let hint = nearest(name, job.loads.keys().map(String::as_str))
                .map(|near| format!("; did you mean `{near}`?"));
            return Err(Failure::usage(format!(
                "--only names `{name}`, which is no load of the job{}",
                hint.unwrap_or_default()
            )));
        }
    }
    if !only.is_empty() {
        job.loads.retain(|name, _| only.contains(name));
        let kept: BTreeSet<String> = job.loads.keys().cloned().collect();
        job.loads
            .values_mut()
            .for_each(|load| load.after.retain(|before| kept.contains(before)));
    }
    Ok(())
}

/// What a load reads, as the flags of `arrowload load` would say it.
fn ask(name: &str, load: &JobLoad, folder: &Path) -> Result<Question, Failure> {
    let from = From {
        from: load.from.clone(),
        sql: load.sql.clone(),
        sql_file: load.sql_file.as_ref().map(|file| folder.join(file)),
        table: load.table.clone(),
        params: texts(&load.params),
        input_format: None,
        no_end_marker: false,
    };
    let given = [
        load.sql.is_some(),
        load.sql_file.is_some(),
        load.table.is_some(),
    ];
    if given.into_iter().filter(|given| *given).count() > 1 {
        let message = "give one of sql, sql_file and table";
        return Err(of_load(name, Failure::usage(message)));
    }
    Question::ask(&from).map_err(|failure| of_load(name, failure))
}

fn of_load(name: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Usage(text) => Failure::Usage(format!("loads.{name}: {text}")),
        other => other,
    }
}

/// Where a load goes, likewise.
fn destinations(
    name: &str,
    question: &Question,
    to: &[JobDestination],
    load_id: Option<&str>,
) -> Result<Vec<Load>, Failure> {
    let flags = to.iter().map(|to| to.as_flags(load_id.map(str::to_owned)));
    let flags: Vec<_> = flags.collect();
    Load::each(question, &flags, Some(name)).map_err(|failure| of_load(name, failure))
}

/// Whether a load has committed in each destination.
async fn find(
    name: &str,
    load: &JobLoad,
    to: &[JobDestination],
    folder: &Path,
    load_id: &str,
) -> Result<Vec<bool>, Failure> {
    let question = ask(name, load, folder)?;
    let loads = destinations(name, &question, to, Some(load_id))?;
    let found = load::all(&question, loads.into_iter().map(|load| load.to)).find();
    let is_there = |outcome: DestinationOutcome<LoadState>| {
        Ok(matches!(outcome.result?, LoadState::Committed { .. }))
    };
    found.await?.into_iter().map(is_there).collect()
}

fn numbered(job: &Job, name: &str, number: u32) -> String {
    if number == 1 {
        job.load_id(name)
    } else {
        format!("{}.{number}", job.load_id(name))
    }
}

/// The number of this run of the job with these variables: one more than that of the last run that committed a load, or that
/// run's again to go on with it.
async fn run_number(job: &Job, folder: &Path, resume: bool) -> Result<u32, Failure> {
    let mut last = 0;
    for (name, load) in &job.loads {
        while last < MOST_RUNS {
            let load_id = numbered(job, name, last + 1);
            let found = find(name, load, &load.destinations(), folder, &load_id).await?;
            if !found.contains(&true) {
                break;
            }
            last += 1;
        }
    }
    Ok(if resume { last.max(1) } else { last + 1 })
}

/// Refuses to go on with loads that are no longer what they were, and keeps what they are.
async fn remember(
    job: &Job,
    args: &RunArgs,
    folder: &Path,
    number: u32,
    display: &Display,
) -> Result<(), Failure> {
    let Some(begun) = Begun::read(job.name.as_deref().unwrap_or_default()) else {
        return Ok(());
    };
    let mut loads = Vec::new();
    for (name, load) in &job.loads {
        let load_id = numbered(job, name, number);
        for to in load.destinations() {
            let now = begun::Load::of(load_id.clone(), load, &to, &args.job, folder);
            let then = begun.find(&now);
            let to = std::slice::from_ref(&to);
            if args.resume
                && then.is_none_or(|then| now.has_changed(then))
                && find(name, load, to, folder, &load_id).await? == [true]
            {
                let Some(then) = then else {
                    display.line(&format!("{name}: loaded already, and this machine has no record of what it was then: that it is still the same cannot be told"));
                    // Nor is it known for the next time.
                    continue;
                };
                return Err(changed(name, then));
            }
            loads.push(now);
        }
    }
    if let Err(error) = begun.keep(&loads) {
        display.line(&format!("--resume will not notice whether the job has changed, as what it is cannot be kept: {error}"));
    }
    Ok(())
}

fn changed(name: &str, then: &begun::Load) -> Failure {
    Failure::usage(format!(
        "--resume: loads.{name} was loaded as {}, and is another load now: what it reads, its mode, keys or options differ from those in \
         {} as they were then. Undo the change, leave the load out with --only, give the job a `name` of its own, or run without \
         --resume, which loads everything again",
        then.load_id,
        then.file.display()
    ))
}

/// Shows every plan, also behind one that is refused: what it needs may be what a load before it brings.
async fn dry_run(job: &Job, folder: &Path, common: &Common) -> Result<Exit, Failure> {
    let mut worst = Exit::Done;
    for (name, load) in &job.loads {
        show::print(&format!("[{name}]"))?;
        let question = ask(name, load, folder)?;
        let loads = destinations(name, &question, &load.destinations(), None)?;
        let planned = load::all(&question, loads.into_iter().map(|load| load.to)).plan();
        let planned = match planned.await {
            Ok(planned) => outcome::plans(planned, Report::Text, common),
            Err(error) => Err(error.into()),
        };
        worst = worst.max(match planned {
            Ok(exit) => exit,
            Err(Failure::Load(error)) => {
                say(&error, common.verbose > 0);
                Exit::of(&error)
            }
            Err(other) => return Err(other),
        });
    }
    Ok(worst)
}

async fn run_all(
    job: &Job,
    folder: &Path,
    number: u32,
    (display, watch): (&Display, &Watch),
) -> Result<BTreeMap<String, Ended>, Failure> {
    // What is wrong with the job is said before its first load.
    for (name, load) in &job.loads {
        let question = ask(name, load, folder)?;
        destinations(name, &question, &load.destinations(), None)?;
    }
    let mut waiting: BTreeSet<&String> = job.loads.keys().collect();
    let mut ended: BTreeMap<String, Ended> = BTreeMap::new();
    let mut running = FuturesUnordered::new();
    loop {
        let ready: Vec<&String> = waiting
            .iter()
            .copied()
            .filter(|name| {
                job.loads[*name]
                    .after
                    .iter()
                    .all(|before| ended.contains_key(before))
            })
            .collect();
        for name in ready {
            let load = &job.loads[name];
            let is_well = |before: &&String| ended.get(*before).is_some_and(Ended::is_well);
            if let Some(failed) = load.after.iter().find(|before| !is_well(before)) {
                waiting.remove(name);
                display.line(&format!("{name}: not run, as {failed} did not end well"));
                ended.insert(name.clone(), Ended::Skipped(failed.clone()));
            } else if running.len() < job.at_once {
                waiting.remove(name);
                let question = ask(name, load, folder)?;
                let load_id = numbered(job, name, number);
                let loads = destinations(name, &question, &load.destinations(), Some(&load_id))?;
                running.push(async move {
                    let ended = load::run(&question, loads, load.fail_fast, display, watch);
                    (name, ended.await)
                });
            }
        }
        match running.next().await {
            Some((name, Ok(outcomes))) => {
                for outcome in &outcomes {
                    display.line(&match &outcome.result {
                        Ok(report) => show::report(report) + outcome::asked_again(outcome),
                        Err(error) => format!("{name}: {error}"),
                    });
                }
                ended.insert(name.clone(), Ended::Ran(outcomes));
            }
            Some((name, Err(failure))) => {
                let (text, error) = match failure {
                    Failure::Load(error) => (error.to_string(), Some(error)),
                    Failure::Usage(text) | Failure::Failed(text) => (text, None),
                    other => return Err(other),
                };
                display.line(&format!("{name}: {text}"));
                ended.insert(name.clone(), Ended::Refused(text, error));
            }
            None if waiting.is_empty() => return Ok(ended),
            // A load that was not run may free others from waiting.
            None => {}
        }
    }
}

/// The end of one load as rows of a table, one for each destination, and as JSON.
fn shown(name: &str, ended: &Ended) -> (Vec<Vec<String>>, Value) {
    let row = |status: &str, what: String| {
        let (rows, seconds) = (String::new(), String::new());
        vec![name.to_owned(), status.to_owned(), rows, seconds, what]
    };
    match ended {
        Ended::Ran(outcomes) => {
            let rows = outcomes.iter().map(|outcome| match &outcome.result {
                Ok(report) => vec![
                    name.to_owned(),
                    outcome::status(outcome).to_owned(),
                    show::count(report.rows),
                    format!("{:.2}", report.elapsed.as_secs_f64()),
                    format!("{} {}", report.loader, report.target),
                ],
                Err(error) => row("failed", error.to_string()),
            });
            let entry = match outcomes.as_slice() {
                [one] => outcome::outcome_json(one),
                several => json!({
                    "status": if ended.is_well() { "loaded" } else { "failed" },
                    "destinations": several.iter().map(outcome::outcome_json).collect::<Vec<_>>(),
                }),
            };
            (rows.collect(), entry)
        }
        Ended::Refused(text, error) => {
            let error = match error {
                Some(error) => outcome::error_json(error),
                None => json!({ "message": text }),
            };
            let entry = json!({ "status": "failed", "error": error });
            (vec![row("failed", text.clone())], entry)
        }
        Ended::Skipped(before) => (
            vec![row("not run", format!("after {before}"))],
            json!({ "status": "not run", "after": before }),
        ),
    }
}

fn summarise(
    job: &Job,
    ended: &BTreeMap<String, Ended>,
    number: u32,
    started: Instant,
    output: Report,
) -> Result<Exit, Failure> {
    let (mut rows, mut entries) = (Vec::new(), serde_json::Map::new());
    for (name, ended) in ended {
        let (own_rows, entry) = shown(name, ended);
        rows.extend(own_rows);
        entries.insert(name.clone(), entry);
    }
    let failed = ended.values().filter(|ended| !ended.is_well()).count();
    let seconds = started.elapsed().as_secs_f64();
    match output {
        Report::Json => {
            let summary = json!({ "job": job.name, "run": number, "elapsed": seconds, "failed": failed, "loads": entries });
            outcome::tell(&load::json(&summary)?)?;
        }
        Report::Text => {
            let mut text = show::table(&["load", "status", "rows", "seconds", ""], rows);
            let done = ended.len() - failed;
            text += &format!("{done} of {} loads in {seconds:.2} s\n", ended.len());
            if failed > 0 {
                text += "what was loaded stays; --resume goes on with the rest\n";
            }
            outcome::tell(&text)?;
        }
    }
    let worst = ended.values().map(Ended::exit).max();
    Ok(worst.unwrap_or(Exit::Done))
}
