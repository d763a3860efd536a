//! Reads a JSON file, and says what it is and how long it took.
//!
//! `cargo run --release -p arrowload-common-json --example read_json -- FILE [PATH=TYPE;…|all|prove]`: without a second argument
//! types are found in the file's first MiB; `all` proves them on the whole file first, `prove` does nothing else.

use std::collections::BTreeMap;
use std::time::Instant;

use arrowload_common_json::{All, InferRows, Input, Options, ReadOptions, Reader, Types, layout};
use arrowload_core::{Error, ErrorKind, Result};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(clippy::print_stdout, reason = "a program that a person runs")]
fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = || {
        Error::new(
            ErrorKind::InvalidOption,
            "usage: read_json FILE [PATH=TYPE;…|all|prove]",
        )
    };
    let path = arguments.next().ok_or_else(usage)?;
    let mut options = Options::default();
    let what = arguments.next();
    match what.as_deref() {
        None => {}
        Some("all" | "prove") => options.infer_rows = InferRows::All(All::All),
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
    for column in &layout.columns {
        println!(
            "{}: {}, {:?}: {}",
            column.name, column.data_type, column.mark, column.reason
        );
    }
    println!(
        "{:?}, known after {:.3} s",
        layout.format,
        known.as_secs_f64()
    );
    if what.as_deref() == Some("prove") {
        return Ok(());
    }
    let input = Input::path(&path, &options)?;
    let mut reader = Reader::new(input, &layout, &ReadOptions::default())?;
    let mut bytes = 0;
    for batch in reader.by_ref() {
        bytes += batch?.get_array_memory_size();
    }
    println!("{:?}, {bytes} bytes of Arrow", reader.lines());
    println!("read after {:.3} s", begin.elapsed().as_secs_f64());
    Ok(())
}
