//! Publishing on the local disk: a single file or a whole folder is published by one rename, and an append to a folder file by
//! file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use arrowload_common_object_store::{from_io, keep_access};
use arrowload_core::{Error, ErrorKind, LoadState, Mode, Receipt, Result};

use crate::disk::{
    cannot_exchange, exchange, make_and_lock, parent, place_new, sync_folder, sync_tree,
    write_record,
};
use crate::error::commit_unknown;
use crate::existing::{Stamp, data_files, find_local, is_hidden, newest_record, records, stamp};
use crate::options::Format;
use crate::record::{RECORD_PREFIX, Record, file_prefix, record_name};
use crate::stage::{PREFIX, Stage, live_below};

/// What is to be published, and what was found when the load began.
pub(crate) struct Publication<'a> {
    pub(crate) target: &'a Path,
    pub(crate) mode: Mode,
    pub(crate) load_id: &'a str,
    /// Whether the folder that was there is added to.
    pub(crate) adds: bool,
    /// The file that was there.
    pub(crate) stamp: Option<&'a Stamp>,
    /// The newest record of the folder that was there.
    pub(crate) base: Option<&'a Record>,
}

/// Publishes a single file; returns the receipt if another run of this load was faster.
pub(crate) fn publish_file(
    stage: &Stage,
    name: &str,
    what: &Publication<'_>,
) -> Result<Option<Receipt>> {
    let (staged, target) = (stage.data().join(name), what.target);
    let _lock = make_and_lock(&parent(target))?;
    if let LoadState::Committed { receipt, .. } = find_local(target, what.load_id)? {
        return Ok(Some(receipt));
    }
    check_staged(1, usize::from(staged.is_file()))?;
    let there = stamp(target)?;
    match what.mode {
        Mode::Overwrite if there.is_some() => {
            if there.as_ref() != what.stamp {
                return Err(overtaken(target));
            }
            keep_access(target, &staged)
                .and_then(|()| fs::rename(&staged, target))
                .map_err(|error| from_io(target, error))?;
        }
        _ => place_new(&staged, target).map_err(|error| from_io(target, error))?,
    }
    sync_folder(&parent(target)).map_err(published)?;
    Ok(None)
}

/// Publishes a folder: at once if it is new or replaced, file by file if it is added to.
pub(crate) fn publish_folder(
    stage: &Stage,
    mut record: Record,
    what: &Publication<'_>,
) -> Result<Option<Receipt>> {
    let (data, target) = (stage.data(), what.target);
    let _lock = make_and_lock(&parent(target))?;
    if let LoadState::Committed { receipt, .. } = find_local(target, what.load_id)? {
        return Ok(Some(receipt));
    }
    check_staged(record.files, data_files(&data)?.len())?;
    let filled = target.is_dir()
        && fs::read_dir(target)
            .map_err(|error| from_io(target, error))?
            .next()
            .is_some();
    let newest = if filled { newest_record(target)? } else { None };
    record.sequence = newest.as_ref().map_or(0, |newest| newest.sequence + 1);
    let has_other_columns = newest.is_some_and(|newest| newest.has_overtaken(what.base, &record));
    // An append to a folder publishes file by file, but the plan was for a new folder, which is published as a whole.
    let is_unplanned = filled && what.mode == Mode::Append && !what.adds;
    if filled && what.mode != Mode::Create && (has_other_columns || is_unplanned) {
        return Err(overtaken(target));
    }
    let staged = stage.beside("record");
    write_record(&staged, &record)?;
    match what.mode {
        Mode::Append if filled => add(&data, target, &staged, &record)?,
        Mode::Overwrite if filled => {
            check_replaceable(target)?;
            carry(target, &data)?;
            name_record(&staged, &data, &record)?;
            sync_tree(&data)?;
            exchange(&data, target)?;
            give_back(&data, target);
        }
        // A folder is renamed over nothing, or over an empty folder; never over files.
        _ => {
            name_record(&staged, &data, &record)?;
            sync_tree(&data)?;
            fs::rename(&data, target).map_err(|error| from_io(target, error))?;
        }
    }
    sync_folder(&parent(target)).map_err(published)?;
    Ok(None)
}

/// If a staging folder was not touched for long, for example because its process was paused, another load may have removed it
/// as that of a killed load.
fn check_staged(expected: u64, found: usize) -> Result<()> {
    if expected == found as u64 {
        return Ok(());
    }
    let message = format!(
        "of {expected} staged files {found} are left; the load was idle for so long that another one removed them"
    );
    Err(Error::new(ErrorKind::Conflict, message).transient())
}

