//! Arrow columns as BSON: each row is written from the arrays into the bytes of its document.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, Decimal128Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, MapArray, PrimitiveArray,
    RecordBatch, StringArray,
};
use arrow_buffer::{NullBuffer, i256};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, FieldRef, Schema, TimeUnit};
use arrowload_core::{Error, ErrorKind, Result};

use crate::options::{MongoOptions, Nulls};
use crate::types::plain;
use crate::walk::decimal;
use crate::walk::shape::EXTENSION;

/// The array of one column, of the few types that are left after [`plain`].
enum Values {
    Null,
    Bool(BooleanArray),
    Int32(PrimitiveArray<Int32Type>),
    /// Times and durations are whole numbers of their unit.
    Int64(PrimitiveArray<Int64Type>),
    Double(PrimitiveArray<Float64Type>),
    Decimal(PrimitiveArray<Decimal128Type>, i8),
    Text(StringArray),
    /// 24 digits, as an ObjectId.
    HexId(StringArray),
    Binary(BinaryArray),
    Fixed(FixedSizeBinaryArray),
    Uuid(FixedSizeBinaryArray),
    ObjectId(FixedSizeBinaryArray),
    Days(PrimitiveArray<Date32Type>),
    Dates(PrimitiveArray<Date64Type>),
    Seconds(PrimitiveArray<TimestampSecondType>),
    Milliseconds(PrimitiveArray<TimestampMillisecondType>),
    Microseconds(PrimitiveArray<TimestampMicrosecondType>),
    Nanoseconds(PrimitiveArray<TimestampNanosecondType>),
    Struct(Vec<Column>),
    List(arrow_array::ListArray, Box<Column>),
    /// With its keys and its values.
    Map(Box<(MapArray, StringArray, Column)>),
}

/// One column: its name and its values.
pub(crate) struct Column {
    name: Vec<u8>,
    nulls: Option<NullBuffer>,
    values: Values,
    absent: bool,
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidData, message)
}

fn internal(data_type: &DataType) -> Error {
    let message = format!("internal error: {data_type} cannot be written");
    Error::new(ErrorKind::Unexpected, message)
}

