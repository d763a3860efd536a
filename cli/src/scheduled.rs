//! Tests that the commands in the crontabs, units, manifests and workflows of docs/scheduling.md are valid commands of this
//! program. `documented.rs` tests the blocks of shell code, there and elsewhere.

use std::path::Path;

use clap::Parser;

use crate::args::Cli;

const DOCUMENT: &str = "docs/scheduling.md";

/// The lines of blocks of code; one that ends with a backslash goes on in the next.
fn code(text: &str) -> Vec<String> {
    let (mut lines, mut within, mut open) = (Vec::<String>::new(), false, false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            within = !within;
        } else if within {
            let rest = line.trim_end();
            let (part, goes_on) = match rest.strip_suffix('\\') {
                Some(part) => (part, true),
                None => (rest, false),
            };
            match lines.last_mut() {
                Some(last) if open => last.push_str(part),
                _ => lines.push(part.to_owned()),
            }
            open = goes_on;
        }
    }
    lines
}

/// The words of each command of ours in a line.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    for (at, _) in line.match_indices("arrowload ") {
        let before = &line[..at];
        // A path or a package that is called so is not a command, and a comment has none.
        let begins = before
            .chars()
            .next_back()
            .is_none_or(|letter| letter.is_whitespace() || ['"', '\'', '('].contains(&letter));
        let goes_on = line[at + "arrowload ".len()..]
            .starts_with(|letter: char| letter == '-' || letter.is_ascii_lowercase());
        let begins = begins && goes_on;
        let is_comment = before
            .split('"')
            .next()
            .is_some_and(|text| text.contains("# "));
        if !begins || is_comment {
            continue;
        }
        let mut rest = &line[at..];
        // A command in quotes ends with them.
        if let Some(quote) = before
            .chars()
            .rev()
            .find(|letter| ['"', '\''].contains(letter))
            && before.matches(quote).count() % 2 == 1
        {
            let end = rest.rfind(quote).unwrap_or(rest.len());
            rest = &rest[..end];
        }
        let plain = rest.replace("$(date -d yesterday +\\%F)", "2024-01-01");
        let plain = plain.replace("$(date -d yesterday +%F)", "2024-01-01");
        let Some(words) = shlex::split(&plain) else {
            panic!("{line}: quotes are not closed");
        };
        let is_end = |word: &String| ["|", ";", "&&", ">", "#"].contains(&word.as_str());
        let end = words.iter().position(is_end).unwrap_or(words.len());
        commands.push(words[..end].to_vec());
    }
    commands
}

#[test]
fn every_command_of_a_schedule_is_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(DOCUMENT);
    let text = std::fs::read_to_string(file).expect(DOCUMENT);
    let mut all = 0;
    for line in code(&text) {
        for words in commands(&line) {
            all += 1;
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{DOCUMENT}: {line}\n{words:?}\n{error}");
            }
        }
    }
    assert!(all > 4, "{all}");
}

#[test]
fn a_command_that_is_none_is_noticed() {
    let found = commands("curl x | arrowload load --form x | jq .");
    assert_eq!(found, [["arrowload", "load", "--form", "x"]]);
    assert!(Cli::try_parse_from(&found[0]).is_err());
    let quoted = commands("bash_command=\"arrowload run a.toml --run-id '{{ run_id }}'\",");
    assert_eq!(
        quoted,
        [["arrowload", "run", "a.toml", "--run-id", "{{ run_id }}"]]
    );
}
