//! Batches as a stream of some format, to standard output or to a file under a temporary name.

use std::io::{BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_json::writer::{JsonArray, LineDelimited};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use arrowload_common_text::{Csv, CsvStyle};
use tempfile::NamedTempFile;

use crate::args::Format;
use crate::exit::Failure;
use crate::floats::Floats;

/// Where bytes go.
enum Place {
    Stdout(BufWriter<Stdout>),
    File(BufWriter<NamedTempFile>, PathBuf),
}

impl Write for Place {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File(out, _) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(out, _) => out.flush(),
        }
    }
}

enum Writer {
    Table(Vec<RecordBatch>, SchemaRef, Place),
    Csv(Box<CsvWriter>),
    Json(Box<arrow_json::Writer<Place, JsonArray>>),
    Ndjson(Box<arrow_json::Writer<Place, LineDelimited>>),
    ArrowFile(Box<FileWriter<Place>>, SchemaRef),
    ArrowStream(Box<StreamWriter<Place>>),
}

/// CSV as the loader of files writes it.
struct CsvWriter {
    csv: Csv,
    place: Place,
    buffer: Vec<u8>,
    rows: u64,
}

impl CsvWriter {
    /// Writes the header, which stands there even if no row does.
    fn open(schema: &Schema, place: Place) -> Result<Self, Failure> {
        let csv = Csv::check(schema)
            .and_then(|()| CsvStyle::new(None, None, None))
            .map_err(refused)?;
        // A null in the only column is an empty line: an answer is not refused for it.
        let mut writer = Self {
            csv: Csv::new(schema, csv).with_empty_lines(),
            place,
            buffer: Vec::new(),
            rows: 0,
        };
        writer.csv.header(&mut writer.buffer);
        writer.place.write_all(&writer.buffer)?;
        Ok(writer)
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        self.buffer.clear();
        self.csv
            .lines(batch, self.rows, &mut self.buffer)
            .map_err(refused)?;
        self.rows += batch.num_rows() as u64;
        Ok(self.place.write_all(&self.buffer)?)
    }
}

/// An output under way. A file that is not finished is not there.
pub(crate) struct Sink(Writer);

fn failed(error: ArrowError) -> Failure {
    match error {
        ArrowError::IoError(_, error) => error.into(),
        other => refused(other),
    }
}

fn refused(error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!(
        "the answer cannot be written in this format: {error}; cast the column in the query, or choose another --format"
    ))
}

impl Sink {
    pub(crate) fn open(
        format: Format,
        file: Option<&Path>,
        schema: &SchemaRef,
    ) -> Result<Self, Failure> {
        let place = match file {
            None => Place::Stdout(BufWriter::with_capacity(64 << 10, std::io::stdout())),
            Some(path) => {
                let folder = path
                    .parent()
                    .filter(|folder| !folder.as_os_str().is_empty())
                    .unwrap_or(Path::new("."));
                let cannot = |error| {
                    Failure::failed(format!("{} cannot be written: {error}", path.display()))
                };
                Place::File(
                    BufWriter::with_capacity(
                        1 << 20,
                        NamedTempFile::new_in(folder).map_err(cannot)?,
                    ),
                    path.to_owned(),
                )
            }
        };
        Ok(Self(match format {
            Format::Table => Writer::Table(Vec::new(), schema.clone(), place),
            Format::Csv => Writer::Csv(Box::new(CsvWriter::open(schema, place)?)),
            Format::Json => Writer::Json(Box::new(json().build(place))),
            Format::Ndjson => Writer::Ndjson(Box::new(json().build(place))),
            Format::ArrowFile => {
                let schema = plain(schema);
                Writer::ArrowFile(
                    Box::new(FileWriter::try_new(place, &schema).map_err(failed)?),
                    schema,
                )
            }
            Format::Arrow | Format::ArrowStream => Writer::ArrowStream(Box::new(
                StreamWriter::try_new(place, schema).map_err(failed)?,
            )),
            Format::Parquet => {
                return Err(Failure::failed("Parquet is written by the loader of files"));
            }
        }))
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        if matches!(
            &self.0,
            Writer::Table(..) | Writer::Json(_) | Writer::Ndjson(_)
        ) {
            check_shown(batch)?;
        }
        match &mut self.0 {
            Writer::Table(batches, ..) => {
                batches.push(batch.clone());
                Ok(())
            }
            Writer::Csv(writer) => writer.write(batch),
            Writer::Json(writer) => writer
                .write(&decoded(batch, &plain(batch.schema_ref()))?)
                .map_err(failed),
            Writer::Ndjson(writer) => writer
                .write(&decoded(batch, &plain(batch.schema_ref()))?)
                .map_err(failed),
            Writer::ArrowFile(writer, schema) => {
                writer.write(&decoded(batch, schema)?).map_err(failed)
            }
            Writer::ArrowStream(writer) => writer.write(batch).map_err(failed),
        }
    }

