//! The `arrowload` command: everything the client does, without writing Rust. See the README beside this folder.

mod args;
mod begun;
mod connections;
mod describe;
mod exit;
mod input;
mod ipc;
mod job;
mod list;
mod load;
mod output;
mod params;
mod progress;
mod query;
mod run;
mod show;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::exit::{Exit, Failure};

/// Batches are large and short-lived: the system's allocator gives their pages back and fetches them again, zeroed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    show::logs(&cli.common);
    let verbose = cli.common.verbose > 0;
    let outcome = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(exit::interruptible(dispatch(cli))),
        Err(error) => Err(Failure::failed(format!(
            "the runtime does not start: {error}"
        ))),
    };
    match outcome {
        Ok(exit) => exit.code(),
        Err(failure) => failure.report(verbose),
    }
}

async fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let common = cli.common;
    match cli.command {
        Command::Load(args) => load::command(*args, &common).await,
        Command::Query(args) => query::command(*args, &common).await,
        Command::List(args) => list::command(args, &common).await,
        Command::Run(args) => run::command(args, &common).await,
        Command::Replay(args) => load::replay(args, &common).await,
        Command::Loaders => describe::loaders(),
        Command::Sources => describe::sources(),
        Command::Describe { name } => describe::describe(&name),
        Command::Connections { command } => connections::command(command).await,
        Command::Init { force } => connections::init(force),
        Command::Completions { shell } => describe::completions(shell),
        Command::Schema { which } => describe::schema(which),
    }
}
