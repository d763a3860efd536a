//! One load in progress.

use std::collections::HashSet;

use arrow_array::RecordBatch;
use arrowload_core::{
    Begun, Error, ErrorKind, LoadSession, Mode, Prepared, Receipt, Rejects, Result,
};
use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use futures::TryStreamExt;
use mongodb::error::ErrorKind as Native;
use mongodb::{ClientSession, Collection, Database};
use xxhash_rust::xxh3::xxh3_64;

use crate::config::Connected;
use crate::encode::{self, Columns};
use crate::error::{from_native, of_code};
use crate::ledger::{self, COLLECTION, Ledger};
use crate::target::{self, Request, Target, Way};

/// The largest document, as the server has it.
const MOST_DOCUMENT: usize = 16 << 20;
/// The most documents or updates in a command, unless the load sets it.
const MOST_WRITES: usize = 100_000;
const MOST_UPDATES: usize = 1000;
/// Bytes of a command. The server takes one document of the largest size, and a little more.
const MOST_COMMAND: usize = 15 << 20;
/// Ids in one question.
const MOST_IDS: usize = 10_000;
/// The server's code for a key that is there already.
const DUPLICATE: i32 = 11000;
/// The codes for an existing collection, and one that is not.
const EXISTS: i32 = 48;

/// The collection beside the target. Dropped, it is removed from the server, unless it was renamed.
#[derive(Debug)]
struct Staging {
    database: Database,
    name: String,
    uuid: Option<Vec<u8>>,
    /// The load whose record may name this collection: the target and the `load_id`.
    recorded: Option<(String, String)>,
    kept: bool,
}

/// Removes a staging collection, and the record of its columns.
async fn remove(database: &Database, name: &str, uuid: Option<&[u8]>) -> Result<()> {
    let collection = database.collection::<Document>(name);
    collection.drop().await.map_err(from_native)?;
    match uuid {
        Some(uuid) => Ledger::of(database).forget_columns(uuid).await,
        None => Ok(()),
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (database, name) = (self.database.clone(), self.name.clone());
            let (uuid, recorded) = (self.uuid.take(), self.recorded.take());
            runtime.spawn(async move {
                // The record is removed first, because a record whose collection no longer exists means that the load is
                // committed.
                let removed = async {
                    if let Some((target, load_id)) = recorded {
                        let ledger = Ledger::of(&database);
                        ledger.forget(&target, &load_id, &name).await?;
                    }
                    remove(&database, &name, uuid.as_deref()).await
                };
                if let Err(error) = removed.await {
                    tracing::warn!("a staging collection is left: {error}");
                }
            });
        }
    }
}

/// A load into MongoDB in progress.
#[derive(Debug)]
pub struct MongoSession {
    database: Database,
    ledger: Ledger,
    request: Request,
    target: Target,
    rejects: Rejects,
    into: Collection<RawDocumentBuf>,
    staging: Option<Staging>,
    transaction: Option<ClientSession>,
    /// Whether the target exists.
    made: bool,
    /// What the `_id`s of the load begin with.
    seed: [u8; 7],
    /// Rows that were given, and those that the server has.
    rows: u64,
    acknowledged: u64,
    bytes: u64,
}

fn native_code(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        Native::Command(command) => Some(command.code),
        Native::Write(mongodb::error::WriteFailure::WriteError(write)) => Some(write.code),
        _ => None,
    }
}

/// The error of a write that commits: unless the server has refused it, it may have happened.
fn commit_error(error: mongodb::error::Error) -> Error {
    let lost = matches!(
        error.kind.as_ref(),
        Native::Io(_) | Native::ConnectionPoolCleared { .. } | Native::ServerSelection { .. }
    ) || error.contains_label(mongodb::error::UNKNOWN_TRANSACTION_COMMIT_RESULT);
    if lost {
        let message = "the answer to the commit was lost";
        return Error::new(ErrorKind::CommitUnknown, message).with_source(error);
    }
    from_native(error)
}

