//! Job files: named loads, what each waits for, and variables in their text.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use minijinja::{Environment, UndefinedBehavior, context};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use arrowload::core::nearest;

use crate::args::InputFormat;
use crate::exit::Failure;
use crate::hook::{Calls, Hook, Hooks};
use crate::incremental::Incremental;
use crate::job_to::{JobDestinations, OneOrMoreSchema};
use crate::shape::Shape;

/// A job: loads that belong together. `{{ name }}` in any text stands for a variable, `{{ env.NAME }}` for one of the
/// environment.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Job {
    /// The name, which is part of each load's id; by default the file's.
    pub(crate) name: Option<String>,
    /// How many loads may run at once.
    #[serde(default = "one")]
    pub(crate) at_once: usize,
    /// Variables and their values, which `--var` replaces.
    #[serde(default)]
    pub(crate) vars: BTreeMap<String, Value>,
    /// Called when the job has ended well: a command line, `["program", "argument"]`, or `{ url = "https://…", headers = { … } }`. The
    /// report is its standard input, or the body of its POST, as JSON.
    pub(crate) on_success: Option<Hook>,
    /// Called in the same ways when the job has failed or was interrupted.
    pub(crate) on_failure: Option<Hook>,
    /// The loads by name.
    #[serde(default)]
    pub(crate) loads: BTreeMap<String, JobLoad>,
}

fn one() -> usize {
    1
}

/// One load of a job.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobLoad {
    /// A URL, a connection, a source, a file or folder; by default the embedded engine.
    pub(crate) from: Option<String>,
    /// The query.
    pub(crate) sql: Option<String>,
    /// A file with the query, relative to the job's.
    pub(crate) sql_file: Option<PathBuf>,
    /// A whole table or file.
    pub(crate) table: Option<String>,
    /// The format of the file: `csv`, `json`, `arrow` or `parquet`; by default what its content says.
    pub(crate) input_format: Option<InputFormat>,
    /// How files are read: `{ delim = ";", ragged = "pad" }`.
    #[serde(default)]
    pub(crate) read: BTreeMap<String, Value>,
    /// Types of columns of files, `{ zip = "text", amount = "decimal(20,2)" }`, or `"text"` for all.
    pub(crate) types: Option<Value>,
    /// Identifies the load, in place of job, load, variables and run: repeating it with the same id writes nothing again.
    pub(crate) load_id: Option<String>,
    /// Columns and rows without SQL: `{ exclude_columns = ["note"], rename = ["a=b"], cast = ["zip=text"], mask = ["email=sha256"],
    /// where = "id > 7", limit = 100, sample = "1%" }`.
    #[serde(default)]
    pub(crate) shape: Shape,
    /// Only rows that are new since the last such load: `{ cursor = "updated_at", lag = "5m", initial = "2024-01-01" }`.
    pub(crate) incremental: Option<Incremental>,
    /// Parameters of the query: `"name" = value`, `"name:date" = "2024-01-01"`.
    #[serde(default)]
    pub(crate) params: BTreeMap<String, Value>,
    /// A loader, a connection, or a URL; or a list of destinations: of these, and of tables with a `to` and keys of their own,
    /// which stand over those of the load.
    #[schemars(with = "OneOrMoreSchema")]
    pub(crate) to: JobDestinations,
    /// With several destinations: commit none of them after one has failed.
    #[serde(default)]
    pub(crate) fail_fast: bool,
    /// The table, file or key pattern.
    pub(crate) target: Option<String>,
    /// The connection, where `to` names a loader.
    pub(crate) connection: Option<String>,
    /// Connection keys.
    #[serde(default)]
    pub(crate) config: BTreeMap<String, Value>,
    /// `create`, `append`, `overwrite` or `upsert`.
    pub(crate) mode: Option<String>,
    /// The columns that identify a row.
    #[serde(default)]
    pub(crate) keys: Vec<String>,
    /// Refuse a load without a row before its commit: the target stays as it was.
    #[serde(default)]
    pub(crate) refuse_empty: bool,
    /// Options of every load, or of the loader.
    #[serde(default)]
    pub(crate) options: BTreeMap<String, Value>,
    /// The loads that must have ended well before.
    #[serde(default)]
    pub(crate) after: Vec<String>,
    /// Called when the load has ended well: a command line, `["program", "argument"]`, or `{ url = "https://…", headers = { … } }`. The
    /// report is its standard input, or the body of its POST, as JSON.
    pub(crate) on_success: Option<Hook>,
    /// Called in the same ways when the load has failed or was interrupted.
    pub(crate) on_failure: Option<Hook>,
}

