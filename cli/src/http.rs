//! The HTTP client of webhooks and of OpenTelemetry.

use std::error::Error;
use std::time::Duration;

use crate::exit::Failure;

/// A client that follows no redirect, as headers may hold secrets.
pub(crate) fn client(timeout: Duration) -> Result<reqwest::Client, Failure> {
    reqwest::Client::builder()
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("arrowload/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| Failure::failed(format!("no HTTP client: {}", why(error))))
}

/// Why a request failed, in one line and without its URL, which may hold a token.
pub(crate) fn why(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
