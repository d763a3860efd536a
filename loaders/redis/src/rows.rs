//! What the commands of a row are, by data structure.

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use arrowload_core::{Error, ErrorKind, Result};

use crate::encode::{Column, Format, format, key, length, milliseconds, object};
use crate::expiry::{Expiry, expiry};
use crate::options::{DataStructure, Encoding, Nulls, RedisOptions};
use crate::packed::msgpack;
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
}

/// Writes rows as commands.
pub(crate) struct Rows {
    structure: DataStructure,
    encoding: Encoding,
    pub(crate) format: Format<'static>,
    pub(crate) nulls: Nulls,
    pub(crate) if_not_exists: bool,
    pub(crate) expiry: Expiry,
    /// The columns that are values, with the name of each as Redis takes it.
    pub(crate) fields: Vec<(usize, Vec<u8>)>,
    /// The keys of those columns in JSON.
    keys: Vec<Vec<u8>>,
    pub(crate) names: Vec<String>,
    /// Score or longitude, latitude, time, value, member: by structure.
    special: Vec<usize>,
    member: Option<usize>,
    labels: Vec<(Vec<u8>, usize)>,
    /// Words that follow a sample.
    retention: Option<String>,
    policy: &'static str,
    pub(crate) vectors: bool,
    /// Time series that this load has created, or seen to be there, by the hash of their key.
    series: std::collections::HashSet<u64>,
    pub(crate) scratch: Vec<u8>,
    words: Vec<u8>,
    series_words: Vec<u8>,
}

/// Series that are remembered; beyond, a series is created once more, which changes nothing.
const SERIES: usize = 1 << 20;

pub(crate) fn invalid(key: &'static str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, message).with("key", key)
}

/// The position of a column that an option names.
pub(crate) fn column(schema: &Schema, key: &'static str, name: &str) -> Result<usize> {
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    names().position(|known| known == name).ok_or_else(|| {
        let all: Vec<&str> = names().collect();
        invalid(
            key,
            format!(
                "{key} names `{name}`, which is no column; there are: {}",
                all.join(", ")
            ),
        )
    })
}

