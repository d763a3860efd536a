//! One attempt at a load, from the query to the receipt.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::feed::{Fed, Feed};
use super::progress::{Meter, Settled};
use super::retry::{at_least, pauses, with_retries};
use super::{LoadSpec, Run};
use crate::dead_letter::DeadLetterOrigin;
use crate::erased::{DynSession, UntypedRequest};
use crate::schema::check_loadable;
use crate::{
    BatchStream, Checksums, ColumnChecksum, Error, ErrorKind, LoadReport, LoadRequest, Mode,
    NullKeys, OnError, Receipt, Rejects, Result, Setting, Verify, keys, looks_secret,
};

/// How long a query is waited for before it is told how far it is.
const WAITS: Duration = Duration::from_millis(100);

pub(crate) struct Attempt<'a> {
    pub(crate) run: &'a Run<'a>,
    pub(crate) meter: &'a Meter<'a>,
}

/// Makes the request of a load whose schema is known.
pub(crate) fn request(
    spec: &LoadSpec,
    load_id: &str,
    schema: SchemaRef,
    rejects: Rejects,
) -> Result<UntypedRequest> {
    check_loadable(&schema)?;
    let optional_keys = spec.load.keys_are_defaults && spec.load.mode != Mode::Upsert;
    let key_indices = keys::key_indices(&schema, &spec.load.keys);
    let mut request = LoadRequest::new(load_id, &spec.target, schema, spec.options.clone());
    match key_indices {
        Ok(_) => request.keys.clone_from(&spec.load.keys),
        Err(_) if optional_keys => {}
        Err(error) => return Err(error),
    }
    request.keys_are_defaults = optional_keys;
    request.mode = spec.load.mode;
    request.create_table = spec.load.create_table;
    request.schema_evolution = spec.load.schema_evolution;
    request.null_keys = spec.load.null_keys;
    request.limits = spec.load.limits();
    request.parallelism = spec.load.parallelism;
    request.verify = spec.load.verify;
    request.rejects = rejects;
    Ok(request)
}

