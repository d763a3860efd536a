//! The columns that a message states, checked before Arrow's conversion, which panics over types that it does not know.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_ipc::{
    DateUnit, DictionaryKind, Endianness, Field, IntervalUnit, MetadataVersion, Precision,
    TimeUnit, Type, UnionMode,
};
use arrow_schema::{
    DECIMAL32_MAX_PRECISION, DECIMAL64_MAX_PRECISION, DECIMAL128_MAX_PRECISION,
    DECIMAL256_MAX_PRECISION, Schema, SchemaRef,
};
use arrowload_core::{Error, ErrorKind, Result};

use crate::error::{malformed, unsupported};
use crate::message::{Next, next_head, parse};

/// Type ids of a union: 0 to 127.
const MAX_UNION_CHILDREN: usize = 128;

/// Columns, and how their numbers lie in the buffers.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    pub(crate) schema: SchemaRef,
    pub(crate) big_endian: bool,
}

/// Reads the schema of an encapsulated message: a prefix with its length, and the message.
///
/// # Errors
/// When the bytes are malformed, or a type is not known.
pub fn read_schema(mut encapsulated: &[u8]) -> Result<SchemaRef> {
    let Next::Head(head) = next_head(&mut encapsulated)? else {
        return Err(malformed("there is no schema"));
    };
    let (message, _) = parse(&head)?;
    check_version(message.version())?;
    let schema = message
        .header_as_schema()
        .ok_or_else(|| malformed("a message without a schema"))?;
    convert(schema).map(|columns| columns.schema)
}

/// Refuses two columns of one name: whoever reads a table by the names of its columns would lose one of them.
///
/// # Errors
/// [`ErrorKind::SchemaMismatch`], with the name and where the columns are.
pub fn refuse_twins(schema: &Schema) -> Result<()> {
    let mut known = HashMap::new();
    for (index, field) in schema.fields().iter().enumerate() {
        if let Some(first) = known.insert(field.name(), index) {
            let name = field.name();
            let message = format!(
                "columns {} and {} are both called `{name}`, and one would be lost; write the file with another name for one of them",
                first + 1,
                index + 1
            );
            return Err(Error::new(ErrorKind::SchemaMismatch, message).with("column", name));
        }
    }
    Ok(())
}

/// Refuses versions of which the layout is another.
pub(crate) fn check_version(version: MetadataVersion) -> Result<()> {
    match version {
        MetadataVersion::V4 | MetadataVersion::V5 => Ok(()),
        other => Err(unsupported(format!(
            "version {} of the format; 4 and 5 are read",
            i32::from(other.0) + 1
        ))),
    }
}

pub(crate) fn convert(schema: arrow_ipc::Schema<'_>) -> Result<Columns> {
    let big_endian = match schema.endianness() {
        Endianness::Little => false,
        Endianness::Big => true,
        other => return Err(malformed(format!("the byte order {}", other.0))),
    };
    let fields: Vec<Field<'_>> = schema.fields().iter().flatten().collect();
    for field in &fields {
        check(*field).map_err(|error| error.with("column", field.name().unwrap_or_default()))?;
    }
    let fields: Vec<arrow_schema::Field> = fields.into_iter().map(Into::into).collect();
    let metadata: HashMap<String, String> = schema
        .custom_metadata()
        .iter()
        .flatten()
        .filter_map(|pair| Some((pair.key()?.to_owned(), pair.value()?.to_owned())))
        .collect();
    Ok(Columns {
        schema: Arc::new(Schema::new_with_metadata(fields, metadata)),
        big_endian,
    })
}

/// Checks a field and those within it; their depth is bounded by the verification of the message.
fn check(field: Field<'_>) -> Result<()> {
    let children: Vec<Field<'_>> = field.children().iter().flatten().collect();
    if let Some(dictionary) = field.dictionary() {
        let keys = dictionary.indexType().map(|keys| keys.bitWidth());
        if !matches!(keys, Some(8 | 16 | 32 | 64)) {
            return Err(malformed("a dictionary without a type of keys"));
        }
        if dictionary.dictionaryKind() != DictionaryKind::DenseArray {
            return Err(unsupported("a dictionary that is no dense array"));
        }
    }
    let kind = field.type_type();
    let known = is_known(field, &children);
    if !known.unwrap_or(false) {
        let name = kind.variant_name().unwrap_or("unknown");
        return Err(malformed(format!(
            "a column of the type {name} ({}) with properties that are not defined",
            kind.0
        )));
    }
    children.into_iter().try_for_each(check)
}

