//! `numeric` as `numeric_send` writes it: groups of four digits with a weight, as decimals or text.

use arrow_buffer::i256;

use super::column::Wrong;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// A field's parts.
struct Numeric<'a> {
    /// Groups of four digits, highest first.
    groups: &'a [u8],
    /// The power of 10,000 of the first group.
    weight: i32,
    negative: bool,
    /// Digits to show after the point.
    display_scale: usize,
}

enum Parsed<'a> {
    Finite(Numeric<'a>),
    Special(&'static str),
}

fn parse(field: &[u8]) -> Result<Parsed<'_>, Wrong> {
    let wrong = || Wrong::length("numeric", field.len());
    let (head, groups) = field.split_first_chunk::<8>().ok_or_else(wrong)?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    if groups.len() != 2 * usize::from(word(0)) {
        return Err(wrong());
    }
    let negative = match word(4) {
        0 => false,
        NEGATIVE => true,
        NAN => return Ok(Parsed::Special("NaN")),
        INFINITY => return Ok(Parsed::Special("Infinity")),
        NEGATIVE_INFINITY => return Ok(Parsed::Special("-Infinity")),
        _ => return Err(Wrong::new("a numeric has an unknown sign")),
    };
    let weight = i32::from(word(2).cast_signed());
    Ok(Parsed::Finite(Numeric {
        groups,
        weight,
        negative,
        display_scale: usize::from(word(6)),
    }))
}

fn finite(field: &[u8]) -> Result<Numeric<'_>, Wrong> {
    match parse(field)? {
        Parsed::Finite(numeric) => Ok(numeric),
        Parsed::Special(name) => Err(Wrong::new(format!(
            "{name} has no counterpart among decimals; set the connection key read_numeric = \"text\""
        ))),
    }
}

