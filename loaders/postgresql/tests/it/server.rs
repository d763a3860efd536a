//! A PostgreSQL of the tests' own: a data folder that is thrown away, a free port on loopback, the binaries that are there.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arrowload_core::Settings;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A server named by its URL, in place of one that is started.
const URL: &str = "ARROWLOAD_TEST_POSTGRESQL_URL";

/// A running server. The last test that uses it stops it.
pub(crate) struct ThrowawayPostgres {
    child: Child,
    data: TempDir,
    port: u16,
}

/// Folders in which the server's binaries may lie.
fn binaries() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let mut packaged: Vec<PathBuf> = packaged.collect();
    packaged.sort();
    let mut folders = std::env::split_paths(&path).chain(packaged.into_iter().rev());
    let has = |folder: &PathBuf| ["initdb", "postgres"].iter().all(|name| folder.join(name).is_file());
    folders.find(has).ok_or_else(|| format!("there is no PostgreSQL: neither PATH nor /usr/lib/postgresql has initdb; or set {URL}"))
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?} does not start: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The server refuses to run as root: then it is the user `postgres` who runs it.
fn command(program: &Path, root: bool) -> Command {
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
    command
}

impl ThrowawayPostgres {
    fn start() -> Result<Self, String> {
        let bin = binaries()?;
        let root = output(Command::new("id").arg("-u"))? == "0";
        let data = tempfile::tempdir().map_err(|error| error.to_string())?;
        if root {
            output(Command::new("chown").arg("postgres:").arg(data.path()))?;
        }
        let cluster = data.path().join("data");
        let mut initdb = command(&bin.join("initdb"), root);
        output(initdb.arg("-D").arg(&cluster).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]))?;
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).map_err(|error| error.to_string())?.port();
        let mut server = command(&bin.join("postgres"), root);
        server.arg("-D").arg(&cluster).args(["-h", "127.0.0.1", "-F", "-p", &port.to_string(), "-k"]).arg(data.path());
        server.args(["-c", "max_connections=200", "-c", "max_wal_size=4GB", "-c", "max_prepared_transactions=20"]);
        let child = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|error| error.to_string())?;
        let server = Self { child, data, port };
        server.wait()?;
        Ok(server)
    }

    fn wait(&self) -> Result<(), String> {
        let began = Instant::now();
        let status = self.data.path().join("data/postmaster.pid");
        while !std::fs::read_to_string(&status).is_ok_and(|text| text.lines().nth(7).is_some_and(|line| line.trim() == "ready")) {
            if began.elapsed() > Duration::from_secs(20) {
                return Err("PostgreSQL did not start within 20 seconds".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for ThrowawayPostgres {
    fn drop(&mut self) {
        // At once, without writing anything: the data is thrown away.
        let stopped = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        if stopped.is_ok_and(|status| status.success()) {
            let _ = self.child.wait();
        }
    }
}

static SERVER: Mutex<Weak<ThrowawayPostgres>> = Mutex::new(Weak::new());

fn shared() -> Result<Arc<ThrowawayPostgres>, String> {
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = server.upgrade() {
        return Ok(running);
    }
    let started = Arc::new(ThrowawayPostgres::start()?);
    *server = Arc::downgrade(&started);
    Ok(started)
}

/// An empty database of one test's own.
pub(crate) struct Database {
    /// Keeps the server running.
    _server: Option<Arc<ThrowawayPostgres>>,
    pub(crate) url: String,
}

/// A database, or `None` with the reason printed; a failure if `ARROWLOAD_REQUIRE` names `postgresql`.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) async fn database(name: &str) -> Option<Database> {
    let (server, base) = match std::env::var(URL) {
        Ok(url) => (None, url),
        Err(_) => match shared() {
            Ok(server) => {
                let url = format!("postgresql://postgres@127.0.0.1:{}/postgres", server.port);
                (Some(server), url)
            }
            Err(why) => {
                let required = std::env::var("ARROWLOAD_REQUIRE").unwrap_or_default();
                assert!(!required.split(',').any(|name| name.trim() == "postgresql"), "ARROWLOAD_REQUIRE names postgresql, and {why}");
                eprintln!("skipped: {why}");
                return None;
            }
        },
    };
    let (address, query) = base.split_once('?').unwrap_or((&base, ""));
    let (root, _) = address.rsplit_once('/').expect("a URL with a database");
    let client = connect(&base).await;
    let name = format!("arrowload_test_{name}");
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.expect("dropped");
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.expect("created");
    Some(Database { _server: server, url: format!("{root}/{name}?{query}") })
}

/// A connection that is not the loader's.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

impl Database {
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url).await
    }

    /// Runs statements.
    pub(crate) async fn run(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The rows of a query, as the server's own text; columns are joined by `|`, as psql does.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        let answer = self.client().await.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|index| row.get(index).unwrap_or("NULL").to_owned()).collect::<Vec<_>>().join("|"))
            }
            _ => None,
        };
        answer.into_iter().filter_map(row).collect()
    }

    /// The connection keys of this database.
    pub(crate) fn settings(&self) -> Settings {
        use arrowload_core::DataLoader;
        let keys = arrowload_postgresql::PostgresqlLoader::config_from_url(&self.url).expect("a URL");
        Settings::from_map(keys, "the test")
    }
}
