//! The elements of a document in bytes. Every length is checked; no byte is trusted.

use super::{Fault, Walked};

/// The type of a value; a binary with its subtype.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Double,
    String,
    Document,
    Array,
    Binary(u8),
    /// Binary of subtype 4, of 16 bytes.
    Uuid,
    Undefined,
    ObjectId,
    Bool,
    Date,
    Null,
    Regex,
    DbPointer,
    Code,
    Symbol,
    CodeWithScope,
    Int32,
    Timestamp,
    Int64,
    Decimal128,
    MinKey,
    MaxKey,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Double => "double",
            Self::String => "string",
            Self::Document => "document",
            Self::Array => "array",
            Self::Binary(subtype) => return write!(f, "binary of subtype {subtype}"),
            Self::Uuid => "UUID",
            Self::Undefined => "undefined",
            Self::ObjectId => "ObjectId",
            Self::Bool => "bool",
            Self::Date => "date",
            Self::Null => "null",
            Self::Regex => "regular expression",
            Self::DbPointer => "DBPointer",
            Self::Code => "JavaScript code",
            Self::Symbol => "symbol",
            Self::CodeWithScope => "JavaScript code with scope",
            Self::Int32 => "int32",
            Self::Timestamp => "timestamp",
            Self::Int64 => "int64",
            Self::Decimal128 => "Decimal128",
            Self::MinKey => "MinKey",
            Self::MaxKey => "MaxKey",
        })
    }
}

fn cut_off() -> Box<Fault> {
    Fault::broken("it is cut off")
}

/// The four bytes at the beginning, as a length.
fn length(bytes: &[u8]) -> Walked<usize> {
    let Some(first) = bytes.first_chunk::<4>() else {
        return Err(cut_off());
    };
    usize::try_from(i32::from_le_bytes(*first)).map_err(|_| Fault::broken("a length is negative"))
}

/// The elements of a document: what is between its length and its last byte.
pub(crate) fn body(document: &[u8]) -> Walked<&[u8]> {
    let length = length(document)?;
    if length != document.len() || length < 5 {
        let message = format!(
            "a document's length is given as {length}, and it has {} bytes",
            document.len()
        );
        return Err(Fault::broken(message));
    }
    match document {
        [_, _, _, _, elements @ .., 0] => Ok(elements),
        _ => Err(Fault::broken("a document does not end with a zero byte")),
    }
}

/// Takes the name that follows the type of an element.
pub(crate) fn name<'a>(rest: &mut &'a [u8]) -> Walked<&'a [u8]> {
    let Some(end) = rest.iter().position(|byte| *byte == 0) else {
        return Err(Fault::broken("a name has no end"));
    };
    let name = &rest[..end];
    *rest = &rest[end + 1..];
    Ok(name)
}

/// Takes the bytes of a value of this type.
#[inline]
pub(crate) fn value<'a>(kind: u8, rest: &mut &'a [u8]) -> Walked<&'a [u8]> {
    let size = match kind {
        0x01 | 0x09 | 0x11 | 0x12 => 8,
        0x10 => 4,
        0x02 | 0x0d | 0x0e => 4 + length(rest)?,
        0x03 | 0x04 | 0x0f => length(rest)?,
        0x05 => 5 + length(rest)?,
        0x06 | 0x0a | 0xff | 0x7f => 0,
        0x07 => 12,
        0x08 => 1,
        0x0b => {
            let mut after = *rest;
            name(&mut after)?;
            name(&mut after)?;
            rest.len() - after.len()
        }
        0x0c => 16 + length(rest)?,
        0x13 => 16,
        other => {
            return Err(Fault::broken(format!("there is no type 0x{other:02x}")));
        }
    };
    let Some((value, after)) = rest.split_at_checked(size) else {
        return Err(cut_off());
    };
    *rest = after;
    Ok(value)
}

