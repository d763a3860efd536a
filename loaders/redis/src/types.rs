//! How Arrow's types arrive: Redis stores bytes, and their types are in the target's record.

use arrow_schema::DataType;
use arrowload_common_text::Format;
use arrowload_core::TypeSupport;

use crate::options::DataStructure;

pub(crate) fn support(data_type: &DataType) -> TypeSupport {
    use DataType as T;
    let widened = |how: &'static str| TypeSupport::Widened(how.into());
    match data_type {
        T::Null => widened("no field"),
        T::Boolean => widened("true or false"),
        kind if kind.is_integer() => widened("digits"),
        T::Float16 | T::Float32 | T::Float64 => widened("the shortest digits that read back equal"),
        T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..) => {
            widened("digits")
        }
        T::Utf8 | T::Binary => TypeSupport::Exact,
        T::LargeUtf8 | T::Utf8View | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => {
            widened("the same bytes")
        }
        T::Date32 => widened("ISO 8601"),
        T::Date64 => widened("ISO 8601; whole days only"),
        T::Time32(_) | T::Time64(_) | T::Interval(_) => widened("ISO 8601"),
        T::Timestamp(_, None) => widened("ISO 8601"),
        T::Timestamp(_, Some(_)) => widened("ISO 8601 in UTC"),
        T::Duration(_) => widened("digits, in its unit"),
        T::Dictionary(_, inner) => support_of_inner(inner),
        T::RunEndEncoded(_, inner) => support_of_inner(inner.data_type()),
        nested => match Format::REDIS.check(nested) {
            Ok(()) => widened("JSON"),
            Err(why) => TypeSupport::Unsupported(why.into()),
        },
    }
}

/// How a type arrives in a structure.
pub(crate) fn support_in(structure: DataStructure, data_type: &DataType) -> TypeSupport {
    let item = match data_type {
        DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item) => item,
        _ => return support(data_type),
    };
    match structure == DataStructure::Vector && item.data_type().is_floating() {
        true => TypeSupport::Widened("floats as binary, little end first".into()),
        false => support(data_type),
    }
}

/// What is decoded arrives as what it was encoded from.
fn support_of_inner(inner: &DataType) -> TypeSupport {
    match support(inner) {
        TypeSupport::Exact => TypeSupport::Widened("the same bytes".into()),
        other => other,
    }
}

/// What a column becomes in a structure.
pub(crate) fn target_type(structure: DataStructure, support: &TypeSupport) -> String {
    let how = match support {
        TypeSupport::Widened(how) => how,
        _ => "the same bytes",
    };
    format!("{}: {how}", structure.name())
}
