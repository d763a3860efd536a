//! The Delta loader against Python's `deltalake` and polars: the same rows of `lineitem` in memory, snappy, alternating runs,
//! medians; a merge of keys into a larger table; and the memory of a load that streams.
//!
//! `cargo xtask bench delta`

#![expect(clippy::print_stdout, reason = "a program's way to speak")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrowload::{BatchStream, Client};
use arrowload_bench_shared::{Peers, arrow_file, median, save};
use clap::Parser;
use futures::stream;
use serde_json::{Value, json};

const WRITERS: [&str; 3] = ["ours", "deltalake", "polars"];
const SCRIPT: &str = "delta_peers.py";
const PACKAGES: [&str; 3] = ["polars", "deltalake<2", "pyarrow"];

/// As the command line has, and polars one of its own.
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
    /// Rows of the table that is merged into
    #[arg(long, default_value_t = 5_000_000)]
    merge_into: usize,
    /// Rows that are merged
    #[arg(long, default_value_t = 100_000)]
    merge_rows: usize,
    /// Leaves out the writes, the merges or the memory
    #[arg(long)]
    skip: Vec<String>,
    /// In a process of its own: writes rows as they are made, or merges into a table; answers with seconds and peak MB
    #[arg(long, hide = true)]
    child: Option<String>,
    #[arg(long, hide = true)]
    path: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    if let (Some(child), Some(path)) = (&args.child, &args.path) {
        return run_child(child, path, &args).await;
    }
    let folder = std::env::temp_dir().join("arrowload-bench-delta");
    std::fs::create_dir_all(&folder)?;
    let skips = |what: &str| args.skip.iter().any(|skip| skip == what);
    let mut results = serde_json::Map::new();
    if !skips("write") {
        results.insert("write".into(), write(&folder, &args).await?);
    }
    if !skips("merge") {
        results.insert("merge".into(), merge(&folder, &args)?);
    }
    if !skips("memory") {
        results.insert("memory".into(), memory(&folder)?);
    }
    save("delta", &Value::Object(results))
}

/// One write: seconds, and the bytes of the data files.
#[derive(Clone, Copy)]
struct Run {
    seconds: f64,
    bytes: u64,
}

async fn write(folder: &Path, args: &Args) -> Result<Value> {
    let batches: Vec<RecordBatch> = arrowload_tpch::lineitem_rows(args.rows, 8192).collect();
    let mut peers = Peers::start(
        folder,
        SCRIPT,
        &PACKAGES,
        &[&arrow_file(folder, &batches)?.display().to_string()],
    )?;
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); WRITERS.len()];
    for round in 0..=args.runs {
        for (index, writer) in WRITERS.iter().enumerate() {
            let path = folder.join(format!(
                "{writer}-{}",
                if *writer == "polars" {
                    "lineitem.parquet"
                } else {
                    "lineitem"
                }
            ));
            clear(&path)?;
            let seconds = if *writer == "ours" {
                ours(&path, batches.clone()).await?
            } else {
                peers.ask(&format!("{writer} {}", path.display()))?.0
            };
            // The first round warms caches and allocators.
            if round > 0 {
                runs[index].push(Run {
                    seconds,
                    bytes: data_bytes(&path)?,
                });
            }
        }
    }
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
        "\n{} rows of lineitem, snappy, medians of {} alternating runs; peers {}",
        args.rows, args.runs, peers.versions
    );
    println!(
        "{:10} {:>8} {:>10} {:>12} {:>9} {:>8} {:>9}",
        "", "seconds", "rows/s", "of deltalake", "of polars", "MB", "of least"
    );
    let mut results = serde_json::Map::new();
    for (index, writer) in WRITERS.iter().enumerate() {
        let bytes = runs[index].last().map_or(0, |run| run.bytes);
        let (delta, polars) = (seconds[1] / seconds[index], seconds[2] / seconds[index]);
        let (speed, size) = (
            args.rows as f64 / seconds[index],
            bytes as f64 / smallest as f64,
        );
        println!(
            "{writer:10} {:8.3} {speed:10.0} {delta:12.3} {polars:9.3} {:8.1} {size:9.3}",
            seconds[index],
            bytes as f64 / 1e6
        );
        results.insert(
            (*writer).into(),
            json!({ "seconds": seconds[index], "rows_per_second": speed, "of_deltalake": delta, "of_polars": polars, "bytes": bytes, "of_smallest": size }),
        );
    }
    results.insert("peers".into(), peers.versions.clone().into());
    Ok(Value::Object(results))
}

/// A load into a new table. No peer flushes its files to the disk, so neither does it here.
async fn ours(path: &Path, batches: Vec<RecordBatch>) -> Result<f64> {
    let client = Client::connect("memory://").await?;
    let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    let stream = BatchStream::from_batches(batches[0].schema(), batches);
    let started = Instant::now();
    let report = client
        .load_stream(stream, "delta_lake", path.display().to_string())
        .option("mode", "create")
        .option("sync", false)
        .await?;
    ensure!(report.rows == rows, "{} rows were loaded", report.rows);
    Ok(started.elapsed().as_secs_f64())
}

