//! How Arrow types arrive in MongoDB.

use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};
use arrowload_core::TypeSupport;

use crate::options::{MongoOptions, Submilliseconds};

/// Digits of a Decimal128.
const DIGITS: u8 = 34;

fn widened(to: &'static str) -> TypeSupport {
    TypeSupport::Widened(to.into())
}

fn refused(why: &'static str) -> TypeSupport {
    TypeSupport::Unsupported(why.into())
}

fn digits(precision: u8) -> TypeSupport {
    if precision <= DIGITS {
        TypeSupport::Exact
    } else {
        refused("Decimal128 of MongoDB has 34 digits; cast it to fewer, or to text")
    }
}

/// The support of a type that holds others: the least of theirs.
fn of_all<'a>(parts: impl Iterator<Item = &'a DataType>, options: &MongoOptions) -> TypeSupport {
    let mut all = TypeSupport::Exact;
    for part in parts {
        match support(part, options) {
            TypeSupport::Exact => {}
            TypeSupport::Widened(to) if all == TypeSupport::Exact => {
                all = TypeSupport::Widened(to);
            }
            TypeSupport::Widened(_) => {}
            refused @ TypeSupport::Unsupported(_) => return refused,
        }
    }
    all
}

/// How a column of this type arrives.
pub(crate) fn support(data_type: &DataType, options: &MongoOptions) -> TypeSupport {
    use DataType as T;
    match data_type {
        T::Null | T::Boolean | T::Int32 | T::Int64 | T::Float64 => TypeSupport::Exact,
        T::Int8 | T::Int16 | T::UInt8 | T::UInt16 => widened("int32"),
        T::UInt32 => widened("int64"),
        T::UInt64 => widened("Decimal128"),
        T::Float16 | T::Float32 => widened("double"),
        T::Decimal32(precision, _)
        | T::Decimal64(precision, _)
        | T::Decimal128(precision, _)
        | T::Decimal256(precision, _) => digits(*precision),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => TypeSupport::Exact,
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => TypeSupport::Exact,
        T::Date32 | T::Date64 => widened("date, at midnight UTC"),
        T::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, None) => {
            widened("date, as if in UTC")
        }
        T::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, Some(_)) => widened("date, in UTC"),
        T::Timestamp(_, _) => match options.submilliseconds {
            Submilliseconds::Refuse => refused(
                "dates of MongoDB have milliseconds; cast it, or set submilliseconds = exact",
            ),
            Submilliseconds::Exact => widened("date, in UTC"),
        },
        T::Time32(_) | T::Time64(_) => widened("int64, in its unit since midnight"),
        T::Duration(_) => widened("int64, in its unit"),
        T::Interval(_) => refused("MongoDB has no intervals"),
        T::List(item)
        | T::LargeList(item)
        | T::ListView(item)
        | T::LargeListView(item)
        | T::FixedSizeList(item, _) => of_all([item.data_type()].into_iter(), options),
        T::Struct(fields) => of_all(fields.iter().map(|field| field.data_type()), options),
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(fields) if is_text(fields[0].data_type()) => {
                match of_all([fields[1].data_type()].into_iter(), options) {
                    refused @ TypeSupport::Unsupported(_) => refused,
                    _ => widened("document"),
                }
            }
            _ => refused("the names of a document are text; cast the keys of the map"),
        },
        T::Dictionary(_, values) => support(values, options),
        T::RunEndEncoded(_, values) => support(values.data_type(), options),
        T::Union(..) => refused("MongoDB has no unions; cast it to a struct"),
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// The type that a column is cast to before it is written: the few that the encoder knows.
pub(crate) fn plain(data_type: &DataType) -> DataType {
    use DataType as T;
    let field = |field: &Arc<Field>| {
        let plain = plain(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(plain))
    };
    match data_type {
        T::Int8 | T::Int16 | T::UInt8 | T::UInt16 => T::Int32,
        T::UInt32 => T::Int64,
        T::UInt64 => T::Decimal128(20, 0),
        T::Float16 | T::Float32 => T::Float64,
        T::Decimal32(precision, scale)
        | T::Decimal64(precision, scale)
        | T::Decimal256(precision, scale) => T::Decimal128(*precision, *scale),
        T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::LargeBinary | T::BinaryView => T::Binary,
        T::Time32(_) => T::Int32,
        T::Time64(_) | T::Duration(_) => T::Int64,
        T::List(item)
        | T::LargeList(item)
        | T::ListView(item)
        | T::LargeListView(item)
        | T::FixedSizeList(item, _) => T::List(field(item)),
        T::Struct(fields) => T::Struct(fields.iter().map(field).collect()),
        T::Map(entries, sorted) => T::Map(field(entries), *sorted),
        T::Dictionary(_, values) => plain(values),
        T::RunEndEncoded(_, values) => plain(values.data_type()),
        other => other.clone(),
    }
}
