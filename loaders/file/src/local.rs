//! Staging and publishing on the local disk: everything is written into a hidden folder beside the target, and appears by
//! one rename where the target is one file or a whole folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use arrowload_core::{Error, ErrorKind, Mode, Result};
use tempfile::TempDir;

use crate::error::from_io;
use crate::existing::{data_files, is_hidden};
use crate::options::Format;
use crate::target::{Target, marker, parent};

/// A hidden folder that vanishes when it is dropped. What a killed process leaves begins with `.arrowload-` and may be
/// removed.
#[derive(Debug)]
pub(crate) struct Stage {
    folder: TempDir,
}

impl Stage {
    pub(crate) fn new(target: &Path, inside: bool, may_make_parent: bool) -> Result<Self> {
        // A folder that is added to may be a mount of its own: its stage is inside, on the same file system.
        let beside = if inside { target.to_owned() } else { parent(target) };
        if may_make_parent {
            fs::create_dir_all(&beside).map_err(|error| from_io(&beside, error))?;
        }
        let made = tempfile::Builder::new().prefix(".arrowload-").suffix(".tmp").tempdir_in(&beside);
        let stage = Self { folder: made.map_err(|error| from_io(&beside, error))? };
        fs::create_dir(stage.data()).map_err(|error| from_io(&beside, error))?;
        Ok(stage)
    }

    /// The folder that holds what will be published.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Publishes a single file. Without `replace`, a file that has appeared meanwhile is an error.
    pub(crate) fn publish_file(&self, name: &str, target: &Path, replace: bool) -> Result<()> {
        let staged = self.data().join(name);
        let at = |error: io::Error| from_io(target, error);
        if replace {
            fs::rename(&staged, target).map_err(at)?;
        } else {
            // A link is made only if the name is free, in one step.
            match fs::hard_link(&staged, target) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported && !target.exists() => fs::rename(&staged, target).map_err(at)?,
                linked => linked.map_err(at)?,
            }
        }
        sync_folder(&parent(target))
    }

    /// Publishes a folder: at once if it is new or replaced, file by file if it is added to.
    pub(crate) fn publish_folder(&self, target: &Path, mode: Mode, load_id: &str, rows: u64) -> Result<()> {
        let data = self.data();
        if mode != Mode::Append || !target.exists() {
            write_marker(&data, load_id, rows)?;
            sync_folder(&data)?;
        }
        match mode {
            Mode::Append if target.exists() => self.add_to(target, load_id, rows),
            Mode::Overwrite if target.exists() => exchange(&data, target),
            // A folder is renamed over nothing, or over an empty folder; never over files.
            _ => match fs::rename(&data, target) {
                Err(_) if mode == Mode::Append && target.is_dir() => {
                    let own = data.join(marker(load_id));
                    fs::remove_file(&own).map_err(|error| from_io(&own, error))?;
                    self.add_to(target, load_id, rows)
                }
                renamed => renamed.map_err(|error| from_io(target, error)),
            },
        }?;
        sync_folder(&parent(target))
    }

    /// Moves each file to its place. The files of an attempt that was killed midway have the same names, and are removed
    /// first; the marker, which says that the load is complete, comes last.
    fn add_to(&self, target: &Path, load_id: &str, rows: u64) -> Result<()> {
        let prefix = Target::prefix(load_id);
        for file in data_files(target)? {
            if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)) {
                fs::remove_file(&file).map_err(|error| from_io(&file, error))?;
            }
        }
        let data = self.data();
        for file in data_files(&data)? {
            let place = target.join(file.strip_prefix(&data).unwrap_or(&file));
            let folder = parent(&place);
            fs::create_dir_all(&folder).map_err(|error| from_io(&folder, error))?;
            fs::rename(&file, &place).map_err(|error| from_io(&place, error))?;
            sync_folder(&folder)?;
        }
        write_marker(target, load_id, rows)?;
        sync_folder(target)
    }
}

/// The marker appears whole, by a rename.
fn write_marker(folder: &Path, load_id: &str, rows: u64) -> Result<()> {
    let at = |error: io::Error| from_io(folder, error);
    let mut file = tempfile::Builder::new().prefix(".arrowload-").tempfile_in(folder).map_err(at)?;
    io::Write::write_all(&mut file, format!("{rows}\n").as_bytes()).map_err(at)?;
    file.as_file().sync_all().map_err(at)?;
    file.persist(folder.join(marker(load_id))).map_err(|error| at(error.error))?;
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
    let message = "a folder can be replaced at once on Linux only; load into a new folder, or into one file";
    Err(Error::new(ErrorKind::Unsupported, message).with("path", old.display()))
}

/// Refuses to replace a folder that holds anything but data files: it may be the wrong folder.
pub(crate) fn check_replaceable(folder: &Path) -> Result<()> {
    let at = |error: io::Error| from_io(folder, error);
    for entry in fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // What we, Spark and Hadoop leave beside data.
        let known = name.starts_with("_arrowload-") || name.starts_with(".arrowload-") || name == "_SUCCESS" || name.ends_with(".crc");
        if path.is_dir() && !is_hidden(&name) {
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

/// Makes names durable. Where folders cannot be opened, as on Windows, the system does it in its own time.
fn sync_folder(folder: &Path) -> Result<()> {
    match fs::File::open(folder) {
        Ok(file) if cfg!(unix) => file.sync_all().map_err(|error| from_io(folder, error)),
        _ => Ok(()),
    }
}
