//! How to connect.

use std::path::PathBuf;
use std::time::Duration;

use arrowload_core::{ConnectionUrl, Error, ErrorKind, Result, Secret};
use mongodb::options::{ClientOptions, Credential, ServerAddress, Tls, TlsOptions};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::from_native;

/// How to connect to MongoDB, or to another server that speaks its protocol.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct MongoConfig {
    /// A connection string: `mongodb://user:password@host:port/database?replicaSet=…` or `mongodb+srv://…`, with every option that
    /// MongoDB's drivers know. In place of host and port.
    pub uri: Option<Secret>,
    /// The host.
    pub host: String,
    /// The port; 27017 by default.
    pub port: u16,
    /// The database; that of the connection string by default.
    pub database: Option<String>,
    /// The user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The database that knows the user; `admin` by default.
    pub auth_source: Option<String>,
    /// The name of the replica set.
    pub replica_set: Option<String>,
    /// Talk to this server only, whatever set it is of.
    pub direct_connection: Option<bool>,
    /// Encrypt the connection, and prove the server.
    pub tls: Option<bool>,
    /// A PEM file with trusted authorities.
    pub tls_ca: Option<PathBuf>,
    /// A PEM file with the client's certificate and key.
    pub tls_cert: Option<PathBuf>,
    /// Seconds that finding a server may take; 15 by default.
    pub connect_timeout: u64,
}

impl Default for MongoConfig {
    fn default() -> Self {
        Self {
            uri: None,
            host: "localhost".into(),
            port: 27017,
            database: None,
            username: None,
            password: None,
            auth_source: None,
            replica_set: None,
            direct_connection: None,
            tls: None,
            tls_ca: None,
            tls_cert: None,
            connect_timeout: 15,
        }
    }
}

/// Schemes of URLs.
pub(crate) const URL_SCHEMES: &[&str] = &["mongodb", "mongodb+srv"];
/// The variable that MongoDB's own documentation uses.
pub(crate) const ENVIRONMENT: &[(&str, &str)] = &[("MONGODB_URI", "url")];

/// A client, and the database that it works in.
#[derive(Debug, Clone)]
pub(crate) struct Connected {
    pub(crate) client: mongodb::Client,
    pub(crate) database: String,
    /// The servers as they were named, which identify a deployment.
    pub(crate) hosts: String,
}

impl Connected {
    pub(crate) fn database(&self) -> mongodb::Database {
        self.client.database(&self.database)
    }

    pub(crate) async fn ping(&self) -> Result<()> {
        let ping = bson::doc! { "ping": 1 };
        let answer = self.database().run_command(ping).await;
        answer.map(|_| ()).map_err(from_native)
    }
}

/// The whole URL is one key, as its options are the driver's.
///
/// # Errors
/// If it is malformed. The message does not show the URL, as it may hold a password.
pub(crate) fn from_url(url: &str) -> Result<Map<String, Value>> {
    ConnectionUrl::parse(url)?;
    Ok(Map::from_iter([("uri".into(), url.into())]))
}

impl MongoConfig {
    pub(crate) async fn connect(self) -> Result<Connected> {
        let mut options = match &self.uri {
            Some(uri) => ClientOptions::parse(uri.expose()).await.map_err(|error| {
                // The driver's message may show the connection string.
                let mapped = from_native(error);
                let message = "the connection string is malformed; write mongodb://user:password@host:port/database";
                match mapped.kind() {
                    ErrorKind::Connection | ErrorKind::Tls => mapped,
                    _ => Error::new(ErrorKind::InvalidOption, message),
                }
            })?,
            None => {
                let address = ServerAddress::Tcp {
                    host: self.host.clone(),
                    port: Some(self.port),
                };
                ClientOptions::builder().hosts(vec![address]).build()
            }
        };
        if let Some(username) = &self.username {
            let mut credential = options
                .credential
                .take()
                .unwrap_or_else(Credential::default);
            credential.username = Some(username.clone());
            options.credential = Some(credential);
        }
        if let Some(credential) = &mut options.credential {
            if let Some(password) = &self.password {
                credential.password = Some(password.expose().to_owned());
            }
            if let Some(source) = &self.auth_source {
                credential.source = Some(source.clone());
            }
        }
        if self.tls == Some(true) || self.tls_ca.is_some() || self.tls_cert.is_some() {
            let mut tls = TlsOptions::default();
            tls.ca_file_path = self.tls_ca.clone();
            tls.cert_key_file_path = self.tls_cert.clone();
            options.tls = Some(Tls::Enabled(tls));
        }
        options.repl_set_name = self.replica_set.clone().or(options.repl_set_name);
        options.direct_connection = self.direct_connection.or(options.direct_connection);
        options.app_name.get_or_insert_with(|| "arrowload".into());
        options
            .server_selection_timeout
            .get_or_insert(Duration::from_secs(self.connect_timeout.max(1)));
        let database = self.database.clone().or(options.default_database.clone());
        let database = database.ok_or_else(|| {
            let message = "no database is named; set `database`, or write mongodb://host/database";
            Error::new(ErrorKind::InvalidOption, message).with("key", "database")
        })?;
        let mut hosts: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
        hosts.sort();
        let client = mongodb::Client::with_options(options).map_err(from_native)?;
        let connected = Connected {
            client,
            database,
            hosts: hosts.join(","),
        };
        connected.ping().await?;
        Ok(connected)
    }
}
