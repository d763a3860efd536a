//! Whole files, as they are found: written by us, by Python and by a small writer of any dialect.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is not as expected"
)]

mod cases;
mod dialects;
mod mutations;
mod own_writer;
mod python;
mod table;
mod tables;
mod torture;

use std::io::Cursor;

use arrow_array::RecordBatch;
use arrowload_common_csv::{Input, Layout, Lines, Options, ReadOptions, Reader, RefusedRow, sniff};
use arrowload_core::Result;
use std::sync::{Arc, Mutex};

/// What was found and read.
pub(crate) struct Read {
    pub(crate) layout: Layout,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) lines: Lines,
    pub(crate) aside: Vec<RefusedRow>,
}

impl Read {
    /// The cells as text, nulls as `~`.
    pub(crate) fn cells(&self) -> Vec<Vec<String>> {
        table::cells(&self.batches)
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.layout
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect()
    }

    pub(crate) fn types(&self) -> Vec<String> {
        self.layout
            .columns
            .iter()
            .map(|column| column.kind.data_type.to_string())
            .collect()
    }
}

fn begin(bytes: &[u8], options: &Options) -> Result<(Layout, Reader)> {
    let input = Input::read("test.csv", Cursor::new(bytes.to_vec()), options)?;
    let layout = sniff(&input, options)?;
    let reader = Reader::new(input, &layout, &ReadOptions::default())?;
    Ok((layout, reader))
}

/// Reads all; rows that do not fit are errors.
pub(crate) fn read(bytes: &[u8], options: &Options) -> Result<Read> {
    let (layout, mut reader) = begin(bytes, options)?;
    let batches = reader.by_ref().collect::<Result<Vec<_>>>()?;
    Ok(Read {
        layout,
        batches,
        lines: reader.lines(),
        aside: Vec::new(),
    })
}

/// Reads all; rows that do not fit are set aside.
pub(crate) fn skip(bytes: &[u8], options: &Options) -> Result<Read> {
    let (layout, reader) = begin(bytes, options)?;
    let aside = Arc::new(Mutex::new(Vec::new()));
    let put = Arc::clone(&aside);
    let mut reader = reader.set_aside(move |row| {
        put.lock().expect("not poisoned").push(row);
        Ok(())
    });
    let batches = reader.by_ref().collect::<Result<Vec<_>>>()?;
    let lines = reader.lines();
    drop(reader);
    let aside = std::mem::take(&mut *aside.lock().expect("not poisoned"));
    Ok(Read {
        layout,
        batches,
        lines,
        aside,
    })
}
