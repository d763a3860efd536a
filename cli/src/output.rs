//! Where an answer goes: to standard output, or to a file, which is an ordinary load.

use std::io::{BufWriter, IsTerminal, Stdout, Write};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Schema};
use arrowload::core::url_scheme;
use arrowload::{BatchStream, Client, LoadBuilder, LoadReport};
use arrowload_common_text::{
    self as text, Column, Csv, CsvStyle, Json, printable, printable_lines,
};
use futures::TryStreamExt;
use serde_json::Value;

use crate::args::{Common, Format, Report};
use crate::exit::{Exit, Failure};
use crate::grid::Grid;
use crate::{machine, outcome, show};

/// Rows that a table shows; all of them are a matter for a file.
const SHOWN: usize = 1_000;

/// Where an answer goes.
pub(crate) enum Output {
    /// Onto standard output.
    Print(Format),
    File(FileOutput),
}

/// A file, and its format if that was asked for.
#[derive(Clone)]
pub(crate) struct FileOutput {
    path: PathBuf,
    format: Option<&'static str>,
}

impl Output {
    /// The given format, or else one that suits the output: a terminal, a pipe, or the extension of
    /// the file.
    pub(crate) fn of(format: Option<Format>, file: Option<PathBuf>) -> Result<Self, Failure> {
        if let Some(path) = file {
            return FileOutput::of(format, path).map(Self::File);
        }
        let terminal = std::io::stdout().is_terminal();
        let format = match format {
            None if terminal => Format::Table,
            None => Format::Csv,
            // Only a stream is of use in a pipe.
            Some(Format::Arrow) => Format::ArrowStream,
            Some(format) => format,
        };
        let text = matches!(
            format,
            Format::Table | Format::Csv | Format::Json | Format::Ndjson
        );
        if terminal && !text {
            return Err(Failure::usage(
                "this format is no text for a terminal; name a file with -o, or pipe it",
            ));
        }
        Ok(Self::Print(format))
    }

    /// Prints a stream, or loads it into the file.
    pub(crate) async fn take(
        self,
        client: &Client,
        batches: BatchStream,
        wide: bool,
        common: &Common,
    ) -> Result<Exit, Failure> {
        match self {
            Self::Print(_) if common.output == Report::Json => print_listing(batches).await,
            Self::Print(format) => print(client, batches, format, wide).await,
            Self::File(file) => {
                let load = |target| client.load_stream(batches, "file", target);
                file.load(load, common).await
            }
        }
    }
}

impl FileOutput {
    fn of(format: Option<Format>, path: PathBuf) -> Result<Self, Failure> {
        let shown = path.display();
        if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(Failure::usage(format!(
                "{shown} is a folder, and -o names a file; `arrowload load --to file` writes folders"
            )));
        }
        if path.exists() && !path.is_file() {
            return Err(Failure::usage(format!(
                "{shown} is not a regular file, which a new one could replace; redirect standard output: > {shown}"
            )));
        }
        let format = match format {
            None => None,
            Some(Format::Csv) => Some("csv"),
            Some(Format::Ndjson) => Some("ndjson"),
            Some(Format::Parquet) => Some("parquet"),
            Some(Format::ArrowFile) => Some("arrow"),
            Some(Format::ArrowStream) => Some("arrow_stream"),
            Some(Format::Arrow) => Some(arrow(&path)),
            Some(Format::Table | Format::Json) => {
                return Err(Failure::usage(format!(
                    "tables and JSON arrays are only printed; choose --format ndjson, or redirect standard output: > {shown}"
                )));
            }
        };
        Ok(Self { path, format })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file by what is loaded, and says so if there was one.
    pub(crate) async fn load(
        self,
        load: impl FnOnce(String) -> LoadBuilder,
        common: &Common,
    ) -> Result<Exit, Failure> {
        let path = self.path.display().to_string();
        let (report, replaced) = self.write(load).await?;
        if common.output == Report::Json {
            let mut shown = machine::report(&report);
            shown["replaced"] = replaced.into();
            outcome::tell(&machine::json(&shown)?)?;
        }
        if replaced {
            show::note(&format!("replaced {path}"));
        }
        for line in show::set_aside(&report).lines() {
            show::note(line.trim_start());
        }
        Ok(outcome::exit_of(&report))
    }

    /// Replaces the file by what is loaded; returns whether there was one.
    pub(crate) async fn write(
        self,
        load: impl FnOnce(String) -> LoadBuilder,
    ) -> Result<(LoadReport, bool), Failure> {
        let replaced = self.path.exists();
        let mut load = load(target(&self.path)?)
            .option("mode", "overwrite")
            .option("schema_evolution", true);
        if let Some(format) = self.format {
            load = load.option("format", format);
        }
        let report = load.await.map_err(|error| match error.get("key") {
            Some("format") if self.format.is_none() => Failure::usage(format!(
                "{} does not say its format; add --format csv, ndjson, parquet or arrow",
                self.path.display()
            )),
            _ => Failure::Load(error),
        })?;
        Ok((report, replaced))
    }
}

