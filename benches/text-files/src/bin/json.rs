//! `common/json` against DuckDB and polars: lineitem from an NDJSON file to Arrow batches, and peaks of memory.
//!
//! `cargo xtask bench json`

use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::Result;
use arrowload_bench_text_files::{COLUMNS, Form, How, run};
use arrowload_common_json::{All, InferRows, Input, Options, ReadOptions, Reader, Types, layout};
use tpchgen::generators::LineItem;

/// As the command line has; DuckDB and polars each have one of their own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Json;

fn count(reader: Reader) -> Result<usize> {
    let mut rows = 0;
    for batch in reader {
        rows += batch?.num_rows();
    }
    Ok(rows)
}

impl Form for Json {
    const NAME: &'static str = "json";
    const KIND: &'static str = "ndjson";

    fn begin(_out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// As DuckDB's `COPY` writes it. No text of lineitem has anything to escape.
    fn row(out: &mut dyn Write, row: &LineItem<'_>) -> io::Result<()> {
        write!(
            out,
            r#"{{"l_orderkey":{},"l_partkey":{},"l_suppkey":{},"l_linenumber":{},"l_quantity":{}.00,"l_extendedprice":{},"#,
            row.l_orderkey,
            row.l_partkey,
            row.l_suppkey,
            row.l_linenumber,
            row.l_quantity,
            row.l_extendedprice,
        )?;
        write!(
            out,
            r#""l_discount":{},"l_tax":{},"l_returnflag":"{}","l_linestatus":"{}","l_shipdate":"{}","l_commitdate":"{}","#,
            row.l_discount,
            row.l_tax,
            row.l_returnflag,
            row.l_linestatus,
            row.l_shipdate,
            row.l_commitdate,
        )?;
        writeln!(
            out,
            r#""l_receiptdate":"{}","l_shipinstruct":"{}","l_shipmode":"{}","l_comment":"{}"}}"#,
            row.l_receiptdate, row.l_shipinstruct, row.l_shipmode, row.l_comment
        )
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
        let options = Options::default();
        let small = Self::long_row(10);
        let layout = layout(
            || Input::read("small", io::Cursor::new(small.clone()), &options),
            &options,
        )?;
        let input = Input::read("long", reader, &options)?;
        count(Reader::new(input, &layout, &ReadOptions::default())?)
    }

    fn long_begin() -> Vec<u8> {
        Vec::new()
    }

    fn long_row(bytes: usize) -> Vec<u8> {
        let mut row = Vec::with_capacity(bytes + 19);
        row.extend_from_slice(br#"{"id":1,"text":""#);
        row.resize(row.len() + bytes, b'x');
        row.extend_from_slice(b"\"}\n");
        row
    }
}

fn main() -> Result<()> {
    run::<Json>()
}
