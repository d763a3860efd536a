//! Finds the type that holds the values of two types unchanged.

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef, Fields, TimeUnit};

/// The type that columns of text files have together. The reader checks each value against it, and text can hold every value as
/// it is written.
pub(crate) fn of_text(one: &DataType, other: &DataType) -> DataType {
    use DataType as T;
    match (one, other) {
        (one, other) if one == other => one.clone(),
        (T::Float64, other) | (other, T::Float64) if is_number(other) => T::Float64,
        // Found decimals are as wide as their type can be: values seldom are.
        (T::Decimal128(38, one), T::Decimal128(38, other)) => T::Decimal128(38, *one.max(other)),
        (T::Decimal128(38, scale), other) | (other, T::Decimal128(38, scale))
            if other.is_integer() =>
        {
            T::Decimal128(38, *scale)
        }
        _ => of_values(one, other).unwrap_or(T::Utf8),
    }
}

fn is_number(kind: &DataType) -> bool {
    kind.is_integer() || matches!(kind, DataType::Decimal128(..) | DataType::Decimal256(..))
}

/// The type that holds all values of both; `None` if there is none.
pub(crate) fn of_values(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType as T;
    if one == other {
        return Some(one.clone());
    }
    Some(match (one, other) {
        (T::Null, other) | (other, T::Null) => other.clone(),
        (one, other) if one.is_integer() && other.is_integer() => integer(one, other)?,
        (one, other) if is_number(one) && is_number(other) => decimal(one, other)?,
        // A float holds the integers that have no more bits than its digits.
        (T::Float64, other) | (other, T::Float64)
            if matches!(
                other,
                T::Float32
                    | T::Float16
                    | T::Int8
                    | T::Int16
                    | T::Int32
                    | T::UInt8
                    | T::UInt16
                    | T::UInt32
            ) =>
        {
            T::Float64
        }
        (T::Float32, other) | (other, T::Float32)
            if matches!(
                other,
                T::Float16 | T::Int8 | T::Int16 | T::UInt8 | T::UInt16
            ) =>
        {
            T::Float32
        }
        (T::Utf8 | T::LargeUtf8 | T::Utf8View, T::Utf8 | T::LargeUtf8 | T::Utf8View) => {
            T::LargeUtf8
        }
        (
            T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_),
            T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_),
        ) => T::LargeBinary,
        (T::Dictionary(_, value), other) | (other, T::Dictionary(_, value)) => {
            of_values(value, other)?
        }
        (T::Struct(one), T::Struct(other)) => T::Struct(members(one, other)?),
        (T::List(one), T::List(other)) => {
            let item = of_values(one.data_type(), other.data_type())?;
            T::List(Arc::new(
                one.as_ref()
                    .clone()
                    .with_data_type(item)
                    .with_nullable(true),
            ))
        }
        (T::Timestamp(one, zone), T::Timestamp(other, same)) if zone == same => {
            T::Timestamp(finer(*one, *other), zone.clone())
        }
        (T::Time32(one), T::Time32(other)) => T::Time32(finer(*one, *other)),
        (T::Time32(_), T::Time64(unit)) | (T::Time64(unit), T::Time32(_)) => T::Time64(*unit),
        (T::Time64(one), T::Time64(other)) => T::Time64(finer(*one, *other)),
        _ => return None,
    })
}

/// The members of both, each of a type that holds the values of both.
fn members(one: &Fields, other: &Fields) -> Option<Fields> {
    let mut members: Vec<FieldRef> = Vec::with_capacity(one.len());
    for field in one {
        let same = other.iter().find(|same| same.name() == field.name());
        let data_type = match same {
            Some(same) => of_values(field.data_type(), same.data_type())?,
            None => field.data_type().clone(),
        };
        let field = field.as_ref().clone().with_data_type(data_type);
        members.push(Arc::new(field.with_nullable(true)));
    }
    for field in other {
        if !one.iter().any(|same| same.name() == field.name()) {
            members.push(Arc::new(field.as_ref().clone().with_nullable(true)));
        }
    }
    Some(members.into())
}

