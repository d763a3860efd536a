//! The table that records each load, in the load's own transaction: what makes repeating a load harmless.

use arrowload_core::{Error, ErrorKind, KeyCounts, Mode, Receipt, Result};
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::catalog::{LedgerLook, Place};
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

impl Load<'_> {
    /// What it is known by in the ledger.
    fn values(&self) -> [(&(dyn ToSql + Sync), Type); 3] {
        [
            (&self.target.schema, Type::TEXT),
            (&self.target.table, Type::TEXT),
            (&self.id, Type::TEXT),
        ]
    }
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

    /// Whether the table is there, and refuses another of its name.
    pub(crate) fn is_there(&self, look: &LedgerLook) -> Result<bool> {
        let Some(table) = &look.table else {
            return Ok(false);
        };
        let known = [
            "target_schema",
            "target_table",
            "load_id",
            "rows",
            "rows_rejected",
            "rows_inserted",
            "created_table",
        ];
        if known
            .iter()
            .all(|name| table.columns.iter().any(|column| column == name))
        {
            return Ok(true);
        }
        let message = format!(
            "{} is not the table that records loads, but has its name; name another schema with the connection key `ledger_schema`",
            self.place.sql()
        );
        Err(Error::new(ErrorKind::SchemaMismatch, message))
    }

    /// The statement that creates it. Loads of earlier versions write the column `attempt` too.
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
    pub(crate) async fn create(&self, client: &Client) -> Result<()> {
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
        let (schema, table) = (quote(&load.target.schema), quote(&load.target.table));
        let name = format!("{schema} {table} {}", load.id);
        client
            .execute_typed(LOCK, &[(&name, Type::TEXT)])
            .await
            .map_err(from_pg)
            .map(drop)
    }

    /// The receipt of a load that committed. In a transaction.
    pub(crate) async fn find(&self, client: &Client, load: &Load<'_>) -> Result<Option<Receipt>> {
        let sql = format!(
            "SELECT rows, bytes, rows_inserted, rows_updated, rows_duplicate, rows_rejected FROM {} \
             WHERE target_schema = $1 AND target_table = $2 AND load_id = $3",
            self.place.sql()
        );
        let values = load.values();
        let (locked, found) = futures::join!(
            self.lock(client, load),
            client.query_typed_opt(&sql, &values)
        );
        locked?;
        let Some(row) = found.map_err(from_pg)? else {
            return Ok(None);
        };
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
    ) -> Result<bool> {
        let sql = format!(
            "INSERT INTO {} (target_schema, target_table, load_id, mode, rows, bytes, rows_inserted, rows_updated, rows_duplicate, \
             created_table, rows_rejected) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
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
        let mode = mode.name();
        let mut values = load.values().to_vec();
        values.push((&mode, Type::TEXT));
        values.extend([
            (&rows as &(dyn ToSql + Sync), Type::INT8),
            (&bytes, Type::INT8),
        ]);
        values.extend(
            [&inserted, &updated, &duplicate]
                .map(|count| (count as &(dyn ToSql + Sync), Type::INT8)),
        );
        values.extend([
            (&created as &(dyn ToSql + Sync), Type::OID),
            (&rejected, Type::INT8),
        ]);
        let (locked, inserted) =
            futures::join!(self.lock(client, load), client.execute_typed(&sql, &values));
        locked?;
        Ok(inserted.map_err(from_pg)? == 1)
    }

    /// Whether a load created the table with this id, so that it is ours to index.
    pub(crate) async fn created(&self, client: &Client, oid: u32) -> Result<bool> {
        let sql = format!(
            "SELECT 1 FROM {} WHERE created_table = $1 LIMIT 1",
            self.place.sql()
        );
        Ok(client
            .query_typed_opt(&sql, &[(&oid, Type::OID)])
            .await
            .map_err(from_pg)?
            .is_some())
    }
}
