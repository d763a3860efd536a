//! Tests with object stores that fail at the worst moments: what a load reports then, and what it leaves behind.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch};
use arrowload_core::{ErrorKind, LoadSession, LoadState, Mode, Receipt, Result};
use arrowload_testkit::{Fate, FaultyStore, StoreCall, StoreStep};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, PutOptions, PutPayload};

use crate::place::Place;
use crate::record::{RECORD_PREFIX, file_prefix};
use crate::remote::{Store, find_load};
use crate::session::FileSession;
use crate::target::FileTarget;
use crate::testing::request;
use crate::{FileOptions, Format};

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
    /// What is to be copied is gone.
    CopyFindsNothing,
    /// The second object is never completed.
    SecondObjectHangs,
}

impl Fault {
    fn fate(self, call: &StoreCall<'_>) -> Fate {
        let gone = || Error::NotFound {
            path: call.path.to_string(),
            source: "it is gone".into(),
        };
        let name = call.path.filename();
        let is_record = name.is_some_and(|name| name.starts_with(RECORD_PREFIX));
        match (self, call.step) {
            (Self::NoDelete, StoreStep::Delete) => Fate::denied(call.path),
            (Self::NoRecord, StoreStep::Put) if is_record => Fate::denied(call.path),
            (Self::RecordAnswerLost, StoreStep::Put) if is_record => Fate::unanswered(),
            (Self::RecordSentTwice, StoreStep::Put) if is_record => Fate::Twice,
            (Self::NoSecondObject, StoreStep::CompleteUpload) if call.earlier == 1 => {
                Fate::denied(call.path)
            }
            (Self::UploadAnswerLost, StoreStep::CompleteUpload) => Fate::unanswered(),
            (Self::UploadSentTwice, StoreStep::CompleteUpload) => Fate::Unanswered(gone()),
            (Self::SecondObjectHangs, StoreStep::CompleteUpload) if call.earlier == 1 => {
                Fate::Late(Duration::MAX, Box::new(Fate::Done))
            }
            (Self::CopySentTwice, StoreStep::Copy) => Fate::Twice,
            (Self::CopyFindsNothing, StoreStep::Copy) => Fate::Fails(gone()),
            _ => Fate::Done,
        }
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
        let inner: Store = Arc::clone(&self.inner) as _;
        Arc::new(FaultyStore::new(inner, move |call| fault.fate(call)))
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
        let name = format!("memory:///faulty/{}", self.target);
        let request = request(load_id, &name, mode, &batches[0], options);
        let place = Place::Store(self.store(fault), self.path());
        let target = FileTarget::of(place, &request).await?;
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
        matches!(state, LoadState::Committed { receipt, .. } if receipt.rows == 20)
    }

