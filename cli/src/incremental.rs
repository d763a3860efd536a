//! Incremental loads: each takes the rows between the mark that the last one left and a new one, which is recorded with its rows, in
//! the same commit.
//!
//! The loads of a name are numbered, and their ids say the number: so the mark is that of the highest number that the store knows,
//! two runs at once want the same id, of which a store takes one, and an attempt whose end is unknown is found by its id.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int64Array, StringArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, TimeUnit};
use arrowload::core::{LoadState, Mark};
use arrowload::{DestinationOutcome, Error, ErrorKind, Mode, Param, Params, QueryBuilder};
use clap::Args;
use futures::TryStreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::input::Question;
use crate::load::{self, Load};
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
    /// What the marks are kept under; by default the target and the cursor.
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
    /// What the marks are kept under; by default the target and the column
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
    name: String,
    /// How many loads of the name have committed, and the mark that the last one left.
    pub(crate) number: u64,
    pub(crate) mark: Option<String>,
    /// That load's mark is not recorded any more.
    forgotten: bool,
}

/// How an incremental load ended.
pub(crate) enum Ended {
    Loaded(Vec<DestinationOutcome>),
    /// There is nothing new since this mark.
    NothingNew(Option<String>),
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
        if to.load_id.is_some() {
            return Err(Failure::usage(
                "an incremental load makes its own load ids; leave load_id out",
            ));
        }
        let mut next = Self {
            question,
            wanted,
            to,
            name: String::new(),
            number: 0,
            mark: None,
            forgotten: false,
        };
        let load = next.load(None, job_load)?;
        next.name = match &wanted.name {
            Some(name) => name.clone(),
            None => format!("{}/{}", load.to.target(), wanted.cursor),
        };
        next.check(load).await?;
        // The highest number that the store knows: by doubled steps, and then between.
        let (mut below, mut above, mut step) = (0, None, 1);
        let mut last: Option<Option<Mark>> = None;
        while above.is_none_or(|above| above - below > 1) {
            let number = match above {
                None => below + step,
                Some(above) => u64::midpoint(below, above),
            };
            match next.committed(number).await? {
                Some(mark) => {
                    (below, last) = (number, Some(mark));
                    step *= 2;
                }
                None => above = Some(number),
            }
        }
        next.number = below;
        // A store may keep ids for longer than marks: only the last one is needed.
        next.forgotten = matches!(last, Some(None));
        let mark = last.flatten().map(|mark| mark.new);
        next.mark = mark.filter(|mark| !mark.is_empty());
        Ok(next)
    }

    fn load(&self, load_id: Option<String>, job_load: Option<&str>) -> Result<Load, Failure> {
        let to = To {
            load_id,
            ..self.to.clone()
        };
        let mut loads = Load::each(self.question, &[to], job_load)?;
        Ok(loads.remove(0))
    }

    fn load_id(&self, number: u64) -> String {
        format!("incremental/{}/{number}", self.name)
    }

    /// Refuses what no mark would be true of.
    async fn check(&self, load: Load) -> Result<(), Failure> {
        // Where the rows begin matters nothing yet.
        let base = &self.question.sql;
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

    /// Whether the load of this number has committed, with its mark as far as that is recorded.
    async fn committed(&self, number: u64) -> Result<Option<Option<Mark>>, Failure> {
        let id = self.load_id(number);
        let load = self.load(Some(id.clone()), None)?;
        let mut found = load::all(self.question, [load.to]).find().await?;
        match found.remove(0).result? {
            LoadState::Committed { receipt, .. } => Ok(Some(receipt.mark)),
            LoadState::NotCommitted => Ok(None),
            _ => Err(Failure::failed(format!(
                "the store does not know whether the load {id} has committed, as it keeps the ids of loads for a while only: marks of incremental loads are not safe there"
            ))),
        }
    }

    /// Loads what is new.
    pub(crate) async fn run(
        &self,
        job_load: Option<&str>,
        watch: &Watch,
    ) -> Result<Ended, Failure> {
        if self.forgotten {
            return Err(Failure::failed(format!(
                "the load {} has committed, and its mark is not recorded any more; say where the next one begins: arrowload state set",
                self.load_id(self.number)
            )));
        }
        let base = self.base();
        let column = quoted(&self.wanted.cursor);
        let kind = self.kind().await?;
        let begin = self.mark.as_deref().or(self.wanted.initial.as_deref());
        let begin = begin.map(|text| value(text, &kind)).transpose()?;
        let begin = match (&self.wanted.lag, &self.mark, begin) {
            (Some(lag), Some(_), Some(begin)) => Some(minus(&begin, lag)?),
            (_, _, begin) => begin,
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
        // Where the window ends is not known yet: until then it does not.
        let mut open = from.clone();
        if has_parameter(base, TO) {
            let end = never(&kind).ok_or_else(|| {
                Failure::usage(format!(
                    "for a cursor of type {kind} there is no $cursor_end; write $cursor only, as a filter is put around the query"
                ))
            })?;
            open.push((TO, end));
        }
        let nulls =
            format!("SELECT {column} FROM ({base}) AS source WHERE {column} IS NULL LIMIT 1");
        if !self
            .ask(&nulls, &self.bound(base, &open))
            .await?
            .1
            .is_empty()
        {
            return Err(Failure::failed(format!(
                "the cursor `{}` is null in some rows, which no mark would ever pass; leave them out in the query",
                self.wanted.cursor
            )));
        }
        let known = self
            .mark
            .as_deref()
            .map(|text| value(text, &kind))
            .transpose()?;
        let mut bound = open.clone();
        let mut newest = format!("SELECT max({column}) FROM ({base}) AS source");
        if let Some(known) = known {
            newest += &format!(" WHERE {column} > ${KNOWN}");
            bound.push((KNOWN, known));
        }
        let Some(newest) = self.newest(&newest, &bound).await? else {
            return Ok(Ended::NothingNew(self.mark.clone()));
        };
        let new = text(&newest)?;
        if value(&new, &kind)?.to_data() != newest.to_data() {
            return Err(Failure::failed(format!(
                "values of the cursor `{}` ({kind}) cannot be kept as text without loss; cast it in the query",
                self.wanted.cursor
            )));
        }
        let is_first = self.mark.is_none();
        let (above, below) = match self.wanted.unique {
            // What a first load begins at, and what a lag goes back to, is among the rows.
            true if is_first || self.wanted.lag.is_some() => (">=", "<="),
            true => (">", "<="),
            false => (">=", "<"),
        };
        let lower = begin
            .as_ref()
            .map(|_| format!("{column} {above} ${FROM} AND "))
            .unwrap_or_default();
        let window: Vec<(&str, ArrayRef)> = from.into_iter().chain([(TO, newest)]).collect();
        if has_parameter(base, TO) {
            self.check_end(below, &open, &window).await?;
        }
        let sql = format!("SELECT * FROM ({base}) AS source WHERE {lower}{column} {below} ${TO}");
        let query = self.query(&sql, &window)?;
        let mut load = self.load(Some(self.load_id(self.number + 1)), job_load)?;
        load.to = load.to.mark(Mark::new(self.mark.clone(), new));
        let question = self.question.with_query(query);
        let ended = load::run(&question, vec![load], false, watch).await?;
        Ok(Ended::Loaded(ended.into_iter().map(moved).collect()))
    }

    /// Writes nothing but a mark: `None` for that of no load.
    pub(crate) async fn set(&self, mark: Option<&str>, watch: &Watch) -> Result<Ended, Failure> {
        if let Some(mark) = mark {
            value(mark, &self.kind().await?)?;
        }
        let base = self.base();
        let sql = format!("SELECT * FROM ({base}) AS source WHERE 1 = 0");
        let mut load = self.load(Some(self.load_id(self.number + 1)), None)?;
        let new = Mark::new(self.mark.clone(), mark.unwrap_or_default());
        // It has no rows on purpose.
        load.to = load.to.mark(new).option("refuse_empty", false);
        let query = self.query(&sql, &self.bound(base, &nothing()))?;
        let question = self.question.with_query(query);
        let ended = load::run(&question, vec![load], false, watch).await?;
        Ok(Ended::Loaded(ended.into_iter().map(moved).collect()))
    }

    /// The query, as a part of another one.
    fn base(&self) -> &str {
        self.question.sql.trim().trim_end_matches(';')
    }

    /// What the type of the cursor is, the query knows.
    async fn kind(&self) -> Result<DataType, Failure> {
        let (base, column) = (self.base(), quoted(&self.wanted.cursor));
        let sql = format!("SELECT {column} FROM ({base}) AS source LIMIT 0");
        let (kind, _) = self.ask(&sql, &self.bound(base, &nothing())).await?;
        Ok(kind)
    }

    /// A query that ends before its window does would leave rows out that no later window has.
    async fn check_end(
        &self,
        below: &str,
        open: &[(&str, ArrayRef)],
        window: &[(&str, ArrayRef)],
    ) -> Result<(), Failure> {
        const END: &str = "cursor_last";
        let (base, column) = (self.base(), quoted(&self.wanted.cursor));
        let last =
            format!("SELECT max({column}) FROM ({base}) AS source WHERE {column} {below} ${END}");
        let ends = window.iter().filter(|(name, _)| *name == TO);
        let ends: Vec<_> = ends.map(|(_, end)| (END, Arc::clone(end))).collect();
        let Some(wanted) = self.newest(&last, &[open, &ends].concat()).await? else {
            return Ok(());
        };
        let found = self.newest(&last, &[window, &ends].concat()).await?;
        // Rows may have come meanwhile.
        let is_there = match &found {
            None => false,
            Some(found) => {
                let less = arrow_ord::cmp::lt(found, &wanted);
                let less = less.map_err(|error| Failure::failed(error.to_string()))?;
                !less.value(0)
            }
        };
        match is_there {
            true => Ok(()),
            false => Err(Failure::usage(format!(
                "the query leaves out rows of its window, which no later load would have: let it take all below $cursor_end ({column} {below} ${TO})"
            ))),
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

/// A value of this type that no row reaches, if there is one that engines take.
fn never(kind: &DataType) -> Option<ArrayRef> {
    /// In the year 262 thousand, which PostgreSQL can hold, and others too.
    const DAYS: i64 = 95_000_000;
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let cast = |number: i64, kind: &DataType| {
        let number: ArrayRef = Arc::new(Int64Array::from(vec![number]));
        cast_with_options(&number, kind, &strict).ok()
    };
    match kind {
        DataType::Int8 => cast(i8::MAX.into(), kind),
        DataType::Int16 => cast(i16::MAX.into(), kind),
        DataType::Int32 => cast(i32::MAX.into(), kind),
        DataType::Int64 => cast(i64::MAX, kind),
        DataType::UInt8 => cast(u8::MAX.into(), kind),
        DataType::UInt16 => cast(u16::MAX.into(), kind),
        DataType::UInt32 => cast(u32::MAX.into(), kind),
        DataType::UInt64 => Some(Arc::new(arrow_array::UInt64Array::from(vec![u64::MAX]))),
        DataType::Float64 => Some(Arc::new(arrow_array::Float64Array::from(vec![
            f64::INFINITY,
        ]))),
        DataType::Date32 => Some(Arc::new(arrow_array::Date32Array::from(vec![
            i32::try_from(DAYS).ok()?,
        ]))),
        DataType::Timestamp(unit, _) => {
            let in_day = match unit {
                TimeUnit::Second => 86_400,
                TimeUnit::Millisecond => 86_400_000,
                TimeUnit::Microsecond => 86_400_000_000,
                TimeUnit::Nanosecond => 86_400_000_000_000,
            };
            cast(DAYS.saturating_mul(in_day), kind)
        }
        DataType::Decimal128(precision, scale) => {
            let most = 10_i128.checked_pow((*precision).into())? - 1;
            let array = arrow_array::Decimal128Array::from(vec![most]);
            let array = array.with_precision_and_scale(*precision, *scale).ok()?;
            Some(Arc::new(array))
        }
        _ => None,
    }
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

/// A value of the cursor as it is kept.
fn text(value: &ArrayRef) -> Result<String, Failure> {
    let failed = |error: arrow_schema::ArrowError| Failure::failed(error.to_string());
    let formatter = ArrayFormatter::try_new(value, &FormatOptions::default()).map_err(failed)?;
    formatter.value(0).try_to_string().map_err(failed)
}

/// A text as a value of the cursor's type.
fn value(text: &str, kind: &DataType) -> Result<ArrayRef, Failure> {
    let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(&array, kind, &strict).map_err(|_| {
        Failure::usage(format!(
            "`{text}` is no value of the cursor, which is of type {kind}"
        ))
    })
}

/// The value that is earlier by the lag.
fn minus(value: &ArrayRef, lag: &str) -> Result<ArrayRef, Failure> {
    let kind = value.data_type().clone();
    let refused = || {
        Failure::usage(format!(
            "lag `{lag}` does not fit a cursor of type {kind}: a time such as 5m for times, a whole number for numbers"
        ))
    };
    let time = || -> Result<Duration, Failure> {
        humantime::parse_duration(lag.trim()).map_err(|_| refused())
    };
    let (amount, as_number) = match &kind {
        DataType::Timestamp(unit, _) => {
            let nanos = i64::try_from(time()?.as_nanos()).map_err(|_| refused())?;
            let divisor = match unit {
                TimeUnit::Second => 1_000_000_000,
                TimeUnit::Millisecond => 1_000_000,
                TimeUnit::Microsecond => 1_000,
                TimeUnit::Nanosecond => 1,
            };
            // No less than was asked for.
            ((nanos + divisor - 1) / divisor, DataType::Int64)
        }
        DataType::Date32 => {
            let days = value.as_primitive::<Date32Type>().value(0);
            let back = time()?.as_secs().div_ceil(86_400);
            let back = i32::try_from(back).map_err(|_| refused())?;
            let moved = arrow_array::Date32Array::from(vec![days.saturating_sub(back)]);
            return Ok(Arc::new(moved));
        }
        kind if kind.is_integer() => (
            lag.trim().parse::<i64>().map_err(|_| refused())?,
            DataType::Int64,
        ),
        _ => return Err(refused()),
    };
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let failed = |_| refused();
    let number = cast_with_options(value, &as_number, &strict).map_err(failed)?;
    let number = number.as_primitive::<Int64Type>().value(0);
    let moved: ArrayRef = Arc::new(Int64Array::from(vec![number.saturating_sub(amount)]));
    cast_with_options(&moved, &kind, &strict).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_kept_as_text_and_go_back_by_a_lag() {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        for (kind, mark, lag, earlier) in [
            (
                &micros,
                "2024-01-01T00:05:00.000001Z",
                "5m",
                "2024-01-01T00:00:00.000001Z",
            ),
            (&DataType::Int64, "100", "7", "93"),
            (&DataType::Date32, "2024-01-03", "25h", "2024-01-01"),
        ] {
            let begin = value(mark, kind).expect("a value");
            assert_eq!(text(&begin).expect("text"), mark);
            let moved = minus(&begin, lag).expect("earlier");
            assert_eq!(text(&moved).expect("text"), earlier);
        }
        for kind in [
            micros.clone(),
            DataType::Timestamp(TimeUnit::Nanosecond, None),
            DataType::Timestamp(TimeUnit::Second, None),
            DataType::Int16,
            DataType::UInt64,
            DataType::Date32,
            DataType::Decimal128(38, 4),
        ] {
            let far = never(&kind).expect("a value");
            assert_eq!((far.data_type(), far.null_count()), (&kind, 0));
        }
        assert!(never(&DataType::Utf8).is_none());
        assert!(value("yesterday", &micros).is_err());
        assert!(minus(&value("1", &DataType::Int64).expect("a value"), "5m").is_err());
        assert!(has_parameter("a > $cursor)", FROM) && !has_parameter("a < $cursor_end", FROM));
    }
}
