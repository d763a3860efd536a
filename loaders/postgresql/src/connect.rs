//! Connections: the driver's configuration, the pool, and the guard that keeps unfinished transactions out of it.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrowload_common_net::Seen;
use arrowload_core::{Error, ErrorKind, Result, Secret};
use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
    Timeouts,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::config::SslMode as Wanted;
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{
    ChannelBinding, LoadBalanceHosts, PostgresqlConfig, SslMode, SslNegotiation, TargetSessionAttrs,
};
use crate::error::{from_connecting, from_pg, not_postgresql};
use crate::{passfile, variables};

const DEFAULT_PORT: u16 = 5432;

/// Begins a transaction of a load. With row security on, a COPY or DELETE would skip rows that this user may not see.
pub(crate) const BEGIN: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL row_security = off";

/// Where several connections share the work, each is idle while others are not: the server is not to end its transaction for that.
pub(crate) const STAY: &str = "SET LOCAL idle_in_transaction_session_timeout = 0";

/// A pool, and what is needed to cancel what its connections do.
#[derive(Clone)]
pub(crate) struct Connections {
    pool: Pool,
    tls: Option<MakeRustlsConnect>,
    /// Hosts and ports, for messages.
    place: String,
    places: Vec<(String, u16)>,
    /// Whether a connection was ever made.
    met: Arc<AtomicBool>,
    /// Connections at most.
    size: usize,
    /// How long one of several destinations of a run waits for a connection.
    patience: Duration,
    /// As many as there are connections.
    turns: Arc<Semaphore>,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "connections to {}", self.place)
    }
}

/// Hosts with their ports. Where addresses are alone, they are the hosts.
fn places(config: &PostgresqlConfig) -> Result<Vec<(String, u16)>> {
    let is_default = config.host == PostgresqlConfig::default().host;
    let text = config.hostaddr.as_ref().filter(|_| is_default);
    let hosts: Vec<&str> = text
        .unwrap_or(&config.host)
        .split(',')
        .map(str::trim)
        .collect();
    let text = config.port.as_deref().unwrap_or_default();
    let ports: Vec<&str> = text.split(',').map(str::trim).collect();
    if ports.len() != 1 && ports.len() != hosts.len() {
        let message = format!(
            "{} hosts and {} ports are given; give one port for each host, or one for all",
            hosts.len(),
            ports.len()
        );
        return Err(Error::new(ErrorKind::InvalidOption, message).with("key", "port"));
    }
    let number = |text: &str| match text {
        "" => Ok(DEFAULT_PORT),
        text => text.parse().map_err(|_| {
            Error::new(ErrorKind::InvalidOption, format!("invalid port `{text}`"))
                .with("key", "port")
        }),
    };
    let host = |host: &&str| {
        if host.is_empty() {
            "localhost".to_owned()
        } else {
            (*host).to_owned()
        }
    };
    hosts
        .iter()
        .enumerate()
        .map(|(index, name)| Ok((host(name), number(ports.get(index).unwrap_or(&ports[0]))?)))
        .collect()
}

/// The keys as the driver wants them.
fn driver_config(config: &PostgresqlConfig, places: &[(String, u16)]) -> tokio_postgres::Config {
    let mut driver = tokio_postgres::Config::new();
    for (host, port) in places {
        driver.host(host).port(*port);
    }
    wire(config, &mut driver);
    let user = config.user.clone().or_else(|| std::env::var("USER").ok());
    if let Some(user) = &user {
        driver.user(user);
    }
    let database = config.database.as_ref().or(user.as_ref());
    if let Some(database) = database {
        driver.dbname(database);
    }
    if let Some(password) = config
        .password
        .clone()
        .or_else(|| from_file(config, places, user.as_deref(), database))
    {
        driver.password(password.expose());
    }
    if let Some(options) = session_options(config) {
        driver.options(options);
    }
    driver
        .application_name(&config.application_name)
        // A host may have several addresses, of which the first may be dead.
        .connect_timeout(Duration::from_secs(config.connect_timeout.max(1)).mul_f64(0.4));
    driver.ssl_mode(match config.sslmode {
        SslMode::Disable => Wanted::Disable,
        SslMode::Prefer => Wanted::Prefer,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Wanted::Require,
    });
    driver
}

