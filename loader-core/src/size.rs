//! The memory size of rows, also if they are slices of larger buffers.

use arrow_array::cast::AsArray;
use arrow_array::types::{ByteViewType, RunEndIndexType};
use arrow_array::{
    Array, ArrayRef, GenericByteViewArray, GenericListArray, GenericListViewArray, OffsetSizeTrait,
    RecordBatch, RunArray, UnionArray, downcast_run_array,
};
use arrow_schema::DataType;

/// The bytes of the rows of a batch, about: of each value what a copy of it would take, and not the rest of buffers that the
/// batch is a slice of. Values that rows share (of dictionaries and runs) count by their average.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    batch
        .columns()
        .iter()
        .map(|column| array_bytes(column))
        .sum()
}

fn array_bytes(array: &dyn Array) -> usize {
    use DataType as D;
    let nulls = if array.nulls().is_some() {
        array.len().div_ceil(8)
    } else {
        0
    };
    match array.data_type() {
        D::Utf8View => nulls + views(array.as_string_view()),
        D::BinaryView => nulls + views(array.as_binary_view()),
        D::List(_) => nulls + list(array.as_list::<i32>()),
        D::LargeList(_) => nulls + list(array.as_list::<i64>()),
        D::ListView(_) => nulls + list_view(array.as_list_view::<i32>()),
        D::LargeListView(_) => nulls + list_view(array.as_list_view::<i64>()),
        D::FixedSizeList(..) => nulls + array_bytes(array.as_fixed_size_list().values()),
        D::Map(..) => {
            let map = array.as_map();
            let (first, end) = ends(map.value_offsets());
            nulls
                + size_of_val(map.value_offsets())
                + array_bytes(&map.entries().slice(first, end - first))
        }
        D::Struct(_) => {
            nulls
                + array
                    .as_struct()
                    .columns()
                    .iter()
                    .map(|column| array_bytes(column))
                    .sum::<usize>()
        }
        D::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            array_bytes(dictionary.keys()) + share(dictionary.values(), array.len())
        }
        D::RunEndEncoded(..) => downcast_run_array! {
            array => runs(array),
            _ => array.get_array_memory_size(),
        },
        D::Union(..) => union(array.as_union()),
        _ => array
            .to_data()
            .get_slice_memory_size()
            .unwrap_or_else(|_| array.get_array_memory_size()),
    }
}

/// Views, and the values that are too long to be in them. Where the buffers are small they are taken whole, and no view is looked
/// at: most columns have short values.
fn views<T: ByteViewType>(array: &GenericByteViewArray<T>) -> usize {
    let views = array.views();
    let buffers: usize = array.data_buffers().iter().map(|buffer| buffer.len()).sum();
    let values = if buffers <= 64 * views.len() {
        buffers
    } else {
        views
            .iter()
            .map(|view| *view as u32 as usize)
            .filter(|length| *length > 12)
            .sum()
    };
    size_of_val(&views[..]) + values
}

fn ends<O: OffsetSizeTrait>(offsets: &[O]) -> (usize, usize) {
    let at = |offset: Option<&O>| offset.map_or(0, |offset| offset.as_usize());
    (at(offsets.first()), at(offsets.last()))
}

fn list<O: OffsetSizeTrait>(array: &GenericListArray<O>) -> usize {
    let (first, end) = ends(array.value_offsets());
    size_of_val(array.value_offsets()) + array_bytes(&array.values().slice(first, end - first))
}

fn list_view<O: OffsetSizeTrait>(array: &GenericListViewArray<O>) -> usize {
    let items = array.sizes().iter().map(|size| size.as_usize()).sum();
    2 * size_of_val(&array.sizes()[..]) + share(array.values(), items)
}

fn runs<R: RunEndIndexType>(array: &RunArray<R>) -> usize {
    let runs = array
        .get_end_physical_index()
        .saturating_sub(array.get_start_physical_index())
        + 1;
    let runs = runs.min(array.values().len());
    runs * size_of::<R::Native>() + share(array.values(), runs)
}

