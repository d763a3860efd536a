//! A Redis for tests: started in a folder that is deleted afterwards, on a free port of loopback, or named by its URL.
//!
//! It starts processes and gives URLs; the client is the test's own, or `redis-cli`.

mod server;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use server::Server;

/// The URL of a server to use in place of one that is started. Tests write to its databases.
pub const URL: &str = "ARROWLOAD_TEST_REDIS_URL";

/// A running server. Dropped, or when the test's process ends in whatever way, it is stopped and its data is gone.
#[derive(Debug)]
pub struct ThrowawayRedis {
    url: String,
    server: Option<Server>,
}

/// The server that all tests of a process share.
static SHARED: Mutex<Option<Arc<ThrowawayRedis>>> = Mutex::new(None);

impl ThrowawayRedis {
    /// Starts a server of your own, with these lines added to its configuration.
    ///
    /// # Errors
    /// A sentence for a person: there is no program, or it fails.
    pub fn start(settings: &[&str]) -> Result<Self, String> {
        let server = Server::start(settings, &[])?;
        Ok(Self {
            url: format!("redis://127.0.0.1:{}", server.port),
            server: Some(server),
        })
    }

    /// Starts a Sentinel that watches this master.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_sentinel(name: &str, master: &Self) -> Result<Self, String> {
        let port = master.port().ok_or("the master was not started here")?;
        let monitor = format!("sentinel monitor {name} 127.0.0.1 {port} 1");
        let (down, failover) = (
            format!("sentinel down-after-milliseconds {name} 500"),
            format!("sentinel failover-timeout {name} 2000"),
        );
        let server = Server::start(&[&monitor, &down, &failover], &["--sentinel"])?;
        Ok(Self {
            url: format!("redis://127.0.0.1:{}", server.port),
            server: Some(server),
        })
    }

    /// Starts three masters that are a cluster.
    ///
    /// # Errors
    /// As [`start`](Self::start), and what `redis-cli --cluster create` says.
    pub fn start_cluster() -> Result<Vec<Self>, String> {
        let settings = ["cluster-enabled yes", "cluster-node-timeout 2000"];
        let nodes: Vec<Self> = (0..3)
            .map(|_| Self::start(&settings))
            .collect::<Result<_, _>>()?;
        let places: Vec<String> = nodes
            .iter()
            .filter_map(|node| Some(format!("127.0.0.1:{}", node.port()?)))
            .collect();
        let mut create = Command::new("redis-cli");
        create
            .args(["--cluster", "create"])
            .args(&places)
            .args(["--cluster-yes"]);
        let output = create
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("redis-cli does not start: {error}"))?;
        if !output.status.success() {
            return Err(format!(
                "no cluster was made: {}",
                String::from_utf8_lossy(&output.stdout)
            ));
        }
        for _ in 0..100 {
            let serves = |node: &Self| {
                node.cli(&["CLUSTER", "INFO"])
                    .is_ok_and(|info| info.contains("cluster_state:ok"))
            };
            if nodes.iter().all(serves) {
                return Ok(nodes);
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        Err("the cluster does not come up".into())
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
            Ok(url) => Self { url, server: None },
            Err(_) => Self::start(&["databases 64"])?,
        };
        Ok(Arc::clone(shared.insert(Arc::new(server))))
    }

    /// The shared server, or `None` with the reason printed; a failure if `ARROWLOAD_REQUIRE` names `redis`.
    pub fn available() -> Option<Arc<Self>> {
        Self::shared()
            .map_err(|why| crate::skip("redis", &why))
            .ok()
    }

    /// The URL, without a database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs a command by `redis-cli`, and returns what it prints, without the last line end.
    ///
    /// # Errors
    /// What `redis-cli` says. An error of the server is text, as `redis-cli` prints it.
    pub fn cli(&self, words: &[&str]) -> Result<String, String> {
        self.cli_bytes(words)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The same, for values that are not text.
    ///
    /// # Errors
    /// As [`cli`](Self::cli).
    pub fn cli_bytes(&self, words: &[&str]) -> Result<Vec<u8>, String> {
        let mut cli = Command::new("redis-cli");
        cli.args(["--no-auth-warning", "-u", &self.url])
            .args(words)
            .stdin(Stdio::null());
        let output = cli
            .output()
            .map_err(|error| format!("redis-cli does not start: {error}"))?;
        if !output.status.success() {
            return Err(format!(
                "redis-cli refused {words:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        let mut bytes = output.stdout;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Ok(bytes)
    }

    /// The port on loopback, if the server was started here.
    pub fn port(&self) -> Option<u16> {
        self.server.as_ref().map(|server| server.port)
    }

    /// The number of the server's process, if it was started here and runs.
    pub fn process(&self) -> Option<u32> {
        self.server.as_ref().and_then(Server::process)
    }

    /// The server's folder, with its `socket` and `log`, if it was started here.
    pub fn folder(&self) -> Option<&Path> {
        self.server.as_ref().map(Server::folder)
    }

    fn server(&self) -> Result<&Server, String> {
        self.server
            .as_ref()
            .ok_or_else(|| "the server was not started here".into())
    }

    /// Kills the server's process (SIGKILL).
    ///
    /// # Errors
    /// If the server does not run, or was not started here.
    pub fn kill(&self) -> Result<(), String> {
        self.server()?.kill()
    }

    /// Starts a server that was killed, on the same port and with what it had saved.
    ///
    /// # Errors
    /// If it runs, was not started here, or does not start.
    pub fn restart(&self) -> Result<(), String> {
        self.server()?.run()
    }
}
