//! Bound parameters of a query: Arrow values, never text inserted into SQL.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, NullArray, StringArray, UInt8Array, UInt16Array, UInt32Array,
    UInt64Array,
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;

use crate::{Error, ErrorKind, Reading, Result};

/// One bound value: an Arrow array of length 1, so that it can be of any Arrow type.
#[derive(Debug, Clone)]
pub struct Param(ArrayRef);

impl Param {
    /// A value of any Arrow type.
    ///
    /// # Errors
    /// If the array does not have exactly one element.
    pub fn new(array: ArrayRef) -> Result<Self> {
        if array.len() != 1 {
            let message = format!(
                "a parameter is an array of one value; this one has {}",
                array.len()
            );
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        Ok(Self(array))
    }

    /// An untyped null.
    pub fn null() -> Self {
        Self(Arc::new(NullArray::new(1)))
    }

    /// The value, as an array of length 1.
    pub fn array(&self) -> &ArrayRef {
        &self.0
    }

    /// Its type.
    pub fn data_type(&self) -> &DataType {
        self.0.data_type()
    }
}

macro_rules! param_from {
    ($($native:ty => $array:ty),+ $(,)?) => {$(
        impl From<$native> for Param {
            fn from(value: $native) -> Self {
                Self(Arc::new(<$array>::from(vec![value])))
            }
        }

        impl From<Option<$native>> for Param {
            fn from(value: Option<$native>) -> Self {
                Self(Arc::new(<$array>::from(vec![value])))
            }
        }
    )+};
}

param_from! {
    i8 => Int8Array, i16 => Int16Array, i32 => Int32Array, i64 => Int64Array,
    u8 => UInt8Array, u16 => UInt16Array, u32 => UInt32Array, u64 => UInt64Array,
    f32 => Float32Array, f64 => Float64Array, bool => BooleanArray, &str => StringArray, String => StringArray,
}

impl From<&[u8]> for Param {
    fn from(value: &[u8]) -> Self {
        Self(Arc::new(BinaryArray::from_vec(vec![value])))
    }
}

impl From<Vec<u8>> for Param {
    fn from(value: Vec<u8>) -> Self {
        value.as_slice().into()
    }
}

/// The parameters of a query. Positional ones stand for `$1`, `$2`, …; named ones for `$name`.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Params {
    /// None.
    #[default]
    None,
    /// In the order of `$1`, `$2`, ….
    Positional(Vec<Param>),
    /// By name, without the `$`.
    Named(Vec<(String, Param)>),
}

/// A statement and its parameters.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Query {
    /// The statement, in the source's own dialect.
    pub sql: String,
    /// What is bound to it.
    pub params: Params,
    /// What a load asks of this reading, and what the source says of it.
    pub reading: Reading,
}

impl Query {
    /// A statement without parameters.
    pub fn new(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            ..Self::default()
        }
    }

    /// The same statement with these parameters.
    #[must_use]
    pub fn with_params(mut self, params: Params) -> Self {
        self.params = params;
        self
    }

    /// The same statement, for this reading of its rows.
    #[must_use]
    pub fn with_reading(mut self, reading: Reading) -> Self {
        self.reading = reading;
        self
    }

    /// What tells this query from another: its text and parameters, for the [`Definition`](crate::Definition) of a load.
    pub fn definition(&self) -> String {
        let shown = |param: &Param| {
            let options = FormatOptions::default().with_null("null");
            let text = ArrayFormatter::try_new(param.array(), &options)
                .and_then(|formatter| formatter.value(0).try_to_string());
            let text = text.unwrap_or_else(|_| format!("{:?}", param.array().to_data()));
            format!("{}:{text}", param.data_type())
        };
        let params: Vec<String> = match &self.params {
            Params::None => Vec::new(),
            Params::Positional(values) => values.iter().map(shown).collect(),
            Params::Named(values) => values
                .iter()
                .map(|(name, value)| format!("{name}={}", shown(value)))
                .collect(),
        };
        format!("{}\u{0}{}", self.sql, params.join("\u{0}"))
    }
}
