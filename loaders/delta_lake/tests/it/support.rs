//! Loads through the pipeline, as the client runs them, and readers that are not ours.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrowload_core::{
    BatchStream, Input, LoadReport, LoadSpec, Loader, LoaderDescriptor, Plan, Result, Settings,
    load, plan_load,
};
use arrowload_delta_lake::DeltaLakeLoader;
use arrowload_testkit::python;
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
    let (loader, spec) = prepare(target.as_ref(), options).await?;
    let stream = BatchStream::from_batches(batch.schema(), vec![batch.clone()]);
    load(&loader, &spec, &Input::stream(stream)).await
}

pub(crate) async fn plan(
    target: impl AsRef<Path>,
    batch: &RecordBatch,
    options: Value,
) -> Result<Plan> {
    let (loader, spec) = prepare(target.as_ref(), options).await?;
    plan_load(&loader, &spec, batch.schema()).await
}

pub(crate) async fn prepare(target: &Path, options: Value) -> Result<(Loader, LoadSpec)> {
    let descriptor = descriptor();
    let Value::Object(options) = options else {
        panic!("options are an object")
    };
    let (split, load) = descriptor.split(Settings::from_map(options, "the test"))?;
    let mut spec = LoadSpec::new(target.to_str().expect("UTF-8"));
    (spec.load, spec.options) = (load, split.options);
    Ok((Loader::connect(&descriptor, &split.config, 0).await?, spec))
}

/// Rows of `id` and `name`.
pub(crate) fn rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let names: StringArray = ids
        .clone()
        .map(|id| (id % 3 != 0).then(|| format!("name {id}")))
        .collect();
    batch([
        (
            "id",
            Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef,
        ),
        ("name", Arc::new(names)),
    ])
}

pub(crate) fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
        .expect("a batch")
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
