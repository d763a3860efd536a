//! One attempt at one destination, from resolving its target to the receipt.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use tokio_util::sync::CancellationToken;

use super::feed::{Fed, Feed};
use super::progress::{Meter, Settled};
use super::run::{WAITS, is_final, stopped};
use super::sink::Sink;
use super::{ASK_TIMEOUT, Phase};
use crate::dead_letter::DeadLetterOrigin;
use crate::erased::DynSession;
use crate::panics::caught;
use crate::{
    Aftermath, Atomicity, BatchSize, Begun, Checksums, ColumnChecksum, Error, ErrorKind,
    Guarantees, LoadReport, NullKeys, OnError, Reading, Receipt, Rejects, Result, Retry, Setting,
    Verify, keys, looks_secret,
};

/// The result of a step of an attempt.
pub(super) enum Step<T> {
    /// The load is in the target.
    Done(Box<LoadReport>),
    /// The attempt goes on.
    Going(T),
}

/// A load that was begun.
pub(super) struct Attempt<'a> {
    meter: &'a Meter<'a>,
    schema: SchemaRef,
    rejects: Rejects,
    unparsed: Rejects,
    session: Box<dyn DynSession>,
}

/// A load whose rows are all in the store, but not published yet.
pub(super) struct PreparedLoad<'a> {
    attempt: Attempt<'a>,
    acknowledged: u64,
}

/// Cancelled when a destination fails for good, under `fail_fast`.
pub(super) type Stop<'a> = Option<&'a CancellationToken>;

