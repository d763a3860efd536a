//! Prepared transactions: how a load into a table that is there commits on several connections or on none. The ledger's row
//! is the decision: with it, what is left prepared is committed, by whoever comes next; without it, rolled back.

use std::time::Duration;

use arrowload_core::{Error, ErrorKind, Result};
use tokio_postgres::Client;

use crate::catalog::Place;
use crate::error::from_pg;
use crate::ident::{literal, quote};
use crate::ledger::Ledger;

/// The names of the prepared transactions of one attempt of a load. Another attempt has others, so that what is left of one
/// that did not commit is never taken for part of one that did.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    base: String,
    attempt: String,
}

/// What the names of a target's prepared transactions begin with.
async fn target_base(client: &Client, target: &Place) -> Result<String> {
    let sql = "SELECT 'arrowload:' || pg_catalog.left(pg_catalog.md5(pg_catalog.current_database() || ' ' || $1), 16)";
    client
        .query_one(sql, &[&target.sql()])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(from_pg)
}

/// Sixteen digits that nobody else has.
async fn nonce(client: &Client) -> Result<String> {
    let sql = "SELECT pg_catalog.left(pg_catalog.md5(pg_catalog.random()::text || pg_catalog.clock_timestamp()::text || \
        pg_catalog.pg_backend_pid()::text), 16)";
    client
        .query_one(sql, &[])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(from_pg)
}

/// Whether the server keeps prepared transactions at all.
pub(crate) async fn are_allowed(client: &Client, count: usize) -> Result<bool> {
    let sql = "SELECT pg_catalog.current_setting('max_prepared_transactions')::bigint >= $1";
    client
        .query_one(sql, &[&(count as i64)])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(from_pg)
}

impl Prepared {
    /// The names, and a lock on them that the transaction holds to its end: as long as it is held, the load is under way.
    pub(crate) async fn of(client: &Client, target: &Place) -> Result<Self> {
        let attempt = nonce(client).await?;
        let base = format!("{}:{attempt}", target_base(client, target).await?);
        lock(client, &base).await?;
        Ok(Self { base, attempt })
    }

    /// What the record of the load says, if it is this attempt that commits.
    pub(crate) fn attempt(&self) -> &str {
        &self.attempt
    }

    /// The statement that prepares the transaction of a connection.
    pub(crate) fn prepare_sql(&self, number: usize) -> String {
        format!("PREPARE TRANSACTION {}", self.name(number))
    }

    /// The statement that ends it.
    pub(crate) fn end_sql(&self, number: usize, commit: bool) -> String {
        format!(
            "{} PREPARED {}",
            if commit { "COMMIT" } else { "ROLLBACK" },
            self.name(number)
        )
    }

    fn name(&self, number: usize) -> String {
        literal(&format!("{}:{number}", self.base))
    }
}

/// Waits for the end of the load that has these names.
async fn lock(client: &Client, base: &str) -> Result<()> {
    const LOCK: &str =
        "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))";
    client
        .execute(LOCK, &[&base])
        .await
        .map_err(from_pg)
        .map(drop)
}

/// Ends a prepared transaction. The load itself and one that comes after it may do so at once: who comes second waits until
/// the first is done.
pub(crate) async fn end(client: &Client, sql: &str) -> Result<()> {
    const UNDEFINED: &str = "42704";
    const BUSY: &str = "55000";
    for _ in 0..200 {
        match client.batch_execute(sql).await {
            Err(error) if error.code().is_some_and(|code| code.code() == UNDEFINED) => {
                return Ok(());
            }
            Err(error) if error.code().is_some_and(|code| code.code() == BUSY) => {
                tokio::time::sleep(Duration::from_millis(50)).await
            }
            ended => return ended.map_err(from_pg),
        }
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!("somebody else has been ending a prepared transaction for ten seconds: {sql}"),
    )
    .transient())
}

/// Ends what loads of this target left prepared when they were cut off. Outside a transaction.
pub(crate) async fn recover(client: &Client, ledger: &Ledger, target: &Place) -> Result<()> {
    const FIND: &str = "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database() \
        AND pg_catalog.starts_with(gid, $1) ORDER BY 1";
    let base = format!("{}:", target_base(client, target).await?);
    for row in client.query(FIND, &[&base]).await.map_err(from_pg)? {
        let gid: String = row.try_get(0).map_err(from_pg)?;
        let Some((base, _)) = gid.rsplit_once(':') else {
            continue;
        };
        client
            .batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            .await
            .map_err(from_pg)?;
        lock(client, base).await?;
        let committed = ledger
            .has_attempt(client, target, base.rsplit(':').next().unwrap_or_default())
            .await?;
        client.batch_execute("COMMIT").await.map_err(from_pg)?;
        let verb = if committed { "COMMIT" } else { "ROLLBACK" };
        end(client, &format!("{verb} PREPARED {}", literal(&gid))).await?;
        tracing::warn!(target_table = %target.sql(), gid, verb, "ended what a load that was cut off had prepared");
    }
    Ok(())
}

/// Tables that loads make for themselves and that are left if they are cut off.
const OWN: &str = "arrowload_part_";

/// A table that several connections fill and no reader knows of, in the target's schema. The transaction holds a lock on its
/// name to its end.
pub(crate) async fn own_table(client: &Client, target: &Place) -> Result<Place> {
    let digits = nonce(client).await?;
    let place = Place {
        schema: target.schema.clone(),
        table: format!("{OWN}{digits}"),
    };
    lock(client, &place.sql()).await?;
    Ok(place)
}

/// Drops such tables of loads that were cut off. Outside a transaction.
pub(crate) async fn drop_abandoned(client: &Client, schema: &str) -> Result<()> {
    const FIND: &str = "SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname ~ '^arrowload_part_[0-9a-f]{16}$' \
        AND pg_catalog.pg_has_role(c.relowner, 'USAGE')";
    const TRY: &str =
        "SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))";
    for row in client.query(FIND, &[&schema]).await.map_err(from_pg)? {
        let place = Place {
            schema: schema.to_owned(),
            table: row.try_get(0).map_err(from_pg)?,
        };
        client
            .batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            .await
            .map_err(from_pg)?;
        let free: bool = client
            .query_one(TRY, &[&place.sql()])
            .await
            .and_then(|row| row.try_get(0))
            .map_err(from_pg)?;
        let drop = format!(
            "DROP TABLE IF EXISTS {}.{};",
            quote(&place.schema),
            quote(&place.table)
        );
        client
            .batch_execute(&format!("{} COMMIT", if free { drop.as_str() } else { "" }))
            .await
            .map_err(from_pg)?;
    }
    Ok(())
}
