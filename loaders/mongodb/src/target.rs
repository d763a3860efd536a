//! A look at the target: whether it exists, what it has, and what the load will do there.

use arrow_schema::{DataType, Schema, SchemaRef};
use arrowload_core::arrow_types::decoded;
use arrowload_core::{
    AfterFailure, Atomicity, ColumnMapping, Error, ErrorKind, LoadRequest, Mode, Plan, Result,
};
use bson::{Bson, Document, doc};
use futures::TryStreamExt;
use mongodb::Database;

use crate::config::Connected;
use crate::error::from_native;
use crate::ledger::{self, COLLECTION, Ledger, Load};
use crate::loader::MongoLoader;
use crate::options::MongoOptions;
use crate::types;

pub(crate) type Request = LoadRequest<MongoOptions>;

/// How the rows get into the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// One after the other, seen as they come.
    Rows,
    /// Into a staging collection, which is then renamed to the target.
    Swap,
    /// In one transaction.
    Transaction,
}

/// A collection as the server describes it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) uuid: Option<Vec<u8>>,
    pub(crate) options: Document,
    pub(crate) indexes: Vec<Document>,
}

/// What was found, and what the load will do.
#[derive(Debug)]
pub struct Resolved(pub(crate) Decision);

#[derive(Debug)]
pub(crate) enum Decision {
    Recorded(Load),
    New(Box<Target>),
}

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) found: Option<Found>,
    pub(crate) way: Way,
    /// The columns of the target after the load.
    pub(crate) columns: SchemaRef,
    /// Whether they are others than those that are recorded.
    pub(crate) records_columns: bool,
    /// The unique index that an upsert needs, and that is not there.
    pub(crate) index: Option<Document>,
    identity: String,
}

fn refused(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message)
}

/// Collections of this name, as the server lists them.
async fn listed(database: &Database, name: &str) -> Result<Option<Document>> {
    let command = doc! { "listCollections": 1, "filter": { "name": name } };
    let cursor = database.run_cursor_command(command).await;
    let found: Vec<Document> = cursor
        .map_err(from_native)?
        .try_collect()
        .await
        .map_err(from_native)?;
    Ok(found.into_iter().next())
}

/// Whether there is a collection of this name.
pub(crate) async fn is_there(database: &Database, name: &str) -> Result<bool> {
    Ok(listed(database, name).await?.is_some())
}

/// The identity of a collection, where the server tells it.
pub(crate) async fn uuid(database: &Database, name: &str) -> Result<Option<Vec<u8>>> {
    Ok(listed(database, name)
        .await?
        .and_then(|entry| uuid_of(&entry)))
}

fn uuid_of(entry: &Document) -> Option<Vec<u8>> {
    match entry.get_document("info").ok()?.get("uuid")? {
        Bson::Binary(uuid) => Some(uuid.bytes.clone()),
        _ => None,
    }
}

async fn look(database: &Database, name: &str) -> Result<Option<Found>> {
    let Some(entry) = listed(database, name).await? else {
        return Ok(None);
    };
    let kind = entry.get_str("type").unwrap_or("collection");
    if kind != "collection" {
        let message = format!("`{name}` is a {kind}; MongoDB is loaded into plain collections");
        return Err(refused(ErrorKind::Unsupported, message).with("target", name));
    }
    let cursor = database
        .run_cursor_command(doc! { "listIndexes": name })
        .await;
    let indexes = match cursor {
        Ok(cursor) => cursor.try_collect().await.map_err(from_native)?,
        Err(error) => {
            let error = from_native(error);
            // Gone meanwhile.
            if error.kind() == ErrorKind::NotFound {
                return Ok(None);
            }
            return Err(error);
        }
    };
    Ok(Some(Found {
        uuid: uuid_of(&entry),
        options: entry.get_document("options").cloned().unwrap_or_default(),
        indexes,
    }))
}

