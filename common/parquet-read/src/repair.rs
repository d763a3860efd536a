//! Footers with fields of a writer's own, under numbers that the format has given out since, with another type. Readers of thrift
//! skip fields of a type that they do not expect; Arrow's reader misreads them, and refuses the footer.

use std::sync::Arc;

use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetObjectReader};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

/// The length of a footer and the magic, at the end of a file.
const TRAILER_BYTES: u64 = 8;

/// How deep the values of a footer are nested, at most.
const MAX_DEPTH: usize = 32;

// Types of thrift's compact protocol.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const STRUCT: u8 = 12;

/// What a struct of the footer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Footer,
    RowGroup,
    Chunk,
    /// What is said of the pages of a column chunk.
    Column,
}

impl Level {
    /// The field with the structs of the next level: its number, and its type.
    fn inner(self) -> Option<(i64, u8, Self)> {
        match self {
            Self::Footer => Some((4, LIST, Self::RowGroup)),
            Self::RowGroup => Some((1, LIST, Self::Chunk)),
            Self::Chunk => Some((3, STRUCT, Self::Column)),
            Self::Column => None,
        }
    }

    /// Whether a field is what the format says: of the fields that it was given last, and that no reader needs.
    fn is_known(self, id: i64, kind: u8) -> bool {
        match (self, id) {
            (Self::Column, 14) => kind == I64,
            (Self::Column, 15) => kind == I32,
            (Self::Column, 16 | 17) => kind == STRUCT,
            (Self::Column, 18..) => false,
            _ => true,
        }
    }
}

/// The footer without such fields; nothing if there are none.
pub(crate) async fn repaired(
    store: &Arc<dyn ObjectStore>,
    object: &ObjectMeta,
) -> Option<Arc<ParquetMetaData>> {
    let mut reader = ParquetObjectReader::new(Arc::clone(store), object.location.clone())
        .with_file_size(object.size);
    let end = object.size.checked_sub(TRAILER_BYTES)?;
    let trailer = reader.get_bytes(end..object.size).await.ok()?;
    let (length, magic) = trailer.split_first_chunk::<4>()?;
    let start = end.checked_sub(u32::from_le_bytes(*length).into())?;
    if magic != b"PAR1" {
        return None;
    }
    let footer = reader.get_bytes(start..end).await.ok()?;
    let repaired = without_others(&footer)?;
    ParquetMetaDataReader::decode_metadata(&repaired)
        .ok()
        .map(Arc::new)
}

/// The bytes of a footer without such fields; nothing if there are none, or if they are not a footer.
fn without_others(footer: &[u8]) -> Option<Vec<u8>> {
    let (mut from, mut to) = (Bytes(footer), Vec::with_capacity(footer.len()));
    let dropped = copy(&mut from, &mut to, Level::Footer)?;
    dropped.then_some(to)
}

/// Copies a struct, and returns whether a field was left out.
fn copy(from: &mut Bytes<'_>, to: &mut Vec<u8>, level: Level) -> Option<bool> {
    let (mut last_read, mut last_written, mut dropped) = (0, 0, false);
    while let Some((kind, id)) = from.field(&mut last_read)? {
        if !level.is_known(id, kind) {
            from.skipped(kind, 0)?;
            dropped = true;
            continue;
        }
        // A header holds how far its number is from the one before, if that is less than 16 further.
        match u8::try_from(id - last_written) {
            Ok(step @ 1..16) => to.push(step << 4 | kind),
            _ => {
                let id = u8::try_from(id).ok().filter(|id| *id < 64)?;
                to.extend([kind, id << 1]);
            }
        }
        last_written = id;
        match level.inner() {
            Some((inner, LIST, next)) if (inner, LIST) == (id, kind) => {
                let before = from.0;
                let (element, count) = from.list()?;
                to.extend(&before[..before.len() - from.0.len()]);
                for _ in 0..count {
                    if element != STRUCT {
                        return None;
                    }
                    dropped |= copy(from, to, next)?;
                }
            }
            Some((inner, STRUCT, next)) if (inner, STRUCT) == (id, kind) => {
                dropped |= copy(from, to, next)?;
            }
            _ => to.extend(from.skipped(kind, 0)?),
        }
    }
    to.push(0);
    Some(dropped)
}

/// The bytes that are left to read. Methods return nothing if the bytes are not thrift.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// The type and the number of a field; nothing within at the end of a struct.
    fn field(&mut self, last: &mut i64) -> Option<Option<(u8, i64)>> {
        let first = self.byte()?;
        if first == 0 {
            return Some(None);
        }
        *last = match first >> 4 {
            0 => {
                let zigzag = self.varint()?;
                (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed())
            }
            step => last.checked_add(step.into())?,
        };
        Some(Some((first & 0x0F, *last)))
    }

    /// The header of a list: the type and the count of its elements.
    fn list(&mut self) -> Option<(u8, u64)> {
        let first = self.byte()?;
        let count = match first >> 4 {
            15 => self.varint()?,
            count => count.into(),
        };
        Some((first & 0x0F, count))
    }

    /// Skips a value, and answers its bytes.
    fn skipped(&mut self, kind: u8, depth: usize) -> Option<&'a [u8]> {
        let before = self.0;
        self.skip(kind, depth)?;
        Some(&before[..before.len() - self.0.len()])
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match kind {
            TRUE | FALSE => {}
            BYTE => drop(self.byte()?),
            4..=I64 => drop(self.varint()?),
            DOUBLE => self.0 = self.0.get(8..)?,
            BINARY => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.0 = self.0.get(length..)?;
            }
            LIST | SET => {
                let (element, count) = self.list()?;
                for _ in 0..count {
                    match element {
                        // In a list, unlike in a field, a boolean is a byte.
                        TRUE | FALSE => drop(self.byte()?),
                        other => self.skip(other, depth + 1)?,
                    }
                }
            }
            STRUCT => {
                let mut last = 0;
                while let Some((kind, _)) = self.field(&mut last)? {
                    self.skip(kind, depth + 1)?;
                }
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer with a row group of one column chunk, of whose pages these fields are stated.
    fn footer(column: &[u8]) -> Vec<u8> {
        let before = [
            0x15, 2, 0x19, 0x0C, 0x16, 4, 0x19, 0x1C, 0x19, 0x1C, 0x26, 8, 0x1C,
        ];
        let after = [0, 0, 0x16, 0, 0x16, 4, 0, 0];
        [&before[..], column, &after].concat()
    }

    #[test]
    fn fields_of_another_type_are_left_out() {
        // A type; then, where a number of 32 bits is to be, a list of a struct; then a field that the format does not have.
        let with = footer(&[0x15, 2, 0x09, 30, 0x1C, 0x15, 4, 0, 0x56, 8]);
        assert_eq!(without_others(&with), Some(footer(&[0x15, 2])));
        let whole = footer(&[0x15, 2, 0xD6, 8, 0x15, 4]);
        assert_eq!(without_others(&whole), None);
        for length in 0..with.len() {
            assert_eq!(without_others(&with[..length]), None, "{length}");
        }
    }
}
