//! Text and Arrow files, read back by pyarrow and DuckDB.

use std::path::Path;
use std::sync::Arc;

use arrow_array::types::{Float64Type, Int32Type};
use arrow_array::*;
use arrow_schema::DataType;
use arrowload_core::ErrorKind;
use arrowload_testkit::{canonical_rows, python};
use serde_json::json;
use tempfile::tempdir;

use crate::support::{batch, plan, rows, run};

/// Loads, and answers with the file's text.
async fn text_of(name: &str, batch: &RecordBatch, options: serde_json::Value) -> String {
    let folder = tempdir().expect("a folder");
    let target = folder.path().join(name);
    run(&target, batch, options).await.expect("a load");
    std::fs::read_to_string(target).expect("text")
}

fn awkward() -> RecordBatch {
    let text = [
        Some(""),
        None,
        Some("a,b"),
        Some("\"q\""),
        Some("l\r\nf"),
        Some("\\."),
        Some(" s "),
        Some("NULL"),
        Some("ü\u{feff}"),
    ];
    batch([
        (
            "id",
            Arc::new(Int64Array::from_iter_values(0..text.len() as i64)) as ArrayRef,
        ),
        (
            "odd \"name\",\n",
            Arc::new(StringArray::from(text.to_vec())),
        ),
    ])
}

#[tokio::test]
async fn csv_is_as_postgresql_reads_it() {
    let text = text_of("a.csv", &awkward(), json!({})).await;
    let expected = "id,\"odd \"\"name\"\",\n\"\n0,\"\"\n1,\n2,\"a,b\"\n3,\"\"\"q\"\"\"\n4,\"l\r\nf\"\n5,\"\\.\"\n6,\" s \"\n7,NULL\n8,ü\u{feff}\n";
    assert_eq!(text, expected);
    let text = text_of(
        "a.csv",
        &awkward(),
        json!({"delimiter": ";", "quote": "'", "null_text": "NULL", "header": false}),
    )
    .await;
    assert_eq!(
        text,
        "0;''\n1;NULL\n2;a,b\n3;'\"q\"'\n4;'l\r\nf'\n5;'\\.'\n6;' s '\n7;'NULL'\n8;ü\u{feff}\n"
    );
}

#[tokio::test]
async fn csv_of_one_null_column_is_never_an_empty_line() {
    let folder = tempdir().expect("a folder");
    let only = batch([(
        "x",
        Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef,
    )]);
    let error = run(folder.path().join("a.csv"), &only, json!({}))
        .await
        .expect_err("an empty line");
    assert_eq!(
        (error.kind(), error.row()),
        (ErrorKind::InvalidData, Some(1))
    );
    assert_eq!(
        text_of("a.csv", &only, json!({"null_text": "\\N"})).await,
        "x\n1\n\\N\n"
    );
    let empty = rows(0..0);
    assert_eq!(text_of("a.csv", &empty, json!({})).await, "id,name\n");
    assert_eq!(text_of("a.ndjson", &empty, json!({})).await, "");
}

fn scalars() -> RecordBatch {
    let decimals = Decimal128Array::from(vec![
        Some(-5),
        None,
        Some(99_999_999_999_999_999_999_999_999_999_999_999_999),
    ]);
    batch([
        (
            "boolean",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])) as ArrayRef,
        ),
        (
            "i64",
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
        ),
        (
            "u64",
            Arc::new(UInt64Array::from(vec![Some(0), None, Some(u64::MAX)])),
        ),
        (
            "f64",
            Arc::new(Float64Array::from(vec![
                Some(0.1),
                None,
                Some(-1.7976931348623157e308),
            ])),
        ),
        (
            "f32",
            Arc::new(Float32Array::from(vec![
                Some(16_777_216.0),
                None,
                Some(1.0e-45),
            ])),
        ),
        (
            "decimal",
            Arc::new(decimals.with_precision_and_scale(38, 4).expect("a decimal")),
        ),
        (
            "date",
            Arc::new(Date32Array::from(vec![
                Some(-719_528 + 366),
                None,
                Some(2_932_896),
            ])),
        ),
        (
            "time",
            Arc::new(Time64MicrosecondArray::from(vec![
                Some(0),
                None,
                Some(86_399_999_999),
            ])),
        ),
        (
            "moment",
            Arc::new(TimestampMicrosecondArray::from(vec![
                Some(-1),
                None,
                Some(253_402_300_799_999_999),
            ])),
        ),
        (
            "zoned",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1)])
                    .with_timezone("America/New_York"),
            ),
        ),
        (
            "text",
            Arc::new(StringViewArray::from(vec![
                Some(""),
                None,
                Some("a\"b\\c\n\u{1}ü"),
            ])),
        ),
        (
            "kind",
            Arc::new(
                vec![Some("x"), None, Some("y")]
                    .into_iter()
                    .collect::<DictionaryArray<Int32Type>>(),
            ),
        ),
    ])
}

