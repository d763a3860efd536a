//! Hashes whose keys match, by `SCAN`, each once.

use std::collections::{HashSet, VecDeque};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use arrowload_core::{BatchStream, Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_128;

use super::decode::{column, unfit};
use super::source::Found;
use crate::error::from_server;
use crate::key::KeyPattern;
use crate::own::PREFIX;
use crate::pool::Leased;
use crate::resp::Reply;

/// Which keys.
pub(super) enum Filter {
    Glob(Vec<u8>),
    Pattern(Box<KeyPattern>),
}

impl Filter {
    fn glob(&self) -> Vec<u8> {
        match self {
            Self::Glob(glob) => glob.clone(),
            Self::Pattern(pattern) => pattern.glob(),
        }
    }

    fn owns(&self, key: &[u8]) -> bool {
        match self {
            Self::Glob(_) => !key.starts_with(PREFIX.as_bytes()),
            Self::Pattern(pattern) => pattern.owns(key),
        }
    }
}

/// A scan that is in progress.
pub(super) struct Hashes {
    nodes: Leased,
    filters: Vec<Filter>,
    size: usize,
    /// The position of the scan: the filter, the node, and its cursor; no cursor at the end.
    filter: usize,
    place: usize,
    cursor: Vec<u8>,
    /// What has come: a scan may give a key twice.
    seen: HashSet<u128>,
    keys: VecDeque<Vec<u8>>,
    /// What was read for the sample.
    sampled: VecDeque<(Vec<u8>, Found)>,
}

impl Hashes {
    pub(super) fn new(nodes: Leased, filters: Vec<Filter>, size: usize) -> Self {
        Self {
            nodes,
            filters,
            size,
            filter: 0,
            place: 0,
            cursor: b"0".to_vec(),
            seen: HashSet::new(),
            keys: VecDeque::new(),
            sampled: VecDeque::new(),
        }
    }

    /// Scans until there are so many keys, or no more.
    async fn find(&mut self, wanted: usize) -> Result<()> {
        while self.keys.len() < wanted && self.filter < self.filters.len() {
            let place = self.nodes.topology.places[self.place].clone();
            let glob = self.filters[self.filter].glob();
            let (next, found) = self
                .nodes
                .scan_once(&place, &self.cursor, &glob, Some("hash"))
                .await?;
            for key in found {
                if self.filters[self.filter].owns(&key) && self.seen.insert(xxh3_128(&key)) {
                    self.keys.push_back(key);
                }
            }
            self.cursor = next;
            if self.cursor == b"0" {
                self.place += 1;
                if self.place == self.nodes.topology.places.len() {
                    (self.place, self.filter) = (0, self.filter + 1);
                }
            }
        }
        Ok(())
    }

    /// The next keys and what a command says of each. The words of the command are around the key.
    async fn ask(
        &mut self,
        count: usize,
        before: &[u8],
        after: &[&[u8]],
    ) -> Result<Vec<(Vec<u8>, Reply)>> {
        self.find(count).await?;
        let count = count.min(self.keys.len());
        let keys: Vec<Vec<u8>> = self.keys.drain(..count).collect();
        let replies = self.nodes.each(&keys, &[before], after).await?;
        keys.into_iter()
            .zip(replies)
            .map(|(key, reply)| match reply {
                Reply::Error(text) => {
                    Err(from_server(&text).with("key", String::from_utf8_lossy(&key)))
                }
                reply => Ok((key, reply)),
            })
            .collect()
    }

    /// The next hashes, whole. Keys that are gone since they were found are left out.
    async fn whole(&mut self, count: usize) -> Result<Vec<(Vec<u8>, Found)>> {
        let answers = self.ask(count, b"HGETALL", &[]).await?;
        let pairs = |reply: Reply| {
            let words: Vec<Vec<u8>> = reply.array().into_iter().filter_map(Reply::bytes).collect();
            words
                .chunks_exact(2)
                .map(|pair| (pair[0].clone(), pair[1].clone()))
                .collect::<Found>()
        };
        Ok(answers
            .into_iter()
            .map(|(key, reply)| (key, pairs(reply)))
            .filter(|(_, found)| !found.is_empty())
            .collect())
    }

    /// The first hashes, which are kept for the stream.
    pub(super) async fn peek(&mut self, count: usize) -> Result<Vec<Found>> {
        let rows = self.whole(count).await?;
        let found = rows.iter().map(|(_, found)| found.clone()).collect();
        self.sampled.extend(rows);
        Ok(found)
    }

    /// The next rows as a batch; `None` at the end.
    async fn next(
        &mut self,
        schema: &SchemaRef,
        strict: bool,
        count: usize,
    ) -> Result<Option<RecordBatch>> {
        loop {
            let rows = if !self.sampled.is_empty() {
                let count = count.min(self.sampled.len());
                let rows: Vec<_> = self.sampled.drain(..count).collect();
                rows.into_iter()
                    .map(|(key, found)| pick(schema, strict, key, found))
                    .collect::<Result<Vec<_>>>()?
            } else if strict {
                let rows = self.whole(count).await?;
                rows.into_iter()
                    .map(|(key, found)| pick(schema, strict, key, found))
                    .collect::<Result<Vec<_>>>()?
            } else {
                self.chosen(schema, count).await?
            };
            if !rows.is_empty() {
                return batch(schema, "_key", rows).map(Some);
            }
            if self.keys.is_empty() && self.filter >= self.filters.len() {
                return Ok(None);
            }
        }
    }

    /// Only the fields that are asked for.
    async fn chosen(&mut self, schema: &SchemaRef, count: usize) -> Result<Vec<Row>> {
        let names: Vec<&[u8]> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_bytes())
            .collect();
        let answers = self.ask(count, b"HMGET", &names).await?;
        let mut rows = Vec::with_capacity(answers.len());
        for (key, reply) in answers {
            let values: Vec<Option<Vec<u8>>> =
                reply.array().into_iter().map(Reply::bytes).collect();
            // A hash without any of the fields is a row of nulls; one that is gone is not a row.
            if values.iter().all(Option::is_none)
                && self.nodes.call(&key, &[b"EXISTS", &key]).await?.int() == Some(0)
            {
                continue;
            }
            rows.push((key, values));
        }
        Ok(rows)
    }

    pub(super) fn into_stream(
        self,
        schema: SchemaRef,
        strict: bool,
        limit: Option<u64>,
    ) -> BatchStream {
        let announced = schema.clone();
        let left = limit.unwrap_or(u64::MAX);
        let batches = futures::stream::try_unfold((self, left), move |(mut hashes, left)| {
            let schema = schema.clone();
            async move {
                let count = hashes.size.min(usize::try_from(left).unwrap_or(usize::MAX));
                if count == 0 {
                    hashes.nodes.give_back();
                    return Ok(None);
                }
                let Some(batch) = hashes.next(&schema, strict, count).await? else {
                    hashes.nodes.give_back();
                    return Ok(None);
                };
                let left = left - batch.num_rows() as u64;
                Ok(Some((batch, (hashes, left))))
            }
        });
        BatchStream::new(announced, batches)
    }
}