/// The path as the loader of files takes it: not below the root that a connection may have.
fn target(path: &Path) -> Result<String, Failure> {
    let name = path
        .to_str()
        .ok_or_else(|| Failure::usage(format!("the name {} is not UTF-8", path.display())))?;
    match url_scheme(name) {
        Some(_) => Ok(name.to_owned()),
        None => Ok(std::path::absolute(path)?.display().to_string()),
    }
}

/// By Arrow's convention, `.arrows` is the stream format and other files are of the file format.
fn arrow(file: &Path) -> &'static str {
    let stream = file
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("arrows"));
    if stream { "arrow_stream" } else { "arrow" }
}

/// Prints an answer.
pub(crate) async fn print(
    client: &Client,
    batches: BatchStream,
    format: Format,
    wide: bool,
) -> Result<Exit, Failure> {
    match format {
        Format::Table => print_table(batches, wide).await,
        Format::Csv => print_text(Text::csv(batches.schema())?, batches).await,
        Format::Json => print_text(Text::json(batches.schema(), true)?, batches).await,
        Format::Ndjson => print_text(Text::json(batches.schema(), false)?, batches).await,
        Format::Arrow | Format::ArrowStream => print_stream(batches).await,
        Format::ArrowFile => print_file(client, batches, "arrow").await,
        Format::Parquet => print_file(client, batches, "parquet").await,
    }
}

fn stdout() -> BufWriter<Stdout> {
    BufWriter::with_capacity(64 << 10, std::io::stdout())
}

fn refused(error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!(
        "the answer cannot be written in this format: {error}; cast the column in the query, or choose another --format"
    ))
}

/// Formats that are text, written batch by batch.
enum Text {
    Csv(Csv),
    /// Objects, each a line or the item of an array.
    Json(Json, bool),
}

impl Text {
    fn csv(schema: &Schema) -> Result<Self, Failure> {
        let style = Csv::check(schema).and_then(|()| CsvStyle::new(None, None, None));
        // A null in the only column is an empty line: an answer is not refused for it.
        let csv = Csv::new(schema, style.map_err(refused)?).with_empty_lines();
        Ok(Self::Csv(csv))
    }

    fn json(schema: &Schema, array: bool) -> Result<Self, Failure> {
        let format = text::Format::NDJSON;
        Json::check(schema, &format).map_err(refused)?;
        Ok(Self::Json(Json::new(schema, format), array))
    }

    fn begin(&self, out: &mut Vec<u8>) {
        if let Self::Csv(csv) = self {
            csv.header(out);
        }
    }

    fn batch(&self, batch: &RecordBatch, row: u64, out: &mut Vec<u8>) -> Result<(), Failure> {
        let written = match self {
            Self::Csv(csv) => csv.lines(batch, row, out),
            Self::Json(json, false) => json.lines(batch, row, out),
            Self::Json(json, true) => json.items(batch, row, out),
        };
        written.map_err(refused)
    }

    fn end(&self, rows: u64, out: &mut Vec<u8>) {
        if let Self::Json(_, true) = self {
            out.extend_from_slice(if rows == 0 { b"[]\n" } else { b"]\n" });
        }
    }
}

async fn print_text(text: Text, mut batches: BatchStream) -> Result<Exit, Failure> {
    let (mut out, mut buffer, mut rows) = (stdout(), Vec::new(), 0);
    let terminal = std::io::stdout().is_terminal();
    let mut put = |buffer: &mut Vec<u8>| -> Result<(), Failure> {
        match terminal {
            true => out.write_all(printable_lines(&String::from_utf8_lossy(buffer)).as_bytes())?,
            false => out.write_all(buffer)?,
        }
        buffer.clear();
        Ok(())
    };
    text.begin(&mut buffer);
    while let Some(batch) = batches.try_next().await? {
        text.batch(&batch, rows, &mut buffer)?;
        rows += batch.num_rows() as u64;
        put(&mut buffer)?;
    }
    text.end(rows, &mut buffer);
    put(&mut buffer)?;
    out.flush()?;
    Ok(Exit::Done)
}

