//! The pipeline against stores and sources that fail on purpose.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use arrowload_core::memory::{
    MemoryConfig, MemoryLoader, MemoryOptions, MemorySession, MemoryTarget, put_table, read_table,
};
use arrowload_core::{
    Atomicity, BatchStream, Begun, Capabilities, ChangeLimit, DataLoader, Error, ErrorKind, Input,
    KeyCounts, LoadRequest, LoadSession, LoadSpec, LoadState, Loader, LoaderDescriptor, Mode,
    OnError, Plan, Prepared, Progress, Receipt, Rejects, Result, Settings, TypeSupport, load,
    read_dead_letters,
};
use futures::{StreamExt, TryStreamExt, stream};

fn batch(values: std::ops::Range<i64>) -> RecordBatch {
    RecordBatch::try_from_iter([(
        "a",
        Arc::new(Int64Array::from_iter_values(values)) as ArrayRef,
    )])
    .expect("a batch")
}

fn rows(database: &str) -> Vec<i64> {
    let Some(batch) = read_table(database, "t") else {
        return Vec::new();
    };
    batch
        .column(0)
        .as_any()
        .downcast_ref::<Int64Array>()
        .expect("integers")
        .values()
        .to_vec()
}

async fn memory(database: &str) -> Loader {
    connect(&LoaderDescriptor::of::<MemoryLoader>("test", "0"), database).await
}

async fn connect(descriptor: &LoaderDescriptor, database: &str) -> Loader {
    let mut config = Settings::new();
    config.set("database", database, "test");
    Loader::connect(descriptor, &config, 0)
        .await
        .expect("memory connects")
}

fn spec() -> LoadSpec {
    LoadSpec::new("t")
}

/// A query that gives two batches, and on its first `failures` runs breaks between them.
fn breaking(failures: u32, error: fn() -> Error) -> (Input, Arc<AtomicU32>) {
    let runs = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&runs);
    let input = Input::repeatable(move |_| {
        let breaks = counter.fetch_add(1, Ordering::Relaxed) < failures;
        let middle = if breaks {
            Err(error())
        } else {
            Ok(batch(3..5))
        };
        let batches = vec![Ok(batch(0..3)), middle];
        Box::pin(async move {
            Ok(BatchStream::new(
                batch(0..0).schema(),
                stream::iter(batches),
            ))
        })
    });
    (input, runs)
}

fn reset() -> Error {
    Error::new(ErrorKind::Connection, "reset by peer").transient()
}

#[tokio::test]
async fn a_transient_error_of_the_source_runs_the_whole_load_again() {
    let (input, runs) = breaking(2, reset);
    let report = load(&memory("again").await, &spec(), &input)
        .await
        .expect("the third run passes");
    assert_eq!((report.rows, report.rows_read, report.retries), (5, 5, 2));
    assert_eq!(
        (rows("again"), runs.load(Ordering::Relaxed)),
        ((0..5).collect(), 3)
    );
}

#[tokio::test]
async fn other_errors_and_used_streams_are_not_tried_again() {
    let (input, runs) = breaking(1, || Error::new(ErrorKind::Query, "division by zero"));
    let error = load(&memory("once").await, &spec(), &input)
        .await
        .expect_err("it breaks");
    assert_eq!(
        (error.kind(), runs.load(Ordering::Relaxed)),
        (ErrorKind::Query, 1)
    );
    assert_eq!(error.get("target"), Some("t"));

    let broken = BatchStream::new(
        batch(0..0).schema(),
        stream::iter([Ok(batch(0..3)), Err(reset())]),
    );
    let error = load(&memory("once").await, &spec(), &Input::stream(broken))
        .await
        .expect_err("it breaks");
    assert_eq!(
        (error.kind(), error.is_transient()),
        (ErrorKind::Connection, false)
    );
    assert!(rows("once").is_empty());
}

#[tokio::test]
async fn a_source_that_hangs_ends_with_the_timeout_and_publishes_nothing() {
    let endless = stream::iter([Ok(batch(0..3))]).chain(stream::pending());
    let mut spec = spec();
    spec.load.timeout = Some(Duration::from_millis(50));
    let input = Input::stream(BatchStream::new(batch(0..0).schema(), endless));
    let error = load(&memory("late").await, &spec, &input)
        .await
        .expect_err("late");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(
        error.message().contains("50ms") && rows("late").is_empty(),
        "{error}"
    );
}

