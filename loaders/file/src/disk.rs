//! Steps on the local disk: names given in one step, records, locks, and what makes names durable.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrowload_core::{Error, ErrorKind, Result};
use tempfile::NamedTempFile;

use crate::error::from_io;
use crate::record::{Record, record_name};

/// How long another load's commit into the same folder is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether a folder is the root of another file system than the one it stands in.
pub(crate) fn is_mounted(folder: &Path, beside: &Path) -> bool {
    #[cfg(unix)]
    if let (Ok(folder), Ok(beside)) = (fs::metadata(folder), fs::metadata(beside)) {
        use std::os::unix::fs::MetadataExt;
        return folder.is_dir() && folder.dev() != beside.dev();
    }
    let _ = (folder, beside);
    false
}

/// Gives a file a name that is free, in one step.
pub(crate) fn place_new(staged: &Path, target: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, staged, CWD, target, RenameFlags::NOREPLACE) {
            // Not every file system knows the flag.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            renamed => return renamed.map_err(Into::into),
        }
    }
    fs::hard_link(staged, target)
}

/// Makes a record durable under a name that nobody reads; [`publish_record`] gives it its own.
pub(crate) fn stage_record(folder: &Path, record: &Record) -> Result<NamedTempFile> {
    let at = |error: io::Error| from_io(folder, error);
    let mut file = tempfile::Builder::new()
        .prefix(".arrowload-")
        .suffix(".tmp")
        .tempfile_in(folder)
        .map_err(at)?;
    io::Write::write_all(&mut file, &record.encode()?).map_err(at)?;
    share(file.as_file()).map_err(at)?;
    file.as_file().sync_all().map_err(at)?;
    Ok(file)
}

/// The record appears whole, by a rename. The name is durable once the folder is synced.
pub(crate) fn publish_record(file: NamedTempFile, folder: &Path, record: &Record) -> Result<()> {
    let placed = file.persist(folder.join(record_name(&record.load_id)));
    placed
        .map(drop)
        .map_err(|error| from_io(folder, error.error))
}

/// A temporary file is its owner's alone; a record is read by everybody who reads the data.
fn share(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    let _ = file;
    Ok(())
}

/// Puts the new folder in the place of the old one, and the old one in the stage, which removes it.
#[cfg(target_os = "linux")]
pub(crate) fn exchange(new: &Path, old: &Path) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE)
        .map_err(|error| from_io(old, error.into()))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn exchange(_: &Path, old: &Path) -> Result<()> {
    Err(cannot_exchange(old))
}

pub(crate) fn cannot_exchange(folder: &Path) -> Error {
    let message = format!(
        "`{}` cannot be replaced at once on this file system; load into a new folder, or into one file",
        folder.display()
    );
    Error::new(ErrorKind::Unsupported, message)
}

/// The folder in which a local target stands.
pub(crate) fn parent(path: &Path) -> PathBuf {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
        .to_owned()
}

/// One commit at a time in each folder, also among processes. Where the file system has no locks, renames alone decide.
pub(crate) fn make_and_lock(folder: &Path) -> Result<Option<File>> {
    fs::create_dir_all(folder).map_err(|error| from_io(folder, error))?;
    let Ok(file) = File::open(folder) else {
        return Ok(None);
    };
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(fs::TryLockError::Error(_)) => return Ok(None),
            Err(fs::TryLockError::WouldBlock) if started.elapsed() > PATIENCE => {
                let message = format!(
                    "another load has been committing into `{}` for too long",
                    folder.display()
                );
                return Err(Error::new(ErrorKind::Conflict, message).transient());
            }
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Makes the names below a folder durable.
pub(crate) fn sync_tree(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|error| from_io(folder, error))? {
        let path = entry.map_err(|error| from_io(folder, error))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        }
    }
    sync_folder(folder)
}

/// Makes names durable. Where folders cannot be opened, as on Windows, the system does it in its own time.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(test)]
    faults::sync(folder).map_err(|error| from_io(folder, error))?;
    match File::open(folder) {
        Ok(file) if cfg!(unix) => file.sync_all().map_err(|error| from_io(folder, error)),
        _ => Ok(()),
    }
}

/// Disks that fail, for unit tests: no file system does at will.
#[cfg(test)]
pub(crate) mod faults {
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, PoisonError};

    static BROKEN: Mutex<Vec<(PathBuf, u32)>> = Mutex::new(Vec::new());

    /// Lets the next syncs of a folder fail, after so many that do not.
    pub(crate) fn break_after(syncs: u32, folder: &Path) {
        BROKEN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((folder.to_owned(), syncs));
    }

    pub(crate) fn mend(folder: &Path) {
        BROKEN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(broken, _)| broken != folder);
    }

    pub(super) fn sync(folder: &Path) -> io::Result<()> {
        let mut broken = BROKEN.lock().unwrap_or_else(PoisonError::into_inner);
        match broken.iter_mut().find(|(broken, _)| broken == folder) {
            Some((_, 0)) => Err(io::Error::other("the disk is broken")),
            Some((_, left)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}
