//! Schemas: converts the columns of a load to Delta columns, and makes the metadata of a table that is
//! created.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrowload_core::arrow_types::{holds, map_fields};
use arrowload_core::{Error, ErrorKind, Result};
use deltalake::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use deltalake::kernel::{Metadata, MetadataExt, Protocol, StructType, new_metadata};
use serde_json::json;

use crate::error::from_delta;
use crate::options::Nanoseconds;
use crate::types::stored;

/// The key of a field's metadata that Delta and Spark keep a comment under.
const COMMENT: &str = "comment";
/// What names in a table without column mapping may not have, as Spark refuses it.
const FORBIDDEN: &str = " ,;{}()\n\t=";

/// The columns of a load with the types that Delta stores them as.
pub(crate) fn stored_schema(schema: &Schema, nanoseconds: Nanoseconds) -> Result<SchemaRef> {
    let fields = schema.fields().iter().map(|field| {
        let data_type = stored(field.data_type(), nanoseconds).map_err(|reason| {
            let message = format!(
                "Delta cannot hold column `{}` ({}): {reason}",
                field.name(),
                field.data_type()
            );
            Error::new(ErrorKind::UnsupportedType, message).with("column", field.name())
        })?;
        let comment = field
            .metadata()
            .get(COMMENT)
            .map(|comment| (COMMENT.to_owned(), comment.clone()));
        Ok(Field::new(field.name(), data_type, field.is_nullable())
            .with_metadata(comment.into_iter().collect()))
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
}

/// Delta's form of a schema whose types are stored ones.
pub(crate) fn to_delta(schema: &Schema) -> Result<StructType> {
    let converted: Result<StructType, _> = (&plain(schema)).try_into_kernel();
    converted.map_err(|error| unexpected("the columns have no form in Delta", error))
}

/// The Arrow form of a table's columns.
pub(crate) fn to_arrow(schema: &StructType) -> Result<SchemaRef> {
    let converted: Result<Schema, _> = schema.try_into_arrow();
    converted
        .map(Arc::new)
        .map_err(|error| unexpected("the table's columns have no form in Arrow", error))
}

fn unexpected(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what}: {error}")).with_source(error)
}

/// Without metadata inside of nested types, which Delta would take for its own.
pub(crate) fn plain(schema: &Schema) -> Schema {
    fn data_type(of: &DataType) -> DataType {
        map_fields(of, |field| {
            let data_type = data_type(field.data_type());
            Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
        })
    }
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            field
                .as_ref()
                .clone()
                .with_data_type(data_type(field.data_type()))
        })
        .collect();
    Schema::new(fields)
}

/// Refuses names that other engines could not use: forbidden characters, and names that differ in case only.
///
/// `known` are the columns that the table has already.
pub(crate) fn check_names(fields: &[FieldRef], known: &[FieldRef]) -> Result<()> {
    let mut names: HashSet<String> = known
        .iter()
        .map(|field| field.name().to_lowercase())
        .collect();
    for field in fields {
        check_name(field)?;
        if !names.insert(field.name().to_lowercase()) {
            let message = format!(
                "Delta's names are not case-sensitive, and `{}` is there in another case; rename it with AS",
                field.name()
            );
            return Err(Error::new(ErrorKind::SchemaMismatch, message).with("column", field.name()));
        }
    }
    Ok(())
}

fn check_name(field: &FieldRef) -> Result<()> {
    if field.name().is_empty() || field.name().contains(|letter| FORBIDDEN.contains(letter)) {
        let message = format!(
            "Delta's names are not empty and have no spaces and none of `,;{{}}()=`, tabs and line ends; rename `{}` with AS",
            field.name()
        );
        return Err(Error::new(ErrorKind::SchemaMismatch, message).with("column", field.name()));
    }
    match field.data_type() {
        DataType::List(item) => check_inside(item),
        DataType::Map(entries, _) => check_inside(entries),
        DataType::Struct(fields) => check_names(fields, &[]),
        _ => Ok(()),
    }
}

fn check_inside(field: &FieldRef) -> Result<()> {
    match field.data_type() {
        DataType::Struct(fields) => check_names(fields, &[]),
        DataType::List(item) => check_inside(item),
        DataType::Map(entries, _) => check_inside(entries),
        _ => Ok(()),
    }
}

/// Whether a type has timestamps without a zone, which a table's protocol must name.
fn has_ntz(data_type: &DataType) -> bool {
    holds(data_type, &|kind| {
        matches!(kind, DataType::Timestamp(_, None))
    })
}

/// The lowest protocol that a table of these columns needs.
pub(crate) fn protocol(schema: &Schema) -> Result<Protocol> {
    let value = match schema
        .fields()
        .iter()
        .any(|field| has_ntz(field.data_type()))
    {
        true => json!({
            "minReaderVersion": 3, "minWriterVersion": 7,
            "readerFeatures": ["timestampNtz"], "writerFeatures": ["timestampNtz", "appendOnly", "invariants"],
        }),
        false => json!({ "minReaderVersion": 1, "minWriterVersion": 2 }),
    };
    serde_json::from_value(value)
        .map_err(|error| unexpected("the protocol could not be made", error))
}

/// The description of a new table.
pub(crate) fn metadata(schema: &StructType, partition_by: &[String]) -> Result<Metadata> {
    let none: [(String, String); 0] = [];
    new_metadata(schema, partition_by, none).map_err(from_delta_kernel)
}

/// The description of a table with other columns.
pub(crate) fn with_schema(metadata: &Metadata, schema: &StructType) -> Result<Metadata> {
    metadata
        .clone()
        .with_schema(schema)
        .map_err(from_delta_kernel)
}

fn from_delta_kernel(error: deltalake::kernel::Error) -> Error {
    from_delta(error.into())
}

/// Whether the columns that a load adds ask more of a table's protocol than it has.
pub(crate) fn check_protocol(added: &[FieldRef], protocol: &Protocol) -> Result<()> {
    let known = || {
        protocol.writer_features().is_some_and(|features| {
            features
                .iter()
                .any(|feature| feature.to_string() == "timestampNtz")
        })
    };
    match added.iter().find(|field| has_ntz(field.data_type())) {
        Some(field) if !known() => {
            let message = format!(
                "column `{}` is a timestamp without a zone, and the table's protocol lacks timestampNtz; give it a zone, or enable the feature",
                field.name()
            );
            Err(Error::new(ErrorKind::SchemaMismatch, message).with("column", field.name()))
        }
        _ => Ok(()),
    }
}
