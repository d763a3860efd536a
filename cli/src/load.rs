//! `arrowload load` and `arrowload replay`.

use arrowload::core::{KeySchema, LoadOptions, LoaderDescriptor, nearest, url_scheme};
use arrowload::{Client, LoadBuilder, LoadReport, QueryBuilder};

use crate::args::{Common, LoadArgs, ReplayArgs, Report, To};
use crate::exit::{Exit, Failure};
use crate::input::Question;
use crate::params::settings;
use crate::progress::Display;
use crate::show;

pub(crate) async fn command(args: LoadArgs, common: &Common) -> Result<Exit, Failure> {
    let question = Question::ask(&args.from)?;
    let load = load(&question.client, question.query.clone(), &args.to)?;
    if args.dry_run {
        return dry_run(load, args.output).await;
    }
    let report = run(load, &args.to.to, &Display::new(common)).await?;
    print_report(&report, args.output, common)
}

pub(crate) async fn replay(args: ReplayArgs, common: &Common) -> Result<Exit, Failure> {
    let client = Client::builder().build()?;
    let mut load = client
        .replay(&args.file)?
        .with_options(settings("--option", &args.options)?);
    if let Some(connection) = args.connection {
        load = load.connection(connection);
    }
    let report = run(load, "replay", &Display::new(common)).await?;
    print_report(&report, args.output, common)
}

/// Where a load goes: the loader, its connection, and the target.
struct Destination {
    loader: String,
    connection: Option<String>,
    target: String,
}

fn destination(client: &Client, to: &To) -> Result<Destination, Failure> {
    let (registry, connections) = (client.registry(), client.connections());
    let missing = || {
        Failure::usage("--target is missing: the table, file or key pattern that the rows go to")
    };
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
        let target = to.target.clone().or(named).ok_or_else(missing)?;
        return Ok(Destination {
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
        Err(_) => (
            connections.loader_of(registry, &to.to)?,
            Some(to.to.clone()),
        ),
    };
    Ok(Destination {
        loader: loader.name().to_owned(),
        connection,
        target: to.target.clone().ok_or_else(missing)?,
    })
}

/// Refuses what a URL says that nobody knows: it may be the target's name, misspelt.
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

/// Undoes `%20` and the like.
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

/// A load with all that the flags say.
pub(crate) fn load(client: &Client, query: QueryBuilder, to: &To) -> Result<LoadBuilder, Failure> {
    let Destination {
        loader,
        connection,
        target,
    } = destination(client, to)?;
    let mut load = query.load(loader, target);
    if let Some(connection) = connection {
        load = load.connection(connection);
    }
    let mut flags = settings("--option", &to.options)?;
    for (flag, key, is_given) in [
        ("--mode", "mode", to.mode.is_some()),
        ("--keys", "keys", !to.keys.is_empty()),
        ("--keys", "upsert_key", !to.keys.is_empty()),
        ("--load-id", "load_id", to.load_id.is_some()),
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
    if let Some(load_id) = &to.load_id {
        flags.set("load_id", load_id.as_str(), "--load-id");
    }
    Ok(load
        .with_config(settings("--config", &to.config)?)
        .with_options(flags))
}

async fn dry_run(load: LoadBuilder, output: Report) -> Result<Exit, Failure> {
    let plan = load.plan().await?;
    match output {
        Report::Text => show::print(&plan.to_string())?,
        Report::Json => show::print(&json(&plan)?)?,
    }
    plan.check()?;
    Ok(Exit::Done)
}

/// Runs a load with its bar.
pub(crate) async fn run(
    load: LoadBuilder,
    name: &str,
    display: &Display,
) -> Result<LoadReport, Failure> {
    // A URL may hold a password.
    let name = name.split("://").next().unwrap_or(name);
    let meter = display.meter(name);
    let shown = meter.clone();
    let outcome = load.on_progress(move |progress| shown.show(progress)).await;
    meter.end();
    Ok(outcome?)
}

/// Any value as JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::failed(error.to_string()))
}

fn print_report(report: &LoadReport, output: Report, common: &Common) -> Result<Exit, Failure> {
    match output {
        Report::Json => show::print(&json(report)?)?,
        Report::Text if common.quiet => {}
        Report::Text => show::print(&show::report(report))?,
    }
    Ok(if report.rows_rejected > 0 {
        Exit::Partly
    } else {
        Exit::Done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
