//! The real program: what it prints, what it writes, how it ends.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so and ends"
)]

mod cloud;
mod destinations;
mod differences;
mod doctor;
mod ends;
mod guides;
mod help;
mod hooks;
mod incremental;
mod incremental_kills;
mod inputs;
mod jobs;
mod library;
mod lists;
mod loads;
mod machine;
mod metrics;
mod mistakes;
mod otlp;
mod postgresql;
mod queries;
mod runs;
mod settings;
mod signals;
mod snapshots;
mod strangers;
mod sync;
mod terminal;
mod twins;
mod urls;

use std::path::Path;
use std::process::Stdio;

use assert_cmd::Command;
use tempfile::TempDir;

/// A folder of one test's own, in which the program runs, deaf to the machine's configuration.
pub(crate) struct Place {
    folder: TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Variables that would change what the program does.
const DEAF: [&str; 17] = [
    "DATABASE_URL",
    "POSTGRES_URL",
    "POSTGRESQL_URL",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGHOSTADDR",
    "PGHOST",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGDATABASE",
    "PGREQUIREAUTH",
    "PGREQUIRESSL",
    "ARROWLOAD_CONFIG",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "RUST_LOG",
];

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.path().join(name), text).expect("written");
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The program, with arguments as a shell would split them at spaces; an argument in a list is one as it stands.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("arrowload"));
        command
            .current_dir(self.path())
            .args(arguments)
            .env("HOME", self.path())
            .env("COLUMNS", "100")
            .timeout(std::time::Duration::from_secs(120));
        DEAF.iter().for_each(|name| {
            command.env_remove(name);
        });
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(&mut self.command(arguments))
    }

    /// Runs it, and expects it to end well.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended.out
    }

    /// Runs it, and expects this exit code and one line on standard error; answers with the line.
    pub(crate) fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
        assert!(ended.out.is_empty(), "{arguments:?}: {ended:?}");
        ended.err
    }

    /// The program as a child that can be signalled.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> std::process::Child {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("arrowload"));
        command
            .current_dir(self.path())
            .args(arguments)
            .env("HOME", self.path());
        DEAF.iter().for_each(|name| {
            command.env_remove(name);
        });
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts")
    }
}

impl Ended {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

/// Two people as CSV.
pub(crate) const PEOPLE: &str = "id,name\n1,Ada\n2,Grace\n";
