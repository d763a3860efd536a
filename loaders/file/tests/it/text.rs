//! Text that is told its types, by readers that are not the loader.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::IntervalMonthDayNano;
use arrow_array::{
    Array, ArrayRef, DurationNanosecondArray, IntervalMonthDayNanoArray, NullArray, RecordBatch,
};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, FieldRef, Schema, TimeUnit};
use arrowload_testkit::python;

/// The lines of a CSV file or folder, split and unquoted by DuckDB.
pub(crate) fn read_csv(path: &Path, sent: &[FieldRef]) -> Result<Option<RecordBatch>, String> {
    let sql = "SELECT * FROM read_csv($file, header = true, all_varchar = true, delim = ',', quote = '\"', escape = '\"', \
        allow_quoted_nulls = false, max_line_size = 10000000)";
    let Some(read) = python::query(sql, path)? else {
        return Ok(None);
    };
    typed(&read, sent).map(Some)
}

/// The objects of NDJSON files, read by arrow-json.
pub(crate) fn read_ndjson(path: &Path, sent: &[FieldRef]) -> Result<Option<RecordBatch>, String> {
    let files = visible(path);
    if files.is_empty() {
        return Ok(None);
    }
    let mut keys: Vec<String> = Vec::new();
    for file in &files {
        for line in BufReader::new(File::open(file).map_err(|error| error.to_string())?).lines() {
            let object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&line.map_err(|error| error.to_string())?)
                    .map_err(|error| error.to_string())?;
            keys.extend(
                object
                    .into_iter()
                    .map(|(key, _)| key)
                    .filter(|key| !keys.contains(key))
                    .collect::<Vec<_>>(),
            );
        }
    }
    let there = sent.iter().filter(|field| keys.contains(field.name()));
    let schema = Arc::new(Schema::new(
        there
            .map(|field| Field::new(field.name(), in_json(field.data_type()), true))
            .collect::<Vec<_>>(),
    ));
    let mut batches = Vec::new();
    for file in files {
        let file = BufReader::new(File::open(file).map_err(|error| error.to_string())?);
        let reader = arrow_json::ReaderBuilder::new(Arc::clone(&schema))
            .with_strict_mode(true)
            .build(file);
        batches.extend(
            reader
                .map_err(|error| error.to_string())?
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| error.to_string())?,
        );
    }
    let read = arrow_select::concat::concat_batches(&schema, &batches)
        .map_err(|error| error.to_string())?;
    typed(&read, sent).map(Some)
}

fn visible(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let Ok(entries) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    let entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
    entries
        .filter(|path| {
            !path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(['.', '_']))
        })
        .collect()
}

/// The type as which arrow-json reads a value: text where JSON has text.
fn in_json(data_type: &DataType) -> DataType {
    use DataType as T;
    let item =
        |field: &FieldRef| Arc::new(Field::new(field.name(), in_json(field.data_type()), true));
    match data_type {
        T::Boolean | T::Null => data_type.clone(),
        T::Dictionary(_, values) => in_json(values),
        T::RunEndEncoded(_, values) => in_json(values.data_type()),
        T::List(field)
        | T::LargeList(field)
        | T::ListView(field)
        | T::LargeListView(field)
        | T::FixedSizeList(field, _) => T::List(item(field)),
        T::Struct(fields) => T::Struct(fields.iter().map(item).collect()),
        T::Map(..) => data_type.clone(),
        T::Float16 => T::Float32,
        number if number.is_primitive() && number.is_numeric() => decimal(number),
        _ => T::Utf8,
    }
}

fn decimal(data_type: &DataType) -> DataType {
    use DataType as T;
    match data_type {
        T::Decimal32(_, scale)
        | T::Decimal64(_, scale)
        | T::Decimal128(_, scale)
        | T::Decimal256(_, scale) => T::Decimal256(76, (*scale).max(0)),
        other => other.clone(),
    }
}

