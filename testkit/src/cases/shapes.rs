//! Batches of every shape: none, empty, sliced, encoded, narrow and wide.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::builder::make_view;
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, DictionaryArray, Int64Array, RecordBatch, StringViewArray,
};
use arrow_buffer::{Buffer, OffsetBuffer};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema};
use arrowload_core::{BatchStream, ErrorKind, Input, Result as LoadResult, load};
use bytes::Bytes;
use futures::stream;

use super::{Case, case};
use crate::context::{CaseResult, Context, Verdict, ensure, many, people, table};

pub(super) const CASES: &[Case] = &[
    case!("no batch, and empty batches, make the target", empty),
    case!("many batches arrive whole", many_batches),
    case!("slices count only what they show", sliced),
    case!("views and dictionaries differ from batch to batch", encoded),
    case!("a million narrow rows", narrow),
    case!("memory stays bounded", bounded),
    case!("a thousand columns", wide),
    case!("results that no target could hold are refused", unholdable),
    case!("a schema that drifts ends the load", drift),
];

async fn run(context: &Context<'_>, batches: Vec<RecordBatch>) -> Result<String, String> {
    let (target, loader) = (context.target(), context.connect().await?);
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let report = load(
        &loader,
        &context.spec(&target),
        &many(batches[0].schema(), batches),
    )
    .await;
    let report = report.map_err(|error| format!("the load failed: {error:#}"))?;
    ensure!(
        report.rows == rows as u64,
        "{rows} rows were sent, and it reports {}",
        report.rows
    );
    Ok(target)
}

async fn empty(context: &Context<'_>) -> CaseResult {
    let none = people(0..0, "a");
    let (target, loader) = (context.target(), context.connect().await?);
    let report = load(
        &loader,
        &context.spec(&target),
        &many(none.schema(), vec![]),
    )
    .await
    .map_err(|error| format!("no batch: {error:#}"))?;
    ensure!(
        (report.rows, report.batches) == (0, 0),
        "no batch is reported as {report:?}"
    );
    context
        .expect(&target, &[&none])
        .await
        .map_err(|why| format!("no batch: {why}"))?;
    let some = people(0..3, "a");
    let target = run(context, vec![none.clone(), some.clone(), none.clone()]).await?;
    context.expect(&target, &[&some]).await?;
    let wide: Vec<Field> = (0..100)
        .map(|index| Field::new(format!("c{index}"), DataType::Int64, true))
        .collect();
    let target = context.target();
    let mut spec = context.spec(&target);
    if !spec.load.keys.is_empty() {
        spec.load.keys = vec!["c0".into()];
    }
    load(&loader, &spec, &many(Arc::new(Schema::new(wide)), vec![]))
        .await
        .map_err(|error| format!("100 columns, no rows: {error:#}"))?;
    ensure!(
        context.rows(&target).await? == Some(vec![]),
        "100 columns without rows made no empty target"
    );
    Ok(Verdict::Passed)
}

async fn many_batches(context: &Context<'_>) -> CaseResult {
    let batches: Vec<RecordBatch> = (0..40)
        .map(|index| people(index * 100..index * 100 + 1 + index % 100, "a"))
        .collect();
    let target = run(context, batches.clone()).await?;
    context
        .expect(&target, &batches.iter().collect::<Vec<_>>())
        .await?;
    Ok(Verdict::Passed)
}

async fn sliced(context: &Context<'_>) -> CaseResult {
    let whole = people(0..1000, "a");
    let slices = vec![whole.slice(3, 1), whole.slice(500, 13), whole.slice(999, 1)];
    let target = run(context, slices.clone()).await?;
    context
        .expect(&target, &slices.iter().collect::<Vec<_>>())
        .await?;
    Ok(Verdict::Passed)
}

