//! Values as text: digits, the shortest floats that read back equal, ISO 8601.

use arrow_schema::TimeUnit;

use super::values::{Column, Values};
use crate::options::{Booleans, Times};

/// How values that have several forms are written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Format {
    pub(crate) times: Times,
    pub(crate) booleans: Booleans,
}

/// Why a value cannot be written.
pub(crate) type Refusal = &'static str;

const DAY: i64 = 86_400;

pub(crate) fn digits(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The shortest form that reads back equal; `nan`, `inf` and `-inf` as Redis writes them.
pub(crate) fn float64(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        out.extend_from_slice(trimmed(zmij::Buffer::new().format_finite(value)).as_bytes());
    } else {
        not_finite(out, value);
    }
}

pub(crate) fn float32(out: &mut Vec<u8>, value: f32) {
    if value.is_finite() {
        out.extend_from_slice(trimmed(zmij::Buffer::new().format_finite(value)).as_bytes());
    } else {
        not_finite(out, value.into());
    }
}

/// Whole numbers without `.0`.
fn trimmed(text: &str) -> &str {
    text.strip_suffix(".0").unwrap_or(text)
}

fn not_finite(out: &mut Vec<u8>, value: f64) {
    let text: &[u8] = if value.is_nan() {
        b"nan"
    } else if value > 0.0 {
        b"inf"
    } else {
        b"-inf"
    };
    out.extend_from_slice(text);
}

/// Digits with the point where the scale puts it.
pub(crate) fn decimal(out: &mut Vec<u8>, digits: &str, scale: i8) {
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or(("", digits), |digits| ("-", digits));
    out.extend_from_slice(sign.as_bytes());
    let Ok(scale) = usize::try_from(scale) else {
        out.extend_from_slice(digits.as_bytes());
        if digits != "0" {
            out.resize(out.len() + usize::from(scale.unsigned_abs()), b'0');
        }
        return;
    };
    let whole = digits.len().saturating_sub(scale);
    out.extend_from_slice(if whole == 0 {
        b"0"
    } else {
        &digits.as_bytes()[..whole]
    });
    if scale > 0 {
        out.push(b'.');
        out.resize(out.len() + scale.saturating_sub(digits.len()), b'0');
        out.extend_from_slice(&digits.as_bytes()[whole..]);
    }
}

fn two(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&[b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]);
}

/// `2024-02-29` from days since 1970, for any year: those outside 0 to 9999 have a sign, as ISO 8601 wants.
pub(crate) fn date(out: &mut Vec<u8>, days: i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if (0..=9999).contains(&year) {
        two(out, year / 100);
        two(out, year % 100);
    } else {
        out.push(if year < 0 { b'-' } else { b'+' });
        out.extend_from_slice(format!("{:04}", year.unsigned_abs()).as_bytes());
    }
    out.push(b'-');
    two(out, month);
    out.push(b'-');
    two(out, day);
}

/// How many of a unit are a second, and the digits behind its point.
fn parts(unit: TimeUnit) -> (i64, usize) {
    match unit {
        TimeUnit::Second => (1, 0),
        TimeUnit::Millisecond => (1_000, 3),
        TimeUnit::Microsecond => (1_000_000, 6),
        TimeUnit::Nanosecond => (1_000_000_000, 9),
    }
}

fn fraction(out: &mut Vec<u8>, value: i64, width: usize) {
    if value == 0 {
        return;
    }
    out.push(b'.');
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value);
    out.resize(out.len() + width.saturating_sub(digits.len()), b'0');
    out.extend_from_slice(digits.as_bytes());
}

/// `12:34:56.789`
fn clock(out: &mut Vec<u8>, second: i64, part: i64, width: usize) {
    two(out, second / 3_600);
    out.push(b':');
    two(out, second / 60 % 60);
    out.push(b':');
    two(out, second % 60);
    fraction(out, part, width);
}

pub(crate) fn timestamp(out: &mut Vec<u8>, value: i64, unit: TimeUnit, zoned: bool) {
    let (factor, width) = parts(unit);
    let (seconds, part) = (value.div_euclid(factor), value.rem_euclid(factor));
    date(out, seconds.div_euclid(DAY));
    out.push(b'T');
    clock(out, seconds.rem_euclid(DAY), part, width);
    if zoned {
        out.push(b'Z');
    }
}

/// `P1M-2DT0.000000003S`
pub(crate) fn interval(out: &mut Vec<u8>, months: i32, days: i32, nanoseconds: i64) {
    out.push(b'P');
    for (value, letter) in [(months, b'M'), (days, b'D')] {
        if value != 0 {
            digits(out, value);
            out.push(letter);
        }
    }
    if nanoseconds != 0 || (months, days) == (0, 0) {
        out.push(b'T');
        if nanoseconds < 0 {
            out.push(b'-');
        }
        let magnitude = nanoseconds.unsigned_abs();
        digits(out, magnitude / 1_000_000_000);
        fraction(out, (magnitude % 1_000_000_000) as i64, 9);
        out.push(b'S');
    }
}

