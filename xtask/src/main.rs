//! The tasks of this workspace: `cargo xtask test`, `lint`, `generate`, `api`, `bench NAME`, `new-loader NAME`.

mod api;
mod bench;
mod generate;
mod go;
mod linkage;
mod lint;
mod new_loader;
mod postgres;
mod python;
mod speed;
mod test;
mod tools;
mod torture;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The tasks of this workspace"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs all tests, against the real servers and readers it finds or installs (below the target folder)
    Test(test::Args),
    /// Checks format, lints, docs, licences, unused dependencies, and each cargo feature alone
    Lint(lint::Args),
    /// Writes what follows from the list of loaders and sources in client/Cargo.toml, and the README's table of speeds
    Generate(generate::Args),
    /// Writes the public API of each published crate into a file beside its manifest, which lint compares
    Api(api::Args),
    /// Proves that no registration is lost to the linker: each feature alone, in dev, release and with LTO
    Linkage(linkage::Args),
    /// Runs a benchmark against its peers, or `all`, and then writes the README's table of speeds
    Bench(bench::Args),
    /// Reads foreign files by the thousand, which an environment variable names
    Torture(torture::Args),
    /// Makes a new loader crate from examples/plugin-template
    NewLoader(new_loader::Args),
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Test(args) => test::run_task(&args),
        Task::Lint(args) => lint::run_task(&args),
        Task::Generate(args) => generate::run_task(&args),
        Task::Api(args) => api::run_task(&args),
        Task::Linkage(args) => linkage::run_task(&args),
        Task::Bench(args) => bench::run_task(args),
        Task::Torture(args) => torture::run_task(&args),
        Task::NewLoader(args) => new_loader::run_task(args),
    }
}
