//! Encrypted connections: what libpq's `sslmode` promises.

use std::path::Path;

use arrowload_common_tls::{KeyNames, TlsClient, Verify};
use arrowload_core::Result;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{PostgresqlConfig, SslMode};

/// How to encrypt; `None` for `sslmode = disable`.
pub(crate) fn connector(config: &PostgresqlConfig) -> Result<Option<MakeRustlsConnect>> {
    let verify = match config.sslmode {
        SslMode::Disable => return Ok(None),
        SslMode::Prefer => Verify::Nothing,
        // As libpq does, for the sake of old configurations.
        SslMode::Require if config.sslrootcert.is_some() => Verify::Authority,
        SslMode::Require => Verify::Nothing,
        SslMode::VerifyCa => Verify::Authority,
        SslMode::VerifyFull => Verify::Full,
    };
    let client = TlsClient {
        names: KeyNames {
            ca: "sslrootcert",
            cert: "sslcert",
            key: "sslkey",
        },
        ca: config
            .sslrootcert
            .as_deref()
            .filter(|file| *file != Path::new("system")),
        cert: config.sslcert.as_deref(),
        key: config.sslkey.as_deref(),
        verify,
    };
    Ok(Some(MakeRustlsConnect::new(client.config()?)))
}
