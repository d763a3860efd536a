//! What a sync would do: one plan over all of its tables.

use arrowload::{DestinationOutcome, Error, ErrorKind, Mode, Plan};
use futures::stream::{self, StreamExt};
use serde_json::{Map, Value, json};

use crate::args::{Common, Report};
use crate::exit::{Exit, Failure, say};
use crate::run::Running;
use crate::show::{self, note};
use crate::sync_tables::{Table, Tables};
use crate::work::{Reads, Work};
use crate::{load, machine};

/// The plans of all tables, in the order of their names.
pub(crate) struct Plans(Vec<TablePlan>);

struct TablePlan {
    name: String,
    target: String,
    plan: Result<Plan, Error>,
    /// Changes of types: columns that get another type in the target.
    becomes: Vec<String>,
    /// What is left behind.
    left_behind: Option<String>,
}

/// More names are not listed in a refusal.
const MOST_NAMED: usize = 5;

impl Plans {
    /// Looks at all targets, and changes nothing.
    pub(crate) async fn make(running: &Running) -> Result<Self, Failure> {
        let work = &running.work;
        let planned = work.job.loads.iter().map(|(name, load)| async move {
            let question = work.ask(name, load, true).await?;
            let load_id = running.load_id(name);
            let loads = work.destinations(name, &question, load, Some(&load_id))?;
            let target = loads.first().map(|load| load.to.target().to_owned());
            let planned = load::all(&question, loads.into_iter().map(|load| load.to)).plan();
            let one = |planned: Vec<DestinationOutcome<Plan>>| {
                let missing =
                    || Error::new(ErrorKind::Unexpected, "internal error: a load has no plan");
                planned.into_iter().next().ok_or_else(missing)?.result
            };
            let plan = planned.await.and_then(one);
            let plan = plan.and_then(|plan| plan.check().map(|()| plan));
            let target = target.unwrap_or_default();
            Ok::<_, Failure>(TablePlan::of(work, name, target, plan))
        });
        let mut planned = stream::iter(planned).buffered(work.job.at_once);
        let mut all = Vec::new();
        while let Some(one) = planned.next().await {
            let one = one?;
            match one.plan {
                // If the store cannot be reached, that holds for all tables. Any other error is only about its own table.
                Err(error) if is_of_the_store(error.kind()) => return Err(error.into()),
                _ => all.push(one),
            }
        }
        drop(planned);
        Plan::check_distinct(all.iter().filter_map(|one| one.plan.as_ref().ok()))?;
        Ok(Self(all))
    }

    /// Refuses to begin if targets exist, and no mode says what to do with their rows.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let is_there = |one: &&TablePlan| {
            one.plan
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::TargetExists)
        };
        let there: Vec<&str> = self
            .0
            .iter()
            .filter(is_there)
            .map(|one| one.target.as_str())
            .collect();
        if there.is_empty() {
            return Ok(());
        }
        let named: Vec<String> = there
            .iter()
            .take(MOST_NAMED)
            .map(|target| format!("`{target}`"))
            .collect();
        let more = match there.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(Failure::usage(format!(
            "{} of {} targets exist already: {}{more}; choose a mode: --mode overwrite replaces their rows, append and \
             upsert keep them; or --resume, if a run of this sync was broken off",
            there.len(),
            self.0.len(),
            named.join(", ")
        )))
    }

    /// Prints before the first row which types will change.
    pub(crate) fn announce(&self, common: &Common) {
        for one in &self.0 {
            one.changes().for_each(|line| note(&line));
        }
        let left: Vec<&TablePlan> = self
            .0
            .iter()
            .filter(|one| one.left_behind.is_some())
            .collect();
        if common.verbose > 0 {
            left.iter()
                .filter_map(|one| one.leaves())
                .for_each(|line| note(&line));
        } else if !left.is_empty() {
            note(&format!(
                "{} of {} tables have what is not carried over, such as indexes; -v and --dry-run say what",
                left.len(),
                self.0.len()
            ));
        }
    }

    /// Shows the plan, and refuses what the loads would refuse.
    pub(crate) fn tell(self, work: &Work, common: &Common) -> Result<Exit, Failure> {
        let ends = self.0.iter().filter_map(|one| one.plan.as_ref().err());
        let worst = ends.map(Exit::of).max().unwrap_or(Exit::Done);
        if common.output == Report::Json {
            let Reads::Tables(tables) = &work.reads else {
                return Err(Failure::failed("internal error: a sync reads tables"));
            };
            let status = match worst {
                Exit::Done => "planned",
                _ => "refused",
            };
            let loads: Map<String, Value> =
                self.0.into_iter().map(|one| one.object(tables)).collect();
            machine::tell(&json!({ "status": status, "job": work.job.name, "loads": loads }))?;
            return Ok(worst);
        }
        if !common.quiet {
            show::print(&self.text(common.verbose > 0))?;
        }
        for one in &self.0 {
            if let Err(error) = &one.plan {
                say(&error.clone().with("table", &one.name), common.verbose > 0);
            }
        }
        Ok(worst)
    }

    fn text(&self, is_verbose: bool) -> String {
        let rows = self.0.iter().map(|one| {
            let columns = one.plan.as_ref().map(|plan| plan.columns.len().to_string());
            vec![
                one.name.clone(),
                one.target.clone(),
                columns.unwrap_or_default(),
                one.fate().to_owned(),
            ]
        });
        let mut text = show::table(&["table", "target", "columns", ""], rows.collect());
        for one in &self.0 {
            let lines = one.changes().chain(one.leaves());
            lines.for_each(|line| text += &(line + "\n"));
            if let Some(plan) = one.plan.as_ref().ok().filter(|_| is_verbose) {
                text += &format!("{plan}\n");
            }
        }
        let refused = self.0.iter().filter(|one| one.plan.is_err()).count();
        text += &format!(
            "{} tables, {refused} of them refused; nothing was changed\n",
            self.0.len()
        );
        text
    }
}

