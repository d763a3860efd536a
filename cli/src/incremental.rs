//! Incremental loads: each takes the rows between the mark that the last one left and a new one, which is recorded with its rows, in
//! the same commit.
//!
//! The loads of a name are numbered, and the number is part of the load id. So the current mark is that of the highest number that
//! the store knows. Two runs at the same time have the same id, and the store accepts only one. And an attempt whose end is unknown
//! is found by its id.

mod checks;

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use arrowload::core::{LoadState, Mark, Receipt};
use arrowload::{DestinationOutcome, Error, ErrorKind, Mode, Param, Params, Plan, QueryBuilder};
use clap::Args;
use futures::TryStreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cursor::{check_lag, is_finite, minus, never, sql_type, text, value};
use crate::exit::Failure;
use crate::input::Question;
use crate::load::{self, Load};
use crate::shape::line_end;
use crate::to::To;
use crate::watch::Watch;

/// The parameters of the window: from, inclusive unless the cursor is unique, and to, exclusive unless it is. A query may use them; a
/// filter is put around it in any case.
const FROM: &str = "cursor";
const TO: &str = "cursor_end";
/// The mark, where rows beyond it are looked for.
const KNOWN: &str = "cursor_known";

/// What is said of an incremental load.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Incremental {
    /// The column whose values grow: `updated_at`, or a number.
    pub(crate) cursor: String,
    /// How late rows may come: "5m", or a number for a cursor of numbers. As much is read again each time, so the mode is upsert.
    pub(crate) lag: Option<String>,
    /// Where the first load begins; by default with the first row.
    pub(crate) initial: Option<String>,
    /// No two rows have the same value, so that the row of the newest one need not wait.
    #[serde(default)]
    pub(crate) unique: bool,
    /// What the mark is kept under in the target; by default the cursor, for one query. Under a name any query goes on from it.
    pub(crate) name: Option<String>,
}

/// The same as flags.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Incremental")]
pub(crate) struct IncrementalArgs {
    /// Load the rows whose value of this column is new since the last such load. The query may use $cursor and $cursor_end, between
    /// which they are; rows of the newest value wait for the next load
    #[arg(long, value_name = "COLUMN")]
    pub(crate) incremental: Option<String>,
    /// How late rows may come: 5m, or a number for a cursor of numbers. As much is read again each time, with --mode upsert
    #[arg(long, value_name = "TIME", requires = "incremental")]
    pub(crate) lag: Option<String>,
    /// Where the first load begins; by default with the first row
    #[arg(long, value_name = "VALUE", requires = "incremental")]
    pub(crate) initial: Option<String>,
    /// No two rows have the same value, so that the row of the newest one need not wait
    #[arg(long, requires = "incremental")]
    pub(crate) cursor_unique: bool,
    /// What the mark is kept under in the target; by default the column, for one query. Under a name any query goes on from it
    #[arg(long, value_name = "NAME", requires = "incremental")]
    pub(crate) incremental_name: Option<String>,
}

impl IncrementalArgs {
    pub(crate) fn wanted(&self) -> Option<Incremental> {
        Some(Incremental {
            cursor: self.incremental.clone()?,
            lag: self.lag.clone(),
            initial: self.initial.clone(),
            unique: self.cursor_unique,
            name: self.incremental_name.clone(),
        })
    }
}

/// An incremental load that is about to be made.
pub(crate) struct Next<'a> {
    question: &'a Question,
    wanted: &'a Incremental,
    to: &'a To,
    base: String,
    loader: String,
    target: String,
    name: String,
    /// What the rows are a part of: the source, the query without the window, and what is done to columns.
    origin: String,
    /// How many loads of the name have committed.
    number: u64,
    /// How many loads have committed under the name that older versions used, if the mark comes from there.
    older: u64,
    /// The mark that the last one left.
    pub(crate) mark: Option<String>,
    /// That load's mark is not recorded any more.
    forgotten: bool,
    /// That load was of another query, and no name was given under which this is allowed.
    pub(crate) is_of_other: bool,
}

/// How an incremental load ended.
pub(crate) enum Ended {
    Loaded(Vec<DestinationOutcome>),
    /// There is nothing new since this mark.
    NothingNew(Option<String>),
}

/// How rows are compared.
struct Cursor {
    /// In SQL.
    column: String,
    kind: DataType,
    /// The SQL type to cast it to for comparisons, if it is text in the source, or is read as text.
    cast: Option<String>,
}

