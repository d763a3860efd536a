//! Real clusters and Sentinels: keys go to their nodes, slots move amid a load, and a replica is promoted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrowload_core::{BatchStream, ErrorKind, Input, LoadState, Loader, Mode, load};
use arrowload_testkit::ThrowawayRedis;
use futures::StreamExt;
use serde_json::json;

use crate::promises;
use crate::support::{descriptor, integers, once, repeatable, settings, spec, table};

fn batches(rows: i64, each: i64) -> Vec<RecordBatch> {
    (0..rows / each)
        .map(|index| table(vec![("id", integers(index * each..(index + 1) * each))]))
        .collect()
}

async fn connect(url: &str) -> Loader {
    Loader::connect(&descriptor(), &settings(url), 3)
        .await
        .expect("a connection")
}

fn hosts(nodes: &[ThrowawayRedis]) -> String {
    nodes
        .iter()
        .filter_map(|node| Some(format!("127.0.0.1:{}", node.port()?)))
        .collect::<Vec<_>>()
        .join(",")
}

/// Every id under a pattern of keys, read from each master by `redis-cli`, sorted.
fn ids(nodes: &[ThrowawayRedis], pattern: &str) -> Vec<i64> {
    let script = "local ids = {} for _, key in ipairs(redis.call('KEYS', ARGV[1])) do ids[#ids + 1] = redis.call('HGET', key, 'id') end return ids";
    let mut ids: Vec<i64> = nodes
        .iter()
        .flat_map(|node| {
            let printed = node
                .cli(&["EVAL_RO", script, "0", pattern])
                .expect("redis-cli");
            printed
                .lines()
                .filter(|line| !line.is_empty())
                .map(|line| line.parse().expect("an id"))
                .collect::<Vec<_>>()
        })
        .collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_to_the_nodes_of_their_slots() {
    if ThrowawayRedis::available().is_none() {
        return;
    }
    let nodes = ThrowawayRedis::start_cluster().expect("a cluster");
    let loader = connect(&format!("redis://{}?cluster=true", hosts(&nodes))).await;
    let options = json!({ "key_pattern": "{table}:{id}", "pipeline_bytes": 4096, "load_id": "one", "ttl": 1000 });
    let report = load(
        &loader,
        &spec("t", Mode::Append, options.clone()),
        &repeatable(batches(9_000, 300)),
    )
    .await
    .expect("loaded");
    assert_eq!(report.rows, 9_000);
    assert_eq!(ids(&nodes, "t:*"), (0..9_000).collect::<Vec<_>>());
    for node in &nodes {
        let keys: u64 = node
            .cli(&["DBSIZE"])
            .expect("redis-cli")
            .parse()
            .expect("a number");
        assert!((2_500..3_500).contains(&keys), "{keys}");
    }
    assert!(
        load(
            &loader,
            &spec("t", Mode::Append, options),
            &repeatable(batches(9_000, 300))
        )
        .await
        .expect("repeated")
        .already_loaded
    );
    let options = json!({ "key_pattern": "{table}:{id}" });
    load(
        &loader,
        &spec("t", Mode::Overwrite, options),
        &once(&batches(10, 10)[0]),
    )
    .await
    .expect("overwritten");
    assert_eq!(ids(&nodes, "t:*"), (0..10).collect::<Vec<_>>());
    // What is built aside is in the slot of its key.
    let options = json!({ "data_structure": "list", "encoding": "raw", "value_columns": ["id"], "key_pattern": "{table}:{{{id}}}" });
    for (mode, rows) in [(Mode::Append, 50), (Mode::Overwrite, 10)] {
        let spec = spec("lists", mode, options.clone());
        let report = load(&loader, &spec, &once(&batches(rows, rows)[0])).await;
        assert_eq!(report.expect("loaded").rows, rows as u64);
        let whole: String = nodes
            .iter()
            .map(|node| node.cli(&["KEYS", "lists:*"]).expect("redis-cli") + "\n")
            .collect();
        let keys = whole.lines().filter(|line| !line.is_empty()).count();
        assert_eq!(keys, rows as usize);
    }
    // A client that knows nothing of clusters is told so.
    let alone = connect(nodes[0].url()).await;
    let error = load(
        &alone,
        &spec("u", Mode::Append, json!({ "key_pattern": "{table}:{id}" })),
        &once(&batches(100, 100)[0]),
    )
    .await;
    let error = error.expect_err("a cluster");
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(error.to_string().contains("cluster = true"), "{error}");
}

/// Moves slots between nodes by `redis-cli`, as an administrator does.
fn reshard(nodes: &[ThrowawayRedis], from: usize, to: usize, slots: &str) {
    let id = |index: usize| nodes[index].cli(&["CLUSTER", "MYID"]).expect("redis-cli");
    let place = format!("127.0.0.1:{}", nodes[from].port().expect("a port"));
    let (from, to) = (id(from), id(to));
    let output = std::process::Command::new("redis-cli")
        .args([
            "--cluster",
            "reshard",
            &place,
            "--cluster-from",
            &from,
            "--cluster-to",
            &to,
            "--cluster-slots",
            slots,
            "--cluster-yes",
        ])
        .output()
        .expect("redis-cli");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_move_amid_a_load_are_followed() {
    if ThrowawayRedis::available().is_none() {
        return;
    }
    let nodes = Arc::new(ThrowawayRedis::start_cluster().expect("a cluster"));
    let loader = connect(&format!("redis://{}?cluster=true", hosts(&nodes))).await;
    // Fields that are null and a time of expiry: rows are transactions, some of them amid a move.
    let mut spec = spec(
        "t",
        Mode::Append,
        json!({ "key_pattern": "{table}:{id}", "pipeline_bytes": 2048, "ttl": 5000 }),
    );
    spec.load.max_retries = 0;
    let done = Arc::new(AtomicBool::new(false));
    let moving = {
        let (nodes, done) = (Arc::clone(&nodes), Arc::clone(&done));
        tokio::task::spawn_blocking(move || {
            reshard(&nodes, 0, 1, "400");
            reshard(&nodes, 1, 2, "700");
            reshard(&nodes, 2, 0, "300");
            done.store(true, Ordering::Relaxed);
        })
    };
    let (schema, stop) = (batches(1, 1)[0].schema(), Arc::clone(&done));
    let mut next = 0;
    let stream = futures::stream::repeat_with(move || {
        next += 100;
        table(vec![("id", integers(next - 100..next))])
    });
    // The load goes on as long as slots move.
    let stream = stream
        .take_while(move |_| futures::future::ready(!stop.load(Ordering::Relaxed)))
        .then(|batch| async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(batch)
        });
    let report = load(
        &loader,
        &spec,
        &Input::stream(BatchStream::new(schema, stream)),
    )
    .await
    .expect("loaded");
    moving.await.expect("moved");
    assert!(
        report.rows > 1_000 && report.details.contains_key("rows_sent_again"),
        "{report:?}"
    );
    assert_eq!(
        ids(&nodes, "t:*"),
        (0..report.rows as i64).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinel_names_the_master_and_the_replica_that_is_promoted() {
    if ThrowawayRedis::available().is_none() {
        return;
    }
    let master = ThrowawayRedis::start(&[]).expect("a server");
    let replica = ThrowawayRedis::start(&[&format!(
        "replicaof 127.0.0.1 {}",
        master.port().expect("a port")
    )])
    .expect("a server");
    let sentinel = ThrowawayRedis::start_sentinel("mymaster", &master).expect("a Sentinel");
    for _ in 0..200 {
        let knows = sentinel
            .cli(&["SENTINEL", "REPLICAS", "mymaster"])
            .expect("redis-cli")
            .contains("127.0.0.1");
        if knows
            && replica
                .cli(&["INFO", "replication"])
                .expect("redis-cli")
                .contains("master_link_status:up")
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let url = format!(
        "redis-sentinel://127.0.0.1:1,127.0.0.1:{}/mymaster",
        sentinel.port().expect("a port")
    );
    let loader = connect(&url).await;
    let options =
        json!({ "key_pattern": "{table}:{id}", "pipeline_bytes": 2048, "load_id": "one" });
    load(
        &loader,
        &spec("t", Mode::Append, options.clone()),
        &once(&batches(10, 10)[0]),
    )
    .await
    .expect("loaded");
    assert_eq!(master.cli(&["HGET", "t:3", "id"]).expect("redis-cli"), "3");
    // The master dies amid a load, which is run again on the replica that Sentinel promotes.
    let mut second = spec("u", Mode::Append, options);
    second.load.max_retries = 10;
    let (killed, all) = (Arc::new(AtomicBool::new(false)), batches(5_000, 100));
    let master = Arc::new(master);
    let dies = Arc::clone(&master);
    let input = Input::repeatable(move |_| {
        let (killed, dies, all) = (Arc::clone(&killed), Arc::clone(&dies), all.clone());
        let schema = all[0].schema();
        let stream =
            futures::stream::iter(all.into_iter().enumerate()).then(move |(index, batch)| {
                let (killed, dies) = (Arc::clone(&killed), Arc::clone(&dies));
                async move {
                    if index == 25 && !killed.swap(true, Ordering::Relaxed) {
                        dies.kill().expect("killed");
                    }
                    Ok(batch)
                }
            });
        Box::pin(async move { Ok(BatchStream::new(schema, stream)) })
    });
    let report = load(&loader, &second, &input).await.expect("loaded");
    assert!(report.rows == 5_000 && report.retries > 0, "{report:?}");
    assert_eq!(
        ids(std::slice::from_ref(&replica), "u:*"),
        (0..5_000).collect::<Vec<_>>()
    );
    let error = Loader::connect(
        &descriptor(),
        &settings(&url.replace("mymaster", "nobody")),
        0,
    )
    .await
    .expect_err("no such master");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

/// Every item of the lists of a target, read from each master, sorted.
fn items(nodes: &[ThrowawayRedis], target: &str) -> Vec<String> {
    let script = "local all = {} for _, key in ipairs(redis.call('KEYS', ARGV[1])) do \
        for _, item in ipairs(redis.call('LRANGE', key, 0, -1)) do all[#all + 1] = item end end return all";
    let printed = nodes.iter().map(|node| {
        let words = ["EVAL_RO", script, "0", &format!("{target}:*")];
        node.cli(&words).expect("redis-cli")
    });
    let printed: Vec<String> = printed.collect();
    let lines = printed.iter().flat_map(|text| text.lines());
    let mut items: Vec<String> = lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    items.sort_unstable();
    items
}

/// A load whose keys are on several nodes is killed at any time: what is said of it then is what is there, and repeated it has
/// each row once.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_killed_at_any_time_ends_right() {
    if ThrowawayRedis::available().is_none() {
        return;
    }
    let nodes = ThrowawayRedis::start_cluster().expect("a cluster");
    let url = format!("redis://{}?cluster=true", hosts(&nodes));
    let loader = connect(&url).await;
    for name in ["lists_append", "lists_overwrite"] {
        let mut kinds = promises::kinds().into_iter();
        let kind = kinds.find(|kind| kind.name == name).expect("a kind");
        let old = promises::rows(0..6, "old");
        let new: Vec<String> = (3..3 + promises::ROWS)
            .map(|id| format!("new-{id}"))
            .collect();
        // How long it takes that is not killed.
        let started = std::time::Instant::now();
        let mut whole = promises::spawned(&url, name, &format!("{name}_whole"));
        whole.wait().expect("ended");
        let takes = started.elapsed();
        for part in 0..12_u32 {
            let target = format!("{name}_{part}");
            let before = spec(&target, Mode::Append, kind.options.clone());
            load(&loader, &before, &once(&old)).await.expect("loaded");
            let before = items(&nodes, &target);
            let mut child = promises::spawned(&url, name, &target);
            tokio::time::sleep(takes * (part + 4) / 15).await;
            child.kill().expect("killed");
            child.wait().expect("ended");

            let mut expected = new.clone();
            if kind.mode == Mode::Append {
                expected.extend(before.clone());
            }
            expected.sort_unstable();
            let there = items(&nodes, &target);
            let place = format!("{target}, killed after {part} of 12 parts");
            match loader.find_load(&target, "one").await.expect("an answer") {
                LoadState::NotCommitted => {
                    assert_eq!(there, before, "{place}");
                }
                LoadState::Committed {
                    complete: false, ..
                } => {}
                LoadState::Committed { .. } => {
                    assert_eq!(there, expected, "{place}");
                }
                other => panic!("{place}: {other:?}"),
            }
            promises::repeated(&loader, &kind, &target).await;
            assert_eq!(items(&nodes, &target), expected, "{place}");
            for node in &nodes {
                let left = node.cli(&["KEYS", "arrowload:stage:*"]).expect("redis-cli");
                assert_eq!(left, "", "{place}");
            }
        }
    }
}
