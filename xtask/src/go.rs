//! Servers that are Go programs, built where there is Go.

use std::path::PathBuf;
use std::process::Command;

use crate::tools::{exists, run, say, target};

/// Arrow's example of a Flight SQL server: SQLite behind it.
const FLIGHT_SQL_SQLITE: (&str, &str) = (
    "github.com/apache/arrow-go/v18/arrow/flight/flightsql/example/cmd/sqlite_flightsql_server",
    "v18.8.0",
);

/// The Flight SQL server over SQLite, built at the first call; none where there is no Go, or it cannot be built.
pub(crate) fn flight_sql_sqlite() -> Option<PathBuf> {
    let (package, version) = FLIGHT_SQL_SQLITE;
    let folder = target().join("arrowload-go").join(version);
    let program = folder.join(format!(
        "sqlite_flightsql_server{}",
        std::env::consts::EXE_SUFFIX
    ));
    if program.is_file() {
        return Some(program);
    }
    if !exists("go", "version") {
        say("there is no Go: the tests against Arrow's Flight SQL server over SQLite are skipped");
        return None;
    }
    // Go wants the whole path of the folder.
    let folder = std::path::absolute(&folder).ok()?;
    match run(Command::new("go")
        .args(["install", &format!("{package}@{version}")])
        .env("GOBIN", &folder))
    {
        Ok(()) => Some(program),
        Err(error) => {
            say(&format!(
                "{error}: the tests against Arrow's Flight SQL server over SQLite are skipped"
            ));
            None
        }
    }
}
