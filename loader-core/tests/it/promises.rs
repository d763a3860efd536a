//! What a load says of itself: guarantees of its target, what became of it after a failure, and which load an id was.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Schema};
use arrowload_core::memory::{
    MemoryConfig, MemoryLoader, MemoryOptions, MemorySession, MemoryTarget, put_table, read_table,
};
use arrowload_core::{
    AfterFailure, Aftermath, Atomicity, BatchStream, Begun, Capabilities, DataLoader, Destination,
    Error, ErrorKind, Input, LoadRequest, LoadSession, LoadSpec, LoadState, Loader,
    LoaderDescriptor, Mark, Mode, OnError, Phase, Plan, Prepared, Receipt, Rejects, Rename, Result,
    Settings, TypeSupport, load, load_all, plan_load,
};
use futures::{StreamExt, stream};

/// Memory as a store without transactions would be: the target's name says what goes wrong.
pub(crate) struct Loose(MemoryLoader);

pub(crate) struct LooseSession(MemorySession, String);

/// How often a target that changes twice was looked at.
static RESOLVED: AtomicU32 = AtomicU32::new(0);
/// Loads that are recorded and not complete, and those that were completed.
static INCOMPLETE: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl DataLoader for Loose {
    const NAME: &'static str = "loose";
    const CAPABILITIES: Capabilities = Capabilities::new(&Mode::ALL, Atomicity::Row)
        .load_ids()
        .skip_rows();
    type Config = MemoryConfig;
    type Options = MemoryOptions;
    type Resolved = MemoryTarget;
    type Session = LooseSession;

    async fn connect(config: MemoryConfig) -> Result<Self> {
        MemoryLoader::connect(config).await.map(Self)
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        MemoryLoader::supports_type(data_type)
    }

    async fn resolve(&self, request: &LoadRequest<MemoryOptions>) -> Result<MemoryTarget> {
        if request.target == "changes twice" {
            RESOLVED.fetch_add(1, Ordering::Relaxed);
        }
        self.0.resolve(request).await
    }

    fn plan(request: &LoadRequest<MemoryOptions>, found: &MemoryTarget) -> Plan {
        let mut plan = Plan::of::<Self>(request);
        plan.target_exists = MemoryLoader::plan(request, found).target_exists;
        if request.load.mode == Mode::Overwrite {
            plan.guarantees.after_failure =
                AfterFailure::UNCHANGED.with_new_rows().with_old_rows_gone();
        }
        if request.target == "promises too much" {
            plan.guarantees.checksum = true;
        }
        if request.target == "skips nothing" {
            plan.guarantees.skip_rows = false;
        }
        plan
    }

    async fn begin(
        &self,
        request: LoadRequest<MemoryOptions>,
        found: MemoryTarget,
        rejects: Rejects,
    ) -> Result<Begun<LooseSession>> {
        let target = request.target.clone();
        if target == "changes twice" && RESOLVED.load(Ordering::Relaxed) < 3 {
            return Err(Error::new(ErrorKind::Conflict, "it changed").transient());
        }
        Ok(match self.0.begin(request, found, rejects).await? {
            Begun::Session(session) => Begun::Session(LooseSession(session, target)),
            Begun::AlreadyLoaded(receipt) => Begun::AlreadyLoaded(receipt),
        })
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        let state = self.0.find_load(target, load_id).await?;
        let incomplete = INCOMPLETE.lock().expect("no panic");
        Ok(match state {
            LoadState::Committed { receipt, .. } => LoadState::Committed {
                receipt,
                complete: !incomplete.contains(&load_id.to_owned()),
            },
            other => other,
        })
    }

    async fn recover(&self, _: &str, load_id: &str) -> Result<()> {
        if load_id == "beyond repair" {
            return Err(Error::new(ErrorKind::Connection, "no answer"));
        }
        INCOMPLETE
            .lock()
            .expect("no panic")
            .retain(|id| id != load_id);
        Ok(())
    }
}

impl LoadSession for LooseSession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self.1.as_str() {
            "breaks" => Err(Error::new(ErrorKind::Connection, "gone")),
            _ => self.0.write(batch).await,
        }
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        self.0.prepare().await
    }

    async fn commit(self) -> Result<Receipt> {
        if self.1 == "commits for ever" {
            std::future::pending::<()>().await;
        }
        let lies = self.1 == "states other rows";
        let mut receipt = self.0.commit().await?;
        receipt.rows += u64::from(lies);
        Ok(receipt)
    }

    async fn abort(self) -> Result<()> {
        self.0.abort().await
    }
}

