//! What a load did: the store's receipt, and the report that the caller gets.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::{ColumnChecksum, Definition, Guarantees, Mark, Mode, Phase};

/// How many rows an `upsert` has inserted, updated and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct KeyCounts {
    /// Rows whose keys were new.
    pub inserted: u64,
    /// Rows that replaced one with equal keys.
    pub updated: u64,
    /// Rows with equal keys whose values were already there, where the store can tell.
    pub unchanged: u64,
    /// Rows of the load that a later row of the load with equal keys replaced.
    pub duplicate: u64,
    /// Rows with a null in a key column (set aside, or matched under `null_keys = match`).
    pub null: u64,
}

/// What a session answers to [`prepare`](crate::LoadSession::prepare).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Prepared {
    /// Rows that the store acknowledged, set-aside rows not counted.
    pub rows: u64,
}

impl Prepared {
    /// This many rows were acknowledged.
    pub fn rows(rows: u64) -> Self {
        Self { rows }
    }
}

/// What a session answers to [`commit`](crate::LoadSession::commit).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Receipt {
    /// Rows of the load that are now in the target, or replaced one another on the way (see [`KeyCounts`]).
    pub rows: u64,
    /// Bytes sent to or written by the store, where it is known.
    pub bytes: u64,
    /// Rows that were set aside, as recorded with the load; a session's receipt for its own commit may leave it 0.
    pub rows_rejected: u64,
    /// For `upsert`.
    pub keys: Option<KeyCounts>,
    /// Another run with this `load_id` committed first, and this one wrote nothing.
    pub already_loaded: bool,
    /// What the load meant, as recorded with it; a session's receipt for its own commit may leave it out.
    pub definition: Option<Definition>,
    /// The mark of an incremental load, as recorded with it; likewise.
    pub mark: Option<Mark>,
    /// The store's own facts: `version`, `files`, `snapshot_id`, ….
    pub details: BTreeMap<String, String>,
}

impl Receipt {
    /// A receipt for this many rows.
    pub fn rows(rows: u64) -> Self {
        Self {
            rows,
            ..Self::default()
        }
    }

    /// The same receipt, for a load that had committed already.
    #[must_use]
    pub fn repeated(mut self) -> Self {
        self.already_loaded = true;
        self
    }

    /// The same receipt, for a load whose record was found, and of which some was not in place: now it is. The detail `completed`
    /// says so.
    #[must_use]
    pub fn completed(self) -> Self {
        self.with("completed", true)
    }

    /// Adds one of the store's own facts.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.details.insert(key.into(), value.to_string());
        self
    }
}

/// Whether a load with a given `load_id` committed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LoadState {
    /// It did.
    Committed {
        /// What the store recorded of it, its definition and mark included.
        receipt: Receipt,
        /// Whether all of it is in place. Where the record comes before the rows (Redis moves keys afterwards), a load that was cut
        /// off in between is not complete: [`recover`](crate::DataLoader::recover) completes it.
        complete: bool,
    },
    /// It did not, and no attempt of it can commit any more without being noticed.
    NotCommitted,
    /// The store does not record it.
    Unknown,
}

impl LoadState {
    /// It committed, and all of it is in place.
    pub fn committed(receipt: Receipt) -> Self {
        Self::Committed {
            receipt,
            complete: true,
        }
    }
}

/// What a load did.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct LoadReport {
    /// The id that makes repeating this load harmless.
    pub load_id: String,
    /// The loader.
    pub loader: String,
    /// The target.
    pub target: String,
    /// The mode.
    pub mode: Mode,
    /// Rows of this load that arrived in the target.
    pub rows: u64,
    /// Rows that the source gave.
    pub rows_read: u64,
    /// Rows that were set aside under `on_error = skip`: by the load that committed, where it had already.
    pub rows_rejected: u64,
    /// Where the rows that were set aside are, as an Arrow IPC stream.
    pub dead_letters: Option<PathBuf>,
    /// Rows of the input that could not be parsed, and were set aside under `on_error = skip`. They are not among the rows read. 0 for
    /// a load that had committed already.
    pub rows_unparsed: u64,
    /// Where those rows are, as an Arrow IPC stream of their bytes.
    pub unparsed: Option<PathBuf>,
    /// Bytes sent to or written by the store; the Arrow bytes where the store does not say.
    pub bytes: u64,
    /// Batches handed to the store.
    pub batches: u64,
    /// For `upsert`.
    pub keys: Option<KeyCounts>,
    /// A load with this `load_id` had already committed: nothing was written, except where the detail `completed` says that not all
    /// of it was in place, and now is.
    pub already_loaded: bool,
    /// How often something was tried again.
    pub retries: u32,
    /// Why the load was begun again with wider types: each value that did not fit the type that a sample gave its column.
    pub reopened: Vec<String>,
    /// Wall-clock time from the call to the commit; seconds when serialised.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
    /// Under `verify = checksum`: what was sent and what the store holds, column by column, equal.
    pub checksums: Option<Vec<ColumnChecksum>>,
    /// Under `verify = checksum`: the columns that have no checksum, as the store keeps their values in another form.
    pub unproved: Vec<String>,
    /// What held for this load; `None` where it had committed already, so that the target was not looked at.
    pub guarantees: Option<Guarantees>,
    /// The store's own facts: `version`, `files`, `snapshot_id`, ….
    pub details: BTreeMap<String, String>,
}

fn seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_secs_f64())
}

/// How far a load is. Handed to the callback at most ten times a second, and once at the end.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// The id of the load.
    pub load_id: String,
    /// Rows that the source gave so far.
    pub rows_read: u64,
    /// What the load is doing.
    pub phase: Phase,
    /// Rows that were handed to the store so far.
    pub rows_written: u64,
    /// Rows that were set aside so far.
    pub rows_rejected: u64,
    /// Arrow bytes handed to the store so far.
    pub bytes: u64,
    /// Time since the call.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
    /// How many rows will come, where the source knows.
    pub expected_rows: Option<u64>,
    /// How much of the query the engine has done, from 0 to 1, where it says so before the first rows.
    pub query_done: Option<f64>,
    /// Which attempt this is, from 1: a load that is run again starts from 0 rows.
    pub attempt: u32,
    /// The commit succeeded: this is the last call.
    pub done: bool,
}