impl Cursor {
    /// The newest value, in SQL: a type that has parameters may lose them within.
    fn newest(&self) -> String {
        let newest = format!("max({})", self.column);
        match &self.cast {
            None => newest,
            Some(kind) => format!("CAST({newest} AS {kind})"),
        }
    }
}

/// The rows that an incremental load takes.
pub(crate) struct Window {
    sql: String,
    bound: Vec<(&'static str, ArrayRef)>,
    /// The same for people to read.
    rows: String,
    /// The mark that it leaves.
    new: String,
}

impl<'a> Next<'a> {
    /// Finds the mark that the last load has left.
    pub(crate) async fn find(
        question: &'a Question,
        wanted: &'a Incremental,
        to: &'a [To],
        job_load: Option<&str>,
    ) -> Result<Self, Failure> {
        let [to] = to else {
            return Err(Failure::usage(
                "an incremental load has one destination: each would have a mark of its own",
            ));
        };
        question.check_incremental()?;
        if to.load_id.is_some() {
            return Err(Failure::usage(
                "an incremental load makes its own load ids; leave load_id out",
            ));
        }
        let base = question.sql.trim().trim_end_matches(';');
        let mut next = Self {
            question,
            wanted,
            to,
            base: format!("{base}{}", line_end(base)),
            loader: String::new(),
            target: String::new(),
            // The store keeps ids for each target, however it is spelt.
            name: match &wanted.name {
                Some(name) => format!("incremental/{name}"),
                None => format!("incremental-by/{}", wanted.cursor),
            },
            origin: question.origin()?,
            number: 0,
            older: 0,
            mark: None,
            forgotten: false,
            is_of_other: false,
        };
        let load = next.load(None, job_load)?;
        next.loader = load.to.loader().to_owned();
        next.target = load.to.target().to_owned();
        next.check(load).await?;
        let (mut number, mut last) = next.last(&next.name).await?;
        next.number = number;
        if last.is_none() && wanted.name.is_none() {
            // The first versions made the target, as it was spelt, a part of the name.
            let older = format!("incremental/{}/{}", next.target, wanted.cursor);
            (number, last) = next.last(&older).await?;
            next.older = number;
        }
        let definition = last.as_ref().and_then(|last| last.definition.as_ref());
        next.is_of_other = wanted.name.is_none()
            && definition.is_some_and(|of| of.is_part_of(&next.origin) == Some(false));
        // A store may keep ids for longer than marks: only the last one is needed.
        next.forgotten = last.as_ref().is_some_and(|last| last.mark.is_none());
        let mark = last.and_then(|last| last.mark).map(|mark| mark.new);
        next.mark = mark.filter(|mark| !mark.is_empty());
        Ok(next)
    }

    /// How many loads have committed.
    pub(crate) fn loads(&self) -> u64 {
        self.number.max(self.older)
    }

    /// The highest number that the store knows for a name, and the record of that load. It is found by doubling steps, and then by
    /// bisection.
    async fn last(&self, name: &str) -> Result<(u64, Option<Receipt>), Failure> {
        let (mut below, mut above, mut step) = (0, None, 1);
        let mut last = None;
        while above.is_none_or(|above| above - below > 1) {
            let number = match above {
                None => below + step,
                Some(above) => u64::midpoint(below, above),
            };
            match self.committed(load_id(name, number)).await? {
                Some(found) => {
                    (below, last) = (number, Some(found));
                    step *= 2;
                }
                None => above = Some(number),
            }
        }
        Ok((below, last))
    }

    fn load(&self, load_id: Option<String>, job_load: Option<&str>) -> Result<Load, Failure> {
        let to = To {
            load_id,
            ..self.to.clone()
        };
        let mut loads = Load::each(self.question, &[to], job_load)?;
        Ok(loads.remove(0))
    }

    /// The id of the load that is about to be made.
    fn next_id(&self) -> String {
        load_id(&self.name, self.number + 1)
    }

    /// Refuses loads for which a mark would be wrong.
    async fn check(&self, load: Load) -> Result<(), Failure> {
        // It does not matter yet where the rows begin.
        let base = self.base();
        let query = self.query(base, &self.bound(base, &nothing()))?;
        let question = self.question.with_query(query);
        let mut planned = load::all(&question, [load.to]).plan().await?;
        let plan = planned.remove(0).result?;
        if !matches!(plan.mode, Mode::Append | Mode::Upsert) {
            return Err(Failure::usage(format!(
                "an incremental load adds to what is there, so that its mode is append or upsert, and not {}",
                plan.mode
            )));
        }
        if self.wanted.lag.is_some() && plan.mode != Mode::Upsert {
            return Err(Failure::usage(
                "with a lag rows are read again, so that the mode must be upsert: --mode upsert --keys …",
            ));
        }
        if !plan.guarantees.exactly_once {
            return Err(Failure::usage(format!(
                "{} keeps no load ids for `{}`, so that it can keep no mark",
                plan.loader, plan.target
            )));
        }
        Ok(())
    }

