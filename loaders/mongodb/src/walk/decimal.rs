//! Decimal128 of BSON (IEEE 754-2008, binary integer coefficient) as Arrow decimals, where that is exact.

use arrow_buffer::i256;

/// Digits that Arrow's widest decimal has.
pub(crate) const MOST_DIGITS: u32 = 76;
/// The largest coefficient: 34 digits.
const MOST: u128 = 10_u128.pow(34) - 1;

/// A finite decimal: `coefficient · 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finite {
    negative: bool,
    coefficient: u128,
    exponent: i32,
}

/// The decimal in these bytes; `None` for infinities, NaN, and a zero with a minus, which no Arrow decimal holds.
pub(crate) fn finite(bytes: [u8; 16]) -> Option<Finite> {
    let bits = u128::from_le_bytes(bytes);
    let negative = bits >> 127 == 1;
    let (exponent, coefficient) = if (bits >> 125) & 3 == 3 {
        if (bits >> 123) & 7 == 7 && (bits >> 126) & 1 == 1 && (bits >> 122) & 0b11110 == 0b11110 {
            return None;
        }
        // A coefficient of more than 34 digits stands for zero.
        ((bits >> 111) & 0x3fff, 0)
    } else {
        ((bits >> 113) & 0x3fff, bits & ((1 << 113) - 1))
    };
    let coefficient = if coefficient > MOST { 0 } else { coefficient };
    if negative && coefficient == 0 {
        return None;
    }
    Some(Finite {
        negative,
        coefficient,
        exponent: exponent as i32 - 6176,
    })
}

/// How many digits before and after the point hold all decimals so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Room {
    pub(crate) whole: u32,
    pub(crate) scale: u32,
    /// One of them is in no Arrow decimal.
    pub(crate) none: bool,
}

impl Room {
    pub(crate) fn join(self, other: Self) -> Self {
        Self {
            whole: self.whole.max(other.whole),
            scale: self.scale.max(other.scale),
            none: self.none || other.none,
        }
    }

    /// For whole numbers of this many digits.
    pub(crate) fn whole(digits: u32) -> Self {
        Self {
            whole: digits,
            ..Self::default()
        }
    }

    /// Precision and scale of the column, if there is one that holds them all.
    pub(crate) fn precision(self) -> Option<(u8, i8)> {
        let digits = (self.whole + self.scale).max(1);
        if self.none || digits > MOST_DIGITS {
            return None;
        }
        // One precision for all columns that it is enough for, so that a later value seldom asks for another.
        let precision = if digits <= 38 { 38 } else { MOST_DIGITS };
        Some((precision as u8, self.scale as i8))
    }
}

fn digits(coefficient: u128) -> u32 {
    coefficient.checked_ilog10().map_or(0, |log| log + 1)
}

impl Finite {
    /// Without zeros at its end.
    fn stripped(mut self) -> Self {
        if self.coefficient == 0 {
            self.exponent = 0;
            return self;
        }
        while self.coefficient.is_multiple_of(10) {
            self.coefficient /= 10;
            self.exponent += 1;
        }
        self
    }

    /// The room that it needs, with the zeros after its point where there is room for them.
    pub(crate) fn room(self) -> Room {
        let room = |finite: Self| {
            let scale = u32::try_from(-finite.exponent).unwrap_or(0);
            let all = i64::from(digits(finite.coefficient)) + i64::from(finite.exponent);
            Room {
                whole: u32::try_from(all).unwrap_or(0),
                scale,
                none: false,
            }
        };
        let plain = room(self);
        if plain.whole + plain.scale <= 38 && plain.scale <= 34 {
            plain
        } else {
            room(self.stripped())
        }
    }

    /// As a whole number of `10^-scale`; `None` if that is not exact, or has too many digits.
    pub(crate) fn scaled(self, scale: i8, precision: u8) -> Option<i256> {
        let mut finite = self;
        if finite.exponent + i32::from(scale) < 0 {
            finite = finite.stripped();
        }
        if finite.coefficient == 0 {
            return Some(i256::ZERO);
        }
        let shift = u32::try_from(finite.exponent + i32::from(scale)).ok()?;
        if digits(finite.coefficient) + shift > u32::from(precision) {
            return None;
        }
        let factor = i256::from_i128(10).checked_pow(shift)?;
        let value =
            i256::from_i128(i128::try_from(finite.coefficient).ok()?).checked_mul(factor)?;
        Some(if finite.negative {
            value.wrapping_neg()
        } else {
            value
        })
    }
}

/// A decimal as BSON's bytes; `None` if it has more than 34 digits.
pub(crate) fn to_bytes(value: i256, scale: i8) -> Option<[u8; 16]> {
    let negative = value < i256::ZERO;
    let mut coefficient = if negative {
        value.wrapping_neg()
    } else {
        value
    };
    let mut exponent = -i32::from(scale);
    let (most, ten) = (i256::from_i128(MOST as i128), i256::from_i128(10));
    while coefficient > most {
        if coefficient.checked_rem(ten)? != i256::ZERO {
            return None;
        }
        coefficient = coefficient.checked_div(ten)?;
        exponent += 1;
    }
    let biased = u128::try_from(exponent + 6176).ok()?;
    let coefficient = u128::try_from(coefficient.to_i128()?).ok()?;
    let sign = u128::from(negative) << 127;
    Some((sign | biased << 113 | coefficient).to_le_bytes())
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    fn of(text: &str) -> Option<Finite> {
        finite(bson::Decimal128::from_str(text).expect("a decimal").bytes())
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        for (text, scale, expected) in [
            ("1.10", 2, Some("110")),
            ("-1.10", 3, Some("-1100")),
            ("1.15", 1, None),
            ("1E+3", 0, Some("1000")),
            ("1.10", 1, Some("11")),
            ("0E-6176", 0, Some("0")),
            (
                "9999999999999999999999999999999999",
                0,
                Some("9999999999999999999999999999999999"),
            ),
            ("1E+38", 0, None),
        ] {
            let found = of(text).expect("finite").scaled(scale, 38);
            assert_eq!(
                found.map(|value| value.to_string()).as_deref(),
                expected,
                "{text}"
            );
        }
        for text in ["NaN", "Infinity", "-Infinity", "-0", "-0.00"] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(
            of("12.345").map(|f| f.room()),
            Some(Room {
                whole: 2,
                scale: 3,
                none: false
            })
        );
        assert_eq!(
            of("1E+40").map(|f| f.room().precision()),
            Some(Some((76, 0)))
        );
        assert_eq!(of("1E+80").and_then(|f| f.room().precision()), None);
        assert_eq!(of("1E-80").and_then(|f| f.room().precision()), None);
    }

    #[test]
    fn what_is_written_reads_as_the_value() {
        for (value, scale, text) in [
            (110, 2, "1.10"),
            (-5, 0, "-5"),
            (0, 3, "0.000"),
            (7, -2, "7E+2"),
        ] {
            let bytes = to_bytes(i256::from_i128(value), scale).expect("few digits");
            assert_eq!(bson::Decimal128::from_bytes(bytes).to_string(), text);
        }
        let ten = i256::from_i128(10);
        assert!(to_bytes(ten.wrapping_pow(34), 0).is_some());
        assert!(to_bytes(ten.wrapping_pow(34).wrapping_add(i256::ONE), 0).is_none());
    }
}
