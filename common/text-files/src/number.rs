//! The grammars of numbers: integers, decimals and floats.
//!
//! In a column whose type was found, numbers are strict: no leading zeros, no `+`, no `-0`. In a declared column they are read
//! less strictly.

use arrow_buffer::i256;

pub use crate::float::{meant, meant_single, unchanged, unchanged_single};
use crate::text::{Pointed, Text, digits, wide_digits};

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberStyle {
    /// The separator before the fraction.
    pub point: u8,
    /// The separator between groups of three digits.
    pub thousands: Option<u8>,
}

impl Default for NumberStyle {
    fn default() -> Self {
        Self {
            point: b'.',
            thousands: None,
        }
    }
}

impl NumberStyle {
    /// Whether numbers are written as everyone writes them.
    #[inline]
    pub fn is_plain(self) -> bool {
        self == Self::default()
    }

    /// The number as everyone writes it, if its separators are where they may: between groups of three digits.
    pub fn normalise(self, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
        out.clear();
        let unsigned = text.strip_prefix(b"-").or(text.strip_prefix(b"+"));
        let start = text.len() - unsigned.unwrap_or(text).len();
        let whole = text[start..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit() || Some(**byte) == self.thousands)
            .count();
        let grouped = self
            .thousands
            .is_some_and(|separator| text[start..start + whole].contains(&separator));
        if grouped {
            let groups = text[start..start + whole].split(|byte| Some(*byte) == self.thousands);
            for (index, group) in groups.enumerate() {
                let fits = if index == 0 {
                    (1..=3).contains(&group.len())
                } else {
                    group.len() == 3
                };
                if !fits {
                    return None;
                }
            }
        }
        for (index, byte) in text.iter().enumerate() {
            if (start..start + whole).contains(&index) && Some(*byte) == self.thousands {
                continue;
            }
            match *byte {
                point if point == self.point => out.push(b'.'),
                // A point that is not this file's.
                b'.' => return None,
                other => out.push(other),
            }
        }
        Some(())
    }
}

/// Ten to the power of each index.
const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut index = 1;
    while index < 20 {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// `0|-?[1-9][0-9]*`, within 64 bits.
#[inline(always)]
pub fn strict_integer(text: Text<'_>) -> Option<i64> {
    let (negative, magnitude) = text.sign();
    if magnitude.first() == Some(b'0') && (negative || magnitude.len() > 1) {
        return None;
    }
    let value = digits(magnitude)?;
    if negative {
        0_i64.checked_sub_unsigned(value)
    } else {
        i64::try_from(value).ok()
    }
}

/// `-?[0-9]{1,15}`; none says nothing: the number may be a longer one, or have a `+`.
#[inline(always)]
fn short_integer(text: Text<'_>) -> Option<i64> {
    let (negative, magnitude) = text.sign();
    if magnitude.len() > 15 {
        return None;
    }
    let value = digits(magnitude)? as i64;
    Some(if negative { -value } else { value })
}

/// `[+-]?[0-9]+`, within 128 bits.
#[inline(always)]
pub fn integer(text: Text<'_>) -> Option<i128> {
    match short_integer(text) {
        Some(value) => Some(i128::from(value)),
        None => {
            let (tail, len) = text.parts();
            any_integer(tail, len)
        }
    }
}

#[inline(never)]
fn any_integer(tail: &[u8], len: usize) -> Option<i128> {
    let text = Text::new(tail, len);
    let (negative, magnitude) = text.sign();
    let magnitude = if !negative && magnitude.first() == Some(b'+') {
        magnitude.skip(1)
    } else {
        magnitude
    };
    let value = match digits(magnitude) {
        Some(value) => i128::from(value),
        None => {
            let zeros = magnitude
                .bytes()
                .iter()
                .take_while(|byte| **byte == b'0')
                .count();
            let kept = magnitude.skip(zeros.min(magnitude.len().saturating_sub(1)));
            i128::try_from(wide_digits(kept)?).ok()?
        }
    };
    Some(if negative { -value } else { value })
}

/// The parts of a number with a point, before anything is computed.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// Whether it begins with `-`.
    pub negative: bool,
    /// The digits before the point.
    pub whole: Text<'a>,
    /// The digits after it.
    pub fraction: Text<'a>,
    /// Whether there is a point.
    pub pointed: bool,
}

