//! Rows, value by value, straight into the buffers of arrays.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, LargeBinaryArray, LargeStringArray, ListArray, StringArray,
    StringViewArray, StructArray, new_null_array,
};
use arrow_buffer::{NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, FieldRef, Fields};
use arrowload_common_text_files::Rules;
use arrowload_core::Result;

use crate::lexer::{Lexer, Misplaced, Num, Step, Stop, Str, compact, unescape};
use crate::names::{Key, Names, duplicate, key_text};
use crate::node::{Member, Node};
use crate::options::DuplicateKeys;
use crate::scalar::{Scalar, scalar};

/// What strings become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Only strings fit.
    Text,
    /// Strings as they are, other values as they are written.
    Anything,
    /// All values as they are written.
    Json,
    /// The bytes that hexadecimal digits in strings stand for.
    Hexadecimal,
}

/// Texts in the making.
pub(crate) struct Strings {
    style: Style,
    data_type: DataType,
    offsets: Vec<i32>,
    values: Vec<u8>,
    valid: NullBufferBuilder,
    scratch: Vec<u8>,
}

impl Strings {
    fn new(style: Style, data_type: DataType) -> Self {
        Self {
            style,
            data_type,
            offsets: vec![0],
            values: Vec::new(),
            valid: NullBufferBuilder::new(1_024),
            scratch: Vec::new(),
        }
    }

    #[inline]
    fn end(&mut self) {
        // A chunk has less than 1 GiB, and no value is longer than it is written.
        self.offsets.push(self.values.len() as i32);
        self.valid.append_non_null();
    }

    fn null(&mut self) {
        self.offsets.push(self.values.len() as i32);
        self.valid.append_null();
    }

    /// Takes a string; whether it fits.
    #[inline]
    fn string(&mut self, lexer: &Lexer<'_>, text: Str) -> bool {
        let len = text.end - text.start;
        match (self.style, text.escaped) {
            (Style::Text | Style::Anything, false) => {
                let start = self.values.len();
                match lexer.data[text.start..].first_chunk::<64>() {
                    // A copy of a fixed size is a few moves.
                    Some(bytes) if len <= 64 => {
                        self.values.extend_from_slice(bytes);
                        self.values.truncate(start + len);
                    }
                    _ => self
                        .values
                        .extend_from_slice(&lexer.data[text.start..text.end]),
                }
            }
            (Style::Text | Style::Anything, true) => {
                self.values.reserve(len);
                unescape(&lexer.data[text.start..text.end], &mut self.values);
            }
            (Style::Json, _) => self
                .values
                .extend_from_slice(&lexer.data[text.start - 1..=text.end]),
            (Style::Hexadecimal, _) => {
                self.scratch.clear();
                unescape(&lexer.data[text.start..text.end], &mut self.scratch);
                let before = self.values.len();
                if unhex(&self.scratch, &mut self.values).is_none() {
                    self.values.truncate(before);
                    return false;
                }
            }
        }
        self.end();
        true
    }

    fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len + 1);
        let bytes = self.offsets.last().copied().unwrap_or(0);
        self.values.truncate(bytes as usize);
        self.valid.truncate(len);
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let capacity = self.offsets.len();
        let offsets = std::mem::replace(&mut self.offsets, Vec::with_capacity(capacity));
        self.offsets.push(0);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let values = std::mem::take(&mut self.values).into();
        let valid = self.valid.finish();
        let wide = |offsets: &OffsetBuffer<i32>| {
            let wide: Vec<i64> = offsets.iter().map(|offset| i64::from(*offset)).collect();
            OffsetBuffer::new(ScalarBuffer::from(wide))
        };
        Ok(match self.data_type {
            DataType::Binary => Arc::new(BinaryArray::try_new(offsets, values, valid)?),
            DataType::LargeBinary => {
                Arc::new(LargeBinaryArray::try_new(wide(&offsets), values, valid)?)
            }
            DataType::LargeUtf8 => {
                Arc::new(LargeStringArray::try_new(wide(&offsets), values, valid)?)
            }
            DataType::Utf8View => {
                let array = StringArray::try_new(offsets, values, valid)?;
                Arc::new(StringViewArray::from(&array))
            }
            _ => Arc::new(StringArray::try_new(offsets, values, valid)?),
        })
    }
}

