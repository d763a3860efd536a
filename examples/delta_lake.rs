//! Delta tables: create, append, upsert, query an earlier version. No server is needed.
//!
//! `cargo run --release --features delta-lake --example delta_lake`

#![expect(clippy::print_stdout, reason = "a program's way to speak")]

use std::path::Path;

use anyhow::{Result, ensure};
use arrowload::{BatchStream, Client};
use futures::stream;
use serde_json::json;

const TABLE: &str = "target/delta_lake/orders";

#[tokio::main]
async fn main() -> Result<()> {
    if Path::new(TABLE).exists() {
        std::fs::remove_dir_all(TABLE)?;
    }
    let client = Client::connect(&format!("delta://{TABLE}")).await?;

    let orders = arrowload_tpch::orders(0.01, 8192);
    let (schema, batches) = (orders.schema(), orders);
    let rows = BatchStream::new(schema, stream::iter(batches.map(Ok)));
    let load = client
        .load_stream(rows, "delta_lake", TABLE)
        .option("mode", "create")
        .option("load_id", "orders-of-today");
    let report = load
        .option("partition_by", json!(["o_orderstatus"]))
        .await?;
    println!(
        "created: {} rows in {} files, version {}",
        report.rows, report.details["files"], report.details["version"]
    );

    // The table is the source too: some of its rows are written back by their key.
    let some = "SELECT * FROM delta WHERE o_orderkey < 100";
    println!(
        "{}",
        client
            .sql(format!(
                "SELECT o_orderkey, o_orderstatus, o_totalprice FROM ({some}) LIMIT 3"
            ))
            .to_arrow()
            .await?
    );
    let report = client
        .sql(some)
        .load("delta_lake", TABLE)
        .option("mode", "upsert")
        .option("keys", json!(["o_orderkey"]))
        .await?;
    println!("upserted: {:?}", report.keys);

    let counted = "SELECT count(*) AS orders FROM delta";
    let first = Client::connect(&format!("delta://{TABLE}@0")).await?;
    println!("version 0:\n{}", first.sql(counted).to_arrow().await?);
    println!("now:\n{}", client.sql(counted).to_arrow().await?);
    ensure!(
        report.keys.is_some_and(|keys| keys.inserted == 0),
        "every order was there"
    );
    Ok(())
}
