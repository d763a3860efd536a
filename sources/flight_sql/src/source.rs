//! The source, as the trait requires, and what only Flight SQL has.

use std::sync::Arc;

use arrowload_core::{
    BatchStream, DataSource, ErrorKind, Listed, Listing, Query, QueryProgress, Result,
};
use serde_json::{Map, Value};

use crate::config::{FlightSqlConfig, config_from_url};
use crate::connect::Server;
use crate::stream::FlightStream;
use crate::transaction::Transaction;
use crate::{listing, statement};

/// A Flight SQL server. See the crate's page.
#[derive(Debug)]
pub struct FlightSqlSource {
    server: Arc<Server>,
}

impl DataSource for FlightSqlSource {
    const NAME: &'static str = "flight_sql";
    const URL_SCHEMES: &'static [&'static str] =
        &["grpc", "grpc+tls", "grpc+unix", "http", "https"];

    type Config = FlightSqlConfig;

    async fn connect(config: FlightSqlConfig) -> Result<Self> {
        Ok(Self {
            server: Server::connect(config).await?,
        })
    }

    async fn query(&self, query: &Query) -> Result<BatchStream> {
        Ok(self.stream(query).await?.into_batches())
    }

    async fn execute(&self, query: &Query) -> Result<Option<u64>> {
        statement::execute(&self.server, query, None).await
    }

    async fn list(&self, listing: &Listing) -> Result<BatchStream> {
        Ok(statement::rows_of(
            &self.server,
            &listing::command(listing)?,
            &QueryProgress::default(),
        )
        .await?
        .into_batches())
    }

    async fn ping(&self) -> Result<()> {
        match self.list(&Listing::new(Listed::Info)).await {
            // An error that it cannot list anything is an answer too.
            Err(error)
                if !matches!(
                    error.kind(),
                    ErrorKind::Query | ErrorKind::Unsupported | ErrorKind::NotFound
                ) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        config_from_url(url)
    }
}

impl FlightSqlSource {
    /// Runs a query, and passes on the metadata that the application on the other side sends with its rows.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn stream(&self, query: &Query) -> Result<FlightStream> {
        statement::query(&self.server, query, None).await
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the server has none.
    pub async fn begin_transaction(&self) -> Result<Transaction> {
        Transaction::begin(&self.server).await
    }
}
