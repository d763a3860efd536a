//! The least and the greatest value of a column of strings or bytes, for the statistics of its chunk.
//!
//! The encoder compares every value with both in full, each time by a call: a tenth of what it takes to write rows of
//! short strings. Here the first eight bytes of a value, as one number, decide almost always.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayAccessor, ArrayRef, BinaryArray, StringArray};
use arrow_schema::{DataType, FieldRef, Schema};
use arrowload_core::Result;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::file::metadata::LevelHistogram;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::SerializedFileWriter;

use crate::error::{encoder, stopped};
use crate::profile::TRUNCATE_BYTES;

/// Whether the extremes of a column of this type are found here, and not by the encoder.
pub(crate) fn found_here(data_type: &DataType) -> bool {
    use DataType as D;
    matches!(
        data_type,
        D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary | D::BinaryView
    )
}

/// What is known of the values of one chunk.
#[derive(Debug, Default)]
pub(crate) struct Extremes {
    range: Option<(Bound, Bound)>,
    nulls: usize,
    values: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Bound {
    prefix: u64,
    value: Vec<u8>,
}

impl Bound {
    fn new(prefix: u64, value: &[u8]) -> Self {
        Self {
            prefix,
            value: value.to_vec(),
        }
    }

    /// Whether a value with the same prefix may be another one: equal bytes, and no more of them, are the same.
    #[inline]
    fn may_differ(&self, value: &[u8]) -> bool {
        (value.len() != self.value.len()) | (value.len() > 8)
    }

    fn set(&mut self, prefix: u64, value: &[u8]) {
        self.prefix = prefix;
        self.value.clear();
        self.value.extend_from_slice(value);
    }
}

impl Extremes {
    /// Adds the values of an array of a type that is [`found_here`].
    pub(crate) fn add(&mut self, array: &dyn Array) {
        self.nulls += array.null_count();
        self.values += array.len() - array.null_count();
        match array.data_type() {
            DataType::Utf8 => self.add_values(array.as_string::<i32>()),
            DataType::LargeUtf8 => self.add_values(array.as_string::<i64>()),
            DataType::Utf8View => self.add_values(array.as_string_view()),
            DataType::Binary => self.add_values(array.as_binary::<i32>()),
            DataType::LargeBinary => self.add_values(array.as_binary::<i64>()),
            _ => self.add_values(array.as_binary_view()),
        }
    }

    fn add_values<A: ArrayAccessor<Item: AsRef<[u8]>>>(&mut self, array: A) {
        for row in 0..array.len() {
            if array.is_valid(row) {
                self.push(array.value(row).as_ref());
            }
        }
    }

    #[inline]
    fn push(&mut self, value: &[u8]) {
        self.bytes += value.len();
        let prefix = prefix(value);
        let Some((least, greatest)) = &mut self.range else {
            self.range = Some((Bound::new(prefix, value), Bound::new(prefix, value)));
            return;
        };
        // No branch for the values of a column that has few: which of them comes next is not to be foreseen.
        let below = (prefix < least.prefix) | ((prefix == least.prefix) & least.may_differ(value));
        let above =
            (prefix > greatest.prefix) | ((prefix == greatest.prefix) & greatest.may_differ(value));
        if below | above {
            if value < least.value.as_slice() {
                least.set(prefix, value);
            }
            if value > greatest.value.as_slice() {
                greatest.set(prefix, value);
            }
        }
    }

    /// Puts what is known into the chunk's metadata, as the encoder would have.
    pub(crate) fn describe(self, field: &FieldRef, chunk: &mut ArrowColumnChunk) -> Result<()> {
        let (nulls, values, bytes) = (self.nulls, self.values, self.bytes);
        let statistics = self.statistics(field)?;
        let metadata = &mut chunk.close_mut().metadata;
        let levels = metadata.column_descr().max_def_level();
        let mut builder = metadata.clone().into_builder();
        builder = builder
            .set_statistics(statistics)
            .set_unencoded_byte_array_data_bytes(Some(bytes as i64));
        if levels == 1 {
            builder = builder.set_definition_level_histogram(Some(LevelHistogram::from(vec![
                nulls as i64,
                values as i64,
            ])));
        }
        *metadata = builder.build().map_err(encoder)?;
        Ok(())
    }

