//! The order and equality of BSON values, and the filters and updates made from them, as far as tests need them.

use std::cmp::Ordering;

use bson::{Bson, Document, RawDocument};

use super::store::Refused;

/// The place of a value's type in the order of types.
fn bracket(value: &Bson) -> u8 {
    match value {
        Bson::MinKey => 0,
        Bson::Undefined | Bson::Null => 1,
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_) => 2,
        Bson::String(_) | Bson::Symbol(_) => 3,
        Bson::Document(_) => 4,
        Bson::Array(_) => 5,
        Bson::Binary(_) => 6,
        Bson::ObjectId(_) => 7,
        Bson::Boolean(_) => 8,
        Bson::DateTime(_) => 9,
        Bson::Timestamp(_) => 10,
        Bson::RegularExpression(_) => 11,
        Bson::DbPointer(_) | Bson::JavaScriptCode(_) | Bson::JavaScriptCodeWithScope(_) => 12,
        Bson::MaxKey => 13,
    }
}

fn number(value: &Bson) -> f64 {
    match value {
        Bson::Int32(value) => f64::from(*value),
        Bson::Int64(value) => *value as f64,
        Bson::Double(value) => *value,
        Bson::Decimal128(value) => value.to_string().parse().unwrap_or(f64::NAN),
        _ => f64::NAN,
    }
}

/// Values of all types, in MongoDB's order.
pub(super) fn compare(one: &Bson, other: &Bson) -> Ordering {
    bracket(one)
        .cmp(&bracket(other))
        .then_with(|| match (one, other) {
            (Bson::Int32(_) | Bson::Int64(_), Bson::Int32(_) | Bson::Int64(_)) => {
                whole(one).cmp(&whole(other))
            }
            (Bson::String(one), Bson::String(other)) => one.cmp(other),
            (Bson::Boolean(one), Bson::Boolean(other)) => one.cmp(other),
            (Bson::DateTime(one), Bson::DateTime(other)) => one.cmp(other),
            (Bson::ObjectId(one), Bson::ObjectId(other)) => one.bytes().cmp(&other.bytes()),
            (Bson::Timestamp(one), Bson::Timestamp(other)) => {
                (one.time, one.increment).cmp(&(other.time, other.increment))
            }
            (Bson::Binary(one), Bson::Binary(other)) => {
                let key = |value: &bson::Binary| (value.bytes.len(), u8::from(value.subtype));
                key(one)
                    .cmp(&key(other))
                    .then_with(|| one.bytes.cmp(&other.bytes))
            }
            (Bson::Array(one), Bson::Array(other)) => {
                let parts = one
                    .iter()
                    .zip(other)
                    .map(|(one, other)| compare(one, other));
                parts
                    .fold(Ordering::Equal, Ordering::then)
                    .then(one.len().cmp(&other.len()))
            }
            (Bson::Document(one), Bson::Document(other)) => {
                let parts = one
                    .iter()
                    .zip(other)
                    .map(|((name, one), (other_name, other))| {
                        bracket(one)
                            .cmp(&bracket(other))
                            .then_with(|| name.cmp(other_name))
                            .then_with(|| compare(one, other))
                    });
                parts
                    .fold(Ordering::Equal, Ordering::then)
                    .then(one.len().cmp(&other.len()))
            }
            _ if bracket(one) == 2 => number(one)
                .partial_cmp(&number(other))
                .unwrap_or_else(|| number(other).is_nan().cmp(&number(one).is_nan())),
            _ => one.to_string().cmp(&other.to_string()),
        })
}

fn whole(value: &Bson) -> i64 {
    match value {
        Bson::Int32(value) => i64::from(*value),
        Bson::Int64(value) => *value,
        _ => 0,
    }
}

/// A value as the key of an index: equal values have equal keys, whatever their width.
pub(super) fn index_key(value: Option<&Bson>, key: &mut Vec<u8>) {
    match value {
        None | Some(Bson::Null | Bson::Undefined) => key.push(0),
        Some(value @ (Bson::Int32(_) | Bson::Int64(_))) => {
            key.push(1);
            key.extend(whole(value).to_le_bytes());
        }
        Some(value @ (Bson::Double(_) | Bson::Decimal128(_))) => {
            let float = number(value);
            if float.fract() == 0.0 && float.abs() < 9e15 {
                key.push(1);
                key.extend((float as i64).to_le_bytes());
            } else {
                key.push(2);
                key.extend(float.to_bits().to_le_bytes());
            }
        }
        Some(Bson::String(text)) => {
            key.push(3);
            key.extend((text.len() as u32).to_le_bytes());
            key.extend(text.as_bytes());
        }
        Some(Bson::ObjectId(id)) => {
            key.push(4);
            key.extend(id.bytes());
        }
        Some(other) => {
            let text = format!("{other:?}");
            key.push(5);
            key.extend((text.len() as u32).to_le_bytes());
            key.extend(text.as_bytes());
        }
    }
}

/// The value at a path of a document in bytes. Broken documents have none.
pub(super) fn get(document: &[u8], path: &str) -> Option<Bson> {
    let document = RawDocument::from_bytes(document).ok()?;
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let value: Bson = document.get(first).ok()??.try_into().ok()?;
    if rest.is_empty() {
        Some(value)
    } else {
        inside(&value, rest).cloned()
    }
}