impl Column {
    fn new(field: &Field, array: &ArrayRef, options: &MongoOptions, path: &str) -> Result<Self> {
        let target = plain(array.data_type());
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let array = if array.data_type() == &target {
            Arc::clone(array)
        } else {
            cast_with_options(array, &target, &strict)
                .map_err(|error| invalid(error.to_string()).with("column", field.name()))?
        };
        let nested = |field: &FieldRef, array: &ArrayRef| {
            Self::new(field, array, options, &format!("{path}.{}", field.name()))
        };
        let extension = field.metadata().get(EXTENSION).map_or("", String::as_str);
        let values = match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Bool(array.as_boolean().clone()),
            DataType::Int32 => Values::Int32(array.as_primitive().clone()),
            DataType::Int64 => Values::Int64(array.as_primitive().clone()),
            DataType::Float64 => Values::Double(array.as_primitive().clone()),
            DataType::Decimal128(_, scale) => Values::Decimal(array.as_primitive().clone(), *scale),
            DataType::Utf8 if options.object_ids.iter().any(|column| column == path) => {
                Values::HexId(array.as_string().clone())
            }
            DataType::Utf8 => Values::Text(array.as_string().clone()),
            DataType::Binary => Values::Binary(array.as_binary().clone()),
            DataType::FixedSizeBinary(width) => {
                let fixed = array.as_fixed_size_binary().clone();
                match (extension, width) {
                    ("arrow.uuid", 16) => Values::Uuid(fixed),
                    ("mongodb.objectid", 12) => Values::ObjectId(fixed),
                    _ => Values::Fixed(fixed),
                }
            }
            DataType::Date32 => Values::Days(array.as_primitive().clone()),
            DataType::Date64 => Values::Dates(array.as_primitive().clone()),
            DataType::Timestamp(TimeUnit::Second, _) => {
                Values::Seconds(array.as_primitive().clone())
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                Values::Milliseconds(array.as_primitive().clone())
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Values::Microseconds(array.as_primitive().clone())
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                Values::Nanoseconds(array.as_primitive().clone())
            }
            DataType::Struct(fields) => {
                let columns = fields.iter().zip(array.as_struct().columns());
                let columns = columns.map(|(field, array)| nested(field, array));
                Values::Struct(columns.collect::<Result<_>>()?)
            }
            DataType::List(item) => {
                let list = array.as_list::<i32>().clone();
                let items = nested(item, list.values())?;
                Values::List(list, Box::new(items))
            }
            DataType::Map(entries, _) => {
                let map = array.as_map().clone();
                let DataType::Struct(fields) = entries.data_type() else {
                    return Err(internal(array.data_type()));
                };
                let names = map.keys().as_string::<i32>().clone();
                let items = nested(&fields[1], map.values())?;
                Values::Map(Box::new((map, names, items)))
            }
            other => return Err(internal(other)),
        };
        Ok(Self {
            name: field.name().as_bytes().to_vec(),
            nulls: array.logical_nulls(),
            values,
            absent: options.nulls == Nulls::Absent,
        })
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        matches!(self.values, Values::Null)
            || self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the field of a row, unless it is null and nulls are left out.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if self.absent && self.is_null(row) {
            return Ok(());
        }
        self.element(&self.name, row, out)
            .map_err(|error| error.with("column", String::from_utf8_lossy(&self.name)))
    }

    /// Appends an element of this name: its type, the name and the value.
    pub(crate) fn element(&self, name: &[u8], row: usize, out: &mut Vec<u8>) -> Result<()> {
        if self.is_null(row) {
            head(0x0a, name, out);
            return Ok(());
        }
        let code = match &self.values {
            Values::Null => 0x0a,
            Values::Bool(_) => 0x08,
            Values::Int32(_) => 0x10,
            Values::Int64(_) => 0x12,
            Values::Double(_) => 0x01,
            Values::Decimal(..) => 0x13,
            Values::Text(_) => 0x02,
            Values::HexId(_) | Values::ObjectId(_) => 0x07,
            Values::Binary(_) | Values::Fixed(_) | Values::Uuid(_) => 0x05,
            Values::Days(_)
            | Values::Dates(_)
            | Values::Seconds(_)
            | Values::Milliseconds(_)
            | Values::Microseconds(_)
            | Values::Nanoseconds(_) => 0x09,
            Values::Struct(_) | Values::Map(_) => 0x03,
            Values::List(..) => 0x04,
        };
        head(code, name, out);
        match &self.values {
            Values::Null => {}
            Values::Bool(array) => out.push(u8::from(array.value(row))),
            Values::Int32(array) => out.extend(array.value(row).to_le_bytes()),
            Values::Int64(array) => out.extend(array.value(row).to_le_bytes()),
            Values::Double(array) => out.extend(array.value(row).to_le_bytes()),
            Values::Decimal(array, scale) => {
                let bytes = decimal::to_bytes(i256::from_i128(array.value(row)), *scale);
                let bytes = bytes.ok_or_else(|| {
                    invalid("a decimal has more than the 34 digits of Decimal128")
                })?;
                out.extend(bytes);
            }
            Values::Text(array) => text(array.value(row), out)?,
            Values::HexId(array) => {
                let id = bson::oid::ObjectId::parse_str(array.value(row)).map_err(|_| {
                    invalid(format!(
                        "`{}` is no ObjectId of 24 digits",
                        array.value(row)
                    ))
                })?;
                out.extend(id.bytes());
            }
            Values::ObjectId(array) => out.extend_from_slice(array.value(row)),
            Values::Binary(array) => binary(0, array.value(row), out)?,
            Values::Fixed(array) => binary(0, array.value(row), out)?,
            Values::Uuid(array) => binary(4, array.value(row), out)?,
            Values::Days(array) => {
                out.extend((i64::from(array.value(row)) * 86_400_000).to_le_bytes());
            }
            Values::Dates(array) => out.extend(array.value(row).to_le_bytes()),
            Values::Milliseconds(array) => out.extend(array.value(row).to_le_bytes()),
            Values::Seconds(array) => {
                let milliseconds = array.value(row).checked_mul(1000);
                let milliseconds = milliseconds
                    .ok_or_else(|| invalid("a time is out of the range of MongoDB's dates"))?;
                out.extend(milliseconds.to_le_bytes());
            }
            Values::Microseconds(array) => out.extend(whole(array.value(row), 1000)?),
            Values::Nanoseconds(array) => out.extend(whole(array.value(row), 1_000_000)?),
            Values::Struct(columns) => {
                let start = open(out);
                for column in columns {
                    column.write(row, out)?;
                }
                close(start, out)?;
            }
            Values::List(list, items) => {
                let start = open(out);
                let offsets = list.value_offsets();
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                for (index, item) in range.enumerate() {
                    items.element(index.to_string().as_bytes(), item, out)?;
                }
                close(start, out)?;
            }
            Values::Map(parts) => {
                let (map, names, items) = parts.as_ref();
                let start = open(out);
                let offsets = map.value_offsets();
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                let mut known = std::collections::HashSet::new();
                for entry in range {
                    let name = names.value(entry);
                    if name.contains('\0') {
                        return Err(invalid(
                            "a key of a map holds a zero byte, which no name may",
                        ));
                    }
                    if !known.insert(name) {
                        let message = format!("a map has the key `{name}` twice");
                        return Err(invalid(message));
                    }
                    items.element(name.as_bytes(), entry, out)?;
                }
                close(start, out)?;
            }
        }
        Ok(())
    }
}

