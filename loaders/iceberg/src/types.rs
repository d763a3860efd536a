//! How each Arrow type arrives in an Iceberg table, and the conversion of columns.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, FieldRef, TimeUnit};
use arrowload_core::arrow_types::{decoded, holds};
use arrowload_core::{Error, ErrorKind, Result, TypeSupport, relabel};

use crate::options::Nanoseconds;

/// The most digits of a decimal.
const DIGITS: u8 = 38;
/// The zone of instants.
const UTC: &str = "+00:00";

/// What decides how a type is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// Whether the table has nanoseconds: those of format version 3 do.
    pub(crate) has_nanoseconds: bool,
    pub(crate) nanoseconds: Nanoseconds,
}

impl Form {
    /// Of a table that is created with default options.
    pub(crate) const DEFAULT: Self = Self {
        has_nanoseconds: false,
        nanoseconds: Nanoseconds::Refuse,
    };
}

/// How a column of this type arrives in a table that is created for it.
pub(crate) fn support(data_type: &DataType, form: Form) -> TypeSupport {
    match stored(data_type, form) {
        Ok(stored) if is_same(data_type, &stored) => TypeSupport::Exact,
        Ok(stored) => TypeSupport::Widened(name(&stored).into()),
        Err(reason) => TypeSupport::Unsupported(reason.into()),
    }
}

/// Whether a type is the stored one but for the way in which Arrow lays it out.
fn is_same(data_type: &DataType, stored: &DataType) -> bool {
    use DataType as T;
    match (data_type, stored) {
        (T::Binary, T::LargeBinary) => true,
        (T::Timestamp(unit, Some(zone)), T::Timestamp(to, Some(_))) => {
            unit == to && ["UTC", UTC].contains(&zone.as_ref())
        }
        (T::List(from), T::List(to)) | (T::Map(from, _), T::Map(to, _)) => {
            is_same(from.data_type(), to.data_type())
        }
        (T::Struct(from), T::Struct(to)) => {
            from.len() == to.len()
                && from
                    .iter()
                    .zip(to)
                    .all(|(from, to)| is_same(from.data_type(), to.data_type()))
        }
        (from, to) => from.equals_datatype(to),
    }
}

/// The Arrow type of the Iceberg type that holds every value of this one, or why there is none.
pub(crate) fn stored(data_type: &DataType, form: Form) -> Result<DataType, String> {
    use DataType as T;
    let item = |field: &FieldRef| -> Result<FieldRef, String> {
        let data_type = stored(field.data_type(), form)?;
        Ok(Arc::new(field.as_ref().clone().with_data_type(data_type)))
    };
    Ok(match data_type {
        T::Int8 | T::Int16 | T::UInt8 | T::UInt16 => T::Int32,
        T::UInt32 => T::Int64,
        T::UInt64 => T::Decimal128(20, 0),
        T::Float16 => T::Float32,
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) | T::Decimal256(p, s) => {
            decimal(*p, *s)?
        }
        T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::Binary | T::BinaryView => T::LargeBinary,
        T::FixedSizeBinary(0) => {
            return Err("a fixed-size binary of no bytes has no place in Parquet".into());
        }
        T::Date64 => T::Date32,
        T::Time64(TimeUnit::Nanosecond) if form.nanoseconds == Nanoseconds::Refuse => {
            return Err("Iceberg keeps the time of day in microseconds; set nanoseconds = exact or truncate, or cast it in the query".into());
        }
        T::Time32(_) | T::Time64(_) => T::Time64(TimeUnit::Microsecond),
        T::Timestamp(TimeUnit::Nanosecond, zone) if form.has_nanoseconds => {
            T::Timestamp(TimeUnit::Nanosecond, zone.as_ref().map(|_| UTC.into()))
        }
        T::Timestamp(TimeUnit::Nanosecond, _) if form.nanoseconds == Nanoseconds::Refuse => {
            return Err("Iceberg keeps microseconds before format version 3; set format_version = 3 for a new table, set nanoseconds = exact or truncate, or cast it in the query".into());
        }
        T::Timestamp(_, zone) => {
            T::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| UTC.into()))
        }
        T::Duration(_) => return Err("Iceberg has no duration; cast it to an integer".into()),
        T::Interval(_) => return Err("Iceberg has no interval; cast it to text".into()),
        T::Null => {
            return Err("a column of nulls alone has no type; cast it to one".into());
        }
        T::Union(..) => return Err("Iceberg has no unions".into()),
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
        T::Dictionary(_, values) => stored(values, form)?,
        T::RunEndEncoded(_, values) => stored(values.data_type(), form)?,
        same => same.clone(),
    })
}

