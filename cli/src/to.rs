//! Where the rows go: assigns each flag to the `--to` before it, and makes the destinations from them.

use std::path::Path;

use arrowload::core::{KeySchema, LoadOptions, LoaderDescriptor, nearest, url_scheme};
use arrowload::{Client, Destination};
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, FromArgMatches};

use crate::exit::Failure;
use crate::input::{is_data_file, is_data_url};
use crate::params::settings;

/// One destination, as flags or a job say it.
#[derive(Debug, Clone, Default)]
pub(crate) struct To {
    pub(crate) to: String,
    pub(crate) target: Option<String>,
    pub(crate) connection: Option<String>,
    pub(crate) config: Vec<String>,
    pub(crate) mode: Option<String>,
    pub(crate) keys: Vec<String>,
    pub(crate) options: Vec<String>,
    pub(crate) load_id: Option<String>,
    pub(crate) refuse_empty: bool,
    /// The id was generated for this load, so no store can know it yet.
    pub(crate) is_new: bool,
}

/// The destinations that the flags name, in their order.
#[derive(Debug, Clone)]
pub(crate) struct Destinations(pub(crate) Vec<To>);

/// The flags of all destinations together.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where to")]
struct Flags {
    /// A loader, a connection, a URL, which may name the target (postgresql://host/db?table=t), a file, or the URL of one. Once for
    /// each destination
    #[arg(short, long, value_name = "LOADER|NAME|URL", required = true)]
    to: Vec<String>,
    /// The table, file or key pattern; a name is taken as it stands, upper case included
    #[arg(short = 'T', long, value_name = "TARGET")]
    target: Vec<String>,
    /// The connection, where --to names a loader
    #[arg(short, long, value_name = "NAME")]
    connection: Vec<String>,
    /// A connection key, over those of the connection
    #[arg(long, value_name = "KEY=VALUE")]
    config: Vec<String>,
    /// What happens to rows that are in the target; append by default
    #[arg(short, long, value_name = "MODE", help_heading = "How", value_parser = ["create", "append", "overwrite", "upsert"])]
    mode: Vec<String>,
    /// The columns that identify a row
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
    /// Identifies the load: repeating it with the same id writes nothing again. Holds for all destinations
    #[arg(long, value_name = "ID", help_heading = "How")]
    load_id: Option<String>,
    /// Refuse a load without a row before its commit: the target stays as it was. Holds for all destinations
    #[arg(long, help_heading = "How")]
    refuse_empty: bool,
}

/// What `arrowload load --help` ends with.
pub(crate) const SEVERAL: &str = "Several destinations: give --to once for each. What stands behind a --to holds for that one, and what stands before the first \
--to for all. Each keeps its own promises; one that fails does not stop the others, unless --fail-fast is given.
  arrowload load --from x.csv -m overwrite --to postgresql -T t --to file -T t.parquet";

/// The values of one flag, each with the number of the destination that it follows. 0 is before the first destination: it applies
/// to all.
struct Placed<'a> {
    flag: &'a str,
    values: Vec<(usize, &'a String)>,
}

impl<'a> Placed<'a> {
    fn of(id: &str, flag: &'a str, values: &'a [String], matches: &ArgMatches) -> Self {
        let tos: Vec<usize> = matches.indices_of("to").into_iter().flatten().collect();
        let behind = |at: usize| match tos.len() {
            1 => 1,
            _ => tos.iter().filter(|to| **to < at).count(),
        };
        let places = matches.indices_of(id).into_iter().flatten().map(behind);
        Self {
            flag,
            values: places.zip(values).collect(),
        }
    }

    fn at(&self, place: usize) -> impl Iterator<Item = &'a String> {
        let here = move |(at, value): &(usize, &'a String)| (*at == place).then_some(*value);
        self.values.iter().filter_map(here)
    }

    /// For a flag of keys with values: a key of this destination stands over the same key for all.
    fn all(&self, place: usize) -> Vec<String> {
        let key = |text: &str| text.split('=').next().unwrap_or_default().trim().to_owned();
        let own: Vec<String> = self.at(place).map(|text| key(text)).collect();
        let general = self.at(0).filter(|text| !own.contains(&key(text)));
        general.chain(self.at(place)).cloned().collect()
    }

    /// For a flag that is given once: its value for this destination only (for all, if 0).
    fn own(&self, place: usize) -> Result<Option<String>, clap::Error> {
        if self.at(place).count() > 1 {
            let message = format!("{} is given twice for one destination", self.flag);
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, message));
        }
        Ok(self.at(place).next().cloned())
    }

    /// For a flag that is given once: its value for this destination, else the value for all.
    fn one(&self, place: usize) -> Result<Option<String>, clap::Error> {
        Ok(self.own(place)?.or(self.own(0)?))
    }
}

