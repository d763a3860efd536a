//! What is kept beside the rows of a target: its columns, its keys' patterns, the loads that it has.
//!
//! All keys of one target have the target's name as their hash tag, so that they are in one slot of a cluster and change
//! together.

use std::sync::Arc;

use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrowload_core::{Error, ErrorKind, LoadRequest, Mode, Receipt, Result};
use serde::{Deserialize, Serialize};

use crate::RedisOptions;
use crate::nodes::Nodes;
use crate::resp::{Reply, command};

/// What the names of our own keys begin with.
pub(crate) const PREFIX: &str = "arrowload:";

/// The names of a target's own keys.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    /// A hash: `arrow_schema`, `patterns`, `structure`.
    pub(crate) record: String,
    /// The generation that readers are to see.
    pub(crate) generation: String,
    /// The load that creates the target.
    pub(crate) claim: String,
    /// The load itself.
    pub(crate) ledger: String,
}

/// A name in braces, which must hold none.
fn escape(text: &str) -> String {
    text.replace('%', "%25")
        .replace('{', "%7B")
        .replace('}', "%7D")
}

impl Own {
    pub(crate) fn of(target: &str, load_id: &str) -> Self {
        let own = |name: &str| format!("{PREFIX}{{{}}}:{name}", escape(target));
        Self {
            record: own("target"),
            generation: own("generation"),
            claim: own("claim"),
            ledger: own(&format!("load:{load_id}")),
        }
    }
}

/// The columns and keys of a target.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) schema: SchemaRef,
    pub(crate) patterns: Vec<String>,
    pub(crate) structure: String,
}

impl Record {
    pub(crate) async fn read(nodes: &mut Nodes, own: &Own) -> Result<Option<Self>> {
        let key = own.record.as_bytes();
        let reply = nodes
            .call(
                key,
                &[b"HMGET", key, b"arrow_schema", b"patterns", b"structure"],
            )
            .await?;
        let mut fields = reply.array().into_iter().map(Reply::bytes);
        let mut next = || fields.next().flatten();
        let (Some(schema), Some(patterns), Some(structure)) = (next(), next(), next()) else {
            return Ok(None);
        };
        let unreadable = || {
            Error::new(
                ErrorKind::SchemaMismatch,
                format!(
                    "the key `{}` is not as a load writes it; remove it",
                    own.record
                ),
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
        }))
    }

    fn words(&self) -> Result<[Vec<u8>; 3]> {
        let schema = StreamWriter::try_new(Vec::new(), &self.schema)?.into_inner()?;
        Ok([
            schema,
            serde_json::json!(self.patterns).to_string().into_bytes(),
            self.structure.clone().into_bytes(),
        ])
    }

    /// The record as it is after a load, or why the load does not fit.
    pub(crate) fn after(
        found: Option<&Self>,
        request: &LoadRequest<RedisOptions>,
        pattern: &str,
    ) -> Result<Self> {
        let structure = request.options.data_structure.name();
        // What is not read as a value is no column of the target.
        let is_value = |name: &String| {
            request
                .options
                .value_columns
                .as_ref()
                .is_none_or(|chosen| chosen.contains(name))
        };
        let fields: Vec<_> = request
            .schema
            .fields()
            .iter()
            .filter(|field| is_value(field.name()))
            .cloned()
            .collect();
        let new = Self {
            schema: Arc::new(Schema::new(fields)),
            patterns: vec![pattern.to_owned()],
            structure: structure.to_owned(),
        };
        let Some(found) = found else { return Ok(new) };
        let replaces = request.mode == Mode::Overwrite && request.schema_evolution;
        if found.structure != structure && !replaces {
            let message = format!(
                "`{}` holds keys of data_structure = {}, and the load makes {structure}; choose that, or another target",
                request.target, found.structure
            );
            return Err(Error::new(ErrorKind::SchemaMismatch, message));
        }
        let mut merged = new.clone();
        merged.patterns.clone_from(&found.patterns);
        if !merged.patterns.iter().any(|known| known == pattern) {
            merged.patterns.push(pattern.to_owned());
        }
        if !replaces {
            merged.schema = merge(&new.schema, &found.schema, request.schema_evolution)?;
        }
        Ok(merged)
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
    let text = |kind: &T| matches!(kind, T::Utf8 | T::LargeUtf8 | T::Utf8View);
    let binary = |kind: &T| {
        matches!(
            kind,
            T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_)
        )
    };
    match (one, other) {
        (T::Null, kind) | (kind, T::Null) => Some(kind.clone()),
        (a, b) if a.is_integer() && b.is_integer() => {
            let huge = matches!(a, T::UInt64) || matches!(b, T::UInt64);
            Some(if huge { T::Decimal128(20, 0) } else { T::Int64 })
        }
        (a, b) if a.is_floating() && b.is_floating() => Some(T::Float64),
        (a, b) if text(a) && text(b) => Some(T::LargeUtf8),
        (a, b) if binary(a) && binary(b) => Some(T::LargeBinary),
        _ => None,
    }
}

fn decoded(kind: &DataType) -> &DataType {
    match kind {
        DataType::Dictionary(_, inner) => decoded(inner),
        DataType::RunEndEncoded(_, inner) => decoded(inner.data_type()),
        other => other,
    }
}