fn inside<'a>(value: &'a Bson, path: &str) -> Option<&'a Bson> {
    path.split('.').try_fold(value, |value, name| match value {
        Bson::Document(document) => document.get(name),
        Bson::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

fn unknown(what: &str) -> Refused {
    Refused::new(2, "BadValue", format!("the emulator does not know {what}"))
}

/// Whether a document in bytes matches a filter.
pub(super) fn matches(document: &[u8], filter: &Document) -> Result<bool, Refused> {
    for (name, condition) in filter {
        let all = |each: &Bson| match each {
            Bson::Document(each) => matches(document, each),
            _ => Err(unknown("a condition that is no document")),
        };
        let list = condition.as_array();
        let fits = match (name.as_str(), list) {
            ("$and", Some(list)) => list
                .iter()
                .try_fold(true, |fits, each| Ok::<_, Refused>(fits && all(each)?))?,
            ("$or", Some(list)) => list
                .iter()
                .try_fold(false, |fits, each| Ok::<_, Refused>(fits || all(each)?))?,
            ("$nor", Some(list)) => !list
                .iter()
                .try_fold(false, |fits, each| Ok::<_, Refused>(fits || all(each)?))?,
            ("$comment", _) => true,
            (operator, _) if operator.starts_with('$') => return Err(unknown(operator)),
            (path, _) => fits_at(get(document, path).as_ref(), condition)?,
        };
        if !fits {
            return Ok(false);
        }
    }
    Ok(true)
}

fn fits_at(value: Option<&Bson>, condition: &Bson) -> Result<bool, Refused> {
    let Bson::Document(operators) = condition else {
        return Ok(equals(value, condition));
    };
    if !operators.keys().any(|name| name.starts_with('$')) {
        return Ok(equals(value, condition));
    }
    for (operator, operand) in operators {
        let ordered = |wanted: &[Ordering]| {
            candidates(value).any(|value| {
                bracket(value) == bracket(operand) && wanted.contains(&compare(value, operand))
            })
        };
        let fits = match operator.as_str() {
            "$eq" => equals(value, operand),
            "$ne" => !equals(value, operand),
            "$gt" => ordered(&[Ordering::Greater]),
            "$gte" => ordered(&[Ordering::Greater, Ordering::Equal]),
            "$lt" => ordered(&[Ordering::Less]),
            "$lte" => ordered(&[Ordering::Less, Ordering::Equal]),
            "$in" | "$nin" => {
                let list = operand.as_array().ok_or_else(|| unknown("such an $in"))?;
                list.iter().any(|each| equals(value, each)) == (operator == "$in")
            }
            "$exists" => value.is_some() == operand.as_bool().unwrap_or(operand != &Bson::Int32(0)),
            other => return Err(unknown(other)),
        };
        if !fits {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The value, and the items of an array.
fn candidates(value: Option<&Bson>) -> impl Iterator<Item = &Bson> {
    let items = value.and_then(Bson::as_array).into_iter().flatten();
    value.into_iter().chain(items)
}

fn equals(value: Option<&Bson>, wanted: &Bson) -> bool {
    match value {
        None => matches!(wanted, Bson::Null),
        Some(_) => candidates(value).any(|value| compare(value, wanted) == Ordering::Equal),
    }
}

/// The fields that a filter fixes by equality: what an upsert makes a new document of, and what an index is asked for.
pub(super) fn fixed(filter: &Document) -> Document {
    let mut found = Document::new();
    for (name, condition) in filter {
        match condition {
            Bson::Array(list) if name == "$and" => {
                for each in list.iter().filter_map(Bson::as_document) {
                    found.extend(fixed(each));
                }
            }
            Bson::Document(operators) if operators.keys().any(|name| name.starts_with('$')) => {
                if let Some(value) = operators.get("$eq") {
                    found.insert(name, value);
                }
            }
            _ if name.starts_with('$') => {}
            value => {
                found.insert(name, value);
            }
        }
    }
    found
}

fn set(document: &mut Document, path: &str, value: Bson) {
    match path.split_once('.') {
        None => {
            document.insert(path, value);
        }
        Some((first, rest)) => {
            if document.get_document(first).is_err() {
                document.insert(first, Document::new());
            }
            if let Ok(inner) = document.get_document_mut(first) {
                set(inner, rest, value);
            }
        }
    }
}

/// What an update makes of a document; `inserted` for the new one of an upsert.
pub(super) fn updated(
    old: &Document,
    update: &Document,
    inserted: bool,
) -> Result<Document, Refused> {
    if !update.keys().any(|name| name.starts_with('$')) {
        let mut new = Document::new();
        if let Some(id) = old.get("_id").filter(|_| update.get("_id").is_none()) {
            new.insert("_id", id);
        }
        new.extend(update.clone());
        return Ok(new);
    }
    let mut new = old.clone();
    for (operator, fields) in update {
        let fields = fields
            .as_document()
            .ok_or_else(|| unknown("such an update"))?;
        match operator.as_str() {
            "$setOnInsert" if !inserted => {}
            "$set" | "$setOnInsert" => {
                for (path, value) in fields {
                    set(&mut new, path, value.clone());
                }
            }
            "$unset" => {
                for path in fields.keys() {
                    new.remove(path);
                }
            }
            "$inc" => {
                for (path, by) in fields {
                    let sum = whole(new.get(path).unwrap_or(&Bson::Int64(0))) + whole(by);
                    set(&mut new, path, Bson::Int64(sum));
                }
            }
            other => return Err(unknown(other)),
        }
    }
    Ok(new)
}
