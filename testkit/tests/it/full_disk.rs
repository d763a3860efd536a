//! Dead letters for which there is no room: an error that says so and where, and nothing is loaded or left.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrowload_core::memory::{MemoryLoader, read_table};
use arrowload_core::{Aftermath, ErrorKind};
use arrowload_testkit::{SmallDisk, loads};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_that_do_not_fit_on_their_disk_name_it() {
    let Some(disk) = SmallDisk::available(1) else {
        return;
    };
    let folder = disk.path().join("dead");
    // Each of them lacks its key.
    let rows = |count: usize| {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![None; count]));
        let names = (0..count).map(|row| Some(format!("a name of some length, {row}")));
        let names: ArrayRef = Arc::new(names.collect::<StringArray>());
        loads::batch([("id", ids), ("name", names)])
    };
    let options = json!({
        "database": "full_disk", "mode": "upsert", "keys": ["id"], "on_error": "skip", "dead_letters": folder,
    });
    let error = loads::run::<MemoryLoader>("t", &rows(100_000), options.clone())
        .await
        .expect_err("more than 1 MiB");
    assert_eq!(
        (error.kind(), error.aftermath()),
        (ErrorKind::ResourceExhausted, Some(Aftermath::Unchanged)),
        "{error:?}"
    );
    assert!(
        error.message().contains("does not fit on its disk"),
        "{error}"
    );
    let named = folder.display().to_string();
    assert_eq!(error.get("dead-letter folder"), Some(named.as_str()));
    assert!(read_table("full_disk", "t").is_none());
    assert_eq!(disk.names(), [PathBuf::from("dead")], "a file is left");
    let report = loads::run::<MemoryLoader>("t", &rows(10), options).await;
    assert_eq!(report.expect("they fit").rows_rejected, 10);
}
