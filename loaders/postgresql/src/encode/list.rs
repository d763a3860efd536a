//! Lists of every kind, as one-dimensional arrays.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{ArrowNativeType, ScalarBuffer};
use arrow_schema::DataType;
use arrowload_core::Result;

use super::bind::{Frame, bind};
use super::column::{Column, Reason};
use super::conversion::ArrayTarget;
use super::staged::staged;

/// Where the items of each list lie.
pub(super) enum Places {
    Offsets(ScalarBuffer<i32>),
    LargeOffsets(ScalarBuffer<i64>),
    Views(ScalarBuffer<i32>, ScalarBuffer<i32>),
    LargeViews(ScalarBuffer<i64>, ScalarBuffer<i64>),
    Fixed(usize),
}

impl Places {
    pub(super) fn of(&self, list: usize) -> Range<usize> {
        fn between<O: ArrowNativeType>(offsets: &[O], list: usize) -> Range<usize> {
            offsets[list].as_usize()..offsets[list + 1].as_usize()
        }
        fn from<O: ArrowNativeType>(starts: &[O], sizes: &[O], list: usize) -> Range<usize> {
            starts[list].as_usize()..starts[list].as_usize() + sizes[list].as_usize()
        }
        match self {
            Self::Offsets(offsets) => between(offsets, list),
            Self::LargeOffsets(offsets) => between(offsets, list),
            Self::Views(starts, sizes) => from(starts, sizes, list),
            Self::LargeViews(starts, sizes) => from(starts, sizes, list),
            Self::Fixed(size) => list * size..(list + 1) * size,
        }
    }
}

/// The items of all lists, and where those of each lie.
pub(super) fn items(array: &ArrayRef) -> Option<(ArrayRef, Places)> {
    Some(match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            (
                Arc::clone(list.values()),
                Places::Offsets(list.offsets().inner().clone()),
            )
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            (
                Arc::clone(list.values()),
                Places::LargeOffsets(list.offsets().inner().clone()),
            )
        }
        DataType::ListView(_) => {
            let list = array.as_list_view::<i32>();
            (
                Arc::clone(list.values()),
                Places::Views(list.offsets().clone(), list.sizes().clone()),
            )
        }
        DataType::LargeListView(_) => {
            let list = array.as_list_view::<i64>();
            (
                Arc::clone(list.values()),
                Places::LargeViews(list.offsets().clone(), list.sizes().clone()),
            )
        }
        DataType::FixedSizeList(..) => {
            let list = array.as_fixed_size_list();
            (
                Arc::clone(list.values()),
                Places::Fixed(list.value_length() as usize),
            )
        }
        _ => return None,
    })
}

pub(super) fn column(
    array: &ArrayRef,
    frame: Frame,
    target: &ArrayTarget,
) -> Result<Option<Box<dyn Column>>> {
    let Some((values, places)) = items(array) else {
        return Ok(None);
    };
    // Columns are asked from one thread only; the item's encoder has no state that calls share.
    let values = bind(&values, &target.element)?;
    let oid = target.element_oid;
    Ok(Some(staged(frame, move |index, out| {
        put_array(&*values, places.of(index), oid, out)
    })))
}

/// `array_recv`: dimensions, whether there are nulls, the element type, then length and lower bound of each dimension.
fn put_array(
    values: &dyn Column,
    range: Range<usize>,
    element_oid: u32,
    out: &mut Vec<u8>,
) -> Result<(), Reason> {
    let length = i32::try_from(range.len())
        .map_err(|_| Reason::new("a list has more items than an array can"))?;
    let nulls = range.clone().any(|item| values.is_null(item));
    let dimensions = i32::from(length > 0);
    out.extend_from_slice(&dimensions.to_be_bytes());
    out.extend_from_slice(&i32::from(nulls).to_be_bytes());
    out.extend_from_slice(&element_oid.to_be_bytes());
    if length > 0 {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&1_i32.to_be_bytes());
    }
    range
        .into_iter()
        .try_for_each(|item| values.append(item, out))
}
