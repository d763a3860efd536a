//! Loading `lineitem` into PostgreSQL and reading it back, against `psql \copy` of a file that was encoded beforehand (the
//! limit), ADBC, DuckDB and connectorx: the same rows, the same server, alternating runs, medians.
//!
//! `cargo xtask bench postgresql`

#![expect(clippy::print_stdout, reason = "a program's way to speak")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use arrow_array::RecordBatch;
use arrowload::core::{Input, LoadSpec, Loader, Source};
use arrowload::{BatchStream, Mode, Query, Registry};
use arrowload_bench_shared::{Peers, cli, cpu_seconds, forget_peak, median, memory, save};
use arrowload_postgresql::CopyEncoder;
use arrowload_testkit::{PostgresSetup, ThrowawayPostgres};
use clap::Parser;
use futures::TryStreamExt;
use serde_json::{Map, Value, json};

const PACKAGES: [&str; 5] = [
    "adbc-driver-postgresql",
    "pyarrow",
    "connectorx",
    "duckdb-extensions",
    "duckdb-extension-postgres-scanner",
];
const TABLE: &str = "CREATE TABLE lineitem (l_orderkey bigint NOT NULL, l_partkey bigint NOT NULL, l_suppkey bigint NOT NULL,
    l_linenumber integer NOT NULL, l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL,
    l_discount numeric(15,2) NOT NULL, l_tax numeric(15,2) NOT NULL, l_returnflag text NOT NULL, l_linestatus text NOT NULL,
    l_shipdate date NOT NULL, l_commitdate date NOT NULL, l_receiptdate date NOT NULL, l_shipinstruct text NOT NULL,
    l_shipmode text NOT NULL, l_comment text NOT NULL)";

#[derive(Parser)]
struct Args {
    /// Rows of lineitem
    #[arg(long, default_value_t = 2_000_000)]
    rows: usize,
    /// Alternating runs
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Only these, with commas between them
    #[arg(long)]
    only: Option<String>,
}

/// Who loads or reads, and what it is measured against.
const LOADS: [&str; 8] = [
    "psql",
    "ours",
    "psql-2",
    "ours-2",
    "ours-file",
    "ours-cli",
    "adbc",
    "duckdb",
];
const READS: [&str; 5] = ["psql", "ours", "ours-2", "adbc", "connectorx"];

/// One run: seconds of wall clock, of the client's CPU, and megabytes above what was held before.
#[derive(Debug, Clone, Copy)]
struct Run {
    seconds: f64,
    cpu: f64,
    megabytes: f64,
}

struct Bench {
    server: ThrowawayPostgres,
    url: String,
    /// The rows, encoded: whole, and in halves.
    encoded: [PathBuf; 3],
    parquet: PathBuf,
    batches: Vec<RecordBatch>,
    loader: Loader,
    peers: Peers,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let folder = std::env::temp_dir().join("arrowload-bench-postgresql");
    std::fs::create_dir_all(&folder)?;
    let mut bench = Bench::start(&folder, args.rows).await?;
    let chosen = |name: &str| {
        args.only
            .as_ref()
            .is_none_or(|only| only.split(',').any(|one| one == name))
    };
    let mut results = Map::new();
    for (direction, all) in [("load", LOADS.as_slice()), ("read", READS.as_slice())] {
        let names: Vec<&str> = all
            .iter()
            .copied()
            .filter(|name| chosen(name) && bench.has(name))
            .collect();
        let mut runs: Vec<Vec<Run>> = vec![Vec::new(); names.len()];
        // The first round warms caches.
        for round in 0..=args.runs {
            for (name, runs) in names.iter().zip(&mut runs) {
                let run = if direction == "load" {
                    bench.load(name, args.rows).await?
                } else {
                    bench.read(name, args.rows).await?
                };
                if round > 0 {
                    runs.push(run);
                }
            }
        }
        results.insert(
            direction.into(),
            report(direction, args.rows, &names, &runs),
        );
    }
    results.insert("peers".into(), bench.peers.versions.clone().into());
    results.insert(
        "server".into(),
        bench
            .server
            .psql("postgres", "SHOW server_version")
            .map_err(anyhow::Error::msg)?
            .into(),
    );
    save("postgresql", &Value::Object(results))
}

