//! `cargo xtask new-loader NAME`: a copy of the plugin template under another name, ready to test.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::tools::{root, say};

const TEMPLATE: &str = "examples/plugin-template";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The loader's name in snake_case, as in `.load("NAME", …)`
    name: String,
}

pub(crate) fn run_task(args: Args) -> Result<()> {
    let name = args.name.as_str();
    check_name(name)?;
    let folder = root().join("loaders").join(name);
    if folder.exists() {
        bail!("{} exists already; choose another name", folder.display());
    }
    copy(&root().join(TEMPLATE), &folder, &|text| rename(text, name))?;
    let package = format!("arrowload-{}", name.replace('_', "-"));
    say(&format!("made {}; test it: cargo test --package {package}", folder.display()));
    say(&format!("to ship it with the client, add a feature `loader-{}` and its `use arrowload_{name} as _;`", name.replace('_', "-")));
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !name.starts_with(|letter: char| letter.is_ascii_lowercase()) || !name.split('_').all(word) {
        bail!("`{name}` is not snake_case: write a lower-case letter, then letters, digits and single underscores");
    }
    Ok(())
}

/// The template's names, in each of their spellings, become the new ones.
fn rename(text: &str, name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    let camel: String = name.split('_').map(capital).collect();
    text.replace("arrowload-plugin-template", &format!("arrowload-{}", name.replace('_', "-")))
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
            let text = fs::read_to_string(entry.path()).with_context(|| format!("{} is no text", entry.path().display()))?;
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
        assert_eq!(rename(text, "click_house2"), "arrowload-click-house2 arrowload_click_house2 click_house2 ClickHouse2Loader");
    }

    #[test]
    fn names_that_could_not_be_registered_are_refused() {
        for name in ["", "A", "a__b", "_a", "a_", "1a", "a-b", "../x"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name("click_house2").is_ok());
    }
}
