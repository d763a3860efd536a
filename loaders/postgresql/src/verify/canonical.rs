//! Fields in a form that does not depend on how a value is written: the same for what was sent and what the server holds.

use std::collections::BTreeMap;

use arrowload_core::{Error, ErrorKind, Result};

use crate::types::Kind;

/// An order-free sum over fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sum {
    fields: u64,
    nulls: u64,
    sum: u64,
}

impl Sum {
    /// Adds a field.
    pub(super) fn add(&mut self, kind: &Kind, field: Option<&[u8]>) -> Result<()> {
        self.fields += 1;
        match field {
            None => self.nulls += 1,
            Some(field) => {
                let mut form = Vec::with_capacity(field.len());
                let malformed = || {
                    Error::new(
                        ErrorKind::Unexpected,
                        "a field that was read back cannot be understood",
                    )
                };
                canonical(kind, field, &mut form).ok_or_else(malformed)?;
                self.sum = self.sum.wrapping_add(xxhash_rust::xxh3::xxh3_64(&form));
            }
        }
        Ok(())
    }
}

fn canonical(kind: &Kind, field: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match kind {
        Kind::Numeric(_) => numeric(field, out)?,
        Kind::Bpchar(_) => out.extend_from_slice(
            &field[..field
                .iter()
                .rposition(|byte| *byte != b' ')
                .map_or(0, |last| last + 1)],
        ),
        Kind::Jsonb => {
            Json::parse(std::str::from_utf8(field.strip_prefix(&[1])?).ok()?)?.write(out)
        }
        Kind::Json => out.extend_from_slice(field),
        // The third byte says whether it is a cidr, which the column knows.
        Kind::Inet | Kind::Cidr => out.extend(
            field
                .iter()
                .enumerate()
                .map(|(index, byte)| if index == 2 { 0 } else { *byte }),
        ),
        Kind::Array(element) => array(&element.kind, field, out)?,
        _ => out.extend_from_slice(field),
    }
    Some(())
}

/// Groups without zeros at either end, whatever number of digits is shown.
fn numeric(field: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (head, groups) = field.split_at_checked(8)?;
    let mut weight = i16::from_be_bytes([head[2], head[3]]);
    let mut groups: Vec<u16> = groups
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .collect();
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let zeros = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..zeros);
    weight -= zeros as i16;
    let is_number = matches!([head[4], head[5]], [0, 0] | [0x40, 0]);
    if groups.is_empty() && is_number {
        out.push(0);
        return Some(());
    }
    out.extend_from_slice(&head[4..6]);
    out.extend_from_slice(&weight.to_be_bytes());
    groups
        .iter()
        .for_each(|group| out.extend_from_slice(&group.to_be_bytes()));
    Some(())
}

fn array(element: &Kind, field: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let word = |at: usize| {
        field
            .get(at..at + 4)?
            .first_chunk()
            .copied()
            .map(i32::from_be_bytes)
    };
    let dimensions = usize::try_from(word(0)?).ok()?;
    let shape = 12..12 + 8 * dimensions;
    out.extend_from_slice(field.get(shape.clone())?);
    let mut at = shape.end;
    while at < field.len() {
        let length = word(at)?;
        at += 4;
        out.extend_from_slice(&length.min(0).to_be_bytes());
        if let Ok(length) = usize::try_from(length) {
            let mut form = Vec::new();
            canonical(element, field.get(at..at + length)?, &mut form)?;
            out.extend_from_slice(&form.len().to_be_bytes());
            out.extend_from_slice(&form);
            at += length;
        }
    }
    Some(())
}

