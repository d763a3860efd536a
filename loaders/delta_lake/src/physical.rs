//! Column mapping: what the columns of a table are called in its files and its log, where that differs.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrowload_core::{Error, ErrorKind, Result};
use deltalake::kernel::{DataType as DeltaType, MetadataValue, StructField, StructType};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::table::Table;

const NAME: &str = "delta.columnMapping.physicalName";
const ID: &str = "delta.columnMapping.id";

/// Whether a table maps its columns.
pub(crate) fn is_mapped(table: &Table) -> bool {
    let mode = table
        .state
        .metadata()
        .configuration()
        .get("delta.columnMapping.mode");
    mode.is_some_and(|mode| !mode.eq_ignore_ascii_case("none"))
}

/// The columns as files have them: those of the table, or what it maps them to, with their ids.
pub(crate) fn file_schema(table: &Table, schema: &SchemaRef) -> Result<SchemaRef> {
    match is_mapped(table) {
        true => Ok(Arc::new(Schema::new(fields(
            schema.fields(),
            &table.schema(),
        )?))),
        false => Ok(Arc::clone(schema)),
    }
}

fn fields(fields: &[FieldRef], delta: &StructType) -> Result<Vec<FieldRef>> {
    fields
        .iter()
        .map(|logical| {
            let mapped = delta
                .field(logical.name())
                .and_then(|field| Some((field, name_and_id(field)?)));
            let (field, (name, id)) = mapped.ok_or_else(|| {
                let message = format!(
                    "the table maps its columns (columnMapping), and column `{}` to nothing",
                    logical.name()
                );
                Error::new(ErrorKind::Unsupported, message).with("column", logical.name())
            })?;
            let data_type = data_type(logical.data_type(), field.data_type())?;
            let id = [(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())];
            Ok(Arc::new(
                Field::new(name, data_type, logical.is_nullable()).with_metadata(id.into()),
            ))
        })
        .collect()
}

fn name_and_id(field: &StructField) -> Option<(String, i64)> {
    match (field.metadata().get(NAME)?, field.metadata().get(ID)?) {
        (MetadataValue::String(name), MetadataValue::Number(id)) => Some((name.clone(), *id)),
        _ => None,
    }
}

fn data_type(logical: &DataType, delta: &DeltaType) -> Result<DataType> {
    let inner = |field: &FieldRef, delta: &DeltaType| -> Result<FieldRef> {
        Ok(Arc::new(
            field
                .as_ref()
                .clone()
                .with_data_type(data_type(field.data_type(), delta)?),
        ))
    };
    Ok(match (logical, delta) {
        (DataType::Struct(inside), DeltaType::Struct(delta)) => {
            DataType::Struct(fields(inside, delta)?.into())
        }
        (DataType::List(item), DeltaType::Array(delta)) => {
            DataType::List(inner(item, delta.element_type())?)
        }
        (DataType::Map(entries, sorted), DeltaType::Map(delta)) => {
            let DataType::Struct(pair) = entries.data_type() else {
                return Ok(logical.clone());
            };
            let [key, value] = &pair[..] else {
                return Ok(logical.clone());
            };
            let pair = DataType::Struct(
                vec![
                    inner(key, delta.key_type())?,
                    inner(value, delta.value_type())?,
                ]
                .into(),
            );
            DataType::Map(
                Arc::new(entries.as_ref().clone().with_data_type(pair)),
                *sorted,
            )
        }
        _ => logical.clone(),
    })
}
