//! How the columns of a table change for a load: columns that it brings, types that its values need.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema as ArrowSchema};
use arrowload_core::{Error, ErrorKind, Result};
use iceberg::spec::{ListType, MapType, NestedField, NestedFieldRef, Schema, StructType, Type};

use crate::error::from_iceberg;
use crate::schema::{new_schema, plain};
use crate::table::Table;

/// The columns of a table with those that the load adds, and wider where it needs that; `None` if nothing changes.
pub(crate) fn evolved(
    table: &Table,
    load: &ArrowSchema,
    fits: &impl Fn(&DataType, &DataType) -> bool,
) -> Result<Option<Schema>> {
    let known = table.metadata().current_schema();
    let columns = plain(table.columns()?.as_ref());
    let mut fields: Vec<NestedFieldRef> = known.as_struct().fields().to_vec();
    let mut changed = false;
    for (place, column) in columns.fields().iter().enumerate() {
        let Some((_, field)) = load.column_with_name(column.name()) else {
            continue;
        };
        if fits(field.data_type(), column.data_type()) {
            continue;
        }
        if let Some(wider) = widened(&fields[place].field_type, field.data_type()) {
            let mut field = fields[place].as_ref().clone();
            field.field_type = Box::new(wider);
            fields[place] = Arc::new(field);
            changed = true;
        }
    }
    let added: Vec<Field> = load
        .fields()
        .iter()
        .filter(|field| columns.column_with_name(field.name()).is_none())
        // Existing rows have no value for it.
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    if added.is_empty() && !changed {
        return Ok(None);
    }
    check_case(&columns, &added)?;
    let mut next = table.metadata().last_column_id();
    let new = new_schema(&ArrowSchema::new(added))?;
    let new = new.as_struct().fields().iter();
    fields.extend(new.map(|field| numbered(field, &mut next)));
    with_fields(known, fields).map(Some)
}

/// The columns of the load, for a table whose rows all go; `None` if they are the same. What keeps its name and type keeps its id.
pub(crate) fn replaced(table: &Table, load: &ArrowSchema) -> Result<Option<Schema>> {
    let known = table.metadata().current_schema();
    let columns = plain(table.columns()?.as_ref());
    if columns.fields() == plain(load).fields() {
        return Ok(None);
    }
    let mut next = table.metadata().last_column_id();
    let new = new_schema(load)?;
    let mut fields = Vec::new();
    for (field, arrow) in new.as_struct().fields().iter().zip(load.fields()) {
        let same = columns
            .column_with_name(&field.name)
            .filter(|(_, column)| column.data_type().equals_datatype(arrow.data_type()))
            .and_then(|_| known.field_by_name(&field.name));
        fields.push(match same {
            Some(same) => {
                let mut same = same.as_ref().clone();
                same.required = field.required;
                Arc::new(same)
            }
            None => numbered(field, &mut next),
        });
    }
    let used = |id: i32| fields.iter().any(|field| field.id == id);
    let spec = table.metadata().default_partition_spec().fields().iter();
    let order = table.metadata().default_sort_order().fields.iter();
    let needed = spec
        .map(|field| field.source_id)
        .chain(order.map(|field| field.source_id));
    if let Some(id) = needed.into_iter().find(|id| !used(*id)) {
        let name = known.name_by_field_id(id).unwrap_or("?");
        let message = format!(
            "the table is partitioned or sorted by `{name}`, which the load lacks or has another type of; load it, or drop the table first"
        );
        return Err(Error::new(ErrorKind::SchemaMismatch, message).with("column", name));
    }
    with_fields(known, fields).map(Some)
}

fn with_fields(known: &Schema, fields: Vec<NestedFieldRef>) -> Result<Schema> {
    let identifiers: Vec<i32> = known
        .identifier_field_ids()
        .filter(|id| fields.iter().any(|field| field.id == *id && field.required))
        .collect();
    Schema::builder()
        .with_fields(fields)
        .with_identifier_field_ids(identifiers)
        .build()
        .map_err(from_iceberg)
}

/// Names that differ from one of the table in case only are one to most engines.
fn check_case(columns: &ArrowSchema, added: &[Field]) -> Result<()> {
    for field in added {
        let same = |column: &&Arc<Field>| column.name().eq_ignore_ascii_case(field.name());
        if let Some(column) = columns.fields().iter().find(same) {
            let message = format!(
                "the table has a column `{}`, from which `{}` differs in case only; rename it in the query",
                column.name(),
                field.name()
            );
            return Err(Error::new(ErrorKind::SchemaMismatch, message).with("column", field.name()));
        }
    }
    Ok(())
}

/// The type that a column may be promoted to so that it holds values of this type.
fn widened(column: &Type, load: &DataType) -> Option<Type> {
    use iceberg::spec::PrimitiveType as P;
    let Type::Primitive(column) = column else {
        return None;
    };
    let wider = match (column, load) {
        (P::Int, DataType::Int64) => P::Long,
        (P::Float, DataType::Float64) => P::Double,
        (P::Decimal { precision, scale }, DataType::Decimal128(digits, places))
            if u32::from(*digits) > *precision && i64::from(*places) == i64::from(*scale) =>
        {
            P::Decimal {
                precision: u32::from(*digits),
                scale: *scale,
            }
        }
        _ => return None,
    };
    Some(Type::Primitive(wider))
}

/// The same field with the next ids, all the way down.
fn numbered(field: &NestedFieldRef, next: &mut i32) -> NestedFieldRef {
    *next += 1;
    let mut new: NestedField = field.as_ref().clone();
    new.id = *next;
    new.field_type = Box::new(match *new.field_type {
        Type::Primitive(primitive) => Type::Primitive(primitive),
        Type::Struct(fields) => {
            let fields = fields.fields().iter().map(|field| numbered(field, next));
            Type::Struct(StructType::new(fields.collect()))
        }
        Type::List(list) => Type::List(ListType {
            element_field: numbered(&list.element_field, next),
        }),
        Type::Map(map) => Type::Map(MapType {
            key_field: numbered(&map.key_field, next),
            value_field: numbered(&map.value_field, next),
        }),
    });
    Arc::new(new)
}
