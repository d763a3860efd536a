//! A sample is not the file: what a later value needs is remembered, and the reading begins again.

use arrowload_core::{DataSource, Reading, Retry};
use arrowload_datafusion::{DataFusionConfig, DataFusionSource};

use crate::*;

/// A column of so many whole numbers that the sample ends before the last value.
fn late(value: &str) -> String {
    format!("v,w\n{}{value},0\n", "7,0\n".repeat(400_000))
}

async fn direct(folder: &Path) -> DataFusionSource {
    let config = serde_json::json!({ "path": folder });
    let config: DataFusionConfig = serde_json::from_value(config).expect("a config");
    DataFusionSource::connect(config).await.expect("connected")
}

async fn drained(source: &DataFusionSource, query: &Query) -> Result<Vec<RecordBatch>, Error> {
    source.query(query).await?.try_collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_value_opens_the_input_again_with_a_wider_type() {
    let folder = folder();
    for (name, value) in [("text", "x"), ("decimal", "1.5"), ("zero", "007")] {
        write(folder.path(), &format!("{name}.csv"), late(value));
    }
    let source = direct(folder.path()).await;
    for (name, found, kind) in [
        ("text", "x", "Utf8"),
        ("decimal", "1.5", "Decimal128(38, 1)"),
        ("zero", "007", "Utf8"),
    ] {
        let query = Query::new(format!("SELECT v FROM {name}")).with_reading(Reading::default());
        let stream = source.query(&query).await.expect("a stream");
        assert_eq!(stream.schema().field(0).data_type().to_string(), "Int64");
        assert!(query.reading.found.is_sampled());
        let error = stream
            .try_collect::<Vec<_>>()
            .await
            .expect_err("it does not fit");
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::InvalidData, Retry::Reopen)
        );
        let text = error.to_string();
        for part in [found, "line: 400002", "column: v", name, "infer_rows"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let again = query.clone().with_reading(Reading::default());
        let batches = drained(&source, &again).await.expect("it fits");
        assert!(!again.reading.found.is_sampled());
        assert_eq!(batches[0].schema().field(0).data_type().to_string(), kind);
        let shown = shown(&batches);
        assert_eq!(shown.last().map(String::as_str), Some(found));
        assert_eq!(shown.len(), 400_001);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_are_proved_where_that_is_asked() {
    let folder = folder();
    write(folder.path(), "late.csv", late("x"));
    let source = direct(folder.path()).await;
    let mut reading = Reading::default();
    reading.prove = true;
    let query = Query::new("SELECT v, w FROM late").with_reading(reading);
    let schema = source.schema(&query).await.expect("a schema");
    assert_eq!(schema.field(0).data_type().to_string(), "Utf8");
    assert_eq!(schema.field(1).data_type().to_string(), "Int64");
    assert!(!query.reading.found.is_sampled());
    let remarks = query.reading.found.remarks().join("\n");
    assert!(
        remarks.contains("late.csv") && remarks.contains("v Utf8 (proved)"),
        "{remarks}"
    );
    let sql = "SELECT max(v) FROM read_csv('late.csv', infer_rows => 'all')";
    let batches = drained(&source, &Query::new(sql)).await.expect("rows");
    assert_eq!(shown(&batches), ["x"]);
}

#[tokio::test]
async fn types_of_files_that_do_not_meet_become_text() {
    let folder = with(&[
        ("t/1.csv", "v\n12345678901234567.89\n"),
        ("t/2.csv", "v\n1e5\n"),
    ]);
    let source = direct(folder.path()).await;
    let mut tries = 0;
    let batches = loop {
        match drained(&source, &Query::new("SELECT v FROM t")).await {
            Ok(batches) => break batches,
            Err(error) => assert_eq!(error.retry(), Retry::Reopen, "{error}"),
        }
        tries += 1;
        assert!(tries < 4, "it ends");
    };
    assert_eq!(shown(&batches), ["12345678901234567.89", "1e5"]);
}

/// A float of the target is taken where every value is one.
#[tokio::test]
async fn floats_of_the_target_round_nothing() {
    let folder = with(&[
        ("a.csv", "v,w,x\n9007199254740993,0.5,16777216\n1,0.25,1\n"),
        ("b.csv", "v,w,x\n1,0.12345678901234567890,16777217\n"),
        ("c.csv", "v,w,x\n1,2.50,0.1\n"),
        (
            "a.ndjson",
            "{\"v\":9007199254740993,\"w\":0.5,\"x\":16777216}\n",
        ),
        (
            "b.ndjson",
            "{\"v\":1,\"w\":0.12345678901234567890,\"x\":16777217}\n",
        ),
        ("c.ndjson", "{\"v\":1,\"w\":2.50,\"x\":0.1}\n"),
    ]);
    let source = direct(folder.path()).await;
    let field = |name: &str, kind| arrow_schema::Field::new(name, kind, true);
    let target = arrow_schema::Schema::new(vec![
        field("v", arrow_schema::DataType::Float64),
        field("w", arrow_schema::DataType::Float64),
        field("x", arrow_schema::DataType::Float32),
    ]);
    let target = Arc::new(target);
    for (name, expected) in [
        ("a", "Int64 Float64 Float32"),
        ("b", "Float64 Decimal128(38, 20) Int64"),
        ("c", "Float64 Float64 Float32"),
    ] {
        for ending in ["csv", "ndjson"] {
            let mut reading = Reading::default();
            reading.types = Some(Arc::clone(&target));
            let sql = format!("SELECT * FROM '{name}.{ending}'");
            let query = Query::new(sql.clone()).with_reading(reading);
            let schema = source.schema(&query).await.expect("a schema");
            let types = schema
                .fields()
                .iter()
                .map(|field| field.data_type().to_string());
            assert_eq!(types.collect::<Vec<_>>().join(" "), expected, "{sql}");
        }
    }
}

#[tokio::test]
async fn types_of_the_target_are_taken_for_columns_that_go_unchanged() {
    let folder = with(&[(
        "a.csv",
        "id,amount,code,day\n1,1.5,007,2024-01-01\n2,3,008,2024-01-02\n",
    )]);
    let source = direct(folder.path()).await;
    let target = arrow_schema::Schema::new(vec![
        arrow_schema::Field::new("id", arrow_schema::DataType::Int32, true),
        arrow_schema::Field::new("amount", arrow_schema::DataType::Decimal128(20, 2), true),
        arrow_schema::Field::new("code", arrow_schema::DataType::Int64, true),
        arrow_schema::Field::new("day", arrow_schema::DataType::Utf8, true),
        arrow_schema::Field::new("n", arrow_schema::DataType::Utf8, true),
    ]);
    let target = Arc::new(target);
    let schema = async |sql: &str| {
        let mut reading = Reading::default();
        reading.types = Some(Arc::clone(&target));
        let query = Query::new(sql).with_reading(reading);
        let schema = source.schema(&query).await;
        let schema = schema.unwrap_or_else(|error| panic!("{sql}: {error:#}"));
        let types = schema.fields().iter();
        types
            .map(|field| field.data_type().to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    write(folder.path(), "words.csv", "id,amount,code\nx,1.5,1\n");
    write(
        folder.path(),
        "j.ndjson",
        "{\"id\":1,\"amount\":1.5,\"code\":\"a\",\"day\":\"x\"}\n",
    );
    for (sql, expected) in [
        // Values that are none of the target's type keep their own.
        ("SELECT * FROM words", "Utf8 Decimal128(20, 2) Int64"),
        ("SELECT * FROM j", "Int32 Decimal128(20, 2) Utf8 Utf8"),
        ("SELECT * FROM a", "Int32 Decimal128(20, 2) Int64 Utf8"),
        (
            "SELECT * FROM read_csv('a.csv')",
            "Int32 Decimal128(20, 2) Int64 Utf8",
        ),
        ("SELECT code, id AS n FROM a LIMIT 1", "Int64 Utf8"),
        // What rows are chosen or ordered by, and what is computed with, is read as it is found.
        (
            "SELECT code, amount FROM a WHERE code = '007'",
            "Utf8 Decimal128(20, 2)",
        ),
        ("SELECT code, id FROM a ORDER BY code", "Utf8 Int32"),
        ("SELECT id, id + 1 AS n FROM a", "Int64 Int64"),
        ("SELECT DISTINCT code FROM a", "Utf8"),
        ("SELECT a.code FROM a, a AS b", "Utf8"),
        ("SELECT code FROM a UNION ALL SELECT code FROM a", "Utf8"),
    ] {
        assert_eq!(schema(sql).await, expected, "{sql}");
    }
}
