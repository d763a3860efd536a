//! The text of one value, and digits read eight at a time.

/// The bytes of a value. The slice may go on after it, so that eight bytes can be loaded at once.
///
/// It is too large for registers, and whoever reads it too soon after it was put into memory waits. So what every value goes
/// through is inlined, and what is not inlined takes [`parts`](Self::parts).
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    tail: &'a [u8],
    len: usize,
}

impl<'a> Text<'a> {
    /// The first `len` bytes of `tail`.
    #[inline(always)]
    pub fn new(tail: &'a [u8], len: usize) -> Self {
        let len = len.min(tail.len());
        Self { tail, len }
    }

    /// All of `bytes`.
    #[inline(always)]
    pub fn of(bytes: &'a [u8]) -> Self {
        Self::new(bytes, bytes.len())
    }

    /// The slice that it is the beginning of, and its length: what [`new`](Self::new) takes.
    #[inline(always)]
    pub fn parts(self) -> (&'a [u8], usize) {
        (self.tail, self.len)
    }

    /// Its bytes.
    #[inline(always)]
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether it is empty.
    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The bytes themselves.
    #[inline(always)]
    pub fn bytes(self) -> &'a [u8] {
        &self.tail[..self.len]
    }

    /// The first byte.
    #[inline(always)]
    pub fn first(self) -> Option<u8> {
        self.bytes().first().copied()
    }

    /// The byte at a place, 0 beyond the end.
    #[inline(always)]
    pub fn at(self, index: usize) -> u8 {
        self.bytes().get(index).copied().unwrap_or(0)
    }

    /// Without its first `count` bytes.
    #[inline(always)]
    pub fn skip(self, count: usize) -> Self {
        let count = count.min(self.len);
        Self {
            tail: &self.tail[count..],
            len: self.len - count,
        }
    }

    /// Its first `count` bytes.
    #[inline(always)]
    pub fn take(self, count: usize) -> Self {
        Self::new(self.tail, count.min(self.len))
    }

    /// A leading `-`, and what follows.
    #[inline(always)]
    pub fn sign(self) -> (bool, Self) {
        if self.first() == Some(b'-') {
            (true, self.skip(1))
        } else {
            (false, self)
        }
    }

    /// Eight bytes, the first in the lowest place.
    #[inline(always)]
    fn word(self) -> u64 {
        if let Some(bytes) = self.tail.first_chunk::<8>() {
            return u64::from_le_bytes(*bytes);
        }
        let mut bytes = [0; 8];
        bytes[..self.tail.len()].copy_from_slice(self.tail);
        u64::from_le_bytes(bytes)
    }
}

const ZEROS: u64 = 0x3030_3030_3030_3030;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The values of eight digits, one in each byte, if all are digits.
#[inline(always)]
fn eight(word: u64) -> Option<u64> {
    let values = word ^ ZEROS;
    let no_digit = (values.wrapping_add(0x7676_7676_7676_7676) | values) & HIGH;
    (no_digit == 0).then_some(values)
}

/// The number that the values of eight digits make, the first in the lowest place.
#[inline(always)]
fn number8(values: u64) -> u64 {
    // Pairs, then fours, then eight: "Faster integer parsing" by Ivan Kubica and Daniel Lemire.
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let high = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let low = ((pairs >> 16) & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    high.wrapping_add(low) >> 32
}

/// The number that 1 to 8 digits are.
#[inline(always)]
fn digits8(text: Text<'_>, len: usize) -> Option<u64> {
    // The digits go to the high places, zeros before them.
    let word = (text.word() << (64 - 8 * len)) | ((ZEROS >> 8) >> (8 * (len - 1)));
    eight(word).map(number8)
}

/// The number that 1 to 19 digits are.
#[inline(always)]
pub(crate) fn digits(text: Text<'_>) -> Option<u64> {
    match text.len() {
        len @ 1..=8 => digits8(text, len),
        9..=19 => long_digits(text.tail, text.len),
        _ => None,
    }
}

#[inline(never)]
fn long_digits(tail: &[u8], len: usize) -> Option<u64> {
    let text = Text::new(tail, len);
    let (first, rest) = if len > 16 {
        (len - 16, 2)
    } else {
        (len - 8, 1)
    };
    let mut value = digits8(text, first)?;
    for eights in 0..rest {
        value = value * 100_000_000 + digits8(text.skip(first + 8 * eights), 8)?;
    }
    Some(value)
}

/// A number of up to 15 digits, of which `places` are after a point, the place of which is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pointed {
    /// The values of the digits, the last in the highest place.
    values: u128,
    /// The digits before the point.
    pub(crate) whole: usize,
}

