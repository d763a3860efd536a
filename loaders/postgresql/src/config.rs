//! How to connect: keys as libpq names them.

use std::path::PathBuf;

use arrowload_core::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// What of the connection is encrypted, and what of the server is proved, as libpq means it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Nothing is encrypted.
    Disable,
    /// Encrypted if the server offers it; the server is not proved. `allow` of libpq means the same here.
    #[default]
    #[serde(alias = "allow")]
    Prefer,
    /// Encrypted. The server is proved only if `sslrootcert` is given, as for `verify-ca`.
    Require,
    /// Encrypted, and the server's certificate is signed by a trusted authority.
    VerifyCa,
    /// The same, and the certificate is for this host.
    VerifyFull,
}

/// Whether the password's proof is bound to the encrypted connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelBinding {
    /// It is not.
    Disable,
    /// If the server can.
    #[default]
    Prefer,
    /// Or there is no connection.
    Require,
}

/// Encryption by Kerberos, which is not supported; so `require` is not one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GssEncMode {
    /// There is none.
    Disable,
    /// There is none either.
    #[default]
    Prefer,
}

/// How encryption begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SslNegotiation {
    /// The server is asked first.
    #[default]
    Postgres,
    /// At once.
    Direct,
}

/// Which of several hosts will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TargetSessionAttrs {
    /// Any.
    #[default]
    Any,
    /// One that takes writes.
    ReadWrite,
    /// One that does not.
    ReadOnly,
}

/// The order in which several hosts are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoadBalanceHosts {
    /// As they stand.
    #[default]
    Disable,
    /// By chance.
    Random,
}

/// How to connect to PostgreSQL.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct PostgresqlConfig {
    /// The host, or the folder of a Unix socket; several with commas between them are tried in turn.
    #[schemars(extend("x-place" = 1))]
    pub host: String,
    /// The address to connect to, so that `host` is not looked up; `host` then names the server of a certificate. Several as for
    /// `host`.
    pub hostaddr: Option<String>,
    /// The port; one for each host, or one for all. 5432 by default.
    #[schemars(extend("x-place" = 2, "x-default" = "5432"))]
    pub port: Option<String>,
    /// The user; by default the name of the operating system's.
    #[schemars(extend("x-place" = 4, "x-default" = "$USER"))]
    pub user: Option<String>,
    /// The password; by default what the password file says.
    pub password: Option<Secret>,
    /// The password file; by default `~/.pgpass`.
    pub passfile: Option<PathBuf>,
    /// The database; by default the one named as the user.
    #[schemars(extend("x-place" = 3, "x-default" = "=user"))]
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
    /// How encryption begins: `postgres` (default) asks the server first, `direct` does not (PostgreSQL 17; with `sslmode` of
    /// `require` and above).
    pub sslnegotiation: SslNegotiation,
    /// Whether the password's proof is bound to the encrypted connection: `disable`, `prefer` (default) or `require`.
    pub channel_binding: ChannelBinding,
    /// Encryption by Kerberos, which is not supported: `disable` and `prefer` come to the same.
    pub gssencmode: GssEncMode,
    /// Which of several hosts will do: `any` (default), or one whose sessions are `read-write` or `read-only`.
    pub target_session_attrs: TargetSessionAttrs,
    /// The order in which several hosts are tried: as they stand (`disable`, the default), or `random`.
    pub load_balance_hosts: LoadBalanceHosts,
    /// 1 (default) to keep idle connections alive, 0 not to.
    pub keepalives: u8,
    /// Seconds without traffic before the first sign of life is asked for; two hours by default.
    pub keepalives_idle: Option<u64>,
    /// Seconds between signs of life that are not answered; by default what the operating system says.
    pub keepalives_interval: Option<u64>,
    /// Signs of life that may stay without an answer; by default what the operating system says.
    pub keepalives_count: Option<u32>,
    /// Milliseconds that sent data may stay without acknowledgement; by default what the operating system says.
    pub tcp_user_timeout: Option<u64>,
    /// How the connection is called in the server's views and logs.
    pub application_name: String,
    /// Seconds that connecting to one host may take, its answer as a PostgreSQL server included; 10 by default.
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
    /// For reading: connections at most for one query. Several read a query over a single table by parts, all from one snapshot, and in
    /// the order in which one would. By default as many as there are cores, up to four, for tables of 32 MiB and more, as far as
    /// the server leaves them free.
    pub read_connections: Option<usize>,
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
            hostaddr: None,
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
            sslnegotiation: SslNegotiation::Postgres,
            channel_binding: ChannelBinding::Prefer,
            gssencmode: GssEncMode::Prefer,
            target_session_attrs: TargetSessionAttrs::Any,
            load_balance_hosts: LoadBalanceHosts::Disable,
            keepalives: 1,
            keepalives_idle: None,
            keepalives_interval: None,
            keepalives_count: None,
            tcp_user_timeout: None,
            application_name: "arrowload".into(),
            connect_timeout: 10,
            statement_timeout: None,
            options: None,
            pool_size: 16,
            read_numeric: ReadNumeric::Auto,
            read_batch_size: 1 << 15,
            read_connections: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_url::ENVIRONMENT;

    #[test]
    fn the_schema_is_closed_and_the_password_secret() {
        let schema = arrowload_core::KeySchema::of::<PostgresqlConfig>();
        assert!(schema.is_closed() && schema.is_secret("password"));
        let is_known = |key: &str| key.starts_with("url") || schema.contains(key);
        assert!(ENVIRONMENT.iter().all(|(_, key)| is_known(key)));
    }
}
