//! What is read: a source and a query, a file, or what comes on standard input.

use std::path::Path;
use std::sync::Arc;

use arrowload::core::{Query, Settings, url_scheme};
use arrowload::{Client, ConnectionKey, Connections, Operator, Params, QueryBuilder, Registry};
use serde_json::{Map, Value, json};

use crate::args::{From, InputFormat};
use crate::beside::{self, Beside};
use crate::exit::Failure;
use crate::shape::Columns;
use crate::spool::Spool;
use crate::sync_carry::Carried;
use crate::{ipc, params, shape, words};

/// A client for the source, and the query.
pub(crate) struct Question {
    pub(crate) client: Client,
    pub(crate) query: QueryBuilder,
    /// The text of the query, and what its parameters are.
    pub(crate) sql: String,
    pub(crate) params: Params,
    /// What is known of its columns beside their Arrow types.
    pub(crate) carried: Option<Carried>,
    /// A clause of the given query that takes only some of its rows.
    cut: Option<&'static str>,
    /// What is done to its columns.
    pub(crate) columns: Option<Columns>,
    /// How the source is reached, unless that is files here.
    pub(crate) connection: Vec<ConnectionKey>,
    /// The file, folder, pattern or URL of one that is read.
    pub(crate) place: Option<String>,
    /// The copy of standard input on the disk; it is removed when nothing uses it any more.
    spool: Option<Arc<Spool>>,
}

const STDIN: &str = "-";
/// The table that standard input is.
const STDIN_TABLE: &str = "stdin";
/// The table that any file of `--from` is.
const TABLE: &str = "data";
/// The source that reads files.
const EMBEDDED: &str = "datafusion";
/// The loader whose connections say where files are.
const FILES: &str = "file";

/// What `--from` means.
enum Place {
    /// A connection, a source, or a URL: not the embedded engine over files.
    Source(String),
    /// A file, a pattern of files, a folder, or the URL of one, by the names that a query may call it.
    File {
        place: String,
        names: Vec<String>,
        /// Its name with its endings: a query that names it so does not mean a file of the working directory.
        file: Option<String>,
    },
    /// Files below a root, as a connection to load files into has it.
    Root {
        root: String,
        options: Option<Value>,
    },
    /// The working directory.
    Here,
}

impl Question {
    /// Finds the source, and makes the query. Nothing runs yet, but standard input is read.
    pub(crate) async fn ask(from: &From) -> Result<Self, Failure> {
        let (registry, connections) = (Registry::linked()?, Connections::discover()?);
        let params = params::params(&from.params)?;
        let given = given_sql(from)?;
        let mut spool = None;
        let place = match from.from.as_deref() {
            Some(STDIN) => {
                let all = Spool::of_stdin().await?;
                let path = all.path();
                ipc::check(&std::fs::File::open(&path)?, from.no_end_marker)?;
                spool = Some(all);
                Place::File {
                    place: path.display().to_string(),
                    names: vec![STDIN_TABLE.to_owned()],
                    file: None,
                }
            }
            Some(name) => place(name, from.may_be_missing, &registry, &connections)?,
            None => Place::Here,
        };
        if from.no_end_marker && spool.is_none() {
            return Err(Failure::usage(
                "--no-end-marker is about standard input: --from -",
            ));
        }
        let mut embedded = reading(from)?;
        let file = match &place {
            Place::File { place, .. } => Some(place.clone()),
            _ => None,
        };
        let names = tables_of(&place);
        let (whole, source) = settle(place, from, &mut embedded)?;
        // An unknown name is the main error, even if something else is missing too.
        if let Some(name) = &source {
            connections.for_source(&registry, name)?;
        }
        let beside = file.as_deref().zip(names.as_deref());
        let beside = beside.map(|(place, names)| Beside { place, names });
        let sql = query_of(from, given, whole, &embedded, beside.as_ref())?.ok_or_else(|| {
            Failure::usage(match &from.from {
                Some(_) => "--from names a source, and nothing says what to read of it: add --table TABLE or --sql QUERY",
                None => "there is nothing to read: give a query (--sql, --sql-file), a --table, or a file (--from FILE)",
            })
        })?;
        let cut = cut(&sql);
        let sql = from.shape.rows_of(sql)?;
        if !embedded.is_empty() {
            let config = Value::Object(embedded);
            connections.configure_from(EMBEDDED, EMBEDDED, config, "the command line")?;
        }
        let connection = match &source {
            Some(name) => reached(name, &registry, &connections)?,
            None => Vec::new(),
        };
        let mut builder = Client::builder()
            .registry(registry)
            .connections(connections);
        if let Some(source) = source {
            builder = builder.source(source);
        }
        let client = builder.build()?;
        let query = client.sql(&sql).with_params(params.clone());
        Ok(Self {
            client,
            query,
            sql,
            params,
            carried: None,
            cut,
            columns: from.shape.operator()?,
            connection,
            place: file,
            spool: spool.map(Arc::new),
        })
    }

