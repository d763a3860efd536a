//! Ties the array of one batch to the conversion of its column: once a batch and column, before any row.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int16Type, Int32Type, Int64Type, RunEndIndexType};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use arrowload_core::{Error, ErrorKind, Result};

use super::column::{Column, NullColumn};
use super::conversion::Conversion;
use super::{json, list, numbers, numeric, numeric_text, temporal, text, vector};

/// Which place of an array of plain values each row has, and which rows are null.
pub(crate) struct Frame {
    /// `None`: each row has its own place.
    pub(crate) index: Option<Vec<u32>>,
    pub(crate) nulls: Option<NullBuffer>,
}

/// An array without dictionaries and run-ends around its values.
pub(crate) struct Plain {
    pub(crate) values: ArrayRef,
    pub(crate) frame: Frame,
}

/// Looks through dictionaries and run-ends, however nested, without copying a value.
pub(crate) fn plain(array: &ArrayRef) -> Plain {
    // A union has no nulls of its own: a member that is null is still that member.
    let nulls = if matches!(array.data_type(), DataType::Union(..)) {
        None
    } else {
        array.logical_nulls()
    };
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
    let (mut values, mut index) = (Arc::clone(array), None);
    while let Some((inner, places)) = step_in(&values) {
        index = Some(match index {
            None => places,
            Some(outer) => compose(outer, &places),
        });
        values = inner;
    }
    Plain {
        values,
        frame: Frame { index, nulls },
    }
}

fn compose(outer: Vec<u32>, inner: &[u32]) -> Vec<u32> {
    outer
        .into_iter()
        .map(|place| inner.get(place as usize).copied().unwrap_or(0))
        .collect()
}

/// The values of a dictionary or of runs, and the place of each row among them.
fn step_in(array: &ArrayRef) -> Option<(ArrayRef, Vec<u32>)> {
    match array.data_type() {
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let values = Arc::clone(dictionary.values());
            // All rows are null then, and no place is looked up.
            let places = if values.is_empty() {
                vec![0; array.len()]
            } else {
                normalized(dictionary.normalized_keys())
            };
            Some((values, places))
        }
        DataType::RunEndEncoded(ends, _) => Some(match ends.data_type() {
            DataType::Int16 => runs::<Int16Type>(array),
            DataType::Int32 => runs::<Int32Type>(array),
            _ => runs::<Int64Type>(array),
        }),
        _ => None,
    }
}

fn normalized(keys: Vec<usize>) -> Vec<u32> {
    keys.into_iter().map(|key| key as u32).collect()
}

fn runs<E: RunEndIndexType>(array: &ArrayRef) -> (ArrayRef, Vec<u32>) {
    use arrow_buffer::ArrowNativeType;
    let Some(runs) = array.as_any().downcast_ref::<arrow_array::RunArray<E>>() else {
        return (Arc::clone(array), Vec::new());
    };
    let (ends, offset) = (runs.run_ends().values(), runs.offset());
    let mut run = runs.get_start_physical_index();
    let mut places = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        while run < ends.len() && ends[run].as_usize() <= offset + row {
            run += 1;
        }
        places.push(run as u32);
    }
    (Arc::clone(runs.values()), places)
}

/// The column of one batch.
///
/// # Errors
/// If there is no code for this type and conversion: the matrix let a pair through that it should have refused.
pub(crate) fn bind(array: &ArrayRef, conversion: &Conversion) -> Result<Box<dyn Column>> {
    let Plain { values, frame } = plain(array);
    if matches!(conversion, Conversion::Null)
        || *values.data_type() == DataType::Null
        || (values.is_empty() && !array.is_empty())
    {
        return Ok(Box::new(NullColumn));
    }
    let column = match conversion {
        Conversion::Bool => numbers::bool(&values, frame),
        Conversion::Int2 => numbers::int2(&values, frame),
        Conversion::Int4 => numbers::int4(&values, frame),
        Conversion::Int8 => numbers::int8(&values, frame),
        Conversion::Float4 => numbers::float4(&values, frame),
        Conversion::Float8 => numbers::float8(&values, frame),
        Conversion::Numeric(target) => numeric::column(&values, frame, *target),
        Conversion::NumericText(limit) => numeric_text::column(&values, frame, *limit),
        Conversion::Text(target) => text::text(&values, frame, target),
        Conversion::Bytea => text::bytea(&values, frame),
        Conversion::JsonText(binary) => text::json(&values, frame, *binary),
        Conversion::JsonValue(target, binary) => {
            Some(json::column(&values, frame, target, *binary))
        }
        Conversion::Uuid => text::uuid(&values, frame),
        Conversion::Inet(cidr) => text::inet(&values, frame, *cidr),
        Conversion::Date => temporal::date(&values, frame),
        Conversion::Time(precision) => temporal::time(&values, frame, *precision),
        Conversion::Timestamp(precision) => temporal::timestamp(&values, frame, *precision),
        Conversion::Interval(precision) => temporal::interval(&values, frame, *precision),
        Conversion::Array(target) => list::column(&values, frame, target)?,
        Conversion::Vector(length) => vector::column(&values, frame, *length),
        Conversion::Null => None,
    };
    column.ok_or_else(|| {
        let message = format!(
            "there is no encoder of {} as {conversion:?}",
            values.data_type()
        );
        Error::new(ErrorKind::Unexpected, message)
    })
}
