//! The `arrowload` command: everything the client does, without writing Rust. See the README beside this folder.

mod args;
mod begun;
mod connections;
mod describe;
mod exit;
mod input;
mod ipc;
mod job;
mod job_to;
#[cfg(test)]
mod leaky;
mod list;
mod load;
mod outcome;
mod output;
mod panics;
mod params;
mod progress;
mod query;
mod run;
mod show;
mod to;
mod watch;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::exit::{Exit, Failure};
use crate::watch::Watch;

/// Batches are large and short-lived: the system's allocator gives their pages back and fetches them again, zeroed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    show::logs(&cli.common);
    let (verbose, watch) = (cli.common.verbose > 0, Watch::default());
    let code = exit::guarded(verbose, &watch, || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::failed(format!("the runtime does not start: {error}")))?;
        runtime.block_on(exit::interruptible(dispatch(cli, &watch)))
    });
    code.into()
}

async fn dispatch(cli: Cli, watch: &Watch) -> Result<Exit, Failure> {
    let common = cli.common;
    match cli.command {
        Command::Load(args) => load::command(*args, &common, watch).await,
        Command::Query(args) => query::command(*args, &common).await,
        Command::List(args) => list::command(args, &common).await,
        Command::Run(args) => run::command(args, &common, watch).await,
        Command::Replay(args) => load::replay(args, &common, watch).await,
        Command::Loaders => describe::loaders(),
        Command::Sources => describe::sources(),
        Command::Describe { name } => describe::describe(&name),
        Command::Connections { command } => connections::command(command).await,
        Command::Init { force } => connections::init(force),
        Command::Completions { shell } => describe::completions(shell),
        Command::Schema { which } => describe::schema(which),
    }
}
