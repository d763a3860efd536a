//! Tables on the local disk.

use arrowload_testkit::python;
use serde_json::json;

use crate::support::{delta, rows, run};

#[tokio::test(flavor = "multi_thread")]
async fn rows_arrive_once_and_python_reads_them() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events");
    let first = run(&path, &rows(0..3), json!({ "mode": "create", "load_id": "one" })).await.expect("it loads");
    assert_eq!((first.rows, first.details["version"].as_str()), (3, "0"));
    let again = run(&path, &rows(0..3), json!({ "load_id": "one" })).await.expect("it is known");
    assert!(again.already_loaded && again.rows == 3);
    let second = run(&path, &rows(3..5), json!({})).await.expect("it loads");
    assert_eq!(second.details["version"], "1");
    assert_eq!(delta(&path, "table.version()"), json!(1));
    let expected: Vec<_> = (0..5).map(|id| json!({ "id": id, "name": (id % 3 != 0).then(|| format!("name {id}")) })).collect();
    assert_eq!(delta(&path, "rows"), json!(expected));
    assert_eq!(delta(&path, "[h['operation'] for h in table.history()]"), json!(["WRITE", "WRITE"]));
    assert_eq!(delta(&path, "table.transaction_version('arrowload:one')"), json!(3));
}
