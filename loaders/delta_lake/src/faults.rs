//! Loads through a store that fails, loses answers and answers late, at random: one commit a load, or none.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrowload_core::{BatchStream, Input, LoadSpec, Loader, LoaderDescriptor, Settings, load};
use async_trait::async_trait;
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use futures::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::*;
use url::Url;

use crate::DeltaLakeLoader;

/// A store in memory, one of whose calls in [`FAILS`] fails.
#[derive(Debug, Default)]
struct Faulty {
    inner: InMemory,
    calls: AtomicU64,
}

static STORE: LazyLock<Arc<Faulty>> = LazyLock::new(Arc::default);
/// One in how many calls fails; 0 for none.
static FAILS: AtomicU64 = AtomicU64::new(0);

/// The log of a table in the faulty store, by its name.
pub(crate) fn log_store(name: &str) -> LogStoreRef {
    let root: Arc<dyn ObjectStore> = Arc::new(Shared(Arc::clone(&STORE)));
    let table = Arc::new(PrefixStore::new(Arc::clone(&root), Path::from(name)));
    let url = Url::parse(&format!("memory:///{name}")).expect("a URL");
    default_logstore(table, root, &url, &StorageConfig::default())
}

#[derive(Debug, Clone)]
struct Shared(Arc<Faulty>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

fn fault() -> Error {
    Error::Generic {
        store: "faulty",
        source: "the connection was reset".into(),
    }
}

/// What becomes of a call: it is done, fails, or is done and its answer lost.
enum Fate {
    Done,
    Fails,
    Unanswered,
}

impl Shared {
    async fn fate(&self) -> Fate {
        let call = self.0.calls.fetch_add(1, Ordering::Relaxed);
        // The steps of a linear congruential generator (Knuth's MMIX constants) stand for chance.
        let chance = call
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407)
            >> 33;
        let fails = FAILS.load(Ordering::Relaxed);
        if fails > 0 && chance.is_multiple_of(7) {
            tokio::time::sleep(Duration::from_micros(chance % 3000)).await;
        }
        match fails > 0 && chance.is_multiple_of(fails) {
            false => Fate::Done,
            true if (chance / fails).is_multiple_of(2) => Fate::Fails,
            true => Fate::Unanswered,
        }
    }

    async fn call<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.fate().await {
            Fate::Done => work.await,
            Fate::Fails => Err(fault()),
            Fate::Unanswered => work.await.and(Err(fault())),
        }
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
        self.call(self.0.inner.put_opts(path, payload, options))
            .await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.call(self.0.inner.put_multipart_opts(path, options))
            .await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.call(self.0.inner.get_opts(path, options)).await
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
        self.call(self.0.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.call(self.0.inner.copy_opts(from, to, options)).await
    }
}

fn rows(ids: Range<i64>) -> RecordBatch {
    RecordBatch::try_from_iter([(
        "id",
        Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef,
    )])
    .expect("a batch")
}

/// Ten rows from `first` on, by a pipeline that may try again.
async fn add(table: &str, first: i64) -> arrowload_core::Result<()> {
    let descriptor = LoaderDescriptor::of::<DeltaLakeLoader>("arrowload-delta-lake", "test");
    let loader = Loader::connect(&descriptor, &Settings::new(), 0).await?;
    let mut spec = LoadSpec::new(format!("faulty://{table}"));
    spec.load.load_id = Some(format!("load {first}"));
    spec.load.max_retries = 3;
    let input = Input::query(move || {
        let batches = stream::iter([Ok(rows(first..first + 4)), Ok(rows(first + 4..first + 10))]);
        Box::pin(async move { Ok(BatchStream::new(rows(0..0).schema(), batches)) })
    });
    load(&loader, &spec, &input).await.map(drop)
}

async fn count(table: &str) -> (usize, u64) {
    let table = crate::table::Table::open(&log_store(table), true)
        .await
        .expect("it opens")
        .expect("a table");
    let rows = table
        .files()
        .expect("files")
        .iter()
        .filter_map(|file| file.rows)
        .sum();
    (table.files().expect("files").len(), rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_at_random_holds_each_load_once() {
    let (mut failed, mut loads) = (0, 0);
    for (name, fails) in [("a", 5), ("b", 13), ("c", 29)] {
        for first in (0..200).step_by(10) {
            FAILS.store(fails, Ordering::Relaxed);
            let first_try = add(name, first).await;
            failed += u32::from(first_try.is_err());
            // Whoever got an error asks again with the same id.
            for _ in 0..50 {
                if add(name, first).await.is_ok() {
                    break;
                }
            }
            FAILS.store(0, Ordering::Relaxed);
            add(name, first).await.expect("the store is well again");
            loads += 1;
            let (_, rows) = count(name).await;
            assert_eq!(
                rows,
                (first as u64) + 10,
                "{name}, {first}: rows are lost or doubled"
            );
        }
    }
    assert!(
        failed > 0 && failed < loads,
        "{failed} of {loads} loads failed"
    );
}
