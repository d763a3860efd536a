//! The one commit of a load: its actions in one entry of the log, checked for conflicts again whenever another
//! writer has committed first.

use std::collections::HashMap;
use std::time::Duration;

use arrowload_common_object_store::Fault;
use arrowload_core::{Error, ErrorKind, Receipt, Result};
use deltalake::kernel::transaction::{CommitData, PROTOCOL, TransactionError};
use deltalake::kernel::{Action, Metadata, Protocol};
use deltalake::logstore::{CommitOrBytes, LogStoreRef, get_actions};
use deltalake::protocol::DeltaOperation;
use object_store::ObjectStoreExt;
use serde_json::Value;
use uuid::Uuid;

use crate::error::from_delta;
use crate::ledger::Facts;
use crate::partitions::Partitions;
use crate::table::{Table, properties, tolerate};

/// How often a commit is tried while other writers are faster.
const ATTEMPTS: u32 = 200;

/// Which changes of other writers a commit must not skip.
#[derive(Debug, Clone)]
pub(crate) enum Scope {
    /// Rows are only added: nothing but other columns conflicts with it.
    Append,
    /// All rows are removed: any change of data conflicts with it.
    Whole,
    /// The rows of these partitions go.
    Partitions(Partitions),
    /// The written rows were computed from all existing rows; they can be computed again.
    Derived,
}

/// What is to be committed.
pub(crate) struct Commit<'a> {
    pub(crate) log_store: &'a LogStoreRef,
    /// The version that the load was prepared for; `None` if there was no table.
    pub(crate) base: Option<Table>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) metadata: Option<Metadata>,
    /// `add` and `remove` actions as the log has them.
    pub(crate) actions: Vec<Value>,
    pub(crate) operation: DeltaOperation,
    pub(crate) metrics: Value,
    pub(crate) scope: Scope,
    /// What is recorded of the load.
    pub(crate) facts: Facts,
    pub(crate) rows: u64,
}

/// How a commit ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is this version.
    Committed(u64),
    /// Another run of the load was first.
    AlreadyLoaded(Receipt),
}

