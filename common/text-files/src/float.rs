//! Floats that a user declares, or casts to: which roundings are acceptable, and which would change the number.

use crate::number::{Float, any_decimal, exact, float_parts, is_shortest, nearest};
use crate::text::Text;

/// The float that is meant where one was declared: the nearest, as a user who asks for floats asks for roundings such as that of
/// 0.1. But a number so large that floats skip integers must be one of them: an id of 17 digits would become another one.
pub fn meant(text: Text<'_>) -> Option<f64> {
    let value = nearest(text, false)?;
    let skips = value.is_finite() && value.abs() >= (1_u64 << 53) as f64;
    (!skips || holds(text, value)).then_some(value)
}

/// As [`meant`], for single floats.
pub fn meant_single(text: Text<'_>) -> Option<f32> {
    let value = match float_parts(text, false)? {
        Float::Special(value) => return Some(value as f32),
        Float::Finite { significant: 0, .. } => {
            return nearest(text, false).map(|zero| zero as f32);
        }
        Float::Finite { .. } => {
            let bytes = text.bytes();
            let bytes = bytes.strip_prefix(b"+").unwrap_or(bytes);
            let value: f32 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
            (value.is_finite() && value != 0.0).then_some(value)?
        }
    };
    let skips = value.abs() >= (1_u32 << 24) as f32;
    (!skips || holds_single(text, value)).then_some(value)
}

/// Whether a number that is large was written with an exponent, as floats are, or is the float.
#[inline(never)]
fn holds(text: Text<'_>, value: f64) -> bool {
    is_written_as_float(text)
        || is_integer(text, value)
        || is_shortest(text, zmij::Buffer::new().format_finite(value))
}

#[inline(never)]
fn holds_single(text: Text<'_>, value: f32) -> bool {
    is_written_as_float(text)
        || is_integer(text, value.into())
        || is_shortest(text, zmij::Buffer::new().format_finite(value))
}

fn is_written_as_float(text: Text<'_>) -> bool {
    matches!(
        float_parts(text, false),
        Some(Float::Finite {
            written_exponent: true,
            ..
        })
    )
}

/// Whether the text is the integer that the float is.
fn is_integer(text: Text<'_>, value: f64) -> bool {
    let written = any_decimal(text.bytes(), text.len(), 38, 0, false);
    value.abs() < 1e37 && written.is_some_and(|written| written == value as i128)
}

/// The float that the text is: its shortest form is the same number, or it is that integer. Nothing is rounded.
pub fn unchanged(text: Text<'_>) -> Option<f64> {
    exact(text).or_else(|| nearest(text, true).filter(|value| is_integer(text, *value)))
}

/// As [`unchanged`], for single floats.
pub fn unchanged_single(text: Text<'_>) -> Option<f32> {
    let parts = float_parts(text, true)?;
    let value = meant_single(text)?;
    let is_same = matches!(parts, Float::Special(_))
        || is_integer(text, value.into())
        || is_shortest(text, zmij::Buffer::new().format_finite(value));
    is_same.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_float_is_rounded_but_no_integer_becomes_another() {
        for (text, value) in [
            ("0.1", Some(0.1)),
            ("3.14159265358979323846", Some(std::f64::consts::PI)),
            ("+007", Some(7.0)),
            ("9007199254740993", None),
            ("-9007199254740993", None),
            ("9007199254740993.0", None),
            ("9007199254740993.5", None),
            ("9007199254740992", Some(9_007_199_254_740_992.0)),
            ("1152921504606846976", Some(1_152_921_504_606_846_976.0)),
            ("100000000000000000000000", Some(1e23)),
            ("1.2345678901234567890e30", Some(1.234_567_890_123_456_8e30)),
            ("1e-400", None),
        ] {
            assert_eq!(meant(Text::of(text.as_bytes())), value, "{text}");
        }
        for (text, value) in [
            ("0.1", Some(0.1)),
            ("16777217", None),
            ("16777218", Some(16_777_218.0)),
            ("0", Some(0.0)),
        ] {
            assert_eq!(meant_single(Text::of(text.as_bytes())), value, "{text}");
        }
        for (text, value) in [
            ("0.1", Some(0.1)),
            ("1152921504606846976", Some(1_152_921_504_606_846_976.0)),
            ("0.10000000000000001", None),
            ("007", None),
            ("1e-400", None),
        ] {
            assert_eq!(unchanged(Text::of(text.as_bytes())), value, "{text}");
        }
        assert_eq!(unchanged_single(Text::of(b"0.1")), Some(0.1));
        assert_eq!(unchanged_single(Text::of(b"0.123456789")), None);
        assert!(unchanged_single(Text::of(b"NaN")).is_some_and(f32::is_nan));
    }
}
