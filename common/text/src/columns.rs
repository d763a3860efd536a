//! The types of columns, as far as text is concerned.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef};
use arrowload_core::arrow_types::{self, decoded, map_fields};

/// Whether a type is a list, struct, map or union, also as a dictionary or in runs.
pub fn is_nested(data_type: &DataType) -> bool {
    decoded(data_type).is_nested()
}

/// Whether a type is text, also as a dictionary or in runs.
pub fn is_text(data_type: &DataType) -> bool {
    arrow_types::is_text(decoded(data_type))
}

/// The type whose values have the same text: dictionaries and runs decoded, zoned times in UTC, list views as lists.
pub fn text_type(data_type: &DataType) -> DataType {
    use DataType as T;
    let item = |field: &FieldRef| -> FieldRef {
        Arc::new(Field::clone(field).with_data_type(text_type(field.data_type())))
    };
    match decoded(data_type) {
        T::Timestamp(unit, Some(_)) => T::Timestamp(*unit, Some("+00:00".into())),
        T::ListView(field) => T::List(item(field)),
        T::LargeListView(field) => T::LargeList(item(field)),
        same @ T::Union(..) => same.clone(),
        other => map_fields(other, item),
    }
}
