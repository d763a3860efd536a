//! Columns whose values all take the same number of bytes: numbers, dates, times, intervals, uuids.

use std::ops::Range;

use arrow_buffer::NullBuffer;

use super::bind::Frame;
use super::column::{Column, Direct, Indexed, NULL, Reason, Refused, Rows, chunk_nulls, put_null};

/// Values of `N` bytes, got by the place of the value.
struct FixedColumn<const N: usize, F, R> {
    get: F,
    rows: R,
    nulls: Option<NullBuffer>,
}

/// A column of `N` bytes a value. `get` answers for any place in the array, and is asked only for rows that are not null.
pub(super) fn fixed<const N: usize, F>(frame: Frame, get: F) -> Box<dyn Column>
where
    F: Fn(usize) -> Result<[u8; N], Reason> + Send + 'static,
{
    match frame.index {
        None => Box::new(FixedColumn {
            get,
            rows: Direct,
            nulls: frame.nulls,
        }),
        Some(index) => Box::new(FixedColumn {
            get,
            rows: Indexed(index),
            nulls: frame.nulls,
        }),
    }
}

#[inline(always)]
fn put<const N: usize>(out: &mut [u8], cursor: &mut usize, value: [u8; N]) {
    let slot = &mut out[*cursor..*cursor + 4 + N];
    slot[..4].copy_from_slice(&(N as u32).to_be_bytes());
    slot[4..].copy_from_slice(&value);
    *cursor += 4 + N;
}

impl<const N: usize, F, R> Column for FixedColumn<N, F, R>
where
    F: Fn(usize) -> Result<[u8; N], Reason> + Send,
    R: Rows,
{
    fn measure(&mut self, rows: Range<usize>, sizes: &mut [usize]) -> Result<(), Refused> {
        match chunk_nulls(self.nulls.as_ref(), &rows) {
            None => sizes.iter_mut().for_each(|size| *size += N),
            Some(nulls) => sizes
                .iter_mut()
                .zip(&nulls)
                .for_each(|(size, valid)| *size += if valid { N } else { 0 }),
        }
        Ok(())
    }

    fn write(
        &self,
        rows: Range<usize>,
        out: &mut [u8],
        cursors: &mut [usize],
    ) -> Result<(), Refused> {
        let value = |row: usize| (self.get)(self.rows.at(row)).map_err(|reason| reason.at(row));
        match chunk_nulls(self.nulls.as_ref(), &rows) {
            None => {
                for (row, cursor) in rows.zip(cursors) {
                    put(out, cursor, value(row)?);
                }
            }
            Some(nulls) => {
                for ((row, cursor), valid) in rows.zip(cursors).zip(&nulls) {
                    if valid {
                        put(out, cursor, value(row)?)
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
        let value = (self.get)(self.rows.at(row))?;
        out.extend_from_slice(&(N as u32).to_be_bytes());
        out.extend_from_slice(&value);
        Ok(())
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}
