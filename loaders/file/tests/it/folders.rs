//! Folders of files: what is added, replaced and refused.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrowload_core::{Atomicity, ErrorKind};
use serde_json::json;
use tempfile::tempdir;

use crate::support::{batch, count, names, plan, rows, run};

#[tokio::test]
async fn loads_add_files_and_are_known_again_after_an_overwrite() {
    let folder = tempdir().expect("a folder");
    let target = folder.path().join("events");
    let load = |id: &'static str, mode: &'static str| {
        run(
            format!("{}/", target.display()),
            rows_of(4),
            json!({"load_id": id, "mode": mode}),
        )
    };
    load("one", "append").await.expect("a load");
    load("two", "append").await.expect("a load");
    assert_eq!(count(&target), 8);
    assert!(
        load("one", "append")
            .await
            .expect("a repeat")
            .already_loaded
    );
    let report = load("three", "overwrite").await.expect("a load");
    assert_eq!((report.rows, count(&target)), (4, 4));
    for (id, mode) in [("one", "append"), ("two", "append"), ("three", "overwrite")] {
        let again = load(id, mode).await.expect("a repeat");
        assert_eq!((again.already_loaded, again.rows), (true, 4), "{id}");
    }
    assert_eq!((count(&target), names(folder.path()).len()), (4, 1));
    let plan = plan(&target, rows_of(1), json!({})).await.expect("a plan");
    let kept = plan.guarantees;
    assert_eq!((kept.atomicity, kept.exactly_once), (Atomicity::Part, true));
}

fn rows_of(count: i64) -> &'static arrow_array::RecordBatch {
    Box::leak(Box::new(rows(0..count)))
}

#[tokio::test]
async fn every_format_rolls_at_its_size() {
    let folder = tempdir().expect("a folder");
    for format in ["csv", "ndjson", "arrow", "arrow_stream"] {
        let options = json!({"format": format, "max_file_bytes": 4000, "batch_size": 100});
        let report = run(folder.path().join(format), &rows(0..1000), options)
            .await
            .expect(format);
        let files = names(&folder.path().join(format))
            .iter()
            .filter(|name| name.starts_with("part-"))
            .count();
        assert!(files > 2, "{format}: {files} files");
        assert_eq!(report.details["files"], files.to_string());
        assert!(report.bytes > 4000);
    }
}

