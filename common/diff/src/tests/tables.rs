//! Tables of every type, made from numbers: what is equal on both sides is held otherwise on each.

use std::sync::Arc;

use arrow_array::builder::{
    Int32Builder, Int64Builder, ListBuilder, MapBuilder, PrimitiveRunBuilder, StringBuilder,
    StringDictionaryBuilder,
};
use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::{NullBuffer, ScalarBuffer, i256};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Fields};

use crate::Side;

/// Seeds of the values of a column; a null has none.
type Seeds = Vec<Option<i64>>;

fn primitive<T: ArrowPrimitiveType>(
    seeds: &Seeds,
    value: impl Fn(i64) -> T::Native,
) -> PrimitiveArray<T> {
    seeds.iter().map(|seed| seed.map(&value)).collect()
}

fn decimal<T: DecimalType>(
    seeds: &Seeds,
    (precision, scale): (u8, i8),
    value: impl Fn(i64) -> T::Native,
) -> ArrayRef {
    let array = primitive::<T>(seeds, value);
    Arc::new(
        array
            .with_precision_and_scale(precision, scale)
            .expect("digits"),
    )
}

fn text(seed: i64) -> String {
    format!("text {seed}").repeat((seed.unsigned_abs() % 5) as usize + 1)
}

fn texts(seeds: &Seeds) -> StringArray {
    seeds.iter().map(|seed| seed.map(text)).collect()
}

fn as_type(array: impl Array + 'static, to: &DataType) -> ArrayRef {
    cast(&array, to).expect("a cast")
}

fn float(seed: i64, nan: u64) -> f64 {
    match seed {
        7 => f64::from_bits(nan),
        -7 => f64::NEG_INFINITY,
        seed => seed as f64 / 4.0,
    }
}

fn lists(seeds: &Seeds) -> ListArray {
    let mut list = ListBuilder::new(Int32Builder::new());
    for seed in seeds {
        let Some(seed) = seed else {
            list.append_null();
            continue;
        };
        for item in 0..seed.rem_euclid(3) {
            list.values().append_value(item as i32);
        }
        list.values().append_null();
        list.values().append_value(*seed as i32);
        list.append(true);
    }
    list.finish()
}

fn maps(seeds: &Seeds) -> ArrayRef {
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for seed in seeds {
        if let Some(seed) = seed {
            map.keys().append_value("first");
            map.values().append_value(*seed);
            map.keys().append_value(text(*seed));
            map.values().append_null();
        }
        map.append(seed.is_some()).expect("a map");
    }
    Arc::new(map.finish())
}

fn structs(seeds: &Seeds, swapped: bool) -> ArrayRef {
    let number: ArrayRef = Arc::new(primitive::<Int16Type>(seeds, |seed| seed as i16));
    let words: ArrayRef = Arc::new(texts(seeds));
    let nulls = NullBuffer::from_iter(seeds.iter().map(Option::is_some));
    let mut columns = vec![
        (Field::new("n", DataType::Int16, true), number),
        (Field::new("t", DataType::Utf8, true), words),
    ];
    if swapped {
        columns.reverse();
    }
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    Arc::new(StructArray::new(Fields::from(fields), arrays, Some(nulls)))
}

fn fixed_lists(seeds: &Seeds) -> ArrayRef {
    let items: Vec<Option<i64>> = seeds.iter().flat_map(|seed| [*seed, Some(1)]).collect();
    let nulls = NullBuffer::from_iter(seeds.iter().map(Option::is_some));
    let field = Arc::new(Field::new("item", DataType::Int64, true));
    let values = Arc::new(Int64Array::from(items));
    Arc::new(FixedSizeListArray::new(field, 2, values, Some(nulls)))
}

/// The same lists, whose items lie in another order, with some between that belong to none.
fn list_views(seeds: &Seeds) -> ArrayRef {
    let (mut items, mut offsets) = (Vec::new(), vec![0; seeds.len()]);
    for (row, seed) in seeds.iter().enumerate().rev() {
        items.push(Some(99));
        offsets[row] = items.len() as i32;
        items.extend([seed.map(|seed| seed as i32), Some(1)]);
    }
    let nulls = NullBuffer::from_iter(seeds.iter().map(Option::is_some));
    let field = Arc::new(Field::new("x", DataType::Int32, true));
    Arc::new(ListViewArray::new(
        field,
        ScalarBuffer::from(offsets),
        ScalarBuffer::from(vec![2; seeds.len()]),
        Arc::new(Int32Array::from(items)),
        Some(nulls),
    ))
}

fn runs(seeds: &Seeds) -> ArrayRef {
    let mut runs = PrimitiveRunBuilder::<Int32Type, Int64Type>::new();
    seeds.iter().for_each(|seed| runs.append_option(*seed));
    Arc::new(runs.finish())
}

