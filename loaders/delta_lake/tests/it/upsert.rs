//! Upserts, in all their variants.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrowload_core::{ErrorKind, KeyCounts};
use arrowload_testkit::python;
use serde_json::{Value, json};

use crate::support::{batch, delta, run};

fn people(rows: &[(Option<i64>, &str)]) -> RecordBatch {
    batch([
        (
            "id",
            Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()) as ArrayRef,
        ),
        (
            "name",
            Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>()),
        ),
    ])
}

const ROWS: &str = "[[row['id'], row['name']] for row in rows]";

fn upsert(more: Value) -> Value {
    let mut options = json!({ "mode": "upsert", "keys": ["id"] });
    let (Some(all), Some(more)) = (options.as_object_mut(), more.as_object()) else {
        panic!("objects")
    };
    all.extend(more.clone());
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn each_variant_of_a_merge() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let old = people(&[(Some(1), "a"), (Some(2), "b"), (Some(3), "c")]);
    let other = people(&[(Some(10), "x")]);
    let new = people(&[(Some(2), "early"), (Some(4), "new"), (Some(2), "late")]);
    let cases = [
        (
            json!({}),
            json!([[1, "a"], [2, "late"], [3, "c"], [4, "new"], [10, "x"]]),
            (1, 1, 0),
        ),
        (
            json!({ "when_matched": "ignore" }),
            json!([[1, "a"], [2, "b"], [3, "c"], [4, "new"], [10, "x"]]),
            (1, 0, 1),
        ),
        (
            json!({ "when_matched": "delete", "when_not_matched": "ignore" }),
            json!([[1, "a"], [3, "c"], [10, "x"]]),
            (0, 0, 0),
        ),
        (
            json!({ "when_not_matched": "ignore" }),
            json!([[1, "a"], [2, "late"], [3, "c"], [10, "x"]]),
            (0, 1, 0),
        ),
        (
            json!({ "when_not_matched_by_source": "delete" }),
            json!([[2, "late"], [4, "new"]]),
            (1, 1, 0),
        ),
        (
            json!({ "when_matched": "ignore", "when_not_matched_by_source": "delete" }),
            json!([[2, "b"], [4, "new"]]),
            (1, 0, 1),
        ),
    ];
    for (index, (options, expected, (inserted, updated, unchanged))) in
        cases.into_iter().enumerate()
    {
        // Once with all keys in memory, once with a key in each pass.
        for memory in [json!({}), json!({ "key_memory_bytes": 64 })] {
            let path = folder.path().join(format!(
                "case{index}{}",
                memory.as_object().map_or(0, serde_json::Map::len)
            ));
            run(&path, &old, json!({})).await.expect("it loads");
            run(&path, &other, json!({})).await.expect("it loads");
            let mut options = upsert(options.clone());
            options
                .as_object_mut()
                .expect("an object")
                .extend(memory.as_object().expect("an object").clone());
            let report = run(&path, &new, options.clone())
                .await
                .unwrap_or_else(|error| panic!("{options}: {error:#}"));
            assert_eq!(delta(&path, ROWS), expected, "{options}");
            let counts = KeyCounts {
                inserted,
                updated,
                unchanged,
                duplicate: 1,
                null: 0,
            };
            assert_eq!((report.rows, report.keys), (3, Some(counts)), "{options}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_without_a_match_stay_and_limits_hold() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    run(
        folder.path(),
        &people(&[(Some(1), "a"), (None, "null")]),
        json!({}),
    )
    .await
    .expect("it loads");
    run(folder.path(), &people(&[(Some(2), "b")]), json!({}))
        .await
        .expect("it loads");
    let error = run(
        folder.path(),
        &people(&[(Some(1), "z")]),
        upsert(json!({ "max_updates": 0 })),
    )
    .await
    .expect_err("a limit");
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    let report = run(folder.path(), &people(&[(Some(1), "z")]), upsert(json!({})))
        .await
        .expect("it loads");
    assert_eq!(
        (
            report.details["files_removed"].as_str(),
            report.details["version"].as_str()
        ),
        ("1", "2")
    );
    let report = run(
        folder.path(),
        &people(&[(None, "y"), (None, "x")]),
        upsert(json!({ "null_keys": "match" })),
    )
    .await
    .expect("it loads");
    let counts = KeyCounts {
        inserted: 0,
        updated: 1,
        unchanged: 0,
        duplicate: 1,
        null: 2,
    };
    assert_eq!(report.keys, Some(counts));
    assert_eq!(
        delta(folder.path(), ROWS),
        json!([[1, "z"], [2, "b"], [null, "x"]])
    );
    let history = delta(
        folder.path(),
        "[[h['operation'], h['operationMetrics'].get('numTargetRowsUpdated')] for h in table.history(2)]",
    );
    assert_eq!(history, json!([["MERGE", "1"], ["MERGE", "1"]]));
    let empty = run(folder.path(), &people(&[]), upsert(json!({})))
        .await
        .expect("it loads");
    assert_eq!(empty.keys, Some(KeyCounts::default()));
}

/// A key is there once after an upsert; rows that go for it are counted, and limited.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_table_has_twice_of_a_key_are_counted_as_they_go() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    run(
        folder.path(),
        &people(&[
            (Some(1), "a"),
            (Some(1), "b"),
            (Some(1), "c"),
            (Some(2), "d"),
        ]),
        json!({}),
    )
    .await
    .expect("it loads");
    let new = people(&[(Some(1), "new")]);
    let error = run(folder.path(), &new, upsert(json!({ "max_deletes": 1 })))
        .await
        .expect_err("two rows would go");
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error:#}");
    let report = run(folder.path(), &new, upsert(json!({ "max_deletes": 2 })))
        .await
        .expect("it loads");
    assert_eq!(report.details["rows_deleted"].as_str(), "2");
    assert_eq!(delta(folder.path(), ROWS), json!([[1, "new"], [2, "d"]]));
}

