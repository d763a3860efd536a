//! From the text of fields to Arrow: by the type that a load has recorded, that the query names, or that fits what is seen.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, FixedSizeListBuilder, Float32Builder, Float64Builder};
use arrow_array::types::IntervalMonthDayNano;
use arrow_array::{
    ArrayRef, BinaryArray, Int64Array, IntervalMonthDayNanoArray, StringArray, new_null_array,
};
use arrow_cast::{CastOptions, cast, cast_with_options};
use arrow_schema::{DataType, Field, IntervalUnit};
use arrowload_core::arrow_types::is_binary;
use arrowload_core::{Error, ErrorKind, Result};

/// The type that a column is read as, where it was loaded as this one.
pub(crate) fn read_type(data_type: &DataType) -> DataType {
    use DataType as T;
    match data_type {
        T::Dictionary(_, inner) => read_type(inner),
        T::RunEndEncoded(_, inner) => read_type(inner.data_type()),
        T::Decimal32(_, scale) | T::Decimal64(_, scale) => T::Decimal128(38, (*scale).max(0)),
        T::Decimal128(_, scale) | T::Decimal256(_, scale) if *scale < 0 => T::Decimal256(76, 0),
        T::Interval(_) => T::Interval(IntervalUnit::MonthDayNano),
        T::FixedSizeList(item, _) if matches!(item.data_type(), T::Float32 | T::Float64) => {
            data_type.clone()
        }
        // What is nested is JSON.
        nested if nested.is_nested() => T::Utf8,
        other => other.clone(),
    }
}

/// The narrowest type that all values fit: whole numbers, floats, text or binary.
pub(crate) fn infer<'a>(values: impl Iterator<Item = &'a [u8]> + Clone) -> DataType {
    let texts = values.map(|value| std::str::from_utf8(value).ok());
    if texts.clone().any(|text| text.is_none()) {
        return DataType::Binary;
    }
    let mut texts = texts.flatten();
    // Only what is written back the same is a number: `007` is text.
    let is_integer = |text: &str| {
        text.parse::<i64>()
            .is_ok_and(|value| value.to_string() == text)
    };
    let is_float = |text: &str| {
        let looks = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e'));
        let plain = !text.trim_start_matches('-').starts_with('0')
            || text.trim_start_matches('-') == "0"
            || text.trim_start_matches('-').starts_with("0.");
        looks && plain && text.parse::<f64>().is_ok()
    };
    if texts.clone().all(is_integer) {
        DataType::Int64
    } else if texts.all(is_float) {
        DataType::Float64
    } else {
        DataType::Utf8
    }
}

/// Why a column cannot be read, with the first row whose value does not fit.
pub(crate) struct Unfit {
    pub(crate) row: usize,
    pub(crate) why: String,
}

/// Makes an array of values.
pub(crate) fn column(field: &Field, values: &[Option<Vec<u8>>]) -> Result<ArrayRef, Unfit> {
    match all(field.data_type(), values) {
        Ok(array) => Ok(array),
        // The first value that does not fit alone is the one.
        Err(why) => {
            let row = values
                .iter()
                .position(|value| all(field.data_type(), std::slice::from_ref(value)).is_err());
            Err(Unfit {
                row: row.unwrap_or_default(),
                why,
            })
        }
    }
}

