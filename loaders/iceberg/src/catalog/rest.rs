//! The REST catalog: a server that keeps tables, and commits what fulfils a list of requirements.

use std::collections::{BTreeMap, HashMap};

use arrowload_core::{Error, ErrorKind, Result, Secret};
use iceberg::spec::TableMetadata;
use iceberg::{NamespaceIdent, TableIdent, TableRequirement};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{Answer, Change, Known};
use crate::config::{IcebergConfig, invalid};

/// A catalog on a server.
#[derive(Debug)]
pub(crate) struct RestCatalog {
    client: reqwest::Client,
    /// Where the protocol's paths begin.
    root: String,
    /// The URL as it is shown: without user and password.
    shown: String,
    login: Login,
    token: OnceCell<Option<Secret>>,
}

/// How the server knows us.
#[derive(Debug)]
struct Login {
    token: Option<Secret>,
    credential: Option<Secret>,
    server: String,
    scope: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ServerConfig {
    defaults: HashMap<String, Option<String>>,
    overrides: HashMap<String, Option<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LoadedTable {
    #[serde(default)]
    metadata_location: Option<String>,
    metadata: TableMetadata,
    #[serde(default)]
    config: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Token {
    access_token: Secret,
}

impl RestCatalog {
    pub(crate) async fn connect(config: &IcebergConfig) -> Result<Self> {
        let Some(uri) = &config.catalog_uri else {
            return Err(invalid(
                "catalog_uri",
                "set `catalog_uri` to the server's URL",
            ));
        };
        let uri = uri.expose().trim_end_matches('/').to_owned();
        let shown = match url::Url::parse(&uri) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => {
                format!("{}{}", url.host_str().unwrap_or_default(), url.path())
            }
            _ => {
                let message = "`catalog_uri` is no URL of http or https";
                return Err(invalid("catalog_uri", message));
            }
        };
        let client = reqwest::Client::builder()
            .user_agent(concat!("arrowload/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| failed(error, "the HTTP client could not be set up"))?;
        let server = config.oauth2_server_uri.clone();
        let mut catalog = Self {
            client,
            root: format!("{uri}/v1"),
            shown,
            login: Login {
                token: config.token.clone(),
                credential: config.credential.clone(),
                server: server.unwrap_or_else(|| format!("{uri}/v1/oauth/tokens")),
                scope: config.scope.clone().unwrap_or_else(|| "catalog".into()),
            },
            token: OnceCell::new(),
        };
        let mut request = catalog.request(Method::GET, "config").await?;
        if let Some(warehouse) = &config.warehouse {
            request = request.query(&[("warehouse", warehouse)]);
        }
        let answer = request.send().await;
        let answer = answer.map_err(|error| failed(error, "the catalog does not answer"))?;
        let told: ServerConfig = match answer.status() {
            // Servers without any configuration need not have this path.
            StatusCode::NOT_FOUND => ServerConfig::default(),
            _ => read(answer).await?,
        };
        let of = |map: &HashMap<String, Option<String>>| map.get("prefix").cloned().flatten();
        if let Some(prefix) = of(&told.overrides).or_else(|| of(&told.defaults)) {
            catalog.root = format!("{}/{}", catalog.root, prefix.trim_matches('/'));
        }
        Ok(catalog)
    }

    pub(crate) async fn load(&self, table: &TableIdent) -> Result<Option<Known>> {
        let request = self.request(Method::GET, &path(table)).await?;
        // The server may give credentials for the table's files.
        let request = request.header("X-Iceberg-Access-Delegation", "vended-credentials");
        let answer = request.send().await;
        let answer = answer.map_err(|error| failed(error, "the catalog does not answer"))?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let loaded: LoadedTable = read(answer).await?;
        let location = loaded.metadata_location.ok_or_else(|| {
            let message = "the catalog has a table that was never committed";
            Error::new(ErrorKind::InvalidData, message)
        })?;
        Ok(Some(Known {
            location,
            vended: storage_options(&loaded.config),
            metadata: loaded.metadata.into(),
        }))
    }

    /// The location that the server gives a new table. The table is only staged at the server, and
    /// not created.
    pub(crate) async fn location(&self, table: &TableIdent) -> Result<String> {
        let body = json!({
            "name": table.name(), "stage-create": true,
            "schema": {"type": "struct", "schema-id": 0, "fields": [
                {"id": 1, "name": "x", "required": false, "type": "int"},
            ]},
        });
        let request = self
            .request(Method::POST, &tables(table.namespace()))
            .await?;
        let answer = request.json(&body).send().await;
        let answer = answer.map_err(|error| failed(error, "the catalog does not answer"))?;
        if answer.status() == StatusCode::NOT_FOUND {
            let namespace = table.namespace().join(".");
            let message =
                format!("the catalog has no namespace `{namespace}`; create it there first");
            return Err(Error::new(ErrorKind::TargetNotFound, message));
        }
        let staged: Value = read(answer).await?;
        match staged["metadata"]["location"].as_str() {
            Some(location) => Ok(location.trim_end_matches('/').to_owned()),
            None => {
                let message = "the catalog gave no location for the new table; set `location`";
                Err(Error::new(ErrorKind::InvalidData, message))
            }
        }
    }

    pub(crate) async fn commit(&self, change: &Change<'_>) -> Result<Answer> {
        let ident = change.table;
        let body = json!({
            "identifier": {"namespace": ident.namespace(), "name": ident.name()},
            "requirements": requirements(change),
            "updates": change.updates,
        });
        let request = self.request(Method::POST, &path(ident)).await?.json(&body);
        let unknown = "the catalog did not answer whether the commit is there";
        let answer = match request.send().await {
            Ok(answer) => answer,
            // If the request was never sent, the commit has not happened.
            Err(error) if error.is_connect() || error.is_builder() => {
                return Err(failed(error, "the catalog does not answer"));
            }
            Err(error) => {
                return Err(Error::new(ErrorKind::CommitUnknown, unknown).with_source(error));
            }
        };
        match answer.status() {
            status if status.is_success() => Ok(Answer::Committed),
            StatusCode::CONFLICT => Ok(Answer::Outrun),
            StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::GATEWAY_TIMEOUT => {
                let said = said(answer).await;
                let message = format!("{unknown}: {said}");
                Err(Error::new(ErrorKind::CommitUnknown, message))
            }
            _ => Err(refused(answer).await),
        }
    }

    pub(crate) fn describe(&self) -> String {
        format!("the catalog at {}", self.shown)
    }

    async fn request(&self, method: Method, path: &str) -> Result<RequestBuilder> {
        let request = self.client.request(method, format!("{}/{path}", self.root));
        let token = self.token.get_or_try_init(|| self.log_in()).await?;
        Ok(match token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        })
    }

    async fn log_in(&self) -> Result<Option<Secret>> {
        if let Some(token) = &self.login.token {
            return Ok(Some(token.clone()));
        }
        let Some(credential) = &self.login.credential else {
            return Ok(None);
        };
        let (id, secret) = match credential.expose().split_once(':') {
            Some((id, secret)) => (Some(id), secret),
            None => (None, credential.expose()),
        };
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_secret", secret),
            ("scope", self.login.scope.as_str()),
        ];
        form.extend(id.map(|id| ("client_id", id)));
        let answer = self
            .client
            .post(&self.login.server)
            .form(&form)
            .send()
            .await;
        let answer = answer.map_err(|error| failed(error, "no token could be asked for"))?;
        let token: Token = read(answer).await?;
        Ok(Some(token.access_token))
    }
}

/// What must hold for the commit: the table is as it was when the change was made.
fn requirements(change: &Change<'_>) -> Vec<TableRequirement> {
    let Some(base) = change.base else {
        return vec![TableRequirement::NotExist];
    };
    let metadata = &base.metadata;
    vec![
        TableRequirement::UuidMatch {
            uuid: metadata.uuid(),
        },
        TableRequirement::RefSnapshotIdMatch {
            r#ref: "main".into(),
            snapshot_id: metadata.current_snapshot_id(),
        },
        TableRequirement::CurrentSchemaIdMatch {
            current_schema_id: metadata.current_schema_id(),
        },
        TableRequirement::LastAssignedFieldIdMatch {
            last_assigned_field_id: metadata.last_column_id(),
        },
        TableRequirement::DefaultSpecIdMatch {
            default_spec_id: metadata.default_partition_spec_id(),
        },
    ]
}

fn tables(namespace: &NamespaceIdent) -> String {
    let namespace = namespace.iter().map(|level| escaped(level));
    let namespace = namespace.collect::<Vec<_>>().join("%1F");
    format!("namespaces/{namespace}/tables")
}

fn path(table: &TableIdent) -> String {
    format!("{}/{}", tables(table.namespace()), escaped(table.name()))
}

/// A part of a path, whatever characters it has.
fn escaped(part: &str) -> String {
    url::form_urlencoded::byte_serialize(part.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// Translates a server's configuration for a table's files to the options of our object stores.
fn storage_options(config: &HashMap<String, String>) -> BTreeMap<String, Secret> {
    let known = [
        ("s3.access-key-id", "aws_access_key_id"),
        ("s3.secret-access-key", "aws_secret_access_key"),
        ("s3.session-token", "aws_session_token"),
        ("s3.endpoint", "aws_endpoint"),
        ("client.region", "aws_region"),
        ("s3.region", "aws_region"),
    ];
    let told = known.into_iter().filter_map(|(theirs, ours)| {
        Some((ours.to_owned(), Secret::new(config.get(theirs)?.clone())))
    });
    let mut options: BTreeMap<String, Secret> = told.collect();
    let endpoint = config.get("s3.endpoint");
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
        options.insert("aws_allow_http".into(), Secret::new("true"));
    }
    options
}

/// The body of an answer, if it is one of success.
async fn read<T: serde::de::DeserializeOwned>(answer: Response) -> Result<T> {
    if !answer.status().is_success() {
        return Err(refused(answer).await);
    }
    let body = answer.bytes().await;
    let body = body.map_err(|error| failed(error, "the catalog's answer was cut off"))?;
    serde_json::from_slice(&body).map_err(|error| {
        let message = format!("the catalog's answer is not understood: {error}");
        Error::new(ErrorKind::InvalidData, message).with_source(error)
    })
}

/// The server's message of an error.
async fn said(answer: Response) -> String {
    let status = answer.status();
    let body: Value = answer.json().await.unwrap_or_default();
    let message = body["error"]["message"].as_str().or(body["error"].as_str());
    match message {
        Some(message) => format!("{message} ({status})"),
        None => status.to_string(),
    }
}

async fn refused(answer: Response) -> Error {
    let status = answer.status();
    let (kind, transient) = match status {
        StatusCode::UNAUTHORIZED => (ErrorKind::Authentication, false),
        StatusCode::FORBIDDEN => (ErrorKind::PermissionDenied, false),
        StatusCode::NOT_FOUND => (ErrorKind::TargetNotFound, false),
        StatusCode::BAD_REQUEST => (ErrorKind::InvalidOption, false),
        StatusCode::CONFLICT => (ErrorKind::Conflict, true),
        StatusCode::TOO_MANY_REQUESTS => (ErrorKind::ResourceExhausted, true),
        status if status.is_server_error() => (ErrorKind::Connection, true),
        _ => (ErrorKind::Unexpected, false),
    };
    let message = format!("the catalog refuses: {}", said(answer).await);
    let error = Error::new(kind, message).with_code(status.as_u16().to_string());
    if transient { error.transient() } else { error }
}

fn failed(error: reqwest::Error, what: &str) -> Error {
    // A URL may hold a password.
    let error = error.without_url();
    let message = format!("{what}: {error}");
    Error::new(ErrorKind::Connection, message)
        .with_source(error)
        .transient()
}
