//! A checksum of each column that depends on its values only: not on their order, nor on the Arrow type that holds them.
//!
//! Each value is reduced to a canonical form (an integer or decimal to its digits without trailing zeros, a point in
//! time to nanoseconds, text and binary to bytes, whatever the width, unit, offset size, view or dictionary), hashed with
//! XXH3, and the hashes of a column are added modulo 2^64. So a value that arrived in a wider type has the same
//! checksum, and one that changed has another.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray, RecordBatch};
use arrow_buffer::{ArrowNativeType, i256};
use arrow_cast::cast;
use arrow_schema::{DataType, IntervalUnit, Schema, TimeUnit, UnionMode};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{Error, ErrorKind, Result};

/// The checksum of one column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnChecksum {
    /// The column's name.
    pub column: String,
    /// How many values are not null.
    pub values: u64,
    /// The sum of the hashes of all values, nulls included, modulo 2^64.
    pub sum: u64,
}

/// Adds up the checksums of a stream of batches of one schema.
#[derive(Debug, Clone)]
pub struct Checksums(Vec<ColumnChecksum>);

impl Checksums {
    /// The checksums of no rows, to begin with.
    pub fn new(schema: &Schema) -> Self {
        let empty = |field: &arrow_schema::FieldRef| ColumnChecksum {
            column: field.name().clone(),
            values: 0,
            sum: 0,
        };
        Self(schema.fields().iter().map(empty).collect())
    }

    /// Adds a batch, whose columns are in the order of the schema.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if a column's type has no canonical form.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        for (checksum, array) in self.0.iter_mut().zip(batch.columns()) {
            let hashes = hash_array(array)?;
            checksum.sum = hashes
                .iter()
                .fold(checksum.sum, |sum, hash| sum.wrapping_add(*hash));
            checksum.values += (array.len() - array.logical_null_count()) as u64;
        }
        Ok(())
    }

    /// Removes rows that were added before.
    pub(crate) fn subtract(&mut self, other: Checksums) {
        for (ours, theirs) in self.0.iter_mut().zip(other.0) {
            ours.sum = ours.sum.wrapping_sub(theirs.sum);
            ours.values -= theirs.values;
        }
    }

    /// The result, in the order of the schema.
    pub fn finish(self) -> Vec<ColumnChecksum> {
        self.0
    }
}

const NULL: u64 = 0x9E37_79B9_7F4A_7C15;
/// Different seeds for canonical forms whose bytes could be equal.
mod seed {
    pub(super) const BOOLEAN: u64 = 1;
    pub(super) const NUMBER: u64 = 2;
    pub(super) const FLOAT: u64 = 3;
    pub(super) const BYTES: u64 = 4;
    pub(super) const NANOSECONDS: u64 = 5;
    pub(super) const INTERVAL: u64 = 6;
    pub(super) const LIST: u64 = 7;
    pub(super) const STRUCT: u64 = 8;
    pub(super) const UNION: u64 = 9;
}

