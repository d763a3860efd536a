//! What a load says of itself from outside: how far it is, and what became of its target.

use std::future::IntoFuture;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrowload::core::memory::read_table;
use arrowload::{AfterFailure, Aftermath, LoadBuilder, Phase, Rename};

use crate::flaky::{WRITES, client};

fn load(target: &str) -> LoadBuilder {
    let column = Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("id", column)]).expect("a batch");
    client()
        .load_table(vec![batch], "flaky", target)
        .expect("a schema")
        .config(serde_json::json!({ "database": "status" }))
}

#[tokio::test]
async fn a_load_that_is_dropped_says_what_it_has_left() {
    let may_remain = AfterFailure::UNCHANGED.with_new_rows();
    for (target, left) in [
        ("all or nothing waits", Aftermath::Unchanged),
        ("left row by row waits", Aftermath::Changed(may_remain)),
    ] {
        let load = load(target).load_id(target);
        let status = load.status();
        assert_eq!(
            (status.phase(), status.load_id()),
            (Phase::Connecting, None)
        );
        assert_eq!(status.aftermath(), Aftermath::Unchanged);
        tokio::select! {
            ended = load.into_future() => panic!("{target}: it does not wait: {ended:?}"),
            () = WRITES.notified() => {}
        }
        assert_eq!(status.phase(), Phase::Writing, "{target}");
        assert_eq!(status.load_id().as_deref(), Some(target));
        assert_eq!(status.aftermath(), left, "{target}");
    }
}

#[tokio::test]
async fn a_load_that_ended_is_committed_or_says_why_not() {
    let well = load("well");
    let status = well.status();
    let report = well.await.expect("loaded");
    assert_eq!(
        (status.phase(), status.aftermath()),
        (Phase::Committed, Aftermath::Committed)
    );
    assert_eq!(status.load_id(), Some(report.load_id));

    let refused = load("it row by row refuses");
    let status = refused.status();
    let error = refused.await.expect_err("refused");
    assert_eq!(error.aftermath(), Some(status.aftermath()));
    assert!(
        error
            .to_string()
            .contains("rows of this load may remain in the target"),
        "{error}"
    );
}

#[tokio::test]
async fn an_operator_stands_between_rows_and_target() {
    let renamed = load("renamed").through(Rename::new([("id", "number")]));
    renamed.await.expect("loaded");
    let table = read_table("status", "renamed").expect("a table");
    assert_eq!(table.schema().field(0).name(), "number");
    let error = load("renamed not").through(Rename::new([("idd", "number")]));
    let error = error.await.expect_err("no such column");
    assert!(error.message().contains("did you mean `id`?"), "{error}");
}
