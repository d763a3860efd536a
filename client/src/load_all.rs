//! One query into several destinations: each batch is read once, and each destination has its own outcome.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use arrowload_core::__private::count_unconnected;
use arrowload_core::{
    Destination as Place, Error, ErrorKind, Input, LoadReport, LoadState, Loader, Operator, Plan,
    Progress, Result,
};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};

use crate::destination::Prepared;
use crate::{Client, Destination};

/// A load into several destinations that is being set up. Awaiting it runs it, and returns one outcome for each destination, in
/// their order.
///
/// Each batch is read once, and handed to each destination. Each destination has its own options, its own retries and its own
/// report, and keeps its own promises: one that fails does not stop the others, unless [`fail_fast`](Self::fail_fast) is set, and
/// no two of them commit together. Destinations without a `load_id` share one that is made up.
///
/// A repetition with the same `load_id`s writes only where the load is missing. The query is run again for that, and may answer
/// otherwise: [`DestinationOutcome::asked_again`] says where.
#[must_use = "a load does nothing until it is awaited"]
pub struct LoadAllBuilder {
    client: Client,
    input: Input,
    destinations: Vec<Destination>,
    fail_fast: bool,
}

/// What became of one of several destinations.
#[derive(Debug)]
#[non_exhaustive]
pub struct DestinationOutcome<T = LoadReport> {
    /// The loader.
    pub loader: String,
    /// The target.
    pub target: String,
    /// The name of the connection, if it has one.
    pub connection: Option<String>,
    /// How its load ended.
    pub result: Result<T>,
    /// Another destination has its rows from an earlier run of the query: from an earlier load with its `load_id`, or from an
    /// earlier attempt of this one. The query was run again for this destination, and may have answered otherwise.
    pub asked_again: bool,
}

impl LoadAllBuilder {
    pub(crate) fn new(client: Client, input: Input, destinations: Vec<Destination>) -> Self {
        Self {
            client,
            input,
            destinations,
            fail_fast: false,
        }
    }

    /// After a failure, none of the destinations that are not committed yet is committed: each of them fails too, with
    /// [`ErrorKind::Stopped`].
    pub fn fail_fast(mut self) -> Self {
        self.fail_fast = true;
        self
    }

    /// Says what rows these are a part of, as [`Input::part_of`] does.
    pub fn part_of(mut self, origin: impl Into<String>) -> Self {
        self.input = self.input.part_of(origin);
        self
    }

    /// Puts an operator between the rows and all destinations, after those that were added before.
    pub fn through(mut self, operator: impl Operator) -> Self {
        self.input = self.input.through(operator);
        self
    }

    /// Resolves names and keys, and refuses what the loaders cannot do. Nothing is connected yet.
    ///
    /// # Errors
    /// What is refused before any I/O.
    pub fn check(self) -> Result<()> {
        prepare(&self.client, self.destinations).map(drop)
    }

    /// Says what the load would do in each destination, and changes nothing.
    ///
    /// # Errors
    /// What is refused before any I/O; everything else is the outcome of its destination.
    pub async fn plan(self) -> Result<Vec<DestinationOutcome<Plan>>> {
        let (client, input) = (&self.client, &self.input);
        let prepared = prepare(client, self.destinations)?;
        let connected = join_all(prepared.iter().map(|one| one.connect(client))).await;
        let planned = arrowload_core::plan_all(&places(&connected, &prepared), input).await?;
        let reading = |plan: &Plan| u32::from(plan.already_loaded.is_none());
        let mut planned = planned.into_iter();
        let ended = connected.into_iter().zip(&prepared).map(|(loader, one)| {
            let mut planned = loader.and_then(|_| planned.next().unwrap_or_else(missing));
            if let Ok(plan) = &mut planned {
                plan.connection.clone_from(&one.connection);
            }
            let reading = planned.as_ref().ok().map(reading);
            (planned, reading)
        });
        Ok(outcomes(&prepared, ended.collect()))
    }

    /// Whether a load with the `load_id` of each destination has committed there. A question: it changes nothing.
    ///
    /// # Errors
    /// What is refused before any I/O: without a `load_id`, [`ErrorKind::InvalidOption`].
    pub async fn find(self) -> Result<Vec<DestinationOutcome<LoadState>>> {
        let prepared = prepare(&self.client, self.destinations)?;
        prepared
            .iter()
            .try_for_each(|one| one.load_id().map(drop))?;
        let found = join_all(prepared.iter().map(|one| one.find(&self.client))).await;
        let ended = found.into_iter().map(|found| (found, None));
        Ok(outcomes(&prepared, ended.collect()))
    }

