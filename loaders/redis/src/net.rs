//! One connection to one server: connects, does the handshake, and sends one command at a time. For pipelines see
//! `lane`.

use std::time::Duration;

use arrowload_common_net::Seen;
use arrowload_core::{Error, ErrorKind, Result};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::RedisConfig;
use crate::error::{broken, from_server, silent};
use crate::resp::{Reply, command, parse};

/// The transport for the bytes: TCP, TLS or a Unix socket.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A connection that has been greeted.
pub(crate) struct Connection {
    pub(crate) transport: Box<dyn Transport>,
    /// What came and has not been read.
    pub(crate) inbox: BytesMut,
    pub(crate) place: String,
    pub(crate) patience: u64,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a connection to {}", self.place)
    }
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Tcp(String, u16),
    Unix(std::path::PathBuf),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Adds to an error what kind of server is behind a port that does not answer as Redis.
async fn seen(error: Error, place: &Place) -> Error {
    let is_odd = error.code().is_none()
        && matches!(
            error.kind(),
            ErrorKind::Timeout | ErrorKind::Connection | ErrorKind::Unexpected
        );
    let Place::Tcp(host, port) = place else {
        return error;
    };
    if !is_odd {
        return error;
    }
    let message = match arrowload_common_net::look(host, *port, Duration::from_secs(1)).await {
        Seen::Like("Redis") | Seen::Nothing => return error,
        Seen::Like(what) => {
            format!("{place} answers, but not as Redis: it looks like {what}; check host and port")
        }
        Seen::Silent if error.kind() == ErrorKind::Timeout => {
            format!(
                "{} (it takes connections, and says nothing)",
                error.message()
            )
        }
        Seen::Silent => return error,
    };
    Error::new(error.kind(), message)
}

/// Who greets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Data,
    Sentinel,
}

