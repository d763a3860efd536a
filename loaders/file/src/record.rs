//! The record of a load, by which it is recognised later: a record file in a folder, or metadata in a file's schema.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{Schema, SchemaRef};
use arrowload_core::{Definition, Error, ErrorKind, LoadRequest, LoadState, Mark, Receipt, Result};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::options::Format;

/// Where records begin: readers of folders skip names with a leading underscore.
pub(crate) const RECORD_PREFIX: &str = "_arrowload-";

/// The keys of a schema's metadata under which a single file keeps the load that wrote it, and those before it.
const LOAD_ID: &str = "arrowload.load_id";
const EARLIER: &str = "arrowload.earlier_loads";
/// What is recorded of each of them, by its id. Apart, so that a version that does not know it still reads the ids.
const RECORDED: &str = "arrowload.recorded";
/// How many earlier loads a single file remembers.
const REMEMBERED: usize = 100;

/// What is recorded with the id of a load. Older records have none of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    definition: Option<Definition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark: Option<Mark>,
}

impl Recorded {
    pub(crate) fn of<O>(request: &LoadRequest<O>) -> Self {
        Self {
            definition: request.definition.clone(),
            mark: request.mark.clone(),
        }
    }

    fn receipt(&self, rows: u64) -> Receipt {
        let mut receipt = Receipt::rows(rows);
        receipt.definition.clone_from(&self.definition);
        receipt.mark.clone_from(&self.mark);
        receipt
    }
}

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
    #[serde(flatten)]
    pub(crate) recorded: Recorded,
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
            recorded: Recorded::default(),
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

    /// Whether files of this record's load may be beside files of the other's.
    fn fits(&self, other: &Record) -> bool {
        (self.format, &self.partition_by, &self.schema)
            == (other.format, &other.partition_by, &other.schema)
    }

    /// Whether a folder whose newest record is this one has other columns than a load expects: those that it had when it was
    /// looked at, or else those of the load's own record.
    pub(crate) fn has_overtaken(&self, looked_at: Option<&Record>, own: &Record) -> bool {
        !self.fits(looked_at.unwrap_or(own))
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
        let receipt = self.recorded.receipt(self.rows);
        receipt
            .with("files", self.files)
            .with("format", self.format.name())
    }
}

/// The hash that represents a load's id in the names of its files.
pub(crate) fn hash(load_id: &str) -> String {
    format!("{:032x}", xxh3_128(load_id.as_bytes()))
}

/// The name of a load's record.
pub(crate) fn record_name(load_id: &str) -> String {
    format!("{RECORD_PREFIX}{}", hash(load_id))
}

/// The beginning of the names of a load's files in a folder, before the parts for attempt and file number.
pub(crate) fn file_prefix(load_id: &str) -> String {
    format!("part-{}-", hash(load_id))
}

/// A load that a single file remembers.
#[derive(Debug, Clone, PartialEq)]
struct Remembered {
    load_id: String,
    rows: Option<u64>,
    recorded: Recorded,
}

/// The loads that a single file remembers, its own first, each with its rows where they are known.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct History(Vec<Remembered>);

impl History {
    /// Of a file with this schema and, as far as that is known, this many rows.
    pub(crate) fn of(schema: &Schema, rows: Option<u64>) -> Self {
        let metadata = schema.metadata();
        let own = metadata.get(LOAD_ID).map(|id| (id.clone(), rows));
        let earlier: Option<Vec<(String, Option<u64>)>> = parse(metadata.get(EARLIER));
        let recorded: Option<HashMap<String, Recorded>> = parse(metadata.get(RECORDED));
        let mut recorded = recorded.unwrap_or_default();
        let loads = own.into_iter().chain(earlier.unwrap_or_default());
        let loads = loads.take(REMEMBERED).map(|(load_id, rows)| Remembered {
            recorded: recorded.remove(&load_id).unwrap_or_default(),
            load_id,
            rows,
        });
        Self(loads.collect())
    }

    pub(crate) fn find(&self, load_id: &str) -> LoadState {
        let found = self.0.iter().find(|load| load.load_id == load_id);
        found.map_or(LoadState::NotCommitted, |load| {
            LoadState::committed(load.recorded.receipt(load.rows.unwrap_or_default()))
        })
    }

    /// Whether the rows of the load that wrote the file are to be counted: nothing beside them tells.
    pub(crate) fn lacks_rows(&self) -> bool {
        self.0.first().is_some_and(|own| own.rows.is_none())
    }