/// A key, or an entry's id, and the values of the columns.
pub(super) type Row = (Vec<u8>, Vec<Option<Vec<u8>>>);

/// The columns' values among the fields of a row.
pub(super) fn pick(schema: &SchemaRef, strict: bool, key: Vec<u8>, found: Found) -> Result<Row> {
    let mut values = vec![None; schema.fields().len()];
    for (name, value) in found {
        match schema
            .fields()
            .iter()
            .position(|field| field.name().as_bytes() == name)
        {
            Some(index) => values[index] = Some(value),
            None if strict => {
                let message = format!(
                    "`{}` has the field `{}`, which the first rows had not; name the columns in the query",
                    String::from_utf8_lossy(&key),
                    String::from_utf8_lossy(&name)
                );
                return Err(Error::new(ErrorKind::SchemaMismatch, message)
                    .with("column", String::from_utf8_lossy(&name)));
            }
            None => {}
        }
    }
    Ok((key, values))
}

/// Rows as a batch; the column `own` is the key.
pub(super) fn batch(schema: &SchemaRef, own: &str, mut rows: Vec<Row>) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for (index, field) in schema.fields().iter().enumerate() {
        let values: Vec<Option<Vec<u8>>> = match field.name() == own {
            true => rows.iter().map(|(key, _)| Some(key.clone())).collect(),
            false => rows
                .iter_mut()
                .map(|(_, values)| values[index].take())
                .collect(),
        };
        columns
            .push(column(field, &values).map_err(|bad| unfit(field, &rows[bad.row].0, &bad.why))?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(
        SchemaRef::clone(schema),
        columns,
        &options,
    )?)
}
