//! `cargo xtask new-loader NAME`: a copy of the plugin template under another name, ready to test.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use toml_edit::{DocumentMut, InlineTable, Item, Value};

use crate::tools::{root, say};

const TEMPLATE: &str = "examples/plugin-template";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The loader's name in snake_case, as in `.load("NAME", …)`
    name: String,
    /// Make a crate of its own in this folder, outside this workspace; without it, the loader stands in `loaders/NAME`
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

pub(crate) fn run_task(args: Args) -> Result<()> {
    let name = args.name.as_str();
    check_name(name)?;
    let package = format!("arrowload-{}", name.replace('_', "-"));
    let taken =
        fs::read_to_string(root().join("Cargo.lock"))?.contains(&format!("name = \"{package}\"\n"));
    let folder = args
        .into
        .clone()
        .unwrap_or_else(|| root().join("loaders").join(name));
    if taken || name == "memory" {
        bail!("arrowload has a `{name}` of its own; choose another name");
    }
    if folder.exists() {
        bail!(
            "{} exists already; choose another {}",
            folder.display(),
            if args.into.is_some() {
                "folder"
            } else {
                "name"
            }
        );
    }
    copy(&root().join(TEMPLATE), &folder, &|text| rename(text, name))?;
    if args.into.is_none() {
        say(&format!(
            "made {}; test it: cargo xtask test -- --package {package}",
            folder.display()
        ));
        let feature = name.replace('_', "-");
        say(&format!(
            "to ship it with the client, add to client/Cargo.toml `\"loader-{feature}\",` in the feature `full`, and as a dependency\n  \
             loader-{feature} = {{ package = \"{package}\", path = \"../loaders/{name}\", version = \"0.1.0\", optional = true }}\n\
             then run: cargo xtask generate"
        ));
        return Ok(());
    }
    let manifest = folder.join("Cargo.toml");
    let alone = standalone(
        &fs::read_to_string(&manifest)?,
        &fs::read_to_string(root().join("Cargo.toml"))?,
        &root(),
    )?;
    fs::write(&manifest, alone)?;
    say(&format!(
        "made {}; test it: cd {0} && ARROWLOAD_REQUIRE=python cargo test",
        folder.display()
    ));
    say(
        "its rows are read back by a python3 that has pyarrow and duckdb: the one on the PATH, or the one that ARROWLOAD_PYTHON names",
    );
    say(&format!(
        "it finds arrowload in {}; a program that depends on it links it by `use arrowload_{name} as _;`",
        root().display()
    ));
    Ok(())
}

/// The manifest of a crate on its own: what it inherits from the workspace is written out, and paths begin at `root`.
fn standalone(manifest: &str, workspace: &str, root: &Path) -> Result<String> {
    let mut manifest: DocumentMut = manifest.parse()?;
    let workspace: DocumentMut = workspace.parse()?;
    let inherited = |table: &str, key: &str| {
        let value = workspace["workspace"][table]
            .get(key)
            .and_then(Item::as_value);
        value
            .cloned()
            .with_context(|| format!("the workspace has no {table}.{key}"))
    };
    manifest.remove("lints");
    let package = manifest["package"]
        .as_table_mut()
        .context("the template has no [package]")?;
    for ours in ["repository", "authors", "publish"] {
        package.remove(ours);
    }
    for (key, item) in package.iter_mut().filter(|(_, item)| inherits(item)) {
        let value = inherited("package", key.get())?;
        *item = Item::Value(value);
    }
    for table in ["dependencies", "dev-dependencies"] {
        let Some(dependencies) = manifest.get_mut(table).and_then(Item::as_table_mut) else {
            continue;
        };
        for (name, item) in dependencies.iter_mut().filter(|(_, item)| inherits(item)) {
            let mut value = inherited("dependencies", name.get())?;
            let path = value
                .as_inline_table()
                .and_then(|table| table.get("path"))
                .and_then(Value::as_str);
            if let Some(path) = path {
                let path = root.join(path).display().to_string();
                value = Value::InlineTable(InlineTable::from_iter([("path", path)]));
            }
            value.decor_mut().clear();
            *item = Item::Value(value);
        }
    }
    Ok(manifest.to_string().trim_end().to_owned() + "\n")
}

fn inherits(item: &Item) -> bool {
    item.get("workspace").and_then(Item::as_bool) == Some(true)
}

fn check_name(name: &str) -> Result<()> {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if !name.starts_with(|letter: char| letter.is_ascii_lowercase()) || !name.split('_').all(word) {
        bail!(
            "`{name}` is not snake_case: write a lower-case letter, then letters, digits and single underscores"
        );
    }
    Ok(())
}

/// The template's names, in each of their spellings, become the new ones.
fn rename(text: &str, name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    let camel: String = name.split('_').map(capital).collect();
    text.replace(
        "arrowload-plugin-template",
        &format!("arrowload-{}", name.replace('_', "-")),
    )
    .replace("arrowload_plugin_template", &format!("arrowload_{name}"))
    .replace("plugin-template", &name.replace('_', "-"))
    .replace("plugin_template", name)
    .replace("PluginTemplate", &camel)
}

fn copy(from: &Path, to: &Path, rename: &dyn Fn(&str) -> String) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let name = file_name.to_string_lossy();
        if name == "target" {
            continue;
        }
        let target = to.join(rename(&name));
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, rename)?;
        } else {
            let text = fs::read_to_string(entry.path())
                .with_context(|| format!("{} is no text", entry.path().display()))?;
            fs::write(target, rename(&text))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_renamed() {
        let text = "arrowload-plugin-template arrowload_plugin_template plugin_template PluginTemplateLoader";
        assert_eq!(
            rename(text, "click_house2"),
            "arrowload-click-house2 arrowload_click_house2 click_house2 ClickHouse2Loader"
        );
    }

    #[test]
    fn a_crate_on_its_own_inherits_nothing() {
        let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
        let manifest = standalone(
            &read("examples/plugin-template/Cargo.toml"),
            &read("Cargo.toml"),
            &root(),
        )
        .unwrap();
        assert!(!manifest.contains("workspace"), "{manifest}");
        let core = format!(
            "arrowload-core = {{ path = \"{}\" }}",
            root().join("loader-core").display()
        );
        assert!(manifest.contains(&core), "{manifest}");
        assert!(manifest.contains("edition = \"2024\""), "{manifest}");
    }

    #[test]
    fn names_that_could_not_be_registered_are_refused() {
        for name in ["", "A", "a__b", "_a", "a_", "1a", "a-b", "../x"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name("click_house2").is_ok());
    }
}
