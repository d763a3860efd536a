//! The table that records each load, in the load's own transaction: what makes repeating a load harmless.

use arrowload_core::{Definition, Error, ErrorKind, KeyCounts, LoadRequest, Mark, Receipt, Result};
use tokio_postgres::types::{FromSqlOwned, ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::PostgresqlOptions;
use crate::catalog::{LedgerLook, Place};
use crate::error::from_pg;
use crate::ident::quote;

/// Its name, in the schema of the target or the one that the connection names.
pub(crate) const TABLE: &str = "arrowload_loads";

/// Columns that every version has written.
const FIRST_COLUMNS: [&str; 7] = [
    "target_schema",
    "target_table",
    "load_id",
    "rows",
    "rows_rejected",
    "rows_inserted",
    "created_table",
];

/// Columns that were added since, all of text that may be null: earlier versions leave them out and can still write.
const ADDED_COLUMNS: [&str; 3] = ["definition", "mark_read", "mark_new"];

/// The ledger that a target's loads are recorded in.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    place: Place,
}

/// Whether the table exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Missing,
    /// An earlier version has made it: columns are to be added.
    Old,
    Current,
}

/// A load of a target.
pub(crate) struct Load<'a> {
    pub(crate) target: &'a Place,
    pub(crate) id: &'a str,
}

type Value<'a> = (&'a (dyn ToSql + Sync), Type);