fn union(array: &UnionArray) -> usize {
    let children = array.type_ids().iter();
    let mut counts = [0_usize; 128];
    for id in children {
        if let Some(count) = usize::try_from(*id).ok().and_then(|id| counts.get_mut(id)) {
            *count += 1;
        }
    }
    let offsets = array
        .offsets()
        .map_or(0, |offsets| size_of_val(&offsets[..]));
    let child = |(id, _): (i8, _)| {
        let child: &ArrayRef = array.child(id);
        // The children of a sparse union have every row.
        let rows = if array.offsets().is_some() {
            counts[id as usize]
        } else {
            child.len()
        };
        share(child, rows)
    };
    let DataType::Union(fields, _) = array.data_type() else {
        return 0;
    };
    array.len() + offsets + fields.iter().map(child).sum::<usize>()
}

/// The bytes of `count` average values.
fn share(values: &ArrayRef, count: usize) -> usize {
    if values.is_empty() {
        return 0;
    }
    (array_bytes(values) as f64 * (count as f64 / values.len() as f64)) as usize
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{MapBuilder, StringBuilder};
    use arrow_array::types::{Int32Type, Int64Type};
    use arrow_array::{
        DictionaryArray, FixedSizeListArray, Int32Array, LargeListArray, ListArray, StringArray,
        StringViewArray, StructArray,
    };
    use arrow_schema::Field;

    use super::*;

    fn arrays() -> Vec<ArrayRef> {
        let numbers = Int32Array::from_iter_values(0..4000);
        let words: Vec<String> = (0..1000)
            .map(|row| format!("a value of some length, number {row:04}"))
            .collect();
        let list =
            || (0..1000).map(|row| Some((row..row + 4).map(Some).collect::<Vec<Option<i64>>>()));
        let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for word in &words {
            map.keys().append_value("key");
            map.values().append_value(word);
            map.append(true).expect("a map");
        }
        let words = StringArray::from(words);
        let ends = Int32Array::from_iter_values((1..=500).map(|run| run * 2));
        vec![
            Arc::new(StringViewArray::from_iter_values(words.iter().flatten())),
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(list())),
            Arc::new(LargeListArray::from_iter_primitive::<Int64Type, _, _>(
                list(),
            )),
            Arc::new(FixedSizeListArray::new(
                Arc::new(Field::new_list_field(DataType::Int32, false)),
                4,
                Arc::new(numbers),
                None,
            )),
            Arc::new(map.finish()),
            Arc::new(StructArray::from(vec![(
                Arc::new(Field::new("words", DataType::Utf8, false)),
                Arc::new(words.clone()) as ArrayRef,
            )])),
            Arc::new(
                words
                    .iter()
                    .flatten()
                    .collect::<DictionaryArray<Int32Type>>(),
            ),
            Arc::new(RunArray::<Int32Type>::try_new(&ends, &words.slice(0, 500)).expect("runs")),
            Arc::new(words),
        ]
    }

    #[test]
    fn the_slices_of_an_array_have_its_bytes_together() {
        for array in arrays() {
            let whole = array_bytes(&array);
            let slices: usize = (0..1000)
                .step_by(50)
                .map(|start| array_bytes(&array.slice(start, 50)))
                .sum();
            let off = slices as f64 / whole as f64;
            assert!(
                (0.98..1.1).contains(&off),
                "{} {whole} {slices}",
                array.data_type()
            );
        }
    }

    #[test]
    fn long_values_of_views_count() {
        let array: ArrayRef = Arc::new(StringViewArray::from(vec!["x".repeat(1 << 20); 3]));
        assert_eq!(array_bytes(&array), 3 * ((1 << 20) + 16));
        assert_eq!(array_bytes(&array.slice(1, 1)), (1 << 20) + 16);
    }
}
