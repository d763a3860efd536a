//! `arrowload connections` and `arrowload init`.

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use arrowload::core::{looks_secret, url_scheme};
use arrowload::{BatchStream, Client, ConnectionKey, Connections, ErrorKind, Registry};
use serde_json::{Value, json};
use toml_edit::{DocumentMut, Item, Table, value};

use crate::args::{Common, ConnectionsCommand, Report};
use crate::describe::connection_names;
use crate::doctor::quoted;
use crate::exit::{Exit, Failure};
use crate::input::reached;
use crate::machine;
use crate::params::pair;
use crate::show::{complain_of, note, print};

/// The config file of the working directory.
const FILE: &str = "arrowload.toml";
/// Names another.
const VARIABLE: &str = "ARROWLOAD_CONFIG";

pub(crate) async fn command(command: ConnectionsCommand, common: &Common) -> Result<Exit, Failure> {
    match command {
        ConnectionsCommand::List => list(common),
        ConnectionsCommand::Show { name } => show(&name, common),
        ConnectionsCommand::Remove { name } => remove(&name, common),
        ConnectionsCommand::Test {
            name: Some(name),
            target,
            ..
        } => {
            let object = test(&name, target, common).await?;
            if common.output == Report::Json {
                machine::tell(&object)?;
            }
            Ok(Exit::Done)
        }
        ConnectionsCommand::Test { name: None, .. } => test_all(common).await,
        ConnectionsCommand::Add {
            name,
            what,
            keys,
            force,
        } => add(&name, &what, &keys, force, common),
    }
}

fn list(common: &Common) -> Result<Exit, Failure> {
    let all = Connections::discover()?.list();
    if all.is_empty() && common.output == Report::Text {
        print("no connection is named; see `arrowload init` and `arrowload connections add`")?;
        return Ok(Exit::Done);
    }
    let rows = all.into_iter().map(|known| {
        vec![
            known.name,
            known.kind.unwrap_or_default(),
            known.origins.join(", "),
        ]
    });
    crate::describe::list(&["name", "type", "from"], rows.collect(), common)
}

/// The steps of a test that have passed: printed at once, or kept for the JSON object.
struct Steps<'a> {
    common: &'a Common,
    passed: Vec<String>,
}

impl Steps<'_> {
    fn pass(&mut self, step: String) -> Result<(), Failure> {
        if self.common.output == Report::Text && !self.common.quiet {
            print(&step)?;
        }
        self.passed.push(step);
        Ok(())
    }
}

/// Prints where the connection leads and from which layers that comes, then each step that passes, and stops at the first
/// that fails.
pub(crate) async fn test(
    name: &str,
    target: Option<String>,
    common: &Common,
) -> Result<Value, Failure> {
    let mut steps = Steps {
        common,
        passed: Vec::new(),
    };
    let (registry, connections) = (Registry::linked()?, Connections::discover()?);
    let loader = connections.loader_of(&registry, name);
    let source = connections.for_source(&registry, name);
    if let (Err(error), Err(_)) = (&loader, &source) {
        return Err(error.clone().into());
    }
    let shown = name.split("://").next().unwrap_or(name);
    let keys = keys_of(name, &registry, &connections)?;
    if common.output == Report::Text && !common.quiet {
        for key in &keys {
            print(&format!("{shown}: {key}"))?;
        }
    }
    if let Ok(loader) = loader {
        let client = Client::builder()
            .registry(registry.clone())
            .connections(connections.clone())
            .build()?;
        let rows = BatchStream::from_batches(
            Schema::new(vec![Field::new("id", DataType::Int64, true)]).into(),
            Vec::<RecordBatch>::new(),
        );
        let load = |target: &str| {
            let stream = BatchStream::from_batches(rows.schema().clone(), Vec::new());
            let load = client.load_stream(stream, loader.name(), target);
            if name == loader.name() {
                load
            } else {
                load.connection(name)
            }
        };
        load("arrowload_connection_test").ping().await?;
        steps.pass(format!(
            "{shown}: {} is reached, and takes the credentials",
            loader.name()
        ))?;
        // A plan reads what a load would meet: the target, its columns, and the rights on it.
        let checked = target.as_deref().unwrap_or("arrowload_connection_test");
        match load(checked).plan().await {
            Ok(plan) if target.is_some() && plan.target_exists => steps.pass(format!(
                "{shown}: `{checked}` is there, and can be loaded into"
            ))?,
            Ok(_) => steps.pass(format!(
                "{shown}: `{checked}` is not there, and could be created"
            ))?,
            // The rows of this test need not fit the target's columns.
            Err(error) if target.is_some() && error.kind() == ErrorKind::SchemaMismatch => {
                steps.pass(format!(
                    "{shown}: `{checked}` is there, and can be loaded into"
                ))?;
            }
            // Not every name is a valid target.
            Err(error) if target.is_none() && error.kind() == ErrorKind::InvalidOption => {}
            Err(error) => return Err(error.into()),
        }
    }
    if source.is_ok() {
        let client = Client::builder()
            .registry(registry)
            .connections(connections)
            .source(name)
            .build()?;
        client.ping().await?;
        steps.pass(format!("{shown}: can be queried"))?;
    }
    Ok(json!({
        "status": "done",
        "name": shown,
        "connection": keys,
        "checks": steps.passed,
    }))
}

