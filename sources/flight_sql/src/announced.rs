//! Checks that the rows of a server have the schema that it announced.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_flight::FlightInfo;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrowload_common_ipc::read_schema;
use arrowload_core::arrow_types::map_fields;
use arrowload_core::{Error, ErrorKind, Result, relabel};

use crate::error::undecoded;

/// The columns that an answer announces; a server may leave them to the first message.
pub(crate) fn schema(info: &FlightInfo) -> Result<Option<SchemaRef>> {
    if info.schema.is_empty() {
        return Ok(None);
    }
    read_schema(&info.schema).map(Some).map_err(undecoded)
}

/// Refuses rows of other columns than were announced. Their metadata may differ.
pub(crate) fn check(announced: &Schema, sent: &Schema) -> Result<()> {
    let columns = |schema: &Schema| -> Vec<String> {
        schema
            .fields()
            .iter()
            .map(|field| format!("{} {}", field.name(), bare(field.data_type())))
            .collect()
    };
    let (before, now) = (columns(announced), columns(sent));
    if before == now {
        return Ok(());
    }
    let message = format!(
        "the server announced the columns {} and sends {}",
        before.join(", "),
        now.join(", ")
    );
    Err(Error::new(ErrorKind::SchemaMismatch, message))
}

/// A type without metadata inside of it, and with nulls everywhere.
fn bare(of: &DataType) -> DataType {
    match of {
        DataType::Dictionary(keys, values) => {
            DataType::Dictionary(keys.clone(), Box::new(bare(values)))
        }
        other => map_fields(other, |field| {
            Arc::new(Field::new(field.name(), bare(field.data_type()), true))
        }),
    }
}

/// The same rows with what was announced of them.
pub(crate) fn conform(batch: &RecordBatch, announced: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch
        .columns()
        .iter()
        .zip(announced.fields())
        .map(|(column, field)| relabel(column, field.data_type()));
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = columns.collect::<Result<_>>().and_then(|columns| {
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(announced),
            columns,
            &rows,
        )?)
    });
    batch.map_err(|error| {
        let message = format!(
            "the server announced other columns than it sends: {}",
            error.message()
        );
        Error::new(ErrorKind::SchemaMismatch, message).with_source(error)
    })
}
