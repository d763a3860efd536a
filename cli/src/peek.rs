//! `arrowload peek`: what files are, the types that their columns would get and why, and their first rows.

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrowload::core::url_scheme;
use arrowload::{Client, Error};
use arrowload_common_text::printable;
use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::args::{Common, From, PeekArgs, Report};
use crate::exit::{Exit, Failure};
use crate::input::{Question, meant, read_options};
use crate::output::{grid_of, rows_as_json};
use crate::params::pair;
use crate::show::{self, print, table};
use crate::{machine, outcome};

/// What is found of one file.
struct Peeked {
    /// As it was named.
    file: String,
    format: String,
    found: String,
    rows: Option<u64>,
    /// Notes on what could not be read as it is.
    notes: String,
    columns: Vec<Column>,
    first: Vec<RecordBatch>,
    /// Why the first rows end early.
    broken: Option<Error>,
}

struct Column {
    name: String,
    data_type: String,
    /// Whether that can be declared.
    is_declarable: bool,
    certainty: String,
    reason: String,
}

pub(crate) async fn command(args: PeekArgs, common: &Common) -> Result<Exit, Failure> {
    // Options that contradict each other are refused, as by the commands that read all rows.
    read_options(
        serde_json::Map::new(),
        &args.read_options,
        args.types.as_deref(),
    )?;
    let mut objects = Vec::new();
    for file in &args.files {
        let mut peeked = peek(file, &args).await?;
        match common.output {
            Report::Json if peeked.broken.is_some() => {}
            Report::Json => objects.push(peeked.object()?),
            Report::Text if args.emit_types => print(&peeked.declared())?,
            Report::Text => peeked.show(args.wide)?,
        }
        // The format has been shown already; the reason why its rows cannot be read comes last.
        if let (Some(why), false) = (peeked.broken.take(), args.emit_types) {
            return Err(why.into());
        }
    }
    if common.output == Report::Json {
        outcome::tell(&machine::json(
            &json!({ "status": "done", "files": objects }),
        )?)?;
    }
    Ok(Exit::Done)
}

async fn peek(file: &str, args: &PeekArgs) -> Result<Peeked, Failure> {
    let no_file = || {
        Failure::usage(format!(
            "peek is about files, and `{}` is none; `arrowload list` says what a source has",
            url_scheme(file).unwrap_or_else(|| file.to_owned())
        ))
    };
    if !meant(file)?.is_whole {
        return Err(no_file());
    }
    // The same words lead to the same file as with `query`.
    let from = From {
        from: Some(file.to_owned()),
        input_format: args.input_format,
        ..From::default()
    };
    let question = Question::ask(&from).await?;
    let place = question.place.clone().ok_or_else(no_file)?;
    let mut options = String::new();
    for text in &args.read_options {
        let (key, value) = pair("--read-option", text)?;
        if !key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            return Err(Failure::usage(format!(
                "--read-option {key}: there is no such option"
            )));
        }
        options += &format!(", {key} => '{}'", quoted(value));
    }
    if let Some(types) = &args.types {
        options += &format!(", types => '{}'", quoted(types));
    }
    let client = &question.client;
    let (name, declared) = match args.input_format {
        None => ("read".to_owned(), String::new()),
        Some(format) => (
            format!("read_{}", format.word()),
            format!(", format => '{}'", format.word()),
        ),
    };
    let looked = format!("peek('{}'{options}{declared})", quoted(&place));
    let found = rows(client, &format!("SELECT * FROM {looked} ORDER BY position")).await?;
    let sql = format!(
        "SELECT * FROM {name}('{}'{options}) LIMIT {}",
        quoted(&place),
        args.rows
    );
    let (first, broken) = first_rows(client, &sql).await;
    let mut peeked = Peeked {
        file: file.to_owned(),
        format: String::new(),
        found: String::new(),
        rows: None,
        notes: String::new(),
        columns: Vec::new(),
        first,
        broken,
    };
    for batch in &found {
        for row in 0..batch.num_rows() {
            let text = |column: &str| cell(batch, column, row);
            peeked.format = text("format")?;
            peeked.found = text("found")?;
            peeked.rows = text("rows")?.parse().ok();
            if peeked.notes.is_empty() {
                peeked.notes = text("notes")?;
            }
            let declarable = text("type")?;
            peeked.columns.push(Column {
                name: text("name")?,
                is_declarable: !declarable.is_empty(),
                data_type: match declarable.is_empty() {
                    true => text("arrow_type")?,
                    false => declarable,
                },
                certainty: text("certainty")?,
                reason: text("reason")?,
            });
        }
    }
    Ok(peeked)
}

