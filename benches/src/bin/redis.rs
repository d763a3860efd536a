//! Loading seven columns of `lineitem` into Redis hashes, against `redis-cli --pipe` of the same commands, encoded
//! beforehand (the limit): the same rows, the same server, alternating runs, medians. With a time of expiry, the peer sends
//! `HSET` and `EXPIRE` for each row, without transactions: a row may be there that never expires, if its connection breaks.
//!
//! `cargo xtask bench redis`

#![expect(clippy::print_stdout, reason = "a program's way to speak")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrowload::core::{Input, LoadSpec, Loader, Settings};
use arrowload::{BatchStream, Registry};
use arrowload_bench_shared::{cpu_seconds, forget_peak, median, memory, save};
use arrowload_testkit::ThrowawayRedis;
use clap::Parser;
use serde_json::{Map, Value, json};

/// The columns: keys, numbers, a date and text.
const COLUMNS: [usize; 7] = [0, 1, 3, 4, 5, 10, 14];

#[derive(Parser)]
struct Args {
    /// Rows of lineitem
    #[arg(long, default_value_t = 500_000)]
    rows: usize,
    /// Alternating runs
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Only these, with commas between them: pipe, ours, pipe-ttl, ours-ttl
    #[arg(long)]
    only: Option<String>,
}

/// Seconds after which keys expire, where they do.
const TTL: u64 = 86_400;

/// What is measured.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    /// The one that is the limit.
    peer: &'static str,
    ttl: Option<u64>,
}

const CASES: [Case; 4] = [
    Case {
        name: "pipe",
        peer: "pipe",
        ttl: None,
    },
    Case {
        name: "ours",
        peer: "pipe",
        ttl: None,
    },
    Case {
        name: "pipe-ttl",
        peer: "pipe-ttl",
        ttl: Some(TTL),
    },
    Case {
        name: "ours-ttl",
        peer: "pipe-ttl",
        ttl: Some(TTL),
    },
];

impl Case {
    fn is_peer(&self) -> bool {
        self.name == self.peer
    }
}

/// One run: seconds of wall clock, of the client's CPU and of the server's, and megabytes above what was held before.
#[derive(Debug, Clone, Copy)]
struct Run {
    seconds: f64,
    client: f64,
    server: f64,
    megabytes: f64,
}

struct Bench {
    server: ThrowawayRedis,
    folder: PathBuf,
    batches: Vec<RecordBatch>,
    loader: Loader,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let bench = Bench::start(args.rows).await?;
    let chosen = |case: &&Case| {
        args.only
            .as_ref()
            .is_none_or(|only| only.split(',').any(|one| one == case.name))
    };
    let cases: Vec<Case> = CASES.iter().filter(chosen).copied().collect();
    for case in cases.iter().filter(|case| case.is_peer()) {
        encode(&bench.commands(case), &bench.batches, case.ttl)?;
    }
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); cases.len()];
    let mut digests: Vec<String> = Vec::new();
    // The first round warms caches.
    for round in 0..=args.runs {
        for (case, runs) in cases.iter().zip(&mut runs) {
            let (run, digest) = bench.run(case, args.rows).await?;
            // Times of expiry are no part of what is compared.
            digests.push(digest);
            if round > 0 {
                runs.push(run);
            }
        }
    }
    ensure!(
        digests.windows(2).all(|pair| pair[0] == pair[1]),
        "the server does not hold the same in each run: {digests:?}"
    );
    let results = json!({ "load": report(args.rows, &cases, &runs), "server": bench.version()? });
    save("redis", &results)
}

fn report(rows: usize, cases: &[Case], runs: &[Vec<Run>]) -> Value {
    println!(
        "\n{rows} rows of 7 columns into hashes, medians of {} alternating runs",
        runs.first().map_or(0, Vec::len)
    );
    println!(
        "{:10} {:>8} {:>10} {:>8} {:>9} {:>9} {:>8}",
        "", "seconds", "rows/s", "of pipe", "client s", "server s", "MB"
    );
    let middle = |runs: &[Run], what: fn(&Run) -> f64| median(runs.iter().map(what));
    let limit = |peer: &str| {
        let place = cases.iter().position(|case| case.name == peer);
        place.map_or(f64::NAN, |place| middle(&runs[place], |run| run.seconds))
    };
    let mut results = Map::new();
    for (case, runs) in cases.iter().zip(runs) {
        let name = case.name;
        let (seconds, megabytes) = (
            middle(runs, |run| run.seconds),
            middle(runs, |run| run.megabytes),
        );
        let (client, server) = (
            middle(runs, |run| run.client),
            middle(runs, |run| run.server),
        );
        let (speed, ratio) = (rows as f64 / seconds, limit(case.peer) / seconds);
        println!(
            "{name:10} {seconds:8.3} {speed:10.0} {ratio:8.3} {client:9.2} {server:9.2} {megabytes:8.0}"
        );
        let all: Vec<f64> = runs.iter().map(|run| run.seconds).collect();
        let numbers = json!({ "seconds": seconds, "rows_per_second": speed, "of_pipe": ratio, "client_cpu_seconds": client,
            "server_cpu_seconds": server, "peak_megabytes": megabytes, "runs": all });
        results.insert(name.into(), numbers);
    }
    Value::Object(results)
}