fn groups(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

#[cold]
fn misfit(field: &[u8], precision: u8, scale: i8) -> Wrong {
    let mut shown = Vec::new();
    let _ = text(field, &mut shown);
    let shown = String::from_utf8_lossy(&shown).into_owned();
    Wrong::new(format!(
        "{shown} does not fit into decimal({precision},{scale}) exactly; set the connection key read_numeric to \"text\" or to a wider decimal"
    ))
}

/// Integers that decimals are made from.
pub(super) trait Digits: Copy {
    const ZERO: Self;
    /// `None` if it overflows; so for the next.
    fn times_plus(self, factor: u16, addend: u16) -> Option<Self>;
    fn times_ten_to(self, power: u32) -> Option<Self>;
    /// `None` if there is a remainder.
    fn over_ten_to(self, power: u32) -> Option<Self>;
    fn negated(self) -> Self;
    fn has_more_digits_than(self, precision: u8) -> bool;
}

impl Digits for i128 {
    const ZERO: Self = 0;

    #[inline(always)]
    fn times_plus(self, factor: u16, addend: u16) -> Option<Self> {
        self.checked_mul(factor.into())?.checked_add(addend.into())
    }

    #[inline(always)]
    fn times_ten_to(self, power: u32) -> Option<Self> {
        self.checked_mul(10_i128.checked_pow(power)?)
    }

    #[inline(always)]
    fn over_ten_to(self, power: u32) -> Option<Self> {
        let Some(divisor) = 10_i128.checked_pow(power) else {
            return (self == 0).then_some(0);
        };
        // Most decimals fit into a word, whose division is many times faster.
        if let (Ok(value), Ok(divisor)) = (u64::try_from(self), u64::try_from(divisor)) {
            return value
                .is_multiple_of(divisor)
                .then(|| (value / divisor).into());
        }
        (self % divisor == 0).then(|| self / divisor)
    }

    #[inline(always)]
    fn negated(self) -> Self {
        -self
    }

    #[inline(always)]
    fn has_more_digits_than(self, precision: u8) -> bool {
        10_i128
            .checked_pow(precision.into())
            .is_some_and(|limit| self >= limit)
    }
}

impl Digits for i256 {
    const ZERO: Self = i256::ZERO;

    fn times_plus(self, factor: u16, addend: u16) -> Option<Self> {
        self.checked_mul(i256::from_i128(factor.into()))?
            .checked_add(i256::from_i128(addend.into()))
    }

    fn times_ten_to(self, power: u32) -> Option<Self> {
        self.checked_mul(i256::from_i128(10).checked_pow(power)?)
    }

    fn over_ten_to(self, power: u32) -> Option<Self> {
        let Some(divisor) = i256::from_i128(10).checked_pow(power) else {
            return (self == i256::ZERO).then_some(self);
        };
        (self.checked_rem(divisor)? == i256::ZERO).then(|| self.wrapping_div(divisor))
    }

    fn negated(self) -> Self {
        self.wrapping_neg()
    }

    fn has_more_digits_than(self, precision: u8) -> bool {
        i256::from_i128(10)
            .checked_pow(precision.into())
            .is_some_and(|limit| self >= limit)
    }
}

/// The digits of a decimal of this precision and scale.
///
/// # Errors
/// If it is not a number, or has more digits.
#[inline(always)]
pub(super) fn decimal<D: Digits>(field: &[u8], precision: u8, scale: i8) -> Result<D, Wrong> {
    let numeric = finite(field)?;
    let count = (numeric.groups.len() / 2) as i32;
    let power = 4 * (numeric.weight - count + 1) + i32::from(scale);
    let digits = groups(numeric.groups)
        .try_fold(D::ZERO, |all, group| all.times_plus(10_000, group))
        .and_then(|digits| match power {
            _ if count == 0 => Some(D::ZERO),
            0.. => digits.times_ten_to(power.unsigned_abs()),
            ..0 => digits.over_ten_to(power.unsigned_abs()),
        });
    match digits {
        Some(digits) if !digits.has_more_digits_than(precision) => Ok(if numeric.negative {
            digits.negated()
        } else {
            digits
        }),
        // The last group may bring digits that are too many for the integer, and are zeros.
        _ => exact(&numeric, precision, scale).ok_or_else(|| misfit(field, precision, scale)),
    }
}

/// The same, digit by digit.
#[cold]
fn exact<D: Digits>(numeric: &Numeric<'_>, precision: u8, scale: i8) -> Option<D> {
    let split = |group: u16| [group / 1000, group / 100 % 10, group / 10 % 10, group % 10];
    let mut digits: Vec<u16> = groups(numeric.groups).flat_map(split).collect();
    let mut power = 4 * (numeric.weight - (digits.len() / 4) as i32 + 1) + i32::from(scale);
    while power < 0 && digits.last() == Some(&0) {
        digits.pop();
        power += 1;
    }
    let joined = digits
        .into_iter()
        .try_fold(D::ZERO, |all, digit| all.times_plus(10, digit))?;
    let joined = joined.times_ten_to(u32::try_from(power).ok()?)?;
    (!joined.has_more_digits_than(precision)).then(|| {
        if numeric.negative {
            joined.negated()
        } else {
            joined
        }
    })
}

/// Appends the text that the server would print.
pub(super) fn text(field: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
    let numeric = match parse(field)? {
        Parsed::Finite(numeric) => numeric,
        Parsed::Special(name) => {
            out.extend_from_slice(name.as_bytes());
            return Ok(());
        }
    };
    let group = |power: i32| -> u16 {
        let index = usize::try_from(numeric.weight - power).ok();
        index
            .and_then(|index| groups(numeric.groups).nth(index))
            .unwrap_or(0)
    };
    let mut digits = String::new();
    if numeric.negative {
        digits.push('-');
    }
    let whole: String = (0..=numeric.weight)
        .rev()
        .map(|power| format!("{:04}", group(power)))
        .collect();
    let whole = whole.trim_start_matches('0');
    digits.push_str(if whole.is_empty() { "0" } else { whole });
    if numeric.display_scale > 0 {
        let count = numeric.display_scale.div_ceil(4) as i32;
        let fraction: String = (1..=count)
            .map(|place| format!("{:04}", group(-place)))
            .collect();
        digits.push('.');
        digits.push_str(&fraction[..numeric.display_scale]);
    }
    out.extend_from_slice(digits.as_bytes());
    Ok(())
}
