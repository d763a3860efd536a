//! CSV files, by our own reader.

use std::sync::Arc;

use arrow_schema::{DataType, Field};
use arrowload_common_csv::{
    self as csv, All, ColumnPlan, ColumnType, Compression, InferRows, Input, Mark, Reader,
};
use arrowload_core::{Error, Result, UnparsedRow};
use serde_json::{Map, Value};

use crate::file::DataFile;
use crate::how::How;
use crate::kind::Kind;
use crate::look::{Ask, Batches, Certainty, Column, Layout, Looked, NO_VALUES, Wanted};
use crate::peek::name_of;

/// How one file is read.
#[derive(Debug, Clone)]
struct CsvLayout {
    options: csv::Options,
    layout: csv::Layout,
    /// The options as they were given.
    given: Map<String, Value>,
}

impl CsvLayout {
    /// How rows that are set aside are parsed again: with the dialect and types that were found in their file, because the
    /// rows alone do not show them.
    fn again(&self) -> String {
        let (dialect, columns) = (&self.layout.dialect, &self.layout.columns);
        if self.layout.has_two_nulls() {
            let word = dialect.null_text.join("`, `");
            let why = format!("`{word}` stands for null in some of their columns only");
            return serde_json::json!({ "not_again": why }).to_string();
        }
        let letter =
            |byte: Option<u8>| byte.map_or_else(String::new, |byte| char::from(byte).into());
        let escape = match dialect.escape {
            csv::Escape::Doubled => dialect.quote,
            csv::Escape::Byte(byte) => Some(byte),
            csv::Escape::None => None,
        };
        // Declared types are among the given options already, and the types of the target are read from it again.
        let found = columns.iter().filter(|column| {
            column.mark != Mark::Declared || self.options.strict_types.contains_key(&column.name)
        });
        let types = found.filter_map(|column| {
            let name = name_of(&column.kind.data_type)?;
            Some((column.name.clone(), Value::from(name)))
        });
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let found = serde_json::json!({
            "delim": dialect.delimiter,
            "quote": letter(dialect.quote),
            "escape": letter(escape),
            "new_line": dialect.line_end,
            "header": false,
            "skip": 0,
            "skip_footer": 0,
            // No comment was set aside, though a row may look like one.
            "comment": "",
            "trim": dialect.trim,
            "names": names,
            "strict_types": types.collect::<Map<_, _>>(),
            "null_text": dialect.null_text,
            "empty": dialect.empty,
            "encoding": "utf-8",
            "compression": "none",
        });
        again("read_csv", &self.given, found)
    }
}

/// A call of a table function, as a dead-letter file keeps it.
pub(crate) fn again(function: &str, given: &Map<String, Value>, found: Value) -> String {
    let mut options = given.clone();
    for key in [
        "header_rows",
        "infer_rows",
        "filename",
        "hive_partitioning",
        "hive_types",
    ] {
        options.remove(key);
    }
    if let Value::Object(found) = found {
        options.extend(found);
    }
    serde_json::json!({ "read": function, "options": options }).to_string()
}

fn column(plan: &ColumnPlan) -> Column {
    Column {
        field: Arc::new(Field::new(&plan.name, plan.kind.data_type.clone(), true)),
        certainty: match plan.mark {
            Mark::Declared => Certainty::Declared,
            Mark::Sampled => Certainty::Sampled,
            Mark::Proved => Certainty::Proved,
        },
        reason: plan.reason.clone(),
        is_empty: plan.mark != Mark::Declared && plan.reason == NO_VALUES,
        texts: Vec::new(),
    }
}

/// Finds out what a file is.
pub(crate) fn look(file: &DataFile, input: Input, how: &How, wanted: &Wanted) -> Result<Looked> {
    let mut options = how.csv()?;
    let said = options.header.is_some() || options.header_rows.is_some();
    let found = csv::sniff(&input, &options)?;
    let header = (!said).then_some(found.dialect.header_rows > 0);
    for plan in &found.columns {
        if let Some(kind) = wanted.types.get(&plan.name)
            && plan.mark != Mark::Declared
            && (column(plan).is_empty || may_be(&plan.kind.data_type, kind))
        {
            options.declared.insert(plan.name.clone(), kind.clone());
        }
    }
    if wanted.prove {
        options.infer_rows = InferRows::All(All::All);
    }
    let mut found = found;
    while !options.declared.is_empty() {
        found = csv::sniff(&input, &options)?;
        let unfit = unfit(&input, &found, &options)?;
        // A type that the user declared is not taken back.
        if !unfit.iter().any(|name| options.declared.contains_key(name)) {
            break;
        }
        options.declared.retain(|name, _| !unfit.contains(name));
        found = csv::sniff(&input, &options)?;
    }
    let sampled = found
        .columns
        .iter()
        .any(|column| column.mark == Mark::Sampled);
    let rows = match options.infer_rows {
        InferRows::Rows(rows) => Some(Some(rows)),
        InferRows::All(_) => Some(None),
        InferRows::Head => None,
    };
    let layout = match rows {
        Some(rows) if sampled => csv::prove(input, &found, rows, None)?,
        _ => found,
    };
    Ok(Looked {
        file: file.clone(),
        kind: Kind::Csv,
        columns: layout.columns.iter().map(column).collect(),
        rows: None,
        header,
        found: layout.dialect.to_string(),
        notes: layout.notes.clone(),
        left_out: layout.left_out.clone(),
        layout: Some(Arc::new(CsvLayout {
            options,
            layout,
            given: how.given(Kind::Csv),
        })),
        engine: None,
    })
}

