//! Single files: modes, loads that are known again, races, and what failures leave.

use arrowload_core::{ErrorKind, LoadState, Loader, Settings};
use serde_json::json;
use tempfile::tempdir;

use crate::support::{batch, count, descriptor, names, plan, rows, run};

#[tokio::test]
async fn append_writes_a_new_file_and_refuses_one_that_is_there() {
    let folder = tempdir().expect("a folder");
    let target = folder.path().join("new/below/out.parquet");
    let report = run(&target, &rows(0..10), json!({})).await.expect("a load");
    assert_eq!((report.rows, count(&target)), (10, 10));
    let error = run(&target, &rows(0..1), json!({}))
        .await
        .expect_err("it is there");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("overwrite"), "{error}");
    let error = run(&target, &rows(0..1), json!({"mode": "create"}))
        .await
        .expect_err("it is there");
    assert_eq!(error.kind(), ErrorKind::TargetExists);
    assert_eq!(count(&target), 10);
    let missing = run(
        folder.path().join("x.parquet"),
        &rows(0..1),
        json!({"create_table": false}),
    )
    .await
    .expect_err("it is missing");
    assert_eq!(missing.kind(), ErrorKind::TargetNotFound);
    assert_eq!(names(folder.path()), ["new"]);
}

#[tokio::test]
async fn an_overwritten_file_keeps_its_columns_unless_they_may_change() {
    let folder = tempdir().expect("a folder");
    for name in ["out.parquet", "out.arrow", "out.arrows"] {
        let target = folder.path().join(name);
        run(&target, &rows(0..10), json!({})).await.expect("a load");
        run(&target, &rows(0..3), json!({"mode": "overwrite"}))
            .await
            .expect("the same columns");
        let other = batch([(
            "id",
            std::sync::Arc::new(arrow_array::Float64Array::from(vec![1.5])) as _,
        )]);
        let error = run(&target, &other, json!({"mode": "overwrite"}))
            .await
            .expect_err("another type");
        assert_eq!(
            (error.kind(), error.get("column")),
            (ErrorKind::SchemaMismatch, Some("id"))
        );
        run(
            &target,
            &other,
            json!({"mode": "overwrite", "schema_evolution": true}),
        )
        .await
        .expect("other columns");
    }
    assert_eq!(
        names(folder.path()),
        ["out.arrow", "out.arrows", "out.parquet"]
    );
}

#[tokio::test]
async fn a_load_is_known_again_also_after_others_have_replaced_its_file() {
    let folder = tempdir().expect("a folder");
    for name in ["out.parquet", "out.arrow", "out.arrows"] {
        let target = folder.path().join(name);
        let load = |id: &'static str, rows_| {
            run(
                target.clone(),
                rows_,
                json!({"mode": "overwrite", "load_id": id}),
            )
        };
        let (ten, three) = (rows(0..10), rows(0..3));
        assert!(!load("one", &ten).await.expect("a load").already_loaded);
        let again = load("one", &ten).await.expect("a repeat");
        assert_eq!((again.already_loaded, again.rows), (true, 10), "{name}");
        assert!(!load("two", &three).await.expect("a load").already_loaded);
        let again = load("one", &ten).await.expect("a repeat");
        assert_eq!((again.already_loaded, again.rows), (true, 10), "{name}");
        assert!(
            plan(&target, &ten, json!({"mode": "overwrite"}))
                .await
                .expect("a plan")
                .guarantees
                .exactly_once
        );
    }
    assert_eq!(count(&folder.path().join("out.parquet")), 3);
}

