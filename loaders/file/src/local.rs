//! Staging and publishing on the local disk: everything is written into a hidden folder, and appears by one rename where
//! the target is one file or a whole folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use arrowload_core::{Error, ErrorKind, LoadState, Mode, Receipt, Result};
use tempfile::TempDir;

use crate::disk::{
    cannot_exchange, exchange, is_mounted, make_and_lock, parent, place_new, publish_record,
    stage_record, sync_folder, sync_tree,
};
use crate::error::{commit_unknown, from_io};
use crate::existing::{Stamp, data_files, find_local, is_hidden, newest_record, records, stamp};
use crate::options::Format;
use crate::record::{RECORD_PREFIX, Record, file_prefix};

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
        let beside = target
            .ancestors()
            .skip(1)
            .find(|folder| folder.is_dir())
            .unwrap_or(Path::new("."));
        let beside = if beside.as_os_str().is_empty() {
            Path::new(".")
        } else {
            beside
        };
        let within = if is_mounted(target, beside) {
            target
        } else {
            beside
        };
        let made = tempfile::Builder::new()
            .prefix(".arrowload-")
            .suffix(".tmp")
            .tempdir_in(within);
        let stage = Self {
            folder: made.map_err(|error| from_io(within, error))?,
        };
        fs::create_dir(stage.data()).map_err(|error| from_io(within, error))?;
        Ok(stage)
    }

    /// The folder that holds what will be published.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Publishes a single file; answers with the receipt if another run of this load was faster.
    pub(crate) fn publish_file(
        &self,
        name: &str,
        what: &Publication<'_>,
    ) -> Result<Option<Receipt>> {
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
        sync_folder(&parent(target)).map_err(published)?;
        Ok(None)
    }

    /// Publishes a folder: at once if it is new or replaced, file by file if it is added to.
    pub(crate) fn publish_folder(
        &self,
        mut record: Record,
        what: &Publication<'_>,
    ) -> Result<Option<Receipt>> {
        let (data, target) = (self.data(), what.target);
        let _lock = make_and_lock(&parent(target))?;
        if let LoadState::Committed(receipt) = find_local(target, what.load_id)? {
            return Ok(Some(receipt));
        }
        let filled = target.is_dir()
            && fs::read_dir(target)
                .map_err(|error| from_io(target, error))?
                .next()
                .is_some();
        let newest = if filled { newest_record(target)? } else { None };
        record.sequence = newest.as_ref().map_or(0, |newest| newest.sequence + 1);
        let moved_on = newest.as_ref().is_some_and(|newest| {
            what.base
                .is_none_or(|base| base.sequence != newest.sequence)
        });
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
                publish_record(stage_record(&data, &record)?, &data, &record)?;
                sync_tree(&data)?;
                exchange(&data, target)?;
            }
            // A folder is renamed over nothing, or over an empty folder; never over files.
            _ => {
                publish_record(stage_record(&data, &record)?, &data, &record)?;
                sync_tree(&data)?;
                fs::rename(&data, target).map_err(|error| from_io(target, error))?;
            }
        }
        sync_folder(&parent(target)).map_err(published)?;
        Ok(None)
    }
}

fn overtaken(target: &Path) -> Error {
    let message = format!(
        "another load changed `{}` while this one ran; nothing was published",
        target.display()
    );
    Error::new(ErrorKind::Conflict, message).transient()
}

/// The names are given, and cannot be taken back; only whether they would survive a power cut is unknown.
fn published(error: Error) -> Error {
    commit_unknown(
        "the load was published, and the disk did not confirm it",
        error,
    )
}

/// Moves each file to its place, then gives the record its name, which says that the load is complete. What a killed attempt
/// of the same load has left is removed first, and what this one has moved if it cannot go on. From the record on, nothing
/// is taken back.
fn add(data: &Path, target: &Path, record: &Record) -> Result<()> {
    let prefix = file_prefix(&record.load_id);
    for file in data_files(target)? {
        if file
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        {
            fs::remove_file(&file).map_err(|error| from_io(&file, error))?;
        }
    }
    let staged = stage_record(target, record)?;
    let mut moved = Moved::default();
    if let Err(error) = moved
        .all(data, target)
        .and_then(|()| publish_record(staged, target, record))
    {
        moved.undo();
        return Err(error);
    }
    sync_folder(target).map_err(published)
}

