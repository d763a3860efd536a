//! Moves staged rows into the table: the last row of each key replaces or updates the existing one.

use arrowload_core::{Error, ErrorKind, KeyCounts, LoadRequest, Mode, NullKeys, Result};
use tokio_postgres::{Client, Row};

use crate::PostgresqlOptions;
use crate::error::from_pg;
use crate::ident::quote;
use crate::layout::{Keys, Layout};
use crate::options::OnConflict;

/// The temporary table; one for each connection, dropped at the end of the transaction.
pub(crate) const STAGE: &str = "pg_temp.arrowload_stage";

/// The column of a staged row's number in the load: a name that no other column has.
pub(crate) fn number_column(layout: &Layout) -> String {
    let mut name = "arrowload_row".to_owned();
    while layout.columns.iter().any(|column| column.name == name) {
        name.push('_');
    }
    name
}

/// The statement that creates the temporary table. Its columns have the same types as those of the table, but none of its
/// constraints.
pub(crate) fn stage_sql(layout: &Layout) -> String {
    let mut columns: Vec<String> = layout
        .columns
        .iter()
        .map(|column| format!("{} {}", quote(&column.name), column.pg.name))
        .collect();
    if layout.keys.is_some() {
        columns.push(format!("{} bigint", quote(&number_column(layout))));
    }
    let columns = columns.join(", ");
    format!("CREATE TEMPORARY TABLE arrowload_stage ({columns}) ON COMMIT DROP")
}

/// What moving rows did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moved {
    /// Rows that are in the table now.
    pub(crate) rows: u64,
    /// Old rows that were deleted.
    pub(crate) deleted: u64,
    pub(crate) keys: Option<KeyCounts>,
}

fn count(row: &Row, index: usize) -> Result<u64> {
    row.try_get::<_, i64>(index)
        .map(i64::cast_unsigned)
        .map_err(from_pg)
}

/// Runs a statement in one round trip, and returns how many rows it changed.
async fn execute(client: &Client, sql: &str) -> Result<u64> {
    client.execute_typed(sql, &[]).await.map_err(from_pg)
}

/// Asks in one round trip for one row.
async fn ask(client: &Client, sql: &str) -> Result<Row> {
    client.query_typed_one(sql, &[]).await.map_err(from_pg)
}

/// Deletes every row of the table, and returns how many there were. Readers with an older snapshot still see them.
pub(crate) async fn delete_all(client: &Client, layout: &Layout) -> Result<u64> {
    execute(client, &format!("DELETE FROM {}", layout.place.sql())).await
}

/// How many old rows are still in the table, beside `new` new ones, after they were deleted. A rule or trigger may silently
/// keep some, and readers would see a mix. So if the table has a rule or trigger, the rows are counted.
pub(crate) async fn count_kept(client: &Client, layout: &Layout, new: u64) -> Result<u64> {
    if !layout.table.as_ref().is_some_and(|table| table.keeps_rows) {
        return Ok(0);
    }
    let there = count_rows(client, layout).await?;
    Ok(there.saturating_sub(new))
}

/// Refuses to overwrite a table if a rule or trigger keeps some of its rows.
pub(crate) fn check_kept(layout: &Layout, kept: u64) -> Result<()> {
    if kept == 0 {
        return Ok(());
    }
    let message = format!(
        "{kept} old rows of {} are still there after they were deleted: a rule or trigger keeps them",
        layout.place.sql()
    );
    Err(Error::new(ErrorKind::Verification, message))
}

/// Adds the staged rows.
pub(crate) async fn insert_all(client: &Client, layout: &Layout) -> Result<Moved> {
    let columns = layout.column_list();
    let sql = format!(
        "INSERT INTO {} ({columns}) SELECT {columns} FROM {}",
        layout.place.sql(),
        STAGE
    );
    let rows = execute(client, &sql).await?;
    Ok(Moved {
        rows,
        ..Moved::default()
    })
}

/// Replaces the old rows by the staged ones in one statement, so that the foreign keys of other tables hold again at its end.
/// The count forces the deletion of the old rows before the first new row is inserted.
pub(crate) async fn exchange(client: &Client, layout: &Layout) -> Result<Moved> {
    let (table, columns, stage) = (layout.place.sql(), layout.column_list(), STAGE);
    let sql = format!(
        "WITH gone AS (DELETE FROM {table} RETURNING 1), counted AS MATERIALIZED (SELECT count(*) AS n FROM gone), \
         put AS (INSERT INTO {table} ({columns}) SELECT {columns} FROM {stage} WHERE (SELECT n FROM counted) IS NOT NULL RETURNING 1) \
         SELECT (SELECT count(*) FROM put), (SELECT n FROM counted)"
    );
    let row = ask(client, &sql).await?;
    let moved = Moved {
        rows: count(&row, 0)?,
        deleted: count(&row, 1)?,
        keys: None,
    };
    check_kept(layout, count_kept(client, layout, moved.rows).await?)?;
    Ok(moved)
}

/// What the upsert does with a row whose keys exist.
fn conflict_action(layout: &Layout, keys: &Keys, options: &PostgresqlOptions) -> String {
    if options.on_conflict == OnConflict::Ignore {
        return "NOTHING".into();
    }
    let chosen: Vec<String> = match &options.update_columns {
        Some(names) => names.iter().map(|name| options.column_name(name)).collect(),
        None => layout
            .columns
            .iter()
            .map(|column| column.name.clone())
            .filter(|name| !keys.columns.contains(name))
            .collect(),
    };
    // If there are only key columns, an update still shows which rows existed.
    let chosen = if chosen.is_empty() {
        keys.columns.clone()
    } else {
        chosen
    };
    let sets: Vec<String> = chosen
        .iter()
        .map(|name| format!("{0} = EXCLUDED.{0}", quote(name)))
        .collect();
    format!("UPDATE SET {}", sets.join(", "))
}

