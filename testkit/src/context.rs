//! What every case needs: connections, fresh targets, streams that misbehave, and comparisons that say what differs.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::SchemaRef;
use arrowload_core::{
    BatchStream, Capabilities, Error, ErrorKind, Guarantees, Input, KeyCounts, LoadReport,
    LoadSpec, Loader, Mode, Result as LoadResult, load,
};
use futures::{FutureExt, stream};

use crate::held::Held;
use crate::{Subject, canonical_rows};

/// How a case ends; an error is a sentence.
pub(crate) type CaseResult = Result<Verdict, String>;

pub(crate) enum Verdict {
    Passed,
    NotDeclared,
}

/// Ends a case unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
pub(crate) use ensure;

pub(crate) struct Context<'a> {
    pub(crate) subject: &'a dyn Subject,
    names: AtomicU32,
    /// Whether the loader counts keys, once an upsert has shown it.
    counts_keys: OnceLock<bool>,
    held: Held,
}

impl<'a> Context<'a> {
    /// Reads the guarantees from the loader's plans first.
    pub(crate) async fn new(subject: &'a dyn Subject) -> Self {
        let declared = *subject.descriptor().capabilities();
        let mut context = Self {
            subject,
            names: AtomicU32::new(0),
            counts_keys: OnceLock::new(),
            held: Held::as_declared(&declared),
        };
        let asked = Held::ask(subject, [context.target(), context.target()]);
        let asked = AssertUnwindSafe(asked).catch_unwind();
        if let Ok(Ok(Some(held))) = tokio::time::timeout(Duration::from_secs(20), asked).await {
            context.held = held;
        }
        context
    }

    /// The most that the loader declares.
    pub(crate) fn declared(&self) -> Capabilities {
        *self.subject.descriptor().capabilities()
    }

    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    /// The modes that these targets have.
    pub(crate) fn modes(&self) -> Vec<Mode> {
        self.held.modes().collect()
    }

    pub(crate) fn supports(&self, mode: Mode) -> bool {
        self.held.of(mode).is_some()
    }

    /// The guarantees in the plans of a mode.
    pub(crate) fn keeps(&self, mode: Mode) -> Guarantees {
        self.held
            .of(mode)
            .unwrap_or_else(|| Guarantees::of(&self.declared()))
    }

    /// What the plans hold of the mode that fills a target.
    pub(crate) fn kept(&self) -> Guarantees {
        self.keeps(self.filling_mode())
    }

    /// A target that nothing has used.
    pub(crate) fn target(&self) -> String {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        self.subject.target(&format!("conformance_{number}"))
    }

    pub(crate) async fn connect(&self) -> Result<Loader, String> {
        let loader =
            Loader::connect(&self.subject.descriptor(), &self.subject.connection(), 2).await;
        loader.map_err(|error| format!("it does not connect: {error:#}"))
    }

    /// The rows that readers see, sorted; `None` without a target.
    pub(crate) async fn rows(&self, target: &str) -> Result<Option<Vec<String>>, String> {
        let batch = self
            .subject
            .read(target)
            .await
            .map_err(|error| format!("`{target}` could not be read back: {error}"))?;
        Ok(batch.as_ref().map(canonical_rows))
    }

    /// Loads one batch with this spec.
    pub(crate) async fn load(
        &self,
        spec: &LoadSpec,
        batch: &RecordBatch,
    ) -> Result<LoadReport, String> {
        let loader = self.connect().await?;
        load(&loader, spec, &once(batch))
            .await
            .map_err(|error| format!("the load failed: {error:#}"))
    }

    /// The counts of an upsert. A loader reports them of every upsert, or of none.
    pub(crate) fn key_counts(&self, report: &LoadReport) -> Result<Option<KeyCounts>, String> {
        let counts = report.keys.is_some();
        ensure!(
            *self.counts_keys.get_or_init(|| counts) == counts,
            "it reports `keys` of some upserts and not of others: {report:?}"
        );
        Ok(report.keys)
    }

    /// Expects a load to fail, with one of these kinds, and returns the error.
    pub(crate) async fn refused(
        &self,
        spec: &LoadSpec,
        batch: &RecordBatch,
        kinds: &[ErrorKind],
    ) -> Result<Error, String> {
        let loader = self.connect().await?;
        match load(&loader, spec, &once(batch)).await {
            Ok(report) => Err(format!(
                "it loaded {} rows, and should have refused ({kinds:?})",
                report.rows
            )),
            Err(error) if kinds.contains(&error.kind()) => Ok(error),
            Err(error) => Err(format!(
                "it refused with {:?}, and should have with {kinds:?}: {error:#}",
                error.kind()
            )),
        }
    }

