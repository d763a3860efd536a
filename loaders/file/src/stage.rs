//! The hidden staging folder of a load on the local disk, and the removal of staging folders that killed loads have left.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrowload_common_object_store::from_io;
use arrowload_core::{Error, ErrorKind, Result};

use crate::disk::{has_own_locks, is_mounted};
use crate::record::hash;

/// A staging folder that was not touched for this long may be removed by anyone.
pub(crate) const LEASE: Duration = Duration::from_secs(60 * 60);
/// How often a load touches its own. Unit tests do not wait that long.
const TOUCHED_EVERY: Duration = if cfg!(test) {
    Duration::from_millis(50)
} else {
    Duration::from_secs(5 * 60)
};

/// What the names of stages and of staged objects begin with, and end in.
pub(crate) const PREFIX: &str = ".arrowload-";
pub(crate) const SUFFIX: &str = ".tmp";
/// The file in a stage that says that it was locked from the start, in a way that every process that sees it notices.
const LOCKED: &str = "locked";

/// The beginning of the names of a load's staging folders, before the part for the run.
pub(crate) fn own_prefix(load_id: &str) -> String {
    format!("{PREFIX}{}-", hash(load_id))
}

/// The name of what one run of a load stages.
pub(crate) fn staged_name(load_id: &str, attempt: &str) -> String {
    format!("{}{attempt}{SUFFIX}", own_prefix(load_id))
}

/// A hidden folder that vanishes when it is dropped. It is locked as long as it is used, where the file system has locks, and
/// touched again and again.
#[derive(Debug)]
pub(crate) struct Stage {
    folder: PathBuf,
    /// Released when the process ends, in whatever way.
    _lock: Option<File>,
    touching: tokio::task::JoinHandle<()>,
    is_removed: bool,
}

/// The folder in which the stage of a target is made: on the target's own file system, beside it, or in it where it is mounted,
/// or the nearest one above it that exists.
pub(crate) fn home(target: &Path) -> Result<&Path> {
    let above = target
        .ancestors()
        .skip(1)
        .find(|path| path.symlink_metadata().is_ok());
    let above = above.unwrap_or(Path::new("/"));
    if !above.is_dir() {
        let message = format!(
            "`{}` is not a folder, and the target would be below it",
            above.display()
        );
        return Err(Error::new(ErrorKind::InvalidOption, message).with("path", above.display()));
    }
    Ok(if is_mounted(target, above) {
        target
    } else {
        above
    })
}

impl Stage {
    /// Makes a stage for one run of a load, and removes what is left there of others. Must be called where there is a runtime.
    pub(crate) fn new(target: &Path, load_id: &str, attempt: &str) -> Result<Arc<Self>> {
        let home = home(target)?;
        sweep(home, load_id);
        // It gets the name by which other runs know it for one of this load only when it is locked.
        let unlocked = home.join(format!("{PREFIX}new-{attempt}{SUFFIX}"));
        let folder = home.join(staged_name(load_id, attempt));
        let at = |error| from_io(home, error);
        make_private(&unlocked).map_err(at)?;
        let lock = lock(&unlocked);
        if lock.is_some() && has_own_locks(&unlocked) {
            // Without it, the stage is left to its lease.
            let _ = File::create_new(unlocked.join(LOCKED));
        }
        if let Err(error) = fs::rename(&unlocked, &folder) {
            // The first error says more.
            let _ = fs::remove_dir_all(&unlocked);
            return Err(at(error));
        }
        let touched = folder.clone();
        let touching = tokio::spawn(async move {
            loop {
                tokio::time::sleep(TOUCHED_EVERY).await;
                touch(&touched);
            }
        });
        let stage = Self {
            folder,
            _lock: lock,
            touching,
            is_removed: false,
        };
        fs::create_dir(stage.data()).map_err(at)?;
        Ok(Arc::new(stage))
    }