fn report(direction: &str, rows: usize, names: &[&str], runs: &[Vec<Run>]) -> Value {
    println!(
        "\n{direction}: {rows} rows of lineitem, medians of {} alternating runs",
        runs.first().map_or(0, Vec::len)
    );
    println!(
        "{:10} {:>8} {:>10} {:>8} {:>8} {:>8}",
        "", "seconds", "rows/s", "of psql", "CPU s", "MB"
    );
    let middle = |runs: &[Run], what: fn(&Run) -> f64| median(runs.iter().map(what));
    let limit = runs
        .first()
        .map_or(f64::NAN, |runs| middle(runs, |run| run.seconds));
    let mut results = Map::new();
    for (name, runs) in names.iter().zip(runs) {
        let (seconds, cpu, megabytes) = (
            middle(runs, |run| run.seconds),
            middle(runs, |run| run.cpu),
            middle(runs, |run| run.megabytes),
        );
        let (speed, ratio) = (rows as f64 / seconds, limit / seconds);
        println!("{name:10} {seconds:8.3} {speed:10.0} {ratio:8.3} {cpu:8.2} {megabytes:8.0}");
        let all: Vec<f64> = runs.iter().map(|run| run.seconds).collect();
        results.insert(
            (*name).into(),
            json!({ "seconds": seconds, "rows_per_second": speed, "of_psql": ratio, "cpu_seconds": cpu, "peak_megabytes": megabytes, "runs": all }),
        );
    }
    Value::Object(results)
}

impl Bench {
    async fn start(folder: &Path, rows: usize) -> Result<Self> {
        let batches: Vec<RecordBatch> = arrowload_tpch::lineitem_rows(rows, 8192).collect();
        let setup = PostgresSetup::new()
            .setting("shared_buffers", "1GB")
            .setting("max_wal_size", "8GB")
            .setting("fsync", "on");
        let server = ThrowawayPostgres::start(&setup).map_err(anyhow::Error::msg)?;
        let url = server.url().to_owned();
        server.psql("postgres", TABLE).map_err(anyhow::Error::msg)?;
        let encoded =
            ["whole", "first", "second"].map(|name| folder.join(format!("{name}.pgcopy")));
        let half = batches.len() / 2;
        for (path, batches) in
            encoded
                .iter()
                .zip([&batches[..], &batches[..half], &batches[half..]])
        {
            encode(path, batches)?;
        }
        let arrow = folder.join("lineitem.arrow");
        let mut writer =
            arrow_ipc::writer::FileWriter::try_new(File::create(&arrow)?, &batches[0].schema())?;
        for batch in &batches {
            writer.write(batch)?;
        }
        writer.finish()?;
        let parquet = folder.join("lineitem.parquet");
        let stream = BatchStream::from_batches(batches[0].schema(), batches.clone());
        let client = arrowload::Client::builder().connect().await?;
        client
            .load_stream(stream, "file", parquet.display().to_string())
            .mode(Mode::Overwrite)
            .await?;
        let registry = Registry::linked()?;
        let loader = Loader::connect(
            registry.loader("postgresql")?,
            &settings(&registry, &url, &[])?,
            0,
        )
        .await?;
        let peers = Peers::start(
            folder,
            "postgresql_peers.py",
            &PACKAGES,
            &[&arrow.display().to_string(), &url],
        )?;
        Ok(Self {
            server,
            url,
            encoded,
            parquet,
            batches,
            loader,
            peers,
        })
    }

    /// The command line is measured where it is built.
    fn has(&self, name: &str) -> bool {
        name != "ours-cli" || cli().is_some()
    }

    fn psql(&self, sql: &str) -> Result<String> {
        self.server
            .psql("postgres", sql)
            .map_err(anyhow::Error::msg)
    }

    async fn load(&mut self, name: &str, rows: usize) -> Result<Run> {
        // Every run begins with an empty table and nothing left to write.
        self.psql("TRUNCATE lineitem")?;
        self.psql("CHECKPOINT")?;
        let run = match name {
            "psql" => self.copies(&self.encoded[..1])?,
            "psql-2" => self.copies(&self.encoded[1..])?,
            "ours" => self.ours(1).await?,
            "ours-2" => self.ours(2).await?,
            "ours-file" => self.of_file().await?,
            "ours-cli" => self.command_line()?,
            peer => {
                let (seconds, cpu) = self.peers.ask(&format!("{peer} load"))?;
                Run {
                    seconds,
                    cpu,
                    megabytes: f64::NAN,
                }
            }
        };
        let loaded: usize = self.psql("SELECT count(*) FROM lineitem")?.parse()?;
        ensure!(
            loaded == rows,
            "{name} loaded {loaded} rows in place of {rows}"
        );
        Ok(run)
    }

    /// `psql \copy` of each file, all at once.
    fn copies(&self, files: &[PathBuf]) -> Result<Run> {
        let copy = |file: &PathBuf| {
            let command = format!("\\copy lineitem FROM '{}' (FORMAT binary)", file.display());
            Command::new("psql")
                .args(["-X", "-q", "-d", &self.url, "-c", &command])
                .spawn()
                .context("psql is not on the PATH")
        };
        let ((_, cpu), started) = (cpu_seconds()?, Instant::now());
        let children: Vec<_> = files.iter().map(copy).collect::<Result<_>>()?;
        for mut child in children {
            ensure!(child.wait()?.success(), "psql failed");
        }
        Ok(Run {
            seconds: started.elapsed().as_secs_f64(),
            cpu: cpu_seconds()?.1 - cpu,
            megabytes: f64::NAN,
        })
    }

