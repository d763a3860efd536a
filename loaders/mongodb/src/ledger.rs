//! The records in the collection `_arrowload`: loads, and the columns of targets.

use std::sync::Arc;

use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{Schema, SchemaRef};
use arrowload_core::{Definition, Error, ErrorKind, LoadRequest, Mark, Receipt, Result};
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use mongodb::options::{CollectionOptions, WriteConcern};
use mongodb::{Collection, Database};

use crate::error::from_native;

/// The collection of records.
pub(crate) const COLLECTION: &str = "_arrowload";

/// The records of a database.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(Collection<Document>);

/// A load as it is recorded.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) receipt: Receipt,
    /// The collection that is about to be renamed to the target: until it is gone, the load is not committed.
    pub(crate) staging: Option<String>,
}

/// A collection whose writes are acknowledged by a majority.
pub(crate) fn collection<T: Send + Sync>(database: &Database, name: &str) -> Collection<T> {
    let concern = WriteConcern::majority();
    let options = CollectionOptions::builder().write_concern(concern).build();
    database.collection_with_options(name, options)
}

fn load_key(target: &str, load_id: &str) -> Document {
    doc! { "kind": "load", "target": target, "load_id": load_id }
}

/// By the collection's own identity where the server tells it, so that one which was dropped and made again has no columns.
fn columns_key(target: &str, uuid: Option<&[u8]>) -> Document {
    match uuid {
        Some(uuid) => {
            let uuid = Binary {
                subtype: BinarySubtype::Uuid,
                bytes: uuid.to_vec(),
            };
            doc! { "kind": "columns", "uuid": uuid }
        }
        None => doc! { "kind": "columns", "target": target },
    }
}

fn broken(what: &str) -> Error {
    let message = format!("the record of {what} in `{COLLECTION}` cannot be read");
    Error::new(ErrorKind::Unexpected, message)
}

/// The record of a load.
pub(crate) fn load_record<O>(
    request: &LoadRequest<O>,
    receipt: &Receipt,
    staging: Option<&str>,
) -> Document {
    let mut record = doc! {
        "_id": load_key(&request.target, &request.load_id),
        "rows": receipt.rows as i64,
        "rows_rejected": receipt.rows_rejected as i64,
        "bytes": receipt.bytes as i64,
        "at": bson::DateTime::now(),
    };
    if let Some(definition) = &request.definition {
        record.insert("definition", definition.as_str());
    }
    if let Some(mark) = &request.mark {
        record.insert("mark", doc! { "read": mark.read.clone(), "new": &mark.new });
    }
    if let Some(staging) = staging {
        record.insert("staging", staging);
    }
    record
}

fn read_load(record: &Document) -> Result<Load> {
    let number = |name: &str| match record.get(name) {
        Some(Bson::Int64(value)) => Some(value.unsigned_abs()),
        Some(Bson::Int32(value)) => Some(u64::from(value.unsigned_abs())),
        _ => None,
    };
    let mut receipt = Receipt::rows(number("rows").ok_or_else(|| broken("a load"))?);
    receipt.rows_rejected = number("rows_rejected").unwrap_or(0);
    receipt.bytes = number("bytes").unwrap_or(0);
    receipt.definition = record.get_str("definition").ok().map(Definition::from_text);
    if let Ok(mark) = record.get_document("mark") {
        let read = mark.get_str("read").ok().map(str::to_owned);
        let new = mark.get_str("new").map_err(|_| broken("a mark"))?;
        receipt.mark = Some(Mark::new(read, new));
    }
    let staging = record.get_str("staging").ok().map(str::to_owned);
    Ok(Load { receipt, staging })
}

impl Ledger {
    pub(crate) fn of(database: &Database) -> Self {
        Self(collection(database, COLLECTION))
    }

    pub(crate) fn collection(&self) -> &Collection<Document> {
        &self.0
    }

    pub(crate) async fn find(&self, target: &str, load_id: &str) -> Result<Option<Load>> {
        let key = doc! { "_id": load_key(target, load_id) };
        let found = self.0.find_one(key).await.map_err(from_native)?;
        found.as_ref().map(read_load).transpose()
    }

    /// Takes back the record of a load that was about to be published.
    pub(crate) async fn forget(&self, target: &str, load_id: &str, staging: &str) -> Result<()> {
        let key = doc! { "_id": load_key(target, load_id), "staging": staging };
        self.0
            .delete_one(key)
            .await
            .map(|_| ())
            .map_err(from_native)
    }

    /// Notes that the staging collection has been renamed.
    pub(crate) async fn published(&self, target: &str, load_id: &str) -> Result<()> {
        let key = doc! { "_id": load_key(target, load_id) };
        let update = doc! { "$unset": { "staging": "" } };
        let done = self.0.update_one(key, update).await;
        done.map(|_| ()).map_err(from_native)
    }

    /// Removes the columns of a collection that is gone.
    pub(crate) async fn forget_columns(&self, uuid: &[u8]) -> Result<()> {
        let key = doc! { "_id": columns_key("", Some(uuid)) };
        self.0
            .delete_one(key)
            .await
            .map(|_| ())
            .map_err(from_native)
    }

    /// The columns of a collection, as loads have recorded them.
    pub(crate) async fn columns(
        &self,
        target: &str,
        uuid: Option<&[u8]>,
    ) -> Result<Option<SchemaRef>> {
        let mut keys = vec![columns_key(target, None)];
        if uuid.is_some() {
            keys.insert(0, columns_key(target, uuid));
        }
        for key in keys {
            let found = self.0.find_one(doc! { "_id": key }).await;
            let Some(record) = found.map_err(from_native)? else {
                continue;
            };
            let bytes = record.get_binary_generic("schema");
            let bytes = bytes.map_err(|_| broken("columns"))?;
            let reader = StreamReader::try_new(bytes.as_slice(), None);
            return Ok(Some(reader.map_err(|_| broken("columns"))?.schema()));
        }
        Ok(None)
    }

    /// The update that records columns.
    pub(crate) fn columns_update(
        target: &str,
        uuid: Option<&[u8]>,
        schema: &Schema,
    ) -> Result<(Document, Document)> {
        let mut bytes = Vec::new();
        StreamWriter::try_new(&mut bytes, schema)?.finish()?;
        let bytes = Binary {
            subtype: BinarySubtype::Generic,
            bytes,
        };
        let key = doc! { "_id": columns_key(target, uuid) };
        Ok((key, doc! { "$set": { "schema": bytes, "target": target } }))
    }

    pub(crate) async fn record_columns(
        &self,
        target: &str,
        uuid: Option<&[u8]>,
        schema: &Schema,
    ) -> Result<()> {
        let (key, update) = Self::columns_update(target, uuid, schema)?;
        let done = self.0.update_one(key, update).upsert(true).await;
        done.map(|_| ()).map_err(from_native)
    }
}

/// A schema whose nullability is open, as no collection holds to one.
pub(crate) fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields: Vec<_> = fields
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    Arc::new(Schema::new(fields))
}