    /// What is recorded of the load of this id, if it has committed.
    async fn committed(&self, id: String) -> Result<Option<Receipt>, Failure> {
        let load = self.load(Some(id.clone()), None)?;
        let mut found = load::all(self.question, [load.to]).find().await?;
        let found = found.remove(0).result;
        let found = found.map_err(|error| match error.kind() {
            ErrorKind::TargetNotFound => self.target_is_gone(&error),
            _ => error,
        });
        match found? {
            LoadState::Committed { receipt, .. } => Ok(Some(receipt)),
            LoadState::NotCommitted => Ok(None),
            _ => Err(Failure::failed(format!(
                "the store does not know whether the load {id} has committed, as it keeps the ids of loads for a while only: marks of incremental loads are not safe there"
            ))),
        }
    }

    /// Where a store knows a load of a target that is not there any more, its id cannot be used again, and a load of this kind has no
    /// other one. Stores have more reasons to say that something is missing, so theirs comes first.
    fn target_is_gone(&self, error: &Error) -> Error {
        let other = match &self.wanted.name {
            Some(name) => format!(", another one than `{name}`"),
            None => String::new(),
        };
        let message = format!(
            "{}. An incremental load makes its own load ids: if the rows of earlier ones are gone with their target, begin anew, with the \
             first row or --initial, by --incremental-name NAME{other} (in a job: incremental.name)",
            error.message()
        );
        self.refused(error.kind(), message)
    }

    /// Loads what is new.
    pub(crate) async fn run(
        &self,
        job_load: Option<&str>,
        watch: &Watch,
    ) -> Result<Ended, Failure> {
        let Some(window) = self.window().await? else {
            return Ok(Ended::NothingNew(self.mark.clone()));
        };
        let query = self.query(&window.sql, &window.bound)?;
        let mut load = self.load(Some(self.next_id()), job_load)?;
        load.to = load.to.mark(Mark::new(self.mark.clone(), window.new));
        self.run_load(query, load, watch).await
    }

    async fn run_load(
        &self,
        query: QueryBuilder,
        load: Load,
        watch: &Watch,
    ) -> Result<Ended, Failure> {
        let question = self.question.with_query(query);
        let builder = |to: Vec<_>| load::all(&question, to).part_of(self.origin.as_str());
        let ended = load::run_by(builder, vec![load], watch).await?;
        Ok(Ended::Loaded(ended.into_iter().map(moved).collect()))
    }

    /// What the load would do, and with which rows.
    pub(crate) async fn plan(
        &self,
        job_load: Option<&str>,
    ) -> Result<(Vec<DestinationOutcome<Plan>>, Foreseen), Failure> {
        let window = self.window().await?;
        let base = self.base();
        let query = match &window {
            Some(window) => self.query(&window.sql, &window.bound)?,
            None => self.query(base, &self.bound(base, &nothing()))?,
        };
        let question = self.question.with_query(query);
        let load = self.load(None, job_load)?;
        let planned = load::all(&question, [load.to]).plan().await?;
        let (mark, loads) = (self.mark.as_deref(), self.loads());
        let text = |what: &str| {
            let mark = mark.map_or("no mark yet".to_owned(), |mark| format!("mark {mark}"));
            format!("  incremental: {mark}, after {loads} loads; {what}\n")
        };
        let foreseen = match &window {
            None => Foreseen {
                text: text("nothing is new, so that nothing would be loaded"),
                object: json!({ "status": "nothing new", "mark": mark, "loads": loads }),
            },
            Some(window) => {
                let (id, rows, new) = (self.next_id(), &window.rows, &window.new);
                Foreseen {
                    text: text(&format!(
                        "the load {id} would take the rows with {rows}, and leave the mark {new}"
                    )),
                    object: json!({
                        "status": "new", "mark": mark, "loads": loads, "load_id": id, "rows": rows, "new_mark": new
                    }),
                }
            }
        };
        Ok((planned, foreseen))
    }