/// Settings for keepalive, authentication and encryption of the connection.
fn wire(config: &PostgresqlConfig, driver: &mut tokio_postgres::Config) {
    use tokio_postgres::config as driver_config;
    driver
        .keepalives(config.keepalives != 0)
        .channel_binding(match config.channel_binding {
            ChannelBinding::Disable => driver_config::ChannelBinding::Disable,
            ChannelBinding::Prefer => driver_config::ChannelBinding::Prefer,
            ChannelBinding::Require => driver_config::ChannelBinding::Require,
        })
        .ssl_negotiation(match config.sslnegotiation {
            SslNegotiation::Postgres => driver_config::SslNegotiation::Postgres,
            SslNegotiation::Direct => driver_config::SslNegotiation::Direct,
        })
        .target_session_attrs(match config.target_session_attrs {
            TargetSessionAttrs::Any => driver_config::TargetSessionAttrs::Any,
            TargetSessionAttrs::ReadWrite => driver_config::TargetSessionAttrs::ReadWrite,
            TargetSessionAttrs::ReadOnly => driver_config::TargetSessionAttrs::ReadOnly,
        })
        .load_balance_hosts(match config.load_balance_hosts {
            LoadBalanceHosts::Disable => driver_config::LoadBalanceHosts::Disable,
            LoadBalanceHosts::Random => driver_config::LoadBalanceHosts::Random,
        });
    if let Some(seconds) = config.keepalives_idle.filter(|seconds| *seconds > 0) {
        driver.keepalives_idle(Duration::from_secs(seconds));
    }
    if let Some(seconds) = config.keepalives_interval.filter(|seconds| *seconds > 0) {
        driver.keepalives_interval(Duration::from_secs(seconds));
    }
    if let Some(count) = config.keepalives_count.filter(|count| *count > 0) {
        driver.keepalives_retries(count);
    }
    if let Some(millis) = config.tcp_user_timeout.filter(|millis| *millis > 0) {
        driver.tcp_user_timeout(Duration::from_millis(millis));
    }
}

/// Addresses to connect to in place of looking the hosts up.
fn addresses(config: &PostgresqlConfig) -> Result<Vec<IpAddr>> {
    let Some(text) = config.hostaddr.as_deref() else {
        return Ok(Vec::new());
    };
    let invalid = |why: String| {
        Error::new(ErrorKind::InvalidOption, format!("hostaddr: {why}")).with("key", "hostaddr")
    };
    let address = |text: &str| {
        let text = text.trim();
        let parsed = text.parse();
        parsed.map_err(|_| invalid(format!("`{text}` is no IP address; names go into host")))
    };
    text.split(',').map(address).collect()
}

/// The driver has one password for all hosts: that of the first.
fn from_file(
    config: &PostgresqlConfig,
    places: &[(String, u16)],
    user: Option<&str>,
    database: Option<&String>,
) -> Option<Secret> {
    let (host, port) = places.first()?;
    let wanted = passfile::Wanted {
        host,
        port: *port,
        database: database?,
        user: user?,
    };
    passfile::find(config.passfile.as_deref(), &wanted)
}

/// The session's options, with the statement timeout among them. A backslash keeps a space in one option.
fn session_options(config: &PostgresqlConfig) -> Option<String> {
    let timeout = config.statement_timeout.as_ref().map(|timeout| {
        let escaped = timeout.replace('\\', "\\\\").replace(' ', "\\ ");
        format!("-c statement_timeout={escaped}")
    });
    match (config.options.clone(), timeout) {
        (Some(options), Some(timeout)) => Some(format!("{options} {timeout}")),
        (options, timeout) => options.or(timeout),
    }
}

