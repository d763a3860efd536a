//! Loads through the pipeline, as the client runs them, and readers that are not ours.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use arrow_array::RecordBatch;
use arrowload_core::{Error, LoadReport, LoaderDescriptor, Plan, Result};
use arrowload_iceberg::IcebergLoader;
pub(crate) use arrowload_testkit::loads::{batch, rows};
use arrowload_testkit::{loads, python};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) fn descriptor() -> LoaderDescriptor {
    LoaderDescriptor::of::<IcebergLoader>(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
}

/// A warehouse on the local disk, with its catalog in a SQLite file.
pub(crate) struct Warehouse(pub(crate) TempDir);

impl Warehouse {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    fn with(&self, mut options: Value) -> Value {
        options["warehouse"] = json!(self.path());
        options
    }

    /// Loads a batch with these options, of the connection, the load and the loader.
    pub(crate) async fn run(
        &self,
        target: &str,
        batch: &RecordBatch,
        options: Value,
    ) -> Result<LoadReport> {
        loads::run::<IcebergLoader>(target, batch, self.with(options)).await
    }

    pub(crate) async fn plan(
        &self,
        target: &str,
        batch: &RecordBatch,
        options: Value,
    ) -> Result<Plan> {
        loads::plan::<IcebergLoader>(target, batch, self.with(options)).await
    }

    /// Why a load is refused before its first row: the plan says it in the same words.
    pub(crate) async fn refused(&self, target: &str, batch: &RecordBatch, options: Value) -> Error {
        let at = options.to_string();
        let planned = match self.plan(target, batch, options.clone()).await {
            Ok(plan) => plan.check(),
            Err(error) => Err(error),
        };
        let planned = planned.expect_err(&at);
        let loaded = self.run(target, batch, options).await.expect_err(&at);
        let words = |error: &Error| (error.kind(), error.message().to_owned());
        assert_eq!(words(&planned), words(&loaded), "{at}");
        loaded
    }

    /// What PyIceberg reads.
    pub(crate) fn read(&self, table: &str) -> Option<RecordBatch> {
        let catalog = self.path().join("catalog.db");
        python::iceberg(&catalog, table).expect("PyIceberg reads it")
    }

    /// A JSON value of an expression over `table`, a table of PyIceberg, `catalog`, and `rows`, its rows in the order of the first
    /// column, and `snapshots`, in the order of time.
    pub(crate) fn ask(&self, table: &str, expression: &str) -> Value {
        self.script(&format!(
            "table = catalog.load_table(('default', sys.argv[2]))\n\
             arrow = table.scan().to_arrow()\n\
             rows = sorted(arrow.to_pylist(), key=lambda row: str(list(row.values())[0]).zfill(20))\n\
             snapshots = sorted(table.metadata.snapshots, key=lambda s: s.timestamp_ms)\n\
             print(json.dumps({expression}, default=str))"
        ), &[table])
    }

    /// What a program prints, as JSON. It has `catalog`, of PyIceberg, and arguments from `sys.argv[2]` on.
    pub(crate) fn script(&self, program: &str, arguments: &[&str]) -> Value {
        let path = self.path().to_str().expect("UTF-8");
        let arguments: Vec<&str> = ["", path].iter().chain(arguments).copied().collect();
        script(program, &arguments)
    }
}

/// What a program prints, as JSON, with all of `sys.argv`. `sys.argv[1]` is a warehouse, or nothing.
pub(crate) fn script(program: &str, arguments: &[&str]) -> Value {
    let request = json!({"program": program, "arguments": arguments});
    let mut python = PYTHON.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = python.get_or_insert_with(Python::start).ask(&request);
    drop(python);
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        panic!("{error}");
    }
    let text = answer["printed"].as_str().unwrap_or_default();
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// One Python serves all tests: starting one with its libraries takes longer than most scripts.
static PYTHON: Mutex<Option<Python>> = Mutex::new(None);

struct Python {
    input: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Runs programs, one a line, and answers each with what it has printed, or its error.
const RUNNER: &str = "
import sys, os, json, io, contextlib, traceback, warnings
import pyarrow as pa, pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
warnings.simplefilter('ignore')
for line in sys.stdin:
    request, printed = json.loads(line), io.StringIO()
    sys.argv = request['arguments']
    try:
        path = sys.argv[1]
        catalog = path and SqlCatalog('default', uri='sqlite:///' + path + '/catalog.db', warehouse='file://' + path)
        names = {'sys': sys, 'os': os, 'json': json, 'pa': pa, 'pq': pq, 'catalog': catalog}
        with contextlib.redirect_stdout(printed): exec(request['program'], names)
        print(json.dumps({'printed': printed.getvalue()}), flush=True)
    except Exception: print(json.dumps({'error': traceback.format_exc()}), flush=True)
";

impl Python {
    #[expect(
        clippy::zombie_processes,
        reason = "it serves all tests, and ends with its input when they do"
    )]
    fn start() -> Self {
        let mut child = Command::new(python::interpreter().expect("Python"))
            .args(["-W", "ignore", "-c", RUNNER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        Self {
            input: child.stdin.take().expect("an input"),
            answers: BufReader::new(child.stdout.take().expect("an output")),
        }
    }

    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.input, "{request}").expect("Python reads");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("Python answers");
        serde_json::from_str(&answer).expect("an answer")
    }
}

/// Whether tests that need PyIceberg run.
pub(crate) fn available() -> bool {
    static FOUND: OnceLock<std::result::Result<(), String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let python = python::interpreter()?;
        let mut command = Command::new(&python);
        let output = command
            .args(["-c", "import pyiceberg.catalog.sql"])
            .output();
        match output.is_ok_and(|output| output.status.success()) {
            true => Ok(()),
            false => Err(format!(
                "{python} has no pyiceberg[sql-sqlite,pyiceberg-core]"
            )),
        }
    });
    if let Err(why) = found {
        arrowload_testkit::skip("python", why);
    }
    found.is_ok()
}
