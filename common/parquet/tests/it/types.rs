//! Every Arrow type: arrives equal, or as the wider type that is announced, or is refused before the first write.

use std::sync::Arc;

use arrow_array::builder::{
    FixedSizeListBuilder, Int32Builder, ListBuilder, ListViewBuilder, MapBuilder, StringBuilder,
};
use arrow_array::types::{Float16Type, Int32Type, Int64Type, UInt16Type};
use arrow_array::*;
use arrow_buffer::{IntervalDayTime, NullBuffer, OffsetBuffer, i256};
use arrow_cast::cast;
use arrow_schema::{
    DataType, Field, Fields, IntervalUnit, Schema, TimeUnit, UnionFields, UnionMode,
};
use arrowload_common_parquet::{Encodings, ParquetOptions, storage_type, supports_type};
use arrowload_core::{ErrorKind, TypeSupport};

use crate::{load, memory, read, refusal, writer};

fn of<T: Array + 'static>(array: T) -> ArrayRef {
    Arc::new(array)
}

/// Extremes, zero and a null of each primitive type.
fn primitives() -> Vec<ArrayRef> {
    macro_rules! extremes {
        ($($array:ident, $native:ty);* $(;)?) => {
            vec![$(of($array::from(vec![Some(<$native>::MIN), None, Some(<$native>::MAX), Some(0 as $native), None, Some(7 as $native)]))),*]
        };
    }
    let mut all = extremes! {
        Int8Array, i8; Int16Array, i16; Int32Array, i32; Int64Array, i64; UInt8Array, u8; UInt16Array, u16; UInt32Array, u32;
        UInt64Array, u64; Float32Array, f32; Float64Array, f64; Date32Array, i32; TimestampMillisecondArray, i64;
        TimestampMicrosecondArray, i64; TimestampNanosecondArray, i64; DurationSecondArray, i64; DurationMillisecondArray, i64;
        DurationMicrosecondArray, i64; DurationNanosecondArray, i64; IntervalYearMonthArray, i32;
    };
    let clock = |top: i64| vec![Some(0), None, Some(top - 1), Some(1), None, Some(7)];
    let clock32 = |top: i64| {
        clock(top)
            .into_iter()
            .map(|value| value.map(|value| value as i32))
            .collect::<Vec<_>>()
    };
    all.extend([
        of(BooleanArray::from(vec![
            Some(true),
            None,
            Some(false),
            Some(true),
            None,
            Some(false),
        ])),
        of(Float64Array::from(vec![
            Some(f64::NAN),
            None,
            Some(f64::INFINITY),
            Some(-0.0),
            None,
            Some(f64::MIN_POSITIVE),
        ])),
        of([
            Some(1.5_f32),
            None,
            Some(-2.0),
            Some(f32::INFINITY),
            None,
            Some(0.0),
        ]
        .into_iter()
        .map(|value| value.map(half::f16::from_f32))
        .collect::<PrimitiveArray<Float16Type>>()),
        of(Date64Array::from(vec![
            Some(-86_400_000),
            None,
            Some(86_400_000 * 20_000),
            Some(0),
            None,
            Some(86_400_000),
        ])),
        of(TimestampSecondArray::from(vec![
            Some(-62_135_596_800),
            None,
            Some(253_402_300_799),
            Some(0),
            None,
            Some(1),
        ])),
        of(
            TimestampSecondArray::from(vec![Some(0), None, Some(1), Some(2), None, Some(3)])
                .with_timezone("Europe/Berlin"),
        ),
        of(
            TimestampMicrosecondArray::from(vec![Some(0), None, Some(1), Some(2), None, Some(3)])
                .with_timezone("+02:00"),
        ),
        of(Time32SecondArray::from(clock32(86_400))),
        of(Time32MillisecondArray::from(clock32(86_400_000))),
        of(Time64MicrosecondArray::from(clock(86_400_000_000))),
        of(Time64NanosecondArray::from(clock(86_400_000_000_000))),
        of(IntervalDayTimeArray::from(vec![
            Some(IntervalDayTime::new(1, 2)),
            None,
            Some(IntervalDayTime::new(-1, 0)),
            None,
            None,
            None,
        ])),
        of(NullArray::new(6)),
    ]);
    all
}

