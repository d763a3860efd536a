//! Values that are not nested as text, straight into bytes: shared by CSV and NDJSON.
//!
//! Numbers keep every digit, floats are the shortest text that reads back equal, and points in time are ISO 8601.

use std::io::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, IntervalUnit, TimeUnit};

/// Why a value has no text.
pub type Refused = &'static str;
type Cell<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<(), Refused> + Send + 'a>;

/// What the text of a column may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A number or boolean.
    Bare,
    /// Letters, digits and signs that no format has to escape.
    Plain,
    /// Anything.
    Free,
}

/// A column whose values are written one by one.
pub struct Column<'a> {
    nulls: Option<NullBuffer>,
    form: Form,
    cell: Cell<'a>,
}

impl<'a> Column<'a> {
    /// Of an array that is neither nested nor encoded as a dictionary or in runs; anything else is refused row by row.
    pub fn new(array: &'a ArrayRef) -> Self {
        let (form, cell) = cell(array);
        Self {
            nulls: array.logical_nulls(),
            form,
            cell,
        }
    }

    /// What its text may hold.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Whether the value of a row is null.
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Adds the value of a row that is not null.
    ///
    /// # Errors
    /// Why the value has no text.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Refused> {
        (self.cell)(row, out)
    }
}

fn cell(array: &ArrayRef) -> (Form, Cell<'_>) {
    use DataType as T;
    match array.data_type() {
        T::Boolean => {
            let values = array.as_boolean();
            (
                Form::Bare,
                Box::new(|row, out| put(out, if values.value(row) { b"true" } else { b"false" })),
            )
        }
        T::Int8 => integer::<Int8Type>(array),
        T::Int16 => integer::<Int16Type>(array),
        T::Int32 => integer::<Int32Type>(array),
        T::Int64 => integer::<Int64Type>(array),
        T::UInt8 => integer::<UInt8Type>(array),
        T::UInt16 => integer::<UInt16Type>(array),
        T::UInt32 => integer::<UInt32Type>(array),
        T::UInt64 => integer::<UInt64Type>(array),
        T::Float16 => {
            primitive::<Float16Type>(Form::Bare, array, |value, out| float(value.to_f32(), out))
        }
        T::Float32 => primitive::<Float32Type>(Form::Bare, array, float),
        T::Float64 => primitive::<Float64Type>(Form::Bare, array, float),
        T::Decimal32(_, scale) => decimal32(array, *scale),
        T::Decimal64(_, scale) => decimal64(array, *scale),
        T::Decimal128(_, scale) => decimal128(array, *scale),
        T::Decimal256(_, scale) => decimal256(array, *scale),
        T::Utf8 => free(array.as_string::<i32>(), |values, row| {
            values.value(row).as_bytes()
        }),
        T::LargeUtf8 => free(array.as_string::<i64>(), |values, row| {
            values.value(row).as_bytes()
        }),
        T::Utf8View => free(array.as_string_view(), |values, row| {
            values.value(row).as_bytes()
        }),
        T::Binary => hex(array.as_binary::<i32>(), |values, row| values.value(row)),
        T::LargeBinary => hex(array.as_binary::<i64>(), |values, row| values.value(row)),
        T::BinaryView => hex(array.as_binary_view(), |values, row| values.value(row)),
        T::FixedSizeBinary(_) => hex(array.as_fixed_size_binary(), |values, row| {
            values.value(row)
        }),
        _ => temporal(array),
    }
}

