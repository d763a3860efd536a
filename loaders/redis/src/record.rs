//! The record of a target: its columns, the patterns of its keys, and notes of its loads.

use std::sync::Arc;

use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrowload_core::arrow_types::{decoded, is_binary, is_text};
use arrowload_core::{Error, ErrorKind, LoadRequest, Mode, Result};

use crate::RedisOptions;
use crate::lease::{self, Attempt};
use crate::ledger::Load;
use crate::nodes::Nodes;
use crate::options::StreamEntry;
use crate::own::Own;
use crate::resp::{Reply, command};

/// The columns and keys of a target.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) schema: SchemaRef,
    pub(crate) patterns: Vec<String>,
    pub(crate) structure: String,
    /// Whether an entry of its streams may be a whole batch.
    pub(crate) batches: bool,
}

/// The fields of a record's hash, in the order in which they are read.
const FIELDS: [&[u8]; 6] = [
    b"arrow_schema",
    b"patterns",
    b"structure",
    b"batches",
    EMPTIED,
    FORGETS,
];

/// How many overwrites have emptied the target: if the number changes during a load, rows of that
/// load were removed.
pub(crate) const EMPTIED: &[u8] = b"emptied";

/// The second since 1970 at which the first record of a load expires, or has expired.
pub(crate) const FORGETS: &[u8] = b"forgets";

/// The state of a target at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) record: Option<Record>,
    pub(crate) emptied: i64,
    pub(crate) forgets: Option<i64>,
    pub(crate) generation: Option<String>,
    /// The record of the load that is asked about.
    pub(crate) load: Option<Load>,
    /// Attempts that are in progress or were cut off, by their nonce.
    pub(crate) attempts: Vec<(String, Attempt)>,
    /// Of what is watched: the server's clock, in seconds since 1970.
    pub(crate) now: i64,
    /// Of what is watched: whether the lease is there.
    pub(crate) is_alive: bool,
}

impl Seen {
    /// Reads all of it in one step.
    pub(crate) async fn read(nodes: &mut Nodes, own: &Own) -> Result<Self> {
        Self::read_after(nodes, own, None).await
    }

    /// Reads all of it, and has the next transaction fail if any of it has changed by then.
    pub(crate) async fn watch(nodes: &mut Nodes, own: &Own, lease: &str) -> Result<Self> {
        Self::read_after(nodes, own, Some(lease)).await
    }

    async fn read_after(nodes: &mut Nodes, own: &Own, watched: Option<&str>) -> Result<Self> {
        let (record, generation) = (own.record.as_bytes(), own.generation.as_bytes());
        let ledger = own.ledger.as_bytes();
        let mut bytes = Vec::new();
        let lease = watched.unwrap_or_default().as_bytes();
        if watched.is_some() {
            command(&mut bytes, &[b"WATCH", record, generation, ledger, lease]);
            command(&mut bytes, &[b"EXISTS", lease]);
            command(&mut bytes, &[b"TIME"]);
        }
        let fields: Vec<&[u8]> = [b"HMGET", record].into_iter().chain(FIELDS).collect();
        command(&mut bytes, &fields);
        command(&mut bytes, &[b"GET", generation]);
        command(&mut bytes, &[b"GET", ledger]);
        command(&mut bytes, &[b"HGETALL", own.attempts.as_bytes()]);
        let count = if watched.is_some() { 7 } else { 4 };
        let mut replies = nodes.ask_all(record, &bytes, count).await?.into_iter();
        let mut next = || replies.next().unwrap_or(Reply::Nil);
        let (mut is_alive, mut now) = (false, 0);
        if watched.is_some() {
            next();
            (is_alive, now) = (next().int() == Some(1), seconds(next()));
        }
        let mut fields = next().array().into_iter().map(Reply::bytes);
        let mut field = || fields.next().flatten();
        let columns = [field(), field(), field(), field()];
        let (emptied, forgets) = (number(field()), number(field()));
        Ok(Self {
            record: Record::parse(columns, &own.record)?,
            emptied: emptied.unwrap_or_default(),
            forgets,
            generation: next().text(),
            load: next()
                .bytes()
                .map(|text| Load::parse(&text, &own.ledger))
                .transpose()?,
            attempts: lease::parse(next(), &own.attempts)?,
            now,
            is_alive,
        })
    }

    /// Whether the record of a load of this target may have expired by now.
    pub(crate) async fn may_have_forgotten(&self, nodes: &mut Nodes, own: &Own) -> Result<bool> {
        let Some(forgets) = self.forgets else {
            return Ok(false);
        };
        let time = nodes.call(own.record.as_bytes(), &[b"TIME"]).await?;
        Ok(forgets <= seconds(time))
    }

    /// Whether what a load was decided by is as it was.
    pub(crate) fn decides_as(&self, other: &Self) -> bool {
        self.record == other.record && self.generation == other.generation
    }
}

/// The server's clock, as `TIME` says it.
fn seconds(time: Reply) -> i64 {
    let first = time.array().into_iter().next();
    number(first.and_then(Reply::bytes)).unwrap_or(i64::MAX)
}

fn number(text: Option<Vec<u8>>) -> Option<i64> {
    std::str::from_utf8(&text?).ok()?.parse().ok()
}

