//! The memory loader, broken in one way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use arrowload_core::memory::{
    MemoryConfig, MemoryLoader, MemoryOptions, MemorySession, MemoryTarget, put_table, read_table,
};
use arrowload_core::{
    Begun, Capabilities, Checksums, ColumnChecksum, DataLoader, Error, ErrorKind, LoadRequest,
    LoadSession, LoadState, Mode, Plan, Prepared, Receipt, Rejects, Result, Secret, TargetColumns,
    TypeSupport,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::fault::Fault;
use super::values;

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    database: String,
    fault: Fault,
    password: Option<Secret>,
}

#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {}

pub(super) struct Mutant {
    inner: MemoryLoader,
    database: String,
    fault: Fault,
    /// How many loads are under way.
    busy: Arc<()>,
}

pub(super) struct Session {
    inner: Option<MemorySession>,
    fault: Fault,
    database: String,
    request: LoadRequest<MemoryOptions>,
    /// The load_id that was asked for.
    load_id: String,
    /// What was there at the beginning.
    before: Option<RecordBatch>,
    sent: Checksums,
    rows: u64,
    seen: Vec<RecordBatch>,
    rejects: Rejects,
    _busy: Arc<()>,
}

/// What [`Fault::LooksForLoadIdsOnlyAtFirst`] finds, by store, target and load_id.
static LEDGER: LazyLock<Mutex<BTreeMap<[String; 3], u64>>> = LazyLock::new(Mutex::default);