#[tokio::test]
async fn dropping_the_load_cancels_the_query_and_publishes_nothing() {
    struct Polled(Arc<AtomicU32>);
    impl Drop for Polled {
        fn drop(&mut self) {
            self.0.store(99, Ordering::SeqCst);
        }
    }
    let state = Arc::new(AtomicU32::new(0));
    let guard = Polled(Arc::clone(&state));
    let endless = stream::iter([Ok(batch(0..3))]).chain(stream::pending().map(move |()| {
        let _ = &guard;
        Err(reset())
    }));
    let (loader, spec) = (memory("dropped").await, spec());
    let input = Input::stream(BatchStream::new(batch(0..0).schema(), endless));
    let cut = tokio::time::timeout(Duration::from_millis(30), load(&loader, &spec, &input)).await;
    assert!(cut.is_err());
    tokio::time::timeout(Duration::from_secs(5), async {
        while state.load(Ordering::SeqCst) != 99 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the query is dropped");
    assert!(rows("dropped").is_empty());
    let report = load(
        &loader,
        &spec,
        &Input::stream(BatchStream::from_batches(
            batch(0..0).schema(),
            vec![batch(0..2)],
        )),
    )
    .await;
    assert_eq!(report.expect("the loader is usable").rows, 2);
}

#[tokio::test]
async fn a_source_that_panics_is_an_error_and_no_hang() {
    let panics = stream::iter([0]).map(|_| panic!("a defect"));
    let input = Input::stream(BatchStream::new(batch(0..0).schema(), panics));
    let error = load(&memory("panic").await, &spec(), &input)
        .await
        .expect_err("a panic");
    assert_eq!(error.kind(), ErrorKind::Unexpected);
}

async fn refused(batches: Vec<RecordBatch>, announced: Schema) -> Error {
    let stream = BatchStream::new(
        Arc::new(announced),
        stream::iter(batches.into_iter().map(Ok)),
    );
    load(&memory("refused").await, &spec(), &Input::stream(stream))
        .await
        .expect_err("refused")
}

#[tokio::test]
async fn a_schema_that_drifts_is_named_by_its_column() {
    let announced = || batch(0..0).schema().as_ref().clone();
    let text =
        RecordBatch::try_from_iter([("a", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)])
            .expect("a batch");
    let error = refused(vec![batch(0..2), text], announced()).await;
    assert_eq!(
        (error.kind(), error.get("column"), error.get("batch at row")),
        (ErrorKind::SchemaMismatch, Some("a"), Some("2"))
    );

    let renamed =
        RecordBatch::try_from_iter([("b", Arc::new(Int64Array::from(vec![1])) as ArrayRef)])
            .expect("a batch");
    assert!(
        refused(vec![renamed], announced())
            .await
            .message()
            .contains("`b`")
    );

    let not_null = Schema::new(vec![Field::new("a", DataType::Int64, false)]);
    let nulls = RecordBatch::try_from_iter([(
        "a",
        Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef,
    )])
    .expect("a batch");
    let error = refused(vec![batch(0..2), nulls], not_null).await;
    assert_eq!(
        (error.kind(), error.row()),
        (ErrorKind::InvalidData, Some(3))
    );
}

#[tokio::test]
async fn results_that_no_target_could_hold_are_refused() {
    let none = refused(vec![], Schema::empty()).await;
    assert!(none.message().contains("no columns"), "{none}");
    let twice = Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("a", DataType::Int64, true),
    ]);
    assert_eq!(refused(vec![], twice).await.get("column"), Some("a"));
}

#[tokio::test]
async fn a_wide_result_without_rows_makes_the_target() {
    let fields: Vec<Field> = (0..100)
        .map(|index| Field::new(format!("c{index}"), DataType::Int64, true))
        .collect();
    let stream = BatchStream::from_batches(Arc::new(Schema::new(fields)), vec![]);
    let report = load(&memory("wide").await, &spec(), &Input::stream(stream))
        .await
        .expect("loaded");
    assert_eq!((report.rows, report.batches), (0, 0));
    assert_eq!(read_table("wide", "t").expect("made").num_columns(), 100);
}

#[tokio::test]
async fn progress_ends_with_everything_done() {
    let seen: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let sink = Arc::clone(&seen);
    let mut spec = spec();
    spec.on_progress = Some(Arc::new(move |progress| {
        sink.lock().expect("no panic").push(progress.clone())
    }));
    let stream = BatchStream::from_batches(batch(0..0).schema(), vec![batch(0..2), batch(2..7)]);
    load(&memory("progress").await, &spec, &Input::stream(stream))
        .await
        .expect("loaded");
    let seen = seen.lock().expect("no panic");
    let last = seen.last().expect("at least the end");
    assert_eq!(
        (
            last.rows_read,
            last.rows_written,
            last.expected_rows,
            last.done
        ),
        (7, 7, Some(7), true)
    );
}

