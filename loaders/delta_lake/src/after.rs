//! Optional work after a commit: a checkpoint, compaction, removal of old files. If it fails, the load is committed all
//! the same.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use arrowload_core::Result;
use deltalake::delta_datafusion::create_session_state_with_spill_config;
use deltalake::logstore::LogStoreRef;
use deltalake::operations::optimize::OptimizeType;
use deltalake::operations::vacuum::VacuumMode;
use deltalake::{DeltaTable, DeltaTableConfig, checkpoints};

use crate::error::from_delta;
use crate::options::DeltaLakeOptions;

/// Commits between checkpoints where neither the load nor the table says it.
const CHECKPOINT_INTERVAL: u64 = 100;
/// Memory for compaction, in bytes; beyond that it writes to disk.
const OPTIMIZE_MEMORY: usize = 256 << 20;

/// Does the work that the options ask for after the commit of `version`, and returns the results.
///
/// `checkpoint_interval` is what the table's own properties say.
pub(crate) async fn tidy(
    log_store: &LogStoreRef,
    options: &DeltaLakeOptions,
    checkpoint_interval: Option<u64>,
    version: u64,
    max_file_bytes: u64,
) -> BTreeMap<String, String> {
    let mut said = BTreeMap::new();
    let mut note = |what: &str, outcome: Result<Option<String>>| match outcome {
        Ok(Some(outcome)) => drop(said.insert(what.to_owned(), outcome)),
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(%error, what, "the load is committed, and the work after the commit failed");
            said.insert(what.to_owned(), format!("failed: {error}"));
        }
    };
    note(
        "optimize",
        optimize(log_store, options, max_file_bytes).await,
    );
    note("vacuum", vacuum(log_store, options).await);
    note(
        "checkpoint",
        checkpoint(log_store, options, checkpoint_interval, version).await,
    );
    said
}

async fn open(log_store: &LogStoreRef) -> Result<DeltaTable> {
    let mut table = DeltaTable::new(log_store.clone(), DeltaTableConfig::default());
    table.load().await.map_err(from_delta)?;
    Ok(table)
}

async fn optimize(
    log_store: &LogStoreRef,
    options: &DeltaLakeOptions,
    max_file_bytes: u64,
) -> Result<Option<String>> {
    let kind = match options.z_order_by.as_slice() {
        [] if options.optimize_after_write => OptimizeType::Compact,
        [] => return Ok(None),
        columns => OptimizeType::ZOrder(columns.to_vec()),
    };
    let session = create_session_state_with_spill_config(Some(OPTIMIZE_MEMORY), None);
    let mut optimize = open(log_store)
        .await?
        .optimize()
        .with_type(kind)
        .with_session_state(Arc::new(session));
    if let Some(size) = NonZeroU64::new(max_file_bytes) {
        optimize = optimize.with_target_size(size);
    }
    let (_, metrics) = optimize.await.map_err(from_delta)?;
    Ok(Some(format!(
        "{} files became {}",
        metrics.num_files_removed, metrics.num_files_added
    )))
}

async fn vacuum(log_store: &LogStoreRef, options: &DeltaLakeOptions) -> Result<Option<String>> {
    let Some(retention) = options.vacuum_retention()? else {
        return Ok(None);
    };
    let vacuum = open(log_store)
        .await?
        .vacuum()
        .with_mode(VacuumMode::Full)
        .with_retention_period(retention)
        .with_enforce_retention_duration(true);
    let (_, metrics) = vacuum.await.map_err(from_delta)?;
    Ok(Some(format!(
        "{} files removed",
        metrics.files_deleted.len()
    )))
}

async fn checkpoint(
    log_store: &LogStoreRef,
    options: &DeltaLakeOptions,
    of_table: Option<u64>,
    version: u64,
) -> Result<Option<String>> {
    let interval = options
        .checkpoint_interval
        .or(of_table)
        .unwrap_or(CHECKPOINT_INTERVAL);
    // Most loads need not look at the table again.
    if version == 0 || !version.is_multiple_of(interval.max(1)) {
        return Ok(None);
    }
    let mut table = DeltaTable::new(
        log_store.clone(),
        DeltaTableConfig {
            require_files: false,
            ..DeltaTableConfig::default()
        },
    );
    table.load_version(version).await.map_err(from_delta)?;
    checkpoints::create_checkpoint(&table, None)
        .await
        .map_err(from_delta)?;
    checkpoints::cleanup_metadata(&table, None)
        .await
        .map_err(from_delta)?;
    Ok(Some(format!("of version {version}")))
}
