//! The values of a row as the words of commands.

use arrow_schema::Schema;
use arrowload_core::Result;

use super::{Row, Written, column, invalid};
use crate::encode::{Format, format, key, length, object};
use crate::expiry::Expires;
use crate::options::{Encoding, Nulls, RedisOptions};
use crate::packed::{ipc, msgpack};
use crate::pipeline::{Pipeline, Role};
use crate::resp::bulk;

/// A value that the row's structure cannot take.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) column: Option<String>,
    pub(crate) why: String,
}

impl Refused {
    pub(crate) fn at(column: &str, why: &str) -> Self {
        Self {
            column: Some(column.to_owned()),
            why: why.to_owned(),
        }
    }

    pub(crate) fn row(why: impl Into<String>) -> Self {
        Self {
            column: None,
            why: why.into(),
        }
    }
}

/// The words of a command after its key.
#[derive(Debug, Default)]
pub(super) struct Words {
    bytes: Vec<u8>,
    count: usize,
}

impl Words {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    pub(super) fn push(&mut self, word: &[u8]) {
        bulk(&mut self.bytes, word);
        self.count += 1;
    }

    /// Adds a word that is encoded.
    pub(super) fn push_encoded(&mut self, word: &[u8]) {
        self.bytes.extend_from_slice(word);
        self.count += 1;
    }

    /// Writes the command that they end.
    pub(super) fn write(&self, role: Role, name: &[u8], row: &Row<'_>, out: &mut Pipeline) {
        out.begin_command(role, row.number);
        length(&mut out.bytes, b'*', 2 + self.count);
        bulk(&mut out.bytes, name);
        bulk(&mut out.bytes, row.key);
        out.bytes.extend_from_slice(&self.bytes);
    }
}

/// What of a row is written, and how.
pub(super) struct Values {
    pub(super) encoding: Encoding,
    pub(super) format: Format<'static>,
    pub(super) nulls: Nulls,
    /// When the key of the row expires.
    pub(super) expires: Expires,
    /// The columns that are values, with the name of each as Redis takes it.
    pub(super) fields: Vec<(usize, Vec<u8>)>,
    /// The keys of those columns in JSON.
    keys: Vec<Vec<u8>>,
    /// The names of all columns.
    pub(super) names: Vec<String>,
    /// The value that was put together last.
    pub(super) scratch: Vec<u8>,
    pub(super) words: Words,
}

impl Values {
    pub(super) fn new(schema: &Schema, options: &RedisOptions) -> Result<Self> {
        let chosen: Vec<usize> = match &options.value_columns {
            None => (0..schema.fields().len()).collect(),
            Some(names) => names
                .iter()
                .map(|name| column(schema, "value_columns", name))
                .collect::<Result<_>>()?,
        };
        if chosen.is_empty() {
            return Err(invalid("value_columns", "value_columns names no column"));
        }
        let raw = options.encoding == Encoding::Raw;
        if raw && chosen.len() != 1 && options.member_column.is_none() {
            let message = "encoding = raw needs one column in value_columns";
            return Err(invalid("encoding", message));
        }
        let name = |index: &usize| schema.field(*index).name();
        let field = |index: &usize| {
            let mut field = Vec::new();
            bulk(&mut field, name(index).as_bytes());
            (*index, field)
        };
        let all = schema.fields().iter();
        Ok(Self {
            encoding: options.encoding,
            format: format(options),
            nulls: options.nulls,
            expires: None,
            fields: chosen.iter().map(field).collect(),
            keys: chosen.iter().map(|index| key(name(index))).collect(),
            names: all.map(|field| field.name().clone()).collect(),
            scratch: Vec::new(),
            words: Words::default(),
        })
    }

    /// Puts the row together as one value.
    pub(super) fn value(&mut self, row: &Row<'_>) -> Written {
        let arrow = |error: &dyn std::fmt::Display| Refused::row(error.to_string());
        self.scratch.clear();
        match self.encoding {
            Encoding::Json => self.object(row),
            Encoding::Msgpack => {
                let names = &self.names;
                let chosen = self.fields.iter();
                let chosen =
                    chosen.map(|(index, _)| (names[*index].as_str(), &row.columns[*index]));
                msgpack(chosen, row.row, &self.format, &mut self.scratch)
                    .map_err(|(name, why)| Refused::at(&name, why))
            }
            Encoding::ArrowIpc => {
                let one = row.batch.slice(row.row, 1).project(&self.indices());
                let one = one.map_err(|error| arrow(&error))?;
                self.scratch = ipc(&one).map_err(|error| arrow(&error))?;
                Ok(())
            }
            Encoding::Raw => self.plain(row, self.fields[0].0),
        }
    }

    /// The positions of the columns that are values.
    pub(super) fn indices(&self) -> Vec<usize> {
        self.fields.iter().map(|(index, _)| *index).collect()
    }

    /// Puts the row together as a JSON object.
    pub(super) fn object(&mut self, row: &Row<'_>) -> Written {
        self.scratch.clear();
        let chosen = self.keys.iter().zip(&self.fields);
        let chosen = chosen.map(|(key, (index, _))| (key.as_slice(), &row.columns[*index]));
        object(chosen, row.row, &self.format, &mut self.scratch)
            .map_err(|(chosen, why)| Refused::at(&self.names[self.fields[chosen].0], why))
    }

    /// Takes one column's value as text or as its bytes.
    pub(super) fn plain(&mut self, row: &Row<'_>, index: usize) -> Written {
        let column = &row.columns[index];
        self.scratch.clear();
        if column.is_null(row.row) {
            return Err(Refused::at(&self.names[index], "is null"));
        }
        column
            .text(row.row, &self.format, &mut self.scratch)
            .map_err(|why| Refused::at(&self.names[index], why))
    }

    /// Adds one column's value, which is a number.
    pub(super) fn push_number(&mut self, row: &Row<'_>, index: usize) -> Written {
        if !row.columns[index].is_null(row.row) && !row.columns[index].is_numeric() {
            return Err(Refused::at(&self.names[index], "is not a number"));
        }
        self.plain(row, index)?;
        self.words.push(&self.scratch);
        Ok(())
    }

    /// Adds a member of a set: a column, or the whole row.
    pub(super) fn push_member(&mut self, row: &Row<'_>, member: Option<usize>) -> Written {
        match member {
            Some(index) => self.plain(row, index)?,
            None => self.value(row)?,
        }
        self.words.push(&self.scratch);
        Ok(())
    }

    /// Writes a command with the words that were added, and with it the key's time of expiry, in one transaction.
    pub(super) fn command(&self, name: &[u8], row: &Row<'_>, out: &mut Pipeline) {
        if self.expires.is_none() {
            return self.words.write(Role::Write, name, row, out);
        }
        out.begin_transaction(row.number);
        self.words.write(Role::Extra, name, row, out);
        expire(row, self.expires, out);
        out.end_transaction(row.number);
    }
}

/// Writes the command that has a key expire, if it does.
pub(super) fn expire(row: &Row<'_>, expires: Expires, out: &mut Pipeline) {
    if let Some((command, when)) = expires {
        let mut digits = itoa::Buffer::new();
        let words = [command.as_bytes(), row.key, digits.format(when).as_bytes()];
        out.command(Role::Extra, row.number, &words);
    }
}
