//! Where separators and quotes are, as one bit for each byte of a block of 64.

/// Bytes that are looked for. A slot that is not needed repeats another one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needles {
    /// The delimiter and the line ends.
    pub(crate) separators: [u8; 3],
    /// The quote, if there is one.
    pub(crate) quote: Option<u8>,
}

/// What 64 bytes hold; bit 0 stands for the first byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) separators: u64,
    pub(crate) quotes: u64,
}

/// The bytes of a block.
pub(crate) const BLOCK: usize = 64;

/// Fills `blocks` from the first `len` bytes of `data`, and returns how many blocks they are. Bits beyond `len` are zero. `data`
/// goes on for at least a block after `len`.
pub(crate) fn fill(data: &[u8], len: usize, needles: Needles, blocks: &mut [Block]) -> usize {
    let wanted = len.div_ceil(BLOCK).min(blocks.len());
    let blocks = &mut blocks[..wanted];
    find(data, needles, blocks);
    if let Some(last) = blocks.last_mut() {
        let rest = len - (wanted - 1) * BLOCK;
        if rest < BLOCK {
            let keep = (1 << rest) - 1;
            last.separators &= keep;
            last.quotes &= keep;
        }
    }
    wanted
}

#[cfg(target_arch = "x86_64")]
fn find(data: &[u8], needles: Needles, blocks: &mut [Block]) {
    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(
            unsafe_code,
            reason = "the function needs AVX2, which the line above has found in this processor"
        )]
        // SAFETY: AVX2 is there; the function has no other precondition.
        unsafe {
            avx2::find(data, needles, blocks);
        }
    } else {
        find_plain(data, needles, blocks);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn find(data: &[u8], needles: Needles, blocks: &mut [Block]) {
    find_plain(data, needles, blocks);
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set_epi64x,
        _mm256_set1_epi8, _mm256_setzero_si256,
    };

    use super::{BLOCK, Block, Needles};

    #[inline]
    fn word(bytes: &[u8], at: usize) -> i64 {
        bytes[at..]
            .first_chunk::<8>()
            .map_or(0, |bytes| i64::from_le_bytes(*bytes))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(half: &[u8; 32]) -> __m256i {
        _mm256_set_epi64x(word(half, 24), word(half, 16), word(half, 8), word(half, 0))
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn find(data: &[u8], needles: Needles, blocks: &mut [Block]) {
        let [a, b, c] = needles.separators.map(|byte| _mm256_set1_epi8(byte as i8));
        let quote = _mm256_set1_epi8(needles.quote.unwrap_or(0) as i8);
        let (chunks, _) = data.as_chunks::<BLOCK>();
        for (block, bytes) in blocks.iter_mut().zip(chunks) {
            let mut separators = [0_u32; 2];
            let mut quotes = [0_u32; 2];
            let (halves, _) = bytes.as_chunks::<32>();
            for (index, half) in halves.iter().enumerate() {
                let half = load(half);
                let found = _mm256_or_si256(
                    _mm256_or_si256(_mm256_cmpeq_epi8(half, a), _mm256_cmpeq_epi8(half, b)),
                    _mm256_cmpeq_epi8(half, c),
                );
                separators[index & 1] = _mm256_movemask_epi8(found) as u32;
                let found = if needles.quote.is_some() {
                    _mm256_cmpeq_epi8(half, quote)
                } else {
                    _mm256_setzero_si256()
                };
                quotes[index & 1] = _mm256_movemask_epi8(found) as u32;
            }
            block.separators = u64::from(separators[0]) | u64::from(separators[1]) << 32;
            block.quotes = u64::from(quotes[0]) | u64::from(quotes[1]) << 32;
        }
    }
}

const LOW: u64 = 0x0101_0101_0101_0101;
const SEVEN: u64 = 0x7F7F_7F7F_7F7F_7F7F;

/// The high bit of each byte that equals `byte`, gathered into the low 8 bits.
fn equal(word: u64, byte: u8) -> u64 {
    let differs = word ^ (LOW * u64::from(byte));
    // Exact for every byte: no carry crosses from one to the next.
    let zero = !(((differs & SEVEN) + SEVEN) | differs | SEVEN);
    (zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

fn find_plain(data: &[u8], needles: Needles, blocks: &mut [Block]) {
    let (chunks, _) = data.as_chunks::<BLOCK>();
    for (block, bytes) in blocks.iter_mut().zip(chunks) {
        *block = Block::default();
        let (words, _) = bytes.as_chunks::<8>();
        for (index, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let [a, b, c] = needles.separators;
            block.separators |= (equal(word, a) | equal(word, b) | equal(word, c)) << (index * 8);
            if let Some(quote) = needles.quote {
                block.quotes |= equal(word, quote) << (index * 8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slow(data: &[u8], len: usize, needles: Needles, blocks: usize) -> Vec<Block> {
        let bit = |block: usize, wanted: &dyn Fn(u8) -> bool| {
            (0..BLOCK)
                .filter(|bit| block * BLOCK + bit < len && wanted(data[block * BLOCK + bit]))
                .fold(0, |mask, bit| mask | 1_u64 << bit)
        };
        (0..blocks)
            .map(|block| Block {
                separators: bit(block, &|byte| needles.separators.contains(&byte)),
                quotes: bit(block, &|byte| needles.quote == Some(byte)),
            })
            .collect()
    }

    proptest! {
        #[test]
        fn both_ways_find_what_a_loop_finds(
            data in prop::collection::vec(prop_oneof![Just(b','), Just(b'"'), Just(b'\n'), Just(0), any::<u8>()], 0..400),
            quote in prop::option::of(Just(b'"')),
        ) {
            let needles = Needles { separators: [b',', b'\n', b'\r'], quote };
            let len = data.len();
            let mut padded = data.clone();
            padded.resize(len + BLOCK, b',');
            let mut blocks = [Block::default(); 5];
            let count = fill(&padded, len, needles, &mut blocks);
            prop_assert_eq!(count, len.div_ceil(BLOCK).min(5));
            prop_assert_eq!(&blocks[..count], &slow(&padded, len, needles, count)[..]);
            let whole = len / BLOCK;
            let mut plain = vec![Block::default(); whole];
            find_plain(&padded, needles, &mut plain);
            prop_assert_eq!(plain, slow(&padded, len, needles, whole));
        }
    }
}
