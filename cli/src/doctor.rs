//! `arrowload doctor`: checks this machine's setup, says what is wrong, and shows the command that fixes it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use arrowload::core::{looks_secret, nearest};
use arrowload::{Connections, LoaderDescriptor, Registry, SourceDescriptor};
use arrowload_common_text::printable;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::args::{Common, Report};
use crate::exit::{Exit, Failure};
use crate::{connections, machine, runs, show};

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Well,
    /// Worth knowing, but not a failure.
    Note,
    Wrong,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Note => "note",
            Self::Wrong => "wrong",
        }
    }
}

/// A check and its result.
#[derive(Debug)]
struct Check {
    area: &'static str,
    name: String,
    state: State,
    found: String,
    /// The command that mends it, or what to do.
    mend: Option<String>,
}

const VERSIONS: &str = "versions";
const CONFIGURATION: &str = "configuration";
const ENVIRONMENT: &str = "environment";
const CONNECTIONS: &str = "connections";
const MACHINE: &str = "machine";

/// The prefix of our own variables.
const PREFIX: &str = "ARROWLOAD_";
const OF_CONNECTIONS: &str = "ARROWLOAD_CONNECTIONS__";
const CONFIG: &str = "ARROWLOAD_CONFIG";
/// Variables that more than one part of the program reads.
const GENERAL: [&str; 9] = [
    CONFIG,
    "RUST_LOG",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "TMPDIR",
    "COLUMNS",
    "NO_COLOR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// Families of variables that object stores read.
const FAMILIES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

const ENV_FILE: &str = ".env";
/// The limits of free disk space below which something will fail, or may fail.
const NO_ROOM: u64 = 100 << 20;
const LITTLE_ROOM: u64 = 2 << 30;
/// The least number of open files and connections that is enough.
const FEW_FILES: u64 = 1_024;
/// A clock that is before this, in seconds, is wrong: 2025-01-01. Stores refuse requests that are signed with such a time.
const PAST: u64 = 1_735_689_600;

pub(crate) async fn command(common: &Common) -> Result<Exit, Failure> {
    let registry = Registry::linked()?;
    let mut checks = versions(&registry);
    checks.extend(files());
    checks.extend(variables(&registry));
    checks.extend(connected(&registry, common).await);
    checks.extend(this_machine());
    let is_well = checks.iter().all(|check| check.state != State::Wrong);
    match common.output {
        Report::Json => machine::tell(&object(&checks, is_well))?,
        Report::Text => tell(&checks, common.quiet)?,
    }
    Ok(match is_well {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

fn object(checks: &[Check], is_well: bool) -> Value {
    let shown = checks.iter().map(|check| {
        json!({
            "area": check.area,
            "name": check.name,
            "state": check.state.word(),
            "found": check.found,
            "mend": check.mend,
        })
    });
    json!({
        "status": if is_well { "done" } else { "failed" },
        "checks": shown.collect::<Vec<_>>(),
    })
}

/// Says all that was found; only what is wrong, if it is to be quiet.
fn tell(checks: &[Check], quiet: bool) -> Result<(), Failure> {
    let (mut area, mut text) = ("", String::new());
    for check in checks {
        if quiet && check.state != State::Wrong {
            continue;
        }
        if check.area != area {
            area = check.area;
            text += &format!("{area}\n");
        }
        let found = printable(&check.found);
        text += &format!(
            "  {:5}  {}: {found}\n",
            check.state.word(),
            printable(&check.name)
        );
        if let Some(mend) = &check.mend {
            text += &format!("         -> {}\n", printable(mend));
        }
    }
    let wrong = checks.iter().filter(|check| check.state == State::Wrong);
    match (wrong.count(), quiet) {
        (0, true) => return Ok(()),
        (0, false) => text += "all is well\n",
        (1, _) => text += "1 thing is wrong\n",
        (count, _) => text += &format!("{count} things are wrong\n"),
    }
    match show::print(&text) {
        // The exit code says it too.
        Err(Failure::BrokenPipe) => Ok(()),
        printed => printed,
    }
}

fn check(
    area: &'static str,
    name: impl Into<String>,
    state: State,
    found: impl Into<String>,
) -> Check {
    Check {
        area,
        name: name.into(),
        state,
        found: found.into(),
        mend: None,
    }
}

impl Check {
    fn mended_by(mut self, command: impl Into<String>) -> Self {
        self.mend = Some(command.into());
        self
    }
}

fn versions(registry: &Registry) -> Vec<Check> {
    let list = |names: Vec<&'static str>| names.join(", ");
    let system = format!("{} on {}", std::env::consts::ARCH, std::env::consts::OS);
    let own = format!("{}, {system}", env!("CARGO_PKG_VERSION"));
    let loaders = list(registry.loaders().map(LoaderDescriptor::name).collect());
    let sources = list(registry.sources().map(SourceDescriptor::name).collect());
    let engine = format!("DataFusion {}", arrowload_common_diff::ENGINE_VERSION);
    vec![
        check(VERSIONS, "arrowload", State::Well, own),
        check(VERSIONS, "loaders", State::Well, loaders),
        check(VERSIONS, "sources", State::Well, sources),
        check(VERSIONS, "engine", State::Well, engine),
    ]
}

/// The files that configure the command, in the order in which they are looked for.
fn files() -> Vec<Check> {
    let mut checks = Vec::new();
    // An error of reading the environment is reported below.
    for file in Connections::config_files().unwrap_or_default() {
        let name = file.path.display().to_string();
        let found = match (file.is_used, file.is_there) {
            (true, true) => "is read",
            (true, false) => "is not there, though ARROWLOAD_CONFIG names it",
            (false, true) => "is not read, as one before it is",
            (false, false) => "is not there",
        };
        let state = match (file.is_used, file.is_there) {
            (true, true) => State::Well,
            (true, false) => State::Wrong,
            _ => State::Note,
        };
        let mut own = check(CONFIGURATION, &name, state, found);
        if state == State::Wrong {
            own = own.mended_by(format!(
                "unset {CONFIG}, or let it name a file that is there"
            ));
        }
        checks.push(own);
        if file.is_used && file.is_there {
            checks.extend(secrets_of(&file.path));
        }
    }
    if let Err(error) = Connections::discover() {
        let mend = "fix the key that it names; `arrowload schema config` says what a file may have, and `arrowload init` writes an example";
        let wrong = check(
            CONFIGURATION,
            "what is configured",
            State::Wrong,
            error.to_string(),
        );
        checks.push(wrong.mended_by(mend));
    }
    let env_file = Path::new(ENV_FILE);
    if env_file.is_file() {
        let found = "is here, and is not read";
        let note = check(CONFIGURATION, ENV_FILE, State::Note, found);
        checks.push(note.mended_by(format!("arrowload --env-file {ENV_FILE} …")));
        checks.extend(secrets_of(env_file));
    }
    checks
}

/// Says so if a file holds secrets that others can read.
fn secrets_of(file: &Path) -> Option<Check> {
    let text = std::fs::read_to_string(file).ok()?;
    if !is_open_to_others(file)? || !holds_secrets(&text) {
        return None;
    }
    let name = file.display().to_string();
    let found = "holds secrets, and other users of this machine can read it";
    let wrong = check(CONFIGURATION, &name, State::Wrong, found);
    Some(wrong.mended_by(format!("chmod 600 {}", quoted(&name))))
}

/// A word as a shell takes it.
pub(crate) fn quoted(name: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    match name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', "'\\''")),
    }
}

#[cfg(unix)]
fn is_open_to_others(file: &Path) -> Option<bool> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(file).ok()?.permissions().mode();
    Some(mode & 0o044 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &Path) -> Option<bool> {
    None
}

/// Whether a line contains a secret in plain text: a key whose name is that of a secret, or a URL with a password. A reference is
/// not one.
fn holds_secrets(text: &str) -> bool {
    // The brace that begins a reference is not that of an inline table, which has several keys in a line.
    let text = text.replace("${", "\0");
    let lines = text.lines().map(str::trim);
    let pairs = lines
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.split(['{', ',']));
    pairs.filter(|pair| !pair.contains('\0')).any(|pair| {
        let Some((key, value)) = pair.split_once(['=', ':']) else {
            return false;
        };
        let key = key.trim().trim_start_matches("export ").trim_matches('"');
        let value = value.trim().trim_matches(['"', '\'', '}', ' ']);
        let userinfo = value
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('@'));
        let password = userinfo.and_then(|(user, _)| user.split_once(':'));
        let has_password = password.is_some_and(|(_, password)| !password.is_empty());
        !value.is_empty() && looks_secret(&key.to_lowercase()) || has_password
    })
}

/// Variables that change what the command does, and variables whose names look as if they should.
fn variables(registry: &Registry) -> Vec<Check> {
    let set: BTreeSet<String> = std::env::vars_os()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, _)| name.into_string().ok())
        .collect();
    let of_loaders = registry.loaders().flat_map(|loader| loader.environment());
    let of_sources = registry.sources().flat_map(|source| source.environment());
    let known: BTreeSet<&str> = of_loaders
        .chain(of_sources)
        .map(|(name, _)| *name)
        .chain(GENERAL)
        .collect();
    let matters = |name: &&String| {
        known.contains(name.as_str())
            || name.starts_with(OF_CONNECTIONS)
            || FAMILIES.iter().any(|family| name.starts_with(family))
    };
    let names: Vec<&str> = set.iter().filter(matters).map(String::as_str).collect();
    let found = match names.is_empty() {
        true => "none that matters is set".to_owned(),
        false => names.join(", "),
    };
    let mut checks = vec![check(ENVIRONMENT, "variables", State::Well, found)];
    checks.extend(set.iter().filter_map(|name| misspelt(name)));
    checks
}

