//! What is said of a load that failed, was interrupted or was killed is what Python sees in its table.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrowload_core::{
    Aftermath, BatchStream, Error, Input, LoadReport, LoadSpec, LoadState, Loader, Result, load,
    plan_load,
};
use arrowload_testkit::loads::{self, rows};
use arrowload_testkit::{Fate, StoreCall, StoreStep, canonical_rows, python};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::register_folder;
use crate::DeltaLakeLoader;

/// Where a load is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// Some of its rows have come.
    Writing,
    /// Its rows are met with those of the table, or its files are begun.
    Preparing,
    /// Its files are read back.
    Verifying,
    /// The entry of the log is on its way.
    Committing,
}

const POINTS: [Point; 4] = [
    Point::Writing,
    Point::Preparing,
    Point::Verifying,
    Point::Committing,
];

/// The options of each mode, with a name; `there` says whether the table exists before.
fn modes() -> Vec<(&'static str, Value, bool)> {
    vec![
        ("create", json!({ "mode": "create" }), false),
        ("append to none", json!({ "mode": "append" }), false),
        ("append", json!({ "mode": "append" }), true),
        ("overwrite", json!({ "mode": "overwrite" }), true),
        (
            "replace_where",
            json!({ "mode": "overwrite", "replace_where": "id >= 2" }),
            true,
        ),
        ("upsert", json!({ "mode": "upsert", "keys": ["id"] }), true),
    ]
}

impl Point {
    /// Whether a load of this mode, into a table of this kind, is stopped here by a call of its store.
    fn is_met(self, mode: &str, local: bool) -> bool {
        let reads_the_table = matches!(mode, "upsert" | "replace_where");
        match self {
            Self::Writing | Self::Committing => true,
            // The data files of a local table are written past its store.
            Self::Preparing => reads_the_table || !local,
            // Where rows of the table are written again, nothing is verified.
            Self::Verifying => !reads_the_table,
        }
    }

    /// Whether this call is the one at which the load is stopped.
    fn stops(self, call: &StoreCall<'_>, local: bool) -> bool {
        let path = call.path.as_ref();
        let is_data = path.contains("/part-");
        let is_begun = call.step == StoreStep::BeginUpload && !local;
        match self {
            Self::Writing => false,
            Self::Preparing => is_data && (is_begun || call.step == StoreStep::Get),
            Self::Verifying => is_data && call.step == StoreStep::Get,
            Self::Committing => {
                call.step == StoreStep::Put
                    && path.ends_with(".json")
                    && path.contains("_delta_log")
            }
        }
    }

    /// What the load is asked for beside its mode.
    fn options(self) -> Value {
        match self {
            Self::Verifying => json!({ "verify": "checksum" }),
            _ => json!({}),
        }
    }
}

fn merged(parts: &[&Value]) -> Value {
    let parts = parts.iter().filter_map(|part| part.as_object());
    Value::Object(parts.flat_map(Clone::clone).collect())
}

/// The rows of every load: two batches, so that one can come before the load is stopped.
fn new_rows() -> Vec<RecordBatch> {
    vec![rows(2..6), rows(6..9)]
}

/// A source that passes on one batch, and then stops too, if it is told to.
fn source(stops: Option<Arc<Notify>>) -> BatchStream {
    let batches = stream::iter(new_rows().into_iter().map(Ok).enumerate());
    let batches = batches.then(move |(index, batch)| {
        let stops = stops.clone();
        async move {
            if let Some(stopped) = stops.filter(|_| index == 1) {
                stopped.notify_one();
                std::future::pending::<()>().await;
            }
            batch
        }
    });
    BatchStream::new(rows(0..0).schema(), batches)
}

/// A table in a folder, and what Python sees in it.
struct Table {
    folder: tempfile::TempDir,
    name: String,
    local: bool,
    before: Option<Vec<String>>,
}