/// Text within the quotes of SQL.
fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}

/// The rows up to an error, and the error.
async fn first_rows(client: &Client, sql: &str) -> (Vec<RecordBatch>, Option<Error>) {
    let mut rows = Vec::new();
    let mut stream = match client.sql(sql).stream().await {
        Ok(stream) => stream,
        Err(error) => return (rows, Some(error)),
    };
    loop {
        match stream.try_next().await {
            Ok(Some(batch)) => rows.push(batch),
            Ok(None) => return (rows, None),
            Err(error) => return (rows, Some(error)),
        }
    }
}

async fn rows(client: &Client, sql: &str) -> Result<Vec<RecordBatch>, Failure> {
    let batches = client.sql(sql).stream().await?;
    Ok(batches.try_collect().await?)
}

/// A value as text; nothing for a null, or a column that is not there.
fn cell(batch: &RecordBatch, column: &str, row: usize) -> Result<String, Failure> {
    let Some(array) = batch.column_by_name(column) else {
        return Ok(String::new());
    };
    let failed = |error: arrow_schema::ArrowError| Failure::failed(error.to_string());
    let formatter = ArrayFormatter::try_new(array, &FormatOptions::default()).map_err(failed)?;
    formatter.value(row).try_to_string().map_err(failed)
}

impl Peeked {
    fn show(&self, wide: bool) -> Result<(), Failure> {
        let rows = self
            .rows
            .map(|rows| format!(", {} rows", show::count(rows)))
            .unwrap_or_default();
        let found = match self.found.is_empty() {
            true => String::new(),
            false => format!(", {}", self.found),
        };
        print(&format!(
            "{}: {}{found}{rows}\n",
            printable(match self.file.as_str() {
                "-" => "standard input",
                file => file,
            }),
            self.format
        ))?;
        let row = |(index, column): (usize, &Column)| {
            vec![
                (index + 1).to_string(),
                printable(&column.name).into_owned(),
                column.data_type.clone(),
                column.certainty.clone(),
                printable(&column.reason).into_owned(),
            ]
        };
        print(&table(
            &["", "column", "type", "", "why"],
            self.columns.iter().enumerate().map(row).collect(),
        ))?;
        if !self.notes.is_empty() {
            print(&format!("\n{}", printable(&self.notes)))?;
        }
        print("")?;
        if let Some(grid) = grid_of(&self.first)? {
            let (text, left_out) = grid.draw(if wide { None } else { show::width() });
            print(&text)?;
            if left_out > 0 {
                print(&format!("({left_out} columns left out: --wide)"))?;
            }
        }
        Ok(())
    }

    /// The types as `--types` takes them.
    fn declared(&self) -> String {
        let is_odd = |name: &str| name.contains([',', '=', '\'', '(', ')']);
        // Lists and structs have no names that are read.
        let columns = self.columns.iter().filter(|column| column.is_declarable);
        if columns.clone().any(|column| is_odd(&column.name)) {
            let types =
                columns.map(|column| (column.name.clone(), column.data_type.clone().into()));
            let types: serde_json::Map<String, Value> = types.collect();
            return format!(
                "--read-option 'types={}'",
                Value::Object(types).to_string().replace('\'', "'\\''")
            );
        }
        let types: Vec<String> = columns
            .map(|column| format!("{}={}", column.name, column.data_type))
            .collect();
        format!("--types '{}'", types.join(","))
    }

    fn object(&self) -> Result<Value, Failure> {
        let columns = self.columns.iter().map(|column| {
            json!({
                "name": column.name,
                "type": column.data_type,
                "certainty": column.certainty,
                "reason": column.reason,
            })
        });
        Ok(json!({
            "file": self.file,
            "format": self.format,
            "found": self.found,
            "rows": self.rows,
            "notes": self.notes,
            "columns": columns.collect::<Vec<_>>(),
            "first": rows_as_json(&self.first)?,
        }))
    }
}
