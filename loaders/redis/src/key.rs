//! Keys: a pattern with columns in braces, escaped so that two rows never have one key by accident.
//!
//! In the text of a column, `%` and every sign of the pattern's own text that is neither a letter nor a digit are written as `%XX`;
//! a null that equals other nulls is `%N`. Two columns have such a sign between them. So a key can be parsed in one way only, and
//! keys of a target can be distinguished from those of any other target with the same pattern.

use arrow_schema::Schema;
use arrowload_core::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::encode::{Column, Format};
use crate::own::PREFIX;

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Text as it is.
    Text(Vec<u8>),
    /// A column, by its position in the schema.
    Column(usize),
    /// An id that the load's id and the row's number determine.
    Uuid,
    /// The row's number in the load.
    Row,
}

/// The pattern of a load's keys.
#[derive(Debug, Clone)]
pub(crate) struct KeyPattern {
    pub(crate) text: String,
    parts: Vec<Part>,
    /// Characters that must be escaped in values.
    escaped: [bool; 256],
    /// Whether the key of a row could be one of the loader's own keys.
    meets_own: bool,
    load_hash: u64,
}

/// What `{table}` and `{generation}` stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) target: &'a str,
    pub(crate) load_id: &'a str,
    pub(crate) generation: Option<&'a str>,
}

fn refused(text: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidOption,
        format!("the key_pattern `{text}` {why}"),
    )
    .with("key", "key_pattern")
}

/// The prefix for a column whose name has another meaning in a pattern.
const COLUMN: &str = "column:";

/// The name of a column as a pattern has it.
fn braced(name: &str) -> String {
    let before = if matches!(name, "table" | "uuid" | "row" | "generation") {
        COLUMN
    } else {
        ""
    };
    format!("{{{before}{}}}", name.replace('{', "{{").replace('}', "}}"))
}

/// The position of a column that a pattern names.
fn column(schema: &Schema, name: &str) -> Option<usize> {
    let position = |name: &str| {
        schema
            .fields()
            .iter()
            .position(|field| field.name() == name)
    };
    position(name).or_else(|| position(name.strip_prefix(COLUMN)?))
}

/// The pattern of a load that names none.
pub(crate) fn default_pattern(keys: &[String], gathers: bool, generation: bool) -> String {
    let middle = if generation { "{generation}:" } else { "" };
    let end = match (keys, gathers) {
        (_, true) => {
            return if generation {
                "{table}:{generation}".into()
            } else {
                "{table}".into()
            };
        }
        ([], false) => "{uuid}".to_owned(),
        (keys, false) => keys
            .iter()
            .map(|key| braced(key))
            .collect::<Vec<_>>()
            .join(":"),
    };
    format!("{{table}}:{middle}{end}")
}

/// Splits a pattern into text and names in braces.
fn tokens(pattern: &str) -> Result<Vec<(bool, String)>> {
    let mut tokens = Vec::new();
    let mut text = String::new();
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '{' | '}' if letters.peek() == Some(&letter) => {
                letters.next();
                text.push(letter);
            }
            '}' => {
                return Err(refused(
                    pattern,
                    "has a } without {; a brace itself is written twice",
                ));
            }
            '{' => {
                if !text.is_empty() {
                    tokens.push((false, std::mem::take(&mut text)));
                }
                let mut name = String::new();
                loop {
                    match letters.next() {
                        None => {
                            return Err(refused(
                                pattern,
                                "has a { without }; a brace itself is written twice",
                            ));
                        }
                        Some('}')
                            if letters.peek() == Some(&'}')
                                && !name.is_empty()
                                && name.contains('{') =>
                        {
                            letters.next();
                            name.push('}');
                        }
                        Some('}') => break,
                        Some('{') if letters.peek() == Some(&'{') => {
                            letters.next();
                            name.push('{');
                        }
                        Some(other) => name.push(other),
                    }
                }
                tokens.push((true, name));
            }
            other => text.push(other),
        }
    }
    if !text.is_empty() {
        tokens.push((false, text));
    }
    Ok(tokens)
}

impl KeyPattern {
    /// Reads a pattern for a load of these columns.
    pub(crate) fn parse(pattern: &str, schema: &Schema, names: Names<'_>) -> Result<Self> {
        Self::read(pattern, Some(schema), names)
    }

