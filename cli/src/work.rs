//! The loads of a job, or the tables of a sync: the input and destination of each, and its plan.

use std::path::{Path, PathBuf};

use arrowload::{Error, ErrorKind, Plan};
use serde_json::json;

use crate::args::{Common, From, Report};
use crate::exit::{Exit, Failure, say};
use crate::incremental::Next;
use crate::input::Question;
use crate::job::{Job, JobLoad};
use crate::job_to::{LoadId, texts};
use crate::load::{self, Load};
use crate::outcome::Planned;
use crate::sync_tables::Tables;
use crate::{machine, outcome, show};

/// Loads, and what they read from.
pub(crate) struct Work {
    pub(crate) job: Job,
    pub(crate) reads: Reads,
}

/// What loads read from.
pub(crate) enum Reads {
    /// Each says its own source; its files are relative to this folder.
    Own(PathBuf),
    /// They are tables of one source, which they share.
    Tables(Box<Tables>),
}

impl Work {
    /// What a load reads.
    pub(crate) async fn ask(
        &self,
        name: &str,
        load: &JobLoad,
        may_be_missing: bool,
    ) -> Result<Question, Failure> {
        match &self.reads {
            Reads::Own(folder) => ask(load, folder, may_be_missing)
                .await
                .map_err(|failure| self.of_load(name, failure)),
            Reads::Tables(tables) => tables.question(name),
        }
    }

    /// Where a load goes.
    pub(crate) fn destinations(
        &self,
        name: &str,
        question: &Question,
        load: &JobLoad,
        load_id: Option<&LoadId>,
    ) -> Result<Vec<Load>, Failure> {
        let to = load.destinations();
        let flags = to.iter().map(|to| to.as_flags(load_id.cloned()));
        let flags: Vec<_> = flags.collect();
        Load::each(question, &flags, Some(name)).map_err(|failure| self.of_load(name, failure))
    }

    /// How messages name a load.
    pub(crate) fn called(&self, name: &str) -> String {
        match &self.reads {
            Reads::Own(_) => format!("loads.{name}"),
            Reads::Tables(_) => name.to_owned(),
        }
    }

    /// The flag that leaves a load out.
    pub(crate) fn leaves_out_by(&self) -> &'static str {
        match &self.reads {
            Reads::Own(_) => "--only",
            Reads::Tables(_) => "--exclude",
        }
    }

    /// Whether no load is begun after one has failed.
    pub(crate) fn stops_at_failure(&self) -> bool {
        match &self.reads {
            Reads::Own(_) => false,
            Reads::Tables(tables) => tables.fail_fast,
        }
    }

    fn of_load(&self, name: &str, failure: Failure) -> Failure {
        match failure {
            Failure::Usage(text) => Failure::Usage(format!("{}: {text}", self.called(name))),
            other => other,
        }
    }

    /// Errors of the job are reported before its first load.
    pub(crate) async fn check(&self) -> Result<(), Failure> {
        for (name, load) in &self.job.loads {
            if load.incremental.is_some() {
                let checked = load.shape.check_incremental();
                checked.map_err(|failure| self.of_load(name, failure))?;
            }
            let question = self.ask(name, load, true).await?;
            if load.incremental.is_some() {
                let checked = question.check_incremental();
                checked.map_err(|failure| self.of_load(name, failure))?;
            }
            let loads = self.destinations(name, &question, load, None)?;
            load::all(&question, loads.into_iter().map(|load| load.to)).check()?;
        }
        Ok(())
    }

    /// Shows every plan, also after one that is refused: what it needs may be made by a load before it.
    pub(crate) async fn dry_run(&self, common: &Common) -> Result<Exit, Failure> {
        let mut worst = Exit::Done;
        let mut entries = serde_json::Map::new();
        let is_json = common.output == Report::Json;
        for (name, load) in &self.job.loads {
            if !is_json && !common.quiet {
                show::print(&format!("[{name}]"))?;
            }
            let (object, exit) = match self.plan(name, load, common).await {
                Ok(planned) => (planned.object, planned.exit),
                Err(Failure::Load(error)) => match self.unmade(load).await {
                    Some(before) => {
                        if !is_json && !common.quiet {
                            show::print(&format!(
                                "  cannot be planned yet: it runs after `{before}`, whose target is not there; without it: {error}"
                            ))?;
                        }
                        let waits = json!({ "status": "waits", "after": before, "error": machine::error(&error) });
                        (waits, Exit::Done)
                    }
                    None => {
                        say(&error, common.verbose > 0);
                        (machine::failure(machine::error(&error)), Exit::of(&error))
                    }
                },
                Err(other) => return Err(other),
            };
            entries.insert(name.clone(), object);
            worst = worst.max(exit);
        }
        if is_json {
            let status = if worst == Exit::Done {
                "planned"
            } else {
                "refused"
            };
            machine::tell(&json!({ "status": status, "job": self.job.name, "loads": entries }))?;
        }
        Ok(worst)
    }
}

