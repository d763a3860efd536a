//! What others see, and when: publish, abort, drop, and stores that fail.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use arrowload_common_parquet::{
    Compression, Destination, FileNaming, ParquetOptions, ParquetWriter,
};
use arrowload_core::{ErrorKind, Result};
use arrowload_testkit::{Fate, FaultyStore, SmallDisk, StoreStep};
use object_store::memory::InMemory;
use object_store::path::Path;

use crate::batches::rows;
use crate::{visible, writer};

fn partitioned() -> ParquetOptions {
    ParquetOptions {
        partition_by: vec!["category".into()],
        ..ParquetOptions::default()
    }
}

/// Everything below a folder, hidden or not.
fn tree(folder: &FilePath) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        names.push(path.to_string_lossy().into_owned());
        names.extend(tree(&path));
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn local_files_are_hidden_until_they_are_published() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("deep/table");
    let mut writer = writer(
        Destination::local(&root),
        rows(0, 1).schema(),
        partitioned(),
    )
    .unwrap();
    writer.write(&rows(0, 1_000)).await.unwrap();
    let staged = writer.finish().await.unwrap();
    assert_eq!(staged.files().len(), 4);
    let hidden = |path: &String| {
        FilePath::new(path)
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with('.')
    };
    assert!(
        tree(&root)
            .iter()
            .all(|path| FilePath::new(path).is_dir() || hidden(path)),
        "{:?}",
        tree(&root)
    );
    let files = staged.publish().await.unwrap();
    for file in &files {
        assert_eq!(
            std::fs::metadata(root.join(file.path.as_ref()))
                .unwrap()
                .len(),
            file.bytes
        );
    }
    assert!(!tree(&root).iter().any(hidden));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_replaces_another_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        writer(
            Destination::local(folder.path()),
            rows(0, 1).schema(),
            ParquetOptions::default(),
        )
        .unwrap()
    };
    let mode = |path: &str| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut first = start();
    first.write(&rows(0, 10)).await.unwrap();
    first.finish().await.unwrap().publish().await.unwrap();
    let file = tree(folder.path()).remove(0);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let mut second = start();
    second.write(&rows(0, 20)).await.unwrap();
    let staged = second.finish().await.unwrap();
    for path in tree(folder.path()) {
        assert_eq!(mode(&path), 0o600, "{path}");
    }
    staged.publish().await.unwrap();
    assert_eq!(tree(folder.path()), [file.as_str()]);
    assert_eq!(mode(&file), 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_place_have_their_names_at_once_and_go_when_they_are_not_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        writer(
            Destination::local_in_place(folder.path()),
            rows(0, 1).schema(),
            partitioned(),
        )
        .unwrap()
    };
    let mut first = start();
    first.write(&rows(0, 1_000)).await.unwrap();
    let staged = first.finish().await.unwrap();
    let named: Vec<_> = staged
        .files()
        .iter()
        .map(|file| folder.path().join(file.path.as_ref()))
        .collect();
    assert!(named.len() == 4 && named.iter().all(|path| path.exists()));
    drop(staged);
    assert_eq!(tree(folder.path()), [""; 0]);
    let mut second = start();
    second.write(&rows(0, 1_000)).await.unwrap();
    for file in second.finish().await.unwrap().publish().await.unwrap() {
        assert_eq!(
            std::fs::metadata(folder.path().join(file.path.as_ref()))
                .unwrap()
                .len(),
            file.bytes
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_and_drop_leave_no_local_trace() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("table");
    let start = |options| writer(Destination::local(&root), rows(0, 1).schema(), options).unwrap();
    for options in [
        ParquetOptions {
            row_group_rows: 500,
            ..ParquetOptions::default()
        },
        partitioned(),
    ] {
        let mut aborted = start(options.clone());
        aborted.write(&rows(0, 100_000)).await.unwrap();
        aborted.abort().await.unwrap();
        assert_eq!(tree(folder.path()), [""; 0]);

        let mut finished = start(options.clone());
        finished.write(&rows(0, 100_000)).await.unwrap();
        finished.finish().await.unwrap().abort().await.unwrap();
        assert_eq!(tree(folder.path()), [""; 0]);

        let mut staged = start(options.clone());
        staged.write(&rows(0, 100_000)).await.unwrap();
        drop(staged.finish().await.unwrap());
        assert_eq!(tree(folder.path()), [""; 0]);

        let mut dropped = start(options);
        dropped.write(&rows(0, 100_000)).await.unwrap();
        drop(dropped);
        for _ in 0..100 {
            if tree(folder.path()).is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(tree(folder.path()), [""; 0]);
    }
}

#[tokio::test]
async fn a_folder_with_other_files_survives_an_abort() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine.txt"), "mine").unwrap();
    let mut writer = writer(
        Destination::local(folder.path()),
        rows(0, 1).schema(),
        partitioned(),
    )
    .unwrap();
    writer.write(&rows(0, 10)).await.unwrap();
    writer.abort().await.unwrap();
    assert_eq!(tree(folder.path()).len(), 1);
}

#[tokio::test]
async fn publishing_replaces_a_file_of_the_same_name() {
    let folder = tempfile::tempdir().unwrap();
    for count in [10, 20] {
        let naming = FileNaming::single("events.parquet");
        let destination = Destination::local(folder.path());
        let mut writer = ParquetWriter::new(
            destination,
            rows(0, 1).schema(),
            ParquetOptions::default(),
            naming,
        )
        .unwrap();
        writer.write(&rows(0, count)).await.unwrap();
        assert_eq!(
            writer.finish().await.unwrap().publish().await.unwrap()[0].rows,
            count as u64
        );
    }
    assert_eq!(tree(folder.path()).len(), 1);
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut writer = writer(
        Destination::local(file.join("below")),
        rows(0, 1).schema(),
        ParquetOptions::default(),
    )
    .unwrap();
    writer.write(&rows(0, 10)).await.unwrap();
    let error = writer.finish().await.expect_err("a file is no folder");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Io, false));
}