/// The record appears whole. The name is durable once the folder is synced.
fn name_record(staged: &Path, folder: &Path, record: &Record) -> Result<()> {
    let path = folder.join(record_name(&record.load_id));
    fs::rename(staged, &path).map_err(|error| from_io(&path, error))
}

fn overtaken(target: &Path) -> Error {
    let message = format!(
        "another load changed `{}` while this one ran",
        target.display()
    );
    Error::new(ErrorKind::Conflict, message).transient()
}

/// The renames are done, and cannot be undone; it is only unknown whether they would survive a power failure.
fn published(error: Error) -> Error {
    commit_unknown(
        "the load was published, and the disk did not confirm it",
        error,
    )
}

/// Moves each file to its place, then gives the record its name, which says that the load is complete. Files that a killed
/// attempt of the same load has left are removed first. If this attempt cannot go on, the files that it has moved are removed.
/// Once the record has its name, nothing is undone.
fn add(data: &Path, target: &Path, staged: &Path, record: &Record) -> Result<()> {
    let prefix = file_prefix(&record.load_id);
    for file in data_files(target)? {
        if file
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        {
            fs::remove_file(&file).map_err(|error| from_io(&file, error))?;
        }
    }
    let mut moved = Moved::default();
    if let Err(error) = moved
        .all(data, target)
        .and_then(|()| name_record(staged, target, record))
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

/// Finds out, before any rows are written, whether the folder can be replaced at once.
pub(crate) fn try_exchange(stage: &Stage, target: &Path) -> Result<()> {
    let (one, two) = (stage.beside("one"), stage.beside("two"));
    fs::create_dir(&one)
        .and_then(|()| fs::create_dir(&two))
        .map_err(|error| from_io(&one, error))?;
    exchange(&one, &two).map_err(|error| cannot_exchange(target).with_source(error))
}

/// Moves the stages of loads that began below the old folder at this very moment into the new one.
fn give_back(old: &Path, new: &Path) {
    for stage in live_below(old) {
        let place = new.join(stage.strip_prefix(old).unwrap_or(&stage));
        let moved = fs::create_dir_all(parent(&place)).and_then(|()| fs::rename(&stage, &place));
        if let Err(error) = moved {
            tracing::warn!(%error, stage = %place.display(), "a load below the folder that was replaced will fail");
        }
    }
}

/// Refuses to replace a folder that holds anything but data files: it may be the wrong folder. What another load is staging
/// in there is not removed.
pub(crate) fn check_replaceable(folder: &Path) -> Result<()> {
    if let Some(stage) = live_below(folder).first() {
        let (folder, stage) = (folder.display(), stage.display());
        let message = format!(
            "`{folder}` is not replaced while another load writes into it: `{stage}` is in use"
        );
        return Err(Error::new(ErrorKind::Conflict, message).transient());
    }
    check_data_only(folder)
}

fn check_data_only(folder: &Path) -> Result<()> {
    let at = |error: io::Error| from_io(folder, error);
    for entry in fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // Files that we, Spark and Hadoop leave next to data files.
        let known = name.starts_with(RECORD_PREFIX)
            || name.starts_with(PREFIX)
            || name == "_SUCCESS"
            || name.ends_with(".crc");
        if path.is_dir() && !path.is_symlink() && !is_hidden(&name) {
            check_data_only(&path)?;
        } else if !known && (is_hidden(&name) || Format::of_name(&name).is_none()) {
            let (folder, path) = (folder.display(), path.display());
            let message = format!(
                "`{folder}` holds `{path}`, which is not a data file, so it is not replaced; remove it, or name another folder"
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
    use arrowload_core::LoadSession;

    use super::*;
    use crate::disk::faults;
    use crate::testing::{begin, load, request};
    use crate::{FileOptions, FileSession};

    fn ids() -> RecordBatch {
        let ids = Arc::new(Int64Array::from_iter_values(0..10));
        RecordBatch::try_from_iter([("id", ids as _)]).expect("a batch")
    }

    async fn run(target: &str, load_id: &str, mode: Mode, options: FileOptions) -> Result<Receipt> {
        load(request(load_id, target, mode, &ids(), options), &ids()).await
    }

    async fn prepared(target: &str, load_id: &str, mode: Mode) -> FileSession {
        let options = FileOptions::default();
        let session = begin(request(load_id, target, mode, &ids(), options)).await;
        let mut session = session.expect("a session");
        session.write(&ids()).await.expect("written");
        session.prepare().await.expect("prepared");
        session
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
            LoadState::Committed { receipt, .. } => assert_eq!(receipt.rows, 10),
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

    #[cfg(unix)]
    #[tokio::test]
    async fn a_file_that_is_replaced_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt;
        for name in ["a.parquet", "a.csv", "a.ndjson", "a.arrow"] {
            let root = tempfile::tempdir().expect("a folder");
            let path = root.path().join(name);
            let target = path.display().to_string();
            for (load_id, mode) in [("one", 0o600), ("two", 0o640), ("three", 0o444)] {
                let old = path.exists();
                if old {
                    fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("set");
                }
                run(&target, load_id, Mode::Overwrite, FileOptions::default())
                    .await
                    .expect("a load");
                let found = fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
                assert!(!old || found == mode, "{name}: {found:o}");
            }
        }
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
            let request = request(load_id, &target, Mode::Append, &batch, options.clone());
            load(request, &batch).await
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

    #[tokio::test]
    async fn what_was_planned_for_a_new_folder_is_not_done_to_one_that_has_appeared() {
        let root = tempfile::tempdir().expect("a folder");
        let target = format!("{}/folder/", root.path().display());
        let second = prepared(&target, "two", Mode::Append).await;
        run(&target, "one", Mode::Append, FileOptions::default())
            .await
            .expect("the first");
        let error = second.commit().await.expect_err("it is not new");
        assert_eq!(
            (error.kind(), error.is_transient()),
            (ErrorKind::Conflict, true),
            "{error:?}"
        );
        let repeated = run(&target, "two", Mode::Append, FileOptions::default()).await;
        assert_eq!(repeated.expect("added").rows, 10);
        let files = data_files(&root.path().join("folder"));
        assert_eq!(files.expect("files").len(), 2);
    }

    #[tokio::test]
    async fn a_load_whose_stage_was_taken_away_commits_nothing() {
        for (name, mode) in [
            ("a.parquet", Mode::Create),
            ("a.csv", Mode::Overwrite),
            ("folder/", Mode::Append),
        ] {
            let root = tempfile::tempdir().expect("a folder");
            let target = format!("{}/{name}", root.path().display());
            let session = prepared(&target, "one", mode).await;
            for left in all_below(root.path()) {
                if left.is_file() {
                    fs::remove_file(left).expect("removed");
                }
            }
            let error = session.commit().await.expect_err("its files are gone");
            assert_eq!(
                (error.kind(), error.is_transient()),
                (ErrorKind::Conflict, true),
                "{name}: {error:?}"
            );
            assert!(all_below(root.path()).is_empty(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_folder_is_not_replaced_while_another_load_writes_below_it() {
        let root = tempfile::tempdir().expect("a folder");
        let target = format!("{}/folder/", root.path().display());
        let run = async |load_id: &str| {
            run(&target, load_id, Mode::Overwrite, FileOptions::default()).await
        };
        run("one").await.expect("a load");
        let replacing = prepared(&target, "two", Mode::Overwrite).await;
        let below = prepared(&format!("{target}sub/"), "below", Mode::Append).await;
        for error in [
            run("three").await.expect_err("it is in use"),
            replacing.commit().await.expect_err("it is in use"),
        ] {
            assert_eq!(
                (error.kind(), error.is_transient()),
                (ErrorKind::Conflict, true),
                "{error:?}"
            );
        }
        assert_eq!(below.commit().await.expect("a load").rows, 10);
        run("three").await.expect("nobody uses it any more");
        assert_eq!(
            data_files(&root.path().join("folder"))
                .expect("files")
                .len(),
            1
        );
        assert_eq!(
            all_below(root.path()).len(),
            4,
            "the folder, a file and two records"
        );
    }

    #[tokio::test]
    async fn a_stage_that_came_with_the_old_folder_is_given_back() {
        let root = tempfile::tempdir().expect("a folder");
        let target = format!("{}/new/sub/", root.path().display());
        fs::create_dir(root.path().join("new")).expect("a folder");
        let below = prepared(&target, "below", Mode::Append).await;
        fs::rename(root.path().join("new"), root.path().join("old")).expect("exchanged");
        fs::create_dir(root.path().join("new")).expect("a folder");
        give_back(&root.path().join("old"), &root.path().join("new"));
        assert_eq!(below.commit().await.expect("a load").rows, 10);
    }
}