impl Rows {
    pub(crate) fn new(schema: &Schema, options: &RedisOptions) -> Result<Self> {
        use DataStructure as S;
        let structure = options.data_structure;
        let named = |key: &'static str, name: &Option<String>| -> Result<Option<usize>> {
            name.as_deref()
                .map(|name| column(schema, key, name))
                .transpose()
        };
        let wanted = |key: &'static str, name: &Option<String>| -> Result<usize> {
            named(key, name)?.ok_or_else(|| {
                invalid(
                    key,
                    format!("data_structure = {} needs {key}", structure.name()),
                )
            })
        };
        let special = match structure {
            S::SortedSet => vec![wanted("score_column", &options.score_column)?],
            S::Geo => {
                vec![
                    wanted("longitude_column", &options.longitude_column)?,
                    wanted("latitude_column", &options.latitude_column)?,
                ]
            }
            S::Timeseries => vec![
                wanted("time_column", &options.time_column)?,
                wanted("value_column", &options.value_column)?,
            ],
            _ => Vec::new(),
        };
        let values: Vec<usize> = match &options.value_columns {
            None => (0..schema.fields().len()).collect(),
            Some(names) => names
                .iter()
                .map(|name| column(schema, "value_columns", name))
                .collect::<Result<_>>()?,
        };
        if values.is_empty() {
            return Err(invalid("value_columns", "value_columns names no column"));
        }
        if options.encoding == Encoding::Raw && values.len() != 1 && options.member_column.is_none()
        {
            return Err(invalid(
                "encoding",
                "encoding = raw needs one column in value_columns",
            ));
        }
        let field = |index: usize| {
            let mut name = Vec::new();
            bulk(&mut name, schema.field(index).name().as_bytes());
            (index, name)
        };
        let label = |(label, name): (&String, &String)| {
            Ok((label.clone().into_bytes(), column(schema, "labels", name)?))
        };
        Ok(Self {
            structure,
            encoding: options.encoding,
            format: format(options),
            nulls: options.nulls,
            if_not_exists: options.if_not_exists,
            expiry: expiry(schema, options)?,
            keys: values
                .iter()
                .map(|index| key(schema.field(*index).name()))
                .collect(),
            fields: values.into_iter().map(field).collect(),
            names: schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect(),
            special,
            member: named("member_column", &options.member_column)?,
            labels: options.labels.iter().map(label).collect::<Result<_>>()?,
            retention: options.retention.map(|retention| retention.to_string()),
            policy: options.duplicate_policy.word(),
            vectors: structure == S::Vector,
            series: std::collections::HashSet::new(),
            scratch: Vec::new(),
            words: Vec::new(),
            series_words: Vec::new(),
        })
    }

    /// Writes the commands of one row whose key is known.
    #[inline]
    pub(crate) fn write(
        &mut self,
        batch: &RecordBatch,
        columns: &[Column],
        row: usize,
        key: &[u8],
        number: u64,
        out: &mut Pipeline,
    ) -> Result<(), Refused> {
        use DataStructure as S;
        let expires = self.expires(columns, row)?;
        match self.structure {
            S::Hash | S::Vector => return self.hash(columns, row, key, number, expires, out),
            S::String => {
                self.value(batch, columns, row)?;
                out.begin_command(Role::Write, number);
                let more = expires
                    .map(|(command, when)| (if command == "EXPIRE" { "EX" } else { "PXAT" }, when));
                let count =
                    3 + usize::from(self.if_not_exists) + if more.is_some() { 2 } else { 0 };
                length(&mut out.bytes, b'*', count);
                [b"SET", key, &self.scratch]
                    .into_iter()
                    .for_each(|word| bulk(&mut out.bytes, word));
                if self.if_not_exists {
                    bulk(&mut out.bytes, b"NX");
                }
                if let Some((word, when)) = more {
                    bulk(&mut out.bytes, word.as_bytes());
                    bulk(&mut out.bytes, itoa::Buffer::new().format(when).as_bytes());
                }
                return Ok(());
            }
            _ => {}
        }
        let count = self.command(batch, columns, row)?;
        let (name, tail): (&[u8], &[u8]) = match self.structure {
            S::Json => (b"JSON.SET", b""),
            S::Set => (b"SADD", b""),
            S::List => (b"RPUSH", b""),
            S::SortedSet => (b"ZADD", b""),
            S::Geo => (b"GEOADD", b""),
            S::Stream => (b"XADD", b"*"),
            _ => (b"TS.ADD", b""),
        };
        if self.structure == S::Timeseries {
            self.series(columns, row, key, number, out)?;
        }
        let transaction = expires.is_some();
        if transaction {
            out.begin_transaction(number);
        }
        out.begin_command(
            if transaction {
                Role::Extra
            } else {
                Role::Write
            },
            number,
        );
        length(
            &mut out.bytes,
            b'*',
            2 + usize::from(!tail.is_empty()) + count,
        );
        bulk(&mut out.bytes, name);
        bulk(&mut out.bytes, key);
        if !tail.is_empty() {
            bulk(&mut out.bytes, tail);
        }
        out.bytes.extend_from_slice(&self.words);
        if let Some((command, when)) = expires {
            out.command(
                Role::Extra,
                number,
                &[
                    command.as_bytes(),
                    key,
                    itoa::Buffer::new().format(when).as_bytes(),
                ],
            );
            out.end_transaction(number);
        }
        Ok(())
    }

    /// The row as one value, in the scratch space.
    fn value(
        &mut self,
        batch: &RecordBatch,
        columns: &[Column],
        row: usize,
    ) -> Result<(), Refused> {
        self.scratch.clear();
        match self.encoding {
            Encoding::Json => self.object(columns, row)?,
            Encoding::Msgpack => {
                let chosen = self
                    .fields
                    .iter()
                    .map(|(index, _)| (self.names[*index].as_str(), &columns[*index]));
                msgpack(chosen, row, &self.format, &mut self.scratch)
                    .map_err(|(name, why)| Refused::at(&name, why))?;
            }
            Encoding::ArrowIpc => {
                let indices: Vec<usize> = self.fields.iter().map(|(index, _)| *index).collect();
                let one = batch
                    .slice(row, 1)
                    .project(&indices)
                    .map_err(|error| Refused {
                        column: None,
                        why: error.to_string(),
                    })?;
                self.scratch = crate::packed::ipc(&one).map_err(|error| Refused {
                    column: None,
                    why: error.to_string(),
                })?;
            }
            Encoding::Raw => {
                let index = self.fields[0].0;
                self.plain(columns, row, index)?;
            }
        }
        Ok(())
    }

    /// The row as a JSON object, in the scratch space.
    fn object(&mut self, columns: &[Column], row: usize) -> Result<(), Refused> {
        let chosen = self.keys.iter().zip(&self.fields);
        let chosen = chosen.map(|(key, (index, _))| (key.as_slice(), &columns[*index]));
        object(chosen, row, &self.format, &mut self.scratch)
            .map_err(|(chosen, why)| Refused::at(&self.names[self.fields[chosen].0], why))
    }

    /// One column's value as text or as its bytes, in the scratch space.
    fn plain(&mut self, columns: &[Column], row: usize, index: usize) -> Result<(), Refused> {
        let column = &columns[index];
        self.scratch.clear();
        if column.is_null(row) {
            return Err(Refused::at(&self.names[index], "is null"));
        }
        column
            .text(row, &self.format, &mut self.scratch)
            .map_err(|why| Refused::at(&self.names[index], why))
    }

    fn word(&mut self) {
        bulk(&mut self.words, &self.scratch);
    }

    /// The member of a set: a column, or the whole row.
    fn member(
        &mut self,
        batch: &RecordBatch,
        columns: &[Column],
        row: usize,
    ) -> Result<(), Refused> {
        match self.member {
            Some(index) => self.plain(columns, row, index)?,
            None => self.value(batch, columns, row)?,
        }
        self.word();
        Ok(())
    }

    /// What follows the key, and how many words it is.
    fn command(
        &mut self,
        batch: &RecordBatch,
        columns: &[Column],
        row: usize,
    ) -> Result<usize, Refused> {
        use DataStructure as S;
        self.words.clear();
        let flag = self.if_not_exists && matches!(self.structure, S::SortedSet | S::Geo);
        if flag {
            bulk(&mut self.words, b"NX");
        }
        let mut count = usize::from(flag);
        for index in self.special.clone() {
            if self.structure == S::Timeseries && index == self.special[0] {
                let milliseconds = milliseconds(&columns[index], row)
                    .map_err(|why| Refused::at(&self.names[index], why))?;
                self.scratch.clear();
                self.scratch
                    .extend_from_slice(milliseconds.to_string().as_bytes());
            } else {
                if columns[index].is_null(row) {
                    return Err(Refused::at(&self.names[index], "is null"));
                }
                if !columns[index].is_numeric() {
                    return Err(Refused::at(&self.names[index], "is no number"));
                }
                self.plain(columns, row, index)?;
            }
            self.word();
            count += 1;
        }
        match self.structure {
            S::Json => {
                bulk(&mut self.words, b"$");
                self.scratch.clear();
                self.object(columns, row)?;
                self.word();
                if self.if_not_exists {
                    bulk(&mut self.words, b"NX");
                }
                count += 2 + usize::from(self.if_not_exists);
            }
            S::Set | S::SortedSet | S::Geo => {
                self.member(batch, columns, row)?;
                count += 1;
            }
            S::List => {
                self.value(batch, columns, row)?;
                self.word();
                count += 1;
            }
            S::Stream => {
                let fields = std::mem::take(&mut self.fields);
                for (index, name) in &fields {
                    if columns[*index].is_null(row) {
                        if self.nulls == Nulls::Empty {
                            self.words.extend_from_slice(name);
                            bulk(&mut self.words, b"");
                            count += 2;
                        }
                        continue;
                    }
                    if let Err(refused) = self.plain(columns, row, *index) {
                        self.fields = fields;
                        return Err(refused);
                    }
                    self.words.extend_from_slice(name);
                    self.word();
                    count += 2;
                }
                self.fields = fields;
                if count == 0 {
                    return Err(Refused {
                        column: None,
                        why: "all of its values are null, and an entry has at least one field"
                            .into(),
                    });
                }
            }
            _ => {
                bulk(&mut self.words, b"ON_DUPLICATE");
                bulk(&mut self.words, self.policy.as_bytes());
                count += 2;
            }
        }
        Ok(count)
    }

    /// Creates the series of a sample, with its labels, when it is met first. That it is there already is no error.
    fn series(
        &mut self,
        columns: &[Column],
        row: usize,
        key: &[u8],
        number: u64,
        out: &mut Pipeline,
    ) -> Result<(), Refused> {
        let hash = xxhash_rust::xxh3::xxh3_64(key);
        if self.series.contains(&hash) {
            return Ok(());
        }
        self.series_words.clear();
        let mut count = 2;
        let mut add = |word: &[u8]| {
            bulk(&mut self.series_words, word);
            count += 1;
        };
        if let Some(retention) = &self.retention {
            add(b"RETENTION");
            add(retention.as_bytes());
        }
        add(b"DUPLICATE_POLICY");
        add(self.policy.as_bytes());
        if !self.labels.is_empty() {
            add(b"LABELS");
        }
        for (label, index) in &self.labels {
            if columns[*index].is_null(row) {
                continue;
            }
            self.scratch.clear();
            columns[*index]
                .text(row, &self.format, &mut self.scratch)
                .map_err(|why| Refused::at(&self.names[*index], why))?;
            add(label);
            add(&self.scratch);
        }
        out.begin_command(Role::Try, number);
        length(&mut out.bytes, b'*', count);
        bulk(&mut out.bytes, b"TS.CREATE");
        bulk(&mut out.bytes, key);
        out.bytes.extend_from_slice(&self.series_words);
        if self.series.len() >= SERIES {
            self.series.clear();
        }
        self.series.insert(hash);
        Ok(())
    }
}
