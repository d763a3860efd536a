//! One server: its channels, and how it is called.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, FlightDescriptor, FlightInfo};
use arrowload_core::{Error, ErrorKind, QueryProgress, Result, Retry};
use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use prost::Message;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::cancel::CancelOnDrop;
use crate::channel::open;
use crate::config::FlightSqlConfig;
use crate::credentials::Credentials;
use crate::error::{from_status, malformed};

/// The means that a location names the connection that there is.
const REUSE: &str = "arrow-flight-reuse-connection://";

/// As long as a message of gRPC can be: its length has four bytes. It bounds what a compressed message unpacks to.
const LONGEST_MESSAGE: usize = u32::MAX as usize;

/// Pauses before another try, doubled each time, and all of them together.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const PAUSES_WITHIN: Duration = Duration::from_secs(60);

/// The pause between two polls of a query, if the server answers at once.
const BETWEEN_POLLS: Duration = Duration::from_millis(200);

/// A connection, and the headers that the server wants with every call.
#[derive(Debug)]
pub(crate) struct Server {
    config: FlightSqlConfig,
    channel: Channel,
    /// Further channels, and those to other locations, once they are used.
    others: Mutex<HashMap<String, Channel>>,
    credentials: Credentials,
    /// Whether the server says how far a query is, until it says otherwise.
    polls: AtomicBool,
}

impl Server {
    /// Connects and authenticates.
    pub(crate) async fn connect(config: FlightSqlConfig) -> Result<Arc<Self>> {
        config.check()?;
        let channel = open(&config, None).await?;
        let credentials = Credentials::new(&config)?;
        let server = Arc::new(Self {
            config,
            channel,
            others: Mutex::default(),
            credentials,
            polls: AtomicBool::new(true),
        });
        server.credentials.handshake(&server).await?;
        Ok(server)
    }

    pub(crate) fn config(&self) -> &FlightSqlConfig {
        &self.config
    }

    /// The calls of Flight over a channel.
    pub(crate) fn calls_over(channel: Channel) -> FlightServiceClient<Channel> {
        use tonic::codec::CompressionEncoding::{Gzip, Zstd};
        FlightServiceClient::new(channel)
            .max_decoding_message_size(LONGEST_MESSAGE)
            .max_encoding_message_size(LONGEST_MESSAGE)
            .accept_compressed(Gzip)
            .accept_compressed(Zstd)
    }

    /// The calls over the server's own channel.
    pub(crate) fn calls(&self) -> FlightServiceClient<Channel> {
        Self::calls_over(self.channel.clone())
    }

    /// The channel to a location: the server's own for none, or for the name that means it. A connection is one stream of
    /// bytes, encrypted and cut into messages on one core at either end, so endpoints are spread over several.
    pub(crate) async fn channel_to(&self, location: &str, endpoint: usize) -> Result<Channel> {
        let lane = endpoint % self.config.connections();
        if location.starts_with(REUSE) || (location.is_empty() && lane == 0) {
            return Ok(self.channel.clone());
        }
        let name = format!("{lane} {location}");
        let known = lock(&self.others).get(&name).cloned();
        if let Some(channel) = known {
            return Ok(channel);
        }
        let channel = match open(
            &self.config,
            Some(location).filter(|location| !location.is_empty()),
        )
        .await
        {
            // The server may want no more connections than one.
            Err(error) if location.is_empty() => {
                tracing::debug!(%error, "endpoints share the first connection");
                self.channel.clone()
            }
            channel => channel?,
        };
        lock(&self.others).insert(name, channel.clone());
        Ok(channel)
    }