pub(crate) async fn connect<L: DataLoader>(database: &str) -> Loader {
    let mut config = Settings::new();
    config.set("database", database, "test");
    Loader::connect(&LoaderDescriptor::of::<L>("test", "0"), &config, 0)
        .await
        .expect("memory connects")
}

/// A database in which the target is there, with the row 9.
async fn loose(database: &str, target: &str) -> Loader {
    put_table(database, target, &batch(0..0).schema(), vec![batch(9..10)]);
    connect::<Loose>(database).await
}

fn batch(values: std::ops::Range<i64>) -> RecordBatch {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
    RecordBatch::try_from_iter([("a", values)]).expect("a batch")
}

fn three() -> Input {
    Input::table(batch(0..0).schema(), vec![batch(0..3)])
}

fn endless() -> Input {
    let batches = stream::iter([Ok(batch(0..3))]).chain(stream::pending());
    Input::stream(BatchStream::new(batch(0..0).schema(), batches))
}

fn rows(database: &str, target: &str) -> usize {
    read_table(database, target).map_or(0, |batch| batch.num_rows())
}

#[tokio::test]
async fn an_error_says_what_the_guarantees_of_its_target_leave_open() {
    let loader = loose("says", "breaks").await;
    let mut spec = LoadSpec::new("breaks");
    let error = load(&loader, &spec, &three()).await.expect_err("it breaks");
    let new_rows = AfterFailure::UNCHANGED.with_new_rows();
    assert_eq!(error.aftermath(), Some(Aftermath::Changed(new_rows)));
    assert!(error.to_string().contains("rows of this load may remain"));
    spec.load.mode = Mode::Overwrite;
    let error = load(&loader, &spec, &three()).await.expect_err("it breaks");
    let gone = new_rows.with_old_rows_gone();
    assert_eq!(error.aftermath(), Some(Aftermath::Changed(gone)));
    // Before it begins it has left nothing.
    spec.load.mode = Mode::Create;
    let error = load(&loader, &spec, &three()).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    spec.load.mode = Mode::Append;
    spec.target = "not there".into();
    let error = load(&loader, &spec, &three()).await.expect_err("refused");
    assert_eq!(
        (error.kind(), error.aftermath()),
        (ErrorKind::TargetNotFound, Some(Aftermath::Unchanged))
    );
    let planned = plan_load(&loader, &spec, &three())
        .await
        .expect_err("refused");
    assert_eq!(planned.message(), error.message());

    let loader = loose("states", "states other rows").await;
    let spec = LoadSpec::new("states other rows");
    let error = load(&loader, &spec, &three()).await.expect_err("it lies");
    assert_eq!(
        (error.kind(), error.aftermath()),
        (ErrorKind::Verification, Some(Aftermath::Committed))
    );
}

#[tokio::test]
async fn a_load_that_was_interrupted_says_what_it_has_left() {
    let cases = [
        ("t", endless(), Phase::Writing),
        ("commits for ever", three(), Phase::Committing),
    ];
    for (target, input, phase) in cases {
        let loader = loose("interrupted", target).await;
        let spec = LoadSpec::new(target);
        let status = spec.status.clone();
        assert_eq!(status.aftermath(), Aftermath::Unchanged);
        let cut = tokio::time::timeout(Duration::from_millis(50), load(&loader, &spec, &input));
        assert!(cut.await.is_err());
        let expected = match phase {
            Phase::Committing => Aftermath::Unknown,
            _ => Aftermath::Changed(AfterFailure::UNCHANGED.with_new_rows()),
        };
        assert_eq!((status.phase(), status.aftermath()), (phase, expected));
        assert!(status.load_id().is_some());
    }
    let (loader, spec) = (connect::<MemoryLoader>("cut").await, LoadSpec::new("t"));
    let cut =
        tokio::time::timeout(Duration::from_millis(50), load(&loader, &spec, &endless())).await;
    assert!(cut.is_err());
    assert_eq!(spec.status.aftermath(), Aftermath::Unchanged);
    load(&loader, &spec, &three()).await.expect("it loads");
    assert_eq!(spec.status.aftermath(), Aftermath::Committed);
}

#[tokio::test]
async fn what_is_not_guaranteed_for_a_target_is_refused_by_plan_and_load() {
    let loader = loose("guaranteed", "skips nothing").await;
    let mut spec = LoadSpec::new("skips nothing");
    spec.load.on_error = OnError::Skip;
    let planned = plan_load(&loader, &spec, &three())
        .await
        .expect_err("refused");
    let loaded = load(&loader, &spec, &three()).await.expect_err("refused");
    assert_eq!(
        (planned.kind(), planned.message()),
        (loaded.kind(), loaded.message())
    );
    assert!(loaded.message().contains("on_error = skip"), "{loaded}");

    let loader = loose("guaranteed", "promises too much").await;
    let spec = LoadSpec::new("promises too much");
    let error = load(&loader, &spec, &three()).await.expect_err("a defect");
    assert!(error.message().contains("`checksum`"), "{error}");
}

