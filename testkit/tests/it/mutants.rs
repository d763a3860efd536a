//! Loaders that are broken on purpose, one way each: the suite names the promise that each breaks.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array, new_null_array};
use arrow_cast::cast;
use arrow_schema::{DataType, Schema, TimeUnit};
use arrowload_core::memory::{MemoryConfig, MemoryLoader, MemoryOptions, MemorySession, put_table, read_table};
use arrowload_core::{
    Capabilities, Checksums, ColumnChecksum, DataLoader, Error, ErrorKind, LoadRequest, LoadSession, LoadState, LoaderDescriptor, Mode,
    Plan, Prepared, Receipt, Rejects, Result, Secret, TypeSupport,
};
use arrowload_testkit::conformance;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::memory::InMemory;

/// The mutants, each with the beginning of a case that must fail.
const MUTANTS: [(&str, &str); 25] = [
    ("breaks nothing", ""),
    ("loses the last row of each batch", "many batches arrive whole"),
    ("turns nulls into values", "type Int64"),
    ("publishes while it writes", "a load under way is not seen"),
    ("forgets load ids", "repeating a load_id writes nothing"),
    ("appends where it should overwrite", "overwrite replaces all rows"),
    ("keeps the first row of an upsert", "the last row of an upsert wins"),
    ("cuts long text", "type Utf8"),
    ("turns large unsigned integers negative", "type UInt64"),
    ("cuts nanoseconds", "type Timestamp(ns)"),
    ("forgets time zones", "type Timestamp(ns, UTC)"),
    ("turns empty text into null", "type Utf8"),
    ("reports other rows than it has", "each mode makes a missing target"),
    ("shows its secret", "secrets do not show"),
    ("ignores where slices begin", "slices count only what they show"),
    ("refuses a type after it promised it", "type List(Int32)"),
    ("makes the target in its plan", "a plan changes nothing"),
    ("publishes when it is dropped", "a load that is dropped publishes nothing"),
    ("creates over what is there", "create refuses a target that is there"),
    ("folds the case of columns", "odd column names"),
    ("drops new columns without a word", "a new column needs schema_evolution"),
    ("makes a target that it may not create", "each mode without create_table"),
    ("has checksums of nothing", "checksums agree"),
    ("sets aside more than is refused", "rows that are refused are set aside"),
    ("holds the whole load in memory", "memory stays bounded"),
];

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
struct Config {
    database: String,
    password: Option<Secret>,
}

struct Mutant<const N: usize> {
    inner: MemoryLoader,
    database: String,
}

struct Session<const N: usize> {
    inner: Option<MemorySession>,
    sent: Checksums,
    target: String,
    database: String,
    schema: Arc<Schema>,
    rows: u64,
    seen: Vec<RecordBatch>,
    rejects: Rejects,
}

fn is<const N: usize>(name: &str) -> bool {
    MUTANTS[N].0 == name
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ClosedOptions {}

impl<const N: usize> DataLoader for Mutant<N> {
    const NAME: &'static str = "mutant";
    const CAPABILITIES: Capabilities = MemoryLoader::CAPABILITIES;
    type Config = Config;
    type Options = ClosedOptions;
    type Session = Session<N>;

    async fn connect(config: Config) -> Result<Self> {
        if let Some(password) = &config.password {
            let shown = if is::<N>("shows its secret") { password.expose() } else { "[secret]" };
            return Err(Error::new(ErrorKind::Authentication, format!("the password {shown} is wrong")));
        }
        let memory = MemoryConfig { database: config.database.clone() };
        Ok(Self { inner: MemoryLoader::connect(memory).await?, database: config.database })
    }

    async fn begin(&self, request: LoadRequest<ClosedOptions>) -> Result<Session<N>> {
        let mut request = request.with_options(MemoryOptions::default());
        if is::<N>("forgets load ids") {
            request.load_id = format!("{}-{:p}", request.load_id, &raw const request);
            request.load_id.push_str(&std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos().to_string());
        }
        let there = read_table(&self.database, &request.target);
        if is::<N>("appends where it should overwrite") && request.mode == Mode::Overwrite && there.is_some() {
            request.mode = Mode::Append;
        }
        if is::<N>("creates over what is there") && request.mode == Mode::Create {
            request.mode = Mode::Overwrite;
        }
        if is::<N>("makes a target that it may not create") {
            request.create_table = true;
        }
        let schema = Arc::clone(&request.schema);
        if is::<N>("drops new columns without a word")
            && let Some(there) = &there
        {
            let known: Vec<usize> =
                (0..schema.fields().len()).filter(|index| there.column_by_name(schema.field(*index).name()).is_some()).collect();
            request.schema = Arc::new(schema.project(&known)?);
        }
        let (target, sent, database) = (request.target.clone(), Checksums::new(&schema), self.database.clone());
        let rejects = request.rejects.clone();
        Ok(Session { inner: Some(self.inner.begin(request).await?), sent, target, database, schema, rows: 0, seen: Vec::new(), rejects })
    }

    fn supports_type(_: &DataType) -> TypeSupport {
        TypeSupport::Exact
    }

    async fn plan(&self, request: &LoadRequest<ClosedOptions>) -> Result<Plan> {
        let mut plan = Plan::from_types(&request.schema, Self::supports_type);
        plan.target_exists = read_table(&self.database, &request.target).is_some();
        if is::<N>("makes the target in its plan") && !plan.target_exists {
            put_table(&self.database, &request.target, &request.schema, vec![]);
        }
        Ok(plan)
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        if is::<N>("forgets load ids") {
            return Ok(LoadState::NotCommitted);
        }
        self.inner.find_load(target, load_id).await
    }
}

/// Changes each column of a batch.
fn each(batch: &RecordBatch, change: impl Fn(&ArrayRef) -> ArrayRef) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(batch.schema(), batch.columns().iter().map(change).collect())?)
}

