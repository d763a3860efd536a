//! The rows of an answer: all endpoints, several at once, in order where the server says so.
//!
//! Each endpoint is a task with a bounded channel, so that decoding overlaps what is done with the rows, and nothing is
//! fetched that there is no room for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_flight::{FlightEndpoint, FlightInfo, RenewFlightEndpointRequest};
use arrow_schema::SchemaRef;
use arrowload_common_ipc::{Decoded, Decoder};
use arrowload_core::{Error, ErrorKind, Result};
use futures::stream::{self, Stream, StreamExt};
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::announced;
use crate::cancel::CancelOnDrop;
use crate::connect::Server;
use crate::error::{malformed, undecoded};
use crate::stream::{EXPIRED, FlightBatch, FlightStream};

/// Batches of an endpoint that may wait: the next is decoded while one is used.
const WAITING: usize = 2;

/// Fetches the rows of an answer.
pub(crate) async fn fetch(
    server: Arc<Server>,
    info: FlightInfo,
    cancel: CancelOnDrop,
) -> Result<FlightStream> {
    let announced = announced::schema(&info)?;
    let expected_rows = u64::try_from(info.total_records).ok();
    let app_metadata = info.app_metadata.clone();
    let (mut receivers, tasks) = start(&server, info, announced.clone());
    let schema = match announced {
        Some(schema) => schema,
        // A server may leave the schema to the first message.
        None => first_schema(&mut receivers).await?,
    };
    Ok(FlightStream {
        schema,
        expected_rows,
        app_metadata,
        batches: stream_of(receivers, cancel, tasks).boxed(),
    })
}

/// What a task of an endpoint sends: its schema once, then batches.
enum Item {
    Schema(SchemaRef),
    Batch(FlightBatch),
    Failed(Error),
}

type Receivers = Vec<mpsc::Receiver<Item>>;

