//! Opening channels: to the server, and to other locations of its rows.

use std::path::PathBuf;
use std::time::Duration;

use arrowload_common_net::{GRPC, Seen};
use arrowload_core::{Error, ErrorKind, Result};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::config::FlightSqlConfig;
use crate::tls;

/// Bytes of an endpoint that may have come and wait to be used.
const STREAM_WINDOW: u32 = 4 << 20;
/// The same of all endpoints together: as many as HTTP/2 can say, so that one that waits for its turn never stops the others.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// Opens a channel to the server, or to another location of it.
pub(crate) async fn open(config: &FlightSqlConfig, location: Option<&str>) -> Result<Channel> {
    let place = match location {
        None => Place {
            tls: config.tls,
            address: config.address(),
            socket: config.socket.clone(),
        },
        Some(location) => Place::of(location)?,
    };
    if location.is_some() && config.tls && !place.tls {
        let message = format!(
            "the server says that rows are at {} without encryption, and the connection is to be encrypted",
            place.address
        );
        return Err(Error::new(ErrorKind::Tls, message));
    }
    let authority = if place.socket.is_some() {
        "localhost"
    } else {
        place.address.as_str()
    };
    let uri: Uri = format!("http://{authority}").parse().map_err(|_| {
        Error::new(
            ErrorKind::InvalidOption,
            format!("`{authority}` is no host and port"),
        )
    })?;
    let host = uri
        .host()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    let endpoint = Endpoint::from(uri)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .keep_alive_while_idle(true);
    let name = config.tls_server_name.as_deref().unwrap_or(&host);
    let tls = if place.tls {
        Some(tls::connector(config, name, b"h2")?)
    } else {
        None
    };
    if location.is_none() {
        prove(config, &place, tls.clone()).await?;
    }
    let (socket, address) = (place.socket.clone(), place.address.clone());
    let connector = tower::service_fn(move |_: Uri| {
        let (socket, address, tls) = (socket.clone(), address.clone(), tls.clone());
        async move { stream(socket, &address, tls).await.map(TokioIo::new) }
    });
    let limit = config.connect_timeout();
    // The rest of the time is for looking at what does not answer.
    let connecting = endpoint.connect_with_connector(connector);
    let error = match tokio::time::timeout(limit.mul_f64(0.85), connecting).await {
        Ok(Ok(channel)) => return Ok(channel),
        Ok(Err(error)) => failed(error, &place),
        Err(_) => {
            let message = format!(
                "{} did not answer within {limit:?}; check host and port, or raise connect_timeout",
                place.address
            );
            Error::new(ErrorKind::Timeout, message)
                .with("server", &place.address)
                .transient()
        }
    };
    Err(seen(error, &place).await)
}

/// What a client of HTTP/2 begins with, and an empty frame of settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The kind of the frame that a server begins with.
const SETTINGS: u8 = 4;

/// Whether the server speaks HTTP/2, on a connection of its own: a channel cannot distinguish a server that says nothing from
/// one that is busy. The channel reports all other errors.
async fn prove(config: &FlightSqlConfig, place: &Place, tls: Option<tls::Connector>) -> Result<()> {
    let limit = config.connect_timeout();
    let first_frame = async {
        let mut stream = stream(place.socket.clone(), &place.address, tls).await?;
        stream.write_all(PREFACE).await?;
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(head[3])
    };
    let error = match tokio::time::timeout(limit.mul_f64(0.85), first_frame).await {
        Ok(Ok(SETTINGS) | Err(_)) => return Ok(()),
        Ok(Ok(_)) => Error::new(
            ErrorKind::Connection,
            format!(
                "{} answers, but not as a Flight SQL server; check host and port",
                place.address
            ),
        ),
        Err(_) => Error::new(
            ErrorKind::Timeout,
            format!(
                "{} did not answer within {limit:?}; check host and port, or raise connect_timeout",
                place.address
            ),
        )
        .transient(),
    };
    Err(seen(error.with("server", &place.address), place).await)
}

/// Adds to an error what kind of server is behind a port that does not answer as a Flight server.
async fn seen(error: Error, place: &Place) -> Error {
    let Some((host, port)) = place.address.rsplit_once(':') else {
        return error;
    };
    let (host, Ok(port)) = (host.trim_matches(['[', ']']), port.parse()) else {
        return error;
    };
    if place.socket.is_some() || error.kind() == ErrorKind::Tls {
        return error;
    }
    match arrowload_common_net::look(host, port, Duration::from_secs(1)).await {
        // It may be too busy to answer; but it has had its time.
        Seen::Silent if error.kind() == ErrorKind::Timeout => {
            Error::new(ErrorKind::Timeout, error.message()).with("server", &place.address)
        }
        Seen::Nothing | Seen::Silent | Seen::Like(GRPC) => error,
        Seen::Like(what) => {
            let message = format!(
                "{} answers, but not as a Flight SQL server: it looks like {what}; check host and port",
                place.address
            );
            Error::new(ErrorKind::Connection, message).with("server", &place.address)
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
        let (scheme, rest) = location.split_once("://").ok_or_else(|| {
            crate::error::malformed(format!("it names the location `{location}`"))
        })?;
        let address = rest.trim_end_matches('/').to_owned();
        match scheme {
            "grpc" | "grpc+tcp" | "http" => Ok(Self {
                tls: false,
                address,
                socket: None,
            }),
            "grpc+tls" | "https" => Ok(Self {
                tls: true,
                address,
                socket: None,
            }),
            "grpc+unix" => Ok(Self {
                tls: false,
                socket: Some(rest.into()),
                address,
            }),
            other => {
                let message =
                    format!("the server keeps rows at {other}://, which cannot be fetched");
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }
}

/// What bytes are sent over.
pub(crate) type Bytes = Box<dyn Duplex>;

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

async fn stream(
    socket: Option<PathBuf>,
    address: &str,
    tls: Option<tls::Connector>,
) -> std::io::Result<Bytes> {
    if let Some(path) = socket {
        #[cfg(unix)]
        return Ok(Box::new(tokio::net::UnixStream::connect(path).await?));
        #[cfg(not(unix))]
        return Err(std::io::Error::new(
            std::io::ErrorKind::Unsupported,
            format!("there are no Unix sockets here: {}", path.display()),
        ));
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
    let (mut is_untrusted, mut is_tls) = (false, false);
    while let Some(cause) = next {
        // An io::Error carries rustls' own error, and does not name it as its source.
        let inner = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .and_then(|inner| inner.downcast_ref());
        is_untrusted |= matches!(inner, Some(rustls::Error::InvalidCertificate(_)));
        is_tls |= inner.is_some() || cause.to_string().contains("tls handshake");
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes.dedup();
    let hint = match (place.tls, is_untrusted) {
        (true, true) => {
            "; give tls_ca the file of its authority, and tls_server_name where the name differs"
        }
        (true, false) => "; if the server speaks plain text, write grpc:// in place of grpc+tls://",
        (false, _) if place.socket.is_some() => "; check the path of the socket",
        (false, _) => "; check host and port, and write grpc+tls:// if the server is encrypted",
    };
    let kind = if is_tls {
        ErrorKind::Tls
    } else {
        ErrorKind::Connection
    };
    let message = format!(
        "no connection to the Flight SQL server at {}: {}{hint}",
        place.address,
        causes.join(": ")
    );
    let error = Error::new(kind, message)
        .with("server", &place.address)
        .with_source(error);
    if is_tls { error } else { error.transient() }
}
