//! The grammars of dates, times and timestamps, and formats that are declared.

use chrono::format::{Fixed, Item, Numeric, Parsed, StrftimeItems};
use chrono::{NaiveDate, Timelike};

use arrow_schema::TimeUnit;
use arrowload_core::{Error, ErrorKind, Result};

use crate::text::{Text, digits, two};

const DAY: i64 = 86_400;

/// The units of a second.
pub fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// The days from 1970-01-01 to a day of the proleptic Gregorian calendar, if there is such a day.
///
/// The algorithm is Howard Hinnant's `days_from_civil` (<https://howardhinnant.github.io/date_algorithms.html>).
#[inline]
fn days(year: u32, month: u32, day: u32) -> Option<i32> {
    const LENGTHS: [u32; 13] = [0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let longest = *LENGTHS.get(month as usize)?;
    if day == 0 || day > longest {
        return None;
    }
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if month == 2 && day == 29 && !leap {
        return None;
    }
    // Years begin in March, 400 of them before year 0.
    let year = year + 400 - u32::from(month <= 2);
    let (era, of_era) = (year / 400, year % 400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    Some((era * 146_097 + day_of_era) as i32 - 146_097 - 719_468)
}

/// `YYYY-MM-DD`, `YYYY/MM/DD` or `DD.MM.YYYY`, as days from 1970-01-01.
#[inline(always)]
pub fn date(text: Text<'_>) -> Option<i32> {
    const DASHES: u64 = u64::from_le_bytes(*b"0000-00-");
    const SLASHES: u64 = u64::from_le_bytes(*b"0000/00/");
    let (first, last) = text.bytes().split_first_chunk::<8>()?;
    let last: [u8; 2] = last.try_into().ok()?;
    let pattern = match first[4] {
        b'-' => DASHES,
        b'/' => SLASHES,
        _ => {
            let (tail, len) = text.parts();
            return other_date(tail, len);
        }
    };
    // Digits become their values, and the separators between them become zero.
    let word = u64::from_le_bytes(*first) ^ pattern;
    let day = u32::from(u16::from_le_bytes(last)) ^ 0x3030;
    let odd = (word.wrapping_add(0x7F76_767F_7676_7676) | word) & 0x8080_8080_8080_8080;
    if odd != 0 || ((day + 0x7676) | day) & 0x8080 != 0 {
        return None;
    }
    let pairs = word.wrapping_mul(10).wrapping_add(word >> 8);
    let pair = |at: u32| (pairs >> (8 * at)) as u32 & 0xFF;
    days(
        pair(0) * 100 + pair(2),
        pair(5),
        (day & 0xFF) * 10 + (day >> 8),
    )
}

/// `DD.MM.YYYY`.
#[inline(never)]
fn other_date(tail: &[u8], len: usize) -> Option<i32> {
    let text = Text::new(tail, len);
    if text.at(2) == b'.' && text.at(5) == b'.' {
        let year = two(text, 6)? * 100 + two(text, 8)?;
        days(year, two(text, 3)?, two(text, 0)?)
    } else {
        None
    }
}

/// A time of day, and how many digits its fraction has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Whole seconds from midnight.
    pub seconds: u32,
    /// What is left of the last second.
    pub nanoseconds: u32,
    /// The digits of the fraction.
    pub places: u8,
}

impl Clock {
    /// In units of which a second has `per_second`, if that is exact.
    pub fn units(self, per_second: i64) -> Option<i64> {
        let each = 1_000_000_000 / per_second;
        let nanoseconds = i64::from(self.nanoseconds);
        (nanoseconds % each == 0).then(|| i64::from(self.seconds) * per_second + nanoseconds / each)
    }
}

/// `HH:MM:SS`, with up to nine digits after a point; the seconds are optional if `short` is set.
#[inline]
pub fn clock(text: Text<'_>, short: bool) -> Option<Clock> {
    let (hour, minute) = (two(text, 0)?, two(text, 3)?);
    if text.at(2) != b':' || hour > 23 || minute > 59 {
        return None;
    }
    let minutes = (hour * 60 + minute) * 60;
    if short && text.len() == 5 {
        return Some(Clock {
            seconds: minutes,
            nanoseconds: 0,
            places: 0,
        });
    }
    let second = two(text, 6)?;
    if text.at(5) != b':' || second > 59 {
        return None;
    }
    let (mut nanoseconds, mut places) = (0, 0);
    if text.len() > 8 {
        let fraction = text.skip(9);
        places = fraction.len();
        if text.at(8) != b'.' || places > 9 {
            return None;
        }
        nanoseconds = digits(fraction)? as u32 * 10_u32.pow(9 - places as u32);
    }
    Some(Clock {
        seconds: minutes + second,
        nanoseconds,
        places: places as u8,
    })
}

/// A point in time: of some clock if it has no offset, in UTC if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Seconds from 1970-01-01.
    seconds: i64,
    nanoseconds: u32,
    /// Digits of the fraction.
    pub places: u8,
    /// Whether it had an offset, which is taken off.
    pub zoned: bool,
}

