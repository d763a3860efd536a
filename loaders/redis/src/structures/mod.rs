//! What a row becomes: one file for each data structure.

mod geo;
mod hash;
mod json;
mod list;
mod set;
mod sorted_set;
mod stream;
mod string;
mod timeseries;
mod values;
mod vector;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use arrowload_core::{Error, ErrorKind, Result};

use crate::encode::Column;
use crate::expiry::{Expiry, expiry};
use crate::options::{DataStructure, RedisOptions};
use crate::pipeline::Pipeline;
pub(crate) use values::Refused;
use values::Values;

/// The properties of a data structure.
pub(crate) struct Facts {
    /// The name in options.
    pub(crate) name: &'static str,
    /// Whether one key holds many rows.
    pub(crate) gathers: bool,
    /// Whether a repeated command would add a second item, so that rows are staged and moved once.
    pub(crate) repeats: bool,
    /// Whether rows under an existing key are added, and never replace others.
    pub(crate) only_adds: bool,
    /// Whether `encoding` says what a row is.
    pub(crate) encodes: bool,
    /// What `if_not_exists` is for it.
    pub(crate) if_not_exists: IfNotExists,
    /// The command that counts the rows of a key; none if they are not counted.
    pub(crate) count: Option<&'static [u8]>,
    /// The module that it needs, with a command that only such a server knows, and that changes nothing.
    pub(crate) module: Option<(&'static str, [&'static [u8]; 2])>,
}

/// Whether items that are there can be left as they are.
pub(crate) enum IfNotExists {
    /// Always.
    Serves,
    /// Unless keys expire, which is another command.
    WithoutExpiry,
    /// Never, for this reason.
    Refused(&'static str),
}

impl Facts {
    /// Of a structure with a key for each row.
    const KEYS: Self = Self {
        name: "",
        gathers: false,
        repeats: false,
        only_adds: false,
        encodes: false,
        if_not_exists: IfNotExists::Serves,
        count: Some(b"EXISTS"),
        module: None,
    };
    /// Of a structure that holds many rows under a key.
    const ITEMS: Self = Self {
        gathers: true,
        encodes: true,
        if_not_exists: IfNotExists::WithoutExpiry,
        ..Self::KEYS
    };
}

/// A row that is to be written.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) batch: &'a RecordBatch,
    pub(crate) columns: &'a [Column],
    /// Its position in the batch.
    pub(crate) row: usize,
    pub(crate) key: &'a [u8],
    /// Its number in the load.
    pub(crate) number: u64,
}

/// Whether the commands of a row could be written.
type Written = Result<(), Refused>;

/// How the rows of a load are written as one structure.
trait Structure: Sized {
    const FACTS: Facts;

    /// Reads its options, whose columns are there.
    fn new(schema: &Schema, options: &RedisOptions) -> Result<Self>;

    /// Writes the commands of one row, and with them the time of expiry that its values have.
    fn write(&mut self, row: &Row<'_>, values: &mut Values, out: &mut Pipeline) -> Written;
}

/// Lets a structure be chosen by the option of its name.
macro_rules! structures {
    ($($name:ident: $kind:ty),* $(,)?) => {
        enum Any { $($name($kind)),* }

        impl Any {
            fn new(schema: &Schema, options: &RedisOptions) -> Result<Self> {
                Ok(match options.data_structure {
                    $(DataStructure::$name => Self::$name(<$kind>::new(schema, options)?)),*
                })
            }

            #[inline]
            fn write(&mut self, row: &Row<'_>, values: &mut Values, out: &mut Pipeline) -> Written {
                match self {
                    $(Self::$name(structure) => structure.write(row, values, out)),*
                }
            }
        }

        impl DataStructure {
            const ALL: &[Self] = &[$(Self::$name),*];

            pub(crate) fn facts(self) -> &'static Facts {
                match self {
                    $(Self::$name => const { &<$kind>::FACTS }),*
                }
            }
        }
    };
}

structures! {
    Hash: hash::Hash,
    String: string::Text,
    Json: json::Json,
    Stream: stream::Stream,
    Timeseries: timeseries::Timeseries,
    SortedSet: sorted_set::SortedSet,
    List: list::List,
    Set: set::Set,
    Geo: geo::Geo,
    Vector: vector::Vector,
}

impl DataStructure {
    pub(crate) fn name(self) -> &'static str {
        self.facts().name
    }

    /// The structure that a record names.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|structure| structure.name() == name)
    }
}

pub(crate) fn invalid(key: &'static str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, message).with("key", key)
}

/// The position of a column that an option names.
pub(crate) fn column(schema: &Schema, key: &'static str, name: &str) -> Result<usize> {
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    names().position(|known| known == name).ok_or_else(|| {
        let all: Vec<&str> = names().collect();
        let message = format!(
            "{key} names `{name}`, which is not a column; there are: {}",
            all.join(", ")
        );
        invalid(key, message)
    })
}

/// The position of a column that an option names, if it is set.
fn maybe(schema: &Schema, key: &'static str, name: &Option<String>) -> Result<Option<usize>> {
    let name = name.as_deref();
    name.map(|name| column(schema, key, name)).transpose()
}

/// The position of a column that an option must name.
fn wanted(
    (schema, options): (&Schema, &RedisOptions),
    key: &'static str,
    name: &Option<String>,
) -> Result<usize> {
    let structure = options.data_structure.name();
    let missing = || invalid(key, format!("data_structure = {structure} needs {key}"));
    maybe(schema, key, name)?.ok_or_else(missing)
}

/// Writes rows as commands.
pub(crate) struct Rows {
    structure: Any,
    values: Values,
    expiry: Expiry,
}

impl Rows {
    pub(crate) fn new(schema: &Schema, options: &RedisOptions) -> Result<Self> {
        Ok(Self {
            structure: Any::new(schema, options)?,
            values: Values::new(schema, options)?,
            expiry: expiry(schema, options)?,
        })
    }

    /// Writes the commands of one row whose key is known.
    #[inline]
    pub(crate) fn write(&mut self, row: &Row<'_>, out: &mut Pipeline) -> Written {
        self.values.expires = self.expiry.of(row, &self.values.names)?;
        self.structure.write(row, &mut self.values, out)
    }

    /// Writes a whole batch as one entry of a stream.
    pub(crate) fn write_batch(
        &mut self,
        batch: &RecordBatch,
        key: &[u8],
        number: u64,
        out: &mut Pipeline,
    ) -> Result<()> {
        match &self.structure {
            Any::Stream(stream) => stream.write_batch(&mut self.values, batch, (key, number), out),
            _ => Err(invalid("stream_entry", "only a stream holds whole batches")),
        }
    }
}