/// Tests each named connection, also after one that fails.
async fn test_all(common: &Common) -> Result<Exit, Failure> {
    let (mut worst, mut objects) = (Exit::Done, Vec::new());
    for known in Connections::discover()?.list() {
        let (object, exit) = match test(&known.name, None, common).await {
            Ok(object) => (object, Exit::Done),
            Err(Failure::Load(error)) => {
                let shown = machine::error(&error);
                complain_of(&format!("{}: {error}", known.name), shown.clone());
                (machine::failure(shown), Exit::of(&error))
            }
            Err(other) => return Err(other),
        };
        worst = worst.max(exit);
        objects.push(object);
    }
    if common.output == Report::Json {
        let status = match worst {
            Exit::Done => "done",
            _ => "failed",
        };
        machine::tell(&json!({ "status": status, "tests": objects }))?;
    }
    Ok(worst)
}

/// The keys of a connection: as those of a loader, if it can be loaded into.
fn keys_of(
    name: &str,
    registry: &Registry,
    connections: &Connections,
) -> Result<Vec<ConnectionKey>, Failure> {
    let Ok(loader) = connections.loader_of(registry, name) else {
        return reached(name, registry, connections);
    };
    let named = Some(name).filter(|name| *name != loader.name());
    let settings = connections.for_loader(loader, named, None)?;
    let (split, _) = loader.split(settings)?;
    Ok(connections.effective(&loader.config_schema(), &split.config))
}

/// The load defaults of a connection.
fn defaults_of(
    name: &str,
    registry: &Registry,
    connections: &Connections,
) -> Result<Vec<ConnectionKey>, Failure> {
    let Ok(loader) = connections.loader_of(registry, name) else {
        return Ok(Vec::new());
    };
    let named = Some(name).filter(|name| *name != loader.name());
    let (split, _) = loader.split(connections.for_loader(loader, named, None)?)?;
    let schema = loader.options_schema();
    let shown = split.load.iter().chain(split.options.iter());
    let shown = shown.map(|(key, setting)| {
        let value = match &setting.value {
            _ if setting.hidden || schema.holds_secrets(key) || looks_secret(key) => "***".into(),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        ConnectionKey::new(key, value, setting.origin.to_string())
    });
    Ok(shown.collect())
}

fn show(name: &str, common: &Common) -> Result<Exit, Failure> {
    let (registry, connections) = (Registry::linked()?, Connections::discover()?);
    let mut rows = keys_of(name, &registry, &connections)?;
    rows.extend(defaults_of(name, &registry, &connections)?);
    let rows = rows
        .into_iter()
        .map(|key| vec![key.key, key.value, key.origin]);
    crate::describe::list(&["key", "value", "from"], rows.collect(), common)
}

fn remove(name: &str, common: &Common) -> Result<Exit, Failure> {
    let file = config_file();
    let mut document = read(&file)?;
    let connections = document.get_mut("connections");
    let removed = connections
        .and_then(Item::as_table_like_mut)
        .and_then(|connections| connections.remove(name));
    if removed.is_none() {
        return Err(Failure::usage(format!(
            "{} has no connection `{name}`",
            file.display()
        )));
    }
    write(&file, &document.to_string())?;
    written(
        &file,
        &format!("{}: removed `{name}`", file.display()),
        common,
    )
}

fn config_file() -> PathBuf {
    std::env::var_os(VARIABLE).map_or_else(|| PathBuf::from(FILE), PathBuf::from)
}

fn read(file: &Path) -> Result<DocumentMut, Failure> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Failure::failed(format!("{}: {error}", file.display()))),
    };
    text.parse()
        .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
}

