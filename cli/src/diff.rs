//! `arrowload diff`: what differs between two tables, files or answers, from any source to any source.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Fields, Schema};
use arrowload::{BatchStream, Client, Error, Retry};
use arrowload_common_diff::{
    Block, Change, Comparison, Counts, Differences, Limits, MemoryLimit, SchemaDiff, Selection,
    Side, Sums,
};
use arrowload_common_text::{Column, printable};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::args::{Common, Format, From, InputFormat, Report};
use crate::exit::{Exit, Failure};
use crate::grid::Grid;
use crate::input::{self, Question};
use crate::output::{self, FileOutput, Output, rows_as_json};
use crate::shape::Shape;
use crate::watch::Watch;
use crate::{machine, show, spool};

#[derive(Debug, Args)]
#[command(
    after_help = "Values are compared, whatever holds them: 1.10 equals 1.1, an INT equals a BIGINT, null equals null, NaN equals NaN; \
0.0 and -0.0 differ. Types that cannot be compared without loss are refused by the column's name.

Examples:
  arrowload diff old.parquet new.csv --keys id
  arrowload diff postgresql://host/db lake --table-a orders --table-b orders.parquet --keys id -o differences.parquet
  arrowload diff old.csv new.csv

Exit codes, as those of diff: 0 equal; 1 different; 2 refused or failed, so that nothing is known; 70 and 130 as ever."
)]
pub(crate) struct DiffArgs {
    /// The first side: a connection, a URL, a file, a folder, a pattern of files, or - for standard input. What it alone has was removed
    #[arg(value_name = "A")]
    a: String,
    /// The second side. What it alone has was added
    #[arg(value_name = "B")]
    b: String,
    /// The table of both sides; of a side that is a file, the file is read as a whole
    #[arg(long, value_name = "TABLE", help_heading = "What to read")]
    table: Option<String>,
    /// The table of the first side
    #[arg(long, value_name = "TABLE", help_heading = "What to read", conflicts_with_all = ["table", "sql", "sql_a"])]
    table_a: Option<String>,
    /// The table of the second side
    #[arg(long, value_name = "TABLE", help_heading = "What to read", conflicts_with_all = ["table", "sql", "sql_b"])]
    table_b: Option<String>,
    /// The query of both sides; in it a file is the table `data`
    #[arg(
        long,
        value_name = "SQL",
        help_heading = "What to read",
        conflicts_with = "table"
    )]
    sql: Option<String>,
    /// The query of the first side
    #[arg(long, value_name = "SQL", help_heading = "What to read", conflicts_with_all = ["table", "sql"])]
    sql_a: Option<String>,
    /// The query of the second side
    #[arg(long, value_name = "SQL", help_heading = "What to read", conflicts_with_all = ["table", "sql"])]
    sql_b: Option<String>,
    /// Only rows for which this is true, in the SQL of each side
    #[arg(long = "where", value_name = "SQL", help_heading = "What to read")]
    condition: Option<String>,
    /// The format of files and standard input; by default what their content says
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "What to read")]
    input_format: Option<InputFormat>,
    /// How files are read: delim=;, header=false; `arrowload describe csv` lists the options
    #[arg(
        long = "read-option",
        value_name = "KEY=VALUE",
        help_heading = "What to read"
    )]
    read_options: Vec<String>,
    /// Types of columns of files: zip=text,amount=decimal(20,2), or text for all
    #[arg(long, value_name = "COLUMN=TYPE,…", help_heading = "What to read")]
    types: Option<String>,
    /// The columns that identify a row: without null, and unique on each side. Without them rows are not paired: their number and
    /// checksums are compared, whatever their order
    #[arg(short, long, value_name = "COLUMN,…", value_delimiter = ',')]
    keys: Vec<String>,
    /// Compare only these columns, beside the keys
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    columns: Vec<String>,
    /// Compare all columns but these
    #[arg(
        long,
        value_name = "COLUMN,…",
        value_delimiter = ',',
        conflicts_with = "columns"
    )]
    exclude_columns: Vec<String>,
    /// Compare the schemas and no rows; types and nullability count
    #[arg(long, conflicts_with_all = ["keys", "out"])]
    schema_only: bool,
    /// Types and nullability count as differences also where all values are equal
    #[arg(long)]
    strict: bool,
    /// How many differing rows are shown
    #[arg(long, default_value_t = 20, value_name = "ROWS")]
    limit: usize,
    /// Memory for sorting the rows of both sides; what needs more goes to the disk
    #[arg(long, default_value = "256MB", value_name = "SIZE", value_parser = memory_limit)]
    memory_limit: MemoryLimit,
    /// A file to write all differing rows to, in place of one that is there: `_change` (added, removed or changed), the keys, and each
    /// other column of both sides. Its ending says the format
    #[arg(short, long, value_name = "FILE", requires = "keys")]
    out: Option<PathBuf>,
    /// The format of that file
    #[arg(long, value_enum, value_name = "FORMAT", requires = "out")]
    format: Option<Format>,
    /// Show each value as wide as it is
    #[arg(long)]
    wide: bool,
}

