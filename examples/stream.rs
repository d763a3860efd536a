//! Batches as they come: a stream of a query's answer, a table in memory, and batches of one's own into a store.
//!
//! `cargo run --release --example stream`

#![expect(clippy::print_stdout, reason = "a program's way to speak")]

use std::sync::Arc;

use anyhow::Result;
use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrowload::{Client, Mode};
use futures::TryStreamExt;

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::temp_dir().join("arrowload-stream-example");
    std::fs::create_dir_all(&folder)?;
    let client = Client::connect(format!("datafusion://{}", folder.display())).await?;

    // Batches that the program has made go into a file of the folder that the client queries.
    let city: ArrayRef = Arc::new(StringArray::from(vec!["Bern", "Oslo", "Quito"]));
    let metres: ArrayRef = Arc::new(Float64Array::from(vec![540.0, 23.0, 2850.0]));
    let batch = RecordBatch::try_from_iter([("city", city), ("metres", metres)])?;
    let file = folder.join("cities.parquet").display().to_string();
    let report = client
        .load_table(vec![batch], "file", file)?
        .mode(Mode::Overwrite)
        .await?;
    println!("{} rows loaded", report.rows);

    // A stream holds one batch at a time, and dropping it cancels the query. Values are bound, never spliced.
    let query = client
        .sql("SELECT city, metres FROM cities WHERE metres > $1 ORDER BY metres")
        .param(100.0);
    let mut batches = query.stream().await?;
    println!(
        "columns: {:?}",
        batches
            .schema()
            .fields()
            .iter()
            .map(|field| field.name())
            .collect::<Vec<_>>()
    );
    while let Some(batch) = batches.try_next().await? {
        println!("a batch of {} rows", batch.num_rows());
    }

    // A small answer may be collected whole.
    let table = client
        .sql("SELECT avg(metres) AS average FROM cities")
        .to_arrow()
        .await?;
    println!("{table}");
    Ok(())
}