fn temporal(array: &ArrayRef) -> (Form, Cell<'_>) {
    use DataType as T;
    use TimeUnit as U;
    match array.data_type() {
        T::Date32 => {
            primitive::<Date32Type>(Form::Plain, array, |days, out| date(days.into(), out))
        }
        T::Date64 => primitive::<Date64Type>(Form::Plain, array, |milliseconds, out| {
            match milliseconds % 86_400_000 {
                0 => date(milliseconds / 86_400_000, out),
                _ => Err("a Date64 that is not a whole day"),
            }
        }),
        T::Time32(U::Second) => primitive::<Time32SecondType>(Form::Plain, array, |value, out| {
            time(value.into(), U::Second, out)
        }),
        T::Time32(_) => primitive::<Time32MillisecondType>(Form::Plain, array, |value, out| {
            time(value.into(), U::Millisecond, out)
        }),
        T::Time64(U::Nanosecond) => {
            primitive::<Time64NanosecondType>(Form::Plain, array, |value, out| {
                time(value, U::Nanosecond, out)
            })
        }
        T::Time64(_) => primitive::<Time64MicrosecondType>(Form::Plain, array, |value, out| {
            time(value, U::Microsecond, out)
        }),
        T::Timestamp(U::Second, zone) => {
            timestamps::<TimestampSecondType>(array, U::Second, zone.is_some())
        }
        T::Timestamp(U::Millisecond, zone) => {
            timestamps::<TimestampMillisecondType>(array, U::Millisecond, zone.is_some())
        }
        T::Timestamp(U::Microsecond, zone) => {
            timestamps::<TimestampMicrosecondType>(array, U::Microsecond, zone.is_some())
        }
        T::Timestamp(U::Nanosecond, zone) => {
            timestamps::<TimestampNanosecondType>(array, U::Nanosecond, zone.is_some())
        }
        T::Duration(U::Second) => durations::<DurationSecondType>(array, U::Second),
        T::Duration(U::Millisecond) => durations::<DurationMillisecondType>(array, U::Millisecond),
        T::Duration(U::Microsecond) => durations::<DurationMicrosecondType>(array, U::Microsecond),
        T::Duration(U::Nanosecond) => durations::<DurationNanosecondType>(array, U::Nanosecond),
        T::Interval(IntervalUnit::YearMonth) => {
            primitive::<IntervalYearMonthType>(Form::Plain, array, |months, out| {
                interval(months, 0, 0, U::Nanosecond, out)
            })
        }
        T::Interval(IntervalUnit::DayTime) => {
            primitive::<IntervalDayTimeType>(Form::Plain, array, |value, out| {
                interval(
                    0,
                    value.days,
                    value.milliseconds.into(),
                    U::Millisecond,
                    out,
                )
            })
        }
        T::Interval(IntervalUnit::MonthDayNano) => {
            primitive::<IntervalMonthDayNanoType>(Form::Plain, array, |value, out| {
                interval(
                    value.months,
                    value.days,
                    value.nanoseconds,
                    U::Nanosecond,
                    out,
                )
            })
        }
        _ => (
            Form::Plain,
            Box::new(|_, _| Err("a value of a type that has no text")),
        ),
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Refused> {
    out.extend_from_slice(bytes);
    Ok(())
}

/// Writing to a `Vec` cannot fail.
fn print(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) -> Result<(), Refused> {
    out.write_fmt(text)
        .map_err(|_| "a value that cannot be printed")
}

fn primitive<T: ArrowPrimitiveType>(
    form: Form,
    array: &ArrayRef,
    write: impl Fn(T::Native, &mut Vec<u8>) -> Result<(), Refused> + Send + 'static,
) -> (Form, Cell<'_>) {
    let values = array.as_primitive::<T>().values();
    (form, Box::new(move |row, out| write(values[row], out)))
}

fn integer<T: ArrowPrimitiveType>(array: &ArrayRef) -> (Form, Cell<'_>)
where
    T::Native: itoa::Integer,
{
    primitive::<T>(Form::Bare, array, |value, out| {
        put(out, itoa::Buffer::new().format(value).as_bytes())
    })
}

fn free<'a, A: Sync>(
    values: &'a A,
    get: impl Fn(&'a A, usize) -> &'a [u8] + Send + 'a,
) -> (Form, Cell<'a>) {
    (
        Form::Free,
        Box::new(move |row, out| put(out, get(values, row))),
    )
}

fn hex<'a, A: Sync>(
    values: &'a A,
    get: impl Fn(&'a A, usize) -> &'a [u8] + Send + 'a,
) -> (Form, Cell<'a>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let cell = move |row, out: &mut Vec<u8>| {
        let bytes = get(values, row);
        out.extend(bytes.iter().flat_map(|byte| {
            [
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]
        }));
        Ok(())
    };
    (Form::Plain, Box::new(cell))
}

/// The shortest text that reads back equal; what is no number as PostgreSQL, DuckDB and pyarrow spell it.
fn float<F: ryu::Float + Into<f64>>(value: F, out: &mut Vec<u8>) -> Result<(), Refused> {
    let wide: f64 = value.into();
    match wide {
        _ if wide.is_finite() => put(out, ryu::Buffer::new().format_finite(value).as_bytes()),
        _ if wide.is_nan() => put(out, b"NaN"),
        _ => put(out, if wide > 0.0 { b"inf" } else { b"-inf" }),
    }
}

fn decimal32(array: &ArrayRef, scale: i8) -> (Form, Cell<'_>) {
    primitive::<Decimal32Type>(Form::Bare, array, move |value, out| {
        digits(itoa::Buffer::new().format(value), scale, out)
    })
}

fn decimal64(array: &ArrayRef, scale: i8) -> (Form, Cell<'_>) {
    primitive::<Decimal64Type>(Form::Bare, array, move |value, out| {
        digits(itoa::Buffer::new().format(value), scale, out)
    })
}

fn decimal128(array: &ArrayRef, scale: i8) -> (Form, Cell<'_>) {
    primitive::<Decimal128Type>(Form::Bare, array, move |value, out| {
        digits(itoa::Buffer::new().format(value), scale, out)
    })
}

fn decimal256(array: &ArrayRef, scale: i8) -> (Form, Cell<'_>) {
    primitive::<Decimal256Type>(Form::Bare, array, move |value, out| {
        digits(&value.to_string(), scale, out)
    })
}

/// Sets the point into the digits of a decimal.
fn digits(unscaled: &str, scale: i8, out: &mut Vec<u8>) -> Result<(), Refused> {
    let (sign, digits) = unscaled
        .strip_prefix('-')
        .map_or(("", unscaled), |digits| ("-", digits));
    out.extend_from_slice(sign.as_bytes());
    let places = usize::from(scale.unsigned_abs());
    match scale {
        ..=0 => {
            out.extend_from_slice(digits.as_bytes());
            let zeros = if digits == "0" { 0 } else { places };
            out.resize(out.len() + zeros, b'0');
        }
        _ if digits.len() > places => {
            let (whole, part) = digits.split_at(digits.len() - places);
            print(out, format_args!("{whole}.{part}"))?;
        }
        _ => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + places - digits.len(), b'0');
            out.extend_from_slice(digits.as_bytes());
        }
    }
    Ok(())
}

