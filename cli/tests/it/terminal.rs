//! On a terminal there is a bar, and a table; Python's pseudo-terminal stands for one.

use std::process::Command;

use arrowload_testkit::python;

use crate::Place;

/// What a person would see.
fn on_a_terminal(place: &Place, arguments: &[&str]) -> Option<String> {
    if !python::available() {
        return None;
    }
    let python = python::interpreter().ok()?;
    let script = "import os, pty, sys\nout = []\ndef read(fd):\n    data = os.read(fd, 65536)\n    out.append(data)\n    return data\npty.spawn(sys.argv[1:], read)";
    let program = assert_cmd::cargo::cargo_bin!("arrowload");
    let mut command = Command::new(python);
    command
        .args(["-c", script])
        .arg(program)
        .args(arguments)
        .current_dir(place.path());
    let output = command
        .env("HOME", place.path())
        .env("TERM", "xterm")
        .env("COLUMNS", "120")
        .output()
        .expect("Python runs");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_load_shows_a_bar_and_a_query_a_table() {
    let place = Place::new();
    let sql = "SELECT value, repeat('x', 50) AS filler FROM generate_series(1, 3000000)";
    let Some(seen) = on_a_terminal(
        &place,
        &["load", "--sql", sql, "--to", "file", "--target", "rows.csv"],
    ) else {
        return;
    };
    assert!(
        seen.contains("rows") && seen.contains("/s") && seen.contains('\r'),
        "{seen:?}"
    );
    assert!(seen.contains("3,000,000 rows in"), "{seen:?}");
    let quiet = on_a_terminal(
        &place,
        &[
            "load",
            "--quiet",
            "--sql",
            "SELECT 1 AS a",
            "--to",
            "file",
            "--target",
            "a.csv",
        ],
    )
    .expect("a Python");
    assert_eq!(quiet, "");
    let table = on_a_terminal(&place, &["query", "--sql", "SELECT 1 AS a"]).expect("a Python");
    assert!(
        table.contains("| a |") && table.contains("(1 rows)"),
        "{table}"
    );
    // A terminal would obey them.
    let sql = "SELECT chr(27) || '[31m' || chr(13) || 'é' AS a";
    for format in ["table", "csv", "ndjson"] {
        let seen =
            on_a_terminal(&place, &["query", "--sql", sql, "--format", format]).expect("a Python");
        assert!(
            seen.contains(r"\u001b[31m\ré") && !seen.contains('\u{1b}'),
            "{format}: {seen:?}"
        );
    }
    let binary = on_a_terminal(
        &place,
        &["query", "--sql", "SELECT 1 AS a", "--format", "parquet"],
    )
    .expect("a Python");
    assert!(binary.contains("no text for a terminal"), "{binary}");
}
