//! One query into several destinations: each keeps its own promises, and has its own outcome.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrowload::core::memory::{put_table, read_table};
use arrowload::{
    Aftermath, Client, Destination, DestinationOutcome, Error, ErrorKind, LoadAllBuilder, Mode,
    Rename,
};
use serde_json::json;

use crate::flaky::{begun, client};

/// A table of these rows under this name, for the client's source.
fn table(name: &str, rows: Vec<i64>) {
    let column = Arc::new(Int64Array::from(rows)) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("id", column)]).expect("a batch");
    put_table("default", name, &batch.schema(), vec![batch]);
}

/// The rows that a target has, if it is there.
fn rows(database: &str, target: &str) -> Option<Vec<i64>> {
    let found = read_table(database, target)?;
    Some(
        found
            .column(0)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec(),
    )
}

fn to(loader: &str, database: &str, target: &str) -> Destination {
    Destination::new(loader, target).config(json!({ "database": database }))
}

fn load(client: &Client, name: &str, to: impl IntoIterator<Item = Destination>) -> LoadAllBuilder {
    client.sql(format!("SELECT * FROM {name}")).load_all(to)
}

fn errors(outcomes: &[DestinationOutcome]) -> Vec<Option<ErrorKind>> {
    let kind = |outcome: &DestinationOutcome| outcome.result.as_ref().err().map(Error::kind);
    outcomes.iter().map(kind).collect()
}

fn asked_again<T>(outcomes: &[DestinationOutcome<T>]) -> Vec<bool> {
    outcomes.iter().map(|outcome| outcome.asked_again).collect()
}

#[tokio::test]
async fn one_that_fails_leaves_the_others_alone() {
    table("all_some", vec![1, 2, 3]);
    let client = client();
    let outcomes = load(
        &client,
        "all_some",
        [
            to("memory", "all_a", "t"),
            to("flaky", "all_b", "t refuses"),
            to("memory", "all_b", "t").mode(Mode::Upsert).keys(["id"]),
            to("flaky", "all_b", "t is forbidden"),
            to("flaky", "unreachable", "t"),
        ],
    )
    .await
    .expect("nothing is refused before the load");
    let expected = [
        None,
        Some(ErrorKind::InvalidData),
        None,
        Some(ErrorKind::PermissionDenied),
        Some(ErrorKind::Connection),
    ];
    assert_eq!(errors(&outcomes), expected);
    let names: Vec<(&str, &str)> = outcomes
        .iter()
        .map(|outcome| (outcome.loader.as_str(), outcome.target.as_str()))
        .collect();
    assert_eq!(
        &names[..3],
        [("memory", "t"), ("flaky", "t refuses"), ("memory", "t")]
    );
    let refused = outcomes[1].result.as_ref().expect_err("a row was refused");
    assert_eq!(
        (refused.aftermath(), refused.get("target")),
        (Some(Aftermath::Unchanged), Some("t refuses"))
    );
    let reports: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.result.as_ref().ok())
        .collect();
    assert_eq!((reports[0].rows, reports[1].rows), (3, 3));
    assert!(reports[1].keys.is_some() && reports[0].keys.is_none());
    // One id is enough to repeat the load.
    assert_eq!(reports[0].load_id, reports[1].load_id);
    assert_eq!(refused.get("load_id"), Some(reports[0].load_id.as_str()));
    assert_eq!(rows("all_a", "t"), Some(vec![1, 2, 3]));
    assert_eq!(rows("all_b", "t"), Some(vec![1, 2, 3]));
    assert_eq!(rows("all_b", "t refuses"), None);
    assert_eq!(asked_again(&outcomes), [false; 5]);
}

#[tokio::test]
async fn with_fail_fast_nothing_is_committed_after_a_failure() {
    table("fast", vec![1]);
    let client = client();
    let cases = [
        (
            "fast_1",
            to("flaky", "fast_1", "t refuses"),
            ErrorKind::InvalidData,
        ),
        (
            "fast_2",
            to("flaky", "fast_2", "t is forbidden"),
            ErrorKind::PermissionDenied,
        ),
        (
            "fast_3",
            to("flaky", "unreachable", "t"),
            ErrorKind::Connection,
        ),
    ];
    for (database, failing, kind) in cases {
        let destinations = [
            to("memory", database, "t"),
            failing,
            to("memory", database, "u"),
        ];
        let outcomes = load(&client, "fast", destinations).fail_fast().await;
        let stopped = Some(ErrorKind::Stopped);
        assert_eq!(
            errors(&outcomes.expect("outcomes")),
            [stopped, Some(kind), stopped]
        );
        assert_eq!((rows(database, "t"), rows(database, "u")), (None, None));
    }
    let all_well = [to("memory", "fast_4", "t"), to("memory", "fast_4", "u")];
    let outcomes = load(&client, "fast", all_well).fail_fast().await;
    assert_eq!(errors(&outcomes.expect("outcomes")), [None, None]);
}

