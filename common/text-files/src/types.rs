//! Types of columns: their names, and the next wider type for a value that does not fit.

use arrow_schema::{DataType, TimeUnit};
use arrowload_core::Result;

use crate::options::invalid;
use crate::profile::{Class, Number, classify};
use crate::rules::Rules;
use crate::time::per_second;

/// The zone of timestamps with an offset.
pub const UTC: &str = "UTC";

/// How a column is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnType {
    /// The type of its values.
    pub data_type: DataType,
    /// Whether only the grammars of found types are read: no leading zeros, no `+`, no `-0`, no float that is rounded.
    pub strict: bool,
}

impl ColumnType {
    /// A type that was found.
    pub fn found(data_type: DataType) -> Self {
        Self {
            data_type,
            strict: true,
        }
    }

    /// A type that was declared.
    pub fn declared(data_type: DataType) -> Self {
        Self {
            data_type,
            strict: false,
        }
    }

    /// A type that a program offers, as the target of a load has it, and nobody declared: floats are not rounded.
    pub fn offered(data_type: DataType) -> Self {
        use DataType as T;
        let strict = matches!(
            data_type,
            T::Float32 | T::Float64 | T::Utf8 | T::LargeUtf8 | T::Utf8View
        );
        Self { data_type, strict }
    }

    /// The next wider type, which holds this value, and all that this one holds as far as one type can.
    pub fn wider(&self, value: &[u8], rules: &Rules) -> Self {
        let data_type = match (&self.data_type, classify(value, rules)) {
            (DataType::Time64(TimeUnit::Microsecond) | DataType::Time32(_), Class::Time) => {
                DataType::Time64(TimeUnit::Nanosecond)
            }
            (DataType::Timestamp(unit, zone), Class::Stamp(stamp))
                if stamp.zoned == zone.is_some() =>
            {
                let units = [
                    TimeUnit::Second,
                    TimeUnit::Millisecond,
                    TimeUnit::Microsecond,
                    TimeUnit::Nanosecond,
                ];
                let finer = units.into_iter().find(|finer| {
                    per_second(*finer) > per_second(*unit)
                        && stamp.units(per_second(*finer)).is_some()
                });
                finer.map_or(DataType::Utf8, |unit| {
                    DataType::Timestamp(unit, zone.clone())
                })
            }
            (known, Class::Number(number)) => wider_number(known, number),
            _ => DataType::Utf8,
        };
        Self::found(data_type)
    }
}

fn wider_number(known: &DataType, number: Number) -> DataType {
    let float = if number.exact {
        DataType::Float64
    } else {
        DataType::Utf8
    };
    let (whole, scale, precision) = match known {
        DataType::Float32 => return float,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => (
            0,
            usize::from(scale.unsigned_abs()),
            usize::from(*precision),
        ),
        other if other.is_integer() => (19, 0, 0),
        _ => return DataType::Utf8,
    };
    if number.float_form {
        return float;
    }
    if known.is_integer() && number.int64 {
        return DataType::Int64;
    }
    let scale = scale.max(number.scale);
    let whole = if known.is_integer() && scale == 0 {
        number.whole
    } else {
        whole.max(number.whole)
    };
    let wanted = decimal(whole, scale);
    match wanted {
        // Values that were read before had more digits than this one.
        Some(same) if same == *known => decimal(39, scale).unwrap_or(DataType::Utf8),
        Some(DataType::Decimal128(..)) if precision > 38 => DataType::Utf8,
        Some(wider) => wider,
        None => DataType::Utf8,
    }
}

/// The widest decimal for so many digits before and after the point.
pub fn decimal(whole: usize, scale: usize) -> Option<DataType> {
    match whole + scale {
        0..=38 => Some(DataType::Decimal128(38, scale as i8)),
        39..=76 => Some(DataType::Decimal256(76, scale as i8)),
        _ => None,
    }
}

/// The type of a name: `text`, `boolean`, `int8` to `int64`, `uint8` to `uint64`, `float32`, `float64`, `decimal(20,2)`,
/// `date`, `time`, `timestamp`, `timestamptz`, `binary`; also the names that SQL has for them.
///
/// # Errors
/// [`InvalidOption`](arrowload_core::ErrorKind::InvalidOption), with the names that are known.
pub fn parse_type(name: &str) -> Result<DataType> {
    let lower = name.trim().to_ascii_lowercase();
    let (word, arguments) = match lower.split_once('(') {
        Some((word, rest)) => {
            let inner = rest.strip_suffix(')').ok_or_else(|| unknown(name))?;
            (word.trim(), inner.split(',').map(str::trim).collect())
        }
        None => (lower.as_str(), Vec::new()),
    };
    let number = |index: usize| -> Option<u8> { arguments.get(index)?.parse().ok() };
    let found = match (word, arguments.len()) {
        ("text" | "varchar" | "string" | "utf8", 0) => DataType::Utf8,
        ("large_text", 0) => DataType::LargeUtf8,
        ("text_view", 0) => DataType::Utf8View,
        ("boolean" | "bool", 0) => DataType::Boolean,
        ("int8" | "tinyint", 0) => DataType::Int8,
        ("int16" | "smallint", 0) => DataType::Int16,
        ("int32" | "int" | "integer", 0) => DataType::Int32,
        ("int64" | "bigint", 0) => DataType::Int64,
        ("uint8", 0) => DataType::UInt8,
        ("uint16", 0) => DataType::UInt16,
        ("uint32", 0) => DataType::UInt32,
        ("uint64", 0) => DataType::UInt64,
        ("float32" | "real", 0) => DataType::Float32,
        ("float64" | "double" | "double precision", 0) => DataType::Float64,
        ("date", 0) => DataType::Date32,
        ("time", 0) => DataType::Time64(TimeUnit::Microsecond),
        ("timestamp", 0) => DataType::Timestamp(TimeUnit::Microsecond, None),
        ("timestamptz", 0) => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        ("timestamp_s", 0) => DataType::Timestamp(TimeUnit::Second, None),
        ("timestamp_ms", 0) => DataType::Timestamp(TimeUnit::Millisecond, None),
        ("timestamp_ns", 0) => DataType::Timestamp(TimeUnit::Nanosecond, None),
        ("binary" | "bytea" | "blob", 0) => DataType::Binary,
        ("decimal" | "numeric", 1 | 2) => {
            let precision = number(0).ok_or_else(|| unknown(name))?;
            let scale = if arguments.len() == 2 {
                number(1).ok_or_else(|| unknown(name))?
            } else {
                0
            };
            if scale > precision {
                return Err(unknown(name));
            }
            match precision {
                1..=38 => DataType::Decimal128(precision, scale as i8),
                39..=76 => DataType::Decimal256(precision, scale as i8),
                _ => return Err(unknown(name)),
            }
        }
        _ => return Err(unknown(name)),
    };
    Ok(found)
}