#[tokio::test]
async fn a_conflict_is_answered_by_another_look_also_for_a_stream() {
    let loader = loose("changes", "changes twice").await;
    let input = Input::stream(BatchStream::from_batches(
        batch(0..0).schema(),
        vec![batch(0..3)],
    ));
    let report = load(&loader, &LoadSpec::new("changes twice"), &input)
        .await
        .expect("the third look holds");
    assert_eq!((report.rows, report.retries), (3, 2));
    let guarantees = report.guarantees.expect("it was looked at");
    assert_eq!(guarantees.atomicity, Atomicity::Row);
}

#[tokio::test]
async fn a_load_that_was_cut_off_after_its_record_is_completed_by_loads_and_not_by_plans() {
    for load_id in ["cut off", "beyond repair"] {
        let loader = loose("cut_off", "t").await;
        let mut spec = LoadSpec::new("t");
        spec.load.load_id = Some(load_id.into());
        spec.load.max_retries = 0;
        load(&loader, &spec, &three()).await.expect("it loads");
        INCOMPLETE.lock().expect("no panic").push(load_id.into());
        let plan = plan_load(&loader, &spec, &three()).await.expect("a plan");
        assert_eq!(plan.already_loaded, Some(3));
        let is_incomplete = || {
            INCOMPLETE
                .lock()
                .expect("no panic")
                .contains(&load_id.into())
        };
        assert!(is_incomplete(), "a plan has completed it");
        match load(&loader, &spec, &three()).await {
            Ok(report) => {
                assert!(report.already_loaded && !is_incomplete());
                assert!(report.details.contains_key("completed"), "{report:?}");
                let again = load(&loader, &spec, &three()).await.expect("it is there");
                assert!(!again.details.contains_key("completed"), "{again:?}");
            }
            Err(error) => assert_eq!(
                (load_id, error.aftermath(), spec.status.aftermath()),
                (
                    "beyond repair",
                    Some(Aftermath::Incomplete),
                    Aftermath::Incomplete
                )
            ),
        }
    }
}

#[tokio::test]
async fn an_id_that_was_another_load_is_refused() {
    let loader = connect::<MemoryLoader>("another").await;
    let mut spec = LoadSpec::new("t");
    spec.load.load_id = Some("day1".into());
    spec.mark = Some(Mark::new(None, "7"));
    let input = || three().defined_as("select 1");
    load(&loader, &spec, &input()).await.expect("it loads");
    spec.load.batch_size = Some(1);
    spec.load.max_retries = 1;
    let again = load(&loader, &spec, &input()).await.expect("the same load");
    assert!(again.already_loaded);
    let state = loader.find_load("t", "day1").await.expect("it answers");
    let LoadState::Committed { receipt, complete } = state else {
        panic!("{state:?}");
    };
    assert!(complete && receipt.definition.is_some());
    assert_eq!(receipt.mark, Some(Mark::new(None, "7")));

    let other = three().defined_as("select 2");
    let loaded = load(&loader, &spec, &other)
        .await
        .expect_err("another load");
    let planned = plan_load(&loader, &spec, &other)
        .await
        .expect_err("another load");
    for error in [loaded, planned] {
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
        assert!(
            error.message().contains("was another load") && error.message().contains("query"),
            "{error}"
        );
    }
    spec.load.mode = Mode::Overwrite;
    let error = load(&loader, &spec, &input()).await.expect_err("another");
    assert!(error.message().contains("in mode;"), "{error}");
    assert_eq!(rows("another", "t"), 3);
}