/// A column that the load lacks keeps its value in rows that exist, and is null in new ones.
#[tokio::test(flavor = "multi_thread")]
async fn columns_that_the_load_lacks_keep_their_values() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let old = |ids: &[i64]| {
        let texts = |prefix: &str| -> ArrayRef {
            Arc::new(
                ids.iter()
                    .map(|id| Some(format!("{prefix}{id}")))
                    .collect::<StringArray>(),
            )
        };
        let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
        batch([("id", ids), ("name", texts("n")), ("city", texts("c"))])
    };
    let new = people(&[
        (Some(2), "early"),
        (Some(4), "new"),
        (Some(2), "late"),
        (Some(3), "x"),
    ]);
    let all = "[[row['id'], row['name'], row['city']] for row in rows]";
    let cases = [
        (
            json!({}),
            json!([
                [1, "n1", "c1"],
                [2, "late", "c2"],
                [3, "x", "c3"],
                [4, "new", null],
                [9, "n9", "c9"]
            ]),
        ),
        (
            json!({ "when_not_matched": "ignore" }),
            json!([
                [1, "n1", "c1"],
                [2, "late", "c2"],
                [3, "x", "c3"],
                [9, "n9", "c9"]
            ]),
        ),
        (
            json!({ "when_not_matched_by_source": "delete" }),
            json!([[2, "late", "c2"], [3, "x", "c3"], [4, "new", null]]),
        ),
        (
            json!({ "when_matched": "ignore" }),
            json!([
                [1, "n1", "c1"],
                [2, "n2", "c2"],
                [3, "n3", "c3"],
                [4, "new", null],
                [9, "n9", "c9"]
            ]),
        ),
    ];
    for (index, (options, expected)) in cases.into_iter().enumerate() {
        for memory in [json!({}), json!({ "key_memory_bytes": 64 })] {
            let few = memory.as_object().map_or(0, serde_json::Map::len);
            let path = folder.path().join(format!("{index}{few}"));
            for ids in [&[1, 2, 3][..], &[9]] {
                run(&path, &old(ids), json!({})).await.expect("it loads");
            }
            let mut options = upsert(options.clone());
            options
                .as_object_mut()
                .expect("an object")
                .extend(memory.as_object().expect("an object").clone());
            let report = run(&path, &new, options.clone()).await;
            let report = report.unwrap_or_else(|error| panic!("{options}: {error:#}"));
            assert_eq!(report.rows, 4);
            assert_eq!(delta(&path, all), expected, "{options}");
        }
    }
}
