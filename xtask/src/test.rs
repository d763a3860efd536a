//! `cargo xtask test`: the whole test suite, with the readers and servers that it needs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::postgres::TESTED as POSTGRESQL;
use crate::tools::{cargo, run, say};
use crate::{go, postgres, python};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What is passed on to `cargo test`, such as a package or the name of a test
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// What tests need that is off by default.
pub(crate) const FEATURES: &str = "arrowload-cli/otlp";

pub(crate) fn run_task(args: &Args) -> Result<()> {
    let python = python::interpreter()?;
    say(&format!("reading back with {}", python.display()));
    let servers = postgres::servers(&python)?;
    let sqlite = go::flight_sql_sqlite();
    let named = args
        .rest
        .iter()
        .any(|argument| argument == "-p" || argument.starts_with("--package"));
    let mut test = command(&python, &servers, 0, sqlite.as_deref(), named);
    if !named {
        test.args(["--workspace", "--features", FEATURES]);
    }
    run(test.args(&args.rest))?;
    if named
        && !args.rest.iter().any(|argument| {
            argument == POSTGRESQL || *argument == format!("--package={POSTGRESQL}")
        })
    {
        return Ok(());
    }
    let rest: Vec<&String> = args
        .rest
        .iter()
        .filter(|argument| *argument != "--workspace")
        .collect();
    for index in 1..servers.len() {
        let mut test = command(&python, &servers, index, sqlite.as_deref(), named);
        if !named {
            test.args(["-p", POSTGRESQL]);
        }
        run(test.args(&rest))?;
    }
    Ok(())
}

/// `cargo test` against one of the servers. What this task has set up is not to be skipped.
fn command(
    python: &Path,
    servers: &[PathBuf],
    index: usize,
    sqlite: Option<&Path>,
    named: bool,
) -> Command {
    let mut test = cargo();
    test.arg("test").env("ARROWLOAD_PYTHON", python);
    let sqlite_required = if sqlite.is_some() {
        ",flight-sql-sqlite"
    } else {
        ""
    };
    // Cargo builds the examples of all packages, but not always those of one that is named.
    let examples = if named { "" } else { ",examples" };
    test.env(
        "ARROWLOAD_REQUIRE",
        format!(
            "python,{}{}{sqlite_required}{examples}",
            postgres::required(servers, index),
            redis()
        ),
    );
    if let Some(program) = sqlite {
        test.env("ARROWLOAD_FLIGHT_SQL_SQLITE", program);
    }
    if let (Some(folder), Some(binaries)) = (servers.get(index), postgres::first(servers, index)) {
        say(&format!(
            "testing against the PostgreSQL in {}",
            folder.display()
        ));
        test.env(postgres::BINARIES, binaries);
    }
    test
}

/// Redis is required where it is installed.
fn redis() -> &'static str {
    let is_there = |program: &str| {
        Command::new(program)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if is_there("redis-server") && is_there("redis-cli") {
        ",redis"
    } else {
        ""
    }
}