#[tokio::test]
async fn null_keys_are_refused_by_row_or_set_aside() {
    let keyed = |keys: Vec<Option<i64>>| {
        RecordBatch::try_from_iter_with_nullable([(
            "id",
            Arc::new(Int64Array::from(keys)) as ArrayRef,
            true,
        )])
        .expect("a batch")
    };
    let input = || {
        let batches = vec![
            keyed(vec![Some(1), Some(2)]),
            keyed(vec![None, Some(3), None]),
        ];
        Input::stream(BatchStream::from_batches(keyed(vec![]).schema(), batches))
    };
    let mut spec = spec();
    spec.load.mode = Mode::Upsert;
    spec.load.keys = vec!["id".into()];
    let error = load(&memory("null_keys").await, &spec, &input())
        .await
        .expect_err("a null key");
    assert_eq!(
        (error.kind(), error.get("column"), error.row()),
        (ErrorKind::NullKey, Some("id"), Some(2))
    );
    assert!(rows("null_keys").is_empty());

    let folder = tempfile::tempdir().expect("a folder");
    spec.load.on_error = OnError::Skip;
    spec.load.dead_letters = folder.path().into();
    let loader = connect(&LoaderDescriptor::of::<Faulty>("test", "0"), "null_keys").await;
    let report = load(&loader, &spec, &input())
        .await
        .expect("the others arrive");
    assert_eq!(
        (report.rows, report.rows_read, report.rows_rejected),
        (3, 5, 2)
    );
    assert_eq!(
        report.keys.map(|keys| (keys.inserted, keys.null)),
        Some((3, 2))
    );
    let (letters, origin) =
        read_dead_letters(&report.dead_letters.expect("a file")).expect("dead letters");
    assert_eq!(
        (origin.target.as_str(), origin.load_id),
        ("t", report.load_id)
    );
    let letters: Vec<RecordBatch> = letters.try_collect().await.expect("batches");
    assert_eq!(letters, [keyed(vec![None, None])]);
}

#[tokio::test]
async fn an_upsert_replaces_every_row_of_its_key() {
    let all = batch(0..5);
    let twice = vec![all.slice(1, 3), all.slice(2, 1), all.slice(2, 2)];
    put_table("twice_there", "t", &all.schema(), twice);
    assert_eq!(rows("twice_there"), [1, 2, 3, 2, 2, 3]);
    let mut spec = spec();
    spec.load.mode = Mode::Upsert;
    spec.load.keys = vec!["a".into()];
    let input = || {
        Input::stream(BatchStream::from_batches(
            all.schema(),
            vec![all.slice(2, 1), all.slice(4, 1), all.slice(4, 1)],
        ))
    };
    // Two of the three rows are deleted.
    spec.load.max_deletes = Some(ChangeLimit::Rows(1));
    let error = load(&memory("twice_there").await, &spec, &input())
        .await
        .expect_err("two rows would be deleted");
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    spec.load.max_deletes = Some(ChangeLimit::Rows(2));
    let report = load(&memory("twice_there").await, &spec, &input())
        .await
        .expect("it loads");
    assert_eq!(
        report.keys,
        Some(KeyCounts {
            inserted: 1,
            updated: 1,
            duplicate: 1,
            ..KeyCounts::default()
        })
    );
    // What the load does not name stays as it was.
    assert_eq!(rows("twice_there"), [1, 2, 3, 3, 4]);
}

/// Memory that loses the answer to its commits, before or after they happen, or loses rows.
struct Faulty(MemoryLoader);

static GONE: AtomicU64 = AtomicU64::new(0);
static LOST_BEFORE: AtomicU64 = AtomicU64::new(0);

struct FaultySession(MemorySession, String);

impl DataLoader for Faulty {
    const NAME: &'static str = "faulty";
    const CAPABILITIES: Capabilities = Capabilities::new(&Mode::ALL, Atomicity::Load)
        .create_target()
        .load_ids()
        .skip_rows()
        .checksum();
    type Config = MemoryConfig;
    type Options = MemoryOptions;
    type Resolved = MemoryTarget;
    type Session = FaultySession;

    async fn connect(config: MemoryConfig) -> Result<Self> {
        MemoryLoader::connect(config).await.map(Self)
    }

    async fn resolve(&self, request: &LoadRequest<MemoryOptions>) -> Result<MemoryTarget> {
        self.0.resolve(request).await
    }

    fn plan(request: &LoadRequest<MemoryOptions>, found: &MemoryTarget) -> Plan {
        let mut plan = Plan::of::<Self>(request);
        plan.target_exists = MemoryLoader::plan(request, found).target_exists;
        plan
    }

    async fn begin(
        &self,
        request: LoadRequest<MemoryOptions>,
        found: MemoryTarget,
        rejects: Rejects,
    ) -> Result<Begun<FaultySession>> {
        let id = request.load_id.clone();
        Ok(match self.0.begin(request, found, rejects).await? {
            Begun::Session(session) => Begun::Session(FaultySession(session, id)),
            Begun::AlreadyLoaded(receipt) => Begun::AlreadyLoaded(receipt),
        })
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        MemoryLoader::supports_type(data_type)
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        if load_id == "unanswered" {
            return Ok(LoadState::Unknown);
        }
        if load_id == "unreachable" && GONE.load(Ordering::Relaxed) > 0 {
            return Err(Error::new(ErrorKind::Connection, "nobody listens"));
        }
        self.0.find_load(target, load_id).await
    }
}