    /// A query of a source that is connected already, which `connection` says how to reach.
    pub(crate) fn of_client(
        client: &Client,
        sql: String,
        connection: &[ConnectionKey],
        carried: Option<Carried>,
    ) -> Self {
        Self {
            client: client.clone(),
            query: client.sql(&sql),
            sql,
            params: Params::None,
            carried,
            cut: None,
            columns: None,
            connection: connection.to_vec(),
            place: None,
            spool: None,
        }
    }

    /// What the rows come from: the place of the source, the query with its parameters, and what is done to columns. Who reads them,
    /// and how, is not part of it.
    pub(crate) fn origin(&self) -> Result<String, Failure> {
        const PLACES: [&str; 11] = [
            "host",
            "hostaddr",
            "port",
            "socket",
            "unix_socket",
            "database",
            "db",
            "schema",
            "table_path",
            "path",
            "tables",
        ];
        let keys = match self.connection.is_empty() {
            true => reached(EMBEDDED, self.client.registry(), self.client.connections())?,
            false => self.connection.clone(),
        };
        let is_place = |key: &&ConnectionKey| PLACES.contains(&&*key.key);
        // If it is not known which keys say the location, each key may.
        let any_is = keys.iter().any(|key| is_place(&key));
        let places = keys.iter().filter(|key| !any_is || is_place(key));
        let places: Vec<String> = places
            .map(|key| format!("{}={}", key.key, key.value))
            .collect();
        let sql = self.sql.trim().trim_end_matches(';');
        let query = Query::new(sql).with_params(self.params.clone());
        let mut all = format!("{}\u{0}{}", places.join("\u{0}"), query.definition());
        // Without these it is as older versions recorded it.
        if let Some(columns) = &self.columns {
            all += &format!("\u{0}{}", columns.definition());
        }
        // The copy of standard input is in a different place each time.
        Ok(match (&self.spool, &self.place) {
            (Some(_), Some(place)) => all.replace(place.as_str(), STDIN),
            _ => all,
        })
    }

    /// Refuses a query that takes only some of the rows of an incremental load: later loads would not read the others.
    pub(crate) fn check_incremental(&self) -> Result<(), Failure> {
        let Some(clause) = self.cut else {
            return Ok(());
        };
        Err(Failure::usage(format!(
            "{clause} in the query and incremental cannot be combined: the mark would move past the rows that {clause} leaves out, or stay \
             before them, and no later load would have them; take {clause} out of the query. A column of this name needs double quotes"
        )))
    }

    /// The same source with another query.
    pub(crate) fn with_query(&self, query: QueryBuilder) -> Self {
        Self {
            client: self.client.clone(),
            query,
            sql: self.sql.clone(),
            params: self.params.clone(),
            carried: self.carried.clone(),
            cut: self.cut,
            columns: self.columns.clone(),
            connection: self.connection.clone(),
            place: self.place.clone(),
            spool: self.spool.clone(),
        }
    }
}

