//! The temporary folder for standard input, and for rows that do not fit into memory. It is removed at the end of the run, or by
//! the next run if this one was killed.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::exit::Failure;

/// The folders' names begin so, with the number of their process behind it.
const PREFIX: &str = "arrowload-stdin-";
const FILE: &str = "stdin";

/// Where standard input waits, for messages.
static PLACE: OnceLock<String> = OnceLock::new();

/// A message in which standard input is called so, and not as the file where it waits.
pub(crate) fn shown(text: &str) -> String {
    match PLACE.get() {
        Some(place) => text.replace(place, "standard input"),
        None => text.to_owned(),
    }
}

/// A folder for what does not fit into memory.
pub(crate) fn folder() -> std::io::Result<TempDir> {
    let prefix = format!("{PREFIX}{}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir()
}

/// Standard input, all of it.
pub(crate) struct Spool {
    folder: TempDir,
}

impl Spool {
    /// Reads standard input to its end. Dropped before that, it leaves nothing.
    pub(crate) async fn of_stdin() -> Result<Self, Failure> {
        let spool = Self { folder: folder()? };
        let path = spool.path();
        // There is one standard input.
        let _ = PLACE.set(path.display().to_string());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // A thread of its own, as reading cannot be interrupted, and a runtime would wait for it at its end.
        std::thread::spawn(move || {
            let copied = copy(&path);
            // Nobody waits for it after an interrupt.
            let _ = sender.send(copied);
        });
        let lost = |_| Failure::failed("standard input cannot be read");
        match receiver.await.map_err(lost)?? {
            0 => Err(Failure::failed("standard input is empty")),
            _ => Ok(spool),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }
}

fn copy(path: &Path) -> std::io::Result<u64> {
    let mut input = std::io::stdin().lock();
    let mut first = Vec::new();
    input.by_ref().take(64 << 10).read_to_end(&mut first)?;
    let mut file = File::create_new(path)?;
    file.write_all(&first)?;
    Ok(first.len() as u64 + std::io::copy(&mut input, &mut file)?)
}

/// Removes what runs have left that were killed.
pub(crate) fn clean_up() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok());
        if let Some(process) = process
            && !is_running(process)
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::debug!(%error, folder = %entry.path().display(), "a folder of a killed run stays");
        }
    }
}

/// Whether a process of this number may exist; where the system does not say, it may.
fn is_running(process: u32) -> bool {
    let all = Path::new("/proc");
    !all.join("self").exists() || all.join(process.to_string()).exists()
}