/// Merges the staged rows, the last of each key.
pub(crate) async fn upsert(
    client: &Client,
    layout: &Layout,
    keys: &Keys,
    request: &LoadRequest<PostgresqlOptions>,
) -> Result<Moved> {
    let (table, columns, stage) = (layout.place.sql(), layout.column_list(), STAGE);
    let key_list = keys
        .columns
        .iter()
        .map(|name| quote(name))
        .collect::<Vec<_>>()
        .join(", ");
    let action = conflict_action(layout, keys, &request.options);
    let there = rows_there(client, layout, keys).await?;
    // Rows are written in the order of their keys, so that two upserts at once wait for each other and do not deadlock.
    let sql = format!(
        "WITH written AS (INSERT INTO {table} ({columns}) SELECT {columns} FROM (SELECT DISTINCT ON ({key_list}) * FROM {stage} \
         ORDER BY {key_list}, {} DESC) AS last ORDER BY {key_list} ON CONFLICT ({key_list}) DO {action} RETURNING {}) \
         SELECT count(*), count(*) FILTER (WHERE is_new) FROM written",
        quote(&number_column(layout)),
        // A row that an INSERT has just made has no other transaction on it; partitioned tables do not tell.
        if there.is_some() {
            "true AS is_new"
        } else {
            "(xmax = 0) AS is_new"
        },
    );
    let row = ask(client, &sql).await?;
    let (written, mut new) = (count(&row, 0)?, count(&row, 1)?);
    if let Some(there) = there.filter(|_| request.options.on_conflict == OnConflict::Update) {
        new = written.saturating_sub(there);
    }
    let staged = staged_rows(client, keys, request.load.null_keys).await?;
    let counts = KeyCounts {
        inserted: new,
        updated: written - new,
        unchanged: staged.keys - written,
        duplicate: staged.rows - staged.keys,
        null: staged.null_keys,
    };
    Ok(Moved {
        rows: staged.rows,
        deleted: 0,
        keys: Some(counts),
    })
}

/// What was staged.
struct Staged {
    rows: u64,
    /// How many keys the rows have.
    keys: u64,
    /// Rows with a null in their key.
    null_keys: u64,
}

async fn staged_rows(client: &Client, keys: &Keys, null_keys: NullKeys) -> Result<Staged> {
    let stage = STAGE;
    let names: Vec<String> = keys.columns.iter().map(|name| quote(name)).collect();
    let nulls = match null_keys {
        // The pipeline lets none through.
        NullKeys::Refuse => "false".to_owned(),
        NullKeys::Match => names
            .iter()
            .map(|name| format!("{name} IS NOT DISTINCT FROM NULL"))
            .collect::<Vec<_>>()
            .join(" OR "),
    };
    let sql = format!(
        "SELECT (SELECT count(*) FROM {stage}), count(*), (SELECT count(*) FROM {stage} WHERE {nulls}) \
         FROM (SELECT DISTINCT {} FROM {stage}) AS keys",
        names.join(", ")
    );
    let row = ask(client, &sql).await?;
    Ok(Staged {
        rows: count(&row, 0)?,
        keys: count(&row, 1)?,
        null_keys: count(&row, 2)?,
    })
}

/// In a partitioned table: how many of the staged keys are there. It is locked against other writers for that.
async fn rows_there(client: &Client, layout: &Layout, keys: &Keys) -> Result<Option<u64>> {
    if !layout.table.as_ref().is_some_and(|table| table.partitioned) {
        return Ok(None);
    }
    let table = layout.place.sql();
    client
        .batch_execute(&format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"))
        .await
        .map_err(from_pg)?;
    let equal: Vec<String> = keys
        .columns
        .iter()
        .map(|name| format!("t.{0} IS NOT DISTINCT FROM s.{0}", quote(name)))
        .collect();
    let key_list = keys
        .columns
        .iter()
        .map(|name| quote(name))
        .collect::<Vec<_>>()
        .join(", ");
    let sql = format!(
        "SELECT count(*) FROM (SELECT DISTINCT {key_list} FROM {}) AS s WHERE EXISTS (SELECT 1 FROM {table} AS t WHERE {})",
        STAGE,
        equal.join(" AND ")
    );
    count(&ask(client, &sql).await?, 0).map(Some)
}

/// How many rows the table has.
pub(crate) async fn count_rows(client: &Client, layout: &Layout) -> Result<u64> {
    let sql = format!("SELECT count(*) FROM {}", layout.place.sql());
    count(&ask(client, &sql).await?, 0)
}

/// Whether the staged rows are moved by deleting the old ones first.
pub(crate) fn overwrites(mode: Mode, layout: &Layout) -> bool {
    mode == Mode::Overwrite && layout.table.is_some()
}

/// SQL of the user, so that it cannot end the load's transaction: the server refuses COMMIT and ROLLBACK there.
pub(crate) fn within_transaction(sql: &str) -> String {
    let mut tag = "arrowload".to_owned();
    while sql.contains(&tag) {
        tag.push('_');
    }
    format!("DO ${tag}$ BEGIN EXECUTE ${tag}_sql$\n{sql}\n${tag}_sql$; END ${tag}$")
}

/// The error of a statement that the user gave.
pub(crate) fn explain_sql(error: Error, key: &str) -> Error {
    if error.code() != Some("0A000") {
        return error.with("key", key);
    }
    let message = format!(
        "{key} must hold no COMMIT, ROLLBACK or the like, as it runs in the load's transaction: {}",
        error.message()
    );
    Error::new(ErrorKind::InvalidOption, message)
        .with("key", key)
        .with_source(error)
}
