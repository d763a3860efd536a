//! How to connect: keys as libpq names them, and URLs as libpq reads them.

use std::path::PathBuf;

use arrowload_core::{ConnectionUrl, Result, Secret};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What of the connection is encrypted, and what of the server is proved, as libpq means it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Nothing is encrypted.
    Disable,
    /// Encrypted if the server offers it; the server is not proved.
    #[default]
    Prefer,
    /// Encrypted. The server is proved only if `sslrootcert` is given, as for `verify-ca`.
    Require,
    /// Encrypted, and the server's certificate is signed by a trusted authority.
    VerifyCa,
    /// The same, and the certificate is for this host.
    VerifyFull,
}

/// How to connect to PostgreSQL.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct PostgresqlConfig {
    /// The host, or the folder of a Unix socket; several with commas between them are tried in turn.
    pub host: String,
    /// The port; one for each host, or one for all.
    pub port: Option<String>,
    /// The user; by default the name of the operating system's.
    pub user: Option<String>,
    /// The password; by default what the password file says.
    pub password: Option<Secret>,
    /// The password file; by default `~/.pgpass`.
    pub passfile: Option<PathBuf>,
    /// The database; by default the one named as the user.
    pub database: Option<String>,
    /// The schema of targets that name none; by default the first of the server's `search_path`.
    pub schema: Option<String>,
    /// The schema of the table `arrowload_loads`, which records each load; by default the schema of the target.
    pub ledger_schema: Option<String>,
    /// `disable`, `prefer` (default), `require`, `verify-ca` or `verify-full`.
    pub sslmode: SslMode,
    /// A PEM file with trusted authorities, or `system` for those of the operating system (default).
    pub sslrootcert: Option<PathBuf>,
    /// A PEM file with the client's certificate.
    pub sslcert: Option<PathBuf>,
    /// A PEM file with the key of the client's certificate.
    pub sslkey: Option<PathBuf>,
    /// How the connection is called in the server's views and logs.
    pub application_name: String,
    /// Seconds that connecting to one host may take; 10 by default.
    pub connect_timeout: u64,
    /// How long one statement may take, as PostgreSQL writes it: `30s`, `5min`. A whole load's COPY is one statement.
    pub statement_timeout: Option<String>,
    /// Options for the server's session, such as `-c geqo=off`.
    pub options: Option<String>,
    /// Connections that are kept at most; 16 by default.
    pub pool_size: usize,
    /// For reading: how numbers of type `numeric` arrive. `auto` (default): as decimals where the column declares precision and
    /// scale, else as text; `decimal(38,9)`, or other digits: where it declares none as such a decimal, exactly or not at
    /// all; `text`: always as text.
    pub read_numeric: ReadNumeric,
    /// For reading: rows in each batch at most; 32,768 by default.
    pub read_batch_size: usize,
    /// For reading: connections at most for one query. More than one (the default) read a query over a single table by parts,
    /// all from one snapshot, in no order.
    pub read_connections: usize,
}

/// How numbers of type `numeric` are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub enum ReadNumeric {
    /// As decimals where the column declares precision and scale, else as text.
    #[default]
    Auto,
    /// As text.
    Text,
    /// As decimals; where the column declares no precision and scale, of these.
    Decimal {
        /// Digits at most: 1 to 76.
        precision: u8,
        /// Digits behind the point: 0 to the precision.
        scale: i8,
    },
}

impl TryFrom<String> for ReadNumeric {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = |text: &str| -> Option<(u8, i8)> {
            let (precision, scale) = text
                .strip_prefix("decimal(")?
                .strip_suffix(')')?
                .split_once(',')?;
            Some((precision.trim().parse().ok()?, scale.trim().parse().ok()?))
        };
        match (text.as_str(), digits(&text)) {
            ("auto", _) => Ok(Self::Auto),
            ("text", _) => Ok(Self::Text),
            (_, Some((precision @ 1..=76, scale)))
                if (0..=precision.cast_signed()).contains(&scale) =>
            {
                Ok(Self::Decimal { precision, scale })
            }
            _ => Err(format!(
                "`{text}` is none of auto, text and decimal(precision,scale) with at most 76 digits, as in decimal(38,9)"
            )),
        }
    }
}

