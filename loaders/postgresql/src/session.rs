//! One load: one connection, one transaction, from `BEGIN` to the ledger's row and `COMMIT`.

mod skip;

use std::mem;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrowload_core::{
    ColumnChecksum, Error, ErrorKind, KeyCounts, LoadRequest, LoadSession, Mode, Prepared, Receipt,
    Rejects, Result, batch_bytes,
};
use tokio_postgres::Statement;
use tokio_postgres::types::{FromSqlOwned, Type};

use self::skip::Skipping;
use crate::PostgresqlOptions;
use crate::apply::{self, Moved};
use crate::catalog::Place;
use crate::connect::{Connections, Lease};
use crate::copy::{COPY_BYTES, CopyIn};
use crate::encode::{CopyEncoder, Field, Pieces};
use crate::error::from_pg;
use crate::ident::quote_all;
use crate::layout::{Layout, Way, tells_own_rows};
use crate::ledger::{Ledger, Load, State};
use crate::parallel::{LARGE, Shared, Spread};
use crate::verify;

/// How long an answer to `ROLLBACK` is waited for.
const UNDO_TIME: Duration = Duration::from_secs(5);

/// One load into PostgreSQL.
pub struct PostgresqlSession {
    lease: Lease,
    ledger: Ledger,
    request: LoadRequest<PostgresqlOptions>,
    rejects: Rejects,
    layout: Layout,
    encoder: CopyEncoder,
    pieces: Pieces,
    copy: Option<CopyIn>,
    copying: Copying,
    /// The id of the transaction, which SQL of the user must not end.
    transaction: String,
    /// Rows that were given.
    given: u64,
    /// Rows that the server took.
    taken: u64,
    bytes: u64,
    /// Old rows that were deleted.
    deleted: u64,
    /// Old rows that exist nevertheless.
    kept: u64,
    keys: Option<KeyCounts>,
    /// The id of the table, if this load created it.
    created: Option<u32>,
    /// The lowest id of the subtransactions that savepoints begin, if the load's rows are recognised by them.
    floor: Option<String>,
    skipping: Skipping,
}

/// Who copies.
enum Copying {
    /// This connection, by this statement.
    Alone(Statement),
    /// Several, which share the load.
    Shared(Shared),
    /// It is not known yet: too few rows have come.
    Undecided(Undecided),
}

/// Rows that wait until it is known who copies them.
struct Undecided {
    statement: Statement,
    batches: Vec<RecordBatch>,
    bytes: usize,
    connections: Connections,
    /// Connections that may share the load.
    most: usize,
}

impl std::fmt::Debug for PostgresqlSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "load {} into {}",
            self.request.load_id,
            self.layout.place.sql()
        )
    }
}

/// A transaction that has been begun, and what was decided for it.
pub(crate) struct Opened {
    pub(crate) lease: Lease,
    pub(crate) ledger: Ledger,
    pub(crate) layout: Layout,
    pub(crate) transaction: String,
}

/// The id of the transaction that is in progress.
pub(crate) async fn transaction_id(lease: &Lease) -> Result<String> {
    ask(lease, "SELECT pg_catalog.txid_current()::text").await
}

/// Asks in one round trip for one value.
async fn ask<T: FromSqlOwned>(lease: &Lease, sql: &str) -> Result<T> {
    let row = lease.query_typed_one(sql, &[]).await.map_err(from_pg)?;
    row.try_get(0).map_err(from_pg)
}

/// The id of a table of this name.
async fn table_id(lease: &Lease, place: &Place) -> Result<Option<u32>> {
    const FIND: &str = "SELECT $1::text::pg_catalog.regclass::pg_catalog.oid";
    let row = lease
        .query_typed_one(FIND, &[(&place.sql(), Type::TEXT)])
        .await
        .map_err(from_pg)?;
    row.try_get(0).map_err(from_pg)
}

/// The result of preparing the target for rows.
struct Ready {
    copying: Copying,
    created: Option<u32>,
    deleted: u64,
    kept: u64,
    floor: Option<String>,
}