impl<'a> Parts<'a> {
    /// Splits at the point; `scale` is where it is likely to be, counted from the end. The digits are not looked at.
    #[inline]
    pub fn of(text: Text<'a>, scale: usize, strict: bool) -> Option<Self> {
        let (negative, mut magnitude) = text.sign();
        if !strict && !negative && magnitude.first() == Some(b'+') {
            magnitude = magnitude.skip(1);
        }
        let len = magnitude.len();
        let likely = len.wrapping_sub(scale + 1);
        let point = if scale > 0 && likely < len && magnitude.at(likely) == b'.' {
            Some(likely)
        } else {
            memchr::memchr(b'.', magnitude.bytes())
        };
        let parts = match point {
            None => Self {
                negative,
                whole: magnitude,
                fraction: Text::of(&[]),
                pointed: false,
            },
            Some(point) => Self {
                negative,
                whole: magnitude.take(point),
                fraction: magnitude.skip(point + 1),
                pointed: true,
            },
        };
        // `1.` and `.` are not numbers, `.5` is.
        let empty = parts.fraction.is_empty() && (parts.pointed || parts.whole.is_empty());
        let zeros = strict && parts.whole.len() > 1 && parts.whole.first() == Some(b'0');
        (!empty && !zeros).then_some(parts)
    }

    /// Whether all is digits.
    pub fn is_number(self) -> bool {
        let bytes = self.whole.bytes().iter().chain(self.fraction.bytes());
        let mut bytes = bytes.peekable();
        bytes.peek().is_some() && bytes.all(u8::is_ascii_digit)
    }
}

/// How many digits a plain number of up to 15 digits has before and after the point: one that is not a negative zero, and that a
/// float holds. None says nothing: the number may be another one. `scale` is where the point is likely to be, from the end.
#[inline(always)]
pub fn short(text: Text<'_>, scale: usize) -> Option<(usize, usize)> {
    let (negative, magnitude) = text.sign();
    match Pointed::of(magnitude, scale) {
        Some(found)
            if (found.whole == 1 || magnitude.first() != Some(b'0'))
                && !(negative && found.is_zero()) =>
        {
            Some((found.whole, scale))
        }
        _ => {
            let (tail, len) = text.parts();
            short_elsewhere(tail, len, scale)
        }
    }
}

/// As [`short`], where the point is not where it was expected.
#[inline(never)]
fn short_elsewhere(tail: &[u8], len: usize, scale: usize) -> Option<(usize, usize)> {
    let text = Text::new(tail, len);
    let parts = Parts::of(text, scale, true)?;
    let (whole, fraction) = (parts.whole.len(), parts.fraction.len());
    if whole + fraction > 15 {
        return None;
    }
    let mut value = if whole > 0 { digits(parts.whole)? } else { 0 };
    if fraction > 0 {
        value |= digits(parts.fraction)?;
    }
    (value != 0 || !parts.negative).then_some((whole, fraction))
}

/// How the numbers of a column are most often written: with so many digits after the point, and up to eight bytes long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    places: usize,
    /// What is in each place, the last byte in the highest: a zero for digits, and the point.
    pattern: u64,
    /// What carries into the highest bit of a byte that is neither a digit nor the point.
    carry: u64,
}

impl Shape {
    pub(crate) fn new(places: usize) -> Self {
        let (mut pattern, mut carry) = ([b'0'; 8], [0x76; 8]);
        if (1..7).contains(&places) {
            pattern[7 - places] = b'.';
            carry[7 - places] = 0x7F;
        }
        Self {
            places,
            pattern: u64::from_le_bytes(pattern),
            carry: u64::from_le_bytes(carry),
        }
    }

    /// How many digits are before the point of an unsigned number of this shape, by the strict grammar.
    #[inline(always)]
    pub(crate) fn whole(self, tail: &[u8], len: usize) -> Option<usize> {
        let whole = if self.places == 0 {
            len
        } else {
            len.wrapping_sub(self.places + 1)
        };
        // No other length is left if there are more places than eight bytes have.
        if !(1..=8).contains(&whole) || len > 8 {
            return None;
        }
        let word = u64::from_le_bytes(*tail.first_chunk::<8>()?);
        let zeros = whole > 1 && word as u8 == b'0';
        let empty = 64 - 8 * len;
        let values = (word << empty) ^ self.pattern;
        let odd = (values.wrapping_add(self.carry) | values) & (0x8080_8080_8080_8080 << empty);
        (odd == 0 && !zeros).then_some(whole)
    }
}