impl Attempt<'_> {
    pub(crate) async fn run(&self) -> Result<LoadReport> {
        let run = self.run;
        let stream = run.within_timeout(self.open()).await?;
        *self
            .meter
            .expected_rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = stream.expected_rows();
        let rejects = self.rejects(stream.schema());
        let request = request(
            run.spec,
            &run.load_id,
            stream.schema().clone(),
            rejects.clone(),
        )?;
        let mut session = run.within_timeout(self.begin(request.clone())).await?;

        let size = run
            .spec
            .load
            .batch_size(run.loader.descriptor.capabilities().batch);
        let feed = Feed::start(stream, size);
        let written = run
            .within_timeout(self.ticking(self.write_all(&mut *session, feed, &request)))
            .await;
        let (acknowledged, checksums) = match written {
            Ok(proof) => proof,
            Err(error) => return Err(self.abort(session, error).await),
        };
        let dead_letters = match rejects.publish() {
            Ok(dead_letters) => dead_letters,
            Err(error) => return Err(self.abort(session, error).await),
        };
        self.meter.settle(Settled {
            dead_letters,
            checksums,
        });
        let receipt = match run.commit_within(self.ticking(session.commit())).await {
            Ok(receipt) => receipt,
            // They may have been set aside; who asks the store finds out.
            Err(error) if error.kind() == ErrorKind::CommitUnknown => return Err(error),
            Err(error) => {
                self.meter.settled().take_back();
                return Err(error);
            }
        };
        let settled = self.meter.settled();
        if receipt.already_loaded {
            // Another run of this load was first, and has set aside the same rows.
            settled.take_back();
            return Ok(run.already_loaded(receipt));
        }
        check_receipt(&receipt, acknowledged)?;
        Ok(self.meter.report(receipt, settled))
    }

    /// Tells meanwhile how far the load is, as long as nothing else does.
    async fn ticking<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(WAITS, &mut work).await {
                Ok(done) => return done,
                Err(_) => self.meter.tick(),
            }
        }
    }

    /// Opens the input, and tells meanwhile how far its query is.
    async fn open(&self) -> Result<BatchStream> {
        let query = &self.meter.query;
        let mut opening = std::pin::pin!(query.hear(self.run.input.open()));
        loop {
            match tokio::time::timeout(WAITS, &mut opening).await {
                Ok(stream) => return stream,
                Err(_) if query.done().is_some() => self.meter.tick(),
                Err(_) => {}
            }
        }
    }

    fn rejects(&self, schema: &SchemaRef) -> Rejects {
        let spec = self.run.spec;
        if spec.load.on_error == OnError::Fail {
            return Rejects::none();
        }
        let known = self.run.loader.descriptor.options_schema();
        let shown = |(key, setting): &(&str, &Setting)| {
            !setting.hidden && !known.holds_secrets(key) && !looks_secret(key)
        };
        let origin = DeadLetterOrigin {
            load_id: self.run.load_id.clone(),
            loader: self.run.loader.descriptor.name().into(),
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
        };
        Rejects::to_folder(&spec.load.dead_letters, schema, &origin)
    }

    /// Plans, refuses what cannot be held, and begins.
    async fn begin(&self, request: UntypedRequest) -> Result<Box<dyn DynSession>> {
        let loader = &self.run.loader.inner;
        let count = |_: &Error| {
            self.run.retries.fetch_add(1, Relaxed);
        };
        let plan = with_retries(
            self.run.retries_left(),
            self.run.time_left(),
            &count,
            || loader.plan(request.clone()),
        )
        .await?;
        plan.check()?;
        with_retries(
            self.run.retries_left(),
            self.run.time_left(),
            &count,
            || loader.begin(request.clone()),
        )
        .await
    }

    /// Writes every batch, and proves that the store has every row. Answers with the number of rows that the store
    /// acknowledged, and the checksums, if asked for.
    async fn write_all(
        &self,
        session: &mut dyn DynSession,
        mut feed: Feed,
        request: &UntypedRequest,
    ) -> Result<Proof> {
        let key_indices = request.key_indices()?;
        let refuse_null_keys = request.null_keys == NullKeys::Refuse
            && !key_indices.is_empty()
            && !request.keys_are_defaults;
        let checks = self.run.spec.load.verify == Verify::Checksum;
        let mut checksums = checks.then(|| Checksums::new(&request.schema));
        let mut handed_over = 0;
        let rows_given = loop {
            request.rejects.flush()?;
            let (batch, bytes) = match feed.next().await? {
                Fed::Batch(batch, bytes) => (batch, bytes),
                Fed::End(rows) => break rows,
            };
            let first_row = self
                .meter
                .rows_read
                .fetch_add(batch.num_rows() as u64, Relaxed);
            let batch = match refuse_null_keys {
                true => self.without_null_keys(batch, &key_indices, first_row, &request.rejects)?,
                false => batch,
            };
            if batch.num_rows() == 0 {
                continue;
            }
            if let Some(checksums) = &mut checksums {
                checksums.add(&batch)?;
            }
            self.write(session, &batch, &request.rejects)
                .await
                .map_err(|error| at_source_row(error, &request.rejects))?;
            handed_over += batch.num_rows() as u64;
            self.count(&batch, bytes, &request.rejects);
        };
        let acknowledged = session
            .prepare()
            .await
            .map_err(|error| at_source_row(error, &request.rejects))?
            .rows;
        self.meter
            .rows_rejected
            .store(request.rejects.rows(), Relaxed);
        self.check_counts(rows_given, handed_over, acknowledged)?;
        match checksums {
            None => Ok((acknowledged, None)),
            Some(mut sent) => {
                if let Some(set_aside) = request.rejects.checksums() {
                    sent.subtract(set_aside);
                }
                compare(sent.finish(), session.checksums().await?)
                    .map(|equal| (acknowledged, Some(equal)))
            }
        }
    }

    async fn write(
        &self,
        session: &mut dyn DynSession,
        batch: &RecordBatch,
        rejects: &Rejects,
    ) -> Result<()> {
        let idempotent = self.run.loader.descriptor.capabilities().idempotent_writes;
        let mut pauses = pauses(
            if idempotent {
                self.run.retries_left()
            } else {
                0
            },
            self.run.time_left(),
        );
        let set_aside = rejects.rows();
        loop {
            let Err(error) = session.write(batch).await else {
                return Ok(());
            };
            // What this write has set aside it would set aside again.
            let again = error.is_transient() && rejects.rows() == set_aside;
            let Some(pause) = again.then(|| pauses.next()).flatten() else {
                return Err(error);
            };
            tracing::warn!(%error, "writing the batch again");
            self.run.retries.fetch_add(1, Relaxed);
            tokio::time::sleep(at_least(pause, &error)).await;
        }
    }

    fn count(&self, batch: &RecordBatch, bytes: usize, rejects: &Rejects) {
        let meter = self.meter;
        meter
            .rows_written
            .fetch_add(batch.num_rows() as u64, Relaxed);
        meter.bytes.fetch_add(bytes as u64, Relaxed);
        meter.batches.fetch_add(1, Relaxed);
        meter.rows_rejected.store(rejects.rows(), Relaxed);
        meter.tick();
    }

    /// Refuses rows with null keys, or sets them aside.
    fn without_null_keys(
        &self,
        batch: RecordBatch,
        key_indices: &[usize],
        first_row: u64,
        rejects: &Rejects,
    ) -> Result<RecordBatch> {
        let Some(with_keys) = keys::rows_with_keys(&batch, key_indices) else {
            return Ok(batch);
        };
        if !rejects.accepts() {
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
        rejects.set_aside_unseen(&others, numbers, "a key column is null")?;
        self.meter
            .null_keys
            .fetch_add(others.num_rows() as u64, Relaxed);
        Ok(kept)
    }

    /// The rows that the source gave, that were handed over, and that the store acknowledged are the same number.
    fn check_counts(&self, given: u64, handed_over: u64, acknowledged: u64) -> Result<()> {
        let read = self.meter.rows_read.load(Relaxed);
        let rejected = self.meter.rows_rejected.load(Relaxed);
        let null_keys = self.meter.null_keys.load(Relaxed);
        if given == read
            && read == handed_over + null_keys
            && handed_over + null_keys == acknowledged + rejected
        {
            return Ok(());
        }
        let message = format!(
            "row counts differ, so nothing was published: the source gave {given}, {handed_over} were handed to the store, it acknowledged {acknowledged}, and {rejected} were set aside"
        );
        Err(Error::new(ErrorKind::Verification, message))
    }

    /// Gives up, and answers with the error that was the reason.
    async fn abort(&self, session: Box<dyn DynSession>, error: Error) -> Error {
        let aborted = tokio::time::timeout(super::ASK_TIMEOUT, session.abort()).await;
        if let Ok(Err(second)) = aborted {
            tracing::warn!(error = %second, "giving up the load failed too");
        }
        error
    }
}

