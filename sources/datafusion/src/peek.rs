//! What files are, as rows: `FROM peek('x.csv')`, one row for each column of the table.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow_schema::{DataType, TimeUnit};
use arrowload_core::Result;

use crate::look::Certainty;
use crate::union::Union;

/// The name that a type has in `types`; `None` for one that cannot be declared.
pub(crate) fn name_of(data_type: &DataType) -> Option<String> {
    use DataType as T;
    Some(match data_type {
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "text".into(),
        T::Boolean => "boolean".into(),
        T::Int8 => "int8".into(),
        T::Int16 => "int16".into(),
        T::Int32 => "int32".into(),
        T::Int64 => "int64".into(),
        T::UInt8 => "uint8".into(),
        T::UInt16 => "uint16".into(),
        T::UInt32 => "uint32".into(),
        T::UInt64 => "uint64".into(),
        T::Float32 => "float32".into(),
        T::Float64 => "float64".into(),
        T::Decimal128(precision, scale) | T::Decimal256(precision, scale) => {
            format!("decimal({precision},{scale})")
        }
        T::Date32 => "date".into(),
        T::Time64(TimeUnit::Microsecond) => "time".into(),
        T::Timestamp(TimeUnit::Microsecond, Some(_)) => "timestamptz".into(),
        T::Timestamp(TimeUnit::Microsecond, None) => "timestamp".into(),
        T::Timestamp(TimeUnit::Second, None) => "timestamp_s".into(),
        T::Timestamp(TimeUnit::Millisecond, None) => "timestamp_ms".into(),
        T::Timestamp(TimeUnit::Nanosecond, None) => "timestamp_ns".into(),
        T::Binary | T::LargeBinary | T::BinaryView => "binary".into(),
        _ => return None,
    })
}

/// Describes the table, column by column. The facts about a column are from the first file that has
/// it.
pub(crate) fn peek(union: &Union) -> Result<RecordBatch> {
    let rows: Option<u64> = union.files.iter().map(|looked| looked.rows).sum();
    let (mut files, mut formats, mut founds) = (Vec::new(), Vec::new(), Vec::new());
    let (mut names, mut types, mut arrow_types) = (Vec::new(), Vec::new(), Vec::new());
    let (mut certainties, mut reasons, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    let fields = union.schema.fields();
    for (number, field) in fields.iter().enumerate() {
        let place = |file: usize| union.places[file].get(number).copied().flatten();
        let first = (0..union.files.len()).find_map(|file| Some((file, place(file)?)));
        let looked = &union.files[first.map_or(0, |(file, _)| file)];
        let column = first.map(|(_, place)| &looked.columns[place]);
        let (certainty, reason) = match column {
            Some(column) if column.data_type() == field.data_type() => {
                (column.certainty, column.reason.clone())
            }
            Some(column) => {
                let reason = format!(
                    "it holds the values of all files; here it is {}",
                    column.data_type()
                );
                (Certainty::Sampled, reason)
            }
            None => (
                Certainty::Proved,
                "it is in the names of files or folders".into(),
            ),
        };
        files.push(looked.file.shown().to_owned());
        formats.push(looked.kind.word());
        founds.push(looked.found.clone());
        names.push(field.name().clone());
        types.push(name_of(field.data_type()));
        arrow_types.push(field.data_type().to_string());
        certainties.push(certainty.to_string());
        reasons.push(reason);
        notes.push((!looked.notes.is_empty()).then(|| looked.notes.join("; ")));
    }
    let text = |texts: Vec<String>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
    let positions = UInt32Array::from_iter_values((1..).take(fields.len()));
    let columns: [(&str, ArrayRef, bool); 11] = [
        ("file", text(files), false),
        ("format", Arc::new(StringArray::from(formats)), false),
        ("found", text(founds), false),
        ("position", Arc::new(positions), false),
        ("name", text(names), false),
        ("type", Arc::new(StringArray::from(types)), true),
        ("arrow_type", text(arrow_types), false),
        ("certainty", text(certainties), false),
        ("reason", text(reasons), false),
        (
            "rows",
            Arc::new(UInt64Array::from(vec![rows; fields.len()])),
            true,
        ),
        ("notes", Arc::new(StringArray::from(notes)), true),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

#[cfg(test)]
mod tests {
    use arrowload_common_csv::parse_type;

    use super::*;

    #[test]
    fn names_of_types_are_read_as_the_types() {
        use DataType as T;
        for data_type in [
            T::Utf8,
            T::Boolean,
            T::Int64,
            T::UInt8,
            T::Float64,
            T::Decimal128(20, 2),
            T::Decimal256(50, 3),
            T::Date32,
            T::Time64(TimeUnit::Microsecond),
            T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            T::Timestamp(TimeUnit::Nanosecond, None),
            T::Binary,
        ] {
            let name = name_of(&data_type).expect("a name");
            assert_eq!(parse_type(&name).expect("a type"), data_type);
        }
        assert_eq!(name_of(&T::Null), None);
    }
}