#[tokio::test]
async fn one_input_goes_to_several_destinations_that_keep_their_own_promises() {
    let (one, two) = (
        connect::<MemoryLoader>("several_one").await,
        connect::<MemoryLoader>("several_two").await,
    );
    let broken = loose("several", "breaks").await;
    let specs = ["t", "breaks", "u"].map(|target| {
        let mut spec = LoadSpec::new(target);
        spec.load.load_id = Some(format!("{target}-1"));
        spec
    });
    let mut keyed = specs[2].clone();
    (keyed.load.mode, keyed.load.keys) = (Mode::Upsert, vec!["a".into()]);
    keyed.load.batch_size = Some(1);
    let opened = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&opened);
    let input = Input::repeatable(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        let batches = vec![batch(0..3), batch(2..6)];
        let stream = BatchStream::from_batches(batch(0..0).schema(), batches);
        Box::pin(async move { Ok(stream) })
    });
    let to = |loader, spec| Destination { loader, spec };
    let all = [
        to(&one, &specs[0]),
        to(&broken, &specs[1]),
        to(&two, &keyed),
    ];
    let outcomes = load_all(&all, &input, false).await.expect("they begin");
    assert_eq!(opened.load(Ordering::Relaxed), 1);
    let [first, second, third] = outcomes.as_slice() else {
        panic!("{outcomes:?}");
    };
    let first = first.as_ref().expect("it loads");
    assert_eq!((first.rows, first.batches), (7, 2));
    let third = third.as_ref().expect("it loads");
    assert_eq!(
        (third.rows, third.batches, rows("several_two", "u")),
        (7, 7, 6)
    );
    let error = second.as_ref().expect_err("it breaks");
    assert_eq!(error.get("target"), Some("breaks"));

    // What has arrived is not written again.
    let again = load_all(&all, &input, false).await.expect("they begin");
    let already = |index: usize| {
        again[index]
            .as_ref()
            .is_ok_and(|report| report.already_loaded)
    };
    assert!(already(0) && again[1].is_err() && already(2));
    assert_eq!(
        (opened.load(Ordering::Relaxed), rows("several_one", "t")),
        (2, 7)
    );

    let twice = [to(&one, &specs[0]), to(&one, &specs[0])];
    let error = load_all(&twice, &input, false).await.expect_err("twice");
    assert!(error.message().contains("named twice"), "{error}");
}

#[tokio::test]
async fn a_failure_stops_the_others_where_that_is_asked_for() {
    for (fail_fast, arrives) in [(false, 3), (true, 0)] {
        let name = format!("stops_{fail_fast}");
        let (good, bad) = (
            connect::<MemoryLoader>(&name).await,
            loose(&name, "breaks").await,
        );
        let specs = [LoadSpec::new("t"), LoadSpec::new("breaks")];
        let all = [
            Destination {
                loader: &good,
                spec: &specs[0],
            },
            Destination {
                loader: &bad,
                spec: &specs[1],
            },
        ];
        let outcomes = load_all(&all, &three(), fail_fast)
            .await
            .expect("they begin");
        assert_eq!(
            outcomes[1].as_ref().expect_err("it breaks").kind(),
            ErrorKind::Connection
        );
        assert_eq!(rows(&name, "t"), arrives);
        if fail_fast {
            let error = outcomes[0].as_ref().expect_err("stopped");
            assert_eq!(
                (error.kind(), error.aftermath()),
                (ErrorKind::Stopped, Some(Aftermath::Unchanged))
            );
        }
    }
}

#[tokio::test]
async fn what_refuses_before_it_begins_leaves_the_others_as_they_were() {
    let loader = loose("refuses", "t").await;
    let mut specs = [LoadSpec::new("t"), LoadSpec::new("not there")];
    specs[0].load.mode = Mode::Overwrite;
    let all = [0, 1].map(|index| Destination {
        loader: &loader,
        spec: &specs[index],
    });
    let outcomes = load_all(&all, &three(), true).await.expect("they begin");
    let said: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().expect_err("refused"))
        .map(|error| (error.kind(), error.aftermath()))
        .collect();
    let unchanged = Some(Aftermath::Unchanged);
    assert_eq!(
        said,
        [
            (ErrorKind::Stopped, unchanged),
            (ErrorKind::TargetNotFound, unchanged)
        ]
    );
    assert_eq!(rows("refuses", "t"), 1);
}