fn dictionary(seeds: &Seeds) -> ArrayRef {
    let mut words = StringDictionaryBuilder::<Int16Type>::new();
    seeds
        .iter()
        .for_each(|seed| words.append_option(seed.map(text)));
    Arc::new(words.finish())
}

type Builder = (&'static str, fn(&Seeds) -> ArrayRef, fn(&Seeds) -> ArrayRef);

/// Columns of every kind, with the types of the first side and of the second. Seeds are -100 to 100, and neighbours are other values.
pub(super) const COLUMNS: [Builder; 30] = [
    (
        "boolean",
        |seeds| {
            Arc::new(
                seeds
                    .iter()
                    .map(|seed| seed.map(|seed| seed % 2 == 0))
                    .collect::<BooleanArray>(),
            )
        },
        |seeds| {
            Arc::new(
                seeds
                    .iter()
                    .map(|seed| seed.map(|seed| seed % 2 == 0))
                    .collect::<BooleanArray>(),
            )
        },
    ),
    (
        "i8_i64",
        |seeds| Arc::new(primitive::<Int8Type>(seeds, |seed| seed as i8)),
        |seeds| Arc::new(primitive::<Int64Type>(seeds, |seed| seed)),
    ),
    (
        "u64_i16",
        |seeds| Arc::new(primitive::<UInt64Type>(seeds, |seed| (seed + 200) as u64)),
        |seeds| Arc::new(primitive::<Int16Type>(seeds, |seed| seed as i16 + 200)),
    ),
    (
        "u64_u32",
        |seeds| Arc::new(primitive::<UInt64Type>(seeds, |seed| (seed + 200) as u64)),
        |seeds| Arc::new(primitive::<UInt32Type>(seeds, |seed| (seed + 200) as u32)),
    ),
    (
        "i64_decimal",
        |seeds| Arc::new(primitive::<Int64Type>(seeds, |seed| seed)),
        |seeds| decimal::<Decimal128Type>(seeds, (10, 3), |seed| i128::from(seed) * 1000),
    ),
    (
        "decimals",
        |seeds| decimal::<Decimal128Type>(seeds, (10, 2), i128::from),
        |seeds| {
            decimal::<Decimal256Type>(seeds, (60, 12), |seed| {
                i256::from_i128(i128::from(seed) * 10_000_000_000)
            })
        },
    ),
    (
        "tens",
        |seeds| decimal::<Decimal32Type>(seeds, (5, -1), |seed| seed as i32),
        |seeds| decimal::<Decimal64Type>(seeds, (18, 1), |seed| seed * 100),
    ),
    (
        "f32_f64",
        |seeds| {
            Arc::new(primitive::<Float32Type>(seeds, |seed| {
                float(seed, 0x7ff8_0000_0000_0000) as f32
            }))
        },
        |seeds| {
            Arc::new(primitive::<Float64Type>(seeds, |seed| {
                float(seed, 0xfff8_0000_0000_0123)
            }))
        },
    ),
    (
        "f16_f64",
        |seeds| {
            Arc::new(primitive::<Float16Type>(seeds, |seed| {
                half::f16::from_f64(float(seed, 0x7ff8_0000_0000_0001))
            }))
        },
        |seeds| {
            Arc::new(primitive::<Float64Type>(seeds, |seed| {
                float(seed, 0x7ff8_0000_0000_0000)
            }))
        },
    ),
    (
        "i32_f64",
        |seeds| Arc::new(primitive::<Int32Type>(seeds, |seed| seed as i32)),
        |seeds| Arc::new(primitive::<Float64Type>(seeds, |seed| seed as f64)),
    ),
    (
        "utf8_view",
        |seeds| Arc::new(texts(seeds)),
        |seeds| as_type(texts(seeds), &DataType::Utf8View),
    ),
    ("dictionary_large", dictionary, |seeds| {
        as_type(texts(seeds), &DataType::LargeUtf8)
    }),
    ("runs_i64", runs, |seeds| {
        Arc::new(primitive::<Int64Type>(seeds, |seed| seed))
    }),
    (
        "binary_fixed",
        |seeds| {
            as_type(
                seeds
                    .iter()
                    .map(|seed| seed.map(i64::to_be_bytes))
                    .collect::<BinaryArray>(),
                &DataType::BinaryView,
            )
        },
        |seeds| {
            let bytes = seeds.iter().map(|seed| seed.map(i64::to_be_bytes));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, 8).expect("bytes"))
        },
    ),
    (
        "date32_date64",
        |seeds| Arc::new(primitive::<Date32Type>(seeds, |seed| seed as i32)),
        |seeds| Arc::new(primitive::<Date64Type>(seeds, |seed| seed * 86_400_000)),
    ),
    (
        "date32",
        |seeds| Arc::new(primitive::<Date32Type>(seeds, |seed| seed as i32)),
        |seeds| Arc::new(primitive::<Date32Type>(seeds, |seed| seed as i32)),
    ),
    (
        "time32_time64",
        |seeds| {
            Arc::new(primitive::<Time32SecondType>(seeds, |seed| {
                seed as i32 + 200
            }))
        },
        |seeds| {
            Arc::new(primitive::<Time64NanosecondType>(seeds, |seed| {
                (seed + 200) * 1_000_000_000
            }))
        },
    ),
    (
        "seconds_microseconds",
        |seeds| {
            Arc::new(primitive::<TimestampSecondType>(seeds, |seed| {
                seed * 10_000_000_000
            }))
        },
        |seeds| {
            Arc::new(primitive::<TimestampMicrosecondType>(seeds, |seed| {
                seed * 10_000_000_000_000_000
            }))
        },
    ),
    (
        "milliseconds",
        |seeds| Arc::new(primitive::<TimestampMillisecondType>(seeds, |seed| seed)),
        |seeds| Arc::new(primitive::<TimestampMillisecondType>(seeds, |seed| seed)),
    ),
    (
        "zones",
        |seeds| {
            Arc::new(primitive::<TimestampMicrosecondType>(seeds, |seed| seed).with_timezone("UTC"))
        },
        |seeds| {
            Arc::new(
                primitive::<TimestampNanosecondType>(seeds, |seed| seed * 1000)
                    .with_timezone("+01:00"),
            )
        },
    ),
    (
        "durations",
        |seeds| Arc::new(primitive::<DurationMillisecondType>(seeds, |seed| seed)),
        |seeds| {
            Arc::new(primitive::<DurationMicrosecondType>(seeds, |seed| {
                seed * 1000
            }))
        },
    ),
    (
        "months",
        |seeds| {
            Arc::new(primitive::<IntervalYearMonthType>(seeds, |seed| {
                seed as i32
            }))
        },
        |seeds| {
            Arc::new(primitive::<IntervalMonthDayNanoType>(seeds, |seed| {
                IntervalMonthDayNanoType::make_value(seed as i32, 0, 0)
            }))
        },
    ),
    (
        "days",
        |seeds| {
            Arc::new(primitive::<IntervalDayTimeType>(seeds, |seed| {
                IntervalDayTimeType::make_value(3, seed as i32)
            }))
        },
        |seeds| {
            Arc::new(primitive::<IntervalMonthDayNanoType>(seeds, |seed| {
                IntervalMonthDayNanoType::make_value(0, 3, seed * 1_000_000)
            }))
        },
    ),
    (
        "list_large_list",
        |seeds| Arc::new(lists(seeds)),
        |seeds| {
            as_type(
                lists(seeds),
                &DataType::LargeList(Arc::new(Field::new("item", DataType::Int64, true))),
            )
        },
    ),
    ("fixed_list_view", fixed_lists, list_views),
    (
        "struct",
        |seeds| structs(seeds, false),
        |seeds| structs(seeds, true),
    ),
    ("map", maps, maps),
    (
        "list_of_structs",
        |seeds| nested(seeds, false),
        |seeds| nested(seeds, true),
    ),
    (
        "null_first",
        |seeds| Arc::new(texts(seeds)),
        |seeds| Arc::new(texts(seeds)),
    ),
    (
        "utf8",
        |seeds| Arc::new(texts(seeds)),
        |seeds| Arc::new(texts(seeds)),
    ),
];

fn nested(seeds: &Seeds, swapped: bool) -> ArrayRef {
    let items = structs(seeds, swapped);
    let field = Arc::new(Field::new("item", items.data_type().clone(), true));
    let lengths = std::iter::repeat_n(1, seeds.len());
    let offsets = arrow_buffer::OffsetBuffer::from_lengths(lengths);
    Arc::new(ListArray::new(field, offsets, items, None))
}

/// A table: the key, and a column of each kind.
pub(super) fn table(seeds: &[Seeds], side: Side) -> RecordBatch {
    let rows = seeds[0].len() as i64;
    let ids: ArrayRef = match side {
        Side::A => Arc::new(Int32Array::from_iter_values(0..rows as i32)),
        Side::B => Arc::new(UInt64Array::from_iter_values(0..rows as u64)),
    };
    let columns = COLUMNS.iter().zip(seeds).map(|((name, a, b), seeds)| {
        let array = match side {
            Side::A => a(seeds),
            Side::B => b(seeds),
        };
        (*name, array, true)
    });
    RecordBatch::try_from_iter_with_nullable(std::iter::once(("id", ids, false)).chain(columns))
        .expect("a table")
}
