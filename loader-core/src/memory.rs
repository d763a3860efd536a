//! The reference implementation: a store in this process's memory, with every mode and every guarantee.
//!
//! It is what the documentation's examples load into, what the conformance suite is tried on first, and a place to look up what
//! a guarantee means. Stores are found by name, so that a loader and a source can use the same one.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use arrow_array::{Array, RecordBatch};
use arrow_row::{OwnedRow, RowConverter, SortField};
use arrow_schema::{DataType, FieldRef, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::interleave::interleave;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::schema::ColumnMapping;
use crate::{
    Atomicity, BatchStream, Begun, Capabilities, Checksums, ColumnChecksum, DataLoader, DataSource,
    Error, ErrorKind, KeyCounts, LoadRequest, LoadSession, LoadState, Mode, Plan, Prepared, Query,
    Receipt, Rejects, Result, TargetColumns, TypeSupport,
};

/// One table: its schema and its batches.
#[derive(Debug, Clone)]
struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

#[derive(Debug, Default)]
struct Store {
    tables: HashMap<String, Arc<Table>>,
    /// The receipts of loads, by target and id.
    loads: BTreeMap<(String, String), Receipt>,
}

type SharedStore = Arc<Mutex<Store>>;

static STORES: LazyLock<Mutex<HashMap<String, SharedStore>>> = LazyLock::new(Mutex::default);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(config: &MemoryConfig) -> SharedStore {
    Arc::clone(lock(&STORES).entry(config.database.clone()).or_default())
}

/// Which store.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryConfig {
    /// The name of the store; stores live as long as the process.
    pub database: String,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            database: "default".into(),
        }
    }
}

/// There are no options of its own.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryOptions {}

/// Loads into memory.
#[derive(Debug)]
pub struct MemoryLoader {
    store: SharedStore,
}

impl DataLoader for MemoryLoader {
    const NAME: &'static str = "memory";
    const URL_SCHEMES: &'static [&'static str] = &["memory"];
    const CAPABILITIES: Capabilities = Capabilities::new(&Mode::ALL, Atomicity::Load)
        .create_target()
        .schema_evolution()
        .load_ids()
        .skip_rows()
        .checksum()
        .change_limits();

    type Config = MemoryConfig;
    type Options = MemoryOptions;
    type Resolved = MemoryTarget;
    type Session = MemorySession;

    async fn connect(config: MemoryConfig) -> Result<Self> {
        Ok(Self {
            store: open(&config),
        })
    }

    fn supports_type(_: &DataType) -> TypeSupport {
        TypeSupport::Exact
    }

    async fn resolve(&self, request: &LoadRequest<MemoryOptions>) -> Result<MemoryTarget> {
        let table = self.table(&request.target);
        resolve(request, table.as_deref())?;
        Ok(MemoryTarget(table))
    }

    fn plan(request: &LoadRequest<MemoryOptions>, found: &MemoryTarget) -> Plan {
        let mut plan = Plan::of::<Self>(request);
        plan.target_exists = found.0.is_some();
        plan
    }

    async fn begin(
        &self,
        request: LoadRequest<MemoryOptions>,
        found: MemoryTarget,
        rejects: Rejects,
    ) -> Result<Begun<MemorySession>> {
        let store = lock(&self.store);
        if let Some(receipt) = store.loads.get(&recorded_as(&request)) {
            return Ok(Begun::AlreadyLoaded(receipt.clone()));
        }
        let schema = |table: Option<&Arc<Table>>| table.map(|table| Arc::clone(&table.schema));
        if schema(store.tables.get(&request.target)) != schema(found.0.as_ref()) {
            let message = format!("`{}` changed while the load began", request.target);
            return Err(Error::new(ErrorKind::Conflict, message).transient());
        }
        Ok(Begun::Session(MemorySession {
            store: Arc::clone(&self.store),
            request,
            rejects,
            staged: Vec::new(),
            rows: 0,
        }))
    }

    async fn describe(&self, target: &str) -> Result<Option<TargetColumns>> {
        let table = self.table(target);
        Ok(table.map(|table| TargetColumns::of_schema(&table.schema)))
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        let key = (target.to_owned(), load_id.to_owned());
        let found = lock(&self.store).loads.get(&key).cloned();
        Ok(found.map_or(LoadState::NotCommitted, LoadState::committed))
    }
}

/// The table as it was found.
#[derive(Debug)]
pub struct MemoryTarget(Option<Arc<Table>>);

impl MemoryLoader {
    fn table(&self, name: &str) -> Option<Arc<Table>> {
        lock(&self.store).tables.get(name).cloned()
    }
}

fn recorded_as<O>(request: &LoadRequest<O>) -> (String, String) {
    (request.target.clone(), request.load_id.clone())
}

