//! What is tried again and how often, what becomes of rows that were set aside, and what is counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::DataType;
use arrowload_core::memory::{
    MemoryConfig, MemoryLoader, MemoryOptions, MemorySession, MemoryTarget,
};
use arrowload_core::{
    Aftermath, Atomicity, BatchStream, Begun, Capabilities, DataLoader, Error, ErrorKind, Input,
    LoadRequest, LoadSession, LoadSpec, LoadState, Loader, LoaderDescriptor, Mode, OnError, Plan,
    Prepared, Receipt, Rejects, Result, Secret, Settings, TypeSupport, Verify, load,
    read_dead_letters,
};
use futures::TryStreamExt;
use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Memory whose faults the target's name asks for.
struct Troubled(MemoryLoader);

static BEGUN: AtomicU32 = AtomicU32::new(0);

struct TroubledSession {
    inner: MemorySession,
    target: String,
    rejects: Rejects,
    rows: u64,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct TroubledOptions {
    note: Option<String>,
    other_note: Option<String>,
    pin: Option<Secret>,
}

fn busy() -> Error {
    Error::new(ErrorKind::ResourceExhausted, "too busy").transient()
}

impl DataLoader for Troubled {
    const NAME: &'static str = "troubled";
    const CAPABILITIES: Capabilities = Capabilities::new(&Mode::ALL, Atomicity::Load)
        .create_target()
        .load_ids()
        .skip_rows()
        .checksum();
    type Config = MemoryConfig;
    type Options = TroubledOptions;
    type Resolved = MemoryTarget;
    type Session = TroubledSession;

    async fn connect(config: MemoryConfig) -> Result<Self> {
        MemoryLoader::connect(config).await.map(Self)
    }

    async fn resolve(&self, request: &LoadRequest<TroubledOptions>) -> Result<MemoryTarget> {
        let request = request.clone().with_options(MemoryOptions::default());
        self.0.resolve(&request).await
    }

    fn plan(request: &LoadRequest<TroubledOptions>, found: &MemoryTarget) -> Plan {
        let mut plan = Plan::of::<Self>(request);
        let memory = request.clone().with_options(MemoryOptions::default());
        plan.target_exists = MemoryLoader::plan(&memory, found).target_exists;
        plan
    }

    async fn begin(
        &self,
        request: LoadRequest<TroubledOptions>,
        found: MemoryTarget,
        rejects: Rejects,
    ) -> Result<Begun<TroubledSession>> {
        let request = request.with_options(MemoryOptions::default());
        if request.target == "never begins" {
            BEGUN.fetch_add(1, Ordering::Relaxed);
            return Err(busy());
        }
        let target = request.target.clone();
        Ok(match self.0.begin(request, found, rejects.clone()).await? {
            Begun::Session(inner) => Begun::Session(TroubledSession {
                inner,
                target,
                rejects,
                rows: 0,
            }),
            Begun::AlreadyLoaded(receipt) => Begun::AlreadyLoaded(receipt),
        })
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        MemoryLoader::supports_type(data_type)
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        self.0.find_load(target, load_id).await
    }
}

impl LoadSession for TroubledSession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.target == "panics while it writes" {
            panic!("a defect");
        }
        // The first row is one that this store refuses.
        let refused = usize::from(self.rejects.accepts());
        if refused > 0 {
            self.rejects
                .set_aside(&batch.slice(0, 1), self.rows, "not today", Some("E1"))?;
        }
        self.rows += batch.num_rows() as u64;
        if self.target == "sets aside, then fails" {
            return Err(busy());
        }
        self.inner
            .write(&batch.slice(refused, batch.num_rows() - refused))
            .await
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        self.inner.prepare().await
    }

    async fn checksums(&mut self) -> Result<Vec<arrowload_core::ColumnChecksum>> {
        self.inner.checksums().await
    }

    async fn commit(self) -> Result<Receipt> {
        match self.target.as_str() {
            "slow" => tokio::time::sleep(Duration::from_millis(500)).await,
            "panics while it commits" => panic!("a defect"),
            "refuses commits" => return Err(Error::new(ErrorKind::Conflict, "somebody was first")),
            _ => {}
        }
        let receipt = self.inner.commit().await?;
        match self.target.as_str() {
            "loses the answer" => Err(Error::new(
                ErrorKind::CommitUnknown,
                "connection reset in COMMIT",
            )),
            _ => Ok(receipt),
        }
    }

    async fn abort(self) -> Result<()> {
        self.inner.abort().await
    }
}