async fn encoded(context: &Context<'_>) -> CaseResult {
    let words = |range: std::ops::Range<i64>| -> ArrayRef {
        let words: Vec<String> = range
            .map(|id| format!("a word longer than twelve bytes {}", id % 7))
            .collect();
        Arc::new(
            words
                .iter()
                .map(|word| Some(word.as_str()))
                .collect::<DictionaryArray<Int32Type>>(),
        )
    };
    let ids = |range| -> ArrayRef { Arc::new(Int64Array::from_iter_values(range)) };
    for kind in [
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        DataType::Utf8View,
    ] {
        let batch = |range: std::ops::Range<i64>| -> Result<RecordBatch, String> {
            let words = cast(&words(range.clone()), &kind).map_err(|error| error.to_string())?;
            Ok(table(vec![("id", ids(range)), ("word", words)]))
        };
        let batches = vec![batch(0..5)?, batch(100..103)?, batch(200..220)?.slice(7, 9)];
        let target = run(context, batches.clone())
            .await
            .map_err(|why| format!("{kind}: {why}"))?;
        context
            .expect(&target, &batches.iter().collect::<Vec<_>>())
            .await
            .map_err(|why| format!("{kind}: {why}"))?;
    }
    Ok(Verdict::Passed)
}

async fn narrow(context: &Context<'_>) -> CaseResult {
    const ROWS: i64 = 1_000_000;
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS));
    let batch = table(vec![("id", ids)]);
    let batches = (0..100)
        .map(|index| batch.slice(index * 10_000, 10_000))
        .collect();
    let target = run(context, batches).await?;
    let read = context
        .subject
        .read(&target)
        .await?
        .ok_or("there is no target")?;
    let ids = cast(read.column(0), &DataType::Int64).map_err(|error| error.to_string())?;
    let mut ids = ids
        .as_any()
        .downcast_ref::<Int64Array>()
        .ok_or("no integers came back")?
        .values()
        .to_vec();
    ids.sort_unstable();
    ensure!(
        ids.iter().copied().eq(0..ROWS),
        "a million rows were sent, and {} came back, or others",
        ids.len()
    );
    Ok(Verdict::Passed)
}

async fn wide(context: &Context<'_>) -> CaseResult {
    let names: Vec<String> = (0..1000).map(|index| format!("c{index}")).collect();
    let value =
        |index: usize| -> ArrayRef { Arc::new(Int64Array::from(vec![Some(index as i64), None])) };
    let mut columns: Vec<(&str, ArrayRef)> = vec![("id", Arc::new(Int64Array::from(vec![1, 2])))];
    columns.extend(
        names
            .iter()
            .enumerate()
            .map(|(index, name)| (name.as_str(), value(index))),
    );
    let batch = table(columns);
    let target = run(context, vec![batch.clone()]).await?;
    context.expect(&target, &[&batch]).await?;
    Ok(Verdict::Passed)
}

async fn unholdable(context: &Context<'_>) -> CaseResult {
    let twice = Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("a", DataType::Int64, true),
    ]);
    let loader = context.connect().await?;
    for schema in [Schema::empty(), twice] {
        let target = context.target();
        let error = load(
            &loader,
            &context.spec(&target),
            &many(Arc::new(schema), vec![]),
        )
        .await
        .err()
        .ok_or("it is taken")?;
        ensure!(
            matches!(
                error.kind(),
                ErrorKind::SchemaMismatch | ErrorKind::InvalidOption
            ),
            "it is refused as {:?}",
            error.kind()
        );
        ensure!(
            context.rows(&target).await?.is_none(),
            "a target is left behind"
        );
    }
    Ok(Verdict::Passed)
}

async fn drift(context: &Context<'_>) -> CaseResult {
    let (target, loader) = (context.target(), context.connect().await?);
    let first = people(0..3, "a");
    let drifted = table(vec![
        ("id", first.column(1).clone()),
        ("name", first.column(1).clone()),
    ]);
    let error = load(
        &loader,
        &context.spec(&target),
        &many(first.schema(), vec![first, drifted]),
    )
    .await
    .err()
    .ok_or("it is taken")?;
    ensure!(
        error.kind() == ErrorKind::SchemaMismatch,
        "it is refused as {:?}",
        error.kind()
    );
    ensure!(
        context.rows(&target).await?.is_none(),
        "a target is left behind"
    );
    Ok(Verdict::Passed)
}

