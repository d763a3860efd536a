//! One column of each Arrow type, with its extremes: what every loader must hold equal, widen as documented, or refuse.

use std::sync::Arc;

use arrow_array::builder::{
    Int64Builder, ListBuilder, MapBuilder, StringBuilder, StringViewBuilder,
};
use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::{IntervalDayTime, IntervalMonthDayNano, OffsetBuffer, ScalarBuffer, i256};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Fields, TimeUnit, UnionFields};
use half::f16;

/// A type and values of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TypeCase {
    /// The name in tables: the type, as Arrow writes it, and what is special about the values.
    pub name: String,
    /// Its field: nullable, with an extension type where the case is about one.
    pub field: Field,
    /// Values without a null, with extremes.
    pub values: ArrayRef,
}

impl TypeCase {
    fn new(name: &str, values: impl Array + 'static) -> Self {
        Self::of(name, Arc::new(values))
    }

    fn of(name: &str, values: ArrayRef) -> Self {
        let field = Field::new("value", values.data_type().clone(), true);
        Self {
            name: name.into(),
            field,
            values,
        }
    }

    fn extension(mut self, name: &str) -> Self {
        self.field = self
            .field
            .with_metadata([("ARROW:extension:name".to_owned(), name.to_owned())].into());
        self
    }
}

#[expect(clippy::expect_used, reason = "the cases are constants")]
fn converted(name: &str, values: &ArrayRef, to: &DataType) -> TypeCase {
    TypeCase::of(name, cast(values, to).expect("the case can be made"))
}

/// All cases.
pub fn type_cases() -> Vec<TypeCase> {
    [
        numbers(),
        decimals(),
        text_and_binary(),
        times(),
        nested(),
        encoded(),
    ]
    .concat()
}

fn numbers() -> Vec<TypeCase> {
    let halves = [
        f16::ZERO,
        f16::NEG_ZERO,
        f16::MAX,
        f16::MIN,
        f16::NAN,
        f16::INFINITY,
        f16::NEG_INFINITY,
    ];
    vec![
        TypeCase::new("Boolean", BooleanArray::from(vec![true, false])),
        TypeCase::new("Int8", Int8Array::from(vec![0, i8::MIN, i8::MAX])),
        TypeCase::new("Int16", Int16Array::from(vec![0, i16::MIN, i16::MAX])),
        TypeCase::new("Int32", Int32Array::from(vec![0, i32::MIN, i32::MAX])),
        TypeCase::new(
            "Int64",
            Int64Array::from(vec![0, i64::MIN, i64::MAX, (1 << 53) + 1]),
        ),
        TypeCase::new("UInt8", UInt8Array::from(vec![0, u8::MAX])),
        TypeCase::new("UInt16", UInt16Array::from(vec![0, u16::MAX])),
        TypeCase::new("UInt32", UInt32Array::from(vec![0, u32::MAX])),
        TypeCase::new("UInt64", UInt64Array::from(vec![0, u64::MAX, 1 << 63])),
        TypeCase::new("Float16", Float16Array::from(halves.to_vec())),
        TypeCase::new(
            "Float32",
            Float32Array::from(vec![
                0.0,
                -0.0,
                0.1,
                f32::MIN,
                f32::MAX,
                f32::MIN_POSITIVE,
                f32::NAN,
                f32::INFINITY,
                f32::NEG_INFINITY,
            ]),
        ),
        TypeCase::new(
            "Float64",
            Float64Array::from(vec![
                0.0,
                -0.0,
                0.1,
                f64::MIN,
                f64::MAX,
                5e-324,
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
            ]),
        ),
        TypeCase::new("Null", NullArray::new(3)),
    ]
}

