//! The pipeline over a store that fails for a while: what is tried again leaves every row once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::DataType;
use arrowload_core::memory::{
    MemoryConfig, MemoryLoader, MemoryOptions, MemorySession, MemoryTarget, read_table,
};
use arrowload_core::{
    BatchStream, Begun, Capabilities, DataLoader, Error, ErrorKind, Input, LoadReport, LoadRequest,
    LoadSession, LoadSpec, LoadState, Loader, LoaderDescriptor, Mode, Plan, Prepared, Receipt,
    Rejects, Result, Settings, TypeSupport, load,
};
use arrowload_testkit::canonical_rows;
use futures::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum At {
    Connect,
    Find,
    Resolve,
    Begin,
    /// The second batch, when the first is staged.
    Write,
    Prepare,
    /// Nothing is published.
    Commit,
    /// The answer to the commit is lost, and nothing is published.
    AnswerBefore,
    /// The answer to the commit is lost, and everything is published.
    AnswerAfter,
}

const ALL: [At; 9] = [
    At::Connect,
    At::Find,
    At::Resolve,
    At::Begin,
    At::Write,
    At::Prepare,
    At::Commit,
    At::AnswerBefore,
    At::AnswerAfter,
];

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    database: String,
    at: At,
    /// How often it fails.
    times: u32,
}

/// How often each store has failed so far.
static FAILED: LazyLock<Mutex<HashMap<String, u32>>> = LazyLock::new(Mutex::default);

impl Config {
    fn fail(&self, at: At) -> Result<()> {
        let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = failed.entry(self.database.clone()).or_default();
        if at != self.at || *failed == self.times {
            return Ok(());
        }
        *failed += 1;
        Err(match at {
            At::AnswerBefore | At::AnswerAfter => {
                Error::new(ErrorKind::CommitUnknown, "connection reset in COMMIT")
            }
            _ => Error::new(ErrorKind::Connection, "connection reset").transient(),
        })
    }
}

struct Flaky(MemoryLoader, Config);

struct Session {
    inner: MemorySession,
    config: Config,
    batches: u32,
}

impl DataLoader for Flaky {
    const NAME: &'static str = "flaky";
    const CAPABILITIES: Capabilities = MemoryLoader::CAPABILITIES;
    type Config = Config;
    type Options = MemoryOptions;
    type Resolved = MemoryTarget;
    type Session = Session;

    async fn connect(config: Config) -> Result<Self> {
        config.fail(At::Connect)?;
        Ok(Self(
            MemoryLoader::connect(MemoryConfig {
                database: config.database.clone(),
            })
            .await?,
            config,
        ))
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        self.1.fail(At::Find)?;
        self.0.find_load(target, load_id).await
    }

    async fn resolve(&self, request: &LoadRequest<MemoryOptions>) -> Result<MemoryTarget> {
        self.1.fail(At::Resolve)?;
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
    ) -> Result<Begun<Session>> {
        self.1.fail(At::Begin)?;
        Ok(match self.0.begin(request, found, rejects).await? {
            Begun::Session(inner) => Begun::Session(Session {
                inner,
                config: self.1.clone(),
                batches: 0,
            }),
            Begun::AlreadyLoaded(receipt) => Begun::AlreadyLoaded(receipt),
        })
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        MemoryLoader::supports_type(data_type)
    }
}

impl LoadSession for Session {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.batches += 1;
        if self.batches == 2 {
            self.config.fail(At::Write)?;
        }
        self.inner.write(batch).await
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        self.config.fail(At::Prepare)?;
        self.inner.prepare().await
    }

    async fn commit(self) -> Result<Receipt> {
        self.config.fail(At::Commit)?;
        self.config.fail(At::AnswerBefore)?;
        let receipt = self.inner.commit().await?;
        self.config.fail(At::AnswerAfter)?;
        Ok(receipt)
    }

    async fn abort(self) -> Result<()> {
        self.inner.abort().await
    }
}

fn batch(ids: std::ops::Range<i64>) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    RecordBatch::try_from_iter_with_nullable([("id", ids, true)]).expect("a batch")
}

/// A query of four batches, and how often it was run.
fn query() -> (Input, Arc<AtomicU32>) {
    let runs = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&runs);
    let input = Input::repeatable(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        let batches = (0..4).map(|index| Ok(batch(index * 5..index * 5 + 5)));
        Box::pin(async move {
            Ok(BatchStream::new(
                batch(0..0).schema(),
                stream::iter(batches),
            ))
        })
    });
    (input, runs)
}

