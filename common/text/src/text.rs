//! Values as text, straight into bytes: numbers with every digit, floats as the shortest text that reads back equal, ISO 8601.

use arrow_schema::TimeUnit;

use crate::column::{Column, Refused, Values};
use crate::format::{Binary, Durations, Format, Times};
use crate::json;

const DAY: i64 = 86_400;

const NOT_FINITE: Refused =
    "holds NaN or infinity, which JSON has no number for; cast it to text in the query";

#[inline]
fn digits(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A float, within JSON or as text.
#[inline]
fn float<F: zmij::Float + Into<f64>>(
    out: &mut Vec<u8>,
    value: F,
    format: &Format<'_>,
    json: bool,
) -> Result<(), Refused> {
    let wide: f64 = value.into();
    if wide.is_finite() {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        let text = match format.zeros {
            true => text,
            false => text.strip_suffix(".0").unwrap_or(text),
        };
        out.extend_from_slice(text.as_bytes());
        return Ok(());
    }
    let words = format.non_finite;
    if json && !words.in_json {
        return Err(NOT_FINITE);
    }
    let quote: &[u8] = if json { b"\"" } else { b"" };
    out.extend_from_slice(quote);
    if wide.is_nan() {
        out.extend_from_slice(words.nan.as_bytes());
    } else {
        if wide < 0.0 {
            out.push(b'-');
        }
        out.extend_from_slice(words.infinity.as_bytes());
    }
    out.extend_from_slice(quote);
    Ok(())
}

/// Digits with the point where the scale puts it.
fn decimal(out: &mut Vec<u8>, digits: &str, scale: i8) {
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

/// Two digits of a number below 100.
#[inline]
fn two(value: i64) -> [u8; 2] {
    [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// The algorithm is Howard Hinnant's `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
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
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// `2024-02-29`; years outside 0 to 9999 have a sign, as ISO 8601 wants, if the format has them.
fn date(out: &mut Vec<u8>, days: i64, far_years: bool) -> Result<(), Refused> {
    let (year, month, day) = civil_from_days(days);
    let ([m, n], [d, e]) = (two(month), two(day));
    if (0..=9999).contains(&year) {
        let ([x, y], [z, w]) = (two(year / 100), two(year % 100));
        out.extend_from_slice(&[x, y, z, w, b'-', m, n, b'-', d, e]);
        return Ok(());
    }
    if !far_years {
        return Err("holds a date outside the years 0000 to 9999");
    }
    out.push(if year < 0 { b'-' } else { b'+' });
    out.extend_from_slice(format!("{:04}", year.unsigned_abs()).as_bytes());
    out.extend_from_slice(&[b'-', m, n, b'-', d, e]);
    Ok(())
}

/// How many of a unit are a second, and the digits after its point.
fn parts(unit: TimeUnit) -> (i64, usize) {
    match unit {
        TimeUnit::Second => (1, 0),
        TimeUnit::Millisecond => (1_000, 3),
        TimeUnit::Microsecond => (1_000_000, 6),
        TimeUnit::Nanosecond => (1_000_000_000, 9),
    }
}

/// The point, and as many digits as the unit has.
fn fraction(out: &mut Vec<u8>, mut value: i64, width: usize, zeros: bool) {
    if width == 0 || (value == 0 && !zeros) {
        return;
    }
    let mut text = *b".000000000";
    for digit in text[1..=width].iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&text[..=width]);
}

/// `12:34:56.789`
fn clock(out: &mut Vec<u8>, second: i64, part: i64, width: usize, zeros: bool) {
    let ([h, i], [m, n]) = (two(second / 3_600), two(second / 60 % 60));
    let [s, t] = two(second % 60);
    out.extend_from_slice(&[h, i, b':', m, n, b':', s, t]);
    fraction(out, part, width, zeros);
}

fn time(out: &mut Vec<u8>, value: i64, unit: TimeUnit, format: &Format<'_>) -> Result<(), Refused> {
    let (factor, width) = parts(unit);
    if !(0..DAY * factor).contains(&value) {
        return Err("holds a time of day outside the day");
    }
    match format.times {
        Times::Epoch => digits(out, value),
        Times::Iso8601 => clock(out, value / factor, value % factor, width, format.zeros),
    }
    Ok(())
}

fn timestamp(
    out: &mut Vec<u8>,
    value: i64,
    unit: TimeUnit,
    zoned: bool,
    format: &Format<'_>,
) -> Result<(), Refused> {
    if format.times == Times::Epoch {
        digits(out, value);
        return Ok(());
    }
    let (factor, width) = parts(unit);
    let (seconds, part) = (value.div_euclid(factor), value.rem_euclid(factor));
    date(out, seconds.div_euclid(DAY), format.far_years)?;
    out.push(b'T');
    clock(out, seconds.rem_euclid(DAY), part, width, format.zeros);
    if zoned {
        out.push(b'Z');
    }
    Ok(())
}

/// Milliseconds since 1970 of a whole day.
fn date_millis(out: &mut Vec<u8>, value: i64, format: &Format<'_>) -> Result<(), Refused> {
    if value % (DAY * 1_000) != 0 {
        return Err("holds a Date64 with a time within its day; cast it to a timestamp");
    }
    match format.times {
        Times::Iso8601 => date(out, value / (DAY * 1_000), format.far_years),
        Times::Epoch => {
            digits(out, value);
            Ok(())
        }
    }
}

/// `-1.500S`
fn seconds(out: &mut Vec<u8>, value: i64, unit: TimeUnit, zeros: bool) {
    let (factor, width) = parts(unit);
    if value < 0 {
        out.push(b'-');
    }
    let (value, factor) = (value.unsigned_abs(), factor.unsigned_abs());
    digits(out, value / factor);
    fraction(out, (value % factor) as i64, width, zeros);
    out.push(b'S');
}

fn duration(out: &mut Vec<u8>, value: i64, unit: TimeUnit, format: &Format<'_>) {
    match format.durations {
        Durations::Count => digits(out, value),
        Durations::Iso8601 => {
            out.extend_from_slice(b"PT");
            seconds(out, value, unit, format.zeros);
        }
    }
}

/// `P1M-2DT0.000000003S`
fn interval(out: &mut Vec<u8>, months: i32, days: i32, nanoseconds: i64, zeros: bool) {
    out.push(b'P');
    for (value, letter) in [(months, b'M'), (days, b'D')] {
        if value != 0 || zeros {
            digits(out, value);
            out.push(letter);
        }
    }
    if nanoseconds != 0 || (months, days) == (0, 0) || zeros {
        out.push(b'T');
        seconds(out, nanoseconds, TimeUnit::Nanosecond, zeros);
    }
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| {
        [
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]
    }));
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let letter = DIGITS[(word >> (18 - 6 * index) & 63) as usize];
            out.push(if index <= chunk.len() { letter } else { b'=' });
        }
    }
}