fn decimals() -> Vec<TypeCase> {
    let ten = |power: u32| 10_i128.pow(power);
    let wide = [
        i256::ZERO,
        i256::from_i128(-1),
        i256::from_i128(ten(38) - 1).wrapping_mul(i256::from_i128(ten(37))),
    ];
    let case = |name: &str, array: ArrayRef, data_type: DataType| {
        let data = array.to_data().into_builder().data_type(data_type).build();
        TypeCase::of(name, data.map_or(array, make_array))
    };
    vec![
        case(
            "Decimal32(9, 2)",
            Arc::new(Decimal32Array::from(vec![0, -1, 999_999_999])),
            DataType::Decimal32(9, 2),
        ),
        case(
            "Decimal64(18, 6)",
            Arc::new(Decimal64Array::from(vec![0, -1, 999_999_999_999_999_999])),
            DataType::Decimal64(18, 6),
        ),
        case(
            "Decimal128(38, 0)",
            Arc::new(Decimal128Array::from(vec![0, ten(38) - 1, 1 - ten(38)])),
            DataType::Decimal128(38, 0),
        ),
        case(
            "Decimal128(38, 38)",
            Arc::new(Decimal128Array::from(vec![0, ten(38) - 1, -1])),
            DataType::Decimal128(38, 38),
        ),
        case(
            "Decimal128(15, 2)",
            Arc::new(Decimal128Array::from(vec![0, 100, -1, 123_456_789_012_345])),
            DataType::Decimal128(15, 2),
        ),
        case(
            "Decimal128(10, -3)",
            Arc::new(Decimal128Array::from(vec![0, 1, -1_234_567_890])),
            DataType::Decimal128(10, -3),
        ),
        case(
            "Decimal256(76, 20)",
            Arc::new(Decimal256Array::from(wide.to_vec())),
            DataType::Decimal256(76, 20),
        ),
    ]
}

fn text_and_binary() -> Vec<TypeCase> {
    let long = "x".repeat(100_000);
    let texts = vec![
        "",
        "a",
        "null",
        "NULL",
        "\\N",
        "quote\"d",
        "comma,s",
        "line\nbreak\r\n",
        " spaces ",
        "ünïcode 名 🦀",
        long.as_str(),
    ];
    let bytes: Vec<&[u8]> = vec![b"", b"\0", b"\xff\xfe", b"text", b"\\x00"];
    let text: ArrayRef = Arc::new(StringArray::from(texts));
    let binary: ArrayRef = Arc::new(BinaryArray::from_vec(bytes));
    let uuid = FixedSizeBinaryArray::from(vec![&[0_u8; 16], &[0xff; 16]]);
    vec![
        TypeCase::of("Utf8", Arc::clone(&text)),
        converted("LargeUtf8", &text, &DataType::LargeUtf8),
        converted("Utf8View", &text, &DataType::Utf8View),
        TypeCase::new("Utf8 with a NUL", StringArray::from(vec!["a\0b"])),
        TypeCase::of("Binary", Arc::clone(&binary)),
        converted("LargeBinary", &binary, &DataType::LargeBinary),
        converted("BinaryView", &binary, &DataType::BinaryView),
        TypeCase::new(
            "FixedSizeBinary(3)",
            FixedSizeBinaryArray::from(vec![b"abc", b"\0\xff\0"]),
        ),
        TypeCase::new("FixedSizeBinary(16), arrow.uuid", uuid).extension("arrow.uuid"),
        TypeCase::new(
            "Utf8, arrow.json",
            StringArray::from(vec!["{\"a\": [1, null]}", "null", "\"x\""]),
        )
        .extension("arrow.json"),
    ]
}