/// A target with the rows 15 to 25 before, and the spec of a load of 0 to 20.
async fn flaky(database: &str, at: At, times: u32, mode: Mode) -> (Loader, LoadSpec) {
    let mut spec = LoadSpec::new("t");
    (spec.load.mode, spec.load.max_retries) = (mode, 3);
    spec.load.keys = if mode == Mode::Upsert {
        vec!["id".into()]
    } else {
        Vec::new()
    };
    if mode != Mode::Create {
        let mut plain = Settings::new();
        plain.set("database", database, "the test");
        let memory = Loader::connect(
            &LoaderDescriptor::of::<MemoryLoader>("test", "0"),
            &plain,
            0,
        )
        .await
        .expect("memory connects");
        let before = Input::stream(BatchStream::from_batches(
            batch(0..0).schema(),
            vec![batch(15..25)],
        ));
        load(&memory, &LoadSpec::new("t"), &before)
            .await
            .expect("the rows before");
    }
    let mut config = Settings::new();
    config.set("database", database, "the test");
    config.set("at", serde_json::to_value(at).expect("a name"), "the test");
    config.set("times", times, "the test");
    let loader = Loader::connect(&LoaderDescriptor::of::<Flaky>("test", "0"), &config, 3)
        .await
        .expect("it connects in the end");
    (loader, spec)
}

fn expected(mode: Mode) -> Vec<String> {
    let mut rows = canonical_rows(&batch(0..20));
    match mode {
        Mode::Create | Mode::Overwrite => {}
        Mode::Append => rows.extend(canonical_rows(&batch(15..25))),
        Mode::Upsert => rows.extend(canonical_rows(&batch(20..25))),
    }
    rows.sort();
    rows
}

fn rows(database: &str) -> Vec<String> {
    let mut rows = read_table(database, "t")
        .map(|batch| canonical_rows(&batch))
        .unwrap_or_default();
    rows.sort();
    rows
}

fn check(report: &LoadReport, runs: u32, at: At, mode: Mode) {
    let case = format!("{mode}, failing twice at {at:?}: {report:?}");
    assert_eq!((report.rows, report.already_loaded), (20, false), "{case}");
    // What comes before the rows is tried again alone; a load that was under way is run again as a whole.
    let again = match at {
        At::Connect | At::Find | At::Resolve | At::Begin | At::AnswerAfter => 0,
        At::Write | At::Prepare | At::Commit | At::AnswerBefore => 2,
    };
    assert_eq!(runs, 1 + again, "{case}");
    let counted = if [At::Resolve, At::Begin].contains(&at) {
        2
    } else {
        again
    };
    assert_eq!(report.retries, counted, "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_for_a_while_gets_every_row_once() {
    let run = async |at: At, mode: Mode| {
        let database = format!("fails_{at:?}_{mode}");
        let times = if at == At::AnswerAfter { 1 } else { 2 };
        let (loader, mut spec) = flaky(&database, at, times, mode).await;
        // The store is asked for a load_id only where one is given, or an answer was lost.
        spec.load.load_id = (at == At::Find).then(|| "given".into());
        let (input, runs) = query();
        let report = load(&loader, &spec, &input)
            .await
            .unwrap_or_else(|error| panic!("{mode}, failing at {at:?}: {error:#}"));
        check(&report, runs.load(Ordering::Relaxed), at, mode);
        assert_eq!(rows(&database), expected(mode), "{mode}, failing at {at:?}");
        let failed = FAILED
            .lock()
            .expect("nobody panicked")
            .get(&database)
            .copied();
        assert_eq!(failed, Some(times), "{mode}: it did not fail at {at:?}");
    };
    let cases = ALL
        .iter()
        .flat_map(|at| Mode::ALL.map(|mode| run(*at, mode)));
    futures::future::join_all(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_keeps_failing_is_left_as_it_was() {
    let run = async |at: At| {
        let database = format!("keeps_failing_{at:?}");
        let (loader, mut spec) = flaky(&database, at, u32::MAX, Mode::Append).await;
        spec.load.max_retries = 1;
        let (input, runs) = query();
        let error = load(&loader, &spec, &input)
            .await
            .expect_err("it fails for good");
        assert_eq!(error.kind(), ErrorKind::Connection, "{at:?}: {error:#}");
        // What could not begin was tried again there and then, and has used up its tries.
        assert_eq!(
            runs.load(Ordering::Relaxed),
            if at == At::Begin { 1 } else { 2 },
            "{at:?}"
        );
        assert_eq!(rows(&database), canonical_rows(&batch(15..25)), "{at:?}");
    };
    futures::future::join_all(
        [
            At::Begin,
            At::Write,
            At::Prepare,
            At::Commit,
            At::AnswerBefore,
        ]
        .map(run),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_not_run_again_by_a_store_that_fails() {
    for at in [At::Write, At::Prepare, At::Commit, At::AnswerBefore] {
        let database = format!("stream_{at:?}");
        let (loader, spec) = flaky(&database, at, 1, Mode::Append).await;
        let batches = (0..4)
            .map(|index| batch(index * 5..index * 5 + 5))
            .collect();
        let input = Input::stream(BatchStream::from_batches(batch(0..0).schema(), batches));
        let error = load(&loader, &spec, &input)
            .await
            .expect_err("it cannot be read twice");
        assert_eq!(error.kind(), ErrorKind::Connection, "{at:?}: {error:#}");
        assert_eq!(rows(&database), canonical_rows(&batch(15..25)), "{at:?}");
    }
}