impl MongoSession {
    pub(crate) async fn begin(
        connected: &Connected,
        request: Request,
        target: Target,
        rejects: Rejects,
    ) -> Result<Begun<Self>> {
        let database = connected.database();
        let ledger = Ledger::of(&database);
        if let Some(load) = ledger.find(&request.target, &request.load_id).await? {
            if target::is_committed(&database, &load).await? {
                return Ok(Begun::AlreadyLoaded(load.receipt));
            }
            // Another attempt has stopped during its commit. Its record is removed first, so that it notices.
            if let Some(staging) = &load.staging {
                ledger
                    .forget(&request.target, &request.load_id, staging)
                    .await?;
                let stale = database.collection::<Document>(staging);
                stale.drop().await.map_err(from_native)?;
            }
        }
        let hash = xxh3_64(format!("{}\0{}", request.target, request.load_id).as_bytes());
        let mut seed = [0; 7];
        seed.copy_from_slice(&hash.to_be_bytes()[..7]);
        let mut session = Self {
            into: ledger::collection(&database, &request.target),
            made: target.found.is_some(),
            database,
            ledger,
            request,
            target,
            rejects,
            staging: None,
            transaction: None,
            seed,
            rows: 0,
            acknowledged: 0,
            bytes: 0,
        };
        match session.target.way {
            Way::Rows => session.create_index().await?,
            Way::Swap => session.stage().await?,
            Way::Transaction => {
                if session.made {
                    session.create_index().await?;
                }
                session.start_transaction(connected).await?;
            }
        }
        Ok(Begun::Session(session))
    }

    /// Creates the staging collection, with the indexes and options of the target.
    async fn stage(&mut self) -> Result<()> {
        let name = format!("{COLLECTION}.{}", bson::oid::ObjectId::new().to_hex());
        let mut create = doc! { "create": &name };
        if let Some(found) = &self.target.found {
            let options = found.options.iter();
            let copied = options.filter(|(name, _)| *name != "uuid");
            create.extend(copied.map(|(name, value)| (name.clone(), value.clone())));
        }
        self.database
            .run_command(create)
            .await
            .map_err(from_native)?;
        self.staging = Some(Staging {
            database: self.database.clone(),
            name: name.clone(),
            uuid: None,
            recorded: None,
            kept: false,
        });
        let indexes = self.target.found.iter().flat_map(|found| &found.indexes);
        let indexes: Vec<Document> = indexes
            .chain(&self.target.index)
            .filter(|index| index.get_str("name").is_ok_and(|name| name != "_id_"))
            .map(|index| {
                let mut copy = index.clone();
                copy.remove("ns");
                copy
            })
            .collect();
        if !indexes.is_empty() {
            let command = doc! { "createIndexes": &name, "indexes": indexes };
            self.database
                .run_command(command)
                .await
                .map_err(from_native)?;
        }
        self.into = ledger::collection(&self.database, &name);
        let uuid = target::uuid(&self.database, &name).await?;
        if uuid.is_some() {
            let (ledger, target) = (&self.ledger, &self.request.target);
            ledger
                .record_columns(target, uuid.as_deref(), &self.target.columns)
                .await?;
        }
        if let Some(staging) = &mut self.staging {
            staging.uuid = uuid;
        }
        self.made = true;
        Ok(())
    }

    async fn start_transaction(&mut self, connected: &Connected) -> Result<()> {
        let mut session = connected
            .client
            .start_session()
            .await
            .map_err(from_native)?;
        session.start_transaction().await.map_err(from_native)?;
        if self.request.load.mode == Mode::Overwrite && self.made {
            let rows = self.into.delete_many(doc! {}).session(&mut session).await;
            rows.map_err(from_native)?;
        }
        self.transaction = Some(session);
        Ok(())
    }

    async fn create_index(&self) -> Result<()> {
        let Some(index) = &self.target.index else {
            return Ok(());
        };
        let command = doc! { "createIndexes": &self.request.target, "indexes": [index.clone()] };
        let made = self.database.run_command(command).await;
        made.map(|_| ()).map_err(|error| {
            if native_code(&error) == Some(DUPLICATE) {
                let keys = self.request.load.keys.join("`, `");
                let message = format!(
                    "several documents of `{}` have equal keys `{keys}`, so that an upsert by them could not tell which to update",
                    self.request.target
                );
                return Error::new(ErrorKind::InvalidData, message).with_source(error);
            }
            from_native(error)
        })
    }

