//! Canonical text for values, which does not depend on their Arrow type. It is used to compare the rows that were sent with
//! the rows that were read back.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{DataType, IntervalUnit, TimeUnit};

/// Each row as `name=value` pairs in the order of names, all rows sorted.
///
/// Integers and decimals of one value are equal whatever their width and scale, points in time whatever their unit, text and
/// binary whatever their offsets. Text is not binary, and a time with a zone is not one without.
pub fn canonical_rows(batch: &RecordBatch) -> Vec<String> {
    let mut columns: Vec<(String, Vec<String>)> = batch
        .schema_ref()
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, array)| (field.name().clone(), values(array)))
        .collect();
    columns.sort();
    let row = |row: usize| {
        columns
            .iter()
            .map(|(name, values)| format!("{name:?}={}", values[row]))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut rows: Vec<String> = (0..batch.num_rows()).map(row).collect();
    rows.sort();
    rows
}

fn values(array: &ArrayRef) -> Vec<String> {
    let nulls = array.logical_nulls();
    let shown = shown(array);
    shown
        .into_iter()
        .enumerate()
        .map(|(row, text)| {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                "null".into()
            } else {
                text
            }
        })
        .collect()
}

macro_rules! each {
    ($array:expr, $kind:ty, $show:expr) => {{
        let array = $array.as_primitive::<$kind>();
        array.values().iter().map(|value| $show(*value)).collect()
    }};
}

fn shown(array: &ArrayRef) -> Vec<String> {
    use DataType as T;
    let number = |value: i128| value.to_string();
    let rows = 0..array.len();
    match array.data_type() {
        T::Null => vec!["null".into(); array.len()],
        T::Boolean => rows
            .map(|row| array.as_boolean().value(row).to_string())
            .collect(),
        T::Int8 => each!(array, Int8Type, |value: i8| number(value.into())),
        T::Int16 => each!(array, Int16Type, |value: i16| number(value.into())),
        T::Int32 => each!(array, Int32Type, |value: i32| number(value.into())),
        T::Int64 => each!(array, Int64Type, |value: i64| number(value.into())),
        T::UInt8 => each!(array, UInt8Type, |value: u8| number(value.into())),
        T::UInt16 => each!(array, UInt16Type, |value: u16| number(value.into())),
        T::UInt32 => each!(array, UInt32Type, |value: u32| number(value.into())),
        T::UInt64 => each!(array, UInt64Type, |value: u64| number(value.into())),
        T::Float16 => each!(array, Float16Type, |value: half::f16| float(value.to_f64())),
        T::Float32 => each!(array, Float32Type, |value: f32| float(value.into())),
        T::Float64 => each!(array, Float64Type, float),
        T::Decimal32(_, scale) => rows
            .map(|row| {
                decimal(
                    &array.as_primitive::<Decimal32Type>().value(row).to_string(),
                    *scale,
                )
            })
            .collect(),
        T::Decimal64(_, scale) => rows
            .map(|row| {
                decimal(
                    &array.as_primitive::<Decimal64Type>().value(row).to_string(),
                    *scale,
                )
            })
            .collect(),
        T::Decimal128(_, scale) => rows
            .map(|row| {
                decimal(
                    &array
                        .as_primitive::<Decimal128Type>()
                        .value(row)
                        .to_string(),
                    *scale,
                )
            })
            .collect(),
        T::Decimal256(_, scale) => rows
            .map(|row| {
                decimal(
                    &array
                        .as_primitive::<Decimal256Type>()
                        .value(row)
                        .to_string(),
                    *scale,
                )
            })
            .collect(),
        T::Utf8 => rows
            .map(|row| format!("{:?}", array.as_string::<i32>().value(row)))
            .collect(),
        T::LargeUtf8 => rows
            .map(|row| format!("{:?}", array.as_string::<i64>().value(row)))
            .collect(),
        T::Utf8View => rows
            .map(|row| format!("{:?}", array.as_string_view().value(row)))
            .collect(),
        T::Binary => rows
            .map(|row| hex(array.as_binary::<i32>().value(row)))
            .collect(),
        T::LargeBinary => rows
            .map(|row| hex(array.as_binary::<i64>().value(row)))
            .collect(),
        T::BinaryView => rows
            .map(|row| hex(array.as_binary_view().value(row)))
            .collect(),
        T::FixedSizeBinary(_) => rows
            .map(|row| hex(array.as_fixed_size_binary().value(row)))
            .collect(),
        T::Struct(fields) => {
            let columns: Vec<_> = array.as_struct().columns().iter().map(values).collect();
            let show = |row: usize| {
                fields
                    .iter()
                    .zip(&columns)
                    .map(|(field, values)| format!("{}: {}", field.name(), values[row]))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            rows.map(|row| format!("{{{}}}", show(row))).collect()
        }
        T::List(_) => rows
            .map(|row| list(&array.as_list::<i32>().value(row)))
            .collect(),
        T::LargeList(_) => rows
            .map(|row| list(&array.as_list::<i64>().value(row)))
            .collect(),
        T::FixedSizeList(..) => rows
            .map(|row| list(&array.as_fixed_size_list().value(row)))
            .collect(),
        T::ListView(_) => rows
            .map(|row| list(&array.as_list_view::<i32>().value(row)))
            .collect(),
        T::LargeListView(_) => rows
            .map(|row| list(&array.as_list_view::<i64>().value(row)))
            .collect(),
        T::Map(..) => rows.map(|row| map(array, row)).collect(),
        T::Dictionary(_, inner) => decoded(array, inner),
        T::RunEndEncoded(_, inner) => decoded(array, inner.data_type()),
        T::Union(..) => rows.map(|row| union(array, row)).collect(),
        T::Interval(unit) => intervals(array, *unit),
        temporal => nanoseconds(array, temporal),
    }
}

#[expect(
    clippy::expect_used,
    reason = "every dictionary and run can be decoded"
)]
fn decoded(array: &ArrayRef, inner: &DataType) -> Vec<String> {
    values(&cast(array, inner).expect("decoded"))
}

