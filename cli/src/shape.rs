//! Transformations without SQL: choosing, renaming, casting and masking columns, and choosing rows.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{
    Array, ArrayRef, BooleanArray, PrimitiveArray, RecordBatch, StringArray, new_null_array,
};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrowload::core::nearest;
use arrowload::{BatchStream, Error, ErrorKind, Operator};
use arrowload_common_text::{Column, Format};
use arrowload_common_text_files::{Rules, Text, number, parse_type, shown, time};
use clap::Args;
use futures::StreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::exit::Failure;
use crate::params::{once, pair};
use crate::words::top_level_words;

/// In place of a value that must not be visible.
const REDACTED: &str = "***";

/// What is done to columns and rows, as flags and as a job has it.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize, Serialize, JsonSchema)]
#[command(next_help_heading = "Which columns and rows")]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Shape {
    /// Only these columns, in this order
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
    /// All columns but these
    #[arg(
        long,
        value_name = "COLUMN,…",
        value_delimiter = ',',
        conflicts_with = "columns"
    )]
    pub(crate) exclude_columns: Vec<String>,
    /// Other names for columns; one with a comma stands in double quotes
    #[arg(long, value_name = "COLUMN=NAME,…")]
    pub(crate) rename: Vec<String>,
    /// Other types for columns: int8 to int64, float, bool, text, date, timestamp, timestamptz, decimal(p,s), binary. A value that
    /// would change is refused, as is a number in text with zeros in front
    #[arg(long, value_name = "COLUMN=TYPE,…")]
    pub(crate) cast: Vec<String>,
    /// What nobody is to see: sha256 (of the value as text), redact (***) or null
    #[arg(long, value_name = "COLUMN=HOW,…")]
    pub(crate) mask: Vec<String>,
    /// Only rows for which this is true, in the source's SQL
    #[arg(long = "where", value_name = "SQL")]
    #[serde(rename = "where")]
    pub(crate) condition: Option<String>,
    /// So many rows at most
    #[arg(long, value_name = "ROWS")]
    pub(crate) limit: Option<u64>,
    /// About this part of the rows, by chance: 1% or 0.01
    #[arg(long, value_name = "PART")]
    pub(crate) sample: Option<String>,
}

impl Shape {
    /// The query with its rows chosen.
    pub(crate) fn rows_of(&self, sql: String) -> Result<String, Failure> {
        let mut conditions = Vec::new();
        let condition = self.condition.as_deref();
        conditions.extend(condition.map(|sql| format!("({sql}{})", line_end(sql))));
        if let Some(part) = &self.sample {
            conditions.push(format!("random() < {}", share(part)?));
        }
        if conditions.is_empty() && self.limit.is_none() {
            return Ok(sql);
        }
        let base = sql.trim_end_matches(|letter: char| letter == ';' || letter.is_whitespace());
        let base = base.trim_start();
        // An engine may give the rows of a subquery in another order.
        if is_ordered(base) {
            return match self.limit.filter(|_| conditions.is_empty()) {
                Some(rows) => Ok(format!("{base}\nLIMIT {rows}")),
                None => Err(Failure::usage(
                    "--where and --sample would lose the order of the query, which has an ORDER BY: put the condition into the query",
                )),
            };
        }
        let mut shaped = format!("SELECT * FROM ({base}{}) AS source", line_end(base));
        if !conditions.is_empty() {
            shaped += &format!(" WHERE {}", conditions.join(" AND "));
        }
        if let Some(rows) = self.limit {
            shaped += &format!(" LIMIT {rows}");
        }
        Ok(shaped)
    }

