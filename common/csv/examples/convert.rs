//! Reads CSV files and writes each of them anew in one dialect, with an account of its lines: what `cargo xtask torture pollock`
//! and `duckdb-csv` score.
//!
//! Standard input has a line of JSON for each file: `{"file": …, "out": …, "aside": …, "options": {…}}`. Standard output has a line
//! of JSON for each, in that order.

use std::fs::File;
use std::io::{BufRead, BufWriter, Write};
use std::path::PathBuf;

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrowload_common_csv::{Input, Layout, Options, ReadOptions, Reader, layout, misfits};
use arrowload_core::Result;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Job {
    file: PathBuf,
    /// The table: with `""` for the empty text and nothing for null.
    out: PathBuf,
    /// The bytes of the rows that were refused.
    aside: PathBuf,
    #[serde(default)]
    options: Options,
}

fn quoted(out: &mut impl Write, text: &str) -> std::io::Result<()> {
    write!(out, "\"{}\"", text.replace('"', "\"\""))
}

fn names(out: &mut impl Write, layout: &Layout) -> std::io::Result<()> {
    for (index, column) in layout.columns.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        quoted(out, &column.name)?;
    }
    out.write_all(b"\n")
}

fn rows(out: &mut impl Write, batch: &RecordBatch) -> Result<()> {
    let options = FormatOptions::new();
    let columns = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    for row in 0..batch.num_rows() {
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                out.write_all(b",")?;
            }
            if batch.column(index).is_valid(row) {
                quoted(out, &column.value(row).to_string())?;
            }
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn convert(job: &Job) -> Result<Value> {
    let open = || Input::path(&job.file, &job.options);
    let found = layout(open, &job.options)?;
    let mut aside = BufWriter::new(File::create(&job.aside)?);
    let mut out = BufWriter::new(File::create(&job.out)?);
    names(&mut out, &found)?;
    let reader = Reader::new(open()?, &found, &ReadOptions::default())?;
    let mut reader = reader.set_aside(move |row| {
        aside.write_all(&row.raw)?;
        aside.write_all(b"\n")?;
        Ok(aside.flush()?)
    });
    let mut count = 0;
    for batch in reader.by_ref() {
        let batch = batch?;
        count += batch.num_rows();
        rows(&mut out, &batch)?;
    }
    out.flush()?;
    let (dialect, lines) = (&found.dialect, reader.lines());
    let lone = matches!(
        dialect.line_end,
        arrowload_common_csv::LineEnd::Cr | arrowload_common_csv::LineEnd::Mixed
    );
    Ok(json!({
        "dialect": dialect.to_string(),
        "encoding": dialect.encoding,
        "header_rows": dialect.header_rows,
        "comment": dialect.comment,
        "null_text": dialect.null_text,
        "lone_cr": lone,
        "columns": found.columns.len(),
        "rows": count,
        "read": lines.rows,
        "skipped": lines.skipped,
        "preamble": lines.preamble,
        "header": lines.header,
        "footer": lines.footer,
        "comments": lines.comments,
        "total": lines.total(),
        "notes": found.notes,
        "types": found.columns.iter().map(|column| column.kind.data_type.to_string()).collect::<Vec<_>>(),
    }))
}

#[expect(clippy::print_stdout, reason = "a program whose output is read")]
fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    for line in std::io::stdin().lock().lines() {
        let job: Job = serde_json::from_str(&line?)?;
        let answer = convert(&job).unwrap_or_else(|error| {
            json!({
                "error": error.to_string(),
                "kind": format!("{:?}", error.kind()),
                "misfit": misfits(&error).is_some(),
            })
        });
        println!("{answer}");
    }
    Ok(())
}
