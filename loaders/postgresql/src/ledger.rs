//! The table that records each load, in the load's own transaction: what makes repeating a load harmless.

use arrowload_core::{Error, ErrorKind, KeyCounts, Mode, Receipt, Result};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::catalog::{self, Place};
use crate::error::from_pg;
use crate::ident::quote;

/// Its name, in the schema of the target or the one that the connection names.
pub(crate) const TABLE: &str = "arrowload_loads";

/// The ledger that a target's loads are recorded in.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    place: Place,
}

/// A load of a target.
pub(crate) struct Load<'a> {
    pub(crate) target: &'a Place,
    pub(crate) id: &'a str,
}

impl Ledger {
    pub(crate) fn of(target: &Place, schema: Option<&str>) -> Self {
        Self {
            place: Place {
                schema: schema.unwrap_or(&target.schema).to_owned(),
                table: TABLE.into(),
            },
        }
    }

    /// Refuses the ledger's own table as a target.
    pub(crate) fn check_target(&self, target: &Place) -> Result<()> {
        if self.place != *target {
            return Ok(());
        }
        let message = format!(
            "{} records what has been loaded; choose another target, or another ledger_schema",
            target.sql()
        );
        Err(Error::new(ErrorKind::InvalidOption, message).with("target", target.sql()))
    }

    /// Where it is.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Its id, if it is there.
    pub(crate) async fn oid(&self, client: &Client) -> Result<Option<u32>> {
        match self.exists(client).await? {
            true => Ok(catalog::find(client, &self.place)
                .await?
                .map(|(oid, _)| oid)),
            false => Ok(None),
        }
    }

    /// Whether the table is there, and refuses another of its name.
    pub(crate) async fn exists(&self, client: &Client) -> Result<bool> {
        const FIND: &str = "SELECT (SELECT count(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 \
                AND a.attname = ANY ($3)) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
            WHERE n.nspname = $1 AND c.relname = $2";
        let known: &[&str] = &[
            "target_schema",
            "target_table",
            "load_id",
            "rows",
            "rows_rejected",
            "rows_inserted",
            "created_table",
            "attempt",
        ];
        let found = client
            .query_opt(FIND, &[&self.place.schema, &self.place.table, &known])
            .await
            .map_err(from_pg)?;
        let Some(row) = found else { return Ok(false) };
        if row.try_get::<_, i64>(0).map_err(from_pg)? == known.len() as i64 {
            return Ok(true);
        }
        let message = format!(
            "{} is not the table that records loads, but has its name; name another schema with the connection key `ledger_schema`",
            self.place.sql()
        );
        Err(Error::new(ErrorKind::SchemaMismatch, message))
    }