/// A decimal with `scale` digits after the point, as the integer of all its digits. Digits beyond the scale must be zeros,
/// and the result has at most `precision` digits. A strict decimal has no leading zeros, no `+`, and no `-0`.
#[inline(always)]
pub fn decimal(text: Text<'_>, precision: u8, scale: usize, strict: bool) -> Option<i128> {
    let (negative, magnitude) = text.sign();
    if let Some(found) = Pointed::of(magnitude, scale) {
        let value = found.value();
        let odd = (found.whole > 1 && magnitude.first() == Some(b'0')) || (negative && value == 0);
        // No number of 15 digits is too long for a precision of 15.
        if value < POWERS[usize::from(precision).min(15)] && !(strict && odd) {
            let value = i128::from(value);
            return Some(if negative { -value } else { value });
        }
    }
    let (tail, len) = text.parts();
    any_decimal(tail, len, precision, scale, strict)
}

/// As [`decimal`], for every number.
#[inline(never)]
pub(crate) fn any_decimal(
    tail: &[u8],
    len: usize,
    precision: u8,
    scale: usize,
    strict: bool,
) -> Option<i128> {
    let text = Text::new(tail, len);
    let parts = Parts::of(text, scale, strict)?;
    let mut fraction = parts.fraction;
    if fraction.len() > scale {
        if fraction.bytes()[scale..].iter().any(|byte| *byte != b'0') {
            return None;
        }
        fraction = fraction.take(scale);
    }
    let whole = match parts.whole.len() {
        0 => 0,
        1..=19 => u128::from(digits(parts.whole)?),
        _ => {
            let zeros = parts
                .whole
                .bytes()
                .iter()
                .take_while(|byte| **byte == b'0')
                .count();
            wide_digits(parts.whole.skip(zeros.min(parts.whole.len() - 1)))?
        }
    };
    let value = match fraction.len() {
        0 => whole.checked_mul(10_u128.checked_pow(scale as u32)?)?,
        places => {
            let part = wide_digits(fraction)?;
            if places == scale && scale < 20 {
                whole
                    .checked_mul(u128::from(POWERS[scale]))?
                    .checked_add(part)?
            } else {
                let shifted = part.checked_mul(10_u128.checked_pow((scale - places) as u32)?)?;
                whole
                    .checked_mul(10_u128.checked_pow(scale as u32)?)?
                    .checked_add(shifted)?
            }
        }
    };
    if strict && parts.negative && value == 0 {
        return None;
    }
    let fits = match precision {
        0..=18 => value < u128::from(POWERS[usize::from(precision)]),
        _ => value < 10_u128.checked_pow(u32::from(precision))?,
    };
    let value = fits.then(|| i128::try_from(value).ok()).flatten()?;
    Some(if parts.negative { -value } else { value })
}