    /// Refuses to continue from a mark that is not recorded, or that is from a load of other rows.
    fn check_mark(&self) -> Result<(), Failure> {
        if self.forgotten {
            return Err(Failure::failed(format!(
                "the load {} has committed, and its mark is not recorded any more; say where the next one begins: arrowload state set",
                load_id(&self.name, self.number)
            )));
        }
        let Some(mark) = self.mark.as_deref().filter(|_| self.is_of_other) else {
            return Ok(());
        };
        Err(Failure::usage(format!(
            "the mark {mark} of `{cursor}` in {} `{}` belongs to another query, source or parameters, or to other --columns, --exclude-columns, --rename, --cast or \
             --mask: rows before it would never be loaded from this one. For a mark of its own: --incremental-name NAME (in a job: incremental.name), under which any query goes on. To go on \
             from this mark, as with a query that has one column more: arrowload state set --mark '{mark}' with the flags of this load",
            self.loader,
            self.target,
            cursor = self.wanted.cursor,
        )))
    }

    /// The rows that are new; `None` if there are none.
    async fn window(&self) -> Result<Option<Window>, Failure> {
        self.check_mark()?;
        let base = self.base();
        let cursor = self.cursor().await?;
        let (column, kind) = (&cursor.column, &cursor.kind);
        let given = |text: &str| {
            let value = value(text, kind)?;
            match is_finite(&value) {
                true => Ok(value),
                false => Err(Failure::usage(format!(
                    "the mark {text} is not a finite number; say where the next load begins: arrowload state set --mark VALUE"
                ))),
            }
        };
        if let Some(lag) = &self.wanted.lag {
            check_lag(lag, kind)?;
        }
        let known = self.mark.as_deref().map(given).transpose()?;
        let initial = self.wanted.initial.as_deref().map(given).transpose()?;
        let begin = match (&self.wanted.lag, &known) {
            (Some(lag), Some(known)) => Some(minus(known, lag)?),
            _ => known.clone().or(initial),
        };
        if begin.is_none() && has_parameter(base, FROM) {
            return Err(Failure::usage(
                "the first load has no $cursor; say where it begins: initial (--initial VALUE)",
            ));
        }
        let from: Vec<(&str, ArrayRef)> = begin
            .iter()
            .map(|begin| (FROM, Arc::clone(begin)))
            .collect();
        // It is not known yet where the window ends, so it is open for now.
        let mut open = from.clone();
        if has_parameter(base, TO) {
            let end = never(kind).ok_or_else(|| {
                Failure::usage(format!(
                    "for a cursor of type {kind} there is no $cursor_end; write $cursor only, as a filter is put around the query"
                ))
            })?;
            open.push((TO, end));
        }
        self.check_values(&cursor, &open).await?;
        let is_first = self.mark.is_none();
        let (above, below) = match self.wanted.unique {
            // What a first load begins at, and what a lag goes back to, is among the rows.
            true if is_first || self.wanted.lag.is_some() => (">=", "<="),
            true => (">", "<="),
            false => (">=", "<"),
        };
        let (lower, shown) = match &begin {
            None => Default::default(),
            Some(begin) => {
                let shown = format!("{} {above} {} and ", self.wanted.cursor, text(begin)?);
                (format!("{column} {above} ${FROM} AND "), shown)
            }
        };
        let rows = |columns: &str| {
            format!("SELECT {columns} FROM ({base}) AS source WHERE {lower}{column} {below} ${TO}")
        };
        let window = |newest: &ArrayRef| -> Vec<(&'static str, ArrayRef)> {
            let end = (TO, Arc::clone(newest));
            from.iter().cloned().chain([end]).collect()
        };
        // A window without rows would leave a mark before its beginning.
        let beyond = match (&known, &begin) {
            (Some(known), _) => Some((">", known)),
            (None, begin) => begin.as_ref().map(|begin| (">=", begin)),
        };
        let found = self.newest_after(&cursor, beyond, &open).await?;
        let is_new = found.is_some();
        // Rows that came late are before the mark.
        let late = known.as_ref().filter(|_| self.wanted.lag.is_some());
        let Some(newest) = found.or_else(|| late.cloned()) else {
            return Ok(None);
        };
        if !is_new {
            let late = rows(column) + " LIMIT 1";
            if self.ask(&late, &window(&newest)).await?.1.is_empty() {
                return Ok(None);
            }
        }
        let window = window(&newest);
        // Of a unique cursor the row of the mark is loaded, unless a lag goes back before it.
        let is_inclusive = !self.wanted.unique || self.wanted.lag.is_some();
        if is_new && is_inclusive && has_parameter(base, FROM) {
            self.check_begin(&cursor, beyond, &open, &newest).await?;
        }
        if has_parameter(base, TO) {
            self.check_end(&cursor, below, &open, &window).await?;
        }
        let new = text(&newest)?;
        Ok(Some(Window {
            sql: rows("*"),
            bound: window,
            rows: format!("{shown}{} {below} {new}", self.wanted.cursor),
            new,
        }))
    }

