//! The main job in one page, without a server: query files with SQL, and load the answer exactly once.
//!
//! `cargo run --profile quickstart --example quickstart` makes TPC-H `lineitem` (600,000 rows) and works on that;
//! `cargo run --profile quickstart --example quickstart -- my.parquet` works on a file of yours (Parquet, CSV, NDJSON or Arrow).
//!
//! It loads a Parquet file; built with `--features delta-lake`, which takes some minutes more, a Delta Lake table too.

#![expect(clippy::print_stdout, reason = "a program's way to speak")]

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use arrowload::{BatchStream, Client, LoadBuilder, LoadReport, Mode, Progress};
use futures::stream;
use indicatif::{ProgressBar, ProgressStyle};

const FOLDER: &str = "target/quickstart";

#[tokio::main]
async fn main() -> Result<()> {
    std::fs::create_dir_all(FOLDER)?;
    // The embedded engine, over the working directory. `Client::connect("grpc://…")` would query a Flight SQL server.
    let client = Client::connect("datafusion://").await?;
    let input = match std::env::args().nth(1) {
        Some(path) => PathBuf::from(path),
        None => make_lineitem(&client).await?,
    };
    let input = input.display().to_string().replace('\'', "''");

    println!("\nthe first rows:");
    println!(
        "{}",
        client
            .sql(format!("SELECT * FROM '{input}' LIMIT 3"))
            .to_arrow()
            .await?
    );

    let query = format!("SELECT * FROM '{input}'");
    println!("\n{query}  ->  {FOLDER}/copy.parquet");
    load(
        client
            .sql(&query)
            .to_parquet(format!("{FOLDER}/copy.parquet")),
    )
    .await?;
    // What arrived is read back, and counted by the engine.
    let counted = client
        .sql(format!(
            "SELECT count(*) AS rows FROM '{FOLDER}/copy.parquet'"
        ))
        .to_arrow()
        .await?;
    println!("\nread back:\n{counted}");

    if client.available_loaders().contains(&"delta_lake") {
        println!("\n{query}  ->  the Delta Lake table {FOLDER}/lake/copy");
        load(
            client
                .sql(&query)
                .load("delta_lake", format!("{FOLDER}/lake/copy"))
                .mode(Mode::Overwrite),
        )
        .await?;
        let lake = Client::connect(format!("delta://{FOLDER}/lake")).await?;
        println!(
            "\nread back:\n{}",
            lake.sql("SELECT count(*) AS rows FROM copy")
                .to_arrow()
                .await?
        );
    }
    Ok(())
}

/// Loads with a progress bar, and prints the report.
async fn load(load: LoadBuilder) -> Result<()> {
    let bar = progress_bar();
    let shown = bar.clone();
    let report = load
        .on_progress(move |progress| show(&shown, progress))
        .await?;
    bar.finish();
    print_report(&report);
    Ok(())
}

/// Loads generated batches, so that there is a file to query.
async fn make_lineitem(client: &Client) -> Result<PathBuf> {
    let path = Path::new(FOLDER).join("lineitem.parquet");
    println!("making TPC-H lineitem as {}", path.display());
    let table = arrowload_tpch::lineitem(0.1, 8192);
    let (schema, batches) = (table.schema(), table);
    let rows = BatchStream::new(schema, stream::iter(batches.map(Ok)));
    let report = client
        .load_stream(rows, "file", path.display().to_string())
        .option("mode", "overwrite")
        .await?;
    ensure!(
        report.rows == report.rows_read,
        "all rows arrive, or the load is an error"
    );
    print_report(&report);
    Ok(path)
}

fn progress_bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:40.green} {pos}/{len} rows  {per_sec}  {elapsed}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, progress: &Progress) {
    bar.set_length(progress.expected_rows.unwrap_or(progress.rows_read));
    bar.set_position(progress.rows_written);
}

fn print_report(report: &LoadReport) {
    let seconds = report.elapsed.as_secs_f64();
    println!(
        "  rows      {} of {} read, {} set aside",
        report.rows, report.rows_read, report.rows_rejected
    );
    println!("  bytes     {:.1} MB written", report.bytes as f64 / 1e6);
    println!(
        "  elapsed   {seconds:.2} s ({:.0} rows/s)",
        report.rows as f64 / seconds
    );
    println!("  load_id   {}", report.load_id);
    for (key, value) in &report.details {
        println!("  {key:9} {value}");
    }
}
