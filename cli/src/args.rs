//! The flags.

use std::path::{Path, PathBuf};

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::diff::DiffArgs;
use crate::incremental::IncrementalArgs;
use crate::input::is_data_file;
use crate::shape::Shape;
use crate::sync::SyncArgs;
use crate::telemetry::TelemetryArgs;
use crate::to::{Destinations, SEVERAL};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// Run a SQL query on any engine, and load the answer into any store.
#[derive(Debug, Parser)]
#[command(name = "arrowload", version, styles = STYLES, max_term_width = 110, infer_subcommands = false)]
#[command(after_help = "Examples:
  arrowload load --sql \"SELECT * FROM 'x.parquet'\" --to postgresql --target t
  arrowload query --sql \"SELECT count(*) FROM 'logs/*.csv'\"
  arrowload describe postgresql

Exit codes: 0 done; 1 failed, and the target is unchanged; 2 refused before anything was done; 3 loaded, but for rows in a \
dead-letter file; 4 failed or interrupted, and the target may have changed (standard error says how); 70 internal error; \
130 interrupted, and each load is in its target as a whole or not at all.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Common {
    /// Say more: causes of errors, where connections lead and what happens (-v), details (-vv), the engine's too (-vvv)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// A file of variables, NAME=VALUE in each line, for connections and secrets; those that are set already stay as they are
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// The form of lines on standard error, errors included
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    /// The form of what is said on standard output: json is one object, also of a failure; `arrowload schema output` describes it
    #[arg(long, global = true, value_enum, default_value_t = Report::Text, value_name = "FORMAT")]
    pub(crate) output: Report,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load the answer to a query into a store
    #[command(visible_alias = "copy")]
    Load(Box<LoadArgs>),
    /// Print the answer to a query, or write it to a file
    Query(Box<QueryArgs>),
    /// Compare two tables, files or answers: schemas, and rows
    Diff(Box<DiffArgs>),
    /// List what a source has: its tables, schemas, catalogs
    List(ListArgs),
    /// Say what files are: their format, the types that columns would get and why, and the first rows
    Peek(PeekArgs),
    /// Run the loads of a job file, in the order of their dependencies
    Run(RunArgs),
    /// Load many tables of a source, each into a target of its own
    Sync(Box<SyncArgs>),
    /// Load the rows of a dead-letter file again
    Replay(ReplayArgs),
    /// Show or change where the next incremental load begins
    State(Box<StateArgs>),
    /// List what can be loaded into
    Loaders,
    /// List what can be queried
    Sources,
    /// Explain a loader, a source or a format of files: every connection key and option
    Describe {
        /// Its name, as `arrowload loaders` and `arrowload sources` list it, or a format of files: csv, json, arrow, parquet
        name: String,
    },
    /// List, test and add named connections
    Connections {
        #[command(subcommand)]
        command: ConnectionsCommand,
    },
    /// Look over configuration, environment, connections and machine: what is wrong, and the command that mends it. Ends with 1 if
    /// something is
    Doctor,
    /// Write a commented arrowload.toml into the working directory
    Init {
        /// Replace one that is there
        #[arg(long)]
        force: bool,
    },
    /// Print a script that completes commands and flags
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the JSON schema of the config file or of job files, for editors, or of what --output json prints
    Schema {
        #[arg(value_enum, default_value_t = Schema::Config)]
        which: Schema,
    },
}

impl Command {
    /// The options for metrics and traces, and the command's name; `None` for commands and plans that load nothing.
    pub(crate) fn telemetry(&self) -> Option<(&'static str, &TelemetryArgs)> {
        match self {
            Self::Load(args) if !args.dry_run => Some(("load", &args.telemetry)),
            Self::Query(args) => Some(("query", &args.telemetry)),
            Self::Run(args) if !args.dry_run => Some(("run", &args.telemetry)),
            Self::Sync(args) if !args.dry_run => Some(("sync", &args.telemetry)),
            Self::Replay(args) => Some(("replay", &args.telemetry)),
            _ => None,
        }
    }