fn memory_limit(text: &str) -> Result<MemoryLimit, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// Compares. If that fails, the exit code is 2 and not 1, because 1 means that there are differences.
pub(crate) async fn command(
    args: DiffArgs,
    common: &Common,
    watch: &Watch,
) -> Result<Exit, Failure> {
    match compare(args, common).await {
        Err(Failure::Interrupted) => Err(Failure::Interrupted),
        Err(failure) => {
            failure.report(common, watch);
            Ok(Exit::Refused)
        }
        ended => ended,
    }
}

async fn compare(mut args: DiffArgs, common: &Common) -> Result<Exit, Failure> {
    let output = match args.out.take() {
        Some(file) => match Output::of(args.format, Some(file))? {
            Output::File(file) => Some(file),
            Output::Print(_) => None,
        },
        None => None,
    };
    args.check()?;
    let questions = [args.ask(Side::A).await?, args.ask(Side::B).await?];
    let mut opened = 0;
    loop {
        opened += 1;
        match args.compare(&questions, output.clone()).await {
            // A value did not fit the type that a sample of its file had: now a wider one is known.
            Err(Failed {
                reopens: true,
                failure,
            }) if opened < MOST_OPENED => {
                if let Failure::Load(error) = failure {
                    tracing::info!(%error, "reading both sides again, with wider types");
                }
            }
            Err(failed) => return Err(failed.failure),
            Ok(found) => return found.tell(common),
        }
    }
}

/// The limit for opening a source again: one that widens its types each time must not keep a comparison running for ever.
const MOST_OPENED: usize = 100;

/// Why a comparison ended without an answer.
struct Failed {
    failure: Failure,
    /// Whether reading again may help, as a type was found to be too narrow.
    reopens: bool,
}

impl<E: Into<Failure>> std::convert::From<E> for Failed {
    fn from(error: E) -> Self {
        let failure = error.into();
        let reopens = matches!(&failure, Failure::Load(error) if error.retry() == Retry::Reopen);
        Self { failure, reopens }
    }
}

/// Writes all differing rows to a file, and keeps the first.
async fn write(
    differences: Differences,
    file: FileOutput,
    path: &str,
    client: &Client,
    limit: usize,
) -> Result<First, Failed> {
    let first = Arc::new(Mutex::new(First::new(limit)));
    let rows = stream(differences, Arc::clone(&first));
    let written = file
        .write(|target| client.load_stream(rows, "file", target))
        .await;
    let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
    let (report, replaced) = written.map_err(|failure| Failed {
        failure,
        reopens: first.reopens,
    })?;
    if report.rows_rejected > 0 {
        return Err(Failed::from(Failure::failed(format!(
            "{path} has not all differences: {} were set aside, as on_error = skip is set for files",
            report.rows_rejected
        ))));
    }
    if replaced {
        show::note(&format!("replaced {path}"));
    }
    Ok(std::mem::take(&mut *first))
}

