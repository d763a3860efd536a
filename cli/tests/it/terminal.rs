//! On a terminal there is a bar, and a table; Python's pseudo-terminal stands for one.

use std::process::Command;

use arrowload_testkit::python;

use crate::Place;

/// What a person would see.
fn on_a_terminal(place: &Place, arguments: &[&str]) -> Option<String> {
    on_a_terminal_of(120, place, arguments)
}

fn on_a_terminal_of(columns: usize, place: &Place, arguments: &[&str]) -> Option<String> {
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
        .env("COLUMNS", columns.to_string())
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

#[test]
fn tables_and_bars_fit_the_terminal() {
    let place = Place::new();
    let columns: Vec<String> = (0..20)
        .map(|column| format!("{column} AS column_{column}"))
        .collect();
    let sql = format!("SELECT {}, repeat('long ', 40) AS text", columns.join(", "));
    for width in [50, 80, 120] {
        let query = ["query", "--sql", &sql];
        let Some(seen) = on_a_terminal_of(width, &place, &query) else {
            return;
        };
        let widest = seen
            .lines()
            .map(|line| line.trim_end().chars().count())
            .max();
        assert!(widest <= Some(width), "{width}: {seen}");
        assert!(
            seen.contains("left out: --wide") && seen.contains("column_0"),
            "{seen}"
        );
        let wide = on_a_terminal_of(width, &place, &[&query[..], &["--wide"]].concat());
        assert!(wide.is_some_and(|seen| seen.contains("column_19") && seen.contains("long long")));
        let sql = "SELECT value, repeat('x', 50) AS filler FROM generate_series(1, 3000000)";
        let load = [
            "load",
            "--sql",
            sql,
            "--to",
            "rows.csv",
            "--mode",
            "overwrite",
        ];
        let seen = on_a_terminal_of(width, &place, &load).expect("a Python");
        assert!(seen.contains(" rows/s"), "{seen:?}");
    }
}

/// Folders of standard input that wait in the system's folder for temporary files.
#[cfg(unix)]
fn waiting(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.path()).expect("a folder").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.starts_with("arrowload-stdin-"))
        .collect()
}

#[cfg(unix)]
#[test]
fn standard_input_leaves_nothing_behind() {
    use std::io::Write;
    use std::process::Stdio;

    let place = Place::new();
    for (signal, stays) in [("-INT", false), ("-KILL", true)] {
        let program = assert_cmd::cargo::cargo_bin!("arrowload");
        let mut child = Command::new(program)
            .args(["load", "--from", "-", "--to", "x.parquet"])
            .current_dir(place.path())
            .env("HOME", place.path())
            .env("TMPDIR", place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(b"id\n1\n").expect("written");
        let began = std::time::Instant::now();
        while waiting(&place).is_empty() {
            assert!(began.elapsed().as_secs() < 30, "it does not begin");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let id = child.id().to_string();
        let kill = Command::new("kill").args([signal, &id]).status();
        assert!(kill.expect("kill").success());
        child.wait().expect("it ends");
        assert_eq!(waiting(&place).is_empty(), !stays, "{signal}");
    }
    // The next run clears up.
    let mut command = place.command(&["loaders"]);
    command.env("TMPDIR", place.path()).assert().success();
    assert_eq!(waiting(&place), [""; 0]);
}