/// As [`decimal`], for up to 76 digits.
pub fn wide_decimal(text: Text<'_>, precision: u8, scale: usize, strict: bool) -> Option<i256> {
    let parts = Parts::of(text, scale, strict)?;
    if !parts.is_number() {
        return None;
    }
    let fraction = parts.fraction.bytes();
    let (kept, cut) = fraction.split_at(fraction.len().min(scale));
    if cut.iter().any(|byte| *byte != b'0') {
        return None;
    }
    let mut value = i256::ZERO;
    let ten = i256::from_i128(10);
    let zeros = std::iter::repeat_n(&b'0', scale - kept.len());
    for byte in parts.whole.bytes().iter().chain(kept).chain(zeros) {
        value = value
            .checked_mul(ten)?
            .checked_add(i256::from_i128(i128::from(byte - b'0')))?;
    }
    if strict && parts.negative && value == i256::ZERO {
        return None;
    }
    (value < ten.checked_pow(u32::from(precision))?).then_some(())?;
    Some(if parts.negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// A number in its parts, or what is none but a float.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Float {
    /// `digits × 10^exponent`; `exact` if no digit was left out.
    Finite {
        /// Whether it begins with `-`.
        negative: bool,
        /// Its significant digits, the first 19 of them.
        mantissa: u64,
        /// The power of ten.
        exponent: i32,
        /// Significant digits: without leading and trailing zeros.
        significant: u32,
        /// Whether it has an `e`.
        written_exponent: bool,
    },
    /// `NaN` or an infinity.
    Special(f64),
}

/// `-?([0-9]+(\.[0-9]+)?|\.[0-9]+)([eE][+-]?[0-9]+)?`, strictly without leading zeros, or `NaN`, `inf`, `Infinity`.
pub fn float_parts(text: Text<'_>, strict: bool) -> Option<Float> {
    let bytes = text.bytes();
    let (negative, mut rest) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] if !strict => (false, rest),
        _ => (false, bytes),
    };
    match rest {
        b"NaN" | b"nan" if !negative => return Some(Float::Special(f64::NAN)),
        b"inf" | b"Inf" | b"Infinity" => {
            let sign = if negative { -1.0 } else { 1.0 };
            return Some(Float::Special(sign * f64::INFINITY));
        }
        _ => {}
    }
    if strict && matches!(rest, [b'0', b'0'..=b'9', ..]) {
        return None;
    }
    let (mut mantissa, mut exponent) = (0_u64, 0_i32);
    // `pending` trailing zeros are not yet part of the mantissa.
    let (mut significant, mut pending, mut seen, mut fraction) = (0_u32, 0_u32, 0_usize, None);
    while let [byte, more @ ..] = rest {
        match byte {
            b'0'..=b'9' => {
                seen += 1;
                if fraction.is_some() {
                    fraction = Some(true);
                    exponent -= 1;
                }
                if *byte == b'0' {
                    pending += u32::from(significant > 0);
                } else {
                    let digits = pending + 1;
                    significant += digits;
                    if significant <= 19 {
                        mantissa = mantissa * POWERS[digits as usize] + u64::from(byte - b'0');
                    }
                    pending = 0;
                }
            }
            b'.' if fraction.is_none() => fraction = Some(false),
            _ => break,
        }
        rest = more;
    }
    if seen == 0 || fraction == Some(false) {
        return None;
    }
    exponent += pending as i32;
    let written_exponent = matches!(rest, [b'e' | b'E', ..]);
    if written_exponent {
        let (minus, digits) = match &rest[1..] {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            digits => (false, digits),
        };
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let written = digits.iter().fold(0_i32, |value, digit| {
            (value
                .saturating_mul(10)
                .saturating_add(i32::from(digit - b'0')))
            .min(100_000)
        });
        exponent = exponent.saturating_add(if minus { -written } else { written });
        rest = &[];
    }
    rest.is_empty().then_some(Float::Finite {
        negative,
        mantissa,
        exponent,
        significant,
        written_exponent,
    })
}

/// Powers of ten that are exact.
const EXACT: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// The float nearest to the number; none if that is infinite, or zero though the number is not.
pub fn nearest(text: Text<'_>, strict: bool) -> Option<f64> {
    let (negative, mantissa, exponent, significant) = match float_parts(text, strict)? {
        Float::Special(value) => return Some(value),
        Float::Finite {
            negative,
            mantissa,
            exponent,
            significant,
            ..
        } => (negative, mantissa, exponent, significant),
    };
    if significant == 0 {
        return Some(if negative { -0.0 } else { 0.0 });
    }
    // Both are exact, so that their product or quotient is rounded once (William Clinger's fast path).
    if mantissa < 1 << 53 && significant <= 16 && exponent.unsigned_abs() <= 22 {
        let power = EXACT[exponent.unsigned_abs() as usize];
        let value = if exponent < 0 {
            mantissa as f64 / power
        } else {
            mantissa as f64 * power
        };
        return Some(if negative { -value } else { value });
    }
    let bytes = text.bytes();
    let bytes = bytes.strip_prefix(b"+").unwrap_or(bytes);
    let value: f64 = match lexical_core::parse(bytes) {
        Ok(value) => value,
        // Numbers such as `.5`, which the library may read differently from us.
        Err(_) => std::str::from_utf8(bytes).ok()?.parse().ok()?,
    };
    (value.is_finite() && value != 0.0).then_some(value)
}

