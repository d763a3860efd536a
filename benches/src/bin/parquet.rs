//! `common/parquet` against polars, DuckDB and pyarrow: the same rows of `lineitem` in memory, the same codec, alternating
//! runs, medians.
//!
//! `cargo xtask bench parquet`

#![expect(clippy::print_stdout, reason = "a program's way to speak")]

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrow_array::RecordBatch;
use arrowload_bench_shared::{Peers, arrow_file, cpu_seconds, median, save};
use arrowload_common_parquet::{
    Compression, Destination, FileNaming, ParquetOptions, ParquetWriter,
};
use clap::Parser;
use serde_json::{Value, json};

const PEERS: [&str; 4] = ["ours", "polars", "duckdb", "pyarrow"];
const PACKAGES: [&str; 3] = ["polars", "duckdb", "pyarrow"];

/// As the command line has, and polars, DuckDB and pyarrow each have one of their own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Args {
    /// Rows of lineitem
    #[arg(long, default_value_t = 2_000_000)]
    rows: usize,
    /// Alternating runs
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Only ours, and nothing is saved: for a profiler
    #[arg(long)]
    alone: bool,
}

/// One write: seconds of wall clock and of CPU, and the bytes of the file.
#[derive(Clone, Copy)]
struct Run {
    seconds: f64,
    cpu: f64,
    bytes: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let folder = std::env::temp_dir().join("arrowload-bench-parquet");
    std::fs::create_dir_all(&folder)?;
    // Sizes of batch as a query gives them.
    let batches: Vec<RecordBatch> = arrowload_tpch::lineitem_rows(args.rows, 8192).collect();
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    ensure!(rows == args.rows, "{rows} rows were made");
    if args.alone {
        return alone(&folder, &batches, args.runs).await;
    }
    let rows_file = arrow_file(&folder, &batches)?.display().to_string();
    let mut peers = Peers::start(&folder, "parquet_peers.py", &PACKAGES, &[&rows_file])?;
    let mut results = serde_json::Map::new();
    for codec in ["snappy", "zstd"] {
        let mut runs: Vec<Vec<Run>> = vec![Vec::new(); PEERS.len()];
        for round in 0..=args.runs {
            for (index, peer) in PEERS.iter().enumerate() {
                let path = folder.join(format!("{peer}-{codec}.parquet"));
                remove(&path)?;
                let run = if *peer == "ours" {
                    ours(&path, codec, &batches).await?
                } else {
                    let (seconds, cpu) =
                        peers.ask(&format!("{peer} {codec} {}", path.display()))?;
                    Run {
                        seconds,
                        cpu,
                        bytes: path.metadata()?.len(),
                    }
                };
                // The first round warms caches and allocators.
                if round > 0 {
                    runs[index].push(run);
                }
            }
        }
        results.insert(codec.into(), report(codec, args.rows, &runs));
    }
    results.insert("peers".into(), peers.versions.clone().into());
    save("parquet", &Value::Object(results))
}

/// Every run makes a new file: over an old one, some file systems write the new one's blocks to the disk first.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

async fn alone(folder: &Path, batches: &[RecordBatch], runs: usize) -> Result<()> {
    for codec in ["snappy", "zstd"] {
        let mut all = Vec::new();
        for _ in 0..runs {
            let path = folder.join(format!("ours-{codec}.parquet"));
            remove(&path)?;
            all.push(ours(&path, codec, batches).await?);
        }
        println!(
            "{codec}: {:.3} s, {:.2} s of CPU",
            median(all.iter().map(|run| run.seconds)),
            median(all.iter().map(|run| run.cpu))
        );
    }
    Ok(())
}

async fn ours(path: &Path, codec: &str, batches: &[RecordBatch]) -> Result<Run> {
    let compression = match codec {
        "snappy" => Compression::Snappy,
        _ => Compression::Zstd(3),
    };
    // No peer flushes its file to the disk.
    let options = ParquetOptions {
        compression,
        sync: false,
        ..ParquetOptions::default()
    };
    let (folder, name) = (
        path.parent().context("a folder")?,
        path.file_name().context("a name")?.to_string_lossy(),
    );
    let (cpu, started) = (cpu_seconds()?.0, Instant::now());
    let mut writer = ParquetWriter::new(
        Destination::local(folder),
        batches[0].schema(),
        options,
        FileNaming::single(name),
    )?;
    for batch in batches {
        writer.write(batch).await?;
    }
    writer.finish().await?.publish().await?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(Run {
        seconds,
        cpu: cpu_seconds()?.0 - cpu,
        bytes: path.metadata()?.len(),
    })
}

fn report(codec: &str, rows: usize, runs: &[Vec<Run>]) -> Value {
    let seconds: Vec<f64> = runs
        .iter()
        .map(|runs| median(runs.iter().map(|run| run.seconds)))
        .collect();
    let smallest = runs
        .iter()
        .filter_map(|runs| runs.last())
        .map(|run| run.bytes)
        .min()
        .unwrap_or(1);
    println!(
        "\n{rows} rows of lineitem, {codec}, medians of {} alternating runs",
        runs[0].len()
    );
    println!(
        "{:10} {:>8} {:>10} {:>9} {:>8} {:>9} {:>9}",
        "", "seconds", "rows/s", "of polars", "CPU s", "MB", "of least"
    );
    let mut results = serde_json::Map::new();
    for (index, peer) in PEERS.iter().enumerate() {
        let cpu = median(runs[index].iter().map(|run| run.cpu));
        let bytes = runs[index].last().map_or(0, |run| run.bytes);
        let (ratio, size) = (seconds[1] / seconds[index], bytes as f64 / smallest as f64);
        let speed = rows as f64 / seconds[index];
        println!(
            "{peer:10} {:8.3} {speed:10.0} {ratio:9.3} {cpu:8.2} {:9.1} {size:9.3}",
            seconds[index],
            bytes as f64 / 1e6
        );
        results.insert(
            (*peer).into(),
            json!({ "seconds": seconds[index], "rows_per_second": speed, "of_polars": ratio, "cpu_seconds": cpu, "bytes": bytes, "of_smallest": size }),
        );
    }
    Value::Object(results)
}
