//! Where PostgreSQL's programs are on this machine, and which of its versions.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders in which PostgreSQL's programs lie, written as in `PATH`. They come before all others, in this order.
pub const BINARIES: &str = "ARROWLOAD_POSTGRESQL_BIN";

/// Where packages put servers that are not on the `PATH`: the versions' folders are below these.
const PACKAGED: [&str; 3] = ["/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt"];

/// One version of PostgreSQL: a folder with `postgres`, `initdb` and the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresPrograms {
    folder: PathBuf,
    major: u32,
}

impl PostgresPrograms {
    /// Every version that is there: those of [`BINARIES`] as they are named, then those of the `PATH`, then what packages
    /// have installed, the newest first.
    pub fn find() -> Vec<Self> {
        let named = std::env::var_os(BINARIES).unwrap_or_default();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut packaged: Vec<Self> = PACKAGED
            .iter()
            .flat_map(|folder| below(Path::new(folder)))
            .filter_map(|folder| Self::at(&folder))
            .collect();
        packaged.sort_by_key(|programs| std::cmp::Reverse(programs.major));
        let listed = std::env::split_paths(&named)
            .chain(std::env::split_paths(&path))
            .filter_map(|folder| Self::at(&folder));
        let mut found: Vec<Self> = Vec::new();
        for programs in listed.chain(packaged) {
            if !found.iter().any(|known| known.folder == programs.folder) {
                found.push(programs);
            }
        }
        found
    }

    /// The programs of this folder, if a server can be made and run with them.
    pub fn at(folder: &Path) -> Option<Self> {
        let there = ["initdb", "postgres"]
            .iter()
            .all(|name| folder.join(name).is_file());
        let output = there
            .then(|| {
                Command::new(folder.join("postgres"))
                    .arg("--version")
                    .output()
                    .ok()
            })
            .flatten()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text
            .split_whitespace()
            .find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()))?;
        let digits = version
            .split(|letter: char| !letter.is_ascii_digit())
            .next()?;
        Some(Self {
            folder: folder.to_owned(),
            major: digits.parse().ok()?,
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The major version, as in 18.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Whether the server was built to encrypt connections: one that was not holds the words by which it refuses to.
    pub fn has_tls(&self) -> bool {
        const REFUSAL: &[u8] = b"SSL is not supported by this build";
        std::fs::read(self.folder.join("postgres"))
            .is_ok_and(|program| !program.windows(REFUSAL.len()).any(|part| part == REFUSAL))
    }

    /// The program `psql`: of this folder, else of any other that is there.
    pub fn psql(&self) -> Option<PathBuf> {
        psql([self.folder.clone()])
    }
}

/// The first `psql` of these folders, of the `PATH`, and of the servers that are there.
pub(super) fn psql(folders: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let near = folders
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join("psql"))
        .find(|program| program.is_file());
    near.or_else(|| {
        PostgresPrograms::find()
            .into_iter()
            .map(|programs| programs.folder.join("psql"))
            .find(|program| program.is_file())
    })
}

fn below(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect()
}
