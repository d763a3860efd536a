//! How each Arrow type arrives in a Delta table, and the conversion of columns.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, FieldRef, TimeUnit};
use arrowload_core::arrow_types::{decoded, holds};
use arrowload_core::{Error, ErrorKind, Result, TypeSupport, relabel};

use crate::options::Nanoseconds;

/// The most digits of a decimal.
const DIGITS: u8 = 38;

/// How a column of this type arrives in a table that is created for it.
pub(crate) fn support(data_type: &DataType, nanoseconds: Nanoseconds) -> TypeSupport {
    match stored(data_type, nanoseconds) {
        Ok(stored) if stored.equals_datatype(data_type) => TypeSupport::Exact,
        Ok(stored) => TypeSupport::Widened(name(&stored).into()),
        Err(reason) => TypeSupport::Unsupported(reason.into()),
    }
}

/// The Arrow type of the Delta type that holds every value of this one, or why there is none.
pub(crate) fn stored(data_type: &DataType, nanoseconds: Nanoseconds) -> Result<DataType, String> {
    use DataType as T;
    let item = |field: &FieldRef| -> Result<FieldRef, String> {
        Ok(Arc::new(
            field
                .as_ref()
                .clone()
                .with_data_type(stored(field.data_type(), nanoseconds)?),
        ))
    };
    Ok(match data_type {
        T::UInt8 => T::Int16,
        T::UInt16 => T::Int32,
        T::UInt32 => T::Int64,
        T::UInt64 => T::Decimal128(20, 0),
        T::Float16 => T::Float32,
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) | T::Decimal256(p, s) => {
            decimal(*p, *s)?
        }
        T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
        T::Date64 => T::Date32,
        T::Timestamp(TimeUnit::Nanosecond, _) if nanoseconds == Nanoseconds::Refuse => {
            return Err("Delta keeps microseconds; set nanoseconds = exact or truncate, or cast it in the query".into());
        }
        T::Timestamp(_, None) => T::Timestamp(TimeUnit::Microsecond, None),
        T::Timestamp(_, Some(_)) => T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        T::Time32(_) | T::Time64(_) => {
            return Err("Delta has no time of day; cast it to text or to an integer".into());
        }
        T::Duration(_) => return Err("Delta has no duration; cast it to an integer".into()),
        T::Interval(_) => return Err("Delta has no interval; cast it to text".into()),
        T::Null => {
            return Err("a column of nulls alone has no type; cast it to one".into());
        }
        T::Union(..) => return Err("Delta has no unions".into()),
        T::List(field)
        | T::LargeList(field)
        | T::ListView(field)
        | T::LargeListView(field)
        | T::FixedSizeList(field, _) => T::List(item(field)?),
        T::Struct(fields) if fields.is_empty() => {
            return Err("a struct without fields has no place in Parquet".into());
        }
        T::Struct(fields) => T::Struct(fields.iter().map(item).collect::<Result<_, String>>()?),
        T::Map(entries, _) => T::Map(item(entries)?, false),
        T::Dictionary(_, values) => stored(values, nanoseconds)?,
        T::RunEndEncoded(_, values) => stored(values.data_type(), nanoseconds)?,
        same => same.clone(),
    })
}

/// Delta's decimals have no negative scale.
fn decimal(precision: u8, scale: i8) -> Result<DataType, String> {
    let (digits, scale) = if scale < 0 {
        (precision.saturating_add(scale.unsigned_abs()), 0)
    } else {
        (precision, scale)
    };
    if digits > DIGITS {
        return Err(format!(
            "it needs {digits} digits, and Delta's decimals have {DIGITS} at most"
        ));
    }
    Ok(DataType::Decimal128(digits, scale))
}

/// Delta's name of a type.
pub(crate) fn name(data_type: &DataType) -> String {
    use DataType as T;
    match data_type {
        T::Boolean => "boolean".into(),
        T::Int8 => "byte".into(),
        T::Int16 => "short".into(),
        T::Int32 => "integer".into(),
        T::Int64 => "long".into(),
        T::Float32 => "float".into(),
        T::Float64 => "double".into(),
        T::Decimal128(p, s) => format!("decimal({p},{s})"),
        T::Utf8 => "string".into(),
        T::Binary => "binary".into(),
        T::Date32 => "date".into(),
        T::Timestamp(_, Some(_)) => "timestamp".into(),
        T::Timestamp(_, None) => "timestamp_ntz".into(),
        T::List(item) => format!("array<{}>", name(item.data_type())),
        T::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{}: {}", field.name(), name(field.data_type())))
                .collect();
            format!("struct<{}>", fields.join(", "))
        }
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(fields) if fields.len() == 2 => format!(
                "map<{}, {}>",
                name(fields[0].data_type()),
                name(fields[1].data_type())
            ),
            other => format!("map<{other}>"),
        },
        other => other.to_string(),
    }
}

