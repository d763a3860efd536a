//! Loads of files through the pipeline: what a load asks of a reading, and what it answers.

use arrowload_core::memory::{put_table, read_table};
use arrowload_core::{
    Input, LoadReport, LoadSpec, Loader, OnError, UNPARSED_BYTES, UNPARSED_LINE, UNPARSED_OPTIONS,
    load, read_dead_letters,
};

use crate::*;

/// Loads the answer into a table in memory.
async fn into_memory(
    folder: &Path,
    sql: &str,
    table: &str,
    change: impl FnOnce(&mut LoadSpec),
) -> Result<LoadReport, Error> {
    let registry = Registry::linked().expect("no twins");
    let descriptor = registry.loader("memory").expect("linked");
    let loader = Loader::connect(descriptor, &Settings::new(), 0).await?;
    let mut spec = LoadSpec::new(table);
    change(&mut spec);
    let input = Input::query(over(folder).await, Query::new(sql));
    load(&loader, &spec, &input).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_begins_again_with_the_wider_type() {
    let text = format!("v,w\n{}1.50,0\n007,0\n", "7,0\n".repeat(400_000));
    let folder = with(&[("late.csv", text.as_str())]);
    let report = into_memory(folder.path(), "SELECT v FROM late", "engine_late", |_| {})
        .await
        .expect("loaded");
    assert_eq!((report.rows, report.retries), (400_002, 0));
    assert_eq!(report.reopened.len(), 1, "{:?}", report.reopened);
    assert!(report.reopened[0].contains("1.50"), "{:?}", report.reopened);
    let table = read_table("default", "engine_late").expect("a table");
    let values = table.column(0).as_string::<i32>();
    let ends = (
        values.value(0),
        values.value(400_000),
        values.value(400_001),
    );
    assert_eq!(ends, ("7", "1.50", "007"));
}

#[tokio::test]
async fn digits_go_into_the_columns_of_the_target() {
    let folder = with(&[("a.csv", "zip,amount\n02134,1.5\n00501,3\n")]);
    let schema = arrow_schema::Schema::new(vec![
        arrow_schema::Field::new("zip", arrow_schema::DataType::Utf8, true),
        arrow_schema::Field::new("amount", arrow_schema::DataType::Decimal128(20, 2), true),
    ]);
    put_table("default", "engine_amounts", &Arc::new(schema), Vec::new());
    into_memory(folder.path(), "SELECT * FROM a", "engine_amounts", |_| {})
        .await
        .expect("loaded");
    let table = read_table("default", "engine_amounts").expect("a table");
    assert_eq!(shown(&[table]), ["02134|1.50", "00501|3.00"]);
}

#[tokio::test]
async fn rows_that_cannot_be_parsed_are_set_aside_and_say_how_to_parse_them() {
    let folder = with(&[
        ("bad.csv", "id;name\n1;Ann\n2;Bob;extra\n3;\"Cid\n4;Dan\n"),
        ("bad.ndjson", "{\"a\":1}\n{\"a\":2\n{\"a\":3}\n"),
    ]);
    let letters = crate::folder();
    for (name, rows, expected) in [
        ("bad.csv", 2, vec![(3, "2;Bob;extra\n"), (4, "3;\"Cid\n")]),
        ("bad.ndjson", 2, vec![(2, "{\"a\":2\n")]),
    ] {
        let sql = format!("SELECT * FROM '{name}'");
        let table = format!("engine_{}", name.replace('.', "_"));
        let error = into_memory(folder.path(), &sql, &table, |_| {}).await;
        assert_eq!(error.expect_err("refused").kind(), ErrorKind::InvalidData);
        let report = into_memory(folder.path(), &sql, &table, |spec| {
            spec.load.on_error = OnError::Skip;
            spec.load.dead_letters = letters.path().to_owned();
        })
        .await
        .expect("loaded");
        assert_eq!(report.rows, rows, "{name}");
        assert_eq!(report.rows_unparsed, expected.len() as u64, "{name}");
        let path = report.unparsed.expect("a file");
        let (batches, _) = read_dead_letters(&path).expect("dead letters");
        let batches: Vec<RecordBatch> = batches.try_collect().await.expect("rows");
        let (mut found, mut function) = (Vec::new(), String::new());
        for batch in &batches {
            let lines = batch.column_by_name(UNPARSED_LINE).expect("lines");
            let lines = lines.as_primitive::<arrow_array::types::UInt64Type>();
            let bytes = batch.column_by_name(UNPARSED_BYTES).expect("bytes");
            let how = batch.column_by_name(UNPARSED_OPTIONS).expect("options");
            for row in 0..batch.num_rows() {
                let bytes = bytes.as_binary::<i32>().value(row);
                let bytes = String::from_utf8(bytes.to_vec()).expect("text");
                found.push((lines.value(row), bytes));
                function = how.as_string::<i32>().value(row).to_owned();
            }
        }
        let found: Vec<_> = found
            .iter()
            .map(|(line, text)| (*line, text.as_str()))
            .collect();
        assert_eq!(found, expected, "{name}");
        // A mended row, without the rest of its file, is read as it would have been there.
        let how: serde_json::Value = serde_json::from_str(&function).expect("JSON");
        let expected = match name {
            "bad.csv" => ("read_csv", Some("id"), Some(";")),
            _ => ("read_json", None, None),
        };
        let options = &how["options"];
        let said = (
            how["read"].as_str().unwrap_or_default(),
            options["names"][0].as_str(),
            options["delim"].as_str(),
        );
        assert_eq!(said, expected, "{how}");
        // What was found is not declared: a mended value is read as strictly as it would have been.
        assert!(options["types"].is_null(), "{how}");
        let types = match name {
            "bad.csv" => serde_json::json!({ "id": "int64", "name": "text" }),
            _ => serde_json::json!({ "a": "int64" }),
        };
        assert_eq!(options["strict_types"], types, "{how}");
    }
}
