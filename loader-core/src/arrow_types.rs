//! Helpers for Arrow types: the types nested in a type, the type without its encoding, and arrays relabelled with an
//! equivalent type.

use std::mem::discriminant;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, make_array};
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType, FieldRef};

use crate::Result;

/// The type of the values, without dictionaries and run-ends around them.
pub fn decoded(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => decoded(values),
        DataType::RunEndEncoded(_, values) => decoded(values.data_type()),
        other => other,
    }
}

/// Whether a type is text, of any layout. A dictionary is not: see [`decoded`].
pub fn is_text(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(data_type, T::Utf8 | T::LargeUtf8 | T::Utf8View)
}

/// Whether a type is bytes, of any layout or of a fixed length. A dictionary is not: see [`decoded`].
pub fn is_binary(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(
        data_type,
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_)
    )
}

/// The items of a list, of any layout or of a fixed length. A map has none, nor has a dictionary: see [`decoded`].
pub fn list_item(data_type: &DataType) -> Option<&FieldRef> {
    use DataType as T;
    match data_type {
        T::List(item)
        | T::LargeList(item)
        | T::ListView(item)
        | T::LargeListView(item)
        | T::FixedSizeList(item, _) => Some(item),
        _ => None,
    }
}

/// Whether the test is true for a type, or for a type nested in it at any depth.
pub fn holds(data_type: &DataType, such: &impl Fn(&DataType) -> bool) -> bool {
    such(data_type) || inside(data_type).any(|inside| holds(inside, such))
}

/// The types one level down, in the order of the arrays inside.
fn inside(data_type: &DataType) -> impl Iterator<Item = &DataType> {
    let list = match data_type {
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| field.data_type()).collect(),
        DataType::Map(entries, _) => vec![entries.data_type()],
        DataType::RunEndEncoded(ends, values) => vec![ends.data_type(), values.data_type()],
        DataType::Dictionary(_, values) => vec![values.as_ref()],
        other => list_item(other)
            .map(|item| item.data_type())
            .into_iter()
            .collect(),
    };
    list.into_iter()
}

/// The type with other fields one level down: those of structs, lists, maps, unions and runs. A dictionary has none.
pub fn map_fields(data_type: &DataType, map: impl Fn(&FieldRef) -> FieldRef) -> DataType {
    use DataType as T;
    match data_type {
        T::Struct(fields) => T::Struct(fields.iter().map(map).collect()),
        T::List(item) => T::List(map(item)),
        T::LargeList(item) => T::LargeList(map(item)),
        T::ListView(item) => T::ListView(map(item)),
        T::LargeListView(item) => T::LargeListView(map(item)),
        T::FixedSizeList(item, size) => T::FixedSizeList(map(item), *size),
        T::Map(entries, sorted) => T::Map(map(entries), *sorted),
        T::RunEndEncoded(ends, values) => T::RunEndEncoded(map(ends), map(values)),
        T::Union(fields, mode) => {
            let fields = fields.iter().map(|(id, field)| (id, map(field)));
            T::Union(fields.collect(), *mode)
        }
        other => other.clone(),
    }
}

