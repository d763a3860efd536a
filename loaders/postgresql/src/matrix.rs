//! Which Arrow types may be written to which column types, and how: each pair is converted without a loss, or refused
//! with an error that names the column. Limits that depend on the value (range, precision, length) are checked as it is
//! encoded; values are rounded or truncated only if an option asks for it.

use arrow_schema::{DataType, Field};
use arrowload_core::TypeSupport;
use arrowload_core::arrow_types::{is_binary, is_text, list_item};

use crate::PostgresqlOptions;
use crate::declared::{declared, is_read_as};
use crate::encode::{
    ArrayTarget, Conversion, LONGEST_VECTOR, NumericTarget, Precision, TextTarget,
};
use crate::types::{Kind, NewType, PgType, new_type, type_of};

/// A column that is to be created.
pub(crate) struct NewColumn {
    pub(crate) pg: PgType,
    pub(crate) support: TypeSupport,
    pub(crate) conversion: Conversion,
}

/// The type of a new column, and how it is written.
///
/// # Errors
/// A sentence.
pub(crate) fn for_new_column(
    field: &Field,
    options: &PostgresqlOptions,
) -> Result<NewColumn, String> {
    if let Some(pg) = declared(field)
        && let Ok(conversion) = convert_field(field, &pg, options)
    {
        let support = match is_read_as(&pg.kind, field.data_type()) {
            true => TypeSupport::Exact,
            false => TypeSupport::Widened(pg.name.clone().into()),
        };
        return Ok(NewColumn {
            pg,
            support,
            conversion,
        });
    }
    let new = new_vector(field, options).map_or_else(|| new_type(field), Ok)?;
    let conversion = convert(field.data_type(), &new.pg, options)?;
    Ok(NewColumn {
        pg: new.pg,
        support: new.support,
        conversion,
    })
}

/// How a column is written to one that is there.
///
/// # Errors
/// A sentence, if that type cannot take it.
pub(crate) fn for_existing_column(
    field: &Field,
    pg: &PgType,
    options: &PostgresqlOptions,
) -> Result<(Conversion, TypeSupport), String> {
    let conversion = convert_field(field, pg, options)?;
    let as_created = for_new_column(field, options)
        .ok()
        .filter(|new| new.pg.name == pg.name || new.pg.oid == pg.oid && new.pg.kind == pg.kind);
    let support = as_created.map_or_else(
        || TypeSupport::Widened(pg.name.clone().into()),
        |new| new.support,
    );
    Ok((conversion, support))
}

/// As [`convert`]; text that says that it is of a `numeric` column goes into one.
fn convert_field(
    field: &Field,
    to: &PgType,
    options: &PostgresqlOptions,
) -> Result<Conversion, String> {
    let is_digits = || {
        *field.data_type() == DataType::Utf8
            && declared(field).is_some_and(|from| matches!(from.kind, Kind::Numeric(_)))
    };
    match &to.kind {
        Kind::Numeric(limit) if is_digits() => Ok(Conversion::NumericText(*limit)),
        _ => convert(field.data_type(), to, options),
    }
}

/// Decimal digits before and after the point that a number of this type can have; `None` for floats.
fn number_digits(data_type: &DataType) -> Option<(i32, i32)> {
    Some(match data_type {
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => (i32::from(*p) - i32::from(*s), i32::from(*s)),
        _ => return None,
    })
}

fn convert(
    data_type: &DataType,
    to: &PgType,
    options: &PostgresqlOptions,
) -> Result<Conversion, String> {
    use DataType as T;
    let nested = matches!(data_type, T::Struct(_) | T::Map(..) | T::Union(..))
        || list_item(data_type).is_some();
    Ok(match (data_type, &to.kind) {
        (_, Kind::Other) => return Err(format!("loads cannot write the type {}", to.name)),
        (T::Dictionary(_, values), _) => convert(values, to, options)?,
        (T::RunEndEncoded(_, values), _) => convert(values.data_type(), to, options)?,
        (T::Null, _) => Conversion::Null,
        (T::Boolean, Kind::Bool) => Conversion::Bool,
        (number, Kind::Int2) if number.is_integer() => Conversion::Int2,
        (number, Kind::Int4) if number.is_integer() => Conversion::Int4,
        (number, Kind::Int8) if number.is_integer() => Conversion::Int8,
        (number, Kind::Float4) if number.is_integer() || number.is_floating() => Conversion::Float4,
        (number, Kind::Float8) if number.is_integer() || number.is_floating() => Conversion::Float8,
        (number, Kind::Numeric(limit)) if number.is_numeric() => {
            Conversion::Numeric(numeric(number, *limit, options))
        }
        (text, kind) if is_text(text) => {
            convert_text(kind, options).ok_or_else(|| refusal(data_type, to))?
        }
        (binary, Kind::Bytea) if is_binary(binary) => Conversion::Bytea,
        (T::FixedSizeBinary(16), Kind::Uuid) => Conversion::Uuid,
        (list, Kind::Array(item)) if list_item(list).is_some() => array(list, item, options)?,
        (list, Kind::Vector(length)) if is_floats(list) => vector(list, *length)?,
        (value, Kind::Json | Kind::Jsonb) if nested => {
            arrowload_common_text::Format::POSTGRES_JSON.check(value)?;
            Conversion::JsonValue(text(None, false, options), to.kind == Kind::Jsonb)
        }
        (temporal, kind) => {
            convert_temporal(temporal, kind, options).ok_or_else(|| refusal(data_type, to))?
        }
    })
}

