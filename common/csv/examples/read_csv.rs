//! Reads a CSV file, and says what it is and how long it took.
//!
//! `cargo run --release -p arrowload-common-csv --example read_csv -- FILE [COLUMN=TYPE;…|all]`: without a second argument types
//! are found in the file's first MiB; `all` proves them on the whole file first.

use std::collections::BTreeMap;
use std::time::Instant;

use arrowload_common_csv::{All, InferRows, Input, Options, ReadOptions, Reader, Types, layout};
use arrowload_core::{Error, ErrorKind, Result};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(clippy::print_stdout, reason = "a program that a person runs")]
fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = || {
        Error::new(
            ErrorKind::InvalidOption,
            "usage: read_csv FILE [COLUMN=TYPE;…|all]",
        )
    };
    let path = arguments.next().ok_or_else(usage)?;
    let mut options = Options::default();
    match arguments.next().as_deref() {
        None => {}
        Some("all") => options.infer_rows = InferRows::All(All::All),
        Some(types) => {
            let pairs = types.split(';').map(|pair| pair.split_once('='));
            let pairs =
                pairs.map(|pair| pair.map(|(name, kind)| (name.to_owned(), kind.to_owned())));
            let types = pairs
                .collect::<Option<BTreeMap<_, _>>>()
                .ok_or_else(usage)?;
            options.types = Types::Columns(types);
        }
    }
    let begin = Instant::now();
    let layout = layout(|| Input::path(&path, &options), &options)?;
    let known = begin.elapsed();
    let input = Input::path(&path, &options)?;
    let mut reader = Reader::new(input, &layout, &ReadOptions::default())?;
    let mut bytes = 0;
    for batch in reader.by_ref() {
        bytes += batch?.get_array_memory_size();
    }
    let elapsed = begin.elapsed();
    println!("{}", layout.dialect);
    for column in &layout.columns {
        let kind = &column.kind.data_type;
        println!(
            "{}: {kind}, {:?}: {}",
            column.name, column.mark, column.reason
        );
    }
    println!("{:?}, {bytes} bytes of Arrow", reader.lines());
    println!("known after {:.3} s", known.as_secs_f64());
    println!("read after {:.3} s", elapsed.as_secs_f64());
    Ok(())
}