fn unhex(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_chunks::<2>();
    for [high, low] in pairs {
        out.push(digit(*high)? << 4 | digit(*low)?);
    }
    rest.is_empty().then_some(())
}

/// Objects in the making.
pub(crate) struct Structs {
    names: Names,
    pub(crate) children: Vec<Builder>,
    /// The number of the last object that had each member.
    filled: Vec<u64>,
    objects: u64,
    valid: NullBufferBuilder,
    rows: usize,
}

/// Arrays in the making.
pub(crate) struct Lists {
    field: FieldRef,
    child: Builder,
    offsets: Vec<i32>,
    valid: NullBufferBuilder,
}

/// An array in the making.
pub(crate) enum Builder {
    /// It is not wanted: its values are skipped, and only counted.
    Skip(usize),
    /// No value is known: only nulls fit.
    Unknown(usize),
    Strings(Strings),
    Scalar(Box<dyn Scalar>),
    Struct(Box<Structs>),
    List(Box<Lists>),
}

/// Which parts of a tree are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    None,
    All,
    /// By member.
    Members(Vec<Wanted>),
}

impl Structs {
    pub(crate) fn new(members: &[Member], wanted: &Wanted, rules: &Arc<Rules>) -> Result<Self> {
        let mut structs = Self {
            names: Names::default(),
            children: Vec::with_capacity(members.len()),
            filled: vec![0; members.len()],
            objects: 0,
            valid: NullBufferBuilder::new(1_024),
            rows: 0,
        };
        for (index, member) in members.iter().enumerate() {
            let part = match wanted {
                Wanted::None => &Wanted::None,
                Wanted::All => &Wanted::All,
                Wanted::Members(parts) => parts.get(index).unwrap_or(&Wanted::None),
            };
            structs.names.push(member.name.as_bytes());
            let child = Builder::new(&member.node, part, rules);
            let child = child.map_err(|error| error.with("column", &member.name))?;
            structs.children.push(child);
        }
        Ok(structs)
    }

    /// Makes room for so many rows.
    pub(crate) fn reserve(&mut self, rows: usize) {
        for child in &mut self.children {
            match child {
                Builder::Strings(strings) => strings.offsets.reserve(rows),
                Builder::Scalar(scalar) => scalar.reserve(rows),
                Builder::Struct(structs) => structs.reserve(rows),
                _ => {}
            }
        }
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        for child in &mut self.children {
            child.truncate(len);
        }
        self.valid.truncate(len);
        self.rows = len;
    }

    fn null(&mut self) {
        for child in &mut self.children {
            child.null();
        }
        self.valid.append_null();
        self.rows += 1;
    }

    /// Takes a row that is not an object, but a value: there is one column.
    pub(crate) fn value(&mut self, lexer: &mut Lexer<'_>, duplicates: DuplicateKeys) -> Step<()> {
        if let Some(child) = self.children.first_mut() {
            child
                .value(lexer, duplicates)
                .map_err(|stop| stop.below(self.names.get(0)))?;
        }
        self.valid.append_non_null();
        self.rows += 1;
        Ok(())
    }

    /// Takes an object, whose `{` has been read.
    pub(crate) fn object(&mut self, lexer: &mut Lexer<'_>, duplicates: DuplicateKeys) -> Step<()> {
        lexer.down()?;
        self.objects += 1;
        let (mut next, mut count) = (0, 0);
        if lexer.blanks() == b'}' {
            lexer.at += 1;
        } else {
            loop {
                let start = lexer.at;
                let index = match self.names.read(lexer, next)? {
                    Key::Known(index) => index,
                    Key::Unknown(key) => return unknown(lexer, start, key),
                };
                let child = &mut self.children[index];
                if self.filled[index] == self.objects {
                    if duplicates == DuplicateKeys::Error {
                        return lexer.fault(start, duplicate(self.names.get(index)));
                    }
                    child.truncate(self.rows);
                } else {
                    self.filled[index] = self.objects;
                    count += 1;
                }
                if let Err(stop) = child.value(lexer, duplicates) {
                    return Err(stop.below(self.names.get(index)));
                }
                next = index + 1;
                match lexer.blanks() {
                    b',' => {
                        lexer.at += 1;
                        lexer.blanks();
                    }
                    b'}' => {
                        lexer.at += 1;
                        break;
                    }
                    _ => return lexer.expected("`,` or `}`"),
                }
            }
        }
        if count < self.children.len() {
            for (child, filled) in self.children.iter_mut().zip(&self.filled) {
                if *filled != self.objects {
                    child.null();
                }
            }
        }
        self.valid.append_non_null();
        self.rows += 1;
        lexer.up();
        Ok(())
    }

