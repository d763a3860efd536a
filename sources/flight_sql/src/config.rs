//! How to connect: keys, and the URLs that stand for them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use arrowload_core::{Error, ErrorKind, Result, Secret, url_scheme, url_to_config};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// How to connect to a Flight SQL server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct FlightSqlConfig {
    /// The host; `localhost` by default.
    pub host: String,
    /// The port; 31337 by default, as most servers have it.
    pub port: u16,
    /// A Unix socket, in the place of host and port.
    pub socket: Option<PathBuf>,
    /// Whether the connection is encrypted. The URLs `grpc+tls://` and `https://` set it.
    pub tls: bool,
    /// A PEM file with the authorities to trust; those of the operating system by default.
    pub tls_ca: Option<PathBuf>,
    /// The name that the server's certificate is for, where it is not the host's.
    pub tls_server_name: Option<String>,
    /// A PEM file with the client's certificate.
    pub tls_cert: Option<PathBuf>,
    /// A PEM file with the key of the client's certificate.
    pub tls_key: Option<PathBuf>,
    /// The user: sent once, by a handshake, for a token; with every call to servers that have no handshake.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// A bearer token, sent with every call.
    pub token: Option<Secret>,
    /// Where OAuth's client credentials are traded for a token, which is fetched anew before it runs out.
    pub oauth_token_url: Option<String>,
    /// The client's name for OAuth.
    pub oauth_client_id: Option<String>,
    /// The client's secret for OAuth.
    pub oauth_client_secret: Option<Secret>,
    /// What the token is to be good for, separated by spaces.
    pub oauth_scope: Option<String>,
    /// Whom the token is for, where the server of tokens asks for an `audience`.
    pub oauth_audience: Option<String>,
    /// Headers that are sent with every call.
    pub headers: BTreeMap<String, Secret>,
    /// The database or catalog, sent as the header `database`.
    pub database: Option<String>,
    /// Seconds that connecting may take; 10 by default.
    pub connect_timeout: f64,
    /// Seconds that the server may be silent, before and between batches; 300 by default.
    pub idle_timeout: f64,
    /// How many endpoints are fetched at once; 8 by default.
    pub max_endpoints: usize,
    /// Over how many connections the endpoints of one location are fetched; as many as there are cores, but at most 4, by default.
    pub max_connections: Option<usize>,
    /// How often a call is tried again that the server was not ready for, before the first rows; 4 by default.
    pub max_retries: u32,
    /// Whether the server is asked how far a query is (`PollFlightInfo`), where it can say so; true by default.
    pub poll: bool,
    /// Bytes that one batch may unpack to, if the server sends it compressed; 4 GiB by default.
    pub max_batch_bytes: u64,
}

impl Default for FlightSqlConfig {
    fn default() -> Self {
        Self {
            host: "localhost".into(),
            port: 31337,
            socket: None,
            tls: false,
            tls_ca: None,
            tls_server_name: None,
            tls_cert: None,
            tls_key: None,
            user: None,
            password: None,
            token: None,
            oauth_token_url: None,
            oauth_client_id: None,
            oauth_client_secret: None,
            oauth_scope: None,
            oauth_audience: None,
            headers: BTreeMap::new(),
            database: None,
            connect_timeout: 10.0,
            idle_timeout: 300.0,
            max_endpoints: 8,
            max_connections: None,
            max_retries: 4,
            poll: true,
            max_batch_bytes: 4 << 30,
        }
    }
}

