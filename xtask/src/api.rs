//! `cargo xtask api`: what each published crate shows to others, in a file of its own, so that a change of it is seen and meant.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use toml_edit::DocumentMut;

use crate::generate::tracked;
use crate::test::FEATURES;
use crate::tools::{cargo, root, run, say, target};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing, and fail where something else would be written
    #[arg(long)]
    check: bool,
}

/// The file beside a crate's manifest.
const FILE: &str = "public-api.txt";

/// How the names of the standard library and of derived code are written changes from release to release of Rust. Others are not
/// compared.
const RUST: &str = "1.95";

pub(crate) fn run_task(args: &Args) -> Result<()> {
    compare(args.check)
}

/// Whether each crate's public API is as its file says.
pub(crate) fn check() -> Result<()> {
    compare(true)
}

fn compare(check: bool) -> Result<()> {
    let version = version()?;
    if !version.starts_with(&format!("rustc {RUST}.")) {
        say(&format!(
            "the public API is not compared: its files are of Rust {RUST}, and this is {}",
            version.trim()
        ));
        return Ok(());
    }
    document()?;
    let mut others = Vec::new();
    for (folder, name) in published()? {
        let text = items(&name).with_context(|| name.clone())?;
        let path = folder.join(FILE);
        let there = fs::read_to_string(&path).unwrap_or_default();
        if there == text {
            continue;
        }
        if check {
            say(&difference(&there, &text));
            others.push(path.display().to_string());
        } else {
            say(&format!("writing {}", path.display()));
            fs::write(&path, text)?;
        }
    }
    ensure!(
        others.is_empty(),
        "the public API has changed: if it is meant, run `cargo xtask api`, and say it in CHANGELOG.md. These files do not say what their crates have: {}",
        others.join(", ")
    );
    Ok(())
}

fn version() -> Result<String> {
    let told = Command::new("rustc").arg("--version").output();
    Ok(String::from_utf8(
        told.context("rustc does not start")?.stdout,
    )?)
}

/// Has rustdoc write what the crates have as JSON, which only `RUSTC_BOOTSTRAP` allows outside nightly. It is rustdoc's alone: were it
/// seen by build scripts, all would be compiled anew.
fn document() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("rustdoc");
    let text = "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n";
    fs::write(&program, text)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    run(cargo()
        .args(["doc", "--workspace", "--no-deps", "--features", FEATURES])
        .env("RUSTDOC", &program)
        .env("RUSTDOCFLAGS", "-Z unstable-options --output-format json"))
}

/// The folders of the crates that are published and are libraries, with the names of those.
fn published() -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for file in tracked("Cargo.toml")? {
        let path = root().join(&file);
        let manifest: DocumentMut = fs::read_to_string(&path)?
            .parse()
            .with_context(|| file.clone())?;
        let Some(package) = manifest.get("package") else {
            continue;
        };
        let is_published = package.get("publish").and_then(|value| value.as_bool()) != Some(false);
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        if is_published && folder.join("src/lib.rs").exists() && !file.contains("/fuzz/") {
            let name = package.get("name").and_then(|name| name.as_str());
            let name = name.with_context(|| format!("{file}: no name"))?;
            found.push((folder, name.replace('-', "_")));
        }
    }
    Ok(found)
}

/// The items that others can name, a line each.
fn items(name: &str) -> Result<String> {
    let file = target().join(format!("doc/{name}.json"));
    let api = public_api::Builder::from_rustdoc_json(&file)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build();
    let api = match api {
        Ok(api) => api,
        Err(error) => bail!("{}: {error}", file.display()),
    };
    Ok(api.items().map(|item| format!("{item}\n")).collect())
}

/// The lines that only one of two texts has.
fn difference(before: &str, after: &str) -> String {
    let lines = |text: &str, other: &str, sign: char| -> String {
        let there: std::collections::HashSet<&str> = other.lines().collect();
        let only = text.lines().filter(|line| !there.contains(line));
        only.map(|line| format!("{sign} {line}\n")).collect()
    };
    lines(before, after, '-') + &lines(after, before, '+')
}
