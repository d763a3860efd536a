//! The commands that the emulator knows.

use std::sync::Arc;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Document, doc};

use super::server::{Cursor, State};
use super::store::{Bytes, Refused, Store};
use super::wire::{CursorReply, Reply, Request};
use super::{pipeline, values};

/// Bytes of documents in a batch at most.
const BATCH_BYTES: usize = 16 << 20;
/// Documents in the first batch, if the client does not say.
const FIRST_BATCH: usize = 101;

type Answer = Result<Reply, Refused>;

/// One command, and where it works: the store, or the copy of it that belongs to a transaction.
pub(super) struct Call<'a> {
    pub(super) request: &'a Request,
    pub(super) database: String,
    pub(super) in_transaction: bool,
}

fn missing(what: &str) -> Refused {
    Refused::new(9, "FailedToParse", format!("`{what}` is missing"))
}

/// A number of any width.
fn count(document: &Document, name: &str) -> Option<i64> {
    match document.get(name)? {
        Bson::Int32(value) => Some(i64::from(*value)),
        Bson::Int64(value) => Some(*value),
        Bson::Double(value) => Some(*value as i64),
        _ => None,
    }
}

impl Call<'_> {
    fn body(&self) -> &Document {
        &self.request.body
    }

    /// `database.collection`, from the value of the command's first field.
    fn namespace(&self) -> Result<String, Refused> {
        let first = self.body().iter().next();
        let name = first.and_then(|(_, value)| value.as_str());
        let name = name.ok_or_else(|| missing("collection"))?;
        Ok(format!("{}.{name}", self.database))
    }

    fn document(&self, name: &str) -> Document {
        self.body().get_document(name).cloned().unwrap_or_default()
    }

    /// Documents that came in a sequence, or as an array of the command.
    fn documents(&self, name: &str) -> Vec<Vec<u8>> {
        let beside = self
            .request
            .sequences
            .iter()
            .find(|(field, _)| field == name);
        if let Some((_, documents)) = beside {
            return documents.clone();
        }
        let array = self.body().get_array(name).ok();
        array
            .into_iter()
            .flatten()
            .filter_map(|each| each.as_document()?.to_vec().ok())
            .collect()
    }

    pub(super) fn run(&self, name: &str, store: &mut Store, state: &mut State) -> Answer {
        match name {
            "hello" | "isMaster" | "ismaster" => Ok(hello(state).into()),
            "ping" | "endSessions" | "configureFailPoint" | "logout" => Ok(doc! {}.into()),
            "buildInfo" | "buildinfo" => Ok(doc! {
                "version": "7.0.0", "versionArray": [7, 0, 0, 0], "arrowloadEmulator": true,
            }
            .into()),
            "find" => self.find(store, state),
            "aggregate" => self.aggregate(store, state),
            "getMore" => self.get_more(state),
            "killCursors" => self.kill_cursors(state),
            "count" => {
                let query = self.document("query");
                let found = match store.collection(&self.namespace()?) {
                    Some(collection) => collection.find(&query, usize::MAX)?.len(),
                    None => 0,
                };
                Ok(doc! { "n": found as i32 }.into())
            }
            "insert" => self.insert(store),
            "update" => self.update(store),
            "delete" => self.delete(store),
            "create" => self.create(store),
            "drop" => match store.collections.remove(&self.namespace()?) {
                Some(_) => Ok(doc! {}.into()),
                None => Err(Refused::new(26, "NamespaceNotFound", "ns not found")),
            },
            "dropDatabase" => {
                let prefix = format!("{}.", self.database);
                store
                    .collections
                    .retain(|name, _| !name.starts_with(&prefix));
                Ok(doc! { "dropped": &self.database }.into())
            }
            "renameCollection" => self.rename(store),
            "createIndexes" => self.create_indexes(store),
            "listIndexes" => self.list_indexes(store, state),
            "listCollections" => self.list_collections(store, state),
            other => Err(Refused::new(
                59,
                "CommandNotFound",
                format!("no such command: '{other}'; this is an emulator"),
            )),
        }
    }

    fn find(&self, store: &Store, state: &mut State) -> Answer {
        let namespace = self.namespace()?;
        let mut found: Vec<Bytes> = match store.collection(&namespace) {
            None => Vec::new(),
            Some(collection) => {
                let found = collection.find(&self.document("filter"), usize::MAX)?;
                found.into_iter().map(|(_, document)| document).collect()
            }
        };
        pipeline::sort(&mut found, &self.document("sort"));
        let skip = count(self.body(), "skip").unwrap_or(0).max(0) as usize;
        found.drain(..skip.min(found.len()));
        let limit = count(self.body(), "limit").unwrap_or(0).unsigned_abs() as usize;
        if limit > 0 {
            found.truncate(limit);
        }
        let projection = self.document("projection");
        if !projection.is_empty() {
            found = pipeline::project(&found, &projection)?;
        }
        let first = count(self.body(), "batchSize");
        let single = self.body().get_bool("singleBatch").unwrap_or(false);
        let mut reply = self.first_batch(namespace, found, first, state);
        if single && let Some(cursor) = &mut reply.cursor {
            state.cursors.remove(&cursor.id);
            cursor.id = 0;
        }
        Ok(reply)
    }

    fn aggregate(&self, store: &mut Store, state: &mut State) -> Answer {
        let namespace = self.namespace()?;
        let found: Vec<Bytes> = store
            .collection(&namespace)
            .map(|collection| collection.documents().cloned().collect())
            .unwrap_or_default();
        let stages = self.body().get_array("pipeline").cloned();
        let stages = stages.map_err(|_| missing("pipeline"))?;
        let found = pipeline::run(found, &stages, &namespace)?;
        let first = count(&self.document("cursor"), "batchSize");
        Ok(self.first_batch(namespace, found, first, state))
    }

    fn first_batch(
        &self,
        namespace: String,
        documents: Vec<Bytes>,
        size: Option<i64>,
        state: &mut State,
    ) -> Reply {
        let size = size.map_or(FIRST_BATCH, |size| size.max(0) as usize);
        let mut cursor = Cursor {
            namespace,
            documents: documents.into(),
        };
        let batch = cursor.take(size, BATCH_BYTES);
        let namespace = cursor.namespace.clone();
        let id = state.keep(cursor);
        batch_reply(id, namespace, "firstBatch", batch)
    }

    fn get_more(&self, state: &mut State) -> Answer {
        let id = count(self.body(), "getMore").ok_or_else(|| missing("getMore"))?;
        let size = count(self.body(), "batchSize").filter(|size| *size > 0);
        let size = size.map_or(usize::MAX, |size| size as usize);
        let Some(mut cursor) = state.cursors.remove(&id) else {
            let message = format!("cursor id {id} not found");
            return Err(Refused::new(43, "CursorNotFound", message));
        };
        let batch = cursor.take(size, BATCH_BYTES);
        let namespace = cursor.namespace.clone();
        let id = if cursor.documents.is_empty() { 0 } else { id };
        if id != 0 {
            state.cursors.insert(id, cursor);
        }
        Ok(batch_reply(id, namespace, "nextBatch", batch))
    }

    fn kill_cursors(&self, state: &mut State) -> Answer {
        let ids = self
            .body()
            .get_array("cursors")
            .cloned()
            .unwrap_or_default();
        for id in ids.iter().filter_map(Bson::as_i64) {
            state.cursors.remove(&id);
        }
        Ok(doc! { "cursorsKilled": ids }.into())
    }

    fn insert(&self, store: &mut Store) -> Answer {
        let namespace = self.namespace()?;
        let ordered = self.body().get_bool("ordered").unwrap_or(true);
        let (mut written, mut errors) = (0, Vec::new());
        let collection = store.write(&namespace);
        for (index, document) in self.documents("documents").into_iter().enumerate() {
            match collection.insert(document) {
                Ok(()) => written += 1,
                Err(refused) => {
                    errors.push(refused.at(index));
                    self.fail_in_transaction(refused)?;
                    if ordered {
                        break;
                    }
                }
            }
        }
        Ok(write_reply(doc! { "n": written }, errors))
    }

    /// In a transaction, a write that is refused ends it.
    fn fail_in_transaction(&self, refused: Refused) -> Result<(), Refused> {
        if self.in_transaction {
            return Err(refused);
        }
        Ok(())
    }

    fn update(&self, store: &mut Store) -> Answer {
        let namespace = self.namespace()?;
        let ordered = self.body().get_bool("ordered").unwrap_or(true);
        let (mut matched, mut modified) = (0, 0);
        let (mut upserted, mut errors) = (Vec::new(), Vec::new());
        for (index, update) in self.documents("updates").iter().enumerate() {
            let update = Document::from_reader(update.as_slice())
                .map_err(|error| Refused::new(2, "BadValue", error.to_string()))?;
            match apply(store, &namespace, &update) {
                Ok(done) => {
                    matched += done.matched;
                    modified += done.modified;
                    if let Some(id) = done.upserted {
                        matched += 1;
                        upserted.push(doc! { "index": index as i32, "_id": id });
                    }
                }
                Err(refused) => {
                    errors.push(refused.at(index));
                    self.fail_in_transaction(refused)?;
                    if ordered {
                        break;
                    }
                }
            }
        }
        let mut reply = doc! { "n": matched, "nModified": modified };
        if !upserted.is_empty() {
            reply.insert("upserted", upserted);
        }
        Ok(write_reply(reply, errors))
    }

    fn delete(&self, store: &mut Store) -> Answer {
        let namespace = self.namespace()?;
        let mut removed = 0;
        for delete in self.documents("deletes") {
            let delete = Document::from_reader(delete.as_slice())
                .map_err(|error| Refused::new(2, "BadValue", error.to_string()))?;
            let filter = delete.get_document("q").cloned().unwrap_or_default();
            let most = match count(&delete, "limit") {
                Some(1) => 1,
                _ => usize::MAX,
            };
            if store.collection(&namespace).is_none() {
                continue;
            }
            let collection = store.write(&namespace);
            for (place, _) in collection.find(&filter, most)? {
                collection.remove(place);
                removed += 1;
            }
        }
        Ok(doc! { "n": removed }.into())
    }

    fn create(&self, store: &mut Store) -> Answer {
        let namespace = self.namespace()?;
        if store.collection(&namespace).is_some() {
            let message = format!("Collection {namespace} already exists.");
            return Err(Refused::new(48, "NamespaceExists", message));
        }
        let known = [
            "validator",
            "validationLevel",
            "validationAction",
            "collation",
            "capped",
            "size",
            "max",
            "timeseries",
            "expireAfterSeconds",
            "clusteredIndex",
        ];
        let options = self.body().iter();
        let options = options.filter(|(name, _)| known.contains(&name.as_str()));
        let options = options.map(|(name, value)| (name.clone(), value.clone()));
        store.create(&namespace, options.collect());
        Ok(doc! {}.into())
    }

    fn rename(&self, store: &mut Store) -> Answer {
        let text = |name: &str| self.body().get_str(name).map_err(|_| missing(name));
        let (from, to) = (text("renameCollection")?, text("to")?);
        if store.collection(to).is_some() && !self.body().get_bool("dropTarget").unwrap_or(false) {
            return Err(Refused::new(
                48,
                "NamespaceExists",
                "target namespace exists",
            ));
        }
        let found = store.collections.remove(from);
        let found = found.ok_or_else(|| {
            Refused::new(
                26,
                "NamespaceNotFound",
                format!("Source collection {from} does not exist"),
            )
        })?;
        store.collections.insert(to.to_owned(), found);
        Ok(doc! {}.into())
    }

    fn create_indexes(&self, store: &mut Store) -> Answer {
        let collection = store.write(&self.namespace()?);
        for spec in self.documents("indexes") {
            let spec = Document::from_reader(spec.as_slice())
                .map_err(|error| Refused::new(2, "BadValue", error.to_string()))?;
            collection.create_index(&spec)?;
        }
        Ok(doc! {}.into())
    }

    fn list_indexes(&self, store: &Store, state: &mut State) -> Answer {
        let namespace = self.namespace()?;
        let collection = store.collection(&namespace);
        let collection = collection.ok_or_else(|| {
            Refused::new(
                26,
                "NamespaceNotFound",
                format!("ns does not exist: {namespace}"),
            )
        })?;
        let specs = collection.indexes.iter();
        let specs = specs.filter_map(|index| Some(Arc::from(index.spec.to_vec().ok()?)));
        Ok(self.first_batch(namespace, specs.collect(), None, state))
    }

    fn list_collections(&self, store: &Store, state: &mut State) -> Answer {
        let (prefix, filter) = (format!("{}.", self.database), self.document("filter"));
        let mut found = Vec::new();
        for (namespace, collection) in &store.collections {
            let Some(name) = namespace.strip_prefix(&prefix) else {
                continue;
            };
            let uuid = Binary {
                subtype: BinarySubtype::Uuid,
                bytes: collection.uuid.to_vec(),
            };
            let kind = if collection.options.contains_key("timeseries") {
                "timeseries"
            } else {
                "collection"
            };
            let entry = doc! {
                "name": name, "type": kind, "options": collection.options.clone(),
                "info": { "readOnly": false, "uuid": uuid },
                "idIndex": { "v": 2, "key": { "_id": 1 }, "name": "_id_" },
            };
            let bytes: Bytes = entry.to_vec().unwrap_or_default().into();
            if values::matches(&bytes, &filter)? {
                found.push(bytes);
            }
        }
        let namespace = format!("{}.$cmd.listCollections", self.database);
        Ok(self.first_batch(namespace, found, Some(i64::MAX), state))
    }
}

