//! Every layer, their order, what is said of each mistake, and that no secret is said.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on says so and ends"
)]

mod backends;
mod ecosystem;
mod files;
mod layers;
mod lookup;
mod mistakes;
mod references;
mod urls;

use arrowload_connections::Connections;
use arrowload_core::{Error, Result, Settings};
use serde_json::Value;

/// Layers of a config file's text and of variables; the folder lives as long as the file is needed.
fn layers(file: &str, variables: &[(&str, &str)]) -> Result<Connections> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("arrowload.toml");
    std::fs::write(&path, file).expect("written");
    Connections::builder()
        .config_file(&path)
        .environment(owned(variables))
        .build()
}

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn value(settings: &Settings, key: &str) -> Value {
    settings
        .get(key)
        .map_or(Value::Null, |setting| setting.value.clone())
}

fn origin(settings: &Settings, key: &str) -> String {
    settings
        .get(key)
        .map(|setting| setting.origin.to_string())
        .unwrap_or_default()
}

/// Whether an error, however it is printed, says all of these and none of the secrets that the tests use.
#[track_caller]
fn says(error: &Error, parts: &[&str]) {
    let all = format!("{error}\n{error:#}\n{error:?}");
    for part in parts {
        assert!(all.contains(part), "`{part}` is missing in: {error}");
    }
    assert!(!all.contains("hunter2"), "a secret is shown: {error}");
}
