//! `numeric`: digits in base 10,000 with a weight, as `numeric_recv` of PostgreSQL reads them, from integers, decimals of
//! every width and scale, and floats.

use std::fmt::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType};
use arrow_buffer::i256;
use arrow_schema::DataType;

use super::bind::Frame;
use super::column::{Column, Reason};
use super::conversion::NumericTarget;
use super::staged::staged;

pub(super) const NEGATIVE: u16 = 0x4000;
pub(super) const NAN: u16 = 0xC000;
pub(super) const INFINITY: u16 = 0xD000;
pub(super) const NEGATIVE_INFINITY: u16 = 0xF000;

/// How the digits of a scale fall into groups of four.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Puts 0 to 3 zeros after the digits, so that the groups meet the decimal point.
    pad: u64,
    /// The weight of the lowest group.
    low_weight: i32,
    /// The digits to show after the decimal point.
    display_scale: u16,
}

impl Layout {
    fn of(scale: i32) -> Self {
        let pad = (-scale).rem_euclid(4);
        Self {
            pad: 10_u64.pow(pad as u32),
            low_weight: -(scale + pad) / 4,
            display_scale: scale.max(0) as u16,
        }
    }
}

/// Digits that are padded already. Without a loop or a jump on the digits, which no processor would foresee.
#[inline(always)]
fn put_small(digits: u64, negative: bool, layout: Layout, out: &mut Vec<u8>) {
    if digits >= 10_u64.pow(16) {
        return put_five(digits, negative, layout, out);
    }
    let groups = four_groups(digits);
    let used = (79 - groups.leading_zeros()) / 16;
    let zeros = (groups.trailing_zeros() / 16).min(used);
    let count = used - zeros;
    let header = header(count, layout.low_weight + used as i32 - 1, negative, layout);
    let highest_first = groups.checked_shl(64 - 16 * used).unwrap_or(0);
    // A copy whose size is known is a few instructions; one of the value's size would be a call.
    out.extend_from_slice(&((u128::from(header) << 64) | u128::from(highest_first)).to_be_bytes());
    out.truncate(out.len() - 2 * (4 - count as usize));
}

/// Digits of a fifth group, padded already.
#[inline(never)]
fn put_five(digits: u64, negative: bool, layout: Layout, out: &mut Vec<u8>) {
    let groups = four_groups(digits % 10_u64.pow(16));
    let zeros = (groups.trailing_zeros() / 16).min(4);
    out.extend_from_slice(
        &header(5 - zeros, layout.low_weight + 4, negative, layout).to_be_bytes(),
    );
    out.extend_from_slice(&((digits / 10_u64.pow(16)) as u16).to_be_bytes());
    out.extend_from_slice(&groups.to_be_bytes());
    out.truncate(out.len() - 2 * zeros as usize);
}

/// The groups of up to 16 digits, the highest in the highest bits.
#[inline(always)]
fn four_groups(digits: u64) -> u64 {
    let two = |digits: u32| u64::from(((digits / 10_000) << 16) | (digits % 10_000));
    if digits < 100_000_000 {
        return two(digits as u32);
    }
    (two((digits / 100_000_000) as u32) << 32) | two((digits % 100_000_000) as u32)
}

/// The four words before the groups: how many groups, the weight of the highest, the sign, the digits to show.
#[inline(always)]
fn header(count: u32, weight: i32, negative: bool, layout: Layout) -> u64 {
    let weight = if count == 0 { 0 } else { weight };
    let sign = if negative && count > 0 { NEGATIVE } else { 0 };
    (u64::from(count) << 48)
        | (u64::from(weight as u16) << 32)
        | (u64::from(sign) << 16)
        | u64::from(layout.display_scale)
}

/// Digits of up to 128 bits, not padded yet.
#[inline(always)]
fn put_wide(digits: u128, negative: bool, layout: Layout, out: &mut Vec<u8>) {
    match u64::try_from(digits)
        .ok()
        .and_then(|digits| digits.checked_mul(layout.pad))
    {
        Some(digits) => put_small(digits, negative, layout, out),
        None => put_large(i256::from_parts(digits, 0), negative, layout, out),
    }
}

