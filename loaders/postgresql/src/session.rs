//! One load: one connection, one transaction, from `BEGIN` to the ledger's row and `COMMIT`.

mod skip;

use std::time::Duration;

use arrow_array::RecordBatch;
use arrowload_core::{
    ColumnChecksum, Error, ErrorKind, KeyCounts, LoadRequest, LoadSession, Mode, Prepared, Receipt,
    Result, Verify,
};

use self::skip::Skipping;
use crate::PostgresqlOptions;
use crate::apply::{self, Moved};
use crate::connect::{Connections, Lease};
use crate::copy::CopyIn;
use crate::encode::{CopyEncoder, Field, Pieces};
use crate::error::from_pg;
use crate::layout::{Layout, Way};
use crate::ledger::{Ledger, Load};
use crate::prepared;
use crate::share::{self, Shared};
use crate::verify::Proof;

/// A COPY ends after this many bytes and the next begins, so that an error of the server is heard of in time.
pub(crate) const COPY_BYTES: u64 = 256 << 20;

/// How long an answer to `ROLLBACK` is waited for.
const UNDO_TIME: Duration = Duration::from_secs(5);

/// One load into PostgreSQL.
pub struct PostgresqlSession {
    lease: Lease,
    ledger: Ledger,
    request: LoadRequest<PostgresqlOptions>,
    layout: Layout,
    encoder: CopyEncoder,
    pieces: Pieces,
    copy: Option<CopyIn>,
    /// What the COPY writes to, as a statement.
    copy_sql: String,
    /// The id of the transaction, which SQL of the user's must not end.
    transaction: String,
    /// Rows that were given.
    given: u64,
    /// Rows that the server took.
    taken: u64,
    bytes: u64,
    /// Old rows that were deleted.
    deleted: u64,
    keys: Option<KeyCounts>,
    /// The id of the table, if this load created it.
    created: Option<u32>,
    /// What `verify = checksum` compares.
    proof: Option<Proof>,
    /// The lowest id of the transactions within this one that savepoints begin, where the load's rows are told by them.
    floor: Option<String>,
    /// The connections that share the load, if they are several.
    shared: Option<Shared>,
    skipping: Skipping,
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

/// A transaction that has been begun, and what was decided in it.
pub(crate) struct Begun {
    pub(crate) lease: Lease,
    pub(crate) connections: Connections,
    pub(crate) ledger: Ledger,
    pub(crate) layout: Layout,
    pub(crate) transaction: String,
}

/// The id of the transaction that is under way.
pub(crate) async fn transaction_id(lease: &Lease) -> Result<String> {
    let row = lease
        .query_one("SELECT pg_catalog.txid_current()::text", &[])
        .await
        .map_err(from_pg)?;
    row.try_get(0).map_err(from_pg)
}

impl PostgresqlSession {
    /// Creates or empties what has to be, still unseen, and gets ready for rows.
    pub(crate) async fn start(
        begun: Begun,
        request: LoadRequest<PostgresqlOptions>,
    ) -> Result<Self> {
        let Begun {
            lease,
            connections,
            ledger,
            mut layout,
            transaction,
        } = begun;
        let conversions = layout.conversions(&request.schema)?;
        let numbered = layout.keys.is_some();
        let verifies = request.verify == Verify::Checksum;
        let proof = verifies
            .then(|| Proof::new(&request.schema, &layout, &conversions, numbered))
            .transpose()?;
        let fields = conversions
            .into_iter()
            .enumerate()
            .map(|(source, conversion)| Field { source, conversion })
            .collect();
        let encoder = CopyEncoder::of(fields, numbered);
        let shared = match share::connections(&request, &connections) {
            1 => None,
            count => Some(
                Shared::start(&lease, &connections, count, &mut layout, &request, &encoder).await?,
            ),
        };
        let mut session = Self {
            encoder,
            copy_sql: String::new(),
            pieces: Pieces::new(),
            copy: None,
            given: 0,
            taken: 0,
            bytes: 0,
            deleted: 0,
            keys: None,
            created: None,
            proof,
            floor: None,
            shared,
            skipping: Skipping::new(),
            lease,
            ledger,
            request,
            layout,
            transaction,
        };
        session.copy_sql = session.copy_statement();
        session.make_ready().await?;
        Ok(session)
    }

    fn copy_statement(&self) -> String {
        let columns = self.layout.column_list();
        match self.layout.way {
            Way::Direct => {
                let freeze = if self.request.options.freeze && self.layout.table.is_none() {
                    ", FREEZE"
                } else {
                    ""
                };
                format!(
                    "COPY {} ({columns}) FROM STDIN (FORMAT binary{freeze})",
                    self.layout.place.sql()
                )
            }
            // The number comes last, where there is one.
            Way::Staged => format!("COPY {} FROM STDIN (FORMAT binary)", self.layout.stage),
        }
    }

