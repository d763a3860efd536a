//! Which Arrow type each type of PostgreSQL becomes, and how its fields are decoded.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, FixedSizeBinaryBuilder};
use arrow_array::types::*;
use arrow_buffer::{IntervalMonthDayNano, NullBufferBuilder, i256};
use arrow_schema::extension::{EXTENSION_TYPE_METADATA_KEY, EXTENSION_TYPE_NAME_KEY};
use arrow_schema::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use tokio_postgres::types::{Kind, Type};

use super::column::{Decoder, Wrong};
use super::nested::{Lists, Structs, Vectors};
use super::{numeric, scalar};
use crate::config::ReadNumeric;

/// Days from 1970 to 2000, where PostgreSQL begins to count.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;
/// The most digits of a decimal of 128 bits, and of 256.
const WIDEST_128: i32 = 38;
const WIDEST_256: i32 = 76;

/// A type that can be decoded. Columns of other types are read as text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ReadType {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    /// Precision and scale.
    Decimal(u8, i8),
    /// The digits as text.
    NumericText,
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Uuid,
    Json,
    Jsonb,
    List(Box<ReadType>),
    /// The same, of arrays whose first item has the number 1, as those of a load have.
    ListFromOne(Box<ReadType>),
    Struct(Vec<(String, ReadType)>),
    /// pgvector's, of this length.
    Vector(i32),
}

impl ReadType {
    /// How a column of this type is read; `None` if it is to be cast to text.
    pub(crate) fn of(pg: &Type, modifier: i32, numeric: ReadNumeric) -> Option<Self> {
        Some(match *pg {
            Type::BOOL => Self::Bool,
            Type::INT2 => Self::Int2,
            Type::INT4 => Self::Int4,
            Type::INT8 => Self::Int8,
            Type::OID => Self::Oid,
            Type::FLOAT4 => Self::Float4,
            Type::FLOAT8 => Self::Float8,
            Type::NUMERIC => of_numeric(modifier, numeric),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => Self::Text,
            Type::BYTEA => Self::Bytea,
            Type::DATE => Self::Date,
            Type::TIME => Self::Time,
            Type::TIMESTAMP => Self::Timestamp,
            Type::TIMESTAMPTZ => Self::Timestamptz,
            Type::INTERVAL => Self::Interval,
            Type::UUID => Self::Uuid,
            Type::JSON => Self::Json,
            Type::JSONB => Self::Jsonb,
            _ => match pg.kind() {
                Kind::Enum(_) => Self::Text,
                Kind::Domain(base) => Self::of(base, modifier, numeric)?,
                // The vector types of the system catalog begin at 0 and are printed differently.
                Kind::Array(item) if !matches!(*pg, Type::INT2_VECTOR | Type::OID_VECTOR) => {
                    Self::List(Box::new(Self::of(item, modifier, numeric)?))
                }
                Kind::Composite(fields) => {
                    let read = |field: &tokio_postgres::types::Field| {
                        Some((
                            field.name().to_owned(),
                            Self::of(field.type_(), -1, numeric)?,
                        ))
                    };
                    Self::Struct(fields.iter().map(read).collect::<Option<_>>()?)
                }
                Kind::Simple if pg.name() == "vector" && modifier > 0 => Self::Vector(modifier),
                _ => return None,
            },
        })
    }