/// The types that DuckDB should see, as it is told them.
const COLUMNS: &str = "{'boolean': 'BOOLEAN', 'i64': 'BIGINT', 'u64': 'UBIGINT', 'f64': 'DOUBLE', 'f32': 'FLOAT', 'decimal': 'DECIMAL(38,4)', \
    'date': 'DATE', 'time': 'TIME', 'moment': 'TIMESTAMP', 'zoned': 'TIMESTAMPTZ', 'text': 'VARCHAR', 'kind': 'VARCHAR'}";

fn assert_same(sent: &RecordBatch, path: &Path, sql: &str) {
    let read = python::query(sql, path).expect("a reader").expect("rows");
    assert_eq!(
        canonical_rows(sent),
        canonical_rows(&read),
        "{}",
        path.display()
    );
}

#[tokio::test]
async fn every_value_of_text_reads_back_in_duckdb() {
    if !python::available() {
        return;
    }
    let folder = tempdir().expect("a folder");
    for ending in ["csv", "csv.gz", "csv.zst"] {
        let target = folder.path().join(format!("a.{ending}"));
        run(&target, &scalars(), json!({})).await.expect(ending);
        let sql = format!(
            "SELECT * FROM read_csv($file, header = true, allow_quoted_nulls = false, columns = {COLUMNS})"
        );
        assert_same(&scalars(), &target, &sql);
    }
    for ending in ["ndjson", "jsonl.gz", "json.zst"] {
        let target = folder.path().join(format!("a.{ending}"));
        run(&target, &scalars(), json!({})).await.expect(ending);
        // DuckDB reads decimals in JSON by way of doubles; their digits are compared in a test of their own.
        let sql = format!(
            "SELECT * EXCLUDE (decimal) FROM read_json($file, format = 'newline_delimited', columns = {COLUMNS})"
        );
        let sql = sql.replace("DECIMAL(38,4)", "DOUBLE");
        let mut sent = scalars();
        sent.remove_column(sent.schema().index_of("decimal").expect("a column"));
        assert_same(&sent, &target, &sql);
    }
}