    /// The folder that holds what will be published.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A place for something beside the data.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Removes it, and says if that fails.
    pub(crate) fn remove(&mut self) -> Result<()> {
        self.touching.abort();
        if std::mem::replace(&mut self.is_removed, true) {
            return Ok(());
        }
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(from_io(&self.folder, error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, "a temporary folder could not be removed; a later load removes it");
        }
    }
}

/// Makes a folder that only its owner can read.
fn make_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Locks a folder, unless the file system has no locks.
fn lock(folder: &Path) -> Option<File> {
    let file = File::open(folder).ok()?;
    file.try_lock().ok().map(|()| file)
}

fn touch(folder: &Path) {
    let touched = File::open(folder).and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        tracing::debug!(%error, folder = %folder.display(), "a temporary folder could not be touched");
    }
}

/// Removes from a folder the stages of loads that were killed: this load's own at once, and others' if their locks prove it, else
/// after their lease.
pub(crate) fn sweep(home: &Path, load_id: &str) {
    let own = own_prefix(load_id);
    for stage in stages(home) {
        let name = stage.file_name().unwrap_or_default().to_string_lossy();
        if is_left(&stage, name.starts_with(&own)) {
            remove_left(home, &stage);
        }
    }
}

/// Whether a run of this load that was killed has left its stage.
pub(crate) fn has_left(home: &Path, load_id: &str) -> bool {
    let own = own_prefix(load_id);
    let is_own = |stage: &PathBuf| {
        let name = stage.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&own) && is_left(stage, true)
    };
    stages(home).iter().any(is_own)
}

fn remove_left(home: &Path, stage: &Path) {
    // In one step, so that a run that is alive after all finds nothing, rather than a part.
    let taken = home.join(format!(
        "{PREFIX}new-{}{SUFFIX}",
        uuid::Uuid::now_v7().simple()
    ));
    let removed = fs::rename(stage, &taken).and_then(|()| fs::remove_dir_all(&taken));
    match removed {
        Ok(()) => {
            tracing::info!(folder = %stage.display(), "removed what a load that was killed has left");
        }
        Err(error) => {
            tracing::debug!(%error, folder = %stage.display(), "what a load that was killed has left could not be removed");
        }
    }
}

/// The stages in a folder, whoever's they are.
fn stages(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let stages = entries.filter(|entry| {
        is_stage(&entry.file_name().to_string_lossy())
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
    });
    stages.map(|entry| entry.path()).collect()
}

/// Whether a name is that of a stage or a staged object of this version: a hash or `new`, and a run.
pub(crate) fn is_stage(name: &str) -> bool {
    let inner = name
        .strip_prefix(PREFIX)
        .and_then(|name| name.strip_suffix(SUFFIX));
    inner.is_some_and(|inner| inner.contains('-'))
}

/// Whether nobody uses a stage any more.
fn is_left(stage: &Path, is_of_this_load: bool) -> bool {
    let age = fs::metadata(stage)
        .and_then(|metadata| metadata.modified())
        .map(|touched| touched.elapsed().unwrap_or_default());
    let is_old = age.is_ok_and(|age| age > LEASE);
    match File::open(stage).map(|file| file.try_lock()) {
        Ok(Ok(())) => is_of_this_load || is_old || was_locked(stage),
        Ok(Err(TryLockError::WouldBlock)) => false,
        // Without locks, or the right to open it, its age is all that is known.
        Ok(Err(TryLockError::Error(_))) | Err(_) => is_old,
    }
}

/// Whether a stage without a lock proves that the process that made it has ended.
fn was_locked(stage: &Path) -> bool {
    has_own_locks(stage) && stage.join(LOCKED).is_file()
}

