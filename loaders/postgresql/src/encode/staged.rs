//! Columns whose values have to be made before their size is known: numerics, arrays, JSON, replaced text. A chunk's
//! values are made once, into a buffer that is reused for the next chunk, and copied from there.

use std::ops::Range;

use arrow_buffer::NullBuffer;

use super::bind::Frame;
use super::bytes::put_bytes;
use super::column::{Column, Direct, Indexed, NULL, Reason, Refused, Rows, put_null};

struct StagedColumn<F, R> {
    make: F,
    rows: R,
    nulls: Option<NullBuffer>,
    /// The values of the chunk, end to end.
    values: Vec<u8>,
    /// Where each value of the chunk ends, from the first on.
    ends: Vec<usize>,
    /// The first row of the chunk.
    first: usize,
}

/// A column whose values `make` appends, given their place in the array.
pub(super) fn staged<F>(frame: Frame, make: F) -> Box<dyn Column>
where
    F: Fn(usize, &mut Vec<u8>) -> Result<(), Reason> + Send + 'static,
{
    fn column<F, R>(make: F, rows: R, nulls: Option<NullBuffer>) -> StagedColumn<F, R> {
        StagedColumn {
            make,
            rows,
            nulls,
            values: Vec::new(),
            ends: Vec::new(),
            first: 0,
        }
    }
    match frame.index {
        None => Box::new(column(make, Direct, frame.nulls)),
        Some(index) => Box::new(column(make, Indexed(index), frame.nulls)),
    }
}

impl<F, R: Rows> StagedColumn<F, R> {
    fn value(&self, row: usize) -> &[u8] {
        let place = row - self.first;
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.values[start..self.ends[place]]
    }
}

impl<F, R> Column for StagedColumn<F, R>
where
    F: Fn(usize, &mut Vec<u8>) -> Result<(), Reason> + Send,
    R: Rows,
{
    fn measure(&mut self, rows: Range<usize>, sizes: &mut [usize]) -> Result<(), Refused> {
        self.values.clear();
        self.ends.clear();
        self.first = rows.start;
        let mut start = 0;
        for (row, size) in rows.zip(sizes) {
            if self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                (self.make)(self.rows.at(row), &mut self.values)
                    .map_err(|reason| reason.at(row))?;
            }
            let end = self.values.len();
            if end - start > i32::MAX as usize {
                return Err(Reason::new("a value is longer than 2 GiB").at(row));
            }
            *size += end - start;
            self.ends.push(end);
            start = end;
        }
        Ok(())
    }

    fn write(
        &self,
        rows: Range<usize>,
        out: &mut [u8],
        cursors: &mut [usize],
    ) -> Result<(), Refused> {
        for (row, cursor) in rows.zip(cursors) {
            if self.is_null(row) {
                put_null(out, cursor)
            } else {
                put_bytes(out, cursor, self.value(row))
            }
        }
        Ok(())
    }

    fn append(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        if self.is_null(row) {
            out.extend_from_slice(&NULL);
            return Ok(());
        }
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        (self.make)(self.rows.at(row), out)?;
        let length = i32::try_from(out.len() - at - 4)
            .map_err(|_| Reason::new("a value is longer than 2 GiB"))?;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}
