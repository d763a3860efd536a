//! The records of loads: what a commit records about its load, and how the record is found.
//!
//! A commit has two application transactions, which checkpoints keep: `arrowload:ID`, whose version is the number of rows, and
//! `arrowload-commit:ID`, whose version is that of the commit. The commit's own description has the facts: the attempt, the
//! definition, and the mark. They are lost when the log is cleaned up, so the last marks are also in a property of the table.

use std::sync::{Mutex, PoisonError};

use arrowload_core::{Definition, LoadRequest, LoadState, Mark, Receipt, Result};
use deltalake::kernel::{Action, Metadata, MetadataExt, Transaction};
use deltalake::logstore::{LogStoreRef, get_actions};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::from_delta;
use crate::table::{MARKS, Table};

/// The key of the facts in a commit's description.
const FACTS: &str = "arrowload";
/// How many marks a table keeps.
const MARKS_KEPT: usize = 16;

/// What a commit says of its load.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Facts {
    pub(crate) load_id: String,
    /// Distinguishes the attempts of a load.
    #[serde(default)]
    pub(crate) attempt: String,
    /// The loader's version.
    #[serde(default)]
    version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    definition: Option<Definition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark: Option<Mark>,
}

/// A load that a table has.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) receipt: Receipt,
    /// The attempt that committed it, as long as the log says so.
    pub(crate) attempt: Option<String>,
}

fn rows_id(load_id: &str) -> String {
    format!("arrowload:{load_id}")
}

fn commit_id(load_id: &str) -> String {
    format!("arrowload-commit:{load_id}")
}

impl Facts {
    pub(crate) fn new<O>(request: &LoadRequest<O>, attempt: &str) -> Self {
        Self {
            load_id: request.load_id.clone(),
            attempt: attempt.to_owned(),
            version: env!("CARGO_PKG_VERSION").into(),
            definition: request.definition.clone(),
            mark: request.mark.clone(),
        }
    }

    /// What describes the commit, with its key.
    pub(crate) fn described(&self) -> (String, Value) {
        (FACTS.to_owned(), serde_json::json!(self))
    }

    /// The application transactions of a commit of this version.
    pub(crate) fn transactions(&self, rows: u64, version: u64) -> Vec<Transaction> {
        let now = Some(chrono::Utc::now().timestamp_millis());
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        vec![
            Transaction::new_with_last_update(rows_id(&self.load_id), number(rows), now),
            Transaction::new_with_last_update(commit_id(&self.load_id), number(version), now),
        ]
    }

    /// The description of the table with the mark of this load, if it has one; `known` are the marks that the table has.
    pub(crate) fn mark(
        &self,
        metadata: Option<Metadata>,
        known: Option<&Metadata>,
    ) -> Result<Option<Metadata>> {
        let Some(metadata) = metadata.or_else(|| self.mark.is_some().then(|| known.cloned())?)
        else {
            return Ok(None);
        };
        let mut marks = known.map(marks_of).unwrap_or_default();
        marks.extend(self.mark.is_some().then(|| self.clone()));
        if marks.is_empty() {
            return Ok(Some(metadata));
        }
        marks.drain(..marks.len().saturating_sub(MARKS_KEPT));
        let text = serde_json::json!(marks).to_string();
        let marked = metadata.add_config_key(MARKS.into(), text);
        marked.map(Some).map_err(|error| from_delta(error.into()))
    }

    /// Those of a commit, if it is one of this loader's.
    fn of(actions: &[Action]) -> Option<Self> {
        let facts = actions.iter().find_map(|action| match action {
            Action::CommitInfo(info) => info.info.get(FACTS),
            _ => None,
        })?;
        serde_json::from_value(facts.clone()).ok()
    }

    /// The attempt that a commit is of.
    pub(crate) fn attempt_of(actions: &[Action]) -> Option<String> {
        Self::of(actions).map(|facts| facts.attempt)
    }
}

/// The marks that a table keeps, the newest last.
fn marks_of(metadata: &Metadata) -> Vec<Facts> {
    let text = metadata.configuration().get(MARKS);
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

impl Table {
    /// The load with this id, if the table has it.
    pub(crate) async fn find_load(&self, load_id: &str) -> Result<Option<Recorded>> {
        let Some(rows) = self.transaction(rows_id(load_id)).await? else {
            return Ok(None);
        };
        let mut recorded = Recorded {
            receipt: Receipt::rows(rows),
            attempt: None,
        };
        // Loads of earlier versions of this loader have no such transaction.
        let version = self.transaction(commit_id(load_id)).await?;
        let facts = match version {
            Some(version) => self.facts(version).await?,
            None => None,
        };
        if let Some(facts) = facts.filter(|facts| facts.load_id == load_id) {
            recorded.receipt.definition = facts.definition;
            recorded.receipt.mark = facts.mark;
            recorded.attempt = Some(facts.attempt);
        } else if let Some(facts) = marks_of(self.state.metadata())
            .into_iter()
            .rfind(|facts| facts.load_id == load_id)
        {
            recorded.receipt.definition = facts.definition;
            recorded.receipt.mark = facts.mark;
        }
        if let Some(version) = version {
            recorded.receipt = recorded.receipt.with("version", version);
        }
        Ok(Some(recorded))
    }

    async fn transaction(&self, id: String) -> Result<Option<u64>> {
        let found = self
            .state
            .transaction_version(self.log_store.as_ref(), id)
            .await
            .map_err(from_delta)?;
        Ok(found.map(|number| u64::try_from(number).unwrap_or_default()))
    }

    /// The facts of a commit, unless the log was cleaned up.
    async fn facts(&self, version: u64) -> Result<Option<Facts>> {
        let entry = self.log_store.read_commit_entry(version).await;
        let Some(bytes) = entry.map_err(from_delta)? else {
            return Ok(None);
        };
        let actions = get_actions(version, &bytes).map_err(from_delta)?;
        Ok(Facts::of(&actions))
    }
}

/// Which load was last found not to have committed, and to which version of which table: the log need not be read for it again
/// when that load begins.
#[derive(Debug, Default)]
pub(crate) struct Absent(Mutex<Option<Sighting>>);

#[derive(Debug, PartialEq, Eq)]
struct Sighting {
    load_id: String,
    table_id: String,
    version: u64,
}

impl Sighting {
    fn of(table: &Table, load_id: &str) -> Self {
        Self {
            load_id: load_id.to_owned(),
            table_id: table.state.metadata().id().to_owned(),
            version: table.version(),
        }
    }
}

impl Absent {
    /// Whether a load committed to the table at this place.
    pub(crate) async fn find_load(
        &self,
        log_store: &LogStoreRef,
        load_id: &str,
    ) -> Result<LoadState> {
        let Some(table) = Table::open(log_store, false).await? else {
            return Ok(LoadState::NotCommitted);
        };
        if let Some(recorded) = table.find_load(load_id).await? {
            return Ok(LoadState::committed(recorded.receipt));
        }
        let absent = Some(Sighting::of(&table, load_id));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = absent;
        Ok(LoadState::NotCommitted)
    }

    /// Whether it is known that the load has not committed to this version of the table.
    pub(crate) fn is_known(&self, table: &Table, load_id: &str) -> bool {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref() == Some(&Sighting::of(table, load_id))
    }
}
