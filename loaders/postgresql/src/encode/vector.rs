//! Lists of floats as pgvector's `vector`: its length, two bytes that are not used, and the floats.

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::bind::Frame;
use super::column::{Column, Reason};
use super::list::{Places, items};
use super::staged::staged;

/// The longest vector that pgvector stores.
pub(crate) const LONGEST: usize = 16_000;

/// `length` is that of the column, if it declares one.
pub(super) fn column(
    array: &ArrayRef,
    frame: Frame,
    length: Option<usize>,
) -> Option<Box<dyn Column>> {
    let (values, places) = items(array)?;
    Some(match values.data_type() {
        DataType::Float16 => {
            of::<Float16Type>(&values, places, frame, length, |value| value.to_f32())
        }
        DataType::Float32 => of::<Float32Type>(&values, places, frame, length, |value| value),
        DataType::Float64 => {
            of::<Float64Type>(&values, places, frame, length, |value| value as f32)
        }
        _ => return None,
    })
}

fn of<T>(
    values: &ArrayRef,
    places: Places,
    frame: Frame,
    length: Option<usize>,
    narrow: fn(T::Native) -> f32,
) -> Box<dyn Column>
where
    T: ArrowPrimitiveType,
    T::Native: Into<f64>,
{
    let array = values.as_primitive::<T>().clone();
    staged(frame, move |index, out| {
        let range = places.of(index);
        if range.is_empty()
            || range.len() > LONGEST
            || length.is_some_and(|length| length != range.len())
        {
            let wanted =
                length.map_or_else(|| format!("1 to {LONGEST}"), |length| length.to_string());
            return Err(Reason::new(format!(
                "the list has {} items, and the vector has {wanted}",
                range.len()
            )));
        }
        if array
            .nulls()
            .is_some_and(|nulls| range.clone().any(|item| nulls.is_null(item)))
        {
            return Err(Reason::new(
                "the list has a null among its items, and a vector holds none",
            ));
        }
        out.extend_from_slice(&(range.len() as u16).to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        for value in &array.values()[range] {
            let float = narrow(*value);
            let wide: f64 = (*value).into();
            if !float.is_finite() || f64::from(float) != wide {
                return Err(Reason::new(format!(
                    "{wide} has no exact counterpart in a vector, whose items are finite and of type real"
                )));
            }
            out.extend_from_slice(&float.to_be_bytes());
        }
        Ok(())
    })
}
