//! A JSON object on each line, with every column, null or not.

use std::io::{self, Write};
use std::path::PathBuf;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_json::WriterBuilder;
use arrow_json::writer::LineDelimited;
use arrow_schema::DataType;
use arrowload_core::{Error, ErrorKind, Result};

use super::{Compressor, Encoder};
use crate::error::{from_arrow, from_io};
use crate::types::as_text_columns;

pub(super) struct NdjsonEncoder {
    output: Compressor,
    shown: PathBuf,
}

impl NdjsonEncoder {
    pub(super) fn new(output: Compressor, shown: PathBuf) -> Self {
        Self { output, shown }
    }
}

impl Encoder for NdjsonEncoder {
    fn write(&mut self, batch: &RecordBatch, first_row: u64) -> Result<()> {
        for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            if let Some(row) = first_not_finite(array) {
                let message =
                    format!("column `{}` holds NaN or infinity, which JSON has no number for; cast it to text in the query", field.name());
                return Err(Error::new(ErrorKind::InvalidData, message).with("column", field.name()).at_row(first_row + row as u64));
            }
        }
        let at = |error| from_arrow(&self.shown, error);
        let batch = as_text_columns(batch).map_err(at)?;
        let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Flushless(&mut self.output));
        writer.write(&batch).and_then(|()| writer.finish()).map_err(at)
    }

    fn finish(&mut self) -> Result<()> {
        self.output.finish().map_err(|error| from_io(&self.shown, error))
    }
}

/// The JSON writer flushes at each end; the file is flushed once.
struct Flushless<'a>(&'a mut Compressor);

impl Write for Flushless<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first row with a value, at any depth, that is no JSON number.
fn first_not_finite(array: &ArrayRef) -> Option<usize> {
    let among = |is_finite: &dyn Fn(usize) -> bool| (0..array.len()).find(|row| array.is_valid(*row) && !is_finite(*row));
    match array.data_type() {
        DataType::Float16 => among(&|row| array.as_primitive::<Float16Type>().value(row).is_finite()),
        DataType::Float32 => among(&|row| array.as_primitive::<Float32Type>().value(row).is_finite()),
        DataType::Float64 => among(&|row| array.as_primitive::<Float64Type>().value(row).is_finite()),
        DataType::Struct(_) => array.as_struct().columns().iter().filter_map(first_not_finite).min(),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary_opt()?;
            let bad = first_not_finite(dictionary.values())?;
            let keys = dictionary.normalized_keys();
            (0..array.len()).find(|row| array.is_valid(*row) && keys[*row] == bad).or(Some(0))
        }
        DataType::List(_) => in_items(array, array.as_list::<i32>().values()),
        DataType::LargeList(_) => in_items(array, array.as_list::<i64>().values()),
        DataType::FixedSizeList(..) => in_items(array, array.as_fixed_size_list().values()),
        DataType::ListView(_) => in_items(array, array.as_list_view::<i32>().values()),
        DataType::LargeListView(_) => in_items(array, array.as_list_view::<i64>().values()),
        DataType::Map(..) => in_items(array, array.as_map().values()),
        _ => None,
    }
}

/// Row by row, but only if there is anything to find.
fn in_items(array: &ArrayRef, items: &ArrayRef) -> Option<usize> {
    first_not_finite(items)?;
    (0..array.len()).find(|row| {
        let list = match array.data_type() {
            DataType::List(_) => array.as_list::<i32>().value(*row),
            DataType::LargeList(_) => array.as_list::<i64>().value(*row),
            DataType::FixedSizeList(..) => array.as_fixed_size_list().value(*row),
            DataType::ListView(_) => array.as_list_view::<i32>().value(*row),
            DataType::LargeListView(_) => array.as_list_view::<i64>().value(*row),
            _ => std::sync::Arc::new(array.as_map().value(*row)),
        };
        array.is_valid(*row) && first_not_finite(&list).is_some()
    })
}
