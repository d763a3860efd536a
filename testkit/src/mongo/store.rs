//! Collections in memory: documents as raw bytes, indexes, and transactions as copies that are swapped in.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bson::{Bson, Document, doc};

use super::values;

/// The bytes of one document.
pub(super) type Bytes = Arc<[u8]>;

/// The largest document.
pub(super) const MOST_BYTES: usize = 16 << 20;

/// A command or write that is refused.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) code: i32,
    pub(super) name: &'static str,
    pub(super) message: String,
    pub(super) labels: Vec<String>,
    /// More fields of the error.
    pub(super) info: Option<Box<Document>>,
}

impl Refused {
    pub(super) fn new(code: i32, name: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            name,
            message: message.into(),
            labels: Vec::new(),
            info: None,
        }
    }

    /// As one of the `writeErrors` of a command.
    pub(super) fn at(&self, index: usize) -> Document {
        let mut error = doc! { "index": index as i32, "code": self.code, "errmsg": &self.message };
        error.extend(self.info.as_deref().cloned().unwrap_or_default());
        error
    }
}

/// An index: equal keys lead to the places of their documents.
#[derive(Debug, Clone)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) key: Document,
    pub(super) unique: bool,
    /// As it was created.
    pub(super) spec: Document,
    places: HashMap<Vec<u8>, Vec<usize>>,
}

impl Index {
    fn new(spec: &Document) -> Option<Self> {
        Some(Self {
            name: spec.get_str("name").ok()?.to_owned(),
            key: spec.get_document("key").ok()?.clone(),
            unique: spec.get_bool("unique").unwrap_or(false),
            spec: spec.clone(),
            places: HashMap::new(),
        })
    }

    fn key_of(&self, document: &[u8]) -> Vec<u8> {
        let mut key = Vec::new();
        // Most documents begin with an ObjectId, which needs no decoding.
        if self.name == "_id_"
            && let Some(id) = document.get(4..21)
            && id.starts_with(b"\x07_id\0")
        {
            key.push(4);
            key.extend(&id[5..]);
            return key;
        }
        for path in self.key.keys() {
            values::index_key(values::get(document, path).as_ref(), &mut key);
        }
        key
    }