    /// The encoder is given the two extremes alone, so that what it does with long ones, and notes of them, stays its own.
    fn statistics(self, field: &FieldRef) -> Result<Statistics> {
        let extremes: Vec<Vec<u8>> = self
            .range
            .map(|(least, greatest)| vec![least.value, greatest.value])
            .unwrap_or_default();
        let array: ArrayRef = match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                let texts = extremes
                    .into_iter()
                    .map(String::from_utf8)
                    .collect::<Result<Vec<_>, _>>();
                Arc::new(StringArray::from(texts.map_err(|error| {
                    stopped(format!("column `{}`: {error}", field.name()))
                })?))
            }
            _ => Arc::new(BinaryArray::from_iter_values(extremes)),
        };
        let field = Arc::new(
            field
                .as_ref()
                .clone()
                .with_data_type(array.data_type().clone()),
        );
        let schema = Arc::new(Schema::new(vec![field.clone()]));
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_statistics_truncate_length(Some(TRUNCATE_BYTES))
            .build();
        let root = ArrowSchemaConverter::new()
            .convert(&schema)
            .map_err(encoder)?
            .root_schema_ptr();
        let file =
            SerializedFileWriter::new(Vec::new(), root, Arc::new(properties)).map_err(encoder)?;
        let mut writers = ArrowRowGroupWriterFactory::new(&file, schema)
            .create_column_writers(0)
            .map_err(encoder)?;
        let mut writer = writers
            .pop()
            .ok_or_else(|| stopped(format!("column `{}` has no writer", field.name())))?;
        for leaf in compute_leaves(&field, &array).map_err(encoder)? {
            writer.write(&leaf).map_err(encoder)?;
        }
        let chunk = writer.close().map_err(encoder)?;
        let nulls = Some(self.nulls as u64);
        Ok(match chunk.close().metadata.statistics() {
            Some(Statistics::ByteArray(found)) => Statistics::ByteArray(
                ValueStatistics::new(
                    found.min_opt().cloned(),
                    found.max_opt().cloned(),
                    None,
                    nulls,
                    false,
                )
                .with_backwards_compatible_min_max(found.is_min_max_backwards_compatible())
                .with_min_is_exact(found.min_is_exact())
                .with_max_is_exact(found.max_is_exact()),
            ),
            _ => Statistics::byte_array(None, None, None, nulls, false),
        })
    }
}

/// The first eight bytes as a number that orders as they do, with zeros where there are fewer.
#[inline]
fn prefix(value: &[u8]) -> u64 {
    let at = |index: usize, shift: usize| u64::from(value[index]) << (56 - 8 * shift);
    let four = |from: usize| {
        value[from..]
            .first_chunk::<4>()
            .map_or(0, |bytes| u64::from(u32::from_be_bytes(*bytes)))
    };
    match value.len() {
        0 => 0,
        // The last byte and the middle one may be the first again: the same bits at the same place.
        length @ 1..=3 => at(0, 0) | at(length / 2, length / 2) | at(length - 1, length - 1),
        length @ 4..=7 => (four(0) << 32) | (four(length - 4) << (8 * (8 - length))),
        _ => value
            .first_chunk::<8>()
            .map_or(0, |bytes| u64::from_be_bytes(*bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_orders_as_its_bytes_do() {
        for length in 0..12_u8 {
            let value: Vec<u8> = (0..length).map(|byte| byte * 7 + 1).collect();
            let mut padded = value.clone();
            padded.resize(8.max(value.len()), 0);
            assert_eq!(prefix(&value).to_be_bytes(), padded[..8], "{length} bytes");
        }
    }
}
