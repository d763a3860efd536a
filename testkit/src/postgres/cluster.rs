//! A server's process and its folder: made, started, stopped, killed, started again, deleted afterwards.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{PostgresPrograms, PostgresSetup};

/// How long a server may take to start or stop.
const LIMIT: Duration = Duration::from_secs(30);

/// Settings for tests: the data need not survive a crash, and there are many connections.
const SETTINGS: [(&str, &str); 4] = [
    ("listen_addresses", "127.0.0.1"),
    ("fsync", "off"),
    ("max_connections", "200"),
    ("max_wal_size", "4GB"),
];

/// Waits for the end of the test's process, however it ends, and clears away what is left of the server.
const GUARD: &str = r#"cat >/dev/null; if read -r pid 2>/dev/null <"$1/data/postmaster.pid"; then kill -QUIT "$pid" && sleep 1; fi; rm -rf "$1""#;

#[derive(Debug)]
pub(super) struct Cluster {
    folder: TempDir,
    bin: PathBuf,
    user: Option<User>,
    arguments: Vec<String>,
    pub(super) port: u16,
    server: Mutex<Option<Child>>,
    guard: Child,
}

/// The user that runs the server, because it refuses to run as root.
#[derive(Debug, Clone, Copy)]
struct User {
    id: u32,
    group: u32,
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}

/// The user, if this process is root's.
fn user(folder: &Path) -> Result<Option<User>, String> {
    if !is_root(folder)? {
        return Ok(None);
    }
    let id = |flag: &str, name: &str| -> Option<u32> {
        let output = Command::new("id")
            .args([flag, name])
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    let named = ["postgres", "nobody"].into_iter().find_map(|name| {
        Some(User {
            id: id("-u", name)?,
            group: id("-g", name)?,
        })
    });
    named.map(Some).ok_or_else(|| {
        "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`"
            .into()
    })
}

#[cfg(unix)]
fn is_root(folder: &Path) -> Result<bool, String> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(folder).map_err(text)?.uid() == 0)
}

#[cfg(not(unix))]
fn is_root(_: &Path) -> Result<bool, String> {
    Ok(false)
}

impl User {
    #[cfg(unix)]
    fn give(self, path: &Path) -> Result<(), String> {
        std::os::unix::fs::chown(path, Some(self.id), Some(self.group)).map_err(text)
    }

    #[cfg(not(unix))]
    fn give(self, _: &Path) -> Result<(), String> {
        Ok(())
    }
}

/// A program, run by the user who may.
fn command(program: &Path, user: Option<User>) -> Command {
    let mut command = Command::new(program);
    #[cfg(unix)]
    if let Some(user) = user {
        use std::os::unix::process::CommandExt;
        command.uid(user.id).gid(user.group).current_dir("/");
    }
    command.stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?} does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// The programs' folder, or a copy where the user may not go to it, as when it is in root's own.
fn reachable(
    programs: &PostgresPrograms,
    user: Option<User>,
    folder: &Path,
) -> Result<PathBuf, String> {
    let bin = programs.folder();
    let refused = match command(&bin.join("postgres"), user)
        .arg("--version")
        .output()
    {
        Ok(output) => !output.status.success(),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => true,
        Err(error) => {
            return Err(format!(
                "{} does not start: {error}",
                bin.join("postgres").display()
            ));
        }
    };
    let whole = bin.parent().filter(|_| refused && bin.ends_with("bin"));
    let Some(whole) = whole else {
        return Ok(bin.to_owned());
    };
    // A Python wheel keeps libraries beside its package, and the programs look for them by their way from there.
    let package = whole.parent().and_then(Path::file_name).unwrap_or_default();
    let libraries = format!("{}.libs", package.to_string_lossy());
    let copy = folder.join("programs").join(package);
    fs::create_dir_all(&copy).map_err(text)?;
    run(Command::new("cp")
        .arg("-R")
        .arg(whole)
        .arg(copy.join("server")))?;
    if let Some(beside) = whole
        .parent()
        .map(|folder| folder.with_file_name(&libraries))
        .filter(|folder| folder.is_dir())
    {
        run(Command::new("cp")
            .arg("-R")
            .arg(beside)
            .arg(folder.join("programs").join(&libraries)))?;
    }
    run(Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(folder.join("programs")))?;
    Ok(copy.join("server/bin"))
}

