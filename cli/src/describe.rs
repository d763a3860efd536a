//! Lists loaders and sources, and describes their keys and options, from their JSON schemas.

use arrowload::core::{KeySchema, LoadOptions, nearest};
use arrowload::{Connections, LoaderDescriptor, Registry, SourceDescriptor};
use clap::CommandFactory;
use serde_json::{Map, Value, json};

use crate::args::{Cli, Common, Report, Schema};
use crate::exit::{Exit, Failure};
use crate::job::Job;
use crate::machine;
use crate::show::{print, table};

fn schemes(schemes: &[&str]) -> String {
    schemes
        .iter()
        .map(|scheme| format!("{scheme}://"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn modes(loader: &LoaderDescriptor) -> String {
    loader
        .capabilities()
        .modes
        .iter()
        .map(|mode| mode.name())
        .collect::<Vec<_>>()
        .join(", ")
}

/// A list as a table, or as an object.
pub(crate) fn list(
    head: &[&str],
    rows: Vec<Vec<String>>,
    common: &Common,
) -> Result<Exit, Failure> {
    match common.output {
        Report::Text => print(&table(head, rows))?,
        Report::Json => {
            let object = |row: Vec<String>| {
                let cells = head.iter().zip(row);
                let cells = cells.map(|(key, cell)| (key.replace(' ', "_"), cell.into()));
                Value::Object(cells.collect())
            };
            let rows: Vec<Value> = rows.into_iter().map(object).collect();
            machine::tell(&json!({ "status": "done", "rows": rows }))?;
        }
    }
    Ok(Exit::Done)
}

pub(crate) fn loaders(common: &Common) -> Result<Exit, Failure> {
    let registry = Registry::linked()?;
    let row = |loader: &LoaderDescriptor| {
        let once = if loader.capabilities().load_ids {
            "yes"
        } else {
            "no"
        };
        vec![
            loader.name().to_owned(),
            modes(loader),
            once.to_owned(),
            schemes(loader.url_schemes()),
        ]
    };
    list(
        &["name", "modes", "exactly once", "urls"],
        registry.loaders().map(row).collect(),
        common,
    )
}

pub(crate) fn sources(common: &Common) -> Result<Exit, Failure> {
    let registry = Registry::linked()?;
    let rows = registry
        .sources()
        .map(|source| vec![source.name().to_owned(), schemes(source.url_schemes())]);
    list(&["name", "urls"], rows.collect(), common)
}

/// The type that a key's value has, as people write it.
fn kind(schema: &Value, root: &Value) -> String {
    if let Some(pointer) = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|name| name.strip_prefix('#'))
    {
        return root
            .pointer(pointer)
            .map_or_else(String::new, |schema| kind(schema, root));
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join("|");
    }
    if let Some(word) = schema.get("const").and_then(Value::as_str) {
        return word.to_owned();
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if let Some(variants) = schema.get(key).and_then(Value::as_array) {
            let mut kinds: Vec<String> = variants
                .iter()
                .map(|variant| kind(variant, root))
                .filter(|kind| kind != "null")
                .collect();
            kinds.dedup();
            return kinds.join("|");
        }
    }
    match schema.get("type") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| *name != "null")
            .collect::<Vec<_>>()
            .join("|"),
        _ => String::new(),
    }
}

fn keys(schema: &KeySchema) -> String {
    let root = schema.as_value();
    let Some(properties) = root.get("properties").and_then(Value::as_object) else {
        return "  none\n".into();
    };
    let row = |(key, property): (&String, &Value)| {
        let default = match property.get("default") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        let kind = if schema.is_secret(key) {
            "secret".to_owned()
        } else {
            kind(property, root)
        };
        let text = property
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .replace('\n', " ");
        vec![key.clone(), kind, default, text]
    };
    table(
        &["key", "type", "default", "what it does"],
        properties.iter().map(row).collect(),
    )
}

/// Says how files of a format are read.
fn describe_format(format: &str, schema: &KeySchema, common: &Common) -> Result<Exit, Failure> {
    if common.output == Report::Json {
        let shown = json!({ "status": "done", "name": format, "read_options": schema.as_value() });
        machine::tell(&shown)?;
        return Ok(Exit::Done);
    }
    print(&format!(
        "{format} files: --from FILE, or FROM read_{format}('file', key => value) in a query\n\nOptions for reading (--read-option, and \
         `read` in a job)\n\n{}",
        keys(schema)
    ))?;
    Ok(Exit::Done)
}

/// Everything that is known of a loader, a source, or both of one name, for programs.
fn object_of(
    name: &str,
    loader: Option<&LoaderDescriptor>,
    source: Option<&SourceDescriptor>,
) -> Value {
    let mut shown = json!({ "status": "done", "name": name });
    if let Some(loader) = loader {
        shown["connection"] = loader.config_schema().as_value().clone();
        shown["options"] = loader.options_schema().as_value().clone();
        shown["load_options"] = KeySchema::of::<LoadOptions>().as_value().clone();
    }
    if let Some(source) = source {
        shown["source_connection"] = source.config_schema().as_value().clone();
    }
    shown
}