/// A variable of our own that nothing reads.
fn misspelt(name: &str) -> Option<Check> {
    let rest = name.strip_prefix(PREFIX)?;
    if name == CONFIG || name.starts_with(OF_CONNECTIONS) {
        return None;
    }
    let word = rest.split('_').next().unwrap_or(rest);
    let meant = nearest(word, ["CONFIG", "CONNECTIONS", "CONNECTION"]);
    Some(match meant {
        Some("CONFIG") => check(ENVIRONMENT, name, State::Wrong, "is not read")
            .mended_by(format!("unset {name}; export {CONFIG}=FILE")),
        Some(_) => check(ENVIRONMENT, name, State::Wrong, "is not read, and sets nothing").mended_by(format!(
            "unset {name}; export {OF_CONNECTIONS}NAME__KEY=…, with two underscores between the parts"
        )),
        None => check(ENVIRONMENT, name, State::Note, "is not read by this command"),
    })
}

/// Keys that say where a connection leads.
const LEADS: [&str; 4] = ["url", "host", "hostaddr", "service"];

/// The loaders and sources whose default connection leads where a variable says, with the variable. A connection that has the name of
/// one is among those that are named.
fn by_environment(
    registry: &Registry,
    known: &BTreeSet<String>,
) -> Vec<(&'static str, &'static str)> {
    let of_loaders = registry
        .loaders()
        .map(|one| (one.name(), one.environment()));
    let of_sources = registry
        .sources()
        .map(|one| (one.name(), one.environment()));
    let mut found: Vec<(&str, &str)> = Vec::new();
    for (name, variables) in of_loaders.chain(of_sources) {
        let leads = variables.iter().find(|(variable, key)| {
            LEADS.contains(key) && std::env::var_os(variable).is_some_and(|value| !value.is_empty())
        });
        let is_known = known.contains(name) || found.iter().any(|(other, _)| *other == name);
        if let Some((variable, _)) = leads
            && !is_known
        {
            found.push((name, variable));
        }
    }
    found
}