    /// Objects that are not records.
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
        let name = format!("folder/{}killed-0.{}", file_prefix("one"), format.ending());
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

#[tokio::test]
async fn a_run_whose_staged_object_is_gone_is_not_in_doubt() {
    let bucket = Bucket::new("a.parquet", Format::Parquet);
    let error = bucket
        .run(Mode::Create, "one", Fault::CopyFindsNothing)
        .await
        .expect_err("it is gone");
    assert_eq!(
        (error.kind(), error.is_transient()),
        (ErrorKind::Conflict, true)
    );
    let slower = bucket
        .begin(Mode::Create, "one", Fault::CopyFindsNothing)
        .await
        .expect("a session");
    bucket
        .run(Mode::Create, "one", Fault::None)
        .await
        .expect("the faster");
    assert!(slower.commit().await.expect("the faster").already_loaded);
    assert_eq!(bucket.data().await, ["a.parquet"]);
}

#[tokio::test]
async fn what_others_have_staged_is_not_removed() {
    let bucket = Bucket::new("a.parquet", Format::Parquet);
    let put = async |name: &str| {
        let (path, payload) = (name.into(), PutPayload::from_static(b"x"));
        let put = bucket.inner.put_opts(&path, payload, PutOptions::default());
        put.await.expect("an object");
    };
    let left = crate::stage::staged_name("one", "killed");
    let live = crate::stage::staged_name("two", "live");
    let below = format!("folder/{left}");
    for name in [&left, &live, &below, ".arrowload-unknown.tmp"] {
        put(name).await;
    }
    bucket
        .run(Mode::Create, "one", Fault::None)
        .await
        .expect("a load");
    let mut expected = vec![live, ".arrowload-unknown.tmp".into(), below];
    expected.push("a.parquet".into());
    expected.sort();
    let mut found = bucket.data().await;
    found.sort();
    assert_eq!(found, expected);
}

/// As when one run was killed while its objects became visible, and the next one after its record and before it had removed
/// those.
#[tokio::test]
async fn a_load_that_has_committed_removes_what_its_other_runs_left() {
    for format in FOLDERS {
        let bucket = Bucket::new("folder/", format);
        let load = bucket.run(Mode::Append, "one", Fault::None);
        load.await.expect("a load");
        let committed = bucket.data().await;
        let left = format!("folder/{}killed-0{}", file_prefix("one"), format.ending());
        let (path, payload) = (left.as_str().into(), PutPayload::from_static(b"x"));
        let put = bucket.inner.put_opts(&path, payload, PutOptions::default());
        put.await.expect("an object");
        let store = bucket.store(Fault::None);
        let find = async || find_load(&store, &bucket.path(), "one").await;
        let state = find().await.expect("an answer");
        assert!(
            matches!(
                state,
                LoadState::Committed {
                    complete: false,
                    ..
                }
            ),
            "{state:?}"
        );
        assert_eq!(bucket.data().await.len(), 3, "a question removes nothing");
        crate::store_commit::remove_other_runs(&store, &bucket.path(), "one")
            .await
            .expect("removed");
        assert_eq!(bucket.data().await, committed);
        let state = find().await.expect("an answer");
        assert!(matches!(state, LoadState::Committed { complete: true, .. }));
    }
}

#[tokio::test]
async fn columns_that_changed_meanwhile_are_noticed() {
    for format in FOLDERS {
        let bucket = Bucket::new("folder/", format);
        bucket
            .run(Mode::Append, "one", Fault::None)
            .await
            .expect("a load");
        let session = bucket.begin(Mode::Append, "two", Fault::None).await;
        let mut record = crate::remote::inspect(&bucket.store(Fault::None), &bucket.path(), None)
            .await
            .expect("a folder")
            .record
            .expect("a record");
        record.load_id = "three".into();
        record.partition_by = vec!["id".into()];
        record.sequence += 1;
        let path = bucket.path().join(crate::record::record_name("three"));
        let payload = record.encode().expect("a record").into();
        let put = bucket.inner.put_opts(&path, payload, PutOptions::default());
        put.await.expect("another load");
        let error = session.expect("a session").commit().await;
        let error = error.expect_err("other columns");
        assert_eq!(
            (error.kind(), error.is_transient()),
            (ErrorKind::Conflict, true)
        );
        assert_eq!(bucket.data().await.len(), 2);
    }
}

/// As when its process dies between two objects, or its future is dropped there.
#[tokio::test]
async fn a_commit_that_is_interrupted_leaves_what_the_plan_says() {
    for mode in [Mode::Create, Mode::Append] {
        let bucket = Bucket::new("folder/", Format::Csv);
        if mode == Mode::Append {
            bucket
                .run(mode, "before", Fault::None)
                .await
                .expect("a load");
        }
        let before = bucket.data().await;
        let session = bucket
            .begin(mode, "one", Fault::SecondObjectHangs)
            .await
            .expect("a session");
        let after = session.guarantees().after_failure;
        assert!(after.new_rows, "rows of the load may remain");
        assert_eq!(after.schema_evolved, before.is_empty());
        let stopped = tokio::time::timeout(Duration::from_millis(100), session.commit()).await;
        assert!(stopped.is_err(), "it hangs");
        assert_eq!(bucket.data().await.len(), before.len() + 1);
        assert!(!bucket.is_committed("one").await);
        // Neither the plan nor the load takes it for something else.
        let receipt = bucket
            .run(mode, "one", Fault::None)
            .await
            .expect("a repeat");
        assert_eq!(receipt.rows, 20);
        assert_eq!(bucket.data().await.len(), before.len() + 2);
    }
}