/// Errors that all targets of a store have.
fn is_of_the_store(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Connection | ErrorKind::Authentication | ErrorKind::Tls | ErrorKind::Timeout
    )
}

impl TablePlan {
    fn of(work: &Work, name: &str, target: String, plan: Result<Plan, Error>) -> Self {
        let (mut becomes, mut left_behind) = (Vec::new(), None);
        if let Reads::Tables(tables) = &work.reads
            && let Some(table) = tables.all.get(name)
        {
            let is_new = |plan: &&Plan| tables.is_own_kind && !plan.target_exists;
            left_behind = leftovers(table, !tables.is_own_kind);
            if let Some(plan) = plan.as_ref().ok().filter(is_new) {
                becomes = other_types(table, plan);
            }
        }
        Self {
            name: name.to_owned(),
            target,
            plan,
            becomes,
            left_behind,
        }
    }

    /// What would happen, in a few words.
    fn fate(&self) -> &'static str {
        match &self.plan {
            Err(_) => "refused",
            Ok(plan) if plan.already_loaded.is_some() => "is there already, by this run",
            Ok(plan) if !plan.target_exists => "would be created",
            Ok(plan) => match plan.mode {
                Mode::Overwrite => "exists: rows would be replaced",
                Mode::Upsert => "exists: rows would be updated and added",
                _ => "exists: rows would be added",
            },
        }
    }

    /// What changes in the target, or on the way there.
    fn changes(&self) -> impl Iterator<Item = String> {
        let schema = self
            .plan
            .as_ref()
            .map(|plan| plan.schema_changes.as_slice());
        let schema = schema.unwrap_or_default().iter();
        let types = self.becomes.iter();
        let changed = schema.map(|change| format!("{}: the target changes: {change}", self.name));
        changed.chain(types.map(|change| format!("{}: {change}", self.name)))
    }

    fn leaves(&self) -> Option<String> {
        let what = self.left_behind.as_ref()?;
        Some(format!("{}: not carried over: {what}", self.name))
    }

    fn object(self, tables: &Tables) -> (String, Value) {
        let mut object = match &self.plan {
            Ok(plan) => {
                let mut object = json!(plan);
                object["source"] = json!(tables.connection);
                object["status"] = "planned".into();
                object
            }
            Err(error) => machine::failure(machine::error(error)),
        };
        object["target"] = self.target.clone().into();
        object["types_changed"] = json!(self.becomes);
        object["not_carried_over"] = json!(self.left_behind);
        (self.name, object)
    }
}

/// What a load of the rows leaves behind.
fn leftovers(table: &Table, is_other_store: bool) -> Option<String> {
    let key = table.primary_key();
    let key =
        (is_other_store && !key.is_empty()).then(|| format!("primary key ({})", key.join(", ")));
    let all: Vec<String> = key.into_iter().chain(table.not_in_rows.clone()).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Columns that would have another type than in the source, in a store whose types have the same names.
fn other_types(table: &Table, plan: &Plan) -> Vec<String> {
    let columns = table.columns.iter().zip(&plan.columns);
    columns
        .filter(|(column, planned)| column.type_name != planned.target_type)
        .map(|(column, planned)| {
            format!(
                "column `{}` is {} in the source, and would be {}",
                column.name, column.type_name, planned.target_type
            )
        })
        .collect()
}
