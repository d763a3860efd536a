//! `cargo xtask test`: the whole test suite, with the readers and servers that it needs.

use anyhow::Result;

use crate::python;
use crate::tools::{cargo, run, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What is passed on to `cargo test`, such as a package or the name of a test
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run_task(args: &Args) -> Result<()> {
    let python = python::interpreter()?;
    say(&format!("reading back with {}", python.display()));
    let mut test = cargo();
    test.arg("test");
    if !args.rest.iter().any(|argument| argument == "-p" || argument.starts_with("--package")) {
        test.arg("--workspace");
    }
    test.args(&args.rest);
    // What this task has set up is not to be skipped.
    test.env("ARROWLOAD_PYTHON", &python).env("ARROWLOAD_REQUIRE", "python");
    run(&mut test)
}