/// The tables that a file beside a query is; a folder is the tables that are in it, too.
fn tables_of(place: &Place) -> Option<Vec<String>> {
    let Place::File { place, names, .. } = place else {
        return None;
    };
    let all = || names.iter().cloned().chain([TABLE.to_owned()]).collect();
    (!Path::new(place).is_dir()).then(all)
}

/// The configuration of the embedded engine, what a query for all rows reads, and the source if it is another one.
fn settle(
    place: Place,
    from: &From,
    embedded: &mut Map<String, Value>,
) -> Result<(Option<String>, Option<String>), Failure> {
    match place {
        Place::Source(name) => {
            refuse_reading(embedded, from, &name)?;
            Ok((own_table(&name), Some(name)))
        }
        Place::File { place, names, file } => {
            let whole = call(&place, from.input_format);
            match Path::new(&place).is_dir() {
                true => embedded.insert("path".into(), place.clone().into()),
                // A name without a path or an extension does not mean a file that happens to be in the folder.
                false => embedded.insert("only_named_tables".into(), true.into()),
            };
            let options = embedded.get("read").map(|read| read["any"].clone());
            // Options for reading apply to this file, and its format must have them.
            let own = options.is_some().then(|| place.clone());
            // A table may stand for the call of a function that reads it.
            let table = match (from.input_format, options) {
                (None, None) => place,
                (format, options) => {
                    let function = format.map_or_else(
                        || "read".to_owned(),
                        |format| format!("read_{}", format.word()),
                    );
                    let options = options.unwrap_or_else(|| json!({}));
                    let call =
                        json!({ "function": function, "files": [place], "options": options });
                    format!("call:{call}")
                }
            };
            let tables = names.into_iter().chain([TABLE.to_owned()]);
            let tables = tables.chain(own).chain(file);
            let tables: Map<String, Value> =
                tables.map(|name| (name, table.clone().into())).collect();
            embedded.insert("tables".into(), tables.into());
            Ok((Some(whole), None))
        }
        Place::Root { root, options } => {
            if let Some(table) = from.table.as_ref().filter(|_| url_scheme(&root).is_some()) {
                let place = format!("{}/{table}", root.trim_end_matches('/'));
                embedded.insert("tables".into(), json!({ table: place }));
            } else {
                embedded.insert("path".into(), root.into());
            }
            embedded.extend(options.map(|options| ("storage_options".to_owned(), options)));
            Ok((None, None))
        }
        Place::Here if from.input_format.is_some() => Err(Failure::usage(
            "--input-format is about files and standard input: --from FILE, --from -",
        )),
        Place::Here => Ok((None, None)),
    }
}

/// The table at the place that a URL leads to.
fn own_table(url: &str) -> Option<String> {
    let is_place = url_scheme(url).is_some_and(|scheme| scheme == "delta");
    let path = url.split_once("://").map_or("", |(_, path)| path);
    (is_place && !path.is_empty()).then(|| quoted("delta"))
}

/// The query: that of the table, the given one, or all that is read. One beside a file has to read it.
fn query_of(
    from: &From,
    given: Option<String>,
    whole: Option<String>,
    embedded: &Map<String, Value>,
    beside: Option<&Beside<'_>>,
) -> Result<Option<String>, Failure> {
    // A name of a file below a root has a dot too.
    let root = embedded.get("path").and_then(Value::as_str);
    let is_below_root = |table: &str| {
        root.is_some_and(|root| Path::new(root).join(table).exists()) && table.contains('.')
    };
    let is_named = |table: &str| {
        let tables = embedded.get("tables").and_then(Value::as_object);
        tables.is_some_and(|tables| tables.contains_key(table))
    };
    let all = |table: String| format!("SELECT * FROM {table}");
    let name = from.from.as_deref().unwrap_or_default();
    Ok(match (&from.table, given) {
        (Some(table), _) if is_named(table) => Some(all(quoted(table))),
        (Some(table), _) if let Some(beside) = beside => {
            if !beside.is_called(table.trim_matches(['"', '\'', '`'])) {
                return Err(Failure::usage(format!(
                    "--table {table}: --from {name} is the table {}, and nothing else; give another file to --from",
                    beside.tables()
                )));
            }
            whole.map(all)
        }
        (Some(table), _) if is_below_root(table) => Some(all(call(table, None))),
        (Some(table), _) => Some(all(table_sql(table))),
        (None, Some(sql)) => match beside.filter(|beside| !beside.is_read_by(&sql)) {
            Some(beside) => {
                return Err(Failure::usage(format!(
                    "the query does not read --from {name}: that is the table {}; leave --from out if it is not to be read",
                    beside.tables()
                )));
            }
            None => Some(sql),
        },
        (None, None) => whole.map(all),
    })
}