impl Stamp {
    /// In units of which a second has `per_second`, if that is exact and in range.
    #[inline]
    pub fn units(self, per_second: i64) -> Option<i64> {
        let each = 1_000_000_000 / per_second;
        let nanoseconds = i64::from(self.nanoseconds);
        if nanoseconds % each != 0 {
            return None;
        }
        self.seconds
            .checked_mul(per_second)?
            .checked_add(nanoseconds / each)
    }
}

/// The seconds of an offset: `Z`, ` UTC`, `+HH`, `+HHMM` or `+HH:MM`.
fn offset(text: Text<'_>) -> Option<i64> {
    match text.bytes() {
        b"Z" | b" UTC" => return Some(0),
        _ => {}
    }
    let sign = match text.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let minutes = match text.len() {
        3 => 0,
        5 => two(text, 3)?,
        6 if text.at(3) == b':' => two(text, 4)?,
        _ => return None,
    };
    let hours = two(text, 1)?;
    // The widest offset in use is +14:00.
    (hours <= 18 && minutes < 60).then(|| sign * i64::from(hours * 3_600 + minutes * 60))
}

/// A date, `T` or a space, a time, and perhaps an offset.
#[inline]
pub fn stamp(text: Text<'_>) -> Option<Stamp> {
    let len = text.len();
    if len < 16 || !matches!(text.at(10), b'T' | b' ') {
        return None;
    }
    let day = date(text.take(10))?;
    let rest = text.skip(11);
    let digits = rest
        .bytes()
        .iter()
        .take_while(|byte| matches!(byte, b'0'..=b'9' | b':' | b'.'))
        .count();
    let clock = clock(rest.take(digits), true)?;
    let zoned = digits < rest.len();
    let east = if zoned { offset(rest.skip(digits))? } else { 0 };
    Some(Stamp {
        seconds: i64::from(day) * DAY + i64::from(clock.seconds) - east,
        nanoseconds: clock.nanoseconds,
        places: clock.places,
        zoned,
    })
}

/// A format that was declared, in the language of `strftime`.
#[derive(Debug, Clone, PartialEq)]
pub struct Format {
    items: Vec<Item<'static>>,
    zoned: bool,
}

impl Format {
    /// A format that an option `key` has.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`], if it is not a format.
    pub fn new(key: &'static str, format: &str) -> Result<Self> {
        let items = StrftimeItems::new(format).parse_to_owned();
        let items = items.map_err(|_| {
            let message =
                format!("`{format}` is no format of dates and times, as strftime has them");
            Error::new(ErrorKind::InvalidOption, message).with("key", key)
        })?;
        let items = fractions(items).map_err(|why| {
            let message = format!("`{format}` cannot be read: {why}");
            Error::new(ErrorKind::InvalidOption, message).with("key", key)
        })?;
        let zoned = items.iter().any(|item| {
            matches!(
                item,
                Item::Fixed(
                    Fixed::TimezoneOffset
                        | Fixed::TimezoneOffsetColon
                        | Fixed::TimezoneOffsetDoubleColon
                        | Fixed::TimezoneOffsetTripleColon
                        | Fixed::TimezoneOffsetColonZ
                        | Fixed::TimezoneOffsetZ
                        | Fixed::RFC2822
                        | Fixed::RFC3339
                )
            ) || is_loose_offset(item)
        });
        Ok(Self { items, zoned })
    }