/// Creates or empties the target as needed, not yet visible to readers. All statements are sent at once.
async fn make_ready(opened: &Opened, request: &LoadRequest<PostgresqlOptions>) -> Result<Ready> {
    let Opened { lease, layout, .. } = opened;
    let direct = layout.way == Way::Direct;
    let mut made = layout.creation(request, &layout.place);
    if !direct {
        made.push(apply::stage_sql(layout));
    }
    let sql = if direct {
        let freeze = request.options.freeze && layout.table.is_none();
        layout.copy_sql(&layout.place.sql(), if freeze { ", FREEZE" } else { "" })
    } else {
        // The number comes last, where there is one.
        format!("COPY {} FROM STDIN (FORMAT binary)", apply::STAGE)
    };
    let make = async {
        match made.is_empty() {
            true => Ok(()),
            false => lease.run(&made.join("; ")).await,
        }
    };
    let id = async {
        match &layout.table {
            Some(_) => Ok(None),
            None => table_id(lease, &layout.place).await,
        }
    };
    let delete = async {
        match direct && apply::overwrites(request.load.mode, layout) {
            true => {
                let deleted = apply::delete_all(lease, layout).await?;
                let kept = apply::count_kept(lease, layout, 0).await?;
                Ok::<_, Error>((deleted, kept))
            }
            false => Ok((0, 0)),
        }
    };
    let floor = async {
        match direct && tells_own_rows(request) {
            true => keep_writers_out(lease, layout).await.map(Some),
            false => Ok(None),
        }
    };
    let (made, created, deleted, floor, statement) =
        futures::join!(make, id, delete, floor, lease.prepare(&sql));
    made.map_err(|error| explain_creation(error, layout, request.load.mode))?;
    let (deleted, kept) = deleted?;
    request.load.limits().check(0, deleted, deleted)?;
    Ok(Ready {
        created: created?,
        deleted,
        kept,
        floor: floor?,
        copying: Copying::Alone(statement.map_err(from_pg)?),
    })
}

/// From now on, all transactions that write to the table are within this one.
async fn keep_writers_out(lease: &Lease, layout: &Layout) -> Result<String> {
    const NEXT: &str = "SELECT (pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()) & 4294967295)::text";
    let lock = format!(
        "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
        layout.place.sql()
    );
    let (locked, next) = futures::join!(lease.run(&lock), ask(lease, NEXT));
    locked?;
    next
}

/// Somebody else created the table since it was looked for.
fn explain_creation(error: Error, layout: &Layout, mode: Mode) -> Error {
    if error.kind() != ErrorKind::TargetExists {
        return error;
    }
    let message = format!(
        "{} was created by another at the same time",
        layout.place.sql()
    );
    if mode == Mode::Create {
        return Error::new(ErrorKind::TargetExists, message).with_source(error);
    }
    Error::new(ErrorKind::Conflict, message)
        .with_source(error)
        .transient()
}

impl PostgresqlSession {
    /// Creates or empties the target as needed, not yet visible to readers, and gets ready for rows.
    pub(crate) async fn start(
        opened: Opened,
        connections: &Connections,
        spread: Spread,
        request: LoadRequest<PostgresqlOptions>,
        rejects: Rejects,
    ) -> Result<Self> {
        let Spread {
            count, if_large, ..
        } = spread;
        let fields = opened
            .layout
            .conversions(&request.schema)?
            .into_iter()
            .enumerate()
            .map(|(source, conversion)| Field { source, conversion })
            .collect();
        let encoder = CopyEncoder::of(fields, opened.layout.keys.is_some());
        let mut ready = if count > 1 && !if_large {
            let (leader, layout) = (&opened.lease, &opened.layout);
            let shared =
                Shared::start(leader, connections, count, layout, &request, &encoder).await?;
            Ready {
                copying: Copying::Shared(shared),
                created: None,
                deleted: 0,
                kept: 0,
                floor: None,
            }
        } else {
            make_ready(&opened, &request).await?
        };
        if let Copying::Alone(statement) = &ready.copying
            && count > 1
        {
            ready.copying = Copying::Undecided(Undecided {
                statement: statement.clone(),
                batches: Vec::new(),
                bytes: 0,
                connections: connections.clone(),
                most: count,
            });
        }
        let Opened {
            lease,
            ledger,
            layout,
            transaction,
        } = opened;
        Ok(Self {
            encoder,
            copying: ready.copying,
            pieces: Pieces::new(),
            copy: None,
            given: 0,
            taken: 0,
            bytes: 0,
            deleted: ready.deleted,
            kept: ready.kept,
            keys: None,
            created: ready.created,
            floor: ready.floor,
            skipping: Skipping::new(),
            lease,
            ledger,
            request,
            rejects,
            layout,
            transaction,
        })
    }

    /// Lets several connections copy the waiting and the coming rows, if there are enough rows and the connections are free;
    /// otherwise this one copies them.
    async fn decide(&mut self, is_large: bool) -> Result<()> {
        let Copying::Undecided(waiting) = &mut self.copying else {
            return Ok(());
        };
        let (batches, statement) = (mem::take(&mut waiting.batches), waiting.statement.clone());
        let (connections, most) = (waiting.connections.clone(), waiting.most);
        self.copying = Copying::Alone(statement);
        if is_large {
            let shared = Shared::start_if_free(
                &self.lease,
                &connections,
                most,
                &self.layout,
                &self.request,
                &self.encoder,
            );
            if let Some(shared) = shared.await? {
                self.copying = Copying::Shared(shared);
                self.created = None;
            }
        }
        for batch in &batches {
            self.hand_on(batch).await?;
        }
        Ok(())
    }

