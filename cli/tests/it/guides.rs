//! The quickstart of the guide does what it says: its files are saved, its commands run in their order, and print what it shows.

use std::path::Path;
use std::process::Command;

use arrowload_testkit::ThrowawayPostgres;

use crate::{DEAF, Place};

/// Where the guide works.
const FOLDER: &str = "/tmp/shop";

#[test]
fn the_quickstart_does_what_it_says() {
    let Some(server) = ThrowawayPostgres::available() else {
        return;
    };
    let url = server
        .create_database("arrowload_quickstart")
        .expect("a database");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/quickstart.md");
    let page = std::fs::read_to_string(page).expect("the quickstart");
    let place = Place::new();
    let (mut saved, mut printed, mut compared) = (String::new(), String::new(), 0);
    // Prose and blocks of code by turns.
    let mut parts = page.split("```");
    let mut prose = parts.next().unwrap_or_default();
    while let (Some(block), Some(after)) = (parts.next(), parts.next()) {
        let (language, body) = block.split_once('\n').expect("a language, and the block");
        if let Some((right, wrong)) =
            between(prose, "Write `", "`, and").and_then(|text| text.split_once("` in place of `"))
        {
            let corrected = place.read(&saved).replace(wrong, right);
            place.write(&saved, &corrected);
        }
        if let Some(name) = between(prose, "Save this as `", "`") {
            name.clone_into(&mut saved);
            place.write(name, body);
        } else if language == "sh" && !sets_up_the_machine(body) {
            let (code, text) = run(&place, &url, body);
            if let Some(expected) = between(prose, "(exit code ", ")") {
                assert_eq!(code.to_string(), expected, "{body}{text}");
            }
            printed = text;
        } else if language == "text" {
            let now = printed.replace(&place.path().display().to_string(), FOLDER);
            assert_eq!(comparable(&now), comparable(body), "{prose}");
            compared += 1;
        }
        prose = after;
    }
    assert!(compared > 10, "only {compared} outputs were compared");
}

/// Commands that a test leaves to its own set-up.
fn sets_up_the_machine(commands: &str) -> bool {
    ["cargo install", "docker run", "export DATABASE_URL"]
        .iter()
        .any(|command| commands.contains(command))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// Runs commands by a shell that finds the program, and answers with the exit code and with everything that was printed.
fn run(place: &Place, url: &str, commands: &str) -> (i32, String) {
    let program = assert_cmd::cargo::cargo_bin!("arrowload");
    let own = program.parent().expect("a folder").to_owned();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(own).chain(std::env::split_paths(&others));
    let path = std::env::join_paths(folders).expect("a path of folders");
    let mut shell = Command::new("sh");
    DEAF.iter().for_each(|name| {
        shell.env_remove(name);
    });
    shell
        .args(["-c", &format!("exec 2>&1\n{commands}")])
        .current_dir(place.path())
        .env("PATH", path)
        .env("HOME", place.path())
        .env("COLUMNS", "100")
        .env("DATABASE_URL", url);
    let output = shell.output().expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap_or(-1), text)
}

/// An output without what differs from run to run: ids, times, and where the server is.
fn comparable(text: &str) -> Vec<String> {
    let lines = text
        .trim_end()
        .lines()
        .filter(|line| !line.starts_with("  connects by: "));
    let without_server = lines.map(|line| {
        let (line, _) = line.split_once(" connection to ").unwrap_or((line, ""));
        without_ids(line)
    });
    let is_table = |line: &String| line.starts_with(['|', '+']);
    without_server
        .map(|line| match is_table(&line) {
            true => line,
            false => without_times(&line),
        })
        .collect()
}

/// Digits of base 16 and hyphens, more than a date has of them, are an id.
fn without_ids(line: &str) -> String {
    let is_of_id = |letter: char| matches!(letter, '0'..='9' | 'a'..='f' | '-');
    let mut kept = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(is_of_id) {
        let (before, from) = rest.split_at(start);
        let length = from
            .find(|letter: char| !is_of_id(letter))
            .unwrap_or(from.len());
        let (id, after) = from.split_at(length);
        kept.push_str(before);
        kept.push_str(if length > "2024-01-01".len() {
            "ID"
        } else {
            id
        });
        rest = after;
    }
    kept + rest
}

/// Numbers with a point, and rows a second, are measured.
fn without_times(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let is_time = word.contains('.') && word.parse::<f64>().is_ok();
        match is_time || word.strip_prefix('(').is_some_and(is_count) {
            true => "N",
            false => word,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn is_count(word: &str) -> bool {
    !word.is_empty()
        && word
            .chars()
            .all(|letter| letter.is_ascii_digit() || letter == ',')
}
