//! Many loads at once, few connections, loads that are dropped at any moment: nothing waits for ever, nothing is left.

use std::time::Duration;

use arrowload_core::{Destination, ErrorKind, Loader, Mode, load, load_all, plan_all};
use futures::future::join_all;
use serde_json::json;

use crate::server::database;
use crate::support::{descriptor, input, people, query, spec, with};

#[tokio::test(flavor = "multi_thread")]
async fn upserts_of_the_same_keys_do_not_lock_each_other_up() {
    let Some(database) = database("upserts_at_once").await else {
        return;
    };
    database
        .run("CREATE TABLE t (id bigint PRIMARY KEY, name text); CREATE INDEX ON t (name)")
        .await;
    let loader = database.loader().await;
    for parallelism in [1, 2] {
        let options = json!({ "mode": "upsert", "keys": ["id"], "parallelism": parallelism, "batch_size": 100, "max_retries": 0 });
        let load_spec = with("t", options);
        // Keys in another order each.
        let loads = (0..6).map(|number: u32| {
            let rows = people(0..1000, &format!("v{number}-"));
            let turned = arrow_select::concat::concat_batches(
                &rows.schema(),
                &[
                    rows.slice(100 * number as usize, 1000 - 100 * number as usize),
                    rows.slice(0, 100 * number as usize),
                ],
            );
            let (loader, load_spec) = (&loader, &load_spec);
            async move { load(loader, load_spec, &query(&turned.expect("one schema"))).await }
        });
        let outcomes = tokio::time::timeout(Duration::from_secs(60), join_all(loads))
            .await
            .expect("they end");
        for outcome in outcomes {
            let keys = outcome
                .unwrap_or_else(|error| panic!("{parallelism}: {error:?}"))
                .keys
                .expect("counts");
            assert_eq!(keys.inserted + keys.updated, 1000, "{keys:?}");
        }
        // All rows of the one that came last.
        assert_eq!(
            database
                .rows("SELECT count(*), count(DISTINCT split_part(name, '-', 1)) FROM t")
                .await,
            ["1000|1"]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_connections_serve_many_loads() {
    let Some(database) = database("few_connections").await else {
        return;
    };
    for (pool_size, parallelism) in [(1, 1), (1, 4), (2, 2), (4, 3), (5, 4)] {
        database
            .run("DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint, name text)")
            .await;
        let mut settings = database.settings();
        settings.set("pool_size", pool_size, "the test");
        let loader = Loader::connect(&descriptor(), &settings, 0)
            .await
            .expect("connected");
        let loads = (0..6).map(|number| {
            let load_spec = with(
                "t",
                json!({ "parallelism": parallelism, "batch_size": 50, "max_retries": 5 }),
            );
            let loader = &loader;
            async move {
                load(
                    loader,
                    &load_spec,
                    &query(&people(number * 200..number * 200 + 200, "n")),
                )
                .await
            }
        });
        let outcomes = tokio::time::timeout(Duration::from_secs(40), join_all(loads)).await;
        let outcomes = outcomes.unwrap_or_else(|_| {
            panic!("{pool_size} connections, {parallelism} to a load: they wait for ever")
        });
        for outcome in outcomes {
            outcome.unwrap_or_else(|error| {
                panic!("{pool_size} connections, {parallelism} to a load: {error:?}")
            });
        }
        let found = database
            .rows("SELECT count(*), count(DISTINCT id) FROM t")
            .await;
        assert_eq!(
            found,
            ["1200|1200"],
            "{pool_size} connections, {parallelism} to a load"
        );
        database.assert_clean().await;
    }
}

/// A server that is full says so, and takes the load when there is room.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_is_asked_again() {
    let Some(database) = database("full").await else {
        return;
    };
    database
        .run("DROP ROLE IF EXISTS arrowload_limited; CREATE ROLE arrowload_limited LOGIN SUPERUSER; CREATE TABLE t (id bigint, name text)")
        .await;
    database.run("ALTER ROLE arrowload_limited NOSUPERUSER; ALTER ROLE arrowload_limited CONNECTION LIMIT 1; GRANT ALL ON t TO arrowload_limited; GRANT ALL ON SCHEMA public TO arrowload_limited").await;
    let mut settings = database.settings();
    settings.set("user", "arrowload_limited", "the test");
    let holder = Loader::connect(&descriptor(), &settings, 0)
        .await
        .expect("connected");
    let error = Loader::connect(&descriptor(), &settings, 0)
        .await
        .expect_err("no room");
    assert!(
        error.kind() == ErrorKind::ResourceExhausted && error.is_transient(),
        "{error:?}"
    );
    let letting_go = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        drop(holder);
    };
    let descriptor = descriptor();
    let (loader, ()) = tokio::join!(Loader::connect(&descriptor, &settings, 8), letting_go);
    let loader = loader.expect("there is room again");
    load(
        &loader,
        &spec("t", Mode::Append),
        &input(&[people(0..3, "a")]),
    )
    .await
    .expect("loaded");
}

/// The future of a load is dropped at any moment: the connection is not used again, the target is as it was or loaded, and
/// the next load clears away what is left.
#[tokio::test(flavor = "multi_thread")]
async fn loads_that_are_dropped_leave_all_or_nothing() {
    let Some(database) = database("dropped_anywhere").await else {
        return;
    };
    let mut settings = database.settings();
    settings.set("pool_size", 4, "the test");
    let loader = Loader::connect(&descriptor(), &settings, 0)
        .await
        .expect("connected");
    let rows = people(0..2000, "new");
    for mode in Mode::ALL {
        database.stage(mode, "first").await;
        let mut after = None;
        for round in 0..24_u64 {
            let load_id = format!("{mode} {round}");
            let mut load_spec = database.stage(mode, &load_id).await;
            if round % 2 == 1 {
                (load_spec.load.parallelism, load_spec.load.batch_size) = (Some(3), Some(200));
            }
            let before = database.seen().await;
            if after.is_none() {
                load(&loader, &load_spec, &input(std::slice::from_ref(&rows)))
                    .await
                    .expect("loaded");
                after = database.seen().await;
                continue;
            }
            let limit = Duration::from_micros(round * 1_700);
            let finished = tokio::time::timeout(
                limit,
                load(&loader, &load_spec, &input(std::slice::from_ref(&rows))),
            )
            .await
            .is_ok();
            let again = tokio::time::timeout(
                Duration::from_secs(20),
                load(&loader, &load_spec, &input(std::slice::from_ref(&rows))),
            )
            .await;
            let again = again.unwrap_or_else(|_| {
                panic!("{mode} after {limit:?}: what was dropped is in the way")
            });
            let report = again.unwrap_or_else(|error| panic!("{mode} after {limit:?}: {error:?}"));
            assert!(
                report.already_loaded || !finished,
                "{mode} after {limit:?}: {report:?}"
            );
            assert_eq!(
                (database.seen().await, report.rows),
                (after.clone(), 2000),
                "{mode} after {limit:?}, {before:?}"
            );
            database.assert_clean_after_another().await;
        }
    }
}

/// Loads that change a table, or need it for themselves, take turns from the start: a lock that is made stronger later would
/// wait for another's that does the same.
#[tokio::test(flavor = "multi_thread")]
async fn loads_that_need_a_stronger_lock_do_not_lock_each_other_up() {
    let Some(database) = database("stronger_locks").await else {
        return;
    };
    let plain = "CREATE TABLE t (id bigint, name text)";
    let partitioned = "CREATE TABLE t (id bigint PRIMARY KEY, name text) PARTITION BY HASH (id); \
                       CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0)";
    let folder = tempfile::tempdir().expect("a folder");
    let cases = [
        (
            "proved and skipping",
            plain,
            json!({ "verify": "checksum", "on_error": "skip", "dead_letters": folder.path() }),
        ),
        (
            "partitioned",
            partitioned,
            json!({ "mode": "upsert", "keys": ["id"] }),
        ),
        (
            "evolving",
            "CREATE TABLE t (id bigint)",
            json!({ "schema_evolution": true }),
        ),
        (
            "replacing",
            "CREATE TABLE t (id bigint, old int)",
            json!({ "mode": "overwrite", "schema_evolution": true }),
        ),
        ("indexing", "", json!({ "mode": "upsert", "keys": ["id"] })),
    ];
    for (what, sql, options) in cases {
        for round in 0..5 {
            database.run("DROP TABLE IF EXISTS t").await;
            if sql.is_empty() {
                database
                    .load(&spec("t", Mode::Append), &people(-5..0, "n"))
                    .await;
            }
            database.run(sql).await;
            let loader = database.loader().await;
            let loads = (0..5).map(|number| {
                let (mut load_spec, loader) = (with("t", options.clone()), &loader);
                // What another has changed meanwhile is looked at again.
                load_spec.load.max_retries = 9;
                async move {
                    load(
                        loader,
                        &load_spec,
                        &query(&people(number * 100..number * 100 + 100, "n")),
                    )
                    .await
                }
            });
            let outcomes = tokio::time::timeout(Duration::from_secs(40), join_all(loads)).await;
            for outcome in outcomes.unwrap_or_else(|_| panic!("{what}: they wait for ever")) {
                outcome.unwrap_or_else(|error| panic!("{what}, round {round}: {error:?}"));
            }
            let rows = if what == "replacing" {
                "100"
            } else if sql.is_empty() {
                "505"
            } else {
                "500"
            };
            assert_eq!(
                database.rows("SELECT count(*) FROM t").await,
                [rows],
                "{what}"
            );
        }
    }
}

/// Destinations of one run each keep a connection to the end: as many as there are connections are loaded, and more are
/// refused by plan and load alike. None waits for ever for what another holds that waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn destinations_share_the_connections_of_a_pool() {
    let Some(database) = database("shared_pool").await else {
        return;
    };
    let rows = query(&people(0..1000, "n"));
    for (pool_size, copying) in [(1, 0), (2, 0), (3, 1), (4, 1), (9, 2)] {
        database
            .run("DROP TABLE IF EXISTS a; DROP TABLE IF EXISTS b; DROP TABLE IF EXISTS c")
            .await;
        let mut settings = database.settings();
        settings.set("pool_size", pool_size, "the test");
        let loader = Loader::connect(&descriptor(), &settings, 0)
            .await
            .expect("connected");
        let options = json!({ "parallelism": 3, "batch_size": 50 });
        let specs = ["a", "b", "c"].map(|target| with(target, options.clone()));
        let destination = |spec| Destination {
            loader: &loader,
            spec,
        };
        let destinations: Vec<Destination<'_>> = specs.iter().map(destination).collect();
        let planned = plan_all(&destinations, &rows).await.expect("plans");
        let loading = load_all(&destinations, &rows, false);
        let loaded = tokio::time::timeout(Duration::from_secs(20), loading).await;
        let loaded = loaded.unwrap_or_else(|_| panic!("{pool_size}: they wait for ever"));
        for (planned, loaded) in planned.into_iter().zip(loaded.expect("outcomes")) {
            match (planned, loaded) {
                (Ok(plan), Ok(report)) => {
                    assert_eq!(plan.guarantees.parallelism, copying, "{pool_size}");
                    assert_eq!(report.rows, 1000);
                }
                (Err(planned), Err(error)) => {
                    assert_eq!(copying, 0, "{pool_size}: {error}");
                    assert_eq!(
                        (planned.kind(), planned.message()),
                        (error.kind(), error.message())
                    );
                    let says = "set pool_size to 3 or more";
                    assert!(error.message().contains(says), "{error}");
                    assert_eq!(error.kind(), ErrorKind::InvalidOption);
                }
                other => panic!("{pool_size}: {other:?}"),
            }
        }
        database.assert_clean().await;
    }
}

