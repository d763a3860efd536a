//! Many tables from one PostgreSQL server to another: `arrowload sync` against `pg_dump | psql` of the same tables, alternating runs,
//! medians. After each run the tables of both servers are compared by checksums.
//!
//! `cargo build --release -p arrowload-cli`, then `cargo xtask bench sync`

#![expect(clippy::print_stdout, reason = "a program's way to speak")]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrowload_bench_shared::{cli, median, save};
use arrowload_testkit::{PostgresPrograms, PostgresSetup, ThrowawayPostgres};
use clap::Parser;
use serde_json::{Map, Value, json};

#[derive(Parser)]
struct Args {
    /// Small tables, of 0 to 5,000 rows
    #[arg(long, default_value_t = 195)]
    small: usize,
    /// Large tables, of 200,000 rows
    #[arg(long, default_value_t = 5)]
    large: usize,
    /// Alternating runs
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Tables side by side
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// The program, in place of that of the release build
    #[arg(long)]
    program: Option<PathBuf>,
    /// Another name for the file of results
    #[arg(long, default_value = "sync")]
    name: String,
}

/// The columns that each table has, and what is in them.
const COLUMNS: &str = "id bigint PRIMARY KEY, kind integer NOT NULL, price numeric(12,2), name varchar(40) NOT NULL, note text, \
                       created timestamptz NOT NULL, done boolean, tags text[], ref uuid";
const ROWS: &str = "SELECT n, n % 7, (n % 100000) / 100.0, 'name of ' || n, CASE WHEN n % 3 = 0 THEN NULL ELSE repeat('note ', n::int % 8) END, \
                    timestamptz '2024-01-01' + n * interval '1 second', n % 2 = 0, ARRAY['a' || n % 5, 'b'], md5(n::text)::uuid";

const DATABASE: &str = "copy";

struct Bench {
    source: ThrowawayPostgres,
    target: ThrowawayPostgres,
    tables: Vec<String>,
    program: PathBuf,
    pg_dump: PathBuf,
    psql: PathBuf,
    jobs: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let bench = Bench::start(&args)?;
    let names = ["pg_dump | psql", "arrowload sync"];
    let mut seconds: [Vec<f64>; 2] = Default::default();
    let sums = bench.sums(&bench.source, "postgres")?;
    // The first round warms caches.
    for round in 0..=args.runs {
        for (index, seconds) in seconds.iter_mut().enumerate() {
            let took = bench.run(index == 0)?;
            ensure!(
                bench.sums(&bench.target, DATABASE)? == sums,
                "{}: the tables are not equal",
                names[index]
            );
            if round > 0 {
                seconds.push(took);
            }
        }
    }
    println!(
        "{} tables, medians of {} alternating runs; equal by checksums each time",
        bench.tables.len(),
        args.runs
    );
    let limit = median(seconds[0].iter().copied());
    let mut results = Map::new();
    for (name, runs) in names.iter().zip(&seconds) {
        let middle = median(runs.iter().copied());
        println!("{name:16} {middle:8.3} s  {:.2} of pg_dump", limit / middle);
        results.insert(
            (*name).into(),
            json!({ "seconds": middle, "of_pg_dump": limit / middle, "runs": runs }),
        );
    }
    let version = psql(&bench.source, "postgres", "SHOW server_version")?;
    results.insert("server".into(), version.into());
    results.insert(
        "tables".into(),
        json!({ "small": args.small, "large": args.large }),
    );
    results.insert("jobs".into(), args.jobs.into());
    save(&args.name, &Value::Object(results))
}

fn psql(server: &ThrowawayPostgres, database: &str, sql: &str) -> Result<String> {
    server.psql(database, sql).map_err(anyhow::Error::msg)
}

impl Bench {
    fn start(args: &Args) -> Result<Self> {
        let server = || {
            let setup = PostgresSetup::new()
                .setting("shared_buffers", "512MB")
                .setting("fsync", "on");
            ThrowawayPostgres::start(&setup).map_err(anyhow::Error::msg)
        };
        let (source, target) = (server()?, server()?);
        let mut tables = Vec::new();
        for index in 0..args.small + args.large {
            let rows = match index < args.small {
                // From none to 5,000, and as many of each size.
                true => index * 5_000 / args.small.max(2).saturating_sub(1),
                false => 200_000,
            };
            let table = format!("t{index:03}");
            let sql = format!(
                "CREATE TABLE {table} ({COLUMNS}); INSERT INTO {table} {ROWS} FROM generate_series(1, {rows}::bigint) AS n"
            );
            psql(&source, "postgres", &sql)?;
            tables.push(table);
        }
        psql(&source, "postgres", "ANALYZE")?;
        let programs = PostgresPrograms::find();
        let folder = programs
            .first()
            .context("there is no PostgreSQL")?
            .folder()
            .to_owned();
        let program = match args.program.clone() {
            Some(program) => program,
            None => cli().context("cargo build --release -p arrowload-cli")?,
        };
        Ok(Self {
            source,
            target,
            tables,
            program,
            pg_dump: folder.join("pg_dump"),
            psql: folder.join("psql"),
            jobs: args.jobs,
        })
    }

    /// Seconds of one run into a new database.
    fn run(&self, is_dump: bool) -> Result<f64> {
        let drop = format!("DROP DATABASE IF EXISTS {DATABASE}");
        psql(&self.target, "postgres", &drop)?;
        let url = self
            .target
            .create_database(DATABASE)
            .map_err(anyhow::Error::msg)?;
        for server in [&self.source, &self.target] {
            psql(server, "postgres", "CHECKPOINT")?;
        }
        let started = Instant::now();
        match is_dump {
            true => self.dump(&url)?,
            false => self.sync(&url)?,
        }
        Ok(started.elapsed().as_secs_f64())
    }

    fn dump(&self, url: &str) -> Result<()> {
        let mut dump = Command::new(&self.pg_dump)
            .args(["-Fp", "--no-owner", "-t", "public.t*", self.source.url()])
            .stdout(Stdio::piped())
            .spawn()
            .context("pg_dump does not start")?;
        let pipe = dump.stdout.take().context("pg_dump has no output")?;
        let status = Command::new(&self.psql)
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url])
            .stdin(pipe)
            .stdout(Stdio::null())
            .status()?;
        ensure!(
            dump.wait()?.success() && status.success(),
            "pg_dump | psql failed"
        );
        Ok(())
    }

    fn sync(&self, url: &str) -> Result<()> {
        let jobs = self.jobs.to_string();
        let status = Command::new(&self.program)
            .args([
                "sync",
                "-q",
                "--from",
                self.source.url(),
                "--tables",
                "public.t*",
            ])
            .args(["--to", url, "--target", "{schema}.{table}", "--jobs", &jobs])
            .status()?;
        ensure!(status.success(), "arrowload sync failed");
        Ok(())
    }

    /// A line for each table: its rows and a checksum over all of them, in the order of their keys.
    fn sums(&self, server: &ThrowawayPostgres, database: &str) -> Result<String> {
        let sum = |table: &String| {
            format!(
                "SELECT '{table}', count(*), md5(string_agg(md5(t::text), '' ORDER BY id)) FROM {table} AS t"
            )
        };
        let all: Vec<String> = self.tables.iter().map(sum).collect();
        psql(server, database, &(all.join(" UNION ALL ") + " ORDER BY 1"))
    }
}
