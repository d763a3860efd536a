//! Where the plain part of a string ends: 16 bytes are looked at at once.

/// Which of 16 bytes are quotes, backslashes or control characters, one bit for each byte.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn stops(bytes: &[u8; 16]) -> u32 {
    #[expect(
        unsafe_code,
        reason = "the function needs SSE2, which every processor of this architecture has"
    )]
    // SAFETY: SSE2 is part of x86_64; the function has no other precondition.
    unsafe {
        sse2::stops(bytes)
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn stops(bytes: &[u8; 16]) -> u32 {
    plain(bytes)
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
        _mm_set1_epi8,
    };

    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn stops(bytes: &[u8; 16]) -> u32 {
        let all = u128::from_le_bytes(*bytes);
        let all = _mm_set_epi64x((all >> 64) as i64, all as i64);
        let quotes = _mm_cmpeq_epi8(all, _mm_set1_epi8(b'"' as i8));
        let escapes = _mm_cmpeq_epi8(all, _mm_set1_epi8(b'\\' as i8));
        let controls = _mm_cmpeq_epi8(_mm_min_epu8(all, _mm_set1_epi8(0x1F)), all);
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quotes, escapes), controls)) as u32
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn plain(bytes: &[u8; 16]) -> u32 {
    let stop = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let bits = bytes.iter().enumerate();
    bits.fold(0, |mask, (index, byte)| {
        mask | u32::from(stop(*byte)) << index
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_ways_find_the_same(
            bytes in prop::array::uniform16(prop_oneof![Just(b'"'), Just(b'\\'), 0..0x21_u8, any::<u8>()]),
        ) {
            prop_assert_eq!(stops(&bytes), plain(&bytes));
        }
    }
}