    /// An error before the load.
    fn refused(&self, kind: ErrorKind, message: String) -> Error {
        Error::new(kind, message)
            .with("loader", &self.loader)
            .with("target", &self.target)
    }

    /// The newest value beyond the mark, or from the initial value on.
    async fn newest_after(
        &self,
        cursor: &Cursor,
        beyond: Option<(&str, &ArrayRef)>,
        open: &[(&str, ArrayRef)],
    ) -> Result<Option<ArrayRef>, Failure> {
        let (base, newest) = (self.base(), cursor.newest());
        let mut sql = format!("SELECT {newest} FROM ({base}) AS source");
        let mut bound = open.to_vec();
        if let Some((operator, known)) = beyond {
            sql += &format!(" WHERE {} {operator} ${KNOWN}", cursor.column);
            bound.push((KNOWN, Arc::clone(known)));
        }
        let Some(found) = self.newest(&sql, &bound).await? else {
            return Ok(None);
        };
        let kept = value(&text(&found)?, &cursor.kind)?;
        // An engine may not know the precision of what it has computed, which then comes as text.
        let is_same = kept.to_data() == found.to_data()
            || (found.data_type() != &cursor.kind && found.data_type().is_string());
        match is_same {
            true => Ok(Some(kept)),
            false => Err(Failure::failed(format!(
                "values of the cursor `{}` ({}) cannot be kept as text without loss; cast it in the query",
                self.wanted.cursor, cursor.kind
            ))),
        }
    }

    /// Records only a mark: `None` means the mark before any load.
    pub(crate) async fn set(&self, mark: Option<&str>, watch: &Watch) -> Result<Ended, Failure> {
        if let Some(mark) = mark {
            let cursor = self.cursor().await?;
            if !is_finite(&value(mark, &cursor.kind)?) {
                return Err(Failure::usage(format!(
                    "--mark {mark} is not a finite number"
                )));
            }
        }
        let base = self.base();
        let sql = format!("SELECT * FROM ({base}) AS source WHERE 1 = 0");
        let mut load = self.load(Some(self.next_id()), None)?;
        let new = Mark::new(self.mark.clone(), mark.unwrap_or_default());
        // It has no rows on purpose.
        load.to = load.to.mark(new).option("refuse_empty", false);
        let query = self.query(&sql, &self.bound(base, &nothing()))?;
        self.run_load(query, load, watch).await
    }

    /// The output about a mark that was set or removed.
    pub(crate) fn told_of_set(&self, mark: Option<&str>) -> String {
        let (cursor, loader, target) = (&self.wanted.cursor, &self.loader, &self.target);
        match mark {
            Some(mark) => format!(
                "mark of `{cursor}` in {loader} `{target}` set to {mark}, where the next load begins\n"
            ),
            None => format!(
                "mark of `{cursor}` in {loader} `{target}` taken away: the next load is as the first\n"
            ),
        }
    }

    /// The query, as a part of another one.
    fn base(&self) -> &str {
        &self.base
    }

    /// The query has the type of the cursor.
    pub(crate) async fn check_cursor(&self) -> Result<(), Failure> {
        self.cursor().await.map(drop)
    }

