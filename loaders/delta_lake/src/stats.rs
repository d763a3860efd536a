//! Written files as `add` actions, with the statistics of their footers, so that readers can skip files.

use std::collections::HashSet;
use std::fmt::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use arrowload_common_parquet::{ColumnStats, FileInfo};
use arrowload_core::Result;
use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

/// What stands for itself in the URI of a file.
const URI: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/')
    .remove(b'=');

/// Which columns get statistics.
#[derive(Debug, Clone)]
pub(crate) struct Indexed {
    /// How many columns, from the first, as `delta.dataSkippingNumIndexedCols` says.
    pub(crate) columns: usize,
    /// Columns that hold a NaN, which a footer's minimum and maximum skip, and other engines do not.
    pub(crate) with_nan: HashSet<String>,
}

/// The action that adds a file to a table, as the log has it.
pub(crate) fn add_action(file: &FileInfo, indexed: &Indexed, data_change: bool) -> Result<Value> {
    let columns = file.column_stats()?;
    Ok(json!({ "add": {
        "path": uri(file.path.as_ref()),
        "partitionValues": partition_values(file),
        "size": file.bytes,
        "modificationTime": Utc::now().timestamp_millis(),
        "dataChange": data_change,
        "stats": stats(file, &columns, indexed),
    }}))
}

/// A relative path as the log has it.
pub(crate) fn uri(path: &str) -> String {
    utf8_percent_encode(path, URI).to_string()
}

/// The values of the partition columns as the protocol writes them.
pub(crate) fn partition_values(file: &FileInfo) -> Map<String, Value> {
    let typed = |column: &str| {
        file.partition_values
            .as_ref()
            .and_then(|row: &RecordBatch| row.column_by_name(column).cloned())
    };
    let value = |column: &str, text: &Option<String>| match (text, typed(column)) {
        (None, _) => Value::Null,
        (Some(text), Some(array)) => match (array.data_type(), timestamp(&array)) {
            (DataType::Timestamp(_, Some(_)), Some(time)) => {
                time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string().into()
            }
            (DataType::Timestamp(_, None), Some(time)) => {
                time.format("%Y-%m-%d %H:%M:%S%.6f").to_string().into()
            }
            _ => text.clone().into(),
        },
        (Some(text), None) => text.clone().into(),
    };
    file.partition
        .iter()
        .map(|(column, text)| (column.clone(), value(column, text)))
        .collect()
}

fn timestamp(array: &ArrayRef) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(
        array
            .as_primitive_opt::<TimestampMicrosecondType>()?
            .value(0),
    )
}

/// Statistics as JSON text, as the log has them; numbers keep every digit.
fn stats(file: &FileInfo, columns: &[ColumnStats], indexed: &Indexed) -> String {
    let first: HashSet<&str> = file
        .schema
        .fields()
        .iter()
        .take(indexed.columns)
        .map(|field| field.name().as_str())
        .collect();
    let columns = || {
        columns
            .iter()
            .filter(|column| first.contains(column.column.as_str()))
    };
    let bounded = || columns().filter(|column| !indexed.with_nan.contains(&column.column));
    let mins = object(
        bounded().filter_map(|column| Some((column.column.as_str(), bound(column.min.as_ref()?)?))),
    );
    let maxs = object(
        bounded().filter_map(|column| Some((column.column.as_str(), bound(column.max.as_ref()?)?))),
    );
    let nulls = object(
        columns()
            .filter_map(|column| Some((column.column.as_str(), column.null_count?.to_string()))),
    );
    format!(
        "{{\"numRecords\":{},\"minValues\":{mins},\"maxValues\":{maxs},\"nullCount\":{nulls}}}",
        file.rows
    )
}

fn object<'a>(entries: impl Iterator<Item = (&'a str, String)>) -> String {
    let mut text = String::from("{");
    for (index, (key, value)) in entries.enumerate() {
        let comma = if index > 0 { "," } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{}:{value}", Value::from(key));
    }
    text.push('}');
    text
}

/// The one value of an array as JSON; `None` for types whose order engines do not agree on, and for what JSON has no
/// number for.
fn bound(array: &ArrayRef) -> Option<String> {
    if array.len() != 1 || array.is_null(0) {
        return None;
    }
    let float = |value: f64| value.is_finite().then(|| Value::from(value).to_string());
    Some(match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(0).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(0).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(0).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(0).to_string(),
        DataType::Float32 => float(array.as_primitive::<Float32Type>().value(0).into())?,
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(0))?,
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(0),
        DataType::Utf8 => Value::from(array.as_string::<i32>().value(0)).to_string(),
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().value(0);
            let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
            let distance = Days::new(u64::from(days.unsigned_abs()));
            let date = if days < 0 {
                epoch.checked_sub_days(distance)
            } else {
                epoch.checked_add_days(distance)
            }?;
            (1..=9999)
                .contains(&date.year())
                .then(|| format!("\"{date}\""))?
        }
        DataType::Timestamp(_, zone) => {
            let time = timestamp(array).filter(|time| (1..=9999).contains(&time.year()))?;
            let zone = if zone.is_some() { "Z" } else { "" };
            format!("\"{}{zone}\"", time.format("%Y-%m-%dT%H:%M:%S%.6f"))
        }
        _ => return None,
    })
}

/// The columns of a batch that hold a NaN.
pub(crate) fn note_nan(batch: &RecordBatch, noted: &mut HashSet<String>) {
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let has = || match array.data_type() {
            DataType::Float32 => array
                .as_primitive::<Float32Type>()
                .values()
                .iter()
                .any(|value| value.is_nan()),
            DataType::Float64 => array
                .as_primitive::<Float64Type>()
                .values()
                .iter()
                .any(|value| value.is_nan()),
            _ => false,
        };
        if !noted.contains(field.name()) && has() {
            noted.insert(field.name().clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        BinaryArray, Date32Array, Decimal128Array, Float64Array, StringArray,
        TimestampMicrosecondArray,
    };

    use super::*;

    #[test]
    fn bounds_keep_every_digit() {
        let text = |array: ArrayRef| bound(&array);
        let decimal = Decimal128Array::from(vec![-12_345_678_901_234_567_890_123_456_789_i128])
            .with_precision_and_scale(38, 4)
            .expect("fits");
        assert_eq!(
            text(Arc::new(decimal)).as_deref(),
            Some("-1234567890123456789012345.6789")
        );
        assert_eq!(
            text(Arc::new(Date32Array::from(vec![-1]))).as_deref(),
            Some("\"1969-12-31\"")
        );
        assert_eq!(text(Arc::new(Date32Array::from(vec![i32::MAX]))), None);
        let time = TimestampMicrosecondArray::from(vec![1_500_001]);
        assert_eq!(
            text(Arc::new(time.clone())).as_deref(),
            Some("\"1970-01-01T00:00:01.500001\"")
        );
        assert_eq!(
            text(Arc::new(time.with_timezone("UTC"))).as_deref(),
            Some("\"1970-01-01T00:00:01.500001Z\"")
        );
        assert_eq!(
            text(Arc::new(Float64Array::from(vec![f64::INFINITY]))),
            None
        );
        assert_eq!(
            text(Arc::new(StringArray::from(vec!["a\"\n"]))).as_deref(),
            Some("\"a\\\"\\n\"")
        );
        assert_eq!(
            text(Arc::new(BinaryArray::from(vec![b"a".as_slice()]))),
            None
        );
    }

    #[test]
    fn paths_are_uris() {
        assert_eq!(uri("a=x%20y/part-0.parquet"), "a=x%2520y/part-0.parquet");
    }
}