fn unique(load_id: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("{load_id}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

impl DataLoader for Mutant {
    const NAME: &'static str = "mutant";
    const CAPABILITIES: Capabilities = MemoryLoader::CAPABILITIES;
    type Config = Config;
    type Options = Options;
    type Resolved = Resolved;
    type Session = Session;

    async fn connect(config: Config) -> Result<Self> {
        if let Some(password) = &config.password {
            let shown = if config.fault == Fault::ShowsItsSecret {
                password.expose()
            } else {
                "[secret]"
            };
            return Err(Error::new(
                ErrorKind::Authentication,
                format!("the password {shown} is wrong"),
            ));
        }
        let memory = MemoryConfig {
            database: config.database.clone(),
        };
        Ok(Self {
            inner: MemoryLoader::connect(memory).await?,
            database: config.database,
            fault: config.fault,
            busy: Arc::new(()),
        })
    }

    async fn resolve(&self, request: &LoadRequest<Options>) -> Result<Resolved> {
        let load_id = request.load_id.clone();
        let before = read_table(&self.database, &request.target);
        let there = before.as_ref().map(RecordBatch::schema);
        let request = self.changed(
            request.clone().with_options(MemoryOptions::default()),
            there,
        )?;
        if self.fault == Fault::MakesTheTargetInItsPlan && before.is_none() {
            put_table(&self.database, &request.target, &request.schema, vec![]);
        }
        if self.fault == Fault::PlansOnlyWhatIsMissing && before.is_some() {
            return Err(Error::new(
                ErrorKind::Unexpected,
                "there is no plan for a target that is there",
            ));
        }
        let found = match (self.fault, self.inner.resolve(&request).await) {
            (Fault::RefusesOnlyWhenItBegins, Err(_)) => None,
            (_, found) => Some(found?),
        };
        Ok(Resolved {
            request,
            load_id,
            before,
            found,
            fault: self.fault,
        })
    }

    fn plan(request: &LoadRequest<Options>, resolved: &Resolved) -> Plan {
        let mut plan = Plan::of::<Self>(request);
        plan.target_exists = resolved.before.is_some();
        match resolved.fault {
            Fault::PlansToMakeWhatIsThere => {
                plan.ddl.push(format!("CREATE TABLE {}", request.target))
            }
            Fault::PromisesMoreThanItDeclares => plan.guarantees.parallelism = 4,
            Fault::NeverKeepsWhatItDeclares => plan.guarantees.checksum = false,
            _ => {}
        }
        plan
    }

    async fn begin(
        &self,
        _: LoadRequest<Options>,
        resolved: Resolved,
        rejects: Rejects,
    ) -> Result<Begun<Session>> {
        let Resolved {
            request,
            load_id,
            before,
            found,
            ..
        } = resolved;
        let Some(found) = found else {
            return Err(Error::new(ErrorKind::Unsupported, "this cannot be begun"));
        };
        if self.fault == Fault::ServesOneLoadAtATime && Arc::strong_count(&self.busy) > 1 {
            return Err(Error::new(ErrorKind::Conflict, "another load is under way"));
        }
        let sent = Checksums::new(&request.schema);
        let inner = match self
            .inner
            .begin(request.clone(), found, rejects.clone())
            .await?
        {
            Begun::Session(session) => session,
            Begun::AlreadyLoaded(receipt) => return Ok(Begun::AlreadyLoaded(receipt)),
        };
        if self.fault == Fault::MakesTheTargetWhenItBegins && before.is_none() {
            put_table(&self.database, &request.target, &request.schema, vec![]);
        }
        Ok(Begun::Session(Session {
            inner: Some(inner),
            fault: self.fault,
            database: self.database.clone(),
            request,
            load_id,
            before,
            sent,
            rows: 0,
            seen: Vec::new(),
            rejects,
            _busy: Arc::clone(&self.busy),
        }))
    }

    fn supports_type(_: &DataType) -> TypeSupport {
        TypeSupport::Exact
    }

    async fn describe(&self, target: &str) -> Result<Option<TargetColumns>> {
        let described = self.inner.describe(target).await?;
        Ok(described.map(|mut described| {
            if self.fault == Fault::DescribesOtherColumns {
                described.columns.reverse();
            }
            described
        }))
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        match (self.fault, self.inner.find_load(target, load_id).await?) {
            (Fault::ForgetsLoadIds, _) => Ok(LoadState::NotCommitted),
            (Fault::LooksForLoadIdsOnlyAtFirst, _) => {
                let key = [self.database.clone(), target.to_owned(), load_id.to_owned()];
                let found = LEDGER
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get(&key)
                    .copied();
                Ok(found.map_or(LoadState::NotCommitted, |rows| {
                    LoadState::committed(Receipt::rows(rows))
                }))
            }
            (Fault::ForgetsHowManyRowsItSetAside, LoadState::Committed { receipt, .. }) => {
                Ok(LoadState::committed(Receipt::rows(receipt.rows)))
            }
            (_, state) => Ok(state),
        }
    }

    async fn ping(&self) -> Result<()> {
        match self.fault {
            Fault::DoesNotAnswerPings => Err(Error::new(ErrorKind::Connection, "no answer")),
            _ => Ok(()),
        }
    }
}

impl Mutant {
    /// The request as the mutant understands it.
    fn changed(
        &self,
        mut request: LoadRequest<MemoryOptions>,
        there: Option<arrow_schema::SchemaRef>,
    ) -> Result<LoadRequest<MemoryOptions>> {
        let load = &mut request.load;
        match self.fault {
            Fault::ForgetsLoadIds | Fault::LooksForLoadIdsOnlyAtFirst => {
                request.load_id = unique(&request.load_id)
            }
            Fault::AppendsWhereItShouldOverwrite
                if load.mode == Mode::Overwrite && there.is_some() =>
            {
                load.mode = Mode::Append
            }
            Fault::AppendsWhereItShouldUpsert if load.mode == Mode::Upsert => {
                load.mode = Mode::Append
            }
            Fault::OverwritesWhereItShouldAppend if load.mode == Mode::Append => {
                load.mode = Mode::Overwrite
            }
            Fault::CreatesOverWhatIsThere if load.mode == Mode::Create => {
                load.mode = Mode::Overwrite
            }
            Fault::MakesATargetThatItMayNotCreate => load.create_table = true,
            Fault::LooksAtTheFirstKeyOnly => load.keys.truncate(1),
            Fault::IgnoresLimits => (load.max_updates, load.max_deletes) = (None, None),
            Fault::ForgetsDefinitions => request.definition = None,
            Fault::ForgetsMarks => request.mark = None,
            Fault::CutsTargetNames => {
                request.target = request
                    .target
                    .split(['"', ';', '\''])
                    .next()
                    .unwrap_or_default()
                    .into()
            }
            _ => {}
        }
        let upserts = request.load.mode == Mode::Upsert;
        match (self.fault, &there) {
            (Fault::DropsNewColumns, Some(there)) => {
                let fields = request
                    .schema
                    .fields()
                    .iter()
                    .filter(|field| there.field_with_name(field.name()).is_ok());
                request.schema = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
            }
            (Fault::EmptiesColumnsThatAnUpsertLacks, Some(there)) if upserts => {
                let lacks =
                    |field: &&Arc<Field>| request.schema.column_with_name(field.name()).is_none();
                let lacked = there.fields().iter().filter(lacks).cloned();
                let fields = request.schema.fields().iter().cloned().chain(lacked);
                request.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            }
            (Fault::CastsToTheTargetsTypes, Some(there)) => {
                let cast = |field: &Arc<Field>| match there.field_with_name(field.name()) {
                    Ok(known) => Field::new(field.name(), known.data_type().clone(), true),
                    Err(_) => field.as_ref().clone(),
                };
                request.schema = Arc::new(Schema::new(
                    request.schema.fields().iter().map(cast).collect::<Vec<_>>(),
                ));
            }
            (Fault::WantsColumnsInTheTargetsOrder, Some(there))
                if there
                    .fields()
                    .iter()
                    .zip(request.schema.fields())
                    .any(|(there, new)| there.name() != new.name()) =>
            {
                return Err(Error::new(
                    ErrorKind::SchemaMismatch,
                    "the columns are in another order",
                ));
            }
            _ => {}
        }
        Ok(request)
    }
}

/// The target as the mutant found it.
pub(super) struct Resolved {
    request: LoadRequest<MemoryOptions>,
    /// The load_id that was asked for.
    load_id: String,
    /// What was there.
    before: Option<RecordBatch>,
    found: Option<MemoryTarget>,
    fault: Fault,
}

impl Session {
    /// Whether it makes columns that memory would refuse, and so puts them there itself.
    fn is_odd(&self) -> bool {
        [Fault::ForgetsTimeZones, Fault::FoldsTheCaseOfColumns].contains(&self.fault)
    }

    /// Puts what was seen into the table, beside what is there.
    fn publish(&self) {
        let there = read_table(&self.database, &self.request.target);
        let schema = self
            .seen
            .first()
            .map_or_else(|| Arc::clone(&self.request.schema), RecordBatch::schema);
        put_table(
            &self.database,
            &self.request.target,
            &schema,
            there.into_iter().chain(self.seen.iter().cloned()).collect(),
        );
    }
}

impl LoadSession for Session {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.sent.add(batch)?;
        if self.fault == Fault::SetsAsideMoreThanIsRefused && self.rejects.accepts() {
            return self
                .rejects
                .set_aside(batch, self.rows, "one of these is too large", None);
        }
        self.rows += batch.num_rows() as u64;
        let broken = values::broken(self.fault, batch, &self.request.schema, self.seen.first())?;
        if let Some(most) = self.fault.holds() {
            // Of its rows there are none but those that are held.
            self.seen.push(broken);
            self.seen.drain(..self.seen.len().saturating_sub(most));
            return Ok(());
        }
        self.seen.push(broken.clone());
        match self.fault {
            Fault::PublishesWhileItWrites => put_table(
                &self.database,
                &self.request.target,
                &broken.schema(),
                self.seen.clone(),
            ),
            Fault::KeepsTheFirstRowOfAnUpsert => return Ok(()),
            Fault::LosesRowsAfterHalfAMillion if self.rows > 500_000 => return Ok(()),
            Fault::ServesOneLoadAtATime
            | Fault::OverwritesLoadsBesideIt
            | Fault::LooksForLoadIdsOnlyAtFirst => {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
            _ if self.is_odd() => return Ok(()),
            _ => {}
        }
        let before = self.rejects.rows();
        if let Some(inner) = &mut self.inner {
            match inner.write(&broken).await {
                Err(_) if self.fault == Fault::LosesWhatTheTableRefuses => {}
                outcome => outcome?,
            }
        }
        self.rows -= self.rejects.rows() - before;
        Ok(())
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        if self.fault == Fault::KeepsTheFirstRowOfAnUpsert
            && let Some(inner) = &mut self.inner
        {
            for batch in self.seen.drain(..).rev() {
                for row in (0..batch.num_rows()).rev() {
                    inner.write(&batch.slice(row, 1)).await?;
                }
            }
        }
        Ok(Prepared::rows(self.rows))
    }

    async fn checksums(&mut self) -> Result<Vec<ColumnChecksum>> {
        let nothing = || Checksums::new(&self.request.schema);
        Ok(if self.fault == Fault::HasChecksumsOfNothing {
            nothing()
        } else {
            self.sent.clone()
        }
        .finish())
    }

    async fn commit(mut self) -> Result<Receipt> {
        let Some(inner) = self.inner.take() else {
            return Err(Error::new(ErrorKind::Unexpected, "committed twice"));
        };
        if self.fault == Fault::MakesNoTargetWithoutRows && self.rows == 0 {
            return Ok(Receipt::rows(0));
        }
        let mut receipt = inner.commit().await?;
        receipt.rows = self.rows + u64::from(self.fault == Fault::ReportsOtherRowsThanItHas);
        match (self.fault, &mut receipt.keys) {
            (Fault::CountsNoNullKeys, Some(keys)) => keys.null = 0,
            (Fault::CountsKeysOnlyOfNewTargets, keys) if self.before.is_some() => *keys = None,
            _ => {}
        }
        let (database, target) = (&self.database, &self.request.target);
        match (self.fault, &self.before, self.seen.first()) {
            (Fault::LooksForLoadIdsOnlyAtFirst, ..) => {
                let key = [database.clone(), target.clone(), self.load_id.clone()];
                LEDGER
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(key, receipt.rows);
            }
            (Fault::ReplacesOneOfSeveralEqualKeys, Some(before), _)
                if self.request.load.mode == Mode::Upsert =>
            {
                // The last row that was there comes back beside the one that replaced it.
                let last = before.slice(before.num_rows().saturating_sub(1), 1);
                let now = read_table(database, target).into_iter().chain([last]);
                put_table(database, target, &before.schema(), now.collect());
            }
            (Fault::OverwritesLoadsBesideIt, Some(before), _) => {
                put_table(
                    database,
                    target,
                    &before.schema(),
                    [vec![before.clone()], self.seen.clone()].concat(),
                );
            }
            (_, _, Some(first)) if self.is_odd() && !receipt.already_loaded => {
                put_table(database, target, &first.schema(), self.seen.clone())
            }
            _ => {}
        }
        Ok(receipt)
    }

    async fn abort(mut self) -> Result<()> {
        self.inner = None;
        if self.fault == Fault::PublishesWhenItGivesUp {
            self.publish();
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.fault == Fault::PublishesWhenItIsDropped
            && self.inner.is_some()
            && !self.seen.is_empty()
        {
            self.publish();
        }
    }
}