/// The digits of a unit below a second.
fn places(unit: TimeUnit) -> (i64, usize) {
    match unit {
        TimeUnit::Second => (1, 0),
        TimeUnit::Millisecond => (1_000, 3),
        TimeUnit::Microsecond => (1_000_000, 6),
        TimeUnit::Nanosecond => (1_000_000_000, 9),
    }
}

fn padded(mut value: i64, width: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// A day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// The algorithm is Howard Hinnant's `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>).
fn date(days: i64, out: &mut Vec<u8>) -> Result<(), Refused> {
    // 0000-01-01 and 9999-12-31: beyond them, ISO 8601 leaves the text to those who exchange it.
    if !(-719_528..=2_932_896).contains(&days) {
        return Err("a date outside the years 0000 to 9999");
    }
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    padded(year, 4, out);
    out.push(b'-');
    padded(month, 2, out);
    out.push(b'-');
    padded(day, 2, out);
    Ok(())
}

fn time(value: i64, unit: TimeUnit, out: &mut Vec<u8>) -> Result<(), Refused> {
    let (per_second, places) = places(unit);
    let (seconds, part) = (value.div_euclid(per_second), value.rem_euclid(per_second));
    if !(0..86_400).contains(&seconds) {
        return Err("a time of day outside the day");
    }
    padded(seconds / 3_600, 2, out);
    out.push(b':');
    padded(seconds / 60 % 60, 2, out);
    out.push(b':');
    padded(seconds % 60, 2, out);
    if places > 0 {
        out.push(b'.');
        padded(part, places, out);
    }
    Ok(())
}

fn timestamps<T: ArrowPrimitiveType<Native = i64>>(
    array: &ArrayRef,
    unit: TimeUnit,
    zoned: bool,
) -> (Form, Cell<'_>) {
    let per_day = places(unit).0 * 86_400;
    primitive::<T>(Form::Plain, array, move |value, out| {
        date(value.div_euclid(per_day), out)?;
        out.push(b'T');
        time(value.rem_euclid(per_day), unit, out)?;
        if zoned {
            out.push(b'Z');
        }
        Ok(())
    })
}

fn durations<T: ArrowPrimitiveType<Native = i64>>(
    array: &ArrayRef,
    unit: TimeUnit,
) -> (Form, Cell<'_>) {
    primitive::<T>(Form::Plain, array, move |value, out| {
        out.extend_from_slice(b"PT");
        seconds(value, unit, out)
    })
}

/// `-1.500S`.
fn seconds(value: i64, unit: TimeUnit, out: &mut Vec<u8>) -> Result<(), Refused> {
    let (per_second, places) = places(unit);
    if value < 0 {
        out.push(b'-');
    }
    let magnitude = value.unsigned_abs();
    put(
        out,
        itoa::Buffer::new()
            .format(magnitude / per_second as u64)
            .as_bytes(),
    )?;
    if places > 0 {
        out.push(b'.');
        padded((magnitude % per_second as u64) as i64, places, out);
    }
    put(out, b"S")
}

fn interval(
    months: i32,
    days: i32,
    rest: i64,
    unit: TimeUnit,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    print(out, format_args!("P{months}M{days}DT"))?;
    seconds(rest, unit, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>) -> Result<(), Refused>) -> Result<String, Refused> {
        let mut out = Vec::new();
        write(&mut out)?;
        Ok(String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn days_are_calendar_dates() {
        let cases = [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (19_782, "2024-02-29"),
            (-719_528, "0000-01-01"),
            (2_932_896, "9999-12-31"),
        ];
        for (days, expected) in cases {
            assert_eq!(text(|out| date(days, out)).as_deref(), Ok(expected));
        }
        assert!(text(|out| date(2_932_897, out)).is_err());
        assert!(text(|out| date(-719_529, out)).is_err());
    }

    #[test]
    fn decimals_keep_every_digit_at_every_scale() {
        let cases = [
            ("0", 2, "0.00"),
            ("-5", 3, "-0.005"),
            ("12345", 2, "123.45"),
            ("100", 2, "1.00"),
            ("7", -3, "7000"),
            ("0", -3, "0"),
        ];
        for (unscaled, scale, expected) in cases {
            assert_eq!(
                text(|out| digits(unscaled, scale, out)).as_deref(),
                Ok(expected)
            );
        }
    }

    #[test]
    fn times_and_durations() {
        assert_eq!(
            text(|out| time(86_399_999, TimeUnit::Millisecond, out)).as_deref(),
            Ok("23:59:59.999")
        );
        assert!(text(|out| time(86_400, TimeUnit::Second, out)).is_err());
        assert!(text(|out| time(-1, TimeUnit::Nanosecond, out)).is_err());
        assert_eq!(
            text(|out| seconds(-1_500, TimeUnit::Millisecond, out)).as_deref(),
            Ok("-1.500S")
        );
        assert_eq!(
            text(|out| seconds(i64::MIN, TimeUnit::Second, out)).as_deref(),
            Ok("-9223372036854775808S")
        );
        assert_eq!(
            text(|out| interval(1, -2, 3, TimeUnit::Nanosecond, out)).as_deref(),
            Ok("P1M-2DT0.000000003S")
        );
    }

    #[test]
    fn floats_are_short_and_exact() {
        assert_eq!(text(|out| float(0.1_f64, out)).as_deref(), Ok("0.1"));
        assert_eq!(text(|out| float(0.1_f32, out)).as_deref(), Ok("0.1"));
        assert_eq!(text(|out| float(1e300_f64, out)).as_deref(), Ok("1e300"));
        assert_eq!(text(|out| float(-0.0_f64, out)).as_deref(), Ok("-0.0"));
        assert_eq!(
            text(|out| float(f32::NEG_INFINITY, out)).as_deref(),
            Ok("-inf")
        );
    }
}
