//! What the benchmarks of CSV and JSON share: the rows of `lineitem` as text, alternating runs, tables, and peaks of memory.

#![expect(clippy::print_stdout, reason = "a program's way to speak")]

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrowload_bench_shared::{Peers, cpu_seconds, forget_peak, machine, median, memory, save};
use clap::Parser;
use serde_json::{Map, Value, json};
use tpchgen::generators::{LineItem, LineItemGenerator};

/// The names and types of lineitem's columns.
pub const COLUMNS: [(&str, &str); 16] = [
    ("l_orderkey", "int64"),
    ("l_partkey", "int64"),
    ("l_suppkey", "int64"),
    ("l_linenumber", "int64"),
    ("l_quantity", "decimal(15,2)"),
    ("l_extendedprice", "decimal(15,2)"),
    ("l_discount", "decimal(15,2)"),
    ("l_tax", "decimal(15,2)"),
    ("l_returnflag", "text"),
    ("l_linestatus", "text"),
    ("l_shipdate", "date"),
    ("l_commitdate", "date"),
    ("l_receiptdate", "date"),
    ("l_shipinstruct", "text"),
    ("l_shipmode", "text"),
    ("l_comment", "text"),
];

/// Text files into Arrow.
#[derive(Debug, Parser)]
pub struct Args {
    /// The size of the file, in MB
    #[arg(long, default_value_t = 1_000)]
    pub megabytes: u64,
    /// Alternating runs
    #[arg(long, default_value_t = 7)]
    pub runs: usize,
    /// Only ours, and nothing is saved: for a profiler
    #[arg(long)]
    pub alone: bool,
    /// Only the runs with this name
    #[arg(long)]
    pub only: Option<String>,
    /// Only peaks of memory, without files
    #[arg(long)]
    pub memory: bool,
    /// One peak of memory, in a process of its own
    #[arg(long, hide = true)]
    pub peak: Option<String>,
    /// Only makes the file, in a process of its own: the generator holds 300 MB
    #[arg(long, hide = true)]
    pub make: bool,
}

/// How the file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// All types are declared.
    Declared,
    /// Types are found in the first MiB.
    Detected,
    /// Types are proved on the whole file first.
    Proved,
}

impl How {
    const ALL: [Self; 3] = [Self::Declared, Self::Detected, Self::Proved];

    fn name(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Detected => "detected",
            Self::Proved => "proved",
        }
    }
}

/// A form of text.
pub trait Form: 'static {
    /// Its name: that of the benchmark's results.
    const NAME: &'static str;
    /// What a file of it is called, and what it is to the peers.
    const KIND: &'static str;

    /// What stands before the rows.
    ///
    /// # Errors
    /// Those of the writer.
    fn begin(out: &mut dyn Write) -> std::io::Result<()>;
    /// One row.
    ///
    /// # Errors
    /// Those of the writer.
    fn row(out: &mut dyn Write, row: &LineItem<'_>) -> std::io::Result<()>;
    /// Reads a file, and says how many rows it has.
    ///
    /// # Errors
    /// Those of the reader.
    fn read(path: &Path, how: How) -> Result<usize>;
    /// Reads what a reader has, with types found, and says how many rows it has.
    ///
    /// # Errors
    /// Those of the reader.
    fn read_from(reader: impl Read + Send + 'static) -> Result<usize>;
    /// A row with one text of so many bytes, and its line end.
    fn long_row(bytes: usize) -> Vec<u8>;
    /// What stands before such rows.
    fn long_begin() -> Vec<u8>;
}

/// Rows of which each has one long text, made as they are read.
struct Long {
    row: Vec<u8>,
    left: usize,
    at: usize,
}

impl Read for Long {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.row.len() && self.left > 0 {
            self.left -= 1;
            self.at = 0;
        }
        let piece = (&self.row[self.at..]).read(buffer)?;
        self.at += piece;
        Ok(piece)
    }
}

fn long<F: Form>(rows: usize, bytes: usize) -> impl Read + Send + 'static {
    let row = F::long_row(bytes);
    std::io::Cursor::new(F::long_begin()).chain(Long {
        at: row.len(),
        row,
        left: rows,
    })
}

