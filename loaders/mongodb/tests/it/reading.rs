//! Queries: what comes, in which types, and what goes wrong where.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use arrowload_core::{DataSource, ErrorKind, Query, Retry};
use arrowload_testkit::mongo::{Fault, MongoEmulator, MongoFault};
use bson::{Bson, doc};
use futures::StreamExt;

use crate::support::{collect, emulator, read, read_with_remarks, seed, source};
use crate::types;

fn names(batch: &RecordBatch) -> Vec<String> {
    let schema = batch.schema();
    schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect()
}

#[tokio::test]
async fn a_find_and_an_aggregate_answer_with_what_they_say() {
    let emulator = emulator();
    let rows: Vec<_> = (0..500)
        .map(|n| doc! { "n": n, "_id": n * 2, "name": format!("row {n}"), "deep": { "x": f64::from(n), "tags": ["a", "b"] } })
        .collect();
    seed(&emulator, "c", &rows);
    let source = source(&emulator).await;
    let all = read(&source, "SELECT * FROM c").await.expect("rows");
    assert_eq!(names(&all), ["_id", "n", "name", "deep"]);
    assert_eq!(all.num_rows(), 500);
    for (row, sent) in rows.iter().enumerate() {
        let came = types::document(&all, row);
        assert_eq!(came.get("deep"), sent.get("deep"));
        assert_eq!(came.get("n"), sent.get("n"));
    }
    let query = r#"{"collection": "c", "filter": {"n": {"$gte": 490}}, "projection": {"n": 1, "_id": 0}, "sort": {"n": -1}, "skip": 1, "limit": 3, "batchSize": 2}"#;
    let found = read(&source, query).await.expect("rows");
    assert_eq!(names(&found), ["n"]);
    let values: Vec<_> = (0..3).map(|row| types::document(&found, row)).collect();
    assert_eq!(
        values,
        [doc! { "n": 498 }, doc! { "n": 497 }, doc! { "n": 496 }]
    );
    let query = r#"{"collection": "c", "pipeline": [{"$match": {"n": {"$lt": 100}}}], "filter": {"n": {"$gte": 50}}, "sample": 20, "sort": {"n": -1}}"#;
    let sampled = read(&source, query).await.expect("rows");
    assert_eq!(sampled.num_rows(), 20);
    let numbers: Vec<i32> = (0..20)
        .map(|row| types::document(&sampled, row).get_i32("n").expect("n"))
        .collect();
    assert!(
        numbers.is_sorted_by(|one, other| one > other)
            && numbers.iter().all(|n| (50..100).contains(n))
    );
    let none = read(&source, r#"{"collection": "missing"}"#)
        .await
        .expect("no rows");
    assert_eq!((none.num_rows(), none.num_columns()), (0, 0));
    let refused = read(
        &source,
        r#"{"collection": "c", "pipeline": [{"$nonsense": {}}]}"#,
    )
    .await;
    let refused = refused.expect_err("a stage that is none");
    assert_eq!(
        (refused.kind(), refused.code()),
        (ErrorKind::Query, Some("40324"))
    );
}

#[tokio::test]
async fn types_are_widened_where_nothing_is_lost() {
    let emulator = emulator();
    seed(
        &emulator,
        "c",
        &[
            doc! { "_id": 1, "a": 1, "b": 1, "c": 5, "d": Bson::Decimal128("1.10".parse().expect("one")), "e": Bson::Null },
            doc! { "_id": 2, "a": 1_i64 << 40, "b": 1.5, "c": Bson::Decimal128("0.25".parse().expect("one")), "d": 7_i64 },
            doc! { "_id": 3, "a": 2, "b": 1_i64 << 50, "e": true },
        ],
    );
    let source = source(&emulator).await;
    let (rows, remarks) = read_with_remarks(&source, "SELECT * FROM c")
        .await
        .expect("rows");
    let kind = |name: &str| rows.column_by_name(name).expect(name).data_type().clone();
    assert_eq!(kind("a"), DataType::Int64);
    assert_eq!(kind("b"), DataType::Float64);
    assert_eq!(kind("c"), DataType::Decimal128(38, 2));
    assert_eq!(kind("d"), DataType::Decimal128(38, 2));
    assert_eq!(kind("e"), DataType::Boolean);
    assert_eq!(
        rows["a"].as_primitive::<Int64Type>().values(),
        &[1, 1 << 40, 2]
    );
    assert_eq!(
        rows["b"].as_primitive::<Float64Type>().values(),
        &[1.0, 1.5, (1_i64 << 50) as f64]
    );
    assert_eq!(remarks.len(), 4, "{remarks:?}");
    assert_eq!(
        remarks[1],
        "`b` holds int32 (1 value, first _id 1), double (1 value, first _id 2), int64 (1 value, first _id 3); it is read as Float64"
    );
}

#[tokio::test]
async fn types_that_do_not_meet_are_an_error_or_text_and_never_null() {
    let emulator = emulator();
    seed(
        &emulator,
        "c",
        &[
            doc! { "_id": 1, "v": { "w": 1 } },
            doc! { "_id": 2, "v": { "w": "one" } },
            doc! { "_id": 3, "v": { "w": "two" } },
        ],
    );
    // A double does not hold every int64.
    seed(
        &emulator,
        "wide",
        &[
            doc! { "_id": 1, "v": 1.5 },
            doc! { "_id": 2, "v": i64::MAX },
        ],
    );
    seed(
        &emulator,
        "odd",
        &[
            doc! { "_id": 1, "v": Bson::MinKey },
            doc! { "_id": 2, "v": Bson::Undefined },
        ],
    );
    let source = source(&emulator).await;
    let error = read(&source, "SELECT * FROM c")
        .await
        .expect_err("two types");
    assert_eq!(error.get("path"), Some("v.w"));
    for part in [
        "`v.w`",
        "int32 (1 value, first _id 1)",
        "string (2 values, first _id 2)",
        "mixed",
    ] {
        assert!(error.message().contains(part), "{error}");
    }
    let error = read(&source, "SELECT * FROM wide")
        .await
        .expect_err("two types");
    assert!(
        error.message().contains("int64 (1 value, first _id 2)"),
        "{error}"
    );
    let error = read(&source, "SELECT * FROM odd")
        .await
        .expect_err("no type");
    assert!(
        error.message().contains("MinKey") && error.message().contains("undefined"),
        "{error}"
    );

    let of = |rows: &RecordBatch| -> Vec<Bson> {
        let values = (0..rows.num_rows()).map(|row| types::document(rows, row));
        values
            .map(|each| each.get("v").cloned().expect("v"))
            .collect()
    };
    let json = read(&source, r#"{"collection": "c", "mixed": "json"}"#)
        .await
        .expect("JSON");
    let texts =
        [r#"{"$numberInt":"1"}"#, "\"one\"", "\"two\""].map(|text| Bson::from(doc! { "w": text }));
    assert_eq!(of(&json), texts);
    let text = read(&source, r#"{"collection": "c", "mixed": "string"}"#)
        .await
        .expect("text");
    assert_eq!(
        of(&text),
        ["1", "one", "two"].map(|text| Bson::from(doc! { "w": text }))
    );
    let odd = read(&source, r#"{"collection": "odd", "mixed": "json"}"#)
        .await
        .expect("JSON");
    assert_eq!(
        of(&odd),
        [r#"{"$minKey":1}"#, r#"{"$undefined":true}"#].map(Bson::from)
    );
    let whole = read(&source, r#"{"collection": "c", "json": ["v"]}"#)
        .await
        .expect("JSON");
    assert_eq!(of(&whole)[1], Bson::from(r#"{"w":"one"}"#));
}

#[tokio::test]
async fn a_later_type_ends_the_stream_and_is_known_the_next_time() {
    let emulator = emulator();
    let mut rows: Vec<_> = (0..300).map(|n| doc! { "_id": n, "v": n }).collect();
    rows[250] = doc! { "_id": 250, "v": 1_i64 << 40, "new": { "x": "late" } };
    seed(&emulator, "c", &rows);
    let source = source(&emulator).await;
    let text = r#"{"collection": "c", "sampleSize": 50, "batchSize": 50}"#;
    let query = Query::new(text);
    let stream = source.query(&query).await.expect("a stream");
    assert!(query.reading.found.is_sampled());
    let error = collect(stream).await.expect_err("a wider type");
    assert_eq!(error.retry(), Retry::Reopen);
    assert_eq!(
        (error.get("_id"), error.get("path")),
        (Some("250"), Some("v"))
    );
    let again = read(&source, text).await.expect("all rows");
    assert_eq!(again.num_rows(), 300);
    assert_eq!(again["v"].as_primitive::<Int64Type>().value(250), 1 << 40);
    assert_eq!(
        types::document(&again, 250).get("new"),
        Some(&Bson::from(doc! { "x": "late" }))
    );
    // All documents are looked at first.
    let other = crate::support::source(&emulator).await;
    let all = read(
        &other,
        r#"{"collection": "c", "infer": "all", "batchSize": 50}"#,
    )
    .await;
    assert_eq!(all.expect("all rows").num_rows(), 300);
}

#[tokio::test]
async fn maps_and_declared_types() {
    let emulator = emulator();
    seed(
        &emulator,
        "c",
        &[
            doc! { "_id": 1, "scores": { "ann": 1, "bob": 2_i64 }, "tags": [1, 2], "more": "x" },
            doc! { "_id": 2, "scores": {}, "tags": [] },
            doc! { "_id": 3 },
        ],
    );
    let source = source(&emulator).await;
    let rows = read(&source, r#"{"collection": "c", "maps": ["scores"]}"#)
        .await
        .expect("rows");
    assert!(
        matches!(rows["scores"].data_type(), DataType::Map(..)),
        "{rows:?}"
    );
    let first = types::document(&rows, 0);
    assert_eq!(
        first.get("scores"),
        Some(&Bson::from(doc! { "ann": 1_i64, "bob": 2_i64 }))
    );
    assert_eq!(
        types::document(&rows, 1).get("scores"),
        Some(&Bson::from(doc! {}))
    );
    assert_eq!(types::document(&rows, 2).get("scores"), Some(&Bson::Null));

    let typed = r#"{"collection": "c", "types": {"_id": "int64", "scores": {"$map": "decimal(20,1)"}, "tags": ["double"]}}"#;
    let rows = read(&source, typed).await.expect("rows");
    assert_eq!(names(&rows), ["_id", "scores", "tags"]);
    let first = types::document(&rows, 0);
    assert_eq!(first.get("tags"), Some(&Bson::from(vec![1.0, 2.0])));
    let error = read(
        &source,
        r#"{"collection": "c", "types": {"more": "int64"}}"#,
    )
    .await;
    let error = error.expect_err("no int64");
    assert_eq!(
        (error.get("path"), error.get("_id")),
        (Some("more"), Some("1"))
    );
    assert_eq!(error.retry(), Retry::Never);
}

/// A document with an element of this type, name and value, by hand.
fn raw(id: i32, elements: &[(u8, &[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(b"\x10_id\0");
    bytes.extend(id.to_le_bytes());
    for (kind, name, value) in elements {
        bytes.push(*kind);
        bytes.extend(*name);
        bytes.push(0);
        bytes.extend(*value);
    }
    bytes.push(0);
    let length = bytes.len() as i32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

fn deep(levels: usize) -> Vec<u8> {
    let mut inner = vec![5, 0, 0, 0, 0];
    for _ in 0..levels {
        let mut outer = (inner.len() as i32 + 8).to_le_bytes().to_vec();
        outer.extend(b"\x03d\0");
        outer.extend(inner);
        outer.push(0);
        inner = outer;
    }
    inner
}

async fn broken(emulator: &MongoEmulator, name: &str, document: Vec<u8>, path: &str, why: &str) {
    let good = raw(1, &[(0x10, b"a", &[1, 0, 0, 0])]);
    // In the sample, and after it.
    for (place, query) in [
        (1, "{\"collection\": \"X\"}"),
        (
            60,
            "{\"collection\": \"X\", \"sampleSize\": 10, \"batchSize\": 20}",
        ),
    ] {
        let collection = format!("{name}_{place}");
        let documents = (0..100).map(|n| {
            if n == place {
                document.clone()
            } else {
                good.clone()
            }
        });
        emulator.seed("test", &collection, documents);
        let source = source(emulator).await;
        let error = read(&source, &query.replace('X', &collection))
            .await
            .expect_err(name);
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{name}: {error}");
        assert_eq!(
            (error.get("path"), error.get("_id")),
            (Some(path), Some("7")),
            "{name}: {error}"
        );
        assert_eq!(
            error.get("document"),
            Some((place + 1).to_string().as_str()),
            "{name}"
        );
        assert!(error.message().contains(why), "{name}: {error}");
    }
}

#[tokio::test]
async fn broken_documents_are_errors_with_path_and_id() {
    let emulator = emulator();
    let text = |bytes: &[u8]| {
        let mut value = (bytes.len() as i32 + 1).to_le_bytes().to_vec();
        value.extend(bytes);
        value.push(0);
        value
    };
    let one: &[u8] = &[1, 0, 0, 0];
    broken(
        &emulator,
        "twice",
        raw(7, &[(0x10, b"a", one), (0x10, b"a", one)]),
        "a",
        "twice",
    )
    .await;
    broken(
        &emulator,
        "utf8",
        raw(7, &[(0x02, b"b", &text(b"\xff\xfe"))]),
        "b",
        "UTF-8",
    )
    .await;
    broken(
        &emulator,
        "name",
        raw(7, &[(0x10, b"\xff", one)]),
        "\u{fffd}",
        "UTF-8",
    )
    .await;
    broken(
        &emulator,
        "bool",
        raw(7, &[(0x08, b"b", &[2])]),
        "b",
        "bool",
    )
    .await;
    let inner = raw(7, &[(0x02, b"x", &text(b"\xff"))]);
    broken(
        &emulator,
        "inner",
        raw(7, &[(0x03, b"c", &inner)]),
        "c.x",
        "UTF-8",
    )
    .await;
    let bomb = raw(7, &[(0x03, b"d", &deep(5000))]);
    emulator.seed("test", "bomb", [bomb]);
    let error = read(&source(&emulator).await, "SELECT * FROM bomb")
        .await
        .expect_err("a bomb");
    assert!(
        error.message().contains("levels deep"),
        "{}",
        error.message()
    );
}

#[tokio::test]
async fn cursors_that_are_lost_and_connections_that_break_are_told() {
    let emulator = emulator();
    let rows: Vec<_> = (0..400).map(|n| doc! { "_id": n }).collect();
    seed(&emulator, "c", &rows);
    let source = source(&emulator).await;
    let query = r#"{"collection": "c", "batchSize": 50, "sampleSize": 10}"#;
    emulator.fail(MongoFault::new("getMore", Fault::KillCursors).after(2));
    let error = read(&source, query).await.expect_err("the cursor is gone");
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Connection, Some("43")),
        "{error}"
    );
    assert!(error.is_transient());
    emulator.fail(MongoFault::new("getMore", Fault::Cut).after(1));
    let error = read(&source, query)
        .await
        .expect_err("the connection is gone");
    assert!(
        error.is_transient() && error.kind() == ErrorKind::Connection,
        "{error}"
    );
    // The driver itself tries a find again when the primary has gone.
    emulator.fail(MongoFault::new(
        "find",
        Fault::Refuse {
            code: 10107,
            labels: Vec::new(),
        },
    ));
    assert_eq!(read(&source, query).await.expect("rows").num_rows(), 400);
    assert_eq!(emulator.faults_left(), 0);
    // A stream that is dropped leaves no cursor behind.
    let mut stream = source.query(&Query::new(query)).await.expect("a stream");
    stream.next().await.expect("a batch").expect("rows");
    drop(stream);
    for _ in 0..200 {
        if emulator.open_cursors() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{} cursors are left", emulator.open_cursors());
}

#[tokio::test]
async fn parameters_are_refused_and_nulls_are_nulls() {
    let emulator = emulator();
    seed(
        &emulator,
        "c",
        &[doc! { "_id": 1, "v": Bson::Null }, doc! { "_id": 2 }],
    );
    let source = source(&emulator).await;
    let rows = read(&source, "SELECT * FROM c").await.expect("rows");
    assert_eq!(rows["v"].data_type(), &DataType::Null);
    assert_eq!(rows["v"].logical_null_count(), 2);
    let params = arrowload_core::Params::Positional(vec![1_i64.into()]);
    let error = source
        .query(&Query::new("SELECT * FROM c").with_params(params))
        .await;
    assert_eq!(
        error.err().map(|error| error.kind()),
        Some(ErrorKind::Unsupported)
    );
}