async fn troubled(database: &str) -> Loader {
    let mut config = Settings::new();
    config.set("database", database, "test");
    Loader::connect(&LoaderDescriptor::of::<Troubled>("test", "0"), &config, 0)
        .await
        .expect("memory connects")
}

fn batch(values: Vec<Option<i64>>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([(
        "a",
        Arc::new(Int64Array::from(values)) as ArrayRef,
        true,
    )])
    .expect("a batch")
}

/// Three rows, as often as they are asked for.
fn three() -> Input {
    Input::repeatable(|_| {
        Box::pin(async {
            Ok(BatchStream::from_batches(
                batch(vec![]).schema(),
                vec![batch(vec![Some(1), Some(2), Some(3)])],
            ))
        })
    })
}

fn skipping(target: &str, folder: &tempfile::TempDir) -> LoadSpec {
    let mut spec = LoadSpec::new(target);
    spec.load.on_error = OnError::Skip;
    spec.load.dead_letters = folder.path().into();
    spec.load.load_id = Some("day1".into());
    spec
}

fn files(folder: &tempfile::TempDir) -> usize {
    std::fs::read_dir(folder.path()).expect("a folder").count()
}

#[tokio::test]
async fn what_never_works_is_tried_as_often_as_was_asked_for() {
    let mut spec = LoadSpec::new("never begins");
    spec.load.max_retries = 3;
    let error = load(&troubled("retries").await, &spec, &three())
        .await
        .expect_err("it never begins");
    assert_eq!(
        (error.kind(), BEGUN.load(Ordering::Relaxed)),
        (ErrorKind::ResourceExhausted, 4)
    );
    assert!(
        error
            .get("tried")
            .is_some_and(|tried| tried.starts_with("4 times")),
        "{error}"
    );
}

#[tokio::test]
async fn a_load_that_set_rows_aside_and_failed_leaves_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spec = skipping("sets aside, then fails", &folder);
    spec.load.max_retries = 1;
    let error = load(&troubled("writes").await, &spec, &three())
        .await
        .expect_err("it fails");
    assert_eq!(
        (error.kind(), files(&folder)),
        (ErrorKind::ResourceExhausted, 0)
    );
    assert_eq!(error.aftermath(), Some(Aftermath::Unchanged));
}

