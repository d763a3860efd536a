//! What the tests share.

use std::path::Path;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrowload_core::{LoadReport, LoaderDescriptor, Plan, Result};
use arrowload_file::FileLoader;
use arrowload_testkit::loads;
pub(crate) use arrowload_testkit::loads::{batch, names, rows};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
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
    loads::run::<FileLoader>(target, batch, options).await
}

pub(crate) async fn plan(
    target: impl AsRef<Path>,
    batch: &RecordBatch,
    options: Value,
) -> Result<Plan> {
    loads::plan::<FileLoader>(target, batch, options).await
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
            let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
            builder.metadata().file_metadata().num_rows() as u64
        }
    };
    files.iter().map(rows).sum()
}

/// The ids that readers see, sorted: hidden files and those that begin with `_` are not read.
pub(crate) fn ids(path: &Path) -> Vec<i64> {
    let mut ids = Vec::new();
    if path.is_dir() {
        let visible = names(path)
            .into_iter()
            .filter(|name| !name.starts_with(['.', '_']));
        ids.extend(visible.flat_map(|name| self::ids(&path.join(name))));
    } else if let Ok(file) = std::fs::File::open(path) {
        for batch in ParquetRecordBatchReaderBuilder::try_new(file)
            .expect("Parquet")
            .build()
            .expect("rows")
        {
            ids.extend(
                batch
                    .expect("rows")
                    .column(0)
                    .as_primitive::<Int64Type>()
                    .values(),
            );
        }
    }
    ids.sort_unstable();
    ids
}