impl LoadSession for FaultySession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let kept = if self.1 == "loses a row" {
            batch.slice(0, batch.num_rows() - 1)
        } else {
            batch.clone()
        };
        self.0.write(&kept).await
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        self.0.prepare().await
    }

    async fn checksums(&mut self) -> Result<Vec<arrowload_core::ColumnChecksum>> {
        let mut checksums = self.0.checksums().await?;
        if self.1 == "flips a bit" {
            checksums[0].sum ^= 1;
        }
        Ok(checksums)
    }

    async fn commit(self) -> Result<Receipt> {
        let lost = || {
            Err(Error::new(
                ErrorKind::CommitUnknown,
                "connection reset in COMMIT",
            ))
        };
        if self.1 == "lost before" && LOST_BEFORE.fetch_add(1, Ordering::Relaxed) == 0 {
            return lost();
        }
        let receipt = self.0.commit().await?;
        let loses = ["lost after", "unanswered", "unreachable"].contains(&self.1.as_str());
        GONE.fetch_add(u64::from(self.1 == "unreachable"), Ordering::Relaxed);
        if loses { lost() } else { Ok(receipt) }
    }

    async fn abort(self) -> Result<()> {
        self.0.abort().await
    }
}

async fn load_with_id(database: &str, load_id: &str) -> (Result<arrowload_core::LoadReport>, u32) {
    let loader = connect(&LoaderDescriptor::of::<Faulty>("test", "0"), database).await;
    let mut spec = spec();
    spec.load.load_id = Some(load_id.into());
    let (input, runs) = breaking(0, reset);
    let outcome = load(&loader, &spec, &input).await;
    (outcome, runs.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_asked_after() {
    let (report, runs) = load_with_id("lost_after", "lost after").await;
    assert_eq!((report.expect("it had committed").rows, runs), (5, 1));
    assert_eq!(rows("lost_after").len(), 5);

    let (report, runs) = load_with_id("lost_before", "lost before").await;
    let report = report.expect("the second commit arrives");
    assert_eq!((report.rows, report.retries, runs), (5, 1, 2));
    assert_eq!(rows("lost_before").len(), 5);

    let (outcome, runs) = load_with_id("unanswered", "unanswered").await;
    let error = outcome.expect_err("nobody knows");
    assert_eq!((error.kind(), runs), (ErrorKind::CommitUnknown, 1));
    assert!(
        error.message().contains("does not record its loads"),
        "{error}"
    );

    let (outcome, runs) = load_with_id("unreachable", "unreachable").await;
    let error = outcome.expect_err("nobody answers");
    assert_eq!((error.kind(), runs), (ErrorKind::CommitUnknown, 1));
    assert!(
        error.message().contains("load_id = \"unreachable\""),
        "{error}"
    );
}

#[tokio::test]
async fn repeating_a_load_with_its_id_writes_nothing() {
    let (first, _) = load_with_id("twice", "x").await;
    assert!(!first.expect("loaded").already_loaded);
    let (second, runs) = load_with_id("twice", "x").await;
    let second = second.expect("known");
    assert_eq!((second.already_loaded, second.rows, runs), (true, 5, 0));
    assert_eq!(rows("twice").len(), 5);
}

#[tokio::test]
async fn lost_rows_and_flipped_bits_are_found_before_the_commit() {
    let (outcome, _) = load_with_id("short", "loses a row").await;
    let error = outcome.expect_err("rows are missing");
    assert_eq!(error.kind(), ErrorKind::Verification);
    assert!(
        error.message().contains("gave 5") && error.message().contains("acknowledged 3"),
        "{error}"
    );

    let loader = connect(&LoaderDescriptor::of::<Faulty>("test", "0"), "short").await;
    let mut spec = spec();
    spec.load.verify = arrowload_core::Verify::Checksum;
    spec.load.load_id = Some("flips a bit".into());
    let error = load(&loader, &spec, &breaking(0, reset).0)
        .await
        .expect_err("a bit is flipped");
    assert_eq!(error.kind(), ErrorKind::Verification);
    assert!(
        error.message().contains("differ") && error.message().ends_with(": a"),
        "{error}"
    );
    assert!(rows("short").is_empty());

    spec.load.load_id = None;
    let report = load(&loader, &spec, &breaking(0, reset).0)
        .await
        .expect("nothing is flipped");
    assert_eq!(report.checksums.expect("asked for")[0].values, 5);
}