/// One hash for each row.
fn hash_array(array: &ArrayRef) -> Result<Vec<u64>> {
    use DataType as T;
    let hashes = match array.data_type() {
        T::Null => vec![NULL; array.len()],
        T::Boolean => each(array, |row| {
            hash(seed::BOOLEAN, &[u8::from(array.as_boolean().value(row))])
        }),
        T::Int8 => integers::<Int8Type>(array),
        T::Int16 => integers::<Int16Type>(array),
        T::Int32 => integers::<Int32Type>(array),
        T::Int64 => integers::<Int64Type>(array),
        T::UInt8 => integers::<UInt8Type>(array),
        T::UInt16 => integers::<UInt16Type>(array),
        T::UInt32 => integers::<UInt32Type>(array),
        T::UInt64 => integers::<UInt64Type>(array),
        T::Float16 => floats::<Float16Type>(array, |value| value.to_f64()),
        T::Float32 => floats::<Float32Type>(array, f64::from),
        T::Float64 => floats::<Float64Type>(array, |value| value),
        T::Decimal32(_, scale) => {
            decimals::<Decimal32Type>(array, *scale, |value| i256::from_i128(value.into()))
        }
        T::Decimal64(_, scale) => {
            decimals::<Decimal64Type>(array, *scale, |value| i256::from_i128(value.into()))
        }
        T::Decimal128(_, scale) => decimals::<Decimal128Type>(array, *scale, i256::from_i128),
        T::Decimal256(_, scale) => decimals::<Decimal256Type>(array, *scale, |value| value),
        T::Utf8 => each(array, |row| {
            hash(seed::BYTES, array.as_string::<i32>().value(row).as_bytes())
        }),
        T::LargeUtf8 => each(array, |row| {
            hash(seed::BYTES, array.as_string::<i64>().value(row).as_bytes())
        }),
        T::Utf8View => each(array, |row| {
            hash(seed::BYTES, array.as_string_view().value(row).as_bytes())
        }),
        T::Binary => each(array, |row| {
            hash(seed::BYTES, array.as_binary::<i32>().value(row))
        }),
        T::LargeBinary => each(array, |row| {
            hash(seed::BYTES, array.as_binary::<i64>().value(row))
        }),
        T::BinaryView => each(array, |row| {
            hash(seed::BYTES, array.as_binary_view().value(row))
        }),
        T::FixedSizeBinary(_) => each(array, |row| {
            hash(seed::BYTES, array.as_fixed_size_binary().value(row))
        }),
        T::Interval(unit) => intervals(array, *unit),
        T::Struct(_) => structs(array)?,
        T::List(_)
        | T::LargeList(_)
        | T::FixedSizeList(..)
        | T::ListView(_)
        | T::LargeListView(_)
        | T::Map(..) => lists(array)?,
        T::Dictionary(_, values) => hash_array(&cast(array, values)?)?,
        T::RunEndEncoded(_, values) => hash_array(&cast(array, values.data_type())?)?,
        T::Union(..) => unions(array)?,
        temporal => nanoseconds(array, temporal)?,
    };
    Ok(hashes)
}

fn hash(seed: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, seed)
}

fn each(array: &dyn Array, value: impl Fn(usize) -> u64) -> Vec<u64> {
    match array.nulls() {
        None => (0..array.len()).map(value).collect(),
        Some(nulls) => (0..array.len())
            .map(|row| if nulls.is_null(row) { NULL } else { value(row) })
            .collect(),
    }
}

fn primitive<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    value: impl Fn(T::Native) -> u64,
) -> Vec<u64> {
    let values: &PrimitiveArray<T> = array.as_primitive();
    each(array, |row| value(values.value(row)))
}

fn integers<T: ArrowPrimitiveType>(array: &ArrayRef) -> Vec<u64>
where
    T::Native: Into<i128>,
{
    primitive::<T>(array, |value| {
        hash(seed::NUMBER, &value.into().to_le_bytes())
    })
}

fn floats<T: ArrowPrimitiveType>(array: &ArrayRef, widen: impl Fn(T::Native) -> f64) -> Vec<u64> {
    primitive::<T>(array, |value| {
        let value = widen(value);
        let canonical = if value.is_nan() { f64::NAN } else { value };
        hash(seed::FLOAT, &canonical.to_bits().to_le_bytes())
    })
}

fn decimals<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    scale: i8,
    widen: impl Fn(T::Native) -> i256,
) -> Vec<u64> {
    primitive::<T>(array, |value| hash_decimal(widen(value), scale.into()))
}

/// A whole number hashes as an integer of that value; any other as its digits and scale, without trailing zeros.
fn hash_decimal(mut value: i256, mut scale: i32) -> u64 {
    let ten = i256::from_i128(10);
    if value == i256::ZERO {
        scale = 0;
    }
    while scale > 0 && value.wrapping_rem(ten) == i256::ZERO {
        value = value.wrapping_div(ten);
        scale -= 1;
    }
    while scale < 0 {
        match value.checked_mul(ten) {
            Some(product) => (value, scale) = (product, scale + 1),
            None => break,
        }
    }
    match (value.to_i128(), scale) {
        (Some(whole), 0) => hash(seed::NUMBER, &whole.to_le_bytes()),
        _ => hash(
            seed::NUMBER,
            &[value.to_le_bytes().as_slice(), &scale.to_le_bytes()].concat(),
        ),
    }
}