    /// Compares what readers see with what should exist.
    pub(crate) async fn expect(
        &self,
        target: &str,
        expected: &[&RecordBatch],
    ) -> Result<(), String> {
        let mut rows: Vec<String> = expected
            .iter()
            .flat_map(|batch| canonical_rows(batch))
            .collect();
        rows.sort();
        let found = self
            .rows(target)
            .await?
            .ok_or_else(|| format!("`{target}` is not there"))?;
        same(&rows, &found)
    }

    /// The modes' shared precondition: can a target be added to a second time?
    pub(crate) fn appends(&self) -> bool {
        self.supports(Mode::Append)
    }

    /// A mode that fills a fresh target.
    pub(crate) fn filling_mode(&self) -> Mode {
        let order = [Mode::Append, Mode::Create, Mode::Overwrite, Mode::Upsert];
        order
            .into_iter()
            .find(|mode| self.supports(*mode))
            .unwrap_or_default()
    }

    pub(crate) fn spec(&self, target: &str) -> LoadSpec {
        spec_of(target, self.filling_mode())
    }

    /// A load that fills a fresh target which a load in this mode meets next: an upsert finds rows again by the keys that they
    /// were loaded by.
    pub(crate) fn spec_before(&self, mode: Mode, target: &str) -> LoadSpec {
        match mode {
            Mode::Upsert => spec_of(target, Mode::Upsert),
            _ => self.spec(target),
        }
    }
}

/// A load in this mode, by the key `id` where it has keys.
pub(crate) fn spec_of(target: &str, mode: Mode) -> LoadSpec {
    let mut spec = LoadSpec::new(target);
    (spec.load.mode, spec.load.max_retries) = (mode, 3);
    if mode == Mode::Upsert {
        spec.load.keys = vec!["id".into()];
    }
    spec
}

/// Says which rows differ, but not all of them.
pub(crate) fn same(expected: &[String], found: &[String]) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    let (sent, read) = (expected.len(), found.len());
    let counts = format!("{sent} rows should be there and {read} are");
    let counted = |rows: &[String]| -> BTreeMap<String, usize> {
        rows.iter().fold(BTreeMap::new(), |mut counts, row| {
            *counts.entry(row.clone()).or_default() += 1;
            counts
        })
    };
    let (wanted, there) = (counted(expected), counted(found));
    let times = read / sent.max(1);
    if times > 1
        && wanted
            .iter()
            .all(|(row, count)| there.get(row) == Some(&(count * times)))
    {
        return Err(format!("{counts}: each row is there {times} times"));
    }
    let differs = |(row, count): (&String, &usize)| {
        let found = there.get(row).copied().unwrap_or(0);
        (found != *count).then(|| match found {
            0 => format!("this row is missing: {row}"),
            _ => format!("this row is there {found} times, and should be {count} times: {row}"),
        })
    };
    let missing = wanted.iter().find_map(differs);
    let surplus = there.keys().find(|row| !wanted.contains_key(*row));
    let surplus = surplus.map(|row| format!("this row was not loaded: {row}"));
    let what: Vec<String> = missing.into_iter().chain(surplus).collect();
    Err(format!("{counts}; {}", what.join("; ")))
}

pub(crate) fn once(batch: &RecordBatch) -> Input {
    Input::stream(BatchStream::from_batches(
        batch.schema(),
        vec![batch.clone()],
    ))
}

pub(crate) fn many(schema: SchemaRef, batches: Vec<RecordBatch>) -> Input {
    Input::stream(BatchStream::from_batches(schema, batches))
}

/// A stream that ends with an error, or does not end.
pub(crate) fn failing(batches: Vec<RecordBatch>, end: Option<Error>) -> Input {
    use futures::StreamExt;
    let schema = batches[0].schema();
    let head = stream::iter(batches.into_iter().map(LoadResult::Ok));
    Input::stream(match end {
        Some(error) => BatchStream::new(schema, head.chain(stream::iter([Err(error)]))),
        None => BatchStream::new(schema, head.chain(stream::pending())),
    })
}

/// Rows with the ids of a range, and a name that tells versions apart.
pub(crate) fn people(ids: std::ops::Range<i64>, version: &str) -> RecordBatch {
    let names = ids.clone().map(|id| {
        if id % 5 == 3 {
            None
        } else {
            Some(format!("{version}-{id}"))
        }
    });
    let names: ArrayRef = Arc::new(StringArray::from(names.collect::<Vec<_>>()));
    table(vec![
        ("id", Arc::new(Int64Array::from_iter_values(ids))),
        ("name", names),
    ])
}

/// A batch of nullable columns.
#[expect(
    clippy::expect_used,
    reason = "the columns of the cases have one length"
)]
pub(crate) fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .expect("columns of one length")
}
