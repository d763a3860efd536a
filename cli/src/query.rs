//! `arrowload query`.

use std::io::IsTerminal;
use std::path::Path;

use arrowload::{BatchStream, Client};
use futures::TryStreamExt;

use crate::args::{Format, QueryArgs};
use crate::exit::{Exit, Failure};
use crate::input::Question;
use crate::output::{Sink, check_shown};
use crate::show;

/// Rows that a table on a terminal shows; all of them are a matter for a file.
const SHOWN: usize = 1_000;

pub(crate) async fn command(args: QueryArgs) -> Result<Exit, Failure> {
    let question = Question::ask(&args.from)?;
    let format = format(args.format, args.output.as_deref())?;
    show_answer(
        &question.client,
        question.query.clone().stream().await?,
        format,
        args.output.as_deref(),
    )
    .await
}

/// Prints an answer, or writes it to a file.
pub(crate) async fn show_answer(
    client: &Client,
    mut batches: BatchStream,
    format: Format,
    output: Option<&Path>,
) -> Result<Exit, Failure> {
    if format == Format::Parquet {
        return parquet(client, batches, output).await;
    }
    let schema = batches.schema().clone();
    if format == Format::Table && output.is_none() {
        let (mut shown, mut rows, mut more) = (Vec::new(), 0, false);
        while let Some(batch) = batches.try_next().await? {
            let left = SHOWN.saturating_sub(rows);
            more |= batch.num_rows() > left;
            rows += batch.num_rows().min(left);
            let batch = batch.slice(0, batch.num_rows().min(left));
            check_shown(&batch)?;
            shown.push(batch);
            if more {
                break;
            }
        }
        show::print(&arrowload::Table::new(schema, shown).to_string())?;
        let note = if more {
            format!("({SHOWN} rows shown; --format csv or -o FILE for all)")
        } else {
            format!("({} rows)", show::count(rows as u64))
        };
        show::print(&note)?;
        return Ok(Exit::Done);
    }
    let mut sink = Sink::open(format, output, &schema)?;
    while let Some(batch) = batches.try_next().await? {
        sink.write(&batch)?;
    }
    sink.finish()?;
    Ok(Exit::Done)
}

/// Writes Parquet as a load into a file does, with the types that it gives columns.
async fn parquet(
    client: &Client,
    batches: BatchStream,
    output: Option<&Path>,
) -> Result<Exit, Failure> {
    let folder = tempfile::tempdir()?;
    let file = output.map_or_else(|| folder.path().join("answer.parquet"), Path::to_owned);
    let load = client.load_stream(batches, "file", file.display().to_string());
    load.option("mode", "overwrite")
        .option("format", "parquet")
        .await?;
    if output.is_none() {
        let mut out = std::io::stdout().lock();
        std::io::copy(&mut std::fs::File::open(&file)?, &mut out)?;
        std::io::Write::flush(&mut out)?;
    }
    Ok(Exit::Done)
}

/// What was asked for, else by the file's name, else by who reads it.
pub(crate) fn format(format: Option<Format>, output: Option<&Path>) -> Result<Format, Failure> {
    let format = match (format, output) {
        (Some(Format::Arrow), file) => arrow(file),
        (Some(format), _) => format,
        (None, Some(file)) => by_name(file)?,
        (None, None) if std::io::stdout().is_terminal() => Format::Table,
        (None, None) => Format::Csv,
    };
    let binary = matches!(
        format,
        Format::Parquet | Format::ArrowFile | Format::ArrowStream
    );
    if binary && output.is_none() && std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "this format is no text for a terminal; name a file with -o, or pipe it",
        ));
    }
    Ok(format)
}

/// By Arrow's convention, `.arrows` is the stream format and `.arrow` the file format; only a stream is of use in a pipe.
fn arrow(file: Option<&Path>) -> Format {
    match file {
        Some(file)
            if !file
                .extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case("arrows")) =>
        {
            Format::ArrowFile
        }
        _ => Format::ArrowStream,
    }
}

fn by_name(file: &Path) -> Result<Format, Failure> {
    let extension = file
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default()
        .to_ascii_lowercase();
    Ok(match extension.as_str() {
        "csv" => Format::Csv,
        "json" => Format::Json,
        "ndjson" | "jsonl" => Format::Ndjson,
        "parquet" | "pq" => Format::Parquet,
        "arrow" | "arrows" | "ipc" | "feather" => arrow(Some(file)),
        "txt" => Format::Table,
        _ => {
            let message = format!(
                "{} does not say its format; add --format csv, json, ndjson, parquet or arrow",
                file.display()
            );
            return Err(Failure::usage(message));
        }
    })
}
