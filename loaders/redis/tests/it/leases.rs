//! Several loads of one target: what is open belongs to whoever is alive, and what the dead have left is removed.

use std::time::Duration;

use arrow_array::RecordBatch;
use arrowload_core::{ErrorKind, LoadSpec, LoadState, Mode, load};
use serde_json::{Value, json};

use crate::promises::killed;
use crate::proxy::{Proxy, Stop};
use crate::support::{Database, Paused, connect, integers, once, repeatable, spec, table, texts};

/// Batches of a hundred ids each.
fn batches(ids: std::ops::Range<i64>) -> Vec<RecordBatch> {
    let starts = ids.step_by(100);
    starts
        .map(|start| table(vec![("id", integers(start..start + 100))]))
        .collect()
}

/// A load whose pieces are small, so that they are sent as they come.
fn spec_of(mode: Mode, options: &Value, load_id: &str) -> LoadSpec {
    let mut spec = spec("t", mode, options.clone());
    spec.load.load_id = Some(load_id.into());
    spec.load.max_retries = 0;
    spec.options.set("pipeline_bytes", 1024, "the test");
    spec
}

fn list() -> Value {
    json!({ "data_structure": "list", "encoding": "raw" })
}

fn hash() -> Value {
    json!({ "key_pattern": "{table}:{id}" })
}

/// Waits until something is so.
async fn until(is: impl Fn() -> bool) {
    for _ in 0..200 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came to be");
}

