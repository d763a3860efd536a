//! `arrowload sync`: many tables of a source at once, each into a target of its own. It makes a job of them, and runs it as
//! `arrowload run` does.

use std::collections::BTreeMap;
use std::path::Path;

use arrowload::core::LoaderDescriptor;
use arrowload::{Client, ConnectionKey, Connections, Registry};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::args::Common;
use crate::exit::{Exit, Failure};
use crate::input::reached;
use crate::job::Job;
use crate::params::pair;
use crate::run::{Running, WhichRun};
use crate::sync_plan::Plans;
use crate::sync_tables::{self, Pattern, Table, Tables};
use crate::telemetry::TelemetryArgs;
use crate::to::{To, destination};
use crate::watch::Watch;
use crate::work::{Reads, Work};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct SyncArgs {
    /// A URL, a connection or a source, which lists its tables
    #[arg(short, long, value_name = "URL|NAME", help_heading = "What to read")]
    from: String,
    /// The tables: schema.table, each with * for any characters and ? for one; without a dot, of the source's default schema. System
    /// schemas are only those that are named, and partitions are parts of their tables unless they are named whole
    #[arg(
        long,
        value_name = "PATTERN,…",
        value_delimiter = ',',
        required = true,
        help_heading = "What to read"
    )]
    tables: Vec<String>,
    /// Tables that are left out
    #[arg(
        long,
        value_name = "PATTERN,…",
        value_delimiter = ',',
        help_heading = "What to read"
    )]
    exclude: Vec<String>,
    /// Views too, and foreign tables
    #[arg(long, help_heading = "What to read")]
    views: bool,
    /// A loader, a connection or a URL
    #[arg(short, long, value_name = "LOADER|NAME|URL", help_heading = "Where to")]
    to: String,
    /// The target of each table, made of {catalog}, {schema} and {table}: '{schema}.{table}' for a database,
    /// '{schema}/{table}.parquet' for files. Names get quotes where they need them; in a path, what would be more than a name is
    /// percent-encoded
    #[arg(short = 'T', long, value_name = "TEMPLATE", help_heading = "Where to")]
    target: String,
    /// The connection, where --to names a loader
    #[arg(short, long, value_name = "NAME", help_heading = "Where to")]
    connection: Option<String>,
    /// A connection key, over those of the connection
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Where to")]
    config: Vec<String>,
    /// What happens to rows that are in the targets; create by default, which refuses the whole sync if a target is there: say
    /// overwrite to make the targets as the tables are now, again and again
    #[arg(short, long, value_name = "MODE", help_heading = "How", value_parser = ["create", "append", "overwrite", "upsert"])]
    mode: Option<String>,
    /// The columns that identify a row, for mode upsert; by default each table's primary key
    #[arg(
        short,
        long,
        value_name = "COLUMN,…",
        value_delimiter = ',',
        help_heading = "How"
    )]
    keys: Vec<String>,
    /// An option of every load or of this loader; `arrowload describe LOADER` lists them
    #[arg(
        short = 'O',
        long = "option",
        value_name = "KEY=VALUE",
        help_heading = "How"
    )]
    options: Vec<String>,
    /// Create the targets, and load no rows
    #[arg(long, help_heading = "How")]
    schema_only: bool,
    /// How many tables are loaded side by side
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..), help_heading = "How")]
    jobs: u16,
    /// Begin no table after one has failed
    #[arg(long, help_heading = "How")]
    fail_fast: bool,
    /// What this run is called, such as a scheduler's id of it; made up and printed by default. A run of the same id, source,
    /// destination and template loads nothing again
    #[arg(
        long,
        value_name = "ID",
        conflicts_with = "resume",
        help_heading = "How"
    )]
    run_id: Option<String>,
    /// Go on with a run: what it committed is not loaded again. Without an ID, the last run on this machine of the same source,
    /// destination and template
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "", help_heading = "How")]
    resume: Option<String>,
    /// With --resume: load again what was committed and is gone since, as its target was dropped or its store forgot it
    #[arg(long, requires = "resume", help_heading = "How")]
    again: bool,
    /// Show what would happen to each table, and change nothing; with -v, column by column
    #[arg(short = 'n', long, help_heading = "How")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
}

const HELP: &str = "Each table is a load of its own: in its target as a whole or not at all, and of its own moment. One that fails does not stop the others. \
Types, keys and comments of PostgreSQL's tables are those of the tables that are created in PostgreSQL; elsewhere a column that may not \
be null stays one where the store can say so. What is left behind, such as indexes and foreign keys, --dry-run says.
  arrowload sync --from postgresql://me@localhost/app --tables 'public.*' --exclude '*.tmp_*' --to lake --target '{schema}/{table}'";