#[tokio::test]
async fn a_repetition_writes_only_where_the_load_is_missing() {
    table("again", vec![1, 2]);
    let client = client();
    let repeated = || {
        let destinations = [
            to("memory", "again_a", "t").load_id("day 1"),
            to("flaky", "again_b", "again refuses once").load_id("day 1"),
        ];
        load(&client, "again", destinations)
    };
    let first = repeated().await.expect("outcomes");
    assert_eq!(errors(&first), [None, Some(ErrorKind::InvalidData)]);
    // Meanwhile the query answers otherwise.
    table("again", vec![1, 2, 3]);
    let planned = repeated().plan().await.expect("plans");
    let rows_there: Vec<Option<u64>> = planned
        .iter()
        .map(|outcome| outcome.result.as_ref().expect("a plan").already_loaded)
        .collect();
    assert_eq!(rows_there, [Some(2), None]);
    assert_eq!(asked_again(&planned), [false, true]);
    let second = repeated().await.expect("outcomes");
    let report = |index: usize| second[index].result.as_ref().expect("a report");
    assert!(report(0).already_loaded && !report(1).already_loaded);
    assert_eq!((report(0).rows, report(1).rows), (2, 3));
    assert_eq!(asked_again(&second), [false, true]);
    assert_eq!(rows("again_a", "t"), Some(vec![1, 2]));
    let third = repeated().await.expect("outcomes");
    assert!(third.iter().all(|outcome| {
        outcome
            .result
            .as_ref()
            .is_ok_and(|report| report.already_loaded)
    }));
    assert_eq!(asked_again(&third), [false, false]);
    let found = repeated().find().await.expect("answers");
    assert!(found.iter().all(|outcome| matches!(
        outcome.result,
        Ok(arrowload::LoadState::Committed { complete: true, .. })
    )));
}

#[tokio::test]
async fn a_destination_that_stumbles_is_tried_again_alone() {
    table("stumbling", vec![5]);
    let client = client();
    let outcomes = load(
        &client,
        "stumbling",
        [
            to("flaky", "stumbling", "steady"),
            to("flaky", "stumbling", "this stumbles"),
        ],
    )
    .await
    .expect("outcomes");
    let retries: Vec<u32> = outcomes
        .iter()
        .map(|outcome| outcome.result.as_ref().expect("it arrives").retries)
        .collect();
    assert_eq!(retries, [0, 1]);
    assert_eq!((begun("steady"), begun("this stumbles")), (1, 2));
    assert_eq!(asked_again(&outcomes), [false, true]);
    for target in ["steady", "this stumbles"] {
        assert_eq!(rows("stumbling", target), Some(vec![5]), "{target}");
    }
}

#[tokio::test]
async fn one_target_is_named_once_whatever_leads_to_it() {
    table("twins", vec![1]);
    let client = client();
    for (name, config) in [
        ("one", json!({ "database": "twins" })),
        ("two", json!({ "database": "twins", "mode": "overwrite" })),
        ("usual", json!({ "database": "default" })),
    ] {
        client
            .configure_connection(name, "memory", config)
            .expect("a connection");
    }
    let by = |name: &str| Destination::new("memory", "t").connection(name);
    let twins = [
        [by("one"), by("one")],
        [by("one"), by("two")],
        [to("memory", "twins", "t"), by("two")],
        [by("usual"), Destination::new("memory", "t")],
    ];
    for pair in twins {
        let shown = format!("{pair:?}");
        let error = load(&client, "twins", pair).await.expect_err("twins");
        assert!(
            error.kind() == ErrorKind::InvalidOption && error.message().contains("named twice"),
            "{shown}: {error}"
        );
    }
    assert_eq!((rows("twins", "t"), rows("default", "t")), (None, None));
    let error = load(&client, "twins", [by("one"), by("two")])
        .plan()
        .await
        .expect_err("twins");
    assert!(
        error.message().contains("connections `one` and `two`"),
        "{error}"
    );
    // Another target, another database, or another loader is another destination.
    let apart = [
        by("one"),
        Destination::new("memory", "u").connection("two"),
        to("memory", "twins_2", "t"),
        to("flaky", "twins_3", "t"),
    ];
    let outcomes = load(&client, "twins", apart).await.expect("outcomes");
    assert_eq!(errors(&outcomes), [None; 4]);
    assert_eq!(outcomes[0].connection.as_deref(), Some("one"));
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_any_row() {
    table("refusals", vec![1]);
    let client = client();
    let well = || to("memory", "refusals", "t");
    for (wrong, words) in [
        (to("memori", "refusals", "u"), "did you mean `memory`?"),
        (well().option("batch_sise", 1), "did you mean `batch_size`?"),
        (to("memory", "refusals", ""), "the target is empty"),
        (well().mode(Mode::Upsert), "needs `keys`"),
    ] {
        let error = load(&client, "refusals", [well(), wrong]).await;
        let error = error.expect_err("a mistake");
        assert!(error.message().contains(words), "{error}");
        assert!(error.get("target").is_some(), "{error}");
    }
    let error = load(&client, "refusals", []).await.expect_err("no place");
    assert!(error.message().contains("at least one"), "{error}");
    let error = load(&client, "refusals", [well()]).find().await;
    assert!(error.expect_err("no id").message().contains("load_id"));
    assert_eq!(rows("refusals", "t"), None);
}

#[tokio::test]
async fn each_plan_is_the_destinations_own_and_changes_nothing() {
    table("planned", vec![1]);
    let client = client();
    let planned = load(
        &client,
        "planned",
        [
            to("memory", "planned_a", "t"),
            to("flaky", "planned_b", "t row by row"),
            to("flaky", "planned_b", "t is forbidden"),
        ],
    )
    .through(Rename::new([("id", "number")]))
    .plan()
    .await
    .expect("plans");
    let plan = |index: usize| planned[index].result.as_ref().expect("a plan");
    assert_eq!(plan(0).columns[0].name, "number");
    assert!(plan(0).to_string().contains("the target is unchanged"));
    assert!(plan(1).to_string().contains("rows of this load may remain"));
    let error = planned[2].result.as_ref().expect_err("forbidden");
    assert_eq!(error.message(), "this target is forbidden");
    assert_eq!(
        (rows("planned_a", "t"), rows("planned_b", "t row by row")),
        (None, None)
    );
}
