//! How two schemas differ.

use std::collections::HashSet;

use arrow_schema::{FieldRef, Schema};
use arrowload_core::{Error, ErrorKind, Result, nearest};

use crate::Selection;

/// A column that both sides have, with another type or nullability.
#[derive(Debug, Clone)]
pub struct OtherType {
    /// As the first side has it.
    pub a: FieldRef,
    /// As the second side has it.
    pub b: FieldRef,
}

impl OtherType {
    /// Whether the types differ, and not only the nullability.
    pub fn is_another_type(&self) -> bool {
        self.a.data_type() != self.b.data_type()
    }
}

/// How two schemas differ, as far as they are compared. The order of columns does not count.
#[derive(Debug, Clone, Default)]
pub struct SchemaDiff {
    /// Columns of the first side only.
    pub only_a: Vec<FieldRef>,
    /// Columns of the second side only.
    pub only_b: Vec<FieldRef>,
    /// Columns of both sides that are declared otherwise.
    pub others: Vec<OtherType>,
    /// The names of the columns of both sides, in the order of the first.
    pub both: Vec<String>,
}

impl SchemaDiff {
    /// Compares two schemas.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a selected column that neither side has, or a key that not both have;
    /// [`ErrorKind::Unsupported`] if a side has two columns of one name.
    pub fn new(a: &Schema, b: &Schema, selection: &Selection) -> Result<Self> {
        for (schema, side) in [(a, "A"), (b, "B")] {
            let mut seen = HashSet::new();
            if let Some(twice) = schema
                .fields()
                .iter()
                .find(|field| !seen.insert(field.name()))
            {
                let name = twice.name();
                let message = format!(
                    "{side} has two columns `{name}`; give one of them another name in the query"
                );
                return Err(Error::new(ErrorKind::Unsupported, message).with("column", name));
            }
        }
        let Selection {
            keys,
            columns,
            exclude,
        } = selection;
        for name in columns.iter().chain(exclude) {
            if a.index_of(name).is_err() && b.index_of(name).is_err() {
                return Err(unknown(name, "neither A nor B has the column", &[a, b]));
            }
        }
        let mut seen = HashSet::new();
        for key in keys {
            for (schema, side) in [(a, "A"), (b, "B")] {
                if schema.index_of(key).is_err() {
                    return Err(unknown(
                        key,
                        &format!("{side} has no key column"),
                        &[schema],
                    ));
                }
            }
            if !seen.insert(key) {
                let message = format!("the key `{key}` is named twice");
                return Err(Error::new(ErrorKind::InvalidOption, message).with("key", key));
            }
            if exclude.contains(key) {
                let message = format!("the key `{key}` cannot be left out of the comparison");
                return Err(Error::new(ErrorKind::InvalidOption, message).with("key", key));
            }
        }
        let is_selected = |name: &String| {
            keys.contains(name)
                || ((columns.is_empty() || columns.contains(name)) && !exclude.contains(name))
        };
        let only = |of: &Schema, other: &Schema| -> Vec<FieldRef> {
            let mine = of.fields().iter();
            mine.filter(|field| is_selected(field.name()) && other.index_of(field.name()).is_err())
                .cloned()
                .collect()
        };
        let (mut others, mut both) = (Vec::new(), Vec::new());
        for field in a.fields() {
            let Some((_, other)) = b.fields().find(field.name()) else {
                continue;
            };
            if !is_selected(field.name()) {
                continue;
            }
            both.push(field.name().clone());
            if field.data_type() != other.data_type() || field.is_nullable() != other.is_nullable()
            {
                others.push(OtherType {
                    a: field.clone(),
                    b: other.clone(),
                });
            }
        }
        Ok(Self {
            only_a: only(a, b),
            only_b: only(b, a),
            others,
            both,
        })
    }

    /// Whether one side has a column that the other has not.
    pub fn has_other_columns(&self) -> bool {
        !self.only_a.is_empty() || !self.only_b.is_empty()
    }

    /// Whether nothing differs, types and nullability included.
    pub fn is_empty(&self) -> bool {
        !self.has_other_columns() && self.others.is_empty()
    }
}

fn unknown(name: &str, what: &str, schemas: &[&Schema]) -> Error {
    let fields = schemas.iter().flat_map(|schema| schema.fields().iter());
    let known: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
    let hint = nearest(name, known.iter().copied())
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    Error::new(ErrorKind::InvalidOption, format!("{what} `{name}`{hint}")).with("column", name)
}
