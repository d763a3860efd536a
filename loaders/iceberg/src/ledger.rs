//! The records of loads: what a snapshot records about its load, and how the record is found.
//!
//! A snapshot's summary has the facts. They are lost when the snapshot expires, so those of the last loads are also in a property
//! of the table. Only what is in the table's history counts: a load whose snapshot was rolled back has not happened.

use std::collections::HashMap;

use arrowload_core::{Definition, LoadRequest, LoadState, Mark, Receipt};
use iceberg::spec::{SnapshotRef, TableMetadata};
use serde::{Deserialize, Serialize};

/// The property with the facts of the last loads.
const LOADS: &str = "arrowload.loads";
/// How many loads the property keeps.
const LOADS_KEPT: usize = 16;

const LOAD_ID: &str = "arrowload.load-id";
const ATTEMPT: &str = "arrowload.attempt";
const ROWS: &str = "arrowload.rows";
const DEFINITION: &str = "arrowload.definition";
const MARK: &str = "arrowload.mark";
const VERSION: &str = "arrowload.version";

/// What a table says of a load.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Facts {
    pub(crate) load_id: String,
    /// Distinguishes the attempts of a load.
    pub(crate) attempt: String,
    pub(crate) rows: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    definition: Option<Definition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark: Option<Mark>,
    #[serde(default)]
    snapshot_id: i64,
}

impl Facts {
    pub(crate) fn new<O>(request: &LoadRequest<O>, attempt: &str, rows: u64) -> Self {
        Self {
            load_id: request.load_id.clone(),
            attempt: attempt.to_owned(),
            rows,
            definition: request.definition.clone(),
            mark: request.mark.clone(),
            snapshot_id: 0,
        }
    }

    /// What the snapshot's summary says.
    pub(crate) fn summary(&self) -> HashMap<String, String> {
        let mark = self
            .mark
            .as_ref()
            .map(|mark| serde_json::json!(mark).to_string());
        let definition = self.definition.as_ref().map(|it| it.as_str().to_owned());
        [
            (LOAD_ID, Some(self.load_id.clone())),
            (ATTEMPT, Some(self.attempt.clone())),
            (ROWS, Some(self.rows.to_string())),
            (VERSION, Some(env!("CARGO_PKG_VERSION").to_owned())),
            (DEFINITION, definition),
            (MARK, mark),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
    }

    /// The table's property with this load, which is of this snapshot.
    pub(crate) fn property(&self, known: &TableMetadata, snapshot_id: i64) -> (String, String) {
        let mut loads = kept(known);
        let facts = self.clone();
        loads.push(Self {
            snapshot_id,
            ..facts
        });
        loads.drain(..loads.len().saturating_sub(LOADS_KEPT));
        (LOADS.to_owned(), serde_json::json!(loads).to_string())
    }

    /// Those of a snapshot, if it is one of this loader's.
    fn of(snapshot: &SnapshotRef) -> Option<Self> {
        let summary = &snapshot.summary().additional_properties;
        let mark = summary.get(MARK);
        Some(Self {
            load_id: summary.get(LOAD_ID)?.clone(),
            attempt: summary.get(ATTEMPT).cloned().unwrap_or_default(),
            rows: summary.get(ROWS)?.parse().ok()?,
            definition: summary.get(DEFINITION).map(Definition::from_text),
            mark: mark.and_then(|mark| serde_json::from_str(mark).ok()),
            snapshot_id: snapshot.snapshot_id(),
        })
    }

    fn receipt(self) -> Receipt {
        let mut receipt = Receipt::rows(self.rows).with("snapshot_id", self.snapshot_id);
        receipt.definition = self.definition;
        receipt.mark = self.mark;
        receipt
    }
}

/// The facts that a table keeps, the newest last.
fn kept(metadata: &TableMetadata) -> Vec<Facts> {
    let text = metadata.properties().get(LOADS);
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// The snapshots that led to the table's, the newest first.
pub(crate) fn ancestry(metadata: &TableMetadata) -> impl Iterator<Item = &SnapshotRef> {
    std::iter::successors(metadata.current_snapshot(), |snapshot| {
        metadata.snapshot_by_id(snapshot.parent_snapshot_id()?)
    })
}

/// What a table says of the load with this id, and whether it is of this attempt.
pub(crate) fn find(metadata: &TableMetadata, load_id: &str) -> Option<Facts> {
    let found = ancestry(metadata)
        .filter_map(Facts::of)
        .find(|facts| facts.load_id == load_id);
    // A snapshot that is there and led to nothing was rolled back.
    let is_expired = |facts: &Facts| metadata.snapshot_by_id(facts.snapshot_id).is_none();
    found.or_else(|| {
        let kept = kept(metadata).into_iter();
        kept.rev()
            .find(|facts| facts.load_id == load_id && is_expired(facts))
    })
}

/// The same as a receipt.
pub(crate) fn find_receipt(metadata: &TableMetadata, load_id: &str) -> Option<Receipt> {
    find(metadata, load_id).map(Facts::receipt)
}

/// The same as an answer to the question.
pub(crate) fn state(metadata: Option<&TableMetadata>, load_id: &str) -> LoadState {
    match metadata.and_then(|metadata| find_receipt(metadata, load_id)) {
        Some(receipt) => LoadState::committed(receipt),
        None if metadata.is_some_and(forgets) => LoadState::Unknown,
        None => LoadState::NotCommitted,
    }
}

/// Whether there were loads of which the table says nothing any more: snapshots have expired, and more loads were made than the
/// property keeps.
fn forgets(metadata: &TableMetadata) -> bool {
    // Who expires snapshots may leave the oldest one without a parent; its number says that there was one (in version 1 it has none).
    let is_cut = ancestry(metadata).last().is_some_and(|oldest| {
        oldest.parent_snapshot_id().is_some() || oldest.sequence_number() > 1
    });
    is_cut && kept(metadata).len() >= LOADS_KEPT
}