/// A document as `jsonb` understands it: names in no order, the last of a name counts, numbers by their value.
enum Json {
    /// `null`, `true`, `false`, or a number's sign, digits and exponent.
    Plain(String),
    Text(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Json {
    fn parse(text: &str) -> Option<Self> {
        let mut parser = Parser { text, at: 0 };
        let value = parser.value(0)?;
        parser.peek().is_none().then_some(value)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let put = |out: &mut Vec<u8>, tag: u8, text: &str| {
            out.push(tag);
            out.extend_from_slice(&text.len().to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        };
        match self {
            Self::Plain(text) => put(out, b'p', text),
            Self::Text(text) => put(out, b's', text),
            Self::Array(items) => {
                out.push(b'[');
                items.iter().for_each(|item| item.write(out));
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (name, value) in members {
                    put(out, b's', name);
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

/// Deeper documents than PostgreSQL takes by default are not read back.
const DEEPEST: usize = 6_000;

impl Parser<'_> {
    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek()? {
            b'"' => self.string().map(Json::Text),
            b'[' => {
                let mut items = Vec::new();
                self.members(b']', |parser| {
                    items.push(parser.value(depth + 1)?);
                    Some(())
                })?;
                Some(Json::Array(items))
            }
            b'{' => {
                let mut members = BTreeMap::new();
                self.members(b'}', |parser| {
                    let name = parser.string()?;
                    parser.take(b':')?;
                    members.insert(name, parser.value(depth + 1)?);
                    Some(())
                })?;
                Some(Json::Object(members))
            }
            _ => {
                let rest = &self.text[self.at..];
                let word = &rest[..rest
                    .find([',', ']', '}', ' ', '\n', '\t', '\r'])
                    .unwrap_or(rest.len())];
                self.at += word.len();
                Some(Json::Plain(number(word).unwrap_or_else(|| word.to_owned())))
            }
        }
    }

    /// What stands between brackets, with commas between.
    fn members(&mut self, end: u8, mut member: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.at += 1;
        if self.peek()? == end {
            self.at += 1;
            return Some(());
        }
        loop {
            member(self)?;
            match self.peek()? {
                b',' => self.at += 1,
                byte if byte == end => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// A text, whose escapes are those that any JSON has.
    fn string(&mut self) -> Option<String> {
        self.take(b'"')?;
        let start = self.at - 1;
        let bytes = self.text.as_bytes();
        while *bytes.get(self.at)? != b'"' {
            self.at += if bytes[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        serde_json::from_str(self.text.get(start..self.at)?).ok()
    }
}

/// A number's sign, its digits without zeros at either end, and its exponent.
fn number(word: &str) -> Option<String> {
    let (negative, word) = word
        .strip_prefix('-')
        .map_or((false, word), |rest| (true, rest));
    let (digits, exponent) = word.split_once(['e', 'E']).unwrap_or((word, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let joined = format!("{whole}{fraction}");
    let significant = joined.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some("0".into());
    }
    let zeros = joined.len() - joined.trim_end_matches('0').len();
    let exponent = exponent.trim_start_matches('+').parse::<i64>().ok()? - fraction.len() as i64
        + zeros as i64;
    Some(format!(
        "{}{significant}e{exponent}",
        if negative { "-" } else { "" }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(kind: &Kind, field: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        canonical(kind, field, &mut out).expect("a field");
        out
    }

    #[test]
    fn documents_are_equal_as_jsonb_says() {
        let of = |text: &str| form(&Kind::Jsonb, format!("\u{1}{text}").as_bytes());
        for (one, other) in [
            (
                r#"{"b":1,"a":[1.50,-0,1e2]}"#,
                r#"{"a": [1.5, 0, 100], "b": 1.0}"#,
            ),
            (r#""\u00e9\n""#, "\"é\\n\""),
            (r#"{"a":1,"a":2}"#, r#"{"a": 2}"#),
            ("[]", " [ ] "),
        ] {
            assert_eq!(of(one), of(other), "{one}");
        }
        for (one, other) in [
            ("1", "\"1\""),
            ("[1,2]", "[2,1]"),
            ("[[1],2]", "[1,[2]]"),
            ("null", "{}"),
            ("10", "1"),
            ("0.1", "0.01"),
        ] {
            assert_ne!(of(one), of(other), "{one}");
        }
    }

    #[test]
    fn numbers_are_equal_whatever_they_show() {
        let of = |groups: &[u16], weight: i16, sign: u16, shown: u16| {
            let head = [groups.len() as u16, weight.cast_unsigned(), sign, shown];
            form(
                &Kind::Numeric(None),
                &head
                    .iter()
                    .chain(groups)
                    .flat_map(|word| word.to_be_bytes())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(of(&[1, 5000], 0, 0, 1), of(&[1, 5000, 0], 0, 0, 8));
        assert_eq!(of(&[0, 1], 1, 0, 0), of(&[1], 0, 0, 0));
        assert_eq!(of(&[], 0, 0, 0), of(&[0], 3, 0x4000, 2));
        assert_ne!(of(&[1], 0, 0, 0), of(&[1], 0, 0x4000, 0));
        assert_ne!(of(&[], 0, 0xC000, 0), of(&[], 0, 0, 0));
    }
}