impl<'a> Attempt<'a> {
    /// Resolves the target, refuses columns of unsupported types, and begins; retries after transient errors. The rows are not
    /// touched yet, so this also serves input that can be read only once.
    pub(super) async fn begin(
        meter: &'a Meter<'a>,
        schema: SchemaRef,
        expected_rows: Option<u64>,
        reading: &Reading,
        unparsed: Rejects,
        stop: Stop<'_>,
    ) -> Result<Step<Attempt<'a>>> {
        let sink = meter.sink;
        sink.enter(Phase::Resolving);
        *meter
            .expected_rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = expected_rows;
        let rejects = rejects(sink, &schema);
        let begun = async {
            let request = sink.request(schema.clone())?;
            sink.retrying(|| async {
                let resolved = sink.resolve(request.clone()).await?;
                resolved.plan().check()?;
                prove_first(sink, &resolved.plan().guarantees, reading)?;
                sink.status()
                    .begin(resolved.plan().guarantees.after_failure);
                caught(sink.name(), resolved.begin(rejects.clone())).await
            })
            .await
        };
        match sink.within_timeout(unless_stopped(stop, begun)).await {
            Ok(Begun::Session(session)) => Ok(Step::Going(Attempt {
                meter,
                schema,
                rejects,
                unparsed,
                session,
            })),
            Ok(Begun::AlreadyLoaded(receipt)) => {
                sink.already_loaded(receipt).map(Box::new).map(Step::Done)
            }
            Err(error) => Err(failed(sink, stop, error)),
        }
    }

    pub(super) fn batch_size(&self) -> BatchSize {
        let sink = self.meter.sink;
        let preferred = sink.loader.descriptor.capabilities().batch;
        sink.spec.load.batch_size(preferred)
    }

    /// Writes every batch, and verifies that the store has every row.
    pub(super) async fn prepare(mut self, feed: Feed, stop: Stop<'_>) -> Result<PreparedLoad<'a>> {
        let (meter, sink) = (self.meter, self.meter.sink);
        let written = {
            let work = caught(sink.name(), self.write_all(feed));
            let work = unless_stopped(stop, ticking(meter, work));
            sink.within_timeout(work).await
        };
        let published = written.and_then(|(acknowledged, checksums)| {
            meter.rows_unparsed.store(self.unparsed.rows(), Relaxed);
            let mut settled = Settled {
                dead_letters: self.rejects.publish()?,
                unparsed: None,
                checksums,
            };
            match self.unparsed.publish() {
                Ok(unparsed) => settled.unparsed = unparsed,
                Err(error) => {
                    settled.take_back();
                    return Err(error);
                }
            }
            meter.settle(settled);
            Ok(acknowledged)
        });
        match published {
            Ok(acknowledged) => Ok(PreparedLoad {
                attempt: self,
                acknowledged,
            }),
            Err(error) => {
                let error = failed(sink, stop, error);
                give_up(self.session, sink).await;
                Err(error)
            }
        }
    }

    async fn write_all(&mut self, mut feed: Feed) -> Result<Proof> {
        let (meter, load) = (self.meter, &self.meter.sink.spec.load);
        meter.sink.enter(Phase::Writing);
        let key_indices = keys::key_indices(&self.schema, &load.keys)?;
        let refuse_null_keys = load.null_keys == NullKeys::Refuse && !key_indices.is_empty();
        let checks = load.verify == Verify::Checksum;
        let mut checksums = checks.then(|| Checksums::new(&self.schema));
        let mut handed_over = 0;
        let rows_given = loop {
            self.rejects.flush()?;
            let (batch, bytes) = match feed.next().await? {
                Fed::Batch(batch, bytes) => (batch, bytes),
                Fed::End(rows) => break rows,
            };
            let first_row = meter.rows_read.fetch_add(batch.num_rows() as u64, Relaxed);
            let batch = match refuse_null_keys {
                true => self.without_null_keys(batch, &key_indices, first_row)?,
                false => batch,
            };
            if batch.num_rows() == 0 {
                continue;
            }
            if let Some(checksums) = &mut checksums {
                checksums.add(&batch)?;
            }
            let wrote = self.session.write(&batch).await;
            wrote.map_err(|error| at_source_row(error, &self.rejects))?;
            handed_over += batch.num_rows() as u64;
            meter.count(&batch, bytes, self.rejects.rows());
        };
        meter.sink.enter(Phase::Preparing);
        let prepared = self.session.prepare().await;
        let acknowledged = prepared
            .map_err(|error| at_source_row(error, &self.rejects))?
            .rows;
        meter.rows_rejected.store(self.rejects.rows(), Relaxed);
        check_counts(meter, rows_given, handed_over, acknowledged)?;
        if acknowledged == 0 && load.refuse_empty {
            return Err(without_rows());
        }
        let Some(mut sent) = checksums else {
            return Ok((acknowledged, None));
        };
        meter.sink.enter(Phase::Verifying);
        if let Some(set_aside) = self.rejects.checksums() {
            sent.subtract(set_aside);
        }
        let unproved = meter
            .sink
            .planned()
            .map_or_else(Vec::new, |planned| planned.unproved);
        let mut sent = sent.finish();
        sent.retain(|checksum| !unproved.contains(&checksum.column));
        let equal = compare(sent, self.session.checksums().await?)?;
        Ok((acknowledged, Some(equal)))
    }

    /// Refuses rows with null keys, or sets them aside.
    fn without_null_keys(
        &self,
        batch: RecordBatch,
        key_indices: &[usize],
        first_row: u64,
    ) -> Result<RecordBatch> {
        let Some(with_keys) = keys::rows_with_keys(&batch, key_indices) else {
            return Ok(batch);
        };
        if !self.rejects.accepts() {
            return Err(keys::null_key_error(
                batch.schema_ref(),
                &batch,
                key_indices,
                &with_keys,
                first_row,
            ));
        }
        let (kept, others) = keys::partition(&batch, &with_keys)?;
        let numbers = with_keys
            .iter()
            .enumerate()
            .filter(|(_, has)| !has)
            .map(|(row, _)| first_row + row as u64)
            .collect();
        self.rejects
            .set_aside_unseen(&others, numbers, "a key column is null")?;
        self.meter
            .null_keys
            .fetch_add(others.num_rows() as u64, Relaxed);
        Ok(kept)
    }
}

