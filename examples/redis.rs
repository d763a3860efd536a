//! Rows into Redis hashes, a sorted set and a stream, and back again.
//!
//! `REDIS_URL=redis://localhost cargo run --release --features redis --example redis`

#![expect(clippy::print_stdout, reason = "a program's way to speak")]

use anyhow::{Context, Result, ensure};
use arrowload::{BatchStream, Client, Mode};
use futures::stream;

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::var("REDIS_URL")
        .context("REDIS_URL names the server, as in redis://localhost")?;
    // The same URL is the source of queries, and, as it stands in the environment, the default connection of loads.
    let client = Client::connect(&url).await?;
    let orders = || {
        let orders = arrowload_tpch::orders(0.01, 8192);
        BatchStream::new(orders.schema(), stream::iter(orders.map(Ok)))
    };

    // A hash for each row, `orders:1`, `orders:2` and so on, which expires after an hour.
    let load = client
        .load_stream(orders(), "redis", "orders")
        .mode(Mode::Upsert)
        .keys(["o_orderkey"])
        .option("ttl", 3600);
    let report = load.load_id("orders-of-today").await?;
    println!("{} hashes in {:.2?}", report.rows, report.elapsed);

    // Repeating a load with its id writes nothing.
    let load = client
        .load_stream(orders(), "redis", "orders")
        .mode(Mode::Upsert)
        .keys(["o_orderkey"])
        .option("ttl", 3600);
    ensure!(
        load.load_id("orders-of-today").await?.already_loaded,
        "the load is known"
    );

    // One sorted set: the orders by their price. It replaces the one that was there in one step.
    let load = client
        .load_stream(orders(), "redis", "orders_by_price")
        .mode(Mode::Overwrite)
        .option("data_structure", "sorted_set");
    let report = load
        .option("score_column", "o_totalprice")
        .option("member_column", "o_orderkey")
        .await?;
    println!("{} members of one sorted set", report.rows);

    // One stream of at most about a thousand entries.
    let load = client
        .load_stream(orders(), "redis", "order_events")
        .option("data_structure", "stream")
        .option("maxlen", 1000);
    println!("{} entries sent to a stream", load.await?.rows);

    println!(
        "{}",
        client
            .sql("SELECT o_orderkey, o_orderdate, o_totalprice FROM orders LIMIT 5")
            .to_arrow()
            .await?
    );
    Ok(())
}
