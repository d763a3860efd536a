//! Foreign files by the thousand: what is too large, or takes too long, for the tests of every day.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;

use crate::python;
use crate::tools::{cargo, run};

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Which: ipc, parquet-testing
    name: String,
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

const PARQUET: Torture = Torture {
    name: "parquet-testing",
    corpus: "apache/parquet-testing",
    variable: "ARROWLOAD_PARQUET_TESTING",
    package: "arrowload-common-parquet-read",
    test: "corpus",
};

const TORTURES: [Torture; 2] = [
    PARQUET,
    Torture {
        name: "ipc",
        corpus: "apache/arrow-testing",
        variable: "ARROWLOAD_ARROW_TESTING",
        package: "arrowload-common-ipc",
        test: "corpus",
    },
];

pub(crate) fn run_task(args: &Args) -> Result<()> {
    let Some(torture) = TORTURES.iter().find(|torture| torture.name == args.name) else {
        let names: Vec<_> = TORTURES.iter().map(|torture| torture.name).collect();
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