impl FlightSqlConfig {
    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |message: &str| Err(Error::new(ErrorKind::InvalidOption, message));
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return invalid("tls_cert and tls_key go together: give both, or neither");
        }
        let is_oauth_tls = self
            .oauth_token_url
            .as_ref()
            .is_some_and(|url| url.starts_with("https://"));
        if !self.tls
            && !is_oauth_tls
            && (self.tls_ca.is_some() || self.tls_cert.is_some() || self.tls_server_name.is_some())
        {
            return invalid(
                "tls_ca, tls_cert and tls_server_name are for encrypted connections: set tls, or write grpc+tls://",
            );
        }
        let oauth = [
            self.oauth_token_url.is_some(),
            self.oauth_client_id.is_some(),
            self.oauth_client_secret.is_some(),
        ];
        if oauth.contains(&true) && oauth.contains(&false) {
            return invalid(
                "oauth_token_url, oauth_client_id and oauth_client_secret go together: give all three, or none",
            );
        }
        if !oauth[0] && (self.oauth_scope.is_some() || self.oauth_audience.is_some()) {
            return invalid(
                "oauth_scope and oauth_audience are for a token by OAuth: give oauth_token_url, oauth_client_id and oauth_client_secret too",
            );
        }
        if [self.token.is_some(), self.user.is_some(), oauth[0]]
            .into_iter()
            .filter(|given| *given)
            .count()
            > 1
        {
            return invalid("a token, a user and OAuth are three ways to say who asks: give one");
        }
        if self.password.is_some() && self.user.is_none() {
            return invalid("there is a password without a user; give both, or a token");
        }
        let has_header = |name: &str| {
            self.headers
                .keys()
                .any(|key| key.eq_ignore_ascii_case(name))
        };
        if has_header("authorization") && (self.token.is_some() || self.user.is_some() || oauth[0])
        {
            return invalid(
                "the header authorization says who asks, and so does token, user or OAuth: give one",
            );
        }
        if has_header("database") && self.database.is_some() {
            return invalid(
                "database is sent as the header `database`, which is among the headers too: give one",
            );
        }
        if self.host.parse::<std::net::IpAddr>().is_err() && self.host.contains([':', '/', ' ']) {
            return invalid(&format!(
                "`{}` is no host; the port belongs in the key `port`, a URL in the place of all keys",
                self.host
            ));
        }
        if self.max_batch_bytes == 0 {
            return invalid("max_batch_bytes is 0: no compressed batch would be taken");
        }
        if self.max_endpoints == 0 {
            return invalid("max_endpoints is 0: at least one endpoint has to be fetched");
        }
        if self.max_connections == Some(0) {
            return invalid("max_connections is 0: there has to be one connection");
        }
        for (key, seconds) in [
            ("connect_timeout", self.connect_timeout),
            ("idle_timeout", self.idle_timeout),
        ] {
            if !(seconds > 0.0 && seconds < 1e9) {
                return invalid(&format!(
                    "{key} is {seconds}: write seconds, more than 0 and less than 1e9"
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn connections(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
        self.max_connections.unwrap_or_else(cores)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.connect_timeout)
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.idle_timeout)
    }

    /// The server, for messages.
    pub(crate) fn address(&self) -> String {
        match &self.socket {
            Some(socket) => socket.display().to_string(),
            None if self.host.contains(':') => format!("[{}]:{}", self.host, self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }
}

/// `grpc://user:password@host:port?key=value`, `grpc+tls://…`, `http(s)://…`, `grpc+unix:///path/of/socket`.
pub(crate) fn config_from_url(url: &str) -> Result<Map<String, Value>> {
    let scheme = url_scheme(url).unwrap_or_default();
    let mut keys = url_to_config(url)?;
    let is_encrypted = ["grpc+tls", "https"].contains(&scheme.as_str());
    if is_encrypted && keys.get("tls").is_some_and(|tls| tls != "true") {
        let message = format!(
            "{scheme}:// is encrypted, and tls says otherwise; write grpc:// for plain text"
        );
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    match scheme.as_str() {
        "grpc+unix" => {
            let path = keys
                .remove("database")
                .and_then(|path| path.as_str().map(str::to_owned))
                .unwrap_or_default();
            if path.is_empty() || keys.contains_key("host") {
                let message = "the URL names no Unix socket; write grpc+unix:///path/of/socket";
                return Err(Error::new(ErrorKind::InvalidOption, message));
            }
            keys.insert("socket".into(), format!("/{path}").into());
        }
        "grpc+tls" | "https" => {
            keys.insert("tls".into(), true.into());
        }
        _ => {}
    }
    let default_port = match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    if let (Some(port), false) = (default_port, keys.contains_key("port")) {
        keys.insert("port".into(), port.into());
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> FlightSqlConfig {
        serde_json::from_value(Value::Object(config_from_url(url).expect("a URL")))
            .expect("a config")
    }

    #[test]
    fn urls_are_keys() {
        let config = parsed("grpc+tls://ada:pw@db.example:8815/main?max_endpoints_=");
        assert_eq!(
            (config.host.as_str(), config.port, config.tls),
            ("db.example", 8815, true)
        );
        assert_eq!(
            (config.user.as_deref(), config.database.as_deref()),
            (Some("ada"), Some("main"))
        );
        assert_eq!(parsed("https://db.example").port, 443);
        assert_eq!(parsed("grpc://db.example").port, 31337);
        assert_eq!(
            parsed("grpc+unix:///tmp/x/flight.sock").socket,
            Some("/tmp/x/flight.sock".into())
        );
        assert!(config_from_url("grpc+unix://host/x").is_err());
    }
}