/// What a load has added to a folder.
#[derive(Default)]
struct Moved {
    files: Vec<PathBuf>,
    /// Those that were not there, outermost first.
    folders: Vec<PathBuf>,
}

impl Moved {
    fn all(&mut self, data: &Path, target: &Path) -> Result<()> {
        let mut touched = vec![target.to_owned()];
        for file in data_files(data)? {
            let place = target.join(file.strip_prefix(data).unwrap_or(&file));
            let folder = parent(&place);
            let above: Vec<PathBuf> = folder
                .ancestors()
                .take_while(|above| above.starts_with(target))
                .map(Path::to_owned)
                .collect();
            self.folders
                .extend(above.iter().rev().filter(|above| !above.exists()).cloned());
            fs::create_dir_all(&folder).map_err(|error| from_io(&folder, error))?;
            fs::rename(&file, &place).map_err(|error| from_io(&place, error))?;
            self.files.push(place);
            touched.extend(above);
        }
        touched.sort();
        touched.dedup();
        touched.iter().try_for_each(|folder| sync_folder(folder))
    }

    fn undo(&self) {
        for file in &self.files {
            if let Err(error) = fs::remove_file(file) {
                tracing::warn!(%error, file = %file.display(), "readers see a file of a load that failed; repeating the load removes it");
            }
        }
        for folder in self.folders.iter().rev() {
            // Not if another program has put something there.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Takes the records of earlier loads, and the folder's permissions, along into the new folder.
fn carry(old: &Path, new: &Path) -> Result<()> {
    for (_, record) in records(old)? {
        let copy = new.join(record.file_name().unwrap_or_default());
        fs::hard_link(&record, &copy)
            .or_else(|_| fs::copy(&record, &copy).map(drop))
            .map_err(|error| from_io(&copy, error))?;
    }
    let permissions =
        fs::metadata(old).and_then(|metadata| fs::set_permissions(new, metadata.permissions()));
    permissions.map_err(|error| from_io(new, error))
}

/// Refuses, before any rows are written, a folder that cannot be replaced at once.
pub(crate) fn check_exchange(stage: &Stage, target: &Path) -> Result<()> {
    let (one, two) = (
        stage.folder.path().join("one"),
        stage.folder.path().join("two"),
    );
    fs::create_dir(&one)
        .and_then(|()| fs::create_dir(&two))
        .map_err(|error| from_io(&one, error))?;
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
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // What we, Spark and Hadoop leave beside data.
        let known = name.starts_with(RECORD_PREFIX)
            || name.starts_with(".arrowload-")
            || name == "_SUCCESS"
            || name.ends_with(".crc");
        if path.is_dir() && !path.is_symlink() && !is_hidden(&name) {
            check_replaceable(&path)?;
        } else if !known && (is_hidden(&name) || Format::of_name(&name).is_none()) {
            let (folder, path) = (folder.display(), path.display());
            let message = format!(
                "`{folder}` holds `{path}`, which is no data file, so it is not replaced; remove it, or name another folder"
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, RecordBatch};
    use arrowload_core::{DataLoader, LoadRequest, LoadSession};

    use super::*;
    use crate::disk::faults;
    use crate::{FileConfig, FileLoader, FileOptions};

    async fn run(target: &str, load_id: &str, mode: Mode, options: FileOptions) -> Result<Receipt> {
        let ids = Arc::new(Int64Array::from_iter_values(0..10));
        let batch = RecordBatch::try_from_iter([("id", ids as _)])?;
        let loader = FileLoader::connect(FileConfig::default()).await?;
        let mut request = LoadRequest::new(load_id, target, batch.schema(), options);
        request.mode = mode;
        let mut session = loader.begin(request).await?;
        session.write(&batch).await?;
        session.prepare().await?;
        session.commit().await
    }

    fn all_below(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            found.extend(if path.is_dir() {
                all_below(&path)
            } else {
                Vec::new()
            });
            found.push(path);
        }
        found.sort();
        found
    }

    /// Loads while a folder's names cannot be made durable, but for some.
    async fn unknown(name: &str, mode: Mode, syncs: u32, inside: bool) {
        let root = tempfile::tempdir().expect("a folder");
        let (target, path) = (
            format!("{}/{name}", root.path().display()),
            root.path().join(name.trim_end_matches('/')),
        );
        let adds = name == "folder/" && mode == Mode::Append;
        if adds || mode == Mode::Overwrite {
            run(&target, "before", mode, FileOptions::default())
                .await
                .expect("a load");
        }
        let broken = if inside { path.as_path() } else { root.path() };
        faults::break_after(syncs, broken);
        let error = run(&target, "one", mode, FileOptions::default())
            .await
            .expect_err("the disk is broken");
        assert_eq!(
            error.kind(),
            ErrorKind::CommitUnknown,
            "{name} {mode}: {error:?}"
        );
        faults::mend(broken);
        let there = all_below(root.path());
        let files = if path.is_dir() {
            data_files(&path).expect("files").len()
        } else {
            1
        };
        assert_eq!(
            files,
            if adds { 2 } else { 1 },
            "{name} {mode}: a record has its data"
        );
        match find_local(&path, "one").expect("an answer") {
            LoadState::Committed(receipt) => assert_eq!(receipt.rows, 10),
            state => assert!(
                name == "a.csv" && matches!(state, LoadState::Unknown),
                "{name} {mode}: {state:?}"
            ),
        }
        if name != "a.csv" && (adds || mode == Mode::Overwrite) {
            assert!(
                run(&target, "one", mode, FileOptions::default())
                    .await
                    .expect("a repeat")
                    .already_loaded
            );
        }
        assert_eq!(all_below(root.path()), there);
    }

    #[tokio::test]
    async fn what_has_its_name_and_is_not_known_to_be_durable_is_an_unknown_commit() {
        for name in ["a.parquet", "a.csv", "a.arrow", "folder/"] {
            for mode in [Mode::Create, Mode::Append, Mode::Overwrite] {
                unknown(name, mode, 0, false).await;
            }
        }
        // Of a folder that is added to, the second sync is that of the record.
        unknown("folder/", Mode::Append, 1, true).await;
    }

    #[tokio::test]
    async fn what_fails_before_its_record_leaves_a_folder_as_it_was() {
        let root = tempfile::tempdir().expect("a folder");
        let (target, path) = (
            format!("{}/folder/", root.path().display()),
            root.path().join("folder"),
        );
        let options = FileOptions {
            partition_by: vec!["id".into()],
            ..FileOptions::default()
        };
        // A column of its own beside the partition's: a file of partitions alone has none.
        let run = async |load_id: &str| {
            let columns = ["id", "n"].map(|name| {
                (
                    name,
                    Arc::new(Int64Array::from_iter_values(if load_id == "before" {
                        0..2
                    } else {
                        1..4
                    })) as _,
                )
            });
            let batch = RecordBatch::try_from_iter(columns)?;
            let loader = FileLoader::connect(FileConfig::default()).await?;
            let mut session = loader
                .begin(LoadRequest::new(
                    load_id,
                    &target,
                    batch.schema(),
                    options.clone(),
                ))
                .await?;
            session.write(&batch).await?;
            session.prepare().await?;
            session.commit().await
        };
        run("before").await.expect("a load");
        let before = all_below(root.path());
        faults::break_after(0, &path);
        let error = run("one").await.expect_err("the disk is broken");
        assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
        faults::mend(&path);
        assert_eq!(all_below(root.path()), before);
        assert!(matches!(
            find_local(&path, "one"),
            Ok(LoadState::NotCommitted)
        ));
        run("one").await.expect("a repeat");
        assert_eq!(data_files(&path).expect("files").len(), 5);
    }
}
