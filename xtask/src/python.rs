//! A Python with the readers that are not ours: pyarrow, duckdb and the like, in a virtual environment of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::tools::{exists, run, say, target};

/// What reads back what we wrote.
const PACKAGES: [&str; 18] = [
    "pyarrow",
    "duckdb",
    "deltalake",
    "polars",
    "pyiceberg[sql-sqlite,pyiceberg-core]",
    "pytz",
    "psycopg[binary]",
    "adbc-driver-postgresql",
    "moto[s3,server]",
    "boto3",
    "redis",
    "fakeredis[json]",
    "adbc-driver-flightsql",
    "pysail",
    "roapi",
    "oauthlib",
    "opentelemetry-proto",
    "prometheus_client",
];

/// The interpreter of the environment, made at the first call.
pub(crate) fn interpreter() -> Result<PathBuf> {
    let folder = target().join("arrowload-python");
    let python = folder.join(if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    });
    if has_packages(&python) {
        return Ok(python);
    }
    say(&format!(
        "installing {} into {}",
        PACKAGES.join(", "),
        folder.display()
    ));
    let advice = "Python 3 with its venv module is needed (Debian: python3-venv), or `uv`";
    if exists("uv", "--version") {
        run(Command::new("uv")
            .args(["venv", "--quiet", "--clear", "--python", "python3"])
            .arg(&folder))
        .context(advice)?;
        run(Command::new("uv")
            .args(["pip", "install", "--quiet", "--python"])
            .arg(&python)
            .args(PACKAGES))?;
    } else {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder))
        .context(advice)?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet"])
            .args(PACKAGES))?;
    }
    Ok(python)
}

fn has_packages(python: &Path) -> bool {
    let names: Vec<String> = PACKAGES
        .iter()
        .map(|package| format!("{:?}", package.split('[').next().unwrap_or_default()))
        .collect();
    let versions = format!(
        "import importlib.metadata as metadata; [metadata.version(name) for name in [{}]]",
        names.join(", ")
    );
    let status = Command::new(python)
        .args(["-c", &versions])
        .stderr(std::process::Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