fn texts(array: &ArrayRef, change: impl Fn(&str) -> Option<String>) -> ArrayRef {
    match array.as_string_opt::<i32>() {
        Some(texts) => Arc::new(texts.iter().map(|text| text.and_then(&change)).collect::<StringArray>()),
        None => Arc::clone(array),
    }
}

impl<const N: usize> Session<N> {
    /// Whether it makes columns that memory would refuse, and so puts them there itself.
    fn is_odd(&self) -> bool {
        is::<N>("forgets time zones") || is::<N>("folds the case of columns")
    }

    fn broken(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        match MUTANTS[N].0 {
            "loses the last row of each batch" => Ok(batch.slice(0, batch.num_rows().saturating_sub(1))),
            "turns nulls into values" => each(batch, |array| match array.as_primitive_opt::<Int64Type>() {
                Some(numbers) => Arc::new(numbers.iter().map(|number| Some(number.unwrap_or(0))).collect::<Int64Array>()),
                None => Arc::clone(array),
            }),
            "cuts long text" => each(batch, |array| texts(array, |text| Some(text.chars().take(255).collect()))),
            "turns empty text into null" => each(batch, |array| texts(array, |text| (!text.is_empty()).then(|| text.to_owned()))),
            "turns large unsigned integers negative" => each(batch, |array| match array.data_type() {
                DataType::UInt64 => {
                    let cut = array.as_primitive::<arrow_array::types::UInt64Type>().iter().map(|number| number.map(|number| number >> 1));
                    Arc::new(cut.collect::<UInt64Array>())
                }
                _ => Arc::clone(array),
            }),
            "cuts nanoseconds" => each(batch, |array| match array.data_type() {
                DataType::Timestamp(TimeUnit::Nanosecond, None) => Arc::new(
                    array.as_primitive::<TimestampNanosecondType>().unary::<_, TimestampNanosecondType>(|nanos| nanos / 1000 * 1000),
                ),
                _ => Arc::clone(array),
            }),
            "forgets time zones" => {
                let columns: Vec<ArrayRef> = batch
                    .columns()
                    .iter()
                    .map(|array| match array.data_type() {
                        DataType::Timestamp(unit, Some(_)) => cast(array, &DataType::Timestamp(*unit, None)),
                        _ => Ok(Arc::clone(array)),
                    })
                    .collect::<Result<_, _>>()?;
                renamed(batch, columns, str::to_owned)
            }
            "folds the case of columns" => renamed(batch, batch.columns().to_vec(), str::to_lowercase),
            "ignores where slices begin" => each(batch, |array| match array.as_primitive_opt::<Int64Type>() {
                // As code does that reads a buffer from its start.
                Some(_) if array.len() == 13 => new_null_array(array.data_type(), array.len()),
                _ => Arc::clone(array),
            }),
            "drops new columns without a word" => {
                let known = |index: &usize| {
                    read_table(&self.database, &self.target)
                        .is_none_or(|there| there.column_by_name(batch.schema_ref().field(*index).name()).is_some())
                };
                let kept: Vec<usize> = (0..batch.num_columns()).filter(known).collect();
                Ok(batch.project(&kept)?)
            }
            "refuses a type after it promised it" if batch.columns().iter().any(|array| matches!(array.data_type(), DataType::List(_))) => {
                Err(Error::new(ErrorKind::UnsupportedType, "lists, it turns out, cannot be held"))
            }
            _ => Ok(batch.clone()),
        }
    }
}