    async fn make_ready(&mut self) -> Result<()> {
        if self.shared.as_ref().is_some_and(Shared::creates) {
            return Ok(());
        }
        for statement in &self.layout.before {
            self.lease
                .run(statement)
                .await
                .map_err(|error| self.explain_creation(error))?;
        }
        if self.layout.table.is_none() {
            self.created = crate::catalog::find(&self.lease, &self.layout.place)
                .await?
                .map(|(oid, _)| oid);
        }
        match self.layout.way {
            Way::Staged if self.shared.is_some() => {}
            Way::Staged => {
                self.lease
                    .run(&apply::stage_sql(&self.layout, self.layout.keys.is_some()))
                    .await?
            }
            Way::Direct if apply::overwrites(self.request.mode, &self.layout) => {
                self.deleted = apply::delete_all(&self.lease, &self.layout).await?;
                self.request.limits.check(0, self.deleted, self.deleted)?;
            }
            Way::Direct => {}
        }
        if self.proof.is_some() && self.request.rejects.accepts() && self.layout.way == Way::Direct
        {
            self.floor = Some(self.keep_writers_out().await?);
        }
        Ok(())
    }

    /// From now on, all transactions that write to the table are within this one.
    async fn keep_writers_out(&self) -> Result<String> {
        self.lease
            .run(&format!(
                "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
                self.layout.place.sql()
            ))
            .await?;
        const NEXT: &str = "SELECT (pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()) & 4294967295)::text";
        self.lease
            .query_one(NEXT, &[])
            .await
            .and_then(|row| row.try_get(0))
            .map_err(from_pg)
    }

    /// Somebody else created the table since it was looked for.
    fn explain_creation(&self, error: Error) -> Error {
        let catalog = error
            .get("constraint")
            .is_some_and(|name| name.starts_with("pg_"));
        if error.kind() != ErrorKind::TargetExists && !catalog {
            return error;
        }
        let message = format!(
            "{} was created by another at the same time",
            self.layout.place.sql()
        );
        if self.request.mode == Mode::Create {
            return Error::new(ErrorKind::TargetExists, message).with_source(error);
        }
        Error::new(ErrorKind::Conflict, message)
            .with_source(error)
            .transient()
    }

    /// Copies one batch in the COPY that is under way, or in a new one.
    async fn copy_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.copy.is_none() {
            self.copy = Some(
                CopyIn::start(&self.lease, &self.copy_sql, self.given, &mut self.pieces).await?,
            );
            if let Some(proof) = &mut self.proof {
                proof.sent.start();
            }
        }
        if let Some(copy) = &mut self.copy {
            let sent = self.proof.as_mut().map(|proof| &mut proof.sent);
            copy.write(&mut self.encoder, batch, &mut self.pieces, sent)
                .await?;
            if copy.bytes() >= COPY_BYTES {
                self.finish_copy().await?;
            }
        }
        Ok(())
    }

    async fn finish_copy(&mut self) -> Result<()> {
        if let Some(copy) = self.copy.take() {
            let bytes = copy.bytes();
            let sent = self.proof.as_mut().map(|proof| &mut proof.sent);
            self.taken += copy.finish(&mut self.pieces, sent).await?;
            self.bytes += bytes;
        }
        Ok(())
    }