impl FromArgMatches for Destinations {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = Flags::from_arg_matches(matches)?;
        let placed = |id, flag, values| Placed::of(id, flag, values, matches);
        let target = placed("target", "--target", &flags.target);
        let connection = placed("connection", "--connection", &flags.connection);
        let config = placed("config", "--config", &flags.config);
        let mode = placed("mode", "--mode", &flags.mode);
        let keys = placed("keys", "--keys", &flags.keys);
        let options = placed("options", "--option", &flags.options);
        let mut destinations = Vec::with_capacity(flags.to.len());
        for (index, to) in flags.to.iter().enumerate() {
            let place = index + 1;
            let own_keys: Vec<String> = keys.at(place).cloned().collect();
            // A URL applies to this destination only.
            let by_url = target_of(to).1.is_some();
            let general = target.own(0)?.filter(|_| !by_url);
            destinations.push(To {
                to: to.clone(),
                target: target.own(place)?.or(general),
                connection: connection.one(place)?,
                config: config.all(place),
                mode: mode.one(place)?,
                keys: match own_keys.is_empty() {
                    true => keys.at(0).cloned().collect(),
                    false => own_keys,
                },
                options: options.all(place),
                load_id: flags.load_id.clone(),
                refuse_empty: flags.refuse_empty,
                is_new: false,
            });
        }
        check_modes(&destinations)?;
        Ok(Self(destinations))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A mode after the last destination may be meant for all of them, or for the last one: this is refused, not guessed.
fn check_modes(destinations: &[To]) -> Result<(), clap::Error> {
    let is_mode = |option: &String| option.split('=').next() == Some("mode");
    let has_mode = |to: &&To| to.mode.is_some() || to.options.iter().any(is_mode);
    let with_mode = destinations.iter().filter(has_mode).count();
    if with_mode == 0 || with_mode == destinations.len() {
        return Ok(());
    }
    let message = "--mode applies to the --to before it, and not every --to has one: give one after each --to, or one \
                   before the first --to, which holds for all";
    Err(clap::Error::raw(ErrorKind::ArgumentConflict, message))
}

impl Args for Destinations {
    fn augment_args(command: clap::Command) -> clap::Command {
        Flags::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Flags::augment_args_for_update(command)
    }
}

/// What a `--to` means: the loader, its connection, and the target.
struct Place {
    loader: String,
    connection: Option<String>,
    target: String,
}

/// The loader of files, and the scheme of tables that are folders.
const FILES: &str = "file";
const TABLES: &str = "delta";

/// A `--to` that is the target itself: a file, the URL of one, or a table by its place.
fn place_of_target(client: &Client, to: &To) -> Result<Option<Place>, Failure> {
    let (registry, connections) = (client.registry(), client.connections());
    let target = |loader: &str, target: String| {
        Some(Place {
            loader: loader.to_owned(),
            connection: None,
            target,
        })
    };
    let alone = |place: Option<Place>| match (&to.target, &to.connection) {
        (None, None) => Ok(place),
        _ => Err(Failure::usage(format!(
            "--to {} is the target itself; leave --target and --connection out, or name the loader in --to",
            to.to
        ))),
    };
    match url_scheme(&to.to) {
        Some(scheme) if scheme == TABLES => {
            let Some(loader) = registry.loader_for_scheme(&scheme) else {
                return Ok(None);
            };
            let behind = &to.to[TABLES.len() + "://".len()..];
            let place = behind.trim_end_matches('/');
            if place.is_empty() || behind.contains('?') {
                return Ok(None);
            }
            let place = match &to.target {
                None => place.to_owned(),
                Some(table) => format!("{place}/{table}"),
            };
            Ok(target(loader.name(), place))
        }
        Some(scheme) if scheme == FILES && to.target.is_none() => {
            Ok(target(FILES, to.to.clone()).filter(|_| is_data_file(Path::new(&to.to))))
        }
        Some(scheme) if registry.loader_for_scheme(&scheme).is_none() && is_data_url(&to.to) => {
            alone(target(FILES, to.to.clone()))
        }
        Some(_) => Ok(None),
        None => {
            let path = Path::new(&to.to);
            let is_path = is_data_file(path) || to.to.contains(['/', '\\']);
            let is_name = registry.loader(&to.to).is_ok()
                || connections.list().iter().any(|known| known.name == to.to);
            match is_path && !is_name && !to.to.contains("//") {
                true => alone(target(FILES, to.to.clone())),
                false => Ok(None),
            }
        }
    }
}

fn place(client: &Client, to: &To) -> Result<Place, Failure> {
    let (registry, connections) = (client.registry(), client.connections());
    let missing = || {
        Failure::usage(
            "--target is missing: the table, file or key pattern that the rows go to (with a URL, also as ?table=NAME)",
        )
    };
    if let Some(place) = place_of_target(client, to)? {
        return Ok(place);
    }
    if url_scheme(&to.to).is_some() {
        if to.connection.is_some() {
            return Err(Failure::usage(
                "--to is a URL, which says how to connect; leave --connection out, or name the loader in --to",
            ));
        }
        let loader = connections.loader_of(registry, &to.to)?;
        let (url, named) = target_of(&to.to);
        check_parameters(loader, &url)?;
        let loader = loader.name().to_owned();
        if let (Some(target), Some(named)) = (&to.target, &named)
            && target != named
        {
            return Err(Failure::usage(format!(
                "--to says that the rows go to `{named}`, and --target that they go to `{target}`; leave one of them out"
            )));
        }
        let target = to.target.clone().or(named).ok_or_else(missing)?;
        return Ok(Place {
            loader,
            connection: Some(url),
            target,
        });
    }
    let (loader, connection) = match registry.loader(&to.to) {
        Ok(loader) => (loader, to.connection.clone()),
        Err(_) if to.connection.is_some() => {
            let message = format!(
                "--to {} is no loader, so --connection has none to go with; loaders: {}",
                to.to,
                client.available_loaders().join(", ")
            );
            return Err(Failure::usage(message));
        }
        Err(_) => {
            let found = connections.loader_of(registry, &to.to);
            let loader = found.map_err(|error| match unknown_ending(&to.to) {
                Some(failure) if error.kind() == arrowload::ErrorKind::ConnectionNotFound => {
                    failure
                }
                _ => error.into(),
            })?;
            (loader, Some(to.to.clone()))
        }
    };
    Ok(Place {
        loader: loader.name().to_owned(),
        connection,
        target: to.target.clone().ok_or_else(missing)?,
    })
}

/// The error for something that looks like a file name, but has an unknown extension. Text that may contain a password is not
/// shown.
fn unknown_ending(to: &str) -> Option<Failure> {
    const WRITTEN: [&str; 7] = [
        "parquet", "csv", "ndjson", "jsonl", "json", "arrow", "arrows",
    ];
    let ending = Path::new(to).extension()?.to_str()?;
    if to.contains(['@', '=']) || to.contains("//") {
        return None;
    }
    let near = nearest(ending, WRITTEN);
    let hint = near.map_or_else(String::new, |near| {
        let near = Path::new(to).with_extension(near);
        format!("; did you mean `{}`?", near.display())
    });
    let hint = if hint.is_empty() { "." } else { &hint };
    Some(Failure::usage(format!(
        "--to {to}: files that end in `.{ending}` are not written, and no connection has this name{hint} Files end in .{}",
        WRITTEN.join(", .")
    )))
}

/// Refuses unknown parameters of a URL: one of them may be the misspelt parameter for the target.
fn check_parameters(loader: &LoaderDescriptor, url: &str) -> Result<(), Failure> {
    // What is wrong with the URL itself is said where it is read.
    let Ok(keys) = loader.config_from_url(url) else {
        return Ok(());
    };
    let schemas = [
        loader.config_schema(),
        loader.options_schema(),
        KeySchema::of::<LoadOptions>(),
    ];
    let known: Vec<&str> = schemas
        .iter()
        .flat_map(KeySchema::keys)
        .chain(["table", "target", "upsert_key"])
        .collect();
    let Some(unknown) = keys.keys().find(|key| !known.contains(&key.as_str())) else {
        return Ok(());
    };
    let hint = nearest(unknown, known.iter().copied()).map_or_else(
        || ".".to_owned(),
        |near| format!("; did you mean `{near}`?"),
    );
    Err(Failure::usage(format!(
        "--to: the URL's parameter `{unknown}` is unknown{hint} The target is `table`; `arrowload describe {}` lists the others",
        loader.name()
    )))
}

/// A URL without its `table=` or `target=`, and what that was.
pub(crate) fn target_of(url: &str) -> (String, Option<String>) {
    let Some((address, query)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let (mut target, mut rest) = (None, Vec::new());
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("table" | "target", value)) => target = Some(decode(value)),
            _ => rest.push(pair),
        }
    }
    let url = if rest.is_empty() {
        address.to_owned()
    } else {
        format!("{address}?{}", rest.join("&"))
    };
    (url, target)
}

