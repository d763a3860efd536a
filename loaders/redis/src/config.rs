//! How to connect: keys, and URLs as Redis's own tools read them.

use std::path::PathBuf;

use arrowload_core::{ConnectionUrl, Error, ErrorKind, Result, Secret, hosts};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// How to connect to Redis, Valkey or another server that speaks their protocol.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RedisConfig {
    /// The host. For a cluster or Sentinel, several with commas between them, each as `host` or `host:port`, are tried in turn.
    pub host: String,
    /// The port; 6379 by default, 26379 for Sentinel.
    pub port: Option<u16>,
    /// The number of the database; 0 by default.
    pub db: u32,
    /// The ACL user; by default the server's `default`.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// A Unix socket, in place of host and port.
    pub unix_socket: Option<PathBuf>,
    /// Encrypt the connection, and prove the server.
    pub tls: bool,
    /// A PEM file with trusted authorities; by default those of the operating system.
    pub tls_ca: Option<PathBuf>,
    /// A PEM file with the client's certificate.
    pub tls_cert: Option<PathBuf>,
    /// A PEM file with the key of the client's certificate.
    pub tls_key: Option<PathBuf>,
    /// The server is one of a Redis Cluster: keys are routed to their nodes.
    pub cluster: bool,
    /// The name of the master that Sentinel is asked for; `host` then names Sentinels.
    pub sentinel_master: Option<String>,
    /// The user at the Sentinels.
    pub sentinel_username: Option<String>,
    /// The password at the Sentinels.
    pub sentinel_password: Option<Secret>,
    /// The version of the protocol: 3 (default; 2 if the server knows no other) or 2.
    pub protocol: u8,
    /// How the connection is called in `CLIENT LIST`.
    pub client_name: String,
    /// Seconds that connecting may take; 10 by default.
    pub connect_timeout: u64,
    /// Seconds that the server may stay silent while an answer is awaited; 60 by default.
    pub response_timeout: u64,
    /// For reading: keys or entries in each batch at most; 10,000 by default.
    pub read_batch_size: usize,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            host: "localhost".into(),
            port: None,
            db: 0,
            username: None,
            password: None,
            unix_socket: None,
            tls: false,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            cluster: false,
            sentinel_master: None,
            sentinel_username: None,
            sentinel_password: None,
            protocol: 3,
            client_name: "arrowload".into(),
            connect_timeout: 10,
            response_timeout: 60,
            read_batch_size: 10_000,
        }
    }
}

/// Schemes of URLs.
pub(crate) const URL_SCHEMES: &[&str] = &[
    "redis",
    "rediss",
    "redis+unix",
    "redis-sentinel",
    "valkey",
    "valkeys",
    "valkey+unix",
];

/// The URL of everybody, and the variable of `redis-cli`.
pub(crate) const ENVIRONMENT: &[(&str, &str)] =
    &[("REDIS_URL", "url"), ("REDISCLI_AUTH", "password")];

fn malformed(why: &str) -> Error {
    let message =
        format!("the connection URL is malformed: {why}; write redis://user:password@host:port/db");
    Error::new(ErrorKind::InvalidOption, message)
}

fn number(text: &str, what: &str) -> Result<Value> {
    text.parse::<u32>()
        .map(Value::from)
        .map_err(|_| malformed(&format!("{what} is no number")))
}

/// Parameters that are not text.
fn parameter(key: &str, text: String) -> Result<Value> {
    match key {
        "db" | "port" | "protocol" | "connect_timeout" | "response_timeout" | "read_batch_size" => {
            number(&text, key)
        }
        "tls" | "cluster" => text
            .parse::<bool>()
            .map(Value::from)
            .map_err(|_| malformed(&format!("{key} is neither true nor false"))),
        _ => Ok(Value::String(text)),
    }
}

/// Splits a URL: `redis://user:password@host:port/db?key=value`, `redis+unix:///path?db=1`,
/// `redis-sentinel://host:port,host:port/master/db`. A name before `@` without `:` is a user.
///
/// # Errors
/// [`ErrorKind::InvalidOption`]. The message does not show the URL, as it may hold a password.
pub(crate) fn from_url(url: &str) -> Result<Map<String, Value>> {
    let url = ConnectionUrl::parse(url)?;
    let mut keys = Map::new();
    for (key, text) in [
        ("username", url.user),
        ("password", url.password.expose().to_owned()),
    ] {
        if !text.is_empty() {
            keys.insert(key.into(), text.into());
        }
    }
    let db = match url.scheme.as_str() {
        "redis+unix" | "valkey+unix" => {
            if url.path.is_empty() {
                return Err(malformed("it names no socket"));
            }
            keys.insert(
                "unix_socket".into(),
                format!("/{}", url.path.join("/")).into(),
            );
            String::new()
        }
        "redis-sentinel" => {
            let (master, db) = url.path.split_first().ok_or_else(|| {
                malformed("it names no master: redis-sentinel://host:port,host:port/master")
            })?;
            keys.insert("sentinel_master".into(), master.as_str().into());
            db.join("/")
        }
        _ => url.path.join("/"),
    };
    if !db.is_empty() {
        keys.insert("db".into(), number(&db, "the database")?);
    }
    if matches!(url.scheme.as_str(), "rediss" | "valkeys") {
        keys.insert("tls".into(), true.into());
    }
    insert_hosts(&mut keys, &url.hosts);
    for (key, value) in url.query {
        let value = parameter(&key, value)?;
        keys.insert(key, value);
    }
    Ok(keys)
}

