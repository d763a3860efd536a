//! Values as JSON, for what is nested and for the structures whose value is a document.

use super::text::{Format, Refusal, digits};
use super::values::{Column, Values};

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A JSON string. Text is UTF-8 already; only what must be is escaped.
pub(crate) fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Binary in a JSON string.
fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let letter = BASE64[(word >> (18 - 6 * index) & 63) as usize];
            out.push(if index <= chunk.len() { letter } else { b'=' });
        }
    }
    out.push(b'"');
}

fn separated<T>(
    out: &mut Vec<u8>,
    ends: [u8; 2],
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    out.push(ends[0]);
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item)?;
    }
    out.push(ends[1]);
    Ok(())
}

impl Column {
    /// Writes a value as JSON, null included. Integers of more than 53 bits and decimals are numbers with all their digits.
    pub(crate) fn json(
        &self,
        row: usize,
        format: Format,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match &self.values {
            Values::Null => out.extend_from_slice(b"null"),
            Values::Boolean(values) => {
                out.extend_from_slice(if values.value(row) { b"true" } else { b"false" })
            }
            Values::Utf8(_) | Values::LargeUtf8(_) | Values::Utf8View(_) => {
                string(out, self.bytes(row).unwrap_or_default())
            }
            Values::Binary(_)
            | Values::LargeBinary(_)
            | Values::BinaryView(_)
            | Values::FixedSizeBinary(_) => {
                base64(out, self.bytes(row).unwrap_or_default());
            }
            Values::Float16(_) | Values::Float32(_) | Values::Float64(_) => {
                let start = out.len();
                self.text(row, format, out)?;
                if matches!(out.last(), Some(b'n' | b'f')) {
                    out.truncate(start);
                    return Err("is NaN or infinite, which JSON has no number for");
                }
            }
            Values::List(ranges, items) => {
                separated(out, *b"[]", ranges.get(row), |out, index| {
                    items.json(index, format, out)
                })?;
            }
            Values::Struct(fields, columns) => {
                separated(
                    out,
                    *b"{}",
                    fields.iter().zip(columns),
                    |out, (field, column)| {
                        string(out, field.name().as_bytes());
                        out.push(b':');
                        column.json(row, format, out)
                    },
                )?;
            }
            Values::Map(map, keys, values) => self.map(map, keys, values, row, format, out)?,
            Values::Union(union, members) => {
                let id = union.type_id(row);
                let (_, name, column) = members
                    .iter()
                    .find(|member| member.0 == id)
                    .ok_or("has a member that its type does not name")?;
                out.push(b'{');
                string(out, name.as_bytes());
                out.push(b':');
                column.json(union.value_offset(row), format, out)?;
                out.push(b'}');
            }
            values if is_number(values, format) => self.text(row, format, out)?,
            _ => {
                out.push(b'"');
                self.text(row, format, out)?;
                out.push(b'"');
            }
        }
        Ok(())
    }

    fn map(
        &self,
        map: &arrow_array::MapArray,
        keys: &Column,
        values: &Column,
        row: usize,
        format: Format,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let offsets = map.value_offsets();
        let range = offsets[row] as usize..offsets[row + 1] as usize;
        let mut seen = std::collections::HashSet::new();
        separated(out, *b"{}", range, |out, index| {
            let mut key = Vec::new();
            keys.text(index, format, &mut key)?;
            let text = std::str::from_utf8(&key)
                .map_err(|_| "is a map with a binary key, which JSON cannot hold")?;
            string(out, text.as_bytes());
            out.push(b':');
            if !seen.insert(key) {
                return Err("is a map with one key twice, which JSON cannot hold");
            }
            values.json(index, format, out)
        })
    }
}

fn is_number(values: &Values, format: Format) -> bool {
    use Values as V;
    let epoch = format.times == crate::options::Times::Epoch;
    match values {
        V::Int8(_)
        | V::Int16(_)
        | V::Int32(_)
        | V::Int64(_)
        | V::UInt8(_)
        | V::UInt16(_)
        | V::UInt32(_)
        | V::UInt64(_) => true,
        V::Decimal32(..)
        | V::Decimal64(..)
        | V::Decimal128(..)
        | V::Decimal256(..)
        | V::Duration(_) => true,
        V::Date(_) | V::DateMillis(_) | V::Time(..) | V::Timestamp(..) => epoch,
        _ => false,
    }
}

/// Writes some columns of a row as one JSON object.
pub(crate) fn object<'a>(
    columns: impl Iterator<Item = (&'a str, &'a Column)>,
    row: usize,
    format: Format,
    out: &mut Vec<u8>,
) -> Result<(), (String, Refusal)> {
    out.push(b'{');
    for (index, (name, column)) in columns.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, name.as_bytes());
        out.push(b':');
        column
            .json(row, format, out)
            .map_err(|why| (name.to_owned(), why))?;
    }
    out.push(b'}');
    Ok(())
}

/// A length in front of bytes: `$5\r\n`.
#[inline]
pub(crate) fn length(out: &mut Vec<u8>, mark: u8, length: usize) {
    out.push(mark);
    if length < 10 {
        out.push(b'0' + length as u8);
    } else {
        digits(out, length);
    }
    out.extend_from_slice(b"\r\n");
}