/// Merges, each in a process of its own, so that its memory is its own.
fn merge(folder: &Path, args: &Args) -> Result<Value> {
    let base = folder.join("base");
    if !base.exists() {
        child(folder, "base", &base, args)?;
    }
    let mut results = serde_json::Map::new();
    let mut runs: [Vec<(f64, f64)>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..args.runs.min(3) {
        for (index, name) in ["ours", "deltalake"].into_iter().enumerate() {
            let path = folder.join(format!("merge-{name}"));
            clear(&path)?;
            let status = Command::new("cp")
                .arg("-r")
                .arg(&base)
                .arg(&path)
                .status()?;
            ensure!(status.success(), "the table could not be copied");
            runs[index].push(match name {
                "ours" => child(folder, "merge", &path, args)?,
                _ => Peers::start(folder, SCRIPT, &PACKAGES, &[])?.ask(&format!(
                    "merge {} {} {}",
                    path.display(),
                    args.merge_into,
                    args.merge_rows
                ))?,
            });
        }
    }
    println!(
        "\nmerge of {} keys into {} rows, medians of {} runs",
        args.merge_rows,
        args.merge_into,
        runs[0].len()
    );
    for (index, name) in ["ours", "deltalake"].into_iter().enumerate() {
        let (seconds, peak) = (
            median(runs[index].iter().map(|run| run.0)),
            median(runs[index].iter().map(|run| run.1)),
        );
        println!("{name:10} {seconds:8.3} s   {peak:8.0} MB at most");
        results.insert(name.into(), json!({ "seconds": seconds, "peak_mb": peak }));
    }
    Ok(Value::Object(results))
}

/// The peak memory of loads whose rows are made while they are written.
fn memory(folder: &Path) -> Result<Value> {
    let mut results = serde_json::Map::new();
    println!("\npeak memory of a load that streams lineitem");
    for rows in [1_000_000, 20_000_000] {
        let path = folder.join("memory");
        clear(&path)?;
        let args = Args {
            rows,
            runs: 0,
            merge_into: 0,
            merge_rows: 0,
            skip: Vec::new(),
            child: None,
            path: None,
        };
        let (seconds, peak) = child(folder, "stream", &path, &args)?;
        println!("{rows:10} rows {seconds:8.2} s   {peak:8.0} MB at most");
        results.insert(
            rows.to_string(),
            json!({ "seconds": seconds, "peak_mb": peak }),
        );
        clear(&path)?;
    }
    Ok(Value::Object(results))
}

fn child(folder: &Path, what: &str, path: &Path, args: &Args) -> Result<(f64, f64)> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .current_dir(folder)
        .args(["--child", what, "--path"])
        .arg(path);
    command.args([
        "--rows".to_owned(),
        args.rows.to_string(),
        "--merge-into".into(),
        args.merge_into.to_string(),
    ]);
    let output = command
        .args(["--merge-rows".to_owned(), args.merge_rows.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the load failed");
    pair(&String::from_utf8(output.stdout)?)
}

async fn run_child(what: &str, path: &Path, args: &Args) -> Result<()> {
    let client = Client::connect("memory://").await?;
    let target = path.display().to_string();
    let (schema, batches): (_, Box<dyn Iterator<Item = RecordBatch> + Send>) = match what {
        "stream" => {
            let rows = arrowload_tpch::lineitem_rows(args.rows, 8192);
            (rows.schema(), Box::new(rows))
        }
        "base" => (
            people(0, 1, 1)?.schema(),
            Box::new((0..args.merge_into).step_by(65_536).flat_map({
                let all = args.merge_into;
                move |first| people(first, 1, 65_536.min(all - first)).ok()
            })),
        ),
        // Half of the keys are there, spread over the whole table.
        _ => {
            let rows = people(0, 2 * args.merge_into / args.merge_rows, args.merge_rows)?;
            (rows.schema(), Box::new(std::iter::once(rows)))
        }
    };
    let started = Instant::now();
    let stream = BatchStream::new(schema, stream::iter(batches.map(Ok)));
    let load = client
        .load_stream(stream, "delta_lake", target)
        .option("sync", false);
    let load = if what == "merge" {
        load.option("mode", "upsert").option("keys", json!(["id"]))
    } else {
        load
    };
    let load = if what == "base" {
        load.option("max_file_bytes", 32 << 20)
    } else {
        load
    };
    load.await?;
    println!("{} {}", started.elapsed().as_secs_f64(), peak_mb()?);
    Ok(())
}

/// `rows` rows whose keys are `step` apart.
fn people(first: usize, step: usize, rows: usize) -> Result<RecordBatch> {
    let ids = || (0..rows).map(|row| (first + row * step) as i64);
    let names =
        StringArray::from_iter_values(ids().map(|id| format!("customer number {id} of {step}")));
    let amounts = Float64Array::from_iter_values(ids().map(|id| (id % 10_007) as f64 / 7.0));
    let columns: [(&str, ArrayRef); 3] = [
        (
            "id",
            std::sync::Arc::new(Int64Array::from_iter_values(ids())),
        ),
        ("name", std::sync::Arc::new(names)),
        ("amount", std::sync::Arc::new(amounts)),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.map(|(name, array)| (name, array, true)),
    )?)
}

/// The most memory that this process has had, from Linux's /proc.
fn peak_mb() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")
        .context("memory is read from Linux's /proc")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<f64>()? / 1024.0)
}

fn clear(path: &Path) -> Result<()> {
    if path.is_dir() {
        std::fs::remove_dir_all(path)?;
    } else if path.exists() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

fn data_bytes(path: &Path) -> Result<u64> {
    if !path.is_dir() {
        return Ok(path.metadata()?.len());
    }
    let files = std::fs::read_dir(path)?.filter_map(|entry| entry.ok()?.metadata().ok());
    Ok(files
        .filter(std::fs::Metadata::is_file)
        .map(|file| file.len())
        .sum())
}

fn pair(text: &str) -> Result<(f64, f64)> {
    let (first, second) = text
        .trim()
        .split_once(' ')
        .with_context(|| format!("no answer, but {text:?}"))?;
    Ok((first.parse()?, second.parse()?))
}
