//! The tokens of JSON: RFC 8259, and nothing else.
//!
//! The bytes go on for [`PADDING`] zeros after their end. No zero is part of a token, so that whatever looks for the next byte
//! stops at the end without asking for it.

use arrowload_common_text_files::Text;

use crate::fault::Fault;
use crate::stops::stops;

/// The zeros after the bytes that count.
pub(crate) const PADDING: usize = 64;

/// Why a value cannot be read.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It is not JSON.
    Fault(usize, Fault),
    /// It does not fit the type that is expected.
    Misfit(Misplaced),
}

/// A value that does not fit.
#[derive(Debug)]
pub(crate) struct Misplaced {
    /// Where it begins, and where it ends.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The keys that lead to it, the innermost first.
    pub(crate) path: Vec<String>,
    /// Whether it is a key that is not known, and not a value.
    pub(crate) unknown_key: bool,
}

impl Stop {
    /// Says which key leads to the value.
    #[cold]
    pub(crate) fn below(mut self: Box<Self>, key: &[u8]) -> Box<Self> {
        if let Self::Misfit(misplaced) = &mut *self {
            misplaced
                .path
                .push(String::from_utf8_lossy(key).into_owned());
        }
        self
    }
}

/// The error is boxed: what is answered for each value should fit a register.
pub(crate) type Step<T> = Result<T, Box<Stop>>;

/// A string: its content lies between two places.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Str {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Whether it has escapes.
    pub(crate) escaped: bool,
}

/// A number, with what was learnt on the way over its digits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Num {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// All digits as one integer, if they are no more than 19.
    pub(crate) mantissa: u64,
    /// The digits before the point.
    pub(crate) whole: u32,
    /// The digits after it.
    pub(crate) scale: u32,
    pub(crate) negative: bool,
    pub(crate) exponent: bool,
}

impl Num {
    /// Whether the mantissa is the number, apart from sign and point.
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        self.whole + self.scale <= 18 && !self.exponent
    }
}

/// Reads tokens one after the other.
#[derive(Debug)]
pub(crate) struct Lexer<'a> {
    pub(crate) data: &'a [u8],
    /// The bytes that count.
    pub(crate) len: usize,
    pub(crate) at: usize,
    /// Whether a line feed is not a blank: each line is a value.
    lines: bool,
    depth: u32,
    max_depth: u32,
    /// Which of the open brackets are those of objects.
    open: Vec<bool>,
}

const ZEROS: u64 = 0x3030_3030_3030_3030;
const HIGH: u64 = 0x8080_8080_8080_8080;
/// Ten to the power of each index.
const POWERS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

impl<'a> Lexer<'a> {
    /// Over the first `len` bytes of `data`.
    pub(crate) fn new(data: &'a [u8], len: usize, lines: bool, max_depth: u32) -> Self {
        debug_assert!(data.len() >= len + PADDING, "the padding is missing");
        Self {
            data,
            len,
            at: 0,
            lines,
            depth: 0,
            max_depth,
            open: Vec::new(),
        }
    }

    pub(crate) fn set_lines(&mut self, lines: bool) {
        self.lines = lines;
    }

    /// Begins a value that is in no other.
    pub(crate) fn surface(&mut self) {
        self.depth = 0;
    }