    /// Reads a pattern of former loads, which finds keys and makes none.
    pub(crate) fn of_keys(pattern: &str, names: Names<'_>) -> Result<Self> {
        Self::read(pattern, None, names)
    }

    fn read(pattern: &str, schema: Option<&Schema>, names: Names<'_>) -> Result<Self> {
        let mut parts: Vec<Part> = Vec::new();
        let push_text = |parts: &mut Vec<Part>, text: &str| match parts.last_mut() {
            Some(Part::Text(before)) => before.extend_from_slice(text.as_bytes()),
            _ => parts.push(Part::Text(text.as_bytes().to_vec())),
        };
        for (named, token) in tokens(pattern)? {
            match (named, token.as_str()) {
                (false, text) => push_text(&mut parts, text),
                (true, "table") => push_text(&mut parts, names.target),
                (true, "uuid") => parts.push(Part::Uuid),
                (true, "row") => parts.push(Part::Row),
                (true, "generation") => {
                    let why = "has {generation}, which needs overwrite = generation, or a target that has been loaded so";
                    push_text(
                        &mut parts,
                        names.generation.ok_or_else(|| refused(pattern, why))?,
                    );
                }
                (true, name) => parts.push(Part::Column(match schema {
                    Some(schema) => column(schema, name).ok_or_else(|| {
                        let columns: Vec<&str> = schema
                            .fields()
                            .iter()
                            .map(|field| field.name().as_str())
                            .collect();
                        let why = format!(
                            "names `{name}`, which is not a column; there are: {}, table, uuid, row",
                            columns.join(", ")
                        );
                        refused(pattern, &why)
                    })?,
                    None => usize::MAX,
                })),
            }
        }
        let mut escaped = [false; 256];
        escaped[usize::from(b'%')] = true;
        for part in &parts {
            let Part::Text(text) = part else { continue };
            text.iter()
                .filter(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric())
                .for_each(|byte| escaped[usize::from(*byte)] = true);
        }
        let separates = |part: &Part| matches!(part, Part::Text(text) if text.iter().any(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric() && *byte != b'%'));
        let mut open = false;
        for part in &parts {
            match part {
                Part::Text(_) => open &= !separates(part),
                _ if open => {
                    return Err(refused(
                        pattern,
                        "has two columns with no sign such as `:` between them, so that keys could be equal",
                    ));
                }
                _ => open = true,
            }
        }
        if parts.is_empty() {
            return Err(refused(pattern, "is empty"));
        }
        let load_hash = xxh3_128_with_seed(names.load_id.as_bytes(), 0) as u64;
        let mut pattern = Self {
            text: pattern.to_owned(),
            parts,
            escaped,
            meets_own: false,
            load_hash,
        };
        let (start, own) = (pattern.start(), PREFIX.as_bytes());
        pattern.meets_own = start.starts_with(own) || own.starts_with(start);
        if pattern.start().starts_with(own) {
            let why = "begins with `arrowload:`, as only the loader's own keys do";
            return Err(refused(&pattern.text, why));
        }
        Ok(pattern)
    }

