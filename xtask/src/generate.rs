//! `cargo xtask generate`: what follows from the list of loaders and sources, which is that of the client's dependencies. A new one
//! is one new folder and two lines there; `lint` finds out whether that is still so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use toml_edit::DocumentMut;

use crate::speed;
use crate::tools::{root, run, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing, and fail where something else would be written
    #[arg(long)]
    check: bool,
}

/// The manifest with the list.
const CLIENT: &str = "client/Cargo.toml";

/// A crate that the client can link in.
pub(crate) struct Linked {
    /// The name of the dependency, and of the feature: `loader-x`.
    pub(crate) feature: String,
    /// `arrowload-x`
    package: String,
    /// `loaders/delta_lake`
    folder: String,
}

/// The crates that the client can link in, in the order of their names.
pub(crate) fn linked() -> Result<Vec<Linked>> {
    let manifest = manifest()?;
    let dependencies = manifest
        .get("dependencies")
        .and_then(|item| item.as_table_like());
    let mut found = Vec::new();
    for (name, dependency) in dependencies.into_iter().flat_map(|table| table.iter()) {
        if !is_linked(name) {
            continue;
        }
        let text = |key: &str| {
            let value = dependency.get(key).and_then(|value| value.as_str());
            value.with_context(|| format!("{CLIENT}: `{name}` has no `{key}`"))
        };
        found.push(Linked {
            feature: name.to_owned(),
            package: text("package")?.to_owned(),
            folder: text("path")?.trim_start_matches("../").to_owned(),
        });
    }
    found.sort_by(|one, other| one.feature.cmp(&other.feature));
    Ok(found)
}

/// The features of the client that say which loaders and sources there are.
fn features() -> Result<Vec<String>> {
    let manifest = manifest()?;
    let named = manifest
        .get("features")
        .and_then(|item| item.as_table_like());
    let named = named.into_iter().flat_map(|table| table.iter());
    let named = named
        .map(|(name, _)| name.to_owned())
        .filter(|name| is_linked(name));
    let linked = linked()?.into_iter().map(|linked| linked.feature);
    let mut all: Vec<String> = linked.chain(named).collect();
    all.sort();
    Ok(all)
}

fn is_linked(name: &str) -> bool {
    name.starts_with("loader-") || name.starts_with("source-")
}

fn manifest() -> Result<DocumentMut> {
    let text = fs::read_to_string(root().join(CLIENT)).with_context(|| CLIENT)?;
    text.parse().with_context(|| CLIENT)
}

pub(crate) fn run_task(args: &Args) -> Result<()> {
    generate(args.check)
}

/// Whether everything is as it would be generated.
pub(crate) fn check() -> Result<()> {
    generate(true)
}