/// Writes a hundred thousand rows forty times, and gives up as a loader does: by an abort that is waited for.
async fn run(destination: Destination, options: ParquetOptions) -> Result<usize> {
    let mut writer = writer(destination, rows(0, 1).schema(), options)?;
    for at in 0..40 {
        if let Err(error) = writer.write(&rows(at * 50_000, 50_000)).await {
            writer.abort().await?;
            return Err(error);
        }
    }
    Ok(writer.finish().await?.publish().await?.len())
}

/// A store in memory of whose calls of a step the first few are done, and the others fail.
fn faulty(step: StoreStep, done: u64) -> FaultyStore {
    FaultyStore::new(Arc::new(InMemory::new()), move |call| {
        if call.step == step && call.earlier >= done {
            Fate::lost()
        } else {
            Fate::Done
        }
    })
}

fn prefix(store: &FaultyStore) -> Destination {
    Destination::store(Arc::new(store.clone()), Path::from("load"))
}

/// Row groups, and so parts, that are sent before the last rows come.
fn small_groups() -> ParquetOptions {
    ParquetOptions {
        compression: Compression::None,
        row_group_rows: 100_000,
        ..ParquetOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_store_is_heard_of_and_nothing_is_seen() {
    for (step, done) in [
        (StoreStep::BeginUpload, 0),
        (StoreStep::PutPart, 0),
        (StoreStep::PutPart, 2),
        (StoreStep::CompleteUpload, 0),
    ] {
        let store = faulty(step, done);
        let load = run(prefix(&store), small_groups());
        let result = tokio::time::timeout(Duration::from_secs(60), load).await;
        let error = result.expect("no hang").expect_err("a failure");
        assert!(error.is_transient(), "{error}");
        assert!(
            error.message().contains("the connection was reset"),
            "{error}"
        );
        assert_eq!(visible(&store).await, [""; 0]);
        // The guard's abort runs on its own when it was not waited for.
        let aborts = u64::from(step != StoreStep::BeginUpload);
        for _ in 0..100 {
            if store.calls(StoreStep::AbortUpload) == aborts {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(store.calls(StoreStep::AbortUpload), aborts, "{step:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_and_leaves_nothing() {
    let Some(disk) = SmallDisk::available(4) else {
        return;
    };
    let many_files = ParquetOptions {
        max_file_bytes: Some(1 << 20),
        ..small_groups()
    };
    let parted = ParquetOptions {
        compression: Compression::None,
        ..partitioned()
    };
    for options in [small_groups(), many_files, parted] {
        for destination in [Destination::local, Destination::local_in_place] {
            let root = disk.path().join("table");
            let load = run(destination(root), options.clone());
            let result = tokio::time::timeout(Duration::from_secs(60), load).await;
            let error = result.expect("no hang").expect_err("the disk is full");
            assert_eq!(
                (error.kind(), error.is_transient()),
                (ErrorKind::ResourceExhausted, false),
                "{error:?}"
            );
            assert_eq!(disk.names(), [""; 0].map(std::path::PathBuf::from));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_stops_half_way_says_how_far_it_came() {
    let store = faulty(StoreStep::CompleteUpload, 2);
    let error = run(prefix(&store), partitioned())
        .await
        .expect_err("a failure");
    assert!(
        error
            .message()
            .starts_with("only 2 of 4 files were published: "),
        "{error}"
    );
    assert!(error.is_transient());
    assert_eq!(visible(&store).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_invisible_until_complete_and_aborted_when_not_wanted() {
    let store = FaultyStore::new(Arc::new(InMemory::new()), |_| Fate::Done);
    let mut first = writer(prefix(&store), rows(0, 1).schema(), partitioned()).unwrap();
    first.write(&rows(0, 1_000)).await.unwrap();
    let staged = first.finish().await.unwrap();
    assert_eq!(visible(&store).await, [""; 0]);
    staged.abort().await.unwrap();
    assert_eq!(store.calls(StoreStep::AbortUpload), 4);

    let mut second = writer(prefix(&store), rows(0, 1).schema(), partitioned()).unwrap();
    second.write(&rows(0, 400_000)).await.unwrap();
    second.abort().await.unwrap();
    assert_eq!(visible(&store).await, [""; 0]);
}

/// Says when nothing needs a folder any more.
struct Owner(std::sync::mpsc::Sender<()>);

impl Drop for Owner {
    fn drop(&mut self) {
        // The test may be over.
        let _ = self.0.send(());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_folder_outlives_the_last_file_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, gone) = std::sync::mpsc::channel();
    let destination = Destination::local(folder.path().join("stage"));
    let destination = destination.owned_by(Arc::new(Owner(sender)));
    let mut dropped = writer(destination, rows(0, 1).schema(), small_groups()).unwrap();
    dropped.write(&rows(0, 400_000)).await.unwrap();
    assert!(gone.try_recv().is_err());
    drop(dropped);
    let waited = tokio::task::spawn_blocking(move || gone.recv_timeout(Duration::from_secs(60)));
    waited.await.unwrap().expect("the owner goes");
    assert_eq!(tree(folder.path()), [""; 0]);
}