    async fn ours(&self, connections: usize) -> Result<Run> {
        let mut spec = LoadSpec::new("lineitem");
        spec.load.parallelism = Some(connections);
        let input = Input::stream(BatchStream::from_batches(
            self.batches[0].schema(),
            self.batches.clone(),
        ));
        let loader = self.loader.clone();
        measured(async move {
            // As a program of many tasks does.
            tokio::spawn(async move { arrowload::core::load(&loader, &spec, &input).await })
                .await??;
            Ok(())
        })
        .await
    }

    fn query_of_file(&self) -> String {
        format!("SELECT * FROM '{}'", self.parquet.display())
    }

    /// The library from a Parquet file, for the command line to be measured against.
    async fn of_file(&self) -> Result<Run> {
        let (sql, config) = (
            self.query_of_file(),
            Registry::linked()?
                .loader("postgresql")?
                .config_from_url(&self.url)?,
        );
        measured(async move {
            let load = async move {
                let client = arrowload::Client::builder().connect().await?;
                client
                    .sql(sql)
                    .load("postgresql", "lineitem")
                    .config(config)
                    .await
            };
            tokio::spawn(load).await??;
            Ok(())
        })
        .await
    }

    /// The command line from a Parquet file.
    fn command_line(&self) -> Result<Run> {
        let program = cli().context("cargo build --release -p arrowload-cli")?;
        let sql = self.query_of_file();
        let ((_, cpu), started) = (cpu_seconds()?, Instant::now());
        let status = Command::new(program)
            .args([
                "load", "--quiet", "--sql", &sql, "--to", &self.url, "--target", "lineitem",
            ])
            .status()?;
        ensure!(status.success(), "the command line failed");
        Ok(Run {
            seconds: started.elapsed().as_secs_f64(),
            cpu: cpu_seconds()?.1 - cpu,
            megabytes: f64::NAN,
        })
    }

    async fn read(&mut self, name: &str, rows: usize) -> Result<Run> {
        match name {
            "psql" => {
                let command = "\\copy lineitem TO '/dev/null' (FORMAT binary)";
                let ((_, cpu), started) = (cpu_seconds()?, Instant::now());
                let status = Command::new("psql")
                    .args(["-X", "-q", "-d", &self.url, "-c", command])
                    .status()?;
                ensure!(status.success(), "psql failed");
                Ok(Run {
                    seconds: started.elapsed().as_secs_f64(),
                    cpu: cpu_seconds()?.1 - cpu,
                    megabytes: f64::NAN,
                })
            }
            "ours" => self.drain(1, rows).await,
            "ours-2" => self.drain(2, rows).await,
            peer => {
                let (seconds, cpu) = self.peers.ask(&format!("{peer} read"))?;
                Ok(Run {
                    seconds,
                    cpu,
                    megabytes: f64::NAN,
                })
            }
        }
    }

    async fn drain(&self, connections: u64, rows: usize) -> Result<Run> {
        let registry = Registry::linked()?;
        let settings = settings(
            &registry,
            &self.url,
            &[("read_connections", connections.into())],
        )?;
        let source = Source::connect(registry.source("postgresql")?, &settings, 0).await?;
        measured(async move {
            let read = tokio::spawn(async move {
                let stream = source.query(&Query::new("SELECT * FROM lineitem")).await?;
                stream
                    .try_fold(0, |rows, batch| async move { Ok(rows + batch.num_rows()) })
                    .await
            });
            let read = read.await??;
            ensure!(read == rows, "{read} rows were read in place of {rows}");
            Ok(())
        })
        .await
    }
}

async fn measured(work: impl Future<Output = Result<()>>) -> Result<Run> {
    forget_peak()?;
    let ((cpu, _), (before, _), started) = (cpu_seconds()?, memory()?, Instant::now());
    work.await?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(Run {
        seconds,
        cpu: cpu_seconds()?.0 - cpu,
        megabytes: memory()?.1 - before,
    })
}

fn encode(path: &Path, batches: &[RecordBatch]) -> Result<()> {
    let Some(first) = batches.first() else {
        bail!("there are no rows")
    };
    let mut encoder = CopyEncoder::new(first.schema_ref())?;
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(encoder.header())?;
    let mut bytes = Vec::new();
    for batch in batches {
        bytes.clear();
        encoder.encode(batch, &mut bytes)?;
        file.write_all(&bytes)?;
    }
    file.write_all(encoder.trailer())?;
    Ok(file.flush()?)
}

fn settings(
    registry: &Registry,
    url: &str,
    keys: &[(&str, Value)],
) -> Result<arrowload::core::Settings> {
    let map = registry.loader("postgresql")?.config_from_url(url)?;
    let mut settings = arrowload::core::Settings::from_map(map, "the benchmark");
    for (key, value) in keys {
        settings.set(*key, value.clone(), "the benchmark");
    }
    Ok(settings)
}
