//! What the pipeline itself costs: `lineitem` drained bare and drained through a load into a loader that does nothing,
//! what a batch costs, and peak memory at 1M and 20M rows.
//!
//! `cargo xtask bench pipeline`

#![expect(clippy::print_stdout, reason = "a program's way to speak")]

use std::future::IntoFuture;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use arrow_array::RecordBatch;
use arrow_schema::DataType;
use arrowload::core::{
    Atomicity, BatchStream, Begun, Capabilities, DataLoader, LoadRequest, LoadSession, Mode, Plan,
    Prepared, Receipt, Rejects, Result as LoadResult, TypeSupport, register_loader,
};
use arrowload::{Client, Connections, Mode as LoadMode};
use arrowload_bench_shared::{median, save};
use clap::Parser;
use futures::{TryStreamExt, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

#[derive(Parser)]
struct Args {
    /// Rows of lineitem in the file that is drained
    #[arg(long, default_value_t = 6_000_000)]
    rows: usize,
    /// Alternating runs
    #[arg(long, default_value_t = 21)]
    runs: usize,
    /// Drains this many generated rows through the pipeline, and prints the peak memory in KiB: what this program calls
    /// itself with
    #[arg(long, hide = true)]
    measure_memory: Option<usize>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let connections = Connections::builder()
        .no_config_file()
        .environment([])
        .build()?;
    let client = Client::builder()
        .connections(connections)
        .source("datafusion://")
        .connect()
        .await?;
    if let Some(rows) = args.measure_memory {
        drain_generated(&client, rows).await?;
        println!("{}", peak_memory_kib()?);
        return Ok(());
    }
    let file = lineitem(&client, args.rows).await?;
    let (bare, loaded) = alternate(&client, &file, args.runs).await?;
    let ratio = bare / loaded;
    println!(
        "{} rows of lineitem from Parquet, medians of {} alternating runs",
        args.rows, args.runs
    );
    println!("  bare stream           {bare:>10.3} s");
    println!("  through the pipeline  {loaded:>10.3} s   {ratio:.3} of the bare stream's speed");
    let a_batch = batch_cost(&client).await?;
    println!("a batch costs {a_batch:.2?}");
    let (small, large) = (memory(1_000_000)?, memory(20_000_000)?);
    let growth = large as f64 / small as f64;
    println!(
        "peak memory: 1M rows {} KiB, 20M rows {} KiB, {growth:.3} times",
        small, large
    );
    let results = json!({
        "rows": args.rows, "runs": args.runs,
        "bare_seconds": bare, "pipeline_seconds": loaded, "speed_ratio": ratio,
        "batch_seconds": a_batch.as_secs_f64(), "peak_kib_1m": small, "peak_kib_20m": large,
    });
    save("pipeline", &results)
}

/// The file that is drained, made once.
async fn lineitem(client: &Client, rows: usize) -> Result<PathBuf> {
    let file = std::env::temp_dir().join(format!("arrowload-bench-lineitem-{rows}.parquet"));
    if !file.exists() {
        let table = arrowload_tpch::lineitem_rows(rows, 8192);
        let batches = BatchStream::new(table.schema(), stream::iter(table.map(Ok)));
        client
            .load_stream(batches, "file", file.display().to_string())
            .await?;
    }
    Ok(file)
}

async fn alternate(client: &Client, file: &Path, runs: usize) -> Result<(f64, f64)> {
    let sql = format!("SELECT * FROM '{}'", file.display());
    let (mut bare, mut loaded) = (Vec::new(), Vec::new());
    for round in 0..=runs {
        // Which of the two goes first alternates too: the second finds the caches warmer.
        let (mut stream_rows, mut load_rows) = (0, 0);
        for first in [true, false] {
            let started = Instant::now();
            if (round % 2 == 0) == first {
                stream_rows = drain_stream(client, &sql).await?;
                bare.push(started.elapsed().as_secs_f64());
            } else {
                load_rows = drain_load(client, &sql).await?;
                loaded.push(started.elapsed().as_secs_f64());
            }
        }
        ensure!(
            stream_rows == load_rows && load_rows > 0,
            "both drain all rows"
        );
    }
    // The first pair warms the file cache.
    Ok((median(bare.split_off(1)), median(loaded.split_off(1))))
}

// Both run as tasks of the runtime, as a server's do: not on the thread that waits for them.

async fn drain_stream(client: &Client, sql: &str) -> Result<u64> {
    let query = client.sql(sql);
    let rows = tokio::spawn(async move {
        let mut batches = query.stream().await?;
        let mut rows = 0;
        while let Some(batch) = batches.try_next().await? {
            rows += batch.num_rows() as u64;
        }
        anyhow::Ok(rows)
    });
    rows.await?
}

async fn drain_load(client: &Client, sql: &str) -> Result<u64> {
    Ok(
        tokio::spawn(client.sql(sql).load("nothing", "nowhere").into_future())
            .await??
            .rows,
    )
}

/// The cost of one batch that is passed on as it is: nothing but the pipeline.
async fn batch_cost(client: &Client) -> Result<Duration> {
    const BATCHES: u32 = 100_000;
    let batch = arrowload_tpch::lineitem_rows(1024, 1024)
        .next()
        .context("a batch")?;
    let schema = batch.schema();
    let batches = stream::iter((0..BATCHES).map(move |_| Ok(batch.clone())));
    let started = Instant::now();
    client
        .load_stream(BatchStream::new(schema, batches), "nothing", "nowhere")
        .await?;
    Ok(started.elapsed() / BATCHES)
}

async fn drain_generated(client: &Client, rows: usize) -> Result<()> {
    let table = arrowload_tpch::lineitem_rows(rows, 8192);
    let batches = BatchStream::new(table.schema(), stream::iter(table.map(Ok)));
    let report = client
        .load_stream(batches, "nothing", "nowhere")
        .mode(LoadMode::Append)
        .await?;
    ensure!(report.rows == rows as u64, "all rows are drained");
    Ok(())
}

fn memory(rows: usize) -> Result<u64> {
    let output = Command::new(std::env::current_exe()?)
        .arg("--measure-memory")
        .arg(rows.to_string())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().with_context(|| {
        format!(
            "no number: {text} {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

fn peak_memory_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")
        .context("peak memory is read from Linux's /proc")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// A store that takes everything and keeps nothing.
struct Nothing;

struct NothingSession(u64);

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoKeys {}

impl DataLoader for Nothing {
    const NAME: &'static str = "nothing";
    const CAPABILITIES: Capabilities =
        Capabilities::new(&[Mode::Append], Atomicity::Load).create_target();
    type Config = NoKeys;
    type Options = NoKeys;
    type Resolved = ();
    type Session = NothingSession;

    async fn connect(_: NoKeys) -> LoadResult<Self> {
        Ok(Self)
    }

    async fn resolve(&self, _: &LoadRequest<NoKeys>) -> LoadResult<()> {
        Ok(())
    }

    fn plan(request: &LoadRequest<NoKeys>, (): &()) -> Plan {
        Plan::of::<Self>(request)
    }

    async fn begin(
        &self,
        _: LoadRequest<NoKeys>,
        (): (),
        _: Rejects,
    ) -> LoadResult<Begun<NothingSession>> {
        Ok(Begun::Session(NothingSession(0)))
    }

    fn supports_type(_: &DataType) -> TypeSupport {
        TypeSupport::Exact
    }
}

impl LoadSession for NothingSession {
    async fn write(&mut self, batch: &RecordBatch) -> LoadResult<()> {
        self.0 += batch.num_rows() as u64;
        Ok(())
    }

    async fn prepare(&mut self) -> LoadResult<Prepared> {
        Ok(Prepared::rows(self.0))
    }

    async fn commit(self) -> LoadResult<Receipt> {
        Ok(Receipt::rows(self.0))
    }

    async fn abort(self) -> LoadResult<()> {
        Ok(())
    }
}

register_loader!(Nothing);
