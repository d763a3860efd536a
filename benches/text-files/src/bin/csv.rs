//! `common/csv` against DuckDB and polars: lineitem from a CSV file to Arrow batches, and peaks of memory.
//!
//! `cargo xtask bench csv`

use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::Result;
use arrowload_bench_text_files::{COLUMNS, Form, How, run};
use arrowload_common_csv::{All, InferRows, Input, Options, ReadOptions, Reader, Types, layout};
use tpchgen::generators::LineItem;

/// As the command line has; DuckDB and polars each have one of their own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Csv;

fn count(reader: Reader) -> Result<usize> {
    let mut rows = 0;
    for batch in reader {
        rows += batch?.num_rows();
    }
    Ok(rows)
}

impl Form for Csv {
    const NAME: &'static str = "csv";
    const KIND: &'static str = "csv";

    fn begin(out: &mut dyn Write) -> io::Result<()> {
        let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
        writeln!(out, "{}", names.join(","))
    }

    /// Quotes only where they are needed, as most writers.
    fn row(out: &mut dyn Write, row: &LineItem<'_>) -> io::Result<()> {
        write!(
            out,
            "{},{},{},{},{}.00,{},{},{},{},{},{},{},{},{},{},",
            row.l_orderkey,
            row.l_partkey,
            row.l_suppkey,
            row.l_linenumber,
            row.l_quantity,
            row.l_extendedprice,
            row.l_discount,
            row.l_tax,
            row.l_returnflag,
            row.l_linestatus,
            row.l_shipdate,
            row.l_commitdate,
            row.l_receiptdate,
            row.l_shipinstruct,
            row.l_shipmode
        )?;
        if row.l_comment.contains(',') {
            writeln!(out, "\"{}\"", row.l_comment)
        } else {
            writeln!(out, "{}", row.l_comment)
        }
    }

    fn read(path: &Path, how: How) -> Result<usize> {
        let mut options = Options::default();
        match how {
            How::Declared => {
                let types = COLUMNS.map(|(name, kind)| (name.to_owned(), kind.to_owned()));
                options.types = Types::Columns(types.into());
            }
            How::Detected => {}
            How::Proved => options.infer_rows = InferRows::All(All::All),
        }
        let layout = layout(|| Input::path(path, &options), &options)?;
        let input = Input::path(path, &options)?;
        count(Reader::new(input, &layout, &ReadOptions::default())?)
    }

    fn read_from(reader: impl Read + Send + 'static) -> Result<usize> {
        // As one with a reader that can be read once does: the first row is enough to know.
        let options = Options::default();
        let small = [Self::long_begin(), Self::long_row(10)].concat();
        let layout = layout(
            || Input::read("small", io::Cursor::new(small.clone()), &options),
            &options,
        )?;
        let input = Input::read("long", reader, &options)?;
        count(Reader::new(input, &layout, &ReadOptions::default())?)
    }

    fn long_begin() -> Vec<u8> {
        b"id,text\n".to_vec()
    }

    fn long_row(bytes: usize) -> Vec<u8> {
        let mut row = Vec::with_capacity(bytes + 3);
        row.extend_from_slice(b"1,");
        row.resize(row.len() + bytes, b'x');
        row.push(b'\n');
        row
    }
}

fn main() -> Result<()> {
    run::<Csv>()
}