impl PreparedLoad<'_> {
    /// Publishes the load.
    pub(super) async fn commit(self, stop: Stop<'_>) -> Result<LoadReport> {
        let Self {
            attempt,
            acknowledged,
        } = self;
        let (meter, sink) = (attempt.meter, attempt.meter.sink);
        if stop.is_some_and(CancellationToken::is_cancelled) {
            give_up(attempt.session, sink).await;
            meter.settled().take_back();
            return Err(stopped());
        }
        sink.enter(Phase::Committing);
        let committing = async {
            // After a panic nobody knows how far the commit came.
            caught(sink.name(), attempt.session.commit())
                .await
                .map_err(|error| match error.kind() {
                    ErrorKind::Unexpected => {
                        Error::new(ErrorKind::CommitUnknown, "the commit broke off")
                            .with_source(error)
                    }
                    _ => error,
                })
        };
        let receipt = match sink.commit_within(ticking(meter, committing)).await {
            Ok(receipt) => receipt,
            Err(error) if error.kind() == ErrorKind::CommitUnknown => {
                let resolved = sink.resolve_commit(error, meter).await;
                return resolved.map_err(|error| failed(sink, stop, error));
            }
            Err(error) => {
                meter.settled().take_back();
                sink.enter(Phase::Resolving);
                return Err(failed(sink, stop, error));
            }
        };
        let settled = meter.settled();
        if receipt.already_loaded {
            // Another run of this load was first, and has set aside the same rows.
            settled.take_back();
            return sink.already_loaded(receipt);
        }
        sink.enter(Phase::Committed);
        check_receipt(&receipt, acknowledged)?;
        Ok(meter.report(receipt, settled))
    }
}

/// The error for a load without rows under `refuse_empty`.
pub(super) fn without_rows() -> Error {
    let message = "the load has no row to write, and `refuse_empty` is set";
    Error::new(ErrorKind::LimitExceeded, message)
}

/// Under `fail_fast`, an error that ends the run of this destination stops the others.
pub(super) fn failed(sink: &Sink<'_>, stop: Stop<'_>, error: Error) -> Error {
    if let Some(stop) = stop
        && is_final(sink, &error)
    {
        stop.cancel();
    }
    error
}

async fn unless_stopped<T>(stop: Stop<'_>, work: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(stop) = stop else {
        return work.await;
    };
    tokio::select! {
        done = work => done,
        () = stop.cancelled() => Err(stopped()),
    }
}

/// Reports the progress of the load while the work runs, if nothing else does.
async fn ticking<T>(meter: &Meter<'_>, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(WAITS, &mut work).await {
            Ok(done) => return done,
            Err(_) => meter.tick(),
        }
    }
}

async fn give_up(session: Box<dyn DynSession>, sink: &Sink<'_>) {
    let aborting = caught(sink.name(), session.abort());
    if let Ok(Err(error)) = tokio::time::timeout(ASK_TIMEOUT, aborting).await {
        tracing::warn!(%error, "aborting the load failed too");
    }
}

/// If a later value does not fit an inferred type, the load starts again. A target that cannot remove rows would keep some of
/// the first attempt. For such a target the types are checked on the whole input before the first row is written.
fn prove_first(sink: &Sink<'_>, guarantees: &Guarantees, reading: &Reading) -> Result<()> {
    if guarantees.atomicity == Atomicity::Load || reading.prove || !reading.found.is_sampled() {
        return Ok(());
    }
    sink.needs_proof.store(true, Relaxed);
    let message = "the types of the input were found in a sample, and rows that are written with a wrong type could not be removed";
    Err(Error::new(ErrorKind::SchemaMismatch, message).with_retry(Retry::Reopen))
}

/// The file of the rows of the input that cannot be parsed, if this destination skips rows.
pub(super) fn unparsed(sink: &Sink<'_>) -> Rejects {
    match sink.spec.load.on_error {
        OnError::Fail => Rejects::none(),
        OnError::Skip | OnError::SkipUnparsed => {
            Rejects::unparsed_to_folder(&sink.spec.load.dead_letters, &origin(sink))
        }
    }
}

