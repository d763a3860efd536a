//! From raw BSON bytes to Arrow arrays, without a document in between.
//!
//! [`observe`] finds the types of every path, [`shape`] decides the Arrow types, [`column`] fills the arrays. [`element`] reads the
//! bytes for all of them and trusts nothing; [`json`] writes values as text.

pub(crate) mod column;
pub(crate) mod decimal;
pub(crate) mod element;
pub(crate) mod json;
pub(crate) mod observe;
pub(crate) mod shape;
#[cfg(test)]
mod tests;

use element::Kind;

/// What is wrong with a document, and where in it.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The names on the way, innermost first.
    path: Vec<String>,
    pub(crate) what: What,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// The bytes are not a valid document, whatever the types.
    Broken(String),
    /// A valid value that the column's type does not hold.
    Unfit(Kind),
    /// A field that no column is there for.
    NewField,
}

/// Small, as every value returns one.
pub(crate) type Walked<T> = Result<T, Box<Fault>>;

impl Fault {
    pub(crate) fn new(what: What) -> Box<Self> {
        Box::new(Self {
            path: Vec::new(),
            what,
        })
    }

    pub(crate) fn broken(why: impl Into<String>) -> Box<Self> {
        Self::new(What::Broken(why.into()))
    }

    pub(crate) fn unfit(kind: Kind) -> Box<Self> {
        Self::new(What::Unfit(kind))
    }

    /// Adds the name of what it is in.
    pub(crate) fn within(mut self: Box<Self>, name: &[u8]) -> Box<Self> {
        self.path.push(String::from_utf8_lossy(name).into_owned());
        self
    }

    /// The path from the document's root, with dots; empty for the document itself.
    pub(crate) fn path(&self) -> String {
        let names: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
        names.join(".")
    }
}