impl Connection {
    /// Connects, encrypts, authenticates and chooses the database, all within `connect_timeout`.
    pub(crate) async fn open(config: &RedisConfig, place: &Place, role: Role) -> Result<Self> {
        let limit = Duration::from_secs(config.connect_timeout);
        let late = |_| {
            let tls = if config.tls {
                ", and whether the server speaks tls"
            } else {
                ""
            };
            let message = format!(
                "Redis cannot be reached at {place} within {} seconds; see connect_timeout{tls}",
                config.connect_timeout
            );
            Error::new(ErrorKind::Timeout, message).transient()
        };
        // The rest of the time is for looking at what does not answer.
        let opened = timeout(limit.mul_f64(0.85), async {
            let transport = dial(config, place).await?;
            let mut connection = Self {
                transport,
                inbox: BytesMut::new(),
                place: place.to_string(),
                patience: config.response_timeout,
            };
            connection.greet(config, role).await?;
            Ok(connection)
        });
        let error = match opened.await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error,
            Err(elapsed) => late(elapsed),
        };
        Err(seen(error, place).await.with("server", place))
    }

    async fn greet(&mut self, config: &RedisConfig, role: Role) -> Result<()> {
        let (user, password) = match role {
            Role::Data => (&config.username, &config.password),
            Role::Sentinel => (&config.sentinel_username, &config.sentinel_password),
        };
        let name = user.as_deref().unwrap_or("default");
        let greeted = config.protocol >= 3
            && self
                .hello(name, password.as_ref().map(arrowload_core::Secret::expose))
                .await?;
        if let Some(password) = password.as_ref().filter(|_| !greeted) {
            let password = password.expose().as_bytes();
            match user {
                Some(user) => self.call(&[b"AUTH", user.as_bytes(), password]).await?,
                None => self.call(&[b"AUTH", password]).await?,
            };
        }
        if role == Role::Data && config.db != 0 {
            self.call(&[b"SELECT", config.db.to_string().as_bytes()])
                .await?;
        }
        if !config.client_name.is_empty() {
            // Not all that speak the protocol know it, and nothing depends on it.
            self.ask(&[
                b"CLIENT",
                b"SETNAME",
                config.client_name.replace([' ', '\n'], "-").as_bytes(),
            ])
            .await?;
        }
        // Authentication may have been left out: the first command says so here, and not amid a load.
        if role == Role::Data {
            match self.ask(&[b"PING"]).await? {
                // A user who may not even do this may still have the rights that the load needs.
                Reply::Error(text) if !text.starts_with("NOPERM") => {
                    return Err(from_server(&text));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Greets in version 3; `false` if the server knows only version 2.
    async fn hello(&mut self, user: &str, password: Option<&str>) -> Result<bool> {
        let reply = match password {
            Some(password) => {
                self.ask(&[
                    b"HELLO",
                    b"3",
                    b"AUTH",
                    user.as_bytes(),
                    password.as_bytes(),
                ])
                .await?
            }
            None => self.ask(&[b"HELLO", b"3"]).await?,
        };
        match reply {
            Reply::Error(text)
                if text.starts_with("ERR unknown command")
                    || text.starts_with("NOPROTO")
                    || text.starts_with("NOPERM") =>
            {
                Ok(false)
            }
            // Without a user who may do all, HELLO must be said with AUTH; `AUTH` then says what is wrong.
            Reply::Error(text) if text.starts_with("NOAUTH") && password.is_some() => Ok(false),
            Reply::Error(text) => Err(from_server(&text)),
            _ => Ok(true),
        }
    }

    /// Sends one command and returns the reply, whatever it is.
    pub(crate) async fn ask(&mut self, words: &[&[u8]]) -> Result<Reply> {
        let mut bytes = Vec::new();
        command(&mut bytes, words);
        self.send(&bytes).await?;
        self.receive().await
    }

    /// Sends one command; an error of the server is an error.
    pub(crate) async fn call(&mut self, words: &[&[u8]]) -> Result<Reply> {
        match self.ask(words).await? {
            Reply::Error(text) => Err(from_server(&text)),
            reply => Ok(reply),
        }
    }

    /// Sends commands that are encoded, and returns as many replies.
    pub(crate) async fn ask_many(&mut self, bytes: &[u8], count: usize) -> Result<Vec<Reply>> {
        self.send(bytes).await?;
        let mut replies = Vec::with_capacity(count);
        for _ in 0..count {
            replies.push(self.receive().await?);
        }
        Ok(replies)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let sent = async {
            self.transport.write_all(bytes).await?;
            self.transport.flush().await
        };
        let patience = Duration::from_secs(self.patience);
        timeout(patience, sent)
            .await
            .map_err(|_| silent(&self.place, self.patience))?
            .map_err(|error| broken(&self.place, error))
    }

    pub(crate) async fn receive(&mut self) -> Result<Reply> {
        let mut wanted = 1;
        loop {
            if self.inbox.len() >= wanted {
                if let Some((reply, length)) = parse(&self.inbox)? {
                    self.inbox.advance(length);
                    return Ok(reply);
                }
                // A long reply is not parsed again for every piece that arrives.
                wanted = self.inbox.len() + self.inbox.len() / 2 + 1;
            }
            wanted = match self.fill().await? {
                0 => {
                    return Err(broken(
                        &self.place,
                        std::io::ErrorKind::UnexpectedEof.into(),
                    ));
                }
                // The last piece may be small: no more comes until it is read.
                read if read < 4 << 10 => self.inbox.len(),
                _ => wanted,
            };
        }
    }

    async fn fill(&mut self) -> Result<usize> {
        self.inbox.reserve(64 << 10);
        let patience = Duration::from_secs(self.patience);
        let read = timeout(patience, self.transport.read_buf(&mut self.inbox)).await;
        read.map_err(|_| silent(&self.place, self.patience))?
            .map_err(|error| broken(&self.place, error))
    }
}

async fn dial(config: &RedisConfig, place: &Place) -> Result<Box<dyn Transport>> {
    let unreachable = |error: std::io::Error| {
        Error::new(
            ErrorKind::Connection,
            format!("Redis cannot be reached at {place}: {error}"),
        )
        .with_source(error)
        .transient()
    };
    let (host, port) = match place {
        #[cfg(unix)]
        Place::Unix(path) => {
            return Ok(Box::new(
                tokio::net::UnixStream::connect(path)
                    .await
                    .map_err(unreachable)?,
            ));
        }
        #[cfg(not(unix))]
        Place::Unix(_) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "this system has no Unix sockets; set host and port",
            ));
        }
        Place::Tcp(host, port) => (host, *port),
    };
    let stream = TcpStream::connect((host.as_str(), port))
        .await
        .map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let Some(connector) = crate::tls::connector(config)? else {
        return Ok(Box::new(stream));
    };
    let name = arrowload_common_tls::server_name(host)?;
    let encrypted = connector.connect(name, stream).await.map_err(|error| {
        let message = format!("no encrypted connection to {place}: {error}; is tls set as the server has it, and tls_ca the authority?");
        Error::new(ErrorKind::Tls, message).with_source(error)
    })?;
    Ok(Box::new(encrypted))
}
