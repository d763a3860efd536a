//! Overwriting a part of a table: by partition, or by predicate.

use std::sync::Arc;

use arrow_array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray};
use arrowload_core::ErrorKind;
use arrowload_testkit::python;
use serde_json::json;

use crate::support::{batch, delta, run};

/// Rows of `id`, `day` (days since 1970) and `city`.
fn events(rows: &[(i64, i32, Option<&str>)]) -> RecordBatch {
    batch([
        (
            "id",
            Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()) as ArrayRef,
        ),
        (
            "day",
            Arc::new(Date32Array::from_iter_values(rows.iter().map(|row| row.1))),
        ),
        (
            "city",
            Arc::new(rows.iter().map(|row| row.2).collect::<StringArray>()),
        ),
    ])
}

const IDS: &str = "[[row['id'], row['day'], row['city']] for row in rows]";

#[tokio::test(flavor = "multi_thread")]
async fn only_the_partitions_of_the_load_are_replaced() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let partitioned = json!({ "partition_by": ["day", "city"] });
    let odd = Some("São Paulo / 50% = \"#?\" ☃");
    let old = events(&[
        (1, 0, Some("a")),
        (2, 0, odd),
        (3, 1, Some("a")),
        (4, 1, None),
        (5, 1, odd),
    ]);
    run(folder.path(), &old, partitioned)
        .await
        .expect("it loads");
    assert_eq!(delta(folder.path(), IDS)[1], json!([2, "1970-01-01", odd]));
    let new = events(&[(6, 1, odd), (7, 1, None), (8, 2, Some("b"))]);
    let options = json!({ "mode": "overwrite", "overwrite_partitions": true });
    let report = run(folder.path(), &new, options.clone())
        .await
        .expect("it loads");
    assert_eq!(
        (report.details["files_removed"].as_str(), report.rows),
        ("2", 3)
    );
    let expected = json!([
        [1, "1970-01-01", "a"],
        [2, "1970-01-01", odd],
        [3, "1970-01-02", "a"],
        [6, "1970-01-02", odd],
        [7, "1970-01-02", null],
        [8, "1970-01-03", "b"]
    ]);
    assert_eq!(delta(folder.path(), IDS), expected);
    let error = run(folder.path(), &events(&[(9, 0, Some(""))]), json!({}))
        .await
        .expect_err("empty text would be null");
    assert_eq!(
        (error.kind(), error.get("column")),
        (ErrorKind::InvalidData, Some("city"))
    );
    let error = run(folder.path(), &new, json!({ "partition_by": ["city"] }))
        .await
        .expect_err("other partitions");
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    let plain = folder.path().join("plain");
    run(&plain, &new, json!({})).await.expect("it loads");
    assert_eq!(
        run(&plain, &new, options)
            .await
            .expect_err("no partitions")
            .kind(),
        ErrorKind::InvalidOption
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_rows_of_the_predicate_are_replaced() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (name, partition_by, removed) in [
        ("files", json!([]), "1"),
        ("partitions", json!(["day"]), "1"),
    ] {
        let path = folder.path().join(name);
        run(
            &path,
            &events(&[(1, 0, Some("a")), (2, 1, Some("b")), (3, 1, None)]),
            json!({ "partition_by": partition_by }),
        )
        .await
        .expect("it loads");
        run(&path, &events(&[(4, 2, Some("a"))]), json!({}))
            .await
            .expect("it loads");
        let options = json!({ "mode": "overwrite", "replace_where": "day = DATE '1970-01-02'" });
        let report = run(&path, &events(&[(5, 1, Some("c"))]), options.clone())
            .await
            .expect("it loads");
        assert_eq!(
            (report.details["files_removed"].as_str(), report.rows),
            (removed, 1),
            "{name}"
        );
        let expected = json!([
            [1, "1970-01-01", "a"],
            [4, "1970-01-03", "a"],
            [5, "1970-01-02", "c"]
        ]);
        assert_eq!(delta(&path, IDS), expected, "{name}");
        let error = run(&path, &events(&[(6, 1, None), (7, 0, None)]), options)
            .await
            .expect_err("a row of another day");
        assert_eq!(
            (error.kind(), error.row()),
            (ErrorKind::InvalidData, Some(1)),
            "{name}: {error}"
        );
        assert_eq!(delta(&path, IDS), expected, "{name}");
    }
    let path = folder.path().join("files");
    for wrong in ["no_such = 1", "id + 1", "id ="] {
        let options = json!({ "mode": "overwrite", "replace_where": wrong });
        assert_eq!(
            run(&path, &events(&[]), options)
                .await
                .expect_err(wrong)
                .kind(),
            ErrorKind::InvalidOption,
            "{wrong}"
        );
    }
    let error = run(&path, &events(&[]), json!({ "replace_where": "id = 1" }))
        .await
        .expect_err("not an overwrite");
    assert_eq!(error.get("key"), Some("replace_where"));
}