fn hello(state: &State) -> Document {
    let mut hello = doc! {
        "helloOk": true, "isWritablePrimary": true, "ismaster": true, "readOnly": false,
        "maxBsonObjectSize": 16 << 20, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
        "localTime": DateTime::now(), "minWireVersion": 0, "maxWireVersion": 21, "connectionId": 1,
    };
    if state.replica_set {
        hello.extend(doc! {
            "setName": "emulator", "setVersion": 1, "secondary": false, "hosts": [&state.address],
            "primary": &state.address, "me": &state.address, "logicalSessionTimeoutMinutes": 30,
        });
    }
    hello
}

fn batch_reply(id: i64, ns: String, field: &'static str, documents: Vec<Bytes>) -> Reply {
    Reply {
        fields: Document::new(),
        cursor: Some(CursorReply {
            id,
            ns,
            field,
            documents,
        }),
    }
}

fn write_reply(mut reply: Document, errors: Vec<Document>) -> Reply {
    if !errors.is_empty() {
        reply.insert("writeErrors", errors);
    }
    reply.into()
}

#[derive(Default)]
struct Done {
    matched: i32,
    modified: i32,
    upserted: Option<Bson>,
}

fn apply(store: &mut Store, namespace: &str, update: &Document) -> Result<Done, Refused> {
    let filter = update.get_document("q").cloned().unwrap_or_default();
    let change = update.get_document("u");
    let change = change.map_err(|_| Refused::new(2, "BadValue", "an update pipeline"))?;
    let most = if update.get_bool("multi").unwrap_or(false) {
        usize::MAX
    } else {
        1
    };
    let collection = store.write(namespace);
    let mut done = Done::default();
    for (place, bytes) in collection.find(&filter, most)? {
        let old = Document::from_reader(&*bytes);
        let old = old.map_err(|error| Refused::new(2, "BadValue", error.to_string()))?;
        let new = values::updated(&old, change, false)?;
        if new.get("_id") != old.get("_id") {
            let message =
                "Performing an update on the path '_id' would modify the immutable field '_id'";
            return Err(Refused::new(66, "ImmutableField", message));
        }
        done.matched += 1;
        if new != old {
            done.modified += 1;
            collection.replace(place, new.to_vec().unwrap_or_default())?;
        }
    }
    if done.matched == 0 && update.get_bool("upsert").unwrap_or(false) {
        let replaces = !change.keys().any(|name| name.starts_with('$'));
        let mut fixed = values::fixed(&filter);
        if replaces {
            let id = fixed.remove("_id");
            fixed = id.map(|id| doc! { "_id": id }).unwrap_or_default();
        }
        let mut new = values::updated(&fixed, change, true)?;
        let id = new
            .remove("_id")
            .unwrap_or_else(|| bson::oid::ObjectId::new().into());
        let mut document = doc! { "_id": &id };
        document.extend(new);
        collection.insert(document.to_vec().unwrap_or_default())?;
        done.upserted = Some(id);
    }
    Ok(done)
}
