//! OAuth's client credentials: a token from another server, fetched again before it runs out.

use std::time::{Duration, Instant};

use arrowload_core::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use oauth2::basic::BasicClient;
use oauth2::{
    AsyncHttpClient, AuthType, ClientId, ClientSecret, EndpointNotSet, EndpointSet, HttpRequest,
    HttpResponse, RequestTokenError, Scope,
};
use oauth2::{TokenResponse, TokenUrl};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::channel::Bytes;
use crate::config::FlightSqlConfig;
use crate::tls;

/// A token is fetched again so long before it runs out.
const EARLY: Duration = Duration::from_secs(30);
/// A longer answer is not a token.
const LONGEST_ANSWER: usize = 1 << 20;

type Asker =
    BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// The client for tokens, and the current token.
pub(crate) struct OAuth {
    asker: Asker,
    scopes: Vec<Scope>,
    audience: Option<String>,
    token: Mutex<Option<Token>>,
}

struct Token {
    text: String,
    good_until: Option<Instant>,
}

impl std::fmt::Debug for OAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OAuth").finish_non_exhaustive()
    }
}

impl OAuth {
    /// As the connection says; `None` if it does not.
    pub(crate) fn of(config: &FlightSqlConfig) -> Result<Option<Self>> {
        let (Some(url), Some(id), Some(secret)) = (
            &config.oauth_token_url,
            &config.oauth_client_id,
            &config.oauth_client_secret,
        ) else {
            return Ok(None);
        };
        let url = TokenUrl::new(url.clone()).map_err(|error| {
            Error::new(
                ErrorKind::InvalidOption,
                format!("oauth_token_url is no URL: {error}"),
            )
        })?;
        let secret = ClientSecret::new(secret.expose().to_owned());
        let asker = BasicClient::new(ClientId::new(id.clone()))
            .set_client_secret(secret)
            .set_token_uri(url);
        let scopes = config
            .oauth_scope
            .iter()
            .flat_map(|scopes| scopes.split_whitespace())
            .map(|scope| Scope::new(scope.into()));
        Ok(Some(Self {
            asker,
            scopes: scopes.collect(),
            audience: config.oauth_audience.clone(),
            token: Mutex::default(),
        }))
    }

    /// A token that is still good.
    pub(crate) async fn token(&self, config: &FlightSqlConfig) -> Result<String> {
        let mut token = self.token.lock().await;
        if let Some(token) = token
            .as_ref()
            .filter(|token| token.good_until.is_none_or(|until| Instant::now() < until))
        {
            return Ok(token.text.clone());
        }
        let limit = config.connect_timeout();
        let fetched = tokio::time::timeout(limit, self.fetch(config))
            .await
            .map_err(|_| {
                let message = format!(
                    "{} gave no token within {limit:?}; raise connect_timeout if it needs longer",
                    self.asker.token_uri()
                );
                Error::new(ErrorKind::Timeout, message).transient()
            })??;
        Ok(token.insert(fetched).text.clone())
    }

    /// The server refused the token: the next call fetches another.
    pub(crate) async fn forget(&self) {
        *self.token.lock().await = None;
    }

    /// Sends the secret in a header, as every server should accept it, and in the body if the server
    /// does not.
    async fn fetch(&self, config: &FlightSqlConfig) -> Result<Token> {
        let mut outcome = self.ask(config, AuthType::BasicAuth).await;
        if matches!(&outcome, Err(error) if error.kind() == ErrorKind::Authentication) {
            outcome = self.ask(config, AuthType::RequestBody).await;
        }
        outcome
    }

    async fn ask(&self, config: &FlightSqlConfig, auth_type: AuthType) -> Result<Token> {
        let began = Instant::now();
        let asker = self.asker.clone().set_auth_type(auth_type);
        let mut request = asker
            .exchange_client_credentials()
            .add_scopes(self.scopes.iter().cloned());
        if let Some(audience) = &self.audience {
            request = request.add_extra_param("audience", audience);
        }
        let answer = request
            .request_async(&Http(config))
            .await
            .map_err(|error| self.refused(error))?;
        let good_until = answer
            .expires_in()
            .map(|lasts| began + lasts.saturating_sub(EARLY).max(lasts / 2));
        Ok(Token {
            text: answer.access_token().secret().clone(),
            good_until,
        })
    }

    fn refused<R: oauth2::ErrorResponse + std::fmt::Display + 'static>(
        &self,
        error: RequestTokenError<Error, R>,
    ) -> Error {
        let url = self.asker.token_uri();
        match error {
            RequestTokenError::Request(error) => error,
            RequestTokenError::ServerResponse(answer) => {
                let message = format!(
                    "{url} gives no token: {answer}; check oauth_client_id, oauth_client_secret and oauth_scope"
                );
                Error::new(ErrorKind::Authentication, message)
            }
            // The body might hold a token: it is not shown.
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                let message =
                    format!("{url} answers something other than a token; check oauth_token_url");
                Error::new(ErrorKind::Authentication, message)
            }
        }
    }
}

/// How the protocol's requests are sent.
struct Http<'a>(&'a FlightSqlConfig);

impl<'c> AsyncHttpClient<'c> for Http<'_> {
    type Error = Error;
    type Future = BoxFuture<'c, Result<HttpResponse>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(send(self.0, request))
    }
}

/// One request over HTTP/1.1, on a connection of its own: tokens are fetched seldom.
async fn send(config: &FlightSqlConfig, request: HttpRequest) -> Result<HttpResponse> {
    let uri = request.uri().clone();
    let failed = |error: &dyn std::fmt::Display| {
        let message = format!(
            "no token from {uri}: {error}; check oauth_token_url, and tls_ca where its authority is not a public one"
        );
        Error::new(ErrorKind::Connection, message).transient()
    };
    let host = uri
        .host()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let tcp = TcpStream::connect((host.as_str(), port))
        .await
        .map_err(|error| failed(&error))?;
    let stream: Bytes = match is_tls {
        true => Box::new(
            tls::connector(config, &host, b"http/1.1")?
                .connect(tcp)
                .await
                .map_err(|error| failed(&error))?,
        ),
        false => Box::new(tcp),
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let connection = tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let host_header = authority
        .parse()
        .map_err(|_| failed(&"the host is no header"))?;
    parts.headers.insert(hyper::header::HOST, host_header);
    parts.uri = uri
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .parse()
        .map_err(|error| failed(&error))?;
    let answer = sender
        .send_request(hyper::Request::from_parts(
            parts,
            Full::new(bytes::Bytes::from(body)),
        ))
        .await;
    let (parts, body) = answer.map_err(|error| failed(&error))?.into_parts();
    let body = Limited::new(body, LONGEST_ANSWER)
        .collect()
        .await
        .map_err(|error| failed(&error))?
        .to_bytes();
    connection.abort();
    Ok(HttpResponse::from_parts(parts, body.to_vec()))
}