impl Commit<'_> {
    pub(crate) async fn run(mut self) -> Result<Outcome> {
        for attempt in 0..ATTEMPTS {
            let version = self.base.as_ref().map_or(0, |table| table.version() + 1);
            let bytes = self.entry(version)?;
            match self.write(version, bytes).await {
                Ok(()) => return Ok(Outcome::Committed(version)),
                Err(TransactionError::VersionAlreadyExists(_)) => {}
                Err(error) => return Err(unanswered(error)),
            }
            if let Some(outcome) = self.catch_up(version).await? {
                return Ok(outcome);
            }
            // Random pauses, so that writers that have collided do not collide again.
            let spread = u64::from(Uuid::now_v7().as_bytes()[15]) + 1;
            tokio::time::sleep(Duration::from_micros(
                spread * 100 * u64::from(attempt.min(20)),
            ))
            .await;
        }
        let message = format!(
            "other writers were faster {ATTEMPTS} times; try again when fewer write the table"
        );
        Err(Error::new(ErrorKind::Conflict, message).transient())
    }

    /// The entry of the log.
    fn entry(&self, version: u64) -> Result<Vec<u8>> {
        let description = HashMap::from([
            ("operationMetrics".to_owned(), self.metrics.clone()),
            self.facts.described(),
        ]);
        let known = self.base.as_ref().map(|table| table.state.metadata());
        let metadata = self.facts.mark(self.metadata.clone(), known)?;
        let first = self
            .protocol
            .clone()
            .map(Action::Protocol)
            .into_iter()
            .chain(metadata.map(Action::Metadata));
        let mut data = CommitData::new(
            first.collect(),
            self.operation.clone(),
            description,
            self.facts.transactions(self.rows, version),
        );
        if let Some(Action::CommitInfo(info)) = data.actions.first_mut() {
            info.read_version = version.checked_sub(1);
            info.is_blind_append = Some(matches!(self.scope, Scope::Append));
        }
        let unwritten = |error| {
            Error::new(ErrorKind::Unexpected, "the commit could not be written").with_source(error)
        };
        if let Some(table) = &self.base {
            tolerate(PROTOCOL.can_commit(&table.state, &data.actions, &self.operation))
                .map_err(|error| from_delta(error.into()))?;
        }
        let mut bytes = data
            .get_bytes()
            .map_err(|error| from_delta(error.into()))?
            .to_vec();
        for action in &self.actions {
            bytes.push(b'\n');
            serde_json::to_writer(&mut bytes, action).map_err(unwritten)?;
        }
        bytes.push(b'\n');
        Ok(bytes)
    }

    async fn write(&self, version: u64, bytes: Vec<u8>) -> Result<(), TransactionError> {
        let id = Uuid::now_v7();
        let by_name =
            ["DefaultLogStore", "LakeFSLogStore"].contains(&self.log_store.name().as_str());
        let entry = match by_name {
            true => CommitOrBytes::LogBytes(bytes.into()),
            false => {
                let path = object_store::path::Path::from_iter([
                    "_delta_log",
                    &format!("_commit_{id}.json.tmp"),
                ]);
                self.log_store
                    .object_store(Some(id))
                    .put(&path, bytes.into())
                    .await?;
                CommitOrBytes::TmpCommit(path)
            }
        };
        let written = self
            .log_store
            .write_commit_entry(version, entry.clone(), id)
            .await;
        if written.is_err() && !by_name {
            // Its remains are invisible, and are removed by the next clean-up of the log.
            let _ = self.log_store.abort_commit_entry(version, entry, id).await;
        }
        written
    }

    /// Looks at what others committed since, and takes their version as the new base if nothing conflicts with it.
    async fn catch_up(&mut self, first: u64) -> Result<Option<Outcome>> {
        let files = self
            .base
            .as_ref()
            .is_some_and(|table| table.state.load_config().require_files);
        let table = Table::open(self.log_store, files)
            .await?
            .ok_or_else(|| conflict("the table was removed"))?;
        let commits = self.commits_since(first, table.version()).await?;
        if let Some((version, _)) = commits.iter().find(|(_, actions)| self.is_ours(actions)) {
            // The answer was lost, and the retry of the storage has found the commit of the first attempt.
            return Ok(Some(Outcome::Committed(*version)));
        }
        if let Some(recorded) = table.find_load(&self.facts.load_id).await? {
            return Ok(Some(Outcome::AlreadyLoaded(recorded.receipt)));
        }
        self.check_columns(&table)?;
        for action in commits.iter().flat_map(|(_, actions)| actions) {
            self.check_action(action)?;
        }
        if self.base.is_none() {
            (self.protocol, self.metadata) = (None, None);
        }
        self.base = Some(table);
        Ok(None)
    }

    async fn commits_since(&self, first: u64, last: u64) -> Result<Vec<(u64, Vec<Action>)>> {
        let mut commits = Vec::new();
        for version in first..=last {
            let bytes = self
                .log_store
                .read_commit_entry(version)
                .await
                .map_err(from_delta)?;
            // Only a log that was cleaned up lacks one.
            let bytes = bytes.ok_or_else(|| {
                conflict("other writers' commits are no longer in the log").transient()
            })?;
            commits.push((version, get_actions(version, &bytes).map_err(from_delta)?));
        }
        Ok(commits)
    }

    fn is_ours(&self, actions: &[Action]) -> bool {
        Facts::attempt_of(actions).as_deref() == Some(self.facts.attempt.as_str())
    }

    /// The columns, partitions, properties and protocol must be those that the files were written for.
    fn check_columns(&self, table: &Table) -> Result<()> {
        let same = match (&self.base, &self.metadata) {
            (Some(base), _) => table.fits_files_of(base),
            // Two loads made the table at once.
            (None, Some(ours)) => {
                let now = table.state.metadata();
                ours.parse_schema().ok() == now.parse_schema().ok()
                    && ours.partition_columns() == now.partition_columns()
                    && properties(now).is_empty()
                    && self.protocol.as_ref() == Some(table.state.protocol())
            }
            (None, None) => false,
        };
        if same {
            Ok(())
        } else {
            Err(
                conflict("another writer changed the table's columns or properties meanwhile")
                    .transient(),
            )
        }
    }

    fn check_action(&self, action: &Action) -> Result<()> {
        let (partition, what) = match action {
            Action::Add(add) => (Some(&add.partition_values), "added"),
            Action::Remove(remove) => (remove.partition_values.as_ref(), "removed"),
            _ => return Ok(()),
        };
        match &self.scope {
            Scope::Append => Ok(()),
            Scope::Whole if self.base.is_none() => Err(conflict(
                "another writer made the table meanwhile; overwrite it again if its rows shall go",
            )),
            Scope::Whole => Err(conflict(&format!(
                "another writer {what} rows meanwhile; overwrite again to replace them"
            ))),
            Scope::Partitions(ours)
                if partition.map_or(Ok(true), |partition| ours.contains(partition))? =>
            {
                Err(conflict(&format!(
                    "another writer {what} rows of the same partitions meanwhile; overwrite again to replace them"
                )))
            }
            Scope::Partitions(_) => Ok(()),
            Scope::Derived => Err(conflict(&format!(
                "another writer {what} rows meanwhile, which this load has not read"
            ))
            .transient()),
        }
    }
}

fn conflict(what: &str) -> Error {
    Error::new(ErrorKind::Conflict, what)
}

/// An error of the storage during the call that commits: unless it is a refusal, the commit may have happened.
fn unanswered(error: TransactionError) -> Error {
    let refused = match &error {
        TransactionError::ObjectStore { source } => {
            let fault = Fault::of_store(source);
            // A disk that fails may have done it.
            !fault.transient && !matches!(fault.kind, ErrorKind::Io | ErrorKind::Unexpected)
        }
        TransactionError::LogStoreError { .. } => false,
        _ => true,
    };
    if refused {
        return from_delta(error.into());
    }
    Error::new(
        ErrorKind::CommitUnknown,
        "the storage did not answer whether the commit is there",
    )
    .with_source(error)
}