/// Digits of any length, not padded yet; not negative.
#[cold]
fn put_large(digits: i256, negative: bool, layout: Layout, out: &mut Vec<u8>) {
    let first = i256::from_i128(10_000 / i128::from(layout.pad));
    let limb = i256::from_i128(10_i128.pow(16));
    let mut all = [0_u16; 24];
    all[0] = (low_u64(digits.wrapping_rem(first)) * layout.pad) as u16;
    let (mut rest, mut count) = (digits.wrapping_div(first), 1);
    while rest != i256::ZERO {
        let mut part = low_u64(rest.wrapping_rem(limb));
        rest = rest.wrapping_div(limb);
        for group in &mut all[count..count + 4] {
            *group = (part % 10_000) as u16;
            part /= 10_000;
        }
        count += 4;
    }
    while count > 0 && all[count - 1] == 0 {
        count -= 1;
    }
    let zeros = all[..count].iter().take_while(|group| **group == 0).count();
    let header = header(
        (count - zeros) as u32,
        layout.low_weight + count as i32 - 1,
        negative,
        layout,
    );
    out.extend_from_slice(&header.to_be_bytes());
    for group in all[zeros..count].iter().rev() {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

fn low_u64(value: i256) -> u64 {
    value.to_parts().0 as u64
}

pub(super) fn put_special(sign: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 0]);
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
}

/// What a value of a scale must satisfy to arrive unchanged in a column with a limit.
#[derive(Debug, Clone, Copy)]
struct Fit {
    /// The value must be a multiple of this, unless the server may round.
    multiple_of: Option<i256>,
    /// The value must be nearer to zero than this.
    below: Option<i256>,
    limit: (i32, i32),
}

/// Powers of ten that 256 bits hold.
fn power(exponent: i32) -> Option<i256> {
    let exponent = u32::try_from(exponent)
        .ok()
        .filter(|exponent| *exponent <= 76)?;
    Some(i256::from_i128(10).wrapping_pow(exponent))
}

impl Fit {
    fn of(target: NumericTarget, scale: i32) -> Option<Self> {
        let limit = target.limit?;
        let excess = scale - limit.1;
        // Beyond 76 digits only zero is a multiple, so the bound allows no other value.
        let multiple_of = (excess > 0 && !target.round).then(|| power(excess).unwrap_or(i256::MAX));
        let digits = limit.0 - limit.1 + scale;
        // No digits at all are left: only zero is below one.
        let below = if digits < 0 {
            Some(i256::ONE)
        } else {
            power(digits)
        };
        Some(Self {
            multiple_of,
            below,
            limit,
        })
    }

    fn check(&self, value: i256, scale: i32) -> Result<(), Reason> {
        let size = value.wrapping_abs();
        let (precision, held) = self.limit;
        if self.below.is_some_and(|below| size >= below) {
            return Err(Reason::new(format!(
                "{value} × 10^{} has more digits than numeric({precision},{held})",
                -scale
            )));
        }
        if self
            .multiple_of
            .is_some_and(|multiple| value.wrapping_rem(multiple) != i256::ZERO)
        {
            let message = format!(
                "{value} × 10^{} has more decimal places than numeric({precision},{held}); set round_decimals to round it",
                -scale
            );
            return Err(Reason::new(message));
        }
        Ok(())
    }
}

/// Native integers whose digits are counted from `scale` places after the point.
fn digits<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    frame: Frame,
    target: NumericTarget,
    scale: i32,
    widen: impl Fn(T::Native) -> i128 + Send + 'static,
) -> Box<dyn Column> {
    let values = array.as_primitive::<T>().values().clone();
    let layout = Layout::of(scale);
    match Fit::of(target, scale) {
        None => staged(frame, move |index, out| {
            let value = widen(values[index]);
            put_wide(value.unsigned_abs(), value < 0, layout, out);
            Ok(())
        }),
        Some(fit) => staged(frame, move |index, out| {
            let value = widen(values[index]);
            fit.check(i256::from_i128(value), scale)?;
            put_wide(value.unsigned_abs(), value < 0, layout, out);
            Ok(())
        }),
    }
}

fn digits256(array: &ArrayRef, frame: Frame, target: NumericTarget, scale: i32) -> Box<dyn Column> {
    let values = array.as_primitive::<Decimal256Type>().values().clone();
    let (layout, fit) = (Layout::of(scale), Fit::of(target, scale));
    staged(frame, move |index, out| {
        let value = values[index];
        if value == i256::MIN {
            return Err(Reason::new("a decimal has more than 76 digits"));
        }
        fit.map_or(Ok(()), |fit| fit.check(value, scale))?;
        put_large(value.wrapping_abs(), value < i256::ZERO, layout, out);
        Ok(())
    })
}