/// A time as whole milliseconds.
fn whole(value: i64, of: i64) -> Result<[u8; 8]> {
    if value % of != 0 {
        let message = "a time is no whole number of milliseconds, which MongoDB's dates are";
        return Err(invalid(message));
    }
    Ok((value / of).to_le_bytes())
}

fn length(bytes: usize) -> Result<[u8; 4]> {
    i32::try_from(bytes)
        .map(i32::to_le_bytes)
        .map_err(|_| invalid("a value has more than 2 GiB"))
}

fn text(value: &str, out: &mut Vec<u8>) -> Result<()> {
    out.extend(length(value.len() + 1)?);
    out.extend_from_slice(value.as_bytes());
    out.push(0);
    Ok(())
}

fn binary(subtype: u8, value: &[u8], out: &mut Vec<u8>) -> Result<()> {
    out.extend(length(value.len())?);
    out.push(subtype);
    out.extend_from_slice(value);
    Ok(())
}

/// Appends the type and the name of an element.
pub(crate) fn head(kind: u8, name: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(name);
    out.push(0);
}

/// Begins a document, whose length [`close`] fills in.
pub(crate) fn open(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend([0; 4]);
    start
}

/// Ends a document.
pub(crate) fn close(start: usize, out: &mut Vec<u8>) -> Result<()> {
    out.push(0);
    let length = length(out.len() - start)?;
    out[start..start + 4].copy_from_slice(&length);
    Ok(())
}

/// The columns of a batch, `_id` first.
pub(crate) struct Columns {
    pub(crate) id: Option<Column>,
    pub(crate) others: Vec<Column>,
}

impl Columns {
    pub(crate) fn new(
        schema: &Schema,
        batch: &RecordBatch,
        options: &MongoOptions,
    ) -> Result<Self> {
        let (mut id, mut others) = (None, Vec::new());
        for (field, array) in schema.fields().iter().zip(batch.columns()) {
            let column = Column::new(field, array, options, field.name())?;
            if field.name() == "_id" {
                id = Some(column);
            } else {
                others.push(column);
            }
        }
        Ok(Self { id, others })
    }

    /// The document of a row, with its own `_id` or this one.
    pub(crate) fn document(&self, row: usize, id: Option<[u8; 12]>) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(128);
        let start = open(&mut out);
        match (&self.id, id) {
            (Some(column), _) => column.element(b"_id", row, &mut out)?,
            (None, Some(id)) => {
                out.extend(b"\x07_id\0");
                out.extend(id);
            }
            (None, None) => {}
        }
        for column in &self.others {
            column.write(row, &mut out)?;
        }
        close(start, &mut out)?;
        Ok(out)
    }

    /// A column by its name.
    pub(crate) fn named(&self, name: &[u8]) -> Result<&Column> {
        let found = self.id.iter().chain(&self.others);
        let found = found.into_iter().find(|column| column.name == name);
        found.ok_or_else(|| Error::new(ErrorKind::Unexpected, "a key is no column"))
    }

    /// Appends what sets the fields of a row: `$set`, and `$unset` for nulls that are left out.
    pub(crate) fn changes(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let removed = |column: &&Column| column.absent && column.is_null(row);
        if self.others.iter().any(|column| !removed(&column)) {
            out.extend(b"\x03$set\0");
            let start = open(out);
            for column in &self.others {
                column.write(row, out)?;
            }
            close(start, out)?;
        } else {
            // An update needs an operator, and one by `_id` alone has nothing to set.
            out.extend(b"\x03$setOnInsert\0");
            let start = open(out);
            close(start, out)?;
        }
        let mut removed = self.others.iter().filter(removed).peekable();
        if removed.peek().is_some() {
            out.extend(b"\x03$unset\0");
            let start = open(out);
            for column in removed {
                out.push(0x02);
                out.extend_from_slice(&column.name);
                out.extend(b"\0\x01\0\0\0\0");
            }
            close(start, out)?;
        }
        Ok(())
    }
}
