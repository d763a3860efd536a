//! An existing table: its state, its files, the loads that it has recorded, and features that prevent writing.

use std::collections::{BTreeMap, HashMap};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrowload_core::{Error, ErrorKind, Result};
use deltalake::DeltaTableConfig;
use deltalake::kernel::transaction::{PROTOCOL, TransactionError};
use deltalake::kernel::{EagerSnapshot, Metadata, Remove, StructType};
use deltalake::logstore::LogStoreRef;
use deltalake::table::config::TablePropertiesExt;
use deltalake::table::state::DeltaTableState;
use serde_json::{Value, json};

use crate::error::from_delta;

/// One version of a table.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) state: DeltaTableState,
    pub(crate) log_store: LogStoreRef,
}

/// One data file of a table.
#[derive(Debug, Clone)]
pub(crate) struct TableFile {
    /// Its path as the log has it, percent-encoded.
    pub(crate) uri: String,
    pub(crate) remove: Remove,
    pub(crate) rows: Option<u64>,
}

impl Table {
    /// The newest version, or `None` if there is no table. `files` says whether its files are listed.
    pub(crate) async fn open(log_store: &LogStoreRef, files: bool) -> Result<Option<Self>> {
        if !log_store
            .is_delta_table_location()
            .await
            .map_err(from_delta)?
        {
            return Ok(None);
        }
        let config = DeltaTableConfig {
            require_files: files,
            ..DeltaTableConfig::default()
        };
        let state = DeltaTableState::try_new(log_store.as_ref(), config, None)
            .await
            .map_err(from_delta)?;
        Ok(Some(Self {
            state,
            log_store: log_store.clone(),
        }))
    }

    pub(crate) fn snapshot(&self) -> &EagerSnapshot {
        self.state.snapshot()
    }

    pub(crate) fn version(&self) -> u64 {
        self.state.version()
    }

    pub(crate) fn schema(&self) -> StructType {
        self.snapshot().schema().as_ref().clone()
    }

    pub(crate) fn partition_by(&self) -> Vec<String> {
        self.state.metadata().partition_columns().to_vec()
    }

    /// How many rows it has, as far as its files say.
    pub(crate) fn rows(&self) -> Result<u64> {
        let files = self.files()?.into_iter();
        Ok(files.filter_map(|file| file.rows).sum())
    }

