//! `cargo xtask lint`: what a change must pass beside its tests. Tools that are missing are installed by cargo.

use std::process::Command;

use anyhow::{Context, Result};

use crate::test::FEATURES;
use crate::tools::{cargo, on_path, root, run, say};
use crate::{api, generate};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave out the checks that need more tools, or compile most of the workspace again
    #[arg(long)]
    quick: bool,
}

pub(crate) fn run_task(args: &Args) -> Result<()> {
    run(cargo().args(["fmt", "--all", "--", "--check"]))?;
    generate::check()?;
    run(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        FEATURES,
        "--",
        "--deny",
        "warnings",
    ]))?;
    run(cargo()
        .args(["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "--deny warnings"))?;
    if args.quick {
        return Ok(());
    }
    api::check()?;
    for tool in ["machete", "deny", "hack"] {
        install(tool)?;
    }
    // By its own name: beneath another cargo it would take its subcommand for a folder.
    run(Command::new("cargo-machete").current_dir(root()))?;
    // Advisories need a database from outside the registries, so they are a job of their own.
    run(cargo().args(["deny", "check", "licenses", "bans", "sources"]))?;
    for manifest in generate::featured()? {
        run(cargo()
            .args(["hack", "check", "--each-feature", "--no-dev-deps"])
            .arg("--manifest-path")
            .arg(manifest))?;
    }
    Ok(())
}

fn install(tool: &str) -> Result<()> {
    let name = format!("cargo-{tool}");
    if on_path(&name) {
        return Ok(());
    }
    say(&format!("{name} is missing; installing it"));
    run(cargo().args(["install", "--locked", &name]))
        .with_context(|| format!("install {name} yourself, then repeat"))
}
