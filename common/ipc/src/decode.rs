//! Messages to batches. What a message says of itself is checked before anything is allocated or sliced for it.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{Message, MessageHeader};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use arrowload_core::Result;
use bytes::Bytes;

use crate::error::{malformed, unsupported};
use crate::layout::{self, Body};
use crate::message::parse;
use crate::schema::{Columns, check_version, convert};
use crate::swap::swap;

/// What a message brought.
#[derive(Debug)]
#[non_exhaustive]
pub enum Decoded {
    /// The columns: the first message, apart from such as bring nothing.
    Schema(SchemaRef),
    /// Rows.
    Batch(RecordBatch),
    /// Values that rows will refer to, or only metadata of the application.
    Nothing,
}

/// The state of a sequence of messages: their columns, and the dictionaries so far.
///
/// Every length, count and offset is checked against the columns and the bytes that are there; then Arrow's own decoder builds
/// the arrays, and validates their values. Nothing is allocated that the bytes cannot stand for.
#[derive(Debug)]
pub struct Decoder {
    columns: Option<Columns>,
    /// Arrow's decoder copies buffers that lie at odd addresses for all types but these.
    needs_alignment: bool,
    dictionaries: HashMap<i64, ArrayRef>,
    /// For each dictionary, those within whose values it stands.
    outer: HashMap<i64, Vec<i64>>,
    /// Dictionaries within whose values another was replaced since they came.
    stale: HashSet<i64>,
    /// Whether a dictionary may be replaced: in a stream, but not in a file, whose batches are read in any order.
    may_replace: bool,
    projection: Option<Vec<usize>>,
    /// Bytes that a message may unpack to.
    max_batch_bytes: u64,
}

impl Decoder {
    /// A decoder for the messages of one stream. A batch that unpacks to more bytes is refused.
    pub fn new(max_batch_bytes: u64) -> Self {
        Self {
            columns: None,
            needs_alignment: false,
            dictionaries: HashMap::new(),
            outer: HashMap::new(),
            stale: HashSet::new(),
            may_replace: true,
            projection: None,
            max_batch_bytes,
        }
    }

    /// Decodes only these columns of each batch, which have to be there.
    pub(crate) fn project(&mut self, projection: Option<Vec<usize>>) {
        self.projection = projection;
    }

    /// Refuses dictionaries that are replaced.
    pub(crate) fn refuse_replacement(&mut self) {
        self.may_replace = false;
    }

    /// All columns, as soon as they are known.
    pub(crate) fn schema(&self) -> Option<&SchemaRef> {
        self.columns.as_ref().map(|columns| &columns.schema)
    }

    /// Sets the columns where they do not come as a message.
    pub(crate) fn set_schema(&mut self, schema: arrow_ipc::Schema<'_>) -> Result<SchemaRef> {
        let columns = convert(schema)?;
        let schema = Arc::clone(&columns.schema);
        self.needs_alignment = schema
            .flattened_fields()
            .iter()
            .any(|field| matches!(field.data_type(), DataType::Union(..)));
        nest(schema.fields(), &[], &mut self.outer);
        self.columns = Some(columns);
        Ok(schema)
    }

    /// Decodes the next message: its head, a flatbuffer without a prefix, and its body.
    ///
    /// # Errors
    /// Of the kind [`InvalidData`](arrowload_core::ErrorKind::InvalidData) when it is malformed or of a kind that is not read.
    /// The decoder is not used again after that.
    pub fn decode(&mut self, head: &[u8], body: Bytes) -> Result<Decoded> {
        // Arrow's decoder panics over some malformed bytes. Those that are known are refused before; this is for the others.
        catch_unwind(AssertUnwindSafe(|| self.decode_checked(head, body)))
            .unwrap_or_else(|_| Err(malformed("it cannot be decoded")))
    }

    fn decode_checked(&mut self, head: &[u8], body: Bytes) -> Result<Decoded> {
        if head.is_empty() {
            return Ok(Decoded::Nothing);
        }
        let (message, _) = parse(head)?;
        if message.header_type() == MessageHeader::NONE {
            return Ok(Decoded::Nothing);
        }
        check_version(message.version())?;
        match message.header_type() {
            MessageHeader::Schema if self.columns.is_some() => {
                Err(malformed("a second schema in one stream"))
            }
            MessageHeader::Schema => {
                let schema = message
                    .header_as_schema()
                    .ok_or_else(|| malformed("a message of a schema without one"))?;
                self.set_schema(schema).map(Decoded::Schema)
            }
            MessageHeader::DictionaryBatch => self.dictionary(&message, body),
            MessageHeader::RecordBatch => self.batch(&message, body),
            other => Err(unsupported(format!(
                "a message of the kind {}",
                other.variant_name().unwrap_or("unknown")
            ))),
        }
    }

    fn columns(&self) -> Result<&Columns> {
        self.columns
            .as_ref()
            .ok_or_else(|| malformed("rows before the schema"))
    }