/// How the columns of a load fill the columns that the table will have.
fn resolve(request: &LoadRequest<MemoryOptions>, table: Option<&Table>) -> Result<ColumnMapping> {
    let create = request.must_create(table.is_some())?;
    let evolve = request.load.schema_evolution;
    let replace = create || (request.load.mode == Mode::Overwrite && evolve);
    let target = match table {
        Some(table) if !replace => &table.schema,
        _ => &request.schema,
    };
    ColumnMapping::by_name(&request.schema, target, evolve, |load, target| {
        load == target
    })
}

/// One load into memory: batches are staged until the commit.
#[derive(Debug)]
pub struct MemorySession {
    store: SharedStore,
    request: LoadRequest<MemoryOptions>,
    rejects: Rejects,
    staged: Vec<RecordBatch>,
    rows: u64,
}

impl MemorySession {
    /// Takes the rows of a batch one by one, and sets aside those that the table refuses.
    fn write_rows(
        &mut self,
        batch: &RecordBatch,
        mapping: &ColumnMapping,
        first_row: u64,
    ) -> Result<()> {
        for index in 0..batch.num_rows() {
            let (row, number) = (batch.slice(index, 1), first_row + index as u64);
            match mapping.apply(&row, number) {
                Ok(_) => self.staged.push(row),
                Err(error) => self
                    .rejects
                    .set_aside(&row, number, error.message(), None)?,
            }
        }
        Ok(())
    }
}

impl LoadSession for MemorySession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let table = lock(&self.store).tables.get(&self.request.target).cloned();
        let mapping = resolve(&self.request, table.as_deref())?;
        let first_row = self.rows;
        self.rows += batch.num_rows() as u64;
        match mapping.apply(batch, first_row) {
            Ok(_) => self.staged.push(batch.clone()),
            Err(_) if self.rejects.accepts() => self.write_rows(batch, &mapping, first_row)?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        Ok(Prepared::rows(
            self.staged
                .iter()
                .map(|batch| batch.num_rows() as u64)
                .sum(),
        ))
    }

    async fn checksums(&mut self) -> Result<Vec<ColumnChecksum>> {
        let mut checksums = Checksums::new(&self.request.schema);
        for batch in &self.staged {
            checksums.add(batch)?;
        }
        Ok(checksums.finish())
    }

    async fn commit(self) -> Result<Receipt> {
        let mut store = lock(&self.store);
        let id = recorded_as(&self.request);
        if let Some(found) = store.loads.get(&id) {
            return Ok(found.clone().repeated());
        }
        let table = store.tables.get(&self.request.target).cloned();
        let mapping = resolve(&self.request, table.as_deref())?;
        let mut first_row = 0;
        let mut new = Vec::with_capacity(self.staged.len());
        for batch in &self.staged {
            new.push(mapping.apply(batch, first_row)?);
            first_row += batch.num_rows() as u64;
        }
        let mut receipt = Receipt::rows(first_row);
        let old = table.map_or_else(
            || Ok(Vec::new()),
            |table| widen(&table, &mapping, &self.request),
        )?;
        let old_rows: u64 = old.iter().map(|batch| batch.num_rows() as u64).sum();
        let batches = match self.request.load.mode {
            Mode::Create | Mode::Append => [old, new].concat(),
            Mode::Overwrite => {
                self.request.load.limits().check(0, old_rows, old_rows)?;
                new
            }
            Mode::Upsert => {
                let loaded =
                    |field: &FieldRef| self.request.schema.column_with_name(field.name()).is_some();
                let loaded: Vec<bool> = mapping.schema.fields().iter().map(loaded).collect();
                let keys = &self.request.load.keys;
                let merged = merge(&mapping.schema, &old, (&new, &loaded), keys)?;
                self.request.load.limits().check(
                    merged.counts.updated,
                    merged.deleted,
                    old_rows,
                )?;
                receipt.keys = Some(merged.counts);
                merged.batches
            }
        };
        store.tables.insert(
            self.request.target.clone(),
            Arc::new(Table {
                schema: mapping.schema,
                batches,
            }),
        );
        receipt.rows_rejected = self.rejects.rows();
        let receipt = self.request.recorded_in(receipt);
        store.loads.insert(id, receipt.clone());
        Ok(receipt)
    }

    async fn abort(self) -> Result<()> {
        Ok(())
    }
}

/// The existing rows, with nulls in the columns that the load adds.
fn widen(
    table: &Table,
    mapping: &ColumnMapping,
    request: &LoadRequest<MemoryOptions>,
) -> Result<Vec<RecordBatch>> {
    if request.load.mode == Mode::Overwrite {
        return Ok(table.batches.clone());
    }
    let onto =
        ColumnMapping::by_name(&table.schema, &mapping.schema, false, |old, new| old == new)?;
    table
        .batches
        .iter()
        .map(|batch| onto.apply(batch, 0))
        .collect()
}

/// A table after an upsert, and the counts.
struct Merged {
    batches: Vec<RecordBatch>,
    counts: KeyCounts,
    /// Existing rows beside another of their key, which one row of the load replaces together.
    deleted: u64,
}