    /// Refuses options that take only some of the rows of an incremental load: later loads would not read the others.
    pub(crate) fn check_incremental(&self) -> Result<(), Failure> {
        let cut = [
            ("limit", self.limit.is_some()),
            ("sample", self.sample.is_some()),
        ];
        match cut.into_iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((key, _)) => Err(Failure::usage(format!(
                "{key} and incremental cannot be combined: the mark would move past the rows that {key} leaves out, and no later load would \
                 have them"
            ))),
        }
    }

    /// Refuses a choice of columns that contradicts itself.
    fn check_choice(&self) -> Result<(), Failure> {
        if !self.columns.is_empty() && !self.exclude_columns.is_empty() {
            return Err(Failure::usage(
                "columns and exclude_columns cannot be combined; give one of them",
            ));
        }
        let mut columns = self.columns.iter().enumerate();
        let twice = columns.find(|(at, name)| self.columns[..*at].contains(name));
        match twice {
            None => Ok(()),
            Some((_, name)) => Err(Failure::usage(format!(
                "--columns names `{name}` twice; leave one of them out"
            ))),
        }
    }

    /// What is done to columns; `None` if nothing is.
    pub(crate) fn operator(&self) -> Result<Option<Columns>, Failure> {
        let pairs = |flag: &str, texts: &[String]| -> Result<Vec<(String, String)>, Failure> {
            let own = |text: &str| -> Result<_, Failure> {
                let (column, value) = pair(flag, text)?;
                Ok((unquoted(column).to_owned(), unquoted(value).to_owned()))
            };
            let pairs = texts.iter().flat_map(|text| listed(text)).map(own);
            let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
            let texts = pairs.iter();
            once(flag, texts.map(|(column, value)| (&**column, &**value)))?;
            Ok(pairs)
        };
        self.check_choice()?;
        let casts = pairs("--cast", &self.cast)?
            .into_iter()
            .map(|(column, name)| {
                // As --types has them; `float` is what most people mean by it.
                let kind = match name.trim() {
                    "float" => DataType::Float64,
                    name => parse_type(name)
                        .map_err(|error| Failure::usage(format!("--cast {column}: {error}")))?,
                };
                Ok((column, kind))
            });
        let masks = pairs("--mask", &self.mask)?
            .into_iter()
            .map(|(column, how)| {
                let mask = match how.as_str() {
                    "sha256" => Mask::Sha256,
                    "redact" => Mask::Redact,
                    "null" => Mask::Null,
                    _ => {
                        let message =
                            format!("--mask {column}: `{how}` is none of sha256, redact and null");
                        return Err(Failure::usage(message));
                    }
                };
                Ok((column, mask))
            });
        let columns = Columns {
            only: self.columns.clone(),
            without: self.exclude_columns.clone(),
            renamed: pairs("--rename", &self.rename)?,
            casts: casts.collect::<Result<_, Failure>>()?,
            masks: masks.collect::<Result<_, Failure>>()?,
        };
        Ok(Some(columns).filter(|columns| *columns != Columns::default()))
    }
}

/// What ends a comment at the end of a query, so that it does not hide what follows.
fn line_end(sql: &str) -> &'static str {
    let last = sql.lines().last().unwrap_or_default();
    // MySQL's comments begin with # too.
    match last.contains("--") || last.contains('#') {
        true => "\n",
        false => "",
    }
}

/// Whether a query says the order of its rows, and not already how many they are.
fn is_ordered(sql: &str) -> bool {
    let words = top_level_words(sql);
    let is_order = |pair: &[String]| pair[0] == "ORDER" && pair[1] == "BY";
    let is_cut = |word: &String| matches!(word.as_str(), "LIMIT" | "OFFSET" | "FETCH");
    words.windows(2).any(is_order) && !words.iter().any(is_cut)
}

/// The parts of a list that has commas between them, but within double quotes and brackets.
pub(crate) fn listed(text: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut is_quoted) = (0_u32, false);
    text.split(move |letter| {
        match letter {
            '"' => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if !is_quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && !is_quoted && depth == 0
    })
}

/// A name without the double quotes that it needs where it has a comma.
fn unquoted(name: &str) -> &str {
    let inner = name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'));
    inner.unwrap_or(name)
}