fn decimals() -> Vec<ArrayRef> {
    let mut all = Vec::new();
    for (precision, scale) in [(1, 0), (1, 1), (2, 1), (9, 0), (9, 9)] {
        let top = 10_i32.pow(precision) - 1;
        let small = Decimal32Array::from(vec![Some(top), None, Some(-top), Some(0), None, Some(1)]);
        all.push(of(small
            .with_precision_and_scale(precision as u8, scale)
            .unwrap()));
    }
    for (precision, scale) in [(1, 0), (9, 2), (10, 2), (18, 18), (18, 0)] {
        let top = 10_i64.pow(precision) - 1;
        let values = vec![Some(top), None, Some(-top), Some(0), None, Some(1)];
        all.push(of(Decimal64Array::from(values)
            .with_precision_and_scale(precision as u8, scale)
            .unwrap()));
    }
    for (precision, scale) in [
        (1, 0),
        (9, 2),
        (15, 2),
        (18, 3),
        (19, 3),
        (38, 38),
        (38, 10),
        (5, -2),
        (37, -1),
        (38, -1),
    ] {
        let top = 10_i128.pow(precision) - 1;
        let values = vec![Some(top), None, Some(-top), Some(0), None, Some(1)];
        all.push(of(Decimal128Array::from(values)
            .with_precision_and_scale(precision as u8, scale)
            .unwrap()));
    }
    for (precision, scale) in [(5, 1), (18, 0), (39, 4), (76, 0), (40, -3)] {
        let top = i256::from_i128(10).wrapping_pow(precision) - i256::ONE;
        let values = vec![
            Some(top),
            None,
            Some(-top),
            Some(i256::ZERO),
            None,
            Some(i256::ONE),
        ];
        all.push(of(Decimal256Array::from(values)
            .with_precision_and_scale(precision as u8, scale)
            .unwrap()));
    }
    all
}

fn texts() -> Vec<ArrayRef> {
    let texts = vec![
        Some("a"),
        None,
        Some(""),
        Some("zwölf Boxkämpfer jagen Viktor"),
        None,
        Some("\0\u{10FFFF}"),
    ];
    let strings = of(StringArray::from(texts.clone()));
    let mut all = vec![strings.clone()];
    use DataType as D;
    for to in [
        D::LargeUtf8,
        D::Utf8View,
        D::Binary,
        D::LargeBinary,
        D::BinaryView,
    ] {
        all.push(cast(&strings, &to).unwrap());
    }
    for value in [
        D::Utf8,
        D::LargeUtf8,
        D::Utf8View,
        D::Binary,
        D::LargeBinary,
    ] {
        for key in [D::Int8, D::UInt32, D::Int64] {
            let plain = cast(&strings, &value).unwrap();
            let keys = cast(
                &Int8Array::from(vec![Some(0), None, Some(2), Some(3), Some(1), Some(5)]),
                &key,
            )
            .unwrap();
            all.push(dictionary(&key, &keys, &plain));
        }
    }
    let fixed = vec![
        Some([1_u8, 2, 3]),
        None,
        Some([0; 3]),
        Some([255; 3]),
        None,
        Some([9; 3]),
    ];
    all.push(of(FixedSizeBinaryArray::try_from_sparse_iter_with_size(
        fixed.into_iter(),
        3,
    )
    .unwrap()));
    all
}

fn dictionary(key: &DataType, keys: &ArrayRef, values: &ArrayRef) -> ArrayRef {
    let data_type =
        DataType::Dictionary(Box::new(key.clone()), Box::new(values.data_type().clone()));
    let data = keys
        .to_data()
        .into_builder()
        .data_type(data_type)
        .add_child_data(values.to_data());
    make_array(data.build().unwrap())
}

fn other_dictionaries() -> Vec<ArrayRef> {
    let keys = of(Int8Array::from(vec![
        Some(0),
        None,
        Some(2),
        Some(3),
        Some(4),
        Some(5),
    ]));
    let few = |array: &ArrayRef| array.data_type() != &DataType::Null;
    let values = primitives().into_iter().chain(decimals()).filter(few);
    values
        .map(|values| dictionary(&DataType::Int8, &keys, &values))
        .collect()
}

