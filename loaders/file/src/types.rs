//! How each Arrow type arrives in each format.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrowload_common_parquet as parquet_writer;
use arrowload_common_text::{self as text, is_nested, text_type};
use arrowload_core::arrow_types::{decoded, holds, map_fields};
use arrowload_core::{Error, Result, TypeSupport};

use crate::options::Format;

impl Format {
    /// How a column of this type arrives in new files of this format; [`FileLoader`](crate::FileLoader) as such answers for
    /// Parquet, its default.
    pub fn supports_type(self, data_type: &DataType) -> TypeSupport {
        support(self, data_type)
    }
}

/// How a column of this type arrives in files of this format.
pub(crate) fn support(format: Format, data_type: &DataType) -> TypeSupport {
    match format {
        Format::Parquet if holds(data_type, &|kind| matches!(kind, DataType::Interval(_))) => {
            TypeSupport::Unsupported("the parts of Parquet's INTERVAL have no sign, and readers disagree on it; cast it to text".into())
        }
        Format::Parquet => parquet_writer::supports_type(data_type),
        Format::Arrow => match plain(data_type) {
            same if same == *data_type => TypeSupport::Exact,
            other => TypeSupport::Widened(other.to_string().into()),
        },
        Format::ArrowStream => TypeSupport::Exact,
        Format::Csv if is_nested(data_type) => TypeSupport::Unsupported("CSV has no lists, structs, maps or unions".into()),
        Format::Csv => TypeSupport::Widened(scalar_text(data_type).into()),
        Format::Ndjson => json_support(data_type),
    }
}

/// How a column arrives in files of this format: its type, and whether it may be null.
pub(crate) fn field_support(format: Format, field: &Field) -> TypeSupport {
    match (format, parquet_writer::supports_field(field)) {
        (Format::Parquet, refused @ TypeSupport::Unsupported(_)) => refused,
        _ => support(format, field.data_type()),
    }
}

/// The type that files of this format hold, for a type that they support.
pub(crate) fn stored(format: Format, data_type: &DataType) -> DataType {
    match format {
        Format::Parquet => {
            parquet_writer::storage_type(data_type).unwrap_or_else(|_| data_type.clone())
        }
        Format::Arrow => plain(data_type),
        Format::Csv | Format::Ndjson => text_type(data_type),
        Format::ArrowStream => data_type.clone(),
    }
}

/// The schema that files of this format hold.
pub(crate) fn stored_schema(format: Format, schema: &Schema) -> Result<SchemaRef, Error> {
    if format == Format::Parquet {
        return parquet_writer::storage_schema(schema);
    }
    let field = |field: &FieldRef| {
        Arc::new(
            field
                .as_ref()
                .clone()
                .with_data_type(stored(format, field.data_type())),
        )
    };
    let fields: Vec<FieldRef> = schema.fields().iter().map(field).collect();
    Ok(Arc::new(Schema::new_with_metadata(
        fields,
        schema.metadata().clone(),
    )))
}

/// The type with dictionaries decoded: the IPC file format has one dictionary for each column of the whole file, and
/// batches come with their own.
pub(crate) fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        DataType::Union(..) => data_type.clone(),
        other => map_fields(other, |field| {
            Arc::new(Field::clone(field).with_data_type(plain(field.data_type())))
        }),
    }
}

/// The form of a value in a line of text, if it is not nested.
fn scalar_text(data_type: &DataType) -> &'static str {
    use DataType as T;
    match decoded(data_type) {
        T::Null => "text: always null",
        T::Boolean => "text: true or false",
        T::Date32 | T::Date64 => "text: ISO 8601 date",
        T::Time32(_) | T::Time64(_) => "text: ISO 8601 time",
        T::Timestamp(_, None) => "text: ISO 8601 date and time",
        T::Timestamp(_, Some(_)) => "text: ISO 8601 date and time in UTC, with Z",
        T::Duration(_) | T::Interval(_) => "text: ISO 8601 duration",
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => "text: hexadecimal",
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "text",
        _ => "text: decimal digits",
    }
}

fn json_support(data_type: &DataType) -> TypeSupport {
    match text::Format::NDJSON.check(data_type) {
        Ok(()) => TypeSupport::Widened(json_text(data_type).into()),
        Err(why) => TypeSupport::Unsupported(why.into()),
    }
}

/// The form of a value in a JSON object, for types that JSON has.
fn json_text(data_type: &DataType) -> &'static str {
    use DataType as T;
    match decoded(data_type) {
        T::Struct(_) | T::Map(..) => "JSON object",
        nested if nested.is_nested() => "JSON array",
        T::Null => "JSON null",
        T::Boolean => "JSON boolean",
        float if float.is_floating() => {
            r#"JSON number; "NaN", "Infinity" and "-Infinity" as strings"#
        }
        number if number.is_numeric() => "JSON number, with every digit",
        other => scalar_text(other),
    }
}
