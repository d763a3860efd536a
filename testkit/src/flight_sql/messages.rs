//! The messages of an answer.

use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_flight::FlightData;
use arrow_ipc::writer::{
    CompressionContext, DictionaryHandling, DictionaryTracker, IpcDataGenerator, IpcWriteOptions,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::FlightSqlBehaviour;

/// The columns as they are sent.
pub(super) fn sent_schema(schema: &Schema, behaviour: &FlightSqlBehaviour) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        match is_text(field.data_type()) && behaviour.growing_dictionaries {
            true => {
                let kind =
                    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
                Arc::new(Field::new(field.name(), kind, field.is_nullable()))
            }
            false => Arc::clone(field),
        }
    });
    Arc::new(Schema::new_with_metadata(
        fields.collect::<Vec<_>>(),
        schema.metadata().clone(),
    ))
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::Utf8View)
}

/// Encodes rows: their schema, then so many rows a message.
pub(super) fn encode(
    rows: &RecordBatch,
    behaviour: &FlightSqlBehaviour,
) -> Result<Vec<FlightData>, ArrowError> {
    let options = IpcWriteOptions::default().try_with_compression(behaviour.body_compression)?;
    let options = options.with_dictionary_handling(DictionaryHandling::Delta);
    let schema = sent_schema(&rows.schema(), behaviour);
    let (generator, mut tracker) = (IpcDataGenerator::default(), DictionaryTracker::new(false));
    let mut compression = CompressionContext::default();
    let mut messages = vec![FlightData::from(
        generator.schema_to_bytes_with_dictionary_tracker(&schema, &mut tracker, &options),
    )];
    let step = if behaviour.rows_per_message == 0 {
        100
    } else {
        behaviour.rows_per_message
    };
    for from in (0..rows.num_rows()).step_by(step) {
        let to = rows.num_rows().min(from + step);
        let columns = rows.columns().iter().map(|column| {
            match is_text(column.data_type()) && behaviour.growing_dictionaries {
                true => growing(column, from, to),
                false => Ok(column.slice(from, to - from)),
            }
        });
        let count = arrow_array::RecordBatchOptions::new().with_row_count(Some(to - from));
        let batch = RecordBatch::try_new_with_options(
            Arc::clone(&schema),
            columns.collect::<Result<_, _>>()?,
            &count,
        )?;
        let (dictionaries, body) =
            generator.encode(&batch, &mut tracker, &options, &mut compression)?;
        messages.extend(dictionaries.into_iter().map(FlightData::from));
        messages.push(body.into());
    }
    if behaviour.app_metadata {
        let count = messages.len();
        messages = messages
            .into_iter()
            .enumerate()
            .map(|(index, message)| message.with_app_metadata(format!("message {index}")))
            .collect();
        messages.insert(count / 2, FlightData::new().with_app_metadata("between"));
    }
    Ok(messages)
}

/// Some rows of a column, with a dictionary that holds all values before them too.
fn growing(column: &ArrayRef, from: usize, to: usize) -> Result<ArrayRef, ArrowError> {
    let text = arrow_cast::cast(column, &DataType::Utf8)?;
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    for value in text.as_string::<i32>().iter().take(to) {
        builder.append_option(value);
    }
    Ok(Arc::new(builder.finish().slice(from, to - from)))
}