/// Writes a file under a temporary name first.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", file.display()));
    // Only its owner reads it, as it may hold secrets.
    let temporary = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    std::fs::write(temporary.path(), text).map_err(failed)?;
    temporary
        .persist(file)
        .map_err(|error| failed(error.error))?;
    Ok(())
}

/// Says that a file was written.
fn written(file: &Path, text: &str, common: &Common) -> Result<Exit, Failure> {
    match common.output {
        Report::Json => machine::tell(&json!({ "status": "done", "file": file }))?,
        Report::Text if common.quiet => {}
        Report::Text => print(text)?,
    }
    Ok(Exit::Done)
}

fn add(
    name: &str,
    what: &str,
    keys: &[String],
    force: bool,
    common: &Common,
) -> Result<Exit, Failure> {
    if name.trim().is_empty() || url_scheme(name).is_some() {
        return Err(Failure::usage(format!(
            "`{name}` is no name for a connection; it comes first: connections add NAME URL|TYPE KEY=VALUE…"
        )));
    }
    let registry = Registry::linked()?;
    let mut entry = Table::new();
    if let Some(scheme) = url_scheme(what) {
        if registry.loader_for_scheme(&scheme).is_none()
            && registry.source_for_scheme(&scheme).is_none()
        {
            let message = format!(
                "no loader or source takes {scheme}:// URLs; see `arrowload loaders` and `arrowload sources`"
            );
            return Err(Failure::usage(message));
        }
        entry.insert("url", value(what));
    } else {
        if registry.source(what).is_err() {
            registry.loader(what)?;
        }
        entry.insert("type", value(what));
    }
    for text in keys {
        let (key, given) = pair("a connection key", text)?;
        if looks_secret(key) && !given.contains("${") {
            note(&format!(
                "warning: {key} stands in the file as it is; a reference keeps it out: '{key}=${{env:NAME}}' or '{key}=${{file:/path}}'"
            ));
        }
        // Numbers and switches are written as such.
        let item = given
            .parse::<i64>()
            .map(value)
            .or_else(|_| given.parse::<bool>().map(value));
        entry.insert(key, item.unwrap_or_else(|_| value(given)));
    }
    check(&registry, name, &entry)?;
    let file = config_file();
    let mut document = read(&file)?;
    let connections = document
        .entry("connections")
        .or_insert_with(|| Item::Table(implicit()));
    let connections = connections
        .as_table_mut()
        .ok_or_else(|| Failure::usage(format!("{}: `connections` is no table", file.display())))?;
    if connections.contains_key(name) && !force {
        return Err(Failure::usage(format!(
            "{} has a connection `{name}` already; --force replaces it",
            file.display()
        )));
    }
    let fresh = !connections.contains_key(name);
    connections.insert(name, Item::Table(entry.clone()));
    // A new connection goes to the end, after the existing comments.
    let before = std::fs::read_to_string(&file).unwrap_or_default();
    let gap = if before.trim().is_empty() { "" } else { "\n" };
    let appended = format!(
        "{}{gap}[connections.{}]\n{entry}",
        before,
        toml_edit::Key::new(name).display_repr()
    );
    let is_whole = appended.parse::<DocumentMut>().is_ok();
    write(
        &file,
        &if fresh && is_whole {
            appended
        } else {
            document.to_string()
        },
    )?;
    let said = format!(
        "{}: added `{name}`; try it with: arrowload connections test {}",
        file.display(),
        quoted(name)
    );
    written(&file, &said, common)
}