    /// The key that these fields fix, if they fix all of it.
    fn key_in(&self, fixed: &Document) -> Option<Vec<u8>> {
        let mut key = Vec::new();
        for path in self.key.keys() {
            values::index_key(Some(fixed.get(path)?), &mut key);
        }
        Some(key)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Collection {
    pub(super) options: Document,
    pub(super) uuid: [u8; 16],
    documents: Vec<Option<Bytes>>,
    pub(super) indexes: Vec<Index>,
    /// Changes at every write.
    version: u64,
}

impl Collection {
    pub(super) fn new(options: Document, number: u64) -> Self {
        let mut uuid = [0x40; 16];
        uuid[..8].copy_from_slice(&number.to_be_bytes());
        let id = doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" };
        let mut indexes: Vec<Index> = Index::new(&id).into_iter().collect();
        for index in &mut indexes {
            index.unique = true;
        }
        Self {
            options,
            uuid,
            documents: Vec::new(),
            indexes,
            version: 0,
        }
    }

    pub(super) fn documents(&self) -> impl Iterator<Item = &Bytes> {
        self.documents.iter().flatten()
    }

    /// Puts bytes there as they are, documents or not. They are in no index.
    pub(super) fn seed(&mut self, documents: impl IntoIterator<Item = Vec<u8>>) {
        self.documents
            .extend(documents.into_iter().map(|bytes| Some(bytes.into())));
        self.version += 1;
    }

    fn refuses(&self, document: &[u8], but: Option<usize>) -> Result<(), Refused> {
        if document.len() > MOST_BYTES {
            let message = format!("BSONObj size: {} is invalid", document.len());
            return Err(Refused::new(10334, "BSONObjectTooLarge", message));
        }
        if let Ok(validator) = self.options.get_document("validator")
            && !values::matches(document, validator)?
        {
            let refused = Refused::new(
                121,
                "DocumentValidationFailure",
                "Document failed validation",
            );
            return Err(refused);
        }
        for index in self.indexes.iter().filter(|index| index.unique) {
            let places = index.places.get(&index.key_of(document));
            if places.is_some_and(|places| places.iter().any(|place| Some(*place) != but)) {
                let value = |path: &String| {
                    let value = values::get(document, path).unwrap_or(Bson::Null);
                    (path.clone(), value)
                };
                let found: Document = index.key.keys().map(value).collect();
                let message = format!(
                    "E11000 duplicate key error collection: index: {} dup key: {found}",
                    index.name
                );
                let mut refused = Refused::new(11000, "DuplicateKey", message);
                refused.info = Some(Box::new(
                    doc! { "keyPattern": index.key.clone(), "keyValue": found },
                ));
                return Err(refused);
            }
        }
        Ok(())
    }

    fn index(&mut self, place: usize, document: &[u8]) {
        for index in &mut self.indexes {
            let key = index.key_of(document);
            index.places.entry(key).or_default().push(place);
        }
    }

    fn unindex(&mut self, place: usize, document: &[u8]) {
        for index in &mut self.indexes {
            let key = index.key_of(document);
            if let Some(places) = index.places.get_mut(&key) {
                places.retain(|other| *other != place);
                if places.is_empty() {
                    index.places.remove(&key);
                }
            }
        }
    }

    pub(super) fn insert(&mut self, document: Vec<u8>) -> Result<(), Refused> {
        self.refuses(&document, None)?;
        let place = self.documents.len();
        self.index(place, &document);
        self.documents.push(Some(document.into()));
        self.version += 1;
        Ok(())
    }

    pub(super) fn replace(&mut self, place: usize, document: Vec<u8>) -> Result<(), Refused> {
        self.refuses(&document, Some(place))?;
        if let Some(old) = self.documents[place].take() {
            self.unindex(place, &old);
        }
        self.index(place, &document);
        self.documents[place] = Some(document.into());
        self.version += 1;
        Ok(())
    }

    pub(super) fn remove(&mut self, place: usize) {
        if let Some(old) = self.documents[place].take() {
            self.unindex(place, &old);
            self.version += 1;
        }
    }

    /// The documents that match, with their places; by an index where it can be.
    pub(super) fn find(
        &self,
        filter: &Document,
        most: usize,
    ) -> Result<Vec<(usize, Bytes)>, Refused> {
        let fixed = values::fixed(filter);
        // An array matches by its items too, which no index here knows; tests that rely on it have few documents.
        let by_index = self.indexes.iter().find_map(|index| {
            let key = index.key_in(&fixed)?;
            Some(index.places.get(&key).cloned().unwrap_or_default())
        });
        let places = match by_index {
            Some(places) => places,
            None => (0..self.documents.len()).collect(),
        };
        let mut found = Vec::new();
        for place in places {
            let Some(document) = &self.documents[place] else {
                continue;
            };
            if filter.is_empty() || values::matches(document, filter)? {
                found.push((place, Arc::clone(document)));
                if found.len() == most {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Does here what was done between two states of the collection. Places stay what they are, and new ones come at the end.
    fn rebase(&mut self, before: &Self, after: &Self) -> Result<(), Refused> {
        let same = |one: &Option<Bytes>, other: &Option<Bytes>| match (one, other) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        for (place, new) in after.documents.iter().enumerate() {
            let Some(old) = before.documents.get(place) else {
                if let Some(new) = new {
                    self.insert(new.to_vec()).map_err(|_| conflict())?;
                }
                continue;
            };
            if same(old, new) {
                continue;
            }
            if !same(old, &self.documents[place]) {
                return Err(conflict());
            }
            match new {
                Some(new) => self.replace(place, new.to_vec())?,
                None => self.remove(place),
            }
        }
        Ok(())
    }

    pub(super) fn create_index(&mut self, spec: &Document) -> Result<(), Refused> {
        let bad = || Refused::new(67, "CannotCreateIndex", "an index needs a key and a name");
        let mut index = Index::new(spec).ok_or_else(bad)?;
        if self.indexes.iter().any(|known| known.name == index.name) {
            return Ok(());
        }
        for (place, document) in self.documents.iter().enumerate() {
            let Some(document) = document else { continue };
            let places = index.places.entry(index.key_of(document)).or_default();
            places.push(place);
            if index.unique && places.len() > 1 {
                return Err(Refused::new(
                    11000,
                    "DuplicateKey",
                    "E11000 duplicate key error",
                ));
            }
        }
        self.indexes.push(index);
        self.version += 1;
        Ok(())
    }
}

fn conflict() -> Refused {
    let mut refused = Refused::new(112, "WriteConflict", "WriteConflict error");
    refused.labels.push("TransientTransactionError".into());
    refused
}

/// All collections, by `database.collection`.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    pub(super) collections: BTreeMap<String, Arc<Collection>>,
    /// Numbers collections.
    pub(super) made: u64,
}

impl Store {
    pub(super) fn collection(&self, namespace: &str) -> Option<&Collection> {
        self.collections.get(namespace).map(Arc::as_ref)
    }

    /// The collection, made if it is missing.
    pub(super) fn write(&mut self, namespace: &str) -> &mut Collection {
        if !self.collections.contains_key(namespace) {
            self.create(namespace, Document::new());
        }
        let made = self.made;
        let collection = self
            .collections
            .entry(namespace.to_owned())
            .or_insert_with(|| Arc::new(Collection::new(Document::new(), made)));
        Arc::make_mut(collection)
    }

    pub(super) fn create(&mut self, namespace: &str, options: Document) {
        self.made += 1;
        let collection = Collection::new(options, self.made);
        self.collections
            .insert(namespace.to_owned(), Arc::new(collection));
    }

    /// Does what a transaction did, document by document.
    ///
    /// # Errors
    /// If somebody has changed one of its documents since it began. Then nothing is done.
    pub(super) fn merge(&mut self, began: &Self, ended: Self) -> Result<(), Refused> {
        let version = |store: &Self, name: &String| {
            let found = store.collections.get(name);
            found.map(|collection| (collection.uuid, collection.version))
        };
        let changed: Vec<String> = ended
            .collections
            .keys()
            .filter(|name| version(began, name) != version(&ended, name))
            .cloned()
            .collect();
        let mut next = self.clone();
        for name in changed {
            let Some(after) = ended.collections.get(&name) else {
                continue;
            };
            match (
                began.collections.get(&name),
                next.collections.get_mut(&name),
            ) {
                (Some(before), Some(now)) if before.uuid == now.uuid => {
                    Arc::make_mut(now).rebase(before, after)?;
                }
                (None, None) => {
                    next.collections.insert(name, Arc::clone(after));
                }
                _ => return Err(conflict()),
            }
        }
        next.made = next.made.max(ended.made);
        *self = next;
        Ok(())
    }
}