impl Load<'_> {
    /// The key of the load in the ledger.
    fn values(&self) -> [Value<'_>; 3] {
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

    /// Whether the table exists, and refuses another of its name.
    pub(crate) fn state(&self, look: &LedgerLook) -> Result<State> {
        let Some(table) = &look.table else {
            return Ok(State::Missing);
        };
        let has = |name: &&str| table.columns.iter().any(|column| column == name);
        if !FIRST_COLUMNS.iter().all(&has) {
            let message = format!(
                "{} is not the table that records loads, but has its name; name another schema with the connection key `ledger_schema`",
                self.place.sql()
            );
            return Err(Error::new(ErrorKind::SchemaMismatch, message));
        }
        Ok(match ADDED_COLUMNS.iter().all(has) {
            true => State::Current,
            false => State::Old,
        })
    }

    /// The statement that creates it or adds columns; `None` if there is nothing to do.
    pub(crate) fn statement(&self, state: State) -> Option<String> {
        let table = self.place.sql();
        match state {
            // Loads of earlier versions write the column `attempt` too.
            State::Missing => Some(format!(
                "CREATE TABLE IF NOT EXISTS {table} (target_schema text NOT NULL, target_table text NOT NULL, load_id text NOT NULL, \
                 mode text NOT NULL, rows bigint NOT NULL, rows_rejected bigint NOT NULL, bytes bigint NOT NULL, rows_inserted bigint, \
                 rows_updated bigint, rows_duplicate bigint, created_table oid, attempt text, definition text, mark_read text, \
                 mark_new text, committed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), \
                 PRIMARY KEY (target_schema, target_table, load_id))"
            )),
            State::Old => {
                let added =
                    ADDED_COLUMNS.map(|name| format!("ADD COLUMN IF NOT EXISTS {name} text"));
                Some(format!("ALTER TABLE {table} {}", added.join(", ")))
            }
            State::Current => None,
        }
    }

    /// Creates it, or adds columns, in a transaction of its own, so that loads do not wait for each other. The lock keeps two from
    /// creating it at once, which PostgreSQL returns an error even under `IF NOT EXISTS`.
    pub(crate) async fn make_current(&self, client: &Client, state: State) -> Result<()> {
        let Some(statement) = self.statement(state) else {
            return Ok(());
        };
        let sql = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('{TABLE}', 0)); \
             {statement}; COMMIT"
        );
        client.batch_execute(&sql).await.map_err(|error| {
            let error = from_pg(error);
            match state {
                State::Missing => self.explain_creation(error),
                _ => error.with("statement", statement),
            }
        })
    }

    /// Says what to do where it cannot be created.
    pub(crate) fn explain_creation(&self, error: Error) -> Error {
        let message = format!(
            "the table {} that records loads cannot be created: {}; create it once, or name another schema with the connection key `ledger_schema`",
            self.place.sql(),
            error.message()
        );
        Error::new(error.kind(), message)
            .with(
                "statement",
                self.statement(State::Missing).unwrap_or_default(),
            )
            .with_retry(error.retry())
    }

    /// Says what to do where columns cannot be added.
    pub(crate) fn explain_migration(&self, user: &str) -> Error {
        let message = format!(
            "the table {} that records loads is of an earlier version, and the user {user} does not own it; run as its owner, once: {}",
            self.place.sql(),
            self.statement(State::Old).unwrap_or_default()
        );
        Error::new(ErrorKind::PermissionDenied, message)
    }

    /// Waits for the commit of any attempt of this load that is in progress. Held to the end of the transaction.
    pub(crate) async fn lock(&self, client: &Client, load: &Load<'_>) -> Result<()> {
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

    /// The receipt of a load that committed.
    pub(crate) async fn find(
        &self,
        client: &Client,
        load: &Load<'_>,
        state: State,
    ) -> Result<Option<Receipt>> {
        let added = match state {
            State::Current => ADDED_COLUMNS.join(", "),
            _ => "NULL::text, NULL::text, NULL::text".to_owned(),
        };
        let sql = format!(
            "SELECT rows, bytes, rows_rejected, rows_inserted, rows_updated, rows_duplicate, {added} FROM {} \
             WHERE target_schema = $1 AND target_table = $2 AND load_id = $3",
            self.place.sql()
        );
        let found = client.query_typed_opt(&sql, &load.values()).await;
        found.map_err(from_pg)?.as_ref().map(receipt).transpose()
    }

    /// Records a load; `false` if it is recorded already. In the load's transaction.
    pub(crate) async fn record(
        &self,
        client: &Client,
        target: &Place,
        request: &LoadRequest<PostgresqlOptions>,
        receipt: &Receipt,
        created: Option<u32>,
    ) -> Result<bool> {
        let sql = format!(
            "INSERT INTO {} (target_schema, target_table, load_id, mode, rows, bytes, rows_rejected, rows_inserted, rows_updated, \
             rows_duplicate, created_table, {}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
             ON CONFLICT DO NOTHING",
            self.place.sql(),
            ADDED_COLUMNS.join(", ")
        );
        let load = Load {
            target,
            id: &request.load_id,
        };
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let keys = receipt.keys.as_ref();
        let counts = [
            Some(count(receipt.rows)),
            Some(count(receipt.bytes)),
            Some(count(receipt.rows_rejected)),
            keys.map(|keys| count(keys.inserted)),
            keys.map(|keys| count(keys.updated)),
            keys.map(|keys| count(keys.duplicate)),
        ];
        let mode = request.load.mode.name();
        let mark = request.mark.as_ref();
        let texts = [
            request.definition.as_ref().map(Definition::as_str),
            mark.and_then(|mark| mark.read.as_deref()),
            mark.map(|mark| mark.new.as_str()),
        ];
        let mut values: Vec<Value<'_>> = load.values().to_vec();
        values.push((&mode, Type::TEXT));
        values.extend(
            counts
                .iter()
                .map(|count| -> Value<'_> { (count, Type::INT8) }),
        );
        values.push((&created, Type::OID));
        values.extend(texts.iter().map(|text| -> Value<'_> { (text, Type::TEXT) }));
        // Both statements are sent at once.
        let (locked, inserted) = futures::join!(
            self.lock(client, &load),
            client.execute_typed(&sql, &values)
        );
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

/// What the ledger's row says.
fn receipt(row: &Row) -> Result<Receipt> {
    fn get<T: FromSqlOwned>(row: &Row, index: usize) -> Result<Option<T>> {
        row.try_get(index).map_err(from_pg)
    }
    let count = |index| get::<i64>(row, index).map(|count| count.map(i64::cast_unsigned));
    let mut receipt = Receipt::rows(count(0)?.unwrap_or(0));
    receipt.bytes = count(1)?.unwrap_or(0);
    receipt.rows_rejected = count(2)?.unwrap_or(0);
    if let (Some(inserted), Some(updated), Some(duplicate)) = (count(3)?, count(4)?, count(5)?) {
        receipt.keys = Some(KeyCounts {
            inserted,
            updated,
            duplicate,
            ..KeyCounts::default()
        });
    }
    receipt.definition = get::<String>(row, 6)?.map(Definition::from_text);
    receipt.mark = match (get(row, 7)?, get::<String>(row, 8)?) {
        (read, Some(new)) => Some(Mark::new(read, new)),
        _ => None,
    };
    Ok(receipt)
}