fn unknown(name: &str) -> arrowload_core::Error {
    let message = format!(
        "`{name}` is not a type of a column; types are text, boolean, int8 to int64, uint8 to uint64, float32, float64, \
         decimal(p,s) with p up to 76, date, time, timestamp, timestamptz, timestamp_s, timestamp_ms, timestamp_ns, binary"
    );
    invalid("types", message)
}

/// Types that a column may have; anything else is refused by name.
pub fn is_supported(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(
        data_type,
        T::Boolean
            | T::Int8
            | T::Int16
            | T::Int32
            | T::Int64
            | T::UInt8
            | T::UInt16
            | T::UInt32
            | T::UInt64
            | T::Float32
            | T::Float64
            | T::Date32
            | T::Time32(TimeUnit::Second | TimeUnit::Millisecond)
            | T::Time64(TimeUnit::Microsecond | TimeUnit::Nanosecond)
            | T::Timestamp(..)
            | T::Utf8
            | T::LargeUtf8
            | T::Utf8View
            | T::Binary
            | T::LargeBinary
    ) || matches!(data_type, T::Decimal32(_, scale) | T::Decimal64(_, scale) | T::Decimal128(_, scale) | T::Decimal256(_, scale) if *scale >= 0)
}

/// Refuses a type that a column of this format cannot have.
///
/// # Errors
/// [`UnsupportedType`](arrowload_core::ErrorKind::UnsupportedType), naming the column.
pub fn check_supported(format: &str, column: &str, data_type: &DataType) -> Result<()> {
    if is_supported(data_type) {
        return Ok(());
    }
    let message = format!("column `{column}` cannot be read from {format} as {data_type}");
    Err(
        arrowload_core::Error::new(arrowload_core::ErrorKind::UnsupportedType, message)
            .with("column", column),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_types() {
        assert_eq!(
            parse_type("Decimal(20, 2)").expect("known"),
            DataType::Decimal128(20, 2)
        );
        assert_eq!(
            parse_type("numeric(50)").expect("known"),
            DataType::Decimal256(50, 0)
        );
        assert_eq!(parse_type(" TEXT ").expect("known"), DataType::Utf8);
        for wrong in [
            "decimal",
            "decimal(77,0)",
            "decimal(2,3)",
            "decimal(5,2",
            "list",
            "",
        ] {
            assert!(parse_type(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn types_widen_step_by_step_and_end_in_text() {
        use DataType as T;
        let rules = Rules::default();
        let micro = T::Timestamp(TimeUnit::Microsecond, None);
        let cases = [
            (T::Int64, "99999999999999999999", T::Decimal128(38, 0)),
            (T::Int64, "1.5", T::Decimal128(38, 1)),
            (T::Int64, "1.50000000000000000000000", T::Decimal256(76, 23)),
            (T::Int64, "1e5", T::Float64),
            (T::Int64, "007", T::Utf8),
            (T::Int32, "3000000000", T::Int64),
            (T::Decimal128(38, 1), "1.55", T::Decimal128(38, 2)),
            (T::Decimal128(38, 2), "1e-5", T::Float64),
            (
                T::Decimal128(38, 2),
                "12345678901234567890123456789012345678.12",
                T::Decimal256(76, 2),
            ),
            (T::Decimal256(76, 2), "x", T::Utf8),
            (T::Decimal128(38, 1), "-0.0", T::Float64),
            (T::Float64, "0.10000000000000001", T::Utf8),
            (T::Boolean, "maybe", T::Utf8),
            (T::Date32, "2024-01-01 00:00:00", T::Utf8),
            (
                micro.clone(),
                "2024-01-01 00:00:00.123456789",
                T::Timestamp(TimeUnit::Nanosecond, None),
            ),
            (micro.clone(), "2024-01-01 00:00:00Z", T::Utf8),
            (micro, "2500-01-01 00:00:00.123456789", T::Utf8),
        ];
        for (from, value, expected) in cases {
            let wider = ColumnType::found(from.clone()).wider(value.as_bytes(), &rules);
            assert_eq!(wider.data_type, expected, "{from} and {value}");
        }
    }
}
