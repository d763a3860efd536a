//! The types of columns, as far as text is concerned.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef};

/// Whether a type is a list, struct, map or union, also as a dictionary or in runs.
pub fn is_nested(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_nested(values),
        DataType::RunEndEncoded(_, values) => is_nested(values.data_type()),
        other => other.is_nested(),
    }
}

/// Whether a type is text, also as a dictionary or in runs.
pub fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        DataType::RunEndEncoded(_, values) => is_text(values.data_type()),
        _ => false,
    }
}

/// The type whose values have the same text: dictionaries and runs decoded, zoned times in UTC, list views as lists.
pub fn text_type(data_type: &DataType) -> DataType {
    use DataType as T;
    let item = |field: &FieldRef| -> FieldRef {
        Arc::new(Field::clone(field).with_data_type(text_type(field.data_type())))
    };
    match data_type {
        T::Dictionary(_, values) => text_type(values),
        T::RunEndEncoded(_, values) => text_type(values.data_type()),
        T::Timestamp(unit, Some(_)) => T::Timestamp(*unit, Some("+00:00".into())),
        T::List(field) | T::ListView(field) => T::List(item(field)),
        T::LargeList(field) | T::LargeListView(field) => T::LargeList(item(field)),
        T::FixedSizeList(field, size) => T::FixedSizeList(item(field), *size),
        T::Struct(fields) => T::Struct(fields.iter().map(item).collect()),
        T::Map(entries, sorted) => T::Map(item(entries), *sorted),
        other => other.clone(),
    }
}