/// Iceberg's decimals have no negative scale.
fn decimal(precision: u8, scale: i8) -> Result<DataType, String> {
    let (digits, scale) = match scale < 0 {
        true => (precision.saturating_add(scale.unsigned_abs()), 0),
        false => (precision.max(scale.unsigned_abs()), scale),
    };
    if digits > DIGITS {
        return Err(format!(
            "it needs {digits} digits, and Iceberg's decimals have {DIGITS} at most"
        ));
    }
    Ok(DataType::Decimal128(digits, scale))
}

/// Iceberg's name of a type.
pub(crate) fn name(data_type: &DataType) -> String {
    use DataType as T;
    match data_type {
        T::Boolean => "boolean".into(),
        T::Int32 => "int".into(),
        T::Int64 => "long".into(),
        T::Float32 => "float".into(),
        T::Float64 => "double".into(),
        T::Decimal128(p, s) => format!("decimal({p},{s})"),
        T::Utf8 => "string".into(),
        T::LargeBinary => "binary".into(),
        T::FixedSizeBinary(size) => format!("fixed[{size}]"),
        T::Date32 => "date".into(),
        T::Time64(_) => "time".into(),
        T::Timestamp(TimeUnit::Nanosecond, None) => "timestamp_ns".into(),
        T::Timestamp(TimeUnit::Nanosecond, Some(_)) => "timestamptz_ns".into(),
        T::Timestamp(_, None) => "timestamp".into(),
        T::Timestamp(_, Some(_)) => "timestamptz".into(),
        T::List(item) => format!("list<{}>", name(item.data_type())),
        T::Struct(fields) => {
            let field = |field: &FieldRef| format!("{}: {}", field.name(), name(field.data_type()));
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("struct<{}>", fields.join(", "))
        }
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(fields) if fields.len() == 2 => {
                let (key, value) = (name(fields[0].data_type()), name(fields[1].data_type()));
                format!("map<{key}, {value}>")
            }
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
        (T::Int32, T::Int64 | T::Float64) | (T::Float32, T::Float64) => true,
        (T::Int32, T::Decimal128(p, s)) => whole_digits(*p, *s) >= 10,
        (T::Int64, T::Decimal128(p, s)) => whole_digits(*p, *s) >= 19,
        (T::Decimal128(p, s), T::Decimal128(p2, s2)) => {
            s2 >= s && whole_digits(*p2, *s2) >= whole_digits(*p, *s)
        }
        // A value that is finer, or out of range, is refused when it comes.
        (T::Timestamp(_, from), T::Timestamp(_, to)) => from.is_some() == to.is_some(),
        (T::FixedSizeBinary(_), T::LargeBinary) => true,
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
    if may_lose(plain.data_type(), to, nanoseconds) {
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
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, to, &options)
}

/// Whether a cast of this type to its stored form may cut something off.
fn may_lose(from: &DataType, to: &DataType, nanoseconds: Nanoseconds) -> bool {
    let keeps_nanoseconds = holds(to, &|inner| {
        matches!(inner, DataType::Timestamp(TimeUnit::Nanosecond, _))
    });
    holds(from, &|inner| match inner {
        DataType::Date64 => true,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            !keeps_nanoseconds && nanoseconds != Nanoseconds::Truncate
        }
        DataType::Time64(TimeUnit::Nanosecond) => nanoseconds != Nanoseconds::Truncate,
        _ => false,
    })
}

/// Whether the values of a column are cut to microseconds, as was asked for.
pub(crate) fn is_cut(data_type: &DataType, form: Form) -> bool {
    form.nanoseconds == Nanoseconds::Truncate
        && holds(data_type, &|inner| match inner {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => !form.has_nanoseconds,
            DataType::Time64(TimeUnit::Nanosecond) => true,
            _ => false,
        })
}