    /// The statement that creates it.
    fn create_sql(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (target_schema text NOT NULL, target_table text NOT NULL, load_id text NOT NULL, \
             mode text NOT NULL, rows bigint NOT NULL, rows_rejected bigint NOT NULL, bytes bigint NOT NULL, rows_inserted bigint, \
             rows_updated bigint, rows_duplicate bigint, created_table oid, attempt text, committed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), \
             PRIMARY KEY (target_schema, target_table, load_id))",
            self.place.sql()
        )
    }

    /// Creates it, in a transaction of its own, so that loads do not wait for each other. The lock keeps two from
    /// creating it at once, which PostgreSQL answers with an error even under `IF NOT EXISTS`.
    pub(crate) async fn ensure(&self, client: &Client) -> Result<()> {
        if self.exists(client).await? {
            return Ok(());
        }
        let sql = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('{TABLE}', 0)); {}; COMMIT",
            self.create_sql()
        );
        client
            .batch_execute(&sql)
            .await
            .map_err(|error| self.explain_creation(from_pg(error)))
    }

    /// Says what to do where it cannot be created.
    pub(crate) fn explain_creation(&self, error: Error) -> Error {
        let message = format!(
            "the table {} that records loads cannot be created: {}; create it once, or name another schema with the connection key `ledger_schema`",
            self.place.sql(),
            error.message()
        );
        Error::new(error.kind(), message)
            .with("statement", self.create_sql())
            .with_retry(error.retry())
    }

    /// Waits for the commit of any attempt of this load that is under way. Held to the end of the transaction.
    async fn lock(&self, client: &Client, load: &Load<'_>) -> Result<()> {
        const LOCK: &str =
            "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))";
        let name = format!(
            "{} {} {}",
            quote(&load.target.schema),
            quote(&load.target.table),
            load.id
        );
        client
            .execute(LOCK, &[&name])
            .await
            .map_err(from_pg)
            .map(drop)
    }

    /// The receipt of a load that committed. In a transaction.
    pub(crate) async fn find(&self, client: &Client, load: &Load<'_>) -> Result<Option<Receipt>> {
        self.lock(client, load).await?;
        let sql = format!(
            "SELECT rows, bytes, rows_inserted, rows_updated, rows_duplicate, rows_rejected FROM {} \
             WHERE target_schema = $1 AND target_table = $2 AND load_id = $3",
            self.place.sql()
        );
        let found = client
            .query_opt(&sql, &[&load.target.schema, &load.target.table, &load.id])
            .await
            .map_err(from_pg)?;
        let Some(row) = found else { return Ok(None) };
        let count = |index: usize| {
            row.try_get::<_, Option<i64>>(index)
                .map_err(from_pg)
                .map(|count| count.map(i64::cast_unsigned))
        };
        let mut receipt = Receipt::rows(count(0)?.unwrap_or(0));
        receipt.bytes = count(1)?.unwrap_or(0);
        receipt.rows_rejected = count(5)?.unwrap_or(0);
        if let (Some(inserted), Some(updated), Some(duplicate)) = (count(2)?, count(3)?, count(4)?)
        {
            receipt.keys = Some(KeyCounts {
                inserted,
                updated,
                duplicate,
                ..KeyCounts::default()
            });
        }
        Ok(Some(receipt))
    }

    /// Records a load; `false` if it is recorded already. In the load's transaction.
    pub(crate) async fn record(
        &self,
        client: &Client,
        load: &Load<'_>,
        mode: Mode,
        receipt: &Receipt,
        created: Option<u32>,
        attempt: Option<&str>,
    ) -> Result<bool> {
        self.lock(client, load).await?;
        let sql = format!(
            "INSERT INTO {} (target_schema, target_table, load_id, mode, rows, bytes, rows_inserted, rows_updated, rows_duplicate, \
             created_table, attempt, rows_rejected) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING",
            self.place.sql()
        );
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let (rows, bytes, rejected) = (
            count(receipt.rows),
            count(receipt.bytes),
            count(receipt.rows_rejected),
        );
        let keys = receipt.keys.map(|keys| {
            [
                count(keys.inserted),
                count(keys.updated),
                count(keys.duplicate),
            ]
        });
        let [inserted, updated, duplicate] = keys.map_or([None; 3], |keys| keys.map(Some));
        let (target, mode) = (load.target, mode.name());
        let values: [&(dyn ToSql + Sync); 12] = [
            &target.schema,
            &target.table,
            &load.id,
            &mode,
            &rows,
            &bytes,
            &inserted,
            &updated,
            &duplicate,
            &created,
            &attempt,
            &rejected,
        ];
        Ok(client.execute(&sql, &values).await.map_err(from_pg)? == 1)
    }

    /// Whether this attempt of a load is the one that committed; see [`prepared`](crate::prepared).
    pub(crate) async fn has_attempt(
        &self,
        client: &Client,
        target: &Place,
        attempt: &str,
    ) -> Result<bool> {
        if !self.exists(client).await? {
            return Ok(false);
        }
        let sql = format!(
            "SELECT 1 FROM {} WHERE target_schema = $1 AND target_table = $2 AND attempt = $3",
            self.place.sql()
        );
        Ok(client
            .query_opt(&sql, &[&target.schema, &target.table, &attempt])
            .await
            .map_err(from_pg)?
            .is_some())
    }

    /// Whether a load created the table with this id, so that it is ours to index.
    pub(crate) async fn created(&self, client: &Client, oid: u32) -> Result<bool> {
        if !self.exists(client).await? {
            return Ok(false);
        }
        let sql = format!(
            "SELECT 1 FROM {} WHERE created_table = $1 LIMIT 1",
            self.place.sql()
        );
        Ok(client
            .query_opt(&sql, &[&oid])
            .await
            .map_err(from_pg)?
            .is_some())
    }
}