    /// The text that all keys begin with.
    pub(crate) fn start(&self) -> &[u8] {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => b"",
        }
    }

    /// Whether its keys can be distinguished from those of others: they begin with text. Any key may begin with the value of a
    /// column.
    pub(crate) fn is_told_apart(&self) -> bool {
        let letter = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
        self.start().iter().any(letter)
    }

    /// Refuses a pattern whose keys cannot be distinguished from those of others.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`].
    pub(crate) fn must_be_told_apart(&self, what: &str) -> Result<()> {
        if self.is_told_apart() {
            return Ok(());
        }
        let why = format!(
            "fits keys that no load has written, so that {what} could touch them; begin it with text, as in `{{table}}:…`"
        );
        Err(refused(&self.text, &why))
    }

    /// The one key of all rows, if no row has one of its own.
    pub(crate) fn constant(&self) -> Option<&[u8]> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether each row of each load has a key of its own.
    pub(crate) fn is_unique(&self) -> bool {
        self.parts.contains(&Part::Uuid)
    }

    /// Whether a row's number is part of its key.
    pub(crate) fn is_numbered(&self) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Uuid | Part::Row))
    }

    /// Writes a row's key into an empty buffer.
    ///
    /// # Errors
    /// Why it has none: a column that is null, unless nulls match; a value without text; a key of the loader's own.
    pub(crate) fn write(
        &self,
        columns: &[Column],
        row: usize,
        number: u64,
        nulls_match: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), NoKey> {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Row => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
                Part::Uuid => {
                    let start = out.len();
                    uuid(self.load_hash, number, out);
                    self.escape(start, out);
                }
                Part::Column(index) => {
                    let Some(column) = columns.get(*index) else {
                        return Err(NoKey::Value(0, "is not a column of the load"));
                    };
                    if column.is_null(row) {
                        if !nulls_match {
                            return Err(NoKey::Null(*index));
                        }
                        out.extend_from_slice(b"%N");
                        continue;
                    }
                    let start = out.len();
                    column
                        .text(row, &Format::REDIS, out)
                        .map_err(|why| NoKey::Value(*index, why))?;
                    self.escape(start, out);
                }
            }
        }
        if self.meets_own && out.starts_with(PREFIX.as_bytes()) {
            return Err(NoKey::Own);
        }
        Ok(())
    }

    fn escape(&self, start: usize, out: &mut Vec<u8>) {
        if !out[start..]
            .iter()
            .any(|byte| self.escaped[usize::from(*byte)])
        {
            return;
        }
        let plain = out.split_off(start);
        for byte in plain {
            if self.escaped[usize::from(byte)] {
                out.extend_from_slice(format!("%{byte:02X}").as_bytes());
            } else {
                out.push(byte);
            }
        }
    }

    /// The keys of the pattern as Redis's `MATCH` finds them, and perhaps others, which [`owns`](Self::owns) tells apart.
    pub(crate) fn glob(&self) -> Vec<u8> {
        let mut glob = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => {
                    for byte in text {
                        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^') {
                            glob.push(b'\\');
                        }
                        glob.push(*byte);
                    }
                }
                _ => glob.push(b'*'),
            }
        }
        glob
    }

    /// Whether a key is one of the pattern's. A key of the loader's own never is.
    pub(crate) fn owns(&self, key: &[u8]) -> bool {
        if self.meets_own && key.starts_with(PREFIX.as_bytes()) {
            return false;
        }
        let mut rest = key;
        for (index, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(text) => match rest.strip_prefix(text.as_slice()) {
                    Some(after) => rest = after,
                    None => return false,
                },
                _ => {
                    // A value ends where the text after it begins, which holds a sign that values never have.
                    let end = match self.parts.get(index + 1) {
                        Some(Part::Text(text)) => match find(rest, text) {
                            Some(end) => end,
                            None => return false,
                        },
                        _ => rest.len(),
                    };
                    if rest[..end]
                        .iter()
                        .any(|byte| *byte != b'%' && self.escaped[usize::from(*byte)])
                    {
                        return false;
                    }
                    rest = &rest[end..];
                }
            }
        }
        rest.is_empty()
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    // The last column may be followed by plain letters: then they are at the end.
    let first = text
        .windows(wanted.len())
        .position(|window| window == wanted)?;
    let plain = wanted.iter().all(u8::is_ascii_alphanumeric);
    if plain {
        text.len()
            .checked_sub(wanted.len())
            .filter(|end| text[*end..] == *wanted)
    } else {
        Some(first)
    }
}

/// Why a row has no key, with the position of the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoKey {
    Null(usize),
    Value(usize, &'static str),
    /// It would be one of the loader's own.
    Own,
}

