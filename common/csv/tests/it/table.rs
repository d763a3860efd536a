//! Tables of types that can be proved, as Arrow arrays and as text.

use std::sync::Arc;

use arrow_array::types::*;
use arrow_array::{
    Array, ArrayRef, BooleanArray, PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Field, Schema};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;

/// The cells of batches, row by row: nulls are `~`, a `~` of a text is written twice.
pub(crate) fn cells(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for batch in batches {
        let options = FormatOptions::default();
        let columns: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).expect("has text"))
            .collect();
        for row in 0..batch.num_rows() {
            let cell = |(index, column): (usize, &ArrayFormatter<'_>)| {
                if batch.column(index).is_null(row) {
                    "~".to_owned()
                } else {
                    column.value(row).to_string().replace('~', "~~")
                }
            };
            rows.push(columns.iter().enumerate().map(cell).collect());
        }
    }
    rows
}

/// The same value, though one is written with more zeros, or a decimal and the other a float.
pub(crate) fn same(expected: &str, found: &str) -> bool {
    if expected == found {
        return true;
    }
    let number = |text: &str| {
        let digits = text.trim_start_matches('-');
        !digits.is_empty() && digits.starts_with(|first: char| first.is_ascii_digit())
    };
    if !number(expected) || !number(found) {
        // A time with fewer digits.
        return !expected.contains(char::is_alphabetic)
            && expected.contains(':')
            && trimmed(expected) == trimmed(found);
    }
    if expected.contains(':') || found.contains(':') {
        return trimmed(expected) == trimmed(found);
    }
    if expected.contains(['e', 'E']) || found.contains(['e', 'E']) {
        let (left, right): (f64, f64) = (
            expected.parse().expect("a number"),
            found.parse().expect("a number"),
        );
        return left.to_bits() == right.to_bits();
    }
    trimmed(expected) == trimmed(found)
}

/// Without zeros at the end of a fraction.
fn trimmed(text: &str) -> String {
    let (body, zone) = match text.strip_suffix('Z') {
        Some(body) => (body, "Z"),
        None => (text, ""),
    };
    let body = if body.contains('.') {
        body.trim_end_matches('0').trim_end_matches('.')
    } else {
        body
    };
    format!("{body}{zone}")
}

pub(crate) fn assert_same(expected: &[Vec<String>], found: &[Vec<String>]) {
    assert_eq!(expected.len(), found.len(), "rows");
    for (row, (expected, found)) in expected.iter().zip(found).enumerate() {
        assert_eq!(expected.len(), found.len(), "fields of row {row}");
        for (column, (left, right)) in expected.iter().zip(found).enumerate() {
            assert!(
                same(left, right),
                "row {row}, column {column}: {left:?} became {right:?}"
            );
        }
    }
}

fn primitive<T: ArrowPrimitiveType>(
    values: BoxedStrategy<T::Native>,
    rows: usize,
    data_type: DataType,
) -> BoxedStrategy<ArrayRef> {
    vec(weighted(0.8, values), rows)
        .prop_map(move |values| {
            let array = values.into_iter().collect::<PrimitiveArray<T>>();
            Arc::new(array.with_data_type(data_type.clone())) as ArrayRef
        })
        .boxed()
}

use arrow_array::ArrowPrimitiveType;
use arrow_schema::TimeUnit::{Microsecond, Nanosecond};

/// A column of one of the types that are proved.
fn typed(rows: usize) -> BoxedStrategy<ArrayRef> {
    let micro = -62_167_219_200_000_000..253_402_300_800_000_000_i64;
    prop_oneof![
        primitive::<Int64Type>(
            prop_oneof![any::<i64>(), -100..100_i64].boxed(),
            rows,
            DataType::Int64
        ),
        (0..12_i8).prop_flat_map(move |scale| primitive::<Decimal128Type>(
            prop_oneof![-10_i128.pow(37)..10_i128.pow(37), -10_000..10_000_i128].boxed(),
            rows,
            DataType::Decimal128(38, scale)
        )),
        primitive::<Float64Type>(
            prop_oneof![
                any::<f64>().prop_filter("a number", |value| value.is_finite()),
                (-1000..1000_i32).prop_map(|value| f64::from(value) / 8.0),
                Just(f64::INFINITY),
                Just(-0.0)
            ]
            .boxed(),
            rows,
            DataType::Float64
        ),
        primitive::<Date32Type>((-719_528..2_932_897_i32).boxed(), rows, DataType::Date32),
        primitive::<TimestampMicrosecondType>(
            micro.clone().boxed(),
            rows,
            DataType::Timestamp(Microsecond, None)
        ),
        primitive::<TimestampMicrosecondType>(
            micro.boxed(),
            rows,
            DataType::Timestamp(Microsecond, Some("UTC".into()))
        ),
        primitive::<TimestampNanosecondType>(
            any::<i64>().boxed(),
            rows,
            DataType::Timestamp(Nanosecond, None)
        ),
        primitive::<Time64MicrosecondType>(
            (0..86_400_000_000_i64).boxed(),
            rows,
            DataType::Time64(Microsecond)
        ),
        vec(weighted(0.8, any::<bool>()), rows)
            .prop_map(|values| Arc::new(BooleanArray::from(values)) as ArrayRef),
    ]
    .boxed()
}

fn texts(rows: usize) -> BoxedStrategy<ArrayRef> {
    let text = prop_oneof![
        "[b-hj-m ,;|\"'*\n\r\\t\\\\é]{0,8}",
        "(Dear \"x\",\nline\r\n\n)?[bcd]{0,3}",
        Just(String::new()),
        Just("0123".to_owned()),
    ];
    vec(weighted(0.85, text), rows)
        .prop_map(|values| Arc::new(StringArray::from(values)) as ArrayRef)
        .boxed()
}

/// Columns `c0`, `c1`, …, at least two.
pub(crate) fn table(rows: std::ops::Range<usize>) -> BoxedStrategy<RecordBatch> {
    rows.prop_flat_map(|rows| {
        let column = prop_oneof![2 => typed(rows), 1 => texts(rows)];
        vec(column, 2..6).prop_map(move |columns| batch(columns, rows))
    })
    .boxed()
}

pub(crate) fn batch(columns: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    let field = |(index, column): (usize, &ArrayRef)| {
        Field::new(format!("c{index}"), column.data_type().clone(), true)
    };
    let fields: Vec<Field> = columns.iter().enumerate().map(field).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .expect("fits")
}

/// The text of each cell, or nothing for null.
pub(crate) fn written(batch: &RecordBatch) -> Vec<Vec<Option<String>>> {
    let unwrap = |cell: String| (cell != "~").then(|| cell.replace("~~", "~"));
    cells(std::slice::from_ref(batch))
        .into_iter()
        .map(|row| row.into_iter().map(unwrap).collect())
        .collect()
}
