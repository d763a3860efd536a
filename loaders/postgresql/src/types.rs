//! The types of PostgreSQL that a load knows, by object id, and the type that a new column gets for an Arrow type.

use std::borrow::Cow;

use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};
use arrowload_core::TypeSupport;
use tokio_postgres::types::{Kind as WireKind, Type};

/// What a column can hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// Precision and scale, if declared.
    Numeric(Option<(i32, i32)>),
    Text,
    /// The longest text in characters, if declared.
    Varchar(Option<u32>),
    /// The length in characters, which shorter text is padded to.
    Bpchar(u32),
    Enum,
    Bytea,
    Date,
    /// Digits after the second's point, 0 to 6; so for the next two.
    Time(u8),
    Timestamp(u8),
    Timestamptz(u8),
    Interval,
    Uuid,
    Json,
    Jsonb,
    Inet,
    Cidr,
    Array(Box<PgType>),
    /// pgvector's, of this length, if it is declared.
    Vector(Option<usize>),
    /// One that a load cannot write.
    Other,
}

/// A type of PostgreSQL; a domain stands as the type beneath it, under its own name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PgType {
    pub(crate) oid: u32,
    /// As it is written in SQL.
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// The kind of a built-in type, with the modifier that a column declares.
pub(crate) fn built_in(oid: u32, modifier: i32) -> Option<Kind> {
    let known = Type::from_oid(oid)?;
    let declared = u32::try_from(modifier - 4).ok().filter(|_| modifier >= 4);
    let digits = if (0..=6).contains(&modifier) {
        modifier as u8
    } else {
        6
    };
    Some(match known {
        Type::BOOL => Kind::Bool,
        Type::INT2 => Kind::Int2,
        Type::INT4 => Kind::Int4,
        Type::INT8 => Kind::Int8,
        Type::FLOAT4 => Kind::Float4,
        Type::FLOAT8 => Kind::Float8,
        Type::NUMERIC => Kind::Numeric(declared.map(numeric_modifier)),
        Type::TEXT => Kind::Text,
        Type::VARCHAR => Kind::Varchar(declared),
        Type::BPCHAR => declared.map_or(Kind::Other, Kind::Bpchar),
        Type::BYTEA => Kind::Bytea,
        Type::DATE => Kind::Date,
        Type::TIME => Kind::Time(digits),
        Type::TIMESTAMP => Kind::Timestamp(digits),
        Type::TIMESTAMPTZ => Kind::Timestamptz(digits),
        Type::INTERVAL if modifier == -1 => Kind::Interval,
        Type::UUID => Kind::Uuid,
        Type::JSON => Kind::Json,
        Type::JSONB => Kind::Jsonb,
        Type::INET => Kind::Inet,
        Type::CIDR => Kind::Cidr,
        _ => match known.kind() {
            WireKind::Array(item) => {
                let kind = built_in(item.oid(), modifier)?;
                Kind::Array(Box::new(PgType {
                    oid: item.oid(),
                    name: item.name().to_owned(),
                    kind,
                }))
            }
            _ => Kind::Other,
        },
    })
}

/// Precision in the upper half; scale in the lower eleven bits, with a sign since version 15.
pub(crate) fn numeric_modifier(declared: u32) -> (i32, i32) {
    let scale = (declared & 0x7FF) as i32;
    ((declared >> 16) as i32, (scale ^ 1_024) - 1_024)
}

/// The Arrow type that a column is read as, and that a load of it fits without a change; `None` where a load has several to
/// choose from.
pub(crate) fn arrow_type(kind: &Kind) -> Option<DataType> {
    Some(match kind {
        Kind::Bool => DataType::Boolean,
        Kind::Int2 => DataType::Int16,
        Kind::Int4 => DataType::Int32,
        Kind::Int8 => DataType::Int64,
        Kind::Float4 => DataType::Float32,
        Kind::Float8 => DataType::Float64,
        Kind::Numeric(Some((precision, scale))) if (0..=*precision).contains(scale) => {
            match (u8::try_from(*precision).ok()?, i8::try_from(*scale).ok()?) {
                (digits @ 1..=38, scale) => DataType::Decimal128(digits, scale),
                (digits @ 39..=76, scale) => DataType::Decimal256(digits, scale),
                _ => return None,
            }
        }
        Kind::Text | Kind::Varchar(_) | Kind::Bpchar(_) | Kind::Enum => DataType::Utf8,
        Kind::Bytea => DataType::Binary,
        Kind::Date => DataType::Date32,
        Kind::Time(6) => DataType::Time64(TimeUnit::Microsecond),
        Kind::Timestamp(6) => DataType::Timestamp(TimeUnit::Microsecond, None),
        Kind::Timestamptz(6) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        _ => return None,
    })
}