fn integer(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType as T;
    let signed = |kind: &DataType| kind.is_signed_integer();
    let bits = |kind: &DataType| kind.primitive_width().map_or(64, |bytes| bytes * 8);
    // A signed integer needs a bit more than an unsigned one.
    let needed = match (signed(one), signed(other)) {
        (false, false) => {
            return Some(match bits(one).max(bits(other)) {
                8 => T::UInt8,
                16 => T::UInt16,
                32 => T::UInt32,
                _ => T::UInt64,
            });
        }
        (true, true) => bits(one).max(bits(other)),
        (true, false) => bits(one).max(bits(other) * 2),
        (false, true) => bits(other).max(bits(one) * 2),
    };
    Some(match needed {
        8 => T::Int8,
        16 => T::Int16,
        32 => T::Int32,
        64 => T::Int64,
        _ => T::Decimal128(20, 0),
    })
}

/// Digits before and after the point.
fn digits(kind: &DataType) -> Option<(u8, i8)> {
    Some(match kind {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            (precision.checked_sub(scale.unsigned_abs())?, *scale)
        }
        DataType::UInt64 => (20, 0),
        DataType::Int64 => (19, 0),
        kind if kind.is_integer() => (10, 0),
        _ => return None,
    })
}

fn decimal(one: &DataType, other: &DataType) -> Option<DataType> {
    let ((whole, scale), (other_whole, other_scale)) = (digits(one)?, digits(other)?);
    let (scale, whole) = (scale.max(other_scale), whole.max(other_whole));
    if scale < 0 {
        return None;
    }
    match u32::from(whole) + u32::from(scale.unsigned_abs()) {
        0..=38 => Some(DataType::Decimal128(38, scale)),
        39..=76 => Some(DataType::Decimal256(76, scale)),
        _ => None,
    }
}

fn finer(one: TimeUnit, other: TimeUnit) -> TimeUnit {
    let order = [
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ];
    let place = |unit| order.iter().position(|known| *known == unit);
    if place(one) >= place(other) {
        one
    } else {
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType as T;

    #[test]
    fn types_meet_in_one_that_holds_the_values_of_both() {
        let micro = |zone: Option<&str>| T::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        let nano = T::Timestamp(TimeUnit::Nanosecond, None);
        for (one, other, text, values) in [
            (T::Int64, T::Decimal128(38, 2), T::Decimal128(38, 2), None),
            (T::Int32, T::Int64, T::Int64, Some(T::Int64)),
            (T::UInt32, T::Int32, T::Int64, Some(T::Int64)),
            (
                T::UInt64,
                T::Int8,
                T::Decimal128(20, 0),
                Some(T::Decimal128(20, 0)),
            ),
            (T::Int32, T::Float64, T::Float64, Some(T::Float64)),
            (T::Int64, T::Float64, T::Float64, None),
            (T::Int64, T::Utf8, T::Utf8, None),
            (T::Date32, micro(None), T::Utf8, None),
            (micro(None), micro(Some("UTC")), T::Utf8, None),
            (micro(None), nano.clone(), nano.clone(), Some(nano)),
            (T::Boolean, T::Int64, T::Utf8, None),
            (
                T::Decimal128(10, 2),
                T::Decimal128(12, 4),
                T::Decimal128(38, 4),
                Some(T::Decimal128(38, 4)),
            ),
        ] {
            assert_eq!(of_text(&one, &other), of_text(&other, &one));
            if let Some(values) = values {
                assert_eq!(of_values(&one, &other), Some(values), "{one} {other}");
            }
            assert_eq!(of_text(&one, &other), text, "{one} {other}");
        }
        let text = of_text(&T::Decimal128(38, 1), &T::Decimal128(38, 3));
        assert_eq!(text, T::Decimal128(38, 3));
        let values = of_values(&T::Decimal128(38, 1), &T::Decimal128(38, 3));
        assert_eq!(values, Some(T::Decimal256(76, 3)));
    }
}