impl Connections {
    /// Makes the pool. Nothing is connected yet.
    pub(crate) fn new(config: &PostgresqlConfig) -> Result<Self> {
        let config = &variables::tightened(config, variables::of_process)?;
        let places = places(config)?;
        let tls = crate::tls::connector(config)?;
        let mut driver = driver_config(config, &places);
        let addresses = addresses(config)?;
        if !addresses.is_empty() && addresses.len() != places.len() {
            let message = format!(
                "{} hosts and {} addresses are given; give one hostaddr for each host",
                places.len(),
                addresses.len()
            );
            return Err(Error::new(ErrorKind::InvalidOption, message).with("key", "hostaddr"));
        }
        for address in &addresses {
            driver.hostaddr(*address);
        }
        let settings = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = match tls.clone() {
            Some(tls) => Manager::from_config(driver, tls, settings),
            None => Manager::from_config(driver, NoTls, settings),
        };
        let pool = Pool::builder(manager)
            .max_size(config.pool_size.max(1))
            .runtime(Runtime::Tokio1)
            .build();
        let pool = pool.map_err(|error| {
            Error::new(ErrorKind::Unexpected, "the pool cannot be made").with_source(error)
        })?;
        let place = places
            .iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect::<Vec<_>>()
            .join(",");
        let size = config.pool_size.max(1);
        Ok(Self {
            pool,
            tls,
            place,
            places,
            met: Arc::default(),
            size,
            patience: Duration::from_secs(config.connect_timeout.max(1)),
            turns: Arc::new(Semaphore::new(size)),
        })
    }

    /// Refuses more destinations of one run than there are connections: each keeps one until the last row is read for all.
    pub(crate) fn check_share(&self, destinations: usize) -> Result<()> {
        let size = self.size;
        if destinations <= size {
            return Ok(());
        }
        let message = format!(
            "{destinations} destinations share this connection, each of them needs one of its own in the pool until all rows are \
             read, and pool_size is {size}; set pool_size to {destinations} or more, or load into fewer at once"
        );
        Err(Error::new(ErrorKind::InvalidOption, message).with("key", "pool_size"))
    }

    /// A new connection that is not shared.
    pub(crate) async fn lease(&self) -> Result<Lease> {
        self.lease_within(None).await
    }

    /// A connection for one of several destinations of a run. The others hold their connections until it has one, so two such runs
    /// could wait for each other for ever: it waits only for a limited time.
    pub(crate) async fn lease_among(&self, destinations: usize) -> Result<Lease> {
        self.lease_within((destinations > 1).then_some(self.patience))
            .await
    }

    async fn lease_within(&self, wait: Option<Duration>) -> Result<Lease> {
        // The rest of the time is for looking at what does not answer.
        let hosts = u32::try_from(self.places.len()).unwrap_or(1);
        let timeouts = Timeouts {
            wait,
            create: Some(self.patience.mul_f64(0.8) * hosts),
            ..Timeouts::default()
        };
        match self.pool.timeout_get(&timeouts).await {
            Ok(object) => {
                self.met.store(true, Ordering::Relaxed);
                Ok(Lease {
                    object: Some(object),
                    tls: self.tls.clone(),
                    turn: None,
                })
            }
            Err(PoolError::Timeout(TimeoutType::Wait)) => Err(self.none_free()),
            Err(PoolError::Timeout(TimeoutType::Create)) => Err(self.no_answer().await),
            Err(PoolError::Backend(error)) => {
                let is_new = !self.met.load(Ordering::Relaxed);
                let error = from_connecting(error, &self.place, is_new && self.is_local());
                Err(self.seen(error).await)
            }
            Err(other) => {
                let message = format!("no connection to {}: {other}", self.place);
                Err(Error::new(ErrorKind::Connection, message).transient())
            }
        }
    }

    /// Whether the only server is on this machine: then there is no waiting for a server that is starting.
    fn is_local(&self) -> bool {
        let [(host, _)] = self.places.as_slice() else {
            return false;
        };
        let is_loopback = |address: IpAddr| address.is_loopback();
        host.starts_with(['/', '@']) || host == "localhost" || host.parse().is_ok_and(is_loopback)
    }