fn renamed(batch: &RecordBatch, columns: Vec<ArrayRef>, rename: impl Fn(&str) -> String) -> Result<RecordBatch> {
    let field = |(field, array): (&Arc<arrow_schema::Field>, &ArrayRef)| {
        field.as_ref().clone().with_name(rename(field.name())).with_data_type(array.data_type().clone())
    };
    let fields: Vec<_> = batch.schema_ref().fields().iter().zip(&columns).map(field).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

impl<const N: usize> LoadSession for Session<N> {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.sent.add(batch)?;
        if is::<N>("sets aside more than is refused") && self.rejects.accepts() {
            return self.rejects.set_aside(batch, self.rows, "one of these is too large", None);
        }
        self.rows += batch.num_rows() as u64;
        let broken = self.broken(batch)?;
        self.seen.push(broken.clone());
        if is::<N>("publishes while it writes") {
            put_table(&self.database, &self.target, &broken.schema(), self.seen.clone());
        }
        if is::<N>("keeps the first row of an upsert") || self.is_odd() {
            return Ok(());
        }
        let before = self.rejects.rows();
        if let Some(inner) = &mut self.inner {
            inner.write(&broken).await?;
        }
        self.rows -= self.rejects.rows() - before;
        Ok(())
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        if is::<N>("keeps the first row of an upsert")
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
        let sums = if is::<N>("has checksums of nothing") { Checksums::new(&self.schema) } else { self.sent.clone() };
        Ok(sums.finish())
    }

    async fn commit(mut self) -> Result<Receipt> {
        let Some(inner) = self.inner.take() else { return Err(Error::new(ErrorKind::Unexpected, "committed twice")) };
        let mut receipt = inner.commit().await?;
        receipt.rows = self.rows;
        if is::<N>("reports other rows than it has") {
            receipt.rows += 1;
        }
        if let Some(odd) = self.seen.first().filter(|_| self.is_odd() && !receipt.already_loaded) {
            put_table(&self.database, &self.target, &odd.schema(), self.seen.clone());
        }
        Ok(receipt)
    }

    async fn abort(self) -> Result<()> {
        Ok(())
    }
}

impl<const N: usize> Drop for Session<N> {
    fn drop(&mut self) {
        if is::<N>("publishes when it is dropped") && self.inner.is_some() && !self.seen.is_empty() {
            put_table(&self.database, &self.target, &self.schema, self.seen.clone());
        }
    }
}

/// A loader whose connection keys are open.
struct Open(MemoryLoader);

#[derive(Deserialize, JsonSchema)]
struct OpenConfig {
    database: String,
}

impl DataLoader for Open {
    const NAME: &'static str = "open";
    const CAPABILITIES: Capabilities = MemoryLoader::CAPABILITIES;
    type Config = OpenConfig;
    type Options = MemoryOptions;
    type Session = MemorySession;

    async fn connect(config: OpenConfig) -> Result<Self> {
        MemoryLoader::connect(MemoryConfig { database: config.database }).await.map(Self)
    }

    async fn begin(&self, request: LoadRequest<MemoryOptions>) -> Result<MemorySession> {
        self.0.begin(request).await
    }

    fn supports_type(_: &DataType) -> TypeSupport {
        TypeSupport::Exact
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_keys_and_missing_answers_are_caught() {
    let report = conformance(&InMemory::new(LoaderDescriptor::of::<Open>("open", "0"))).await;
    let failed: Vec<&str> = report.failures().into_iter().map(|(name, _)| name).collect();
    for case in ["keys are closed and belong to one place", "repeating a load_id writes nothing", "a plan changes nothing"] {
        assert!(failed.contains(&case), "`{case}` did not fail:\n{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mutant_that_breaks_nothing_passes() {
    conformance(&InMemory::new(LoaderDescriptor::of::<Mutant<0>>("mutant", "0"))).await.assert();
}

async fn caught<const N: usize>() {
    let (name, case) = MUTANTS[N];
    let descriptor = LoaderDescriptor::of::<Mutant<N>>("mutant", "0");
    let subject = if is::<N>("holds the whole load in memory") { InMemory::that_streams(descriptor) } else { InMemory::new(descriptor) };
    let report = conformance(&subject).await;
    let failures = report.failures();
    assert!(failures.iter().any(|(failed, _)| failed.starts_with(case)), "the mutant that {name} is not caught by `{case}`:\n{report}");
}

macro_rules! mutants {
    ($($test:ident = $number:literal),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            caught::<$number>().await;
        }
    )+};
}

mutants! {
    loses_the_last_row_of_each_batch = 1,
    turns_nulls_into_values = 2,
    publishes_while_it_writes = 3,
    forgets_load_ids = 4,
    appends_where_it_should_overwrite = 5,
    keeps_the_first_row_of_an_upsert = 6,
    cuts_long_text = 7,
    turns_large_unsigned_integers_negative = 8,
    cuts_nanoseconds = 9,
    forgets_time_zones = 10,
    turns_empty_text_into_null = 11,
    reports_other_rows_than_it_has = 12,
    shows_its_secret = 13,
    ignores_where_slices_begin = 14,
    refuses_a_type_after_it_promised_it = 15,
    makes_the_target_in_its_plan = 16,
    publishes_when_it_is_dropped = 17,
    creates_over_what_is_there = 18,
    folds_the_case_of_columns = 19,
    drops_new_columns_without_a_word = 20,
    makes_a_target_that_it_may_not_create = 21,
    has_checksums_of_nothing = 22,
    sets_aside_more_than_is_refused = 23,
    holds_the_whole_load_in_memory = 24,
}