/// The same values with a type that differs only in the description of its nested fields: their names, their metadata,
/// whether they may be null, and the zone of instants.
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
    let inside: Vec<&DataType> = inside(to).collect();
    if !is_alike(data.data_type(), to) || data.child_data().len() != inside.len() {
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

/// Whether two types lay out their values alike, and mean the same, as far as the types inside of them do.
fn is_alike(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (T::Timestamp(from, Some(_)), T::Timestamp(to, Some(_))) => from == to,
        (T::FixedSizeList(_, from), T::FixedSizeList(_, to)) => from == to,
        (T::Dictionary(from, _), T::Dictionary(to, _)) => from == to,
        (T::RunEndEncoded(..), T::RunEndEncoded(..)) => true,
        (T::Union(from, a), T::Union(to, b)) => {
            let ids = from.iter().map(|(id, _)| id);
            a == b && ids.eq(to.iter().map(|(id, _)| id))
        }
        (from, to) if from.is_nested() => discriminant(from) == discriminant(to),
        (from, to) => from == to,
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Int64Type;
    use arrow_array::{Int64Array, ListArray, StructArray, new_null_array};
    use arrow_schema::{Field, TimeUnit};

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

    #[test]
    fn other_values_are_refused_though_they_are_laid_out_alike() {
        let utc = |unit| DataType::Timestamp(unit, Some("UTC".into()));
        let micros = new_null_array(&utc(TimeUnit::Microsecond), 1);
        let paris = DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Paris".into()));
        let shown = relabel(&micros, &paris).expect("the same instants");
        assert_eq!(shown.data_type(), &paris);
        let (runs, to) = (
            encoded(utc(TimeUnit::Second)),
            encoded(utc(TimeUnit::Second)),
        );
        let DataType::RunEndEncoded(ends, values) = to else {
            panic!("runs");
        };
        let named = DataType::RunEndEncoded(ends, Arc::new(Field::clone(&values).with_name("v")));
        relabel(&new_null_array(&runs, 3), &named).expect("the same runs");
        for to in [
            utc(TimeUnit::Nanosecond),
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Int64,
        ] {
            relabel(&micros, &to).expect_err("another instant");
        }
        let decimal = new_null_array(&DataType::Decimal128(9, 2), 1);
        relabel(&decimal, &DataType::Decimal128(9, 4)).expect_err("another number");
        let pairs = |size| {
            DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Int8, true)), size)
        };
        relabel(&new_null_array(&pairs(2), 2), &pairs(4)).expect_err("other lists");
    }

    /// Runs of dictionaries of `values`.
    fn encoded(values: DataType) -> DataType {
        let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(values));
        DataType::RunEndEncoded(
            Arc::new(Field::new("run_ends", DataType::Int32, false)),
            Arc::new(Field::new("values", dictionary, true)),
        )
    }

    #[test]
    fn types_are_looked_through_and_into() {
        let item = Arc::new(Field::new("item", encoded(DataType::Date64), true));
        let list = DataType::LargeListView(Arc::clone(&item));
        assert_eq!(decoded(&encoded(list.clone())), &list);
        assert_eq!(list_item(&list), Some(&item));
        assert_eq!(list_item(&encoded(list.clone())), None);
        assert!(is_text(&DataType::Utf8View) && !is_text(&encoded(DataType::Utf8)));
        assert!(is_binary(&DataType::FixedSizeBinary(3)) && !is_binary(&DataType::Utf8));
        let table = DataType::Struct(vec![Field::new("f", encoded(list), true)].into());
        assert!(holds(&table, &|kind| *kind == DataType::Date64));
        assert!(!holds(&table, &|kind| *kind == DataType::Date32));
    }

    #[test]
    fn fields_are_mapped_one_level_down() {
        let renamed = |field: &FieldRef| Arc::new(Field::clone(field).with_name("x"));
        let inner = DataType::List(Arc::new(Field::new("item", DataType::Int8, true)));
        let of = |name: &str| Arc::new(Field::new(name, inner.clone(), true));
        let members = |name: &str| [(3, of(name))].into_iter().collect();
        let mode = arrow_schema::UnionMode::Sparse;
        for (from, to) in [
            (
                DataType::Struct([of("a")].into()),
                DataType::Struct([of("x")].into()),
            ),
            (DataType::ListView(of("a")), DataType::ListView(of("x"))),
            (
                DataType::FixedSizeList(of("a"), 2),
                DataType::FixedSizeList(of("x"), 2),
            ),
            (DataType::Map(of("a"), true), DataType::Map(of("x"), true)),
            (
                DataType::Union(members("a"), mode),
                DataType::Union(members("x"), mode),
            ),
            (DataType::Int8, DataType::Int8),
        ] {
            assert_eq!(map_fields(&from, renamed), to);
        }
    }
}