    /// The first host and port, unless it is a socket.
    async fn look(&self, within: Duration) -> Option<Seen> {
        let (host, port) = self.places.first()?;
        match host.starts_with(['/', '@']) {
            true => None,
            false => Some(arrowload_common_net::look(host, *port, within).await),
        }
    }

    /// Adds to an error what kind of server is behind a port that closed the connection before it answered as PostgreSQL.
    async fn seen(&self, error: Error) -> Error {
        let is_odd = error.code().is_none()
            && matches!(
                error.kind(),
                ErrorKind::Connection
                    | ErrorKind::Authentication
                    | ErrorKind::Tls
                    | ErrorKind::Unexpected
            );
        if !is_odd {
            return error;
        }
        match self.look(Duration::from_secs(1).min(self.patience)).await {
            Some(Seen::Like(what)) if what != "PostgreSQL" => not_postgresql(&self.place, what),
            _ => error,
        }
    }

    async fn no_answer(&self) -> Error {
        let (place, seconds) = (&self.place, self.patience.as_secs());
        let error = match self.look(self.patience.mul_f64(0.2)).await {
            Some(Seen::Like("PostgreSQL") | Seen::Silent) => Error::new(
                ErrorKind::Timeout,
                format!(
                    "{place} accepts connections, and does not answer as PostgreSQL within {seconds} seconds; check host and port, or \
                     raise connect_timeout"
                ),
            ),
            Some(Seen::Like(what)) => not_postgresql(place, what),
            Some(Seen::Nothing) | None => Error::new(
                ErrorKind::Connection,
                format!("PostgreSQL cannot be reached at {place} within {seconds} seconds; see connect_timeout"),
            )
            .transient(),
        };
        error.with("server", place)
    }

    /// Waits for work on several connections, with a time limit, because a pooler with fewer connections may never let all of them
    /// begin.
    pub(crate) async fn in_time<T>(
        &self,
        connections: usize,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let starved = |_| {
            let message = format!(
                "{connections} connections at once could not begin within {} seconds: a pooler in front of the server may have fewer; \
                 lower parallelism, or raise the pooler's pool",
                self.patience.as_secs()
            );
            Error::new(ErrorKind::ResourceExhausted, message).with("key", "parallelism")
        };
        tokio::time::timeout(self.patience, work)
            .await
            .map_err(starved)?
    }

    fn none_free(&self) -> Error {
        let message = format!(
            "other loads hold the {} connections of the pool, and none was free within {} seconds; raise pool_size",
            self.size,
            self.patience.as_secs()
        );
        Error::new(ErrorKind::ResourceExhausted, message)
            .transient()
            .with("key", "pool_size")
    }

    /// The connection of a load that will use this many in all. Loads get connections in the order in which they come, so that none
    /// holds some connections while it waits for those that another load holds. The destinations of one run are an exception: each
    /// takes its connection separately, and waits only for a limited time.
    pub(crate) async fn lease_for_load(
        &self,
        connections: usize,
        destinations: usize,
    ) -> Result<Lease> {
        let permits = u32::try_from(connections.min(self.size)).unwrap_or(u32::MAX);
        let closed = |error| {
            Error::new(ErrorKind::Connection, "the pool of connections is closed")
                .with_source(error)
        };
        let turn = Arc::clone(&self.turns).acquire_many_owned(permits);
        let turn = match destinations {
            0 | 1 => turn.await,
            _ => tokio::time::timeout(self.patience, turn)
                .await
                .map_err(|_| self.none_free())?,
        };
        let turn = turn.map_err(closed)?;
        let mut lease = self.lease_among(destinations).await?;
        lease.turn = Some(turn);
        Ok(lease)
    }

    /// Several connections at once.
    ///
    /// # Errors
    /// [`ErrorKind::ResourceExhausted`] if they are not free within ten seconds: loads that each hold some and wait for more
    /// would wait for ever.
    pub(crate) async fn leases(&self, count: usize) -> Result<Vec<Lease>> {
        let all = futures::future::try_join_all((0..count).map(|_| self.lease()));
        let message = || {
            format!(
                "{count} more connections were not free within 10 seconds; raise pool_size, or lower parallelism"
            )
        };
        let timed_out = |_| Error::new(ErrorKind::ResourceExhausted, message()).transient();
        tokio::time::timeout(Duration::from_secs(10), all)
            .await
            .map_err(timed_out)?
    }