/// How a source is reached, for people to read.
pub(crate) fn reached(
    name: &str,
    registry: &Registry,
    connections: &Connections,
) -> Result<Vec<ConnectionKey>, Failure> {
    let (source, settings) = connections.for_source(registry, name)?;
    let config = source.split(settings, registry.loader(source.name()).ok())?;
    Ok(connections.effective(&source.config_schema(), &config))
}

/// The options for reading files, as the embedded engine takes them.
fn reading(from: &From) -> Result<Map<String, Value>, Failure> {
    let any = read_options(from.read.clone(), &from.read_options, from.types.as_deref())?;
    Ok(match any.is_empty() {
        true => Map::new(),
        false => Map::from_iter([("read".to_owned(), json!({ "any": any }))]),
    })
}

/// Options for reading: those of the flags override the existing ones.
pub(crate) fn read_options(
    mut any: Map<String, Value>,
    options: &[String],
    types: Option<&str>,
) -> Result<Map<String, Value>, Failure> {
    for text in options {
        let (key, value) = params::pair("--read-option", text)?;
        if any.insert(key.to_owned(), value.into()).is_some() {
            return Err(Failure::usage(format!(
                "--read-option {key} is given twice"
            )));
        }
    }
    if let Some(types) = types
        && any.insert("types".to_owned(), types.into()).is_some()
    {
        return Err(Failure::usage(
            "--types and --read-option types=… say the same thing; give one of them",
        ));
    }
    let text = any.get("types").and_then(Value::as_str);
    // Text in braces is JSON.
    let text = text.filter(|text| !text.trim_start().starts_with('{'));
    let pairs = text.into_iter().flat_map(shape::listed);
    let pairs = pairs.filter_map(|pair| pair.rsplit_once('='));
    params::once(
        "--types",
        pairs.map(|(column, kind)| (column.trim(), kind.trim())),
    )?;
    Ok(any)
}

fn refuse_reading(embedded: &Map<String, Value>, from: &From, name: &str) -> Result<(), Failure> {
    let given = !embedded.is_empty() || from.input_format.is_some();
    // The engine that reads files may be named itself.
    if given && name != EMBEDDED {
        return Err(Failure::usage(
            "--read-option, --types and --input-format are about files: --from FILE, --from -, or files in the query",
        ));
    }
    Ok(())
}

/// A file as a query calls it, in a format that is declared or found.
fn call(place: &str, format: Option<InputFormat>) -> String {
    let place = format!("'{}'", place.replace('\'', "''"));
    match format {
        None => place,
        Some(format) => format!("read_{}({place})", format.word()),
    }
}

/// What a name means, before anything is asked of it.
pub(crate) struct Meant {
    /// It is rows as a whole: a file, files, or standard input.
    pub(crate) is_whole: bool,
    /// Its rows come from files, that are read in some way.
    pub(crate) has_files: bool,
}

/// What a name of `--from` means.
pub(crate) fn meant(name: &str) -> Result<Meant, Failure> {
    let (registry, connections) = (Registry::linked()?, Connections::discover()?);
    let place = match name {
        STDIN => None,
        name => Some(place(name, false, &registry, &connections)?),
    };
    // A name that nothing has is refused here, and in its own words.
    if let Some(Place::Source(name)) = &place {
        connections.for_source(&registry, name)?;
    }
    Ok(Meant {
        is_whole: matches!(place, None | Some(Place::File { .. })),
        has_files: match &place {
            Some(Place::Source(name)) => name == EMBEDDED,
            _ => true,
        },
    })
}