/// What the ledger says of a load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Rows of the load.
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Rows that were set aside.
    #[serde(default)]
    pub(crate) rejected: u64,
    /// What was built aside and is to be moved, if that is not done yet.
    pub(crate) moving: Option<Move>,
}

/// How what was built aside comes into place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Move {
    /// Tells the keys of this attempt from those of others.
    pub(crate) nonce: String,
    pub(crate) structure: String,
    /// The one key, or none for all that are found.
    pub(crate) key: Option<String>,
    /// The key is replaced, in place of added to.
    pub(crate) replace: bool,
    pub(crate) keeps_ttl: bool,
    pub(crate) maxlen: Option<u64>,
    pub(crate) minid: Option<String>,
}

impl Load {
    pub(crate) fn receipt(&self) -> Receipt {
        let mut receipt = Receipt::rows(self.rows);
        (receipt.bytes, receipt.rows_rejected) = (self.bytes, self.rejected);
        receipt
    }

    pub(crate) fn parse(text: &[u8], key: &str) -> Result<Self> {
        serde_json::from_slice(text).map_err(|error| {
            Error::new(
                ErrorKind::Unexpected,
                format!("the key `{key}` is not as a load writes it"),
            )
            .with_source(error)
        })
    }

    pub(crate) async fn find(nodes: &mut Nodes, own: &Own) -> Result<Option<Self>> {
        let key = own.ledger.as_bytes();
        let found = nodes.call(key, &[b"GET", key]).await?.bytes();
        found
            .map(|text| Self::parse(&text, &own.ledger))
            .transpose()
    }

    fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| {
            Error::new(ErrorKind::Unexpected, "a load cannot be written as JSON").with_source(error)
        })
    }

    /// Records the load, its target and the generation in one transaction, unless another run of it has. Answers with what
    /// that one recorded.
    pub(crate) async fn record(
        &self,
        nodes: &mut Nodes,
        own: &Own,
        record: &Record,
        generation: Option<&str>,
        ttl: u64,
    ) -> Result<Option<Self>> {
        let (ledger, target) = (own.ledger.as_bytes(), own.record.as_bytes());
        for _ in 0..3 {
            nodes.call(ledger, &[b"WATCH", ledger]).await?;
            let found = match Self::find(nodes, own).await {
                Ok(found) => found,
                Err(error) => {
                    let _ = nodes.call(ledger, &[b"UNWATCH"]).await;
                    return Err(error);
                }
            };
            if found.is_some() {
                nodes.call(ledger, &[b"UNWATCH"]).await?;
                return Ok(found);
            }
            let [schema, patterns, structure] = record.words()?;
            let (text, expires) = (self.text()?, ttl.to_string());
            let mut bytes = Vec::new();
            command(&mut bytes, &[b"MULTI"]);
            command(
                &mut bytes,
                &[
                    b"HSET",
                    target,
                    b"arrow_schema",
                    &schema,
                    b"patterns",
                    &patterns,
                    b"structure",
                    &structure,
                ],
            );
            match ttl {
                0 => command(&mut bytes, &[b"SET", ledger, text.as_bytes()]),
                _ => command(
                    &mut bytes,
                    &[b"SET", ledger, text.as_bytes(), b"EX", expires.as_bytes()],
                ),
            }
            command(&mut bytes, &[b"DEL", own.claim.as_bytes()]);
            let mut count = 5;
            if let Some(generation) = generation {
                command(
                    &mut bytes,
                    &[b"SET", own.generation.as_bytes(), generation.as_bytes()],
                );
                count += 1;
            }
            command(&mut bytes, &[b"EXEC"]);
            let mut replies = nodes
                .ask_about(ledger, &bytes, count)
                .await
                .map_err(unknown)?;
            match replies.pop() {
                Some(Reply::Nil) => continue,
                Some(Reply::Array(items)) => {
                    if let Some(Reply::Error(text)) = items
                        .into_iter()
                        .find(|item| matches!(item, Reply::Error(_)))
                    {
                        return Err(crate::error::from_server(&text));
                    }
                    return Ok(None);
                }
                _ => {
                    let refused = replies.into_iter().find_map(|reply| {
                        if let Reply::Error(text) = reply {
                            Some(text)
                        } else {
                            None
                        }
                    });
                    return Err(crate::error::from_server(
                        &refused.unwrap_or_else(|| "EXECABORT the commit was refused".into()),
                    ));
                }
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "another run of this load is at its commit",
        )
        .transient())
    }

    /// Says that everything is in place.
    pub(crate) async fn moved(&self, nodes: &mut Nodes, own: &Own) -> Result<()> {
        let done = Self {
            moving: None,
            ..self.clone()
        };
        let (key, text) = (own.ledger.as_bytes(), done.text()?);
        nodes
            .call(key, &[b"SET", key, text.as_bytes(), b"KEEPTTL"])
            .await?;
        Ok(())
    }
}

/// The answer to a commit may have been lost with the connection.
fn unknown(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Connection | ErrorKind::Timeout => Error::new(
            ErrorKind::CommitUnknown,
            format!("the answer to the commit was lost: {}", error.message()),
        )
        .with_source(error),
        _ => error,
    }
}