    /// Whether files that were written for the other version of the table fit this one: the columns, partitions, properties
    /// and protocol are the same. The marks of loads are a property that decides nothing.
    pub(crate) fn fits_files_of(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.state.metadata(), other.state.metadata());
        ours.id() == theirs.id()
            && ours.parse_schema().ok() == theirs.parse_schema().ok()
            && ours.partition_columns() == theirs.partition_columns()
            && properties(ours) == properties(theirs)
            && self.state.protocol() == other.state.protocol()
    }

    /// Refuses, by name, what this loader does not know how to keep. `removes` says whether rows would go, `rewrites`
    /// whether files would be written again.
    pub(crate) fn check_writable(&self, removes: bool, rewrites: bool) -> Result<()> {
        let unsupported = |what: String| Err(Error::new(ErrorKind::Unsupported, what));
        tolerate(PROTOCOL.can_write_to(&self.state)).map_err(|source| from_delta(source.into()))?;
        let set = |key: &str| {
            self.state
                .metadata()
                .configuration()
                .get(key)
                .is_some_and(|value| value.eq_ignore_ascii_case("true"))
        };
        if removes && set("delta.appendOnly") {
            return unsupported(
                "the table is append-only (`delta.appendOnly`); use mode append".into(),
            );
        }
        if rewrites && set("delta.enableChangeDataFeed") {
            return unsupported("the table keeps a change data feed (`delta.enableChangeDataFeed`), which upserts and replace_where would have to write; use mode append, or change rows with Spark".into());
        }
        let schema = self.schema();
        for field in schema.fields() {
            if let Some(key) = field
                .metadata()
                .keys()
                .find(|key| key.starts_with("delta.identity."))
            {
                let message = format!(
                    "column `{}` is an identity column (`{key}`), whose values only its own engine may give",
                    field.name()
                );
                return unsupported(message);
            }
        }
        Ok(())
    }

    /// How long removed files are kept.
    pub(crate) fn retention(&self) -> chrono::Duration {
        let kept = self.state.table_config().deleted_file_retention_duration();
        chrono::Duration::from_std(kept).unwrap_or(chrono::Duration::MAX)
    }

    /// How many columns have statistics.
    pub(crate) fn indexed_columns(&self) -> usize {
        let configured = self
            .state
            .metadata()
            .configuration()
            .get("delta.dataSkippingNumIndexedCols");
        configured.map_or(INDEXED_COLUMNS, |number| {
            number.parse().unwrap_or(usize::MAX)
        })
    }

    /// After how many commits the table wants a checkpoint, if it says so.
    pub(crate) fn checkpoint_interval(&self) -> Option<u64> {
        let properties = self.state.metadata().configuration();
        properties.get("delta.checkpointInterval")?.parse().ok()
    }

    /// The data files of this version; none if it was opened without them.
    pub(crate) fn files(&self) -> Result<Vec<TableFile>> {
        if !self.state.load_config().require_files {
            return Ok(Vec::new());
        }
        // The library decodes paths and encodes them otherwise; what removes a file must name it as it was added.
        let mut uris = Vec::new();
        for batch in self.state.add_actions_batches(false).map_err(from_delta)? {
            let paths = batch
                .column_by_name("path")
                .and_then(|column| column.as_string_opt::<i32>());
            let paths = paths.ok_or_else(|| {
                Error::new(
                    ErrorKind::Unexpected,
                    "the table's files could not be listed",
                )
            })?;
            uris.extend((0..paths.len()).map(|row| paths.value(row).to_owned()));
        }
        let views: Vec<_> = self.state.log_data().iter().collect();
        if views.len() != uris.len() {
            return Err(Error::new(
                ErrorKind::Unexpected,
                "the table's files could not be listed",
            ));
        }
        let file = |(uri, view): (String, deltalake::kernel::LogicalFileView)| TableFile {
            uri,
            remove: view.remove_action(true),
            rows: view.num_records().map(|rows| rows as u64),
        };
        Ok(uris.into_iter().zip(views).map(file).collect())
    }
}

/// The property of a table that holds the last marks of its loads.
pub(crate) const MARKS: &str = "arrowload.marks";

/// The columns that have statistics where the table does not say otherwise.
pub(crate) const INDEXED_COLUMNS: usize = 32;

impl TableFile {
    /// The action that removes it, as the log has it.
    pub(crate) fn remove_action(&self) -> Result<Value> {
        let mut value = serde_json::to_value(&self.remove).map_err(|error| {
            Error::new(ErrorKind::Unexpected, "an action could not be written").with_source(error)
        })?;
        value["path"] = self.uri.clone().into();
        Ok(json!({ "remove": value }))
    }

    /// The values of the partition columns as the log has them.
    pub(crate) fn partition_values(&self) -> HashMap<String, Option<String>> {
        self.remove.partition_values.clone().unwrap_or_default()
    }
}

/// The properties of a table without the marks of loads.
pub(crate) fn properties(metadata: &Metadata) -> BTreeMap<&str, &str> {
    let all = metadata.configuration().iter();
    all.filter(|(key, _)| key.as_str() != MARKS)
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

/// The library refuses to write tables with this feature; this loader knows it.
pub(crate) fn tolerate(outcome: Result<(), TransactionError>) -> Result<(), TransactionError> {
    let Err(TransactionError::UnsupportedTableFeatures(mut features)) = outcome else {
        return outcome;
    };
    features.retain(|feature| feature.to_string() != "columnMapping");
    features.sort_by_key(ToString::to_string);
    if features.is_empty() {
        Ok(())
    } else {
        Err(TransactionError::UnsupportedTableFeatures(features))
    }
}