/// The source that lists what a name means; a folder is one too.
pub(crate) fn listed(
    name: &str,
    registry: &Registry,
    connections: &Connections,
) -> Result<String, Failure> {
    let config = match place(name, false, registry, connections)? {
        Place::Source(name) => return Ok(name),
        Place::Here => return Ok(EMBEDDED.to_owned()),
        Place::Root { root, options } => match options {
            Some(options) => json!({ "path": root, "storage_options": options }),
            None => json!({ "path": root }),
        },
        Place::File { place, .. } if Path::new(&place).is_dir() => {
            let table = format!("delta://{}", place.trim_end_matches('/'));
            let is_table = Path::new(&place).join("_delta_log").is_dir();
            if is_table && connections.for_source(registry, &table).is_ok() {
                return Ok(table);
            }
            json!({ "path": place })
        }
        Place::File { .. } => {
            return Err(Failure::usage(format!(
                "list is about sources and folders; `arrowload peek {name}` says what a file is"
            )));
        }
    };
    connections.configure_from(EMBEDDED, EMBEDDED, config, "the command line")?;
    Ok(EMBEDDED.to_owned())
}

/// What a name stands for: a connection, a source, or files.
fn place(
    name: &str,
    may_be_missing: bool,
    registry: &Registry,
    connections: &Connections,
) -> Result<Place, Failure> {
    if is_data_url(name) {
        let file = name.split(['?', '#']).next().unwrap_or(name);
        return Ok(Place::File {
            place: name.to_owned(),
            names: names_of(file),
            file: file_name_of(file),
        });
    }
    if is_known(name, registry, connections) {
        return Ok(match files_of(name, registry, connections)? {
            Some(root) => root,
            None => Place::Source(name.to_owned()),
        });
    }
    let path = Path::new(name);
    let is_pattern = name.contains(['*', '?', '[']) && !path.exists();
    let is_file = is_data_file(path) || name.contains(['/', '\\']);
    if is_pattern || path.exists() || (may_be_missing && is_file) {
        let mut place = std::path::absolute(path)?.display().to_string();
        if path.is_dir() {
            place.push('/');
        }
        let names = match is_pattern {
            true => Vec::new(),
            false => names_of(name),
        };
        let is_one = !is_pattern && !path.is_dir();
        let file = is_one.then(|| file_name_of(name)).flatten();
        return Ok(Place::File { place, names, file });
    }
    // It may be a URL with a mistake, which may hold a password.
    let is_plain = !name.contains(['@', '=']) && !name.contains("//");
    match is_file {
        true => Err(Failure::usage(format!(
            "--from {name}: there is no such file{}",
            beside::meant(path)
        ))),
        false if is_plain && path.extension().is_some() => Err(Failure::usage(format!(
            "--from {name}: there is no such file, and no connection of this name{}",
            beside::meant(path)
        ))),
        // The message of what knows the names is the better one.
        false => Ok(Place::Source(name.to_owned())),
    }
}

/// The last part of a path or a URL.
fn file_name_of(path: &str) -> Option<String> {
    let name = path.rsplit(['/', '\\']).next()?;
    let is_name = !name.is_empty() && !name.contains(['*', '?', '[']);
    is_name.then(|| name.to_owned())
}

/// What a query may call a file: its name without its endings, also as SQL folds it.
fn names_of(path: &str) -> Vec<String> {
    const PACKED: [&str; 9] = [
        "gz", "zst", "zstd", "bz2", "xz", "lz4", "snappy", "sz", "zip",
    ];
    let mut name = Path::new(path);
    let is_packed = |name: &Path| {
        let ending = name.extension().and_then(|ending| ending.to_str());
        ending.is_some_and(|ending| PACKED.contains(&ending))
    };
    let unpacked;
    if is_packed(name) {
        unpacked = name.with_extension("");
        name = &unpacked;
    }
    let Some(stem) = name.file_stem().and_then(|stem| stem.to_str()) else {
        return Vec::new();
    };
    let folded = stem.to_lowercase();
    match folded == stem {
        true => vec![folded],
        false => vec![stem.to_owned(), folded],
    }
}