fn nested() -> Vec<ArrayRef> {
    let lists = vec![
        Some(vec![Some(1), None, Some(3)]),
        None,
        Some(vec![]),
        Some(vec![Some(4)]),
        None,
        Some(vec![None]),
    ];
    let list = of(ListArray::from_iter_primitive::<Int32Type, _, _>(
        lists.clone(),
    ));
    let large = of(LargeListArray::from_iter_primitive::<Int64Type, _, _>(
        vec![Some(vec![Some(1)]), None, Some(vec![]), None, None, None],
    ));
    let fixed = FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(
        vec![
            Some(vec![Some(1), Some(2)]),
            None,
            Some(vec![None, Some(3)]),
            None,
            None,
            Some(vec![Some(5), Some(6)]),
        ],
        2,
    );
    let mut none = FixedSizeListBuilder::new(Int32Builder::new(), 0);
    [true, false, true, true, false, true]
        .into_iter()
        .for_each(|valid| none.append(valid));
    let mut views = ListViewBuilder::new(Int32Builder::new());
    for list in &lists {
        if let Some(values) = list {
            views.values().extend(values.iter().copied());
        }
        views.append(list.is_some());
    }
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for entry in [Some(2), None, Some(0), Some(1), None, Some(3)] {
        for key in 0..entry.unwrap_or(0) {
            map.keys().append_value(format!("k{key}"));
            map.values().append_option((key != 1).then_some(key));
        }
        map.append(entry.is_some()).unwrap();
    }
    let mut deep = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
    deep.append_value([Some(vec![Some("a"), None]), None]);
    deep.append_null();
    deep.append_value([Some(vec![]), Some(vec![Some("b")])]);
    deep.append_value([None::<Vec<Option<&str>>>]);
    deep.append_null();
    deep.append_value(Vec::<Option<Vec<Option<&str>>>>::new());
    let fields = Fields::from(vec![
        Field::new("stamp", DataType::Timestamp(TimeUnit::Second, None), true),
        Field::new("text", DataType::Utf8, false),
    ]);
    let nulls = NullBuffer::from(vec![true, false, true, true, true, false]);
    let columns = vec![
        of(TimestampSecondArray::from(vec![
            Some(1),
            None,
            None,
            Some(4),
            Some(5),
            None,
        ])),
        of(StringArray::from(vec!["a", "", "c", "d", "e", ""])),
    ];
    let structs = of(StructArray::new(fields, columns, Some(nulls)));
    let field = Arc::new(Field::new("item", structs.data_type().clone(), true));
    let of_structs = ListArray::new(
        field,
        OffsetBuffer::new(vec![0, 2, 2, 3, 4, 5, 6].into()),
        structs.clone(),
        None,
    );
    let ends: RunArray<Int32Type> = vec![Some("a"), Some("a"), None, None, Some("b"), Some("b")]
        .into_iter()
        .collect();
    let dates = of(Date64Array::from(vec![
        Some(86_400_000),
        None,
        Some(0),
        Some(0),
        None,
        Some(0),
    ]));
    let date_lists = ListArray::new(
        Arc::new(Field::new("item", DataType::Date64, true)),
        OffsetBuffer::from_lengths([1; 6]),
        dates,
        None,
    );
    vec![
        list,
        large,
        of(fixed),
        of(none.finish()),
        of(views.finish()),
        of(map.finish()),
        of(deep.finish()),
        structs,
        of(of_structs),
        of(ends),
        of(date_lists),
    ]
}

async fn check(array: ArrayRef) {
    let given = array.data_type().clone();
    let stored = storage_type(&given).unwrap_or_else(|reason| panic!("{given}: {reason}"));
    let expected = cast(&array, &stored).unwrap();
    let schema = Arc::new(Schema::new(vec![Field::new("a", given.clone(), true)]));
    let batch =
        |array: &ArrayRef| RecordBatch::try_new(schema.clone(), vec![array.clone()]).unwrap();
    for encodings in [Encodings::V1, Encodings::V2] {
        for (from, rows) in [(0, array.len()), (1, array.len() - 2)] {
            let options = ParquetOptions {
                encodings,
                ..ParquetOptions::default()
            };
            let (store, files) =
                load(schema.clone(), &[batch(&array.slice(from, rows))], options).await;
            let found = read(&store, &files[0]).await;
            let wanted = expected.slice(from, rows);
            assert_eq!(found.column(0).data_type(), &stored, "{given}");
            assert!(
                same(found.column(0), &wanted),
                "{given}: {:?} instead of {wanted:?}",
                found.column(0)
            );
            let stats = files[0].column_stats().unwrap();
            assert!(
                stats.is_empty() || stats[0].null_count == Some(wanted.logical_null_count() as u64),
                "{given}"
            );
        }
    }
}

/// Equal as values: a dictionary may come back with other keys for the same values.
fn same(found: &ArrayRef, wanted: &ArrayRef) -> bool {
    match found.data_type() {
        DataType::Dictionary(_, values) => {
            let plain = |array: &ArrayRef| cast(array, values).unwrap();
            plain(found).as_ref() == plain(wanted).as_ref()
        }
        _ => found.as_ref() == wanted.as_ref(),
    }
}

#[tokio::test]
async fn primitives_arrive() {
    for array in primitives() {
        check(array).await;
    }
}

#[tokio::test]
async fn decimals_arrive() {
    for array in decimals() {
        check(array).await;
    }
}

