//! Encodings: found by byte order marks, zeros and the words of the text, and decoded to UTF-8.

use std::io::{self, Read};

use arrowload_core::{Error, ErrorKind, Result};
use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// The encoding of a text that begins with these bytes. `whole` if there are no more; one of Unicode's if `unicode` is set.
///
/// # Errors
/// When it is none of Unicode's, and there is too little to tell which.
pub(crate) fn detect(head: &[u8], whole: bool, unicode: bool) -> Result<&'static Encoding> {
    if let Some((encoding, _)) = Encoding::for_bom(head) {
        return Ok(encoding);
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
            return Ok(UTF_16LE);
        }
        if even * 10 >= pairs * 7 && odd * 10 < pairs {
            return Ok(UTF_16BE);
        }
    }
    if unicode {
        return Ok(UTF_8);
    }
    let (good, bad) = utf8_evidence(head, whole);
    // Few bad bytes in a file that is otherwise UTF-8 are refused row by row: no other encoding has such characters by chance, and
    // in another one all of them would become others.
    if bad <= good * 2 {
        return Ok(UTF_8);
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(head, whole);
    let guess = detector.guess(None, Utf8Detection::Deny);
    certain(head, guess)
}

/// Characters beyond ASCII that a text must have, at least, for an encoding to be told by them.
const DISTINCT: usize = 4;

/// A guess, if there is evidence for it: a few signs such as `µ`, `£` or `½` are those of windows-1252, which most files have that
/// are not Unicode.
fn certain(head: &[u8], guess: &'static Encoding) -> Result<&'static Encoding> {
    if guess == WINDOWS_1252 {
        return Ok(guess);
    }
    let mut distinct = [false; 256];
    let mut signs = true;
    for (at, byte) in head.iter().enumerate().filter(|(_, byte)| **byte >= 0x80) {
        // A byte that is the same character in both encodings is not evidence.
        let one = [*byte];
        let plain = WINDOWS_1252.decode_without_bom_handling_and_without_replacement(&one);
        let same = guess.is_single_byte()
            && guess.decode_without_bom_handling_and_without_replacement(&one) == plain;
        if same {
            continue;
        }
        distinct[usize::from(*byte)] = true;
        signs &= is_sign(*byte) && stands_alone(head, at);
    }
    let count = distinct.iter().filter(|seen| **seen).count();
    if signs {
        return Ok(WINDOWS_1252);
    }
    if count < DISTINCT {
        let message = format!(
            "the text is not UTF-8, and has too few characters beyond ASCII to tell whether it is {} or windows-1252; declare its `encoding`",
            guess.name()
        );
        return Err(Error::new(ErrorKind::InvalidData, message).with("key", "encoding"));
    }
    Ok(guess)
}

/// Whether a byte is not a letter in windows-1252.
fn is_sign(byte: u8) -> bool {
    matches!(byte, 0x80 | 0x82 | 0x84..=0x87 | 0x89 | 0x8B | 0x91..=0x97 | 0x99 | 0x9B | 0xA0..=0xBF)
}

/// Whether what is beside a byte is not a word.
fn stands_alone(text: &[u8], at: usize) -> bool {
    let word = |byte: &&u8| byte.is_ascii_alphabetic() || **byte >= 0x80;
    let before = text[..at].iter().rev().take_while(word).count();
    let after = text[at + 1..].iter().take_while(word).count();
    before + after <= 2
}

/// The encoding of a label that is known. `utf-16` leaves the order of the bytes to the mark.
pub(crate) fn declared(label: &str, head: &[u8]) -> &'static Encoding {
    let found = Encoding::for_label(label.as_bytes()).unwrap_or(UTF_8);
    match Encoding::for_bom(head) {
        Some((marked, _)) if label.trim().eq_ignore_ascii_case("utf-16") => marked,
        _ => found,
    }
}

