//! Messages to batches. What a message says of itself is checked before anything is allocated or sliced for it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_flight::FlightData;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{Message, MessageHeader, root_as_message};
use arrow_schema::{DataType, Schema, SchemaRef};
use arrowload_core::{Error, ErrorKind, Result};

use crate::error::malformed;

/// Stands in the place of a length where a buffer is not compressed after all.
const NOT_COMPRESSED: i64 = -1;

/// What a message brought.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// The columns: the first message, apart from such as bring nothing.
    Schema(SchemaRef),
    /// Rows.
    Batch(RecordBatch),
    /// Values that rows will refer to, or only metadata of the application.
    Nothing,
}

/// The state of a stream of messages.
#[derive(Debug)]
pub(crate) struct Decoder {
    schema: Option<SchemaRef>,
    /// Arrow's decoder copies buffers that lie at odd addresses for all types but these.
    needs_alignment: bool,
    dictionaries: HashMap<i64, ArrayRef>,
    /// Bytes that a message may unpack to.
    max_batch_bytes: u64,
}

impl Decoder {
    pub(crate) fn new(max_batch_bytes: u64) -> Self {
        Self {
            schema: None,
            needs_alignment: false,
            dictionaries: HashMap::new(),
            max_batch_bytes,
        }
    }

    /// Decodes the next message. The decoder of Arrow panics over some malformed bytes: that is an error here.
    pub(crate) fn decode(&mut self, data: FlightData) -> Result<Decoded> {
        // What was changed half is not used again: the stream has ended with the error.
        catch_unwind(AssertUnwindSafe(|| self.decode_trusting(data)))
            .unwrap_or_else(|_| Err(malformed("it cannot be decoded")))
    }

    fn decode_trusting(&mut self, data: FlightData) -> Result<Decoded> {
        if data.data_header.is_empty() {
            return Ok(Decoded::Nothing);
        }
        let message = root_as_message(&data.data_header).map_err(malformed)?;
        match message.header_type() {
            MessageHeader::NONE => Ok(Decoded::Nothing),
            MessageHeader::Schema if self.schema.is_some() => {
                Err(malformed("a second schema in one stream"))
            }
            MessageHeader::Schema => {
                let schema: SchemaRef = Arc::new(Schema::try_from(&data).map_err(malformed)?);
                self.needs_alignment = schema
                    .flattened_fields()
                    .iter()
                    .any(|field| matches!(field.data_type(), DataType::Union(..)));
                self.schema = Some(Arc::clone(&schema));
                Ok(Decoded::Schema(schema))
            }
            MessageHeader::DictionaryBatch | MessageHeader::RecordBatch => {
                let schema = self
                    .schema
                    .as_ref()
                    .ok_or_else(|| malformed("rows before the schema"))?;
                self.check_buffers(&message, &data.data_body)?;
                let body = match self.needs_alignment {
                    true => Buffer::from(data.data_body.as_ref()),
                    false => Buffer::from(data.data_body.clone()),
                };
                if let Some(values) = message.header_as_dictionary_batch() {
                    read_dictionary(
                        &body,
                        values,
                        schema,
                        &mut self.dictionaries,
                        &message.version(),
                    )
                    .map_err(malformed)?;
                    return Ok(Decoded::Nothing);
                }
                let rows = message
                    .header_as_record_batch()
                    .ok_or_else(|| malformed("a message of rows without rows"))?;
                let batch = read_record_batch(
                    &body,
                    rows,
                    Arc::clone(schema),
                    &self.dictionaries,
                    None,
                    &message.version(),
                );
                batch.map(Decoded::Batch).map_err(malformed)
            }
            other => Err(malformed(format!(
                "a message of the kind {}",
                other.variant_name().unwrap_or("unknown")
            ))),
        }
    }

    /// Buffers have to lie within the body, and may not claim to unpack to more than there is room for.
    fn check_buffers(&self, message: &Message<'_>, body: &[u8]) -> Result<()> {
        let dictionary = message.header_as_dictionary_batch();
        let rows = message
            .header_as_record_batch()
            .or_else(|| dictionary.and_then(|values| values.data()));
        let rows = rows.ok_or_else(|| malformed("a message of rows without rows"))?;
        if rows.length() < 0 {
            return Err(malformed(format!("a batch of {} rows", rows.length())));
        }
        let mut unpacked = 0_u64;
        for buffer in rows.buffers().iter().flatten() {
            let bytes = usize::try_from(buffer.offset()).ok().and_then(|from| {
                let to = from.checked_add(usize::try_from(buffer.length()).ok()?)?;
                body.get(from..to)
            });
            let bytes = bytes.ok_or_else(|| {
                malformed(format!(
                    "a buffer of {} bytes at {} of a body of {}",
                    buffer.length(),
                    buffer.offset(),
                    body.len()
                ))
            })?;
            if rows.compression().is_some() && !bytes.is_empty() {
                let claimed = bytes
                    .first_chunk::<8>()
                    .map(|length| i64::from_le_bytes(*length));
                let claimed =
                    claimed.ok_or_else(|| malformed("a compressed buffer without its length"))?;
                if claimed != NOT_COMPRESSED {
                    let claimed = u64::try_from(claimed).map_err(|_| {
                        malformed(format!("a buffer that unpacks to {claimed} bytes"))
                    })?;
                    unpacked = unpacked.saturating_add(claimed);
                }
            }
        }
        if unpacked > self.max_batch_bytes {
            let message = format!(
                "a batch unpacks to {unpacked} bytes, and max_batch_bytes is {}; raise it if the server can be trusted",
                self.max_batch_bytes
            );
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow_ipc::writer::{
        CompressionContext, DictionaryTracker, IpcDataGenerator, IpcWriteOptions,
    };
    use arrowload_testkit::type_cases;

    use super::*;

    #[test]
    fn every_type_is_read_from_any_address() {
        for case in type_cases() {
            let schema = Arc::new(Schema::new(vec![case.field.clone()]));
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(&case.values)])
                .expect("a batch");
            let options = IpcWriteOptions::default();
            let (generator, mut tracker) =
                (IpcDataGenerator::default(), DictionaryTracker::new(false));
            let mut messages = vec![FlightData::from(
                generator.schema_to_bytes_with_dictionary_tracker(&schema, &mut tracker, &options),
            )];
            let (dictionaries, body) = generator
                .encode(
                    &batch,
                    &mut tracker,
                    &options,
                    &mut CompressionContext::default(),
                )
                .expect("encoded");
            messages.extend(dictionaries.into_iter().map(FlightData::from));
            messages.push(body.into());
            for shift in 0..8 {
                let mut decoder = Decoder::new(1 << 30);
                let mut found = None;
                for mut message in messages.clone() {
                    message.data_body =
                        bytes::Bytes::from([&vec![0; shift], message.data_body.as_ref()].concat())
                            .slice(shift..);
                    if let Decoded::Batch(batch) = decoder
                        .decode(message)
                        .unwrap_or_else(|error| panic!("{}: {error:#}", case.name))
                    {
                        found = Some(batch);
                    }
                }
                assert_eq!(
                    found.expect("rows").column(0),
                    &case.values,
                    "{} at {shift}",
                    case.name
                );
            }
        }
    }
}