fn float(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else {
        format!("{value:?}f")
    }
}

/// Digits without trailing zeros after the point.
fn decimal(digits: &str, scale: i8) -> String {
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or(("", digits), |digits| ("-", digits));
    let Ok(scale) = usize::try_from(scale) else {
        let zeros = "0".repeat(usize::from(scale.unsigned_abs()));
        return if digits == "0" {
            "0".into()
        } else {
            format!("{sign}{digits}{zeros}")
        };
    };
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, part) = padded.split_at(padded.len() - scale);
    let part = part.trim_end_matches('0');
    match (whole, part) {
        ("0", "") => "0".into(),
        (whole, "") => format!("{sign}{whole}"),
        (whole, part) => format!("{sign}{whole}.{part}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .fold("0x".into(), |all, byte| all + &byte)
}

fn list(items: &ArrayRef) -> String {
    format!("[{}]", values(items).join(", "))
}

fn map(array: &ArrayRef, row: usize) -> String {
    let entries = array.as_map().value(row);
    let (keys, items) = (values(entries.column(0)), values(entries.column(1)));
    let entries: Vec<String> = keys
        .iter()
        .zip(&items)
        .map(|(key, item)| format!("{key}: {item}"))
        .collect();
    format!("<{}>", entries.join(", "))
}

fn union(array: &ArrayRef, row: usize) -> String {
    let union = array.as_union();
    let value = values(&union.value(row)).remove(0);
    format!("#{}:{value}", union.type_id(row))
}

fn intervals(array: &ArrayRef, unit: IntervalUnit) -> Vec<String> {
    let show =
        |months: i32, days: i32, nanoseconds: i64| format!("{months}mon {days}d {nanoseconds}ns");
    match unit {
        IntervalUnit::YearMonth => each!(array, IntervalYearMonthType, |months| show(months, 0, 0)),
        IntervalUnit::DayTime => {
            each!(array, IntervalDayTimeType, |value: IntervalDayTime| show(
                0,
                value.days,
                i64::from(value.milliseconds) * 1_000_000
            ))
        }
        IntervalUnit::MonthDayNano => {
            each!(
                array,
                IntervalMonthDayNanoType,
                |value: IntervalMonthDayNano| show(value.months, value.days, value.nanoseconds)
            )
        }
    }
}

fn nanoseconds(array: &ArrayRef, data_type: &DataType) -> Vec<String> {
    use DataType as T;
    let factor = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    let (kind, factor, wide) = match data_type {
        T::Date32 => ("date", 86_400_000_000_000_i128, false),
        T::Date64 => ("date", 1_000_000, true),
        T::Time32(unit) => ("time", factor(unit), false),
        T::Time64(unit) => ("time", factor(unit), true),
        T::Timestamp(unit, None) => ("timestamp", factor(unit), true),
        T::Timestamp(unit, Some(_)) => ("timestamptz", factor(unit), true),
        T::Duration(unit) => ("duration", factor(unit), true),
        other => {
            return vec![
                format!("a value of {other}, which the test kit cannot compare");
                array.len()
            ];
        }
    };
    let data = array.to_data();
    let value = |row: usize| {
        if wide {
            i128::from(data.buffer::<i64>(0)[row])
        } else {
            i128::from(data.buffer::<i32>(0)[row])
        }
    };
    (0..array.len())
        .map(|row| format!("{kind} {}ns", value(row) * factor))
        .collect()
}
