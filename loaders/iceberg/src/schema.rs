//! The columns of tables: new ones from those of a load, with their field ids, partition fields and sort orders.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, FieldRef, Schema as ArrowSchema, SchemaRef};
use arrowload_core::{Error, ErrorKind, Result};
use iceberg::arrow::{arrow_schema_to_schema_auto_assign_ids, schema_to_arrow_schema};
use iceberg::spec::{
    NullOrder, PartitionSpec, Schema, SortDirection, SortField, SortOrder, Transform,
    UnboundPartitionSpec,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::config::invalid;
use crate::error::from_iceberg;
use crate::types::{Form, stored};

/// The columns of a load with types that tables hold.
pub(crate) fn stored_schema(load: &ArrowSchema, form: Form) -> Result<SchemaRef> {
    let column = |field: &FieldRef| -> Result<FieldRef> {
        let data_type = stored(field.data_type(), form).map_err(|reason| {
            let message = format!("column `{}`: {reason}", field.name());
            Error::new(ErrorKind::UnsupportedType, message).with("column", field.name())
        })?;
        Ok(Arc::new(field.as_ref().clone().with_data_type(data_type)))
    };
    let fields = load.fields().iter().map(column);
    Ok(Arc::new(ArrowSchema::new(
        fields.collect::<Result<Vec<_>>>()?,
    )))
}

/// The columns of a new table.
pub(crate) fn new_schema(load: &ArrowSchema) -> Result<Schema> {
    check_names(load.fields())?;
    arrow_schema_to_schema_auto_assign_ids(load).map_err(from_iceberg)
}

/// The same columns, as data files have them: field ids are in their metadata.
pub(crate) fn file_schema(schema: &Schema) -> Result<SchemaRef> {
    schema_to_arrow_schema(schema)
        .map(Arc::new)
        .map_err(from_iceberg)
}

/// The same columns without what is said of them.
pub(crate) fn plain(schema: &ArrowSchema) -> ArrowSchema {
    let field = |field: &FieldRef| plain_field(field);
    ArrowSchema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}

fn plain_field(field: &FieldRef) -> FieldRef {
    use DataType as T;
    let data_type = match field.data_type() {
        T::List(item) => T::List(plain_field(item)),
        T::Map(entries, sorted) => T::Map(plain_field(entries), *sorted),
        T::Struct(fields) => T::Struct(fields.iter().map(plain_field).collect()),
        other => other.clone(),
    };
    Arc::new(
        field
            .as_ref()
            .clone()
            .with_data_type(data_type)
            .with_metadata(HashMap::new()),
    )
}

/// The id of a field in a data file.
pub(crate) fn field_id(field: &FieldRef) -> Option<i32> {
    field
        .metadata()
        .get(PARQUET_FIELD_ID_META_KEY)?
        .parse()
        .ok()
}

/// Names that other engines could not distinguish are refused, and so are those that a table has for itself.
fn check_names(fields: &arrow_schema::Fields) -> Result<()> {
    let mut names: HashMap<String, &str> = HashMap::new();
    for field in fields {
        let name = field.name();
        let refused = |message: String| {
            Err(Error::new(ErrorKind::SchemaMismatch, message).with("column", name))
        };
        if name.is_empty() {
            return refused("a column without a name has no place in an Iceberg table".into());
        }
        if let Some(other) = names.insert(name.to_lowercase(), name) {
            let message = format!(
                "the columns `{other}` and `{name}` differ in case only, which most engines do not see; rename one in the query"
            );
            return refused(message);
        }
        if let DataType::Struct(inner) = field.data_type() {
            check_names(inner)?;
        }
    }
    Ok(())
}

/// A term of `partition_by` or `sort_by`: a column, or a transform of one.
fn term(text: &str, key: &'static str) -> Result<(Transform, String)> {
    let text = text.trim();
    let Some(inner) = text.strip_suffix(')') else {
        return Ok((Transform::Identity, text.to_owned()));
    };
    let wrong = || {
        let message = format!(
            "`{key}` has `{text}`; write a column, or year, month, day, hour, void, bucket(n, …), truncate(n, …) or identity of one"
        );
        invalid(key, message)
    };
    let (function, arguments) = inner.split_once('(').ok_or_else(wrong)?;
    let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0);
    let function = function.trim().to_ascii_lowercase();
    let (transform, column) = match (function.trim_end_matches('s'), arguments.as_slice()) {
        ("identity", [column]) => (Transform::Identity, column),
        ("year", [column]) => (Transform::Year, column),
        ("month", [column]) => (Transform::Month, column),
        ("day", [column]) => (Transform::Day, column),
        ("hour", [column]) => (Transform::Hour, column),
        ("void", [column]) => (Transform::Void, column),
        ("bucket", [first, second]) => match (number(first), number(second)) {
            (Some(count), _) => (Transform::Bucket(count), second),
            (None, Some(count)) => (Transform::Bucket(count), first),
            _ => return Err(wrong()),
        },
        ("truncate", [first, second]) => match (number(first), number(second)) {
            (Some(width), _) => (Transform::Truncate(width), second),
            (None, Some(width)) => (Transform::Truncate(width), first),
            _ => return Err(wrong()),
        },
        _ => return Err(wrong()),
    };
    Ok((transform, (*column).to_owned()))
}