fn rejects(sink: &Sink<'_>, schema: &SchemaRef) -> Rejects {
    match sink.spec.load.on_error {
        OnError::Fail | OnError::SkipUnparsed => Rejects::none(),
        OnError::Skip => Rejects::to_folder(&sink.spec.load.dead_letters, schema, &origin(sink)),
    }
}

fn origin(sink: &Sink<'_>) -> DeadLetterOrigin {
    let spec = sink.spec;
    let known = sink.loader.descriptor.options_schema();
    let shown = |(key, setting): &(&str, &Setting)| {
        !setting.hidden && !known.holds_secrets(key) && !looks_secret(key)
    };
    DeadLetterOrigin {
        load_id: sink.load_id.clone(),
        loader: sink.name().into(),
        target: spec.target.clone(),
        connection: spec.connection.clone(),
        connection_is_kept: !spec.connection_is_inline,
        mode: spec.load.mode,
        keys: spec.load.keys.clone(),
        null_keys: spec.load.null_keys,
        options: spec
            .options
            .iter()
            .filter(shown)
            .map(|(key, setting)| (key.to_owned(), setting.value.clone()))
            .collect(),
        unparsed: false,
    }
}

/// What was verified before the commit: rows acknowledged, and checksums that are equal.
type Proof = (u64, Option<Vec<ColumnChecksum>>);

/// The rows that the source gave, that were handed over, and that the store acknowledged are the same number.
fn check_counts(meter: &Meter<'_>, given: u64, handed_over: u64, acknowledged: u64) -> Result<()> {
    let read = meter.rows_read.load(Relaxed);
    let rejected = meter.rows_rejected.load(Relaxed);
    let null_keys = meter.null_keys.load(Relaxed);
    if given == read
        && read == handed_over + null_keys
        && handed_over + null_keys == acknowledged + rejected
    {
        return Ok(());
    }
    let message = format!(
        "row counts differ: the source gave {given}, {handed_over} were handed to the store, it acknowledged {acknowledged}, and {rejected} were set aside"
    );
    Err(Error::new(ErrorKind::Verification, message))
}

/// The receipt must match the acknowledged row count. It is checked after the commit, so a mismatch can only be reported.
fn check_receipt(receipt: &Receipt, acknowledged: u64) -> Result<()> {
    if receipt.rows == acknowledged {
        return Ok(());
    }
    let message = format!(
        "the store's receipt states {} rows, and it had acknowledged {acknowledged}; check the target",
        receipt.rows
    );
    Err(Error::new(ErrorKind::Verification, message).with_aftermath(Aftermath::Committed))
}

/// Sessions count the rows that they are given; people count those of the query.
fn at_source_row(error: Error, rejects: &Rejects) -> Error {
    match error.row() {
        Some(row) if rejects.accepts() => error.moved_to_row(rejects.source_row(row)),
        _ => error,
    }
}

fn compare(sent: Vec<ColumnChecksum>, stored: Vec<ColumnChecksum>) -> Result<Vec<ColumnChecksum>> {
    if sent.len() != stored.len() {
        let message = format!(
            "{} columns were sent, and the store has checksums of {}",
            sent.len(),
            stored.len()
        );
        return Err(Error::new(ErrorKind::Verification, message));
    }
    let differing: Vec<&str> = sent
        .iter()
        .zip(&stored)
        .filter(|(sent, stored)| (sent.sum, sent.values) != (stored.sum, stored.values))
        .map(|(sent, _)| sent.column.as_str())
        .collect();
    if differing.is_empty() {
        return Ok(sent);
    }
    let message = format!(
        "the checksums of what was sent and of what the store holds differ: {}",
        differing.join(", ")
    );
    Err(Error::new(ErrorKind::Verification, message))
}
