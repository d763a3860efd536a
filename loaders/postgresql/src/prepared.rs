//! Prepared transactions: how a load into a table that is there commits on several connections or on none. The ledger's row
//! is the decision: with it, what is left prepared is committed, by whoever comes next; without it, rolled back.

use arrowload_core::Result;
use tokio_postgres::Client;

use crate::catalog::Place;
use crate::error::from_pg;
use crate::ident::{literal, quote};
use crate::ledger::{Ledger, Load};

/// The names of a load's prepared transactions.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    base: String,
}

async fn digest(client: &Client, text: &str) -> Result<String> {
    let sql = "SELECT pg_catalog.left(pg_catalog.md5(pg_catalog.current_database() || ' ' || $1), 16)";
    client.query_one(sql, &[&text]).await.and_then(|row| row.try_get(0)).map_err(from_pg)
}

async fn target_base(client: &Client, target: &Place) -> Result<String> {
    Ok(format!("arrowload:{}", digest(client, &target.sql()).await?))
}

/// Whether the server keeps prepared transactions at all.
pub(crate) async fn are_allowed(client: &Client, count: usize) -> Result<bool> {
    let sql = "SELECT pg_catalog.current_setting('max_prepared_transactions')::bigint >= $1";
    client.query_one(sql, &[&(count as i64)]).await.and_then(|row| row.try_get(0)).map_err(from_pg)
}

impl Prepared {
    /// The names, and a lock on them that the transaction holds to its end: as long as it is held, the load is under way.
    pub(crate) async fn of(client: &Client, load: &Load<'_>) -> Result<Self> {
        let base = format!("{}:{}", target_base(client, load.target).await?, digest(client, load.id).await?);
        lock(client, &base).await?;
        Ok(Self { base })
    }

    /// The statement that prepares the transaction of a connection.
    pub(crate) fn prepare_sql(&self, number: usize) -> String {
        format!("PREPARE TRANSACTION {}", self.name(number))
    }

    /// The statement that ends it.
    pub(crate) fn end_sql(&self, number: usize, commit: bool) -> String {
        format!("{} PREPARED {}", if commit { "COMMIT" } else { "ROLLBACK" }, self.name(number))
    }

    fn name(&self, number: usize) -> String {
        literal(&format!("{}:{number}", self.base))
    }
}

/// Waits for the end of the load that has these names.
async fn lock(client: &Client, base: &str) -> Result<()> {
    const LOCK: &str = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))";
    client.execute(LOCK, &[&base]).await.map_err(from_pg).map(drop)
}

/// Ends what loads of this target left prepared when they were cut off. Outside a transaction.
pub(crate) async fn recover(client: &Client, ledger: &Ledger, target: &Place) -> Result<()> {
    const FIND: &str = "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database() \
        AND pg_catalog.starts_with(gid, $1) ORDER BY 1";
    let base = format!("{}:", target_base(client, target).await?);
    for row in client.query(FIND, &[&base]).await.map_err(from_pg)? {
        let gid: String = row.try_get(0).map_err(from_pg)?;
        let Some((load, _)) = gid.rsplit_once(':') else { continue };
        client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await.map_err(from_pg)?;
        lock(client, load).await?;
        let committed = ledger.has_digest(client, target, load.rsplit(':').next().unwrap_or_default()).await?;
        client.batch_execute("COMMIT").await.map_err(from_pg)?;
        let verb = if committed { "COMMIT" } else { "ROLLBACK" };
        let ended = client.batch_execute(&format!("{verb} PREPARED {}", literal(&gid))).await;
        match ended {
            Ok(()) => tracing::warn!(target_table = %target.sql(), gid, verb, "ended what a load that was cut off had prepared"),
            // Somebody else was faster.
            Err(error) if error.code().is_some_and(|code| code.code() == "42704") => {}
            Err(error) => return Err(from_pg(error)),
        }
    }
    Ok(())
}

/// Tables that loads make for themselves and that are left if they are cut off.
const OWN: &str = "arrowload_part_";

/// A table that several connections fill and no reader knows of, in the target's schema. The transaction holds a lock on its
/// name to its end.
pub(crate) async fn own_table(client: &Client, target: &Place) -> Result<Place> {
    let sql = "SELECT pg_catalog.left(pg_catalog.md5(pg_catalog.random()::text || pg_catalog.clock_timestamp()::text || $1), 16)";
    let digits: String = client.query_one(sql, &[&target.sql()]).await.and_then(|row| row.try_get(0)).map_err(from_pg)?;
    let place = Place { schema: target.schema.clone(), table: format!("{OWN}{digits}") };
    lock(client, &place.sql()).await?;
    Ok(place)
}

/// Drops such tables of loads that were cut off. Outside a transaction.
pub(crate) async fn drop_abandoned(client: &Client, schema: &str) -> Result<()> {
    const FIND: &str = "SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname ~ '^arrowload_part_[0-9a-f]{16}$' \
        AND pg_catalog.pg_has_role(c.relowner, 'USAGE')";
    const TRY: &str = "SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))";
    for row in client.query(FIND, &[&schema]).await.map_err(from_pg)? {
        let place = Place { schema: schema.to_owned(), table: row.try_get(0).map_err(from_pg)? };
        client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await.map_err(from_pg)?;
        let free: bool = client.query_one(TRY, &[&place.sql()]).await.and_then(|row| row.try_get(0)).map_err(from_pg)?;
        let drop = format!("DROP TABLE IF EXISTS {}.{};", quote(&place.schema), quote(&place.table));
        client.batch_execute(&format!("{} COMMIT", if free { drop.as_str() } else { "" })).await.map_err(from_pg)?;
    }
    Ok(())
}
