//! Loads through the pipeline, as the client runs them, and readers that are not ours.

use std::path::Path;

use arrow_array::RecordBatch;
use arrowload_core::{Error, LoadReport, LoadSpec, Loader, LoaderDescriptor, Plan, Result};
use arrowload_delta_lake::DeltaLakeLoader;
pub(crate) use arrowload_testkit::loads::{batch, rows};
use arrowload_testkit::{loads, python};
use serde_json::Value;

pub(crate) fn descriptor() -> LoaderDescriptor {
    LoaderDescriptor::of::<DeltaLakeLoader>(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
}

/// Loads a batch with these options, of the connection, the load and the loader.
pub(crate) async fn run(
    target: impl AsRef<Path>,
    batch: &RecordBatch,
    options: Value,
) -> Result<LoadReport> {
    loads::run::<DeltaLakeLoader>(target, batch, options).await
}

pub(crate) async fn plan(
    target: impl AsRef<Path>,
    batch: &RecordBatch,
    options: Value,
) -> Result<Plan> {
    loads::plan::<DeltaLakeLoader>(target, batch, options).await
}

/// Why a load is refused before its first row: the plan says it in the same words.
pub(crate) async fn refused(
    target: impl AsRef<Path>,
    batch: &RecordBatch,
    options: Value,
) -> Error {
    let at = options.to_string();
    let planned = match plan(&target, batch, options.clone()).await {
        Ok(plan) => plan.check(),
        Err(error) => Err(error),
    };
    let planned = planned.expect_err(&at);
    let loaded = run(&target, batch, options).await.expect_err(&at);
    let words = |error: &Error| (error.kind(), error.message().to_owned());
    assert_eq!(words(&planned), words(&loaded), "{at}");
    loaded
}

pub(crate) async fn prepare(target: &Path, options: Value) -> Result<(Loader, LoadSpec)> {
    loads::prepare::<DeltaLakeLoader>(target, options).await
}

/// Runs a program in the Python that reads back, with arguments, and answers with what it prints, as JSON.
pub(crate) fn ask(program: &str, arguments: &[&str]) -> Value {
    // Threads of its libraries now and then break the interpreter's own end.
    let program = format!("{program}\nimport os, sys; sys.stdout.flush(); os._exit(0)");
    let output = std::process::Command::new(python::interpreter().expect("Python"))
        .args(["-c", &program])
        .args(arguments)
        .output()
        .expect("Python starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A JSON value of an expression over `table`, a `deltalake.DeltaTable`, and `rows`, its rows in the order of the first column.
pub(crate) fn delta(path: &Path, expression: &str) -> Value {
    let program = format!(
        "import sys, json, deltalake, pyarrow as pa\n\
         table = deltalake.DeltaTable(sys.argv[1])\n\
         arrow = pa.table(table.to_pyarrow_table())\n\
         rows = sorted(arrow.to_pylist(), key=lambda row: str(list(row.values())[0]).zfill(20))\n\
         print(json.dumps({expression}, default=str))"
    );
    ask(&program, &[path.to_str().expect("UTF-8")])
}