    /// A call with what the server has to be told.
    pub(crate) async fn request<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.credentials.headers(&self.config).await?;
        Ok(request)
    }

    /// Waits for an answer, but not for ever, and takes the cookies that come with it.
    pub(crate) async fn answer<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T> {
        let response = self
            .in_time(what, call)
            .await?
            .map_err(|status| self.explain(status))?;
        self.credentials.keep_cookies(response.metadata());
        Ok(response.into_inner())
    }

    /// The error of a call, with the server's address.
    pub(crate) fn explain(&self, status: Status) -> Error {
        from_status(status).with("server", self.config.address())
    }

    /// Waits as long as the server may be silent.
    pub(crate) async fn in_time<T>(&self, what: &str, wait: impl Future<Output = T>) -> Result<T> {
        let limit = self.config.idle_timeout();
        tokio::time::timeout(limit, wait).await.map_err(|_| {
            let message = format!(
                "the server was silent for {limit:?} {what}; raise idle_timeout if it needs longer"
            );
            Error::new(ErrorKind::Timeout, message)
                .with("server", self.config.address())
                .transient()
        })
    }

    /// The next message of a stream, or `None` at its end.
    pub(crate) async fn next<T>(
        &self,
        what: &str,
        messages: &mut Streaming<T>,
    ) -> Result<Option<T>> {
        self.in_time(what, messages.message())
            .await?
            .map_err(|status| self.explain(status))
    }

    /// Retries while the server is not ready, no sooner than it asks, and once with a new token, if one can be fetched. For calls
    /// that change nothing.
    pub(crate) async fn retrying<T, F: Future<Output = Result<T>>>(
        &self,
        mut call: impl FnMut() -> F,
    ) -> Result<T> {
        let mut is_renewed = false;
        loop {
            let backoff = ExponentialBuilder::default()
                .with_jitter()
                .with_min_delay(FIRST_PAUSE)
                .with_max_times(self.config.max_retries as usize)
                .with_total_delay(Some(PAUSES_WITHIN));
            let outcome = (&mut call)
                .retry(backoff)
                // A server that was silent for as long as it may be is not asked again.
                .when(|error| error.is_transient() && error.kind() != ErrorKind::Timeout)
                .adjust(|error, pause| match error.retry() {
                    Retry::Transient { after: Some(asked) } => pause.map(|pause| pause.max(asked)),
                    _ => pause,
                })
                .notify(|error, pause| tracing::warn!(%error, ?pause, "trying again"))
                .await;
            match outcome {
                Err(error)
                    if error.kind() == ErrorKind::Authentication
                        && !is_renewed
                        && self.credentials.renew(self).await? =>
                {
                    is_renewed = true;
                }
                outcome => return outcome,
            }
        }
    }

    /// An action that returns one message.
    pub(crate) async fn action(&self, name: &str, body: impl Message) -> Result<Bytes> {
        self.action_without_answer(name, body)
            .await?
            .ok_or_else(|| malformed(format!("nothing came back from {name}")))
    }

    /// An action that returns one message, or none.
    pub(crate) async fn action_without_answer(
        &self,
        name: &str,
        body: impl Message,
    ) -> Result<Option<Bytes>> {
        let request = self
            .request(Action {
                r#type: name.to_owned(),
                body: body.encode_to_vec().into(),
            })
            .await?;
        let what = format!("after {name}");
        let mut answers = self.answer(&what, self.calls().do_action(request)).await?;
        Ok(self
            .next(&what, &mut answers)
            .await?
            .map(|answer| answer.body))
    }

    /// Where the rows of a command are, once the server has them; what is in progress is cancelled if the caller goes.
    pub(crate) async fn info(
        self: &Arc<Self>,
        command: &arrow_flight::sql::Any,
        progress: &QueryProgress,
    ) -> Result<(FlightInfo, CancelOnDrop)> {
        let descriptor = FlightDescriptor::new_cmd(command.encode_to_vec());
        if let Some(polled) = self.poll(&descriptor, progress).await? {
            return Ok(polled);
        }
        let ask = || async {
            let request = self.request(descriptor.clone()).await?;
            self.answer(
                "after the query was sent",
                self.calls().get_flight_info(request),
            )
            .await
        };
        let info = self.retrying(ask).await?;
        let cancel = CancelOnDrop::new(Arc::clone(self), Some(info.clone()));
        Ok((info, cancel))
    }

    /// Polls until the query is done, so that a long query is not one silent call; `None` if the server cannot.
    async fn poll(
        self: &Arc<Self>,
        descriptor: &FlightDescriptor,
        said: &QueryProgress,
    ) -> Result<Option<(FlightInfo, CancelOnDrop)>> {
        if !self.config.poll || !self.polls.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut cancel = CancelOnDrop::new(Arc::clone(self), None);
        let mut next = descriptor.clone();
        loop {
            let asked = tokio::time::Instant::now();
            let ask = || async {
                let request = self.request(next.clone()).await?;
                self.answer(
                    "after it was asked how far the query is",
                    self.calls().poll_flight_info(request),
                )
                .await
            };
            let answer = match self.retrying(ask).await {
                Err(error) if is_unimplemented(&error) && next == *descriptor => {
                    self.polls.store(false, Ordering::Relaxed);
                    return Ok(None);
                }
                answer => answer?,
            };
            if let Some(progress) = answer.progress {
                said.report(progress);
            }
            cancel.set(answer.info.clone());
            match (answer.flight_descriptor, answer.info) {
                (None, Some(info)) => return Ok(Some((info, cancel))),
                (None, None) => {
                    return Err(malformed(
                        "the query is done, and nothing says where its rows are",
                    ));
                }
                (Some(descriptor), _) => next = descriptor,
            }
            tokio::time::sleep_until(asked + BETWEEN_POLLS).await;
        }
    }
}

fn is_unimplemented(error: &Error) -> bool {
    error.code() == Some("Unimplemented")
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
