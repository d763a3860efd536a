//! Object stores that fail at the worst moments, and what a load says and leaves then.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow_array::{Int64Array, RecordBatch};
use arrowload_core::{ErrorKind, LoadRequest, LoadSession, LoadState, Mode, Receipt, Result};
use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};

use crate::place::Place;
use crate::record::RECORD_PREFIX;
use crate::remote::{Store, find_load};
use crate::session::FileSession;
use crate::target::Target;
use crate::{FileConfig, FileOptions, Format};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Objects may be written, and not deleted.
    NoDelete,
    /// The record may not be written.
    NoRecord,
    /// The record is written, and the answer lost.
    RecordAnswerLost,
    /// The answer is lost on its way, and the request sent again.
    RecordSentTwice,
    /// The second object cannot be completed.
    NoSecondObject,
    /// Objects are completed, and the answer lost.
    UploadAnswerLost,
    /// The upload is gone when the request is sent again.
    UploadSentTwice,
    /// An object is copied, and the request sent again.
    CopySentTwice,
}

#[derive(Debug)]
struct Faulty {
    inner: Arc<InMemory>,
    fault: Fault,
    completed: Arc<AtomicU32>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

fn lost() -> Error {
    Error::Generic {
        store: "faulty",
        source: "the connection was reset".into(),
    }
}

fn denied(path: &Path) -> Error {
    Error::PermissionDenied {
        path: path.to_string(),
        source: "not you".into(),
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        if !path
            .filename()
            .is_some_and(|name| name.starts_with(RECORD_PREFIX))
        {
            return self.inner.put_opts(path, payload, options).await;
        }
        match self.fault {
            Fault::NoRecord => Err(denied(path)),
            Fault::RecordAnswerLost => self
                .inner
                .put_opts(path, payload, options)
                .await
                .and(Err(lost())),
            Fault::RecordSentTwice => {
                self.inner
                    .put_opts(path, payload.clone(), options.clone())
                    .await?;
                self.inner.put_opts(path, payload, options).await
            }
            _ => self.inner.put_opts(path, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(path, options).await?;
        Ok(Box::new(FaultyUpload {
            inner,
            fault: self.fault,
            completed: Arc::clone(&self.completed),
        }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        match self.fault {
            Fault::NoDelete => paths
                .map(|path| path.and_then(|path| Err(denied(&path))))
                .boxed(),
            _ => self.inner.delete_stream(paths),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        if self.fault == Fault::CopySentTwice {
            self.inner.copy_opts(from, to, options.clone()).await?;
        }
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    fault: Fault,
    completed: Arc<AtomicU32>,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        let earlier = self.completed.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::NoSecondObject if earlier == 1 => Err(denied(&"second".into())),
            Fault::UploadAnswerLost => self.inner.complete().await.and(Err(lost())),
            Fault::UploadSentTwice => self.inner.complete().await.and(Err(Error::NotFound {
                path: "upload".into(),
                source: "no such upload".into(),
            })),
            _ => self.inner.complete().await,
        }
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.inner.abort().await
    }
}

/// A store with one target.
struct Bucket {
    inner: Arc<InMemory>,
    target: &'static str,
    format: Format,
}

impl Bucket {
    fn new(target: &'static str, format: Format) -> Self {
        Self {
            inner: Arc::default(),
            target,
            format,
        }
    }

    fn store(&self, fault: Fault) -> Store {
        Arc::new(Faulty {
            inner: Arc::clone(&self.inner),
            fault,
            completed: Arc::default(),
        })
    }

    /// Writes two batches of ten rows: in a folder, a file of each.
    async fn begin(&self, mode: Mode, load_id: &str, fault: Fault) -> Result<FileSession> {
        let batch = |half: i64| {
            let halves = Arc::new(Int64Array::from(vec![half; 10]));
            RecordBatch::try_from_iter([
                ("id", Arc::new(Int64Array::from_iter_values(0..10)) as _),
                ("half", halves as _),
            ])
        };
        let batches = [batch(0)?, batch(1)?];
        let mut options = FileOptions {
            format: Some(self.format),
            ..FileOptions::default()
        };
        match (self.target.ends_with('/'), self.format) {
            (true, Format::Parquet) => options.partition_by = vec!["half".into()],
            (true, _) => options.max_file_bytes = Some(1),
            _ => {}
        }
        // The name is looked up in another store, where there is nothing.
        let mut request = LoadRequest::new(
            load_id,
            format!("memory:///faulty/{}", self.target),
            batches[0].schema(),
            options,
        );
        request.mode = mode;
        let mut target = Target::of(&FileConfig::default(), &request).await?;
        target.place = Place::Store(self.store(fault), self.path());
        let mut session = FileSession::begin(target, request).await?;
        for batch in &batches {
            session.write(batch).await?;
        }
        session.prepare().await?;
        Ok(session)
    }

    async fn run(&self, mode: Mode, load_id: &str, fault: Fault) -> Result<Receipt> {
        self.begin(mode, load_id, fault).await?.commit().await
    }

    fn path(&self) -> Path {
        self.target.trim_end_matches('/').into()
    }

    async fn is_committed(&self, load_id: &str) -> bool {
        let state = find_load(&self.store(Fault::None), &self.path(), load_id)
            .await
            .expect("an answer");
        matches!(state, LoadState::Committed(receipt) if receipt.rows == 20)
    }

    /// Objects that are no records.
    async fn data(&self) -> Vec<String> {
        let objects: Vec<ObjectMeta> = self.inner.list(None).try_collect().await.expect("a list");
        let names = objects
            .into_iter()
            .map(|object| object.location.to_string());
        names.filter(|name| !name.contains(RECORD_PREFIX)).collect()
    }
}

const FOLDERS: [Format; 2] = [Format::Parquet, Format::Csv];

#[tokio::test]
async fn a_folder_is_as_it_was_if_its_record_is_not_written() {
    for format in FOLDERS {
        for fault in [Fault::NoRecord, Fault::NoSecondObject] {
            let bucket = Bucket::new("folder/", format);
            bucket
                .run(Mode::Append, "before", Fault::None)
                .await
                .expect("a load");
            let before = bucket.data().await;
            assert_eq!(before.len(), 2);
            let error = bucket
                .run(Mode::Append, "one", fault)
                .await
                .expect_err("the store refuses");
            assert_eq!(
                error.kind(),
                ErrorKind::PermissionDenied,
                "{fault:?}: {error:?}"
            );
            assert_eq!(bucket.data().await, before, "{fault:?}");
            assert!(!bucket.is_committed("one").await);
        }
    }
}

#[tokio::test]
async fn a_folder_whose_record_may_be_there_keeps_its_files() {
    for format in FOLDERS {
        let bucket = Bucket::new("folder/", format);
        let error = bucket
            .run(Mode::Append, "one", Fault::RecordAnswerLost)
            .await
            .expect_err("lost");
        assert_eq!(error.kind(), ErrorKind::CommitUnknown, "{error:?}");
        assert_eq!(bucket.data().await.len(), 2);
        assert!(bucket.is_committed("one").await);

        let bucket = Bucket::new("folder/", format);
        let receipt = bucket
            .run(Mode::Append, "one", Fault::RecordSentTwice)
            .await
            .expect("its own record");
        assert!(!receipt.already_loaded);
        assert_eq!(bucket.data().await.len(), 2, "the record has its data");
    }
}

#[tokio::test]
async fn what_cannot_be_removed_fails_no_committed_load() {
    for format in FOLDERS {
        // What a killed run has left.
        let bucket = Bucket::new("folder/", format);
        let name = format!(
            "folder/{}killed-0.{}",
            crate::record::file_prefix("one"),
            format.ending()
        );
        bucket
            .inner
            .put_opts(
                &name.into(),
                PutPayload::from_static(b"id\n1\n"),
                PutOptions::default(),
            )
            .await
            .expect("an object");
        let receipt = bucket
            .run(Mode::Append, "one", Fault::NoDelete)
            .await
            .expect("a load");
        assert_eq!(receipt.rows, 20);
        assert!(bucket.is_committed("one").await);
        assert_eq!(bucket.data().await.len(), 3);

        // Of two runs of one load, the slower.
        let bucket = Bucket::new("folder/", format);
        let slower = bucket
            .begin(Mode::Append, "one", Fault::NoDelete)
            .await
            .expect("a session");
        bucket
            .run(Mode::Append, "one", Fault::None)
            .await
            .expect("the faster");
        assert!(
            slower
                .commit()
                .await
                .expect("what the faster has loaded")
                .already_loaded
        );

        // A new object, under its first name too.
        let bucket = Bucket::new(
            if format == Format::Csv {
                "a.csv"
            } else {
                "a.parquet"
            },
            format,
        );
        bucket
            .run(Mode::Create, "one", Fault::NoDelete)
            .await
            .expect("a load");
        assert_eq!(bucket.data().await.len(), 2);
    }
}

#[tokio::test]
async fn an_object_that_may_be_replaced_is_an_unknown_commit() {
    for (target, format) in [
        ("a.parquet", Format::Parquet),
        ("a.csv", Format::Csv),
        ("a.arrow", Format::Arrow),
    ] {
        for fault in [Fault::UploadAnswerLost, Fault::UploadSentTwice] {
            let bucket = Bucket::new(target, format);
            let error = bucket
                .run(Mode::Overwrite, "one", fault)
                .await
                .expect_err("no answer");
            assert_eq!(
                error.kind(),
                ErrorKind::CommitUnknown,
                "{fault:?}: {error:?}"
            );
            assert_eq!(bucket.data().await, [target]);
            assert_eq!(bucket.is_committed("one").await, format == Format::Parquet);

            // Under its temporary name nobody sees it.
            let bucket = Bucket::new(target, format);
            let error = bucket
                .run(Mode::Create, "one", fault)
                .await
                .expect_err("no answer");
            assert_ne!(
                error.kind(),
                ErrorKind::CommitUnknown,
                "{fault:?}: {error:?}"
            );
            assert!(bucket.data().await.is_empty());
        }
    }
}

#[tokio::test]
async fn a_copy_that_was_sent_twice_is_known() {
    let bucket = Bucket::new("a.parquet", Format::Parquet);
    assert_eq!(
        bucket
            .run(Mode::Create, "one", Fault::CopySentTwice)
            .await
            .expect("its own object")
            .rows,
        20
    );
    assert_eq!(bucket.data().await, ["a.parquet"]);
    let error = bucket
        .run(Mode::Create, "two", Fault::CopySentTwice)
        .await
        .expect_err("it is there");
    assert_eq!(error.kind(), ErrorKind::TargetExists);
}
