//! The writer as its users meet it: what goes in is read back with the `parquet` crate's own reader.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on ends"
)]

mod batches;
mod partitions;
mod staging;
mod statistics;
mod types;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::concat::concat_batches;
use arrowload_common_parquet::{Destination, FileInfo, FileNaming, ParquetOptions, ParquetWriter};
use arrowload_core::{ErrorKind, Result};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// A store, and the prefix in it that is written to.
pub(crate) fn memory() -> (Arc<InMemory>, Destination) {
    let store = Arc::new(InMemory::new());
    let destination = Destination::store(store.clone(), Path::from("load"));
    (store, destination)
}

pub(crate) fn writer(
    destination: Destination,
    schema: SchemaRef,
    options: ParquetOptions,
) -> Result<ParquetWriter> {
    ParquetWriter::new(destination, schema, options, FileNaming::prefix("part"))
}

/// Writes and publishes everything to a memory store.
pub(crate) async fn load(
    schema: SchemaRef,
    batches: &[RecordBatch],
    options: ParquetOptions,
) -> (Arc<InMemory>, Vec<FileInfo>) {
    let (store, destination) = memory();
    let mut writer = writer(destination, schema, options).unwrap();
    for batch in batches {
        writer.write(batch).await.unwrap();
    }
    let files = writer.finish().await.unwrap().publish().await.unwrap();
    (store, files)
}

/// The kind of the error, and the column that it is about.
pub(crate) fn refusal<T>(result: Result<T>) -> (ErrorKind, Option<String>) {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => (error.kind(), error.get("column").map(str::to_owned)),
    }
}

/// The bytes of a published file.
pub(crate) async fn bytes(store: &InMemory, file: &FileInfo) -> Bytes {
    let path: Path = Path::from("load")
        .parts()
        .chain(file.path.parts())
        .collect();
    let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes.len() as u64, file.bytes);
    bytes
}

/// All rows of a published file.
pub(crate) async fn read(store: &InMemory, file: &FileInfo) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes(store, file).await).unwrap();
    let schema = reader.schema().clone();
    let batches = reader
        .build()
        .unwrap()
        .collect::<std::result::Result<Vec<_>, ArrowError>>()
        .unwrap();
    let rows = concat_batches(&schema, &batches).unwrap();
    assert_eq!(rows.num_rows() as u64, file.rows);
    rows
}

/// The names of everything that a reader of the store sees, in order.
pub(crate) async fn visible(store: &dyn ObjectStore) -> Vec<String> {
    let mut names: Vec<_> = store
        .list(None)
        .map_ok(|meta| meta.location.to_string())
        .try_collect()
        .await
        .unwrap();
    names.sort();
    names
}
