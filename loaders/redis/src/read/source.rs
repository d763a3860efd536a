//! The source: hashes found by a pattern, and streams, as Arrow batches.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrowload_core::{BatchStream, DataSource, Error, ErrorKind, Listing, Params, Query, Result};
use serde_json::{Map, Value};

use super::decode::{infer, read_type};
use super::hashes::{Filter, Hashes};
use super::listing;
use super::sql::{From, Select};
use super::streams::Entries;
use crate::config::{self, RedisConfig};
use crate::ledger::patterns;
use crate::nodes::Nodes;
use crate::own::{Own, PREFIX};
use crate::pool::Pool;
use crate::record::{Record, Seen};

/// Rows that types are inferred from.
const SAMPLE: usize = 1_000;

/// Reads Redis: see the crate's page for the queries that it understands.
#[derive(Debug)]
pub struct RedisSource {
    pool: Pool,
}

/// The fields of a row, with their names, as they were found.
pub(crate) type Found = Vec<(Vec<u8>, Vec<u8>)>;

impl RedisSource {
    /// What a target is read from, and its columns.
    async fn target(&self, nodes: &mut Nodes, target: &str) -> Result<(Vec<Filter>, Record)> {
        let seen = Seen::read(nodes, &Own::of(target, "")).await?;
        let Some(record) = seen.record else {
            let message = format!(
                "no load has been recorded for `{target}`; name the keys in quotes, as in FROM '{target}:*'"
            );
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        let patterns = patterns(&record.patterns, target, seen.generation.as_deref());
        if let Some(pattern) = patterns.iter().find(|pattern| !pattern.is_told_apart()) {
            let message = format!(
                "`{target}` has keys of the pattern `{}`, which fits keys that no load has written; name the keys in quotes, as in FROM 'prefix:*'",
                pattern.text
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let filter = |pattern| Filter::Pattern(Box::new(pattern));
        Ok((patterns.into_iter().map(filter).collect(), record))
    }
}

/// The columns of an answer: what the query names, typed by it, by the record, or by a sample.
fn schema(
    select: &Select,
    own: Option<&str>,
    recorded: Option<&Schema>,
    sample: &[Found],
) -> Result<SchemaRef> {
    let sampled = |name: &str| {
        let values = sample
            .iter()
            .flatten()
            .filter(|(field, _)| field == name.as_bytes())
            .map(|(_, value)| value.as_slice());
        if values.clone().next().is_none() {
            DataType::Utf8
        } else {
            infer(values)
        }
    };
    let typed = |name: &str| {
        let known = recorded
            .and_then(|schema| schema.field_with_name(name).ok())
            .map(|field| read_type(field.data_type()));
        match known {
            _ if Some(name) == own => Ok(DataType::Utf8),
            Some(known) => Ok(known),
            None if recorded.is_some() => Err(Error::new(
                ErrorKind::Query,
                format!("the target has no column `{name}`"),
            )
            .with("column", name)),
            None => Ok(sampled(name)),
        }
    };
    let mut fields: Vec<Field> = Vec::new();
    match (&select.columns, recorded) {
        (Some(columns), _) => {
            for (name, kind) in columns {
                let kind = match kind {
                    Some(kind) => kind.clone(),
                    None => typed(name)?,
                };
                fields.push(Field::new(name, kind, true));
            }
        }
        (None, Some(schema)) => fields.extend(
            schema
                .fields()
                .iter()
                .map(|field| Field::new(field.name(), read_type(field.data_type()), true)),
        ),
        (None, None) => {
            fields.extend(own.map(|own| Field::new(own, DataType::Utf8, true)));
            for (name, _) in sample.iter().flatten() {
                let Ok(name) = std::str::from_utf8(name) else {
                    let message = "a field's name is not UTF-8; name the columns in the query";
                    return Err(Error::new(ErrorKind::Unsupported, message));
                };
                if !fields.iter().any(|field| field.name() == name) {
                    fields.push(Field::new(name, sampled(name), true));
                }
            }
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

impl DataSource for RedisSource {
    const NAME: &'static str = "redis";
    const URL_SCHEMES: &'static [&'static str] = config::URL_SCHEMES;
    const ENVIRONMENT: &'static [(&'static str, &'static str)] = config::ENVIRONMENT;

    type Config = RedisConfig;

    async fn connect(config: RedisConfig) -> Result<Self> {
        Ok(Self {
            pool: Pool::connect(config).await?,
        })
    }

    async fn query(&self, query: &Query) -> Result<BatchStream> {
        let select = Select::parse(&query.sql)?;
        if !matches!(query.params, Params::None) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "Redis's source takes no parameters; write the values into the query",
            ));
        }
        let mut nodes = self.pool.take().await?;
        let size = self.pool.config().read_batch_size;
        let (filters, record) = match &select.from {
            From::Stream { key, .. } if key.starts_with(PREFIX) => {
                let message =
                    "keys that begin with `arrowload:` are the loader's own, and are not read";
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
            From::Stream { key, first, last } => {
                let mut entries = Entries::new(
                    nodes,
                    key.clone().into_bytes(),
                    first.clone(),
                    last.clone(),
                    size,
                );
                let sample = entries.peek(SAMPLE).await?;
                let schema = schema(&select, Some("_id"), None, &sample)?;
                return Ok(entries.into_stream(
                    schema,
                    false,
                    select.columns.is_none(),
                    select.limit,
                ));
            }
            From::Keys(glob) => (vec![Filter::Glob(glob.clone().into_bytes())], None),
            From::Target(target) => {
                let (filters, record) = self.target(&mut nodes, target).await?;
                (filters, Some(record))
            }
        };
        match record.as_ref().map(|record| record.structure.as_str()) {
            None | Some("hash" | "vector") => {}
            Some("stream") => {
                let key = match filters.as_slice() {
                    [Filter::Pattern(pattern)] => pattern.constant().map(<[u8]>::to_vec),
                    _ => None,
                };
                let key = key.ok_or_else(|| {
                    Error::new(
                        ErrorKind::Unsupported,
                        "the target is several streams; read one by FROM STREAM 'key'",
                    )
                })?;
                let schema = schema(
                    &select,
                    Some("_id"),
                    record.as_ref().map(|record| record.schema.as_ref()),
                    &[],
                )?;
                let entries = Entries::new(nodes, key, "-".into(), "+".into(), size);
                return Ok(entries.into_stream(schema, true, false, select.limit));
            }
            Some(other) => {
                let message = format!(
                    "the target holds data_structure = {other}, and the source reads hashes, vectors and streams"
                );
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        }
        let mut hashes = Hashes::new(nodes, filters, size);
        let inferred = record.is_none();
        let sample = if inferred {
            hashes.peek(SAMPLE).await?
        } else {
            Vec::new()
        };
        let schema = schema(
            &select,
            Some("_key"),
            record.as_ref().map(|record| record.schema.as_ref()),
            &sample,
        )?;
        Ok(hashes.into_stream(schema, inferred && select.columns.is_none(), select.limit))
    }

    async fn list(&self, listing: &Listing) -> Result<BatchStream> {
        let mut nodes = self.pool.take().await?;
        let batch = listing::list(&mut nodes, listing).await?;
        nodes.give_back();
        Ok(BatchStream::from_batches(batch.schema(), vec![batch]))
    }

    async fn ping(&self) -> Result<()> {
        let mut nodes = self.pool.take().await?;
        nodes.still_there().await?;
        nodes.give_back();
        Ok(())
    }

    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        config::from_url(url)
    }
}