/// Each named connection, tested, and each that the environment makes the default one.
async fn connected(registry: &Registry, common: &Common) -> Vec<Check> {
    // An error of reading them is reported for the files.
    let Ok(all) = Connections::discover() else {
        return Vec::new();
    };
    let quiet = Common {
        quiet: true,
        ..common.clone()
    };
    let quiet = &quiet;
    let named: BTreeSet<String> = all.list().into_iter().map(|known| known.name).collect();
    let defaults = by_environment(registry, &named);
    let none_is_named = named.is_empty();
    let named = named.into_iter().map(|name| (name, None));
    let defaults = defaults
        .into_iter()
        .map(|(name, variable)| (name.to_owned(), Some(variable)));
    let tests = named.chain(defaults).map(|(name, variable)| async move {
        let tested = connections::test(&name, None, quiet).await;
        (name, variable, tested)
    });
    let mut checks = Vec::new();
    for (name, variable, tested) in join_all(tests).await {
        checks.push(match tested {
            Ok(object) => {
                let steps = object["checks"].as_array().into_iter().flatten();
                let steps: Vec<&str> = steps
                    .filter_map(Value::as_str)
                    .map(|step| step.split_once(": ").map_or(step, |(_, step)| step))
                    .collect();
                check(CONNECTIONS, &name, State::Well, steps.join("; "))
            }
            Err(failure) => {
                let said = match failure {
                    Failure::Load(error) => error.to_string(),
                    Failure::Usage(text) | Failure::Failed(text) => text,
                    _ => "the test was cut off".to_owned(),
                };
                let shown = quoted(&name);
                let mend = match variable {
                    Some(variable) => format!("export {variable}=…, or unset it"),
                    None => format!(
                        "arrowload connections add {shown} URL|TYPE KEY=VALUE --force replaces it"
                    ),
                };
                check(CONNECTIONS, &name, State::Wrong, said).mended_by(format!(
                    "arrowload connections show {shown} says where it leads; {mend}"
                ))
            }
        });
    }
    if none_is_named {
        let none = check(CONNECTIONS, "named", State::Note, "none");
        checks.push(none.mended_by("arrowload init"));
    }
    checks
}

