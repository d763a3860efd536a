//! What is read: a source and a query, or what comes on standard input.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use arrowload::core::url_scheme;
use arrowload::{Client, Connections, QueryBuilder, Registry};
use tempfile::TempDir;

use crate::args::{From, InputFormat};
use crate::exit::Failure;
use crate::{ipc, params};

/// A client for the source, and the query.
pub(crate) struct Question {
    pub(crate) client: Client,
    pub(crate) query: QueryBuilder,
    /// Where standard input waits on the disk; it goes with this.
    _spool: Option<TempDir>,
}

const STDIN: &str = "-";
/// The table that standard input is.
const STDIN_TABLE: &str = "stdin";

impl Question {
    /// Finds the source, and makes the query. Nothing runs yet, but standard input is read.
    pub(crate) fn ask(from: &From) -> Result<Self, Failure> {
        let (registry, connections) = (Registry::linked()?, Connections::discover()?);
        let params = params::params(&from.params)?;
        let mut sql = given_sql(from)?;
        let (mut source, mut spool, mut whole) = (from.from.clone(), None, None);
        if let Some(name) = from.from.as_deref() {
            if name == STDIN {
                let folder = spool_stdin(from.input_format, from.no_end_marker)?;
                (source, whole) = (Some(embedded(folder.path())), Some(STDIN_TABLE.to_owned()));
                spool = Some(folder);
            } else if is_data_url(name) {
                (source, whole) = (None, Some(name.to_owned()));
            } else if !is_known(name, &registry, &connections) {
                let path = Path::new(name);
                if path.is_dir() {
                    source = Some(embedded(path));
                } else if path.is_file() || is_data_file(path) {
                    (source, whole) = (None, Some(name.to_owned()));
                }
            }
        }
        for (flag, given) in [
            ("--input-format", from.input_format.is_some()),
            ("--no-end-marker", from.no_end_marker),
        ] {
            if given && spool.is_none() {
                return Err(Failure::usage(format!(
                    "{flag} is about standard input: --from -"
                )));
            }
        }
        if let Some(table) = &from.table {
            sql = Some(format!("SELECT * FROM {}", table_sql(table)));
        } else if let Some(file) = whole.filter(|_| sql.is_none()) {
            sql = Some(format!("SELECT * FROM '{}'", file.replace('\'', "''")));
        }
        let sql = sql.ok_or_else(|| {
            Failure::usage("there is nothing to read: give a query (--sql, --sql-file), a --table, or a file (--from FILE)")
        })?;
        let mut builder = Client::builder()
            .registry(registry)
            .connections(connections);
        if let Some(source) = source {
            builder = builder.source(source);
        }
        let client = builder.build()?;
        let query = client.sql(sql).with_params(params);
        Ok(Self {
            client,
            query,
            _spool: spool,
        })
    }
}

fn is_known(name: &str, registry: &Registry, connections: &Connections) -> bool {
    url_scheme(name).is_some()
        || registry.source(name).is_ok()
        || connections
            .list()
            .iter()
            .any(|known| known.name.eq_ignore_ascii_case(name))
}

/// Whether a name is a data file's, though no file of this name is there: the engine says so best.
fn is_data_file(path: &Path) -> bool {
    const EXTENSIONS: [&str; 12] = [
        "parquet", "pq", "csv", "tsv", "json", "jsonl", "ndjson", "arrow", "arrows", "ipc", "gz",
        "zst",
    ];
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    EXTENSIONS
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}

/// Whether a URL is that of a file in an object store or on the web, and not that of a server.
fn is_data_url(name: &str) -> bool {
    let Some((scheme, rest)) = name.split_once("://") else {
        return false;
    };
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    [
        "s3", "s3a", "gs", "az", "abfs", "abfss", "http", "https", "file",
    ]
    .contains(&scheme)
        && path.contains('/')
        && is_data_file(Path::new(path))
}

/// The URL of a folder for the embedded engine.
fn embedded(folder: &Path) -> String {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    format!("datafusion://{}", absolute.display())
}

fn given_sql(from: &From) -> Result<Option<String>, Failure> {
    let Some(file) = &from.sql_file else {
        return Ok(from.sql.clone());
    };
    if file == Path::new(STDIN) {
        if from.from.as_deref() == Some(STDIN) {
            return Err(Failure::usage(
                "standard input cannot be both the query and the rows; give one of them as a file",
            ));
        }
        return Ok(Some(std::io::read_to_string(std::io::stdin())?));
    }
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("--sql-file {}: {error}", file.display())))?;
    Ok(Some(text))
}

/// A table's name in SQL, taken literally part by part, as --target takes it; what is in quotes already stays, and a file is
/// put in quotes.
pub(crate) fn table_sql(table: &str) -> String {
    let is_file = table.contains(['/', '*', '\\']) || Path::new(table).is_file();
    if table.starts_with(['"', '\'', '`']) {
        return table.to_owned();
    }
    if is_file {
        return format!("'{}'", table.replace('\'', "''"));
    }
    let parts: Vec<String> = table
        .split('.')
        .map(|part| format!("\"{}\"", part.replace('"', "\"\"")))
        .collect();
    parts.join(".")
}

/// Writes standard input to a file of a folder of its own, under a name that says its format.
fn spool_stdin(format: Option<InputFormat>, no_end_marker: bool) -> Result<TempDir, Failure> {
    let folder = tempfile::tempdir()?;
    let mut input = std::io::stdin().lock();
    let mut first = Vec::new();
    input.by_ref().take(64 << 10).read_to_end(&mut first)?;
    if first.is_empty() {
        return Err(Failure::failed("standard input is empty"));
    }
    let extension = match format {
        Some(InputFormat::Arrow) => "arrow",
        Some(InputFormat::Parquet) => "parquet",
        Some(InputFormat::Csv) => "csv",
        Some(InputFormat::Ndjson) => "ndjson",
        None => guess(&first),
    };
    let path = folder.path().join(format!("{STDIN_TABLE}.{extension}"));
    let mut file = File::options()
        .create(true)
        .write(true)
        .read(true)
        .truncate(true)
        .open(path)?;
    file.write_all(&first)?;
    std::io::copy(&mut input, &mut file)?;
    if extension == "arrow" && !first.starts_with(b"ARROW1") {
        ipc::check(&file, no_end_marker)?;
    }
    Ok(folder)
}

fn guess(first: &[u8]) -> &'static str {
    match first {
        [b'P', b'A', b'R', b'1', ..] => "parquet",
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] | [0xFF, 0xFF, 0xFF, 0xFF, ..] => "arrow",
        [0x1F, 0x8B, ..] => "csv.gz",
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "csv.zst",
        _ if first.trim_ascii_start().starts_with(b"{") => "ndjson",
        _ => "csv",
    }
}
