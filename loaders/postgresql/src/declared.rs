//! The PostgreSQL type that a column had at its source. It is in the metadata of the Arrow field, so that a load can create a
//! table with exactly the same type.

use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};
use arrowload_core::arrow_types::list_item;
use tokio_postgres::types::Type;

use crate::types::{Kind, PgType, arrow_type};

/// The key in a field's metadata: the type as `format_type` writes it.
const TYPE_KEY: &str = "postgresql.type";

/// The type that a field declares, if it is one of those that a load writes. Whatever else the text holds is never SQL.
pub(crate) fn declared(field: &Field) -> Option<PgType> {
    field.metadata().get(TYPE_KEY).and_then(|name| parse(name))
}

fn parse(name: &str) -> Option<PgType> {
    if let Some(item) = name.strip_suffix("[]") {
        let item = parse(item).filter(|item| !matches!(item.kind, Kind::Array(_)))?;
        return Some(PgType {
            oid: 0,
            name: name.to_owned(),
            kind: Kind::Array(Box::new(item)),
        });
    }
    let (base, numbers) = modifiers(name)?;
    let digits = |numbers: &[i32]| match numbers {
        [] => Some(6),
        [digits] => u8::try_from(*digits).ok().filter(|digits| *digits <= 6),
        _ => None,
    };
    let length = |numbers: &[i32]| match numbers {
        [length] => u32::try_from(*length).ok().filter(|length| *length > 0),
        _ => None,
    };
    let numbers = numbers.as_slice();
    let (known, kind) = match (base.as_str(), numbers) {
        ("boolean", []) => (Type::BOOL, Kind::Bool),
        ("smallint", []) => (Type::INT2, Kind::Int2),
        ("integer", []) => (Type::INT4, Kind::Int4),
        ("bigint", []) => (Type::INT8, Kind::Int8),
        ("real", []) => (Type::FLOAT4, Kind::Float4),
        ("double precision", []) => (Type::FLOAT8, Kind::Float8),
        ("numeric", []) => (Type::NUMERIC, Kind::Numeric(None)),
        ("numeric", [precision @ 1..=1_000, scale @ -1_000..=1_000]) => {
            (Type::NUMERIC, Kind::Numeric(Some((*precision, *scale))))
        }
        ("text", []) => (Type::TEXT, Kind::Text),
        ("character varying", []) => (Type::VARCHAR, Kind::Varchar(None)),
        ("character varying", numbers) => (Type::VARCHAR, Kind::Varchar(Some(length(numbers)?))),
        ("character", numbers) => (Type::BPCHAR, Kind::Bpchar(length(numbers)?)),
        ("bytea", []) => (Type::BYTEA, Kind::Bytea),
        ("date", []) => (Type::DATE, Kind::Date),
        ("time without time zone", numbers) => (Type::TIME, Kind::Time(digits(numbers)?)),
        ("timestamp without time zone", numbers) => {
            (Type::TIMESTAMP, Kind::Timestamp(digits(numbers)?))
        }
        ("timestamp with time zone", numbers) => {
            (Type::TIMESTAMPTZ, Kind::Timestamptz(digits(numbers)?))
        }
        ("interval", []) => (Type::INTERVAL, Kind::Interval),
        ("uuid", []) => (Type::UUID, Kind::Uuid),
        ("json", []) => (Type::JSON, Kind::Json),
        ("jsonb", []) => (Type::JSONB, Kind::Jsonb),
        ("inet", []) => (Type::INET, Kind::Inet),
        ("cidr", []) => (Type::CIDR, Kind::Cidr),
        _ => return None,
    };
    Some(PgType {
        oid: known.oid(),
        name: name.to_owned(),
        kind,
    })
}

/// The name without what is in parentheses, and the numbers there.
fn modifiers(name: &str) -> Option<(String, Vec<i32>)> {
    let Some((before, rest)) = name.split_once('(') else {
        return Some((name.to_owned(), Vec::new()));
    };
    let (inner, behind) = rest.split_once(')')?;
    let is_number = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let number = |text: &str| text.parse().ok().filter(|_| is_number(text));
    let numbers: Option<Vec<i32>> = inner.split(',').map(number).collect();
    Some((format!("{before}{behind}"), numbers?))
}

/// Whether a column of this type is read as this Arrow type, so that every value of it comes back as it was.
pub(crate) fn is_read_as(kind: &Kind, data_type: &DataType) -> bool {
    use DataType as T;
    match (kind, data_type) {
        (Kind::Array(item), list) => {
            list_item(list).is_some_and(|found| is_read_as(&item.kind, found.data_type()))
        }
        (Kind::Numeric(None), T::Utf8) | (Kind::Uuid, T::FixedSizeBinary(16)) => true,
        (Kind::Json, T::Utf8) => true,
        (Kind::Interval, T::Interval(IntervalUnit::MonthDayNano)) => true,
        (Kind::Time(_), T::Time64(TimeUnit::Microsecond)) => true,
        (Kind::Timestamp(_), T::Timestamp(TimeUnit::Microsecond, None)) => true,
        (Kind::Timestamptz(_), T::Timestamp(TimeUnit::Microsecond, Some(zone))) => {
            zone.as_ref() == "UTC"
        }
        (kind, data_type) => arrow_type(kind).as_ref() == Some(data_type),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_known_as_the_server_writes_them_and_nothing_else_is() {
        for (name, kind) in [
            ("integer", Kind::Int4),
            ("numeric", Kind::Numeric(None)),
            ("numeric(10,2)", Kind::Numeric(Some((10, 2)))),
            ("numeric(5,-2)", Kind::Numeric(Some((5, -2)))),
            ("character varying(20)", Kind::Varchar(Some(20))),
            ("character(3)", Kind::Bpchar(3)),
            ("timestamp(3) with time zone", Kind::Timestamptz(3)),
            ("timestamp without time zone", Kind::Timestamp(6)),
        ] {
            let found = parse(name).expect(name);
            assert_eq!((found.kind, found.name.as_str()), (kind, name));
        }
        let array = parse("character varying(5)[]").expect("an array");
        assert!(matches!(&array.kind, Kind::Array(item) if item.kind == Kind::Varchar(Some(5))));
        for other in [
            "int); DROP TABLE x; --",
            "integer ",
            "numeric(10,2",
            "numeric(10,2) NOT NULL",
            "numeric(+1,0)",
            "numeric(0,0)",
            "character varying(0)",
            "timestamp(7) without time zone",
            "integer(3)",
            "integer[][]",
            "mood",
            "public.integer",
            "",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