/// Whether the properties of a type are such as are defined; nothing if they are missing.
fn is_known(field: Field<'_>, children: &[Field<'_>]) -> Option<bool> {
    let is_unit = |unit: TimeUnit| (TimeUnit::SECOND..=TimeUnit::NANOSECOND).contains(&unit);
    let own = match field.type_type() {
        Type::Null
        | Type::Bool
        | Type::Binary
        | Type::LargeBinary
        | Type::BinaryView
        | Type::Utf8
        | Type::LargeUtf8
        | Type::Utf8View
        | Type::List
        | Type::LargeList
        | Type::ListView
        | Type::LargeListView
        | Type::Struct_
        | Type::RunEndEncoded
        | Type::Map => true,
        Type::Int => matches!(field.type_as_int()?.bitWidth(), 8 | 16 | 32 | 64),
        Type::FloatingPoint => (Precision::HALF..=Precision::DOUBLE)
            .contains(&field.type_as_floating_point()?.precision()),
        Type::Date => {
            (DateUnit::DAY..=DateUnit::MILLISECOND).contains(&field.type_as_date()?.unit())
        }
        Type::Time => {
            let time = field.type_as_time()?;
            matches!(
                (time.bitWidth(), time.unit()),
                (32, TimeUnit::SECOND | TimeUnit::MILLISECOND)
                    | (64, TimeUnit::MICROSECOND | TimeUnit::NANOSECOND)
            )
        }
        Type::Timestamp => is_unit(field.type_as_timestamp()?.unit()),
        Type::Duration => is_unit(field.type_as_duration()?.unit()),
        Type::Interval => (IntervalUnit::YEAR_MONTH..=IntervalUnit::MONTH_DAY_NANO)
            .contains(&field.type_as_interval()?.unit()),
        Type::FixedSizeBinary => field.type_as_fixed_size_binary()?.byteWidth() >= 0,
        Type::FixedSizeList => field.type_as_fixed_size_list()?.listSize() >= 0,
        Type::Decimal => {
            let decimal = field.type_as_decimal()?;
            let digits = match decimal.bitWidth() {
                32 => DECIMAL32_MAX_PRECISION,
                64 => DECIMAL64_MAX_PRECISION,
                128 => DECIMAL128_MAX_PRECISION,
                256 => DECIMAL256_MAX_PRECISION,
                _ => return Some(false),
            };
            (1..=i32::from(digits)).contains(&decimal.precision())
                && i8::try_from(decimal.scale()).is_ok()
        }
        Type::Union => is_known_union(field, children.len())?,
        _ => false,
    };
    Some(own && has_right_children(field.type_type(), children))
}

fn is_known_union(field: Field<'_>, children: usize) -> Option<bool> {
    let union = field.type_as_union()?;
    let ids = match union.typeIds() {
        None => return Some(children <= MAX_UNION_CHILDREN),
        Some(ids) => ids
            .iter()
            .map(|id| u8::try_from(id).ok().filter(|id| *id < 128)),
    };
    let mut ids: Vec<u8> = ids.collect::<Option<_>>()?;
    let (stated, mode) = (ids.len(), union.mode());
    ids.sort_unstable();
    ids.dedup();
    Some(
        stated == children
            && ids.len() == stated
            && matches!(mode, UnionMode::Sparse | UnionMode::Dense),
    )
}

fn has_right_children(kind: Type, children: &[Field<'_>]) -> bool {
    match (kind, children) {
        (Type::Struct_ | Type::Union, _) => true,
        (
            Type::List
            | Type::LargeList
            | Type::ListView
            | Type::LargeListView
            | Type::FixedSizeList,
            [_],
        ) => true,
        (Type::Map, [entries]) => {
            entries.type_type() == Type::Struct_
                && entries.dictionary().is_none()
                && entries
                    .children()
                    .is_some_and(|children| children.len() == 2)
        }
        (Type::RunEndEncoded, [ends, _]) => {
            let width = ends
                .type_as_int()
                .map(|int| (int.bitWidth(), int.is_signed()));
            ends.dictionary().is_none() && matches!(width, Some((16 | 32 | 64, true)))
        }
        (_, []) => !matches!(
            kind,
            Type::List
                | Type::LargeList
                | Type::ListView
                | Type::LargeListView
                | Type::FixedSizeList
                | Type::Map
                | Type::RunEndEncoded
        ),
        _ => false,
    }
}