    /// Makes the target in a transaction, if it is missing, and records new columns: before the first row, and no earlier.
    async fn make(&mut self) -> Result<()> {
        if self.target.way == Way::Transaction {
            if !self.made
                && let Some(session) = &mut self.transaction
            {
                let create = doc! { "create": &self.request.target };
                let made = self.database.run_command(create).session(session).await;
                made.map_err(from_native)?;
                self.made = true;
            }
            return Ok(());
        }
        if std::mem::take(&mut self.target.records_columns) && self.target.way == Way::Rows {
            let uuid = target::uuid(&self.database, &self.request.target).await?;
            let (ledger, target) = (&self.ledger, &self.request.target);
            ledger
                .record_columns(target, uuid.as_deref(), &self.target.columns)
                .await?;
        }
        Ok(())
    }

    /// The `_id` of a row: the same in every attempt at the load.
    fn id(&self, row: u64) -> [u8; 12] {
        let mut id = [0; 12];
        id[..7].copy_from_slice(&self.seed);
        id[7..].copy_from_slice(&row.to_be_bytes()[3..]);
        id
    }

    /// Sets a row aside, or ends the load with its error.
    fn refuse(&self, batch: &RecordBatch, row: usize, first: u64, error: Error) -> Result<()> {
        let number = first + row as u64;
        if !self.rejects.accepts() {
            return Err(error.at_row(number));
        }
        let code = error.code().map(str::to_owned);
        self.rejects.set_aside(
            &batch.slice(row, 1),
            number,
            error.message(),
            code.as_deref(),
        )
    }