    fn dictionary(&mut self, message: &Message<'_>, body: Bytes) -> Result<Decoded> {
        let values = message
            .header_as_dictionary_batch()
            .ok_or_else(|| malformed("a message of a dictionary without one"))?;
        let rows = values
            .data()
            .ok_or_else(|| malformed("a dictionary without values"))?;
        let (id, is_delta) = (values.id(), values.isDelta());
        let schema = Arc::clone(&self.columns()?.schema);
        let is_known = self.dictionaries.contains_key(&id);
        if is_known && !is_delta && !self.may_replace {
            return Err(unsupported(format!(
                "a file in which dictionary {id} is replaced, as only streams may"
            )));
        }
        #[expect(
            deprecated,
            reason = "Arrow's decoder finds the columns of a dictionary by it"
        )]
        let field = schema.fields_with_dict_id(id).into_iter().next().cloned();
        let Some(DataType::Dictionary(_, of)) = field.as_ref().map(Field::data_type) else {
            return Err(malformed(format!("a dictionary {id} that no column has")));
        };
        let fields = Fields::from(vec![Field::new("", of.as_ref().clone(), true)]);
        let body = self.checked(message, rows, &fields, body)?;
        let of_version = message.version();
        read_dictionary(&body, values, &schema, &mut self.dictionaries, &of_version)
            .map_err(malformed)?;
        if !is_delta {
            self.stale.remove(&id);
            if is_known {
                self.outdate(id);
            }
        }
        Ok(Decoded::Nothing)
    }

    /// Marks what stands around a dictionary that was replaced: it still refers to the old values.
    fn outdate(&mut self, id: i64) {
        let outer = self.outer.get(&id).into_iter().flatten();
        let outer = outer.filter(|outer| self.dictionaries.contains_key(outer));
        self.stale.extend(outer);
    }

    fn batch(&mut self, message: &Message<'_>, body: Bytes) -> Result<Decoded> {
        let rows = message
            .header_as_record_batch()
            .ok_or_else(|| malformed("a message of rows without rows"))?;
        let schema = Arc::clone(&self.columns()?.schema);
        if let Some(id) = self.stale.iter().next() {
            return Err(unsupported(format!(
                "the values of dictionary {id} refer to another that was replaced after them"
            )));
        }
        let body = self.checked(message, rows, schema.fields(), body)?;
        let batch = read_record_batch(
            &body,
            rows,
            schema,
            &self.dictionaries,
            self.projection.as_deref(),
            &message.version(),
        );
        batch.map(Decoded::Batch).map_err(malformed)
    }

    /// Checks rows, and answers their bytes with numbers the right way round.
    fn checked(
        &self,
        message: &Message<'_>,
        rows: arrow_ipc::RecordBatch<'_>,
        fields: &Fields,
        body: Bytes,
    ) -> Result<Buffer> {
        let big_endian = self.columns()?.big_endian;
        let facts = Body {
            bytes: &body,
            version: message.version(),
            big_endian,
            max_bytes: self.max_batch_bytes,
        };
        let swaps = layout::check(rows, fields, facts)?;
        if big_endian {
            let mut turned = body.to_vec();
            swap(&mut turned, &swaps)?;
            return Ok(Buffer::from_vec(turned));
        }
        Ok(match self.needs_alignment {
            true => Buffer::from(body.as_ref()),
            false => Buffer::from(body),
        })
    }
}

/// Notes for each dictionary of some fields those around it.
fn nest(fields: &Fields, around: &[i64], outer: &mut HashMap<i64, Vec<i64>>) {
    for field in fields {
        #[expect(
            deprecated,
            reason = "Arrow's decoder finds the columns of a dictionary by it"
        )]
        let id = field.dict_id();
        match (field.data_type(), id) {
            (DataType::Dictionary(_, values), Some(id)) => {
                let known = outer.entry(id).or_default();
                known.extend(around.iter().copied().filter(|around| *around != id));
                let around = [around, &[id]].concat();
                nest(&within(values), &around, outer);
            }
            (other, _) => nest(&within(other), around, outer),
        }
    }
}

/// The fields within a type.
fn within(of: &DataType) -> Fields {
    match of {
        DataType::Struct(fields) => fields.clone(),
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| Arc::clone(field)).collect(),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => Fields::from(vec![Arc::clone(field)]),
        DataType::RunEndEncoded(ends, values) => {
            Fields::from(vec![Arc::clone(ends), Arc::clone(values)])
        }
        DataType::Dictionary(_, values) => within(values),
        _ => Fields::empty(),
    }
}

/// The columns that a projection leaves.
pub(crate) fn projected(schema: &SchemaRef, projection: Option<&[usize]>) -> Result<SchemaRef> {
    match projection {
        None => Ok(Arc::clone(schema)),
        Some(wanted) => Ok(Arc::new(Schema::project(schema, wanted)?)),
    }
}