impl Work {
    /// A load that this one waits for, and that has yet to make its target, which this one may read.
    async fn unmade(&self, load: &JobLoad) -> Option<String> {
        for before in &load.after {
            let Some(other) = self.job.loads.get(before) else {
                continue;
            };
            let Ok(question) = self.ask(before, other, true).await else {
                continue;
            };
            let Ok(loads) = self.destinations(before, &question, other, None) else {
                continue;
            };
            let planned = load::all(&question, loads.into_iter().map(|load| load.to)).plan();
            let is_new = |plan: &Plan| !plan.target_exists;
            let planned = planned.await.unwrap_or_default();
            let plans: Vec<&Plan> = planned
                .iter()
                .filter_map(|one| one.result.as_ref().ok())
                .collect();
            // What cannot be planned itself may wait for another.
            let is_unmade = match plans.is_empty() {
                true => Box::pin(self.unmade(other)).await.is_some(),
                false => plans.into_iter().any(is_new),
            };
            if is_unmade {
                return Some(before.clone());
            }
        }
        None
    }

    /// Shows the plan of a load.
    async fn plan(&self, name: &str, load: &JobLoad, common: &Common) -> Result<Planned, Failure> {
        let question = self.ask(name, load, true).await?;
        if let Some(wanted) = &load.incremental {
            let of_load = |failure| self.of_load(name, failure);
            load.shape.check_incremental().map_err(of_load)?;
            let to = load.destinations();
            let to: Vec<_> = to.iter().map(|to| to.as_flags(None)).collect();
            // A refusal of this load keeps nobody from seeing the others.
            let refused = |failure| match failure {
                Failure::Usage(text) => Error::new(ErrorKind::InvalidOption, text).into(),
                Failure::Failed(text) => Error::new(ErrorKind::InvalidData, text).into(),
                other => other,
            };
            let next = Next::find(&question, wanted, &to, Some(name)).await;
            let next = next.map_err(refused)?;
            let planned = load::plan_next(&next, &question, Some(name), common).await;
            return planned.map_err(refused);
        }
        let loads = self.destinations(name, &question, load, None)?;
        let planned = load::all(&question, loads.into_iter().map(|load| load.to)).plan();
        outcome::plans(planned.await?, &question.connection, common)
    }
}

/// What a load reads, as the flags of `arrowload load` would say it.
async fn ask(load: &JobLoad, folder: &Path, may_be_missing: bool) -> Result<Question, Failure> {
    let from = From {
        from: load.from.clone(),
        sql: load.sql.clone(),
        sql_file: load.sql_file.as_ref().map(|file| folder.join(file)),
        table: load.table.clone(),
        params: texts(&load.params),
        input_format: load.input_format,
        read: load.reading(),
        shape: load.shape.clone(),
        may_be_missing,
        ..From::default()
    };
    let given = [
        load.sql.is_some(),
        load.sql_file.is_some(),
        load.table.is_some(),
    ];
    if given.into_iter().filter(|given| *given).count() > 1 {
        return Err(Failure::usage("give one of sql, sql_file and table"));
    }
    Question::ask(&from).await
}