/// The differing rows as they go into a file; the first of them are kept for the report.
fn stream(differences: Differences, first: Arc<Mutex<First>>) -> BatchStream {
    let schema = Arc::clone(differences.schema());
    let rows = futures::stream::try_unfold(differences, move |mut differences| {
        let first = Arc::clone(&first);
        async move {
            let block = differences.next().await;
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            first.counts = differences.counts().clone();
            match block {
                Ok(None) => Ok(None),
                Ok(Some(block)) => {
                    let batch = block.batch.clone();
                    first.take(block);
                    Ok(Some((batch, differences)))
                }
                Err(error) => {
                    // A load of a stream cannot open it again, and its error says so.
                    first.reopens = error.retry() == Retry::Reopen;
                    Err(error)
                }
            }
        }
    });
    BatchStream::new(schema, rows)
}

fn of_side<T>(side: Side, result: Result<T, Error>) -> Result<T, Failure> {
    result.map_err(|error| Failure::Load(error.with("side", side)))
}

impl DiffArgs {
    /// Reads both sides, and finds what differs.
    async fn compare(
        &self,
        [question_a, question_b]: &[Question; 2],
        output: Option<FileOutput>,
    ) -> Result<Found<'_>, Failed> {
        let selection = Selection {
            keys: self.keys.clone(),
            columns: self.columns.clone(),
            exclude: self.exclude_columns.clone(),
        };
        let mut found = Found {
            args: self,
            schemas: SchemaDiff::default(),
            rows: Rows::NotCompared,
            written: None,
        };
        if self.schema_only {
            let a = of_side(Side::A, question_a.query.clone().schema().await)?;
            let b = of_side(Side::B, question_b.query.clone().schema().await)?;
            found.schemas = SchemaDiff::new(&a, &b, &selection)?;
            return Ok(found);
        }
        let a = of_side(Side::A, question_a.query.clone().stream().await)?;
        let b = of_side(Side::B, question_b.query.clone().stream().await)?;
        found.schemas = SchemaDiff::new(a.schema(), b.schema(), &selection)?;
        let comparison = Comparison::new(a.schema(), b.schema(), &selection)?;
        if self.keys.is_empty() {
            let (a, b) =
                futures::try_join!(comparison.sums(Side::A, a), comparison.sums(Side::B, b))?;
            found.rows = Rows::Sums(a, b);
            return Ok(found);
        }
        let spill = spool::folder()?;
        let limits = Limits {
            memory: self.memory_limit.bytes(),
            spill_folder: Some(spill.path().to_owned()),
        };
        let mut differences = comparison.differences(a, b, &limits).await?;
        let first = match output {
            None => {
                let mut first = First::new(self.limit);
                while let Some(block) = differences.next().await? {
                    first.take(block);
                }
                first.counts = differences.counts().clone();
                first
            }
            Some(file) => {
                let path = file.path().display().to_string();
                found.written = Some(path.clone());
                write(differences, file, &path, &question_a.client, self.limit).await?
            }
        };
        found.rows = Rows::ByKey(first);
        Ok(found)
    }

    /// Refuses what would be without effect.
    fn check(&self) -> Result<(), Failure> {
        if self.a == "-" && self.b == "-" {
            return Err(Failure::usage("standard input can be one side only"));
        }
        let (a, b) = (input::meant(&self.a)?, input::meant(&self.b)?);
        if self.table.is_some() && a.is_whole && b.is_whole {
            return Err(Failure::usage(
                "--table names a table, and both sides are files",
            ));
        }
        let is_read = !self.read_options.is_empty() || self.types.is_some();
        if is_read && !a.has_files && !b.has_files
            || self.input_format.is_some() && !a.is_whole && !b.is_whole
        {
            return Err(Failure::usage(
                "--read-option, --types and --input-format are about files, and no side is one",
            ));
        }
        Ok(())
    }

    /// The source and the query of a side.
    async fn ask(&self, side: Side) -> Result<Question, Failure> {
        let (name, table, sql, flags) = match side {
            Side::A => (&self.a, &self.table_a, &self.sql_a, "--table-a or --sql-a"),
            Side::B => (&self.b, &self.table_b, &self.sql_b, "--table-b or --sql-b"),
        };
        let meant = input::meant(name)?;
        let is_query = sql.is_some() || self.sql.is_some();
        let general = self.table.as_ref().filter(|_| !meant.is_whole && !is_query);
        let from = From {
            from: Some(name.clone()),
            table: table.as_ref().or(general).cloned(),
            sql: match table {
                Some(_) => None,
                None => sql.as_ref().or(self.sql.as_ref()).cloned(),
            },
            input_format: self.input_format.filter(|_| meant.is_whole),
            read_options: match meant.has_files {
                true => self.read_options.clone(),
                false => Vec::new(),
            },
            types: self.types.clone().filter(|_| meant.has_files),
            shape: Shape {
                condition: self.condition.clone(),
                ..Shape::default()
            },
            ..From::default()
        };
        if from.table.is_none() && from.sql.is_none() && !meant.is_whole {
            return Err(Failure::usage(format!(
                "which rows of {side}, {}? give --table (of both sides), {flags}",
                arrowload::core::url_scheme(name).unwrap_or_else(|| name.clone())
            )));
        }
        Question::ask(&from).await
    }
}