/// Starts the tasks: one channel for each endpoint in order, or one for all.
fn start(
    server: &Arc<Server>,
    info: FlightInfo,
    announced: Option<SchemaRef>,
) -> (Receivers, AbortOnDrop) {
    let (mut receivers, mut work, mut shared) = (Vec::new(), Vec::new(), None);
    for endpoint in info.endpoint {
        let sender = match &shared {
            Some(sender) if !info.ordered => mpsc::Sender::clone(sender),
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
    (receivers, AbortOnDrop(dispatching.abort_handle()))
}

/// Begins the endpoints in their order, as many at once as may be: the one that is waited for is never behind the others.
async fn dispatch(
    server: Arc<Server>,
    work: Vec<(FlightEndpoint, mpsc::Sender<Item>)>,
    announced: Option<SchemaRef>,
) {
    let mut tasks = JoinSet::new();
    for (number, (endpoint, sender)) in work.into_iter().enumerate() {
        if tasks.len() >= server.config().max_endpoints {
            tasks.join_next().await;
        }
        let (server, announced) = (Arc::clone(&server), announced.clone());
        tasks.spawn(async move {
            if let Err(error) =
                endpoint_rows(server, number, endpoint, announced, sender.clone()).await
            {
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
fn stream_of(
    receivers: Receivers,
    cancel: CancelOnDrop,
    tasks: AbortOnDrop,
) -> impl Stream<Item = Result<FlightBatch>> + Send {
    let receivers = receivers.into_iter();
    stream::unfold(
        Some((receivers, None::<mpsc::Receiver<Item>>, cancel, tasks)),
        |state| async move {
            let (mut receivers, mut current, mut cancel, tasks) = state?;
            loop {
                if current.is_none() {
                    current = receivers.next();
                }
                let Some(receiver) = &mut current else {
                    cancel.done();
                    return None;
                };
                match receiver.recv().await {
                    Some(Item::Batch(batch)) => {
                        return Some((Ok(batch), Some((receivers, current, cancel, tasks))));
                    }
                    Some(Item::Schema(_)) => {}
                    Some(Item::Failed(error)) => return Some((Err(error), None)),
                    None => current = None,
                }
            }
        },
    )
}

/// The schema of an answer that comes with the rows.
async fn first_schema(receivers: &mut Receivers) -> Result<SchemaRef> {
    let Some(first) = receivers.first_mut() else {
        return Err(malformed("it announces neither a schema nor an endpoint"));
    };
    match first.recv().await {
        Some(Item::Schema(schema)) => Ok(schema),
        Some(Item::Failed(error)) => Err(error),
        Some(Item::Batch(_)) | None => Err(malformed("it has no schema")),
    }
}

/// Fetches one endpoint from the first of its locations that answers.
async fn endpoint_rows(
    server: Arc<Server>,
    number: usize,
    mut endpoint: FlightEndpoint,
    announced: Option<SchemaRef>,
    sender: mpsc::Sender<Item>,
) -> Result<()> {
    let mut expired = None;
    if is_expired(&endpoint) {
        match renew(&server, &endpoint).await {
            Ok(renewed) => endpoint = renewed,
            // The server may take it all the same: its clock is another.
            Err(error) => expired = Some(error),
        }
    }
    let locations: Vec<String> = match endpoint.location.is_empty() {
        true => vec![String::new()],
        false => endpoint
            .location
            .iter()
            .map(|location| location.uri.clone())
            .collect(),
    };
    let sent = AtomicBool::new(false);
    let ask = || async {
        let mut failure: Option<Error> = None;
        for location in &locations {
            let outcome = async {
                let channel = server.channel_to(location, number).await?;
                location_rows(
                    &server,
                    channel,
                    &endpoint,
                    announced.as_ref(),
                    &sender,
                    &sent,
                )
                .await
            };
            let outcome = outcome.await;
            // Rows that were passed on cannot be taken back, so nothing is tried again after them.
            let Err(error) = outcome else {
                return Ok(Ok(()));
            };
            if sent.load(Ordering::Relaxed) {
                return Ok(Err(error));
            }
            tracing::debug!(%error, location, "the next location of the endpoint is tried");
            // If several calls fail, a transient error is reported.
            failure = failure.filter(Error::is_transient).or(Some(error));
        }
        Err(failure.unwrap_or_else(|| malformed("an endpoint has no location")))
    };
    let outcome = match expired {
        None => server.retrying(ask).await,
        Some(_) => ask().await,
    };
    match (outcome, expired) {
        (Err(error), Some(why)) => Err(expired_ticket(&why).with_source(error)),
        (outcome, _) => outcome?,
    }
}

async fn location_rows(
    server: &Server,
    channel: Channel,
    endpoint: &FlightEndpoint,
    announced: Option<&SchemaRef>,
    sender: &mpsc::Sender<Item>,
    sent: &AtomicBool,
) -> Result<()> {
    let ticket = endpoint
        .ticket
        .clone()
        .ok_or_else(|| malformed("an endpoint has no ticket"))?;
    let mut calls = Server::calls_over(channel);
    let mut messages = server
        .answer(
            "after rows were asked for",
            calls.do_get(server.request(ticket).await?),
        )
        .await?;
    let mut decoder = Decoder::new(server.config().max_batch_bytes);
    while let Some(message) = server
        .next("in the middle of the rows", &mut messages)
        .await?
    {
        let app_metadata = message.app_metadata.clone();
        let decoded = decoder.decode(&message.data_header, message.data_body);
        let item = match decoded.map_err(undecoded)? {
            Decoded::Schema(schema) => match announced {
                Some(announced) => {
                    announced::check(announced, &schema)?;
                    continue;
                }
                None => Item::Schema(schema),
            },
            Decoded::Batch(batch) => {
                let batch = match announced {
                    Some(schema) => announced::conform(&batch, schema)?,
                    None => batch,
                };
                sent.store(true, Ordering::Relaxed);
                Item::Batch(FlightBatch {
                    batch,
                    app_metadata,
                })
            }
            _ => continue,
        };
        if sender.send(item).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn is_expired(endpoint: &FlightEndpoint) -> bool {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
    endpoint
        .expiration_time
        .as_ref()
        .is_some_and(|time| u64::try_from(time.seconds).unwrap_or(0) <= now)
}

/// Asks for more time.
async fn renew(server: &Server, endpoint: &FlightEndpoint) -> Result<FlightEndpoint> {
    let request = RenewFlightEndpointRequest {
        endpoint: Some(endpoint.clone()),
    };
    FlightEndpoint::decode(server.action("RenewFlightEndpoint", request).await?).map_err(malformed)
}

fn expired_ticket(why: &Error) -> Error {
    let message = format!(
        "the ticket for the rows has expired, and the server does not renew it: {}",
        why.message()
    );
    Error::new(ErrorKind::Connection, message)
        .with_code(EXPIRED)
        .transient()
}