/// Peaks of memory: name, rows, the bytes of the text in each. The row that is made again and again is part of the process,
/// and taken off.
const PEAKS: [(&str, usize, usize); 4] = [
    ("200 rows of 10 MB", 200, 10_000_000),
    ("20,000 rows of 100 kB", 20_000, 100_000),
    ("1 row of 300 MB", 1, 300_000_000),
    ("3 rows of 300 MB", 3, 300_000_000),
];

fn file<F: Form>(megabytes: u64) -> Result<(PathBuf, usize)> {
    let folder = std::env::temp_dir().join("arrowload-bench-text-files");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("lineitem-{megabytes}.{}", F::KIND));
    let known = path.with_file_name(format!("lineitem-{megabytes}.{}.rows", F::KIND));
    if let (true, Ok(rows)) = (path.exists(), std::fs::read_to_string(&known)) {
        return Ok((path, rows.parse()?));
    }
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    F::begin(&mut out)?;
    let (mut rows, mut line, mut bytes) = (0, Vec::new(), 0);
    for row in LineItemGenerator::new(2.0, 1, 1).iter() {
        if bytes >= megabytes * 1_000_000 {
            break;
        }
        line.clear();
        F::row(&mut line, &row)?;
        out.write_all(&line)?;
        bytes += line.len() as u64;
        rows += 1;
    }
    out.into_inner()?.sync_all()?;
    std::fs::write(known, rows.to_string())?;
    Ok((path, rows))
}

/// One reading.
#[derive(Debug, Clone, Copy)]
struct Run {
    seconds: f64,
    cpu: f64,
    /// The most memory of this process, in MB; none of a peer.
    peak: f64,
}

fn ours<F: Form>(path: &Path, how: How, rows: usize) -> Result<Run> {
    forget_peak()?;
    let (cpu, started) = (cpu_seconds()?.0, Instant::now());
    let found = F::read(path, how)?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(found == rows, "{found} of {rows} rows were read");
    Ok(Run {
        seconds,
        cpu: cpu_seconds()?.0 - cpu,
        peak: memory()?.1,
    })
}

/// Runs the benchmark of a form.
///
/// # Errors
/// When a reader fails, or finds other rows than were written.
pub fn run<F: Form>() -> Result<()> {
    let args = Args::parse();
    if let Some(name) = &args.peak {
        return peak::<F>(name);
    }
    if args.memory {
        println!("{:#}", peaks()?);
        return Ok(());
    }
    if args.make {
        return file::<F>(args.megabytes).map(drop);
    }
    let made = Command::new(std::env::current_exe()?)
        .args(["--make", "--megabytes", &args.megabytes.to_string()])
        .status()?;
    ensure!(made.success(), "the file was not made");
    let (path, rows) = file::<F>(args.megabytes)?;
    let megabytes = path.metadata()?.len() as f64 / 1e6;
    println!("{rows} rows, {megabytes:.0} MB, {}", machine());
    let wanted = |how: &How| args.only.as_ref().is_none_or(|only| only == how.name());
    if args.alone {
        for how in How::ALL.into_iter().filter(wanted) {
            let runs = (0..args.runs).map(|_| ours::<F>(&path, how, rows));
            let runs: Vec<Run> = runs.collect::<Result<_>>()?;
            let (name, [seconds, cpu, peak]) = (how.name(), medians(&runs));
            println!("{name}: {seconds:.3} s, {cpu:.2} s of CPU, {peak:.0} MB");
        }
        return Ok(());
    }
    let folder = path.parent().context("a folder")?;
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .to_string();
    let mut peers = Peers::start(
        folder,
        "text_files_peers.py",
        &["polars", "duckdb", "pyarrow"],
        &[&threads],
    )?;
    let mut subjects = Vec::new();
    for how in How::ALL.into_iter().filter(wanted) {
        subjects.push(("ours", how));
        if how != How::Proved {
            subjects.extend([("duckdb", how), ("polars", how)]);
        }
    }
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); subjects.len()];
    for round in 0..=args.runs {
        for (runs, (who, how)) in runs.iter_mut().zip(&subjects) {
            let run = if *who == "ours" {
                ours::<F>(&path, *how, rows)?
            } else {
                let ask = format!("{who} {} {} {rows} {}", F::KIND, how.name(), path.display());
                let (seconds, cpu) = peers.ask(&ask)?;
                Run {
                    seconds,
                    cpu,
                    peak: f64::NAN,
                }
            };
            // The first round warms caches and allocators.
            if round > 0 {
                runs.push(run);
            }
        }
    }
    let mut results = report(&subjects, &runs, megabytes);
    if args.only.is_none() {
        results.insert("peaks".into(), peaks()?);
        results.insert("peers".into(), peers.versions.clone().into());
        results.insert("machine".into(), machine().into());
        results.insert("rows".into(), rows.into());
        results.insert("megabytes".into(), megabytes.into());
        results.insert("runs".into(), args.runs.into());
        save(F::NAME, &Value::Object(results))?;
    }
    Ok(())
}

