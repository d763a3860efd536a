//! Encrypted connections. The server is always verified.

use std::sync::Arc;

use arrowload_common_tls::{KeyNames, TlsClient, Verify};
use arrowload_core::{Error, ErrorKind, Result};
use tokio_rustls::TlsConnector;

use crate::RedisConfig;

/// How to encrypt; `None` for `tls = false`.
pub(crate) fn connector(config: &RedisConfig) -> Result<Option<TlsConnector>> {
    let client = TlsClient {
        names: KeyNames::USUAL,
        ca: config.tls_ca.as_deref(),
        cert: config.tls_cert.as_deref(),
        key: config.tls_key.as_deref(),
        verify: Verify::Full,
    };
    if config.tls {
        return Ok(Some(TlsConnector::from(Arc::new(client.config()?))));
    }
    if client.ca.or(client.cert).or(client.key).is_some() {
        return Err(Error::new(
            ErrorKind::InvalidOption,
            "tls_ca, tls_cert and tls_key need tls = true, or a URL of rediss://",
        ));
    }
    Ok(None)
}
