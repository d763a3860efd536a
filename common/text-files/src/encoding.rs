//! Encodings: found by byte order marks, zeros and the words of the text, and decoded to UTF-8.

use std::io::{self, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// The encoding of a text that begins with these bytes. `whole` if there are no more; one of Unicode's if `unicode` is set.
pub(crate) fn detect(head: &[u8], whole: bool, unicode: bool) -> &'static Encoding {
    if let Some((encoding, _)) = Encoding::for_bom(head) {
        return encoding;
    }
    let zeros = |first: usize| {
        head.iter()
            .skip(first)
            .step_by(2)
            .filter(|byte| **byte == 0)
            .count()
    };
    let (even, odd, pairs) = (zeros(0), zeros(1), head.len() / 2);
    if pairs > 1 {
        // Most characters of such files are ASCII, and have a zero on the one side or the other.
        if odd * 10 >= pairs * 7 && even * 10 < pairs {
            return UTF_16LE;
        }
        if even * 10 >= pairs * 7 && odd * 10 < pairs {
            return UTF_16BE;
        }
    }
    if unicode {
        return UTF_8;
    }
    let (good, bad) = utf8_evidence(head, whole);
    // A few bad bytes in a file that is otherwise UTF-8 are refused row by row.
    if bad == 0 || bad * 10 <= good {
        return UTF_8;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(head, whole);
    detector.guess(None, Utf8Detection::Deny)
}

/// The encoding of a label that is known. `utf-16` leaves the order of the bytes to the mark.
pub(crate) fn declared(label: &str, head: &[u8]) -> &'static Encoding {
    let found = Encoding::for_label(label.as_bytes()).unwrap_or(UTF_8);
    match Encoding::for_bom(head) {
        Some((marked, _)) if label.trim().eq_ignore_ascii_case("utf-16") => marked,
        _ => found,
    }
}

/// How many characters beyond ASCII are UTF-8, and how many places are not.
fn utf8_evidence(mut bytes: &[u8], whole: bool) -> (usize, usize) {
    let (mut good, mut bad) = (0, 0);
    let beyond = |text: &[u8]| text.iter().filter(|byte| **byte >= 0xC0).count();
    loop {
        match std::str::from_utf8(bytes) {
            Ok(text) => return (good + beyond(text.as_bytes()), bad),
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                good += beyond(valid);
                match error.error_len() {
                    Some(len) => bytes = &rest[len..],
                    // The head ends within a character.
                    None => return (good, bad + usize::from(whole)),
                }
                bad += 1;
            }
        }
    }
}

/// Whether the bytes begin with a mark of UTF-32, which nothing here decodes.
pub(crate) fn is_utf32(head: &[u8]) -> bool {
    head.starts_with(&[0xFF, 0xFE, 0, 0]) || head.starts_with(&[0, 0, 0xFE, 0xFF])
}

/// The bytes of the byte order mark, if the text begins with that of the encoding.
pub(crate) fn mark_length(head: &[u8], encoding: &'static Encoding) -> usize {
    match Encoding::for_bom(head) {
        Some((found, length)) if found == encoding => length,
        _ => 0,
    }
}

/// What stands in decoded text for bytes that are no text: a byte that UTF-8 never has.
const NO_TEXT: u8 = 0xFF;
const PIECE: usize = 64 * 1024;

/// Decodes to UTF-8.
pub(crate) struct Decoded<R> {
    input: R,
    decoder: encoding_rs::Decoder,
    raw: Vec<u8>,
    /// The part of `raw` that is not yet decoded.
    left: std::ops::Range<usize>,
    ended: bool,
    flushed: bool,
    out: Vec<u8>,
    given: usize,
}

impl<R: Read> Decoded<R> {
    pub(crate) fn new(input: R, encoding: &'static Encoding) -> Self {
        Self {
            input,
            decoder: encoding.new_decoder_without_bom_handling(),
            raw: vec![0; PIECE],
            left: 0..0,
            ended: false,
            flushed: false,
            out: Vec::new(),
            given: 0,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.out.clear();
        self.given = 0;
        while self.out.is_empty() && !self.flushed {
            if self.left.is_empty() && !self.ended {
                let count = loop {
                    match self.input.read(&mut self.raw) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        result => break result?,
                    }
                };
                self.ended = count == 0;
                self.left = 0..count;
            }
            // Three bytes of UTF-8 for each byte, at most.
            self.out.resize(self.left.len() * 3 + 16, 0);
            let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(
                &self.raw[self.left.clone()],
                &mut self.out,
                self.ended,
            );
            self.left.start += read;
            self.out.truncate(written);
            match result {
                DecoderResult::InputEmpty => self.flushed = self.ended,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => self.out.push(NO_TEXT),
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.out.len() {
            self.refill()?;
        }
        let count = buffer.len().min(self.out.len() - self.given);
        buffer[..count].copy_from_slice(&self.out[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], encoding: &'static Encoding) -> Vec<u8> {
        let mut out = Vec::new();
        Decoded::new(bytes, encoding)
            .read_to_end(&mut out)
            .expect("in memory");
        out
    }

    #[test]
    fn encodings_are_found() {
        let utf16: Vec<u8> = "a,b\n1,ü\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let big: Vec<u8> = "a,b\n1,ü\n"
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        assert_eq!(detect(&utf16, true, false), UTF_16LE);
        assert_eq!(detect(&big, true, false), UTF_16BE);
        assert_eq!(decoded(&utf16, UTF_16LE), "a,b\n1,ü\n".as_bytes());
        assert_eq!(decoded(&big, UTF_16BE), "a,b\n1,ü\n".as_bytes());
        assert_eq!(detect("naïve,café\n".as_bytes(), true, false), UTF_8);
        assert_eq!(detect(b"plain\n", true, false), UTF_8);
        assert_eq!(detect(b"", true, false), UTF_8);
        let latin = b"nom,ville\nFran\xE7ois,Orl\xE9ans\nH\xE9l\xE8ne,N\xEEmes\n";
        let found = detect(latin, true, false);
        assert_eq!(found.name(), "windows-1252");
        assert_eq!(detect(latin, true, true), UTF_8);
        assert!(decoded(latin, found).ends_with("Hélène,Nîmes\n".as_bytes()));
        // One bad byte among much that is good.
        let mut mostly = "é,ü,ß\n".repeat(20).into_bytes();
        mostly.extend(b"\xE9\n");
        assert_eq!(detect(&mostly, true, false), UTF_8);
        assert_eq!(declared("UTF-16", &[0xFE, 0xFF, 0, b'a']), UTF_16BE);
        assert_eq!(declared("UTF-16", b"a\0"), UTF_16LE);
        // A head that ends within a character.
        assert_eq!(detect(&"é".as_bytes()[..1], false, false), UTF_8);
    }

    #[test]
    fn what_is_no_text_is_marked_and_nothing_is_lost() {
        assert_eq!(decoded(b"a\xFFb", encoding_rs::SHIFT_JIS), b"a\xFFb");
        // Half a character of UTF-16, and half a surrogate pair.
        assert_eq!(decoded(&[b'a', 0, 0, 0xD8], UTF_16LE), b"a\xFF");
        assert_eq!(decoded(&[b'a', 0, b'b'], UTF_16LE), b"a\xFF");
        let long: Vec<u8> = "é"
            .repeat(100_000)
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(decoded(&long, UTF_16LE), "é".repeat(100_000).as_bytes());
    }
}