    /// Notes the rows of the load that wrote the file.
    pub(crate) fn set_rows(&mut self, rows: u64) {
        if let Some(own) = self.0.first_mut() {
            own.rows = Some(rows);
        }
    }

    /// The schema of a file that a load writes in place of the one with this history.
    pub(crate) fn label<O>(&self, schema: &SchemaRef, request: &LoadRequest<O>) -> SchemaRef {
        let own = (&request.load_id, Recorded::of(request));
        let loads = self.0.iter();
        let earlier: Vec<_> = loads.map(|load| (&load.load_id, load.rows)).collect();
        let loads = self.0.iter();
        let recorded: BTreeMap<&String, Recorded> = loads
            .map(|load| (&load.load_id, load.recorded.clone()))
            .chain([own])
            .filter(|(_, recorded)| *recorded != Recorded::default())
            .collect();
        let mut metadata: HashMap<String, String> = schema.metadata().clone();
        metadata.insert(LOAD_ID.into(), request.load_id.clone());
        for (key, value) in [
            (
                EARLIER,
                (!earlier.is_empty()).then(|| serde_json::json!(earlier)),
            ),
            (
                RECORDED,
                (!recorded.is_empty()).then(|| serde_json::json!(recorded)),
            ),
        ] {
            metadata.remove(key);
            metadata.extend(value.map(|value| (key.to_owned(), value.to_string())));
        }
        Arc::new(Schema::new_with_metadata(schema.fields().clone(), metadata))
    }
}

/// The value of a key, if it can be read.
fn parse<T: serde::de::DeserializeOwned>(text: Option<&String>) -> Option<T> {
    text.and_then(|text| serde_json::from_str(text).ok())
}

#[cfg(test)]
mod tests {
    use arrow_schema::{DataType, Field};

    use super::*;

    fn request(load_id: &str, schema: &SchemaRef) -> LoadRequest<()> {
        let mut request = LoadRequest::new(load_id, "x", Arc::clone(schema), ());
        request.definition = Some(Definition::from_text(format!("1 query={load_id}")));
        request.mark = Some(Mark::new(None, load_id));
        request
    }

    #[test]
    fn a_file_remembers_the_loads_before_it() {
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let first = History::default().label(&schema, &request("one", &schema));
        let second = History::of(&first, Some(7)).label(&schema, &request("two", &schema));
        let history = History::of(&second, Some(9));
        for (load_id, rows) in [("one", 7), ("two", 9)] {
            let LoadState::Committed { receipt, complete } = history.find(load_id) else {
                panic!("{load_id} is not known");
            };
            assert_eq!((receipt.rows, complete), (rows, true));
            let expected = request(load_id, &schema);
            assert_eq!(
                (receipt.definition, receipt.mark),
                (expected.definition, expected.mark)
            );
        }
        assert!(matches!(history.find("three"), LoadState::NotCommitted));
    }

    #[test]
    fn a_file_of_the_previous_version_is_known() {
        let metadata = [(LOAD_ID, "two"), (EARLIER, r#"[["one",7],["zero",null]]"#)];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let schema = Schema::empty().with_metadata(metadata.into());
        let history = History::of(&schema, Some(9));
        for (load_id, rows) in [("two", 9), ("one", 7), ("zero", 0)] {
            let LoadState::Committed { receipt, .. } = history.find(load_id) else {
                panic!("{load_id} is not known");
            };
            assert_eq!(
                (receipt.rows, receipt.definition, receipt.mark),
                (rows, None, None)
            );
        }
    }

    #[test]
    fn a_record_comes_back_with_its_schema() {
        let schema = Schema::new(vec![Field::new("a\"\n", DataType::Decimal128(9, 2), false)]);
        let mut record = Record::new("id", Format::Ndjson, &["a".into()], &schema).expect("new");
        let old = serde_json::to_string(&record).expect("JSON");
        assert!(
            !old.contains("definition") && !old.contains("mark"),
            "{old}"
        );
        assert_eq!(Record::decode(old.as_bytes(), "x").expect("old"), record);
        record.recorded = Recorded::of(&request("id", &Arc::new(schema.clone())));
        let read = Record::decode(&record.encode().expect("bytes"), "x").expect("the record");
        assert_eq!(read, record);
        assert_eq!(*read.schema().expect("a schema"), schema);
        assert!(Record::decode(b"{", "x").is_err());
    }
}