/// Whether every value of a type, as it would be [stored], has a place in a column of a table.
pub(crate) fn fits(load: &DataType, column: &DataType) -> bool {
    use DataType as T;
    let whole_digits = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
    if load.equals_datatype(column) {
        return true;
    }
    match (load, column) {
        (T::Int8, T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64) => true,
        (T::Int16, T::Int32 | T::Int64 | T::Float32 | T::Float64) => true,
        (T::Int32, T::Int64 | T::Float64) | (T::Float32, T::Float64) => true,
        (T::Int8, T::Decimal128(p, s)) => whole_digits(*p, *s) >= 3,
        (T::Int16, T::Decimal128(p, s)) => whole_digits(*p, *s) >= 5,
        (T::Int32, T::Decimal128(p, s)) => whole_digits(*p, *s) >= 10,
        (T::Int64, T::Decimal128(p, s)) => whole_digits(*p, *s) >= 19,
        (T::Decimal128(p, s), T::Decimal128(p2, s2)) => {
            s2 >= s && whole_digits(*p2, *s2) >= whole_digits(*p, *s)
        }
        // The 20 digits that an unsigned column of 64 bits is stored as hold any whole number of 19 digits too, not vice versa.
        (T::List(a), T::List(b)) => nullable(a, b) && fits(a.data_type(), b.data_type()),
        (T::Map(a, _), T::Map(b, _)) => fits(a.data_type(), b.data_type()),
        (T::Struct(a), T::Struct(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| {
                    a.name() == b.name() && nullable(a, b) && fits(a.data_type(), b.data_type())
                })
        }
        _ => false,
    }
}

fn nullable(load: &FieldRef, column: &FieldRef) -> bool {
    column.is_nullable() || !load.is_nullable()
}

/// The type of a load's column, with the types of the table's column where the load has nothing but nulls.
pub(crate) fn with_types_of(load: &DataType, column: &DataType) -> DataType {
    use DataType as T;
    let inner = |load: &FieldRef, column: &FieldRef| -> FieldRef {
        let data_type = with_types_of(load.data_type(), column.data_type());
        Arc::new(load.as_ref().clone().with_data_type(data_type))
    };
    match (load, column) {
        (T::Null, column) => column.clone(),
        (T::List(load), T::List(column)) => T::List(inner(load, column)),
        (T::LargeList(load), T::List(column)) => T::LargeList(inner(load, column)),
        (T::ListView(load), T::List(column)) => T::ListView(inner(load, column)),
        (T::LargeListView(load), T::List(column)) => T::LargeListView(inner(load, column)),
        (T::FixedSizeList(load, size), T::List(column)) => {
            T::FixedSizeList(inner(load, column), *size)
        }
        (T::Map(load, sorted), T::Map(column, _)) => T::Map(inner(load, column), *sorted),
        (T::Struct(load), T::Struct(column)) => {
            let field = |load: &FieldRef| match column.find(load.name()) {
                Some((_, column)) => inner(load, column),
                None => Arc::clone(load),
            };
            T::Struct(load.iter().map(field).collect())
        }
        (T::Dictionary(_, values), column) if **values == T::Null => column.clone(),
        (T::RunEndEncoded(_, values), column) if *values.data_type() == T::Null => column.clone(),
        (load, _) => load.clone(),
    }
}

/// Converts a column to the type that the table holds; a value that would change is an error. `first_row` is the number of
/// the first row in the load.
pub(crate) fn convert(
    array: &ArrayRef,
    to: &DataType,
    column: &str,
    nanoseconds: Nanoseconds,
    first_row: u64,
) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    let failed = |error: ArrowError| {
        let message = format!(
            "column `{column}` holds a value that {} cannot hold: {error}",
            name(to)
        );
        Error::new(ErrorKind::InvalidData, message)
            .with("column", column)
            .with_source(error)
    };
    // Casts of dictionaries and runs take the way through their values.
    let plain = cast(array, decoded(array.data_type())).map_err(failed)?;
    let converted = match (plain.data_type(), to) {
        // The instants are the same; the zone is a label.
        (DataType::Timestamp(unit, Some(_)), DataType::Timestamp(same, Some(_)))
            if unit == same =>
        {
            Arc::clone(&plain)
        }
        _ => cast(&plain, to).map_err(failed)?,
    };
    // Casts also keep what fixed-size lists call their items.
    let converted = relabel(&converted, to)?;
    if may_lose(plain.data_type(), nanoseconds) {
        let back = cast(&converted, plain.data_type()).map_err(failed)?;
        if back.to_data() != plain.to_data() {
            let row = (0..plain.len())
                .find(|row| back.slice(*row, 1).to_data() != plain.slice(*row, 1).to_data());
            let message = format!(
                "column `{column}` holds a date with a time of day, or a time finer than a microsecond; cast it in the query"
            );
            let error = Error::new(ErrorKind::InvalidData, message).with("column", column);
            return Err(match row {
                Some(row) => error.at_row(first_row + row as u64),
                None => error,
            });
        }
    }
    Ok(converted)
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(
        array,
        to,
        &CastOptions {
            safe: false,
            ..CastOptions::default()
        },
    )
}

/// Whether a cast of this type to its stored form may cut something off.
fn may_lose(data_type: &DataType, nanoseconds: Nanoseconds) -> bool {
    holds(data_type, &|inner| match inner {
        DataType::Date64 => true,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => nanoseconds != Nanoseconds::Truncate,
        _ => false,
    })
}

/// Whether the values of a column are cut to microseconds, as was asked for.
pub(crate) fn is_cut(data_type: &DataType, nanoseconds: Nanoseconds) -> bool {
    nanoseconds == Nanoseconds::Truncate
        && holds(data_type, &|inner| {
            matches!(inner, DataType::Timestamp(TimeUnit::Nanosecond, _))
        })
}