/// The stages of other loads, below a folder, that may be in use.
pub(crate) fn live_below(folder: &Path) -> Vec<PathBuf> {
    let mut live: Vec<PathBuf> = stages(folder);
    live.retain(|stage| !is_left(stage, false));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            live.extend(live_below(&entry.path()));
        }
    }
    live
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_age(folder: &Path, age: Duration) {
        let file = File::open(folder).expect("a folder");
        file.set_modified(SystemTime::now() - age).expect("touched");
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> = names
            .map(|entry| {
                let name = entry.expect("an entry").file_name();
                name.to_string_lossy().into_owned()
            })
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_stage_is_left_alone_as_long_as_it_is_used() {
        let root = tempfile::tempdir().expect("a folder");
        let target = root.path().join("x.parquet");
        let live = Stage::new(&target, "live", "1").expect("a stage");
        set_age(&live.folder, LEASE * 2);
        // A killed run leaves no lock.
        let killed = |name: &str, age| {
            let folder = root.path().join(name);
            fs::create_dir(&folder).expect("a folder");
            fs::write(folder.join("rows"), "x").expect("a file");
            set_age(&folder, age);
            name.to_owned()
        };
        let own = killed(&staged_name("one", "0"), Duration::ZERO);
        let other = killed(&staged_name("two", "0"), Duration::ZERO);
        let old = killed(&staged_name("three", "0"), LEASE * 2);
        let unknown = killed(".arrowload-abcdef.tmp", LEASE * 2);
        let foreign = killed(".other-a-b.tmp", LEASE * 2);
        assert_eq!(live_below(root.path()).len(), 3, "live, own and other");
        let stage = Stage::new(&target, "one", "1").expect("a stage");
        let mine = |stage: &Stage| {
            let name = stage.folder.file_name().expect("a name");
            name.to_string_lossy().into_owned()
        };
        let mut expected = vec![mine(&live), mine(&stage), other, unknown, foreign];
        expected.sort();
        assert_eq!(names(root.path()), expected);
        assert!(!names(root.path()).contains(&own) && !names(root.path()).contains(&old));
        // Two runs of one load at once.
        let twin = Stage::new(&target, "one", "2").expect("a stage");
        assert!(stage.data().is_dir() && twin.data().is_dir());
        drop((stage, twin, live));
        assert_eq!(names(root.path()).len(), 3);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_stage_that_has_lost_its_lock_has_lost_its_process() {
        let root = tempfile::tempdir().expect("a folder");
        if !has_own_locks(root.path()) {
            return;
        }
        let target = root.path().join("x.parquet");
        let live = Stage::new(&target, "live", "1").expect("a stage");
        let mut killed = Stage::new(&target, "killed", "1").expect("a stage");
        assert!(killed.folder.join(LOCKED).is_file());
        sweep(root.path(), "other");
        assert_eq!(names(root.path()).len(), 2, "both are in use");
        Arc::get_mut(&mut killed).expect("the only one")._lock = None;
        sweep(root.path(), "other");
        let name = live.folder.file_name().expect("a name").to_string_lossy();
        assert_eq!(names(root.path()), [name.into_owned()]);
    }

    #[tokio::test]
    async fn a_live_stage_renews_its_lease() {
        let root = tempfile::tempdir().expect("a folder");
        let stage = Stage::new(&root.path().join("x"), "live", "1").expect("a stage");
        set_age(&stage.folder, LEASE * 2);
        for _ in 0..100 {
            tokio::time::sleep(TOUCHED_EVERY).await;
            let touched = fs::metadata(&stage.folder).and_then(|metadata| metadata.modified());
            if touched.expect("a time").elapsed().expect("the past") < LEASE {
                return;
            }
        }
        panic!("nobody touches it");
    }

    #[test]
    fn a_target_below_a_file_has_no_home() {
        let root = tempfile::tempdir().expect("a folder");
        fs::write(root.path().join("file"), "x").expect("a file");
        let error = home(&root.path().join("file/below/x.csv")).expect_err("no folder");
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
        let target = root.path().join("new/folder/x.csv");
        assert_eq!(home(&target).expect("a home"), root.path());
    }
}
