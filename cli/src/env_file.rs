//! `--env-file`: variables from a file, for everything that reads variables. The program starts itself again with them, because a
//! process with several threads cannot change its own variables.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::exit::Failure;

const FLAG: &str = "--env-file";

/// Runs the same command with the file's variables, and returns its exit code. Those that are set already stay as they are.
pub(crate) fn run_with(file: &Path) -> Result<u8, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("{FLAG} {}: {error}", file.display())))?;
    let pairs = pairs(&text).map_err(|line| {
        Failure::usage(format!(
            "{FLAG} {}, line {line}: write NAME=VALUE",
            file.display()
        ))
    })?;
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.args(without_flag(std::env::args_os().skip(1)));
    for (name, value) in pairs {
        if std::env::var_os(&name).is_none() {
            command.env(name, value);
        }
    }
    start(command)
}

#[cfg(unix)]
fn start(mut command: Command) -> Result<u8, Failure> {
    use std::os::unix::process::CommandExt;
    // `exec` returns only if it fails.
    Err(command.exec().into())
}

#[cfg(not(unix))]
fn start(mut command: Command) -> Result<u8, Failure> {
    let code = command.status()?.code().unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(1))
}

fn without_flag(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut is_value = false;
    let keep = |argument: &OsString| {
        let is_flag = argument == FLAG;
        let is_both = argument.to_string_lossy().starts_with("--env-file=");
        let keep = !(is_value || is_flag || is_both);
        is_value = is_flag;
        keep
    };
    arguments.filter(keep).collect()
}

/// The variables of a file: `NAME=value`, also after `export`; a value within quotes is taken without them. The error is the
/// number of the invalid line.
fn pairs(text: &str) -> Result<Vec<(String, String)>, usize> {
    let mut pairs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').ok_or(index + 1)?;
        let (name, value) = (name.trim(), value.trim());
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(index + 1);
        }
        let within = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
        let value = match (within('"'), within('\'')) {
            (Some(value), _) => value
                .replace("\\n", "\n")
                .replace("\\\"", "\"")
                .replace("\\\\", "\\"),
            (_, Some(value)) => value.to_owned(),
            // Behind a value that has no quotes a comment may be.
            (None, None) => match value.split_once(" #") {
                Some((value, _)) => value.trim_end().to_owned(),
                None => value.to_owned(),
            },
        };
        pairs.push((name.to_owned(), value));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_variables_is_read_as_others_do() {
        let text = "# ours\nA=1\nexport B = \"two words\" \nC='x#y'\nD=url#x # a comment\nE=\n\nF=\"a\\nb\"";
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "x#y"),
            ("D", "url#x"),
            ("E", ""),
            ("F", "a\nb"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs(text), Ok(expected.to_vec()));
        assert_eq!(pairs("A=1\nhunter2"), Err(2));
        let arguments =
            ["load", "--env-file", "x", "--env-file=y", "--to", "z"].map(OsString::from);
        assert_eq!(without_flag(arguments.into_iter()), ["load", "--to", "z"]);
    }
}