    /// The documents of a batch with their rows; those that cannot be made are refused.
    fn documents(&self, batch: &RecordBatch, first: u64) -> Result<Vec<(usize, Vec<u8>)>> {
        let columns = Columns::new(&self.request.schema, batch, &self.request.options)?;
        let mut documents = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let id = match (&columns.id, self.request.load.mode) {
                (None, mode) if mode != Mode::Upsert => Some(self.id(first + row as u64)),
                _ => None,
            };
            let made = columns.document(row, id).and_then(|bytes| {
                if bytes.len() > MOST_DOCUMENT {
                    let message = format!(
                        "the document has {} bytes, and MongoDB takes {MOST_DOCUMENT}",
                        bytes.len()
                    );
                    return Err(Error::new(ErrorKind::InvalidData, message));
                }
                Ok(bytes)
            });
            match made {
                Ok(document) => documents.push((row, document)),
                Err(error) => self.refuse(batch, row, first, error)?,
            }
        }
        Ok(documents)
    }

    async fn insert(&mut self, batch: &RecordBatch, first: u64) -> Result<()> {
        let documents = self.documents(batch, first)?;
        let mut rest = documents.as_slice();
        while !rest.is_empty() {
            let count = fitting(rest, MOST_WRITES);
            let (some, others) = rest.split_at(count);
            rest = others;
            let errors = self.run("insert", "documents", false, some).await?;
            let again: Vec<&[u8]> = errors
                .iter()
                .filter(|error| error.code == DUPLICATE)
                .map(|error| some[error.index].1.as_slice())
                .collect();
            let there = self.already_there(&again).await?;
            let mut refused = 0;
            for error in &errors {
                let (row, document) = &some[error.index];
                // An earlier attempt at this load has brought it.
                if error.code == DUPLICATE && there.contains(document) {
                    continue;
                }
                refused += 1;
                self.refuse(batch, *row, first, error.error())?;
            }
            self.acknowledged += (some.len() - refused) as u64;
        }
        Ok(())
    }

    /// Which documents of the collection are these, byte for byte.
    async fn already_there(&self, documents: &[&[u8]]) -> Result<HashSet<Vec<u8>>> {
        let mut there = HashSet::new();
        // A transaction that is refused a document is over.
        if self.transaction.is_some() {
            return Ok(there);
        }
        for some in documents.chunks(MOST_IDS) {
            let mut ids: Vec<Bson> = Vec::with_capacity(some.len());
            for document in some {
                if let Ok(document) = RawDocument::from_bytes(*document)
                    && let Ok(Some(id)) = document.get("_id")
                    && let Ok(id) = Bson::try_from(id)
                {
                    ids.push(id);
                }
            }
            let found = self.into.find(doc! { "_id": { "$in": ids } }).await;
            let found: Vec<RawDocumentBuf> = found
                .map_err(from_native)?
                .try_collect()
                .await
                .map_err(from_native)?;
            there.extend(found.into_iter().map(RawDocumentBuf::into_bytes));
        }
        Ok(there)
    }

    /// One statement of an `update` command for each row.
    fn updates(&self, batch: &RecordBatch, first: u64) -> Result<Vec<(usize, Vec<u8>)>> {
        let documents = self.documents(batch, first)?;
        let columns = Columns::new(&self.request.schema, batch, &self.request.options)?;
        let keys = self.request.key_indices()?;
        let names: Vec<&[u8]> = keys
            .iter()
            .map(|key| self.request.schema.field(*key).name().as_bytes())
            .collect();
        let mut updates = Vec::with_capacity(documents.len());
        for (row, document) in documents {
            let mut out = Vec::with_capacity(document.len() + 96);
            let start = encode::open(&mut out);
            out.extend(b"\x03q\0");
            let filter = encode::open(&mut out);
            for name in &names {
                // `$eq`, so that a value is never taken for an operator or a pattern.
                out.push(0x03);
                out.extend_from_slice(name);
                out.push(0);
                let equal = encode::open(&mut out);
                columns.named(name)?.element(b"$eq", row, &mut out)?;
                encode::close(equal, &mut out)?;
            }
            encode::close(filter, &mut out)?;
            out.extend(b"\x03u\0");
            if self.request.options.replace {
                out.extend_from_slice(&document);
            } else {
                let change = encode::open(&mut out);
                columns.changes(row, &mut out)?;
                encode::close(change, &mut out)?;
            }
            out.extend(b"\x08upsert\0\x01");
            encode::close(start, &mut out)?;
            updates.push((row, out));
        }
        Ok(updates)
    }

    async fn upsert(&mut self, batch: &RecordBatch, first: u64) -> Result<()> {
        let updates = self.updates(batch, first)?;
        let most = self.request.options.update_batch.unwrap_or(MOST_UPDATES);
        let mut rest = updates.as_slice();
        while !rest.is_empty() {
            let count = fitting(rest, most.max(1));
            // In their order, until one is refused: of rows with equal keys the last one wins.
            let errors = self.run("update", "updates", true, &rest[..count]).await?;
            let mut next = count;
            self.acknowledged += match errors.first() {
                None => count as u64,
                Some(error) => {
                    self.refuse(batch, rest[error.index].0, first, error.error())?;
                    next = error.index + 1;
                    error.index as u64
                }
            };
            rest = &rest[next..];
        }
        Ok(())
    }

    /// Runs a command with these statements; returns those that are refused. What was done already is not done twice, whether by
    /// its `_id` or by its keys, so that an answer that is lost is asked for again.
    async fn run(
        &mut self,
        command: &str,
        field: &str,
        ordered: bool,
        statements: &[(usize, Vec<u8>)],
    ) -> Result<Vec<Refusal>> {
        let bytes = self.command(command, field, ordered, statements)?;
        self.bytes += bytes.len() as u64;
        let command = RawDocumentBuf::from_bytes(bytes).map_err(|error| {
            Error::new(ErrorKind::Unexpected, "a command cannot be made").with_source(error)
        })?;
        let mut tries = 0;
        let reply = loop {
            let run = self.database.run_raw_command(command.clone());
            let reply = match &mut self.transaction {
                Some(session) => run.session(session).await,
                None => run.await,
            };
            match reply.map_err(from_native) {
                Err(error)
                    if tries == 0
                        && self.transaction.is_none()
                        && error.is_transient()
                        && error.kind() == ErrorKind::Connection =>
                {
                    tries += 1;
                    tracing::debug!("a command is sent again: {error}");
                }
                other => break other?,
            }
        };
        if let Ok(concern) = reply.get_document("writeConcernError") {
            let code = concern.get_i32("code").unwrap_or(64);
            return Err(of_code(
                code,
                concern.get_str("errmsg").unwrap_or("a write concern"),
            ));
        }
        let refused = |error: &Bson| {
            let error = error.as_document()?;
            Some(Refusal {
                index: usize::try_from(error.get_i32("index").ok()?).ok()?,
                code: error.get_i32("code").ok()?,
                message: error.get_str("errmsg").unwrap_or_default().to_owned(),
            })
        };
        let errors = match reply.get_array("writeErrors") {
            Ok(errors) => errors.iter().map(refused).collect(),
            Err(_) => Some(Vec::new()),
        };
        let errors: Option<Vec<Refusal>> = errors;
        errors
            .filter(|errors| errors.iter().all(|error| error.index < statements.len()))
            .ok_or_else(|| {
                let message = format!("the server's answer to a write cannot be read: {reply}");
                Error::new(ErrorKind::Unexpected, message)
            })
    }

    /// The bytes of a command.
    fn command(
        &self,
        command: &str,
        field: &str,
        ordered: bool,
        statements: &[(usize, Vec<u8>)],
    ) -> Result<Vec<u8>> {
        let all: usize = statements.iter().map(|(_, bytes)| bytes.len() + 8).sum();
        let mut out = Vec::with_capacity(all + 256);
        let start = encode::open(&mut out);
        let name = self.into.name();
        encode::head(0x02, command.as_bytes(), &mut out);
        out.extend((name.len() as i32 + 1).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        encode::head(0x08, b"ordered", &mut out);
        out.push(u8::from(ordered));
        // In a transaction, its commit says how it is acknowledged.
        if self.transaction.is_none() {
            encode::head(0x03, b"writeConcern", &mut out);
            let concern = encode::open(&mut out);
            out.extend(b"\x02w\0\x09\0\0\0majority\0");
            encode::close(concern, &mut out)?;
        }
        encode::head(0x04, field.as_bytes(), &mut out);
        let array = encode::open(&mut out);
        for (index, (_, statement)) in statements.iter().enumerate() {
            encode::head(0x03, index.to_string().as_bytes(), &mut out);
            out.extend_from_slice(statement);
        }
        encode::close(array, &mut out)?;
        encode::close(start, &mut out)?;
        Ok(out)
    }

    fn receipt(&self) -> Receipt {
        let mut receipt = Receipt::rows(self.acknowledged);
        receipt.bytes = self.bytes;
        receipt.rows_rejected = self.rejects.rows();
        self.request.recorded_in(receipt)
    }

    /// Records the load; returns what is recorded already, if another attempt was faster.
    async fn record(&mut self, staging: Option<&str>) -> Result<Option<Receipt>> {
        let receipt = self.receipt();
        let record = ledger::load_record(&self.request, &receipt, staging);
        let records = self.ledger.collection().clone();
        let insert = records.insert_one(record);
        let inserted = match &mut self.transaction {
            Some(session) => insert.session(session).await,
            None => insert.await,
        };
        match inserted {
            Ok(_) => Ok(None),
            Err(error) if native_code(&error) == Some(DUPLICATE) => {
                let (target, load_id) = (&self.request.target, &self.request.load_id);
                let found = self.ledger.find(target, load_id).await?;
                match found {
                    Some(load) if load.staging.is_none() => Ok(Some(load.receipt.repeated())),
                    _ => {
                        let message = format!("another run of the load `{load_id}` is under way");
                        Err(Error::new(ErrorKind::Conflict, message).transient())
                    }
                }
            }
            Err(error) if staging.is_some() => Err(from_native(error)),
            Err(error) => Err(commit_error(error)),
        }
    }

    /// Renames the staging collection to the target.
    async fn publish(&mut self) -> Result<Receipt> {
        let receipt = self.receipt();
        let Some(staging) = self.staging.as_ref().map(|staging| staging.name.clone()) else {
            return Err(Error::new(
                ErrorKind::Unexpected,
                "there is nothing to publish",
            ));
        };
        if let Some(staging) = &mut self.staging {
            let request = &self.request;
            staging.recorded = Some((request.target.clone(), request.load_id.clone()));
        }
        if let Some(known) = self.record(Some(&staging)).await? {
            return Ok(known);
        }
        let (database, target) = (self.database.name(), self.request.target.clone());
        let overwrites = self.request.load.mode == Mode::Overwrite;
        let rename = doc! {
            "renameCollection": format!("{database}.{staging}"), "to": format!("{database}.{target}"),
            "dropTarget": overwrites,
        };
        let admin = self.database.client().database("admin");
        let load_id = self.request.load_id.clone();
        if let Err(error) = admin.run_command(rename).await {
            let exists = native_code(&error) == Some(EXISTS);
            let error = commit_error(error);
            if error.kind() == ErrorKind::CommitUnknown {
                // A later query can see whether it happened: by whether the staging collection exists.
                self.keep_staging();
                return Err(error);
            }
            self.ledger.forget(&target, &load_id, &staging).await?;
            if exists {
                let message = format!("`{target}` was created while the load ran");
                let error = match self.request.load.mode {
                    Mode::Create => Error::new(ErrorKind::TargetExists, message),
                    _ => Error::new(ErrorKind::Conflict, message).transient(),
                };
                return Err(error.with("target", target));
            }
            return Err(error);
        }
        self.keep_staging();
        // The load is committed; a record that still names the staging collection says the same.
        if let Err(error) = self.tidy(&target, &load_id).await {
            tracing::warn!("the records of a load could not be tidied up: {error}");
        }
        Ok(receipt)
    }

    /// What is left to do after a commit.
    async fn tidy(&self, target: &str, load_id: &str) -> Result<()> {
        self.ledger.published(target, load_id).await?;
        let found = self.target.found.as_ref();
        if let Some(uuid) = found.and_then(|found| found.uuid.as_deref()) {
            self.ledger.forget_columns(uuid).await?;
        }
        if self
            .staging
            .as_ref()
            .is_some_and(|staging| staging.uuid.is_none())
        {
            let columns = &self.target.columns;
            self.ledger.record_columns(target, None, columns).await?;
        }
        Ok(())
    }

    fn keep_staging(&mut self) {
        if let Some(staging) = &mut self.staging {
            staging.kept = true;
        }
    }

    async fn commit_transaction(&mut self) -> Result<Receipt> {
        let receipt = self.receipt();
        if let Some(known) = self.record(None).await? {
            return Ok(known);
        }
        let records = self.ledger.collection().clone();
        let Some(session) = &mut self.transaction else {
            return Err(Error::new(ErrorKind::Unexpected, "there is no transaction"));
        };
        if self.target.records_columns {
            let found = self.target.found.as_ref();
            let uuid = found.and_then(|found| found.uuid.as_deref());
            let (key, update) =
                Ledger::columns_update(&self.request.target, uuid, &self.target.columns)?;
            let recorded = records
                .update_one(key, update)
                .upsert(true)
                .session(&mut *session)
                .await;
            recorded.map_err(from_native)?;
        }
        session.commit_transaction().await.map_err(commit_error)?;
        Ok(receipt)
    }
}