/// How many characters beyond ASCII are UTF-8, and how many places are not. One of three bytes counts for more: it is hardly one
/// by chance.
fn utf8_evidence(mut bytes: &[u8], whole: bool) -> (usize, usize) {
    let (mut good, mut bad) = (0, 0);
    let beyond = |text: &[u8]| -> usize {
        let weight = |byte: &u8| usize::from(*byte >= 0xC0) + 2 * usize::from(*byte >= 0xE0);
        text.iter().map(weight).sum()
    };
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

/// The placeholder in decoded text for invalid bytes: a byte that UTF-8 never has.
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

    fn told(head: &[u8], whole: bool, unicode: bool) -> &'static Encoding {
        detect(head, whole, unicode).expect("told")
    }

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
        assert_eq!(told(&utf16, true, false), UTF_16LE);
        assert_eq!(told(&big, true, false), UTF_16BE);
        assert_eq!(decoded(&utf16, UTF_16LE), "a,b\n1,ü\n".as_bytes());
        assert_eq!(decoded(&big, UTF_16BE), "a,b\n1,ü\n".as_bytes());
        assert_eq!(told("naïve,café\n".as_bytes(), true, false), UTF_8);
        assert_eq!(told(b"plain\n", true, false), UTF_8);
        assert_eq!(told(b"", true, false), UTF_8);
        let latin = b"nom,ville\nFran\xE7ois,Orl\xE9ans\nH\xE9l\xE8ne,N\xEEmes\n";
        let found = told(latin, true, false);
        assert_eq!(found.name(), "windows-1252");
        assert_eq!(told(latin, true, true), UTF_8);
        assert!(decoded(latin, found).ends_with("Hélène,Nîmes\n".as_bytes()));
        // One bad byte among much that is good.
        let mut mostly = "é,ü,ß\n".repeat(20).into_bytes();
        mostly.extend(b"\xE9\n");
        assert_eq!(told(&mostly, true, false), UTF_8);
        assert_eq!(declared("UTF-16", &[0xFE, 0xFF, 0, b'a']), UTF_16BE);
        assert_eq!(declared("UTF-16", b"a\0"), UTF_16LE);
        // A head that ends within a character.
        assert_eq!(told(&"é".as_bytes()[..1], false, false), UTF_8);
    }

    #[test]
    fn broken_utf8_is_no_other_encoding() {
        for text in [
            b"id,name\n1,M\xc3\xbcller\n2,Z\xc3\xbcrich\n3,\xe6\x97".as_slice(),
            b"id,name\n1,M\xc3\xbcller\n2,\xff\n",
            b"id,name\n1,\xe6\x97\xa5\n2,\xff\n3,\xfe\n4,\xfd\n",
        ] {
            assert_eq!(told(text, true, false), UTF_8);
        }
    }

    #[test]
    fn signs_are_those_of_western_europe_and_letters_need_evidence() {
        for (text, shown) in [
            (
                b"5 \xb5m,\xa320,\xa9 2024,\xbd cup,10 m\xb2\n".as_slice(),
                "5 µm,£20,© 2024,½ cup,10 m²\n",
            ),
            (b"5 \xb5m\n", "5 µm\n"),
            (b"\xa320\n", "£20\n"),
            (b"\xa9 2024\n", "© 2024\n"),
            (b"\xbd cup\n", "½ cup\n"),
            (b"M\xfcller\n", "Müller\n"),
            (b"Stra\xdfe\n", "Straße\n"),
        ] {
            let encoding = told(text, true, false);
            assert_eq!(
                decoded(text, encoding),
                shown.as_bytes(),
                "{shown}: {}",
                encoding.name()
            );
        }
        // \u{141}\u{f3}d\u{17a} in windows-1250: two letters that windows-1252 has otherwise.
        let thin = detect(b"\xa3\xf3d\x9f\n", true, false).expect_err("thin");
        assert!(thin.message().contains("encoding"), "{thin}");
        let words = encoding_rs::WINDOWS_1251
            .encode("имя,город\nИван,Москва\nОльга,Тверь\n")
            .0
            .into_owned();
        assert_eq!(told(&words, true, false), encoding_rs::WINDOWS_1251);
        let words = encoding_rs::SHIFT_JIS
            .encode("名前,都市\n太郎,東京都\n花子,大阪市北区\n")
            .0
            .into_owned();
        assert_eq!(told(&words, true, false), encoding_rs::SHIFT_JIS);
        let words = encoding_rs::GBK
            .encode("姓名,城市\n王小明,北京市朝阳区\n李华,上海市浦东新区\n")
            .0
            .into_owned();
        assert!(["GBK", "gb18030"].contains(&told(&words, true, false).name()));
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
