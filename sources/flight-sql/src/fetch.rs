//! The rows of an answer: all endpoints, several at once, in order where the server says so.
//!
//! Each endpoint is a task with a bounded channel, so that decoding overlaps what is done with the rows, a panic over
//! malformed bytes becomes an error, and nothing is fetched that there is no room for.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::{Action, CancelFlightInfoRequest, FlightEndpoint, FlightInfo, RenewFlightEndpointRequest};
use arrow_schema::{Schema, SchemaRef};
use arrowload_core::{BatchStream, Error, ErrorKind, Result};
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::connect::Server;
use crate::error::{from_flight, from_status, malformed};

/// Batches of an endpoint that may wait: the next is decoded while one is used.
const WAITING: usize = 2;

/// The batches of an answer. Dropping the stream before its end tells the server to stop.
pub(crate) async fn fetch(server: Arc<Server>, info: FlightInfo) -> Result<BatchStream> {
    let announced = announced_schema(&info)?;
    let rows = u64::try_from(info.total_records).ok();
    let ordered = info.ordered;
    let (mut receivers, guard) = start(&server, &info, announced.clone(), ordered);
    let Some(schema) = announced else {
        // A server may leave the schema to the first message.
        return first_schema(&mut receivers, guard, rows).await;
    };
    Ok(finish(schema, stream_of(receivers, guard), rows))
}

fn finish(schema: SchemaRef, batches: impl futures::Stream<Item = Result<RecordBatch>> + Send + 'static, rows: Option<u64>) -> BatchStream {
    let stream = BatchStream::new(schema, batches);
    match rows {
        Some(rows) => stream.with_expected_rows(rows),
        None => stream,
    }
}

fn announced_schema(info: &FlightInfo) -> Result<Option<SchemaRef>> {
    if info.schema.is_empty() {
        return Ok(None);
    }
    let schema: Schema = info.clone().try_decode_schema().map_err(malformed)?;
    Ok(Some(Arc::new(schema)))
}

/// What a task of an endpoint sends: its schema once, then batches.
enum Item {
    Schema(SchemaRef),
    Batch(RecordBatch),
    Failed(Error),
}

type Receivers = Vec<mpsc::Receiver<Item>>;