    /// Writes the end, and gives a file its name.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let mut place = match self.0 {
            Writer::Table(batches, schema, mut place) => {
                writeln!(place, "{}", arrowload::Table::new(schema, batches))?;
                place
            }
            Writer::Csv(writer) => writer.place,
            Writer::Json(mut writer) => {
                writer.finish().map_err(failed)?;
                let mut place = writer.into_inner();
                place.write_all(b"\n")?;
                place
            }
            Writer::Ndjson(mut writer) => {
                writer.finish().map_err(failed)?;
                writer.into_inner()
            }
            Writer::ArrowFile(mut writer, _) => {
                writer.finish().map_err(failed)?;
                writer.into_inner().map_err(failed)?
            }
            Writer::ArrowStream(writer) => writer.into_inner().map_err(failed)?,
        };
        place.flush()?;
        if let Place::File(out, path) = place {
            let file = out
                .into_inner()
                .map_err(|error| Failure::from(error.into_error()))?;
            readable(&file)?;
            file.persist(&path).map_err(|error| {
                Failure::failed(format!(
                    "{} cannot be written: {}",
                    path.display(),
                    error.error
                ))
            })?;
        }
        Ok(())
    }
}

fn json() -> arrow_json::WriterBuilder {
    arrow_json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Floats))
}

/// The schema with dictionaries decoded: the IPC file format has one for the whole file, and batches come with their own; and
/// writers of text take a null among the values of a dictionary for one.
fn plain(schema: &SchemaRef) -> SchemaRef {
    fn field(of: &FieldRef) -> FieldRef {
        Arc::new(Field::clone(of).with_data_type(data_type(of.data_type())))
    }
    fn data_type(of: &DataType) -> DataType {
        match of {
            DataType::Dictionary(_, values) => data_type(values),
            DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
            DataType::List(item) => DataType::List(field(item)),
            DataType::LargeList(item) => DataType::LargeList(field(item)),
            DataType::FixedSizeList(item, size) => DataType::FixedSizeList(field(item), *size),
            DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
            other => other.clone(),
        }
    }
    Arc::new(Schema::new_with_metadata(
        schema.fields().iter().map(field).collect::<Vec<_>>(),
        schema.metadata().clone(),
    ))
}

fn decoded(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Failure> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(
        |(array, field)| match array.data_type() == field.data_type() {
            true => Ok(Arc::clone(array)),
            false => arrow_cast::cast(array, field.data_type()),
        },
    );
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &rows).map_err(failed)
}

/// Temporary files are for their owner only; a result is for whom other files are.
#[cfg(unix)]
fn readable(file: &NamedTempFile) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    Ok(file
        .as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o644))?)
}

#[cfg(not(unix))]
fn readable(_: &NamedTempFile) -> Result<(), Failure> {
    Ok(())
}

/// Refuses values that have no text, such as dates far beyond the calendar: the formats would write an error in their place.
pub(crate) fn check_shown(batch: &RecordBatch) -> Result<(), Failure> {
    use arrow_cast::display::{ArrayFormatter, FormatOptions};
    let schema = batch.schema();
    let options = FormatOptions::new().with_display_error(false);
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if !field.data_type().is_temporal() && !field.data_type().is_nested() {
            continue;
        }
        let formatter = ArrayFormatter::try_new(column, &options).map_err(failed)?;
        let mut text = String::new();
        for row in 0..column.len() {
            text.clear();
            formatter.value(row).write(&mut text).map_err(|error| {
                Failure::failed(format!(
                    "column `{}`, row {row}: {error}; cast it to text in the query",
                    field.name()
                ))
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Int32Type;
    use arrow_array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, StructArray};

    use super::*;

    #[test]
    fn nulls_among_the_values_of_a_dictionary_are_nulls() {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(5)]));
        let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(
            Int32Array::from(vec![Some(0), Some(1), None]),
            Arc::clone(&values),
        ));
        let field = Arc::new(Field::new("d", dictionary.data_type().clone(), true));
        let nested: ArrayRef = Arc::new(StructArray::from(vec![(field, Arc::clone(&dictionary))]));
        let batch =
            RecordBatch::try_from_iter([("top", dictionary), ("nested", nested)]).expect("a batch");
        let batch = decoded(&batch, &plain(batch.schema_ref())).expect("decoded");
        let mut writer = arrow_json::LineDelimitedWriter::new(Vec::new());
        writer.write(&batch).expect("written");
        let text = String::from_utf8(writer.into_inner()).expect("text");
        assert_eq!(
            text,
            "{\"nested\":{}}\n{\"top\":5,\"nested\":{\"d\":5}}\n{\"nested\":{}}\n"
        );
    }
}
