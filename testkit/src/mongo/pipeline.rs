//! The stages of an aggregation that the emulator knows, and sort and projection.

use std::cmp::Ordering;
use std::sync::Arc;

use bson::{Bson, Document, doc};

use super::store::{Bytes, Refused};
use super::values;

fn bad(what: impl Into<String>) -> Refused {
    Refused::new(40324, "UnrecognizedStage", what)
}

fn decoded(document: &[u8]) -> Result<Document, Refused> {
    Document::from_reader(document).map_err(|error| Refused::new(2, "BadValue", error.to_string()))
}

fn encoded(document: &Document) -> Bytes {
    Arc::from(document.to_vec().unwrap_or_default())
}

pub(super) fn sort(documents: &mut [Bytes], by: &Document) {
    if by.is_empty() {
        return;
    }
    let key = |document: &Bytes| -> Vec<Bson> {
        let values = by.keys().map(|path| values::get(document, path));
        values.map(|value| value.unwrap_or(Bson::Null)).collect()
    };
    let descending: Vec<bool> = by
        .values()
        .map(|way| matches!(way, Bson::Int32(-1) | Bson::Int64(-1)) || *way == Bson::Double(-1.0))
        .collect();
    documents.sort_by_cached_key(|document| Key(key(document), descending.clone()));
}

struct Key(Vec<Bson>, Vec<bool>);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let parts = self.0.iter().zip(&other.0).zip(&self.1);
        parts.fold(Ordering::Equal, |order, ((one, other), descending)| {
            order.then_with(|| {
                let order = values::compare(one, other);
                if *descending { order.reverse() } else { order }
            })
        })
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

fn truthy(value: &Bson) -> bool {
    !matches!(
        value,
        Bson::Int32(0) | Bson::Int64(0) | Bson::Boolean(false) | Bson::Null
    ) && *value != Bson::Double(0.0)
}

/// Top-level fields in or out, renamed by `"$field"`, and constants by `$literal`.
pub(super) fn project(documents: &[Bytes], by: &Document) -> Result<Vec<Bytes>, Refused> {
    let excludes = by
        .iter()
        .filter(|(name, _)| *name != "_id")
        .all(|(_, value)| !truthy(value))
        && by.iter().any(|(_, value)| !truthy(value))
        && !by.get("_id").is_some_and(truthy);
    let one = |bytes: &Bytes| {
        let document = decoded(bytes)?;
        if excludes {
            let kept = document
                .into_iter()
                .filter(|(name, _)| !by.contains_key(name));
            return Ok(encoded(&kept.collect()));
        }
        let mut kept = Document::new();
        for (name, value) in &document {
            let wanted = by.get(name).map_or(name == "_id", |wanted| {
                truthy(wanted) && !matches!(wanted, Bson::String(_) | Bson::Document(_))
            });
            if wanted {
                kept.insert(name, value);
            }
        }
        for (name, wanted) in by {
            match wanted {
                Bson::String(path) => {
                    if let Some(value) = values::get(bytes, path.trim_start_matches('$')) {
                        kept.insert(name, value);
                    }
                }
                Bson::Document(expression) => match expression.get("$literal") {
                    Some(value) => {
                        kept.insert(name, value);
                    }
                    None => return Err(bad(format!("the emulator does not know {expression}"))),
                },
                _ => {}
            }
        }
        Ok(encoded(&kept))
    };
    documents.iter().map(one).collect()
}

fn number(value: &Bson) -> Option<usize> {
    match value {
        Bson::Int32(value) => usize::try_from(*value).ok(),
        Bson::Int64(value) => usize::try_from(*value).ok(),
        Bson::Double(value) => Some(*value as usize),
        _ => None,
    }
}

/// The stages, one after the other.
pub(super) fn run(
    mut documents: Vec<Bytes>,
    stages: &[Bson],
    namespace: &str,
) -> Result<Vec<Bytes>, Refused> {
    for stage in stages {
        let stage = stage.as_document().and_then(|stage| stage.iter().next());
        let (name, argument) = stage.ok_or_else(|| bad("a stage is a document of one field"))?;
        let size = number(argument).ok_or_else(|| bad(format!("{name} needs a number")));
        let fields = argument.as_document();
        let fields = fields.ok_or_else(|| bad(format!("{name} needs a document")));
        match name.as_str() {
            "$match" => {
                let filter = fields?;
                let mut kept = Vec::new();
                for document in documents {
                    if filter.is_empty() || values::matches(&document, filter)? {
                        kept.push(document);
                    }
                }
                documents = kept;
            }
            "$sort" => sort(&mut documents, fields?),
            "$project" => documents = project(&documents, fields?)?,
            "$limit" => documents.truncate(size?),
            "$skip" => {
                let skip = size?.min(documents.len());
                documents.drain(..skip);
            }
            "$sample" => {
                let size = fields?.get("size").and_then(number).unwrap_or(0);
                let count = documents.len();
                // Every test sees the same sample: evenly spread.
                documents = (0..size.min(count))
                    .map(|index| Arc::clone(&documents[index * count / size.min(count)]))
                    .collect();
            }
            "$count" => {
                let name = argument
                    .as_str()
                    .ok_or_else(|| bad("$count needs a name"))?;
                let count = documents.len() as i32;
                documents = if count == 0 {
                    Vec::new()
                } else {
                    vec![encoded(&doc! { name: count })]
                };
            }
            "$group" => documents = group(&documents, fields?)?,
            other => {
                let message =
                    format!("Unrecognized pipeline stage name: '{other}' (emulator, {namespace})");
                return Err(bad(message));
            }
        }
    }
    Ok(documents)
}

/// By a field or nothing, with sums of a number, minima and maxima.
fn group(documents: &[Bytes], by: &Document) -> Result<Vec<Bytes>, Refused> {
    let mut groups: Vec<(Bson, Document)> = Vec::new();
    for bytes in documents {
        let of = |expression: &Bson| match expression {
            Bson::String(path) if path.starts_with('$') => {
                values::get(bytes, &path[1..]).unwrap_or(Bson::Null)
            }
            value => value.clone(),
        };
        let id = of(by.get("_id").unwrap_or(&Bson::Null));
        let known = groups
            .iter()
            .position(|(other, _)| values::compare(other, &id) == Ordering::Equal);
        let place = known.unwrap_or_else(|| {
            groups.push((id.clone(), doc! { "_id": id }));
            groups.len() - 1
        });
        let found = &mut groups[place].1;
        for (name, accumulator) in by.iter().filter(|(name, _)| *name != "_id") {
            let accumulator = accumulator.as_document().and_then(|one| one.iter().next());
            let (operator, value) = accumulator.ok_or_else(|| bad("no accumulator"))?;
            let (value, old) = (of(value), found.get(name).cloned());
            let new = match (operator.as_str(), old) {
                ("$sum", old) => {
                    let sum = number(&old.unwrap_or(Bson::Int32(0))).unwrap_or(0)
                        + number(&value).unwrap_or(0);
                    Bson::Int64(sum as i64)
                }
                ("$min" | "$max", None) => value,
                ("$min", Some(old)) if values::compare(&old, &value).is_le() => old,
                ("$max", Some(old)) if values::compare(&old, &value).is_ge() => old,
                ("$min" | "$max", Some(_)) => value,
                (other, _) => return Err(bad(format!("the emulator does not know {other}"))),
            };
            found.insert(name, new);
        }
    }
    Ok(groups.iter().map(|(_, group)| encoded(group)).collect())
}
