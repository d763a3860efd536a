//! Encrypted connections, set up by hand: tonic would take the process's crypto provider, and panic where another crate has
//! linked a second one.

use std::sync::Arc;

use arrowload_common_tls::{KeyNames, TlsClient, Verify, server_name};
use arrowload_core::Result;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::FlightSqlConfig;

/// Encrypts a connection, and verifies the server.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: TlsConnector,
    name: ServerName<'static>,
}

impl Connector {
    pub(crate) async fn connect(self, tcp: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.tls.connect(self.name, tcp).await
    }
}

/// How to connect to a host, as the connection says, to speak a protocol.
pub(crate) fn connector(
    config: &FlightSqlConfig,
    host: &str,
    protocol: &[u8],
) -> Result<Connector> {
    let client = TlsClient {
        names: KeyNames::USUAL,
        ca: config.tls_ca.as_deref(),
        cert: config.tls_cert.as_deref(),
        key: config.tls_key.as_deref(),
        verify: Verify::Full,
    };
    let mut client = client.config()?;
    client.alpn_protocols = vec![protocol.to_vec()];
    Ok(Connector {
        tls: TlsConnector::from(Arc::new(client)),
        name: server_name(host)?,
    })
}