/// Adds binary, within JSON or as text.
fn binary(out: &mut Vec<u8>, bytes: &[u8], format: &Format<'_>, json: bool) {
    match (format.binary, json) {
        (Binary::Raw, false) => out.extend_from_slice(bytes),
        (Binary::Raw, true) => base64(out, bytes),
        (Binary::Hex, _) => hex(out, bytes),
        (Binary::Bytea, json) => {
            out.extend_from_slice(if json { b"\\\\x" } else { b"\\x" });
            hex(out, bytes);
        }
    }
}

impl Column {
    /// Adds a value that is not null as text. What is nested is JSON.
    ///
    /// # Errors
    /// Why the format has no text for the value. What has been added by then stays.
    #[inline]
    pub fn text(&self, row: usize, format: &Format<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        self.write::<false>(row, format, out)
    }

    /// Adds a value that is there, as JSON or as text: the one choice by type.
    #[inline]
    pub(crate) fn write<const JSON: bool>(
        &self,
        row: usize,
        format: &Format<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        use Values as V;
        match self.values() {
            V::Null if JSON => out.extend_from_slice(b"null"),
            V::Null => {}
            V::Boolean(values) => {
                let words = if JSON {
                    ["false", "true"]
                } else {
                    format.booleans
                };
                out.extend_from_slice(words[usize::from(values.value(row))].as_bytes());
            }
            V::Int8(values) => digits(out, values.value(row)),
            V::Int16(values) => digits(out, values.value(row)),
            V::Int32(values) => digits(out, values.value(row)),
            V::Int64(values) => digits(out, values.value(row)),
            V::UInt8(values) => digits(out, values.value(row)),
            V::UInt16(values) => digits(out, values.value(row)),
            V::UInt32(values) => digits(out, values.value(row)),
            V::UInt64(values) => digits(out, values.value(row)),
            V::Float16(values) => return float(out, values.value(row).to_f32(), format, JSON),
            V::Float32(values) => return float(out, values.value(row), format, JSON),
            V::Float64(values) => return float(out, values.value(row), format, JSON),
            V::Decimal32(values, scale) => {
                decimal(out, itoa::Buffer::new().format(values.value(row)), *scale);
            }
            V::Decimal64(values, scale) => {
                decimal(out, itoa::Buffer::new().format(values.value(row)), *scale);
            }
            V::Decimal128(values, scale) => {
                decimal(out, itoa::Buffer::new().format(values.value(row)), *scale);
            }
            V::Decimal256(values, scale) => {
                decimal(out, &values.value(row).to_string(), *scale);
            }
            V::Utf8(values) => return text::<JSON>(values.value(row), format, out),
            V::LargeUtf8(values) => return text::<JSON>(values.value(row), format, out),
            V::Utf8View(values) => return text::<JSON>(values.value(row), format, out),
            V::Binary(_) | V::LargeBinary(_) | V::BinaryView(_) | V::FixedSizeBinary(_) => {
                return quoted::<JSON>(out, |out| {
                    binary(out, self.bytes(row).unwrap_or_default(), format, JSON);
                    Ok(())
                });
            }
            V::List(..) | V::Struct(..) | V::Map(..) | V::Union(..) => {
                return self.nested(row, format, out);
            }
            V::Indexed(places, values) => {
                return values.write_indexed::<JSON>(places[row], format, out);
            }
            values if is_number(values, format) => return temporal(values, row, format, out),
            values => return quoted::<JSON>(out, |out| temporal(values, row, format, out)),
        }
        Ok(())
    }