#[tokio::test]
async fn text_folders_check_types_too() {
    let folder = tempdir().expect("a folder");
    for format in ["csv", "ndjson"] {
        let target = folder.path().join(format);
        let target = format!("{}/", target.display());
        run(&target, &rows(0..2), json!({"format": format}))
            .await
            .expect("a load");
        let text = batch([("id", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]);
        let error = run(&target, &text, json!({}))
            .await
            .expect_err("another type");
        assert_eq!(
            (error.kind(), error.get("column")),
            (ErrorKind::SchemaMismatch, Some("id"))
        );
        let error = run(&target, &rows(0..1), json!({"format": "parquet"}))
            .await
            .expect_err("another format");
        assert_eq!(
            (error.kind(), error.get("key")),
            (ErrorKind::InvalidOption, Some("format"))
        );
        run(&target, &rows(2..4), json!({}))
            .await
            .expect("its own format");
    }
    std::fs::create_dir(folder.path().join("other")).expect("a folder");
    std::fs::write(folder.path().join("other/a.csv"), "id\n1\n").expect("a file");
    let error = run(folder.path().join("other"), &rows(0..1), json!({}))
        .await
        .expect_err("no types");
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
}

#[tokio::test]
async fn columns_evolve_and_later_loads_know_them() {
    let folder = tempdir().expect("a folder");
    let target = format!("{}/t/", folder.path().display());
    let one = |name: &str| {
        batch([
            ("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
            (name, Arc::new(Int64Array::from(vec![2]))),
        ])
    };
    run(&target, &one("a"), json!({})).await.expect("a load");
    assert_eq!(
        run(&target, &one("b"), json!({}))
            .await
            .expect_err("new")
            .kind(),
        ErrorKind::SchemaMismatch
    );
    run(&target, &one("b"), json!({"schema_evolution": true}))
        .await
        .expect("a load");
    run(&target, &one("a"), json!({})).await.expect("a load");
    run(&target, &one("b"), json!({})).await.expect("a load");
    let text = batch([("b", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]);
    assert_eq!(
        run(&target, &text, json!({"schema_evolution": true}))
            .await
            .expect_err("type")
            .kind(),
        ErrorKind::SchemaMismatch
    );
}

#[tokio::test]
async fn partitions_stay_and_values_never_leave_the_folder() {
    let folder = tempdir().expect("a folder");
    let target = folder.path().join("t");
    let values = ["..", "../../x", "/etc", "a=b", "x\0y", "%2E", "ü"];
    let load = batch([
        (
            "k",
            Arc::new(StringArray::from(values.to_vec())) as ArrayRef,
        ),
        (
            "v",
            Arc::new(Int64Array::from_iter_values(0..values.len() as i64)),
        ),
    ]);
    run(&target, &load, json!({"partition_by": ["k"]}))
        .await
        .expect("a load");
    assert_eq!(names(folder.path()), ["t"]);
    assert_eq!(
        names(&target)
            .iter()
            .filter(|name| name.starts_with("k="))
            .count(),
        values.len()
    );
    run(&target, &load, json!({}))
        .await
        .expect("the folder's own partitions");
    assert_eq!(count(&target), 2 * values.len() as u64);
    let error = run(&target, &load, json!({"partition_by": ["v"]}))
        .await
        .expect_err("others");
    assert_eq!(error.get("key"), Some("partition_by"));
}

#[tokio::test]
async fn a_folder_with_other_things_in_it_is_not_replaced() {
    let folder = tempdir().expect("a folder");
    run(
        format!("{}/", folder.path().display()),
        &rows(0..1),
        json!({}),
    )
    .await
    .expect("a load");
    std::fs::write(folder.path().join("thesis.tex"), "x").expect("a file");
    let error = run(folder.path(), &rows(0..1), json!({"mode": "overwrite"}))
        .await
        .expect_err("a thesis");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("thesis.tex"), "{error}");
    assert!(folder.path().join("thesis.tex").exists());
}

#[tokio::test]
async fn what_a_killed_attempt_left_is_replaced() {
    let folder = tempdir().expect("a folder");
    let target = folder.path().join("t");
    run(
        format!("{}/", target.display()),
        &rows(0..2),
        json!({"load_id": "base"}),
    )
    .await
    .expect("a load");
    run(&target, &rows(0..5), json!({"load_id": "killed"}))
        .await
        .expect("a load");
    // As if it had been killed between its files and its record.
    let records = names(&target)
        .into_iter()
        .filter(|name| name.starts_with('_'));
    let of_killed = records.filter(|name| {
        std::fs::read_to_string(target.join(name))
            .expect("a record")
            .contains("killed")
    });
    for name in of_killed {
        std::fs::remove_file(target.join(name)).expect("removed");
    }
    let again = run(&target, &rows(0..5), json!({"load_id": "killed"}))
        .await
        .expect("a repeat");
    assert_eq!((again.already_loaded, count(&target)), (false, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_load_run_twice_at_once_arrives_once() {
    let folder = tempdir().expect("a folder");
    let target = folder.path().join("t");
    let tasks = (0..6).map(|_| {
        tokio::spawn(run(
            format!("{}/", target.display()),
            rows_of(100),
            json!({"load_id": "same"}),
        ))
    });
    for task in futures::future::join_all(tasks).await {
        assert_eq!(task.expect("no panic").expect("a load").rows, 100);
    }
    assert_eq!(count(&target), 100);
    let tasks = (0..6).map(|_| {
        tokio::spawn(run(
            format!("{}/", target.display()),
            rows_of(100),
            json!({}),
        ))
    });
    for task in futures::future::join_all(tasks).await {
        task.expect("no panic").expect("a load");
    }
    assert_eq!((count(&target), names(folder.path()).len()), (700, 1));
}
