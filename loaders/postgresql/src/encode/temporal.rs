//! Dates, times, timestamps and intervals. PostgreSQL counts microseconds and days from 2000-01-01, and keeps the ends
//! of its ranges for infinity, so every value is checked against the range before it is shifted.

use arrow_array::types::*;
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};

use super::bind::Frame;
use super::column::{Column, Reason};
use super::conversion::Precision;
use super::numbers::map;

/// Days from 1970-01-01 to 2000-01-01.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
/// Seconds from 1970-01-01 to 2000-01-01.
pub(crate) const EPOCH_SECONDS: i64 = 946_684_800;
/// `datatype/timestamp.h`: 4714-11-24 BC and 294277-01-01, in microseconds from 2000-01-01; the end is outside.
const TIMESTAMPS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
/// The same header: 4714-11-24 BC and 5874898-06-03, in days from 2000-01-01; the end is outside.
const DATES: std::ops::Range<i32> = -2_451_545..2_145_031_949;
const DAY_MILLIS: i64 = 86_400_000;
const DAY_MICROS: i64 = 86_400_000_000;

#[cold]
fn outside(value: i64, unit: &str, target: &str) -> Reason {
    Reason::new(format!(
        "{value} ({unit} from 1970-01-01) is outside the range of {target}"
    ))
}

#[cold]
fn too_fine(value: i64, unit: TimeUnit, step: i64) -> Reason {
    let finest = match step {
        1 => "microseconds".to_owned(),
        step => format!("steps of {step} microseconds"),
    };
    Reason::new(format!(
        "{value} ({}) is finer than the {finest} that the column holds; set truncate_times to cut it off",
        unit_name(unit)
    ))
}

fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "seconds",
        TimeUnit::Millisecond => "milliseconds",
        TimeUnit::Microsecond => "microseconds",
        TimeUnit::Nanosecond => "nanoseconds",
    }
}

/// Microseconds of a count of `unit` since `origin`, in seconds, at the precision of the column. The origin is taken away
/// before units are multiplied, as the largest timestamps fit only then.
#[inline(always)]
fn micros_since(
    value: i64,
    unit: TimeUnit,
    precision: Precision,
    origin: i64,
) -> Result<i64, Reason> {
    let whole = match unit {
        TimeUnit::Second => value
            .checked_sub(origin)
            .and_then(|value| value.checked_mul(1_000_000)),
        TimeUnit::Millisecond => value
            .checked_sub(origin * 1_000)
            .and_then(|value| value.checked_mul(1_000)),
        TimeUnit::Microsecond => value.checked_sub(origin * 1_000_000),
        TimeUnit::Nanosecond if value % 1_000 == 0 || precision.truncate => {
            value.div_euclid(1_000).checked_sub(origin * 1_000_000)
        }
        TimeUnit::Nanosecond => return Err(too_fine(value, unit, precision.step)),
    };
    let Some(micros) = whole else {
        return Err(Reason::new(format!(
            "{value} {} are more microseconds than 64 bits hold",
            unit_name(unit)
        )));
    };
    if precision.step == 1 || micros % precision.step == 0 {
        return Ok(micros);
    }
    if precision.truncate {
        Ok(micros - micros.rem_euclid(precision.step))
    } else {
        Err(too_fine(value, unit, precision.step))
    }
}

#[inline(always)]
fn micros(value: i64, unit: TimeUnit, precision: Precision) -> Result<i64, Reason> {
    micros_since(value, unit, precision, 0)
}

#[inline(always)]
fn pg_timestamp(value: i64, unit: TimeUnit, precision: Precision) -> Result<[u8; 8], Reason> {
    let shifted = micros_since(value, unit, precision, EPOCH_SECONDS)?;
    if TIMESTAMPS.contains(&shifted) {
        return Ok(shifted.to_be_bytes());
    }
    Err(outside(
        value,
        unit_name(unit),
        "timestamp, 4713 BC to 294276 AD",
    ))
}

#[inline(always)]
fn pg_date(days: i64) -> Result<[u8; 4], Reason> {
    let shifted = i32::try_from(days)
        .ok()
        .and_then(|days| days.checked_sub(EPOCH_DAYS));
    match shifted.filter(|shifted| DATES.contains(shifted)) {
        Some(shifted) => Ok(shifted.to_be_bytes()),
        None => Err(outside(days, "days", "date, 4713 BC to 5874897 AD")),
    }
}

/// Whole days of a count of `per_day` each.
#[inline(always)]
fn whole_days(value: i64, per_day: i64) -> Result<[u8; 4], Reason> {
    if value % per_day != 0 {
        return Err(Reason::new(format!(
            "{value} is not midnight, and a date holds whole days only"
        )));
    }
    pg_date(value / per_day)
}

