//! One server: its channels, and what is sent with every call.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_flight::HandshakeRequest;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrowload_core::{Error, ErrorKind, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Response, Status};

use crate::config::FlightSqlConfig;
use crate::error::from_status;
use crate::tls;

/// The means that a location names the connection that there is.
const REUSE: &str = "arrow-flight-reuse-connection://";

/// Bytes of an endpoint that may have come and wait to be used.
const STREAM_WINDOW: u32 = 4 << 20;
/// The same of all endpoints together: as many as HTTP/2 can say, so that one that waits for its turn never stops the others.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// A connection, and what the server asked to be told with every call.
#[derive(Debug)]
pub(crate) struct Server {
    config: FlightSqlConfig,
    channel: Channel,
    /// Channels to other locations, once they are used.
    others: Mutex<HashMap<String, Channel>>,
    headers: Mutex<MetadataMap>,
    cookies: Mutex<BTreeMap<String, String>>,
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}

impl Server {
    /// Connects and says who asks.
    pub(crate) async fn connect(config: FlightSqlConfig) -> Result<Arc<Self>> {
        config.check()?;
        let channel = open(&config, None).await?;
        let headers = Mutex::new(headers(&config)?);
        let server = Arc::new(Self { config, channel, others: Mutex::default(), headers, cookies: Mutex::default() });
        server.handshake().await?;
        Ok(server)
    }

    pub(crate) fn config(&self) -> &FlightSqlConfig {
        &self.config
    }

    /// The calls of Flight over a channel, without limits on the size of a message.
    pub(crate) fn calls(channel: Channel) -> FlightServiceClient<Channel> {
        use tonic::codec::CompressionEncoding::{Gzip, Zstd};
        FlightServiceClient::new(channel)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
            .accept_compressed(Gzip)
            .accept_compressed(Zstd)
    }

    /// The server's own channel.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The channel to a location: this one for none, and for the name that means it.
    pub(crate) async fn channel_to(&self, location: &str) -> Result<Channel> {
        if location.is_empty() || location.starts_with(REUSE) {
            return Ok(self.channel());
        }
        let known = lock(&self.others).get(location).cloned();
        if let Some(channel) = known {
            return Ok(channel);
        }
        let channel = open(&self.config, Some(location)).await?;
        lock(&self.others).insert(location.to_owned(), channel.clone());
        Ok(channel)
    }