fn staged(database: &Database) -> usize {
    let keys = database.cli(&["KEYS", "arrowload:stage:*"]);
    keys.lines().filter(|key| !key.is_empty()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_live_load_has_staged_is_its_own_longer_than_a_lease() {
    let Some(database) = Database::new() else {
        return;
    };
    let loader = database.loader().await;
    let (mut paused, input) = Paused::input(batches(0..500), 4);
    let mut slow = spec_of(Mode::Append, &list(), "slow");
    slow.options.set("lease", 8, "the test");
    let others = async {
        paused.reached().await;
        until(|| staged(&database) == 1).await;
        for index in 0..4 {
            // Longer than a lease in all.
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            let quick = spec_of(Mode::Append, &list(), &format!("quick-{index}"));
            let rows = batches(1_000 + index * 100..1_100 + index * 100);
            load(&database.loader().await, &quick, &repeatable(rows))
                .await
                .expect("loaded");
        }
        assert_eq!(staged(&database), 1, "the slow one's");
        paused.go_on();
    };
    let (report, ()) = tokio::join!(load(&loader, &slow, &input), others);
    assert_eq!(report.expect("loaded").rows, 500);
    let items = database.cli(&["LRANGE", "t", "0", "-1"]);
    let expected = (1_000..1_400).chain(0..500).map(|id: i64| id.to_string());
    assert!(items.lines().eq(expected), "all of both, each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_load_has_left_is_removed_when_its_lease_is_over() {
    let Some(database) = Database::new() else {
        return;
    };
    let mut proxy = Proxy::start(database.server.port().expect("a port")).await;
    let url = format!("redis://127.0.0.1:{}/{}", proxy.port, database.number);
    for kind in ["list_append", "lists_append", "generation"] {
        proxy.stop_at(b"new-1500\r\n", Stop::Hold);
        killed(&mut proxy, &url, kind, "t").await;
        let left = |pattern: &str| {
            let keys = database.cli(&["KEYS", pattern]);
            keys.lines().filter(|key| !key.is_empty()).count()
        };
        // Of the generation the keys, of lists what is staged.
        let pattern = match kind {
            "generation" => "t:*",
            _ => "arrowload:stage:*",
        };
        let before = left(pattern);
        assert!(before > 0, "{kind}");
        let others = json!({ "key_pattern": "{table}:x:y:{id}", "data_structure": match kind {
            "generation" => "hash",
            _ => "list",
        } });
        let next = |id: &str| spec_of(Mode::Append, &others, &format!("{kind}-{id}"));
        let rows = repeatable(batches(0..100));
        // It may live still.
        load(&database.loader().await, &next("one"), &rows)
            .await
            .expect("loaded");
        let mine = if kind == "generation" { 100 } else { 0 };
        assert_eq!(left(pattern), before + mine, "{kind}");
        let lease = database.cli(&["KEYS", "arrowload:*:lease:*"]);
        let seconds: i64 = database.cli(&["TTL", &lease]).parse().expect("seconds");
        assert!((60..=120).contains(&seconds), "{seconds}");
        database.cli(&["PEXPIRE", &lease, "1"]);
        until(|| left("arrowload:*:lease:*") == 0).await;
        load(&database.loader().await, &next("two"), &rows)
            .await
            .expect("loaded");
        assert_eq!(left(pattern), mine, "{kind}");
        assert_eq!(database.cli(&["EXISTS", "arrowload:{t}:attempts"]), "0");
        database.cli(&["FLUSHDB"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_loads_cannot_create_or_empty_one_target_at_once() {
    let Some(database) = Database::new() else {
        return;
    };
    for (mode, refusal) in [
        (Mode::Create, ErrorKind::TargetExists),
        (Mode::Overwrite, ErrorKind::Conflict),
    ] {
        database.cli(&["FLUSHDB"]);
        let (mut paused, input) = Paused::input(batches(0..500), 4);
        let (first, second) = (
            spec_of(mode, &hash(), "first"),
            spec_of(mode, &hash(), "second"),
        );
        let loader = database.loader().await;
        let meanwhile = async {
            paused.reached().await;
            let input = repeatable(batches(0..100));
            let refused = load(&database.loader().await, &second, &input).await;
            let error = refused.expect_err("the first is at it");
            assert_eq!(error.kind(), refusal, "{error}");
            let said = error.to_string();
            let seconds = said.split_once("its lease ends in ").and_then(|(_, rest)| {
                let (seconds, _) = rest.split_once(" s,")?;
                seconds.parse::<u64>().ok()
            });
            let says = seconds.is_some_and(|seconds| (1..=121).contains(&seconds));
            // That of the create is refused for the first one's rows.
            assert!(says || mode == Mode::Create, "{said}");
            paused.go_on();
        };
        let (report, ()) = tokio::join!(load(&loader, &first, &input), meanwhile);
        assert_eq!(report.expect("loaded").rows, 500);
        assert_eq!(database.keys().len(), 500);
    }
    // The one that was refused comes next.
    let second = spec_of(Mode::Overwrite, &hash(), "second");
    let report = load(
        &database.loader().await,
        &second,
        &repeatable(batches(0..100)),
    )
    .await;
    assert_eq!(report.expect("loaded").rows, 100);
    assert_eq!(database.keys().len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_interrupted_is_in_nobodys_way() {
    let Some(database) = Database::new() else {
        return;
    };
    for (mode, options, keys) in [(Mode::Create, list(), 1), (Mode::Overwrite, hash(), 100)] {
        database.cli(&["FLUSHDB"]);
        let (mut paused, input) = Paused::input(batches(0..500), 4);
        let loader = database.loader().await;
        let first = spec_of(mode, &options, "first");
        tokio::select! {
            outcome = load(&loader, &first, &input) => panic!("it ended: {outcome:?}"),
            () = paused.reached() => {}
        }
        until(|| database.cli(&["KEYS", "arrowload:{t}:lease:*"]).is_empty()).await;
        let second = spec_of(mode, &options, "second");
        let rows = repeatable(batches(0..100));
        let report = load(&database.loader().await, &second, &rows).await;
        assert_eq!(report.expect("loaded").rows, 100, "{mode}");
        assert_eq!(database.keys().len(), keys, "{mode}");
        assert_eq!(staged(&database), 0, "{mode}: what the first had staged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_whose_rows_an_overwrite_has_removed_is_run_again() {
    let Some(database) = Database::new() else {
        return;
    };
    let generation =
        json!({ "key_pattern": "{table}:{generation}:{id}", "overwrite": "generation" });
    for options in [hash(), generation] {
        database.cli(&["FLUSHDB"]);
        let loader = database.loader().await;
        let first = spec_of(Mode::Append, &options, "zero");
        load(&loader, &first, &repeatable(batches(900..1_000)))
            .await
            .expect("loaded");
        let (mut paused, input) = Paused::input(batches(0..500), 4);
        let mut append = spec_of(Mode::Append, &options, "append");
        append.load.max_retries = 3;
        let meanwhile = async {
            paused.reached().await;
            until(|| database.keys().len() > 200).await;
            let overwrite = spec_of(Mode::Overwrite, &options, "overwrite");
            let rows = repeatable(batches(1_000..1_100));
            load(&database.loader().await, &overwrite, &rows)
                .await
                .expect("loaded");
            paused.go_on();
        };
        let (report, ()) = tokio::join!(load(&loader, &append, &input), meanwhile);
        let report = report.expect("loaded");
        assert_eq!((report.rows, report.retries), (500, 1));
        let generation = database.cli(&["GET", "arrowload:{t}:generation"]);
        let keys = database.keys();
        let current = keys.iter().filter(|key| key.contains(&generation)).count();
        assert_eq!(
            current, 600,
            "those of the overwrite, and all of the append"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_runs_of_one_load_the_second_takes_over() {
    let Some(database) = Database::new() else {
        return;
    };
    let spec = spec_of(Mode::Append, &list(), "one");
    let loader = database.loader().await;
    let (mut paused, input) = Paused::input(batches(0..500), 4);
    let second = async {
        paused.reached().await;
        until(|| staged(&database) == 1).await;
        let input = repeatable(batches(0..500));
        let report = load(&database.loader().await, &spec, &input)
            .await
            .expect("loaded");
        assert!(!report.already_loaded);
        paused.go_on();
    };
    let (first, ()) = tokio::join!(load(&loader, &spec, &input), second);
    assert!(first.expect("it finds the second's").already_loaded);
    assert_eq!(database.cli(&["LLEN", "t"]), "500");
    assert_eq!(staged(&database), 0);
    // A run that has lost its lease, and finds no record, does not commit.
    let other = spec_of(Mode::Append, &list(), "two");
    let (mut paused, input) = Paused::input(batches(0..500), 4);
    let thief = async {
        paused.reached().await;
        until(|| staged(&database) == 1).await;
        let lease = database.cli(&["KEYS", "arrowload:*:lease:*"]);
        database.cli(&["DEL", &lease]);
        paused.go_on();
    };
    let (outcome, ()) = tokio::join!(load(&loader, &other, &input), thief);
    let error = outcome.expect_err("its lease is gone");
    assert_eq!(
        (error.kind(), error.is_transient()),
        (ErrorKind::Conflict, false)
    );
    assert_eq!(
        (database.cli(&["LLEN", "t"]), staged(&database)),
        ("500".into(), 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_was_cut_off_is_completed_by_the_next_load_of_its_target() {
    let Some(database) = Database::new() else {
        return;
    };
    let mut proxy = Proxy::start(database.server.port().expect("a port")).await;
    let url = format!("redis://127.0.0.1:{}/{}", proxy.port, database.number);
    proxy.stop_at(b"\r\nlocal ", Stop::Hold);
    killed(&mut proxy, &url, "list_overwrite", "t").await;
    assert_eq!(database.cli(&["LLEN", "t"]), "0");
    // Its record never expires before its rows are in place.
    assert_eq!(database.cli(&["TTL", "arrowload:{t}:load:one"]), "-1");
    let next = spec_of(Mode::Append, &list(), "next");
    let values: Vec<String> = (0..100).map(|id| id.to_string()).collect();
    let values = texts(values.iter().map(|value| Some(value.as_str())));
    let rows = table(vec![("v", values)]);
    load(&database.loader().await, &next, &once(&rows))
        .await
        .expect("loaded");
    let items = database.cli(&["LRANGE", "t", "0", "-1"]);
    let items: Vec<&str> = items.lines().collect();
    assert_eq!((items.len(), items[0], items[3_000]), (3_100, "new-3", "0"));
    let ttl: i64 = database
        .cli(&["TTL", "arrowload:{t}:load:one"])
        .parse()
        .expect("seconds");
    assert!(ttl > 86_400, "{ttl}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_not_said_to_be_missing() {
    let Some(database) = Database::new() else {
        return;
    };
    let loader = database.loader().await;
    let mut short = spec_of(Mode::Append, &hash(), "short");
    short.options.set("ledger_ttl", 2, "the test");
    let state = async |id: &str| loader.find_load("t", id).await.expect("an answer");
    assert!(matches!(state("other").await, LoadState::NotCommitted));
    load(&loader, &short, &repeatable(batches(0..100)))
        .await
        .expect("loaded");
    assert!(matches!(
        state("short").await,
        LoadState::Committed { complete: true, .. }
    ));
    assert!(matches!(state("other").await, LoadState::NotCommitted));
    until(|| database.cli(&["EXISTS", "arrowload:{t}:load:short"]) == "0").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for id in ["short", "other"] {
        assert!(matches!(state(id).await, LoadState::Unknown), "{id}");
    }
    // The commit that this very process has sent is another matter: that would be there.
    let mut proxy = Proxy::start(database.server.port().expect("a port")).await;
    let url = format!("redis://127.0.0.1:{}/{}", proxy.port, database.number);
    let loader = connect(&url).await;
    let mut lost = spec_of(Mode::Append, &list(), "lost");
    (lost.target, lost.load.max_retries) = ("t2".into(), 2);
    let input = repeatable(batches(0..100));
    let mut before = lost.clone();
    before.load.load_id = Some("before".into());
    before.options.set("ledger_ttl", 1, "the test");
    load(&loader, &before, &input).await.expect("loaded");
    until(|| database.cli(&["EXISTS", "arrowload:{t2}:load:before"]) == "0").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    proxy.stop_at(b"SET\r\n$24\r\narrowload:{t2}:load:lost\r\n", Stop::Cut);
    let report = load(&loader, &lost, &input).await.expect("loaded");
    assert!(proxy.was_reached() && report.retries > 0 && !report.already_loaded);
    assert_eq!(database.cli(&["LLEN", "t2"]), "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_loads_that_make_the_first_generation_none_is_lost() {
    let Some(database) = Database::new() else {
        return;
    };
    let options = json!({ "key_pattern": "{table}:{generation}:{id}", "overwrite": "generation" });
    let (mut paused, input) = Paused::input(batches(0..500), 4);
    let mut first = spec_of(Mode::Append, &options, "first");
    first.load.max_retries = 3;
    let loader = database.loader().await;
    let meanwhile = async {
        paused.reached().await;
        let second = spec_of(Mode::Append, &options, "second");
        let rows = repeatable(batches(1_000..1_100));
        let loaded = load(&database.loader().await, &second, &rows).await;
        loaded.expect("loaded");
        paused.go_on();
    };
    let (report, ()) = tokio::join!(load(&loader, &first, &input), meanwhile);
    assert_eq!(report.expect("loaded").retries, 1);
    let generation = database.cli(&["GET", "arrowload:{t}:generation"]);
    let keys = database.keys();
    assert!(keys.iter().all(|key| key.contains(&generation)));
    assert_eq!(keys.len(), 600);
}