/// Text of one float, which never needs more.
struct Shortest {
    bytes: [u8; 40],
    length: usize,
}

impl Write for Shortest {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let slot = self
            .bytes
            .get_mut(self.length..self.length + text.len())
            .ok_or(std::fmt::Error)?;
        slot.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

/// The shortest digits that read back as this float, and their scale: what PostgreSQL itself prints.
fn shortest(value: impl std::fmt::LowerExp) -> Result<(i128, i32), Reason> {
    let unreadable = |_| Reason::new("a float cannot be written as decimal digits");
    let mut text = Shortest {
        bytes: [0; 40],
        length: 0,
    };
    write!(text, "{value:e}").map_err(unreadable)?;
    let (mut digits, mut scale, mut exponent, mut negative) = (0_i128, 0, 0, [false; 2]);
    let (mut behind_point, mut behind_e) = (false, false);
    for byte in &text.bytes[..text.length] {
        match byte {
            b'-' => negative[usize::from(behind_e)] = true,
            b'.' => behind_point = true,
            b'e' => behind_e = true,
            digit if behind_e => exponent = exponent * 10 + i32::from(digit - b'0'),
            digit => {
                digits = digits * 10 + i128::from(digit - b'0');
                scale += i32::from(behind_point);
            }
        }
    }
    let exponent = if negative[1] { -exponent } else { exponent };
    Ok((if negative[0] { -digits } else { digits }, scale - exponent))
}

fn floats<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    frame: Frame,
    target: NumericTarget,
    widen: impl Fn(T::Native) -> (f64, Result<(i128, i32), Reason>) + Send + 'static,
) -> Box<dyn Column> {
    let values = array.as_primitive::<T>().values().clone();
    staged(frame, move |index, out| {
        let (value, shortest) = widen(values[index]);
        if value.is_nan() {
            put_special(NAN, out);
        } else if value.is_infinite() && target.limit.is_some() {
            return Err(Reason::new(
                "infinity does not fit into a numeric with a precision",
            ));
        } else if value.is_infinite() {
            put_special(
                if value > 0.0 {
                    INFINITY
                } else {
                    NEGATIVE_INFINITY
                },
                out,
            );
        } else {
            let (digits, scale) = shortest?;
            // Zero shows no more decimal places than the column has.
            Fit::of(target, scale)
                .map_or(Ok(()), |fit| fit.check(i256::from_i128(digits), scale))?;
            put_wide(digits.unsigned_abs(), digits < 0, Layout::of(scale), out);
        }
        Ok(())
    })
}

pub(super) fn column(
    array: &ArrayRef,
    frame: Frame,
    target: NumericTarget,
) -> Option<Box<dyn Column>> {
    use DataType as T;
    Some(match array.data_type() {
        T::Int8 => digits::<Int8Type>(array, frame, target, 0, i128::from),
        T::Int16 => digits::<Int16Type>(array, frame, target, 0, i128::from),
        T::Int32 => digits::<Int32Type>(array, frame, target, 0, i128::from),
        T::Int64 => digits::<Int64Type>(array, frame, target, 0, i128::from),
        T::UInt8 => digits::<UInt8Type>(array, frame, target, 0, i128::from),
        T::UInt16 => digits::<UInt16Type>(array, frame, target, 0, i128::from),
        T::UInt32 => digits::<UInt32Type>(array, frame, target, 0, i128::from),
        T::UInt64 => digits::<UInt64Type>(array, frame, target, 0, i128::from),
        T::Decimal32(_, scale) => {
            digits::<Decimal32Type>(array, frame, target, (*scale).into(), i128::from)
        }
        T::Decimal64(_, scale) => {
            digits::<Decimal64Type>(array, frame, target, (*scale).into(), i128::from)
        }
        T::Decimal128(_, scale) => {
            digits::<Decimal128Type>(array, frame, target, (*scale).into(), i128::from)
        }
        T::Decimal256(_, scale) => digits256(array, frame, target, (*scale).into()),
        T::Float16 => floats::<Float16Type>(array, frame, target, |value| {
            (value.to_f64(), shortest(value.to_f32()))
        }),
        T::Float32 => floats::<Float32Type>(array, frame, target, |value| {
            (value.into(), shortest(value))
        }),
        T::Float64 => floats::<Float64Type>(array, frame, target, |value| (value, shortest(value))),
        _ => return None,
    })
}