#[tokio::test]
async fn texts_arrive() {
    for array in texts() {
        check(array).await;
    }
}

#[tokio::test]
async fn dictionaries_arrive() {
    for array in other_dictionaries() {
        check(array).await;
    }
}

#[tokio::test]
async fn nested_values_arrive() {
    for array in nested() {
        check(array).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_columns_arrive_whatever_encoding_they_get() {
    let n = 70_000_u64;
    let scatter = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11;
    for distinct in [1, 2, 200, 5_000, u64::MAX] {
        let value = |row: u64| (scatter(row) % 11 != 0).then(|| scatter(scatter(row) % distinct));
        let strings = of((0..n)
            .map(|row| value(row).map(|value| format!("{value:x}")))
            .collect::<StringArray>());
        let decimals = (0..n)
            .map(|row| value(row).map(|value| i128::from(value >> 20)))
            .collect::<Decimal128Array>();
        for array in [
            of((0..n)
                .map(|row| value(row).map(|value| value as i64))
                .collect::<Int64Array>()),
            of((0..n)
                .map(|row| value(row).map(|value| value as i32))
                .collect::<Int32Array>()),
            of((0..n)
                .map(|row| value(row).map(|value| value as f64))
                .collect::<Float64Array>()),
            of((0..n)
                .map(|row| value(row).map(|value| value % 2 == 0))
                .collect::<BooleanArray>()),
            of(decimals.with_precision_and_scale(15, 2).unwrap()),
            cast(&strings, &DataType::Utf8View).unwrap(),
            cast(&strings, &DataType::LargeBinary).unwrap(),
            strings,
        ] {
            check(array).await;
        }
    }
    check(of((0..n as u32)
        .map(|row| Some(row / 4))
        .collect::<UInt32Array>()))
    .await;
}

#[tokio::test]
async fn dictionaries_differ_from_batch_to_batch() {
    let batch = |texts: [&str; 3]| {
        let array: DictionaryArray<UInt16Type> = texts.into_iter().collect();
        RecordBatch::try_from_iter([("a", of(array))]).unwrap()
    };
    let (first, second) = (batch(["x", "y", "x"]), batch(["z", "x", "z"]));
    let (store, files) = load(first.schema(), &[first, second], ParquetOptions::default()).await;
    let rows = cast(read(&store, &files[0]).await.column(0), &DataType::Utf8).unwrap();
    assert_eq!(
        rows.as_ref(),
        &StringArray::from(vec!["x", "y", "x", "z", "x", "z"]) as &dyn Array
    );
}

#[tokio::test]
async fn what_has_no_place_is_refused_before_the_first_write() {
    let item = |data_type| Arc::new(Field::new("item", data_type, true));
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    let union = DataType::Union(
        UnionFields::try_new([0], [Field::new("a", DataType::Int8, true)]).unwrap(),
        UnionMode::Sparse,
    );
    for data_type in [
        interval.clone(),
        union,
        DataType::Struct(Fields::empty()),
        DataType::FixedSizeBinary(0),
        DataType::Decimal256(76, -1),
        DataType::Decimal128(2, 3),
        DataType::List(item(interval.clone())),
        DataType::Dictionary(Box::new(DataType::Int8), Box::new(interval)),
        DataType::List(item(DataType::Struct(Fields::empty()))),
    ] {
        assert!(
            matches!(supports_type(&data_type), TypeSupport::Unsupported(_)),
            "{data_type}"
        );
        let schema = Arc::new(Schema::new(vec![
            Field::new("fine", DataType::Int8, true),
            Field::new("odd", data_type, true),
        ]));
        let refused = writer(memory().1, schema, ParquetOptions::default());
        assert_eq!(
            refusal(refused),
            (ErrorKind::UnsupportedType, Some("odd".into()))
        );
    }
    let never_null = Arc::new(Schema::new(vec![Field::new("n", DataType::Null, false)]));
    assert!(writer(memory().1, never_null, ParquetOptions::default()).is_err());
}

#[tokio::test]
async fn values_beyond_the_stored_type_are_refused_and_named() {
    let cases = [
        of(TimestampSecondArray::from(vec![i64::MAX])),
        of(Date64Array::from(vec![1])),
    ];
    for array in cases {
        let batch = RecordBatch::try_from_iter([("when", array)]).unwrap();
        let mut writer = writer(memory().1, batch.schema(), ParquetOptions::default()).unwrap();
        let refused = writer.write(&batch).await;
        assert_eq!(
            refusal(refused),
            (ErrorKind::InvalidData, Some("when".into()))
        );
    }
}