/// What was found of the rows.
enum Rows {
    NotCompared,
    Sums(Sums, Sums),
    ByKey(First),
}

/// The first rows that differ, and the counts of all.
#[derive(Default)]
struct First {
    limit: usize,
    blocks: Vec<Block>,
    counts: Counts,
    /// The rows ended with an error after which reading again may help.
    reopens: bool,
}

impl First {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    fn take(&mut self, block: Block) {
        let rows = block.changes.len().min(self.limit - self.shown());
        if rows > 0 {
            self.blocks.push(block.first(rows));
        }
    }

    fn shown(&self) -> usize {
        self.blocks.iter().map(|block| block.changes.len()).sum()
    }
}

/// All that was found.
struct Found<'a> {
    args: &'a DiffArgs,
    schemas: SchemaDiff,
    rows: Rows,
    /// The file with all differing rows.
    written: Option<String>,
}

impl Found<'_> {
    fn is_equal(&self) -> bool {
        let schemas = match self.args.strict || self.args.schema_only {
            true => self.schemas.is_empty(),
            false => !self.schemas.has_other_columns(),
        };
        schemas
            && match &self.rows {
                Rows::NotCompared => true,
                Rows::Sums(a, b) => a == b,
                Rows::ByKey(first) => first.counts.is_equal(),
            }
    }

    /// Prints the result. The exit code has it too, so a failure to print is ignored.
    fn tell(&self, common: &Common) -> Result<Exit, Failure> {
        let told = match common.output {
            Report::Json => machine::tell(&self.object()?),
            Report::Text if common.quiet => Ok(()),
            Report::Text => self.text().and_then(|text| show::print(&text)),
        };
        match told {
            Err(Failure::BrokenPipe) => {}
            told => told?,
        }
        Ok(match self.is_equal() {
            true => Exit::Done,
            false => Exit::Different,
        })
    }

    fn text(&self) -> Result<String, Failure> {
        let mut text = self.schema_text();
        match &self.rows {
            Rows::NotCompared => {}
            Rows::Sums(a, b) => text += &self.sums_text(a, b),
            Rows::ByKey(first) => {
                let counts = &first.counts;
                text += &format!(
                    "rows: {} in A, {} in B; {} equal, {} added, {} removed, {} changed\n",
                    show::count(counts.rows[0]),
                    show::count(counts.rows[1]),
                    show::count(counts.equal),
                    show::count(counts.added),
                    show::count(counts.removed),
                    show::count(counts.changed)
                );
                let columns = counts.columns.iter().filter(|(_, rows)| *rows > 0);
                let columns: Vec<String> = columns
                    .map(|(name, rows)| format!("{} {}", printable(name), show::count(*rows)))
                    .collect();
                if !columns.is_empty() {
                    text += &format!("changed values: {}\n", columns.join(", "));
                }
                if !first.blocks.is_empty() {
                    text += "\n";
                    text += &self.rows_text(first)?;
                }
                let all = counts.added + counts.removed + counts.changed;
                if (first.shown() as u64) < all {
                    text += &format!(
                        "({} of {} differing rows shown{})\n",
                        first.shown(),
                        show::count(all),
                        match self.written {
                            Some(_) => "",
                            None => "; --limit N for more, -o FILE for all",
                        }
                    );
                }
                if let Some(path) = &self.written {
                    text += &format!("all differing rows are in {path}\n");
                }
            }
        }
        Ok(match self.is_equal() {
            true => text + "equal\n",
            false => text + "different\n",
        })
    }

    fn schema_text(&self) -> String {
        let mut text = String::new();
        for (fields, side) in [(&self.schemas.only_a, "A"), (&self.schemas.only_b, "B")] {
            if !fields.is_empty() {
                let names = fields
                    .iter()
                    .map(|field| format!("{} ({})", printable(field.name()), field.data_type()));
                let names: Vec<String> = names.collect();
                text += &format!("columns only in {side}: {}\n", names.join(", "));
            }
        }
        for other in &self.schemas.others {
            let null = |field: &Field| match field.is_nullable() {
                true => "nullable",
                false => "not null",
            };
            let name = printable(other.a.name());
            text += &match other.is_another_type() {
                true => format!(
                    "type of {name}: {} in A, {} in B\n",
                    other.a.data_type(),
                    other.b.data_type()
                ),
                false => format!("{name}: {} in A, {} in B\n", null(&other.a), null(&other.b)),
            };
        }
        text
    }

    fn sums_text(&self, a: &Sums, b: &Sums) -> String {
        let differing: Vec<_> = a.differing(b).map(printable).collect();
        let mut text = format!(
            "rows: {} in A, {} in B\n",
            show::count(a.rows),
            show::count(b.rows)
        );
        text += &match (a == b, differing.is_empty()) {
            (true, _) => "the checksums of all columns and of whole rows are equal: unless 64-bit hashes collide, both \
                          have the same rows, each as often, whatever their order\n"
                .to_owned(),
            (false, true) => {
                "the checksums of the columns are equal, and those of whole rows differ: the same values are in different rows\n"
                    .to_owned()
            }
            (false, false) => format!("the checksums of these columns differ: {}\n", differing.join(", ")),
        };
        if a != b {
            text += "(--keys says which rows differ)\n";
        }
        text
    }

    /// The first differing rows: a line for each, or one for each value that changed.
    fn rows_text(&self, first: &First) -> Result<String, Failure> {
        let keys = self.args.keys.len();
        let names = self.args.keys.iter().map(|key| printable(key).into_owned());
        let head = std::iter::once(String::new()).chain(names);
        let head = head.chain(["column", "A", "B"].map(str::to_owned));
        let mut grid = Grid::new(head);
        for block in &first.blocks {
            let columns = block
                .sides
                .each_ref()
                .map(|batch| -> Vec<Column> { batch.columns().iter().map(Column::new).collect() });
            let schema = block.sides[0].schema();
            let cell = |side: usize, index: usize, row: usize| {
                output::value(&columns[side][index], schema.field(index).name(), row)
            };
            for (row, change) in block.changes.iter().enumerate() {
                let has_key = usize::from(*change == Change::Added);
                let mut cells = vec![change.name().to_owned()];
                for index in 0..keys {
                    cells.push(cell(has_key, index, row)?);
                }
                if block.columns[row].is_empty() {
                    cells.extend(["", "", ""].map(str::to_owned));
                    grid.add(cells);
                    continue;
                }
                for (position, column) in block.columns[row].iter().enumerate() {
                    let mut line = match position {
                        0 => cells.clone(),
                        _ => vec![String::new(); cells.len()],
                    };
                    let index = keys + column;
                    line.push(printable(schema.field(index).name()).into_owned());
                    line.push(cell(0, index, row)?);
                    line.push(cell(1, index, row)?);
                    grid.add(line);
                }
            }
        }
        let width = show::width().filter(|_| !self.args.wide);
        let (text, left_out) = grid.draw(width);
        let more = match left_out {
            0 => String::new(),
            left_out => format!("({left_out} columns left out: --wide)\n"),
        };
        Ok(format!("{text}\n{more}"))
    }

    fn object(&self) -> Result<Value, Failure> {
        let field = |field: &Field| {
            json!({
                "column": field.name(),
                "type": field.data_type().to_string(),
                "nullable": field.is_nullable(),
            })
        };
        let schemas = &self.schemas;
        let others = schemas.others.iter().map(
            |other| json!({ "column": other.a.name(), "a": field(&other.a), "b": field(&other.b) }),
        );
        let mut object = json!({
            "status": match self.is_equal() {
                true => "equal",
                false => "different",
            },
            "schema": {
                "only_a": schemas.only_a.iter().map(|one| field(one)).collect::<Vec<_>>(),
                "only_b": schemas.only_b.iter().map(|one| field(one)).collect::<Vec<_>>(),
                "other": others.collect::<Vec<_>>(),
            },
        });
        match &self.rows {
            Rows::NotCompared => {}
            Rows::Sums(a, b) => {
                object["rows"] = json!({ "a": a.rows, "b": b.rows });
                object["checksums"] = json!({
                    "a": { "columns": a.columns, "rows": a.whole },
                    "b": { "columns": b.columns, "rows": b.whole },
                });
            }
            Rows::ByKey(first) => {
                let counts = &first.counts;
                let columns = counts.columns.iter().cloned();
                object["rows"] = json!({
                    "a": counts.rows[0],
                    "b": counts.rows[1],
                    "equal": counts.equal,
                    "added": counts.added,
                    "removed": counts.removed,
                    "changed": counts.changed,
                });
                object["changed_values"] = columns
                    .map(|(name, rows)| (name, rows.into()))
                    .collect::<Map<String, Value>>()
                    .into();
                object["differences"] = self.differences(first)?;
                object["file"] = self.written.as_deref().into();
            }
        }
        Ok(object)
    }

    /// The first differing rows as objects.
    fn differences(&self, first: &First) -> Result<Value, Failure> {
        let keys = self.args.keys.len();
        let mut all = Vec::new();
        for block in &first.blocks {
            let [a, b] = [as_objects(&block.sides[0])?, as_objects(&block.sides[1])?];
            let schema = block.sides[0].schema();
            for (row, change) in block.changes.iter().enumerate() {
                let has_key = match change {
                    Change::Added => &b[row],
                    _ => &a[row],
                };
                let pick = |row: &Value, indices: &mut dyn Iterator<Item = usize>| -> Value {
                    let names = indices.map(|index| schema.field(index).name());
                    let members = names.map(|name| (name.clone(), row[name].clone()));
                    members.collect::<Map<_, _>>().into()
                };
                let mut columns = block.columns[row].clone();
                if *change != Change::Changed {
                    columns = (0..schema.fields().len() - keys).collect();
                }
                let values =
                    |row: &Value| pick(row, &mut columns.iter().map(|column| keys + column));
                let (of_a, of_b) = (values(&a[row]), values(&b[row]));
                all.push(json!({
                    "change": change.name(),
                    "key": pick(has_key, &mut (0..keys)),
                    "a": match change {
                        Change::Added => Value::Null,
                        _ => of_a,
                    },
                    "b": match change {
                        Change::Removed => Value::Null,
                        _ => of_b,
                    },
                }));
            }
        }
        Ok(all.into())
    }
}

