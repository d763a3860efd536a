//! Values that need a look at the server's own text: nested ones, floats, times at their limits, text that it cannot hold.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, MapBuilder, StringBuilder};
use arrow_array::types::{Float32Type, Int32Type};
use arrow_array::*;
use arrow_buffer::IntervalMonthDayNano;
use arrow_schema::{DataType, Field, Fields, Schema};
use arrowload_core::{ErrorKind, Mode};
use serde_json::json;

use crate::server::database;
use crate::support::{batch, spec, with};

fn array(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_values_become_documents_with_all_their_digits() {
    let Some(database) = database("documents").await else {
        return;
    };
    let decimals = Decimal128Array::from(vec![Some(-5), None])
        .with_precision_and_scale(20, 3)
        .expect("a scale");
    let fields = Fields::from(vec![
        Field::new("d", decimals.data_type().clone(), true),
        Field::new("t", DataType::Utf8, true),
        Field::new("b", DataType::Binary, true),
        Field::new(
            "when",
            DataType::Timestamp(arrow_schema::TimeUnit::Nanosecond, None),
            true,
        ),
        Field::new("big", DataType::UInt64, true),
    ]);
    let columns = vec![
        array(decimals),
        array(StringArray::from(vec!["a\"\\\n\u{1}名", "x"])),
        array(BinaryArray::from_vec(vec![b"\0\xff", b""])),
        array(TimestampNanosecondArray::from(vec![
            1_709_210_096_123_456_789,
            0,
        ])),
        array(UInt64Array::from(vec![u64::MAX, 0])),
    ];
    let structs = StructArray::new(fields, columns, None);
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    maps.keys().append_value("k");
    maps.values().append_null();
    maps.append(true).expect("one length");
    maps.append(false).expect("one length");
    database
        .load(
            &spec("t", Mode::Append),
            &batch(vec![("s", array(structs)), ("m", array(maps.finish()))]),
        )
        .await;
    let rows = database
        .rows("SELECT s->>'d', s->>'t', s->>'b', s->>'when', s->>'big', m FROM t")
        .await;
    let first = "-0.005|a\"\\\n\u{1}名|\\x00ff|2024-02-29T12:34:56.123456789|18446744073709551615|{\"k\": null}";
    assert_eq!(rows, [first, "NULL|x|\\x|1970-01-01T00:00:00|0|NULL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_json_would_lose_is_refused() {
    let Some(database) = database("json_refused").await else {
        return;
    };
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for value in [1, 2] {
        maps.keys().append_value("twice");
        maps.values().append_value(value);
    }
    maps.append(true).expect("one length");
    let error = database
        .refused(
            &spec("t", Mode::Append),
            &batch(vec![("m", array(maps.finish()))]),
        )
        .await;
    assert!(
        error.kind() == ErrorKind::InvalidData && error.to_string().contains("twice"),
        "{error}"
    );
    let nan = StructArray::from(vec![(
        Arc::new(Field::new("f", DataType::Float64, true)),
        array(Float64Array::from(vec![f64::NAN])),
    )]);
    let error = database
        .refused(&spec("t", Mode::Append), &batch(vec![("s", array(nan))]))
        .await;
    assert!(
        error.kind() == ErrorKind::InvalidData && error.to_string().contains("NaN"),
        "{error}"
    );
    let field = |name: &str| Arc::new(Field::new(name, DataType::Int64, true));
    let twins = StructArray::from(vec![
        (field("a"), array(Int64Array::from(vec![1]))),
        (field("a"), array(Int64Array::from(vec![2]))),
    ]);
    let error = database
        .refused(&spec("t", Mode::Append), &batch(vec![("s", array(twins))]))
        .await;
    assert_eq!(
        (error.kind(), error.get("column")),
        (ErrorKind::UnsupportedType, Some("s")),
        "{error}"
    );
    assert!(
        database
            .rows("SELECT 1 FROM pg_class WHERE relname = 't'")
            .await
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn floats_keep_every_bit() {
    let Some(database) = database("floats").await else {
        return;
    };
    let values = vec![
        0.0,
        -0.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE / 4.0,
        f64::MAX,
        0.1,
        1e300,
        -123.456,
    ];
    let narrow: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    let columns = vec![
        ("d", array(Float64Array::from(values.clone()))),
        ("f", array(Float32Array::from(narrow))),
    ];
    database
        .load(&spec("t", Mode::Append), &batch(columns))
        .await;
    let rows = database
        .rows("SELECT encode(float8send(d), 'hex') FROM t")
        .await;
    let expected: Vec<String> = values
        .iter()
        .map(|value| format!("{:016x}", value.to_bits()))
        .collect();
    assert_eq!(rows, expected);
    // And as numerics: the digits that the server prints for the float itself.
    database.run("CREATE TABLE n (d numeric)").await;
    database
        .load(
            &spec("n", Mode::Append),
            &batch(vec![("d", array(Float64Array::from(values)))]),
        )
        .await;
    let numerics = database.rows("SELECT count(*) FROM n").await;
    assert_eq!(numerics, ["10"]);
    let differ = "SELECT d FROM n WHERE d::float8 NOT IN (SELECT d FROM t)";
    assert!(database.rows(differ).await.is_empty());
    assert_eq!(
        database
            .rows("SELECT d FROM n WHERE d IN (0.1, -123.456) ORDER BY 1")
            .await,
        ["-123.456", "0.1"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn times_keep_to_the_servers_range() {
    let Some(database) = database("times").await else {
        return;
    };
    let seconds = vec![-210_866_803_200, 253_402_300_799, 9_224_318_015_999];
    database
        .load(
            &spec("t", Mode::Append),
            &batch(vec![("v", array(TimestampSecondArray::from(seconds)))]),
        )
        .await;
    let rows = database.rows("SELECT v FROM t").await;
    assert_eq!(
        rows,
        [
            "4714-11-24 00:00:00 BC",
            "9999-12-31 23:59:59",
            "294276-12-31 23:59:59"
        ]
    );
    for outside in [-210_866_803_201, 9_224_318_016_000, i64::MAX, i64::MIN] {
        let values = array(TimestampSecondArray::from(vec![
            Some(0),
            None,
            Some(outside),
        ]));
        let error = database
            .refused(&spec("t", Mode::Append), &batch(vec![("v", values)]))
            .await;
        assert_eq!(
            (error.kind(), error.row(), error.get("column")),
            (ErrorKind::InvalidData, Some(2), Some("v")),
            "{error}"
        );
    }
    // What would be PostgreSQL's infinity.
    for micros in [i64::MIN, i64::MIN + 946_684_800_000_000] {
        let values = array(TimestampMicrosecondArray::from(vec![micros]));
        let error = database
            .refused(&spec("t", Mode::Append), &batch(vec![("v", values)]))
            .await;
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    }
    let days = array(Date32Array::from(vec![-2_440_588, 2_145_042_905]));
    database
        .load(&spec("d", Mode::Append), &batch(vec![("v", days)]))
        .await;
    assert_eq!(
        database.rows("SELECT v FROM d").await,
        ["4714-11-24 BC", "5874897-12-31"]
    );
    let error = database
        .refused(
            &spec("d", Mode::Append),
            &batch(vec![("v", array(Date32Array::from(vec![i32::MAX])))]),
        )
        .await;
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    let error = database
        .refused(
            &spec("d", Mode::Append),
            &batch(vec![("v", array(Date64Array::from(vec![1])))]),
        )
        .await;
    assert!(error.to_string().contains("midnight"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nanoseconds_are_refused_or_cut_as_asked() {
    let Some(database) = database("nanos").await else {
        return;
    };
    let columns = || {
        let interval = IntervalMonthDayNano::new(14, -3, 1_001_999);
        batch(vec![
            (
                "stamp",
                array(TimestampNanosecondArray::from(vec![-1]).with_timezone("Europe/Zurich")),
            ),
            (
                "time",
                array(Time64NanosecondArray::from(vec![86_399_999_999_999])),
            ),
            (
                "interval",
                array(IntervalMonthDayNanoArray::from(vec![interval])),
            ),
            ("duration", array(DurationNanosecondArray::from(vec![-1]))),
        ])
    };
    let error = database.refused(&spec("t", Mode::Append), &columns()).await;
    assert!(
        error.kind() == ErrorKind::InvalidData && error.to_string().contains("truncate_times"),
        "{error}"
    );
    database
        .load(&with("t", json!({ "truncate_times": true })), &columns())
        .await;
    let rows = database.rows("SET timezone = 'UTC'; SELECT * FROM t").await;
    assert_eq!(
        rows,
        [
            "1969-12-31 23:59:59.999999+00|23:59:59.999999|1 year 2 mons -3 days +00:00:00.001001|-00:00:00.000001"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nul_bytes_are_refused_or_replaced_as_asked() {
    let Some(database) = database("nul").await else {
        return;
    };
    let texts = array(StringArray::from(vec![Some("fine"), None, Some("a\0b\0")]));
    let views = array(StringViewArray::from(vec![
        Some("x"),
        Some("longer than twelve bytes \0"),
        None,
    ]));
    let rows = batch(vec![("t", texts), ("v", views)]);
    let error = database.refused(&spec("t", Mode::Append), &rows).await;
    assert_eq!(
        (error.kind(), error.row(), error.get("column")),
        (ErrorKind::InvalidData, Some(2), Some("t")),
        "{error}"
    );
    database
        .load(&with("t", json!({ "replace_nul": "␀" })), &rows)
        .await;
    let found = database.rows("SELECT t, v FROM t").await;
    assert_eq!(
        found,
        ["fine|x", "NULL|longer than twelve bytes ␀", "a␀b␀|NULL"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn arrays_and_encoded_columns_are_decoded_on_the_fly() {
    let Some(database) = database("arrays").await else {
        return;
    };
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(-7)]),
    ]);
    let words: DictionaryArray<Int32Type> = vec![Some("a"), None, Some("b"), Some("a")]
        .into_iter()
        .collect();
    let runs = RunArray::<Int32Type>::try_new(
        &Int32Array::from(vec![3, 4]),
        &Float32Array::from(vec![Some(1.5), None]),
    )
    .expect("runs");
    let fixed = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        vec![Some(vec![Some(1.0), Some(2.5)]), None, None, None],
        2,
    );
    let whole = batch(vec![
        ("l", array(list)),
        ("w", array(words)),
        ("r", array(runs)),
        ("f", array(fixed)),
    ]);
    database.load(&spec("t", Mode::Append), &whole).await;
    let expected = [
        "{1,NULL}|a|1.5|{1,2.5}",
        "NULL|NULL|1.5|NULL",
        "{}|b|1.5|NULL",
        "{-7}|a|NULL|NULL",
    ];
    assert_eq!(database.rows("SELECT * FROM t").await, expected);
    // A slice shows its own rows only.
    database
        .load(&spec("s", Mode::Append), &whole.slice(1, 3))
        .await;
    assert_eq!(database.rows("SELECT * FROM s").await, expected[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_longer_than_a_message_arrive_whole() {
    let Some(database) = database("long").await else {
        return;
    };
    let texts: Vec<String> = [0, 5_000_000, 3, 262_100, 262_144, 1_048_576, 1]
        .iter()
        .map(|length| "é".repeat(*length))
        .collect();
    let rows = batch(vec![
        ("id", array(Int32Array::from_iter_values(0..7))),
        ("t", array(StringArray::from(texts.clone()))),
    ]);
    database.load(&spec("t", Mode::Append), &rows).await;
    let found = database
        .rows("SELECT id, length(t), md5(t) = md5(repeat('é', length(t))) FROM t ORDER BY id")
        .await;
    let expected: Vec<String> = texts
        .iter()
        .enumerate()
        .map(|(id, text)| format!("{id}|{}|t", text.chars().count()))
        .collect();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tables_have_what_the_schema_says() {
    let Some(database) = database("new_tables").await else {
        return;
    };
    let comment = |field: Field, text: &str| {
        field.with_metadata([("comment".to_owned(), text.to_owned())].into())
    };
    let schema = Schema::new(vec![
        comment(Field::new("Key", DataType::Int64, false), "it's the \\ key"),
        Field::new("select", DataType::Utf8, false),
        Field::new("quote\"d; DROP TABLE t; --", DataType::Boolean, true),
    ]);
    let columns = vec![
        array(Int64Array::from(vec![1])),
        array(StringArray::from(vec!["x"])),
        array(BooleanArray::from(vec![true])),
    ];
    let rows = RecordBatch::try_new(Arc::new(schema), columns).expect("a batch");
    let mut load = spec("t", Mode::Create);
    load.load.keys = vec!["Key".into()];
    database.load(&load, &rows).await;
    let found = database
        .rows(
            "SELECT attname, attnotnull, col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0",
        )
        .await;
    assert_eq!(
        found,
        [
            "Key|t|it's the \\ key",
            "select|t|NULL",
            "quote\"d; DROP TABLE t; --|f|NULL"
        ]
    );
    assert_eq!(
        database
            .rows("SELECT indisprimary FROM pg_index WHERE indrelid = 't'::regclass")
            .await,
        ["t"]
    );
    let long = batch(vec![(
        "x".repeat(64).as_str(),
        array(Int64Array::from(vec![1])),
    )]);
    let error = database.refused(&spec("u", Mode::Append), &long).await;
    assert!(
        error.kind() == ErrorKind::InvalidOption && error.to_string().contains("64 bytes"),
        "{error}"
    );
    let system = batch(vec![("xmin", array(Int64Array::from(vec![1])))]);
    assert_eq!(
        database
            .refused(&spec("u", Mode::Append), &system)
            .await
            .kind(),
        ErrorKind::InvalidOption
    );
}