#[tokio::test]
async fn a_loader_that_panics_is_an_error() {
    for (target, kind) in [
        ("panics while it writes", ErrorKind::Unexpected),
        ("panics while it commits", ErrorKind::Connection),
    ] {
        let input = Input::stream(BatchStream::from_batches(
            batch(vec![]).schema(),
            vec![batch(vec![Some(1)])],
        ));
        let error = load(&troubled("panics").await, &LoadSpec::new(target), &input)
            .await
            .expect_err("it panics");
        // After a panic in a commit the store is asked, and says that nothing was committed.
        assert_eq!(
            (error.kind(), error.aftermath()),
            (kind, Some(Aftermath::Unchanged)),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn one_id_for_two_targets_has_two_files() {
    let (folder, loader) = (
        tempfile::tempdir().expect("a folder"),
        troubled("two targets").await,
    );
    let mut reports = Vec::new();
    for target in ["x", "y"] {
        reports.push(
            load(&loader, &skipping(target, &folder), &three())
                .await
                .expect("two arrive"),
        );
    }
    for (target, report) in ["x", "y"].into_iter().zip(&reports) {
        let (_, origin) =
            read_dead_letters(report.dead_letters.as_ref().expect("a file")).expect("dead letters");
        assert_eq!(
            (origin.target.as_str(), report.rows, report.rows_rejected),
            (target, 2, 1)
        );
        let again = load(&loader, &skipping(target, &folder), &three())
            .await
            .expect("known");
        assert!(again.already_loaded);
        assert_eq!(
            (again.rows_rejected, &again.dead_letters),
            (1, &report.dead_letters)
        );
    }
    assert_eq!(files(&folder), 2);
}

#[tokio::test]
async fn dead_letters_keep_options_but_no_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spec = skipping("x", &folder);
    spec.options.set("note", "kept", "a test");
    spec.options.set("pin", "1234", "a test");
    spec.options.set("other_note", "from ${env:X}", "a test");
    spec.options.hide("other_note");
    let report = load(&troubled("secrets").await, &spec, &three())
        .await
        .expect("two arrive");
    let (_, origin) =
        read_dead_letters(&report.dead_letters.expect("a file")).expect("dead letters");
    assert_eq!(
        origin.options,
        serde_json::Map::from_iter([("note".to_owned(), "kept".into())])
    );
}

#[tokio::test]
async fn rows_are_set_aside_only_by_a_load_that_commits() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = load(
        &troubled("refused").await,
        &skipping("refuses commits", &folder),
        &three(),
    )
    .await
    .expect_err("refused");
    assert_eq!((error.kind(), files(&folder)), (ErrorKind::Conflict, 0));

    let mut spec = skipping("loses the answer", &folder);
    spec.load.verify = Verify::Checksum;
    let report = load(&troubled("lost").await, &spec, &three())
        .await
        .expect("it had committed");
    assert_eq!((report.rows, report.rows_rejected), (2, 1));
    assert_eq!(report.checksums.expect("asked for")[0].values, 2);
    let (letters, _) =
        read_dead_letters(&report.dead_letters.expect("a file")).expect("dead letters");
    let letters: Vec<RecordBatch> = letters.try_collect().await.expect("batches");
    assert_eq!(letters, [batch(vec![Some(1)])]);
}

#[tokio::test]
async fn keys_are_columns() {
    let rows = Input::stream(BatchStream::from_batches(
        batch(vec![]).schema(),
        vec![batch(vec![Some(1), None])],
    ));
    let mut spec = LoadSpec::new("t");
    spec.load.keys = vec!["id".into()];
    let error = load(&troubled("keys").await, &spec, &rows)
        .await
        .expect_err("no such column");
    assert!(
        error
            .message()
            .contains("no column of the query. It has: a"),
        "{error}"
    );
}

#[tokio::test]
async fn progress_is_told_while_a_commit_takes_its_time() {
    let told = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&told);
    let mut spec = LoadSpec::new("slow");
    spec.on_progress = Some(Arc::new(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    load(&troubled("slow").await, &spec, &three())
        .await
        .expect("loaded");
    assert!(told.load(Ordering::Relaxed) >= 3, "{told:?}");
}

#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, Arc<Count>>>);

#[derive(Default)]
struct Count(Mutex<u64>);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += value;
    }

    fn absolute(&self, value: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

impl Counts {
    fn get(&self, name: &str) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(name).map_or(0, |count| {
            *count.0.lock().unwrap_or_else(PoisonError::into_inner)
        })
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<&str> = key.labels().map(metrics::Label::value).collect();
        let name = format!("{} {}", key.name(), labels.join(" "));
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Counter::from_arc(Arc::clone(counts.entry(name).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn metrics_count_what_was_loaded_and_not_what_was_there() {
    let counts = Counts::default();
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    metrics::with_local_recorder(&counts, || {
        runtime.block_on(async {
            let loader = troubled("metrics").await;
            for _ in 0..2 {
                load(&loader, &skipping("x", &folder), &three())
                    .await
                    .expect("two arrive");
            }
            load(&loader, &skipping("refuses commits", &folder), &three())
                .await
                .expect_err("refused");
        });
    });
    let wanted = [
        ("arrowload_loads_total troubled ok", 1),
        ("arrowload_loads_total troubled already_loaded", 1),
        ("arrowload_loads_total troubled error", 1),
        ("arrowload_loaded_rows_total troubled", 2),
        ("arrowload_rejected_rows_total troubled", 1),
        // Rows that were handed over count as written, also those of a load that failed or that were set aside.
        ("arrowload_written_rows_total troubled", 6),
    ];
    for (name, count) in wanted {
        assert_eq!(counts.get(name), count, "{name}");
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_log_says_what_was_loaded_and_what_failed() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    tracing::subscriber::with_default(subscriber, || {
        runtime.block_on(async {
            let loader = troubled("log").await;
            load(&loader, &skipping("x", &folder), &three())
                .await
                .expect("two arrive");
            load(&loader, &skipping("refuses commits", &folder), &three())
                .await
                .expect_err("refused");
        });
    });
    let log = String::from_utf8(log.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
        .expect("text");
    let line = |begin: &str, parts: &[&str]| {
        log.lines()
            .any(|line| line.contains(begin) && parts.iter().all(|part| line.contains(part)))
    };
    assert!(
        line("INFO", &["loaded", "target=x", "load_id=day1", "rows=2"]),
        "{log}"
    );
    assert!(
        line("ERROR", &["the load failed", "somebody was first"]),
        "{log}"
    );
}
