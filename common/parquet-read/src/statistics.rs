//! Which statistics of a file are trusted.

use parquet::basic::{ColumnOrder, ConvertedType, LogicalType, Type as PhysicalType};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescriptor;

/// The statistics of a column chunk, as far as row groups may be skipped for them.
///
/// Not trusted are
/// - those of floats: they leave out NaN, which the engine sorts above all numbers, and writers differ over the sign of zero;
/// - those of timestamps of 96 bits, whose order was never defined;
/// - those in the old form, and those without a stated order, of types whose bytes can be compared in two ways: text, binary,
///   decimals in bytes, unsigned integers;
/// - extremes that are the wrong way round, and more nulls than values.
pub(crate) fn trusted(column: &ColumnChunkMetaData, order: ColumnOrder) -> Option<Statistics> {
    let statistics = column.statistics()?;
    let descr = column.column_descr();
    let nulls = statistics.null_count_opt();
    let values = u64::try_from(column.num_values()).ok()?;
    if nulls.is_some_and(|nulls| nulls > values) {
        return None;
    }
    let is_trusted = match descr.physical_type() {
        PhysicalType::FLOAT | PhysicalType::DOUBLE | PhysicalType::INT96 => false,
        PhysicalType::BOOLEAN => true,
        PhysicalType::INT32 | PhysicalType::INT64 if !is_unsigned(descr) => true,
        PhysicalType::FIXED_LEN_BYTE_ARRAY if is_half(descr) => false,
        _ => !statistics.is_min_max_deprecated() && order != ColumnOrder::UNDEFINED,
    };
    (is_trusted && is_ordered(statistics, descr)).then(|| statistics.clone())
}

fn is_unsigned(descr: &ColumnDescriptor) -> bool {
    let is_logical = matches!(
        descr.logical_type_ref(),
        Some(LogicalType::Integer {
            is_signed: false,
            ..
        })
    );
    let is_converted = matches!(
        descr.converted_type(),
        ConvertedType::UINT_8
            | ConvertedType::UINT_16
            | ConvertedType::UINT_32
            | ConvertedType::UINT_64
    );
    is_logical || is_converted
}

fn is_half(descr: &ColumnDescriptor) -> bool {
    matches!(descr.logical_type_ref(), Some(LogicalType::Float16))
}

fn is_decimal(descr: &ColumnDescriptor) -> bool {
    descr.converted_type() == ConvertedType::DECIMAL
        || matches!(descr.logical_type_ref(), Some(LogicalType::Decimal { .. }))
}

/// Whether the least value is not above the greatest.
fn is_ordered(statistics: &Statistics, descr: &ColumnDescriptor) -> bool {
    fn ordered<T>(min: Option<T>, max: Option<T>, above: impl Fn(&T, &T) -> bool) -> bool {
        !matches!((min, max), (Some(min), Some(max)) if above(&min, &max))
    }
    let unsigned = is_unsigned(descr);
    match statistics {
        Statistics::Boolean(of) => ordered(of.min_opt(), of.max_opt(), |min, max| min > max),
        Statistics::Int32(of) if unsigned => ordered(of.min_opt(), of.max_opt(), |min, max| {
            **min as u32 > **max as u32
        }),
        Statistics::Int64(of) if unsigned => ordered(of.min_opt(), of.max_opt(), |min, max| {
            **min as u64 > **max as u64
        }),
        Statistics::Int32(of) => ordered(of.min_opt(), of.max_opt(), |min, max| min > max),
        Statistics::Int64(of) => ordered(of.min_opt(), of.max_opt(), |min, max| min > max),
        Statistics::ByteArray(_) | Statistics::FixedLenByteArray(_) if !is_decimal(descr) => {
            let (min, max) = (statistics.min_bytes_opt(), statistics.max_bytes_opt());
            ordered(min, max, |min, max| min > max)
        }
        _ => true,
    }
}
