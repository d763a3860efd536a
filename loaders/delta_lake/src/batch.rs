//! Builds batches from existing columns.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use arrowload_core::{Result, relabel};

/// The numbers of a batch's rows in the load.
#[derive(Clone, Copy)]
pub(crate) enum RowNumbers<'a> {
    /// They follow each other from here on.
    From(u64),
    /// These.
    Of(&'a [u64]),
}

impl RowNumbers<'_> {
    /// The number of a row of the batch.
    pub(crate) fn of(self, row: u64) -> u64 {
        match self {
            Self::From(first) => first + row,
            Self::Of(numbers) => numbers.get(row as usize).copied().unwrap_or(row),
        }
    }
}

/// A batch of these columns, also of none.
pub(crate) fn build(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

/// The same columns under other names, all the way down.
pub(crate) fn relabel_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| relabel(column, field.data_type()));
    build(schema, columns.collect::<Result<_>>()?, batch.num_rows())
}