#[tokio::test]
async fn text_says_that_it_keeps_no_load_id() {
    let folder = tempdir().expect("a folder");
    let target = folder.path().join("out.csv");
    let planned = plan(&target, &rows(0..1), json!({})).await;
    assert!(!planned.expect("a plan").guarantees.exactly_once);
    run(&target, &rows(0..1), json!({"load_id": "one"}))
        .await
        .expect("a load");
    let loader = Loader::connect(&descriptor(), &Settings::new(), 0)
        .await
        .expect("a loader");
    let state = loader
        .find_load(target.to_str().expect("UTF-8"), "one")
        .await
        .expect("an answer");
    assert!(matches!(state, LoadState::Unknown), "{state:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_creates_at_once_one_wins() {
    let folder = tempdir().expect("a folder");
    for (name, mode) in [
        ("a.parquet", "create"),
        ("b.csv", "create"),
        ("c.arrow", "append"),
        ("d/", "create"),
    ] {
        let target = folder.path().join(name);
        let tasks = (0..8).map(|_| {
            let target = format!(
                "{}{}",
                target.display(),
                if name.ends_with('/') { "/" } else { "" }
            );
            tokio::spawn(async move { run(target, &rows(0..1000), json!({"mode": mode})).await })
        });
        let outcomes = futures::future::join_all(tasks).await;
        let (won, lost): (Vec<_>, Vec<_>) = outcomes
            .into_iter()
            .map(|task| task.expect("no panic"))
            .partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 7), "{name}");
        for error in lost.into_iter().filter_map(Result::err) {
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::TargetExists | ErrorKind::Unsupported
                ),
                "{error}"
            );
        }
    }
    assert_eq!(names(folder.path()), ["a.parquet", "b.csv", "c.arrow", "d"]);
}

#[cfg(unix)]
#[tokio::test]
async fn what_stands_in_the_way_is_named() {
    let folder = tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), b"x").expect("a file");
    let error = run(
        folder.path().join("file/out.parquet"),
        &rows(0..1),
        json!({}),
    )
    .await
    .expect_err("a file is no folder");
    assert!(error.message().contains("file"), "{error}");
    let error = run(folder.path().join("out.xyz"), &rows(0..1), json!({}))
        .await
        .expect_err("no format");
    assert_eq!(
        (error.kind(), error.get("key")),
        (ErrorKind::InvalidOption, Some("format"))
    );
    let error = run("s4://bucket/x.parquet", &rows(0..1), json!({}))
        .await
        .expect_err("no such store");
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    let error = run("memory://x.parquet", &rows(0..1), json!({}))
        .await
        .expect_err("no such store");
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    // A link is followed, not replaced.
    let (link, real) = (
        folder.path().join("link.parquet"),
        folder.path().join("real.parquet"),
    );
    run(&real, &rows(0..5), json!({})).await.expect("a load");
    std::os::unix::fs::symlink(&real, &link).expect("a link");
    run(&link, &rows(0..2), json!({"mode": "overwrite"}))
        .await
        .expect("a load");
    assert!(link.is_symlink());
    assert_eq!(count(&real), 2);
}

#[tokio::test]
async fn checksums_are_of_what_is_on_the_disk() {
    let folder = tempdir().expect("a folder");
    for name in ["out.parquet", "out.arrow", "out.arrows"] {
        let report = run(
            folder.path().join(name),
            &rows(0..100),
            json!({"verify": "checksum"}),
        )
        .await
        .expect(name);
        assert_eq!(report.checksums.expect("checksums").len(), 2);
    }
    let options = json!({"verify": "checksum", "partition_by": ["name"]});
    let report = run(folder.path().join("parted"), &rows(0..9), options)
        .await
        .expect("a load");
    assert_eq!(report.checksums.expect("checksums")[1].values, 6);
    let error = run(
        folder.path().join("out.csv"),
        &rows(0..1),
        json!({"verify": "checksum"}),
    )
    .await
    .expect_err("text");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        names(folder.path()),
        ["out.arrow", "out.arrows", "out.parquet", "parted"]
    );
}

#[tokio::test]
async fn a_failed_load_leaves_nothing() {
    let folder = tempdir().expect("a folder");
    let values = batch([(
        "x",
        std::sync::Arc::new(arrow_array::Date32Array::from(vec![0, i32::MAX])) as _,
    )]);
    let error = run(folder.path().join("new/out.ndjson"), &values, json!({}))
        .await
        .expect_err("the year 5881580");
    assert_eq!(
        (error.kind(), error.get("column"), error.row()),
        (ErrorKind::InvalidData, Some("x"), Some(1))
    );
    assert!(names(folder.path()).is_empty());
}