fn times() -> Vec<TypeCase> {
    // The years 1, 1969, 1970, 2024 and 9999, in days; nanoseconds reach from 1677 to 2262 only.
    let days = [-719_162, -1, 0, 19_782, 2_932_896];
    let seconds: Vec<i64> = days
        .iter()
        .map(|day| i64::from(*day) * 86_400 + 1)
        .collect();
    let scaled = |factor: i64| {
        seconds
            .iter()
            .map(|second| second * factor + 1)
            .collect::<Vec<i64>>()
    };
    let nanos = vec![
        -1,
        0,
        1_709_210_096_123_456_789,
        i64::MAX - 807,
        -9_223_372_036_000_000_001,
    ];
    let mut cases = vec![
        TypeCase::new("Date32", Date32Array::from(days.to_vec())),
        TypeCase::new(
            "Date64",
            Date64Array::from(
                days.iter()
                    .map(|day| i64::from(*day) * 86_400_000)
                    .collect::<Vec<_>>(),
            ),
        ),
        TypeCase::new("Time32(s)", Time32SecondArray::from(vec![0, 86_399])),
        TypeCase::new(
            "Time32(ms)",
            Time32MillisecondArray::from(vec![0, 1, 86_399_999]),
        ),
        TypeCase::new(
            "Time64(µs)",
            Time64MicrosecondArray::from(vec![0, 1, 86_399_999_999]),
        ),
        TypeCase::new(
            "Time64(ns)",
            Time64NanosecondArray::from(vec![0, 1, 86_399_999_999_999]),
        ),
        TypeCase::new(
            "Duration(s)",
            DurationSecondArray::from(vec![0, -1, 86_400]),
        ),
        TypeCase::new(
            "Duration(ms)",
            DurationMillisecondArray::from(vec![0, -1, 86_400_001]),
        ),
        TypeCase::new(
            "Duration(µs)",
            DurationMicrosecondArray::from(vec![0, -1, 86_400_000_001]),
        ),
        TypeCase::new(
            "Duration(ns)",
            DurationNanosecondArray::from(vec![0, -1, 86_400_000_000_001]),
        ),
        TypeCase::new(
            "Interval(YearMonth)",
            IntervalYearMonthArray::from(vec![0, -13, 25]),
        ),
        TypeCase::new(
            "Interval(DayTime)",
            IntervalDayTimeArray::from(vec![
                IntervalDayTime::new(1, -1),
                IntervalDayTime::new(0, 0),
            ]),
        ),
        TypeCase::new(
            "Interval(MonthDayNano)",
            IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, -2, 3)]),
        ),
    ];
    let stamps: [(&str, ArrayRef); 4] = [
        ("s", Arc::new(TimestampSecondArray::from(seconds.clone()))),
        (
            "ms",
            Arc::new(TimestampMillisecondArray::from(scaled(1_000))),
        ),
        (
            "µs",
            Arc::new(TimestampMicrosecondArray::from(scaled(1_000_000))),
        ),
        ("ns", Arc::new(TimestampNanosecondArray::from(nanos))),
    ];
    for (unit, stamps) in &stamps {
        cases.push(TypeCase::of(
            &format!("Timestamp({unit})"),
            Arc::clone(stamps),
        ));
        for zone in ["UTC", "Europe/Zurich", "+05:30"] {
            if let DataType::Timestamp(unit_type, _) = stamps.data_type() {
                cases.push(zoned(
                    &format!("Timestamp({unit}, {zone})"),
                    stamps,
                    *unit_type,
                    zone,
                ));
            }
        }
    }
    cases
}

#[expect(clippy::expect_used, reason = "a zone is a label")]
fn zoned(name: &str, stamps: &ArrayRef, unit: TimeUnit, zone: &str) -> TypeCase {
    let data = stamps
        .to_data()
        .into_builder()
        .data_type(DataType::Timestamp(unit, Some(zone.into())));
    TypeCase::of(name, make_array(data.build().expect("a zone is a label")))
}

fn nested() -> Vec<TypeCase> {
    let lists = || {
        vec![
            Some(vec![Some(1), None, Some(3)]),
            Some(vec![]),
            Some(vec![Some(-4)]),
        ]
    };
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists()));
    let fixed = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        vec![
            Some(vec![Some(1.5), None]),
            Some(vec![Some(0.0), Some(2.0)]),
        ],
        2,
    );
    let item = Arc::new(Field::new_list_field(DataType::Int32, true));
    let mut lists_of_text = ListBuilder::new(StringBuilder::new());
    lists_of_text.append_value([Some("a"), None, Some("")]);
    lists_of_text.append_value([None::<&str>; 0]);
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, Some("z")]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None]));
    let fields = Fields::from(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("number", DataType::Int64, true),
    ]);
    let simple = StructArray::new(fields.clone(), vec![names, numbers], None);
    let outer = Fields::from(vec![
        Field::new("inner", DataType::Struct(fields), true),
        Field::new("list", list.data_type().clone(), true),
    ]);
    let deep = StructArray::new(
        outer,
        vec![Arc::new(simple.clone()), Arc::clone(&list)],
        None,
    );
    let rows_of_structs = ListArray::new(
        Arc::new(Field::new_list_field(simple.data_type().clone(), true)),
        OffsetBuffer::from_lengths([2, 0, 1]),
        Arc::new(simple.clone()),
        None,
    );
    vec![
        TypeCase::of("List(Int32)", Arc::clone(&list)),
        converted(
            "LargeList(Int32)",
            &list,
            &DataType::LargeList(Arc::clone(&item)),
        ),
        converted(
            "ListView(Int32)",
            &list,
            &DataType::ListView(Arc::clone(&item)),
        ),
        converted(
            "LargeListView(Int32)",
            &list,
            &DataType::LargeListView(item),
        ),
        TypeCase::new("FixedSizeList(2 x Float32)", fixed),
        TypeCase::new("List(Utf8)", lists_of_text.finish()),
        TypeCase::new("List(List(Int32))", list_of_lists(&list)),
        TypeCase::new("Struct", simple),
        TypeCase::new("Struct(Struct, List)", deep),
        TypeCase::new("List(Struct)", rows_of_structs),
        map(),
        union(true),
        union(false),
    ]
}

