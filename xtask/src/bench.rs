//! `cargo xtask bench NAME`: a program of the `benches` package, built for release; or all of them.

use anyhow::{Result, bail};

use crate::speed;
use crate::tools::{cargo, root, run, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The benchmark, or `all`; without one, the list
    name: Option<String>,
    /// What is passed on to it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Benchmarks in packages of their own, by name and folder: peers bring another Arrow, or little of what the others need is
/// needed.
const APART: [(&str, &str); 4] = [
    ("csv", "text-files"),
    ("encode", "encode"),
    ("json", "text-files"),
    ("mongodb", "mongodb"),
];

fn run_named(name: &str, rest: &[String]) -> Result<()> {
    let mut command = cargo();
    if let Some((_, folder)) = APART.iter().find(|(apart, _)| *apart == name) {
        let manifest = root().join("benches").join(folder).join("Cargo.toml");
        command
            .args(["run", "--release", "--manifest-path"])
            .arg(manifest);
        if folder != &name {
            // The package has several.
            command.args(["--bin", name]);
        }
        return run(command.arg("--").args(rest));
    }
    // Between two of our runs come those of the peers: without this the allocator would give back the pages that the last one
    // freed, which polars' does not. A load in one go never waits so long.
    command.env("MIMALLOC_PURGE_DELAY", "10000");
    command
        .args([
            "run",
            "--release",
            "--package",
            "arrowload-benches",
            "--bin",
            name,
            "--",
        ])
        .args(rest);
    run(&mut command)
}

/// One after the other; those whose peers or servers are not here fail, and do not keep others from running.
fn run_all(names: &[String]) -> Result<()> {
    let mut failed = Vec::new();
    for name in names {
        say(&format!("benchmark {name}"));
        if let Err(error) = run_named(name, &[]) {
            say(&format!("benchmark {name} failed: {error:#}"));
            failed.push(name.as_str());
        }
    }
    speed::generate(false)?;
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "these benchmarks failed, and their results are those of before: {}",
        failed.join(", ")
    )
}

pub(crate) fn run_task(args: Args) -> Result<()> {
    let mut names: Vec<String> = std::fs::read_dir(root().join("benches/src/bin"))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.extend(APART.map(|(name, _)| name.to_owned()));
    names.sort();
    match args.name {
        Some(name) if name == "all" => run_all(&names),
        Some(name) if names.contains(&name) => run_named(&name, &args.rest),
        Some(name) => bail!(
            "there is no benchmark `{name}`; there is: {}",
            names.join(", ")
        ),
        None => {
            say(&names.join("\n"));
            Ok(())
        }
    }
}