/// The type of a new column.
pub(crate) struct NewType {
    pub(crate) pg: PgType,
    pub(crate) support: TypeSupport,
}

fn simple(known: Type, kind: Kind, sql: impl Into<String>, support: TypeSupport) -> NewType {
    NewType {
        pg: PgType {
            oid: known.oid(),
            name: sql.into(),
            kind,
        },
        support,
    }
}

fn widened(text: impl Into<Cow<'static, str>>) -> TypeSupport {
    TypeSupport::Widened(text.into())
}

/// The type that a column is created with.
///
/// # Errors
/// A sentence, if there is none.
pub(crate) fn new_type(field: &Field) -> Result<NewType, String> {
    match (field.extension_type_name(), field.data_type()) {
        (Some("arrow.uuid"), DataType::FixedSizeBinary(16)) => {
            Ok(simple(Type::UUID, Kind::Uuid, "uuid", TypeSupport::Exact))
        }
        (Some("arrow.json"), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => {
            Ok(simple(Type::JSON, Kind::Json, "json", TypeSupport::Exact))
        }
        (_, data_type) => type_of(data_type),
    }
}

/// The type for an Arrow type without regard to extensions.
pub(crate) fn type_of(data_type: &DataType) -> Result<NewType, String> {
    use DataType as T;
    use TypeSupport::Exact;
    Ok(match data_type {
        T::Null => simple(Type::TEXT, Kind::Text, "text", widened("text")),
        T::Boolean => simple(Type::BOOL, Kind::Bool, "boolean", Exact),
        T::Int8 | T::UInt8 => simple(Type::INT2, Kind::Int2, "smallint", widened("smallint")),
        T::Int16 => simple(Type::INT2, Kind::Int2, "smallint", Exact),
        T::UInt16 => simple(Type::INT4, Kind::Int4, "integer", widened("integer")),
        T::Int32 => simple(Type::INT4, Kind::Int4, "integer", Exact),
        T::UInt32 => simple(Type::INT8, Kind::Int8, "bigint", widened("bigint")),
        T::Int64 => simple(Type::INT8, Kind::Int8, "bigint", Exact),
        T::UInt64 => simple(
            Type::NUMERIC,
            Kind::Numeric(Some((20, 0))),
            "numeric(20)",
            widened("numeric(20)"),
        ),
        T::Float16 => simple(Type::FLOAT4, Kind::Float4, "real", widened("real")),
        T::Float32 => simple(Type::FLOAT4, Kind::Float4, "real", Exact),
        T::Float64 => simple(Type::FLOAT8, Kind::Float8, "double precision", Exact),
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) | T::Decimal256(p, s) => {
            decimal(
                (*p).into(),
                (*s).into(),
                matches!(data_type, T::Decimal128(..)),
            )
        }
        T::Utf8 => simple(Type::TEXT, Kind::Text, "text", Exact),
        T::LargeUtf8 | T::Utf8View => simple(Type::TEXT, Kind::Text, "text", widened("text")),
        T::Binary => simple(Type::BYTEA, Kind::Bytea, "bytea", Exact),
        T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => {
            simple(Type::BYTEA, Kind::Bytea, "bytea", widened("bytea"))
        }
        T::Dictionary(_, values) => not_exact(type_of(values)?),
        T::RunEndEncoded(_, values) => not_exact(type_of(values.data_type())?),
        T::List(item)
        | T::LargeList(item)
        | T::ListView(item)
        | T::LargeListView(item)
        | T::FixedSizeList(item, _) => list(item)?,
        T::Struct(_) | T::Map(..) | T::Union(..) => {
            simple(Type::JSONB, Kind::Jsonb, "jsonb", widened("jsonb"))
        }
        temporal => {
            return temporal_type(temporal)
                .ok_or_else(|| format!("PostgreSQL has no type for {temporal}"));
        }
    })
}

