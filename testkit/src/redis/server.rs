//! A server's process and its folder: made, started, killed, started again, deleted afterwards.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to start.
const LIMIT: Duration = Duration::from_secs(20);

/// Waits for the end of the test's process, however it ends, and clears away what is left of the server.
const GUARD: &str = r#"cat >/dev/null; if read -r pid 2>/dev/null <"$1/pid"; then kill -KILL "$pid" 2>/dev/null; fi; rm -rf "$1""#;

#[derive(Debug)]
pub(super) struct Server {
    folder: TempDir,
    arguments: Vec<String>,
    pub(super) port: u16,
    child: Mutex<Option<Child>>,
    guard: Child,
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}

/// A port of which the one that a cluster's nodes talk to each other by, 10,000 above, is there too.
fn free_port() -> Result<u16, String> {
    for _ in 0..1_000 {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .map_err(text)?
            .port();
        let bus = port
            .checked_add(10_000)
            .filter(|bus| TcpListener::bind(("127.0.0.1", *bus)).is_ok());
        if bus.is_some() {
            return Ok(port);
        }
    }
    Err("there is no free port".into())
}

impl Server {
    pub(super) fn start(settings: &[&str], flags: &[&str]) -> Result<Self, String> {
        let folder = tempfile::Builder::new()
            .prefix("arrowload-redis-")
            .tempdir()
            .map_err(text)?;
        let port = free_port()?;
        let path = folder.path().display();
        let mut lines = vec![
            format!("port {port}"),
            "bind 127.0.0.1".into(),
            format!("dir {path}"),
            format!("pidfile {path}/pid"),
        ];
        lines.extend([format!("unixsocket {path}/socket"), "daemonize no".into()]);
        if flags.is_empty() {
            lines.extend(["save \"\"".to_owned(), "appendonly no".into()]);
        }
        lines.extend(settings.iter().map(|line| (*line).to_owned()));
        let configuration = folder.path().join("redis.conf");
        fs::write(&configuration, lines.join("\n")).map_err(text)?;
        let mut guard = Command::new("sh");
        guard
            .args(["-c", GUARD, "guard"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let guard = guard
            .spawn()
            .map_err(|error| format!("sh does not start: {error}"))?;
        let arguments = std::iter::once(configuration.display().to_string())
            .chain(flags.iter().map(|flag| (*flag).to_owned()))
            .collect();
        let server = Self {
            folder,
            arguments,
            port,
            child: Mutex::new(None),
            guard,
        };
        server.run()?;
        Ok(server)
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn process(&self) -> Option<u32> {
        self.child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(Child::id)
    }

    pub(super) fn run(&self) -> Result<(), String> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if child.is_some() {
            return Err("the server runs already".into());
        }
        let log = fs::File::create(self.folder().join("log")).map_err(text)?;
        let mut redis = Command::new("redis-server");
        redis
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null());
        let mut started = redis
            .spawn()
            .map_err(|error| format!("there is no Redis: redis-server does not start: {error}"))?;
        let began = Instant::now();
        while !self.answers() {
            let ended = started.try_wait().map_err(text)?.is_some();
            if ended || began.elapsed() > LIMIT {
                let _ = started.kill();
                let _ = started.wait();
                return Err(format!(
                    "redis-server did not start: {}",
                    fs::read_to_string(self.folder().join("log")).unwrap_or_default()
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // What a configuration without `daemonize` does not write.
        fs::write(self.folder().join("pid"), format!("{}\n", started.id())).map_err(text)?;
        *child = Some(started);
        Ok(())
    }

    /// Whether somebody answers: a server that asks for a password does too.
    fn answers(&self) -> bool {
        use std::io::Read;
        let asked = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 8];
            let length = stream.read(&mut answer)?;
            Ok(answer[..length].to_vec())
        });
        asked.is_ok_and(|answer| answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH"))
    }

    pub(super) fn kill(&self) -> Result<(), String> {
        let mut child = self
            .child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .ok_or("the server does not run")?;
        child.kill().map_err(text)?;
        child.wait().map(|_| ()).map_err(text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}