fn check_name(target: &str) -> Result<()> {
    let why = if target.is_empty() {
        "it is empty"
    } else if target.contains(['$', '\0']) {
        "it holds `$` or a zero byte"
    } else if target.starts_with("system.") {
        "names that begin with `system.` are the server's"
    } else if target == COLLECTION || target.starts_with(&format!("{COLLECTION}.")) {
        "names that begin with `_arrowload` are arrowload's own"
    } else if target.len() > 200 {
        "it has more than 200 bytes"
    } else {
        return Ok(());
    };
    let message = format!("`{target}` cannot be the name of a collection: {why}");
    Err(refused(ErrorKind::InvalidOption, message).with("target", target))
}

fn check_columns(request: &Request) -> Result<()> {
    let sets = request.load.mode == Mode::Upsert && !request.options.replace;
    for field in request.schema.fields() {
        let name = field.name();
        let is_key = request.load.keys.contains(name);
        let why = if name.contains('\0') {
            "a name may hold no zero byte"
        } else if name.starts_with('$') {
            "names that begin with `$` are operators of MongoDB"
        } else if name.contains('.') && (sets || is_key) {
            "an update takes the dot for a path into a document; rename it, or set replace = true"
        } else if name == "_id"
            && field.data_type().is_nested()
            && !matches!(field.data_type(), DataType::Struct(_))
        {
            "an _id is no list"
        } else if is_key && field.data_type().is_nested() {
            "a key is no list or document"
        } else {
            continue;
        };
        let message = format!("column `{name}` cannot be loaded into MongoDB: {why}");
        return Err(refused(ErrorKind::SchemaMismatch, message).with("column", name));
    }
    for name in &request.options.object_ids {
        let field = request.schema.field_with_name(name).ok();
        let text = field.is_some_and(|field| types::plain(field.data_type()) == DataType::Utf8);
        if !text {
            let message = format!("`object_ids` names `{name}`, which is no column of text");
            return Err(refused(ErrorKind::InvalidOption, message).with("key", "object_ids"));
        }
    }
    Ok(())
}

fn check_options(request: &Request) -> Result<()> {
    if request.options.replace && request.load.mode != Mode::Upsert {
        let message = "`replace` is an option of mode upsert; leave it out";
        return Err(refused(ErrorKind::InvalidOption, message).with("key", "replace"));
    }
    let skips = request.load.on_error == arrowload_core::OnError::Skip;
    if request.options.transaction && skips {
        let message = "in a transaction, a document that is refused ends all of it; leave `on_error = skip` or `transaction` out";
        return Err(refused(ErrorKind::Unsupported, message).with("key", "transaction"));
    }
    Ok(())
}

/// What a collection has that a copy of it would lack.
fn check_swap(target: &str, found: &Found) -> Result<()> {
    let copied = [
        "validator",
        "validationLevel",
        "validationAction",
        "collation",
        "capped",
        "size",
        "max",
        "clusteredIndex",
        "expireAfterSeconds",
        "changeStreamPreAndPostImages",
        "storageEngine",
        "indexOptionDefaults",
        "autoIndexId",
        "flags",
        "uuid",
    ];
    let unknown = found
        .options
        .keys()
        .find(|name| !copied.contains(&name.as_str()));
    if let Some(option) = unknown {
        let message = format!(
            "`{target}` has the option `{option}`, which an overwrite cannot copy; set transaction = true, or load into another collection"
        );
        return Err(refused(ErrorKind::Unsupported, message).with("target", target));
    }
    Ok(())
}

fn fits(load: &DataType, target: &DataType) -> bool {
    decoded(load) == decoded(target)
}

/// The columns after the load, and whether they have to be recorded.
fn columns(request: &Request, known: Option<&Schema>) -> Result<(SchemaRef, bool)> {
    let own = ledger::nullable(&request.schema);
    let replaces = request.load.mode == Mode::Overwrite && request.load.schema_evolution;
    let Some(known) = known.filter(|_| !replaces) else {
        return Ok((own, true));
    };
    let evolve = request.load.schema_evolution;
    let mapping = ColumnMapping::by_name(&own, known, evolve, fits)?;
    Ok((mapping.schema, !mapping.added.is_empty()))
}

