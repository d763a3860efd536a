//! The entries of a stream, from one id to another.

use std::collections::VecDeque;

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_cast::cast;
use arrow_ipc::reader::StreamReader;
use arrow_schema::SchemaRef;
use arrowload_core::{BatchStream, Error, ErrorKind, Result};

use super::hashes::{Row, batch, pick};
use super::source::Found;
use crate::pool::Leased;
use crate::resp::Reply;

/// A stream that is being read.
pub(super) struct Entries {
    nodes: Leased,
    key: Vec<u8>,
    first: String,
    last: String,
    size: usize,
    ended: bool,
    read: VecDeque<(Vec<u8>, Found)>,
    /// What an entry that is a whole batch held.
    whole: VecDeque<RecordBatch>,
}

impl Entries {
    pub(super) fn new(
        nodes: Leased,
        key: Vec<u8>,
        first: String,
        last: String,
        size: usize,
    ) -> Self {
        Self {
            nodes,
            key,
            first,
            last,
            size,
            ended: false,
            read: VecDeque::new(),
            whole: VecDeque::new(),
        }
    }

    /// Reads until there are so many entries, or no more.
    async fn fill(&mut self, wanted: usize) -> Result<()> {
        while self.read.len() < wanted && !self.ended {
            let count = (wanted - self.read.len()).min(1_000);
            let words = [
                b"XRANGE".as_slice(),
                &self.key,
                self.first.as_bytes(),
                self.last.as_bytes(),
                b"COUNT",
                count.to_string().as_bytes(),
            ]
            .map(<[u8]>::to_vec);
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let entries = self.nodes.call(&self.key, &words).await?.array();
            self.ended = entries.len() < count;
            for entry in entries {
                let mut parts = entry.array().into_iter();
                let id = parts.next().and_then(Reply::bytes).unwrap_or_default();
                let fields: Vec<Vec<u8>> = parts
                    .next()
                    .map(Reply::array)
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(Reply::bytes)
                    .collect();
                self.first = format!("({}", String::from_utf8_lossy(&id));
                self.read.push_back((
                    id,
                    fields
                        .chunks_exact(2)
                        .map(|pair| (pair[0].clone(), pair[1].clone()))
                        .collect(),
                ));
            }
        }
        Ok(())
    }

    /// The first entries, which are kept for the stream.
    pub(super) async fn peek(&mut self, count: usize) -> Result<Vec<Found>> {
        self.fill(count).await?;
        Ok(self.read.iter().map(|(_, found)| found.clone()).collect())
    }

    async fn next(
        &mut self,
        schema: &SchemaRef,
        unpack: bool,
        strict: bool,
        count: usize,
    ) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(mut batch) = self.whole.pop_front() {
                if batch.num_rows() > count {
                    self.whole
                        .push_front(batch.slice(count, batch.num_rows() - count));
                    batch = batch.slice(0, count);
                }
                return Ok(Some(batch));
            }
            self.fill(count).await?;
            if self.read.is_empty() {
                return Ok(None);
            }
            let mut rows: Vec<Row> = Vec::new();
            while rows.len() < count {
                let is_whole = |found: &Found| {
                    unpack && found.len() == 2 && found[0].0 == b"rows" && found[1].0 == b"arrow"
                };
                match self.read.front() {
                    None => break,
                    Some((_, found)) if is_whole(found) => {
                        if !rows.is_empty() {
                            break;
                        }
                        if let Some((id, found)) = self.read.pop_front() {
                            self.whole.extend(unpacked(schema, &id, &found[1].1)?);
                        }
                        break;
                    }
                    Some(_) => {
                        if let Some((id, found)) = self.read.pop_front() {
                            rows.push(pick(schema, strict, id, found)?);
                        }
                    }
                }
            }
            if !rows.is_empty() {
                return batch(schema, "_id", rows).map(Some);
            }
        }
    }

    pub(super) fn into_stream(
        self,
        schema: SchemaRef,
        unpack: bool,
        strict: bool,
        limit: Option<u64>,
    ) -> BatchStream {
        let announced = schema.clone();
        let batches = futures::stream::try_unfold(
            (self, limit.unwrap_or(u64::MAX)),
            move |(mut entries, left)| {
                let schema = schema.clone();
                async move {
                    let count = entries
                        .size
                        .min(usize::try_from(left).unwrap_or(usize::MAX));
                    if count == 0 {
                        entries.nodes.give_back();
                        return Ok(None);
                    }
                    let Some(batch) = entries.next(&schema, unpack, strict, count).await? else {
                        entries.nodes.give_back();
                        return Ok(None);
                    };
                    let left = left - batch.num_rows() as u64;
                    Ok(Some((batch, (entries, left))))
                }
            },
        );
        BatchStream::new(announced, batches)
    }
}

/// The batches of an entry that holds an Arrow IPC stream, with the columns that are asked for.
fn unpacked(schema: &SchemaRef, id: &[u8], bytes: &[u8]) -> Result<Vec<RecordBatch>> {
    let malformed = |error: arrow_schema::ArrowError| {
        let message = format!(
            "the entry {} holds no Arrow IPC stream",
            String::from_utf8_lossy(id)
        );
        Error::new(ErrorKind::InvalidData, message).with_source(error)
    };
    let mut batches = Vec::new();
    for batch in StreamReader::try_new(bytes, None).map_err(malformed)? {
        let batch = batch.map_err(malformed)?;
        let mut columns: Vec<ArrayRef> = Vec::new();
        for field in schema.fields() {
            columns.push(match batch.column_by_name(field.name()) {
                Some(column) => cast(column, field.data_type())?,
                None if field.name() == "_id" => {
                    let id = String::from_utf8_lossy(id).into_owned();
                    std::sync::Arc::new(arrow_array::StringArray::from(vec![id; batch.num_rows()]))
                }
                None => new_null_array(field.data_type(), batch.num_rows()),
            });
        }
        batches.push(RecordBatch::try_new(SchemaRef::clone(schema), columns)?);
    }
    Ok(batches)
}
