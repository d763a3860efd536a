//! Each server is dialled once for connecting and a load, and no more often for the loads after it.

use arrow_array::RecordBatch;
use arrowload_core::{Mode, load, plan_load};
use arrowload_testkit::ThrowawayRedis;
use serde_json::json;

use crate::support::{connect, integers, repeatable, spec, table};

fn rows() -> Vec<RecordBatch> {
    vec![table(vec![("id", integers(0..1_000))])]
}

/// The connections that a server has accepted, this question's own among them.
fn accepted(server: &ThrowawayRedis) -> u64 {
    let printed = server.cli(&["INFO", "stats"]).expect("redis-cli");
    let line = printed
        .lines()
        .find_map(|line| line.strip_prefix("total_connections_received:"));
    line.expect("a line").trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_and_loading_dial_a_server_once() {
    if ThrowawayRedis::available().is_none() {
        return;
    }
    let server = ThrowawayRedis::start(&[]).expect("a server");
    for (mode, options) in [
        (Mode::Create, json!({ "key_pattern": "{table}:{id}" })),
        (Mode::Append, json!({ "key_pattern": "{table}:{id}" })),
        (
            Mode::Overwrite,
            json!({ "key_pattern": "{table}:{id}", "pipeline_bytes": 1024 }),
        ),
        (
            Mode::Overwrite,
            json!({ "keys": ["id"], "overwrite": "generation" }),
        ),
        (Mode::Append, json!({ "data_structure": "list" })),
    ] {
        let target = format!("{}_{}", mode.name(), options.to_string().len());
        let before = accepted(&server);
        let loader = connect(server.url()).await;
        let mut spec = spec(&target, mode, options);
        spec.load.load_id = Some("one".into());
        plan_load(&loader, &spec, &repeatable(rows()))
            .await
            .expect("a plan");
        load(&loader, &spec, &repeatable(rows()))
            .await
            .expect("loaded");
        load(&loader, &spec, &repeatable(rows()))
            .await
            .expect("repeated");
        spec.load.load_id = None;
        spec.load.mode = Mode::Append;
        load(&loader, &spec, &repeatable(rows()))
            .await
            .expect("loaded");
        let dialled = accepted(&server) - before - 1;
        assert_eq!(dialled, 1, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_of_a_cluster_is_dialled_once() {
    if ThrowawayRedis::available().is_none() {
        return;
    }
    let nodes = ThrowawayRedis::start_cluster().expect("a cluster");
    let options = json!({ "key_pattern": "{table}:{id}", "pipeline_bytes": 1024 });
    let before: Vec<u64> = nodes.iter().map(accepted).collect();
    let loader = connect(&format!("{}?cluster=true", nodes[0].url())).await;
    for mode in [Mode::Append, Mode::Overwrite] {
        let spec = spec("t", mode, options.clone());
        load(&loader, &spec, &repeatable(rows()))
            .await
            .expect("loaded");
    }
    for (node, before) in nodes.iter().zip(before) {
        assert_eq!(accepted(node) - before - 1, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_has_died_meanwhile_is_replaced() {
    if ThrowawayRedis::available().is_none() {
        return;
    }
    let server = ThrowawayRedis::start(&[]).expect("a server");
    let loader = connect(server.url()).await;
    let mut spec = spec("t", Mode::Append, json!({ "key_pattern": "{table}:{id}" }));
    spec.load.max_retries = 0;
    server
        .cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .expect("redis-cli");
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    let report = load(&loader, &spec, &repeatable(rows()))
        .await
        .expect("loaded");
    assert_eq!(report.rows, 1_000);
}
