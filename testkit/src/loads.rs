//! Loads of one batch through the pipeline, as the client runs them, for the tests of a loader.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrowload_core::{
    BatchStream, DataLoader, Error, ErrorKind, Input, LoadReport, LoadSpec, Loader,
    LoaderDescriptor, Plan, Result, Settings, load, plan_load,
};
use serde_json::Value;

/// Connects a loader, and says what a load is to do: a JSON object has the keys of the connection, the load and the loader.
///
/// # Errors
/// Those of the keys and of the connection.
pub async fn prepare<L: DataLoader>(
    target: impl AsRef<Path>,
    options: Value,
) -> Result<(Loader, LoadSpec)> {
    let descriptor = LoaderDescriptor::of::<L>(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let invalid = |message| Error::new(ErrorKind::InvalidOption, message);
    let Value::Object(options) = options else {
        return Err(invalid("the options are no JSON object"));
    };
    let target = target.as_ref().to_str();
    let mut spec = LoadSpec::new(target.ok_or_else(|| invalid("the target is not UTF-8"))?);
    let (split, load) = descriptor.split(Settings::from_map(options, "the test"))?;
    (spec.load, spec.options) = (load, split.options);
    Ok((Loader::connect(&descriptor, &split.config, 0).await?, spec))
}

/// Loads a batch, once.
///
/// # Errors
/// Those of the load.
pub async fn run<L: DataLoader>(
    target: impl AsRef<Path>,
    batch: &RecordBatch,
    options: Value,
) -> Result<LoadReport> {
    let (loader, spec) = prepare::<L>(target, options).await?;
    let stream = BatchStream::from_batches(batch.schema(), vec![batch.clone()]);
    load(&loader, &spec, &Input::stream(stream)).await
}

/// Plans the load of a batch.
///
/// # Errors
/// Those of the plan.
pub async fn plan<L: DataLoader>(
    target: impl AsRef<Path>,
    batch: &RecordBatch,
    options: Value,
) -> Result<Plan> {
    let (loader, spec) = prepare::<L>(target, options).await?;
    let rows = Input::table(batch.schema(), vec![batch.clone()]);
    plan_load(&loader, &spec, &rows).await
}

/// Rows of `id`, and `name`, which is null for each third.
pub fn rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let names: StringArray = ids
        .clone()
        .map(|id| (id % 3 != 0).then(|| format!("name {id}")))
        .collect();
    let ids = Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef;
    batch([("id", ids), ("name", Arc::new(names))])
}

/// A batch of these columns, all of which may be null.
#[expect(clippy::expect_used, reason = "a test that cannot go on ends")]
pub fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
        .expect("columns of one length")
}

/// The names in a folder, hidden ones too, sorted.
#[expect(clippy::expect_used, reason = "a test that cannot go on ends")]
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