#[tokio::test]
async fn numbers_of_ndjson_have_every_digit() {
    let text = text_of("a.ndjson", &scalars(), json!({})).await;
    assert!(text.contains(r#""u64":18446744073709551615,"#), "{text}");
    assert!(
        text.contains(r#""decimal":9999999999999999999999999999999999.9999,"#),
        "{text}"
    );
    assert!(text.contains(r#""decimal":-0.0005,"#), "{text}");
    assert!(
        text.contains(r#""zoned":"1969-12-31T23:59:59.999999Z""#),
        "{text}"
    );
    assert!(
        text.lines()
            .nth(1)
            .is_some_and(|line| line.starts_with(r#"{"boolean":null,"i64":null,"#)),
        "{text}"
    );
    assert!(
        text.lines()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "{text}"
    );
}

#[tokio::test]
async fn ndjson_nests() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        Some(vec![]),
        None,
    ]);
    let mut map = builder::MapBuilder::new(
        None,
        builder::StringBuilder::new(),
        builder::Float64Builder::new(),
    );
    map.keys().append_value("k\"");
    map.values().append_value(1.5);
    map.append(true).expect("a map");
    map.append(true).expect("a map");
    map.append(false).expect("a map");
    let inner: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
    let nested = StructArray::from(vec![(
        Arc::new(arrow_schema::Field::new("s", DataType::Utf8, true)),
        inner,
    )]);
    let batch = batch([
        ("list", Arc::new(list) as ArrayRef),
        ("map", Arc::new(map.finish())),
        ("nested", Arc::new(nested)),
    ]);
    let text = text_of("a.ndjson", &batch.slice(0, 3), json!({})).await;
    let expected = "{\"list\":[1,null],\"map\":{\"k\\\"\":1.5},\"nested\":{\"s\":\"a\"}}\n{\"list\":[],\"map\":{},\"nested\":{\"s\":null}}\n{\"list\":null,\"map\":null,\"nested\":{\"s\":\"c\"}}\n";
    assert_eq!(text, expected);
    let sliced = text_of("a.ndjson", &batch.slice(1, 2), json!({})).await;
    assert_eq!(sliced, expected.split_once('\n').expect("lines").1);
    let error = run("a.csv", &batch, json!({})).await.expect_err("nested");
    assert_eq!(
        (error.kind(), error.get("column")),
        (ErrorKind::UnsupportedType, Some("list"))
    );
}

#[tokio::test]
async fn not_a_number_at_any_depth_is_a_string_in_ndjson() {
    let list = ListArray::from_iter_primitive::<Float64Type, _, _>(vec![
        Some(vec![Some(1.0), None]),
        Some(vec![Some(f64::INFINITY)]),
    ]);
    let runs = RunArray::<Int32Type>::try_new(
        &Int32Array::from(vec![1, 2]),
        &Float32Array::from(vec![f32::NEG_INFINITY, f32::NAN]),
    )
    .expect("runs");
    let batch = batch([("l", Arc::new(list) as ArrayRef), ("r", Arc::new(runs))]);
    assert_eq!(
        text_of("a.ndjson", &batch, json!({})).await,
        "{\"l\":[1.0,null],\"r\":\"-Infinity\"}\n{\"l\":[\"Infinity\"],\"r\":\"NaN\"}\n"
    );
}

#[tokio::test]
async fn every_float_of_ndjson_reads_back_in_duckdb() {
    if !python::available() {
        return;
    }
    let folder = tempdir().expect("a folder");
    for case in arrowload_testkit::type_cases()
        .into_iter()
        .filter(|case| case.values.data_type().is_floating())
    {
        let target = folder.path().join(format!("{}.ndjson", case.name));
        let sent = batch([("x", Arc::clone(&case.values))]);
        run(&target, &sent, json!({})).await.expect("a load");
        let kind = if *case.values.data_type() == DataType::Float64 {
            "DOUBLE"
        } else {
            "FLOAT"
        };
        let read = format!(
            "SELECT * FROM read_json($file, format = 'newline_delimited', columns = {{'x': '{kind}'}})"
        );
        assert_same(&sent, &target, &read);
    }
}

#[tokio::test]
async fn a_date_that_readers_disagree_on_is_refused() {
    let folder = tempdir().expect("a folder");
    let dates = batch([
        (
            "d",
            Arc::new(Date32Array::from(vec![0, i32::MAX])) as ArrayRef,
        ),
        ("e", Arc::new(Int64Array::from(vec![1, 2]))),
    ]);
    for name in ["a.csv", "a.ndjson"] {
        let error = run(folder.path().join(name), &dates, json!({}))
            .await
            .expect_err("the year 5881580");
        assert_eq!(
            (error.kind(), error.get("column"), error.row()),
            (ErrorKind::InvalidData, Some("d"), Some(1))
        );
    }
}

#[tokio::test]
async fn arrow_files_hold_every_type_as_planned() {
    if !python::available() {
        return;
    }
    let folder = tempdir().expect("a folder");
    for (kind, ending) in [("arrow", "arrow"), ("arrows", "arrows")] {
        for codec in ["none", "lz4", "zstd"] {
            for (number, case) in arrowload_testkit::type_cases().into_iter().enumerate() {
                let target = folder.path().join(format!("{codec}{number}.{ending}"));
                let batch = batch([("x", Arc::clone(&case.values))]);
                let plan = plan(&target, &batch, json!({"compression": codec}))
                    .await
                    .expect("a plan");
                let outcome = run(
                    &target,
                    &batch,
                    json!({"compression": codec, "verify": "checksum"}),
                )
                .await;
                assert!(
                    plan.check().is_ok() && outcome.is_ok(),
                    "{kind} {codec} {}: {outcome:?}",
                    case.values.data_type()
                );
            }
            let target = folder.path().join(format!("{codec}.{ending}"));
            run(&target, &scalars(), json!({"compression": codec}))
                .await
                .expect("a load");
            let read = python::read(kind, &target)
                .expect("a reader")
                .expect("rows");
            assert_eq!(canonical_rows(&scalars()), canonical_rows(&read));
        }
    }
}

#[tokio::test]
async fn what_is_planned_for_text_holds_for_every_type() {
    let folder = tempdir().expect("a folder");
    for case in arrowload_testkit::type_cases() {
        let batch = batch([("x", Arc::clone(&case.values))]);
        for name in ["a.csv", "a.ndjson"] {
            let target = folder.path().join(name);
            let planned = plan(&target, &batch, json!({"mode": "overwrite"}))
                .await
                .and_then(|plan| plan.check());
            let outcome = run(&target, &batch, json!({"mode": "overwrite"})).await;
            match (planned, outcome) {
                (Ok(()), Ok(report)) => assert_eq!(report.rows, batch.num_rows() as u64),
                // A value, such as a year beyond 9999 or NaN; the type as such is held.
                (Ok(()), Err(error)) => {
                    assert_eq!(
                        (error.kind(), error.get("column")),
                        (ErrorKind::InvalidData, Some("x")),
                        "{}: {error:?}",
                        case.name
                    )
                }
                (Err(_), outcome) => assert_eq!(
                    outcome.expect_err("refused").kind(),
                    ErrorKind::UnsupportedType,
                    "{}",
                    case.name
                ),
            }
        }
    }
}

#[tokio::test]
async fn binary_of_no_bytes_is_not_null() {
    let bytes = BinaryArray::from_opt_vec(vec![Some(b""), None, Some(&[0, 255])]);
    let batch = batch([
        ("b", Arc::new(bytes) as ArrayRef),
        ("i", Arc::new(Int64Array::from(vec![1, 2, 3]))),
    ]);
    assert_eq!(
        text_of("a.csv", &batch, json!({})).await,
        "b,i\n\"\",1\n,2\n00ff,3\n"
    );
    let expected = "{\"b\":\"\",\"i\":1}\n{\"b\":null,\"i\":2}\n{\"b\":\"00ff\",\"i\":3}\n";
    assert_eq!(text_of("a.ndjson", &batch, json!({})).await, expected);
}
