//! Tests that the documentation matches the program: each command is parsed by the real flags, each job file by the real reader,
//! and each link leads to an existing file. Nothing is run.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::args::Cli;
use crate::job::Job;

/// The folder of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages for users, relative to the repository.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["README.md", "cli/README.md"].map(PathBuf::from).into();
    for folder in ["docs", "docs/guide"] {
        let entries = std::fs::read_dir(root().join(folder)).expect("a folder of pages");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let files = names.map(|name| Path::new(folder).join(name));
        pages.extend(files.filter(|file| file.extension().is_some_and(|ending| ending == "md")));
    }
    pages.sort();
    pages
}

fn read(page: &Path) -> String {
    let path = root().join(page);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A fenced block of code.
#[derive(Debug)]
struct Block {
    language: String,
    /// The number of its first line within the page.
    first_line: usize,
    lines: Vec<String>,
}

/// A page's blocks of code, and its other lines with their numbers.
fn parts(text: &str) -> (Vec<Block>, Vec<(usize, &str)>) {
    let (mut blocks, mut prose) = (Vec::new(), Vec::new());
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        open = match (open, fence) {
            (None, None) => {
                prose.push((index + 1, line));
                None
            }
            (None, Some(info)) => Some(Block {
                language: info.split([',', ' ']).next().unwrap_or_default().to_owned(),
                first_line: index + 2,
                lines: Vec::new(),
            }),
            (Some(block), Some(_)) => {
                blocks.push(block);
                None
            }
            (Some(mut block), None) => {
                block.lines.push(line.to_owned());
                Some(block)
            }
        };
    }
    assert!(open.is_none(), "a block of code has no end: {open:?}");
    (blocks, prose)
}

/// Words that end a command of a shell.
const OPERATORS: [&str; 5] = ["|", "||", "&&", ";", "&"];

/// The commands `arrowload …` of a block for a shell: each with the number of its first line, as the words that a shell makes of it.
fn commands(block: &Block) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut text = String::new();
    let mut begins = block.first_line;
    for (line, index) in block.lines.iter().zip(block.first_line..) {
        if text.is_empty() {
            begins = index;
        }
        if let Some(unfinished) = line.strip_suffix('\\') {
            text.push_str(unfinished);
            continue;
        }
        text.push_str(line);
        // It is `None` where a quote is open: the command goes on in the next line.
        let Some(words) = shlex::split(&text) else {
            text.push('\n');
            continue;
        };
        let parts = words.split(|word| OPERATORS.contains(&word.as_str()));
        found.extend(parts.filter_map(command).map(|words| (begins, words)));
        text.clear();
    }
    assert!(
        text.is_empty(),
        "line {begins}: a command has no end: {text}"
    );
    found
}

/// The words of a command of ours: without variables before it, and without redirections.
fn command(words: &[String]) -> Option<Vec<String>> {
    let own: Vec<String> = words
        .iter()
        .skip_while(|word| is_variable(word))
        .take_while(|word| !is_redirection(word))
        .cloned()
        .collect();
    (own.first().map(String::as_str) == Some("arrowload")).then_some(own)
}

/// `NAME=value`, before a command.
fn is_variable(word: &str) -> bool {
    let is_name = |text: &str| {
        text.chars()
            .all(|letter| letter.is_ascii_uppercase() || letter == '_')
    };
    word.split_once('=').is_some_and(|(name, _)| is_name(name))
}

fn is_redirection(word: &str) -> bool {
    [">", "2>", "<"].iter().any(|sign| word.starts_with(sign))
}

/// Why the program does not understand these words, in one line.
fn misunderstood(words: &[String]) -> Option<String> {
    let error = Cli::try_parse_from(words)
        .err()
        .filter(clap::Error::use_stderr)?;
    let text = error.to_string();
    Some(text.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn every_command_is_understood() {
    let (mut wrong, mut seen) = (String::new(), 0);
    for page in pages() {
        let text = read(&page);
        let (blocks, _) = parts(&text);
        let shell = blocks.iter().filter(|block| block.language == "sh");
        for (line, words) in shell.flat_map(commands) {
            seen += 1;
            if let Some(why) = misunderstood(&words) {
                let shown = words.join(" ");
                let _ = writeln!(wrong, "{}:{line}: {shown}\n  {why}", page.display());
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(seen > 60, "only {seen} commands were found");
}

#[test]
fn every_job_is_understood() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut wrong, mut seen) = (String::new(), 0);
    for page in pages() {
        let text = read(&page);
        let (blocks, _) = parts(&text);
        let is_job = |block: &&Block| {
            block.language == "toml" && block.lines.iter().any(|line| line.starts_with("[loads."))
        };
        for block in blocks.iter().filter(is_job) {
            seen += 1;
            let file = folder.path().join(format!("job-{seen}.toml"));
            std::fs::write(&file, block.lines.join("\n")).expect("written");
            // Some want the day from who runs them.
            let day = [("day".to_owned(), "2024-01-01".to_owned())];
            let read = Job::read(&file, &[]).or_else(|_| Job::read(&file, &day));
            if let Err(failure) = read {
                let line = block.first_line;
                let _ = writeln!(wrong, "{}:{line}: {failure:?}", page.display());
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(seen >= 4, "only {seen} jobs were found");
}

#[test]
fn every_link_leads_to_a_file() {
    let mut wrong = String::new();
    for page in pages() {
        let text = read(&page);
        let (_, prose) = parts(&text);
        for (line, text) in prose {
            for rest in text.split("](").skip(1) {
                let link = rest.split(')').next().unwrap_or_default();
                let file = link.split('#').next().unwrap_or_default();
                let folder = page.parent().unwrap_or(Path::new(""));
                if !link.contains("://") && !root().join(folder).join(file).exists() {
                    let _ = writeln!(wrong, "{}:{line}: {link}", page.display());
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these files are not there:\n{wrong}");
}

#[test]
fn commands_are_taken_apart_as_a_shell_does() {
    let page = "Text with `arrowload code`.\n\n```sh\n# it's a comment\ncd x && PGUSER=me arrowload query --sql \"SELECT '|' \\\n  AS x\" \
                --format ndjson > out | jq .x   # more\nmkdir arrowload\n\ncurl x | arrowload load --from - \\\n  --to file --target t\n\
                arrowload query --nonsense\n```\n```text\narrowload is output here\n```\n";
    let (blocks, _) = parts(page);
    let shell = blocks.iter().filter(|block| block.language == "sh");
    let found: Vec<(usize, Vec<String>)> = shell.flat_map(commands).collect();
    let shown: Vec<(usize, String)> = found
        .iter()
        .map(|(line, words)| (*line, words.join("¦")))
        .collect();
    let expected = [
        (5, "arrowload¦query¦--sql¦SELECT '|'   AS x¦--format¦ndjson"),
        (9, "arrowload¦load¦--from¦-¦--to¦file¦--target¦t"),
        (11, "arrowload¦query¦--nonsense"),
    ];
    assert_eq!(
        shown,
        expected.map(|(line, words)| (line, words.to_owned())),
        "{blocks:?}"
    );
    let understood: Vec<bool> = found
        .iter()
        .map(|(_, words)| misunderstood(words).is_none())
        .collect();
    assert_eq!(understood, [true, true, false]);
}
