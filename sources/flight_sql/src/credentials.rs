//! Authentication: the headers and cookies of every call, including the token.

use std::collections::BTreeMap;
use std::sync::Mutex;

use arrow_flight::HandshakeRequest;
use arrowload_core::{Error, ErrorKind, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::{Code, Request};

use crate::config::FlightSqlConfig;
use crate::connect::{Server, lock};
use crate::oauth::OAuth;

/// What is sent with every call.
#[derive(Debug)]
pub(crate) struct Credentials {
    headers: Mutex<MetadataMap>,
    cookies: Mutex<BTreeMap<String, String>>,
    oauth: Option<OAuth>,
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}

impl Credentials {
    pub(crate) fn new(config: &FlightSqlConfig) -> Result<Self> {
        Ok(Self {
            headers: Mutex::new(headers(config)?),
            cookies: Mutex::default(),
            oauth: OAuth::of(config)?,
        })
    }

    /// The headers of a call, with a token that is still good.
    pub(crate) async fn headers(&self, config: &FlightSqlConfig) -> Result<MetadataMap> {
        let mut headers = lock(&self.headers).clone();
        if let Some(oauth) = &self.oauth {
            headers.insert("authorization", bearer(&oauth.token(config).await?)?);
        }
        let cookies = lock(&self.cookies);
        if !cookies.is_empty() {
            let text: Vec<String> = cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            if let Ok(value) = text.join("; ").parse() {
                headers.insert("cookie", value);
            }
        }
        Ok(headers)
    }

    /// Gets another token after the server refused this one, and returns whether there is one to be had.
    pub(crate) async fn renew(&self, server: &Server) -> Result<bool> {
        match &self.oauth {
            Some(oauth) => oauth.forget().await,
            None if server.config().user.is_some() => self.handshake(server).await?,
            None => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn keep_cookies(&self, metadata: &MetadataMap) {
        for cookie in metadata.get_all("set-cookie") {
            let pair = cookie
                .to_str()
                .ok()
                .and_then(|text| text.split(';').next()?.split_once('='));
            if let Some((name, value)) = pair {
                lock(&self.cookies).insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
    }

    /// Exchanges user and password for a token. A server without a handshake gets them with every call.
    pub(crate) async fn handshake(&self, server: &Server) -> Result<()> {
        let Some(user) = &server.config().user else {
            return Ok(());
        };
        let password = server
            .config()
            .password
            .as_ref()
            .map_or("", |password| password.expose());
        let basic = format!(
            "Basic {}",
            BASE64_STANDARD.encode(format!("{user}:{password}"))
        );
        let mut authorization: MetadataValue<Ascii> = basic.parse().map_err(|_| {
            invalid("user and password have characters that no header can hold".into())
        })?;
        authorization.set_sensitive(true);
        lock(&self.headers).insert("authorization", authorization);
        let request: Request<_> = server
            .request(futures::stream::iter([HandshakeRequest::default()]))
            .await?;
        let response = match server
            .in_time(
                "after the handshake began",
                server.calls().handshake(request),
            )
            .await?
        {
            Err(status) if status.code() == Code::Unimplemented => return Ok(()),
            other => other.map_err(|status| server.explain(status))?,
        };
        self.keep_cookies(response.metadata());
        let in_header = response.metadata().get("authorization").cloned();
        let first = server
            .in_time("in the handshake", response.into_inner().message())
            .await?;
        let payload = match first {
            Ok(message) => message.map(|message| message.payload).unwrap_or_default(),
            Err(status) if status.code() == Code::Unimplemented => return Ok(()),
            Err(status) => return Err(server.explain(status)),
        };
        let in_payload = || {
            let token = std::str::from_utf8(&payload)
                .ok()
                .filter(|token| !token.is_empty())?;
            bearer(token).ok()
        };
        if let Some(mut token) = in_header.or_else(in_payload) {
            token.set_sensitive(true);
            lock(&self.headers).insert("authorization", token);
        }
        Ok(())
    }
}

fn bearer(token: &str) -> Result<MetadataValue<Ascii>> {
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
        .parse()
        .map_err(|_| invalid("the token has characters that no header can hold".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn headers(config: &FlightSqlConfig) -> Result<MetadataMap> {
    let mut headers = MetadataMap::new();
    if let Some(token) = &config.token {
        headers.insert("authorization", bearer(token.expose())?);
    }
    let database = config
        .database
        .clone()
        .map(|database| ("database".to_owned(), database));
    let given = config
        .headers
        .iter()
        .map(|(key, value)| (key.clone(), value.expose().to_owned()));
    for (key, value) in database.into_iter().chain(given) {
        let name: MetadataKey<Ascii> = key
            .to_ascii_lowercase()
            .parse()
            .map_err(|_| invalid(format!("`{key}` cannot be a header")))?;
        let mut value: MetadataValue<Ascii> = value.parse().map_err(|_| {
            invalid(format!(
                "the value of the header `{key}` has characters that no header can hold"
            ))
        })?;
        value.set_sensitive(key != "database");
        headers.insert(name, value);
    }
    Ok(headers)
}
