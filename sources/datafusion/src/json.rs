//! JSON files, by our own reader.

use std::sync::Arc;

use arrow_schema::{DataType, Field};
use arrowload_common_csv::{Compression, looks_like};
use arrowload_common_json::{self as json, All, InferRows, Input, Mark, Reader};
use arrowload_core::{Error, ErrorKind, Result, UnparsedRow};
use serde_json::{Map, Value};

use crate::csv::{again, whole_lines};
use crate::file::DataFile;
use crate::how::How;
use crate::kind::Kind;
use crate::look::{Ask, Batches, Certainty, Column, Layout, Looked, NO_VALUES, UNSEEN, Wanted};
use crate::peek::name_of;

/// How one file is read.
#[derive(Debug, Clone)]
struct JsonLayout {
    file: DataFile,
    options: json::Options,
    layout: json::Layout,
    /// Columns whose types were found in all files together.
    joined: Vec<String>,
    /// The options as they were given.
    given: Map<String, Value>,
}

impl JsonLayout {
    /// How lines that are set aside are parsed again.
    fn again(&self) -> String {
        let schema = self.layout.schema();
        let columns = self.layout.columns.iter().zip(schema.fields());
        // Declared types are among the given options already, and the types of the target are read
        // from it again.
        let found = columns.filter(|(column, _)| {
            let (name, options) = (&column.name, &self.options);
            let found = column.mark != Mark::Declared || self.joined.contains(name);
            // The name of a flattened column is not the way to its values.
            !options.flatten && (found || options.strict_types.contains_key(name))
        });
        let types = found.filter_map(|(column, field)| {
            let name = match is_json(field) {
                true => "json".to_owned(),
                false => name_of(&column.data_type)?,
            };
            Some((column.name.clone(), Value::from(name)))
        });
        let found = serde_json::json!({
            "format": "ndjson",
            "strict_types": types.collect::<Map<_, _>>(),
            "encoding": "utf-8",
            "compression": "none",
        });
        again("read_json", &self.given, found)
    }
}

/// Whether a column is JSON text: its values as they are written.
pub(crate) fn is_json(field: &Field) -> bool {
    field.extension_type_name() == Some("arrow.json")
}

fn open(file: &DataFile, options: &json::Options) -> Result<Input> {
    Input::read(file.shown(), file.open()?, options)
}

/// Finds the layout, and proves its types as far as the options say.
fn layout(input: Input, options: &json::Options) -> Result<json::Layout> {
    let found = json::sniff(&input, options)?;
    let sampled = |column: &json::ColumnPlan| column.mark == Mark::Sampled;
    let rows = match options.infer_rows {
        InferRows::Rows(rows) => Some(rows),
        InferRows::All(_) => None,
        InferRows::Head => return Ok(found),
    };
    match found.columns.iter().any(sampled) || !input.is_whole() {
        true => json::prove(input, &found, rows, None),
        false => Ok(found),
    }
}

/// Finds out what a file is. `input` was opened before it was known to be JSON.
pub(crate) fn look(file: &DataFile, input: Input, how: &How, wanted: &Wanted) -> Result<Looked> {
    let mut options = how.json()?;
    // Each line would be a row, and hold an array.
    if options.format == json::Format::Ndjson
        && let Some(what @ "a JSON array") = looks_like(input.head())
    {
        let message = format!(
            "`{}` looks like {what}, and `format` says that each line is a row; set it to `array`, or leave it out",
            file.shown()
        );
        return Err(Error::new(ErrorKind::InvalidData, message).with("file", file.shown()));
    }
    if wanted.prove {
        options.infer_rows = InferRows::All(All::All);
    }
    // JSON is Unicode: other bytes are refused, and not read in another encoding.
    let input = match input.encoding() {
        "UTF-8" => input,
        _ => open(file, &options)?,
    };
    let offered = wanted.types.iter();
    let offered = offered.filter(|(_, data_type)| json::is_readable(data_type));
    let plain = match wanted.types.is_empty() {
        true => None,
        false => Some(json::sniff(&input, &options)?),
    };
    for (name, data_type) in offered {
        let found = plain.iter().flat_map(|layout| &layout.columns);
        let fits = found
            .filter(|column| column.name == *name && column.mark != Mark::Declared)
            .any(|column| column.reason == NO_VALUES || may_be(&column.data_type, data_type));
        if fits {
            options.declared.insert(name.clone(), data_type.clone());
        }
    }
    while !options.declared.is_empty() {
        let unfit = unfit(&input, &options)?;
        // A type that the user declared is not taken back.
        if !unfit.iter().any(|name| options.declared.contains_key(name)) {
            break;
        }
        options.declared.retain(|name, _| !unfit.contains(name));
    }
    let layout = layout(input, &options)?;
    let schema = layout.schema();
    let columns = layout.columns.iter().zip(schema.fields());
    let columns = columns.enumerate().map(|(index, (column, field))| Column {
        field: Arc::clone(field),
        certainty: match column.mark {
            Mark::Declared => Certainty::Declared,
            Mark::Sampled => Certainty::Sampled,
            Mark::Proved => Certainty::Proved,
        },
        reason: match layout.unseen.contains(&column.name) {
            true => UNSEEN.to_owned(),
            false => column.reason.clone(),
        },
        is_empty: column.mark != Mark::Declared && column.reason == NO_VALUES,
        texts: layout.texts(index),
    });
    let rows = match layout.format {
        json::Format::Ndjson => "one row a line",
        json::Format::Array => "an array of rows",
        _ => "documents",
    };
    let mut found = format!("{rows}, {}", layout.encoding);
    if layout.compression != Compression::None {
        found.push_str(&format!(", {}", layout.compression));
    }
    Ok(Looked {
        file: file.clone(),
        kind: Kind::Json,
        columns: columns.collect(),
        rows: None,
        header: None,
        found,
        notes: layout.notes.clone(),
        left_out: Vec::new(),
        layout: Some(Arc::new(JsonLayout {
            file: file.clone(),
            options,
            layout,
            joined: Vec::new(),
            given: how.given(Kind::Json),
        })),
        engine: None,
    })
}