/// The columns that were read, as the types that were sent; others stay as they are.
fn typed(read: &RecordBatch, sent: &[FieldRef]) -> Result<RecordBatch, String> {
    let columns = read
        .schema_ref()
        .fields()
        .iter()
        .zip(read.columns())
        .map(|(field, array)| {
            let sent = sent.iter().find(|sent| sent.name() == field.name());
            let array = match (sent, array.data_type()) {
                (Some(sent), DataType::Utf8) => parse(array, sent.data_type())
                    .map_err(|why| format!("{}: {why}", field.name()))?,
                _ => Arc::clone(array),
            };
            Ok((field.name().clone(), array, true))
        });
    let columns = columns.collect::<Result<Vec<_>, String>>()?;
    if columns.is_empty() {
        return Ok(read.clone());
    }
    RecordBatch::try_from_iter_with_nullable(columns).map_err(|error| error.to_string())
}

fn parse(text: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, String> {
    use DataType as T;
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let to = |data_type: &DataType| {
        cast_with_options(text, data_type, &strict).map_err(|error| error.to_string())
    };
    let values = || text.as_string::<i32>().iter();
    match data_type {
        T::Dictionary(_, values) => parse(text, values),
        T::RunEndEncoded(_, values) => parse(text, values.data_type()),
        T::Null if text.null_count() == text.len() => Ok(Arc::new(NullArray::new(text.len()))),
        T::Null => Err("a value in a column of nulls".into()),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => {
            let mut bytes = BinaryBuilder::new();
            for value in values() {
                bytes.append_option(value.map(unhex).transpose()?);
            }
            Ok(Arc::new(bytes.finish()))
        }
        T::Duration(_) => {
            let values = values().map(|value| {
                value
                    .map(|text| seconds(text.strip_prefix("PT").ok_or(text)?))
                    .transpose()
            });
            let nanoseconds: Vec<Option<i128>> = values.collect::<Result<_, &str>>()?;
            let narrow = nanoseconds
                .iter()
                .map(|value| value.map(i64::try_from).transpose());
            Ok(Arc::new(DurationNanosecondArray::from(
                narrow
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| error.to_string())?,
            )))
        }
        T::Interval(_) => {
            let values = values().map(|value| value.map(interval).transpose());
            Ok(Arc::new(IntervalMonthDayNanoArray::from(
                values.collect::<Result<Vec<_>, &str>>()?,
            )))
        }
        T::Float16 => to(&T::Float32),
        T::Date64 => to(&T::Date32),
        T::Time32(_) => to(&T::Time64(TimeUnit::Nanosecond)),
        T::Timestamp(unit, Some(_)) => to(&T::Timestamp(*unit, Some("UTC".into()))),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => Ok(Arc::clone(text)),
        number => to(&decimal(number)),
    }
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.as_bytes()
        .chunks(2)
        .map(|pair| byte(pair).ok_or_else(|| format!("{text} is no hexadecimal")))
        .collect()
}

/// The nanoseconds of `-1.500S`.
fn seconds(text: &str) -> Result<i128, &str> {
    let number = text.strip_suffix('S').ok_or(text)?;
    let (sign, number) = number
        .strip_prefix('-')
        .map_or((1, number), |number| (-1, number));
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |digits: &str| digits.parse::<i128>().map_err(|_| text);
    Ok(sign * (digits(whole)? * 1_000_000_000 + digits(&format!("{part:0<9}"))?))
}

/// `P1M-2DT3.000000001S`.
fn interval(text: &str) -> Result<IntervalMonthDayNano, &str> {
    let (months, rest) = text
        .strip_prefix('P')
        .and_then(|text| text.split_once('M'))
        .ok_or(text)?;
    let (days, rest) = rest.split_once("DT").ok_or(text)?;
    let number = |digits: &str| digits.parse::<i32>().map_err(|_| text);
    let nanoseconds = i64::try_from(seconds(rest)?).map_err(|_| text)?;
    Ok(IntervalMonthDayNano::new(
        number(months)?,
        number(days)?,
        nanoseconds,
    ))
}
