//! What follows a load: compaction, Z-order, vacuum, checkpoints.

use std::path::Path;

use arrowload_core::ErrorKind;
use arrowload_testkit::python;
use serde_json::json;

use crate::support::{delta, rows, run};

#[tokio::test(flavor = "multi_thread")]
async fn small_files_are_joined_and_checkpoints_written() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for first in [0, 5, 10] {
        run(folder.path(), &rows(first..first + 5), json!({}))
            .await
            .expect("it loads");
    }
    let report = run(
        folder.path(),
        &rows(15..20),
        json!({ "optimize_after_write": true }),
    )
    .await
    .expect("it loads");
    assert_eq!(report.details["optimize"], "4 files became 1");
    assert_eq!(
        delta(
            folder.path(),
            "[len(table.file_uris()), len(rows), table.version()]"
        ),
        json!([1, 20, 4])
    );
    let report = run(
        folder.path(),
        &rows(20..25),
        json!({ "z_order_by": ["name"], "checkpoint_interval": 5 }),
    )
    .await
    .expect("it loads");
    assert!(
        report.details["optimize"].starts_with("2 files became 1"),
        "{:?}",
        report.details
    );
    assert_eq!(report.details["checkpoint"], "of version 5");
    assert!(folder.path().join("_delta_log/_last_checkpoint").exists());
    assert_eq!(
        delta(
            folder.path(),
            "[len(rows), table.transaction_version('nobody')]"
        ),
        json!([25, null])
    );
    // The checkpoint remembers the loads.
    run(folder.path(), &rows(25..26), json!({ "load_id": "kept" }))
        .await
        .expect("it loads");
    run(
        folder.path(),
        &rows(26..27),
        json!({ "checkpoint_interval": 1 }),
    )
    .await
    .expect("it loads");
    assert!(
        run(folder.path(), &rows(25..26), json!({ "load_id": "kept" }))
            .await
            .expect("it is known")
            .already_loaded
    );
    for (options, key) in [
        (json!({ "z_order_by": ["no_such"] }), "z_order_by"),
        (json!({ "vacuum_retention": "1 hour" }), "vacuum_retention"),
        (json!({ "vacuum_retention": "soon" }), "vacuum_retention"),
    ] {
        let error = run(folder.path(), &rows(0..1), options)
            .await
            .expect_err(key);
        assert_eq!(
            (error.kind(), error.get("key")),
            (ErrorKind::InvalidOption, Some(key))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_removes_what_no_version_needs() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    run(folder.path(), &rows(0..5), json!({}))
        .await
        .expect("it loads");
    // What a killed load leaves.
    let stray = folder.path().join("part-stray-00000.parquet");
    std::fs::write(&stray, b"PAR1").expect("written");
    age(&stray);
    let report = run(
        folder.path(),
        &rows(5..9),
        json!({ "vacuum_retention": "8 days" }),
    )
    .await
    .expect("it loads");
    assert_eq!(report.details["vacuum"], "1 files removed");
    assert!(!stray.exists());
    assert_eq!(delta(folder.path(), "len(rows)"), json!(9));
}

/// Makes a file look a month old.
fn age(path: &Path) {
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(30 * 86_400);
    std::fs::File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_modified(old))
        .expect("its time is set");
}