/// A part of the rows as a number.
fn share(text: &str) -> Result<f64, Failure> {
    let number = match text.trim().strip_suffix('%') {
        Some(percent) => percent.trim().parse().map(|percent: f64| percent / 100.0),
        None => text.trim().parse(),
    };
    let within = number.ok().filter(|number| (0.0..=1.0).contains(number));
    within.ok_or_else(|| {
        Failure::usage(format!(
            "--sample {text}: write a part of the rows, such as 1% or 0.01"
        ))
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mask {
    Sha256,
    Redact,
    Null,
}

/// Columns chosen, renamed, cast and masked, by the names that the query gives them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Columns {
    only: Vec<String>,
    without: Vec<String>,
    renamed: Vec<(String, String)>,
    casts: Vec<(String, DataType)>,
    masks: Vec<(String, Mask)>,
}

/// Where a column comes from, and what is done to it.
#[derive(Clone)]
struct Step {
    index: usize,
    from: String,
    to: DataType,
    mask: Option<Mask>,
}

impl Columns {
    /// The type that a column is cast to.
    pub(crate) fn cast_of(&self, column: &str) -> Option<&DataType> {
        let mut casts = self.casts.iter();
        casts.find(|(name, _)| name == column).map(|(_, to)| to)
    }

    fn steps(&self, input: &Schema) -> Result<(SchemaRef, Vec<Step>), Error> {
        let named = self.only.iter().chain(&self.without);
        let named = named
            .chain(self.renamed.iter().map(|(name, _)| name))
            .chain(self.casts.iter().map(|(name, _)| name))
            .chain(self.masks.iter().map(|(name, _)| name));
        for name in named {
            if input.index_of(name).is_err() {
                let known = input.fields().iter().map(|field| field.name().as_str());
                let hint = nearest(name, known.clone())
                    .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                let known: Vec<&str> = known.collect();
                let message = format!(
                    "the rows have no column `{name}`{hint} Columns: {}",
                    known.join(", ")
                );
                return Err(Error::new(ErrorKind::InvalidOption, message).with("column", name));
            }
        }
        let chosen: Vec<usize> = match self.only.is_empty() {
            true => (0..input.fields().len())
                .filter(|index| !self.without.contains(input.field(*index).name()))
                .collect(),
            false => self
                .only
                .iter()
                .filter_map(|name| input.index_of(name).ok())
                .collect(),
        };
        let of = |pairs: &[(String, DataType)], name: &str| {
            let found = pairs.iter().find(|(column, _)| column == name);
            found.map(|(_, kind)| kind.clone())
        };
        let (mut fields, mut steps) = (Vec::new(), Vec::new());
        for index in chosen {
            let field = input.field(index);
            if let Some(to) = self.cast_of(field.name()) {
                refuse_other_meaning(field, to)?;
            }
            let mask = self.masks.iter().find(|(column, _)| column == field.name());
            let mask = mask.map(|(_, mask)| *mask);
            let kind = match mask {
                Some(Mask::Sha256 | Mask::Redact) => DataType::Utf8,
                Some(Mask::Null) | None => {
                    of(&self.casts, field.name()).unwrap_or_else(|| field.data_type().clone())
                }
            };
            let renamed = self
                .renamed
                .iter()
                .find(|(column, _)| column == field.name());
            let name = renamed.map_or(field.name(), |(_, name)| name);
            let is_nullable = field.is_nullable() || mask == Some(Mask::Null);
            let is_same = mask.is_none() && kind == *field.data_type();
            fields.push(match is_same {
                true => field.clone().with_name(name),
                false => Field::new(name, kind.clone(), is_nullable),
            });
            steps.push(Step {
                index,
                from: field.name().clone(),
                to: kind,
                mask,
            });
        }
        for (from, to) in &self.renamed {
            let is_there = steps.iter().any(|step: &Step| step.from == *from);
            let of_name = fields.iter().filter(|field: &&Field| field.name() == to);
            if is_there && of_name.count() > 1 {
                let message = format!(
                    "--rename {from}={to}: there would be two columns `{to}`; give another name, or leave one of them out"
                );
                return Err(Error::new(ErrorKind::InvalidOption, message).with("column", to));
            }
        }
        let schema = Schema::new_with_metadata(fields, input.metadata().clone());
        Ok((Arc::new(schema), steps))
    }
}

/// Refuses a cast between numbers and times: its values would be counts of days or microseconds since 1970, which `2024` as a year or
/// `1704067200` as seconds are not.
fn refuse_other_meaning(field: &Field, to: &DataType) -> Result<(), Error> {
    let from = match field.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    let is_other = |one: &DataType, other: &DataType| one.is_numeric() && other.is_temporal();
    if !is_other(from, to) && !is_other(to, from) {
        return Ok(());
    }
    let name = field.name();
    let message = format!(
        "column `{name}` ({from}) cannot be cast to {to}: a number does not say which unit of time it counts, and from when; use a \
         function of the source in --sql, such as make_date, to_timestamp or extract"
    );
    Err(Error::new(ErrorKind::InvalidOption, message).with("column", name))
}

impl Operator for Columns {
    fn definition(&self) -> String {
        format!("{self:?}")
    }

    fn schema(&self, input: &SchemaRef) -> Result<SchemaRef, Error> {
        self.steps(input).map(|(schema, _)| schema)
    }

    fn apply(&self, stream: BatchStream) -> Result<BatchStream, Error> {
        let (schema, steps) = self.steps(stream.schema())?;
        let rows = stream.expected_rows();
        let shaped = Arc::clone(&schema);
        let stream = stream.map(move |batch| shape(&batch?, &steps, &shaped));
        let stream = BatchStream::new(schema, stream);
        Ok(match rows {
            Some(rows) => stream.with_expected_rows(rows),
            None => stream,
        })
    }
}

fn shape(batch: &RecordBatch, steps: &[Step], schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let columns = steps.iter().map(|step| {
        let column = batch.column(step.index);
        match step.mask {
            None if *column.data_type() == step.to => Ok(Arc::clone(column)),
            None => cast(column, &step.to, &step.from),
            Some(Mask::Null) => Ok(new_null_array(&step.to, column.len())),
            Some(mask) => masked(column, mask, &step.from),
        }
    });
    let columns = columns.collect::<Result<Vec<_>, Error>>()?;
    // A batch without columns has rows all the same.
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

/// Values of another type, none of which has changed.
pub(crate) fn cast(column: &ArrayRef, to: &DataType, name: &str) -> Result<ArrayRef, Error> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let refused = |why: String| {
        let message = format!(
            "column `{name}` ({}) cannot be cast to {to}: {why}",
            column.data_type()
        );
        Error::new(ErrorKind::InvalidData, message).with("column", name)
    };
    let cast_to = |column: &ArrayRef, to: &DataType| {
        cast_with_options(column, to, &strict).map_err(|error| refused(error.to_string()))
    };
    let column = match column.data_type() {
        DataType::Dictionary(_, values) => &cast_to(column, values)?,
        _ => column,
    };
    // Text can have many forms of one value, so a cast cannot be checked by casting back; it is read as strictly as text in files.
    if column.data_type().is_string() {
        let texts = cast_to(column, &DataType::Utf8)?;
        if let Some(values) = parsed(texts.as_string(), to) {
            return values.map_err(refused);
        }
        return cast_to(column, to);
    }
    let values = cast_to(column, to)?;
    // The way back leads to the same.
    let back = cast_with_options(&values, column.data_type(), &strict);
    if !back.is_ok_and(|back| back.to_data() == column.to_data()) {
        return Err(refused("a value would change".to_owned()));
    }
    Ok(values)
}

/// What texts say as values of a type, by the grammars that declared columns of files have, but without what would be lost: zeros in
/// front, digits, the offset of a time. `None` for types that any text is a value of.
fn parsed(texts: &StringArray, to: &DataType) -> Option<Result<ArrayRef, String>> {
    use arrow_array::types as of;
    let values = match *to {
        DataType::Boolean => {
            let rules = Rules::default();
            let values = read(texts, |text| rules.boolean(text.bytes(), false));
            return Some(values.map(|values| Arc::new(BooleanArray::from(values)) as ArrayRef));
        }
        DataType::Int8 => array::<of::Int8Type>(texts, integer),
        DataType::Int16 => array::<of::Int16Type>(texts, integer),
        DataType::Int32 => array::<of::Int32Type>(texts, integer),
        DataType::Int64 => array::<of::Int64Type>(texts, integer),
        DataType::UInt8 => array::<of::UInt8Type>(texts, integer),
        DataType::UInt16 => array::<of::UInt16Type>(texts, integer),
        DataType::UInt32 => array::<of::UInt32Type>(texts, integer),
        DataType::UInt64 => array::<of::UInt64Type>(texts, integer),
        DataType::Float32 => array::<of::Float32Type>(texts, number::unchanged_single),
        DataType::Float64 => array::<of::Float64Type>(texts, number::unchanged),
        DataType::Decimal128(precision, scale) => {
            let places = usize::try_from(scale).ok()?;
            array::<of::Decimal128Type>(texts, |text| {
                number::decimal(text, precision, places, true)
            })
        }
        DataType::Decimal256(precision, scale) => {
            let places = usize::try_from(scale).ok()?;
            array::<of::Decimal256Type>(texts, |text| {
                number::wide_decimal(text, precision, places, true)
            })
        }
        DataType::Date32 => array::<of::Date32Type>(texts, time::date),
        DataType::Time64(TimeUnit::Microsecond) => {
            array::<of::Time64MicrosecondType>(texts, |text| {
                time::clock(text, false)?.units(1_000_000)
            })
        }
        DataType::Timestamp(unit, ref zone) => {
            let (zoned, each) = (zone.is_some(), time::per_second(unit));
            let units = |text: Text<'_>| {
                // A date without a time means its first moment, but not for types with a time zone, because no zone is named.
                let day = time::date(text).filter(|_| !zoned);
                if let Some(day) = day {
                    return (i64::from(day) * 86_400).checked_mul(each);
                }
                let stamp = time::stamp(text)?;
                (stamp.zoned == zoned).then(|| stamp.units(each)).flatten()
            };
            match unit {
                TimeUnit::Second => array::<of::TimestampSecondType>(texts, units),
                TimeUnit::Millisecond => array::<of::TimestampMillisecondType>(texts, units),
                TimeUnit::Microsecond => array::<of::TimestampMicrosecondType>(texts, units),
                TimeUnit::Nanosecond => array::<of::TimestampNanosecondType>(texts, units),
            }
        }
        _ => return None,
    };
    // Precision, scale and zone.
    let typed = |values: ArrayRef| {
        let typed = values.to_data().into_builder().data_type(to.clone());
        typed.build().map(arrow_array::make_array)
    };
    Some(values.and_then(|values| typed(values).map_err(|error| error.to_string())))
}

fn array<T: ArrowPrimitiveType>(
    texts: &StringArray,
    parse: impl Fn(Text<'_>) -> Option<T::Native>,
) -> Result<ArrayRef, String> {
    let values: Vec<Option<T::Native>> = read(texts, parse)?;
    Ok(Arc::new(values.into_iter().collect::<PrimitiveArray<T>>()))
}

fn read<V>(
    texts: &StringArray,
    parse: impl Fn(Text<'_>) -> Option<V>,
) -> Result<Vec<Option<V>>, String> {
    let values = texts.iter().map(|text| {
        let Some(text) = text else {
            return Ok(None);
        };
        let value = parse(Text::of(text.as_bytes()));
        let refused = || {
            let text = shown(text.as_bytes());
            format!("`{text}` is no such value, or would change on the way")
        };
        value.map(Some).ok_or_else(refused)
    });
    values.collect()
}

/// An integer as it would be printed: with zeros in front, or a plus, it may be a code.
fn integer<V: TryFrom<i128>>(text: Text<'_>) -> Option<V> {
    let digits = text.bytes().strip_prefix(b"-").unwrap_or(text.bytes());
    if digits.first() == Some(&b'0') && text.len() > 1 {
        return None;
    }
    let is_plain = digits.first().is_some_and(u8::is_ascii_digit);
    let value = is_plain.then(|| number::integer(text)).flatten()?;
    V::try_from(value).ok()
}

fn masked(column: &ArrayRef, mask: Mask, name: &str) -> Result<ArrayRef, Error> {
    let values = Column::new(column);
    let mut masked: Vec<Option<String>> = Vec::with_capacity(column.len());
    for row in 0..column.len() {
        if values.is_null(row) {
            masked.push(None);
            continue;
        }
        masked.push(Some(match mask {
            Mask::Redact | Mask::Null => REDACTED.to_owned(),
            Mask::Sha256 => {
                let mut text = Vec::new();
                values.text(row, &Format::CSV, &mut text).map_err(|why| {
                    let message = format!("column `{name}` cannot be hashed: {why}");
                    Error::new(ErrorKind::InvalidData, message).with("column", name)
                })?;
                let hash = Sha256::digest(&text);
                hash.iter().map(|byte| format!("{byte:02x}")).collect()
            }
        }));
    }
    Ok(Arc::new(StringArray::from(masked)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_chosen_renamed_cast_and_masked() {
        let batch = RecordBatch::try_from_iter([
            (
                "id",
                Arc::new(arrow_array::Int64Array::from(vec![1, 2])) as ArrayRef,
            ),
            (
                "email",
                Arc::new(StringArray::from(vec![Some("a@b"), None])) as ArrayRef,
            ),
            (
                "amount",
                Arc::new(StringArray::from(vec!["1.50", "2"])) as ArrayRef,
            ),
        ])
        .expect("a batch");
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let shape_of = Shape {
            columns: texts(&["email", "amount", "id"]),
            rename: texts(&["id=key,\"amount\"=\"a,b\""]),
            cast: texts(&["amount=decimal(10,2),id=int16"]),
            mask: texts(&["email=sha256"]),
            ..Shape::default()
        };
        let columns = shape_of.operator().expect("valid").expect("one");
        let (schema, steps) = columns.steps(batch.schema_ref()).expect("steps");
        let shaped = shape(&batch, &steps, &schema).expect("a batch");
        let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
        assert_eq!(names, ["email", "a,b", "key"]);
        assert_eq!(*shaped.column(1).data_type(), DataType::Decimal128(10, 2));
        let text = |column: usize, row: usize| {
            arrow_cast::display::array_value_to_string(shaped.column(column), row).expect("text")
        };
        assert_eq!(text(1, 0), "1.50");
        // As `printf a@b | sha256sum` has it.
        assert_eq!(
            text(0, 0),
            "7508d8b5018ea640b85269861a101203f0c26900555268e930025dac844b0f35"
        );
        assert!(shaped.column(0).is_null(1));
        let lossy = Shape {
            cast: texts(&["id=bool"]),
            ..Shape::default()
        };
        let columns = lossy.operator().expect("valid").expect("one");
        let (schema, steps) = columns.steps(batch.schema_ref()).expect("steps");
        let error = shape(&batch, &steps, &schema).expect_err("2 is no truth");
        assert!(error.message().contains("would change"), "{error}");
        let half = Shape {
            rename: texts(&["id=key,name"]),
            ..Shape::default()
        };
        let error = half.operator().expect_err("no name");
        assert!(
            format!("{error:?}").contains("`name` has no `=`"),
            "{error:?}"
        );
        let unknown = Shape {
            exclude_columns: texts(&["emial"]),
            ..Shape::default()
        };
        let columns = unknown.operator().expect("valid").expect("one");
        let error = columns.schema(batch.schema_ref()).expect_err("unknown");
        assert!(error.message().contains("did you mean `email`?"), "{error}");
    }

    #[test]
    fn no_value_of_a_text_changes_on_the_way_to_another_type() {
        let of = |text: &str, name: &str| {
            let texts: ArrayRef = Arc::new(StringArray::from(vec![Some(text), None]));
            let to = parse_type(name).expect("a type");
            let values = cast(&texts, &to, "n").ok()?;
            assert_eq!((values.data_type(), values.is_null(1)), (&to, true));
            Some(arrow_cast::display::array_value_to_string(&values, 0).expect("text"))
        };
        for (text, name, value) in [
            ("12.56", "decimal(10,2)", "12.56"),
            ("12.5", "decimal(10,2)", "12.50"),
            ("12.500", "decimal(10,2)", "12.50"),
            ("-7", "decimal(50,1)", "-7.0"),
            ("1067", "int64", "1067"),
            ("-5", "int8", "-5"),
            ("0", "uint64", "0"),
            ("0.1", "float64", "0.1"),
            ("9007199254740992", "float64", "9007199254740992.0"),
            ("0.1", "float32", "0.1"),
            ("2024-01-01", "date", "2024-01-01"),
            ("2024-01-01", "timestamp", "2024-01-01T00:00:00"),
            (
                "2024-01-01 09:30:00.123456",
                "timestamp",
                "2024-01-01T09:30:00.123456",
            ),
            (
                "2024-01-01T00:00:00+05:00",
                "timestamptz",
                "2023-12-31T19:00:00Z",
            ),
            ("09:30:00", "time", "09:30:00"),
            ("yes", "bool", "true"),
            ("yes", "text", "yes"),
        ] {
            assert_eq!(of(text, name).as_deref(), Some(value), "{text} as {name}");
        }
        for (text, name) in [
            ("12.567", "decimal(10,2)"),
            ("0.005", "decimal(10,2)"),
            ("012.5", "decimal(10,2)"),
            ("123456789.00", "decimal(10,2)"),
            ("01067", "int64"),
            ("+5", "int64"),
            ("-0", "int64"),
            (" 5", "int64"),
            ("5.5", "int64"),
            ("300", "int8"),
            ("-1", "uint8"),
            ("1e-400", "float64"),
            ("1e400", "float64"),
            ("9007199254740993", "float64"),
            ("0.10000000000000001", "float64"),
            ("16777217", "float32"),
            ("2024-01-01 00:00:00", "date"),
            ("2024-02-30", "date"),
            ("2024-01-01 09:30:00.123456789", "timestamp"),
            ("2024-01-01T00:00:00+05:00", "timestamp"),
            ("2024-01-01T00:00:00Z", "timestamp"),
            ("2024-01-01T00:00:00", "timestamptz"),
            ("2024-01-01", "timestamptz"),
            ("25:00:00", "time"),
            ("2", "bool"),
            ("", "int64"),
        ] {
            assert_eq!(of(text, name), None, "{text} as {name}");
        }
        // Text that is kept by its words.
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["1.5", "1.5"]));
        let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let words = arrow_cast::cast(&texts, &kind).expect("words");
        let values = cast(&words, &DataType::Decimal128(10, 2), "n").expect("values");
        assert_eq!(values.len(), 2);
    }

    #[test]
    fn rows_are_chosen_by_the_sources_sql() {
        let shape = Shape {
            condition: Some("a > 1 OR b".into()),
            limit: Some(3),
            sample: Some("1%".into()),
            ..Shape::default()
        };
        assert_eq!(
            shape.rows_of("SELECT * FROM t;".into()).ok().as_deref(),
            Some(
                "SELECT * FROM (SELECT * FROM t) AS source WHERE (a > 1 OR b) AND random() < 0.01 LIMIT 3"
            )
        );
        assert_eq!(
            Shape::default().rows_of("SELECT 1".into()).ok().as_deref(),
            Some("SELECT 1")
        );
        assert!(share("200%").is_err() && share("many").is_err());
    }
}
