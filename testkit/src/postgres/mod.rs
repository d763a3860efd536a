//! A PostgreSQL for tests: started in a folder that is deleted afterwards, on a free port of loopback, or named by its URL.
//!
//! It starts processes and gives URLs; the client is the test's own, or `psql`.

mod cluster;
mod programs;
mod setup;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use cluster::Cluster;
pub use programs::{BINARIES, PostgresPrograms};
pub use setup::PostgresSetup;

/// The URL of a server to use in place of one that is started. Its user may create databases.
pub const URL: &str = "ARROWLOAD_TEST_POSTGRESQL_URL";

/// A running server. Dropped, or when the test's process ends in whatever way, it is stopped and its data is gone.
#[derive(Debug)]
pub struct ThrowawayPostgres {
    /// The URL of the database `postgres`.
    url: String,
    cluster: Option<Cluster>,
}

/// The server that all tests of a process share.
static SHARED: Mutex<Option<Arc<ThrowawayPostgres>>> = Mutex::new(None);

impl ThrowawayPostgres {
    /// Starts a server of your own: within a second, and as another user if this process is root's.
    ///
    /// # Errors
    /// A sentence for a person: there are no programs, or they fail.
    pub fn start(setup: &PostgresSetup) -> Result<Self, String> {
        let first = || PostgresPrograms::find().into_iter().next();
        let none = || {
            format!(
                "there is no PostgreSQL: initdb and postgres are neither on the PATH nor in {BINARIES}; or set {URL}"
            )
        };
        let programs = setup.programs.clone().or_else(first).ok_or_else(none)?;
        let cluster = Cluster::start(&programs, setup)?;
        Ok(Self {
            url: format!("postgresql://postgres@127.0.0.1:{}/postgres", cluster.port),
            cluster: Some(cluster),
        })
    }

    /// The server that all tests of this process share: that of [`URL`], or one that is started at the first call.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn shared() -> Result<Arc<Self>, String> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.as_ref() {
            return Ok(Arc::clone(running));
        }
        let server = match std::env::var(URL) {
            Ok(url) => Self { url, cluster: None },
            Err(_) => Self::start(&PostgresSetup::new())?,
        };
        Ok(Arc::clone(shared.insert(Arc::new(server))))
    }

    /// The shared server, or `None` with the reason printed; a failure if `ARROWLOAD_REQUIRE` names `postgresql`.
    pub fn available() -> Option<Arc<Self>> {
        Self::shared()
            .map_err(|why| crate::skip("postgresql", &why))
            .ok()
    }

    /// The URL of the database `postgres`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of a database.
    pub fn database_url(&self, database: &str) -> String {
        let (address, query) = self
            .url
            .split_once('?')
            .map_or((self.url.as_str(), String::new()), |(url, query)| {
                (url, format!("?{query}"))
            });
        let (server, _) = address.rsplit_once('/').unwrap_or((address, ""));
        format!("{server}/{database}{query}")
    }

    /// Makes an empty database, in place of one of this name, and returns its URL.
    ///
    /// # Errors
    /// What `psql` says.
    pub fn create_database(&self, name: &str) -> Result<String, String> {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        self.psql(
            "postgres",
            &format!("DROP DATABASE IF EXISTS {quoted} WITH (FORCE)"),
        )?;
        self.psql(
            "postgres",
            &format!("CREATE DATABASE {quoted} TEMPLATE template0"),
        )?;
        Ok(self.database_url(name))
    }

    /// Runs SQL by `psql`, and returns its rows: a line each, columns with `|` between them.
    ///
    /// # Errors
    /// What `psql` says.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let folder = self
            .cluster
            .as_ref()
            .map(|cluster| cluster.bin().to_owned());
        let program = programs::psql(folder).ok_or("there is no psql")?;
        let mut psql = Command::new(program);
        psql.args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set=ON_ERROR_STOP=1",
            "--dbname",
        ]);
        match &self.cluster {
            Some(cluster) => psql
                .arg(format!(
                    "postgresql:///{database}?user=postgres&port={}",
                    cluster.port
                ))
                .env("PGHOST", cluster.folder()),
            None => psql.arg(self.database_url(database)),
        };
        let output = psql
            .args(["--command", sql])
            .output()
            .map_err(|error| format!("psql does not start: {error}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout)
                .trim_end_matches('\n')
                .to_owned());
        }
        Err(format!(
            "psql refused {sql}: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }

    /// The port on loopback, if the server was started here.
    pub fn port(&self) -> Option<u16> {
        self.cluster.as_ref().map(|cluster| cluster.port)
    }

    /// The folder of the server's Unix sockets, with its data folder `data` and its `log`, if it was started here.
    pub fn folder(&self) -> Option<&Path> {
        self.cluster.as_ref().map(Cluster::folder)
    }

    fn cluster(&self) -> Result<&Cluster, String> {
        self.cluster
            .as_ref()
            .ok_or_else(|| "the server was not started here".into())
    }

    /// Stops the server as an administrator does: open transactions are rolled back, everything is written.
    ///
    /// # Errors
    /// If the server does not run, or was not started here.
    pub fn stop(&self) -> Result<(), String> {
        self.cluster()?.end("INT")
    }

    /// Kills the server's process (SIGKILL): its others notice, and end too.
    ///
    /// # Errors
    /// As [`stop`](Self::stop).
    pub fn kill(&self) -> Result<(), String> {
        self.cluster()?.end("KILL")
    }

    /// Starts a server that was stopped or killed, on the same port and data; it recovers first.
    ///
    /// # Errors
    /// If it runs, was not started here, or does not start.
    pub fn restart(&self) -> Result<(), String> {
        self.cluster()?.run_server()
    }
}
