//! Staging and publishing on the local disk: everything is written into a hidden folder, and appears by one rename where
//! the target is one file or a whole folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrowload_core::{Error, ErrorKind, LoadState, Mode, Receipt, Result};
use tempfile::TempDir;

use crate::error::from_io;
use crate::existing::{Stamp, data_files, find_local, is_hidden, newest_record, records, stamp};
use crate::options::Format;
use crate::record::{RECORD_PREFIX, Record, file_prefix, record_name};

/// How long another load's commit into the same folder is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A hidden folder that vanishes when it is dropped. What a killed process leaves is called `.arrowload-….tmp` and may be
/// removed.
#[derive(Debug)]
pub(crate) struct Stage {
    folder: TempDir,
}

/// What is to be published, and what was found when the load began.
pub(crate) struct Publication<'a> {
    pub(crate) target: &'a Path,
    pub(crate) mode: Mode,
    pub(crate) load_id: &'a str,
    /// The file that was there.
    pub(crate) stamp: Option<&'a Stamp>,
    /// The newest record of the folder that was there.
    pub(crate) base: Option<&'a Record>,
}

impl Stage {
    /// A stage on the target's own file system: beside it, or inside where the target is a folder that is mounted, or in
    /// the nearest folder that exists. Makes nothing else.
    pub(crate) fn new(target: &Path) -> Result<Self> {
        let beside = target.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        let beside = if beside.as_os_str().is_empty() { Path::new(".") } else { beside };
        let within = if is_mounted(target, beside) { target } else { beside };
        let made = tempfile::Builder::new().prefix(".arrowload-").suffix(".tmp").tempdir_in(within);
        let stage = Self { folder: made.map_err(|error| from_io(within, error))? };
        fs::create_dir(stage.data()).map_err(|error| from_io(within, error))?;
        Ok(stage)
    }

    /// The folder that holds what will be published.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Publishes a single file; answers with the receipt if another run of this load was faster.
    pub(crate) fn publish_file(&self, name: &str, what: &Publication<'_>) -> Result<Option<Receipt>> {
        let (staged, target) = (self.data().join(name), what.target);
        let _lock = make_and_lock(&parent(target))?;
        if let LoadState::Committed(receipt) = find_local(target, what.load_id)? {
            return Ok(Some(receipt));
        }
        let there = stamp(target)?;
        match what.mode {
            Mode::Overwrite if there.is_some() => {
                if there.as_ref() != what.stamp {
                    return Err(overtaken(target));
                }
                fs::rename(&staged, target).map_err(|error| from_io(target, error))?;
            }
            _ => place_new(&staged, target).map_err(|error| from_io(target, error))?,
        }
        sync_folder(&parent(target))?;
        Ok(None)
    }

    /// Publishes a folder: at once if it is new or replaced, file by file if it is added to.
    pub(crate) fn publish_folder(&self, mut record: Record, what: &Publication<'_>) -> Result<Option<Receipt>> {
        let (data, target) = (self.data(), what.target);
        let _lock = make_and_lock(&parent(target))?;
        if let LoadState::Committed(receipt) = find_local(target, what.load_id)? {
            return Ok(Some(receipt));
        }
        let filled = target.is_dir() && fs::read_dir(target).map_err(|error| from_io(target, error))?.next().is_some();
        let newest = if filled { newest_record(target)? } else { None };
        record.sequence = newest.as_ref().map_or(0, |newest| newest.sequence + 1);
        let moved_on = newest.as_ref().is_some_and(|newest| what.base.is_none_or(|base| base.sequence != newest.sequence));
        match what.mode {
            Mode::Append if filled => {
                if moved_on && newest.is_some_and(|newest| !newest.fits(&record)) {
                    return Err(overtaken(target));
                }
                add(&data, target, &record)?;
            }
            Mode::Overwrite if filled => {
                check_replaceable(target)?;
                carry(target, &data)?;
                write_record(&data, &record)?;
                sync_tree(&data)?;
                exchange(&data, target)?;
            }
            // A folder is renamed over nothing, or over an empty folder; never over files.
            _ => {
                write_record(&data, &record)?;
                sync_tree(&data)?;
                fs::rename(&data, target).map_err(|error| from_io(target, error))?;
            }
        }
        sync_folder(&parent(target))?;
        Ok(None)
    }
}

/// Whether a folder is the root of another file system than the one it stands in.
fn is_mounted(folder: &Path, beside: &Path) -> bool {
    #[cfg(unix)]
    if let (Ok(folder), Ok(beside)) = (fs::metadata(folder), fs::metadata(beside)) {
        use std::os::unix::fs::MetadataExt;
        return folder.is_dir() && folder.dev() != beside.dev();
    }
    let _ = (folder, beside);
    false
}

fn overtaken(target: &Path) -> Error {
    let message = format!("another load changed `{}` while this one ran; nothing was published", target.display());
    Error::new(ErrorKind::Conflict, message).transient()
}

/// Gives a file a name that is free, in one step.
fn place_new(staged: &Path, target: &Path) -> io::Result<()> {
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

/// Moves each file to its place, then writes the record, which says that the load is complete. What a killed attempt of
/// the same load has left is removed first, and what this one has moved if it cannot go on.
fn add(data: &Path, target: &Path, record: &Record) -> Result<()> {
    let prefix = file_prefix(&record.load_id);
    for file in data_files(target)? {
        if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)) {
            fs::remove_file(&file).map_err(|error| from_io(&file, error))?;
        }
    }
    let mut moved = Vec::new();
    let outcome = move_all(data, target, &mut moved).and_then(|()| write_record(target, record));
    if outcome.is_err() {
        for file in moved {
            let _ = fs::remove_file(file);
        }
    }
    outcome
}