/// Merges old rows with new ones. Of rows with equal keys the last one stays, at the position of the first. Columns that are not
/// `loaded` keep what the first has in them.
fn merge(
    schema: &SchemaRef,
    old: &[RecordBatch],
    (new, loaded): (&[RecordBatch], &[bool]),
    keys: &[String],
) -> Result<Merged> {
    let keys = crate::keys::key_indices(schema, keys)?;
    let types = keys
        .iter()
        .map(|index| SortField::new(schema.field(*index).data_type().clone()))
        .collect();
    let converter = RowConverter::new(types)?;
    let mut counts = KeyCounts::default();
    let mut deleted = 0;
    let mut places: HashMap<OwnedRow, Vec<usize>> = HashMap::new();
    // Where the values of each row are: those that are loaded, and the others.
    type Place = (usize, usize);
    let mut rows: Vec<Option<(Place, Place)>> = Vec::new();
    let batches: Vec<&RecordBatch> = old.iter().chain(new).collect();
    for (number, batch) in batches.iter().enumerate() {
        let is_new = number >= old.len();
        if is_new && let Some(with_keys) = crate::keys::rows_with_keys(batch, &keys) {
            counts.null += (with_keys.len() - with_keys.count_set_bits()) as u64;
        }
        let columns: Vec<_> = keys
            .iter()
            .map(|index| Arc::clone(batch.column(*index)))
            .collect();
        for (row, key) in converter.convert_columns(&columns)?.iter().enumerate() {
            let places = places.entry(key.owned()).or_default();
            match places.first() {
                Some(first) if is_new => {
                    match rows[*first] {
                        Some(((before, _), _)) if before >= old.len() => counts.duplicate += 1,
                        _ => counts.updated += 1,
                    }
                    let kept = rows[*first].map_or((number, row), |(_, kept)| kept);
                    rows[*first] = Some(((number, row), kept));
                    for other in places.drain(1..) {
                        rows[other] = None;
                        deleted += 1;
                    }
                }
                _ => {
                    counts.inserted += u64::from(is_new);
                    places.push(rows.len());
                    rows.push(Some(((number, row), (number, row))));
                }
            }
        }
    }
    let (rows, kept): (Vec<Place>, Vec<Place>) = rows.into_iter().flatten().unzip();
    let batches = if rows.is_empty() {
        Vec::new()
    } else {
        let column = |(index, loaded): (usize, &bool)| {
            let columns: Vec<&dyn Array> = batches
                .iter()
                .map(|batch| batch.column(index).as_ref())
                .collect();
            interleave(&columns, if *loaded { &rows } else { &kept })
        };
        let columns = loaded.iter().enumerate().map(column);
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        vec![RecordBatch::try_new(Arc::clone(schema), columns)?]
    };
    Ok(Merged {
        batches,
        counts,
        deleted,
    })
}

/// Queries memory. Its whole SQL is `SELECT * FROM table`, or a table's name.
#[derive(Debug)]
pub struct MemorySource {
    store: SharedStore,
}

impl DataSource for MemorySource {
    const NAME: &'static str = "memory";
    const URL_SCHEMES: &'static [&'static str] = &["memory"];

    type Config = MemoryConfig;

    async fn connect(config: MemoryConfig) -> Result<Self> {
        Ok(Self {
            store: open(&config),
        })
    }

    async fn query(&self, query: &Query) -> Result<BatchStream> {
        let text = query.sql.trim().trim_end_matches(';').trim();
        let words: Vec<&str> = text.split_whitespace().collect();
        let name = match words.as_slice() {
            [select, "*", from, table]
                if select.eq_ignore_ascii_case("select") && from.eq_ignore_ascii_case("from") =>
            {
                table
            }
            [table] => table,
            _ => {
                let message = "the memory source understands `SELECT * FROM table` only";
                return Err(Error::new(ErrorKind::Query, message).with("sql", text));
            }
        };
        let name = name.trim_matches('"');
        let table = lock(&self.store).tables.get(name).cloned();
        let table = table.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("there is no table `{name}` in memory"),
            )
        })?;
        Ok(BatchStream::from_batches(
            Arc::clone(&table.schema),
            table.batches.clone(),
        ))
    }
}

/// Reads a whole table, as one batch: for tests and examples. `None` if there is none of this name.
pub fn read_table(database: &str, table: &str) -> Option<RecordBatch> {
    let store = Arc::clone(lock(&STORES).get(database)?);
    let table = lock(&store).tables.get(table).cloned()?;
    concat_batches(&table.schema, &table.batches).ok()
}

/// Puts a table into memory without a load: what a [`MemorySource`] will find.
pub fn put_table(database: &str, table: &str, schema: &SchemaRef, batches: Vec<RecordBatch>) {
    let store = open(&MemoryConfig {
        database: database.into(),
    });
    let schema = Arc::new(Schema::clone(schema));
    lock(&store)
        .tables
        .insert(table.into(), Arc::new(Table { schema, batches }));
}

crate::register_loader!(MemoryLoader);
crate::register_source!(MemorySource);