fn this_machine() -> Vec<Check> {
    let mut checks = vec![
        terminal(),
        folder("temporary folder", &std::env::temp_dir()),
    ];
    checks.push(match runs::state_folder() {
        Some(state) => folder(
            "folder of what is remembered of runs",
            &state.join("arrowload"),
        ),
        None => check(
            MACHINE,
            "folder of what is remembered of runs",
            State::Note,
            "there is none: --resume needs an id",
        )
        .mended_by("export HOME=… or XDG_STATE_HOME=…"),
    });
    checks.push(folder("working folder", Path::new(".")));
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.map_or(0, |now| now.as_secs());
    let shown = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    checks.push(match seconds < PAST {
        true => check(
            MACHINE,
            "clock",
            State::Wrong,
            format!("{shown}, which is past"),
        )
        .mended_by("timedatectl set-ntp true"),
        false => check(MACHINE, "clock", State::Well, shown),
    });
    checks.extend(open_files());
    checks
}

fn terminal() -> Check {
    let found = match show::width() {
        Some(width) => format!("{width} columns"),
        None => "output goes to no terminal".to_owned(),
    };
    check(MACHINE, "terminal", State::Well, found)
}

/// Whether a folder, or the one in which it would be made, can be written to, and the room that it has.
fn folder(name: &'static str, folder: &Path) -> Check {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let there: Option<PathBuf> = absolute
        .ancestors()
        .find(|folder| folder.is_dir())
        .map(Path::to_owned);
    let shown = absolute.display().to_string();
    let Some(there) = there else {
        return check(MACHINE, name, State::Wrong, format!("{shown} is not there"));
    };
    if let Err(error) = tempfile::tempfile_in(&there) {
        let wrong = check(
            MACHINE,
            name,
            State::Wrong,
            format!("{shown} cannot be written to: {error}"),
        );
        return wrong.mended_by(match name {
            "temporary folder" => "export TMPDIR=/a/folder/of/yours".to_owned(),
            _ => format!("ls -ld {}", quoted(&there.display().to_string())),
        });
    }
    let Some(room) = room(&there) else {
        return check(MACHINE, name, State::Well, shown);
    };
    let found = format!("{shown}, {} GiB free", show_gib(room));
    match room {
        ..NO_ROOM => {
            check(MACHINE, name, State::Wrong, found).mended_by(format!("df -h {}", quoted(&shown)))
        }
        NO_ROOM..LITTLE_ROOM => check(MACHINE, name, State::Note, found),
        _ => check(MACHINE, name, State::Well, found),
    }
}

fn show_gib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 30))
}

#[cfg(unix)]
fn room(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn room(_: &Path) -> Option<u64> {
    None
}

#[cfg(unix)]
fn open_files() -> Option<Check> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let found = limit.map_or_else(|| "no limit".to_owned(), |limit| format!("{limit} at once"));
    Some(match limit {
        Some(..FEW_FILES) => {
            check(MACHINE, "open files", State::Wrong, found).mended_by("ulimit -n 4096")
        }
        _ => check(MACHINE, "open files", State::Well, found),
    })
}

#[cfg(not(unix))]
fn open_files() -> Option<Check> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_and_references_are_none() {
        for (line, expected) in [
            ("password = \"hunter2\"", true),
            ("  \"password\": \"hunter2\",", true),
            ("export PGPASSWORD=hunter2", true),
            ("url = \"postgresql://me:hunter2@host/db\"", true),
            ("url = \"postgresql://me@host/db\"", false),
            ("url = \"postgresql://me:${env:PW}@host/db\"", false),
            ("password = \"${env:PGPASSWORD}\"", false),
            ("# password = \"hunter2\"", false),
            ("password = \"\"", false),
            (
                "options = { region = \"x\", aws_secret_access_key = \"hunter2\" }",
                true,
            ),
            (
                "options = { aws_secret_access_key = \"${env:KEY}\" }",
                false,
            ),
            ("host = \"localhost\"", false),
            ("", false),
        ] {
            assert_eq!(
                holds_secrets(&format!("[connections.a]\n{line}\n")),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn variables_that_set_nothing_are_told() {
        for (name, state) in [
            ("ARROWLOAD_CONNECTION_PG_URL", Some(State::Wrong)),
            ("ARROWLOAD_CONNECTIONS_PG__URL", Some(State::Wrong)),
            ("ARROWLOAD_CONECTIONS__PG__URL", Some(State::Wrong)),
            ("ARROWLOAD_CONFG", Some(State::Wrong)),
            ("ARROWLOAD_PYTHON", Some(State::Note)),
            ("ARROWLOAD_CONFIG", None),
            ("ARROWLOAD_CONNECTIONS__PG__URL", None),
            ("PGHOST", None),
        ] {
            assert_eq!(misspelt(name).map(|check| check.state), state, "{name}");
        }
    }
}