/// Cancels what is under way when it is dropped before the end.
struct Guard {
    server: Arc<Server>,
    /// Not there once all rows have come.
    info: Option<FlightInfo>,
    /// Ends the tasks when it is dropped.
    _tasks: AbortOnDrop,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (Some(info), Ok(runtime)) = (self.info.take(), tokio::runtime::Handle::try_current()) else { return };
        let server = Arc::clone(&self.server);
        runtime.spawn(async move {
            let body = CancelFlightInfoRequest { info: Some(info) }.encode_to_vec();
            let request = server.request(Action { r#type: "CancelFlightInfo".into(), body: body.into() });
            let mut calls = Server::calls(server.channel());
            // Many servers cannot; they notice that nobody listens.
            if let Err(error) = server.answer("after it was told to cancel", calls.do_action(request)).await {
                tracing::debug!(%error, "the server was not told to cancel the query");
            }
        });
    }
}

/// Starts the tasks: one channel for each endpoint in order, or one for all.
fn start(server: &Arc<Server>, info: &FlightInfo, announced: Option<SchemaRef>, ordered: bool) -> (Receivers, Guard) {
    let (mut receivers, mut work, mut shared) = (Vec::new(), Vec::new(), None);
    for endpoint in info.endpoint.clone() {
        let sender = match &shared {
            Some(sender) if !ordered => mpsc::Sender::clone(sender),
            _ => {
                let (sender, receiver) = mpsc::channel(WAITING);
                receivers.push(receiver);
                shared = Some(sender.clone());
                sender
            }
        };
        work.push((endpoint, sender));
    }
    let dispatching = tokio::spawn(dispatch(Arc::clone(server), work, announced));
    (receivers, Guard { server: Arc::clone(server), info: Some(info.clone()), _tasks: AbortOnDrop(dispatching.abort_handle()) })
}

/// Begins the endpoints in their order, as many at once as may be: the one that is waited for is never behind the others.
async fn dispatch(server: Arc<Server>, work: Vec<(FlightEndpoint, mpsc::Sender<Item>)>, announced: Option<SchemaRef>) {
    let mut tasks = JoinSet::new();
    for (endpoint, sender) in work {
        if tasks.len() >= server.config().max_endpoints {
            tasks.join_next().await;
        }
        let (server, announced) = (Arc::clone(&server), announced.clone());
        tasks.spawn(async move {
            let rows = AssertUnwindSafe(endpoint_rows(server, endpoint, announced, sender.clone()));
            let outcome = rows.catch_unwind().await.unwrap_or_else(|_| Err(malformed("it cannot be decoded")));
            if let Err(error) = outcome {
                // Nobody listens any more when the stream was dropped.
                let _ = sender.send(Item::Failed(error)).await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// Ends a task, and what it has begun.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// All batches, channel after channel.
fn stream_of(receivers: Receivers, guard: Guard) -> impl futures::Stream<Item = Result<RecordBatch>> + Send {
    let receivers = receivers.into_iter();
    stream::unfold(Some((receivers, None::<mpsc::Receiver<Item>>, guard)), |state| async move {
        let (mut receivers, mut current, mut guard) = state?;
        loop {
            if current.is_none() {
                current = receivers.next();
            }
            let Some(receiver) = &mut current else {
                guard.info = None;
                return None;
            };
            match receiver.recv().await {
                Some(Item::Batch(batch)) => return Some((Ok(batch), Some((receivers, current, guard)))),
                Some(Item::Schema(_)) => {}
                Some(Item::Failed(error)) => return Some((Err(error), None)),
                None => current = None,
            }
        }
    })
}

/// The stream of an answer whose schema comes with the rows.
async fn first_schema(receivers: &mut Receivers, guard: Guard, rows: Option<u64>) -> Result<BatchStream> {
    let Some(first) = receivers.first_mut() else {
        return Err(malformed("it announces neither a schema nor an endpoint"));
    };
    match first.recv().await {
        Some(Item::Schema(schema)) => Ok(finish(schema, stream_of(std::mem::take(receivers), guard), rows)),
        Some(Item::Failed(error)) => Err(error),
        Some(Item::Batch(_)) | None => Err(malformed("it has no schema")),
    }
}

/// Fetches one endpoint from the first of its locations that answers.
async fn endpoint_rows(
    server: Arc<Server>,
    mut endpoint: FlightEndpoint,
    announced: Option<SchemaRef>,
    sender: mpsc::Sender<Item>,
) -> Result<()> {
    if is_expired(&endpoint) {
        endpoint = renew(&server, endpoint).await?;
    }
    let locations: Vec<String> = match endpoint.location.is_empty() {
        true => vec![String::new()],
        false => endpoint.location.iter().map(|location| location.uri.clone()).collect(),
    };
    let mut last = None;
    for location in locations {
        let mut sent = false;
        match location_rows(&server, &endpoint, &location, announced.as_ref(), &sender, &mut sent).await {
            Ok(()) => return Ok(()),
            // Rows that were handed on cannot be taken back.
            Err(error) if sent => return Err(error),
            Err(error) => {
                tracing::debug!(%error, location, "the next location of the endpoint is tried");
                last = Some(error);
            }
        }
    }
    Err(last.unwrap_or_else(|| malformed("an endpoint has no location")))
}

async fn location_rows(
    server: &Server,
    endpoint: &FlightEndpoint,
    location: &str,
    announced: Option<&SchemaRef>,
    sender: &mpsc::Sender<Item>,
    sent: &mut bool,
) -> Result<()> {
    let ticket = endpoint.ticket.clone().ok_or_else(|| malformed("an endpoint has no ticket"))?;
    let mut calls = Server::calls(server.channel_to(location).await?);
    let data = server.answer("after rows were asked for", calls.do_get(server.request(ticket))).await?;
    let data = data.map(|message| message.map_err(FlightError::from));
    let mut rows = FlightRecordBatchStream::new_from_flight_data(data);
    let mut schema_seen = false;
    loop {
        let next = server.in_time("in the middle of the rows", rows.next()).await?;
        if !schema_seen && let Some(schema) = rows.schema() {
            schema_seen = true;
            match announced {
                Some(announced) => check_schema(announced, schema)?,
                None if sender.send(Item::Schema(Arc::clone(schema))).await.is_err() => return Ok(()),
                None => {}
            }
        }
        match next {
            None => return Ok(()),
            Some(Err(error)) => return Err(from_flight(error)),
            Some(Ok(batch)) => {
                let batch = match announced {
                    // The same columns, with the names and metadata that were announced.
                    Some(schema) => batch.with_schema(Arc::clone(schema)).map_err(malformed)?,
                    None => batch,
                };
                *sent = true;
                if sender.send(Item::Batch(batch)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// Refuses rows of other columns than were announced.
fn check_schema(announced: &Schema, sent: &Schema) -> Result<()> {
    let columns = |schema: &Schema| -> Vec<String> {
        schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect()
    };
    let (before, now) = (columns(announced), columns(sent));
    if before == now {
        return Ok(());
    }
    let message = format!("the server announced the columns {} and sends {}", before.join(", "), now.join(", "));
    Err(Error::new(ErrorKind::SchemaMismatch, message))
}

fn is_expired(endpoint: &FlightEndpoint) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    endpoint.expiration_time.as_ref().is_some_and(|time| u64::try_from(time.seconds).unwrap_or(0) <= now)
}

/// Asks for more time. A server that gives none has to be asked for the rows anew: the load as a whole tries again.
async fn renew(server: &Server, endpoint: FlightEndpoint) -> Result<FlightEndpoint> {
    let body = RenewFlightEndpointRequest { endpoint: Some(endpoint) }.encode_to_vec();
    let request = server.request(Action { r#type: "RenewFlightEndpoint".into(), body: body.into() });
    let mut calls = Server::calls(server.channel());
    let expired = |error: Error| {
        let message = format!("the ticket for the rows has expired, and the server does not renew it: {}", error.message());
        Error::new(ErrorKind::Connection, message).transient()
    };
    let mut answers = server.answer("after a ticket was to be renewed", calls.do_action(request)).await.map_err(expired)?;
    let answer = server.in_time("while a ticket was renewed", answers.message()).await?.map_err(|status| expired(from_status(status)))?;
    let body = answer.ok_or_else(|| expired(malformed("no endpoint came back")))?.body;
    FlightEndpoint::decode(body).map_err(malformed)
}
