//! Foreign files by the thousand, and loads that are killed by the hundred: what is too large, or takes too long, for the tests of
//! every day.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;

use crate::python;
use crate::tools::{cargo, root, run, say, target};

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Which: bson, csv, duckdb-csv, incremental, ipc, parquet-testing, pollock
    name: String,
    /// For how many seconds `csv` bends files
    #[arg(long, default_value_t = 1_200)]
    seconds: u64,
    /// How often `incremental` disturbs loads in each of its ways
    #[arg(long, default_value_t = 300)]
    rounds: u64,
}

/// A test that reads a corpus.
struct Torture {
    name: &'static str,
    /// Where its files come from.
    corpus: &'static str,
    /// The environment variable that names the folder of the corpus.
    variable: &'static str,
    package: &'static str,
    test: &'static str,
}

const TORTURES: [Torture; 3] = [BSON, IPC, PARQUET];

const BSON: Torture = Torture {
    name: "bson",
    corpus: "mongodb/specifications, source/bson-corpus/tests",
    variable: "ARROWLOAD_BSON_CORPUS",
    package: "arrowload-mongodb",
    test: "it",
};

const IPC: Torture = Torture {
    name: "ipc",
    corpus: "apache/arrow-testing",
    variable: "ARROWLOAD_ARROW_TESTING",
    package: "arrowload-common-ipc",
    test: "corpus",
};

const PARQUET: Torture = Torture {
    name: "parquet-testing",
    corpus: "apache/parquet-testing",
    variable: "ARROWLOAD_PARQUET_TESTING",
    package: "arrowload-common-parquet-read",
    test: "corpus",
};

/// Corpora of CSV files, which a script of ours reads through the example `convert` of the CSV reader.
const CSV: [(&str, &str, &str); 2] = [
    (
        "pollock",
        "HPI-Information-Systems/Pollock",
        "ARROWLOAD_POLLOCK",
    ),
    (
        "duckdb-csv",
        "duckdb/duckdb, its data/csv",
        "ARROWLOAD_DUCKDB_CSV",
    ),
];
/// What the script needs beside Python: the first for both, the others for the measures of Pollock.
const CSV_PACKAGES: [&str; 7] = [
    "duckdb",
    "multiset",
    "price-parser",
    "python-dateutil",
    "numpy",
    "chardet",
    "joblib",
];

/// Scores a corpus, and writes the report into `benches/results`; skips it if it is not at hand.
fn csv_corpus(name: &str, corpus: &str, variable: &str) -> Result<()> {
    let Some(folder) = std::env::var_os(variable) else {
        say(&format!(
            "skipped: set {variable} to the folder of a clone of {corpus}"
        ));
        return Ok(());
    };
    let python = match std::env::var_os("ARROWLOAD_PYTHON") {
        Some(python) => PathBuf::from(python),
        None => {
            let python = python::interpreter()?;
            let mut install = Command::new(&python);
            install.args(["-m", "pip", "install", "--quiet"]);
            run(install.args(CSV_PACKAGES))?;
            python
        }
    };
    let package = "arrowload-common-csv";
    run(cargo().args(["build", "--package", package, "--example", "convert"]))?;
    let convert = target().join("debug/examples/convert");
    let convert = convert.with_extension(std::env::consts::EXE_EXTENSION);
    run(Command::new(python)
        .arg(root().join("benches/python/csv_corpora.py"))
        .args([convert.as_path(), Path::new(name), Path::new(&folder)])
        .arg(root().join(format!("benches/results/{name}.md"))))
}

/// Bends CSV files for as long as is wanted.
fn csv(seconds: u64) -> Result<()> {
    let mut test = cargo();
    test.args(["test", "--package", "arrowload-common-csv", "--test", "it"]);
    test.args(["--", "--nocapture", "torture::"]);
    run(test.env("ARROWLOAD_TORTURE_SECONDS", seconds.to_string()))
}

/// Disturbs incremental loads, and writes what came of it into `benches/results`.
fn incremental(rounds: u64) -> Result<()> {
    let mut test = cargo();
    test.args(["test", "--package", "arrowload-cli", "--test", "it"]);
    test.args(["--", "--nocapture", "incremental_kills::"]);
    test.env("ARROWLOAD_REQUIRE", "postgresql");
    test.env("ARROWLOAD_TORTURE_ROUNDS", rounds.to_string());
    let results = root().join("benches/results/incremental.md");
    run(test.env("ARROWLOAD_TORTURE_RESULTS", results))
}

pub(crate) fn run_task(args: &Args) -> Result<()> {
    if args.name == "incremental" {
        return incremental(args.rounds);
    }
    if args.name == "csv" {
        return csv(args.seconds);
    }
    if let Some((name, corpus, variable)) = CSV.iter().find(|(name, ..)| *name == args.name) {
        return csv_corpus(name, corpus, variable);
    }
    let Some(torture) = TORTURES.iter().find(|torture| torture.name == args.name) else {
        let names = TORTURES.iter().map(|torture| torture.name);
        let names: Vec<_> = ["csv", "incremental"]
            .into_iter()
            .chain(CSV.map(|(name, ..)| name))
            .chain(names)
            .collect();
        bail!(
            "there is no torture `{}`; there are {}",
            args.name,
            names.join(", ")
        );
    };
    let Torture {
        corpus, variable, ..
    } = torture;
    let folder = std::env::var_os(variable).map(PathBuf::from);
    let folder =
        folder.with_context(|| format!("set {variable} to the folder of a clone of {corpus}"))?;
    let folder = folder
        .canonicalize()
        .with_context(|| format!("{variable}: {}", folder.display()))?;
    let mut test = cargo();
    test.args([
        "test",
        "--package",
        torture.package,
        "--test",
        torture.test,
        "--",
        "--nocapture",
    ]);
    test.args(["--test-threads", "1"]).env(variable, folder);
    if std::env::var_os("ARROWLOAD_PYTHON").is_none() {
        test.env("ARROWLOAD_PYTHON", python::interpreter()?);
    }
    run(&mut test)
}