impl JobLoad {
    pub(crate) fn hooks(&self) -> Hooks {
        Hooks {
            on_success: self.on_success.clone(),
            on_failure: self.on_failure.clone(),
        }
    }

    /// How files are read, types among it.
    pub(crate) fn reading(&self) -> Map<String, Value> {
        let types = self
            .types
            .iter()
            .map(|types| ("types".to_owned(), types.clone()));
        self.read.clone().into_iter().chain(types).collect()
    }
}

/// Texts of a value, with their variables put in.
fn render(
    value: &mut Value,
    environment: &Environment<'_>,
    vars: &minijinja::Value,
    place: &str,
) -> Result<(), Failure> {
    match value {
        Value::String(text) => {
            let rendered = environment.render_str(text, vars);
            let missing = || missing(text, environment, vars);
            *text = rendered.map_err(|error| {
                Failure::usage(format!(
                    "{place}: {}",
                    sentence(&error, place.contains(": vars."), missing)
                ))
            })?;
            Ok(())
        }
        Value::Array(items) => items
            .iter_mut()
            .try_for_each(|item| render(item, environment, vars, place)),
        Value::Object(map) => map
            .iter_mut()
            .try_for_each(|(key, item)| render(item, environment, vars, &format!("{place}.{key}"))),
        _ => Ok(()),
    }
}

/// The variables that a text uses and that do not exist, in the order of their names.
fn missing(text: &str, environment: &Environment<'_>, vars: &minijinja::Value) -> Vec<String> {
    let Ok(template) = environment.template_from_str(text) else {
        return Vec::new();
    };
    let is_there = |path: &String| {
        let found = path.split('.').try_fold(vars.clone(), |value, name| {
            value
                .get_attr(name)
                .ok()
                .filter(|value| !value.is_undefined())
        });
        found.is_some()
    };
    // A function of the template language is not a variable.
    let names = template
        .undeclared_variables(true)
        .into_iter()
        .filter(|path| environment.globals().all(|(name, _)| name != path));
    let mut missing: Vec<String> = names.filter(|path| !is_there(path)).collect();
    missing.sort_unstable();
    missing
}

