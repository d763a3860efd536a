//! The one commit of a load: its snapshot, checked for conflicts and made again whenever another writer has committed
//! first.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrowload_core::{Error, ErrorKind, Receipt, Result};
use iceberg::TableUpdate;
use iceberg::spec::{
    DataFile, Operation, Schema, SnapshotRef, Struct, TableMetadata, TableMetadataRef,
};
use uuid::Uuid;

use crate::catalog::{Answer, Catalog, Change, Known};
use crate::deletes::Deletes;
use crate::error::from_iceberg;
use crate::ledger::{Facts, ancestry, find};
use crate::snapshot::{Draft, Removed, discard};
use crate::table::Table;
use crate::target::Target;

/// How often a commit is tried while other writers are faster, unless the table says so.
const RETRIES: usize = 50;

/// Which changes of other writers a commit must not skip.
#[derive(Debug, Clone, Default)]
pub(crate) enum Scope {
    /// Rows are only added: nothing but other columns conflicts with it.
    #[default]
    Append,
    /// All rows are removed: any change of data conflicts with it.
    Whole,
    /// The rows of these partitions go.
    Partitions(HashSet<Struct>),
    /// The written rows were computed from all existing rows; they can be computed again.
    Derived,
}

/// What is to be committed.
pub(crate) struct Commit<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) target: &'a Target,
    /// The table that the load was prepared for.
    pub(crate) base: Option<Table>,
    pub(crate) added: &'a [DataFile],
    pub(crate) removed: Removed,
    pub(crate) deletes: &'a [Deletes],
    pub(crate) scope: Scope,
    pub(crate) facts: Facts,
}

/// How a commit ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is this snapshot, which removed so many files.
    Committed { snapshot: i64, removed: u64 },
    /// Another run of the load was first.
    AlreadyLoaded(Receipt),
}

/// How often and how long a commit is tried, as the table's properties say.
struct Patience {
    retries: usize,
    shortest: Duration,
    longest: Duration,
    until: Instant,
}

impl Patience {
    fn of(metadata: &TableMetadata) -> Result<Self> {
        let properties = metadata.table_properties().map_err(from_iceberg)?;
        let is_set = metadata
            .properties()
            .contains_key("commit.retry.num-retries");
        let total = Duration::from_millis(properties.commit_total_retry_timeout_ms);
        Ok(Self {
            retries: match is_set {
                true => properties.commit_num_retries,
                false => RETRIES,
            },
            shortest: Duration::from_millis(properties.commit_min_retry_wait_ms),
            longest: Duration::from_millis(properties.commit_max_retry_wait_ms),
            until: Instant::now() + total,
        })
    }

    /// How long to wait before another attempt; `None` if there is none.
    fn wait(&self, attempt: usize) -> Option<Duration> {
        if attempt >= self.retries || Instant::now() >= self.until {
            return None;
        }
        // Random pauses, so that writers that have collided do not collide again.
        let spread = u32::from(Uuid::new_v4().as_bytes()[0]) + 1;
        let longest = self.shortest * (1 << attempt.min(6) as u32) / 4;
        Some(longest.min(self.longest) * spread / 256)
    }
}