pub(crate) async fn command(
    args: SyncArgs,
    common: &Common,
    watch: &Watch,
) -> Result<Exit, Failure> {
    let mode = args.mode.as_deref().unwrap_or("create");
    if args.schema_only && !["create", "append"].contains(&mode) {
        return Err(Failure::usage(format!(
            "--schema-only loads no rows, and --mode {mode} changes those that are there; leave one of them out"
        )));
    }
    let work = work(&args, mode).await?;
    let which = WhichRun {
        id: args.run_id.as_deref(),
        resume: args.resume.as_deref(),
        // A sync has no file, and may be run from anywhere.
        file: Path::new("/"),
    };
    let running = Running::new(work, &which)?;
    running.work.check().await?;
    if args.resume.is_some() && !args.dry_run {
        running.look_back(args.again).await?;
    }
    if args.dry_run {
        return Plans::make(&running).await?.tell(&running.work, common);
    }
    // --resume must find this run, and no older one, if it is broken off while the targets are looked at.
    running.begin(watch);
    let plans = Plans::make(&running).await?;
    if let Err(failure) = plans.check() {
        running.forget(watch);
        return Err(failure);
    }
    plans.announce(common);
    running.to_its_end(common, watch).await
}

/// The tables that are meant, and a load of each.
async fn work(args: &SyncArgs, mode: &str) -> Result<Work, Failure> {
    let patterns = |flag: &str, texts: &[String]| -> Result<Vec<Pattern>, Failure> {
        texts.iter().map(|text| Pattern::read(flag, text)).collect()
    };
    let (wanted, excluded) = (
        patterns("--tables", &args.tables)?,
        patterns("--exclude", &args.exclude)?,
    );
    let (registry, connections) = (Registry::linked()?, Connections::discover()?);
    let connection = reached(&args.from, &registry, &connections)?;
    let (source, _) = connections.for_source(&registry, &args.from)?;
    let client = Client::builder()
        .registry(registry)
        .connections(connections)
        .source(&args.from)
        .build()?;
    let loader = loader(&client, args)?;
    let names = loader.capabilities().target_names;
    let all = sync_tables::find(&client, source.name(), &wanted, &excluded, args.views).await?;
    let mut targets: BTreeMap<String, &str> = BTreeMap::new();
    let mut loads = Map::new();
    for (label, table) in &all {
        let values = [
            ("catalog", table.catalog.as_str()),
            ("schema", table.schema.as_str()),
            ("table", table.name.as_str()),
        ];
        let target = names
            .fill(&args.target, &values)
            .map_err(|error| error.with("table", label))?;
        if let Some(other) = targets.insert(target.clone(), label) {
            return Err(Failure::usage(format!(
                "--target {}: {other} and {label} would both go to `{target}`; use {{schema}} and {{table}}, so that each has its own",
                args.target
            )));
        }
        loads.insert(label.clone(), load(args, mode, table, target)?);
    }
    let job = json!({
        "name": name(args, &connection),
        "at_once": args.jobs,
        "loads": loads,
    });
    let wrong = |error| Failure::failed(format!("internal error: the job cannot be made: {error}"));
    let job: Job = serde_json::from_value(job).map_err(wrong)?;
    let tables = Tables {
        client,
        source: source.name(),
        is_own_kind: loader.name() == source.name(),
        connection,
        all,
        schema_only: args.schema_only,
        fail_fast: args.fail_fast,
    };
    Ok(Work {
        job,
        reads: Reads::Tables(Box::new(tables)),
    })
}

/// The loader that all tables go to.
fn loader(client: &Client, args: &SyncArgs) -> Result<LoaderDescriptor, Failure> {
    let any = To {
        to: args.to.clone(),
        target: Some("table".to_owned()),
        connection: args.connection.clone(),
        ..To::default()
    };
    Ok(*client
        .registry()
        .loader(destination(client, &any)?.loader())?)
}

/// The load of a table, as a job has it.
fn load(args: &SyncArgs, mode: &str, table: &Table, target: String) -> Result<Value, Failure> {
    let pairs = |flag: &str, texts: &[String]| -> Result<Map<String, Value>, Failure> {
        let own = |text: &String| {
            let (key, value) = pair(flag, text)?;
            Ok((key.to_owned(), value.into()))
        };
        texts.iter().map(own).collect()
    };
    let mut keys: Vec<&str> = args.keys.iter().map(String::as_str).collect();
    if mode == "upsert" && keys.is_empty() {
        keys = table.primary_key();
        if keys.is_empty() {
            return Err(Failure::usage(format!(
                "--mode upsert: the source tells of no primary key of {}; give its --keys, or leave it out with --exclude",
                table.label()
            )));
        }
    }
    Ok(json!({
        "table": table.label(),
        "to": args.to,
        "target": target,
        "connection": args.connection,
        "config": pairs("--config", &args.config)?,
        "options": pairs("--option", &args.options)?,
        "mode": mode,
        "keys": keys,
    }))
}

/// The identity of a sync, which is part of its loads' ids: the source, the destination, and the template. It contains no secrets.
fn name(args: &SyncArgs, connection: &[ConnectionKey]) -> String {
    let from = connection
        .iter()
        .map(|key| format!("{}={}", key.key, key.value));
    let to = match args.to.split_once("://") {
        Some((scheme, rest)) => {
            let place = rest.split(['?', '#']).next().unwrap_or(rest);
            let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
            format!("{scheme}://{place}")
        }
        None => args.to.clone(),
    };
    let parts: Vec<String> = from
        .chain([
            to,
            args.connection.clone().unwrap_or_default(),
            args.target.clone(),
        ])
        .collect();
    let digest = xxhash_rust::xxh3::xxh3_64(parts.join("\u{0}").as_bytes());
    format!("sync-{digest:016x}")
}