    fn parse(&self, text: Text<'_>) -> Option<Parsed> {
        let text = std::str::from_utf8(text.bytes()).ok()?;
        if cuts(text.as_bytes()) {
            return None;
        }
        let mut parsed = Parsed::new();
        chrono::format::parse(&mut parsed, text, self.items.iter()).ok()?;
        Some(parsed)
    }

    /// A date in this format, as days from 1970-01-01. A time that is not midnight is not a date.
    pub fn date(&self, text: Text<'_>) -> Option<i32> {
        let parsed = self.parse(text)?;
        let time = [
            parsed.hour_div_12(),
            parsed.hour_mod_12(),
            parsed.minute(),
            parsed.second(),
            parsed.nanosecond(),
        ];
        let is_midnight = time.iter().all(|part| matches!(part, None | Some(0)));
        if !is_midnight || !matches!(parsed.offset(), None | Some(0)) {
            return None;
        }
        let date = parsed.to_naive_date().ok()?;
        let days = date.signed_duration_since(NaiveDate::default()).num_days();
        i32::try_from(days).ok()
    }

    /// A timestamp in this format.
    pub fn stamp(&self, text: Text<'_>) -> Option<Stamp> {
        let parsed = self.parse(text)?;
        let utc = if self.zoned {
            parsed.to_datetime().ok()?.naive_utc()
        } else {
            parsed.to_naive_datetime_with_offset(0).ok()?
        };
        // A leap second has no place in Arrow's count of seconds.
        let nanoseconds = utc.nanosecond();
        (nanoseconds < 1_000_000_000).then(|| Stamp {
            seconds: utc.and_utc().timestamp(),
            nanoseconds,
            places: if nanoseconds % 1_000 == 0 { 6 } else { 9 },
            zoned: self.zoned,
        })
    }
}

/// `%f` after a point as other tools have it: the digits of a fraction, and not so many nanoseconds.
///
/// # Errors
/// Why a format says something else than its user means.
fn fractions(items: Vec<Item<'static>>) -> std::result::Result<Vec<Item<'static>>, &'static str> {
    let mut out: Vec<Item<'static>> = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Item::Fixed(Fixed::TimezoneName) => {
                return Err(
                    "the name of a zone, `%Z`, does not say its offset; `%z` reads offsets",
                );
            }
            Item::Numeric(Numeric::Nanosecond, _) => {
                let before = match out.pop() {
                    Some(Item::Literal(text)) => text.strip_suffix('.').map(str::to_owned),
                    Some(Item::OwnedLiteral(text)) => text.strip_suffix('.').map(str::to_owned),
                    _ => None,
                };
                let Some(before) = before else {
                    return Err(
                        "`%f` alone is a number of nanoseconds; a fraction is `%.f` with its point, and `%3f`, `%6f` or `%9f` without",
                    );
                };
                if !before.is_empty() {
                    out.push(Item::OwnedLiteral(before.into()));
                }
                out.push(Item::Fixed(Fixed::Nanosecond));
            }
            item => out.push(item),
        }
    }
    Ok(out)
}

/// `%#z`, which chrono keeps to itself.
fn is_loose_offset(item: &Item<'_>) -> bool {
    StrftimeItems::new("%#z").next().as_ref() == Some(item)
}

