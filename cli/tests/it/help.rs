//! What the program says of itself.

use crate::Place;

#[test]
fn every_command_has_help_that_names_its_flags() {
    let place = Place::new();
    let help = place.ok(&["--help"]);
    for command in [
        "load",
        "query",
        "diff",
        "list",
        "run",
        "sync",
        "replay",
        "loaders",
        "sources",
        "describe",
        "connections",
        "doctor",
        "init",
        "completions",
        "schema",
    ] {
        assert!(help.contains(command), "{command}: {help}");
        let own = place.ok(&[command, "--help"]);
        assert!(own.contains("Usage: arrowload"), "{own}");
    }
    assert!(help.contains("Exit codes: 0 done; 1 failed"), "{help}");
    let load = place.ok(&["load", "--help"]);
    for flag in [
        "--from",
        "--sql",
        "--sql-file",
        "--table",
        "--param",
        "--to",
        "--target",
        "--connection",
        "--config",
        "--mode",
        "--keys",
        "--option",
        "--load-id",
        "--fail-fast",
        "--dry-run",
        "--output",
        "--quiet",
        "--verbose",
        "--log-format",
    ] {
        assert!(load.contains(flag), "{flag}: {load}");
    }
}

#[test]
fn what_is_linked_in_appears_by_itself() {
    let place = Place::new();
    let loaders = place.ok(&["loaders"]);
    assert!(
        loaders.starts_with("NAME") && loaders.contains("create, append, overwrite, upsert"),
        "{loaders}"
    );
    assert!(place.ok(&["sources"]).contains("datafusion://"));
    let file = place.ok(&["describe", "file"]);
    for words in [
        "root",
        "compression",
        "max_file_bytes",
        "load_id",
        "schema_evolution",
        "on_error",
        "Connection keys",
        "Options of every load",
    ] {
        assert!(file.contains(words), "{words}: {file}");
    }
    let postgresql = place.ok(&["describe", "postgresql"]);
    for words in [
        "PGPASSWORD",
        "sslmode",
        "disable|prefer|require|verify-ca|verify-full",
        "secret",
        "column_map",
        "can be queried",
    ] {
        assert!(postgresql.contains(words), "{words}: {postgresql}");
    }
}

#[test]
fn schemas_and_completions_are_printed() {
    let place = Place::new();
    let job: serde_json::Value = serde_json::from_str(&place.ok(&["schema", "job"])).expect("JSON");
    assert!(job["properties"]["loads"].is_object(), "{job}");
    let config: serde_json::Value = serde_json::from_str(&place.ok(&["schema"])).expect("JSON");
    assert!(
        config["properties"]["connections"]["additionalProperties"]["anyOf"]
            .as_array()
            .is_some_and(|all| all.len() >= 4),
        "{config}"
    );
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(
            place.ok(&["completions", shell]).contains("arrowload"),
            "{shell}"
        );
    }
}
