//! From a Flight SQL server into PostgreSQL, if `DATABASE_URL` names one, else into Parquet.
//!
//! `cargo run --release --features flight-sql --example flight_sql`, or with the server's URL behind it:
//! `… --example flight_sql -- grpc://localhost:31337 "SELECT * FROM events"`

#![expect(clippy::print_stdout, reason = "a program's way to speak")]

use anyhow::Result;
use arrowload::{Client, Mode};
use arrowload_testkit::{FlightSqlBehaviour, ThrowawayFlightSql};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let own = "SELECT value AS id, value % 7 AS day, sqrt(value) AS size FROM generate_series(1, 1000000)".to_owned();
    // Without a URL, the server that arrowload's own tests have: four endpoints, which are fetched at once.
    let (server, url) = match arguments.next() {
        Some(url) => (None, url),
        None => {
            let server = ThrowawayFlightSql::start(FlightSqlBehaviour {
                endpoints: 4,
                ..FlightSqlBehaviour::default()
            })
            .await;
            let url = server.url();
            (Some(server), url)
        }
    };
    let sql = arguments.next().unwrap_or(own);

    let client = Client::connect(&url).await?;
    let load = match std::env::var("DATABASE_URL") {
        Ok(_) => client
            .sql(&sql)
            .load("postgresql", "arrowload_example_flight"),
        Err(_) => client.sql(&sql).load("file", "flight.parquet"),
    };
    let report = load.mode(Mode::Overwrite).await?;
    println!(
        "{} rows from {url} in {:.2?}, load_id {}",
        report.rows, report.elapsed, report.load_id
    );
    drop(server);
    Ok(())
}
