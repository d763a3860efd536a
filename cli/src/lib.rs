//! The `arrowload` command as a library: a program that calls [`main`] is the command; if it also names the crates of third-party
//! loaders and sources, these are built in too.
//!
#![doc = include_str!("../README.md")]

mod args;
mod beside;
mod connections;
mod cursor;
mod describe;
mod diff;
mod doctor;
#[cfg(test)]
mod documented;
mod env_file;
mod exit;
mod grid;
mod hook;
mod http;
mod incremental;
mod input;
mod ipc;
mod job;
mod job_to;
#[cfg(test)]
mod leaky;
mod list;
mod load;
mod machine;
#[cfg(feature = "otlp")]
mod otlp;
mod outcome;
mod output;
mod panics;
mod params;
mod peek;
mod progress;
mod query;
mod run;
mod runs;
#[cfg(test)]
mod scheduled;
mod shape;
mod show;
mod spool;
mod sync;
mod sync_carry;
mod sync_plan;
mod sync_tables;
mod telemetry;
mod to;
mod watch;
mod words;
mod work;

use clap::Parser;
use tracing::Instrument;

use crate::args::{Cli, Command};
use crate::exit::{Exit, Failure};
use crate::telemetry::Telemetry;
use crate::watch::Watch;

/// Batches are large and short-lived: the system's allocator gives their pages back and fetches them again, zeroed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the command with the arguments, the environment and the standard streams of the process, to its end: what it
/// found is printed, and the code is the process's exit code. It starts a runtime and sets up logging, so it is called once.
pub fn main() -> std::process::ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::misused(&error).into(),
    };
    let common = cli.common.clone();
    show::set_up(&common);
    let watch = Watch::default();
    if let Some(file) = &common.env_file {
        let ended = env_file::run_with(file);
        return ended
            .unwrap_or_else(|failure| failure.report(&common, &watch))
            .into();
    }
    let mut telemetry = match Telemetry::start(&cli.command) {
        Ok(telemetry) => telemetry,
        Err(failure) => return failure.report(&common, &watch).into(),
    };
    show::logs(&common, &telemetry);
    let code = exit::guarded(&common, &watch, || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::failed(format!("the runtime does not start: {error}")))?;
        runtime.block_on(async {
            telemetry.run()?;
            let span = telemetry.span();
            let ended = exit::interruptible(dispatch(cli, &watch).instrument(span)).await;
            if matches!(ended, Err(Failure::Interrupted)) {
                watch.hooks_at_interrupt().await;
            }
            ended
        })
    });
    telemetry.end(code);
    code.into()
}

async fn dispatch(cli: Cli, watch: &Watch) -> Result<Exit, Failure> {
    let common = cli.common;
    spool::clean_up();
    match cli.command {
        Command::Load(args) => load::command(*args, &common, watch).await,
        Command::Query(args) => query::command(*args, &common).await,
        Command::Diff(args) => diff::command(*args, &common, watch).await,
        Command::List(args) => list::command(args, &common).await,
        Command::Peek(args) => peek::command(args, &common).await,
        Command::Run(args) => run::command(args, &common, watch).await,
        Command::Sync(args) => sync::command(*args, &common, watch).await,
        Command::Replay(args) => load::replay(args, &common, watch).await,
        Command::State(args) => load::state(*args, &common, watch).await,
        Command::Doctor => doctor::command(&common).await,
        Command::Loaders => describe::loaders(&common),
        Command::Sources => describe::sources(&common),
        Command::Describe { name } => describe::describe(&name, &common),
        Command::Connections { command } => connections::command(command, &common).await,
        Command::Init { force } => connections::init(force, &common),
        Command::Completions { shell } => describe::completions(shell),
        Command::Schema { which } => describe::schema(which),
    }
}
