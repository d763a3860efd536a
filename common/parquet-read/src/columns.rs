//! The types of columns, from the Parquet schema of the file, and not from hints such as its Arrow schema.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};
use arrowload_common_ipc::read_schema;
use arrowload_core::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parquet::arrow::{ARROW_SCHEMA_META_KEY, encode_arrow_schema, parquet_to_arrow_schema};
use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::file::metadata::KeyValue;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor, Type, TypePtr};

use crate::error::malformed;
use crate::options::ParquetOptions;

/// What extension types are named by; other metadata of a field is that of its writer.
const EXTENSION: &str = "ARROW:extension:";

/// The schema of a file in which every text column is annotated as text, because only such columns are checked
/// to be UTF-8 when they are read.
pub(crate) fn with_text(schema: &TypePtr, options: &ParquetOptions) -> Result<TypePtr> {
    let changed = changed(schema, options).map_err(malformed)?;
    Ok(changed.unwrap_or_else(|| Arc::clone(schema)))
}

fn changed(of: &TypePtr, options: &ParquetOptions) -> parquet::errors::Result<Option<TypePtr>> {
    let info = of.get_basic_info();
    let Type::GroupType { fields, .. } = of.as_ref() else {
        if !is_unsaid_text(of, options) {
            return Ok(None);
        }
        let text = Type::primitive_type_builder(info.name(), PhysicalType::BYTE_ARRAY)
            .with_repetition(info.repetition())
            .with_converted_type(ConvertedType::UTF8)
            .with_logical_type(Some(LogicalType::String))
            .with_id(info.has_id().then(|| info.id()))
            .build()?;
        return Ok(Some(Arc::new(text)));
    };
    let new = fields
        .iter()
        .map(|field| changed(field, options))
        .collect::<Result<Vec<_>, _>>()?;
    if new.iter().all(Option::is_none) {
        return Ok(None);
    }
    let fields = new.into_iter().zip(fields);
    let fields = fields.map(|(new, old)| new.unwrap_or_else(|| Arc::clone(old)));
    let mut group = Type::group_type_builder(info.name())
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_id(info.has_id().then(|| info.id()))
        .with_fields(fields.collect());
    if info.has_repetition() {
        group = group.with_repetition(info.repetition());
    }
    Ok(Some(Arc::new(group.build()?)))
}

/// JSON and names of enumerations are text; what is not annotated is, if an option says so.
fn is_unsaid_text(of: &Type, options: &ParquetOptions) -> bool {
    let info = of.get_basic_info();
    let is_text = match (info.logical_type_ref(), info.converted_type()) {
        (Some(LogicalType::Json | LogicalType::Enum), _) => true,
        (None, ConvertedType::JSON | ConvertedType::ENUM) => true,
        (None, ConvertedType::NONE) => options.binary_as_string,
        _ => false,
    };
    is_text && of.get_physical_type() == PhysicalType::BYTE_ARRAY
}

/// The columns as Arrow has them, and the metadata of the file with them as its hint.
pub(crate) fn columns(
    descr: &SchemaDescriptor,
    pairs: Option<&Vec<KeyValue>>,
    options: &ParquetOptions,
) -> Result<(Schema, Vec<KeyValue>)> {
    let pairs = pairs.map_or(&[][..], Vec::as_slice);
    let is_hint = |pair: &&KeyValue| pair.key == ARROW_SCHEMA_META_KEY;
    if let Some(hint) = pairs
        .iter()
        .find(is_hint)
        .and_then(|pair| pair.value.as_ref())
    {
        check_hint(hint)?;
    }
    let stated = parquet_to_arrow_schema(descr, Some(&pairs.to_vec())).map_err(malformed)?;
    let mut leaves = Leaves {
        descr,
        next: 0,
        unit: options.int96.unit(),
    };
    let fields: Fields = stated
        .fields()
        .iter()
        .map(|field| leaves.field(field))
        .collect::<Result<_>>()?;
    if leaves.next != descr.num_columns() {
        return Err(malformed("columns that have no type of Arrow"));
    }
    let schema = Schema::new(fields);
    let mut pairs: Vec<KeyValue> = pairs
        .iter()
        .filter(|pair| !is_hint(pair))
        .cloned()
        .collect();
    pairs.push(KeyValue::new(
        ARROW_SCHEMA_META_KEY.to_owned(),
        encode_arrow_schema(&schema),
    ));
    Ok((schema, pairs))
}

