//! The loader with a gate: a load stops at a point of its way until the test has done there what it came for, so that nothing
//! is left to timing. Also in a process of its own, which can be killed there.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use arrowload_core::{
    BatchSize, Begun, Capabilities, ColumnChecksum, DataLoader, LoadRequest, LoadSession,
    LoadState, Plan, Prepared, Receipt, Rejects, Result, TargetColumns, TypeSupport,
};
use arrowload_file::{FileConfig, FileLoader, FileOptions, FileSession, FileTarget};
use arrowload_testkit::loads;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::support::rows;

/// Where a load stops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Point {
    /// After the first batch.
    Writing,
    /// After the last one.
    Preparing,
    /// With everything in the store, and nothing published.
    Committing,
}

pub(crate) const POINTS: [Point; 3] = [Point::Writing, Point::Preparing, Point::Committing];

type Act = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// What happens at the gates of loads, by their targets.
static GATES: LazyLock<Mutex<HashMap<String, (Point, Act)>>> = LazyLock::new(Mutex::default);

/// Lets something happen when a load into this target is at a point; once.
pub(crate) fn set(target: &str, at: Point, act: Act) {
    let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
    gates.insert(target.to_owned(), (at, act));
}

/// Stops for ever, and says so.
pub(crate) fn stop(target: &str, at: Point) -> Arc<tokio::sync::Notify> {
    let reached = Arc::new(tokio::sync::Notify::new());
    let notify = Arc::clone(&reached);
    let act = move || {
        notify.notify_one();
        std::future::pending().boxed()
    };
    set(target, at, Arc::new(act));
    reached
}

async fn pass(target: &str, at: Point) {
    let act = {
        let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
        match gates.get(target) {
            Some((point, _)) if *point == at => gates.remove(target),
            _ => None,
        }
    };
    if let Some((_, act)) = act {
        act().await;
    }
}

pub(crate) struct Gated(FileLoader);

pub(crate) struct GatedSession {
    inner: FileSession,
    target: String,
}

impl DataLoader for Gated {
    const NAME: &'static str = FileLoader::NAME;
    /// Batches arrive as they are sent.
    const CAPABILITIES: Capabilities = FileLoader::CAPABILITIES.batch(BatchSize::ANY);

    type Config = FileConfig;
    type Options = FileOptions;
    type Resolved = FileTarget;
    type Session = GatedSession;

    async fn connect(config: FileConfig) -> Result<Self> {
        FileLoader::connect(config).await.map(Self)
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        FileLoader::supports_type(data_type)
    }

    async fn resolve(&self, request: &LoadRequest<FileOptions>) -> Result<FileTarget> {
        self.0.resolve(request).await
    }

    fn plan(request: &LoadRequest<FileOptions>, resolved: &FileTarget) -> Plan {
        FileLoader::plan(request, resolved)
    }

    async fn begin(
        &self,
        request: LoadRequest<FileOptions>,
        resolved: FileTarget,
        rejects: Rejects,
    ) -> Result<Begun<GatedSession>> {
        let target = request.target.clone();
        Ok(match self.0.begin(request, resolved, rejects).await? {
            Begun::Session(inner) => Begun::Session(GatedSession { inner, target }),
            Begun::AlreadyLoaded(receipt) => Begun::AlreadyLoaded(receipt),
        })
    }

    async fn describe(&self, target: &str) -> Result<Option<TargetColumns>> {
        self.0.describe(target).await
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        self.0.find_load(target, load_id).await
    }

    async fn recover(&self, target: &str, load_id: &str) -> Result<()> {
        self.0.recover(target, load_id).await
    }
}

impl LoadSession for GatedSession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.inner.write(batch).await?;
        pass(&self.target, Point::Writing).await;
        Ok(())
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        pass(&self.target, Point::Preparing).await;
        self.inner.prepare().await
    }

    async fn checksums(&mut self) -> Result<Vec<ColumnChecksum>> {
        self.inner.checksums().await
    }

    async fn commit(self) -> Result<Receipt> {
        pass(&self.target, Point::Committing).await;
        self.inner.commit().await
    }

    async fn abort(self) -> Result<()> {
        self.inner.abort().await
    }
}

/// Tells this program, started again, what to load, and where to stop.
const CHILD: &str = "ARROWLOAD_TEST_CHILD";

/// What the child process runs; in the test's own process it does nothing.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the parent reads it")]
async fn child_process() {
    let Ok(text) = std::env::var(CHILD) else {
        return;
    };
    let work: Value = serde_json::from_str(&text).expect("JSON");
    let target = work["target"].as_str().expect("a target");
    let point = POINTS
        .into_iter()
        .find(|point| work["point"] == format!("{point:?}"));
    if let Some(point) = point {
        let act = || {
            println!("reached");
            std::future::pending().boxed()
        };
        set(target, point, Arc::new(act));
    }
    let range = work["first"].as_i64().expect("a row")..work["end"].as_i64().expect("a row");
    let report = loads::run::<Gated>(target, &rows(range), work["options"].clone())
        .await
        .expect("a load");
    println!("loaded {}", report.rows);
}

/// A process that loads rows into a target, and stops at a point, if one is given.
pub(crate) fn child(
    target: &str,
    options: &Value,
    rows: std::ops::Range<i64>,
    point: Option<Point>,
) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let work = serde_json::json!({
        "target": target,
        "options": options,
        "first": rows.start,
        "end": rows.end,
        "point": point.map(|point| format!("{point:?}")),
    });
    command
        .args(["--exact", "gate::child_process", "--nocapture"])
        .env(CHILD, work.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Starts a process that loads, and kills it at a point.
pub(crate) fn kill_at(target: &str, options: &Value, rows: std::ops::Range<i64>, point: Point) {
    let mut process = child_at(target, options, rows, point);
    process.kill().expect("killed");
    process.wait().expect("its end");
}

/// A process that has stopped at a point of its load.
pub(crate) fn child_at(
    target: &str,
    options: &Value,
    rows: std::ops::Range<i64>,
    point: Point,
) -> Child {
    let mut process = child(target, options, rows, Some(point))
        .spawn()
        .expect("started");
    let output = process.stdout.take().expect("its output");
    let mut lines = BufReader::new(output).lines();
    let reached = lines.any(|line| line.is_ok_and(|line| line.contains("reached")));
    assert!(reached, "the load into {target} did not come to {point:?}");
    process
}
