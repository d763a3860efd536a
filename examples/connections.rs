//! Connections: named in a file, taken from the environment, set by the program, or given with a load.
//!
//! `cargo run --release --example connections`

#![expect(clippy::print_stdout, reason = "a program's way to speak")]

use anyhow::{Result, ensure};
use arrowload::{Client, Connections};
use serde_json::json;

const FILE: &str = r#"
# arrowload.toml: connection keys and load defaults stand side by side.
[connections.lake]
type = "file"
root = "${env:LAKE_FOLDER}"
mode = "overwrite"
compression = "zstd"
"#;

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::temp_dir().join("arrowload-connections-example");
    std::fs::create_dir_all(&folder)?;
    let config = folder.join("arrowload.toml");
    std::fs::write(&config, FILE)?;

    // A program would leave this to `Client::connect`, which finds the file and the environment by itself.
    let environment = [
        ("LAKE_FOLDER".to_owned(), folder.display().to_string()),
        // Stronger than the file, for one key of one connection.
        (
            "ARROWLOAD_CONNECTIONS__LAKE__COMPRESSION".to_owned(),
            "snappy".to_owned(),
        ),
    ];
    let connections = Connections::builder()
        .config_file(&config)
        .environment(environment)
        .build()?;
    let client = Client::builder().connections(connections).build()?;

    let report = client
        .sql("SELECT 1 AS id, 'a' AS name")
        .load("file", "one.parquet")
        .connection("lake")
        .await?;
    println!(
        "file and environment: {} row in {}",
        report.rows,
        folder.join("one.parquet").display()
    );

    // Set by the program: stronger than both.
    client.configure_connection("lake", "file", json!({ "compression": "none" }))?;
    let report = client
        .sql("SELECT 2 AS id")
        .load("file", "two.parquet")
        .connection("lake")
        .await?;
    println!("set by the program:   {} row", report.rows);

    // Given with the load: strongest.
    let root = folder.display().to_string();
    let report = client
        .sql("SELECT 3 AS id")
        .load("file", "three.csv")
        .config(json!({ "root": root }))
        .option("mode", "overwrite")
        .await?;
    println!("given with the load:  {} row", report.rows);

    // A mistake is answered with the key, where it came from, and the nearest one that exists.
    let error = client
        .sql("SELECT 4 AS id")
        .load("file", "four.csv")
        .option("compresion", "zstd")
        .await;
    let error = error
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    ensure!(error.contains("did you mean `compression`?"), "{error}");
    println!("a mistake:            {error}");
    Ok(())
}
