//! What others see, and when: publish, abort, drop, and stores that fail.

use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arrowload_common_parquet::{
    Compression, Destination, Error, FileNaming, ParquetOptions, ParquetWriter,
};
use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::*;

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
    assert!(matches!(writer.finish().await, Err(Error::Io { .. })));
}

/// A memory store whose uploads fail at a chosen step.
#[derive(Debug, Default)]
struct Faulty {
    inner: InMemory,
    fail_create: AtomicBool,
    /// Parts and completions that still succeed.
    parts_left: AtomicUsize,
    completes_left: AtomicUsize,
    aborted: Arc<AtomicUsize>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    store: Arc<Faulty>,
}

/// The store as others hold it: an upload needs to reach its counters.
#[derive(Debug, Clone)]
struct Shared(Arc<Faulty>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn fault() -> object_store::Error {
    object_store::Error::Generic {
        store: "faulty",
        source: "the disk is on fire".into(),
    }
}

fn take(counter: &AtomicUsize) -> bool {
    counter
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        })
        .is_ok()
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        if take(&self.store.parts_left) {
            self.inner.put_part(data)
        } else {
            Box::pin(async { Err(fault()) })
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if take(&self.store.completes_left) {
            self.inner.complete().await
        } else {
            Err(fault())
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.store.aborted.fetch_add(1, Ordering::SeqCst);
        self.inner.abort().await
    }
}

#[async_trait]
impl ObjectStore for Shared {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.0.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if self.0.fail_create.load(Ordering::SeqCst) {
            return Err(fault());
        }
        let inner = self.0.inner.put_multipart_opts(path, options).await?;
        Ok(Box::new(FaultyUpload {
            inner,
            store: self.0.clone(),
        }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.0.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.inner.copy_opts(from, to, options).await
    }
}

async fn run(store: &Arc<Faulty>, options: ParquetOptions) -> std::result::Result<usize, Error> {
    let destination = Destination::store(Arc::new(Shared(store.clone())), Path::from("load"));
    let mut writer = writer(destination, rows(0, 1).schema(), options)?;
    for at in 0..40 {
        writer.write(&rows(at * 50_000, 50_000)).await?;
    }
    Ok(writer.finish().await?.publish().await?.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_store_is_heard_of_and_nothing_is_seen() {
    let options = ParquetOptions {
        compression: Compression::None,
        row_group_rows: 100_000,
        ..ParquetOptions::default()
    };
    let many = usize::MAX;
    for (create, parts, completes) in [
        (true, many, many),
        (false, 0, many),
        (false, 2, many),
        (false, many, 0),
    ] {
        let store = Arc::new(Faulty::default());
        store.fail_create.store(create, Ordering::SeqCst);
        store.parts_left.store(parts, Ordering::SeqCst);
        store.completes_left.store(completes, Ordering::SeqCst);
        let result = tokio::time::timeout(Duration::from_secs(60), run(&store, options.clone()))
            .await
            .expect("no hang");
        let error = result.expect_err("a failure");
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("the disk is on fire"), "{error}");
        assert_eq!(visible(&Shared(store.clone())).await, [""; 0]);
        // The guard's abort runs on its own when it was not waited for.
        for _ in 0..100 {
            if create || store.aborted.load(Ordering::SeqCst) == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(store.aborted.load(Ordering::SeqCst), usize::from(!create));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_stops_half_way_says_how_far_it_came() {
    let store = Arc::new(Faulty::default());
    store.parts_left.store(usize::MAX, Ordering::SeqCst);
    store.completes_left.store(2, Ordering::SeqCst);
    let error = run(&store, partitioned()).await.expect_err("a failure");
    assert!(
        matches!(
            error,
            Error::Publish {
                published: 2,
                total: 4,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(visible(&Shared(store)).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_invisible_until_complete_and_aborted_when_not_wanted() {
    let store = Arc::new(Faulty::default());
    store.parts_left.store(usize::MAX, Ordering::SeqCst);
    store.completes_left.store(usize::MAX, Ordering::SeqCst);
    let destination = || Destination::store(Arc::new(Shared(store.clone())), Path::from("load"));
    let mut first = writer(destination(), rows(0, 1).schema(), partitioned()).unwrap();
    first.write(&rows(0, 1_000)).await.unwrap();
    let staged = first.finish().await.unwrap();
    assert_eq!(visible(&Shared(store.clone())).await, [""; 0]);
    staged.abort().await.unwrap();
    assert_eq!(store.aborted.load(Ordering::SeqCst), 4);

    let mut second = writer(destination(), rows(0, 1).schema(), partitioned()).unwrap();
    second.write(&rows(0, 400_000)).await.unwrap();
    second.abort().await.unwrap();
    assert_eq!(visible(&Shared(store.clone())).await, [""; 0]);
}