fn intervals(array: &ArrayRef, unit: IntervalUnit) -> Vec<u64> {
    let parts = |months: i32, days: i32, nanoseconds: i64| {
        let bytes = [
            months.to_le_bytes().as_slice(),
            &days.to_le_bytes(),
            &nanoseconds.to_le_bytes(),
        ]
        .concat();
        hash(seed::INTERVAL, &bytes)
    };
    match unit {
        IntervalUnit::YearMonth => {
            primitive::<IntervalYearMonthType>(array, |months| parts(months, 0, 0))
        }
        IntervalUnit::DayTime => primitive::<IntervalDayTimeType>(array, |value| {
            parts(0, value.days, i64::from(value.milliseconds) * 1_000_000)
        }),
        IntervalUnit::MonthDayNano => primitive::<IntervalMonthDayNanoType>(array, |value| {
            parts(value.months, value.days, value.nanoseconds)
        }),
    }
}

fn nanoseconds(array: &ArrayRef, data_type: &DataType) -> Result<Vec<u64>> {
    use DataType as T;
    let point =
        |value: i128, factor: i128| hash(seed::NANOSECONDS, &(value * factor).to_le_bytes());
    let factor = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    let (unit, wide) = match data_type {
        T::Date32 => (86_400_000_000_000, false),
        T::Date64 => (1_000_000, true),
        T::Time32(unit) => (factor(unit), false),
        T::Time64(unit) | T::Timestamp(unit, _) | T::Duration(unit) => (factor(unit), true),
        other => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("verify = checksum has no form for {other}; use verify = counts"),
            ));
        }
    };
    Ok(if wide {
        let values = array.to_data().buffer::<i64>(0).to_vec();
        each(array, |row| point(values[row].into(), unit))
    } else {
        let values = array.to_data().buffer::<i32>(0).to_vec();
        each(array, |row| point(values[row].into(), unit))
    })
}

fn structs(array: &ArrayRef) -> Result<Vec<u64>> {
    let columns = array
        .as_struct()
        .columns()
        .iter()
        .map(hash_array)
        .collect::<Result<Vec<_>>>()?;
    Ok(each(array, |row| {
        columns.iter().fold(seed::STRUCT, |all, column| {
            hash(all, &column[row].to_le_bytes())
        })
    }))
}

fn lists(array: &ArrayRef) -> Result<Vec<u64>> {
    let (items, ranges): (ArrayRef, Vec<(usize, usize)>) = match array.data_type() {
        DataType::List(_) => (
            Arc::clone(array.as_list::<i32>().values()),
            windows(array.as_list::<i32>().value_offsets()),
        ),
        DataType::LargeList(_) => (
            Arc::clone(array.as_list::<i64>().values()),
            windows(array.as_list::<i64>().value_offsets()),
        ),
        DataType::Map(..) => (
            Arc::new(array.as_map().entries().clone()),
            windows(array.as_map().value_offsets()),
        ),
        DataType::ListView(_) => {
            let list = array.as_list_view::<i32>();
            let ends = |(start, size): (&i32, &i32)| {
                (start.as_usize(), start.as_usize() + size.as_usize())
            };
            (
                Arc::clone(list.values()),
                list.value_offsets()
                    .iter()
                    .zip(list.value_sizes())
                    .map(ends)
                    .collect(),
            )
        }
        DataType::LargeListView(_) => {
            let list = array.as_list_view::<i64>();
            let ends = |(start, size): (&i64, &i64)| {
                (start.as_usize(), start.as_usize() + size.as_usize())
            };
            (
                Arc::clone(list.values()),
                list.value_offsets()
                    .iter()
                    .zip(list.value_sizes())
                    .map(ends)
                    .collect(),
            )
        }
        _ => {
            let list = array.as_fixed_size_list();
            let size = list.value_length() as usize;
            (
                Arc::clone(list.values()),
                (0..list.len())
                    .map(|row| (row * size, (row + 1) * size))
                    .collect(),
            )
        }
    };
    let hashes = hash_array(&items)?;
    Ok(each(array, |row| {
        let (start, end) = ranges[row];
        hashes[start..end].iter().fold(
            hash(seed::LIST, &(end - start).to_le_bytes()),
            |all, item| hash(all, &item.to_le_bytes()),
        )
    }))
}