pub(super) fn date(array: &ArrayRef, frame: Frame) -> Option<Box<dyn Column>> {
    Some(match array.data_type() {
        DataType::Date32 => map::<Date32Type, 4>(array, frame, |days| pg_date(days.into())),
        DataType::Date64 => {
            map::<Date64Type, 4>(array, frame, |value| whole_days(value, DAY_MILLIS))
        }
        DataType::Timestamp(TimeUnit::Second, None) => {
            map::<TimestampSecondType, 4>(array, frame, |value| whole_days(value, 86_400))
        }
        DataType::Timestamp(TimeUnit::Millisecond, None) => {
            map::<TimestampMillisecondType, 4>(array, frame, |value| whole_days(value, DAY_MILLIS))
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            map::<TimestampMicrosecondType, 4>(array, frame, |value| whole_days(value, DAY_MICROS))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, None) => {
            map::<TimestampNanosecondType, 4>(array, frame, |value| {
                whole_days(value, DAY_MICROS * 1_000)
            })
        }
        _ => return None,
    })
}

pub(super) fn timestamp(
    array: &ArrayRef,
    frame: Frame,
    precision: Precision,
) -> Option<Box<dyn Column>> {
    macro_rules! of {
        ($arrow:ty, $unit:ident) => {
            map::<$arrow, 8>(array, frame, move |value| {
                pg_timestamp(value, TimeUnit::$unit, precision)
            })
        };
    }
    Some(match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => of!(TimestampSecondType, Second),
        DataType::Timestamp(TimeUnit::Millisecond, _) => of!(TimestampMillisecondType, Millisecond),
        DataType::Timestamp(TimeUnit::Microsecond, _) => of!(TimestampMicrosecondType, Microsecond),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => of!(TimestampNanosecondType, Nanosecond),
        DataType::Date64 => of!(Date64Type, Millisecond),
        DataType::Date32 => map::<Date32Type, 8>(array, frame, move |days| {
            pg_timestamp(i64::from(days) * 86_400, TimeUnit::Second, precision)
        }),
        _ => return None,
    })
}

#[inline(always)]
fn pg_time(value: i64, unit: TimeUnit, precision: Precision) -> Result<[u8; 8], Reason> {
    let micros = micros(value, unit, precision)?;
    if (0..=DAY_MICROS).contains(&micros) {
        return Ok(micros.to_be_bytes());
    }
    Err(Reason::new(format!(
        "{value} ({} from midnight) is outside the day",
        unit_name(unit)
    )))
}

pub(super) fn time(
    array: &ArrayRef,
    frame: Frame,
    precision: Precision,
) -> Option<Box<dyn Column>> {
    macro_rules! of {
        ($arrow:ty, $unit:ident) => {
            map::<$arrow, 8>(array, frame, move |value| {
                pg_time(value.into(), TimeUnit::$unit, precision)
            })
        };
    }
    Some(match array.data_type() {
        DataType::Time32(TimeUnit::Second) => of!(Time32SecondType, Second),
        DataType::Time32(TimeUnit::Millisecond) => of!(Time32MillisecondType, Millisecond),
        DataType::Time64(TimeUnit::Microsecond) => of!(Time64MicrosecondType, Microsecond),
        DataType::Time64(TimeUnit::Nanosecond) => of!(Time64NanosecondType, Nanosecond),
        _ => return None,
    })
}

/// `interval_send`: microseconds, days, months.
#[inline(always)]
fn pg_interval(micros: i64, days: i32, months: i32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&micros.to_be_bytes());
    bytes[8..12].copy_from_slice(&days.to_be_bytes());
    bytes[12..].copy_from_slice(&months.to_be_bytes());
    bytes
}

pub(super) fn interval(
    array: &ArrayRef,
    frame: Frame,
    precision: Precision,
) -> Option<Box<dyn Column>> {
    macro_rules! of {
        ($arrow:ty, $unit:ident) => {
            map::<$arrow, 16>(array, frame, move |value| {
                Ok(pg_interval(
                    micros(value, TimeUnit::$unit, precision)?,
                    0,
                    0,
                ))
            })
        };
    }
    Some(match array.data_type() {
        DataType::Duration(TimeUnit::Second) => of!(DurationSecondType, Second),
        DataType::Duration(TimeUnit::Millisecond) => of!(DurationMillisecondType, Millisecond),
        DataType::Duration(TimeUnit::Microsecond) => of!(DurationMicrosecondType, Microsecond),
        DataType::Duration(TimeUnit::Nanosecond) => of!(DurationNanosecondType, Nanosecond),
        DataType::Interval(IntervalUnit::YearMonth) => {
            map::<IntervalYearMonthType, 16>(array, frame, |months| Ok(pg_interval(0, 0, months)))
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            map::<IntervalDayTimeType, 16>(array, frame, move |value| {
                let micros = micros(value.milliseconds.into(), TimeUnit::Millisecond, precision)?;
                Ok(pg_interval(micros, value.days, 0))
            })
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            map::<IntervalMonthDayNanoType, 16>(array, frame, move |value| {
                let micros = micros(value.nanoseconds, TimeUnit::Nanosecond, precision)?;
                Ok(pg_interval(micros, value.days, value.months))
            })
        }
        _ => return None,
    })
}