fn all(kind: &DataType, values: &[Option<Vec<u8>>]) -> Result<ArrayRef, String> {
    use DataType as T;
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let to = |array: &ArrayRef, kind: &T| {
        cast_with_options(array, kind, &strict).map_err(|error| error.to_string())
    };
    if let T::FixedSizeList(item, size) = kind {
        return vectors(item, *size, values);
    }
    if *kind == T::Null {
        return Ok(new_null_array(kind, values.len()));
    }
    let mut builder = BinaryBuilder::new();
    values
        .iter()
        .for_each(|value| builder.append_option(value.as_deref()));
    let bytes: BinaryArray = builder.finish();
    if is_binary(kind) {
        let bytes: ArrayRef = Arc::new(bytes);
        return to(&bytes, kind);
    }
    let texts = StringArray::try_from_binary(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    if matches!(kind, T::Interval(_)) {
        let parsed = texts.iter().map(|text| {
            text.map(|text| interval(text).ok_or(format!("invalid interval `{text}`")))
                .transpose()
        });
        return Ok(Arc::new(
            parsed.collect::<Result<IntervalMonthDayNanoArray, _>>()?,
        ));
    }
    // Times as epochs are digits alone, and durations are always.
    let digits = || {
        texts
            .iter()
            .map(|text| text.map(|text| text.parse::<i64>().ok()))
            .collect::<Vec<_>>()
    };
    if kind.is_temporal()
        && texts.iter().flatten().all(|text| {
            text.trim_start_matches('-')
                .bytes()
                .all(|byte| byte.is_ascii_digit())
        })
    {
        let numbers: Int64Array = digits().into_iter().map(Option::flatten).collect();
        let numbers: ArrayRef = Arc::new(numbers);
        return match kind {
            T::Date32 | T::Time32(_) => {
                cast(&to(&numbers, &T::Int32)?, kind).map_err(|error| error.to_string())
            }
            _ => to(&numbers, kind),
        };
    }
    let texts: ArrayRef = Arc::new(texts);
    to(&texts, kind)
}

/// Vectors of floats, little-endian.
fn vectors(item: &Field, size: i32, values: &[Option<Vec<u8>>]) -> Result<ArrayRef, String> {
    let count = usize::try_from(size).unwrap_or_default();
    macro_rules! read {
        ($builder:ty, $kind:ty, $bytes:literal) => {{
            let mut builder =
                FixedSizeListBuilder::new(<$builder>::new(), size).with_field(item.clone());
            for value in values {
                match value {
                    Some(bytes) if bytes.len() == count * $bytes => {
                        for chunk in bytes.chunks_exact($bytes) {
                            let word: [u8; $bytes] = chunk.try_into().unwrap_or_default();
                            builder.values().append_value(<$kind>::from_le_bytes(word));
                        }
                        builder.append(true);
                    }
                    Some(bytes) => {
                        return Err(format!(
                            "it has {} bytes, and a vector of {count} has {}",
                            bytes.len(),
                            count * $bytes
                        ));
                    }
                    None => {
                        (0..count).for_each(|_| builder.values().append_value(<$kind>::default()));
                        builder.append(false);
                    }
                }
            }
            Ok(Arc::new(builder.finish()) as ArrayRef)
        }};
    }
    if *item.data_type() == DataType::Float64 {
        read!(Float64Builder, f64, 8)
    } else {
        read!(Float32Builder, f32, 4)
    }
}

/// `P1M-2DT0.000000003S`
fn interval(text: &str) -> Option<IntervalMonthDayNano> {
    let text = text.strip_prefix('P')?;
    let (date, time) = text.split_once('T').unwrap_or((text, "0S"));
    let (months, rest) = date.split_once('M').unwrap_or(("0", date));
    let days = if rest.is_empty() {
        "0"
    } else {
        rest.strip_suffix('D')?
    };
    let time = time.strip_suffix('S')?;
    let (seconds, part) = time.split_once('.').unwrap_or((time, "0"));
    let nanoseconds: i64 = format!("{part:0<9}")
        .parse()
        .ok()
        .filter(|part| (0..1_000_000_000).contains(part))?;
    let whole = seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?;
    let nanoseconds = if seconds.starts_with('-') {
        whole.checked_sub(nanoseconds)?
    } else {
        whole.checked_add(nanoseconds)?
    };
    Some(IntervalMonthDayNano::new(
        months.parse().ok()?,
        days.parse().ok()?,
        nanoseconds,
    ))
}

/// The error of a value that is not of its column's type.
pub(crate) fn unfit(field: &Field, key: &[u8], why: &str) -> Error {
    let message = format!(
        "the field `{}` of `{}` is not of type {}: {why}; name another type in the query, as in \"{}\"::text",
        field.name(),
        String::from_utf8_lossy(key),
        field.data_type(),
        field.name()
    );
    Error::new(ErrorKind::InvalidData, message).with("column", field.name())
}