impl Commit<'_> {
    pub(crate) async fn run(mut self) -> Result<Outcome> {
        let patience = Patience::of(self.metadata()?.as_ref())?;
        for attempt in 0.. {
            if let Some(outcome) = self.try_once().await? {
                return Ok(outcome);
            }
            let Some(wait) = patience.wait(attempt) else {
                break;
            };
            tokio::time::sleep(wait).await;
            if let Some(outcome) = self.catch_up().await? {
                return Ok(outcome);
            }
        }
        let message = "other writers were faster each time; try again when fewer write the table";
        Err(Error::new(ErrorKind::Conflict, message).transient())
    }

    fn metadata(&self) -> Result<TableMetadataRef> {
        let known = self.base.as_ref().map(|table| &table.known.metadata);
        let metadata = known.or(self.target.created.as_ref()).ok_or_else(|| {
            let message = "the commit has neither a table nor one to make";
            Error::new(ErrorKind::Unexpected, message)
        })?;
        Ok(Arc::clone(metadata))
    }

    /// Draws the snapshot and commits it. `None` if another writer was faster.
    async fn try_once(&self) -> Result<Option<Outcome>> {
        let metadata = self.metadata()?;
        let file_io = self.target.stores.file_io();
        let schema = self.schema(&metadata)?;
        let draft = Draft {
            file_io: file_io.clone(),
            base: self.base.as_ref(),
            metadata: &metadata,
            schema: Arc::new(schema.clone()),
            added: self.added,
            removed: &self.removed,
            deletes: self.deletes,
            facts: self.facts.summary(),
        };
        let drawn = draft.draw().await?;
        let snapshot = drawn.snapshot.snapshot_id();
        let committed = async {
            let (next, updates) = self.next(&metadata, schema, drawn.snapshot)?;
            let change = Change {
                table: &self.target.ident,
                base: self.base.as_ref().map(|table| &table.known),
                metadata: &next,
                updates: &updates,
            };
            self.catalog.commit(&change).await
        };
        match committed.await {
            Ok(Answer::Committed) => Ok(Some(Outcome::Committed {
                snapshot,
                removed: drawn.removed_files,
            })),
            Ok(Answer::Outrun) => {
                discard(&file_io, &drawn.files).await;
                Ok(None)
            }
            // The snapshot may be the table's.
            Err(error) if error.kind() == ErrorKind::CommitUnknown => Err(error),
            Err(error) => {
                discard(&file_io, &drawn.files).await;
                // If the database was locked, it has done nothing, and a retry may succeed.
                match error.kind() == ErrorKind::Conflict && error.is_transient() {
                    true => Ok(None),
                    false => Err(error),
                }
            }
        }
    }

    /// The columns of the table after the commit, with the id that they will have.
    fn schema(&self, metadata: &TableMetadata) -> Result<Schema> {
        let Some(schema) = &self.target.new_schema else {
            return Ok(metadata.current_schema().as_ref().clone());
        };
        let last = metadata
            .schemas_iter()
            .map(|schema| schema.schema_id())
            .max();
        let same = metadata.schemas_iter().find(|known| {
            let ids = |schema: &Schema| schema.identifier_field_ids().collect::<HashSet<_>>();
            known.as_struct() == schema.as_struct() && ids(known) == ids(schema)
        });
        let id = same.map_or(last.unwrap_or_default() + 1, |same| same.schema_id());
        let schema = schema.clone().into_builder().with_schema_id(id).build();
        schema.map_err(from_iceberg)
    }

    /// The table's metadata with the snapshot, and the steps to it.
    fn next(
        &self,
        metadata: &TableMetadata,
        schema: Schema,
        snapshot: iceberg::spec::Snapshot,
    ) -> Result<(TableMetadata, Vec<TableUpdate>)> {
        let location = self.base.as_ref().map(|table| table.known.location.clone());
        let property = self.facts.property(metadata, snapshot.snapshot_id());
        let id = schema.schema_id();
        let mut builder = metadata.clone().into_builder(location);
        if self.target.new_schema.is_some() {
            builder = builder.add_current_schema(schema).map_err(from_iceberg)?;
        }
        let built = builder
            .set_properties([property].into_iter().collect())
            .and_then(|builder| builder.set_branch_snapshot(snapshot, "main"))
            .and_then(|builder| builder.build())
            .map_err(from_iceberg)?;
        if built.metadata.current_schema_id() != id {
            let message = "the table's new columns got another id than its snapshot says";
            return Err(Error::new(ErrorKind::Unexpected, message));
        }
        let mut updates = match self.base {
            Some(_) => Vec::new(),
            None => self.target.making.clone(),
        };
        updates.extend(built.changes);
        Ok((built.metadata, updates))
    }

    /// Looks at what others committed since, and takes their table as the new base if nothing conflicts with it.
    async fn catch_up(&mut self) -> Result<Option<Outcome>> {
        let known: Option<Known> = self.catalog.load(&self.target.ident).await?;
        let Some(known) = known else {
            return match self.base {
                // The database was locked, and there is no other writer.
                None => Ok(None),
                Some(_) => Err(conflict("the table was removed")),
            };
        };
        let now = Table::new(&self.target.ident, known, &self.target.stores);
        if let Some(facts) = find(now.metadata(), &self.facts.load_id) {
            if facts.attempt == self.facts.attempt {
                // The answer was lost on its way, and a second try met the first.
                let snapshot = now.metadata().current_snapshot_id().unwrap_or_default();
                return Ok(Some(Outcome::Committed {
                    snapshot,
                    removed: 0,
                }));
            }
            let receipt = crate::ledger::find_receipt(now.metadata(), &self.facts.load_id);
            return Ok(receipt.map(Outcome::AlreadyLoaded));
        }
        let Some(base) = &self.base else {
            self.base = Some(self.made_by_another(now)?);
            return Ok(None);
        };
        if !now.fits_files_of(base) {
            let message = "another writer changed the table's columns or partitions meanwhile";
            return Err(conflict(message).transient());
        }
        let since = since(now.metadata(), base.metadata().current_snapshot_id());
        self.check(&now, since).await?;
        if let Removed::Files(_) = self.removed
            && let Scope::Partitions(partitions) = &self.scope
        {
            self.removed = files_of(&now, partitions).await?;
        }
        self.base = Some(now);
        Ok(None)
    }

    /// A table that another writer has made while this load was to make it: rows can be added to it if it is the same.
    fn made_by_another(&self, now: Table) -> Result<Table> {
        let message = "another writer made the table meanwhile";
        let ours = self.metadata()?;
        let (ours, theirs) = (ours.as_ref(), now.metadata());
        let is_same = ours.current_schema().as_struct() == theirs.current_schema().as_struct()
            && ours.default_partition_spec() == theirs.default_partition_spec()
            && ours.format_version() == theirs.format_version();
        match self.scope {
            Scope::Append if is_same => Ok(now),
            Scope::Whole | Scope::Partitions(_) => {
                let message = format!("{message}; overwrite it again if its rows shall go");
                Err(conflict(&message))
            }
            _ => Err(conflict(message).transient()),
        }
    }

    /// Refuses the commit if changes of other writers conflict with it. The changes may not be known.
    async fn check(&self, now: &Table, since: Option<Vec<SnapshotRef>>) -> Result<()> {
        let again = "overwrite again to replace them";
        if matches!(self.scope, Scope::Append) {
            return Ok(());
        }
        let Some(since) = since else {
            let message = "another writer rolled the table back meanwhile";
            return Err(conflict(message).transient());
        };
        for snapshot in since {
            // Files that are rewritten have the rows that they had.
            let is_rewrite = snapshot.summary().operation == Operation::Replace;
            match &self.scope {
                Scope::Append => {}
                Scope::Whole if is_rewrite && matches!(self.removed, Removed::Everything) => {}
                Scope::Whole => {
                    let message = format!("another writer changed rows meanwhile; {again}");
                    return Err(conflict(&message));
                }
                Scope::Derived => {
                    let message =
                        "another writer changed rows meanwhile, which this load has not read";
                    return Err(conflict(message).transient());
                }
                Scope::Partitions(_) if is_rewrite => {}
                Scope::Partitions(ours) => {
                    if touches(now, &snapshot, ours).await? {
                        let message = format!(
                            "another writer changed rows of the same partitions meanwhile; {again}"
                        );
                        return Err(conflict(&message));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The snapshots that led from one to the table's, or `None` if it did not lead there.
fn since(now: &TableMetadata, then: Option<i64>) -> Option<Vec<SnapshotRef>> {
    let mut snapshots = Vec::new();
    for snapshot in ancestry(now) {
        if Some(snapshot.snapshot_id()) == then {
            return Some(snapshots);
        }
        snapshots.push(Arc::clone(snapshot));
    }
    // The first of all had none before it.
    let is_first = snapshots
        .last()
        .is_none_or(|first| first.parent_snapshot_id().is_none());
    (then.is_none() && is_first).then_some(snapshots)
}

/// Whether a snapshot has changed rows of these partitions.
async fn touches(table: &Table, snapshot: &SnapshotRef, ours: &HashSet<Struct>) -> Result<bool> {
    let id = snapshot.snapshot_id();
    for manifest in table.manifests_of(snapshot).await? {
        if manifest.added_snapshot_id != id {
            continue;
        }
        let loaded = manifest.load_manifest(&table.file_io()).await;
        let loaded = loaded.map_err(from_iceberg)?;
        let spec_id = table.metadata().default_partition_spec_id();
        let changed = loaded.entries().iter().any(|entry| {
            let is_known = manifest.partition_spec_id == spec_id;
            entry.snapshot_id() == Some(id)
                && (!is_known || ours.contains(entry.data_file().partition()))
        });
        if changed {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The data files of these partitions.
pub(crate) async fn files_of(table: &Table, partitions: &HashSet<Struct>) -> Result<Removed> {
    let spec_id = table.metadata().default_partition_spec_id();
    let mut paths = HashSet::new();
    for file in table.files().await? {
        if file.spec_id != spec_id {
            let message = "the table has files that are partitioned in another way than it is now; overwrite it as a whole, or set `replace_where`";
            return Err(Error::new(ErrorKind::Unsupported, message).with("file", &file.path));
        }
        if partitions.contains(file.entry.data_file().partition()) {
            paths.insert(file.path);
        }
    }
    Ok(Removed::Files(paths))
}

fn conflict(what: &str) -> Error {
    Error::new(ErrorKind::Conflict, what)
}