fn list_of_lists(list: &ArrayRef) -> ListArray {
    let item = Arc::new(Field::new_list_field(list.data_type().clone(), true));
    ListArray::new(
        item,
        OffsetBuffer::from_lengths([2, 0, 1]),
        Arc::clone(list),
        None,
    )
}

#[expect(clippy::expect_used, reason = "keys and values have one length")]
fn map() -> TypeCase {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    builder.keys().append_value("a");
    builder.values().append_value(1);
    builder.keys().append_value("b");
    builder.values().append_null();
    builder.append(true).expect("one length");
    builder.append(true).expect("one length");
    TypeCase::new("Map(Utf8, Int64)", builder.finish())
}

#[expect(clippy::expect_used, reason = "the parts fit")]
fn union(dense: bool) -> TypeCase {
    let fields: UnionFields = [
        (0, Arc::new(Field::new("number", DataType::Int64, true))),
        (1, Arc::new(Field::new("text", DataType::Utf8, true))),
    ]
    .into_iter()
    .collect();
    let ids = ScalarBuffer::from(vec![0_i8, 1]);
    let (numbers, texts, offsets): (ArrayRef, ArrayRef, _) = if dense {
        (
            Arc::new(Int64Array::from(vec![1])),
            Arc::new(StringArray::from(vec!["a"])),
            Some(ScalarBuffer::from(vec![0, 0])),
        )
    } else {
        (
            Arc::new(Int64Array::from(vec![Some(1), None])),
            Arc::new(StringArray::from(vec![None, Some("a")])),
            None,
        )
    };
    let name = if dense {
        "Union(dense)"
    } else {
        "Union(sparse)"
    };
    TypeCase::new(
        name,
        UnionArray::try_new(fields, ids, offsets, vec![numbers, texts]).expect("the parts fit"),
    )
}

#[expect(clippy::expect_used, reason = "the parts fit")]
fn runs<R: RunEndIndexType>(name: &str, ends: Vec<R::Native>) -> TypeCase {
    let ends = PrimitiveArray::<R>::from_iter_values(ends);
    TypeCase::new(
        name,
        RunArray::<R>::try_new(&ends, &StringArray::from(vec!["a", "b"])).expect("the parts fit"),
    )
}

fn encoded() -> Vec<TypeCase> {
    let words: DictionaryArray<Int32Type> = ["a", "b", "a", ""].into_iter().collect();
    let bytes: DictionaryArray<UInt8Type> = DictionaryArray::new(
        UInt8Array::from(vec![1, 0]),
        Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX])),
    );
    let holes = DictionaryArray::new(
        Int8Array::from(vec![0, 1, 0]),
        Arc::new(StringArray::from(vec![Some("a"), None])),
    );
    let mut views = StringViewBuilder::new().with_fixed_block_size(64);
    for index in 0..40 {
        views.append_value(format!("a text that is longer than twelve bytes {index}"));
    }
    vec![
        TypeCase::new("Dictionary(Int32, Utf8)", words),
        TypeCase::new("Dictionary(UInt8, Int64)", bytes),
        TypeCase::new("Dictionary(Int8, Utf8), a null among the values", holes),
        runs::<Int16Type>("RunEndEncoded(Int16, Utf8)", vec![2, 3]),
        runs::<Int32Type>("RunEndEncoded(Int32, Utf8)", vec![2, 3]),
        runs::<Int64Type>("RunEndEncoded(Int64, Utf8)", vec![2, 3]),
        TypeCase::new("Utf8View over several buffers", views.finish()),
    ]
}