fn medians(runs: &[Run]) -> [f64; 3] {
    [
        median(runs.iter().map(|run| run.seconds)),
        median(runs.iter().map(|run| run.cpu)),
        median(runs.iter().map(|run| run.peak)),
    ]
}

fn report(subjects: &[(&str, How)], runs: &[Vec<Run>], megabytes: f64) -> Map<String, Value> {
    println!(
        "{:9} {:7} {:>8} {:>8} {:>8} {:>14} {:>14} {:>8}",
        "types", "", "seconds", "CPU s", "MB/s", "× as fast", "of the CPU", "peak MB"
    );
    let of = |who: &str, how: How| {
        let index = subjects.iter().position(|subject| *subject == (who, how));
        index.map(|index| medians(&runs[index]))
    };
    let mut results = Map::new();
    for ((who, how), runs) in subjects.iter().zip(runs) {
        let [seconds, cpu, peak] = medians(runs);
        // How much faster ours is; of proving, how much slower than with types found.
        let base = match (*who, *how) {
            ("ours", How::Proved) => {
                of("ours", How::Detected).map(|[seconds, cpu, _]| [seconds, cpu])
            }
            (_, how) => of("ours", how).map(|[seconds, cpu, _]| [seconds, cpu]),
        };
        let [times, of_cpu] = base.map_or([f64::NAN; 2], |[base, base_cpu]| {
            [seconds / base, cpu / base_cpu]
        });
        let speed = megabytes / seconds;
        println!(
            "{:9} {who:7} {seconds:8.3} {cpu:8.2} {speed:8.0} {times:14.2} {of_cpu:14.2} {peak:8.0}",
            how.name()
        );
        let mut result = json!({
            "seconds": seconds,
            "cpu_seconds": cpu,
            "megabytes_per_second": speed,
            "times_ours": times,
            "times_ours_cpu": of_cpu,
        });
        if *who == "ours" {
            result["peak_megabytes"] = peak.into();
        }
        let group = results
            .entry(how.name())
            .or_insert_with(|| Value::Object(Map::new()));
        group[*who] = result;
    }
    results
}

/// The peaks of memory, each in a process of its own.
fn peaks() -> Result<Value> {
    let mut results = Map::new();
    for (name, ..) in PEAKS {
        let output = Command::new(std::env::current_exe()?)
            .args(["--peak", name])
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let said = said.trim();
        ensure!(
            output.status.success(),
            "{name}: {said} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        println!("{name}: {said}");
        let (peak, times) = said.split_once(" MB, ").context("a peak")?;
        let times = times.split(' ').next().unwrap_or_default();
        results.insert(
            name.into(),
            json!({ "megabytes": peak.parse::<f64>()?, "times_the_row": times.parse::<f64>()? }),
        );
    }
    Ok(Value::Object(results))
}

fn peak<F: Form>(name: &str) -> Result<()> {
    let (_, rows, bytes) = PEAKS
        .iter()
        .find(|(known, ..)| *known == name)
        .context("no such peak")?;
    let reader = long::<F>(*rows, *bytes);
    let before = memory()?.0;
    forget_peak()?;
    let found = F::read_from(reader)?;
    ensure!(found == *rows, "{found} of {rows} rows were read");
    let peak = memory()?.1 - before;
    let times = peak * 1_048_576.0 / *bytes as f64;
    println!("{peak:.0} MB, {times:.1} times the row");
    Ok(())
}