/// Two runs of which each holds what the other waits for: they give up after a while, and one of them comes through.
#[tokio::test(flavor = "multi_thread")]
async fn two_runs_of_several_destinations_do_not_wait_for_each_other_for_ever() {
    let Some(database) = database("two_runs").await else {
        return;
    };
    database
        .run(
            "CREATE TABLE a (id bigint, name text); CREATE TABLE b (id bigint, name text);
              CREATE TABLE c (id bigint, name text); CREATE TABLE d (id bigint, name text)",
        )
        .await;
    let mut settings = database.settings();
    settings.set("pool_size", 2, "the test");
    settings.set("connect_timeout", 1, "the test");
    let loader = Loader::connect(&descriptor(), &settings, 0)
        .await
        .expect("connected");
    let rows = query(&people(0..1000, "n"));
    let options = json!({ "max_retries": 0 });
    let run = async |targets: [&str; 2]| {
        let specs = targets.map(|target| with(target, options.clone()));
        let destination = |spec| Destination {
            loader: &loader,
            spec,
        };
        let destinations: Vec<Destination<'_>> = specs.iter().map(destination).collect();
        load_all(&destinations, &rows, false)
            .await
            .expect("outcomes")
    };
    for _ in 0..8 {
        let both = async { tokio::join!(run(["a", "b"]), run(["c", "d"])) };
        let (one, other) = tokio::time::timeout(Duration::from_secs(20), both)
            .await
            .expect("they wait for ever");
        for outcome in one.into_iter().chain(other) {
            if let Err(error) = outcome {
                assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
                assert!(error.is_transient(), "{error:?}");
                assert!(error.message().contains("raise pool_size"), "{error}");
            }
        }
        database.assert_clean().await;
    }
}
