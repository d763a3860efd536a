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
    /// For each dictionary, the dictionaries whose values contain it.
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

    /// Decodes only these columns of each batch, which must exist.
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

    /// Marks the dictionaries that contain one that was replaced: they still refer to the old values.
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

#[cfg(test)]
mod tests {
    use arrow_array::builder::StringDictionaryBuilder;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int32Type;
    use arrow_array::{Array, DictionaryArray, Int32Array, StructArray};
    use arrow_ipc::writer::{
        CompressionContext, DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteOptions,
    };
    use arrowload_testkit::type_cases;

    use super::*;

    /// Writes messages as a stream would have them.
    struct Writer {
        tracker: DictionaryTracker,
        options: IpcWriteOptions,
        messages: Vec<EncodedData>,
    }

    impl Writer {
        fn new(schema: &Schema) -> Self {
            let mut tracker = DictionaryTracker::new(false);
            let options = IpcWriteOptions::default();
            let schema = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
                schema,
                &mut tracker,
                &options,
            );
            Self {
                tracker,
                options,
                messages: vec![schema],
            }
        }

        fn write(&mut self, batch: &RecordBatch) {
            let mut context = CompressionContext::default();
            let (dictionaries, rows) = IpcDataGenerator::default()
                .encode(batch, &mut self.tracker, &self.options, &mut context)
                .expect("encoded");
            self.messages.extend(dictionaries);
            self.messages.push(rows);
        }
    }

    fn decode(decoder: &mut Decoder, message: &EncodedData) -> Result<Decoded> {
        decoder.decode(&message.ipc_message, message.arrow_data.clone().into())
    }

    #[test]
    fn every_type_is_read_from_any_address() {
        for case in type_cases() {
            let schema = Arc::new(Schema::new(vec![case.field.clone()]));
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(&case.values)])
                .expect("a batch");
            let mut writer = Writer::new(&schema);
            writer.write(&batch);
            for shift in 0..8 {
                let mut decoder = Decoder::new(1 << 30);
                let mut found = None;
                for message in &writer.messages {
                    let body = [&vec![0; shift], message.arrow_data.as_slice()].concat();
                    let body = Bytes::from(body).slice(shift..);
                    let decoded = decoder.decode(&message.ipc_message, body);
                    if let Decoded::Batch(batch) =
                        decoded.unwrap_or_else(|error| panic!("{}: {error:#}", case.name))
                    {
                        found = Some(batch);
                    }
                }
                let found = found.expect("rows");
                assert_eq!(found.column(0), &case.values, "{} at {shift}", case.name);
            }
        }
    }

    /// A dictionary of structs that contains another dictionary.
    fn nested(inner: &[&str]) -> RecordBatch {
        let mut words = StringDictionaryBuilder::<Int32Type>::new();
        words.extend(inner.iter().map(Some));
        let words = words.finish();
        let field = Arc::new(Field::new("word", words.data_type().clone(), true));
        let structs = StructArray::from(vec![(field, Arc::new(words) as ArrayRef)]);
        let keys = Int32Array::from_iter_values(0..inner.len() as i32);
        let outer = DictionaryArray::new(keys, Arc::new(structs));
        RecordBatch::try_from_iter([("outer", Arc::new(outer) as ArrayRef)]).expect("a batch")
    }

    fn words(batch: &RecordBatch) -> Vec<String> {
        let outer = batch.column(0).as_dictionary::<Int32Type>();
        let inner = outer.values().as_struct().column(0);
        let inner = inner.as_dictionary::<Int32Type>();
        let words = inner
            .downcast_dict::<arrow_array::StringArray>()
            .expect("words");
        let words: Vec<_> = words
            .into_iter()
            .map(|word| word.expect("a word").to_owned())
            .collect();
        words
    }

    #[test]
    fn an_inner_dictionary_is_replaced_only_with_the_outer_one() {
        let (first, second) = (nested(&["a", "b"]), nested(&["c", "d"]));
        let mut writer = Writer::new(&first.schema());
        writer.write(&first);
        writer.write(&second);
        let is_rows = |message: &EncodedData| {
            parse(&message.ipc_message)
                .expect("a message")
                .0
                .header_type()
                == MessageHeader::RecordBatch
        };
        let mut decoder = Decoder::new(1 << 20);
        let found: Vec<RecordBatch> = (writer.messages.iter())
            .filter_map(
                |message| match decode(&mut decoder, message).expect("decoded") {
                    Decoded::Batch(batch) => Some(batch),
                    _ => None,
                },
            )
            .collect();
        assert_eq!(
            found.iter().flat_map(words).collect::<Vec<_>>(),
            ["a", "b", "c", "d"]
        );
        // Without the last dictionary, which is the outer one, the rows would be those of the old inner one.
        let last = writer.messages.len() - 2;
        assert!(!is_rows(&writer.messages[last]));
        writer.messages.remove(last);
        let mut decoder = Decoder::new(1 << 20);
        let outcome = writer
            .messages
            .iter()
            .try_for_each(|message| decode(&mut decoder, message).map(drop));
        let error = outcome.expect_err("the outer one is stale");
        assert!(error.message().contains("replaced after them"), "{error}");
    }
}