fn windows<O: ArrowNativeType>(offsets: &[O]) -> Vec<(usize, usize)> {
    offsets
        .windows(2)
        .map(|pair| (pair[0].as_usize(), pair[1].as_usize()))
        .collect()
}

fn unions(array: &ArrayRef) -> Result<Vec<u64>> {
    let union = array.as_union();
    let mut children = std::collections::HashMap::new();
    if let DataType::Union(fields, UnionMode::Dense | UnionMode::Sparse) = array.data_type() {
        for (id, _) in fields.iter() {
            children.insert(id, hash_array(union.child(id))?);
        }
    }
    let value = |row: usize| {
        let id = union.type_id(row);
        let child = children
            .get(&id)
            .and_then(|child| child.get(union.value_offset(row)))
            .copied()
            .unwrap_or(NULL);
        hash(
            seed::UNION,
            &[&[id as u8], child.to_le_bytes().as_slice()].concat(),
        )
    };
    Ok((0..array.len()).map(value).collect())
}

#[cfg(test)]
mod tests {
    use arrow_array::*;

    use super::*;

    fn sum(array: impl Array + 'static) -> ColumnChecksum {
        let batch =
            RecordBatch::try_from_iter([("a", Arc::new(array) as ArrayRef)]).expect("a batch");
        let mut checksums = Checksums::new(batch.schema_ref());
        checksums.add(&batch).expect("a checksum");
        checksums.finish().remove(0)
    }

    #[test]
    fn the_same_values_in_a_wider_type_or_another_order_agree() {
        let narrow = sum(Int32Array::from(vec![Some(1), None, Some(-70)]));
        assert_eq!(
            narrow,
            sum(Int64Array::from(vec![Some(-70), Some(1), None]))
        );
        let decimals = Decimal128Array::from(vec![Some(100), Some(-7000), None])
            .with_precision_and_scale(20, 2)
            .expect("a scale");
        assert_eq!(narrow, sum(decimals));
        assert_eq!(
            sum(StringArray::from(vec!["a", "bc"])),
            sum(StringViewArray::from(vec!["bc", "a"]))
        );
        let dictionary: DictionaryArray<Int8Type> = ["bc", "a"].into_iter().collect();
        assert_eq!(sum(StringArray::from(vec!["a", "bc"])), sum(dictionary));
        let seconds = sum(TimestampSecondArray::from(vec![1, 2]));
        assert_eq!(
            seconds,
            sum(TimestampNanosecondArray::from(vec![
                2_000_000_000,
                1_000_000_000
            ]))
        );
    }

    #[test]
    fn a_changed_value_is_seen() {
        let strings = |values: Vec<Option<&str>>| sum(StringArray::from(values));
        assert_ne!(strings(vec![Some("")]), strings(vec![None]));
        assert_ne!(
            strings(vec![Some("a"), Some("b")]),
            strings(vec![Some("a"), Some("a")])
        );
        assert_ne!(
            sum(Float64Array::from(vec![0.0])),
            sum(Float64Array::from(vec![-0.0]))
        );
        let nested = |rows: Vec<Option<Vec<Option<i32>>>>| {
            sum(ListArray::from_iter_primitive::<Int32Type, _, _>(rows))
        };
        assert_ne!(
            nested(vec![Some(vec![Some(1)]), Some(vec![])]),
            nested(vec![Some(vec![]), Some(vec![None])])
        );
        assert_ne!(
            nested(vec![Some(vec![Some(1), Some(2)])]),
            nested(vec![Some(vec![Some(2), Some(1)])])
        );
    }

    #[test]
    fn slices_count_only_what_they_show() {
        let whole = StringArray::from(vec!["x", "a", "b"]);
        assert_eq!(
            sum(whole.slice(1, 2)),
            sum(StringArray::from(vec!["a", "b"]))
        );
        let times = Time64NanosecondArray::from(vec![5, 6, 7]);
        assert_eq!(
            sum(times.slice(2, 1)),
            sum(Time64NanosecondArray::from(vec![7]))
        );
    }
}