/// Whether the text is the number that a float's shortest form is.
pub(crate) fn is_shortest(text: Text<'_>, shortest: &str) -> bool {
    let (Some(written), Some(shown)) = (
        float_parts(text, false),
        float_parts(Text::of(shortest.as_bytes()), true),
    ) else {
        return false;
    };
    match (written, shown) {
        (
            Float::Finite {
                mantissa,
                exponent,
                significant,
                ..
            },
            Float::Finite {
                mantissa: again,
                exponent: at,
                significant: digits,
                ..
            },
        ) => {
            significant <= 19
                && (again, digits) == (mantissa, significant)
                && (at == exponent || significant == 0)
        }
        _ => false,
    }
}

/// The float that the text is, if its shortest form is the same number: nothing is rounded.
pub fn exact(text: Text<'_>) -> Option<f64> {
    let parts = float_parts(text, true)?;
    let value = nearest(text, true)?;
    let Float::Finite {
        exponent,
        significant,
        ..
    } = parts
    else {
        return Some(value);
    };
    // Any 15 digits survive, away from the ends of the range.
    if significant <= 15 && (-300..300).contains(&exponent) {
        return Some(value);
    }
    is_shortest(text, zmij::Buffer::new().format_finite(value)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dec(text: &str, scale: usize, strict: bool) -> Option<i128> {
        decimal(Text::of(text.as_bytes()), 38, scale, strict)
    }

    #[test]
    fn integers() {
        let cases = [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("007", None),
            ("-0", None),
            ("+1", None),
            ("", None),
            ("-", None),
            ("1 ", None),
            ("1,000", None),
        ];
        for (text, expected) in cases {
            assert_eq!(
                strict_integer(Text::of(text.as_bytes())),
                expected,
                "{text}"
            );
        }
        assert_eq!(integer(Text::of(b"+007")), Some(7));
        assert_eq!(integer(Text::of(b"-0")), Some(0));
        assert_eq!(integer(Text::of(b"00000000000000000000000012")), Some(12));
        assert_eq!(integer(Text::of(b"+-1")), None);
    }

    #[test]
    fn decimals() {
        let cases = [
            ("1.5", Some(150)),
            ("1.50", Some(150)),
            ("1.500", Some(150)),
            ("1.505", None),
            ("-0.01", Some(-1)),
            ("7", Some(700)),
            (".5", Some(50)),
            ("5.", None),
            (".", None),
            ("", None),
            ("-", None),
            ("1.2.3", None),
            ("01.5", None),
            ("-0.00", None),
            ("0.00", Some(0)),
            (
                "999999999999999999999999999999999999.99",
                Some(10_i128.pow(38) - 1),
            ),
            ("1000000000000000000000000000000000000.00", None),
            ("1.x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(dec(text, 2, true), expected, "{text}");
            let wide = wide_decimal(Text::of(text.as_bytes()), 38, 2, true);
            assert_eq!(wide, expected.map(i256::from_i128), "{text}");
        }
        assert_eq!(dec("+01.5", 2, false), Some(150));
        assert_eq!(dec("-0.00", 2, false), Some(0));
        assert_eq!(
            dec("000000000000000000000000000000000000000000001.5", 2, false),
            Some(150)
        );
    }

    #[test]
    fn separators_stand_between_groups() {
        let german = NumberStyle {
            point: b',',
            thousands: Some(b'.'),
        };
        let mut out = Vec::new();
        let mut read = |text: &str| {
            german
                .normalise(text.as_bytes(), &mut out)
                .map(|()| String::from_utf8(out.clone()).expect("ASCII"))
        };
        assert_eq!(read("1.234.567,89").as_deref(), Some("1234567.89"));
        assert_eq!(read("-12,5").as_deref(), Some("-12.5"));
        assert_eq!(read("1234,5").as_deref(), Some("1234.5"));
        assert_eq!(read("1.23,4"), None);
        assert_eq!(read("1234.567"), None);
        assert_eq!(read("1,234.5"), None);
    }

    #[test]
    fn floats_are_exact_or_refused() {
        let cases = [
            ("1e5", Some(1e5)),
            ("1E+05", Some(1e5)),
            ("2.50", Some(2.5)),
            ("0.1", Some(0.1)),
            ("0.30000000000000004", Some(0.30000000000000004)),
            ("0.10000000000000001", None),
            ("12e3456", None),
            ("1e-400", None),
            ("5e-324", Some(5e-324)),
            ("4e-324", None),
            ("1.7976931348623157e308", Some(f64::MAX)),
            ("12345678901234567.89", None),
            ("9007199254740993", None),
            ("9007199254740992", Some(9_007_199_254_740_992.0)),
            ("1e", None),
            ("e5", None),
            ("1.e5", None),
            ("01e5", None),
            ("0x10", None),
            ("-inf", Some(f64::NEG_INFINITY)),
            ("0.000", Some(0.0)),
            ("-0.0", Some(-0.0)),
            // Both are as near to the float between them.
            ("232581893586927.12", Some(232_581_893_586_927.12)),
            ("232581893586927.13", None),
        ];
        for (text, expected) in cases {
            let found = exact(Text::of(text.as_bytes()));
            assert_eq!(
                found.map(f64::to_bits),
                expected.map(f64::to_bits),
                "{text}"
            );
        }
        assert!(exact(Text::of(b"NaN")).is_some_and(f64::is_nan));
        assert_eq!(nearest(Text::of(b"0.10000000000000001"), false), Some(0.1));
        assert_eq!(nearest(Text::of(b"+007.5"), false), Some(7.5));
        assert_eq!(nearest(Text::of(b"1e999"), false), None);
    }

    proptest! {
        #[test]
        fn what_has_the_shape_is_a_short_number(text in "[0-9]{0,8}\\.?[0-9]{0,7}|[0-9.-]{0,10}", places in 0..12_usize) {
            let tail = format!("{text},1234567");
            let (tail, len) = (tail.as_bytes(), text.len());
            let found = Shape::new(places).whole(tail, len);
            let unsigned = !text.starts_with('-') && len <= 8;
            let short = short(Text::new(tail, len), places)
                .filter(|(whole, scale)| unsigned && *scale == places && *whole > 0);
            prop_assert_eq!(found, short.map(|(whole, _)| whole));
        }

        #[test]
        fn short_numbers_are_decimals(
            text in "-?[0-9]{0,9}(\\.[0-9]{0,9})?|[0-9.-]{0,18}|-?0{0,3}\\.0{0,3}", likely in 0..4_usize, rest in 0..20_usize,
        ) {
            let tail = format!("{text}{}", "7".repeat(rest));
            let text = Text::new(tail.as_bytes(), text.len());
            prop_assert_eq!(short(text, likely), short_elsewhere(text.parts().0, text.len(), likely));
            for strict in [true, false] {
                for precision in [4, 38] {
                    let plain = any_decimal(text.parts().0, text.len(), precision, likely, strict);
                    prop_assert_eq!(decimal(text, precision, likely, strict), plain);
                }
            }
            if let Some((whole, scale)) = short(text, likely) {
                prop_assert!(whole + scale <= 15);
                prop_assert!(decimal(text, 38, scale, true).is_some());
                prop_assert!(exact(text).is_some());
                prop_assert!(scale == 0 || decimal(text, 38, scale - 1, true).is_none() || text.bytes().ends_with(b"0"));
            } else if let Some(value) = strict_integer(text) {
                prop_assert!(value.unsigned_abs() >= 10_u64.pow(15));
            }
        }

        #[test]
        fn the_nearest_float_is_what_the_standard_library_reads(
            text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        ) {
            let expected: f64 = text.parse().expect("a float");
            let zero = !text.split(['e', 'E']).next().expect("first").contains(['1','2','3','4','5','6','7','8','9']);
            let fits = expected.is_finite() && (expected != 0.0 || zero);
            let found = nearest(Text::of(text.as_bytes()), true);
            prop_assert_eq!(found.map(f64::to_bits), fits.then_some(expected.to_bits()));
        }

        #[test]
        fn printed_floats_read_back_equal(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
            let mut buffer = zmij::Buffer::new();
            let short = buffer.format_finite(value);
            // Of two shortest forms that are equally near, the standard library takes the other one.
            let other = format!("{value:?}");
            let printed = match is_shortest(Text::of(other.as_bytes()), short) {
                true => vec![short.to_owned(), other, format!("{value}")],
                false => vec![short.to_owned()],
            };
            for text in printed {
                let found = exact(Text::of(text.as_bytes()));
                prop_assert_eq!(found.map(f64::to_bits), Some(value.to_bits()), "{}", text);
            }
        }
    }
}