impl Record {
    fn parse(fields: [Option<Vec<u8>>; 4], key: &str) -> Result<Option<Self>> {
        let [Some(schema), Some(patterns), Some(structure), batches] = fields else {
            return Ok(None);
        };
        let unreadable = || {
            Error::new(
                ErrorKind::SchemaMismatch,
                format!("the key `{key}` is not as a load writes it; remove it"),
            )
        };
        let reader = StreamReader::try_new(schema.as_slice(), None)
            .map_err(|error| unreadable().with_source(error))?;
        let patterns =
            serde_json::from_slice(&patterns).map_err(|error| unreadable().with_source(error))?;
        Ok(Some(Self {
            schema: reader.schema(),
            patterns,
            structure: String::from_utf8_lossy(&structure).into_owned(),
            batches: batches.as_deref() == Some(b"1"),
        }))
    }

    /// The command that writes it.
    pub(crate) fn write(&self, own: &Own, out: &mut Vec<u8>) -> Result<()> {
        let schema = StreamWriter::try_new(Vec::new(), &self.schema)?.into_inner()?;
        let patterns = serde_json::json!(self.patterns).to_string();
        let mut words: Vec<&[u8]> = vec![b"HSET", own.record.as_bytes()];
        words.extend([FIELDS[0], &schema, FIELDS[1], patterns.as_bytes()]);
        let batches: &[u8] = if self.batches { b"1" } else { b"0" };
        words.extend([FIELDS[2], self.structure.as_bytes(), FIELDS[3], batches]);
        command(out, &words);
        Ok(())
    }

    /// The record as it is after a load, or why the load does not fit.
    pub(crate) fn after(
        found: Option<&Self>,
        request: &LoadRequest<RedisOptions>,
        pattern: &str,
    ) -> Result<Self> {
        let options = &request.options;
        let structure = options.data_structure.name();
        // A column that is not written as a value is not a column of the target.
        let is_value = |name: &String| {
            let chosen = options.value_columns.as_ref();
            chosen.is_none_or(|chosen| chosen.contains(name))
        };
        let fields = request.schema.fields().iter();
        let fields: Vec<_> = fields
            .filter(|field| is_value(field.name()))
            .cloned()
            .collect();
        let mut new = Self {
            schema: Arc::new(Schema::new(fields)),
            patterns: vec![pattern.to_owned()],
            structure: structure.to_owned(),
            batches: options.stream_entry == StreamEntry::Batch,
        };
        let Some(found) = found else { return Ok(new) };
        let overwrites = request.load.mode == Mode::Overwrite;
        let replaces = overwrites && request.load.schema_evolution;
        if found.structure != structure && !replaces {
            let message = format!(
                "`{}` holds keys of data_structure = {}, and the load makes {structure}; choose that, or another target",
                request.target, found.structure
            );
            return Err(Error::new(ErrorKind::SchemaMismatch, message));
        }
        // An overwrite leaves no key of the patterns before it.
        if !overwrites {
            let others = found.patterns.iter().filter(|known| *known != pattern);
            new.patterns = others.cloned().chain(new.patterns).collect();
            new.batches |= found.batches;
        }
        if !replaces {
            let evolve = request.load.schema_evolution;
            new.schema = merge(&new.schema, &found.schema, evolve)?;
        }
        Ok(new)
    }
}

/// The columns of a target and of a load together.
fn merge(load: &Schema, target: &Schema, evolve: bool) -> Result<SchemaRef> {
    let mut fields = Vec::new();
    for column in target.fields() {
        let Some((_, field)) = load.column_with_name(column.name()) else {
            fields.push(Arc::clone(column));
            continue;
        };
        let Some(together) = together(column.data_type(), field.data_type()) else {
            let message = format!(
                "column `{}` is {} in the load and {} in the target; cast it in the query",
                field.name(),
                field.data_type(),
                column.data_type()
            );
            return Err(Error::new(ErrorKind::SchemaMismatch, message).with("column", field.name()));
        };
        fields.push(Arc::new(
            Field::new(column.name(), together, true).with_metadata(column.metadata().clone()),
        ));
    }
    for field in load
        .fields()
        .iter()
        .filter(|field| target.column_with_name(field.name()).is_none())
    {
        if !evolve {
            let message = format!(
                "the target has no column `{}`; set schema_evolution = true to add it, or leave it out of the query",
                field.name()
            );
            return Err(Error::new(ErrorKind::SchemaMismatch, message).with("column", field.name()));
        }
        fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The type that values of both are read as: their text has one form.
fn together(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType as T;
    let (one, other) = (decoded(one), decoded(other));
    if one == other {
        return Some(one.clone());
    }
    match (one, other) {
        (T::Null, kind) | (kind, T::Null) => Some(kind.clone()),
        (a, b) if a.is_integer() && b.is_integer() => {
            let huge = matches!(a, T::UInt64) || matches!(b, T::UInt64);
            Some(if huge { T::Decimal128(20, 0) } else { T::Int64 })
        }
        (a, b) if a.is_floating() && b.is_floating() => Some(T::Float64),
        (a, b) if is_text(a) && is_text(b) => Some(T::LargeUtf8),
        (a, b) if is_binary(a) && is_binary(b) => Some(T::LargeBinary),
        _ => None,
    }
}