    async fn cursor(&self) -> Result<Cursor, Failure> {
        let (base, name) = (self.base(), &self.wanted.cursor);
        let column = quoted(name);
        let typed = format!("SELECT {column} FROM ({base}) AS source LIMIT 0");
        let (kind, _) = self.ask(&typed, &self.bound(base, &nothing())).await?;
        if !kind.is_string() {
            return Ok(Cursor {
                column,
                kind,
                cast: None,
            });
        }
        let wanted = self.question.columns.as_ref();
        let wanted = wanted.and_then(|columns| columns.cast_of(name));
        if let Some((wanted, cast)) = wanted.and_then(|kind| Some((kind, sql_type(kind)?))) {
            return Ok(Cursor {
                column: format!("CAST({column} AS {cast})"),
                kind: wanted.clone(),
                cast: Some(cast),
            });
        }
        // It may be no text there, as a number of any precision is not.
        let sql =
            format!("SELECT {column} FROM ({base}) AS source WHERE {column} > ${KNOWN} LIMIT 0");
        let mut bound = self.bound(base, &nothing());
        bound.push((KNOWN, value("", &DataType::Utf8)?));
        match self.ask(&sql, &bound).await {
            Ok(_) => Ok(Cursor {
                column,
                kind,
                cast: None,
            }),
            Err(Failure::Load(error)) => {
                let message = format!(
                    "the cursor `{name}` comes as text, and the source does not compare it with one. A numeric without a precision does \
                     so: say how many digits it has, --cast {name}=decimal(38,9), or read it so: read_numeric = \"decimal(38,9)\" of the \
                     connection"
                );
                let refused = self.refused(ErrorKind::InvalidOption, message);
                Err(refused.with_source(error).into())
            }
            Err(other) => Err(other),
        }
    }

    /// What a query uses of the window.
    fn bound<'v>(&self, base: &str, all: &[(&'v str, ArrayRef)]) -> Vec<(&'v str, ArrayRef)> {
        let is_used = |(name, _): &&(&str, ArrayRef)| has_parameter(base, name);
        all.iter().filter(is_used).cloned().collect()
    }

    async fn newest(
        &self,
        sql: &str,
        bound: &[(&str, ArrayRef)],
    ) -> Result<Option<ArrayRef>, Failure> {
        let (_, values) = self.ask(sql, &self.bound(sql, bound)).await?;
        Ok(values.into_iter().find(|value| value.null_count() == 0))
    }

    /// The type of the first column, and its values one by one.
    async fn ask(
        &self,
        sql: &str,
        bound: &[(&str, ArrayRef)],
    ) -> Result<(DataType, Vec<ArrayRef>), Failure> {
        let batches = self.query(sql, bound)?.stream().await?;
        let kind = batches.schema().field(0).data_type().clone();
        let batches: Vec<_> = batches.try_collect().await?;
        let values = batches
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).map(|row| batch.column(0).slice(row, 1)));
        Ok((kind, values.collect()))
    }

    fn query(&self, sql: &str, bound: &[(&str, ArrayRef)]) -> Result<QueryBuilder, Failure> {
        let mut named = match self.question.params.clone() {
            Params::None => Vec::new(),
            Params::Named(named) => named,
            _ => {
                return Err(Failure::usage(
                    "the parameters of an incremental load's query are named: --param NAME=VALUE",
                ));
            }
        };
        for (name, value) in bound {
            named.retain(|(known, _)| known != name);
            named.push(((*name).to_owned(), Param::new(Arc::clone(value))?));
        }
        let params = match named.is_empty() {
            true => Params::None,
            false => Params::Named(named),
        };
        Ok(self.question.client.sql(sql).with_params(params))
    }
}

/// The output about an incremental load in a plan.
pub(crate) struct Foreseen {
    pub(crate) text: String,
    pub(crate) object: Value,
}

fn load_id(name: &str, number: u64) -> String {
    format!("{name}/{number}")
}

/// An id that another run has used first means that the mark has moved.
fn moved(mut outcome: DestinationOutcome) -> DestinationOutcome {
    outcome.result = outcome.result.map_err(|error| {
        let is_taken =
            error.kind() == ErrorKind::InvalidOption && error.get("key") == Some("load_id");
        match is_taken {
            true => Error::new(
                ErrorKind::Conflict,
                "another run has loaded this window first: the mark has moved; run it again",
            )
            .with("target", error.get("target").unwrap_or_default()),
            false => error,
        }
    });
    outcome
}

/// The window, where rows are only looked at for their type.
fn nothing() -> [(&'static str, ArrayRef); 2] {
    let null = arrow_array::new_null_array(&DataType::Null, 1);
    [(FROM, Arc::clone(&null)), (TO, null)]
}

/// Whether a query has a parameter of this name.
fn has_parameter(sql: &str, name: &str) -> bool {
    let marked = format!("${name}");
    sql.match_indices(&marked).any(|(at, _)| {
        let behind = sql[at + marked.len()..].chars().next();
        !behind.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    })
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_told_from_those_that_begin_alike() {
        assert!(has_parameter("a > $cursor)", FROM) && !has_parameter("a < $cursor_end", FROM));
    }
}