/// Checks the hint before Arrow reads it, which panics over some malformed ones.
fn check_hint(hint: &str) -> Result<()> {
    let bytes = BASE64_STANDARD.decode(hint);
    let bytes = bytes.map_err(|error| malformed(format!("{ARROW_SCHEMA_META_KEY}: {error}")))?;
    // Writers before version 0.15 of Arrow have no prefix here.
    let prefixed = match bytes.starts_with(&[0xFF; 4]) {
        true => bytes,
        false => [&[0xFF; 4], &(bytes.len() as u32).to_le_bytes()[..], &bytes].concat(),
    };
    read_schema(&prefixed).map(|_| ()).map_err(|error| {
        malformed(format!("{ARROW_SCHEMA_META_KEY}: {}", error.message())).with_source(error)
    })
}

/// Goes over the fields of Arrow and the leaves of Parquet at once: both have the same leaves in the same order.
struct Leaves<'a> {
    descr: &'a SchemaDescriptor,
    next: usize,
    /// Of timestamps of 96 bits.
    unit: TimeUnit,
}

impl Leaves<'_> {
    fn field(&mut self, field: &Field) -> Result<FieldRef> {
        let data_type = self.data_type(field.data_type())?;
        let mut metadata = field.metadata().clone();
        metadata.retain(|key, _| key.starts_with(EXTENSION));
        let field = Field::new(field.name(), data_type, field.is_nullable());
        Ok(Arc::new(field.with_metadata(metadata)))
    }

    fn data_type(&mut self, of: &DataType) -> Result<DataType> {
        Ok(match of {
            DataType::Struct(fields) => DataType::Struct(
                fields
                    .iter()
                    .map(|field| self.field(field))
                    .collect::<Result<_>>()?,
            ),
            DataType::List(field) => DataType::List(self.field(field)?),
            DataType::LargeList(field) => DataType::LargeList(self.field(field)?),
            DataType::ListView(field) => DataType::ListView(self.field(field)?),
            DataType::LargeListView(field) => DataType::LargeListView(self.field(field)?),
            DataType::FixedSizeList(field, size) => {
                DataType::FixedSizeList(self.field(field)?, *size)
            }
            DataType::Map(field, sorted) => DataType::Map(self.field(field)?, *sorted),
            DataType::Dictionary(keys, values) => {
                DataType::Dictionary(keys.clone(), Box::new(self.data_type(values)?))
            }
            leaf => {
                let descr = (self.next < self.descr.num_columns())
                    .then(|| self.descr.column(self.next))
                    .ok_or_else(|| malformed("types of Arrow that have no column"))?;
                self.next += 1;
                leaf_type(&descr, leaf, self.unit)
            }
        })
    }
}

/// The type of a leaf. What the hint of Arrow says counts only where it changes no value.
fn leaf_type(descr: &ColumnDescriptor, hinted: &DataType, unit: TimeUnit) -> DataType {
    use parquet::basic::TimeUnit as Stated;
    match (descr.physical_type(), descr.logical_type_ref(), hinted) {
        (PhysicalType::INT96, _, DataType::Timestamp(_, zone)) => {
            DataType::Timestamp(unit, zone.clone())
        }
        (PhysicalType::INT96, _, _) => DataType::Timestamp(unit, None),
        (_, Some(LogicalType::Timestamp { unit, .. }), DataType::Timestamp(_, zone)) => {
            let unit = match unit {
                Stated::MILLIS => TimeUnit::Millisecond,
                Stated::MICROS => TimeUnit::Microsecond,
                Stated::NANOS => TimeUnit::Nanosecond,
            };
            DataType::Timestamp(unit, zone.clone())
        }
        (PhysicalType::BYTE_ARRAY, _, text) if descr.converted_type() != ConvertedType::UTF8 => {
            match text {
                DataType::Utf8 => DataType::Binary,
                DataType::LargeUtf8 => DataType::LargeBinary,
                DataType::Utf8View => DataType::BinaryView,
                other => other.clone(),
            }
        }
        (_, _, other) => other.clone(),
    }
}