impl Cluster {
    pub(super) fn start(
        programs: &PostgresPrograms,
        setup: &PostgresSetup,
    ) -> Result<Self, String> {
        let folder = tempfile::Builder::new()
            .prefix("arrowload-postgresql-")
            .tempdir()
            .map_err(text)?;
        let user = user(folder.path())?;
        if let Some(user) = user {
            user.give(folder.path())?;
        }
        let bin = reachable(programs, user, folder.path())?;
        let data = folder.path().join("data");
        let mut initdb = command(&bin.join("initdb"), user);
        run(initdb.arg("-D").arg(&data).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]))?;
        let hba = setup
            .hba
            .as_ref()
            .map(|lines| ("pg_hba.conf".to_owned(), lines.clone().into_bytes()));
        for (name, content) in setup.files.iter().chain(&hba) {
            write_private(&data.join(name), content, user)?;
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .map_err(text)?
            .port();
        let mut arguments = vec![
            "-D".to_owned(),
            data.display().to_string(),
            "-p".into(),
            port.to_string(),
        ];
        arguments.extend(["-k".to_owned(), folder.path().display().to_string()]);
        let usual = SETTINGS
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let given = setup
            .settings
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        arguments.extend(
            usual
                .chain(given)
                .flat_map(|setting| ["-c".to_owned(), setting]),
        );
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
        let cluster = Self {
            folder,
            bin,
            user,
            arguments,
            port,
            server: Mutex::new(None),
            guard,
        };
        cluster.run_server()?;
        Ok(cluster)
    }

    /// The server's own folder, which its sockets are in.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn bin(&self) -> &Path {
        &self.bin
    }

    /// Starts the process, again and again while one that was killed still holds on to its memory.
    pub(super) fn run_server(&self) -> Result<(), String> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.is_some() {
            return Err("the server runs already".into());
        }
        let began = Instant::now();
        loop {
            let log = fs::File::create(self.folder().join("log")).map_err(text)?;
            let mut postgres = command(&self.bin.join("postgres"), self.user);
            postgres
                .args(&self.arguments)
                .stdout(Stdio::null())
                .stderr(log);
            let mut child = postgres.spawn().map_err(text)?;
            match self.wait_ready(&mut child) {
                Ok(()) => {
                    *server = Some(child);
                    return Ok(());
                }
                Err(why) if began.elapsed() > LIMIT => return Err(why),
                Err(why) if !why.contains("shared memory block") && !why.contains("lock file") => {
                    return Err(why);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// The file that says so may be that of a server that was killed: it names the process.
    fn wait_ready(&self, child: &mut Child) -> Result<(), String> {
        let (began, own) = (Instant::now(), child.id().to_string());
        let ready = |text: String| {
            let mut lines = text.lines();
            lines.next().is_some_and(|line| line.trim() == own)
                && lines.nth(6).is_some_and(|line| line.trim() == "ready")
        };
        while !fs::read_to_string(self.folder().join("data/postmaster.pid")).is_ok_and(ready) {
            let log = || fs::read_to_string(self.folder().join("log")).unwrap_or_default();
            if child.try_wait().map_err(text)?.is_some() {
                return Err(format!("PostgreSQL did not start: {}", log()));
            }
            if began.elapsed() > LIMIT {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "PostgreSQL did not start within {LIMIT:?}: {}",
                    log()
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Sends the server's process a signal, and waits for its end.
    pub(super) fn end(&self, signal: &str) -> Result<(), String> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = server.take().ok_or("the server does not run")?;
        run(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]))?;
        child.wait().map_err(text).map(drop)
    }
}

/// What only the server's user may read, as the server asks of keys.
fn write_private(path: &Path, content: &[u8], user: Option<User>) -> Result<(), String> {
    fs::write(path, content).map_err(text)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(text)?;
    }
    user.map_or(Ok(()), |user| user.give(path))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        // At once, without writing anything: the data is deleted afterwards.
        let _ = self.end("QUIT");
    }
}
