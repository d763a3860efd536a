//! Operations on the local disk: atomic renames, records, locks, and flushing folders to the disk.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrowload_common_object_store::from_io;
use arrowload_core::{Error, ErrorKind, Result};

use crate::record::Record;

/// How long to wait for another load's commit into the same folder.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether a folder is the root of another file system than the one it is in.
pub(crate) fn is_mounted(folder: &Path, beside: &Path) -> bool {
    #[cfg(unix)]
    if let (Ok(folder), Ok(beside)) = (fs::metadata(folder), fs::metadata(beside)) {
        use std::os::unix::fs::MetadataExt;
        return folder.is_dir() && folder.dev() != beside.dev();
    }
    let _ = (folder, beside);
    false
}

/// Whether only this machine's kernel gives locks on the file system of a folder, so that each process sees those of all others, and
/// none is lost while its process lives. Network file systems are none of these.
pub(crate) fn has_own_locks(folder: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        // ext2 to ext4, XFS, Btrfs, tmpfs, overlayfs, ZFS and F2FS.
        const OWN: [rustix::fs::FsWord; 7] = [
            0xEF53,
            0x5846_5342,
            0x9123_683E,
            0x0102_1994,
            0x794C_7630,
            0x2FC1_2FC1,
            0xF2F5_2010,
        ];
        rustix::fs::statfs(folder).is_ok_and(|found| OWN.contains(&found.f_type))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = folder;
        false
    }
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

/// Writes a record and flushes it to the disk. A rename then gives it the name under which it is read.
pub(crate) fn write_record(path: &Path, record: &Record) -> Result<()> {
    let bytes = record.encode()?;
    let written = File::create(path).and_then(|mut file| {
        io::Write::write_all(&mut file, &bytes)?;
        file.sync_all()
    });
    written.map_err(|error| from_io(path, error))
}

/// Refuses a folder in which nothing may be made. Changes nothing.
pub(crate) fn check_writable(folder: &Path) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{Access, access};
        access(folder, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| from_io(folder, error.into()))?;
    }
    let _ = folder;
    Ok(())
}

/// Refuses a folder that cannot be exchanged for a new one in one step, as far as that is known before it is tried.
pub(crate) fn check_exchangeable(folder: &Path) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        // NFS, SMB, 9P and exFAT.
        const WITHOUT: [i64; 5] = [0x6969, 0xFE53_4D42, 0xFF53_4D42, 0x0102_1997, 0x2011_BAB0];
        let found = rustix::fs::statfs(folder).map_err(|error| from_io(folder, error.into()))?;
        let kind = found.f_type as i64;
        if !WITHOUT.contains(&kind) && !is_mounted(folder, &parent(folder)) {
            return Ok(());
        }
    }
    Err(cannot_exchange(folder))
}

/// Exchanges the new folder with the old one. The old one is then in the staging folder, which removes it.
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

/// The folder in which a local target is.
pub(crate) fn parent(path: &Path) -> PathBuf {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
        .to_owned()
}

/// One commit at a time in each folder, also among processes. Where the file system has no locks, renames alone decide.
pub(crate) fn make_and_lock(folder: &Path) -> Result<Option<File>> {
    let missing: Vec<&Path> = folder
        .ancestors()
        .take_while(|above| !above.exists())
        .collect();
    fs::create_dir_all(folder).map_err(|error| from_io(folder, error))?;
    missing
        .iter()
        .try_for_each(|made| sync_folder(&parent(made)))?;
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

/// Simulates failing disks, for unit tests.
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
