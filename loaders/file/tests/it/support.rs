//! Loads through the pipeline, as the client runs them.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrowload_core::{
    BatchStream, Input, LoadReport, LoadSpec, Loader, LoaderDescriptor, Plan, Result, Settings,
    load, plan_load,
};
use arrowload_file::FileLoader;
use serde_json::Value;

pub(crate) fn descriptor() -> LoaderDescriptor {
    LoaderDescriptor::of::<FileLoader>(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
}

/// Loads a batch with these options, of the load and of the loader.
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

async fn prepare(target: &Path, options: Value) -> Result<(Loader, LoadSpec)> {
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

/// The names in a folder, hidden ones too, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// All rows of the Parquet files of a folder or file, counted.
pub(crate) fn count(path: &Path) -> u64 {
    let files: Vec<_> = match path.is_dir() {
        true => names(path)
            .iter()
            .filter(|name| !name.starts_with('_'))
            .map(|name| path.join(name))
            .collect(),
        false => vec![path.to_owned()],
    };
    let rows = |file: &std::path::PathBuf| match file.is_dir() {
        true => count(file),
        false => {
            let file = std::fs::File::open(file).expect("a file");
            let builder =
                parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)
                    .expect("Parquet");
            builder.metadata().file_metadata().num_rows() as u64
        }
    };
    files.iter().map(rows).sum()
}