/// The id of a column that a term names, which the transform must suit.
fn source(schema: &Schema, transform: Transform, column: &str, key: &'static str) -> Result<i32> {
    let Some(field) = schema.field_by_name(column) else {
        let fields = schema.as_struct().fields().iter();
        let known: Vec<&str> = fields.map(|field| field.name.as_str()).collect();
        let message = format!(
            "`{key}` names `{column}`; the columns are {}",
            known.join(", ")
        );
        return Err(invalid(key, message));
    };
    if !field.field_type.is_primitive() || transform.result_type(&field.field_type).is_err() {
        let message = format!(
            "`{key}` has {transform} of `{column}`, which is {}: it has none",
            field.field_type
        );
        return Err(invalid(key, message));
    }
    // The library has no `truncate` of bytes as tables have them.
    let is_bytes = |name: &str| field.field_type.to_string() == name;
    if matches!(transform, Transform::Truncate(_)) && is_bytes("binary") {
        let message = format!("`{key}` truncates `{column}`, which is binary: this loader cannot");
        return Err(Error::new(ErrorKind::Unsupported, message).with("key", key));
    }
    Ok(field.id)
}

/// The partition fields that `partition_by` asks for.
pub(crate) fn partition_spec(terms: &[String], schema: &Schema) -> Result<UnboundPartitionSpec> {
    const KEY: &str = "partition_by";
    let mut spec = UnboundPartitionSpec::builder();
    for text in terms {
        let (transform, column) = term(text, KEY)?;
        let id = source(schema, transform, &column, KEY)?;
        // Names as Spark and PyIceberg give them.
        let name = match transform {
            Transform::Identity => column.clone(),
            Transform::Void => format!("{column}_null"),
            Transform::Bucket(_) => format!("{column}_bucket"),
            Transform::Truncate(_) => format!("{column}_trunc"),
            other => format!("{column}_{other}"),
        };
        spec = spec
            .add_partition_field(id, name, transform)
            .map_err(|error| invalid(KEY, format!("`{KEY}` has `{text}`: {}", error.message())))?;
    }
    Ok(spec.build())
}

/// Whether a table is partitioned as `partition_by` asks.
pub(crate) fn is_partitioned_by(
    spec: &PartitionSpec,
    terms: &[String],
    schema: &Schema,
) -> Result<bool> {
    let asked = partition_spec(terms, schema)?;
    let same = |(asked, has): (&iceberg::spec::UnboundPartitionField, &_)| {
        let has: &iceberg::spec::PartitionField = has;
        asked.source_id == has.source_id && asked.transform == has.transform
    };
    Ok(asked.fields().len() == spec.fields().len()
        && asked.fields().iter().zip(spec.fields()).all(same))
}

/// The sort order that `sort_by` asks for.
pub(crate) fn sort_order(terms: &[String], schema: &Schema) -> Result<SortOrder> {
    const KEY: &str = "sort_by";
    let mut fields = Vec::new();
    for text in terms {
        let mut rest = text.trim();
        let mut nulls = None;
        for (word, order) in [
            (" nulls first", NullOrder::First),
            (" nulls last", NullOrder::Last),
        ] {
            if let Some(before) = strip_word(rest, word) {
                (rest, nulls) = (before, Some(order));
            }
        }
        let (rest, direction) = match (strip_word(rest, " desc"), strip_word(rest, " asc")) {
            (Some(rest), _) => (rest, SortDirection::Descending),
            (_, Some(rest)) => (rest, SortDirection::Ascending),
            _ => (rest, SortDirection::Ascending),
        };
        let (transform, column) = term(rest, KEY)?;
        let default = match direction {
            SortDirection::Ascending => NullOrder::First,
            SortDirection::Descending => NullOrder::Last,
        };
        fields.push(SortField {
            source_id: source(schema, transform, &column, KEY)?,
            transform,
            direction,
            null_order: nulls.unwrap_or(default),
        });
    }
    if fields.is_empty() {
        return Ok(SortOrder::unsorted_order());
    }
    let order = SortOrder::builder()
        .with_order_id(1)
        .with_fields(fields)
        .build(schema);
    order.map_err(from_iceberg)
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(word.len())?;
    let end = text.get(at..)?;
    end.eq_ignore_ascii_case(word)
        .then(|| text[..at].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_columns_or_transforms_of_one() {
        for (text, transform, column) in [
            ("id", Transform::Identity, "id"),
            ("day(ts)", Transform::Day, "ts"),
            ("days(ts)", Transform::Day, "ts"),
            ("bucket(16, id)", Transform::Bucket(16), "id"),
            ("bucket(id,16)", Transform::Bucket(16), "id"),
            ("truncate(4, name)", Transform::Truncate(4), "name"),
            ("void(x)", Transform::Void, "x"),
        ] {
            let found = term(text, "partition_by").expect(text);
            assert_eq!(found, (transform, column.to_owned()), "{text}");
        }
        for text in ["bucket(id)", "bucket(0, id)", "nth(x)", "year(a, b)"] {
            assert!(term(text, "partition_by").is_err(), "{text}");
        }
    }
}
