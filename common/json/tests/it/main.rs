//! Whole files, as they are found: what is read of them, and what is refused.

#![expect(
    clippy::expect_used,
    reason = "tests stop at the first thing that is not as expected"
)]

mod cases;
mod large;
mod late;
mod mutations;
mod refusals;
mod suite;
mod tables;

use std::io::Cursor;
use std::sync::{Arc, Mutex};

use arrow_array::RecordBatch;
use arrowload_common_json::{
    Input, Layout, Lines, Options, ReadOptions, Reader, RefusedRow, Types, misfits, sniff,
};
use arrowload_common_text::{Format, Json};
use arrowload_core::Result;

/// What was found and read.
pub(crate) struct Read {
    pub(crate) layout: Layout,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) lines: Lines,
    pub(crate) aside: Vec<RefusedRow>,
}

impl Read {
    /// `name type` of each column.
    pub(crate) fn columns(&self) -> Vec<String> {
        let columns = self.layout.columns.iter();
        columns
            .map(|column| format!("{} {}", column.name, column.data_type))
            .collect()
    }

    /// The rows as JSON.
    pub(crate) fn rows(&self) -> Vec<String> {
        rows(&self.batches)
    }
}

/// Rows as JSON.
pub(crate) fn rows(batches: &[RecordBatch]) -> Vec<String> {
    let mut out = Vec::new();
    for batch in batches {
        let json = Json::new(batch.schema_ref(), Format::NDJSON);
        json.lines(batch, 0, &mut out).expect("it can be written");
    }
    let text = String::from_utf8(out).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

pub(crate) fn open(bytes: &[u8], options: &Options) -> Result<Input> {
    Input::read("test.json", Cursor::new(bytes.to_vec()), options)
}

fn begin(bytes: &[u8], options: &Options) -> Result<(Layout, Reader)> {
    let input = open(bytes, options)?;
    let layout = sniff(&input, options)?;
    let reader = Reader::new(input, &layout, &ReadOptions::default())?;
    Ok((layout, reader))
}

/// Reads all; lines that are no rows are errors.
pub(crate) fn read(bytes: impl AsRef<[u8]>, options: &Options) -> Result<Read> {
    let (layout, mut reader) = begin(bytes.as_ref(), options)?;
    let batches = reader.by_ref().collect::<Result<Vec<_>>>()?;
    Ok(Read {
        layout,
        batches,
        lines: reader.lines(),
        aside: Vec::new(),
    })
}

/// Reads all; lines that are no rows are set aside.
pub(crate) fn skip(bytes: impl AsRef<[u8]>, options: &Options) -> Result<Read> {
    let (layout, reader) = begin(bytes.as_ref(), options)?;
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

/// Reads all as a caller does who begins again when a value does not fit; how often that was.
pub(crate) fn read_again(bytes: &[u8], options: &Options) -> Result<(Read, usize)> {
    let input = open(bytes, options)?;
    let mut layout = sniff(&input, options)?;
    let mut tries = 0;
    loop {
        let input = open(bytes, options)?;
        let mut reader = Reader::new(input, &layout, &ReadOptions::default())?;
        match reader.by_ref().collect::<Result<Vec<_>>>() {
            Ok(batches) => {
                let read = Read {
                    layout,
                    batches,
                    lines: reader.lines(),
                    aside: Vec::new(),
                };
                return Ok((read, tries));
            }
            Err(error) => match misfits(&error) {
                Some(misfits) if tries < 20 => layout.widen(misfits)?,
                _ => return Err(error),
            },
        }
        tries += 1;
    }
}

/// Types of places.
pub(crate) fn types(pairs: &[(&str, &str)]) -> Options {
    let pairs = pairs
        .iter()
        .map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned()));
    Options {
        types: Types::Columns(pairs.collect()),
        ..Options::default()
    }
}
