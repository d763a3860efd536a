//! How each Arrow type arrives in each format.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrowload_common_parquet as parquet_writer;
use arrowload_common_text::{is_nested, text_type};
use arrowload_core::{Error, Result, TypeSupport};

use crate::error::from_parquet;
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
        Format::Parquet if holds_interval(data_type) => {
            TypeSupport::Unsupported("the parts of Parquet's INTERVAL have no sign, and readers disagree on it; cast it to text".into())
        }
        Format::Parquet => match parquet_writer::supports_type(data_type) {
            parquet_writer::TypeSupport::Exact => TypeSupport::Exact,
            parquet_writer::TypeSupport::Widened { to } => TypeSupport::Widened(to.to_string().into()),
            parquet_writer::TypeSupport::Unsupported { reason } => TypeSupport::Unsupported(reason.into()),
        },
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

/// Whether a type has an interval at any depth.
fn holds_interval(data_type: &DataType) -> bool {
    use DataType as T;
    match data_type {
        T::Interval(_) => true,
        T::Dictionary(_, values) => holds_interval(values),
        T::List(item)
        | T::LargeList(item)
        | T::ListView(item)
        | T::LargeListView(item)
        | T::FixedSizeList(item, _) => holds_interval(item.data_type()),
        T::Map(item, _) | T::RunEndEncoded(_, item) => holds_interval(item.data_type()),
        T::Struct(fields) => fields.iter().any(|field| holds_interval(field.data_type())),
        _ => false,
    }
}

/// The type that files of this format hold, for a type that they support.
pub(crate) fn stored(format: Format, data_type: &DataType) -> DataType {
    match (format, parquet_writer::supports_type(data_type)) {
        (Format::Parquet, parquet_writer::TypeSupport::Widened { to }) => to,
        (Format::Arrow, _) => plain(data_type),
        (Format::Csv | Format::Ndjson, _) => text_type(data_type),
        _ => data_type.clone(),
    }
}

/// The schema that files of this format hold.
pub(crate) fn stored_schema(format: Format, schema: &Schema) -> Result<SchemaRef, Error> {
    if format == Format::Parquet {
        return parquet_writer::storage_schema(schema).map_err(from_parquet);
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

fn child(field: &FieldRef) -> FieldRef {
    Arc::new(Field::clone(field).with_data_type(plain(field.data_type())))
}

/// The type with dictionaries decoded: the IPC file format has one dictionary for each column of the whole file, and
/// batches come with their own.
pub(crate) fn plain(data_type: &DataType) -> DataType {
    use DataType as T;
    match data_type {
        T::Dictionary(_, values) => plain(values),
        T::List(item) => T::List(child(item)),
        T::LargeList(item) => T::LargeList(child(item)),
        T::ListView(item) => T::ListView(child(item)),
        T::LargeListView(item) => T::LargeListView(child(item)),
        T::FixedSizeList(item, size) => T::FixedSizeList(child(item), *size),
        T::Struct(fields) => T::Struct(fields.iter().map(child).collect()),
        T::Map(entries, sorted) => T::Map(child(entries), *sorted),
        T::RunEndEncoded(ends, values) if values.data_type() != &plain(values.data_type()) => {
            T::RunEndEncoded(Arc::clone(ends), child(values))
        }
        other => other.clone(),
    }
}

/// What stands in a line of text for a value that is not nested.
fn scalar_text(data_type: &DataType) -> &'static str {
    use DataType as T;
    match data_type {
        T::Null => "text: always null",
        T::Boolean => "text: true or false",
        T::Date32 | T::Date64 => "text: ISO 8601 date",
        T::Time32(_) | T::Time64(_) => "text: ISO 8601 time",
        T::Timestamp(_, None) => "text: ISO 8601 date and time",
        T::Timestamp(_, Some(_)) => "text: ISO 8601 date and time in UTC, with Z",
        T::Duration(_) | T::Interval(_) => "text: ISO 8601 duration",
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => "text: hexadecimal",
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "text",
        T::Dictionary(_, values) => scalar_text(values),
        T::RunEndEncoded(_, values) => scalar_text(values.data_type()),
        _ => "text: decimal digits",
    }
}

fn json_support(data_type: &DataType) -> TypeSupport {
    use DataType as T;
    let inner = |fields: &[&FieldRef], what: &'static str| {
        let refused = fields
            .iter()
            .map(|field| json_support(field.data_type()))
            .find(|support| matches!(support, TypeSupport::Unsupported(_)));
        refused.unwrap_or(TypeSupport::Widened(what.into()))
    };
    match data_type {
        T::Union(..) => TypeSupport::Unsupported("JSON has no unions".into()),
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(fields) if fields.len() == 2 && is_text(fields[0].data_type()) => {
                inner(&[&fields[1]], "JSON object")
            }
            _ => TypeSupport::Unsupported("the keys of a JSON object are strings".into()),
        },
        T::List(item)
        | T::LargeList(item)
        | T::ListView(item)
        | T::LargeListView(item)
        | T::FixedSizeList(item, _) => inner(&[item], "JSON array"),
        T::Struct(fields) => inner(&fields.iter().collect::<Vec<_>>(), "JSON object"),
        T::Dictionary(_, values) => json_support(values),
        T::RunEndEncoded(_, values) => json_support(values.data_type()),
        T::Null => TypeSupport::Widened("JSON null".into()),
        T::Boolean => TypeSupport::Widened("JSON boolean".into()),
        T::Float16 | T::Float32 | T::Float64 => {
            TypeSupport::Widened("JSON number; NaN and infinity are refused".into())
        }
        number if number.is_numeric() => {
            TypeSupport::Widened("JSON number, with every digit".into())
        }
        other => TypeSupport::Widened(scalar_text(other).into()),
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}
