//! A run: one input, read once for all destinations that still need it, until each has its outcome.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arrow_schema::{Field, Schema, SchemaRef};
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, Step, failed, unparsed, without_rows};
use super::feed::Feed;
use super::progress::Meter;
use super::retry::{Pauses, at_least};
use super::sink::Sink;
use super::{Input, Phase};
use crate::{
    BatchStream, Error, ErrorKind, LoadReport, Plan, Reading, Rejects, Result, Retry, Unparsed,
    panics::caught,
};

/// How long to wait for a query between reports of its progress.
pub(super) const WAITS: Duration = Duration::from_millis(100);

pub(crate) struct Run<'a> {
    pub(crate) input: &'a Input,
    pub(crate) sinks: Vec<Sink<'a>>,
    pub(crate) fail_fast: bool,
}

type Outcome = Result<LoadReport>;

impl<'a> Run<'a> {
    /// The outcome of each sink, in their order.
    pub(crate) async fn to_end(&self) -> Vec<Outcome> {
        let found = join_all(self.sinks.iter().map(Sink::find_committed)).await;
        let mut outcomes: Vec<Option<Outcome>> = found.into_iter().map(Result::transpose).collect();
        let mut pauses: Vec<Pauses> = self
            .sinks
            .iter()
            .map(|sink| Pauses::new(sink.spec.load.max_retries, sink.time_left()))
            .collect();
        loop {
            let failed = outcomes.iter().flatten().any(Result::is_err);
            if self.fail_fast && failed {
                for outcome in &mut outcomes {
                    outcome.get_or_insert_with(|| Err(stopped()));
                }
            }
            let pending: Vec<usize> = (0..outcomes.len())
                .filter(|index| outcomes[*index].is_none())
                .collect();
            if pending.is_empty() {
                return outcomes.into_iter().flatten().collect();
            }
            let sinks: Vec<&Sink<'a>> = pending.iter().map(|index| &self.sinks[*index]).collect();
            let mut pause = None;
            for (index, outcome) in pending.into_iter().zip(self.attempt(&sinks).await) {
                match self.again(index, &outcome, &mut pauses[index]) {
                    Some(longer) => pause = pause.max(Some(longer)),
                    None => {
                        let sink = &self.sinks[index];
                        let last = |error: Error| match sink.may_repeat() {
                            true => pauses[index].exhausted(error),
                            false => error.with_retry(Retry::Never),
                        };
                        outcomes[index] = Some(outcome.map_err(last));
                    }
                }
            }
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// How long to wait before the whole load is run again for this sink; `None` if it is not.
    fn again(&self, index: usize, outcome: &Outcome, pauses: &mut Pauses) -> Option<Duration> {
        let error = outcome.as_ref().err()?;
        let sink = &self.sinks[index];
        if sink.reopens(error) {
            tracing::info!(%error, "opening the input again, with wider types");
            sink.note_reopened(error);
            return Some(Duration::ZERO);
        }
        if is_final(sink, error) {
            return None;
        }
        let pause = at_least(pauses.next()?, error);
        tracing::warn!(%error, ?pause, "running the load again");
        sink.count_retry();
        Some(pause)
    }

    /// One reading of the input, for these sinks.
    async fn attempt(&self, sinks: &[&Sink<'a>]) -> Vec<Outcome> {
        let unparsed: Vec<Rejects> = sinks.iter().map(|sink| unparsed(sink)).collect();
        let mut reading = Reading {
            prove: sinks.iter().any(|sink| sink.needs_proof.load(Relaxed)),
            ..Reading::default()
        };
        if unparsed.iter().all(Rejects::accepts) {
            reading.unparsed = Unparsed::to(unparsed.clone());
        }
        let meters: Vec<Meter<'_>> = sinks
            .iter()
            .map(|sink| Meter::new(sink, reading.progress.clone()))
            .collect();
        let opened = async {
            reading.types = offered_types(self.input, sinks).await?;
            self.open(&meters, &reading).await
        };
        let (stream, is_empty) = match opened.await {
            Ok(opened) => opened,
            Err(error) => return sinks.iter().map(|_| Err(error.clone())).collect(),
        };
        let stop = CancellationToken::new();
        let stop = self.fail_fast.then_some(&stop);
        let (schema, expected) = (stream.schema().clone(), stream.expected_rows());
        let looks = look(sinks, &schema).await;
        if let Err(error) = Plan::check_distinct(looks.iter().flatten()) {
            return sinks.iter().map(|_| Err(error.clone())).collect();
        }
        let is_refused = |(sink, look): (&&Sink<'_>, &Result<Plan>)| {
            look.as_ref().is_err_and(|error| is_final(sink, error))
        };
        if self.fail_fast && sinks.iter().zip(&looks).any(is_refused) {
            // None has begun, so that all targets are as they were.
            let outcomes = looks
                .into_iter()
                .map(|look| Err(look.err().unwrap_or_else(stopped)));
            return outcomes.collect();
        }
        let (schema, reading) = (&schema, &reading);
        let begin = |(meter, unparsed)| async move {
            let meter: &Meter<'_> = meter;
            // A store that cannot take anything back is not asked to begin.
            if is_empty && meter.sink.spec.load.refuse_empty {
                return Err(failed(meter.sink, stop, without_rows()));
            }
            Attempt::begin(meter, schema.clone(), expected, reading, unparsed, stop).await
        };
        let begun = join_all(meters.iter().zip(unparsed).map(begin)).await;
        let going = |begun: &Result<Step<Attempt<'_>>>| match begun {
            Ok(Step::Going(attempt)) => Some(attempt.batch_size()),
            _ => None,
        };
        let mut feeds = Feed::start(stream, begun.iter().filter_map(going).collect()).into_iter();
        let prepared = join_all(begun.into_iter().map(|begun| {
            let feed = going(&begun).and_then(|_| feeds.next());
            async move {
                match (begun?, feed) {
                    (Step::Done(report), _) => Ok(Step::Done(report)),
                    (Step::Going(attempt), Some(feed)) => {
                        attempt.prepare(feed, stop).await.map(Step::Going)
                    }
                    (Step::Going(_), None) => {
                        let message = "internal error: a destination has no rows to read";
                        Err(Error::new(ErrorKind::Unexpected, message))
                    }
                }
            }
        }))
        .await;
        let mut outcomes = Vec::with_capacity(prepared.len());
        for prepared in prepared {
            outcomes.push(match prepared {
                Ok(Step::Done(report)) => Ok(*report),
                Ok(Step::Going(prepared)) => prepared.commit(stop).await,
                Err(error) => Err(error),
            });
        }
        outcomes
    }

    /// Opens the input, and reports the progress of its query meanwhile. If a load without rows is to be refused, it also returns
    /// whether there are any rows.
    async fn open(&self, meters: &[Meter<'_>], reading: &Reading) -> Result<(BatchStream, bool)> {
        let refuses = |meter: &Meter<'_>| meter.sink.spec.load.refuse_empty;
        let look = meters.iter().any(refuses);
        for meter in meters {
            meter.sink.enter(Phase::Querying);
            meter.sink.attempts.fetch_add(1, Relaxed);
        }
        let opening = async {
            let opening = async {
                let stream = self.input.open(reading.clone()).await?;
                match look {
                    true => to_first_row(stream).await,
                    false => Ok((stream, false)),
                }
            };
            let mut opening = std::pin::pin!(caught("the source", opening));
            loop {
                match tokio::time::timeout(WAITS, &mut opening).await {
                    Ok(stream) => return stream,
                    Err(_) if reading.progress.done().is_some() => {
                        meters.iter().for_each(Meter::tick)
                    }
                    Err(_) => {}
                }
            }
        };
        // The one that may wait longest decides; the others find out when they begin.
        let patient = meters
            .iter()
            .map(|meter| meter.sink)
            .max_by_key(|sink| sink.time_left().unwrap_or(Duration::MAX));
        match patient {
            Some(sink) => sink.within_timeout(opening).await,
            None => opening.await,
        }
    }
}

/// Reads as far as the first row, which stays in the stream; and says whether there is none.
async fn to_first_row(mut stream: BatchStream) -> Result<(BatchStream, bool)> {
    let (schema, expected) = (stream.schema().clone(), stream.expected_rows());
    let mut first = None;
    while let Some(batch) = stream.try_next().await? {
        if batch.num_rows() > 0 {
            first = Some(batch);
            break;
        }
    }
    let is_empty = first.is_none();
    let whole = futures::stream::iter(first.map(Ok)).chain(stream);
    let whole = BatchStream::new(schema, whole);
    Ok(match expected {
        Some(rows) => (whole.with_expected_rows(rows), is_empty),
        None => (whole, is_empty),
    })
}

/// The types of the targets' columns, for an input that has to find types: of columns on which all targets agree.
pub(super) async fn offered_types(input: &Input, sinks: &[&Sink<'_>]) -> Result<Option<SchemaRef>> {
    if !input.finds_types() {
        return Ok(None);
    }
    let described = join_all(
        sinks
            .iter()
            .map(|sink| sink.within_timeout(sink.describe())),
    )
    .await;
    let mut offered: Option<Vec<Field>> = None;
    for columns in described {
        let Some(columns) = columns? else { continue };
        let known: Vec<Field> = columns
            .columns
            .into_iter()
            .filter_map(|column| Some(Field::new(column.name, column.data_type?, true)))
            .collect();
        offered = Some(match offered {
            None => known,
            Some(before) => before
                .into_iter()
                .filter(|field| known.contains(field))
                .collect(),
        });
    }
    Ok(offered
        .filter(|fields| !fields.is_empty())
        .map(|fields| Arc::new(Schema::new(fields))))
}

/// Looks at the targets of several destinations before any of them begins: two names of one target are refused, and under
/// `fail_fast` none begins if another one is refused. Else what is wrong with a target is left to its own beginning.
async fn look(sinks: &[&Sink<'_>], schema: &SchemaRef) -> Vec<Result<Plan>> {
    if sinks.len() < 2 {
        return Vec::new();
    }
    let looks = sinks.iter().map(|sink| async move {
        let request = sink.request(schema.clone())?;
        let look = sink.within_timeout(sink.resolve(request)).await?;
        look.plan().check()?;
        Ok::<_, Error>(look.plan().clone())
    });
    join_all(looks).await
}

/// Whether the whole load is not run again after this error.
pub(super) fn is_final(sink: &Sink<'_>, error: &Error) -> bool {
    if sink.reopens(error) {
        return false;
    }
    !error.is_transient()
        || error.is_exhausted()
        || !sink.may_repeat()
        || sink.retries_left() == 0
        || sink.time_left().is_some_and(|left| left.is_zero())
}

/// The error of a destination that was stopped because another one failed.
pub(super) fn stopped() -> Error {
    let message = "another destination failed, and fail_fast was asked for";
    Error::new(ErrorKind::Stopped, message).with_retry(Retry::Never)
}
