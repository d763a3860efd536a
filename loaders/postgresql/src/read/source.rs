//! The source: any query, in a transaction that cannot write.

use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use arrowload_core::{BatchStream, DataSource, Error, ErrorKind, Listing, Query, Result};
use serde_json::{Map, Value};
use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use super::listing;
use super::parallel::{self, Readers};
use super::params::{self, Bound};
use super::sql::Sql;
use super::stream::{Answer, Reading};
use crate::config::{PostgresqlConfig, ReadNumeric};
use crate::config_url;
use crate::connect::{Connections, Lease};
use crate::decode::{ReadType, RowDecoder};
use crate::error::from_pg;

/// Begins a transaction that cannot write, and sees one moment.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Queries PostgreSQL.
#[derive(Debug)]
pub struct PostgresqlSource {
    connections: Connections,
    read_numeric: ReadNumeric,
    batch_rows: usize,
    /// Connections for one query, and whether they were asked for.
    reading: Readers,
}

/// A statement whose answer can be decoded.
pub(super) struct Readable {
    /// The query, with casts to text around columns that have no decoder.
    pub(super) sql: String,
    pub(super) schema: SchemaRef,
    pub(super) types: Vec<ReadType>,
}

impl Readable {
    pub(super) fn decoder(&self, batch_rows: usize) -> RowDecoder {
        RowDecoder::new(Arc::clone(&self.schema), &self.types, batch_rows)
    }
}

impl PostgresqlSource {
    /// What a statement returns, and how it is asked for.
    fn readable(&self, sql: &str, statement: &Statement) -> Readable {
        let columns = statement.columns();
        let known: Vec<Option<ReadType>> = columns
            .iter()
            .map(|column| ReadType::of(column.type_(), column.type_modifier(), self.read_numeric))
            .collect();
        let cast = |(index, kind): (usize, &Option<ReadType>)| {
            format!(
                "q.c{index}{}",
                if kind.is_some() {
                    ""
                } else {
                    "::pg_catalog.text"
                }
            )
        };
        let asked = match known.iter().all(Option::is_some) {
            true => sql.to_owned(),
            false => {
                let list: Vec<String> = known.iter().enumerate().map(cast).collect();
                let names: Vec<String> =
                    (0..known.len()).map(|index| format!("c{index}")).collect();
                format!(
                    "SELECT {} FROM (\n{sql}\n) AS q({})",
                    list.join(", "),
                    names.join(", ")
                )
            }
        };
        let types: Vec<ReadType> = known
            .into_iter()
            .map(|kind| kind.unwrap_or(ReadType::Text))
            .collect();
        let fields: Vec<_> = columns
            .iter()
            .zip(&types)
            .map(|(column, kind)| kind.field(column.name()))
            .collect();
        Readable {
            sql: asked,
            schema: Arc::new(Schema::new(fields)),
            types,
        }
    }

    /// Asks what a statement would return, in a transaction that is left open.
    async fn prepare(&self, lease: &Lease, sql: &str) -> Result<(Readable, Vec<Type>)> {
        lease.run(BEGIN).await?;
        let statement = lease.prepare(sql).await.map_err(from_pg)?;
        let readable = self.readable(sql, &statement);
        if readable.types.is_empty() && !Sql::parse(sql).is_query() {
            let message = "the statement answers with no rows, and a source only reads; write SELECT, and load its answer";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok((readable, statement.params().to_vec()))
    }

    async fn rows(
        &self,
        lease: &Lease,
        readable: &Readable,
        types: &[Type],
        values: &[params::Value],
    ) -> Result<Answer> {
        let bound: Vec<Bound> = params::bound(lease, types, values).await?;
        let statement = lease
            .prepare_typed(&readable.sql, types)
            .await
            .map_err(from_pg)?;
        let rows = lease.query_raw(&statement, &bound).await.map_err(from_pg)?;
        Ok(Answer::Rows(Box::pin(rows)))
    }
}

/// Starts a `COPY` of a query's answer.
pub(super) async fn copy(lease: &Lease, sql: &str) -> Result<Answer> {
    // A comment may end the query.
    let stream = lease
        .copy_out(&format!("COPY (\n{sql}\n) TO STDOUT (FORMAT binary)"))
        .await
        .map_err(from_pg)?;
    Ok(Answer::Copy(Box::pin(stream)))
}

impl DataSource for PostgresqlSource {
    const NAME: &'static str = "postgresql";
    const URL_SCHEMES: &'static [&'static str] = config_url::URL_SCHEMES;
    const ENVIRONMENT: &'static [(&'static str, &'static str)] = config_url::ENVIRONMENT;

    type Config = PostgresqlConfig;

    async fn connect(config: PostgresqlConfig) -> Result<Self> {
        let connections = Connections::new(&config)?;
        connections.lease().await?.give_back();
        Ok(Self {
            connections,
            read_numeric: config.read_numeric,
            batch_rows: config.read_batch_size.max(1),
            reading: Readers::of(config.read_connections, config.pool_size),
        })
    }

    async fn query(&self, query: &Query) -> Result<BatchStream> {
        let parsed = Sql::parse(&query.sql);
        let (sql, values) = params::numbered(&parsed, &query.params)?;
        let lease = self.connections.lease().await?;
        let (readable, types) = self.prepare(&lease, &sql).await?;
        let schema = Arc::clone(&readable.schema);
        if self.reading.most > 1
            && values.is_empty()
            && types.is_empty()
            && let Some(parts) = parallel::parts(
                &lease,
                &Sql::parse(&readable.sql),
                self.reading.fewest_pages(),
            )
            .await?
            && let Some(others) = self.reading.others(&self.connections, &lease).await?
        {
            let batches = parallel::read(lease, others, readable, parts, self.batch_rows);
            return Ok(BatchStream::new(schema, batches));
        }
        let decoder = readable.decoder(self.batch_rows);
        let answer = match values.is_empty() && types.is_empty() && parsed.is_query() {
            true => copy(&lease, &readable.sql).await?,
            false => self.rows(&lease, &readable, &types, &values).await?,
        };
        let reading = Reading {
            answer,
            decoder,
            lease: Some(lease),
        };
        let batches = futures::stream::try_unfold(reading, |mut reading| async {
            Ok(reading.next_batch().await?.map(|batch| (batch, reading)))
        });
        Ok(BatchStream::new(schema, batches))
    }

    async fn list(&self, listing: &Listing) -> Result<BatchStream> {
        self.query(&listing::query(listing)?).await
    }

    async fn schema(&self, query: &Query) -> Result<SchemaRef> {
        let parsed = Sql::parse(&query.sql);
        let (sql, values) = params::numbered(&parsed, &query.params)?;
        let lease = self.connections.lease().await?;
        let (readable, types) = self.prepare(&lease, &sql).await?;
        params::check_count(&types, &values)?;
        lease.run("ROLLBACK").await?;
        lease.give_back();
        Ok(readable.schema)
    }

    async fn ping(&self) -> Result<()> {
        let lease = self.connections.lease().await?;
        lease.query_one("SELECT 1", &[]).await.map_err(from_pg)?;
        lease.give_back();
        Ok(())
    }

    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        config_url::from_url(url)
    }
}