    /// The arrays of the members; none where a member is not wanted.
    pub(crate) fn finish(
        &mut self,
        members: &[Member],
    ) -> Result<(Vec<Option<ArrayRef>>, Option<NullBuffer>)> {
        let arrays = self.children.iter_mut().zip(members);
        let arrays = arrays
            .map(|(child, member)| child.finish(&member.node))
            .collect::<Result<_>>()?;
        self.rows = 0;
        Ok((arrays, self.valid.finish()))
    }
}

/// A key that no column has.
#[cold]
fn unknown(lexer: &mut Lexer<'_>, start: usize, key: Str) -> Step<()> {
    let name = String::from_utf8_lossy(&key_text(lexer, key)).into_owned();
    lexer.skip()?;
    Err(Box::new(Stop::Misfit(Misplaced {
        start,
        end: lexer.at,
        path: vec![name],
        unknown_key: true,
    })))
}

impl Builder {
    pub(crate) fn new(node: &Node, wanted: &Wanted, rules: &Arc<Rules>) -> Result<Self> {
        if *wanted == Wanted::None {
            return Ok(Self::Skip(0));
        }
        Ok(match node {
            Node::Unknown => Self::Unknown(0),
            Node::Json => Self::Strings(Strings::new(Style::Json, DataType::Utf8)),
            Node::Text => Self::Strings(Strings::new(Style::Text, DataType::Utf8)),
            Node::Scalar(kind) => match &kind.data_type {
                text @ (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => {
                    Self::Strings(Strings::new(Style::Anything, text.clone()))
                }
                binary @ (DataType::Binary | DataType::LargeBinary) => {
                    Self::Strings(Strings::new(Style::Hexadecimal, binary.clone()))
                }
                _ => Self::Scalar(scalar(kind, rules)?),
            },
            Node::Struct(members) => Self::Struct(Box::new(Structs::new(members, wanted, rules)?)),
            Node::List(field, node) => Self::List(Box::new(Lists {
                field: Arc::clone(field),
                child: Self::new(node, &Wanted::All, rules)?,
                offsets: vec![0],
                valid: NullBufferBuilder::new(1_024),
            })),
        })
    }

    fn len(&self) -> usize {
        match self {
            Self::Skip(rows) | Self::Unknown(rows) => *rows,
            Self::Strings(strings) => strings.offsets.len() - 1,
            Self::Scalar(scalar) => scalar.len(),
            Self::Struct(structs) => structs.rows,
            Self::List(lists) => lists.offsets.len() - 1,
        }
    }

    fn null(&mut self) {
        match self {
            Self::Skip(rows) | Self::Unknown(rows) => *rows += 1,
            Self::Strings(strings) => strings.null(),
            Self::Scalar(scalar) => scalar.null(),
            Self::Struct(structs) => structs.null(),
            Self::List(lists) => {
                let last = lists.offsets.last().copied().unwrap_or(0);
                lists.offsets.push(last);
                lists.valid.append_null();
            }
        }
    }

    /// Forgets all values but the first `len`. Whatever is below a row that was begun is forgotten with it.
    fn truncate(&mut self, len: usize) {
        match self {
            Self::Skip(rows) | Self::Unknown(rows) => *rows = (*rows).min(len),
            Self::Strings(strings) => strings.truncate(len),
            Self::Scalar(scalar) => scalar.truncate(len),
            Self::Struct(structs) => structs.truncate(len),
            Self::List(lists) => {
                lists.offsets.truncate(len + 1);
                let items = lists.offsets.last().copied().unwrap_or(0);
                lists.child.truncate(items as usize);
                lists.valid.truncate(len);
            }
        }
    }

    /// Takes a value.
    #[inline]
    fn value(&mut self, lexer: &mut Lexer<'_>, duplicates: DuplicateKeys) -> Step<()> {
        let byte = lexer.blanks();
        if byte == b'n' {
            lexer.literal(b"null")?;
            self.null();
            return Ok(());
        }
        let start = lexer.at;
        match self {
            Self::Scalar(scalar) => {
                let fits = match byte {
                    b'-' | b'0'..=b'9' => {
                        let mut num = Num::default();
                        lexer.number(&mut num)?;
                        scalar.number(&num, &lexer.data[num.start..])
                    }
                    b'"' => {
                        let text = lexer.string()?;
                        if text.escaped {
                            let mut plain = Vec::new();
                            unescape(&lexer.data[text.start..text.end], &mut plain);
                            scalar.string(&plain, plain.len())
                        } else {
                            scalar.string(&lexer.data[text.start..], text.end - text.start)
                        }
                    }
                    b't' => {
                        lexer.literal(b"true")?;
                        scalar.boolean(true)
                    }
                    b'f' => {
                        lexer.literal(b"false")?;
                        scalar.boolean(false)
                    }
                    _ => false,
                };
                if fits { Ok(()) } else { misfit(lexer, start) }
            }
            Self::Strings(strings) => match byte {
                b'"' => {
                    let text = lexer.string()?;
                    if strings.string(lexer, text) {
                        Ok(())
                    } else {
                        misfit(lexer, start)
                    }
                }
                _ if matches!(strings.style, Style::Json | Style::Anything) => {
                    lexer.skip()?;
                    compact(&lexer.data[start..lexer.at], &mut strings.values);
                    strings.end();
                    Ok(())
                }
                _ => misfit(lexer, start),
            },
            Self::Struct(structs) if byte == b'{' => {
                lexer.at += 1;
                structs.object(lexer, duplicates)
            }
            Self::List(lists) if byte == b'[' => {
                lexer.at += 1;
                lists.array(lexer, duplicates)
            }
            Self::Skip(rows) => {
                lexer.skip()?;
                *rows += 1;
                Ok(())
            }
            _ => misfit(lexer, start),
        }
    }

    /// The array, unless it is not wanted.
    fn finish(&mut self, node: &Node) -> Result<Option<ArrayRef>> {
        Ok(Some(match self {
            Self::Skip(rows) => {
                *rows = 0;
                return Ok(None);
            }
            Self::Unknown(rows) => new_null_array(&DataType::Utf8, std::mem::take(rows)),
            Self::Strings(strings) => strings.finish()?,
            Self::Scalar(scalar) => scalar.finish()?,
            Self::Struct(structs) => {
                let Node::Struct(members) = node else {
                    return Ok(None);
                };
                let (arrays, valid) = structs.finish(members)?;
                let parts = arrays.into_iter().zip(members);
                let parts = parts.filter_map(|(array, member)| {
                    let field: FieldRef = Arc::new(member.node.field(&member.name));
                    array.map(|array| (field, array))
                });
                let (fields, arrays): (Vec<_>, Vec<_>) = parts.unzip();
                Arc::new(StructArray::try_new(Fields::from(fields), arrays, valid)?)
            }
            Self::List(lists) => {
                let Node::List(_, item) = node else {
                    return Ok(None);
                };
                let Some(values) = lists.child.finish(item)? else {
                    return Ok(None);
                };
                let offsets = std::mem::replace(&mut lists.offsets, vec![0]);
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                let valid = lists.valid.finish();
                Arc::new(ListArray::try_new(
                    Arc::clone(&lists.field),
                    offsets,
                    values,
                    valid,
                )?)
            }
        }))
    }
}

/// A value that does not fit, if it is JSON at all.
#[cold]
fn misfit(lexer: &mut Lexer<'_>, start: usize) -> Step<()> {
    lexer.at = start;
    lexer.skip()?;
    Err(Box::new(Stop::Misfit(Misplaced {
        start,
        end: lexer.at,
        path: Vec::new(),
        unknown_key: false,
    })))
}

impl Lists {
    /// Takes an array, whose `[` has been read.
    fn array(&mut self, lexer: &mut Lexer<'_>, duplicates: DuplicateKeys) -> Step<()> {
        lexer.down()?;
        if lexer.blanks() == b']' {
            lexer.at += 1;
        } else {
            loop {
                if let Err(stop) = self.child.value(lexer, duplicates) {
                    return Err(stop.below(b"[]"));
                }
                match lexer.blanks() {
                    b',' => lexer.at += 1,
                    b']' => {
                        lexer.at += 1;
                        break;
                    }
                    _ => return lexer.expected("`,` or `]`"),
                }
            }
        }
        self.offsets.push(self.child.len() as i32);
        self.valid.append_non_null();
        lexer.up();
        Ok(())
    }
}
