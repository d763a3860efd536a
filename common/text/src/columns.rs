//! Columns in the forms that have text.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema};

/// Whether a type is a list, struct, map or union, also as a dictionary or in runs.
pub fn is_nested(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_nested(values),
        DataType::RunEndEncoded(_, values) => is_nested(values.data_type()),
        other => other.is_nested(),
    }
}

/// The columns in forms that can be written as text: dictionaries and runs decoded, zoned times in UTC, list views as lists.
///
/// # Errors
/// When a column cannot be converted.
pub fn text_columns(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<ArrayRef> = batch
        .columns()
        .iter()
        .map(|array| match text_type(array.data_type()) {
            same if same == *array.data_type() => Ok(Arc::clone(array)),
            other => cast(array, &other),
        })
        .collect::<Result<_, _>>()?;
    let field = |(field, array): (&FieldRef, &ArrayRef)| {
        field
            .as_ref()
            .clone()
            .with_data_type(array.data_type().clone())
            .with_nullable(true)
    };
    let fields: Vec<Field> = batch
        .schema_ref()
        .fields()
        .iter()
        .zip(&columns)
        .map(field)
        .collect();
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &rows)
}

/// The type of a column in that form.
pub fn text_type(data_type: &DataType) -> DataType {
    use DataType as T;
    let item = |field: &FieldRef| -> FieldRef {
        Arc::new(Field::clone(field).with_data_type(text_type(field.data_type())))
    };
    match data_type {
        T::Dictionary(_, values) => text_type(values),
        T::RunEndEncoded(_, values) => text_type(values.data_type()),
        T::Timestamp(unit, Some(_)) => T::Timestamp(*unit, Some("+00:00".into())),
        T::Date64 => T::Date64,
        T::List(field) | T::ListView(field) => T::List(item(field)),
        T::LargeList(field) | T::LargeListView(field) => T::LargeList(item(field)),
        T::FixedSizeList(field, size) => T::FixedSizeList(item(field), *size),
        T::Struct(fields) => T::Struct(fields.iter().map(item).collect()),
        T::Map(entries, sorted) => T::Map(item(entries), *sorted),
        other => other.clone(),
    }
}
