//! The same values under other names.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, make_array};
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType};

use crate::Result;

/// The same values in a type that differs only in what is said of fields inside of it: their names, their metadata, and
/// whether they may be null.
///
/// # Errors
/// If the types differ in more, or a field that may not be null is.
pub fn relabel(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    Ok(make_array(relabel_data(array.to_data(), to)?))
}

fn relabel_data(data: ArrayData, to: &DataType) -> Result<ArrayData, ArrowError> {
    let inside: Vec<&DataType> = match to {
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| field.data_type()).collect(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => vec![item.data_type()],
        DataType::RunEndEncoded(ends, values) => vec![ends.data_type(), values.data_type()],
        DataType::Dictionary(_, values) => vec![values.as_ref()],
        _ => Vec::new(),
    };
    let (found, wanted) = (data.child_data().len(), inside.len());
    if std::mem::discriminant(data.data_type()) != std::mem::discriminant(to) || found != wanted {
        return Err(ArrowError::SchemaError(format!(
            "{} is not {to} under other names",
            data.data_type()
        )));
    }
    let children = data
        .child_data()
        .iter()
        .zip(inside)
        .map(|(child, to)| relabel_data(child.clone(), to));
    let children = children.collect::<Result<Vec<_>, _>>()?;
    data.into_builder()
        .data_type(to.clone())
        .child_data(children)
        .build()
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Int64Type;
    use arrow_array::{Int64Array, ListArray, StructArray};
    use arrow_schema::Field;

    use super::*;

    #[test]
    fn names_change_all_the_way_down_and_values_do_not() {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
        ]);
        let array: ArrayRef = Arc::new(StructArray::from(vec![(
            Arc::new(Field::new("a", lists.data_type().clone(), true)),
            Arc::new(lists) as ArrayRef,
        )]));
        let item = Field::new("element", DataType::Int64, true)
            .with_metadata([("k".to_owned(), "v".to_owned())].into());
        let to =
            DataType::Struct(vec![Field::new("b", DataType::List(Arc::new(item)), true)].into());
        let renamed = relabel(&array, &to).expect("the same under other names");
        assert_eq!(renamed.data_type(), &to);
        assert_eq!(
            &relabel(&renamed, array.data_type()).expect("and back"),
            &array
        );
    }

    #[test]
    fn other_types_are_refused() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        relabel(&numbers, &DataType::Utf8).expect_err("no text");
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(
            vec![Some(1), None],
        )]));
        let strict = DataType::List(Arc::new(Field::new("item", DataType::Int64, false)));
        relabel(&list, &strict).expect_err("a null is inside");
    }
}
