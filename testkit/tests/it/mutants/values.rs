//! What the mutants do to values.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampNanosecondType, UInt64Type};
use arrow_array::{
    Array, ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array, new_null_array,
};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use arrowload_core::{Error, ErrorKind, Result};

use super::fault::Fault;

/// Changes each column of a batch.
fn each(batch: &RecordBatch, change: impl Fn(&ArrayRef) -> ArrayRef) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(
        batch.schema(),
        batch.columns().iter().map(change).collect(),
    )?)
}

fn texts(array: &ArrayRef, change: impl Fn(&str) -> Option<String>) -> ArrayRef {
    match array.as_string_opt::<i32>() {
        Some(texts) => Arc::new(
            texts
                .iter()
                .map(|text| text.and_then(&change))
                .collect::<StringArray>(),
        ),
        None => Arc::clone(array),
    }
}

/// The batch under other names, or with columns of other types.
fn renamed(
    batch: &RecordBatch,
    columns: Vec<ArrayRef>,
    rename: impl Fn(&str) -> String,
) -> Result<RecordBatch> {
    let field = |(field, array): (&Arc<Field>, &ArrayRef)| {
        field
            .as_ref()
            .clone()
            .with_name(rename(field.name()))
            .with_data_type(array.data_type().clone())
    };
    let fields: Vec<_> = batch
        .schema_ref()
        .fields()
        .iter()
        .zip(&columns)
        .map(field)
        .collect();
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

/// The dictionary of the same column in the first batch, where that is long enough.
fn with_first_dictionary(array: &ArrayRef, first: &ArrayRef) -> ArrayRef {
    let (Some(now), Some(first)) = (array.as_any_dictionary_opt(), first.as_any_dictionary_opt())
    else {
        return Arc::clone(array);
    };
    if now.values().len() > first.values().len() {
        Arc::clone(array)
    } else {
        now.with_values(Arc::clone(first.values()))
    }
}

/// What a mutant makes of a batch, for a table with the columns of `schema`.
pub(super) fn broken(
    fault: Fault,
    batch: &RecordBatch,
    schema: &Schema,
    first: Option<&RecordBatch>,
) -> Result<RecordBatch> {
    match fault {
        Fault::LosesTheLastRowOfEachBatch => Ok(batch.slice(0, batch.num_rows().saturating_sub(1))),
        Fault::TurnsNullsIntoValues => {
            each(batch, |array| match array.as_primitive_opt::<Int64Type>() {
                Some(numbers) => Arc::new(
                    numbers
                        .iter()
                        .map(|number| Some(number.unwrap_or(0)))
                        .collect::<Int64Array>(),
                ),
                None => Arc::clone(array),
            })
        }
        Fault::CutsLongText => each(batch, |array| {
            texts(array, |text| Some(text.chars().take(255).collect()))
        }),
        Fault::TurnsEmptyTextIntoNull => each(batch, |array| {
            texts(array, |text| (!text.is_empty()).then(|| text.to_owned()))
        }),
        Fault::TurnsLargeUnsignedIntegersNegative => each(batch, |array| {
            match array.as_primitive_opt::<UInt64Type>() {
                Some(numbers) => Arc::new(
                    numbers
                        .iter()
                        .map(|number| number.map(|number| number >> 1))
                        .collect::<UInt64Array>(),
                ),
                None => Arc::clone(array),
            }
        }),
        Fault::CutsNanoseconds => each(batch, |array| match array.data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, None) => {
                let stamps = array.as_primitive::<TimestampNanosecondType>();
                Arc::new(stamps.unary::<_, TimestampNanosecondType>(|nanos| nanos / 1000 * 1000))
            }
            _ => Arc::clone(array),
        }),
        Fault::ForgetsTimeZones => {
            let without = |array: &ArrayRef| match array.data_type() {
                DataType::Timestamp(unit, Some(_)) => {
                    cast(array, &DataType::Timestamp(*unit, None))
                }
                _ => Ok(Arc::clone(array)),
            };
            renamed(
                batch,
                batch
                    .columns()
                    .iter()
                    .map(without)
                    .collect::<Result<_, _>>()?,
                str::to_owned,
            )
        }
        Fault::FoldsTheCaseOfColumns => renamed(batch, batch.columns().to_vec(), str::to_lowercase),
        Fault::IgnoresWhereSlicesBegin => {
            each(batch, |array| match array.as_primitive_opt::<Int64Type>() {
                // As code does that reads a buffer from its start.
                Some(_) if array.len() == 13 => new_null_array(array.data_type(), array.len()),
                _ => Arc::clone(array),
            })
        }
        Fault::KeepsTheFirstDictionary => {
            let columns = batch.columns().iter().zip(first.unwrap_or(batch).columns());
            Ok(RecordBatch::try_new(
                batch.schema(),
                columns
                    .map(|(array, first)| with_first_dictionary(array, first))
                    .collect(),
            )?)
        }
        Fault::LosesColumnsAfterAThousand => {
            let columns = batch.columns().iter().enumerate();
            let kept = columns.map(|(index, array)| {
                if index < 1000 {
                    Arc::clone(array)
                } else {
                    new_null_array(array.data_type(), array.len())
                }
            });
            Ok(RecordBatch::try_new(batch.schema(), kept.collect())?)
        }
        Fault::DropsNewColumns => {
            let known = |index: &usize| {
                schema
                    .field_with_name(batch.schema_ref().field(*index).name())
                    .is_ok()
            };
            Ok(batch.project(&(0..batch.num_columns()).filter(known).collect::<Vec<_>>())?)
        }
        Fault::EmptiesColumnsThatAnUpsertLacks => {
            let column = |field: &Arc<Field>| match batch.column_by_name(field.name()) {
                Some(column) => Arc::clone(column),
                None => new_null_array(field.data_type(), batch.num_rows()),
            };
            let columns = schema.fields().iter().map(column).collect();
            Ok(RecordBatch::try_new(Arc::new(schema.clone()), columns)?)
        }
        Fault::CastsToTheTargetsTypes => {
            let cast = |(array, field): (&ArrayRef, &Arc<Field>)| cast(array, field.data_type());
            let columns = batch
                .columns()
                .iter()
                .zip(schema.fields())
                .map(cast)
                .collect::<Result<_, _>>()?;
            Ok(RecordBatch::try_new(Arc::new(schema.clone()), columns)?)
        }
        Fault::RefusesTypesAfterItPromisedThem if batch.column_by_name("value").is_some() => {
            Err(Error::new(
                ErrorKind::UnsupportedType,
                "this type, it turns out, cannot be held",
            ))
        }
        _ => Ok(batch.clone()),
    }
}