/// A statement that the server refuses.
struct Refusal {
    index: usize,
    code: i32,
    message: String,
}

impl Refusal {
    fn error(&self) -> Error {
        of_code(self.code, &self.message)
    }
}

/// How many statements fit into one command.
fn fitting(statements: &[(usize, Vec<u8>)], most: usize) -> usize {
    let mut bytes = 0;
    let fits = |(_, statement): &&(usize, Vec<u8>)| {
        bytes += statement.len() + 16;
        bytes <= MOST_COMMAND
    };
    let count = statements.iter().take(most).take_while(fits).count();
    count.max(1)
}

impl LoadSession for MongoSession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let first = self.rows;
        self.rows += batch.num_rows() as u64;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.make().await?;
        if self.request.load.mode == Mode::Upsert {
            self.upsert(batch, first).await
        } else {
            self.insert(batch, first).await
        }
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        self.make().await?;
        Ok(Prepared::rows(self.acknowledged))
    }

    async fn commit(mut self) -> Result<Receipt> {
        match self.target.way {
            Way::Swap => self.publish().await,
            Way::Transaction => self.commit_transaction().await,
            Way::Rows => {
                let receipt = self.receipt();
                Ok(self.record(None).await?.unwrap_or(receipt))
            }
        }
    }

    async fn abort(mut self) -> Result<()> {
        if let Some(session) = &mut self.transaction {
            session.abort_transaction().await.map_err(from_native)?;
        }
        if let Some(mut staging) = self.staging.take() {
            staging.kept = true;
            remove(&self.database, &staging.name, staging.uuid.as_deref()).await?;
        }
        Ok(())
    }
}
