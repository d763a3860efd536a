//! Tables on the local disk.

use std::sync::Arc;

use arrow_array::{ArrayRef, TimestampNanosecondArray};
use arrowload_testkit::python;
use serde_json::json;

use crate::support::{batch, delta, plan, rows, run};
use arrowload_core::ErrorKind;

#[tokio::test(flavor = "multi_thread")]
async fn rows_arrive_once_and_python_reads_them() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events");
    let first = run(
        &path,
        &rows(0..3),
        json!({ "mode": "create", "load_id": "one" }),
    )
    .await
    .expect("it loads");
    assert_eq!((first.rows, first.details["version"].as_str()), (3, "0"));
    let again = run(
        &path,
        &rows(0..3),
        json!({ "mode": "create", "load_id": "one", "batch_size": 1 }),
    )
    .await
    .expect("it is known");
    assert!(again.already_loaded && again.rows == 3);
    let other = run(&path, &rows(0..3), json!({ "load_id": "one" })).await;
    let other = other.expect_err("the id was another load");
    assert!(
        other.message().contains("differs from this one in mode"),
        "{other}"
    );
    let second = run(&path, &rows(3..5), json!({})).await.expect("it loads");
    assert_eq!(second.details["version"], "1");
    assert_eq!(delta(&path, "table.version()"), json!(1));
    let expected: Vec<_> = (0..5)
        .map(|id| json!({ "id": id, "name": (id % 3 != 0).then(|| format!("name {id}")) }))
        .collect();
    assert_eq!(delta(&path, "rows"), json!(expected));
    assert_eq!(
        delta(&path, "[h['operation'] for h in table.history()]"),
        json!(["WRITE", "WRITE"])
    );
    assert_eq!(
        delta(
            &path,
            "[table.transaction_version(id) for id in ['arrowload:one', 'arrowload-commit:one']]"
        ),
        json!([3, 0])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_the_table_s_types_and_checksums_are_read_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let planned = plan(
        folder.path(),
        &rows(0..1),
        json!({ "partition_by": ["name"] }),
    )
    .await
    .expect("a plan");
    let types: Vec<&str> = planned
        .columns
        .iter()
        .map(|column| column.target_type.as_str())
        .collect();
    assert_eq!(
        (types, planned.target_exists),
        (vec!["long", "string"], false)
    );
    let options = json!({ "verify": "checksum", "partition_by": ["name"] });
    let report = run(folder.path(), &rows(0..9), options)
        .await
        .expect("it loads");
    let values: Vec<u64> = report
        .checksums
        .expect("checksums")
        .iter()
        .map(|column| column.values)
        .collect();
    assert_eq!(values, [9, 6]);
    let options = json!({ "verify": "checksum", "mode": "upsert", "keys": ["id"] });
    assert_eq!(
        run(folder.path(), &rows(0..1), options)
            .await
            .expect_err("mixed files")
            .kind(),
        ErrorKind::Unsupported
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nanoseconds_are_never_cut_without_being_asked() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let times = |nanos: [i64; 2]| {
        batch([(
            "at",
            Arc::new(TimestampNanosecondArray::from(nanos.to_vec())) as ArrayRef,
        )])
    };
    let at = |name: &str| folder.path().join(name);
    let error = run(at("refused"), &times([0, 1_000]), json!({}))
        .await
        .expect_err("nanoseconds");
    assert!(
        error.kind() == ErrorKind::UnsupportedType
            && error.message().contains("nanoseconds = exact"),
        "{error}"
    );
    let exact = json!({ "nanoseconds": "exact" });
    run(at("exact"), &times([0, -1_000]), exact.clone())
        .await
        .expect("whole microseconds");
    let error = run(at("exact"), &times([0, -1_001]), exact)
        .await
        .expect_err("no whole number");
    assert_eq!(
        (error.kind(), error.row(), error.get("column")),
        (ErrorKind::InvalidData, Some(1), Some("at")),
        "{error}"
    );
    run(
        at("cut"),
        &times([0, 1_001]),
        json!({ "nanoseconds": "truncate" }),
    )
    .await
    .expect("cut");
    let seen = [
        delta(&at("exact"), "sorted(str(row['at']) for row in rows)"),
        delta(&at("cut"), "sorted(str(row['at']) for row in rows)"),
    ];
    let expected = [
        json!(["1969-12-31 23:59:59.999999", "1970-01-01 00:00:00"]),
        json!(["1970-01-01 00:00:00", "1970-01-01 00:00:00.000001"]),
    ];
    assert_eq!(seen, expected);
}

/// A vacuum would remove them, and they are none of the table's.
#[tokio::test(flavor = "multi_thread")]
async fn no_table_is_made_among_files_of_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events");
    std::fs::create_dir_all(path.join("day=1")).expect("a folder");
    let foreign = path.join("day=1/part-00000-c000.snappy.parquet");
    std::fs::write(&foreign, "PAR1").expect("a file");
    for options in [
        json!({}),
        json!({ "mode": "create" }),
        json!({ "mode": "overwrite" }),
    ] {
        let planned = plan(&path, &rows(0..3), options.clone()).await;
        let planned = planned.expect_err("it is in the way");
        let loaded = run(&path, &rows(0..3), options).await;
        let loaded = loaded.expect_err("it is in the way");
        assert_eq!(loaded.kind(), ErrorKind::Unsupported, "{loaded}");
        assert_eq!(loaded.message(), planned.message());
        assert!(loaded.message().contains("day=1/part-00000"), "{loaded}");
    }
    assert!(!path.join("_delta_log").exists());
    std::fs::remove_file(&foreign).expect("removed");
    run(&path, &rows(0..3), json!({})).await.expect("it loads");
}