fn insert_hosts(keys: &mut Map<String, Value>, hosts: &[(String, Option<u16>)]) {
    if let [(host, port)] = hosts {
        if !host.is_empty() {
            keys.insert("host".into(), host.as_str().into());
        }
        if let Some(port) = port {
            keys.insert("port".into(), (*port).into());
        }
        return;
    }
    let written = hosts.iter().map(|(host, port)| match port {
        None => host.clone(),
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
    });
    let written: Vec<String> = written.collect();
    if !written.is_empty() {
        keys.insert("host".into(), written.join(",").into());
    }
}

/// Every `host:port` of the key `host`.
pub(crate) fn split_hosts(text: &str, default_port: u16) -> Result<Vec<(String, u16)>> {
    let all = hosts(text).map_err(|error| error.with("key", "host"))?;
    if all.iter().any(|(host, _)| host.is_empty()) {
        let message = format!("`{text}` names a port without a host, or nothing between commas");
        return Err(Error::new(ErrorKind::InvalidOption, message).with("key", "host"));
    }
    let with_port = |(host, port): (_, Option<u16>)| (host, port.unwrap_or(default_port));
    Ok(all.into_iter().map(with_port).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_the_tools_do() {
        let read = |url| Value::Object(from_url(url).expect("a URL"));
        let expected = serde_json::json!({ "username": "u@x", "password": "p:w", "host": "h", "port": 7000, "db": 3, "tls": true, "protocol": 2 });
        assert_eq!(read("rediss://u%40x:p%3Aw@h:7000/3?protocol=2"), expected);
        assert_eq!(
            read("redis://:secret@[::1]:6380"),
            serde_json::json!({ "password": "secret", "host": "::1", "port": 6380 })
        );
        assert_eq!(
            read("redis+unix:///run/redis.sock?db=1"),
            serde_json::json!({ "unix_socket": "/run/redis.sock", "db": 1 })
        );
        let expected = serde_json::json!({ "host": "a:1,b", "sentinel_master": "mymaster", "db": 2, "password": "p" });
        assert_eq!(read("redis-sentinel://:p@a:1,b/mymaster/2"), expected);
        assert_eq!(
            read("redis://a:1,b:2?cluster=true"),
            serde_json::json!({ "host": "a:1,b:2", "cluster": true })
        );
        assert_eq!(
            read("redis://[::1]:1,[::2],c?cluster=true"),
            serde_json::json!({ "host": "[::1]:1,::2,c", "cluster": true })
        );
        assert_eq!(
            split_hosts("[::1]:1,::2,c", 5).expect("hosts"),
            [("::1".into(), 1), ("::2".into(), 5), ("c".into(), 5)]
        );
        for list in ["a,,b", ":1", "a:port"] {
            split_hosts(list, 5).expect_err(list);
        }
    }

    #[test]
    fn a_malformed_url_is_not_shown() {
        for url in [
            "redis://u:hunter2@h:port/",
            "redis://u:hunter2@h/db",
            "redis-sentinel://u:hunter2@h",
            "redis://u:hunter2@h?tls=maybe",
            "redis://u:1/hunter2@h/0",
            "redis://u:p?hunter2@h/0",
        ] {
            let error = from_url(url).expect_err("malformed");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_configuration_of_the_python_loader_is_taken() {
        let json = r#"{"host":"localhost","port":6379,"db":0,"password":null}"#;
        let config: RedisConfig = serde_json::from_str(json).expect("a configuration");
        assert!(config.password.is_none() && config.port == Some(6379));
        let schema = arrowload_core::KeySchema::of::<RedisConfig>();
        assert!(
            schema.is_closed()
                && schema.is_secret("password")
                && schema.is_secret("sentinel_password")
        );
        assert!(
            ENVIRONMENT
                .iter()
                .all(|(_, key)| *key == "url" || schema.contains(key))
        );
    }
}