    /// Connections that are free at once, as many as this at most: of the pool, and half of those that the server has left, as
    /// others use it too. It does not wait for connections in use; new ones must be ready within `patience` in all, because a
    /// pooler may accept a connection and let it wait.
    pub(crate) async fn spare(&self, most: usize, patience: Duration) -> Vec<Lease> {
        let mut all = Vec::new();
        if tokio::time::timeout(patience, self.take_spare(most, &mut all))
            .await
            .is_err()
        {
            tracing::debug!("more connections are not made in time");
            // One of them may wait for its answer.
            all.clear();
        }
        all
    }

    async fn take_spare(&self, mut most: usize, all: &mut Vec<Lease>) {
        while all.len() < most {
            let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() else {
                return;
            };
            let mut lease = match self.lease_within(Some(Duration::ZERO)).await {
                Ok(lease) => lease,
                Err(error) => {
                    tracing::debug!(%error, "no more connections are free");
                    return;
                }
            };
            lease.turn = Some(turn);
            all.push(lease);
            if let [first] = all.as_slice() {
                // This connection is already counted by the server.
                most = most.min(1 + left_free(first).await / 2);
            }
        }
    }

    /// Connections at most.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Hosts and ports.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }
}

/// How many more connections the server would take, and the database, and the user; none where it does not say.
async fn left_free(client: &Client) -> usize {
    const ASK: &str = "SELECT greatest(0, least(\
        pg_catalog.current_setting('max_connections')::bigint \
            - pg_catalog.current_setting('superuser_reserved_connections')::bigint \
            - coalesce(nullif(pg_catalog.current_setting('reserved_connections', true), '')::bigint, 0) \
            - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datid IS NOT NULL), \
        (SELECT nullif(d.datconnlimit, -1) - (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.datid = d.oid) \
            FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()), \
        (SELECT nullif(r.rolconnlimit, -1) - (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = r.oid) \
            FROM pg_catalog.pg_roles r WHERE r.rolname = session_user)))::bigint";
    let asked = client.query_typed_one(ASK, &[]).await;
    let free: i64 = asked.and_then(|row| row.try_get(0)).unwrap_or_default();
    usize::try_from(free).unwrap_or_default()
}

/// A connection that goes back to the pool only if it is given back; if it is dropped, it is closed, so that the server rolls back
/// whatever was in progress.
pub(crate) struct Lease {
    object: Option<Object>,
    tls: Option<MakeRustlsConnect>,
    /// Held to the end of the load.
    turn: Option<OwnedSemaphorePermit>,
}

impl Lease {
    /// Gives it back. Only for a connection outside any transaction.
    pub(crate) fn give_back(mut self) {
        self.object = None;
        self.turn = None;
    }

    /// Runs a statement in a transaction of its own that may write, whatever the session's default is.
    pub(crate) async fn run_alone(&self, sql: &str) -> Result<()> {
        self.run(&format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {sql}; COMMIT"
        ))
        .await
    }

    /// Runs statements that return nothing.
    pub(crate) async fn run(&self, sql: &str) -> Result<()> {
        self.batch_execute(sql).await.map_err(from_pg)
    }
}

impl Deref for Lease {
    type Target = Client;

    #[expect(
        clippy::expect_used,
        reason = "the object is taken in drop and give_back only, which both end the lease"
    )]
    fn deref(&self) -> &Client {
        self.object
            .as_ref()
            .expect("a lease has its connection until its end")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else {
            return;
        };
        let token = object.cancel_token();
        let tls = self.tls.take();
        drop(Object::take(object));
        // The server notices a closed connection only between statements: a long one is cancelled.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let cancelled = match tls {
                    Some(tls) => token.cancel_query(tls).await,
                    None => token.cancel_query(NoTls).await,
                };
                if let Err(error) = cancelled {
                    tracing::debug!(%error, "an abandoned statement could not be cancelled");
                }
            });
        }
    }
}