/// The type of a value whose bytes were taken.
pub(crate) fn kind(code: u8, value: &[u8]) -> Kind {
    match code {
        0x01 => Kind::Double,
        0x02 => Kind::String,
        0x03 => Kind::Document,
        0x04 => Kind::Array,
        0x05 => match (value.get(4), value.len()) {
            (Some(4), 21) => Kind::Uuid,
            (subtype, _) => Kind::Binary(subtype.copied().unwrap_or(0)),
        },
        0x06 => Kind::Undefined,
        0x07 => Kind::ObjectId,
        0x08 => Kind::Bool,
        0x09 => Kind::Date,
        0x0b => Kind::Regex,
        0x0c => Kind::DbPointer,
        0x0d => Kind::Code,
        0x0e => Kind::Symbol,
        0x0f => Kind::CodeWithScope,
        0x10 => Kind::Int32,
        0x11 => Kind::Timestamp,
        0x12 => Kind::Int64,
        0x13 => Kind::Decimal128,
        0xff => Kind::MinKey,
        0x7f => Kind::MaxKey,
        // `value` has refused every other.
        _ => Kind::Null,
    }
}

/// One element: its type, name and value.
pub(crate) struct Element<'a> {
    pub(crate) code: u8,
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// Takes the next element; `None` at the end.
pub(crate) fn next<'a>(rest: &mut &'a [u8]) -> Walked<Option<Element<'a>>> {
    let Some((&code, after)) = rest.split_first() else {
        return Ok(None);
    };
    *rest = after;
    let name = name(rest)?;
    let value = value(code, rest).map_err(|fault| fault.within(name))?;
    Ok(Some(Element { code, name, value }))
}

/// The bytes of a text, without length and last byte. Whether they are UTF-8 is checked elsewhere.
#[inline]
pub(crate) fn text(value: &[u8]) -> Walked<&[u8]> {
    match value {
        [_, _, _, _, text @ .., 0] => Ok(text),
        _ => Err(Fault::broken("a string does not end with a zero byte")),
    }
}

/// The subtype and the bytes of a binary.
pub(crate) fn binary(value: &[u8]) -> Walked<(u8, &[u8])> {
    let [_, _, _, _, subtype, bytes @ ..] = value else {
        return Err(cut_off());
    };
    if *subtype != 2 {
        return Ok((*subtype, bytes));
    }
    // The old generic subtype has its length a second time.
    match bytes.split_at_checked(4) {
        Some((_, inner)) if length(bytes)? == inner.len() => Ok((2, inner)),
        _ => Err(Fault::broken(
            "the inner length of a binary of subtype 2 is wrong",
        )),
    }
}

/// The pattern and options of a regular expression.
pub(crate) fn regex(value: &[u8]) -> Walked<(&[u8], &[u8])> {
    let mut rest = value;
    Ok((name(&mut rest)?, name(&mut rest)?))
}

/// The namespace and the id of a DBPointer.
pub(crate) fn pointer(value: &[u8]) -> Walked<(&[u8], &[u8])> {
    let (namespace, id) = value
        .split_at_checked(value.len().wrapping_sub(12))
        .ok_or_else(cut_off)?;
    Ok((text(namespace)?, id))
}

/// The code and the scope of JavaScript code with scope.
pub(crate) fn code_with_scope(value: &[u8]) -> Walked<(&[u8], &[u8])> {
    let mut rest = value.get(4..).ok_or_else(cut_off)?;
    let code = self::value(0x02, &mut rest)?;
    Ok((text(code)?, rest))
}

/// A bool is 0 or 1.
#[inline]
pub(crate) fn boolean(value: &[u8]) -> Walked<bool> {
    match value {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(Fault::broken("a bool is neither 0 nor 1")),
    }
}

/// The bytes of a number.
#[inline]
pub(crate) fn fixed<const N: usize>(value: &[u8]) -> Walked<[u8; N]> {
    value.try_into().map_err(|_| cut_off())
}

/// Text that is checked.
pub(crate) fn utf8(bytes: &[u8]) -> Walked<&str> {
    std::str::from_utf8(bytes).map_err(|_| Fault::broken("a text is not UTF-8"))
}