    /// The Arrow type.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int2 => DataType::Int16,
            Self::Int4 => DataType::Int32,
            Self::Int8 => DataType::Int64,
            Self::Oid => DataType::UInt32,
            Self::Float4 => DataType::Float32,
            Self::Float8 => DataType::Float64,
            Self::Decimal(precision, scale) if i32::from(*precision) <= WIDEST_128 => {
                DataType::Decimal128(*precision, *scale)
            }
            Self::Decimal(precision, scale) => DataType::Decimal256(*precision, *scale),
            Self::NumericText | Self::Text | Self::Json | Self::Jsonb => DataType::Utf8,
            Self::Bytea => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::List(item) | Self::ListFromOne(item) => {
                DataType::List(Arc::new(item.field("item")))
            }
            Self::Struct(fields) => DataType::Struct(struct_fields(fields)),
            Self::Vector(length) => DataType::FixedSizeList(Arc::new(vector_item()), *length),
        }
    }

    /// The Arrow field of a column.
    pub(crate) fn field(&self, name: &str) -> Field {
        let extension = match self {
            Self::Uuid => Some("arrow.uuid"),
            Self::Json | Self::Jsonb => Some("arrow.json"),
            _ => None,
        };
        let field = Field::new(name, self.data_type(), true);
        match extension {
            None => field,
            Some(extension) => {
                let mut metadata =
                    HashMap::from([(EXTENSION_TYPE_NAME_KEY.to_owned(), extension.to_owned())]);
                if extension == "arrow.json" {
                    metadata.insert(EXTENSION_TYPE_METADATA_KEY.to_owned(), String::new());
                }
                field.with_metadata(metadata)
            }
        }
    }

    /// An empty column.
    pub(super) fn decoder(&self) -> Box<dyn Decoder> {
        let data_type = self.data_type();
        match self {
            Self::Bool => Box::new(scalar::Booleans(BooleanBuilder::new())),
            Self::Int2 => scalar::fixed::<Int16Type, 2>(data_type, "smallint", |bytes| {
                Ok(i16::from_be_bytes(bytes))
            }),
            Self::Int4 => scalar::fixed::<Int32Type, 4>(data_type, "integer", |bytes| {
                Ok(i32::from_be_bytes(bytes))
            }),
            Self::Int8 => scalar::fixed::<Int64Type, 8>(data_type, "bigint", |bytes| {
                Ok(i64::from_be_bytes(bytes))
            }),
            Self::Oid => scalar::fixed::<UInt32Type, 4>(data_type, "oid", |bytes| {
                Ok(u32::from_be_bytes(bytes))
            }),
            Self::Float4 => scalar::fixed::<Float32Type, 4>(data_type, "real", |bytes| {
                Ok(f32::from_be_bytes(bytes))
            }),
            Self::Float8 => {
                scalar::fixed::<Float64Type, 8>(data_type, "double precision", |bytes| {
                    Ok(f64::from_be_bytes(bytes))
                })
            }
            Self::Decimal(precision, scale) => decimals(data_type, *precision, *scale),
            Self::NumericText => scalar::bytes::<Utf8Type>(numeric::text),
            Self::Text | Self::Json => scalar::bytes::<Utf8Type>(scalar::as_is),
            Self::Jsonb => scalar::bytes::<Utf8Type>(scalar::jsonb),
            Self::Bytea => scalar::bytes::<BinaryType>(scalar::as_is),
            Self::Date => scalar::fixed::<Date32Type, 4>(data_type, "date", date),
            Self::Time => scalar::fixed::<Time64MicrosecondType, 8>(data_type, "time", time),
            Self::Timestamp | Self::Timestamptz => {
                scalar::fixed::<TimestampMicrosecondType, 8>(data_type, "timestamp", timestamp)
            }
            Self::Interval => {
                scalar::fixed::<IntervalMonthDayNanoType, 16>(data_type, "interval", interval)
            }
            Self::Uuid => Box::new(scalar::FixedBytes(FixedSizeBinaryBuilder::new(16))),
            Self::List(item) | Self::ListFromOne(item) => Box::new(Lists {
                from_one: matches!(self, Self::ListFromOne(_)),
                item: Arc::new(item.field("item")),
                items: item.decoder(),
                offsets: vec![0],
                nulls: NullBufferBuilder::new(1024),
            }),
            Self::Struct(fields) => Box::new(Structs {
                fields: struct_fields(fields),
                columns: fields.iter().map(|(_, field)| field.decoder()).collect(),
                nulls: NullBufferBuilder::new(1024),
            }),
            Self::Vector(length) => Box::new(Vectors {
                item: Arc::new(vector_item()),
                length: *length,
                values: Vec::new(),
                nulls: NullBufferBuilder::new(1024),
            }),
        }
    }
}