    async fn run(self) -> Result<Vec<DestinationOutcome>> {
        let mut prepared = prepare(&self.client, self.destinations)?;
        // One id is enough to repeat the load.
        let made_up = uuid::Uuid::now_v7().to_string();
        for one in &mut prepared {
            one.spec.new_load_id.get_or_insert_with(|| made_up.clone());
        }
        let readings: Vec<_> = prepared.iter_mut().map(note_reading).collect();
        let connecting = prepared.iter().map(|one| one.connect(&self.client));
        let mut connected = join_all(connecting).await;
        for (_, one) in connected
            .iter()
            .zip(&prepared)
            .filter(|(loader, _)| loader.is_err())
        {
            count_unconnected(one.descriptor.name());
        }
        if self.fail_fast && connected.iter().any(Result::is_err) {
            connected
                .iter_mut()
                .filter(|loader| loader.is_ok())
                .for_each(|loader| *loader = Err(stopped()));
        }
        let places = places(&connected, &prepared);
        let loaded = arrowload_core::load_all(&places, &self.input, self.fail_fast).await?;
        let mut loaded = loaded.into_iter();
        let ended = connected
            .into_iter()
            .zip(readings)
            .map(|(loader, reading)| {
                let result = loader.and_then(|_| loaded.next().unwrap_or_else(missing));
                let reading = result.as_ref().ok().map(|report| {
                    let noted = reading.load(Ordering::Relaxed);
                    if report.already_loaded { 0 } else { noted }
                });
                (result, reading)
            });
        Ok(outcomes(&prepared, ended.collect()))
    }
}

/// Resolves names and keys, and refuses what cannot be: no I/O yet.
fn prepare(client: &Client, destinations: Vec<Destination>) -> Result<Vec<Prepared>> {
    let started = Instant::now();
    let mut prepared: Vec<Prepared> = Vec::with_capacity(destinations.len());
    for destination in destinations {
        let (loader, target) = (
            destination.loader().to_owned(),
            destination.target().to_owned(),
        );
        let one = destination
            .prepare(client, started)
            .map_err(|error| error.with("loader", loader).with("target", target))?;
        let twin =
            |other: &&Prepared| (&other.keys, &other.spec.target) == (&one.keys, &one.spec.target);
        if let Some(other) = prepared.iter().find(twin) {
            let name = |one: &Prepared| one.spec.connection.clone();
            let by = match (name(other), name(&one)) {
                (Some(one), Some(other)) if one != other => {
                    format!(" (by the connections `{one}` and `{other}`, which are one)")
                }
                _ => String::new(),
            };
            let (target, loader) = (&one.spec.target, one.descriptor.name());
            let message =
                format!("the target `{target}` of {loader} is named twice{by}; name it once");
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        prepared.push(one);
    }
    if prepared.is_empty() {
        let message = "there is no destination; name at least one";
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    Ok(prepared)
}

/// The destinations whose stores answered.
fn places<'a>(connected: &'a [Result<Loader>], prepared: &'a [Prepared]) -> Vec<Place<'a>> {
    let place = |(loader, one): (&'a Result<Loader>, &'a Prepared)| {
        let (loader, spec) = (loader.as_ref().ok()?, &one.spec);
        Some(Place { loader, spec })
    };
    connected.iter().zip(prepared).filter_map(place).collect()
}

fn missing<T>() -> Result<T> {
    let message = "internal error: a destination has no outcome";
    Err(Error::new(ErrorKind::Unexpected, message))
}

/// Notes which reading of the input brought the rows that are committed, counted from 1.
fn note_reading(one: &mut Prepared) -> Arc<AtomicU32> {
    let reading = Arc::new(AtomicU32::new(0));
    let (noted, shown) = (Arc::clone(&reading), one.spec.on_progress.take());
    one.spec.on_progress = Some(Arc::new(move |progress: &Progress| {
        if progress.done {
            noted.store(progress.attempt, Ordering::Relaxed);
        }
        if let Some(shown) = &shown {
            shown(progress);
        }
    }));
    reading
}

/// Each result with what it is about. A reading is that of the rows that are in the target; 0 is that of an earlier load.
fn outcomes<T>(
    prepared: &[Prepared],
    ended: Vec<(Result<T>, Option<u32>)>,
) -> Vec<DestinationOutcome<T>> {
    let first = ended.iter().filter_map(|(_, reading)| *reading).min();
    let outcome =
        |(one, (result, reading)): (&Prepared, (Result<T>, Option<u32>))| DestinationOutcome {
            loader: one.descriptor.name().to_owned(),
            target: one.spec.target.clone(),
            connection: one.spec.connection.clone(),
            result,
            asked_again: reading > first,
        };
    prepared.iter().zip(ended).map(outcome).collect()
}

/// As the pipeline says of a destination that is stopped later.
fn stopped() -> Error {
    let message = "another destination failed, and fail_fast was asked for";
    Error::new(ErrorKind::Stopped, message)
}

impl IntoFuture for LoadAllBuilder {
    type Output = Result<Vec<DestinationOutcome>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.run().boxed()
    }
}

impl fmt::Debug for LoadAllBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadAllBuilder")
            .field("destinations", &self.destinations)
            .field("fail_fast", &self.fail_fast)
            .finish_non_exhaustive()
    }
}
