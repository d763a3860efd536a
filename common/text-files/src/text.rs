//! The text of one value, and digits read eight at a time.

/// The bytes of a value. The slice may go on after it, so that eight bytes can be loaded at once.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    tail: &'a [u8],
    len: usize,
}

impl<'a> Text<'a> {
    /// The first `len` bytes of `tail`.
    #[inline]
    pub fn new(tail: &'a [u8], len: usize) -> Self {
        let len = len.min(tail.len());
        Self { tail, len }
    }

    /// All of `bytes`.
    #[inline]
    pub fn of(bytes: &'a [u8]) -> Self {
        Self::new(bytes, bytes.len())
    }

    /// Its bytes.
    #[inline]
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether it is empty.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The bytes themselves.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        &self.tail[..self.len]
    }

    /// The first byte.
    #[inline]
    pub fn first(self) -> Option<u8> {
        self.bytes().first().copied()
    }

    /// The byte at a place, 0 beyond the end.
    #[inline]
    pub fn at(self, index: usize) -> u8 {
        self.bytes().get(index).copied().unwrap_or(0)
    }

    /// Without its first `count` bytes.
    #[inline]
    pub fn skip(self, count: usize) -> Self {
        let count = count.min(self.len);
        Self {
            tail: &self.tail[count..],
            len: self.len - count,
        }
    }

    /// Its first `count` bytes.
    #[inline]
    pub fn take(self, count: usize) -> Self {
        Self::new(self.tail, count.min(self.len))
    }

    /// A leading `-`, and what follows.
    #[inline]
    pub fn sign(self) -> (bool, Self) {
        if self.first() == Some(b'-') {
            (true, self.skip(1))
        } else {
            (false, self)
        }
    }

    /// Eight bytes, the first in the lowest place.
    #[inline]
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

/// The number that 1 to 8 digits are.
#[inline]
fn digits8(text: Text<'_>, len: usize) -> Option<u64> {
    // The digits go to the high places, zeros before them.
    let word = (text.word() << (64 - 8 * len)) | ((ZEROS >> 8) >> (8 * (len - 1)));
    let above = word.wrapping_add(0x4646_4646_4646_4646);
    let below = word.wrapping_sub(ZEROS);
    if (above | below) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    // Pairs, then fours, then eight: "Faster integer parsing" by Ivan Kubica and Daniel Lemire.
    let pairs = below.wrapping_mul(10).wrapping_add(below >> 8);
    let high = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let low = ((pairs >> 16) & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    Some(high.wrapping_add(low) >> 32)
}

/// The number that 1 to 19 digits are.
#[inline]
pub(crate) fn digits(text: Text<'_>) -> Option<u64> {
    let len = text.len();
    match len {
        1..=8 => digits8(text, len),
        9..=16 => {
            let high = digits8(text, len - 8)?;
            Some(high * 100_000_000 + digits8(text.skip(len - 8), 8)?)
        }
        17..=19 => {
            let high = digits8(text, len - 16)?;
            let middle = digits8(text.skip(len - 16), 8)?;
            let low = digits8(text.skip(len - 8), 8)?;
            Some((high * 100_000_000 + middle) * 100_000_000 + low)
        }
        _ => None,
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