/// The columns with a value in the head that does not fit the type that the target has.
fn unfit(input: &Input, layout: &csv::Layout, options: &csv::Options) -> Result<Vec<String>> {
    let offered = |plan: &ColumnPlan| options.declared.contains_key(&plan.name);
    let columns = layout.columns.iter().enumerate();
    let columns = columns.filter(|(_, plan)| plan.mark == Mark::Declared && offered(plan));
    let mut read = csv::ReadOptions::default();
    read.projection = Some(columns.map(|(index, _)| index).collect());
    read.threads = Some(1);
    let plain = csv::Options {
        encoding: Some("utf-8".into()),
        compression: Some(Compression::None),
        ..csv::Options::default()
    };
    let head = std::io::Cursor::new(whole_lines(input).to_vec());
    let reader = Reader::new(Input::read(input.name(), head, &plain)?, layout, &read)?;
    let errors = reader.set_aside(|_| Ok(())).filter_map(Result::err);
    // Other errors are those of the file, and are met when it is read.
    let misfits = errors.filter_map(|error| {
        let misfits = csv::misfits(&error)?.iter();
        Some(misfits.map(|misfit| misfit.column.clone()).collect())
    });
    Ok(misfits.into_iter().next().unwrap_or_default())
}

/// The head of a text, without a line that may go on after it.
pub(crate) fn whole_lines(input: &Input) -> &[u8] {
    let head = input.head();
    let end = match input.is_whole() {
        true => Some(head.len()),
        false => head
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map(|at| at + 1),
    };
    &head[..end.unwrap_or(0)]
}

/// Whether values that were found to be of one type may be read as the type that the target has. A column whose values do not
/// have the right form keeps its inferred type; the load then converts or refuses it.
fn may_be(found: &DataType, target: &DataType) -> bool {
    use DataType as T;
    let is_text = |kind: &DataType| matches!(kind, T::Utf8 | T::LargeUtf8 | T::Utf8View);
    let is_decimal = |kind: &DataType| matches!(kind, T::Decimal128(..) | T::Decimal256(..));
    match (found, target) {
        (_, target) if is_text(target) => true,
        (T::Utf8, T::Boolean | T::Date32 | T::Time64(_) | T::Timestamp(..)) => true,
        (T::Int64 | T::Utf8, target) => {
            target.is_integer()
                || is_decimal(target)
                || matches!(target, T::Float32 | T::Float64 | T::Boolean)
        }
        (found, target) if is_decimal(found) => {
            is_decimal(target) || matches!(target, T::Float32 | T::Float64)
        }
        (T::Float64, T::Float32 | T::Float64) => true,
        (T::Boolean, T::Boolean) | (T::Date32, T::Date32) | (T::Time64(_), T::Time64(_)) => true,
        (T::Timestamp(_, found), T::Timestamp(_, target)) => found.is_some() == target.is_some(),
        _ => false,
    }
}

impl Layout for CsvLayout {
    fn with_types(&self, types: &[(usize, DataType)]) -> Result<Option<Arc<dyn Layout>>> {
        if types.is_empty() {
            return Ok(None);
        }
        let mut wider = self.clone();
        for (index, data_type) in types {
            if let Some(plan) = wider.layout.columns.get_mut(*index) {
                plan.kind = ColumnType {
                    data_type: data_type.clone(),
                    strict: true,
                };
                plan.mark = Mark::Sampled;
            }
        }
        Ok(Some(Arc::new(wider)))
    }

    fn read(&self, file: &DataFile, ask: &Ask) -> Result<Batches> {
        let input = Input::read(file.shown(), file.open()?, &self.options)?;
        let mut options = csv::ReadOptions::default();
        options.projection = Some(ask.projection.clone());
        options.batch_rows = Some(ask.batch_rows);
        options.misfits_aside = ask.aside.unparsed.accepts();
        let reader = Reader::new(input, &self.layout, &options)?;
        if !ask.aside.unparsed.accepts() {
            return Ok(Box::new(reader));
        }
        let (unparsed, again) = (ask.aside.unparsed.clone(), ask.aside.how(self.again()));
        Ok(Box::new(reader.set_aside(move |row| {
            let error = row.error();
            unparsed.set_aside(&UnparsedRow {
                file: &row.file,
                line: row.line,
                bytes: &row.raw,
                reason: error.message(),
                options: &again,
            })
        })))
    }

    fn misfits(&self, error: &Error) -> Option<(Vec<String>, bool)> {
        let misfits = csv::misfits(error)?;
        let names = misfits.iter().map(|misfit| misfit.column.clone()).collect();
        let found = misfits.iter().all(|misfit| misfit.mark != Mark::Declared);
        Some((names, found))
    }
}

/// Reads a small table that is written as CSV, with its types proved or declared.
pub(crate) fn proved_table(
    name: &str,
    text: String,
    types: csv::Types,
) -> Result<arrow_array::RecordBatch> {
    let options = csv::Options {
        delim: Some(",".into()),
        quote: Some("\"".into()),
        escape: Some("\"".into()),
        new_line: Some(csv::LineEnd::Lf),
        header: Some(true),
        skip: Some(0),
        skip_footer: Some(0),
        comment: Some(String::new()),
        trim: Some(false),
        encoding: Some("utf-8".into()),
        compression: Some(Compression::None),
        null_text: Some(csv::Texts::Several(Vec::new())),
        infer_rows: InferRows::All(All::All),
        types,
        ..csv::Options::default()
    };
    let text: Arc<[u8]> = text.into_bytes().into();
    let open = || Input::read(name, std::io::Cursor::new(Arc::clone(&text)), &options);
    let layout = csv::layout(open, &options)?;
    let reader = Reader::new(open()?, &layout, &csv::ReadOptions::default())?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>>>()?;
    Ok(datafusion::arrow::compute::concat_batches(
        &schema, &batches,
    )?)
}