    /// Gives a batch to whoever copies.
    async fn hand_on(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.copying {
            Copying::Shared(shared) => shared.write(batch, self.given).await?,
            Copying::Alone(statement) => {
                let statement = statement.clone();
                if self.rejects.accepts() {
                    self.copy_or_set_aside(batch, &statement).await?;
                } else {
                    self.copy_batch(batch, &statement).await?;
                }
            }
            Copying::Undecided(waiting) => {
                waiting.bytes += batch_bytes(batch);
                waiting.batches.push(batch.clone());
                return Ok(());
            }
        }
        self.given += batch.num_rows() as u64;
        Ok(())
    }

    /// Copies one batch in the COPY that is in progress, or in a new one.
    async fn copy_batch(&mut self, batch: &RecordBatch, statement: &Statement) -> Result<()> {
        let copy = match &mut self.copy {
            Some(copy) => copy,
            None => self
                .copy
                .insert(CopyIn::start(&self.lease, statement, self.given, &mut self.pieces).await?),
        };
        copy.write(&mut self.encoder, batch, &mut self.pieces)
            .await?;
        if copy.bytes() >= COPY_BYTES {
            self.finish_copy().await?;
        }
        Ok(())
    }

    async fn finish_copy(&mut self) -> Result<()> {
        if let Some(copy) = self.copy.take() {
            let bytes = copy.bytes();
            self.taken += copy.finish(&mut self.pieces).await?;
            self.bytes += bytes;
        }
        Ok(())
    }

    /// Moves staged rows into the table, after changing its columns.
    async fn move_rows(&mut self) -> Result<Moved> {
        let limits = self.request.load.limits();
        let rows_before = match limits.is_empty() || self.layout.table.is_none() {
            true => 0,
            false => apply::count_rows(&self.lease, &self.layout).await?,
        };
        let replaces = apply::overwrites(self.request.load.mode, &self.layout);
        if replaces && !self.layout.referred {
            self.deleted = apply::delete_all(&self.lease, &self.layout).await?;
            self.kept = apply::count_kept(&self.lease, &self.layout, 0).await?;
            apply::check_kept(&self.layout, self.kept)?;
        }
        for statement in &self.layout.after {
            self.lease.run(statement).await?;
        }
        if let Some(index) = self.layout.index_sql() {
            self.lease
                .run(&index)
                .await
                .map_err(|error| self.explain_keys(error))?;
        }
        let moved = match &self.layout.keys {
            Some(keys) => apply::upsert(&self.lease, &self.layout, keys, &self.request).await?,
            None if self.layout.referred => apply::exchange(&self.lease, &self.layout).await?,
            None => apply::insert_all(&self.lease, &self.layout).await?,
        };
        self.deleted += moved.deleted;
        let updates = moved.keys.map_or(0, |keys| keys.updated);
        limits.check(updates, self.deleted, rows_before)?;
        Ok(moved)
    }

    fn explain_keys(&self, error: Error) -> Error {
        if error.code() != Some("23505") {
            return error;
        }
        let message = format!(
            "the keys are not unique in {}: {}; remove the duplicates first",
            self.layout.place.sql(),
            error.message()
        );
        Error::new(ErrorKind::InvalidData, message).with_source(error)
    }

    /// The query for columns of this load's rows, as the table holds them; as they were staged, where an upsert merged them.
    fn own_rows(&self, columns: &str) -> String {
        if self.layout.keys.is_some() {
            return format!("SELECT {columns} FROM {}", apply::STAGE);
        }
        let table = self.layout.place.sql();
        let own = match &self.floor {
            Some(floor) => {
                format!("pg_catalog.age(xmin) <= pg_catalog.age('{floor}'::pg_catalog.xid)")
            }
            // The id without its epoch, as rows carry it.
            None => format!(
                "xmin = ('{}'::bigint & 4294967295)::text::pg_catalog.xid",
                self.transaction
            ),
        };
        format!("SELECT {columns} FROM {table} WHERE {own}")
    }

    /// SQL of the user that ended the transaction would have made part of the load visible.
    async fn check_transaction(&self, which: &str) -> Result<()> {
        if transaction_id(&self.lease).await? == self.transaction {
            return Ok(());
        }
        let message =
            format!("{which} ended the load's transaction; it must hold no COMMIT or ROLLBACK");
        Err(Error::new(ErrorKind::InvalidOption, message).with("key", which))
    }

