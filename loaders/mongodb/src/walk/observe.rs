//! Finds out which types every path has, how often, and where first.

use foldhash::HashMap;

use super::decimal::{self, Room};
use super::element::{self, Element, Kind, fixed};
use super::json::{self, MOST_DEPTH};
use super::{Fault, Walked};

/// Fields of one document type at most: more are data in place of names.
const MOST_FIELDS: usize = 10_000;
/// The largest whole number up to which a double holds every one.
pub(crate) const EXACT_IN_DOUBLE: i64 = 1 << 53;

/// One type of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: Kind,
    pub(crate) count: u64,
    /// The `_id` of the first document with it.
    pub(crate) first: String,
}

/// What was seen at a path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    pub(crate) seen: Vec<Seen>,
    /// The fields of documents, in the order in which they came.
    pub(crate) fields: Vec<(String, Observed)>,
    places: HashMap<Vec<u8>, usize>,
    /// The items of arrays, or the values of a map.
    pub(crate) items: Option<Box<Observed>>,
    /// What its decimals need.
    pub(crate) room: Room,
    /// A whole number that no double holds.
    pub(crate) wide: bool,
    /// The field names of its documents are data.
    pub(crate) map: bool,
    /// The document in which it was seen last.
    last: u64,
}

/// Where maps are, and the number of the document that is looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observer {
    /// Paths of documents whose field names are data.
    pub(crate) maps: Vec<String>,
    /// Paths that are taken as text, whatever they hold.
    pub(crate) whole: Vec<String>,
    pub(crate) documents: u64,
}

impl Observer {
    /// Adds a document to what was seen. A broken one may leave a part of itself there, which only widens.
    pub(crate) fn add(&mut self, root: &mut Observed, document: &[u8]) -> Walked<()> {
        self.fields(root, document, document, &mut String::new(), 0)
    }

    fn fields(
        &mut self,
        into: &mut Observed,
        document: &[u8],
        whole: &[u8],
        path: &mut String,
        depth: usize,
    ) -> Walked<()> {
        if depth > MOST_DEPTH {
            return Err(Fault::broken(format!(
                "it is more than {MOST_DEPTH} levels deep"
            )));
        }
        self.documents += 1;
        let number = self.documents;
        let mut rest = element::body(document)?;
        let mut predicted = 0;
        while let Some(field) = element::next(&mut rest)? {
            let place = into.place(field.name, predicted)?;
            predicted = place + 1;
            let (_, child) = &mut into.fields[place];
            if std::mem::replace(&mut child.last, number) == number {
                return Err(Fault::broken("the name comes twice").within(field.name));
            }
            let length = path.len();
            if length > 0 {
                path.push('.');
            }
            path.push_str(&String::from_utf8_lossy(field.name));
            let seen = self.value(child, &field, whole, path, depth);
            path.truncate(length);
            seen.map_err(|fault| fault.within(field.name))?;
        }
        Ok(())
    }

    fn value(
        &mut self,
        into: &mut Observed,
        element: &Element<'_>,
        whole: &[u8],
        path: &mut String,
        depth: usize,
    ) -> Walked<()> {
        let (kind, value) = (element::kind(element.code, element.value), element.value);
        into.count(kind, whole);
        if self.whole.iter().any(|each| each == path) {
            // Read whole, so that what is broken inside is found.
            return json::write(
                &mut String::new(),
                element.code,
                value,
                json::Form::Canonical,
                depth,
            );
        }
        match kind {
            Kind::Document if self.maps.iter().any(|each| each == path) => {
                into.map = true;
                let items = into.items.get_or_insert_default();
                let mut rest = element::body(value)?;
                let mut names = std::collections::HashSet::new();
                while let Some(entry) = element::next(&mut rest)? {
                    if !names.insert(entry.name) {
                        return Err(Fault::broken("the name comes twice").within(entry.name));
                    }
                    element::utf8(entry.name)?;
                    self.value(items, &entry, whole, path, depth + 1)
                        .map_err(|fault| fault.within(entry.name))?;
                }
            }
            Kind::Document => self.fields(into, value, whole, path, depth + 1)?,
            Kind::Array => {
                if depth > MOST_DEPTH {
                    let message = format!("it is more than {MOST_DEPTH} levels deep");
                    return Err(Fault::broken(message));
                }
                let items = into.items.get_or_insert_default();
                let mut rest = element::body(value)?;
                while let Some(item) = element::next(&mut rest)? {
                    self.value(items, &item, whole, path, depth + 1)
                        .map_err(|fault| fault.within(item.name))?;
                }
            }
            Kind::Int32 => into.room = into.room.join(Room::whole(10)),
            Kind::Int64 => {
                into.room = into.room.join(Room::whole(19));
                let number = i64::from_le_bytes(fixed(value)?);
                into.wide |= !(-EXACT_IN_DOUBLE..=EXACT_IN_DOUBLE).contains(&number);
            }
            Kind::Decimal128 => {
                let room = decimal::finite(fixed(value)?).map_or(
                    Room {
                        none: true,
                        ..Room::default()
                    },
                    decimal::Finite::room,
                );
                into.room = into.room.join(room);
            }
            Kind::String | Kind::Code | Kind::Symbol => {
                element::utf8(element::text(value)?)?;
            }
            Kind::Bool => {
                element::boolean(value)?;
            }
            Kind::Binary(_) => {
                element::binary(value)?;
            }
            Kind::Regex | Kind::DbPointer | Kind::CodeWithScope => {
                json::write(
                    &mut String::new(),
                    element.code,
                    value,
                    json::Form::Canonical,
                    depth,
                )?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Observed {
    fn place(&mut self, name: &[u8], predicted: usize) -> Walked<usize> {
        if let Some((known, _)) = self.fields.get(predicted)
            && known.as_bytes() == name
        {
            return Ok(predicted);
        }
        if let Some(place) = self.places.get(name) {
            return Ok(*place);
        }
        if self.fields.len() == MOST_FIELDS {
            let message = format!(
                "there are more than {MOST_FIELDS} names; if they are data, name the path in `maps`"
            );
            return Err(Fault::broken(message));
        }
        let text = std::str::from_utf8(name)
            .map_err(|_| Fault::broken("a name is not UTF-8").within(name))?;
        self.places.insert(name.to_vec(), self.fields.len());
        self.fields.push((text.to_owned(), Self::default()));
        Ok(self.fields.len() - 1)
    }

    fn count(&mut self, kind: Kind, document: &[u8]) {
        match self.seen.iter_mut().find(|seen| seen.kind == kind) {
            Some(seen) => seen.count += 1,
            None => self.seen.push(Seen {
                kind,
                count: 1,
                first: json::id(document),
            }),
        }
    }

    /// Adds what was seen elsewhere.
    pub(crate) fn join(&mut self, other: &Self) {
        for seen in &other.seen {
            match self.seen.iter_mut().find(|known| known.kind == seen.kind) {
                Some(known) => known.count = known.count.max(seen.count),
                None => self.seen.push(seen.clone()),
            }
        }
        for (name, field) in &other.fields {
            if let Ok(place) = self.place(name.as_bytes(), usize::MAX) {
                self.fields[place].1.join(field);
            }
        }
        if let Some(items) = &other.items {
            self.items.get_or_insert_default().join(items);
        }
        self.room = self.room.join(other.room);
        self.wide |= other.wide;
        self.map |= other.map;
    }
}