fn struct_fields(fields: &[(String, ReadType)]) -> Fields {
    fields
        .iter()
        .map(|(name, field)| field.field(name))
        .collect()
}

fn vector_item() -> Field {
    Field::new("item", DataType::Float32, true)
}

/// A column that declares its precision is a decimal with as many digits on each side of the point.
fn of_numeric(modifier: i32, wanted: ReadNumeric) -> ReadType {
    let declared = u32::try_from(modifier - 4)
        .ok()
        .map(crate::types::numeric_modifier);
    match (wanted, declared) {
        (ReadNumeric::Text, _) | (ReadNumeric::Auto, None) => ReadType::NumericText,
        (_, Some((precision, scale))) => {
            let (precision, scale) = if scale < 0 {
                (precision - scale, 0)
            } else {
                (precision.max(scale), scale)
            };
            match (u8::try_from(precision), i8::try_from(scale)) {
                (Ok(digits), Ok(scale)) if precision <= WIDEST_256 => {
                    ReadType::Decimal(digits, scale)
                }
                _ => ReadType::NumericText,
            }
        }
        (ReadNumeric::Decimal { precision, scale }, None) => ReadType::Decimal(precision, scale),
    }
}

fn decimals(data_type: DataType, precision: u8, scale: i8) -> Box<dyn Decoder> {
    if matches!(data_type, DataType::Decimal128(..)) {
        return scalar::made::<Decimal128Type>(data_type, move |field| {
            numeric::decimal::<i128>(field, precision, scale)
        });
    }
    scalar::made::<Decimal256Type>(data_type, move |field| {
        numeric::decimal::<i256>(field, precision, scale)
    })
}

#[cold]
fn infinite(name: &str) -> Wrong {
    Wrong::new(format!(
        "a {name} of infinity or beyond has no counterpart in Arrow; cast the column to text, or leave such rows out"
    ))
}

fn date(bytes: [u8; 4]) -> Result<i32, Wrong> {
    match i32::from_be_bytes(bytes) {
        i32::MIN | i32::MAX => Err(infinite("date")),
        days => days.checked_add(EPOCH_DAYS).ok_or_else(|| infinite("date")),
    }
}

fn timestamp(bytes: [u8; 8]) -> Result<i64, Wrong> {
    match i64::from_be_bytes(bytes) {
        i64::MIN | i64::MAX => Err(infinite("timestamp")),
        micros => micros
            .checked_add(EPOCH_MICROS)
            .ok_or_else(|| infinite("timestamp")),
    }
}

fn time(bytes: [u8; 8]) -> Result<i64, Wrong> {
    match i64::from_be_bytes(bytes) {
        micros @ 0..86_400_000_000 => Ok(micros),
        _ => Err(Wrong::new(
            "the time 24:00:00 has no counterpart in Arrow; cast the column to text",
        )),
    }
}

fn interval(bytes: [u8; 16]) -> Result<IntervalMonthDayNano, Wrong> {
    let (micros, rest) = bytes
        .split_first_chunk::<8>()
        .ok_or_else(|| Wrong::length("interval", 16))?;
    let (days, months) = rest
        .split_first_chunk::<4>()
        .ok_or_else(|| Wrong::length("interval", 16))?;
    let months = <[u8; 4]>::try_from(months).map_err(|_| Wrong::length("interval", 16))?;
    let nanos = i64::from_be_bytes(*micros).checked_mul(1_000);
    let nanos = nanos
        .ok_or_else(|| Wrong::new("an interval of more than 292 years of time has no counterpart in Arrow; cast the column to text"))?;
    let (days, months) = (i32::from_be_bytes(*days), i32::from_be_bytes(months));
    Ok(IntervalMonthDayNano::new(months, days, nanos))
}