/// The rows of a side as objects. Decimals are texts there, as numbers of JSON have 64 bits for most readers.
fn as_objects(batch: &RecordBatch) -> Result<Vec<Value>, Failure> {
    let failed = |error: arrow_schema::ArrowError| Failure::failed(error.to_string());
    let (mut fields, mut columns) = (Vec::new(), Vec::<ArrayRef>::new());
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if !has_decimals(field.data_type()) {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(array));
            continue;
        }
        let column = Column::new(array);
        let texts = (0..array.len()).map(|row| match column.is_null(row) {
            true => Ok(None),
            false => output::value(&column, field.name(), row).map(Some),
        });
        columns.push(Arc::new(texts.collect::<Result<StringArray, Failure>>()?));
        fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(failed)?;
    match rows_as_json(&[batch])? {
        Value::Array(rows) => Ok(rows),
        _ => Ok(Vec::new()),
    }
}

/// Whether there are decimals in values of a type, however deep.
fn has_decimals(data_type: &DataType) -> bool {
    let any = |fields: &Fields| fields.iter().any(|field| has_decimals(field.data_type()));
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _)
        | DataType::RunEndEncoded(_, item) => has_decimals(item.data_type()),
        DataType::Struct(fields) => any(fields),
        DataType::Dictionary(_, values) => has_decimals(values),
        other => other.is_decimal(),
    }
}