/// What was found before the commit: rows acknowledged, and checksums that are equal.
type Proof = (u64, Option<Vec<ColumnChecksum>>);

/// A store that acknowledged other rows than it says it has is not to be believed, though it is too late to undo.
fn check_receipt(receipt: &Receipt, acknowledged: u64) -> Result<()> {
    if receipt.already_loaded || receipt.rows == acknowledged {
        return Ok(());
    }
    let message = format!(
        "the load is committed, but the store's receipt states {} rows, and it had acknowledged {acknowledged}; check the target",
        receipt.rows
    );
    Err(Error::new(ErrorKind::Verification, message))
}

/// Sessions count the rows that they are given; people count those of the query.
fn at_source_row(error: Error, rejects: &Rejects) -> Error {
    match error.get("row").and_then(|row| row.parse().ok()) {
        Some(row) if rejects.accepts() => error.replace("row", rejects.source_row(row)),
        _ => error,
    }
}

fn compare(sent: Vec<ColumnChecksum>, stored: Vec<ColumnChecksum>) -> Result<Vec<ColumnChecksum>> {
    let pairs = || sent.iter().zip(&stored);
    if sent.len() == stored.len()
        && pairs().all(|(sent, stored)| (sent.sum, sent.values) == (stored.sum, stored.values))
    {
        return Ok(sent);
    }
    let differing: Vec<&str> = pairs()
        .filter(|(sent, stored)| (sent.sum, sent.values) != (stored.sum, stored.values))
        .map(|(sent, _)| sent.column.as_str())
        .collect();
    let message = format!(
        "the checksums of what was sent and of what the store holds differ, so nothing was published: {}",
        differing.join(", ")
    );
    Err(Error::new(ErrorKind::Verification, message))
}
