//! An emulator, a source on it, and what a query answers.

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use arrowload_core::{BatchStream, DataSource, Query, Reading, Result};
use arrowload_mongodb::{MongoConfig, MongoSource};
use arrowload_testkit::mongo::MongoEmulator;
use bson::Document;
use futures::TryStreamExt;

pub(crate) fn emulator() -> MongoEmulator {
    MongoEmulator::start().expect("an emulator")
}

pub(crate) fn config(url: &str) -> MongoConfig {
    serde_json::from_value(serde_json::json!({ "uri": url })).expect("a config")
}

pub(crate) async fn source(emulator: &MongoEmulator) -> MongoSource {
    MongoSource::connect(config(&emulator.url("test")))
        .await
        .expect("a source")
}

pub(crate) fn bytes(document: &Document) -> Vec<u8> {
    document.to_vec().expect("a document")
}

pub(crate) fn seed(emulator: &MongoEmulator, collection: &str, documents: &[Document]) {
    emulator.seed("test", collection, documents.iter().map(bytes));
}

/// All rows, in one batch.
pub(crate) async fn collect(stream: BatchStream) -> Result<RecordBatch> {
    let schema = stream.schema().clone();
    let batches: Vec<RecordBatch> = stream.try_collect().await?;
    Ok(concat_batches(&schema, &batches)?)
}

pub(crate) async fn read(source: &MongoSource, query: &str) -> Result<RecordBatch> {
    collect(source.query(&Query::new(query)).await?).await
}

/// As [`read`], and what the source has remarked.
pub(crate) async fn read_with_remarks(
    source: &MongoSource,
    query: &str,
) -> Result<(RecordBatch, Vec<String>)> {
    let reading = Reading::default();
    let query = Query::new(query).with_reading(reading.clone());
    let rows = collect(source.query(&query).await?).await?;
    Ok((rows, reading.found.remarks()))
}