    /// A call with what the server has to be told.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = lock(&self.headers).clone();
        let cookies = lock(&self.cookies);
        if !cookies.is_empty() {
            let text: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            if let Ok(value) = text.join("; ").parse() {
                request.metadata_mut().insert("cookie", value);
            }
        }
        request
    }

    /// Waits for an answer, but not for ever, and takes the cookies that come with it.
    pub(crate) async fn answer<T>(&self, what: &str, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T> {
        let response = self.in_time(what, call).await?.map_err(|status| self.explain(status))?;
        self.keep_cookies(response.metadata());
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
            let message = format!("the server was silent for {limit:?} {what}; raise idle_timeout if it needs longer");
            Error::new(ErrorKind::Timeout, message).with("server", self.config.address()).transient()
        })
    }

    fn keep_cookies(&self, metadata: &MetadataMap) {
        for cookie in metadata.get_all("set-cookie") {
            let pair = cookie.to_str().ok().and_then(|text| text.split(';').next()?.split_once('='));
            if let Some((name, value)) = pair {
                lock(&self.cookies).insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
    }

    /// Trades user and password for a token. A server without a handshake is told them with every call.
    async fn handshake(&self) -> Result<()> {
        let Some(user) = &self.config.user else { return Ok(()) };
        let password = self.config.password.as_ref().map_or("", |password| password.expose());
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
        let mut authorization: MetadataValue<Ascii> =
            basic.parse().map_err(|_| invalid("user and password have characters that no header can hold".into()))?;
        authorization.set_sensitive(true);
        lock(&self.headers).insert("authorization", authorization);
        let request = self.request(futures::stream::iter([HandshakeRequest::default()]));
        let mut calls = Self::calls(self.channel());
        let response = match self.in_time("after the handshake began", calls.handshake(request)).await? {
            Err(status) if status.code() == Code::Unimplemented => return Ok(()),
            other => other.map_err(|status| self.explain(status))?,
        };
        self.keep_cookies(response.metadata());
        let in_header = response.metadata().get("authorization").cloned();
        let first = self.in_time("in the handshake", response.into_inner().message()).await?;
        let payload = match first {
            Ok(message) => message.map(|message| message.payload).unwrap_or_default(),
            Err(status) if status.code() == Code::Unimplemented => return Ok(()),
            Err(status) => return Err(self.explain(status)),
        };
        let in_payload = || {
            let token = std::str::from_utf8(&payload).ok().filter(|token| !token.is_empty())?;
            format!("Bearer {token}").parse::<MetadataValue<Ascii>>().ok()
        };
        if let Some(mut token) = in_header.or_else(in_payload) {
            token.set_sensitive(true);
            lock(&self.headers).insert("authorization", token);
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn headers(config: &FlightSqlConfig) -> Result<MetadataMap> {
    let mut headers = MetadataMap::new();
    let token = config.token.as_ref().map(|token| ("authorization".to_owned(), format!("Bearer {}", token.expose())));
    let database = config.database.clone().map(|database| ("database".to_owned(), database));
    let given = config.headers.iter().map(|(key, value)| (key.clone(), value.expose().to_owned()));
    for (key, value) in database.into_iter().chain(token).chain(given) {
        let name: MetadataKey<Ascii> = key.to_ascii_lowercase().parse().map_err(|_| invalid(format!("`{key}` cannot be a header")))?;
        let mut value: MetadataValue<Ascii> =
            value.parse().map_err(|_| invalid(format!("the value of the header `{key}` has characters that no header can hold")))?;
        value.set_sensitive(key != "database");
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Opens a channel to the server, or to another location of it.
async fn open(config: &FlightSqlConfig, location: Option<&str>) -> Result<Channel> {
    let place = match location {
        None => Place { tls: config.tls, address: config.address(), socket: config.socket.clone() },
        Some(location) => Place::of(location)?,
    };
    if location.is_some() && config.tls && !place.tls {
        let message =
            format!("the server says that rows are at {} without encryption, and the connection is to be encrypted", place.address);
        return Err(Error::new(ErrorKind::Tls, message));
    }
    let authority = if place.socket.is_some() { "localhost" } else { place.address.as_str() };
    let uri: Uri = format!("http://{authority}").parse().map_err(|_| invalid(format!("`{authority}` is no host and port")))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let endpoint = Endpoint::from(uri)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .keep_alive_while_idle(true);
    let tls = if place.tls { Some(tls::connector(config, &host)?) } else { None };
    let (socket, address) = (place.socket.clone(), place.address.clone());
    let connector = tower::service_fn(move |_: Uri| {
        let (socket, address, tls) = (socket.clone(), address.clone(), tls.clone());
        async move { stream(socket, &address, tls).await.map(TokioIo::new) }
    });
    let limit = config.connect_timeout();
    match tokio::time::timeout(limit, endpoint.connect_with_connector(connector)).await {
        Ok(channel) => channel.map_err(|error| failed(error, &place)),
        Err(_) => {
            let message = format!("{} did not answer within {limit:?}; check host and port, or raise connect_timeout", place.address);
            Err(Error::new(ErrorKind::Timeout, message).with("server", place.address).transient())
        }
    }
}

/// Where a server is.
struct Place {
    tls: bool,
    /// Host and port, or the socket, for messages.
    address: String,
    socket: Option<PathBuf>,
}

impl Place {
    fn of(location: &str) -> Result<Self> {
        let (scheme, rest) =
            location.split_once("://").ok_or_else(|| crate::error::malformed(format!("it names the location `{location}`")))?;
        let address = rest.trim_end_matches('/').to_owned();
        match scheme {
            "grpc" | "grpc+tcp" | "http" => Ok(Self { tls: false, address, socket: None }),
            "grpc+tls" | "https" => Ok(Self { tls: true, address, socket: None }),
            "grpc+unix" => Ok(Self { tls: false, socket: Some(rest.into()), address }),
            other => {
                let message = format!("the server keeps rows at {other}://, which cannot be fetched");
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }
}

/// What bytes are sent over.
type Bytes = Box<dyn Duplex>;

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

async fn stream(socket: Option<PathBuf>, address: &str, tls: Option<tls::Connector>) -> std::io::Result<Bytes> {
    if let Some(path) = socket {
        #[cfg(unix)]
        return Ok(Box::new(tokio::net::UnixStream::connect(path).await?));
        #[cfg(not(unix))]
        return Err(std::io::Error::new(std::io::ErrorKind::Unsupported, format!("there are no Unix sockets here: {}", path.display())));
    }
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    match tls {
        None => Ok(Box::new(tcp)),
        Some(tls) => Ok(Box::new(tls.connect(tcp).await?)),
    }
}

/// An error of connecting, with what to look at.
fn failed(error: tonic::transport::Error, place: &Place) -> Error {
    let mut causes = Vec::new();
    let mut next: Option<&dyn std::error::Error> = Some(&error);
    let mut is_untrusted = false;
    while let Some(cause) = next {
        // An io::Error carries rustls' own error, and does not name it as its source.
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref).and_then(|inner| inner.downcast_ref());
        is_untrusted |= matches!(inner, Some(rustls::Error::InvalidCertificate(_)));
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes.dedup();
    let hint = match (place.tls, is_untrusted) {
        (true, true) => "; give tls_ca the file of its authority, and tls_server_name where the name differs",
        (true, false) => "; if the server speaks plain text, write grpc:// in place of grpc+tls://",
        (false, _) => "; check host and port, and write grpc+tls:// if the server is encrypted",
    };
    let kind = if is_untrusted { ErrorKind::Tls } else { ErrorKind::Connection };
    let message = format!("no connection to the Flight SQL server at {}: {}{hint}", place.address, causes.join(": "));
    let error = Error::new(kind, message).with("server", &place.address).with_source(error);
    if is_untrusted { error } else { error.transient() }
}