/// Whether a fraction has digits beyond the ninth, which would be cut.
fn cuts(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'.').skip(1).any(|part| {
        let digits = part.iter().take_while(|byte| byte.is_ascii_digit());
        digits.skip(9).any(|digit| *digit != b'0')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Text<'_> {
        Text::of(text.as_bytes())
    }

    #[test]
    fn dates_exist_or_are_refused() {
        let cases = [
            ("1970-01-01", Some(0)),
            ("1969-12-31", Some(-1)),
            ("2000-02-29", Some(11_016)),
            ("2024/02/29", Some(19_782)),
            ("29.02.2024", Some(19_782)),
            ("0000-01-01", Some(-719_528)),
            ("9999-12-31", Some(2_932_896)),
            ("0000-00-00", None),
            ("2023-02-29", None),
            ("1900-02-29", None),
            ("2024-13-01", None),
            ("2024-04-31", None),
            ("2024-1-01", None),
            ("2024-01/01", None),
            ("02/29/2024", None),
            ("20240229", None),
        ];
        for (text, expected) in cases {
            assert_eq!(date(of(text)), expected, "{text}");
        }
    }

    #[test]
    fn times_and_their_units() {
        let micro = |text| clock(of(text), false).and_then(|clock| clock.units(1_000_000));
        assert_eq!(micro("23:59:59.999999"), Some(86_399_999_999));
        assert_eq!(micro("00:00:01"), Some(1_000_000));
        assert_eq!(micro("00:00:01.5000000"), Some(1_500_000));
        for text in [
            "24:00:00",
            "00:60:00",
            "00:00:60",
            "1:00:00",
            "00:00",
            "00:00:00.",
            "00:00:00.0000001",
        ] {
            assert_eq!(micro(text), None, "{text}");
        }
    }

    #[test]
    fn timestamps_and_their_offsets() {
        let second = |text| {
            stamp(of(text)).and_then(|stamp| stamp.units(1).map(|units| (units, stamp.zoned)))
        };
        assert_eq!(second("1970-01-01T00:00:01"), Some((1, false)));
        assert_eq!(second("1970-01-01 00:01"), Some((60, false)));
        assert_eq!(second("1970-01-01T02:00:00+02:00"), Some((0, true)));
        assert_eq!(second("1969-12-31 19:00:00-0500"), Some((0, true)));
        assert_eq!(second("1970-01-01 00:00:00 UTC"), Some((0, true)));
        assert_eq!(second("1970-01-01 05:00:00+05"), Some((0, true)));
        for text in [
            "1970-01-01T00:00:00 ",
            "1970-01-01T00:00:00+25",
            "1970-01-01",
            "1970-01-01T",
            "1970-01-01X00:00:00",
        ] {
            assert_eq!(second(text), None, "{text}");
        }
    }

    #[test]
    fn declared_formats() {
        let american = Format::new("date_format", "%m/%d/%Y").expect("a format");
        assert_eq!(american.date(of("02/29/2024")), Some(19_782));
        assert_eq!(american.date(of("29/02/2024")), None);
        let zoned = Format::new("timestamp_format", "%d %b %Y %H:%M %z").expect("a format");
        let stamp = zoned.stamp(of("01 Jan 1970 02:00 +0200")).expect("a time");
        assert_eq!((stamp.units(1), stamp.zoned), (Some(0), true));
        assert!(Format::new("date_format", "%!").is_err());
    }

    #[test]
    fn declared_formats_cut_nothing() {
        let nanoseconds = |format: &str, text: &str| {
            let format = Format::new("timestamp_format", format).expect("a format");
            format
                .stamp(of(text))
                .and_then(|stamp| stamp.units(1_000_000_000))
        };
        for format in [
            "%Y-%m-%d %H:%M:%S%.f",
            "%Y-%m-%d %H:%M:%S.%f",
            "%Y-%m-%d %T.%f",
        ] {
            assert_eq!(
                nanoseconds(format, "1970-01-01 00:00:00.5"),
                Some(500_000_000),
                "{format}"
            );
            assert_eq!(
                nanoseconds(format, "1970-01-01 00:00:00.1234567890"),
                Some(123_456_789)
            );
            assert_eq!(nanoseconds(format, "1970-01-01 00:00:00.1234567891"), None);
        }
        for wrong in ["%Y-%m-%d %H:%M:%S %Z", "%Y-%m-%d %H:%M:%S,%f"] {
            assert!(Format::new("timestamp_format", wrong).is_err(), "{wrong}");
        }
        let date = Format::new("date_format", "%Y-%m-%d %H:%M:%S").expect("a format");
        assert_eq!(date.date(of("1970-01-02 00:00:00")), Some(1));
        assert_eq!(date.date(of("1970-01-02 00:00:01")), None);
        assert_eq!(date.date(of("1970-01-02 12:00:00")), None);
        let zoned = Format::new("timestamp_format", "%FT%T%#z").expect("a format");
        let stamp = zoned.stamp(of("1970-01-01T02:00:00+02")).expect("a time");
        assert_eq!((stamp.units(1), stamp.zoned), (Some(0), true));
    }

    proptest! {
        #[test]
        fn days_are_those_of_chrono(year in 0..10_000_u32, month in 0..14_u32, day in 0..33_u32) {
            let expected = NaiveDate::from_ymd_opt(year as i32, month, day)
                .map(|date| date.signed_duration_since(NaiveDate::default()).num_days() as i32);
            prop_assert_eq!(days(year, month, day), expected);
        }
    }
}
