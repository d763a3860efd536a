//! The rules of key columns that hold for every loader: they exist, and null keys are refused, skipped or matched.

use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::Schema;
use arrow_select::filter::filter_record_batch;

use crate::settings::suggestion;
use crate::{Error, ErrorKind, Result};

/// The position of each key in the schema.
pub(crate) fn key_indices(schema: &Schema, keys: &[String]) -> Result<Vec<usize>> {
    let mut indices = Vec::with_capacity(keys.len());
    for key in keys {
        let names = || schema.fields().iter().map(|field| field.name().as_str());
        let Some(index) = names().position(|name| name == key) else {
            let hint = suggestion(key, names());
            let full_stop = if hint.is_empty() { "." } else { "" };
            let columns: Vec<&str> = names().collect();
            let message = format!(
                "the key `{key}` is no column of the query{hint}{full_stop} It has: {}",
                columns.join(", ")
            );
            return Err(Error::new(ErrorKind::InvalidOption, message).with("key", key));
        };
        if indices.contains(&index) {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                format!("the key `{key}` is named twice"),
            )
            .with("key", key));
        }
        indices.push(index);
    }
    Ok(indices)
}

/// For each row, whether all keys have a value; `None` if all rows have.
pub(crate) fn rows_with_keys(batch: &RecordBatch, keys: &[usize]) -> Option<BooleanBuffer> {
    let nulls = keys
        .iter()
        .map(|index| batch.column(*index).logical_nulls());
    let all = nulls.fold(None, |all, nulls| {
        NullBuffer::union(all.as_ref(), nulls.as_ref())
    })?;
    (all.null_count() > 0).then(|| all.into_inner())
}

/// The error for the first row without a key.
pub(crate) fn null_key_error(
    schema: &Schema,
    batch: &RecordBatch,
    keys: &[usize],
    with_keys: &BooleanBuffer,
    first_row: u64,
) -> Error {
    let row = with_keys.iter().position(|has| !has).unwrap_or_default();
    let is_null = |index: &&usize| {
        batch
            .column(**index)
            .logical_nulls()
            .is_some_and(|nulls| nulls.is_null(row))
    };
    let column = keys
        .iter()
        .find(is_null)
        .map_or("", |index| schema.field(*index).name());
    let message = format!(
        "the key column `{column}` is null; filter such rows out, or set null_keys = match, or on_error = skip"
    );
    Error::new(ErrorKind::NullKey, message)
        .with("column", column)
        .at_row(first_row + row as u64)
}

/// Splits a batch into the rows that have keys and those that have not.
pub(crate) fn partition(
    batch: &RecordBatch,
    with_keys: &BooleanBuffer,
) -> Result<(RecordBatch, RecordBatch)> {
    let kept = filter_record_batch(batch, &BooleanArray::new(with_keys.clone(), None))?;
    let others = filter_record_batch(batch, &BooleanArray::new(!with_keys, None))?;
    Ok((kept, others))
}
