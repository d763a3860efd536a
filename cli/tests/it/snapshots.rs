//! What the program prints, whole: helps, tables, plans, and the answers to mistakes. `SNAPSHOTS=overwrite` rewrites them.

use std::path::Path;

use crate::{PEOPLE, Place};

/// Compares a text with its snapshot. What differs from run to run has a name in brackets there.
pub(crate) fn assert_shown(place: &Place, name: &str, text: &str) {
    let folder = place
        .path()
        .canonicalize()
        .expect("a folder")
        .display()
        .to_string();
    let text = text
        .replace(&folder, "[FOLDER]")
        .replace(&place.path().display().to_string(), "[FOLDER]");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/snapshots")
        .join(name);
    snapbox::Assert::new()
        .action_env("SNAPSHOTS")
        .eq(text, snapbox::Data::read_from(&path, None).raw());
}

#[test]
fn every_command_has_its_help() {
    let place = Place::new();
    assert_shown(&place, "help.txt", &place.ok(&["--help"]));
    for command in [
        "load",
        "query",
        "diff",
        "list",
        "run",
        "sync",
        "replay",
        "peek",
        "state",
        "loaders",
        "sources",
        "describe",
        "connections",
        "doctor",
        "init",
        "completions",
        "schema",
    ] {
        assert_shown(
            &place,
            &format!("help-{command}.txt"),
            &place.ok(&[command, "--help"]),
        );
    }
    for command in ["list", "show", "test", "add", "remove"] {
        assert_shown(
            &place,
            &format!("help-connections-{command}.txt"),
            &place.ok(&["connections", command, "--help"]),
        );
    }
}

#[test]
fn tables_and_plans_look_like_this() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    place.write(
        "arrowload.toml",
        "[connections.lake]\ntype = \"file\"\nroot = \"lake\"\n\n[connections.pg]\ntype = \"postgresql\"\nhost = \"localhost\"\npassword = \"hunter2\"\n",
    );
    let mut text = String::new();
    for arguments in [
        &["loaders"][..],
        &["sources"],
        &["describe", "file"],
        &["describe", "datafusion"],
        &["connections", "list"],
        &["query", "--from", "people.csv", "--format", "table"],
        &[
            "load",
            "--from",
            "people.csv",
            "--to",
            "file",
            "--target",
            "people.parquet",
            "--dry-run",
        ],
    ] {
        text += &format!(
            "$ arrowload {}\n{}\n",
            arguments.join(" "),
            place.ok(arguments)
        );
    }
    assert!(!text.contains("hunter2"), "{text}");
    assert_shown(&place, "tables.txt", &text);
}
