//! The end of a load: its files become part of the table, or are removed again.

use arrowload_common_parquet::FileInfo;
use arrowload_core::{Error, ErrorKind, Mode, Receipt, Result};
use deltalake::protocol::{DeltaOperation, MergePredicate, SaveMode};
use object_store::ObjectStoreExt;
use serde_json::{Value, json};

use crate::after::tidy;
use crate::commit::{Commit, Outcome};
use crate::ledger::Facts;
use crate::load::Load;
use crate::options::{WhenMatched, WhenNotMatched, WhenNotMatchedBySource};
use crate::stats::{Indexed, add_action};
use crate::table::{Table, TableFile};

impl Load {
    /// Commits files that have their names, and which no commit names yet.
    pub(crate) async fn commit(&self, files: &[FileInfo]) -> Result<Outcome> {
        let indexed = Indexed {
            columns: self.target.indexed_columns(),
            with_nan: self.with_nan.clone(),
        };
        let mut actions: Vec<Value> = self
            .removal
            .files
            .iter()
            .map(TableFile::remove_action)
            .collect::<Result<_>>()?;
        for file in files {
            actions.push(add_action(file, &indexed, true)?);
        }
        let commit = Commit {
            log_store: &self.target.place.log_store,
            base: self.target.table.clone(),
            protocol: self.target.protocol.clone(),
            metadata: self.target.metadata.clone(),
            actions,
            operation: self.operation(),
            metrics: self.metrics(files),
            scope: self.removal.scope.clone(),
            facts: Facts::new(&self.request, &self.attempt),
            rows: self.rows,
        };
        commit
            .run()
            .await
            .map_err(|error| match (self.request.load.mode, error.kind()) {
                (Mode::Create, ErrorKind::Conflict) => {
                    let message =
                        format!("another writer made `{}` meanwhile", self.request.target);
                    Error::new(ErrorKind::TargetExists, message)
                        .with("target", &self.request.target)
                }
                _ => error,
            })
    }

    /// What the load did, and what follows its commit.
    pub(crate) async fn committed(&self, files: &[FileInfo], version: u64) -> Receipt {
        let mut receipt = self.receipt(files, version);
        let log_store = &self.target.place.log_store;
        let options = &self.request.options;
        let table = self.target.table.as_ref();
        let interval = table.and_then(Table::checkpoint_interval);
        let followed = tidy(log_store, options, interval, version, self.max_file_bytes());
        let followed = followed.await;
        receipt.details.extend(followed);
        receipt
    }

    /// What the table's history says of the load.
    fn operation(&self) -> DeltaOperation {
        let partition_by =
            (!self.target.partition_by.is_empty()).then(|| self.target.partition_by.clone());
        let mode = match self.request.load.mode {
            Mode::Upsert => return self.merge_operation(),
            Mode::Create => SaveMode::ErrorIfExists,
            Mode::Overwrite => SaveMode::Overwrite,
            Mode::Append => SaveMode::Append,
        };
        DeltaOperation::Write {
            mode,
            partition_by,
            predicate: self.request.options.replace_where.clone(),
        }
    }

    fn merge_operation(&self) -> DeltaOperation {
        let options = &self.request.options;
        let action = |action: &str| {
            vec![MergePredicate {
                action_type: action.into(),
                predicate: None,
            }]
        };
        let equal: Vec<String> = self
            .request
            .load
            .keys
            .iter()
            .map(|key| format!("source.`{key}` <=> target.`{key}`"))
            .collect();
        DeltaOperation::Merge {
            predicate: None,
            merge_predicate: Some(equal.join(" AND ")),
            matched_predicates: match options.when_matched {
                WhenMatched::Update => action("update"),
                WhenMatched::Delete => action("delete"),
                WhenMatched::Ignore => Vec::new(),
            },
            not_matched_predicates: match options.when_not_matched {
                WhenNotMatched::Insert => action("insert"),
                WhenNotMatched::Ignore => Vec::new(),
            },
            not_matched_by_source_predicates: match options.when_not_matched_by_source {
                WhenNotMatchedBySource::Delete => action("delete"),
                WhenNotMatchedBySource::Keep => Vec::new(),
            },
        }
    }

    /// The metrics of the table's history, which are texts.
    fn metrics(&self, files: &[FileInfo]) -> Value {
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let rows: u64 = files.iter().map(|file| file.rows).sum();
        let gone = &self.removal;
        match &self.counts {
            None => json!({
                "numFiles": files.len().to_string(), "numOutputRows": rows.to_string(), "numOutputBytes": bytes.to_string(),
                "numRemovedFiles": gone.files.len().to_string(),
            }),
            Some(counts) => json!({
                "numSourceRows": self.rows.to_string(), "numTargetRowsInserted": counts.inserted.to_string(),
                "numTargetRowsUpdated": counts.updated.to_string(), "numTargetRowsCopied": gone.kept.to_string(),
                "numTargetRowsDeleted": gone.rows.saturating_sub(counts.updated).to_string(), "numOutputRows": rows.to_string(),
                "numTargetFilesAdded": files.len().to_string(), "numTargetFilesRemoved": gone.files.len().to_string(),
                "numTargetBytesAdded": bytes.to_string(),
            }),
        }
    }

    fn receipt(&self, files: &[FileInfo], version: u64) -> Receipt {
        let removed = self.removal.files.len();
        let mut receipt = Receipt::rows(self.rows)
            .with("version", version)
            .with("files", files.len())
            .with("files_removed", removed);
        if self.deleted > 0 {
            receipt = receipt.with("rows_deleted", self.deleted);
        }
        receipt.bytes = files.iter().map(|file| file.bytes).sum();
        receipt.keys = self.counts;
        receipt
    }

    /// Removes files that no commit names. Returns whether all are gone.
    pub(crate) async fn discard(&self, files: &[FileInfo]) -> bool {
        let store = self.target.place.log_store.object_store(None);
        let mut gone = true;
        for file in files {
            if let Err(error) = store.delete(&file.path).await {
                tracing::debug!(%error, "a data file that no commit names is left; the next load removes it");
                gone = false;
            }
        }
        gone
    }
}