#[tokio::test]
async fn an_operator_stands_between_input_and_store() {
    let loader = connect::<MemoryLoader>("operator").await;
    let renamed = three().defined_as("x").through(Rename::new([("a", "b")]));
    assert!(
        renamed.is_repeatable()
            && renamed
                .definition()
                .is_some_and(|text| text.contains("rename"))
    );
    let plan = plan_load(&loader, &LoadSpec::new("t"), &renamed)
        .await
        .expect("a plan");
    assert_eq!(plan.columns[0].name, "b");
    load(&loader, &LoadSpec::new("t"), &renamed)
        .await
        .expect("it loads");
    let table = read_table("operator", "t").expect("a table");
    assert_eq!(table.schema().field(0).name(), "b");
    let columns = loader
        .describe("t")
        .await
        .expect("it answers")
        .expect("it is there");
    assert_eq!(
        (
            columns.columns[0].name.as_str(),
            columns.columns[0].data_type.as_ref()
        ),
        ("b", Some(&DataType::Int64))
    );
    assert!(loader.describe("u").await.expect("it answers").is_none());

    let missing = three().through(Rename::new([("c", "b")]));
    let error = load(&loader, &LoadSpec::new("t"), &missing)
        .await
        .expect_err("no such column");
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    let twice = Input::table(Arc::new(Schema::empty()), vec![]);
    assert!(
        plan_load(&loader, &LoadSpec::new("t"), &twice)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_load_without_a_row_is_refused_where_that_is_asked_for() {
    let none = || Input::table(batch(0..0).schema(), vec![batch(0..0)]);
    let overwrite = |refuse_empty| {
        let mut spec = LoadSpec::new("t");
        (spec.load.mode, spec.load.refuse_empty) = (Mode::Overwrite, refuse_empty);
        spec
    };
    // One that keeps what a failed load did, and so is not begun, and one that takes everything back.
    for (name, loader) in [
        ("empty_loose", loose("empty_loose", "t").await),
        ("empty_whole", {
            put_table(
                "empty_whole",
                "t",
                &batch(0..0).schema(),
                vec![batch(9..10)],
            );
            connect::<MemoryLoader>("empty_whole").await
        }),
    ] {
        let error = load(&loader, &overwrite(true), &none())
            .await
            .expect_err("refused");
        assert_eq!(
            (error.kind(), error.aftermath()),
            (ErrorKind::LimitExceeded, Some(Aftermath::Unchanged)),
            "{error}"
        );
        assert!(error.message().contains("`refuse_empty`"), "{error}");
        assert_eq!(rows(name, "t"), 1);
        // Rows behind empty batches are rows, also of a stream that is read once.
        let late = stream::iter([
            Ok(batch(0..0)),
            Ok(batch(0..0)),
            Ok(batch(0..3)),
            Ok(batch(3..5)),
        ]);
        let late = Input::stream(BatchStream::new(batch(0..0).schema(), late));
        let report = load(&loader, &overwrite(true), &late)
            .await
            .expect("loaded");
        assert_eq!((report.rows, rows(name, "t")), (5, 5));
        load(&loader, &overwrite(false), &none())
            .await
            .expect("emptied");
        assert_eq!(rows(name, "t"), 0);
    }
}

#[tokio::test]
async fn a_load_whose_rows_are_all_set_aside_has_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let nulls: ArrayRef = Arc::new(Int64Array::from(vec![None, None]));
    let nulls = RecordBatch::try_from_iter_with_nullable([("a", nulls, true)]).expect("a batch");
    put_table("set_aside", "t", &nulls.schema(), vec![nulls.slice(0, 1)]);
    let loader = connect::<Loose>("set_aside").await;
    let input = || Input::table(nulls.schema(), vec![nulls.clone()]);
    let mut spec = LoadSpec::new("t");
    spec.load.mode = Mode::Upsert;
    spec.load.keys = vec!["a".into()];
    spec.load.on_error = OnError::Skip;
    spec.load.dead_letters = folder.path().into();
    spec.load.refuse_empty = true;
    let error = load(&loader, &spec, &input()).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
    assert_eq!(
        std::fs::read_dir(folder.path()).map_or(0, Iterator::count),
        0
    );
    spec.load.refuse_empty = false;
    let report = load(&loader, &spec, &input())
        .await
        .expect("nothing to load");
    assert_eq!((report.rows, report.rows_rejected), (0, 2));
}

#[tokio::test]
async fn an_empty_load_is_refused_by_one_destination_and_taken_by_another() {
    for (fail_fast, arrives) in [(false, true), (true, false)] {
        let name = format!("empty_{fail_fast}");
        let (careful, other) = (loose(&name, "careful").await, loose(&name, "other").await);
        let mut specs = [LoadSpec::new("careful"), LoadSpec::new("other")];
        specs
            .iter_mut()
            .for_each(|spec| spec.load.mode = Mode::Overwrite);
        specs[0].load.refuse_empty = true;
        let all = [
            Destination {
                loader: &careful,
                spec: &specs[0],
            },
            Destination {
                loader: &other,
                spec: &specs[1],
            },
        ];
        let none = Input::table(batch(0..0).schema(), Vec::new());
        let outcomes = load_all(&all, &none, fail_fast).await.expect("they begin");
        assert_eq!(
            outcomes[0].as_ref().expect_err("refused").kind(),
            ErrorKind::LimitExceeded
        );
        assert_eq!(outcomes[1].is_ok(), arrives, "{:?}", outcomes[1]);
        assert_eq!(
            (rows(&name, "careful"), rows(&name, "other")),
            (1, usize::from(!arrives))
        );
    }
}