/// The columns with a value in the head that does not fit the type that the target has.
fn unfit(input: &Input, options: &json::Options) -> Result<Vec<String>> {
    let layout = json::sniff(input, options)?;
    if layout.format != json::Format::Ndjson && !input.is_whole() {
        // Where the head of a document ends, it is not a document.
        return Ok(options.declared.keys().cloned().collect());
    }
    let plain = json::Options {
        encoding: Some("utf-8".into()),
        compression: Some(Compression::None),
        ..json::Options::default()
    };
    let head = std::io::Cursor::new(whole_lines(input).to_vec());
    let mut read = json::ReadOptions::default();
    read.threads = Some(1);
    let reader = Reader::new(Input::read(input.name(), head, &plain)?, &layout, &read)?;
    let errors = reader.set_aside(|_| Ok(())).filter_map(Result::err);
    // Other errors are those of the file, and are met when it is read.
    let misfits = errors.filter_map(|error| {
        let misfits = json::misfits(&error)?.iter();
        let declared = misfits.filter(|misfit| misfit.mark == Mark::Declared);
        Some(declared.map(|misfit| misfit.column.clone()).collect())
    });
    Ok(misfits.into_iter().next().unwrap_or_default())
}

/// Whether values that were found to be of one type may be read as the type that the target has.
fn may_be(found: &DataType, target: &DataType) -> bool {
    use DataType as T;
    let is_text = |kind: &DataType| matches!(kind, T::Utf8 | T::LargeUtf8 | T::Utf8View);
    let is_decimal = |kind: &DataType| matches!(kind, T::Decimal128(..) | T::Decimal256(..));
    match (found, target) {
        (found, target) if is_text(found) => {
            is_text(target) || matches!(target, T::Date32 | T::Time64(_) | T::Timestamp(..))
        }
        (T::Int64, target) => {
            target.is_integer() || is_decimal(target) || matches!(target, T::Float32 | T::Float64)
        }
        (found, target) if is_decimal(found) => {
            is_decimal(target) || matches!(target, T::Float32 | T::Float64)
        }
        (T::Float64, T::Float32 | T::Float64) | (T::Boolean, T::Boolean) => true,
        _ => false,
    }
}

impl Layout for JsonLayout {
    fn with_types(&self, types: &[(usize, DataType)]) -> Result<Option<Arc<dyn Layout>>> {
        if types.is_empty() {
            return Ok(None);
        }
        let mut wider = self.clone();
        for (index, data_type) in types {
            if let Some(column) = self.layout.columns.get(*index) {
                let name = column.name.clone();
                wider.joined.push(name.clone());
                wider.options.declared.insert(name, data_type.clone());
            }
        }
        wider.layout = layout(open(&self.file, &wider.options)?, &wider.options)?;
        Ok(Some(Arc::new(wider)))
    }

    fn read(&self, file: &DataFile, ask: &Ask) -> Result<Batches> {
        let input = open(file, &self.options)?;
        let mut options = json::ReadOptions::default();
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
        let misfits = json::misfits(error)?;
        let names = misfits.iter().map(|misfit| misfit.column.clone()).collect();
        let found = misfits.iter().all(|misfit| misfit.mark != Mark::Declared);
        Some((names, found))
    }
}