/// Checks whether its keys are known, as a load with this connection would.
fn check(registry: &Registry, name: &str, entry: &Table) -> Result<(), Failure> {
    let text = entry.to_string();
    let map: serde_json::Map<String, Value> = toml::from_str(&text)
        .map_err(|error| Failure::usage(format!("these keys do not make a connection: {error}")))?;
    let connections = Connections::builder()
        .no_config_file()
        .environment(std::env::vars())
        .build()?;
    let backend = |map: &serde_json::Map<String, Value>| {
        let kind = map
            .get("type")
            .and_then(|kind| kind.as_str())
            .map(str::to_owned);
        let by_url = || {
            map.get("url")
                .and_then(|url| url.as_str())
                .and_then(url_scheme)
        };
        kind.or_else(|| {
            let scheme = by_url()?;
            let loader = registry
                .loader_for_scheme(&scheme)
                .map(|loader| loader.name());
            loader
                .or_else(|| {
                    registry
                        .source_for_scheme(&scheme)
                        .map(|source| source.name())
                })
                .map(str::to_owned)
        })
    };
    let Some(kind) = backend(&map) else {
        return Ok(());
    };
    connections.configure_from(name, &kind, map.clone().into(), "connections add")?;
    // References to secrets need not resolve here, and whether a key is known does not depend on them.
    if map
        .values()
        .any(|value| value.as_str().is_some_and(|text| text.contains("${")))
    {
        return Ok(());
    }
    match registry.loader(&kind) {
        Ok(loader) => loader
            .split(connections.for_loader(loader, Some(name), None)?)
            .map(drop)?,
        Err(_) => {
            let (source, settings) = connections.for_source(registry, name)?;
            source.split(settings, None).map(drop)?;
        }
    }
    Ok(())
}

/// Tables below it are written, and itself is not.
fn implicit() -> Table {
    let mut table = Table::new();
    table.set_implicit(true);
    table
}

const TEMPLATE: &str = r#"# Connections of arrowload: found in the working directory, else in the user's configuration folder; ARROWLOAD_CONFIG names
# another file. `arrowload describe NAME` lists the keys of a loader or source, `arrowload connections test NAME` tries one.
#
# Each key can also stand in the environment, which is stronger: ARROWLOAD_CONNECTIONS__MY_PG__HOST=db.example.com
# Secrets are best references: "${env:NAME}" or "${file:/run/secrets/name}".

# [connections.my_pg]
# type = "postgresql"
# host = "localhost"
# port = 5432
# database = "mydb"
# user = "me"
# password = "${env:PGPASSWORD}"
# # Load defaults stand beside connection keys; what a load says itself is stronger.
# batch_size = 50000
# mode = "upsert"
# keys = ["id"]

# [connections.warehouse]
# url = "postgresql://me@warehouse.example.com/dw?sslmode=verify-full"

# [connections.lake]
# type = "file"
# root = "/data/lake"
# compression = "zstd"
"#;

pub(crate) fn init(force: bool, common: &Common) -> Result<Exit, Failure> {
    let file = config_file();
    if file.exists() && !force {
        let known = Connections::discover()
            .map(|connections| connection_names(&connections))
            .unwrap_or_default();
        let has = if known.is_empty() {
            String::new()
        } else {
            format!(" and names {known}")
        };
        return Err(Failure::usage(format!(
            "{} is there already{has}; --force replaces it",
            file.display()
        )));
    }
    write(&file, TEMPLATE)?;
    let said = format!(
        "wrote {}; take the # from what you need, or run: arrowload connections add NAME URL",
        file.display()
    );
    written(&file, &said, common)
}