impl Pointed {
    /// Splits a text without a sign; none if it is no such number, or has to be looked at more closely.
    #[inline(always)]
    pub(crate) fn of(text: Text<'_>, places: usize) -> Option<Self> {
        let len = text.len();
        let pointed = usize::from(places > 0);
        if !(places + pointed + 1..=15 + pointed).contains(&len) {
            return None;
        }
        let word = u128::from_le_bytes(*text.tail.first_chunk::<16>()?) << (128 - 8 * len);
        let word = if places == 0 {
            word
        } else {
            let point = 128 - 8 * (places + 1);
            if (word >> point) as u8 != b'.' {
                return None;
            }
            let fraction = u128::MAX << (point + 8);
            (word & fraction) | ((word & !(u128::MAX << point)) << 8)
        };
        let digits = len - pointed;
        let word = word | ((u128::from(ZEROS) << 64 | u128::from(ZEROS)) >> (8 * digits));
        let (low, high) = (eight(word as u64)?, eight((word >> 64) as u64)?);
        Some(Self {
            values: u128::from(high) << 64 | u128::from(low),
            whole: digits - places,
        })
    }

    #[inline(always)]
    pub(crate) fn is_zero(self) -> bool {
        self.values == 0
    }

    /// All digits as one integer.
    #[inline(always)]
    pub(crate) fn value(self) -> u64 {
        let last = number8((self.values >> 64) as u64);
        match self.values as u64 {
            0 => last,
            first => number8(first) * 100_000_000 + last,
        }
    }
}

/// The number that 1 to 38 digits are.
#[inline]
pub(crate) fn wide_digits(text: Text<'_>) -> Option<u128> {
    let len = text.len();
    match len {
        1..=19 => digits(text).map(u128::from),
        20..=38 => {
            let high = digits(text.take(len - 19))?;
            let low = digits(text.skip(len - 19))?;
            Some(u128::from(high) * 10_u128.pow(19) + u128::from(low))
        }
        _ => None,
    }
}

/// Two digits.
#[inline]
pub(crate) fn two(text: Text<'_>, at: usize) -> Option<u32> {
    let (high, low) = (
        text.at(at).wrapping_sub(b'0'),
        text.at(at + 1).wrapping_sub(b'0'),
    );
    (high < 10 && low < 10).then(|| u32::from(high) * 10 + u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn points_are_where_they_are_looked_for(
            text in "[0-9]{0,12}\\.?[0-9]{0,5}|[0-9.x]{0,18}", rest in "[0-9/:,]{0,20}", places in 0..7_usize,
        ) {
            let whole = format!("{text}{rest}");
            let digits: String = text.chars().filter(|byte| *byte != '.').collect();
            let point = text.len().checked_sub(places + 1).filter(|_| places > 0);
            let fits = digits.len() <= 15
                && digits.len() > places
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && text.find('.') == point
                && text.len() - digits.len() == usize::from(places > 0)
                && whole.len() >= 16;
            let found = Pointed::of(Text::new(whole.as_bytes(), text.len()), places);
            prop_assert_eq!(found.map(Pointed::value), fits.then(|| digits.parse().unwrap_or(u64::MAX)));
            if let Some(found) = found {
                prop_assert_eq!(found.is_zero(), found.value() == 0);
                prop_assert_eq!(found.whole, digits.len() - places);
            }
        }

        #[test]
        fn digits_are_what_the_standard_library_reads(text in "[0-9]{1,38}", rest in "[0-9/:,]{0,9}") {
            let whole = format!("{text}{rest}");
            let value = Text::new(whole.as_bytes(), text.len());
            prop_assert_eq!(wide_digits(value), text.parse::<u128>().ok());
            if text.len() <= 19 {
                prop_assert_eq!(digits(value), text.parse::<u64>().ok());
            }
        }

        #[test]
        fn anything_else_is_no_number(text in prop::collection::vec(any::<u8>(), 1..39)) {
            let numeric = text.iter().all(u8::is_ascii_digit);
            prop_assert_eq!(wide_digits(Text::of(&text)).is_some(), numeric);
        }
    }
}
