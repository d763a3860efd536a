//! `cargo xtask bench NAME`: a program of the `benches` package, built for release.

use anyhow::{Result, bail};

use crate::tools::{cargo, root, run};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The benchmark; without one, the list
    name: Option<String>,
    /// What is passed on to it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

fn run_named(name: &str, rest: &[String]) -> Result<()> {
    let mut command = cargo();
    command.args(["run", "--release", "--package", "arrowload-benches", "--bin", name, "--"]).args(rest);
    run(&mut command)
}

pub(crate) fn run_task(args: Args) -> Result<()> {
    let mut names: Vec<String> = std::fs::read_dir(root().join("benches/src/bin"))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    match args.name {
        Some(name) if names.contains(&name) => run_named(&name, &args.rest),
        Some(name) => bail!("there is no benchmark `{name}`; there is: {}", names.join(", ")),
        None => bail!("name a benchmark: {}", names.join(", ")),
    }
}
