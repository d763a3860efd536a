//! The flags.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

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
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Say more: causes of errors and what happens (-v), details (-vv)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// The form of log lines on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
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
    /// List what a source has: its tables, schemas, catalogs
    List(ListArgs),
    /// Run the loads of a job file, in the order of their dependencies
    Run(RunArgs),
    /// Load the rows of a dead-letter file again
    Replay(ReplayArgs),
    /// List what can be loaded into
    Loaders,
    /// List what can be queried
    Sources,
    /// Explain a loader or source: every connection key and option
    Describe {
        /// Its name, as `arrowload loaders` and `arrowload sources` list it
        name: String,
    },
    /// List, test and add named connections
    Connections {
        #[command(subcommand)]
        command: ConnectionsCommand,
    },
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
    /// Print the JSON schema of the config file or of job files, for editors
    Schema {
        #[arg(value_enum, default_value_t = Schema::Config)]
        which: Schema,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Schema {
    Config,
    Job,
}

/// What is queried.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What to read")]
pub(crate) struct From {
    /// A URL, a connection, a source, a file or folder, or - for standard input; the embedded engine by default
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
    /// The format of standard input, where its first bytes do not tell
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) input_format: Option<InputFormat>,
    /// Take an Arrow stream on standard input that ends without its end marker, as one that was cut off does
    #[arg(long)]
    pub(crate) no_end_marker: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputFormat {
    Arrow,
    Parquet,
    Csv,
    Ndjson,
}

#[derive(Debug, Args)]
#[command(after_help = SEVERAL)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) from: From,
    #[command(flatten)]
    pub(crate) to: Destinations,
    /// With several destinations: commit none of them after one has failed
    #[arg(long, help_heading = "How")]
    pub(crate) fail_fast: bool,
    /// Show what would happen, column by column, and change nothing
    #[arg(short = 'n', long, help_heading = "How")]
    pub(crate) dry_run: bool,
    /// What is printed on standard output
    #[arg(long, value_enum, default_value_t = Report::Text, value_name = "FORMAT", help_heading = "How")]
    pub(crate) output: Report,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Report {
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
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// What is listed
    #[arg(value_enum, default_value_t = Kind::Tables)]
    pub(crate) what: Kind,
    /// A URL, a connection or a source
    #[arg(short, long, value_name = "URL|NAME")]
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
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Catalogs, or databases
    Catalogs,
    /// Schemas
    Schemas,
    /// Tables and views
    Tables,
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
    /// Go on with the last run of the same job and variables: what it committed is not loaded again. Refused if a load
    /// that was committed has changed since, as far as this machine knows
    #[arg(long)]
    pub(crate) resume: bool,
    /// Only these loads
    #[arg(long, value_name = "LOAD,…", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Show what each load would do, and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// What is printed on standard output
    #[arg(long, value_enum, default_value_t = Report::Text, value_name = "FORMAT")]
    pub(crate) output: Report,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The dead-letter file
    pub(crate) file: PathBuf,
    /// A connection or URL, in place of that of the load; URLs are not kept in the file
    #[arg(short, long, value_name = "NAME|URL")]
    pub(crate) connection: Option<String>,
    /// An option of the load, such as on_error=skip
    #[arg(short, long = "option", value_name = "KEY=VALUE")]
    pub(crate) options: Vec<String>,
    /// What is printed on standard output
    #[arg(long, value_enum, default_value_t = Report::Text, value_name = "FORMAT")]
    pub(crate) output: Report,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionsCommand {
    /// List the named connections, and where their values come from
    List,
    /// Resolve a connection, connect, and check what a load needs
    Test {
        /// The connection, loader, source or URL
        name: String,
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