/// A UUID (version 8) that the load and the row determine: repeating the load makes it again.
fn uuid(load_hash: u64, number: u64, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let hash = xxh3_128_with_seed(&number.to_le_bytes(), load_hash);
    let bits = hash & !(0xf << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    for (index, byte) in bits.to_be_bytes().into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use proptest::prelude::*;

    use super::*;

    const NAMES: Names<'_> = Names {
        target: "t",
        load_id: "l",
        generation: None,
    };

    fn columns(a: Vec<String>, b: Vec<i64>) -> (RecordBatch, Vec<Column>) {
        let arrays: [(&str, ArrayRef); 2] = [
            ("a", Arc::new(StringArray::from(a))),
            ("b", Arc::new(Int64Array::from(b))),
        ];
        let batch = RecordBatch::try_from_iter(arrays).expect("a batch");
        let columns = batch.columns().iter().map(Column::new).collect();
        (batch, columns)
    }

    fn key(pattern: &str, a: &str, b: i64) -> String {
        let (batch, columns) = columns(vec![a.into()], vec![b]);
        let pattern = KeyPattern::parse(pattern, &batch.schema(), NAMES).expect("a pattern");
        let mut out = Vec::new();
        pattern
            .write(&columns, 0, 7, false, &mut out)
            .expect("a key");
        assert!(pattern.owns(&out), "{}", String::from_utf8_lossy(&out));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn patterns_are_filled_and_escaped() {
        assert_eq!(key("{table}:{b}", "", 5), "t:5");
        assert_eq!(key("{table}:{a}:{b}", "x:y%", -5), "t:x%3Ay%25:-5");
        assert_eq!(key("{a}-{b}", "x-", -5), "x%2D-%2D5");
        assert_eq!(key("{{{a}}}:{row}", "x", 0), "{x}:7");
        assert_eq!(key("{table}:{uuid}", "x", 0).len(), 38);
        assert_eq!(key("{column:a}:{b}", "x", 0), "x:0");
        assert_eq!(
            default_pattern(&["row".into(), "x".into()], false, false),
            "{table}:{column:row}:{x}"
        );
    }

    #[test]
    fn patterns_that_could_collide_or_are_malformed_are_refused() {
        let (batch, _) = columns(vec![], vec![]);
        for pattern in [
            "{a}{b}",
            "{a}x{b}",
            "{table}:{c}",
            "{a",
            "a}",
            "",
            "{generation}:{a}",
            "{a}%{b}",
            "arrowload:{a}",
            "arrowload:x",
        ] {
            let error = KeyPattern::parse(pattern, &batch.schema(), NAMES).expect_err(pattern);
            assert_eq!(error.kind(), ErrorKind::InvalidOption, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_that_begins_with_a_column_owns_no_key_of_the_loader_and_makes_none() {
        let (batch, columns) = columns(vec!["arrowload:{t}:target".into(), "x".into()], vec![1, 2]);
        let schema = batch.schema();
        let parse = |pattern| KeyPattern::parse(pattern, &schema, NAMES).expect("a pattern");
        for pattern in ["{a}", "arrow{a}", "{{{a}}}", "{a}:x"] {
            let apart = parse(pattern).must_be_told_apart("overwrite");
            assert_eq!(apart.is_ok(), pattern == "arrow{a}", "{pattern}");
        }
        let pattern = parse("{a}");
        assert!(pattern.owns(b"x") && !pattern.owns(b"arrowload:{t}:target"));
        let mut out = Vec::new();
        let written = pattern.write(&columns, 0, 0, false, &mut out);
        assert_eq!(written, Err(NoKey::Own));
        out.clear();
        assert_eq!(pattern.write(&columns, 1, 0, false, &mut out), Ok(()));
    }

    #[test]
    fn a_key_of_another_target_is_not_owned() {
        let (batch, _) = columns(vec![], vec![]);
        let pattern = KeyPattern::parse("{table}:{a}", &batch.schema(), NAMES).expect("a pattern");
        assert!(pattern.owns(b"t:x") && pattern.owns(b"t:x%3Ay") && pattern.owns(b"t:"));
        assert!(!pattern.owns(b"t:x:y") && !pattern.owns(b"u:x") && !pattern.owns(b"t"));
    }

    proptest! {
        #[test]
        fn two_rows_never_have_one_key(
            rows in prop::collection::vec(("[a:%{}x-]{0,4}", -3_i64..3), 1..40),
            pattern in prop::sample::select(vec!["{a}:{b}", "{a}x:x{b}", "k{a}-{b}x", "{b}::{a}", "{{{a}}}{b}", "{b}%:{a}"]),
        ) {
            let (texts, numbers): (Vec<String>, Vec<i64>) = rows.iter().cloned().unzip();
            let (batch, columns) = columns(texts, numbers);
            let pattern = KeyPattern::parse(pattern, &batch.schema(), NAMES).expect("a pattern");
            let mut seen: HashMap<Vec<u8>, &(String, i64)> = HashMap::new();
            for (index, row) in rows.iter().enumerate() {
                let mut key = Vec::new();
                pattern.write(&columns, index, 0, false, &mut key).expect("a key");
                prop_assert!(pattern.owns(&key));
                prop_assert_eq!(*seen.entry(key).or_insert(row), row);
            }
        }
    }
}