/// Undoes `%20` and so on.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => (out.push(byte), at += 3).1,
            None => (out.push(bytes[at]), at += 1).1,
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A destination with all that the flags say of it.
pub(crate) fn destination(client: &Client, to: &To) -> Result<Destination, Failure> {
    let Place {
        loader,
        connection,
        target,
    } = place(client, to)?;
    let mut destination = Destination::new(loader, target);
    if let Some(connection) = connection {
        destination = destination.connection(connection);
    }
    let mut flags = settings("--option", &to.options)?;
    for (flag, key, is_given) in [
        ("--mode", "mode", to.mode.is_some()),
        ("--keys", "keys", !to.keys.is_empty()),
        ("--keys", "upsert_key", !to.keys.is_empty()),
        ("--load-id", "load_id", to.load_id.is_some()),
        ("--refuse-empty", "refuse_empty", to.refuse_empty),
    ] {
        if is_given && flags.get(key).is_some() {
            return Err(Failure::usage(format!(
                "{flag} and --option {key}=… say the same thing; give one of them"
            )));
        }
    }
    if let Some(mode) = &to.mode {
        flags.set("mode", mode.as_str(), "--mode");
    }
    if !to.keys.is_empty() {
        flags.set("keys", to.keys.clone(), "--keys");
    }
    if let Some(load_id) = to.load_id.as_ref().filter(|_| to.is_new) {
        destination = destination.new_load_id(load_id);
    } else if let Some(load_id) = &to.load_id {
        flags.set("load_id", load_id.as_str(), "--load-id");
    }
    if to.refuse_empty {
        flags.set("refuse_empty", true, "--refuse-empty");
    }
    Ok(destination
        .with_config(settings("--config", &to.config)?)
        .with_options(flags))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn a_url_may_name_its_target() {
        let named = |url: &str| target_of(url);
        assert_eq!(
            named("postgresql://h/d?table=a%20b&sslmode=require"),
            (
                "postgresql://h/d?sslmode=require".into(),
                Some("a b".into())
            )
        );
        assert_eq!(
            named("postgresql://h/d?target=t"),
            ("postgresql://h/d".into(), Some("t".into()))
        );
        assert_eq!(named("postgresql://h/d"), ("postgresql://h/d".into(), None));
    }

    /// The flags of each destination, as `to target mode keys options`.
    fn sorted(arguments: &str) -> Result<Vec<String>, String> {
        let arguments = ["arrowload", "load"]
            .into_iter()
            .chain(arguments.split(' '));
        let cli = Cli::try_parse_from(arguments).map_err(|error| error.to_string())?;
        let Command::Load(args) = cli.command else {
            return Err("no load".to_owned());
        };
        let shown = |to: &To| {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
            let (target, mode) = (text(&to.target), text(&to.mode));
            format!("{} {target} {mode} {:?} {:?}", to.to, to.keys, to.options)
        };
        Ok(args.to.0.iter().map(shown).collect())
    }

    #[test]
    fn one_destination_has_all_flags_wherever_they_stand() {
        let expected = Ok(vec![
            "a t upsert [\"x\", \"y\"] [\"o=1\", \"p=2\"]".to_owned(),
        ]);
        for arguments in [
            "--to a --target t --mode upsert --keys x,y -O o=1 -O p=2",
            "-O o=1 --mode upsert --keys x --to a -O p=2 --target t --keys y",
        ] {
            assert_eq!(sorted(arguments), expected, "{arguments}");
        }
    }

    #[test]
    fn a_flag_holds_for_the_destination_that_it_stands_behind_or_for_all() {
        let cases = [
            (
                "-O o=1 -m upsert -k x --to a -T t -O o=2 --to b -T u -k y,z",
                [
                    "a t upsert [\"x\"] [\"o=2\"]",
                    "b u upsert [\"y\", \"z\"] [\"o=1\"]",
                ],
            ),
            (
                "-T t --to a -m append --to b -m overwrite -T u",
                ["a t append [] []", "b u overwrite [] []"],
            ),
            (
                "-T t --to pg://h/d?table=v --to b",
                ["pg://h/d?table=v - - [] []", "b t - [] []"],
            ),
        ];
        for (arguments, expected) in cases {
            assert_eq!(
                sorted(arguments),
                Ok(expected.map(str::to_owned).to_vec()),
                "{arguments}"
            );
        }
    }

    #[test]
    fn what_may_be_meant_for_one_or_for_all_is_refused() {
        for (arguments, words) in [
            (
                "--to a -T t --to b -T u -m overwrite",
                "one before the first --to",
            ),
            (
                "--to a -T t -O mode=append --to b -T u",
                "one before the first --to",
            ),
            ("--to a -T t -T u", "--target is given twice"),
            (
                "-c x -c y --to a -T t --to b -T u",
                "--connection is given twice",
            ),
            (
                "--to a -T t -m append -m overwrite",
                "--mode is given twice",
            ),
        ] {
            let error = sorted(arguments).expect_err(arguments);
            assert!(error.contains(words), "{arguments}: {error}");
        }
    }
}
