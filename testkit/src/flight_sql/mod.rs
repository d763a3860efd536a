//! A Flight SQL server on DataFusion, in this process, that misbehaves where it is told to: for tests of clients, and for
//! examples.
#![expect(
    clippy::expect_used,
    reason = "a server for tests says what is wrong and ends"
)]

mod edge;
mod messages;
mod service;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use arrow_ipc::CompressionType;
use futures::stream;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use edge::Edge;
use service::Service;

/// How the server misbehaves.
#[derive(Debug, Clone, Default)]
pub struct FlightSqlBehaviour {
    /// Into how many endpoints an answer is cut; 0 is one.
    pub endpoints: usize,
    /// The locations of each endpoint.
    pub locations: Vec<String>,
    /// Says that the order of the endpoints matters.
    pub ordered: bool,
    /// The token that every call needs; a handshake with `ada` and `pw` gives it.
    pub token: Option<&'static str>,
    /// Waits so long before it answers.
    pub late: Option<Duration>,
    /// Falls silent after so many messages of rows.
    pub silent_after: Option<usize>,
    /// Breaks off after so many messages of rows, this many times.
    pub cut_after: Option<(usize, usize)>,
    /// Announces another schema, or none.
    pub announces: AnnouncedSchema,
    /// The tickets have expired, and what comes of that.
    pub expired: Option<ExpiredTickets>,
    /// Sends bytes in place of the second message.
    pub garbage: bool,
    /// Is not ready the first so many times.
    pub unavailable: usize,
    /// Has no room the first so many times, and says after how long it will.
    pub busy: Option<(usize, Duration)>,
    /// Says so many times how far the query is before it is done.
    pub polls: usize,
    /// Sends metadata of the application with the announcement, with the rows, and between them.
    pub app_metadata: bool,
    /// How many rows a message has; 0 is a hundred.
    pub rows_per_message: usize,
    /// How the bodies of messages are compressed.
    pub body_compression: Option<CompressionType>,
    /// How whole messages are compressed.
    pub message_compression: Option<CompressionEncoding>,
    /// Columns of text come as dictionaries that grow from batch to batch.
    pub growing_dictionaries: bool,
}

/// What the server does with tickets that have expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiredTickets {
    /// It renews them.
    Renewed,
    /// It takes them all the same.
    Taken,
    /// It refuses them.
    Refused,
    /// It refuses those of the first answer; others do not expire.
    FirstRefused,
}

/// The schema that an answer announces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AnnouncedSchema {
    /// That of its rows.
    #[default]
    Truth,
    /// Another.
    Other,
    /// That of its rows, with other metadata.
    OtherMetadata,
    /// None: it comes with the rows.
    Nothing,
}

/// A server on a free port of loopback that runs until it is dropped. Its tables are what DataFusion has of itself, such as
/// `generate_series(1, 1000)`, and files named in quotes.
#[derive(Debug)]
pub struct ThrowawayFlightSql {
    port: u16,
    log: Arc<Mutex<Vec<String>>>,
    token: Arc<Mutex<Option<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for ThrowawayFlightSql {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ThrowawayFlightSql {
    /// Starts a server.
    pub async fn start(behaviour: FlightSqlBehaviour) -> Self {
        Self::serve(behaviour, None).await
    }

    /// Starts an encrypted server, with a certificate and its key in PEM, and the authority of its clients if it wants to know
    /// them. The process needs a default provider of rustls.
    pub async fn with_tls(
        behaviour: FlightSqlBehaviour,
        certificate: &str,
        key: &str,
        clients: Option<&str>,
    ) -> Self {
        let mut tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
        if let Some(authority) = clients {
            tls = tls.client_ca_root(Certificate::from_pem(authority));
        }
        Self::serve(behaviour, Some(tls)).await
    }

    async fn serve(behaviour: FlightSqlBehaviour, tls: Option<ServerTlsConfig>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let service = Service::new(behaviour);
        let (log, token, compression) = (
            Arc::clone(&service.log),
            Arc::clone(&service.token),
            service.behaviour.message_compression,
        );
        let mut flight = FlightServiceServer::new(Edge(service))
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        if let Some(compression) = compression {
            flight = flight.send_compressed(compression);
        }
        let mut builder = Server::builder();
        if let Some(tls) = tls {
            builder = builder.tls_config(tls).expect("an identity");
        }
        let incoming = stream::unfold(listener, |listener| async move {
            Some((listener.accept().await.map(|(socket, _)| socket), listener))
        });
        let task = tokio::spawn(async move {
            builder
                .add_service(flight)
                .serve_with_incoming(incoming)
                .await
                .expect("it serves");
        });
        Self {
            port,
            log,
            token,
            task,
        }
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a plain server.
    pub fn url(&self) -> String {
        format!("grpc://127.0.0.1:{}", self.port)
    }

    /// From now on every call needs this token.
    pub fn accept_only(&self, token: &str) {
        *self.token.lock().expect("a token") = Some(token.to_owned());
    }

    /// How often it was told something, as [`was_told`](Self::was_told) has it.
    pub fn times_told(&self, what: &str) -> usize {
        self.log
            .lock()
            .expect("a log")
            .iter()
            .filter(|line| line.starts_with(what))
            .count()
    }

    /// Forgets what it was told.
    pub fn forget(&self) {
        self.log.lock().expect("a log").clear();
    }

    /// Whether an action of this name came, or tickets were redeemed (`get`).
    pub fn was_told(&self, what: &str) -> bool {
        self.times_told(what) > 0
    }
}
