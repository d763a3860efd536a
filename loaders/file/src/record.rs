//! What a load leaves beside its rows, so that it is known again: a record in a folder, a note in a file's schema.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{Schema, SchemaRef};
use arrowload_core::{Error, ErrorKind, LoadState, Receipt, Result};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::options::Format;

/// Where records begin: readers of folders pass over names with a leading underscore.
pub(crate) const RECORD_PREFIX: &str = "_arrowload-";

/// The keys of a schema's metadata under which a single file keeps the load that wrote it, and those before it.
const LOAD_ID: &str = "arrowload.load_id";
const EARLIER: &str = "arrowload.earlier_loads";
/// How many earlier loads a single file remembers.
const REMEMBERED: usize = 100;

/// A load that is complete in a folder. It is the last that a load writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) load_id: String,
    pub(crate) rows: u64,
    pub(crate) files: u64,
    pub(crate) format: Format,
    pub(crate) partition_by: Vec<String>,
    /// All columns of the folder after this load, as an Arrow IPC stream without batches, in hexadecimal.
    schema: String,
    /// Counts the loads of a folder, to tell the newest where clocks cannot.
    pub(crate) sequence: u64,
    /// Which run of the load wrote it: a store may answer a repeated request with the record that the first one wrote.
    #[serde(default)]
    pub(crate) attempt: String,
}

impl Record {
    pub(crate) fn new(
        load_id: &str,
        format: Format,
        partition_by: &[String],
        schema: &Schema,
    ) -> Result<Self> {
        let mut bytes = Vec::new();
        StreamWriter::try_new(&mut bytes, schema)?.finish()?;
        let schema = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            load_id: load_id.into(),
            rows: 0,
            files: 0,
            format,
            partition_by: partition_by.to_vec(),
            schema,
            sequence: 0,
            attempt: String::new(),
        })
    }

    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        let broken = || {
            Error::new(
                ErrorKind::InvalidData,
                format!(
                    "the record `{}` of the folder is broken",
                    record_name(&self.load_id)
                ),
            )
        };
        let digits = self
            .schema
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        let bytes: Vec<u8> = digits.collect::<Option<_>>().ok_or_else(broken)?;
        Ok(StreamReader::try_new(bytes.as_slice(), None)
            .map_err(|error| broken().with_source(error))?
            .schema())
    }

    /// Whether files of this record's load may stand beside files of the other's.
    pub(crate) fn fits(&self, other: &Record) -> bool {
        (self.format, &self.partition_by, &self.schema)
            == (other.format, &other.partition_by, &other.schema)
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| {
            Error::new(ErrorKind::Unexpected, "a record could not be written").with_source(error)
        })
    }

    pub(crate) fn decode(bytes: &[u8], name: &str) -> Result<Self> {
        let broken = |error| {
            Error::new(
                ErrorKind::InvalidData,
                format!("the record `{name}` of the folder is broken"),
            )
            .with_source(error)
        };
        serde_json::from_slice(bytes).map_err(broken)
    }

    pub(crate) fn receipt(&self) -> Receipt {
        Receipt::rows(self.rows)
            .with("files", self.files)
            .with("format", self.format.name())
    }
}

fn hash(load_id: &str) -> String {
    format!("{:032x}", xxh3_128(load_id.as_bytes()))
}

/// The name of a load's record.
pub(crate) fn record_name(load_id: &str) -> String {
    format!("{RECORD_PREFIX}{}", hash(load_id))
}

/// What the files of a load in a folder are called, before what tells its attempts and its files apart.
pub(crate) fn file_prefix(load_id: &str) -> String {
    format!("part-{}-", hash(load_id))
}

/// The loads that a single file remembers, its own first, each with its rows where they are known.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct History(Vec<(String, Option<u64>)>);

impl History {
    /// Of a file with this schema and, as far as that is known, this many rows.
    pub(crate) fn of(schema: &Schema, rows: Option<u64>) -> Self {
        let own = schema.metadata().get(LOAD_ID).map(|id| (id.clone(), rows));
        let earlier = schema
            .metadata()
            .get(EARLIER)
            .and_then(|text| serde_json::from_str::<Vec<(String, Option<u64>)>>(text).ok());
        Self(
            own.into_iter()
                .chain(earlier.unwrap_or_default())
                .take(REMEMBERED)
                .collect(),
        )
    }

    pub(crate) fn find(&self, load_id: &str) -> LoadState {
        let found = self.0.iter().find(|(known, _)| known == load_id);
        found.map_or(LoadState::NotCommitted, |(_, rows)| {
            LoadState::Committed(Receipt::rows(rows.unwrap_or_default()))
        })
    }

    /// The schema of a file that this load writes in the place of the one with this history.
    pub(crate) fn label(&self, schema: &SchemaRef, load_id: &str) -> SchemaRef {
        let mut metadata: HashMap<String, String> = schema.metadata().clone();
        metadata.insert(LOAD_ID.into(), load_id.into());
        metadata.remove(EARLIER);
        if !self.0.is_empty() {
            metadata.insert(EARLIER.into(), serde_json::json!(self.0).to_string());
        }
        Arc::new(Schema::new_with_metadata(schema.fields().clone(), metadata))
    }
}

#[cfg(test)]
mod tests {
    use arrow_schema::{DataType, Field};

    use super::*;

    #[test]
    fn a_file_remembers_the_loads_before_it() {
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let first = History::default().label(&schema, "one");
        let second = History::of(&first, Some(7)).label(&schema, "two");
        let history = History::of(&second, Some(9));
        assert!(matches!(history.find("one"), LoadState::Committed(receipt) if receipt.rows == 7));
        assert!(matches!(history.find("two"), LoadState::Committed(receipt) if receipt.rows == 9));
        assert!(matches!(history.find("three"), LoadState::NotCommitted));
    }

    #[test]
    fn a_record_comes_back_with_its_schema() {
        let schema = Schema::new(vec![Field::new("a\"\n", DataType::Decimal128(9, 2), false)]);
        let record = Record::new("id", Format::Ndjson, &["a".into()], &schema).expect("a record");
        let read = Record::decode(&record.encode().expect("bytes"), "x").expect("the record");
        assert_eq!(read, record);
        assert_eq!(*read.schema().expect("a schema"), schema);
        assert!(Record::decode(b"{", "x").is_err());
    }
}