/// The index of the keys, if a load by them needs one more.
fn key_index(request: &Request, found: Option<&Found>) -> Option<Document> {
    let keys = &request.load.keys;
    if request.load.mode != Mode::Upsert || keys.iter().any(|key| key == "_id") {
        return None;
    }
    let is_it = |index: &Document| {
        let same = index.get_document("key").is_ok_and(|key| {
            key.len() == keys.len() && keys.iter().all(|name| key.contains_key(name))
        });
        let partial = index.contains_key("partialFilterExpression")
            || index.get_bool("sparse").unwrap_or(false);
        same && index.get_bool("unique").unwrap_or(false) && !partial
    };
    if found.is_some_and(|found| found.indexes.iter().any(is_it)) {
        return None;
    }
    let key: Document = keys
        .iter()
        .map(|name| (name.clone(), Bson::Int32(1)))
        .collect();
    let name = format!("arrowload_{}", keys.join("_"));
    Some(doc! { "key": key, "name": name, "unique": true })
}

/// Whether a load that is recorded as about to be published has been.
pub(crate) async fn is_committed(database: &Database, load: &Load) -> Result<bool> {
    match &load.staging {
        None => Ok(true),
        Some(staging) => Ok(!is_there(database, staging).await?),
    }
}

pub(crate) async fn resolve(connected: &Connected, request: &Request) -> Result<Resolved> {
    check_name(&request.target)?;
    check_options(request)?;
    check_columns(request)?;
    let database = connected.database();
    let ledger = Ledger::of(&database);
    if let Some(load) = ledger.find(&request.target, &request.load_id).await?
        && is_committed(&database, &load).await?
    {
        return Ok(Resolved(Decision::Recorded(load)));
    }
    let found = look(&database, &request.target).await?;
    request.must_create(found.is_some())?;
    let known = match &found {
        Some(found) => {
            ledger
                .columns(&request.target, found.uuid.as_deref())
                .await?
        }
        None => None,
    };
    let (columns, records_columns) = columns(request, known.as_deref())?;
    let way = match request.load.mode {
        _ if request.options.transaction => Way::Transaction,
        Mode::Create | Mode::Overwrite => Way::Swap,
        // A missing collection is filled in a staging collection, so that it appears as a whole.
        Mode::Append | Mode::Upsert if found.is_none() => Way::Swap,
        Mode::Append | Mode::Upsert => Way::Rows,
    };
    if let (Way::Swap, Some(found)) = (way, &found) {
        check_swap(&request.target, found)?;
    }
    Ok(Resolved(Decision::New(Box::new(Target {
        index: key_index(request, found.as_ref()),
        found,
        way,
        columns,
        records_columns: records_columns || way == Way::Swap,
        identity: format!(
            "{}/{}.{}",
            connected.hosts, connected.database, request.target
        ),
    }))))
}

impl Target {
    pub(crate) fn plan(&self, request: &Request) -> Plan {
        let options = &request.options;
        let mut plan =
            Plan::with_types::<MongoLoader>(request, |kind| types::support(kind, options));
        plan.target_exists = self.found.is_some();
        plan.identity = Some(self.identity.clone());
        if self.found.is_none() {
            plan.ddl
                .push(format!("create collection {}", request.target));
        }
        if let Some(index) = &self.index {
            let key = index.get_document("key").cloned().unwrap_or_default();
            plan.ddl
                .push(format!("create unique index {key} on {}", request.target));
        }
        plan.resources
            .push(format!("collection {}", request.target));
        let held = &mut plan.guarantees;
        held.skip_rows = self.way != Way::Transaction;
        match self.way {
            Way::Rows => {
                held.atomicity = Atomicity::Row;
                held.after_failure = AfterFailure::UNCHANGED.with_new_rows();
                if request.load.mode == Mode::Upsert {
                    held.after_failure = held.after_failure.with_old_rows_gone();
                }
                if self.index.is_some() || self.records_columns {
                    held.after_failure = held.after_failure.with_schema_evolved();
                }
            }
            Way::Swap => {
                plan.resources.push(format!(
                    "a collection beside it, which is renamed to {}",
                    request.target
                ));
            }
            Way::Transaction => plan.resources.push("one transaction".into()),
        }
        plan
    }
}

/// The plan of a load that is there.
pub(crate) fn recorded(request: &Request, load: &Load) -> Plan {
    let mut plan = Plan::of::<MongoLoader>(request);
    plan.target_exists = true;
    plan.already_loaded = Some(load.receipt.rows);
    plan
}
