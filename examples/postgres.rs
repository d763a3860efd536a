//! A file into PostgreSQL and back: create, append by two connections, upsert, overwrite, and a query with a parameter.
//!
//! `DATABASE_URL=postgresql://user@localhost/db cargo run --release --features postgresql --example postgres`

#![expect(clippy::print_stdout, reason = "a program's way to speak")]

use anyhow::{Context, Result, ensure};
use arrowload::{BatchStream, Client, Mode, Verify};
use futures::stream;

const TABLE: &str = "arrowload_example_orders";

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::var("DATABASE_URL")
        .context("DATABASE_URL names the database, as in postgresql://user@localhost/db")?;
    // The same URL is the source of queries, and, as it stands in the environment, the default connection of loads.
    let client = Client::connect(&url).await?;

    let orders = || {
        let orders = arrowload_tpch::orders(0.01, 8192);
        BatchStream::new(orders.schema(), stream::iter(orders.map(Ok)))
    };
    let report = client
        .load_stream(orders(), "postgresql", TABLE)
        .mode(Mode::Overwrite)
        .keys(["o_orderkey"])
        .await?;
    println!(
        "overwritten: {} rows in {:.2?}, load_id {}",
        report.rows, report.elapsed, report.load_id
    );

    // Rows with equal keys are replaced, all in one transaction; the checksums are recomputed from what the table holds.
    let load = client
        .load_stream(orders(), "postgresql", TABLE)
        .mode(Mode::Upsert)
        .keys(["o_orderkey"]);
    let report = load
        .verify(Verify::Checksum)
        .load_id("orders-of-today")
        .await?;
    println!("upserted: {:?}", report.keys.unwrap_or_default());

    // Repeating a load with its id writes nothing.
    let load = client
        .load_stream(orders(), "postgresql", TABLE)
        .mode(Mode::Upsert)
        .keys(["o_orderkey"]);
    ensure!(
        load.load_id("orders-of-today").await?.already_loaded || report.already_loaded,
        "the load is known"
    );

    let sql = format!(
        "SELECT o_orderstatus, count(*) AS orders FROM {TABLE} WHERE o_orderdate >= $1 GROUP BY 1 ORDER BY 1"
    );
    println!(
        "{}",
        client
            .sql(sql.replace("$1", "$1::text::date"))
            .param("1998-01-01")
            .to_arrow()
            .await?
    );
    Ok(())
}
