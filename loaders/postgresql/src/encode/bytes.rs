//! Columns whose values are copied as they lie in the array: text and binary, of any offset size, and views.

use std::ops::Range;

use arrow_array::types::{ByteArrayType, ByteViewType};
use arrow_array::{FixedSizeBinaryArray, GenericByteArray, GenericByteViewArray};
use arrow_buffer::NullBuffer;

use super::bind::Frame;
use super::column::{Column, Direct, Indexed, NULL, Reason, Refused, Rows, chunk_nulls, put_null};

/// An array of byte strings.
pub(super) trait ByteValues: Send + 'static {
    fn get(&self, index: usize) -> &[u8];

    /// The bytes of all these values together, if they lie in one piece.
    fn span(&self, _: Range<usize>) -> Option<&[u8]> {
        None
    }
}

impl<T: ByteArrayType> ByteValues for GenericByteArray<T> {
    #[inline(always)]
    fn get(&self, index: usize) -> &[u8] {
        self.value(index).as_ref()
    }

    fn span(&self, range: Range<usize>) -> Option<&[u8]> {
        use arrow_buffer::ArrowNativeType;
        let offsets = self.value_offsets();
        Some(&self.value_data()[offsets[range.start].as_usize()..offsets[range.end].as_usize()])
    }
}

impl<T: ByteViewType> ByteValues for GenericByteViewArray<T> {
    #[inline(always)]
    fn get(&self, index: usize) -> &[u8] {
        self.value(index).as_ref()
    }
}

impl ByteValues for FixedSizeBinaryArray {
    #[inline(always)]
    fn get(&self, index: usize) -> &[u8] {
        self.value(index)
    }
}

/// What a value must satisfy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing: binary.
    None,
    /// No NUL byte, which PostgreSQL's text cannot hold; at most this many characters; whether shorter text is padded.
    Text {
        max_chars: Option<u32>,
        padded: bool,
    },
}

struct BytesColumn<V, R> {
    values: V,
    rows: R,
    nulls: Option<NullBuffer>,
    check: Check,
}

/// A column of byte strings.
pub(super) fn bytes<V: ByteValues>(frame: Frame, values: V, check: Check) -> Box<dyn Column> {
    match frame.index {
        None => Box::new(BytesColumn {
            values,
            rows: Direct,
            nulls: frame.nulls,
            check,
        }),
        Some(index) => Box::new(BytesColumn {
            values,
            rows: Indexed(index),
            nulls: frame.nulls,
            check,
        }),
    }
}

/// Whether a value passes its check.
pub(super) fn check_value(check: Check, value: &[u8]) -> Result<(), Reason> {
    if value.len() > i32::MAX as usize {
        return Err(Reason::new("a value is longer than 2 GiB"));
    }
    let Check::Text { max_chars, padded } = check else {
        return Ok(());
    };
    if memchr::memchr(0, value).is_some() {
        return Err(Reason::new(
            "the text holds a NUL byte, which PostgreSQL cannot store; set replace_nul to put something in its place",
        ));
    }
    max_chars.map_or(Ok(()), |most| check_length(value, most as usize, padded))
}

fn check_length(value: &[u8], most: usize, padded: bool) -> Result<(), Reason> {
    if !padded && value.len() <= most {
        return Ok(());
    }
    // Each byte that does not continue a UTF-8 sequence begins a character.
    let chars = value.iter().filter(|byte| (**byte as i8) >= -0x40).count();
    if chars > most {
        return Err(Reason::new(format!(
            "the text has {chars} characters, and the column holds {most}"
        )));
    }
    if padded && chars < most && value.last() == Some(&b' ') {
        return Err(Reason::new(
            "the text ends in a space, which a column of type character(n) cannot tell from its padding",
        ));
    }
    Ok(())
}