impl Default for PostgresqlConfig {
    fn default() -> Self {
        Self {
            host: "localhost".into(),
            port: None,
            user: None,
            password: None,
            passfile: None,
            database: None,
            schema: None,
            ledger_schema: None,
            sslmode: SslMode::Prefer,
            sslrootcert: None,
            sslcert: None,
            sslkey: None,
            application_name: "arrowload".into(),
            connect_timeout: 10,
            statement_timeout: None,
            options: None,
            pool_size: 16,
            read_numeric: ReadNumeric::Auto,
            read_batch_size: 1 << 15,
            read_connections: 1,
        }
    }
}

/// Schemes of URLs.
pub(crate) const URL_SCHEMES: &[&str] = &["postgresql", "postgres"];

/// Environment variables of libpq, and the URL of everybody.
pub(crate) const ENVIRONMENT: &[(&str, &str)] = &[
    ("DATABASE_URL", "url"),
    ("PGHOST", "host"),
    ("PGPORT", "port"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGDATABASE", "database"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGAPPNAME", "application_name"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGOPTIONS", "options"),
];

/// Splits a URL as libpq does: several `host:port` pairs, hosts that are escaped folders, `?host=`.
///
/// # Errors
/// Those of [`ConnectionUrl::parse`], which do not show the URL, as it may hold a password.
pub(crate) fn from_url(url: &str) -> Result<Map<String, Value>> {
    let url = ConnectionUrl::parse(url)?;
    let (hosts, ports): (Vec<String>, Vec<String>) = url
        .hosts
        .into_iter()
        .map(|(host, port)| (host, port.map(|port| port.to_string()).unwrap_or_default()))
        .unzip();
    let is_given = |texts: &[String]| texts.iter().any(|text| !text.is_empty());
    let mut keys = Map::new();
    let mut set = |key: &str, value: String| keys.insert(key.to_owned(), value.into());
    if is_given(&hosts) {
        set("host", hosts.join(","));
    }
    if is_given(&ports) {
        set("port", ports.join(","));
    }
    for (key, value) in [
        ("user", url.user),
        ("password", url.password.expose().to_owned()),
        ("database", url.path.join("/")),
    ] {
        if !value.is_empty() {
            set(key, value);
        }
    }
    for (key, value) in url.query {
        let key = if key == "dbname" { "database" } else { &key };
        set(key, value);
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_libpq_does() {
        let keys = from_url(
            "postgresql://u%40x:p%3Aw@h1:1,[::1]:2/my%20db?sslmode=require&application_name=a%20b",
        )
        .expect("a URL");
        let expected = serde_json::json!({
            "user": "u@x", "password": "p:w", "host": "h1,::1", "port": "1,2", "database": "my db",
            "sslmode": "require", "application_name": "a b"
        });
        assert_eq!(Value::Object(keys), expected);
        let keys = from_url("postgres://%2Frun%2Fpg/db").expect("a URL");
        assert_eq!(
            Value::Object(keys),
            serde_json::json!({ "host": "/run/pg", "database": "db" })
        );
        let keys = from_url("postgresql:///db?host=/tmp&dbname=other").expect("a URL");
        assert_eq!(
            Value::Object(keys),
            serde_json::json!({ "host": "/tmp", "database": "other" })
        );
    }

    #[test]
    fn a_malformed_url_is_not_shown() {
        for url in [
            "postgresql://u:hunter2@h:port/",
            "postgresql://u:1#hunter2@h/d",
        ] {
            let error = from_url(url).expect_err("malformed");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_schema_is_closed_and_the_password_secret() {
        let schema = arrowload_core::KeySchema::of::<PostgresqlConfig>();
        assert!(schema.is_closed() && schema.is_secret("password"));
        assert!(
            ENVIRONMENT
                .iter()
                .all(|(_, key)| *key == "url" || schema.contains(key))
        );
    }
}