/// Values that count how many of them are in memory.
struct Counted {
    values: Vec<u8>,
    held: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.values
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.fetch_sub(self.values.len(), Ordering::SeqCst);
    }
}

/// Batches of four MiB, half of it bytes and half a view of text, that tell how much of them is held.
struct Fed {
    held: Arc<AtomicUsize>,
    peak: Arc<AtomicUsize>,
}

impl Fed {
    const ROWS: usize = 1024;
    const VALUE: usize = 2048;
    const BATCH: usize = 2 * Self::ROWS * Self::VALUE;

    fn values(&self, index: usize) -> Buffer {
        let values = vec![b'0' + (index % 10) as u8; Self::ROWS * Self::VALUE];
        let now = self.held.fetch_add(values.len(), Ordering::SeqCst) + values.len();
        self.peak.fetch_max(now, Ordering::SeqCst);
        Buffer::from(Bytes::from_owner(Counted {
            values,
            held: Arc::clone(&self.held),
        }))
    }

    fn batch(&self, index: usize) -> LoadResult<RecordBatch> {
        let lengths = OffsetBuffer::from_lengths(std::iter::repeat_n(Self::VALUE, Self::ROWS));
        let bytes: ArrayRef = Arc::new(BinaryArray::new(lengths, self.values(index), None));
        let values = self.values(index);
        let views = (0..Self::ROWS)
            .map(|row| row * Self::VALUE)
            .map(|at| make_view(&values[at..at + Self::VALUE], 0, at as u32));
        let texts: ArrayRef = Arc::new(StringViewArray::try_new(
            views.collect(),
            [values.clone()],
            None,
        )?);
        let first = (index * Self::ROWS) as i64;
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(
            first..first + Self::ROWS as i64,
        ));
        Ok(table(vec![("id", ids), ("bytes", bytes), ("text", texts)]))
    }
}

/// Feeds 64 batches, and looks how many of their bytes are held at once: a loader may hold a few, but not a share of the load.
async fn bounded(context: &Context<'_>) -> CaseResult {
    if !context.subject.streams() {
        return Ok(Verdict::NotDeclared);
    }
    const BATCHES: usize = 64;
    const MOST: usize = 20;
    let peak = Arc::new(AtomicUsize::new(0));
    let fed = Fed {
        held: Arc::new(AtomicUsize::new(0)),
        peak: Arc::clone(&peak),
    };
    let schema = fed.batch(0).map_err(|error| error.to_string())?.schema();
    let input = Input::stream(BatchStream::new(
        schema,
        stream::iter((0..BATCHES).map(move |index| fed.batch(index))),
    ));
    let (target, loader) = (context.target(), context.connect().await?);
    let mut spec = context.spec(&target);
    spec.load.batch_size = Some(Fed::ROWS);
    // The test does not measure the memory that a loader holds for each of its threads.
    spec.load.parallelism = context.declared().parallel.then_some(1);
    let report = load(&loader, &spec, &input)
        .await
        .map_err(|error| format!("the load failed: {error:#}"))?;
    ensure!(
        report.rows == (BATCHES * Fed::ROWS) as u64,
        "it reports {} rows",
        report.rows
    );
    let held = peak.load(Ordering::SeqCst).div_ceil(Fed::BATCH);
    tracing::debug!(held, "batches were held at once");
    ensure!(
        held <= MOST,
        "of {BATCHES} batches of {} MiB, {held} were held at once; {MOST} may be",
        Fed::BATCH >> 20
    );
    Ok(Verdict::Passed)
}