impl<V: ByteValues, R: Rows> BytesColumn<V, R> {
    /// Most chunks are passed by one search over all their bytes.
    fn check_chunk(&self, rows: Range<usize>) -> Result<(), Refused> {
        match self.check {
            Check::None => return Ok(()),
            Check::Text {
                max_chars: None, ..
            } => {
                let span = if R::DIRECT {
                    self.values.span(rows.clone())
                } else {
                    None
                };
                let span = span.filter(|span| span.len() <= i32::MAX as usize);
                if span.is_some_and(|span| memchr::memchr(0, span).is_none()) {
                    return Ok(());
                }
            }
            Check::Text { .. } => {}
        }
        for row in rows.filter(|row| !self.is_null(*row)) {
            check_value(self.check, self.values.get(self.rows.at(row)))
                .map_err(|reason| reason.at(row))?;
        }
        Ok(())
    }
}

#[inline(always)]
pub(super) fn put_bytes(out: &mut [u8], cursor: &mut usize, value: &[u8]) {
    let slot = &mut out[*cursor..*cursor + 4 + value.len()];
    slot[..4].copy_from_slice(&(value.len() as u32).to_be_bytes());
    copy(&mut slot[4..], value);
    *cursor += 4 + value.len();
}

/// Copies short values in two overlapping moves of a known size, where a call would take longer than the copy.
#[inline(always)]
fn copy(out: &mut [u8], value: &[u8]) {
    #[inline(always)]
    fn both_ends<const N: usize>(out: &mut [u8], value: &[u8]) {
        let (Some(from), Some(to)) = (value.first_chunk::<N>(), out.first_chunk_mut::<N>()) else {
            return;
        };
        *to = *from;
        let (Some(from), Some(to)) = (value.last_chunk::<N>(), out.last_chunk_mut::<N>()) else {
            return;
        };
        *to = *from;
    }
    match value.len() {
        1 => out[0] = value[0],
        2..=3 => both_ends::<2>(out, value),
        4..=7 => both_ends::<4>(out, value),
        8..=15 => both_ends::<8>(out, value),
        16..=31 => both_ends::<16>(out, value),
        32..=64 => both_ends::<32>(out, value),
        _ => out.copy_from_slice(value),
    }
}

impl<V: ByteValues, R: Rows> Column for BytesColumn<V, R> {
    fn measure(&mut self, rows: Range<usize>, sizes: &mut [usize]) -> Result<(), Refused> {
        if rows.is_empty() {
            return Ok(());
        }
        self.check_chunk(rows.clone())?;
        match chunk_nulls(self.nulls.as_ref(), &rows) {
            None => {
                for (row, size) in rows.zip(sizes) {
                    *size += self.values.get(self.rows.at(row)).len();
                }
            }
            Some(nulls) => {
                for ((row, size), valid) in rows.zip(sizes).zip(&nulls) {
                    *size += if valid {
                        self.values.get(self.rows.at(row)).len()
                    } else {
                        0
                    };
                }
            }
        }
        Ok(())
    }

    fn write(
        &self,
        rows: Range<usize>,
        out: &mut [u8],
        cursors: &mut [usize],
    ) -> Result<(), Refused> {
        match chunk_nulls(self.nulls.as_ref(), &rows) {
            None => {
                for (row, cursor) in rows.zip(cursors) {
                    put_bytes(out, cursor, self.values.get(self.rows.at(row)));
                }
            }
            Some(nulls) => {
                for ((row, cursor), valid) in rows.zip(cursors).zip(&nulls) {
                    if valid {
                        put_bytes(out, cursor, self.values.get(self.rows.at(row)))
                    } else {
                        put_null(out, cursor)
                    }
                }
            }
        }
        Ok(())
    }

    fn append(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        if self.is_null(row) {
            out.extend_from_slice(&NULL);
            return Ok(());
        }
        let value = self.values.get(self.rows.at(row));
        check_value(self.check, value)?;
        out.extend_from_slice(&(value.len() as u32).to_be_bytes());
        out.extend_from_slice(value);
        Ok(())
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}