/// Prints the first rows as a table.
async fn print_table(mut batches: BatchStream, wide: bool) -> Result<Exit, Failure> {
    let names = batches.schema().fields().iter();
    let mut grid = Grid::new(names.map(|field| printable(field.name()).into_owned()));
    let (mut rows, mut more) = (0, false);
    while let Some(batch) = batches.try_next().await? {
        let left = SHOWN - rows;
        more |= batch.num_rows() > left;
        let batch = batch.slice(0, batch.num_rows().min(left));
        add_rows(&mut grid, &batch, rows)?;
        rows += batch.num_rows();
        if more {
            break;
        }
    }
    let (text, left_out) = grid.draw(if wide { None } else { show::width() });
    show::print(&text)?;
    let rows = match more {
        true => format!("{SHOWN} rows shown; --format csv or -o FILE for all"),
        false => format!("{} rows", show::count(rows as u64)),
    };
    let columns = match left_out {
        0 => String::new(),
        left_out => format!("; {left_out} columns left out: --wide"),
    };
    show::print(&format!("({rows}{columns})"))?;
    Ok(Exit::Done)
}

/// A value in a list of values: text is in quotes, and a null is NULL, so that they can be
/// distinguished.
pub(crate) fn value(column: &Column, name: &str, row: usize) -> Result<String, Failure> {
    if column.is_null(row) {
        return Ok("NULL".to_owned());
    }
    let cell = cell(column, name, row, row)?;
    Ok(match column.is_text() {
        true => format!("{cell:?}"),
        false => printable(&cell).into_owned(),
    })
}

/// A value as text; nothing for a null.
fn cell(column: &Column, name: &str, row: usize, at: usize) -> Result<String, Failure> {
    let format = text::Format {
        unions: true,
        map_keys: text::MapKeys::AsText,
        ..text::Format::CSV
    };
    let mut cell = Vec::new();
    if !column.is_null(row) {
        column
            .text(row, &format, &mut cell)
            .map_err(|why| refused(text::refused(name, why, at as u64)))?;
    }
    Ok(String::from_utf8_lossy(&cell).into_owned())
}

fn add_rows(grid: &mut Grid, batch: &RecordBatch, first_row: usize) -> Result<(), Failure> {
    let columns: Vec<Column> = batch.columns().iter().map(Column::new).collect();
    for row in 0..batch.num_rows() {
        let mut cells = Vec::with_capacity(columns.len());
        for (column, field) in columns.iter().zip(batch.schema_ref().fields()) {
            let cell = cell(column, field.name(), row, first_row + row)?;
            cells.push(printable(&cell).into_owned());
        }
        grid.add(cells);
    }
    Ok(())
}

/// A table of all rows; `None` if there is no batch to say what the columns are.
pub(crate) fn grid_of(batches: &[RecordBatch]) -> Result<Option<Grid>, Failure> {
    let Some(first) = batches.first() else {
        return Ok(None);
    };
    let names = first.schema_ref().fields().iter();
    let mut grid = Grid::new(names.map(|field| printable(field.name()).into_owned()));
    let mut rows = 0;
    for batch in batches {
        add_rows(&mut grid, batch, rows)?;
        rows += batch.num_rows();
    }
    Ok(Some(grid))
}

/// All rows as an array of objects.
pub(crate) fn rows_as_json(batches: &[RecordBatch]) -> Result<Value, Failure> {
    let Some(first) = batches.first() else {
        return Ok(Value::Array(Vec::new()));
    };
    let json = Text::json(first.schema_ref(), true)?;
    let (mut text, mut rows) = (Vec::new(), 0);
    for batch in batches {
        json.batch(batch, rows, &mut text)?;
        rows += batch.num_rows() as u64;
    }
    json.end(rows, &mut text);
    serde_json::from_slice(&text).map_err(|error| Failure::failed(error.to_string()))
}

/// Prints the rows of a list as one object.
async fn print_listing(batches: BatchStream) -> Result<Exit, Failure> {
    let batches: Vec<RecordBatch> = batches.try_collect().await?;
    let rows = rows_as_json(&batches)?;
    machine::tell(&serde_json::json!({ "status": "done", "rows": rows }))?;
    Ok(Exit::Done)
}

async fn print_stream(mut batches: BatchStream) -> Result<Exit, Failure> {
    let failed = |error| match error {
        ArrowError::IoError(_, error) => Failure::from(error),
        other => refused(other),
    };
    let mut writer = StreamWriter::try_new(stdout(), batches.schema()).map_err(failed)?;
    while let Some(batch) = batches.try_next().await? {
        writer.write(&batch).map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    writer.into_inner().map_err(failed)?.flush()?;
    Ok(Exit::Done)
}

/// Prints a format that has its index at the end: it is written to a temporary file first.
async fn print_file(
    client: &Client,
    batches: BatchStream,
    format: &'static str,
) -> Result<Exit, Failure> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("answer");
    client
        .load_stream(batches, "file", path.display().to_string())
        .option("format", format)
        .await?;
    let mut out = std::io::stdout().lock();
    std::io::copy(&mut std::fs::File::open(&path)?, &mut out)?;
    out.flush()?;
    Ok(Exit::Done)
}