    fn receipt(&self) -> Receipt {
        let (way, connections) = match (&self.copying, self.layout.way) {
            (Copying::Shared(shared), _) => ("renamed", shared.count()),
            (_, Way::Staged) => ("staged", 1),
            (_, Way::Direct) => ("direct", 1),
        };
        let mut receipt = Receipt::rows(self.taken)
            .with("table", self.layout.place.sql())
            .with("copy", way)
            .with("connections", connections);
        receipt.bytes = self.bytes;
        receipt.rows_rejected = self.rejects.rows();
        receipt.keys = self.keys;
        if apply::overwrites(self.request.load.mode, &self.layout) {
            receipt = receipt.with("rows_deleted", self.deleted);
        }
        receipt
    }

    async fn publish(&mut self) -> Result<Receipt> {
        let receipt = self.receipt();
        let (target, request) = (&self.layout.place, &self.request);
        if !self
            .ledger
            .record(&self.lease, target, request, &receipt, self.created)
            .await?
        {
            // Another attempt was first, and its transaction is over.
            let load = Load {
                target,
                id: &request.load_id,
            };
            let known = self.ledger.find(&self.lease, &load, State::Current).await?;
            self.undo().await?;
            return Ok(known.unwrap_or_default().repeated());
        }
        if let Some(sql) = &self.request.options.post_sql {
            self.lease
                .run(&apply::within_transaction(sql))
                .await
                .map_err(|error| apply::explain_sql(error, "post_sql"))?;
            self.check_transaction("post_sql").await?;
        }
        self.lease
            .batch_execute("COMMIT")
            .await
            .map_err(commit_error)?;
        Ok(receipt)
    }

    /// Rolls back, and removes tables that are not part of the transaction.
    async fn undo(&mut self) -> Result<()> {
        self.copy = None;
        self.lease.run("ROLLBACK").await?;
        if let Copying::Shared(shared) = &mut self.copying {
            shared.clean_up(&self.lease).await?;
        }
        Ok(())
    }
}

/// If the server refuses a commit, it has not happened; after a lost answer, or if the server goes down, it is unknown.
fn commit_error(error: tokio_postgres::Error) -> Error {
    let server = error
        .as_db_error()
        .map(|server| server.code().code().to_owned());
    match server {
        Some(code) if !code.starts_with("57P") && !code.starts_with("08") => from_pg(error),
        _ => Error::new(ErrorKind::CommitUnknown, "the response to COMMIT was lost")
            .with_source(from_pg(error)),
    }
}

impl LoadSession for PostgresqlSession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        apply::check_kept(&self.layout, self.kept)?;
        self.hand_on(batch).await?;
        match &self.copying {
            Copying::Undecided(waiting) if waiting.bytes >= LARGE => self.decide(true).await,
            _ => Ok(()),
        }
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        apply::check_kept(&self.layout, self.kept)?;
        self.decide(false).await?;
        self.finish_copy().await?;
        if let Copying::Shared(shared) = &mut self.copying {
            (self.taken, self.bytes) = shared.finish().await?;
            shared
                .settle(&self.lease, &self.layout)
                .await
                .map_err(|error| explain_creation(error, &self.layout, self.request.load.mode))?;
            self.created = table_id(&self.lease, &self.layout.place).await?;
        } else if let Some(sql) = self.layout.late_key_sql() {
            let added = self.lease.run(&sql).await;
            added.map_err(|error| self.explain_keys(error))?;
        }
        if self.layout.way == Way::Staged {
            let moved = self.move_rows().await?;
            self.keys = moved.keys;
            self.taken = moved.rows;
        }
        Ok(Prepared::rows(self.taken))
    }

    async fn checksums(&mut self) -> Result<Vec<ColumnChecksum>> {
        let fields = self.request.schema.fields();
        let (mut columns, mut names) = (Vec::new(), Vec::new());
        for (column, field) in self.layout.columns.iter().zip(fields) {
            if let Some(read) = &column.read_back {
                columns.push((field.name().as_str(), read));
                names.push(column.name.as_str());
            }
        }
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let query = self.own_rows(&quote_all(names));
        verify::checksums(&self.lease, &columns, &query).await
    }

    async fn commit(mut self) -> Result<Receipt> {
        let receipt = self.publish().await?;
        self.lease.give_back();
        Ok(receipt)
    }

    async fn abort(mut self) -> Result<()> {
        // A connection that does not answer is closed, and the server rolls back.
        let late = |_| {
            Error::new(
                ErrorKind::Timeout,
                "the server did not answer to ROLLBACK; the connection was cut",
            )
        };
        tokio::time::timeout(UNDO_TIME, self.undo())
            .await
            .map_err(late)??;
        self.lease.give_back();
        Ok(())
    }
}