fn move_all(data: &Path, target: &Path, moved: &mut Vec<PathBuf>) -> Result<()> {
    let mut folders = vec![target.to_owned()];
    for file in data_files(data)? {
        let place = target.join(file.strip_prefix(data).unwrap_or(&file));
        let folder = parent(&place);
        fs::create_dir_all(&folder).map_err(|error| from_io(&folder, error))?;
        fs::rename(&file, &place).map_err(|error| from_io(&place, error))?;
        moved.push(place);
        folders.extend(folder.ancestors().take_while(|above| above.starts_with(target)).map(Path::to_owned));
    }
    folders.sort();
    folders.dedup();
    folders.iter().try_for_each(|folder| sync_folder(folder))
}

/// Takes the records of earlier loads, and the folder's permissions, along into the new folder.
fn carry(old: &Path, new: &Path) -> Result<()> {
    for (_, record) in records(old)? {
        let copy = new.join(record.file_name().unwrap_or_default());
        fs::hard_link(&record, &copy).or_else(|_| fs::copy(&record, &copy).map(drop)).map_err(|error| from_io(&copy, error))?;
    }
    let permissions = fs::metadata(old).and_then(|metadata| fs::set_permissions(new, metadata.permissions()));
    permissions.map_err(|error| from_io(new, error))
}

/// The record appears whole, by a rename.
fn write_record(folder: &Path, record: &Record) -> Result<()> {
    let at = |error: io::Error| from_io(folder, error);
    let mut file = tempfile::Builder::new().prefix(".arrowload-").suffix(".tmp").tempfile_in(folder).map_err(at)?;
    io::Write::write_all(&mut file, &record.encode()?).map_err(at)?;
    share(file.as_file()).map_err(at)?;
    file.as_file().sync_all().map_err(at)?;
    file.persist(folder.join(record_name(&record.load_id))).map_err(|error| at(error.error))?;
    sync_folder(folder)
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
fn exchange(new: &Path, old: &Path) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE).map_err(|error| from_io(old, error.into()))
}

#[cfg(not(target_os = "linux"))]
fn exchange(_: &Path, old: &Path) -> Result<()> {
    Err(cannot_exchange(old))
}

fn cannot_exchange(folder: &Path) -> Error {
    let message =
        format!("`{}` cannot be replaced at once on this file system; load into a new folder, or into one file", folder.display());
    Error::new(ErrorKind::Unsupported, message)
}

/// Refuses, before any rows are written, a folder that cannot be replaced at once.
pub(crate) fn check_exchange(stage: &Stage, target: &Path) -> Result<()> {
    let (one, two) = (stage.folder.path().join("one"), stage.folder.path().join("two"));
    fs::create_dir(&one).and_then(|()| fs::create_dir(&two)).map_err(|error| from_io(&one, error))?;
    if is_mounted(target, &parent(target)) {
        return Err(cannot_exchange(target));
    }
    exchange(&one, &two).map_err(|error| cannot_exchange(target).with_source(error))
}

/// Refuses to replace a folder that holds anything but data files: it may be the wrong folder.
pub(crate) fn check_replaceable(folder: &Path) -> Result<()> {
    let at = |error: io::Error| from_io(folder, error);
    for entry in fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // What we, Spark and Hadoop leave beside data.
        let known = name.starts_with(RECORD_PREFIX) || name.starts_with(".arrowload-") || name == "_SUCCESS" || name.ends_with(".crc");
        if path.is_dir() && !path.is_symlink() && !is_hidden(&name) {
            check_replaceable(&path)?;
        } else if !known && (is_hidden(&name) || Format::of_name(&name).is_none()) {
            let (folder, path) = (folder.display(), path.display());
            let message =
                format!("`{folder}` holds `{path}`, which is no data file, so it is not replaced; remove it, or name another folder");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    Ok(())
}

/// The folder in which a local target stands.
pub(crate) fn parent(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// One commit at a time in each folder, also among processes. Where the file system has no locks, renames alone decide.
fn make_and_lock(folder: &Path) -> Result<Option<File>> {
    fs::create_dir_all(folder).map_err(|error| from_io(folder, error))?;
    let Ok(file) = File::open(folder) else { return Ok(None) };
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(fs::TryLockError::Error(_)) => return Ok(None),
            Err(fs::TryLockError::WouldBlock) if started.elapsed() > PATIENCE => {
                let message = format!("another load has been committing into `{}` for too long", folder.display());
                return Err(Error::new(ErrorKind::Conflict, message).transient());
            }
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Makes the names below a folder durable.
fn sync_tree(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|error| from_io(folder, error))? {
        let path = entry.map_err(|error| from_io(folder, error))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        }
    }
    sync_folder(folder)
}

/// Makes names durable. Where folders cannot be opened, as on Windows, the system does it in its own time.
fn sync_folder(folder: &Path) -> Result<()> {
    match File::open(folder) {
        Ok(file) if cfg!(unix) => file.sync_all().map_err(|error| from_io(folder, error)),
        _ => Ok(()),
    }
}