impl Table {
    async fn new(name: String, local: bool, there: bool) -> Self {
        let mut table = Self {
            folder: tempfile::tempdir().expect("a folder"),
            name,
            local,
            before: None,
        };
        if there {
            for first in [0, 3] {
                let batch = rows(first..first + 3);
                let loaded = loads::run::<DeltaLakeLoader>(table.path(), &batch, json!({})).await;
                loaded.expect("it loads");
            }
        }
        table.before = table.seen();
        table
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    fn seen(&self) -> Option<Vec<String>> {
        python::read("delta", &self.path())
            .expect("Python reads it")
            .map(|batch| canonical_rows(&batch))
    }

    /// Every file below the table that is neither a data file of some version nor of the log.
    fn leftovers(&self) -> Vec<String> {
        let program = "import sys, os, json, deltalake\n\
            root = sys.argv[1]; known = set()\n\
            table = deltalake.DeltaTable(root)\n\
            for version in range(table.version() + 1):\n    \
                known |= set(deltalake.DeltaTable(root, version=version).file_uris())\n\
            known = {os.path.realpath(uri.removeprefix('file://')) for uri in known}\n\
            found = [os.path.realpath(os.path.join(at, name)) for at, _, names in os.walk(root) for name in names]\n\
            print(json.dumps(sorted(path for path in found if path not in known and '_delta_log' not in path)))\n\
            sys.stdout.flush(); os._exit(0)";
        let output = Command::new(python::interpreter().expect("Python"))
            .args(["-c", program])
            .arg(self.path())
            .output()
            .expect("Python starts");
        let said = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(said.trim())
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The load as anybody repeats it, past the ruled store; then its rows are there, once, and nothing else is.
    async fn repeat(&self, at: &str, options: &Value, expected: &[String]) {
        let (loader, spec) = loads::prepare::<DeltaLakeLoader>(self.path(), options.clone())
            .await
            .expect("it connects");
        let report = load(&loader, &spec, &Input::stream(source(None))).await;
        let report = report.unwrap_or_else(|error| panic!("{at}: {error:#}"));
        assert_eq!(report.rows, 7, "{at}");
        assert_eq!(self.seen().as_deref(), Some(expected), "{at}");
        // A load that finds itself committed does not begin, and so leaves the lease to the next one. What a load in an object
        // store has left is removed once its lease has expired.
        let left = self.leftovers().into_iter();
        let left = left.filter(|file| !report.already_loaded || file.contains("/part-"));
        if self.local {
            assert_eq!(left.collect::<Vec<_>>(), [""; 0], "{at}");
        }
    }

    /// What is said, against what is seen.
    async fn check(&self, at: &str, said: Aftermath, options: &Value, expected: &[String]) {
        let seen = self.seen();
        match said {
            Aftermath::Unchanged => assert_eq!(seen, self.before, "{at}"),
            // Whoever asks gets the truth.
            Aftermath::Unknown => match find(&self.path()).await {
                LoadState::Committed { .. } => assert_eq!(seen.as_deref(), Some(expected), "{at}"),
                _ => assert_eq!(seen, self.before, "{at}"),
            },
            other => panic!("{at}: it says {other:?}"),
        }
        self.repeat(at, options, expected).await;
    }
}

async fn find(path: &Path) -> LoadState {
    let (loader, spec) = loads::prepare::<DeltaLakeLoader>(path, json!({}))
        .await
        .expect("it connects");
    let found = loader.find_load(&spec.target, "the load").await;
    found.expect("it can be asked")
}

/// What the table holds after the load.
async fn expected(options: &Value, there: bool) -> Vec<String> {
    let table = Table::new("expected".into(), true, there).await;
    let (loader, spec) = loads::prepare::<DeltaLakeLoader>(table.path(), options.clone())
        .await
        .expect("it connects");
    let loaded = load(&loader, &spec, &Input::stream(source(None))).await;
    loaded.expect("it loads");
    table.seen().expect("a table")
}

/// Each mode, stopped at each point, in a local table and in one of an object store: what the test does with it.
async fn each_stop(what: &str, mut test: impl AsyncFnMut(Stop) -> ()) {
    if !python::available() {
        return;
    }
    for (index, (mode, own, there)) in modes().into_iter().enumerate() {
        for local in [true, false] {
            for point in POINTS.into_iter().filter(|point| point.is_met(mode, local)) {
                let options = merged(&[
                    &own,
                    &point.options(),
                    &json!({ "load_id": "the load", "max_retries": 0 }),
                ]);
                let name = format!(
                    "{what}{index}{}{point:?}",
                    if local { "local" } else { "store" }
                );
                test(Stop {
                    at: format!("{what}: {mode}, {point:?}, local: {local}"),
                    met: Arc::default(),
                    expected: expected(&options, there).await,
                    table: Table::new(name, local, there).await,
                    options,
                    point,
                })
                .await;
            }
        }
    }
}

struct Stop {
    at: String,
    met: Arc<AtomicBool>,
    table: Table,
    options: Value,
    expected: Vec<String>,
    point: Point,
}

impl Stop {
    /// Rules the calls of the table's store: the first one at the point, if there is one, ends like this.
    fn rule(&self, fate: impl Fn() -> Fate + Send + Sync + 'static) {
        let (point, local, met) = (self.point, self.table.local, Arc::clone(&self.met));
        register_folder(
            &self.table.name,
            self.table.folder.path(),
            local,
            move |call| match point.stops(call, local) && !met.swap(true, Ordering::Relaxed) {
                true => fate(),
                false => Fate::Done,
            },
        );
    }

    async fn prepare(&self) -> (Loader, LoadSpec) {
        let target = format!("faulty://{}", self.table.name);
        let prepared = loads::prepare::<DeltaLakeLoader>(target, self.options.clone()).await;
        prepared.expect("it connects")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails() {
    each_stop("fails", async |stop: Stop| {
        stop.rule(|| {
            Fate::Fails(object_store::Error::PermissionDenied {
                path: "x".into(),
                source: "the test says so".into(),
            })
        });
        let (loader, spec) = stop.prepare().await;
        let broken = stop.point == Point::Writing;
        let batches = source(None).map(move |batch| match broken {
            true if batch.as_ref().is_ok_and(|batch| batch.num_rows() == 3) => Err(Error::new(
                arrowload_core::ErrorKind::Connection,
                "the source broke",
            )),
            _ => batch,
        });
        let input = Input::stream(BatchStream::new(rows(0..0).schema(), batches));
        let failed: Result<LoadReport> = load(&loader, &spec, &input).await;
        let met = stop.met.load(Ordering::Relaxed);
        assert!(met || broken, "{}: it was not stopped: {failed:?}", stop.at);
        let error = failed.expect_err(&stop.at);
        let said = error.aftermath().expect("it says what became of the table");
        assert_eq!(said, Aftermath::Unchanged, "{}", stop.at);
        stop.table
            .check(&stop.at, said, &stop.options, &stop.expected)
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_interrupted() {
    each_stop("interrupted", async |stop: Stop| {
        let stopped = Arc::new(Notify::new());
        let held = Arc::clone(&stopped);
        stop.rule(move || {
            held.notify_one();
            Fate::Late(Duration::from_secs(3600), Box::new(Fate::lost()))
        });
        let (loader, spec) = stop.prepare().await;
        let by_source = (stop.point == Point::Writing).then(|| Arc::clone(&stopped));
        let input = Input::stream(source(by_source));
        tokio::select! {
            outcome = load(&loader, &spec, &input) => panic!("{}: it ended: {outcome:?}", stop.at),
            () = stopped.notified() => {}
        }
        let said = spec.status.aftermath();
        stop.table
            .check(&stop.at, said, &stop.options, &stop.expected)
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost() {
    each_stop("unanswered", async |stop: Stop| {
        if stop.point != Point::Committing {
            return;
        }
        stop.rule(Fate::unanswered);
        let (loader, spec) = stop.prepare().await;
        let report = load(&loader, &spec, &Input::stream(source(None))).await;
        assert_eq!(
            report.map(|report| report.rows).ok(),
            Some(7),
            "{}",
            stop.at
        );
        assert_eq!(
            stop.table.seen().as_ref(),
            Some(&stop.expected),
            "{}",
            stop.at
        );
        stop.table
            .repeat(&stop.at, &stop.options, &stop.expected)
            .await;
    })
    .await;
}

/// What a process of its own does: the folder of a table, its name, the point and the options.
const TASK: &str = "ARROWLOAD_DELTA_AFTERMATH";

/// Does nothing unless a test below started this process with a task.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stops() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let task: Value = serde_json::from_str(&task).expect("a task");
    let text = |key: &str| task[key].as_str().expect("a text").to_owned();
    let point = POINTS
        .into_iter()
        .find(|point| format!("{point:?}") == text("point"))
        .expect("a point");
    let said = || writeln!(std::io::stdout(), "\nstopped").expect("somebody reads it");
    let (name, folder) = (text("name"), PathBuf::from(text("folder")));
    register_folder(&name, &folder, true, move |call| {
        if !point.stops(call, true) {
            return Fate::Done;
        }
        said();
        Fate::Late(Duration::from_secs(3600), Box::new(Fate::lost()))
    });
    let target = format!("faulty://{name}");
    let prepared = loads::prepare::<DeltaLakeLoader>(target, task["options"].clone()).await;
    let (loader, spec) = prepared.expect("it connects");
    let stops = Arc::new(Notify::new());
    let by_source = (point == Point::Writing).then(|| Arc::clone(&stops));
    tokio::spawn(async move {
        stops.notified().await;
        said();
    });
    let outcome = load(&loader, &spec, &Input::stream(source(by_source))).await;
    panic!("it ended: {outcome:?}");
}

fn start(stop: &Stop) -> Child {
    let task = json!({
        "folder": stop.table.folder.path(), "name": stop.table.name,
        "point": format!("{:?}", stop.point), "options": stop.options,
    });
    Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "--nocapture",
            "tests::aftermath::a_process_that_stops",
        ])
        .env(TASK, task.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed() {
    each_stop("killed", async |stop: Stop| {
        if !stop.table.local {
            return;
        }
        let mut child = start(&stop);
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let stopped = output
            .lines()
            .any(|line| line.is_ok_and(|line| line == "stopped"));
        assert!(stopped, "{}: it ended", stop.at);
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
        // What the next run says of it: it did not commit, and such a load leaves nothing.
        let (loader, mut spec) =
            loads::prepare::<DeltaLakeLoader>(stop.table.path(), stop.options.clone())
                .await
                .expect("it connects");
        let found = loader.find_load(&spec.target, "the load").await;
        assert!(
            matches!(found, Ok(LoadState::NotCommitted)),
            "{}: {found:?}",
            stop.at
        );
        spec.load.load_id = None;
        let input = Input::table(rows(0..0).schema(), new_rows());
        let plan = plan_load(&loader, &spec, &input).await;
        let plan = plan.unwrap_or_else(|error| panic!("{}: {error:#}", stop.at));
        let said = Aftermath::from(plan.guarantees.after_failure);
        stop.table
            .check(&stop.at, said, &stop.options, &stop.expected)
            .await;
    })
    .await;
}