impl Column {
    /// Writes a value that is not null. What is nested is JSON.
    #[inline]
    pub(crate) fn text(
        &self,
        row: usize,
        format: Format,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        match &self.values {
            Values::Null => {}
            Values::Boolean(values) => {
                out.extend_from_slice(match (format.booleans, values.value(row)) {
                    (Booleans::Words, true) => b"true",
                    (Booleans::Words, false) => b"false",
                    (Booleans::Digits, true) => b"1",
                    (Booleans::Digits, false) => b"0",
                })
            }
            Values::Int8(values) => digits(out, values.value(row)),
            Values::Int16(values) => digits(out, values.value(row)),
            Values::Int32(values) => digits(out, values.value(row)),
            Values::Int64(values) => digits(out, values.value(row)),
            Values::UInt8(values) => digits(out, values.value(row)),
            Values::UInt16(values) => digits(out, values.value(row)),
            Values::UInt32(values) => digits(out, values.value(row)),
            Values::UInt64(values) => digits(out, values.value(row)),
            Values::Float16(values) => float32(out, values.value(row).to_f32()),
            Values::Float32(values) => float32(out, values.value(row)),
            Values::Float64(values) => float64(out, values.value(row)),
            Values::Decimal32(values, scale) => {
                decimal(out, itoa::Buffer::new().format(values.value(row)), *scale)
            }
            Values::Decimal64(values, scale) => {
                decimal(out, itoa::Buffer::new().format(values.value(row)), *scale)
            }
            Values::Decimal128(values, scale) => {
                decimal(out, itoa::Buffer::new().format(values.value(row)), *scale)
            }
            Values::Decimal256(values, scale) => {
                decimal(out, &values.value(row).to_string(), *scale)
            }
            Values::Date(values) => match format.times {
                Times::Iso8601 => date(out, values.get(row)),
                Times::Epoch => digits(out, values.get(row)),
            },
            Values::DateMillis(values) => {
                let value = values.get(row);
                if value % (DAY * 1000) != 0 {
                    return Err("is a Date64 with a time within its day; cast it to a timestamp");
                }
                match format.times {
                    Times::Iso8601 => date(out, value / (DAY * 1000)),
                    Times::Epoch => digits(out, value),
                }
            }
            Values::Time(values, unit) => {
                let value = values.get(row);
                let (factor, width) = parts(*unit);
                if !(0..DAY * factor).contains(&value) {
                    return Err("is a time outside of its day");
                }
                match format.times {
                    Times::Iso8601 => clock(out, value / factor, value % factor, width),
                    Times::Epoch => digits(out, value),
                }
            }
            Values::Timestamp(values, unit, zoned) => match format.times {
                Times::Iso8601 => timestamp(out, values.get(row), *unit, *zoned),
                Times::Epoch => digits(out, values.get(row)),
            },
            Values::Duration(values) => digits(out, values.get(row)),
            Values::Months(values) => interval(out, values.value(row), 0, 0),
            Values::DayTime(values) => {
                let value = values.value(row);
                interval(
                    out,
                    0,
                    value.days,
                    i64::from(value.milliseconds) * 1_000_000,
                );
            }
            Values::MonthDayNano(values) => {
                let value = values.value(row);
                interval(out, value.months, value.days, value.nanoseconds);
            }
            Values::List(..) | Values::Struct(..) | Values::Map(..) | Values::Union(..) => {
                return self.json(row, format, out);
            }
            _ => out.extend_from_slice(self.bytes(row).unwrap_or_default()),
        }
        Ok(())
    }

    /// The bytes of text or binary, where they need no conversion.
    #[inline]
    pub(crate) fn bytes(&self, row: usize) -> Option<&[u8]> {
        Some(match &self.values {
            Values::Utf8(values) => values.value(row).as_bytes(),
            Values::LargeUtf8(values) => values.value(row).as_bytes(),
            Values::Utf8View(values) => values.value(row).as_bytes(),
            Values::Binary(values) => values.value(row),
            Values::LargeBinary(values) => values.value(row),
            Values::BinaryView(values) => values.value(row),
            Values::FixedSizeBinary(values) => values.value(row),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn numbers_and_times_have_one_form() {
        assert_eq!(shown(|out| decimal(out, "-5", 2)), "-0.05");
        assert_eq!(shown(|out| decimal(out, "12345", 2)), "123.45");
        assert_eq!(shown(|out| decimal(out, "0", 0)), "0");
        assert_eq!(shown(|out| decimal(out, "12", -3)), "12000");
        assert_eq!(shown(|out| date(out, -719_162)), "0001-01-01");
        assert_eq!(shown(|out| date(out, 19_782)), "2024-02-29");
        assert_eq!(shown(|out| date(out, 2_932_897)), "+10000-01-01");
        assert_eq!(
            shown(|out| timestamp(out, -1, TimeUnit::Nanosecond, true)),
            "1969-12-31T23:59:59.999999999Z"
        );
        assert_eq!(
            shown(|out| timestamp(out, 60_001, TimeUnit::Millisecond, false)),
            "1970-01-01T00:01:00.001"
        );
        assert_eq!(shown(|out| interval(out, 1, -2, 3)), "P1M-2DT0.000000003S");
        assert_eq!(shown(|out| interval(out, 0, 0, 0)), "PT0S");
        assert_eq!(shown(|out| float64(out, 0.1)), "0.1");
        assert_eq!(shown(|out| float64(out, -0.0)), "-0");
        assert_eq!(shown(|out| float64(out, f64::NEG_INFINITY)), "-inf");
    }

    proptest::proptest! {
        #[test]
        fn floats_read_back_equal(value: f64, narrow: f32) {
            proptest::prop_assert!(value.is_nan() || shown(|out| float64(out, value)).parse::<f64>().expect("a float").to_bits() == value.to_bits());
            proptest::prop_assert!(narrow.is_nan() || shown(|out| float32(out, narrow)).parse::<f32>().expect("a float").to_bits() == narrow.to_bits());
        }
    }
}
