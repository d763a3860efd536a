//! The values of an incremental load's cursor: how they are stored, compared, and reduced by the
//! lag.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float32Type, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float32Array, Float64Array, Int64Array, StringArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, TimeUnit};

use crate::exit::Failure;
use crate::shape;

/// A value of this type that no row reaches, if there is one that engines take.
pub(crate) fn never(kind: &DataType) -> Option<ArrayRef> {
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
        DataType::Float32 | DataType::Float64 => infinities(kind).map(|[_, highest]| highest),
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

/// A value of the cursor as it is kept.
pub(crate) fn text(value: &ArrayRef) -> Result<String, Failure> {
    let failed = |error: arrow_schema::ArrowError| Failure::failed(error.to_string());
    let formatter = ArrayFormatter::try_new(value, &FormatOptions::default()).map_err(failed)?;
    formatter.value(0).try_to_string().map_err(failed)
}

/// The two infinities of a float type, between which all its numbers are.
pub(crate) fn infinities(kind: &DataType) -> Option<[ArrayRef; 2]> {
    let infinite = |sign: f64| -> Option<ArrayRef> {
        let value = sign * f64::INFINITY;
        match kind {
            DataType::Float32 => Some(Arc::new(Float32Array::from(vec![value as f32]))),
            DataType::Float64 => Some(Arc::new(Float64Array::from(vec![value]))),
            _ => None,
        }
    };
    Some([infinite(-1.0)?, infinite(1.0)?])
}

/// Whether a value can be followed by a greater one, and compared with all others.
pub(crate) fn is_finite(value: &ArrayRef) -> bool {
    let as_float = match value.data_type() {
        DataType::Float32 => value.as_primitive::<Float32Type>().value(0).into(),
        DataType::Float64 => value.as_primitive::<Float64Type>().value(0),
        _ => return true,
    };
    f64::is_finite(as_float)
}

/// What an engine compares a text as, where it is cast to this type.
pub(crate) fn sql_type(kind: &DataType) -> Option<String> {
    match kind {
        DataType::Decimal128(precision, scale) => Some(format!("decimal({precision},{scale})")),
        DataType::Int64 => Some("bigint".to_owned()),
        _ => None,
    }
}

/// A text as a value of the cursor's type.
pub(crate) fn value(text: &str, kind: &DataType) -> Result<ArrayRef, Failure> {
    let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let refused = || {
        Failure::usage(format!(
            "`{text}` is no value of the cursor, which is of type {kind}"
        ))
    };
    // Times may be written shorter than they are read from text, and decimals must not be rounded.
    match kind {
        DataType::Decimal128(..) | DataType::Decimal256(..) => {
            shape::cast(&array, kind, "cursor").map_err(|_| refused())
        }
        _ => cast_with_options(&array, kind, &strict).map_err(|_| refused()),
    }
}

/// The value that is earlier by the lag.
pub(crate) fn minus(value: &ArrayRef, lag: &str) -> Result<ArrayRef, Failure> {
    let kind = value.data_type().clone();
    let refused = || misfit(lag, &kind);
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
        kind if kind.is_integer() => {
            let back = lag.trim().parse::<i64>().ok().filter(|back| *back >= 0);
            (back.ok_or_else(refused)?, DataType::Int64)
        }
        _ => return Err(refused()),
    };
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let failed = |_| refused();
    let number = cast_with_options(value, &as_number, &strict).map_err(failed)?;
    let number = number.as_primitive::<Int64Type>().value(0);
    let least = match kind.is_unsigned_integer() {
        true => 0,
        false => i64::MIN,
    };
    let moved = number.saturating_sub(amount).max(least);
    let moved: ArrayRef = Arc::new(Int64Array::from(vec![moved]));
    cast_with_options(&moved, &kind, &strict).map_err(failed)
}

fn misfit(lag: &str, kind: &DataType) -> Failure {
    Failure::usage(format!(
        "lag `{lag}` does not fit a cursor of type {kind}: give a time such as 5m for times, and a whole number for whole numbers; cursors \
         of other types have no lag"
    ))
}

/// Refuses a lag that no cursor of this type can go back by.
pub(crate) fn check_lag(lag: &str, kind: &DataType) -> Result<(), Failure> {
    let any = match kind.is_integer() {
        true => "0",
        false => "2000-01-01",
    };
    // A type that has no such value has no lag either.
    match value(any, kind) {
        Ok(any) => minus(&any, lag).map(drop),
        Err(_) => Err(misfit(lag, kind)),
    }
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
        for (kind, wrong, right) in [
            (&micros, &["banana", "5", "-5m"][..], Some("5m")),
            (&DataType::Int64, &["5m", "-5", "1.5"], Some("5")),
            (&DataType::UInt64, &["5m"], Some("5")),
            (&DataType::Date32, &["2"], Some("2d")),
            (&DataType::Utf8, &["5m", "5"], None),
            (&DataType::Decimal128(10, 2), &["5m", "5"], None),
        ] {
            for lag in wrong {
                assert!(check_lag(lag, kind).is_err(), "{kind} {lag}");
            }
            if let Some(lag) = right {
                assert!(check_lag(lag, kind).is_ok(), "{kind} {lag}");
            }
        }
        let decimal = DataType::Decimal128(10, 2);
        assert!(value("12.5", &decimal).is_ok() && value("12.567", &decimal).is_err());
    }
}
