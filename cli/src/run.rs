//! `arrowload run`: the loads of a job, each as soon as those before it have ended well. The tables of `arrowload sync` are run by
//! the same code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrowload::core::{LoadState, nearest};
use arrowload::{DestinationOutcome, Error, ErrorKind};
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};
use tracing::Instrument;

use crate::args::{Common, Report, RunArgs};
use crate::exit::{Exit, Failure};
use crate::hook::Calls;
use crate::incremental::{self, Next};
use crate::job::{Job, JobLoad};
use crate::job_to::LoadId;
use crate::load;
use crate::params::{once, pair};
use crate::runs::{Known, Run, Runs};
use crate::show::{self, note};
use crate::watch::Watch;
use crate::work::{Reads, Work};
use crate::{machine, outcome};

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

    /// A different load has committed with its id; a repetition cannot change that.
    fn is_another_load(&self) -> bool {
        let is_taken = |error: &Error| {
            error.kind() == ErrorKind::InvalidOption && error.get("key") == Some("load_id")
        };
        match self {
            Self::Ran(outcomes) => outcomes
                .iter()
                .filter_map(|outcome| outcome.result.as_ref().err())
                .any(is_taken),
            Self::Refused(_, error) => error.as_ref().is_some_and(is_taken),
            Self::Skipped(_) => false,
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

/// The state of a run of a job, so that it can be reported after an interrupt.
pub(crate) struct Running {
    pub(crate) work: Work,
    runs: Runs,
    run: Mutex<Run>,
    /// Its id was made up for it: no load of it can have committed.
    is_new: bool,
    /// It has begun before, on this machine.
    is_known: bool,
    kept: Mutex<Option<Instant>>,
    started: Instant,
    ended: Mutex<BTreeMap<String, Ended>>,
    hooks: Calls,
}

/// What is known of a run is kept no more often than this: a job of many loads would write it again for each of them.
const KEPT_EVERY: Duration = Duration::from_millis(200);

/// Identifies the run that begins or continues.
#[derive(Debug)]
pub(crate) struct WhichRun<'a> {
    pub(crate) id: Option<&'a str>,
    /// Empty for the last one.
    pub(crate) resume: Option<&'a str>,
    /// The job's file, which distinguishes it from other jobs of its name.
    pub(crate) file: &'a Path,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) async fn command(
    args: RunArgs,
    common: &Common,
    watch: &Watch,
) -> Result<Exit, Failure> {
    let vars = args
        .vars
        .iter()
        .map(|text| pair("--var", text))
        .collect::<Result<Vec<_>, _>>()?;
    once("--var", vars.iter().copied())?;
    let vars = vars.into_iter();
    let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut job = Job::read(&args.job, &vars.collect::<Vec<_>>())?;
    choose(&mut job, &args.only)?;
    let folder = args.job.parent().unwrap_or(Path::new("")).to_owned();
    let work = Work {
        job,
        reads: Reads::Own(folder),
    };
    if args.dry_run {
        work.job.calls("")?;
        return work.dry_run(common).await;
    }
    let which = WhichRun {
        id: args.run_id.as_deref(),
        resume: args.resume.as_deref(),
        file: &args.job,
    };
    let running = Running::new(work, &which)?;
    running.call_hooks_at_interrupt(watch);
    if let Err(failure) = running.look(&args).await {
        running.refused(&failure).await;
        return Err(failure);
    }
    running.begin(watch);
    running.to_its_end(common, watch).await
}

/// The run that begins, or goes on.
fn begin(runs: &Runs, which: &WhichRun<'_>) -> Result<Run, Failure> {
    match (which.resume, which.id) {
        (None, None) => Ok(runs.find(&uuid::Uuid::now_v7().to_string(), which.file)),
        (Some(""), _) => {
            let none = || {
                Failure::usage(
                    "--resume: this machine knows no run of the job with these variables; name the run, --resume ID, or run it without \
                     --resume",
                )
            };
            let last = runs.last().ok_or_else(none)?;
            let file = std::path::absolute(which.file)?;
            if last.file != file {
                return Err(Failure::usage(format!(
                    "--resume: the last run of a job of this name was of another file, {}; name the run, --resume {}, if it is the same \
                     job, or give each job a `name` of its own",
                    last.file.display(),
                    last.id
                )));
            }
            Ok(last.clone())
        }
        (Some(id), _) | (None, Some(id)) => {
            if id.trim().is_empty() || id.chars().any(char::is_control) {
                return Err(Failure::usage(
                    "a run's id is text without control characters",
                ));
            }
            Ok(runs.find(id, which.file))
        }
    }
}

/// Keeps only the given loads; loads that they depend on are assumed to have been run.
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

impl Running {
    /// Begins a run, or goes on with one. Nothing is loaded yet.
    pub(crate) fn new(work: Work, which: &WhichRun<'_>) -> Result<Arc<Self>, Failure> {
        let runs = Runs::read(work.job.name(), &work.job.vars_digest());
        let run = begin(&runs, which)?;
        let hooks = work.job.calls(&run.id)?;
        let is_known = runs.knows(&run.id);
        let run = Mutex::new(run);
        let (kept, ended) = Default::default();
        Ok(Arc::new(Self {
            work,
            runs,
            run,
            is_new: which.id.is_none() && which.resume.is_none(),
            is_known,
            kept,
            started: Instant::now(),
            ended,
            hooks,
        }))
    }

    /// Keeps the run, before its first load: from now on `--resume` goes on with it, and an interrupt tells of it.
    pub(crate) fn begin(self: &Arc<Self>, watch: &Watch) {
        self.keep();
        let interrupted = Arc::clone(self);
        watch.job(move |common, targets| {
            interrupted.keep();
            let _ = interrupted.summarise(common, Some(targets));
        });
    }

    /// The run was refused before its first load. One that had begun before stays known.
    pub(crate) fn forget(&self, watch: &Watch) {
        watch.no_job();
        if self.is_known {
            return;
        }
        if let Err(error) = self.runs.forget(&lock(&self.run)) {
            note(&format!(
                "--resume will need a run's id, as this machine cannot forget the one that was refused: {error}"
            ));
        }
    }

    /// Runs all loads of a run that has begun, and says how each has ended.
    pub(crate) async fn to_its_end(
        self: Arc<Self>,
        common: &Common,
        watch: &Watch,
    ) -> Result<Exit, Failure> {
        note(&format!("run {}", lock(&self.run).id));
        let ran = self.run_all(watch).await;
        self.keep();
        ran?;
        self.call_hooks(None).await;
        self.hooks.ended().await;
        watch.no_job();
        self.summarise(common, None)?;
        let ended = lock(&self.ended);
        let worst = ended.values().map(Ended::exit).max();
        Ok(worst.unwrap_or(Exit::Done))
    }

    /// Whether a load has committed in this run, as far as this machine knows.
    pub(crate) fn has_committed(&self, name: &str) -> bool {
        let run = lock(&self.run);
        run.loads.get(name).is_some_and(|known| known.committed)
    }

    /// The id of a load of this run: of the job, the load, the variables and the run, unless the job says it.
    pub(crate) fn load_id(&self, name: &str) -> LoadId {
        let run = lock(&self.run);
        let again = run.loads.get(name).map_or(0, |known| known.again);
        let load = self.work.job.loads.get(name);
        let said = load.and_then(|load| load.load_id.clone());
        let is_new = self.is_new && said.is_none();
        let id = said.unwrap_or_else(|| self.work.job.load_id(name, &run.id));
        let text = match again {
            0 => id,
            again => format!("{id}.again{again}"),
        };
        LoadId { text, is_new }
    }

    /// Checks everything that could stop the run before its first load.
    async fn look(&self, args: &RunArgs) -> Result<(), Failure> {
        self.work.check().await?;
        match args.resume {
            Some(_) => self.look_back(args.again).await,
            None => Ok(()),
        }
    }

    /// Tells the job's hook of a run that did not begin.
    async fn refused(&self, failure: &Failure) {
        let error = match failure {
            Failure::Load(error) => machine::error(error),
            Failure::Usage(text) => machine::plain_error("usage", text),
            Failure::Failed(text) => machine::plain_error("failed", text),
            _ => return,
        };
        self.hooks.tell(None, false, &machine::failure(error)).await;
        self.hooks.ended().await;
    }

    /// Tells the job's hook how the run has ended.
    async fn call_hooks(&self, interrupted: Option<&[Value]>) {
        let (_, report) = self.summary(interrupted);
        let is_well = report["status"] == "done";
        self.hooks.tell(None, is_well, &report).await;
    }

    fn call_hooks_at_interrupt(self: &Arc<Self>, watch: &Watch) {
        let this = Arc::clone(self);
        watch.hooks(move |targets| {
            Box::pin(async move {
                for name in this.work.job.loads.keys() {
                    let has_ended = lock(&this.ended).contains_key(name);
                    let (_, entry) = not_ended(name, &targets);
                    if !has_ended && entry["status"] == "interrupted" {
                        this.hooks.tell(Some(name), false, &entry).await;
                    }
                }
                this.call_hooks(Some(&targets)).await;
                this.hooks.ended_soon().await;
            })
        });
    }

    /// Refuses to continue if committed loads of this run no longer exist; with `again`, they are loaded again.
    pub(crate) async fn look_back(&self, again: bool) -> Result<(), Failure> {
        if !self.is_known && !self.is_known_elsewhere().await? {
            return Err(Failure::usage(format!(
                "--resume {id}: this machine knows no such run, and no load of it has committed: is it another id, or are the variables \
                 others? To begin a run of this id: --run-id {id}",
                id = lock(&self.run).id
            )));
        }
        for (name, load) in &self.work.job.loads {
            // An incremental load goes on by itself.
            if !self.has_committed(name) || load.incremental.is_some() {
                continue;
            }
            let question = self.work.ask(name, load, true).await?;
            let loads = self
                .work
                .destinations(name, &question, load, Some(&self.load_id(name)))?;
            let found = load::all(&question, loads.into_iter().map(|load| load.to)).find();
            let mut gone = None;
            for outcome in found.await? {
                let place = format!("{} `{}`", outcome.loader, outcome.target);
                match outcome.result {
                    Ok(LoadState::NotCommitted) => {
                        gone = Some(format!("{place} does not know it any more"));
                    }
                    Err(error) if error.kind() == ErrorKind::TargetNotFound => {
                        gone = Some(format!("{place} is gone since"));
                    }
                    Ok(_) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            match gone {
                None => {}
                Some(_) if again => {
                    let mut run = lock(&self.run);
                    let known = run.loads.entry(name.clone()).or_default();
                    known.committed = false;
                    known.again += 1;
                }
                Some(why) => {
                    return Err(Failure::usage(format!(
                        "--resume: {} committed in this run, and {why}; add --again to load it again, or leave it out with {}",
                        self.work.called(name),
                        self.work.leaves_out_by()
                    )));
                }
            }
        }
        Ok(())
    }

    /// Whether a store knows a load of this run, which another machine began.
    async fn is_known_elsewhere(&self) -> Result<bool, Failure> {
        let mut failed = None;
        for (name, load) in &self.work.job.loads {
            // These ids say nothing of the run.
            if load.incremental.is_some() || load.load_id.is_some() {
                continue;
            }
            let question = self.work.ask(name, load, true).await?;
            let load_id = Some(self.load_id(name));
            let loads = self
                .work
                .destinations(name, &question, load, load_id.as_ref())?;
            let found = load::all(&question, loads.into_iter().map(|load| load.to)).find();
            for outcome in found.await? {
                match outcome.result {
                    Ok(LoadState::Committed { .. }) => return Ok(true),
                    Ok(_) => {}
                    // What it had committed is gone since.
                    Err(error) if error.kind() == ErrorKind::TargetNotFound => return Ok(true),
                    Err(error) => failed = Some(error),
                }
            }
        }
        failed.map_or(Ok(false), |error| Err(error.into()))
    }

    /// Keeps what is known of the run.
    fn keep(&self) {
        *lock(&self.kept) = Some(Instant::now());
        let run = lock(&self.run).clone();
        if let Err(error) = self.runs.keep(&run) {
            note(&format!(
                "--resume will need the run's id, as this machine cannot keep it: {error}"
            ));
        }
    }

    async fn run_all(&self, watch: &Watch) -> Result<(), Failure> {
        let mut waiting: BTreeSet<&String> = self.work.job.loads.keys().collect();
        let mut running = FuturesUnordered::new();
        loop {
            for name in self.ready(&waiting) {
                let load = &self.work.job.loads[name];
                let failed = {
                    let ended = lock(&self.ended);
                    let is_well = |before: &&String| ended.get(*before).is_some_and(Ended::is_well);
                    load.after.iter().find(|before| !is_well(before)).cloned()
                };
                let failed = failed.or_else(|| self.stops_for());
                if let Some(failed) = failed {
                    waiting.remove(name);
                    note(&format!("{name}: not run, as {failed} did not end well"));
                    self.has_ended(name, Ended::Skipped(failed)).await;
                } else if running.len() < self.work.job.at_once {
                    waiting.remove(name);
                    let span = tracing::info_span!(
                        "job_load",
                        otel.name = format!("load {name}"),
                        job = self.work.job.name(),
                        run = lock(&self.run).id
                    );
                    let one = async move { (name, self.run_one(name, load, watch).await) };
                    running.push(one.instrument(span));
                }
            }
            match running.next().await {
                Some((name, ended)) => self.told(name, ended).await?,
                None if waiting.is_empty() => return Ok(()),
                // A load that was not run may free others from waiting.
                None => {}
            }
        }
    }

    /// The load that failed, and that no other is begun after.
    fn stops_for(&self) -> Option<String> {
        let ended = lock(&self.ended);
        let failed = |how: &Ended| !how.is_well() && !matches!(how, Ended::Skipped(_));
        let mut all = ended.iter().filter(|(_, how)| failed(how));
        let (first, _) = all.next().filter(|_| self.work.stops_at_failure())?;
        Some(first.clone())
    }

    fn ready<'a>(&self, waiting: &BTreeSet<&'a String>) -> Vec<&'a String> {
        let ended = lock(&self.ended);
        let is_ready = |name: &&String| {
            let mut before = self.work.job.loads[*name].after.iter();
            before.all(|before| ended.contains_key(before))
        };
        waiting.iter().copied().filter(is_ready).collect()
    }

    async fn run_one(
        &self,
        name: &str,
        load: &JobLoad,
        watch: &Watch,
    ) -> Result<Vec<DestinationOutcome>, Failure> {
        let question = self.work.ask(name, load, false).await?;
        if let Some(wanted) = &load.incremental {
            let to = load.destinations();
            let to: Vec<_> = to.iter().map(|to| to.as_flags(None)).collect();
            let next = Next::find(&question, wanted, &to, Some(name)).await?;
            return Ok(match next.run(Some(name), watch).await? {
                incremental::Ended::Loaded(outcomes) => outcomes,
                incremental::Ended::NothingNew(_) => Vec::new(),
            });
        }
        let load_id = self.load_id(name);
        let loads = self
            .work
            .destinations(name, &question, load, Some(&load_id))?;
        load::run(&question, loads, load.fail_fast, watch).await
    }

    /// Says how a load has ended, and keeps it.
    async fn told(
        &self,
        name: &str,
        ended: Result<Vec<DestinationOutcome>, Failure>,
    ) -> Result<(), Failure> {
        let ended = match ended {
            Ok(outcomes) => {
                for outcome in &outcomes {
                    match &outcome.result {
                        Ok(report) => {
                            note(&(show::report(report) + outcome::asked_again(outcome)));
                        }
                        Err(error) => {
                            show::complain_of(&format!("{name}: {error}"), machine::error(error))
                        }
                    }
                }
                Ended::Ran(outcomes)
            }
            Err(failure) => {
                let (text, error) = match failure {
                    Failure::Load(error) => (error.to_string(), Some(error)),
                    Failure::Usage(text) | Failure::Failed(text) => (text, None),
                    other => return Err(other),
                };
                show::complain(&format!("{name}: {text}"));
                Ended::Refused(text, error)
            }
        };
        if ended.is_well() {
            let mut run = lock(&self.run);
            let known: &mut Known = run.loads.entry(name.to_owned()).or_default();
            known.committed = true;
            drop(run);
            let kept = *lock(&self.kept);
            if kept.is_none_or(|kept| kept.elapsed() >= KEPT_EVERY) {
                self.keep();
            }
        }
        self.has_ended(name, ended).await;
        Ok(())
    }

    async fn has_ended(&self, name: &str, how: Ended) {
        // A load that was not run calls no hook; the hook of the job is called.
        if !matches!(how, Ended::Skipped(_)) {
            let (_, report) = shown(name, &how);
            self.hooks.tell(Some(name), how.is_well(), &report).await;
        }
        lock(&self.ended).insert(name.to_owned(), how);
    }

    /// How the loads have ended, as rows of a table and as an object; `interrupted` has the state of those that have not ended.
    fn summary(&self, interrupted: Option<&[Value]>) -> (Vec<Vec<String>>, Value) {
        let ended = lock(&self.ended);
        let (mut rows, mut entries) = (Vec::new(), serde_json::Map::new());
        for name in self.work.job.loads.keys() {
            let (own_rows, entry) = match ended.get(name) {
                Some(ended) => shown(name, ended),
                None => not_ended(name, interrupted.unwrap_or_default()),
            };
            rows.extend(own_rows);
            entries.insert(name.clone(), entry);
        }
        let failed = ended.values().filter(|ended| !ended.is_well()).count();
        let seconds = self.started.elapsed().as_secs_f64();
        let run = lock(&self.run).id.clone();
        let status = match (interrupted, failed) {
            (Some(_), _) => "interrupted",
            (None, 0) => "done",
            (None, _) => "failed",
        };
        let summary = json!({
            "status": status,
            "job": self.work.job.name,
            "run": run,
            "elapsed": seconds,
            "failed": failed,
            "loads": entries,
        });
        (rows, summary)
    }

    /// Prints the summary.
    fn summarise(&self, common: &Common, interrupted: Option<&[Value]>) -> Result<(), Failure> {
        let (rows, mut summary) = self.summary(interrupted);
        if common.output == Report::Json {
            summary["hooks"] = self.hooks.told().into();
            return outcome::tell(&machine::json(&summary)?);
        }
        if common.quiet {
            return Ok(());
        }
        let mut text = show::table(&["load", "status", "rows", "seconds", ""], rows);
        let ended = lock(&self.ended);
        let done = ended.values().filter(|ended| ended.is_well()).count();
        let all = self.work.job.loads.len();
        let (seconds, run) = (self.started.elapsed().as_secs_f64(), &lock(&self.run).id);
        text += &format!("{done} of {all} loads in {seconds:.2} s, run {run}\n");
        if summary["status"] != "done" {
            text += match ended.values().any(Ended::is_another_load) {
                false => "what was loaded stays; --resume goes on with the rest\n",
                true => {
                    "what was loaded stays; a load that has changed since its run began is refused by --resume too: begin a new run \
                     (without --resume, or with another --run-id), or undo the change\n"
                }
            };
        }
        outcome::tell(&text)
    }
}

/// A load that was in progress at an interrupt, or had not begun.
fn not_ended(name: &str, interrupted: &[Value]) -> (Vec<Vec<String>>, Value) {
    let prefix = format!("{name}: ");
    let is_own = |target: &&Value| {
        let full = target["name"].as_str();
        full.is_some_and(|full| full.starts_with(&prefix))
    };
    let own: Vec<Value> = interrupted.iter().filter(is_own).cloned().collect();
    let (status, entry) = match own.is_empty() {
        true => ("not run", json!({ "status": "not run", "after": null })),
        false => (
            "interrupted",
            json!({ "status": "interrupted", "targets": own }),
        ),
    };
    let row = [name, status, "", "", ""].map(str::to_owned);
    (vec![row.to_vec()], entry)
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
                [] => {
                    let row = vec![row("nothing new", String::new())];
                    return (row, json!({ "status": "nothing new" }));
                }
                [one] => machine::outcome(one),
                several => json!({
                    "status": if ended.is_well() { "loaded" } else { "failed" },
                    "destinations": several.iter().map(machine::outcome).collect::<Vec<_>>(),
                }),
            };
            (rows.collect(), entry)
        }
        Ended::Refused(text, error) => {
            let error = match error {
                Some(error) => machine::error(error),
                None => machine::plain_error("failed", text),
            };
            (vec![row("failed", text.clone())], machine::failure(error))
        }
        Ended::Skipped(before) => (
            vec![row("not run", format!("after {before}"))],
            json!({ "status": "not run", "after": before }),
        ),
    }
}