/// The manifests of the crates whose features are tried one by one: what others depend on, and has features.
pub(crate) fn featured() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for file in tracked("Cargo.toml")? {
        let is_library = [
            "client/",
            "common/",
            "connections/",
            "loader-core/",
            "loaders/",
            "sources/",
            "testkit/",
        ]
        .iter()
        .any(|folder| file.starts_with(folder));
        let path = root().join(&file);
        let text = fs::read_to_string(&path).with_context(|| file.clone())?;
        let manifest: DocumentMut = text.parse().with_context(|| file.clone())?;
        if is_library && !file.starts_with(TRIED_TOGETHER) && manifest.contains_key("features") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The files of the repository with this name, or whose names end so.
pub(crate) fn tracked(ending: &str) -> Result<Vec<String>> {
    let mut list = Command::new("git");
    list.args(["ls-files", &format!("*{ending}")])
        .current_dir(root());
    let listed = list.output().context("git does not start")?;
    ensure!(listed.status.success(), "git does not list the files");
    Ok(String::from_utf8_lossy(&listed.stdout)
        .lines()
        .map(str::to_owned)
        .collect())
}

fn generate(check: bool) -> Result<()> {
    let linked = linked()?;
    let mut uses = String::from(
        "//! Made by `cargo xtask generate`: names the crates that are switched on, as the linker drops those that nobody names, and \
         their\n//! registrations with them.\n\n",
    );
    for one in &linked {
        let name = one.feature.replace('-', "_");
        uses += &format!("#[cfg(feature = \"{}\")]\nuse {name} as _;\n", one.feature);
    }
    let mut known = String::from(
        "//! Made by `cargo xtask generate`: the features that link loaders and sources in, and whether they are on.\n\n\
         pub(crate) const FEATURES: &[(&str, bool)] = &[\n",
    );
    for feature in features()? {
        known += &format!("    (\"{feature}\", cfg!(feature = \"{feature}\")),\n");
    }
    known += "];\n";
    for (file, text) in [
        ("client/src/linked.rs", uses),
        ("client/tests/it/features.rs", known),
    ] {
        write(&root().join(file), &text, check)?;
    }
    speed::generate(check)?;
    check_two_lines(&linked)
}

/// Writes a file as rustfmt would, if it is not there already.
fn write(path: &Path, text: &str, check: bool) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let made = folder.path().join("made.rs");
    fs::write(&made, text)?;
    run(Command::new("rustfmt")
        .args(["--edition", "2024"])
        .arg(&made))?;
    let text = fs::read_to_string(&made)?;
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if check {
        bail!(
            "{} is not as `cargo xtask generate` makes it",
            path.display()
        );
    }
    say(&format!("writing {}", path.display()));
    Ok(fs::write(path, text)?)
}

/// Where a crate may be named beside its own folder and the client's manifest: in what is made from that, in what shows and
/// measures stores, and in their servers.
const MAY_NAME: [&str; 9] = [
    "Cargo.lock",
    "benches/",
    "client/src/linked.rs",
    "client/tests/it/features.rs",
    "examples/",
    "testkit/",
    "xtask/src/generate.rs",
    "xtask/src/postgres.rs",
    "xtask/src/torture.rs",
];

/// A crate that takes minutes to check anew for each object store; the client is checked with all of them.
const TRIED_TOGETHER: &str = "loaders/iceberg/";

/// The embedded engine, which the client takes where nothing is said.
const ENGINE: &str = "source-datafusion";

/// Whether a loader or source is still one folder and two lines: no other code or manifest names its package or feature.
fn check_two_lines(linked: &[Linked]) -> Result<()> {
    let files = [tracked(".rs")?, tracked(".toml")?].concat();
    let manifest = fs::read_to_string(root().join(CLIENT))?;
    let mut found = Vec::new();
    for one in linked {
        let full = format!("    \"{}\",", one.feature);
        ensure!(
            manifest.contains(&full),
            "{CLIENT}: `full` lacks {}",
            one.feature
        );
        let module = one.package.replace('-', "_");
        let named = [one.package.as_str(), module.as_str(), one.feature.as_str()];
        for file in &files {
            let own = format!("{}/", one.folder);
            let is_of_engine = one.feature == ENGINE && file.starts_with("client/");
            if is_of_engine
                || file == CLIENT
                || file.starts_with(&own)
                || MAY_NAME.iter().any(|allowed| file.starts_with(allowed))
            {
                continue;
            }
            let text = fs::read_to_string(root().join(file)).unwrap_or_default();
            for (number, line) in text.lines().enumerate() {
                if named.iter().any(|name| names(line, name)) {
                    found.push(format!("{file}:{}: {}", number + 1, line.trim()));
                }
            }
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    bail!(
        "a loader or source is one folder and two lines in {CLIENT}, and these lines name one too:\n{}",
        found.join("\n")
    )
}

/// Whether a line has this name, and not one that it is a part of: `arrowload-file`, and not `arrowload-files`.
fn names(line: &str, name: &str) -> bool {
    let is_part = |letter: Option<char>| {
        letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '-' || letter == '_')
    };
    line.match_indices(name).any(|(at, _)| {
        let (before, behind) = (&line[..at], &line[at + name.len()..]);
        !is_part(before.chars().next_back()) && !is_part(behind.chars().next())
    })
}