fn refusal(data_type: &DataType, to: &PgType) -> String {
    let wanted = type_of(data_type)
        .map(|new| format!(", which would be {}", new.pg.name))
        .unwrap_or_default();
    format!(
        "a column of type {} cannot take {data_type}{wanted}",
        to.name
    )
}

fn text(max_chars: Option<u32>, padded: bool, options: &PostgresqlOptions) -> TextTarget {
    TextTarget {
        max_chars,
        padded,
        replace_nul: options.replace_nul.as_deref().map(Into::into),
    }
}

fn convert_text(kind: &Kind, options: &PostgresqlOptions) -> Option<Conversion> {
    Some(match kind {
        Kind::Text | Kind::Enum => Conversion::Text(text(None, false, options)),
        Kind::Varchar(most) => Conversion::Text(text(*most, false, options)),
        Kind::Bpchar(length) => Conversion::Text(text(Some(*length), true, options)),
        Kind::Json => Conversion::JsonText(false),
        Kind::Jsonb => Conversion::JsonText(true),
        Kind::Uuid => Conversion::Uuid,
        Kind::Inet => Conversion::Inet(false),
        Kind::Cidr => Conversion::Inet(true),
        _ => return None,
    })
}

fn convert_temporal(
    data_type: &DataType,
    kind: &Kind,
    options: &PostgresqlOptions,
) -> Option<Conversion> {
    use DataType as T;
    let precision = |digits: u8| Precision {
        step: 10_i64.pow(6 - u32::from(digits)),
        truncate: options.truncate_times,
    };
    Some(match (data_type, kind) {
        (T::Date32 | T::Date64 | T::Timestamp(_, None), Kind::Date) => Conversion::Date,
        (T::Date32 | T::Date64 | T::Timestamp(_, None), Kind::Timestamp(digits)) => {
            Conversion::Timestamp(precision(*digits))
        }
        (T::Timestamp(_, Some(_)), Kind::Timestamptz(digits)) => {
            Conversion::Timestamp(precision(*digits))
        }
        (T::Time32(_) | T::Time64(_), Kind::Time(digits)) => Conversion::Time(precision(*digits)),
        (T::Duration(_) | T::Interval(_), Kind::Interval) => Conversion::Interval(precision(6)),
        _ => return None,
    })
}

/// No limit is checked where the Arrow type promises to keep it; the server refuses arrays that break the promise.
fn numeric(
    data_type: &DataType,
    limit: Option<(i32, i32)>,
    options: &PostgresqlOptions,
) -> NumericTarget {
    let fits = |(precision, scale): (i32, i32)| {
        number_digits(data_type).is_some_and(|(before, behind)| {
            before <= precision - scale && behind <= scale && scale >= 0
        })
    };
    NumericTarget {
        limit: limit.filter(|limit| !fits(*limit)),
        round: options.round_decimals,
    }
}

fn array(
    list: &DataType,
    element: &PgType,
    options: &PostgresqlOptions,
) -> Result<Conversion, String> {
    let Some(item) = list_item(list) else {
        return Err(format!("{list} is no list"));
    };
    if list_item(item.data_type()).is_some() {
        return Err(format!(
            "an array cannot take {list}, whose lists may differ in length; use a column of type jsonb"
        ));
    }
    let conversion = convert(item.data_type(), element, options)
        .map_err(|why| format!("items of {list}: {why}"))?;
    Ok(Conversion::Array(Box::new(ArrayTarget {
        element_oid: element.oid,
        element: conversion,
    })))
}

fn is_floats(data_type: &DataType) -> bool {
    list_item(data_type).is_some_and(|item| item.data_type().is_floating())
}

/// Where the list has a length of its own, it is that of the vector; else each value's is looked at.
fn vector(list: &DataType, length: Option<usize>) -> Result<Conversion, String> {
    match (list, length) {
        (DataType::FixedSizeList(_, items), Some(length))
            if usize::try_from(*items) != Ok(length) =>
        {
            Err(format!(
                "a vector({length}) cannot take lists of {items} items"
            ))
        }
        _ => Ok(Conversion::Vector(length)),
    }
}

/// pgvector's type for lists of a fixed length, where the option asks for it.
fn new_vector(field: &Field, options: &PostgresqlOptions) -> Option<NewType> {
    let DataType::FixedSizeList(item, items) = field.data_type() else {
        return None;
    };
    let length = usize::try_from(*items)
        .ok()
        .filter(|length| (1..=LONGEST_VECTOR).contains(length))?;
    let wanted = options.vectors && item.data_type().is_floating();
    let name = format!("vector({length})");
    wanted.then(|| NewType {
        support: TypeSupport::Widened(name.clone().into()),
        pg: PgType {
            oid: 0,
            name,
            kind: Kind::Vector(Some(length)),
        },
    })
}
