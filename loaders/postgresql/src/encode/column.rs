//! What a column must do to be encoded: say how many bytes each row's value takes, then write a chunk of rows at once.

use std::ops::Range;

use arrow_buffer::NullBuffer;

/// Why a value cannot be encoded, as one sentence.
#[derive(Debug)]
pub(crate) struct Reason(Box<str>);

impl Reason {
    /// Off the fast path: a load ends here, or sets a row aside.
    #[cold]
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into().into_boxed_str())
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// The row it happened at, counted in the batch.
    #[cold]
    pub(crate) fn at(self, row: usize) -> Refused {
        Refused { row, reason: self }
    }
}

/// A value that cannot be encoded, and its row in the batch.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) row: usize,
    pub(crate) reason: Reason,
}

/// The length word of a null.
pub(crate) const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// One column of a batch. All calls are for a chunk of rows, so that the choice of code is made once a chunk and the
/// loops within know their types.
pub(crate) trait Column: Send {
    /// Adds to each row's size the bytes of its value, without the length word.
    fn measure(&mut self, rows: Range<usize>, sizes: &mut [usize]) -> Result<(), Refused>;

    /// Writes each row's length word and value at its cursor, and moves the cursor on. Called with the rows of the last
    /// `measure`, or a part of them.
    fn write(
        &self,
        rows: Range<usize>,
        out: &mut [u8],
        cursors: &mut [usize],
    ) -> Result<(), Refused>;

    /// Appends the length word and value of one row: for the items of lists.
    fn append(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason>;

    /// Whether the row is null.
    fn is_null(&self, row: usize) -> bool;
}

/// Where a row's value lies in the array of values: for dictionaries and run-ends, which are decoded on the fly.
pub(crate) trait Rows: Send {
    /// Whether every value lies at its row.
    const DIRECT: bool;

    fn at(&self, row: usize) -> usize;
}

/// The value of a row lies at the row.
pub(crate) struct Direct;

impl Rows for Direct {
    const DIRECT: bool = true;

    #[inline(always)]
    fn at(&self, row: usize) -> usize {
        row
    }
}

/// The value of a row lies where a key or run says.
pub(crate) struct Indexed(pub(crate) Vec<u32>);

impl Rows for Indexed {
    const DIRECT: bool = false;

    #[inline(always)]
    fn at(&self, row: usize) -> usize {
        self.0[row] as usize
    }
}

/// The nulls of a chunk, or `None` if it has none.
pub(crate) fn chunk_nulls(nulls: Option<&NullBuffer>, rows: &Range<usize>) -> Option<NullBuffer> {
    let chunk = nulls?.slice(rows.start, rows.len());
    (chunk.null_count() > 0).then_some(chunk)
}

#[inline(always)]
pub(crate) fn put_null(out: &mut [u8], cursor: &mut usize) {
    out[*cursor..*cursor + 4].copy_from_slice(&NULL);
    *cursor += 4;
}

/// Nothing but nulls.
pub(crate) struct NullColumn;

impl Column for NullColumn {
    fn measure(&mut self, _: Range<usize>, _: &mut [usize]) -> Result<(), Refused> {
        Ok(())
    }

    fn write(&self, _: Range<usize>, out: &mut [u8], cursors: &mut [usize]) -> Result<(), Refused> {
        cursors.iter_mut().for_each(|cursor| put_null(out, cursor));
        Ok(())
    }

    fn append(&self, _: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        out.extend_from_slice(&NULL);
        Ok(())
    }

    fn is_null(&self, _: usize) -> bool {
        true
    }
}