fn sentence(error: &minijinja::Error, is_outer: bool, missing: impl Fn() -> Vec<String>) -> String {
    let names = if error.kind() == minijinja::ErrorKind::UndefinedError {
        missing()
    } else {
        Vec::new()
    };
    if names.is_empty() {
        let hint = if error.kind() == minijinja::ErrorKind::UndefinedError {
            ": a variable that it names is not there"
        } else {
            ""
        };
        return format!(
            "{}{hint}{}",
            error.kind(),
            error
                .detail()
                .map(|detail| format!(": {detail}"))
                .unwrap_or_default()
        );
    }
    let one = |path: &String| match path.strip_prefix("env.") {
        Some(name) => format!(
            "the environment has no variable {name}; set it before the command: {name}=VALUE arrowload run …"
        ),
        None if is_outer => {
            format!(
                "there is no `{path}` here: [vars] are made of the environment's variables only, as {{{{ env.NAME }}}}"
            )
        }
        None => {
            let name = path.split('.').next().unwrap_or(path);
            format!(
                "there is no variable `{path}`; give it with --var {name}=VALUE, or under [vars]"
            )
        }
    };
    names.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Refuses a variable that the job neither has nor uses: it would be part of the loads' ids, and no earlier load would be
/// recognised.
fn check_used(name: &str, vars: &BTreeMap<String, Value>, text: &str) -> Result<(), Failure> {
    let tags = text
        .split("{{")
        .skip(1)
        .filter_map(|rest| rest.split("}}").next());
    let blocks = text
        .split("{%")
        .skip(1)
        .filter_map(|rest| rest.split("%}").next());
    let words = tags
        .chain(blocks)
        .flat_map(|tag| tag.split(|letter: char| !letter.is_alphanumeric() && letter != '_'));
    let mut known: Vec<&str> = vars
        .keys()
        .map(String::as_str)
        .chain(words.filter(|word| !word.is_empty() && *word != "env"))
        .collect();
    known.sort_unstable();
    known.dedup();
    if known.contains(&name) {
        return Ok(());
    }
    let hint = nearest(name, known.iter().copied())
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let list = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    Err(Failure::usage(format!(
        "--var {name}: the job has no such variable{hint} Known: {list}"
    )))
}

impl Job {
    /// Reads a job file and puts its variables in.
    pub(crate) fn read(file: &Path, given: &[(String, String)]) -> Result<Self, Failure> {
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
        let mut job: Self =
            toml::from_str(&text).map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
        for (name, value) in given {
            check_used(name, &job.vars, &text)?;
            job.vars.insert(name.clone(), Value::String(value.clone()));
        }
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let text_of = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let env: BTreeMap<String, String> = std::env::vars_os().filter_map(text_of).collect();
        // Variables may be made from the environment's.
        let outer = context! { env => env.clone() };
        for (name, value) in &mut job.vars {
            render(
                value,
                &environment,
                &outer,
                &format!("{shown}: vars.{name}"),
            )?;
        }
        let vars = context! { env => env, ..minijinja::Value::from_serialize(&job.vars) };
        let mut loads = BTreeMap::new();
        for (name, load) in job.loads {
            let place = format!("{shown}: loads.{name}");
            let failed = |error: serde_json::Error| Failure::usage(format!("{place}: {error}"));
            let mut value = serde_json::to_value(&load).map_err(failed)?;
            render(&mut value, &environment, &vars, &place)?;
            loads.insert(name, serde_json::from_value(value).map_err(failed)?);
        }
        job.loads = loads;
        for (name, hook) in [
            ("on_success", &mut job.on_success),
            ("on_failure", &mut job.on_failure),
        ] {
            let place = format!("{shown}: {name}");
            let failed = |error: serde_json::Error| Failure::usage(format!("{place}: {error}"));
            let mut value = serde_json::to_value(&*hook).map_err(failed)?;
            render(&mut value, &environment, &vars, &place)?;
            *hook = serde_json::from_value(value).map_err(failed)?;
        }
        job.name = job.name.or_else(|| {
            file.file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
        });
        job.check(file)?;
        Ok(job)
    }

    fn check(&self, file: &Path) -> Result<(), Failure> {
        let wrong = |message: String| Err(Failure::usage(format!("{}: {message}", file.display())));
        if self.loads.is_empty() {
            return wrong("it has no loads; write them as [loads.NAME]".into());
        }
        if self.at_once == 0 {
            return wrong("at_once must be at least 1".into());
        }
        for (name, load) in &self.loads {
            if load.from.as_deref() == Some("-") {
                return wrong(format!(
                    "loads.{name}: a job cannot read standard input; name a file"
                ));
            }
            for before in &load.after {
                if !self.loads.contains_key(before) {
                    let hint = nearest(before, self.loads.keys().map(String::as_str))
                        .map(|near| format!("; did you mean `{near}`?"));
                    return wrong(format!(
                        "loads.{name}: after names `{before}`, which is no load{}",
                        hint.unwrap_or_default()
                    ));
                }
            }
        }
        // Loads that wait for no other remaining load are removed repeatedly, until none is left, or only cycles are.
        let mut left: BTreeSet<&String> = self.loads.keys().collect();
        loop {
            let free: Vec<&String> = left
                .iter()
                .copied()
                .filter(|name| {
                    self.loads[*name]
                        .after
                        .iter()
                        .all(|before| !left.contains(before))
                })
                .collect();
            if free.is_empty() {
                break;
            }
            free.into_iter().for_each(|name| {
                left.remove(name);
            });
        }
        if left.is_empty() {
            return Ok(());
        }
        wrong(format!(
            "these loads wait for each other: {}",
            left.into_iter().cloned().collect::<Vec<_>>().join(", ")
        ))
    }

    /// The hooks of a run, checked.
    pub(crate) fn calls(&self, run: &str) -> Result<Calls, Failure> {
        let own = Hooks {
            on_success: self.on_success.clone(),
            on_failure: self.on_failure.clone(),
        };
        let loads = self.loads.iter().map(|(name, load)| (name, load.hooks()));
        Calls::new((self.name(), run), &own, loads)
    }

    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The same for the same variables.
    pub(crate) fn vars_digest(&self) -> String {
        let vars: Vec<String> = self
            .vars
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let digest = xxhash_rust::xxh3::xxh3_64(vars.join("\n").as_bytes());
        format!("{digest:016x}")
    }

    /// The id of a load in a run: the same for the same job, load, variables and run.
    pub(crate) fn load_id(&self, load: &str, run: &str) -> String {
        format!("{}/{load}/{}/{run}", self.name(), self.vars_digest())
    }
}
