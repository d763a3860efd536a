//! Whether the user may do what a load does: what one of its statements would be refused for, said beforehand.

use arrowload_core::{Error, ErrorKind, Mode, Result};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::catalog::{Place, get};
use crate::error::from_pg;
use crate::ident::quote;
use crate::layout::{Layout, Way};
use crate::ledger::Ledger;

/// Refuses a load that the user has no right to.
pub(crate) async fn check(
    client: &Client,
    layout: &Layout,
    oid: Option<u32>,
    mode: Mode,
    ledger: &Ledger,
    connections: usize,
) -> Result<()> {
    let wanted: &[&str] = match mode {
        Mode::Overwrite => &["INSERT", "DELETE", "SELECT"],
        Mode::Upsert => &["INSERT", "UPDATE", "SELECT"],
        _ => &["INSERT"],
    };
    match oid {
        Some(oid) => {
            on_table(client, &layout.place, oid, wanted).await?;
            row_security(client, &layout.place, oid).await?;
        }
        None => on_schema(client, &layout.place.schema).await?,
    }
    if layout.way == Way::Staged && connections == 1 {
        on_database(client).await?;
    }
    match ledger.oid(client).await? {
        Some(oid) => on_table(client, ledger.place(), oid, &["INSERT", "SELECT"]).await,
        None => on_schema(client, &ledger.place().schema)
            .await
            .map_err(|error| ledger.explain_creation(error)),
    }
}

async fn on_table(client: &Client, place: &Place, oid: u32, wanted: &[&str]) -> Result<()> {
    for right in wanted {
        let sql = "SELECT pg_catalog.has_table_privilege($1::oid, $2::text), current_user::text";
        check_one(client, sql, &[&oid, right], right, &place.sql()).await?;
    }
    Ok(())
}

async fn on_schema(client: &Client, schema: &str) -> Result<()> {
    let sql = "SELECT pg_catalog.has_schema_privilege($1::text, 'CREATE'), current_user::text";
    check_one(
        client,
        sql,
        &[&schema],
        "CREATE",
        &format!("SCHEMA {}", quote(schema)),
    )
    .await
}

/// Rows are staged in a temporary table.
async fn on_database(client: &Client) -> Result<()> {
    let row = client
        .query_one("SELECT pg_catalog.current_database()::text", &[])
        .await
        .map_err(from_pg)?;
    let name: String = get(&row, 0)?;
    let sql = "SELECT pg_catalog.has_database_privilege($1::text, 'TEMPORARY'), current_user::text";
    check_one(
        client,
        sql,
        &[&name],
        "TEMPORARY",
        &format!("DATABASE {}", quote(&name)),
    )
    .await
}

async fn check_one(
    client: &Client,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
    right: &str,
    what: &str,
) -> Result<()> {
    let row = client.query_one(sql, values).await.map_err(from_pg)?;
    let (has, user): (bool, String) = (get(&row, 0)?, get(&row, 1)?);
    if has {
        return Ok(());
    }
    let message = format!(
        "the user {user} lacks a right: GRANT {right} ON {what} TO {}",
        quote(&user)
    );
    Err(Error::new(ErrorKind::PermissionDenied, message))
}

/// COPY does not work under row security, and a DELETE would pass over rows that are not shown.
async fn row_security(client: &Client, place: &Place, oid: u32) -> Result<()> {
    const ACTIVE: &str = "SELECT pg_catalog.row_security_active($1::oid), current_user::text";
    let row = client.query_one(ACTIVE, &[&oid]).await.map_err(from_pg)?;
    let (active, user): (bool, String) = (get(&row, 0)?, get(&row, 1)?);
    if !active {
        return Ok(());
    }
    let message = format!(
        "the row-level security of {} applies to the user {user}, and a load cannot copy under it; load as the table's owner, or \
         ALTER ROLE {} BYPASSRLS",
        place.sql(),
        quote(&user)
    );
    Err(Error::new(ErrorKind::PermissionDenied, message))
}