    /// Moves staged rows into the table, after changing its columns.
    async fn move_rows(&mut self) -> Result<Moved> {
        let limits = self.request.limits;
        let rows_before = match limits.is_empty() || self.layout.table.is_none() {
            true => 0,
            false => apply::count_rows(&self.lease, &self.layout).await?,
        };
        let replaces = apply::overwrites(self.request.mode, &self.layout);
        if replaces && !self.layout.referred {
            self.deleted = apply::delete_all(&self.lease, &self.layout).await?;
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
        if error.get("sqlstate") != Some("23505") {
            return error;
        }
        let message = format!(
            "the keys are not unique in {}: {}; remove the duplicates first",
            self.layout.place.sql(),
            error.message()
        );
        Error::new(ErrorKind::InvalidData, message).with_source(error)
    }

    /// The query for the rows of this load, as the table holds them; as they were staged, where an upsert merged them.
    fn own_rows(&self) -> Result<String> {
        let columns = self.layout.column_list();
        if self.layout.keys.is_some() {
            return Ok(format!("SELECT {columns} FROM {}", self.layout.stage));
        }
        let table = self.layout.place.sql();
        if let Some(floor) = &self.floor {
            let is_own =
                format!("pg_catalog.age(xmin) <= pg_catalog.age('{floor}'::pg_catalog.xid)");
            return Ok(format!("SELECT {columns} FROM {table} WHERE {is_own}"));
        }
        let id: u64 = self
            .transaction
            .parse()
            .map_err(|_| Error::new(ErrorKind::Unexpected, "the transaction's id is no number"))?;
        Ok(format!(
            "SELECT {columns} FROM {table} WHERE xmin = '{}'::pg_catalog.xid",
            id & 0xFFFF_FFFF
        ))
    }

    /// SQL of the user's that ended the transaction would have published part of the load.
    async fn check_transaction(&self, which: &str) -> Result<()> {
        if transaction_id(&self.lease).await? == self.transaction {
            return Ok(());
        }
        let message =
            format!("{which} ended the load's transaction; it must hold no COMMIT or ROLLBACK");
        Err(Error::new(ErrorKind::InvalidOption, message).with("key", which))
    }

    fn receipt(&self) -> Receipt {
        let alone = if self.layout.way == Way::Staged {
            "staged"
        } else {
            "direct"
        };
        let way = self.shared.as_ref().map_or(alone, Shared::name);
        let mut receipt = Receipt::rows(self.taken)
            .with("table", self.layout.place.sql())
            .with("copy", way);
        receipt = receipt.with("connections", self.shared.as_ref().map_or(1, Shared::count));
        receipt.bytes = self.bytes;
        receipt.rows_rejected = self.request.rejects.rows();
        receipt.keys = self.keys;
        if apply::overwrites(self.request.mode, &self.layout) {
            receipt = receipt.with("rows_deleted", self.deleted);
        }
        receipt
    }

    async fn publish(&mut self) -> Result<Receipt> {
        let (receipt, load) = (
            self.receipt(),
            Load {
                target: &self.layout.place,
                id: &self.request.load_id,
            },
        );
        let client = &self.lease;
        if let Some(shared) = &self.shared {
            shared.prepare().await?;
        }
        let recorded = self
            .ledger
            .record(
                client,
                &load,
                self.request.mode,
                &receipt,
                self.created,
                self.shared.as_ref().and_then(Shared::attempt),
            )
            .await;
        if let (Err(_), Some(shared)) = (&recorded, &self.shared) {
            shared.roll_back().await;
        }
        if !recorded? {
            // Another attempt was first, and its transaction is over.
            let mut known = self.ledger.find(client, &load).await?.unwrap_or_default();
            self.lease.run("ROLLBACK").await?;
            if let Some(shared) = &self.shared {
                shared.roll_back().await;
            }
            // Some of its connections may be about to commit still.
            prepared::recover(&self.lease, &self.ledger, &self.layout.place).await?;
            known.already_loaded = true;
            return Ok(known);
        }
        if let Some(sql) = &self.request.options.post_sql {
            self.lease
                .run(&apply::within_transaction(sql))
                .await
                .map_err(|error| apply::explain_sql(error, "post_sql"))?;
            self.check_transaction("post_sql").await?;
        }
        let committed = self
            .lease
            .batch_execute("COMMIT")
            .await
            .map_err(commit_error);
        if let Some(shared) = &mut self.shared {
            match &committed {
                Ok(()) => shared.commit().await?,
                Err(error) if error.kind() == ErrorKind::CommitUnknown => {}
                Err(_) => shared.roll_back().await,
            }
        }
        committed.map(|()| receipt)
    }
}

/// A refused commit has published nothing; a lost answer, or a server that goes down, leaves it open.
fn commit_error(error: tokio_postgres::Error) -> Error {
    let server = error
        .as_db_error()
        .map(|server| server.code().code().to_owned());
    match server {
        Some(code) if !code.starts_with("57P") && !code.starts_with("08") => from_pg(error),
        _ => Error::new(ErrorKind::CommitUnknown, "the answer to COMMIT was lost")
            .with_source(from_pg(error)),
    }
}

impl LoadSession for PostgresqlSession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if let Some(shared) = &mut self.shared {
            shared.write(batch, self.given).await?;
        } else if self.request.rejects.accepts() {
            self.copy_or_set_aside(batch).await?;
        } else {
            self.copy_batch(batch).await?;
        }
        self.given += batch.num_rows() as u64;
        Ok(())
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        self.finish_copy().await?;
        if let Some(shared) = &mut self.shared {
            (self.taken, self.bytes) = shared.finish().await?;
        }
        if self.layout.way == Way::Staged {
            let moved = self.move_rows().await?;
            self.keys = moved.keys;
            self.taken = moved.rows;
        }
        if let Some(shared) = &self.shared {
            let created = shared
                .settle(&self.lease, &self.layout)
                .await
                .map_err(|error| self.explain_creation(error))?;
            self.created = self.created.or(created);
        }
        Ok(Prepared::rows(self.taken))
    }

    async fn checksums(&mut self) -> Result<Vec<ColumnChecksum>> {
        let Some(proof) = &self.proof else {
            return Err(Error::new(
                ErrorKind::Unexpected,
                "checksums were not asked for at the start",
            ));
        };
        proof
            .checksums(&self.lease, &self.request.schema, &self.own_rows()?)
            .await
    }

    async fn commit(mut self) -> Result<Receipt> {
        let receipt = self.publish().await?;
        self.lease.give_back();
        Ok(receipt)
    }

    async fn abort(mut self) -> Result<()> {
        self.copy = None;
        let shared = self.shared.take();
        let undo = async {
            self.lease.run("ROLLBACK").await?;
            match shared {
                Some(shared) => shared.clean_up(&self.lease).await,
                None => Ok(()),
            }
        };
        // A connection that does not answer is cut, and the server rolls back.
        let late = |_| {
            Error::new(
                ErrorKind::Timeout,
                "the server did not answer to ROLLBACK; the connection was cut",
            )
        };
        tokio::time::timeout(UNDO_TIME, undo)
            .await
            .map_err(late)??;
        self.lease.give_back();
        Ok(())
    }
}