fn is_known(name: &str, registry: &Registry, connections: &Connections) -> bool {
    let is_connection = || {
        let all = connections.list();
        all.iter()
            .any(|known| known.name.eq_ignore_ascii_case(name))
    };
    url_scheme(name).is_some() || registry.source(name).is_ok() || is_connection()
}

/// The location of the files of a connection of type `file`, which is not a source itself.
fn files_of(
    name: &str,
    registry: &Registry,
    connections: &Connections,
) -> Result<Option<Place>, Failure> {
    if url_scheme(name).is_some() || connections.for_source(registry, name).is_ok() {
        return Ok(None);
    }
    let Ok(loader) = connections.loader_of(registry, name) else {
        return Ok(None);
    };
    if loader.name() != FILES {
        return Ok(None);
    }
    let settings: Settings = connections.for_loader(loader, Some(name), None)?;
    let value = |key| settings.get(key).map(|setting| setting.value.clone());
    let root = value("root").and_then(|root| root.as_str().map(str::to_owned));
    Ok(Some(Place::Root {
        root: root.unwrap_or_else(|| ".".to_owned()),
        options: value("storage_options"),
    }))
}

/// Whether a name is a data file's, though no file of this name is there.
pub(crate) fn is_data_file(path: &Path) -> bool {
    const EXTENSIONS: [&str; 20] = [
        "parquet", "pq", "csv", "tsv", "txt", "json", "jsonl", "ndjson", "arrow", "arrows", "ipc",
        "feather", "gz", "zst", "bz2", "xz", "lz4", "snappy", "sz", "zip",
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
pub(crate) fn is_data_url(name: &str) -> bool {
    let Some((scheme, rest)) = name.split_once("://") else {
        return false;
    };
    [
        "s3", "s3a", "gs", "az", "abfs", "abfss", "http", "https", "file",
    ]
    .contains(&scheme)
        && rest.contains('/')
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
    let parts: Vec<String> = table.split('.').map(quoted).collect();
    parts.join(".")
}

/// The clause of a query that takes only some of its rows: of the query itself, as one within may well do so.
fn cut(sql: &str) -> Option<&'static str> {
    let words = words::top_level_words(sql);
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    (0..words.len()).find_map(|at| {
        let (next, before) = (word(at + 1), at.checked_sub(1).map_or("", word));
        // Only `limit` is a keyword everywhere; columns may have the other names.
        match word(at) {
            "LIMIT" => Some("LIMIT"),
            "FETCH" if ["FIRST", "NEXT"].contains(&next) => Some("FETCH"),
            "TOP" if next.starts_with(|letter: char| letter.is_ascii_digit()) => Some("TOP"),
            "OFFSET" => {
                let is_column = [
                    "SELECT", "DISTINCT", "WHERE", "AND", "OR", "NOT", "BY", "ON",
                ];
                let is_behind = words[..at].iter().any(|word| word == "FROM");
                (is_behind && !is_column.contains(&before)).then_some("OFFSET")
            }
            _ => None,
        }
    })
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_that_cut_a_query_are_told_from_columns_of_their_names() {
        for (sql, expected) in [
            ("select * from t order by id limit 5", Some("LIMIT")),
            ("select * from t offset 5 rows", Some("OFFSET")),
            ("select * from t fetch first 5 rows only", Some("FETCH")),
            ("select top 5 * from t", Some("TOP")),
            ("select * from (select * from t limit 5) s", None),
            (
                "select offset, top, fetch from t where offset > 5 order by offset",
                None,
            ),
            ("select \"limit\", 'limit' from t -- limit", None),
            ("select * from t where id < $limit", None),
        ] {
            assert_eq!(cut(sql), expected, "{sql}");
        }
    }
}
