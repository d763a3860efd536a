//! `arrowload run`: the loads of a job, each as soon as those before it have ended well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use arrowload::core::{LoadState, nearest};
use arrowload::{LoadBuilder, LoadReport};
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};

use crate::args::{Common, From, Report, RunArgs, To};
use crate::begun::{Begun, Load};
use crate::exit::{Exit, Failure};
use crate::input::Question;
use crate::job::{Job, JobLoad};
use crate::load;
use crate::params::pair;
use crate::progress::Display;
use crate::show;

/// More runs of one job with the same variables are not told apart.
const MOST_RUNS: u32 = 10_000;

/// How a load ended.
enum Ended {
    Loaded(Box<LoadReport>),
    Failed(String),
    /// A load before it did not end well.
    Skipped(String),
}

pub(crate) async fn command(args: RunArgs, common: &Common) -> Result<Exit, Failure> {
    let vars = args
        .vars
        .iter()
        .map(|text| pair("--var", text).map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut job = Job::read(&args.job, &vars.collect::<Result<Vec<_>, _>>()?)?;
    choose(&mut job, &args.only)?;
    let folder = args.job.parent().unwrap_or(Path::new("")).to_owned();
    if args.dry_run {
        return dry_run(&job, &folder).await;
    }
    let number = run_number(&job, &folder, args.resume).await?;
    let display = Display::new(common);
    remember(&job, &args, &folder, number, &display).await?;
    let started = Instant::now();
    let ended = run_all(&job, &folder, number, &display).await?;
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

fn texts(values: &BTreeMap<String, Value>) -> Vec<String> {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    values
        .iter()
        .map(|(key, value)| format!("{key}={}", text(value)))
        .collect()
}

/// A load as the flags of `arrowload load` would say it.
fn build(
    name: &str,
    load: &JobLoad,
    folder: &Path,
    load_id: Option<String>,
) -> Result<(Question, LoadBuilder), Failure> {
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
    let place = |failure: Failure| match failure {
        Failure::Usage(text) => Failure::Usage(format!("loads.{name}: {text}")),
        other => other,
    };
    if given.into_iter().filter(|given| *given).count() > 1 {
        return Err(place(Failure::usage("give one of sql, sql_file and table")));
    }
    let to = To {
        to: load.to.clone(),
        target: load.target.clone(),
        connection: load.connection.clone(),
        config: texts(&load.config),
        mode: load.mode.clone(),
        keys: load.keys.clone(),
        options: texts(&load.options),
        load_id,
    };
    let question = Question::ask(&from).map_err(place)?;
    let builder = load::load(&question.client, question.query.clone(), &to).map_err(place)?;
    Ok((question, builder))
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
            let (_question, builder) =
                build(name, load, folder, Some(numbered(job, name, last + 1)))?;
            match builder.find().await? {
                LoadState::Committed(_) => last += 1,
                _ => break,
            }
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
        let now = Load::of(numbered(job, name, number), load, &args.job, folder);
        let then = begun.find(&now);
        if args.resume && then.is_none_or(|then| now.has_changed(then)) {
            let (_question, builder) = build(name, load, folder, Some(now.load_id.clone()))?;
            match (builder.find().await?, then) {
                (LoadState::Committed(_), Some(then)) => return Err(changed(name, then)),
                (LoadState::Committed(_), None) => {
                    display.line(&format!("{name}: loaded already, and this machine has no record of what it was then: that it is still the same cannot be told"));
                    // Nor is it known for the next time.
                    continue;
                }
                _ => {}
            }
        }
        loads.push(now);
    }
    if let Err(error) = begun.keep(&loads) {
        display.line(&format!("--resume will not notice whether the job has changed, as what it is cannot be kept: {error}"));
    }
    Ok(())
}

fn changed(name: &str, then: &Load) -> Failure {
    Failure::usage(format!(
        "--resume: loads.{name} was loaded as {}, and is another load now: what it reads, its mode, keys or options differ from those in \
         {} as they were then. Undo the change, leave the load out with --only, give the job a `name` of its own, or run without \
         --resume, which loads everything again",
        then.load_id,
        then.file.display()
    ))
}

async fn dry_run(job: &Job, folder: &Path) -> Result<Exit, Failure> {
    for (name, load) in &job.loads {
        let (_question, builder) = build(name, load, folder, None)?;
        show::print(&format!("[{name}]\n{}", builder.plan().await?))?;
    }
    Ok(Exit::Done)
}

async fn run_all(
    job: &Job,
    folder: &Path,
    number: u32,
    display: &Display,
) -> Result<BTreeMap<String, Ended>, Failure> {
    // What is wrong with the job is said before its first load.
    for (name, load) in &job.loads {
        drop(build(name, load, folder, None)?);
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
            if let Some(failed) = load
                .after
                .iter()
                .find(|before| !matches!(ended.get(*before), Some(Ended::Loaded(_))))
            {
                waiting.remove(name);
                display.line(&format!("{name}: not run, as {failed} did not end well"));
                ended.insert(name.clone(), Ended::Skipped(failed.clone()));
            } else if running.len() < job.at_once {
                waiting.remove(name);
                let (question, builder) =
                    build(name, load, folder, Some(numbered(job, name, number)))?;
                running.push(async move {
                    let outcome = load::run(builder, name, display).await;
                    drop(question);
                    (name, outcome)
                });
            }
        }
        match running.next().await {
            Some((name, Ok(report))) => {
                display.line(show::report(&report).trim_end());
                ended.insert(name.clone(), Ended::Loaded(Box::new(report)));
            }
            Some((name, Err(failure))) => {
                let text = match failure {
                    Failure::Load(error) => error.to_string(),
                    Failure::Usage(text) | Failure::Failed(text) => text,
                    other => return Err(other),
                };
                display.line(&format!("{name}: {text}"));
                ended.insert(name.clone(), Ended::Failed(text));
            }
            None if waiting.is_empty() => return Ok(ended),
            // A load that was not run may free others from waiting.
            None => {}
        }
    }
}