    /// A call of its own: what calls itself is not inlined.
    #[inline(never)]
    fn write_indexed<const JSON: bool>(
        &self,
        row: usize,
        format: &Format<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        match JSON {
            true => self.json(row, format, out),
            false => self.text(row, format, out),
        }
    }
}

#[inline]
fn text<const JSON: bool>(
    text: &str,
    format: &Format<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    match JSON {
        true => json::checked_string(text.as_bytes(), format, out),
        false => {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
}

/// In quotes, within JSON.
#[inline]
fn quoted<const JSON: bool>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), Refused>,
) -> Result<(), Refused> {
    if !JSON {
        return write(out);
    }
    out.push(b'"');
    write(out)?;
    out.push(b'"');
    Ok(())
}

/// Whether the times and durations are numbers in JSON.
#[inline]
fn is_number(values: &Values, format: &Format<'_>) -> bool {
    use Values as V;
    match values {
        V::Date(_) | V::DateMillis(_) | V::Time(..) | V::Timestamp(..) => {
            format.times == Times::Epoch
        }
        V::Duration(..) => format.durations == Durations::Count,
        _ => false,
    }
}

/// Adds a date, time, timestamp, duration or interval.
#[inline]
fn temporal(
    values: &Values,
    row: usize,
    format: &Format<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let zeros = format.zeros;
    match values {
        Values::Date(days) if format.times == Times::Epoch => digits(out, days.get(row)),
        Values::Date(days) => return date(out, days.get(row), format.far_years),
        Values::DateMillis(values) => return date_millis(out, values.get(row), format),
        Values::Time(values, unit) => return time(out, values.get(row), *unit, format),
        Values::Timestamp(values, unit, zoned) => {
            return timestamp(out, values.get(row), *unit, *zoned, format);
        }
        Values::Duration(values, unit) => duration(out, values.get(row), *unit, format),
        Values::Months(values) => interval(out, values.value(row), 0, 0, zeros),
        Values::DayTime(values) => {
            let value = values.value(row);
            let nanoseconds = i64::from(value.milliseconds) * 1_000_000;
            interval(out, 0, value.days, nanoseconds, zeros);
        }
        Values::MonthDayNano(values) => {
            let value = values.value(row);
            interval(out, value.months, value.days, value.nanoseconds, zeros);
        }
        _ => return Err("holds a value of a type that has no text"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Format<'static> = Format::CSV;
    const SHORT: Format<'static> = Format::REDIS;

    fn shown(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    }

    fn tried(write: impl FnOnce(&mut Vec<u8>) -> Result<(), Refused>) -> Result<String, Refused> {
        let mut out = Vec::new();
        write(&mut out).map(|()| String::from_utf8(out).expect("text"))
    }

    #[test]
    fn days_are_calendar_dates() {
        let cases = [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (19_782, "2024-02-29"),
            (-719_162, "0001-01-01"),
            (-719_528, "0000-01-01"),
            (2_932_896, "9999-12-31"),
        ];
        for (days, expected) in cases {
            for far_years in [false, true] {
                assert_eq!(
                    tried(|out| date(out, days, far_years)).as_deref(),
                    Ok(expected)
                );
            }
        }
        for (days, expected) in [(2_932_897, "+10000-01-01"), (-719_529, "-0001-12-31")] {
            assert_eq!(tried(|out| date(out, days, true)).as_deref(), Ok(expected));
            assert!(tried(|out| date(out, days, false)).is_err());
        }
    }

    #[test]
    fn decimals_keep_every_digit_at_every_scale() {
        let cases = [
            ("0", 2, "0.00"),
            ("0", 0, "0"),
            ("-5", 3, "-0.005"),
            ("12345", 2, "123.45"),
            ("100", 2, "1.00"),
            ("7", -3, "7000"),
            ("0", -3, "0"),
        ];
        for (unscaled, scale, expected) in cases {
            assert_eq!(shown(|out| decimal(out, unscaled, scale)), expected);
        }
    }

    #[test]
    fn times_are_iso_8601_with_or_without_zeros() {
        let at = |value, unit, zoned, format: &Format<'_>| {
            tried(|out| timestamp(out, value, unit, zoned, format)).expect("a time")
        };
        let (milli, nano) = (TimeUnit::Millisecond, TimeUnit::Nanosecond);
        for format in [LONG, SHORT] {
            assert_eq!(
                at(-1, nano, true, &format),
                "1969-12-31T23:59:59.999999999Z"
            );
            assert_eq!(at(60_001, milli, false, &format), "1970-01-01T00:01:00.001");
            assert_eq!(
                tried(|out| time(out, 86_399_999, milli, &format)).as_deref(),
                Ok("23:59:59.999")
            );
            assert!(tried(|out| time(out, DAY, TimeUnit::Second, &format)).is_err());
            assert!(tried(|out| time(out, -1, nano, &format)).is_err());
            assert!(tried(|out| date_millis(out, 1, &format)).is_err());
            assert_eq!(
                tried(|out| date_millis(out, -DAY * 1_000, &format)).as_deref(),
                Ok("1969-12-31")
            );
        }
        assert_eq!(at(1_000, milli, false, &LONG), "1970-01-01T00:00:01.000");
        assert_eq!(at(1_000, milli, false, &SHORT), "1970-01-01T00:00:01");
        let epoch = Format {
            times: Times::Epoch,
            ..SHORT
        };
        assert_eq!(at(-1, nano, true, &epoch), "-1");
    }

    #[test]
    fn durations_and_intervals() {
        let duration =
            |value, unit, format: &Format<'_>| shown(|out| duration(out, value, unit, format));
        assert_eq!(duration(-1_500, TimeUnit::Millisecond, &LONG), "PT-1.500S");
        assert_eq!(duration(-1_500, TimeUnit::Millisecond, &SHORT), "-1500");
        assert_eq!(
            duration(i64::MIN, TimeUnit::Second, &LONG),
            "PT-9223372036854775808S"
        );
        for zeros in [false, true] {
            assert_eq!(
                shown(|out| interval(out, 1, -2, 3, zeros)),
                "P1M-2DT0.000000003S"
            );
        }
        assert_eq!(shown(|out| interval(out, 0, 0, 0, false)), "PT0S");
        assert_eq!(shown(|out| interval(out, 0, -2, 0, false)), "P-2D");
        assert_eq!(
            shown(|out| interval(out, 0, -2, 0, true)),
            "P0M-2DT0.000000000S"
        );
    }

    #[test]
    fn floats_are_short_and_exact() {
        let text =
            |value: f64, format: &Format<'_>, json| tried(|out| float(out, value, format, json));
        for format in [LONG, SHORT] {
            assert_eq!(text(0.1, &format, false).as_deref(), Ok("0.1"));
            assert_eq!(text(1e300, &format, true).as_deref(), Ok("1e+300"));
            assert_eq!(text(5e-324, &format, true).as_deref(), Ok("5e-324"));
            assert_eq!(
                tried(|out| float(out, 0.1_f32, &format, false)).as_deref(),
                Ok("0.1")
            );
        }
        assert_eq!(text(-0.0, &LONG, true).as_deref(), Ok("-0.0"));
        assert_eq!(text(-0.0, &SHORT, true).as_deref(), Ok("-0"));
        let cases = [
            (Format::CSV, ["NaN", "inf", "-inf"]),
            (Format::REDIS, ["nan", "inf", "-inf"]),
            (Format::NDJSON, ["NaN", "Infinity", "-Infinity"]),
        ];
        for (format, words) in cases {
            for (value, word) in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY]
                .iter()
                .zip(words)
            {
                assert_eq!(text(*value, &format, false).as_deref(), Ok(word));
                let json = format.non_finite.in_json.then(|| format!("\"{word}\""));
                assert_eq!(text(*value, &format, true).ok(), json);
            }
        }
    }

    #[test]
    fn bytes_as_text() {
        assert_eq!(shown(|out| hex(out, b"\0\xff\x1a")), "00ff1a");
        for (bytes, text) in [
            (&b""[..], ""),
            (b"a", "YQ=="),
            (b"ab", "YWI="),
            (b"abc", "YWJj"),
            (b"\xff\xfe\xfd\xfc", "//79/A=="),
        ] {
            assert_eq!(shown(|out| base64(out, bytes)), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn floats_read_back_equal(value: f64, narrow: f32) {
            for format in [LONG, SHORT] {
                let text = tried(|out| float(out, value, &format, false)).expect("text");
                proptest::prop_assert!(value.is_nan() || text.parse::<f64>().expect("a float").to_bits() == value.to_bits());
                let text = tried(|out| float(out, narrow, &format, false)).expect("text");
                proptest::prop_assert!(narrow.is_nan() || text.parse::<f32>().expect("a float").to_bits() == narrow.to_bits());
            }
        }
    }
}