pub(crate) fn describe(name: &str, common: &Common) -> Result<Exit, Failure> {
    if let Some(schema) = arrowload::read_options(name) {
        return describe_format(name, &schema, common);
    }
    let registry = Registry::linked()?;
    let (loader, source) = (registry.loader(name).ok(), registry.source(name).ok());
    let mut text = String::new();
    if loader.is_none() && source.is_none() {
        let names: Vec<&str> = registry
            .loaders()
            .map(|loader| loader.name())
            .chain(registry.sources().map(|source| source.name()))
            .collect();
        let hint = nearest(name, names.iter().copied())
            .map(|near| format!("; did you mean `{near}`?"))
            .unwrap_or_else(|| ".".into());
        let list = |names: Vec<&str>| names.join(", ");
        return Err(Failure::usage(format!(
            "no loader, source or format is called `{name}`{hint} Loaders: {}. Sources: {}. Formats of files: csv, json, arrow, parquet",
            list(registry.loaders().map(|loader| loader.name()).collect()),
            list(registry.sources().map(|source| source.name()).collect())
        )));
    }
    if common.output == Report::Json {
        machine::tell(&object_of(name, loader, source))?;
        return Ok(Exit::Done);
    }
    if let Some(loader) = loader {
        let can = loader.capabilities();
        text += &format!(
            "{} {} {}\n\nloads: {}\n",
            loader.name(),
            loader.package(),
            loader.version(),
            modes(loader)
        );
        let abilities = [
            ("creates targets", can.create_target),
            ("adds columns", can.schema_evolution),
            ("exactly once by load_id", can.load_ids),
            ("parallelism", can.parallel),
            ("on_error = skip", can.skip_rows),
            ("verify = checksum", can.checksum),
            ("max_updates, max_deletes", can.change_limits),
        ];
        let has: Vec<&str> = abilities
            .iter()
            .filter(|(_, has)| *has)
            .map(|(word, _)| *word)
            .collect();
        text += &format!("can: {}\n", has.join("; "));
    } else if let Some(source) = source {
        text += &format!(
            "{} {} {}\n",
            source.name(),
            source.package(),
            source.version()
        );
    }
    if source.is_some() {
        text += "can be queried: --from\n";
    }
    let environment = loader
        .map(|loader| loader.environment())
        .or(source.map(|source| source.environment()))
        .unwrap_or_default();
    if !environment.is_empty() {
        let names: Vec<&str> = environment.iter().map(|(variable, _)| *variable).collect();
        text += &format!("reads from the environment: {}\n", names.join(", "));
    }
    let schema = loader
        .map(|loader| loader.config_schema())
        .or(source.map(|source| source.config_schema()));
    if let Some(schema) = schema {
        text += &format!(
            "\nConnection keys (--config, or in a connection)\n\n{}",
            keys(&schema)
        );
    }
    if let (Some(loader), Some(source)) = (loader, source)
        && loader.config_schema().keys() != source.config_schema().keys()
    {
        text += &format!(
            "\nConnection keys as a source\n\n{}",
            keys(&source.config_schema())
        );
    }
    if let Some(loader) = loader {
        text += &format!(
            "\nIts own options (--option)\n\n{}",
            keys(&loader.options_schema())
        );
        text += &format!(
            "\nOptions of every load (--option)\n\n{}",
            keys(&KeySchema::of::<LoadOptions>())
        );
    }
    print(&text)?;
    Ok(Exit::Done)
}

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "arrowload", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

pub(crate) fn schema(which: Schema) -> Result<Exit, Failure> {
    let schema = match which {
        Schema::Job => schemars::schema_for!(Job).to_value(),
        Schema::Config => config_schema()?,
        Schema::Output => {
            print(machine::SCHEMA)?;
            return Ok(Exit::Done);
        }
    };
    print(&machine::json(&schema)?)?;
    Ok(Exit::Done)
}

/// A connection has the keys of its type, and load defaults beside them.
fn config_schema() -> Result<Value, Failure> {
    let registry = Registry::linked()?;
    let mut variants = Vec::new();
    let mut definitions = Map::new();
    let mut names: Vec<&str> = registry
        .loaders()
        .map(|loader| loader.name())
        .chain(registry.sources().map(|source| source.name()))
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let loader = registry.loader(name).ok();
        let schemas = loader.map(|loader| {
            vec![
                loader.config_schema(),
                loader.options_schema(),
                KeySchema::of::<LoadOptions>(),
            ]
        });
        let schemas = schemas.into_iter().flatten().chain(
            registry
                .source(name)
                .ok()
                .map(|source| source.config_schema()),
        );
        let mut properties = Map::new();
        for schema in schemas {
            if let Some(own) = schema.as_value().get("$defs").and_then(Value::as_object) {
                definitions.extend(own.clone());
            }
            if let Some(own) = schema
                .as_value()
                .get("properties")
                .and_then(Value::as_object)
            {
                properties.extend(own.clone());
            }
        }
        properties.insert(
            "type".into(),
            json!({ "const": name, "description": "The loader or source." }),
        );
        properties.insert(
            "url".into(),
            json!({ "type": "string", "description": "The connection as a URL." }),
        );
        properties.insert(
            "upsert_key".into(),
            json!({ "type": ["string", "array"], "description": "Another name for `keys`." }),
        );
        variants.push(json!({ "title": name, "type": "object", "properties": properties, "additionalProperties": false }));
    }
    Ok(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "arrowload.toml",
        "type": "object",
        "properties": {
            "connections": { "type": "object", "additionalProperties": { "anyOf": variants }, "description": "Connections by name." }
        },
        "additionalProperties": false,
        "$defs": definitions
    }))
}

/// The names of all connections, for messages.
pub(crate) fn connection_names(connections: &Connections) -> String {
    connections
        .list()
        .into_iter()
        .map(|known| known.name)
        .collect::<Vec<_>>()
        .join(", ")
}