    pub(crate) fn text(&self, start: usize, end: usize) -> Text<'a> {
        Text::new(&self.data[start..], end - start)
    }

    #[cold]
    pub(crate) fn fault<T>(&self, at: usize, fault: Fault) -> Step<T> {
        Err(Box::new(Stop::Fault(at.min(self.len), fault)))
    }

    /// Something else was expected here.
    #[cold]
    pub(crate) fn expected<T>(&self, what: &'static str) -> Step<T> {
        if self.at >= self.len {
            return self.fault(self.len, Fault::Ends);
        }
        let rest = &self.data[self.at..self.len];
        let words: [&[u8]; 4] = [b"NaN", b"Infinity", b"-Infinity", b"nan"];
        if words.iter().any(|word| rest.starts_with(word)) {
            return self.fault(self.at, Fault::NotFinite);
        }
        let width = match rest[0] {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            _ => 1,
        };
        let found = std::str::from_utf8(&rest[..width.min(rest.len())]);
        let found = found.ok().and_then(|text| text.chars().next());
        self.fault(self.at, Fault::Expected(what, found.unwrap_or('\u{FFFD}')))
    }

    /// Goes over blanks, and says what is there: zero at the end.
    #[inline(always)]
    pub(crate) fn blanks(&mut self) -> u8 {
        let byte = self.data[self.at];
        if byte > b' ' {
            return byte;
        }
        self.more_blanks()
    }

    #[inline(never)]
    fn more_blanks(&mut self) -> u8 {
        loop {
            let byte = self.data[self.at];
            match byte {
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'\n' if !self.lines => self.at += 1,
                _ => return byte,
            }
        }
    }

    #[inline(always)]
    fn word(&self, at: usize) -> u64 {
        self.data[at..]
            .first_chunk::<8>()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// A string, whose opening quote is here.
    #[inline(always)]
    pub(crate) fn string(&mut self) -> Step<Str> {
        let start = self.at + 1;
        let mut at = start;
        // The padding has zeros, which stop. Short strings are done after the first step, most others after the second.
        let mut found = match self.data[at..].first_chunk::<16>() {
            Some(bytes) => u64::from(stops(bytes)),
            None => 1,
        };
        let mut step = 16;
        while found == 0 {
            at += step;
            step = 48;
            let bytes = self.data[at..].first_chunk::<48>();
            found = bytes.map_or(1, |bytes| {
                let (parts, _) = bytes.as_chunks::<16>();
                let parts = parts.iter().enumerate();
                parts.fold(0, |found, (index, part)| {
                    found | u64::from(stops(part)) << (16 * index)
                })
            });
        }
        at += found.trailing_zeros() as usize;
        if self.data[at] == b'"' {
            self.at = at + 1;
            return Ok(Str {
                start,
                end: at,
                escaped: false,
            });
        }
        self.escaped_string(start, at)
    }

    /// Goes on with a string where it is no longer plain.
    #[inline(never)]
    fn escaped_string(&mut self, start: usize, mut at: usize) -> Step<Str> {
        loop {
            match self.data[at] {
                b'"' => {
                    self.at = at + 1;
                    return Ok(Str {
                        start,
                        end: at,
                        escaped: true,
                    });
                }
                b'\\' => at = self.escape(at)?,
                0..0x20 if at >= self.len => return self.fault(at, Fault::Ends),
                byte @ 0..0x20 => return self.fault(at, Fault::Control(byte)),
                _ => {
                    let rest = &self.data[at..self.len];
                    at += memchr::memchr2(b'"', b'\\', rest)
                        .map_or(rest.len(), |found| control(&rest[..found]).unwrap_or(found));
                    if at < self.len && self.data[at] < 0x20 {
                        return self.fault(at, Fault::Control(self.data[at]));
                    }
                }
            }
        }
    }

    /// Checks the escape at a place, and returns where it ends.
    fn escape(&self, at: usize) -> Step<usize> {
        match self.data[at + 1] {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
            b'u' => {
                let Some(unit) = hex4(&self.data[at + 2..]) else {
                    return self.fault(at, Fault::Escape);
                };
                match unit {
                    0xD800..=0xDBFF => {
                        let low = match &self.data[at + 6..] {
                            [b'\\', b'u', rest @ ..] => hex4(rest),
                            _ => None,
                        };
                        match low {
                            Some(0xDC00..=0xDFFF) => Ok(at + 12),
                            _ => self.fault(at, Fault::Surrogate),
                        }
                    }
                    0xDC00..=0xDFFF => self.fault(at, Fault::Surrogate),
                    _ => Ok(at + 6),
                }
            }
            _ if at + 1 >= self.len => self.fault(at + 1, Fault::Ends),
            _ => self.fault(at, Fault::Escape),
        }
    }

    /// How many digits are at a place, and what they make of the number before them.
    #[inline(always)]
    fn digits(&self, start: usize, before: u64) -> (usize, u64) {
        let (mut at, mut value) = (start, before);
        loop {
            let values = self.word(at) ^ ZEROS;
            // Carries go upwards only, so that the lowest byte that is found is not a digit.
            let found = (values.wrapping_add(0x7676_7676_7676_7676) | values) & HIGH;
            if found == 0 {
                value = value
                    .wrapping_mul(100_000_000)
                    .wrapping_add(eight_digits(values));
                at += 8;
                continue;
            }
            let count = found.trailing_zeros() / 8;
            let values = (values << (56 - 8 * count)) << 8;
            value = value
                .wrapping_mul(POWERS[count as usize & 7])
                .wrapping_add(eight_digits(values));
            return (at + count as usize - start, value);
        }
    }

    /// Of an unsigned number of up to 7 digits before and after its point, how many these are, and where it ends. None says
    /// nothing: it may be another number, or none.
    #[inline(always)]
    pub(crate) fn short_number(&self) -> Option<(usize, usize, usize)> {
        let count = |at: usize| {
            let values = self.word(at) ^ ZEROS;
            let found = (values.wrapping_add(0x7676_7676_7676_7676) | values) & HIGH;
            found.trailing_zeros() as usize / 8
        };
        let whole = count(self.at);
        let (mut scale, mut end) = (0, self.at + whole);
        if self.data[end] == b'.' {
            scale = count(end + 1);
            end += 1 + scale;
            if scale == 0 {
                return None;
            }
        }
        let fits = (1..8).contains(&whole)
            && scale < 8
            && (whole == 1 || self.data[self.at] != b'0')
            && !matches!(self.data[end], b'e' | b'E');
        fits.then_some((whole, scale, end))
    }

    /// A number, whose first byte is here: `-` or a digit. It is written in place, because it is too large to be returned.
    #[inline(always)]
    pub(crate) fn number(&mut self, num: &mut Num) -> Step<()> {
        let start = self.at;
        let negative = self.data[start] == b'-';
        let mut at = start + usize::from(negative);
        let first = at;
        let (whole, mut mantissa) = self.digits(at, 0);
        at += whole;
        if whole == 0 || (whole > 1 && self.data[first] == b'0') {
            self.at = first;
            return self.bad_number(whole > 0);
        }
        let mut scale = 0;
        if self.data[at] == b'.' {
            at += 1;
            (scale, mantissa) = self.digits(at, mantissa);
            at += scale;
            if scale == 0 {
                self.at = at;
                return self.bad_number(false);
            }
        }
        let exponent = matches!(self.data[at], b'e' | b'E');
        if exponent {
            at += 1;
            at += usize::from(matches!(self.data[at], b'+' | b'-'));
            let (digits, _) = self.digits(at, 0);
            at += digits;
            if digits == 0 {
                self.at = at;
                return self.bad_number(false);
            }
        }
        self.at = at;
        num.start = start;
        num.end = at;
        num.mantissa = mantissa;
        num.whole = whole as u32;
        num.scale = scale as u32;
        num.negative = negative;
        num.exponent = exponent;
        Ok(())
    }

    #[cold]
    fn bad_number<T>(&self, zeros: bool) -> Step<T> {
        if zeros {
            return self.fault(self.at, Fault::LeadingZero);
        }
        self.expected("a digit")
    }

    /// `true`, `false` or `null`, whose first byte is here.
    #[inline]
    pub(crate) fn literal(&mut self, word: &'static [u8]) -> Step<()> {
        if self.data[self.at..].starts_with(word)
            && !self.data[self.at + word.len()].is_ascii_alphanumeric()
        {
            self.at += word.len();
            return Ok(());
        }
        self.expected("a value")
    }

    /// Goes down into an object or array.
    #[inline]
    pub(crate) fn down(&mut self) -> Step<()> {
        self.depth += 1;
        if self.depth > self.max_depth {
            return self.fault(self.at, Fault::Depth(self.max_depth));
        }
        Ok(())
    }

    /// How many objects and arrays are open.
    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }

    #[inline]
    pub(crate) fn up(&mut self) {
        self.depth -= 1;
    }

    /// A key that is not the one expected, and the colon after it.
    pub(crate) fn key(&mut self) -> Step<Str> {
        if self.data[self.at] != b'"' {
            return self.expected("a key in quotes");
        }
        let key = self.string()?;
        if self.blanks() != b':' {
            return self.expected("`:`");
        }
        self.at += 1;
        Ok(key)
    }

    /// Goes over a value of any kind. It takes no stack, however deep the value is.
    pub(crate) fn skip(&mut self) -> Step<()> {
        let (mut open, base) = (std::mem::take(&mut self.open), self.depth);
        open.clear();
        let result = self.skip_with(&mut open);
        self.open = open;
        if result.is_ok() {
            self.depth = base;
        }
        result
    }

    fn skip_with(&mut self, open: &mut Vec<bool>) -> Step<()> {
        loop {
            match self.blanks() {
                b'"' => {
                    self.string()?;
                }
                b'-' | b'0'..=b'9' => {
                    self.number(&mut Num::default())?;
                }
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                bracket @ (b'{' | b'[') => {
                    self.down()?;
                    self.at += 1;
                    let object = bracket == b'{';
                    let close = if object { b'}' } else { b']' };
                    if self.blanks() == close {
                        self.at += 1;
                        self.up();
                    } else {
                        open.push(object);
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => return self.expected("a value"),
            }
            // After a value.
            loop {
                let Some(object) = open.last().copied() else {
                    return Ok(());
                };
                match (self.blanks(), object) {
                    (b',', true) => {
                        self.at += 1;
                        self.blanks();
                        self.key()?;
                        break;
                    }
                    (b',', false) => {
                        self.at += 1;
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        self.up();
                        open.pop();
                    }
                    (_, true) => return self.expected("`,` or `}`"),
                    (_, false) => return self.expected("`,` or `]`"),
                }
            }
        }
    }
}

/// The number that the values of eight digits make, the first in the lowest place: "Faster integer parsing" by Ivan Kubica and
/// Daniel Lemire.
#[inline(always)]
fn eight_digits(values: u64) -> u64 {
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let high = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let low = ((pairs >> 16) & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    high.wrapping_add(low) >> 32
}

/// Where the first control character is.
fn control(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte < 0x20)
}

/// The number that four hexadecimal digits are.
fn hex4(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.first_chunk::<4>()?;
    digits.iter().try_fold(0, |value, byte| {
        char::from(*byte)
            .to_digit(16)
            .map(|digit| value << 4 | digit)
    })
}

/// Adds the content of a string, whose escapes were checked.
pub(crate) fn unescape(mut content: &[u8], out: &mut Vec<u8>) {
    while let Some(found) = memchr::memchr(b'\\', content) {
        out.extend_from_slice(&content[..found]);
        content = &content[found + 1..];
        let Some((kind, rest)) = content.split_first() else {
            return;
        };
        content = rest;
        let byte = match kind {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let mut unit = hex4(content).unwrap_or(0xFFFD);
                content = content.get(4..).unwrap_or_default();
                if let (0xD800..=0xDBFF, [b'\\', b'u', rest @ ..]) = (unit, content) {
                    let low = hex4(rest).unwrap_or(0xDC00);
                    unit = 0x10000 + ((unit - 0xD800) << 10) + (low & 0x3FF);
                    content = rest.get(4..).unwrap_or_default();
                }
                let character = char::from_u32(unit).unwrap_or('\u{FFFD}');
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            other => *other,
        };
        out.push(byte);
    }
    out.extend_from_slice(content);
}

/// Adds a value as it is written, without the blanks between its tokens.
pub(crate) fn compact(value: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < value.len() {
        match value[at] {
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            b'"' => {
                let mut end = at + 1;
                while let Some(found) = memchr::memchr2(b'"', b'\\', &value[end..]) {
                    end += found + 1;
                    if value[end - 1] == b'"' {
                        break;
                    }
                    end += 1;
                }
                out.extend_from_slice(&value[at..end.min(value.len())]);
                at = end;
            }
            other => {
                out.push(other);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn skipped(text: &[u8], depth: u32) -> Result<usize, Fault> {
        let mut data = text.to_vec();
        data.resize(text.len() + PADDING, 0);
        let mut lexer = Lexer::new(&data, text.len(), false, depth);
        match lexer.skip() {
            Ok(()) => Ok(lexer.at),
            Err(stop) => match *stop {
                Stop::Fault(at, fault) => {
                    assert!(at <= text.len());
                    Err(fault)
                }
                Stop::Misfit(_) => panic!("nothing is expected"),
            },
        }
    }

    #[test]
    fn depth_is_a_limit_and_takes_no_stack() {
        let deep = [b"[".repeat(1_000_000), b"]".repeat(1_000_000)].concat();
        assert_eq!(skipped(&deep, 128), Err(Fault::Depth(128)));
        assert_eq!(skipped(&deep, 1_000_000), Ok(2_000_000));
    }

    #[test]
    fn strings_are_unescaped() {
        let mut out = Vec::new();
        unescape(br#"a\n\u00e9\ud83d\ude00\\\"\/\u0000"#, &mut out);
        assert_eq!(out, "a\né😀\\\"/\0".as_bytes());
        out.clear();
        compact(b"{ \"a \\\" b\" : [ 1 , 2.50 ] }", &mut out);
        assert_eq!(out, b"{\"a \\\" b\":[1,2.50]}");
    }

    proptest! {
        #[test]
        fn short_numbers_are_numbers(text in "-?[0-9]{0,9}\\.?[0-9]{0,9}[eE]?[0-9]?|[0-9.eE+-]{1,5}", rest in "[,}/:\n ]") {
            let mut data = format!("{text}{rest}").into_bytes();
            let len = data.len();
            data.resize(len + PADDING, 0);
            let mut lexer = Lexer::new(&data, len, true, 1);
            let mut num = Num::default();
            let short = lexer.short_number();
            let known = lexer.number(&mut num).is_ok() && num.end == len - 1;
            let wanted = known && !num.exponent && !num.negative && num.whole < 8 && num.scale < 8;
            prop_assert_eq!(short.filter(|(.., end)| *end == len - 1), wanted.then_some((num.whole as usize, num.scale as usize, num.end)));
        }

        #[test]
        fn numbers_are_their_digits(whole in "0|[1-9][0-9]{0,9}", fraction in "([0-9]{1,9})?", rest in "[,}/:\n]") {
            let point = if fraction.is_empty() { "" } else { "." };
            let mut data = format!("-{whole}{point}{fraction}{rest}").into_bytes();
            let len = data.len();
            data.resize(len + PADDING, 0);
            let mut num = Num::default();
            Lexer::new(&data, len, true, 1).number(&mut num).expect("a number");
            prop_assert_eq!(num.mantissa, format!("{whole}{fraction}").parse::<u64>().expect("19 digits"));
            prop_assert_eq!((num.whole as usize, num.scale as usize), (whole.len(), fraction.len()));
            prop_assert_eq!(num.end, len - 1);
        }

        #[test]
        fn what_is_json_is_what_serde_reads(text in "[\\[\\]{}:, \"\\\\abu0-9.eE+\\-\n\t]{0,12}") {
            let serde = serde_json::from_str::<serde_json::Value>(&text);
            let ours = skipped(text.as_bytes(), 100);
            let whole = matches!(ours, Ok(end) if text.as_bytes()[end..].iter().all(u8::is_ascii_whitespace));
            // A number that is too large for a float is JSON all the same.
            let large = matches!(&serde, Err(error) if error.to_string().contains("out of range"));
            prop_assert_eq!(whole, serde.is_ok() || large, "{:?} {:?}", ours, serde);
        }
    }
}