fn temporal_type(data_type: &DataType) -> Option<NewType> {
    use DataType as T;
    use TypeSupport::Exact;
    let micros = |unit: &TimeUnit| *unit == TimeUnit::Microsecond;
    Some(match data_type {
        T::Date32 => simple(Type::DATE, Kind::Date, "date", Exact),
        T::Date64 => simple(
            Type::DATE,
            Kind::Date,
            "date",
            widened("date; whole days only"),
        ),
        T::Time32(unit) | T::Time64(unit) => simple(
            Type::TIME,
            Kind::Time(6),
            "time",
            exact_if(micros(unit), unit, "time"),
        ),
        T::Timestamp(unit, None) => simple(
            Type::TIMESTAMP,
            Kind::Timestamp(6),
            "timestamp",
            exact_if(micros(unit), unit, "timestamp"),
        ),
        T::Timestamp(unit, Some(zone)) => {
            let exact = micros(unit) && zone.as_ref() == "UTC";
            simple(
                Type::TIMESTAMPTZ,
                Kind::Timestamptz(6),
                "timestamptz",
                exact_if(exact, unit, "timestamptz"),
            )
        }
        T::Duration(unit) => simple(
            Type::INTERVAL,
            Kind::Interval,
            "interval",
            exact_if(false, unit, "interval"),
        ),
        T::Interval(IntervalUnit::MonthDayNano) => simple(
            Type::INTERVAL,
            Kind::Interval,
            "interval",
            exact_if(false, &TimeUnit::Nanosecond, "interval"),
        ),
        T::Interval(_) => simple(
            Type::INTERVAL,
            Kind::Interval,
            "interval",
            widened("interval"),
        ),
        _ => return None,
    })
}

/// Nanoseconds are held as far as they are whole microseconds.
fn exact_if(exact: bool, unit: &TimeUnit, name: &'static str) -> TypeSupport {
    match unit {
        _ if exact => TypeSupport::Exact,
        TimeUnit::Nanosecond => widened(format!("{name}; whole microseconds only")),
        _ => widened(name),
    }
}

/// Digits before the point as the Arrow type has them, whatever its scale.
fn decimal(precision: i32, scale: i32, exact: bool) -> NewType {
    let (precision, held) = if scale < 0 {
        (precision - scale, 0)
    } else {
        (precision.max(scale), scale)
    };
    let sql = format!("numeric({precision},{held})");
    let support = if exact && scale == held && precision >= scale {
        TypeSupport::Exact
    } else {
        widened(sql.clone())
    };
    simple(
        Type::NUMERIC,
        Kind::Numeric(Some((precision, held))),
        sql,
        support,
    )
}

fn not_exact(mut inner: NewType) -> NewType {
    if inner.support == TypeSupport::Exact {
        inner.support = widened(inner.pg.name.clone());
    }
    inner
}

/// An array of scalars; lists of anything nested may be ragged, and become documents.
fn list(item: &Field) -> Result<NewType, String> {
    let inner = new_type(item)?;
    if matches!(inner.pg.kind, Kind::Jsonb | Kind::Array(_)) {
        return Ok(simple(Type::JSONB, Kind::Jsonb, "jsonb", widened("jsonb")));
    }
    let name = format!("{}[]", inner.pg.name);
    let support = match inner.support {
        TypeSupport::Widened(detail) if detail.contains(';') => widened(format!(
            "{name}; {}",
            detail.rsplit("; ").next().unwrap_or_default()
        )),
        _ => widened(name.clone()),
    };
    Ok(NewType {
        pg: PgType {
            oid: 0,
            name,
            kind: Kind::Array(Box::new(inner.pg)),
        },
        support,
    })
}