fn summarise(
    job: &Job,
    ended: &BTreeMap<String, Ended>,
    number: u32,
    started: Instant,
    output: Report,
) -> Result<Exit, Failure> {
    let mut rows = Vec::new();
    let (mut failed, mut rejected, mut entries) = (0, 0, serde_json::Map::new());
    for (name, ended) in ended {
        let (row, entry) = match ended {
            Ended::Loaded(report) => {
                rejected += report.rows_rejected;
                let what = if report.already_loaded {
                    "already there"
                } else {
                    "loaded"
                };
                let seconds = format!("{:.2}", report.elapsed.as_secs_f64());
                let row = [
                    what.to_owned(),
                    show::count(report.rows),
                    seconds,
                    format!("{} {}", report.loader, report.target),
                ];
                (row, json!({ "status": what, "report": report }))
            }
            Ended::Failed(text) => {
                failed += 1;
                (
                    [
                        String::from("failed"),
                        String::new(),
                        String::new(),
                        text.clone(),
                    ],
                    json!({ "status": "failed", "error": text }),
                )
            }
            Ended::Skipped(before) => {
                failed += 1;
                (
                    [
                        String::from("not run"),
                        String::new(),
                        String::new(),
                        format!("after {before}"),
                    ],
                    json!({ "status": "not run", "after": before }),
                )
            }
        };
        rows.push(std::iter::once(name.clone()).chain(row).collect());
        entries.insert(name.clone(), entry);
    }
    let seconds = started.elapsed().as_secs_f64();
    match output {
        Report::Json => {
            let summary = json!({ "job": job.name, "run": number, "elapsed": seconds, "failed": failed, "loads": entries });
            show::print(&load::json(&summary)?)?;
        }
        Report::Text => {
            show::print(&show::table(
                &["load", "status", "rows", "seconds", ""],
                rows,
            ))?;
            let done = ended.len() - failed;
            show::print(&format!(
                "{done} of {} loads in {seconds:.2} s",
                ended.len()
            ))?;
            if failed > 0 {
                show::print("what was loaded stays; --resume goes on with the rest")?;
            }
        }
    }
    Ok(match (failed, rejected) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::Partly,
        _ => Exit::Failed,
    })
}