impl Bench {
    async fn start(rows: usize) -> Result<Self> {
        let lines = arrowload_tpch::lineitem_rows(rows, 8192).map(|batch| batch.project(&COLUMNS));
        let batches: Vec<RecordBatch> = lines.collect::<Result<_, _>>()?;
        let server =
            ThrowawayRedis::start(&["enable-debug-command yes"]).map_err(anyhow::Error::msg)?;
        let folder = std::env::temp_dir().join("arrowload-bench-redis");
        std::fs::create_dir_all(&folder)?;
        let registry = Registry::linked()?;
        let descriptor = registry.loader("redis")?;
        let settings =
            Settings::from_map(descriptor.config_from_url(server.url())?, "the benchmark");
        let loader = Loader::connect(descriptor, &settings, 0).await?;
        Ok(Self {
            server,
            folder,
            batches,
            loader,
        })
    }

    /// The file of a peer's commands.
    fn commands(&self, case: &Case) -> PathBuf {
        self.folder.join(format!("{}.resp", case.peer))
    }

    fn cli(&self, words: &[&str]) -> Result<String> {
        self.server.cli(words).map_err(anyhow::Error::msg)
    }

    fn version(&self) -> Result<String> {
        let info = self.cli(&["INFO", "server"])?;
        Ok(info
            .lines()
            .find_map(|line| line.strip_prefix("redis_version:"))
            .unwrap_or_default()
            .trim()
            .to_owned())
    }

    /// Seconds of CPU that the server has used.
    fn server_cpu(&self) -> Result<f64> {
        let info = self.cli(&["INFO", "cpu"])?;
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
        };
        Ok(field("used_cpu_user:").context("CPU time")?
            + field("used_cpu_sys:").context("CPU time")?)
    }

    /// One run into an empty server, and the digest of what it then holds.
    async fn run(&self, case: &Case, rows: usize) -> Result<(Run, String)> {
        let name = case.name;
        self.cli(&["FLUSHALL", "SYNC"])?;
        let before = self.server_cpu()?;
        let mut run = match case.is_peer() {
            true => self.pipe(case)?,
            false => self.ours(case.ttl).await?,
        };
        run.server = self.server_cpu()? - before;
        let own = self.cli(&["--raw", "KEYS", "arrowload:*"])?;
        for key in own.lines().filter(|key| !key.is_empty()) {
            self.cli(&["DEL", key])?;
        }
        let keys: usize = self.cli(&["DBSIZE"])?.parse()?;
        ensure!(keys == rows, "{name} made {keys} keys of {rows} rows");
        if case.ttl.is_some() {
            let held = self.cli(&["INFO", "keyspace"])?;
            let all = format!("keys={rows},expires={rows},");
            ensure!(held.contains(&all), "{name}: not every key expires: {held}");
            self.cli(&[
                "EVAL",
                "for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('PERSIST', key) end",
                "0",
            ])?;
        }
        Ok((run, self.cli(&["DEBUG", "DIGEST"])?))
    }

    fn pipe(&self, case: &Case) -> Result<Run> {
        let ((_, cpu), started) = (cpu_seconds()?, Instant::now());
        let mut pipe = Command::new("redis-cli");
        pipe.args(["-u", self.server.url(), "--pipe"])
            .stdin(File::open(self.commands(case))?)
            .stdout(Stdio::null());
        ensure!(
            pipe.status()
                .context("redis-cli is not on the PATH")?
                .success(),
            "redis-cli failed"
        );
        Ok(Run {
            seconds: started.elapsed().as_secs_f64(),
            client: cpu_seconds()?.1 - cpu,
            server: 0.0,
            megabytes: f64::NAN,
        })
    }

    async fn ours(&self, ttl: Option<u64>) -> Result<Run> {
        let mut spec = LoadSpec::new("lineitem");
        spec.options.set(
            "key_pattern",
            "{table}:{l_orderkey}:{l_linenumber}",
            "the benchmark",
        );
        if let Some(ttl) = ttl {
            spec.options.set("ttl", ttl, "the benchmark");
        }
        let input = Input::stream(BatchStream::from_batches(
            self.batches[0].schema(),
            self.batches.clone(),
        ));
        let loader = self.loader.clone();
        forget_peak()?;
        let ((cpu, _), (held, _), started) = (cpu_seconds()?, memory()?, Instant::now());
        // As a program of many tasks does.
        tokio::spawn(async move { arrowload::core::load(&loader, &spec, &input).await }).await??;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Run {
            seconds,
            client: cpu_seconds()?.0 - cpu,
            server: 0.0,
            megabytes: memory()?.1 - held,
        })
    }
}

/// The commands of all rows, in a way of the benchmark's own.
fn encode(path: &Path, batches: &[RecordBatch], ttl: Option<u64>) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for batch in batches {
        let options = FormatOptions::default();
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let (order, line) = (columns[0].value(row), columns[2].value(row));
            let key = format!("lineitem:{order}:{line}");
            let mut words = vec!["HSET".to_owned(), key.clone()];
            for (field, column) in batch.schema_ref().fields().iter().zip(&columns) {
                words.extend([field.name().clone(), column.value(row).to_string()]);
            }
            command(&mut file, &words)?;
            if let Some(ttl) = ttl {
                command(&mut file, &["EXPIRE".to_owned(), key, ttl.to_string()])?;
            }
        }
    }
    Ok(file.flush()?)
}

fn command(file: &mut impl Write, words: &[String]) -> Result<()> {
    write!(file, "*{}\r\n", words.len())?;
    for word in words {
        write!(file, "${}\r\n{word}\r\n", word.len())?;
    }
    Ok(())
}