    /// The files that it is told to read and to write, as far as the flags say it; some of the names are no files.
    pub(crate) fn files(&self) -> Vec<&Path> {
        let (read, written, targets) = match self {
            Self::Load(args) => (
                args.from.from.as_deref().map(Path::new),
                None,
                args.to
                    .0
                    .iter()
                    .map(|to| (Some(&to.to), to.target.as_ref()))
                    .collect(),
            ),
            Self::Query(args) => (
                args.from.from.as_deref().map(Path::new),
                args.out.as_deref(),
                Vec::new(),
            ),
            Self::Run(args) => (Some(args.job.as_path()), None, Vec::new()),
            Self::Replay(args) => (
                Some(args.file.as_path()),
                None,
                vec![(args.to.as_ref(), args.target.as_ref())],
            ),
            _ => return Vec::new(),
        };
        let targets = targets.into_iter().flat_map(|(to, target)| [to, target]);
        // Other targets are tables.
        let targets = targets.flatten().map(Path::new);
        let targets = targets.filter(|target| is_data_file(target));
        read.into_iter().chain(written).chain(targets).collect()
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Schema {
    Config,
    Job,
    Output,
}

/// What is queried.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What to read")]
pub(crate) struct From {
    /// A URL, a connection, a source, a file, a folder or a pattern of files, or - for standard input; the embedded engine by
    /// default. Beside --sql and --table a file is the table `data`, and of its own name; standard input is `stdin`
    #[arg(short, long, value_name = "URL|NAME|PATH")]
    pub(crate) from: Option<String>,
    /// The query
    #[arg(short, long, value_name = "SQL", conflicts_with_all = ["sql_file", "table"])]
    pub(crate) sql: Option<String>,
    /// A file with the query, or - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "table")]
    pub(crate) sql_file: Option<PathBuf>,
    /// A whole table, or a file. A name is taken as it stands, upper case included, as --target is; a dot parts schema and
    /// table, but within double quotes: '"a.b"."c"'
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<String>,
    /// A parameter of the query: NAME=VALUE for $NAME, 1=VALUE for $1; NAME:TYPE=VALUE names its type (int, float, bool,
    /// text, date, timestamp, timestamptz, decimal(p,s), binary)
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub(crate) params: Vec<String>,
    /// The format of the file or of standard input; by default what its content says
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) input_format: Option<InputFormat>,
    /// How files are read: delim=;, header=false, ragged=pad. `arrowload describe csv` lists the options, `arrowload peek FILE` says
    /// what is found without them
    #[arg(long = "read-option", value_name = "KEY=VALUE")]
    pub(crate) read_options: Vec<String>,
    /// Types of columns of files: zip=text,amount=decimal(20,2), or text for all
    #[arg(long, value_name = "COLUMN=TYPE,…")]
    pub(crate) types: Option<String>,
    #[command(flatten)]
    pub(crate) shape: Shape,
    /// A file need not be there yet, as a load before this one may make it.
    #[arg(skip)]
    pub(crate) may_be_missing: bool,
    /// The same as values, as a job has them.
    #[arg(skip)]
    pub(crate) read: serde_json::Map<String, serde_json::Value>,
    /// Take an Arrow stream on standard input that ends without its end marker, as one that was cut off does
    #[arg(long)]
    pub(crate) no_end_marker: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum InputFormat {
    Arrow,
    Parquet,
    Csv,
    #[value(aliases = ["ndjson", "jsonl"])]
    Json,
}

impl InputFormat {
    /// The format as in the names of the functions that read files.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = SEVERAL)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) from: From,
    #[command(flatten)]
    pub(crate) to: Destinations,
    #[command(flatten)]
    pub(crate) incremental: IncrementalArgs,
    /// With several destinations: commit none of them after one has failed
    #[arg(long, help_heading = "How")]
    pub(crate) fail_fast: bool,
    /// Show what would happen, column by column, and change nothing
    #[arg(short = 'n', long, help_heading = "How")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StateArgs {
    #[arg(value_enum, default_value_t = StateAction::Show)]
    pub(crate) action: StateAction,
    /// Where the next load begins
    #[arg(long, value_name = "VALUE", required_if_eq("action", "set"))]
    pub(crate) mark: Option<String>,
    #[command(flatten)]
    pub(crate) from: From,
    #[command(flatten)]
    pub(crate) to: Destinations,
    #[command(flatten)]
    pub(crate) incremental: IncrementalArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateAction {
    /// Say what the last load has left
    Show,
    /// Begin the next load at --mark
    Set,
    /// Begin the next load at the first row
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Report {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    pub(crate) from: From,
    /// table on a terminal, else csv; by the file's name with -o, for which table and json are not. arrow is Arrow IPC: the
    /// stream format into a pipe and into .arrows, the file format into other files. json and ndjson have "NaN", "Infinity"
    /// and "-Infinity" as texts
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// A file to write, in place of one that is there; it has a temporary name until it is whole. Its ending says the format,
    /// and for text the compression: .csv.gz
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Show all columns of a table, and each as wide as it is
    #[arg(long)]
    pub(crate) wide: bool,
    /// What happens to a row of a file that cannot be parsed: fail ends the answer; skip takes it into a file in
    /// `arrowload-dead-letters`, which `arrowload replay FILE --to …` reads again, and the command ends with exit code 3
    #[arg(long, value_enum, default_value_t = OnError::Fail, value_name = "WHAT")]
    pub(crate) on_error: OnError,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    Fail,
    Skip,
}

#[derive(Debug, Args)]
pub(crate) struct PeekArgs {
    /// Files, folders, patterns, URLs, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<String>,
    /// The format; by default what the content says
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) input_format: Option<InputFormat>,
    /// How they are read: delim=;, header=false, infer_rows=all; `arrowload describe csv` lists the options
    #[arg(long = "read-option", value_name = "KEY=VALUE")]
    pub(crate) read_options: Vec<String>,
    /// Types of columns: zip=text,amount=decimal(20,2), or text for all
    #[arg(long, value_name = "COLUMN=TYPE,…")]
    pub(crate) types: Option<String>,
    /// Print the types as --types takes them, and nothing else
    #[arg(long)]
    pub(crate) emit_types: bool,
    /// How many rows are shown
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub(crate) rows: usize,
    /// Show all columns of the rows, and each as wide as it is
    #[arg(long)]
    pub(crate) wide: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// What is listed
    #[arg(value_enum, default_value_t = Kind::Tables)]
    pub(crate) what: Kind,
    /// A URL, a connection, a source, or a folder of files
    #[arg(short, long, value_name = "URL|NAME|FOLDER")]
    pub(crate) from: String,
    /// Only of this catalog
    #[arg(long, value_name = "NAME")]
    pub(crate) catalog: Option<String>,
    /// Only of schemas whose name fits, as SQL's LIKE has it
    #[arg(long, value_name = "PATTERN")]
    pub(crate) schema: Option<String>,
    /// Only tables whose name fits, as SQL's LIKE has it
    #[arg(long, value_name = "PATTERN")]
    pub(crate) name: Option<String>,
    /// table on a terminal, else csv; by the file's name with -o, for which table and json are not
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// A file to write, in place of one that is there; it has a temporary name until it is whole. Its ending says the format,
    /// and for text the compression: .csv.gz
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Show all columns of a table, and each as wide as it is
    #[arg(long)]
    pub(crate) wide: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Catalogs, or databases
    Catalogs,
    /// Schemas
    Schemas,
    /// Tables and views
    Tables,
    /// Columns of tables and views, with their types, keys and comments
    Columns,
    /// The kinds of tables that there are
    TableTypes,
    /// The types that columns can have
    Types,
    /// What the engine says of itself
    Info,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Csv,
    Json,
    Ndjson,
    Parquet,
    Arrow,
    ArrowFile,
    ArrowStream,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The job file; `arrowload schema job` describes it
    pub(crate) job: PathBuf,
    /// A variable of the job, over the file's: NAME=VALUE
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub(crate) vars: Vec<String>,
    /// What this run is called, such as a scheduler's id of it; made up and printed by default. A run of the same id, job and
    /// variables loads nothing again
    #[arg(long, value_name = "ID", conflicts_with = "resume")]
    pub(crate) run_id: Option<String>,
    /// Go on with a run: what it committed is not loaded again. Without an ID, the last run of the same job and variables on this
    /// machine. A load that was committed and is another now is refused
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "")]
    pub(crate) resume: Option<String>,
    /// With --resume: load again what was committed and is gone since, as its target was dropped or its store forgot it
    #[arg(long, requires = "resume")]
    pub(crate) again: bool,
    /// Only these loads
    #[arg(long, value_name = "LOAD,…", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Show what each load would do, and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The dead-letter file
    pub(crate) file: PathBuf,
    /// A loader, connection, URL or file, in place of the load's own target; for rows that a query has set aside
    #[arg(
        short,
        long,
        value_name = "LOADER|NAME|URL",
        conflicts_with = "connection"
    )]
    pub(crate) to: Option<String>,
    /// The table, file or key pattern of --to
    #[arg(short = 'T', long, value_name = "TARGET", requires = "to")]
    pub(crate) target: Option<String>,
    /// A connection or URL, in place of that of the load; URLs are not kept in the file
    #[arg(short, long, value_name = "NAME|URL")]
    pub(crate) connection: Option<String>,
    /// A connection key, over those of the connection
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) config: Vec<String>,
    /// How rows that could not be parsed are read now, over how they were: ragged=pad
    #[arg(long = "read-option", value_name = "KEY=VALUE")]
    pub(crate) read_options: Vec<String>,
    /// Types of columns of such rows: zip=text,amount=decimal(20,2), or text for all
    #[arg(long, value_name = "COLUMN=TYPE,…")]
    pub(crate) types: Option<String>,
    /// An option of the load, such as on_error=skip
    #[arg(short = 'O', long = "option", value_name = "KEY=VALUE")]
    pub(crate) options: Vec<String>,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionsCommand {
    /// List the named connections, and where their values come from
    List,
    /// Say where a connection leads: each key with its value and the layer that it came from; nothing is connected
    Show {
        /// The connection, loader, source or URL
        name: String,
    },
    /// Take a connection out of the config file
    Remove {
        /// The name
        name: String,
    },
    /// Resolve a connection, connect, and check what a load needs
    Test {
        /// The connection, loader, source or URL
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// All named connections, each to its end
        #[arg(long, conflicts_with_all = ["name", "target"])]
        all: bool,
        /// A target to check the rights on
        #[arg(short = 'T', long)]
        target: Option<String>,
    },
    /// Add a connection to the config file
    Add {
        /// The name
        name: String,
        /// A URL, or a loader's or source's name
        #[arg(value_name = "URL|TYPE")]
        what: String,
        /// Connection keys and load defaults; a secret is best a reference: 'password=${env:PGPASSWORD}'
        #[arg(value_name = "KEY=VALUE")]
        keys: Vec<String>,
        /// Replace one that is there
        #[arg(long)]
        force: bool,
    },
}
