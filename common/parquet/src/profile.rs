//! Chooses each column's encoding from the first rows of a file.
//!
//! A dictionary pays where values repeat: pages shrink to a few bits a value. Where they do not, the encoder hashes
//! every value for nothing, until the dictionary is full and is given up. So the share of distinct values among the
//! first rows decides. The share is only a guess for what comes later, and the guess is cheap both ways: a dictionary
//! that grows too large is given up by the encoder, and a plain page is still compressed.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher};

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch, downcast_primitive_array};
use arrow_schema::{DataType, SchemaRef};
use arrowload_core::Result;
use foldhash::fast::RandomState;
use parquet::basic::Encoding;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

use crate::{Encodings, ParquetOptions, Statistics, extremes};

/// The rows that are looked at.
const SAMPLE_ROWS: usize = 8192;
/// Fewer rows tell nothing: every column keeps its dictionary.
const LEAST_ROWS: usize = 256;
/// A dictionary's page, at most; beyond it the encoder goes on without.
const DICTIONARY_BYTES: usize = 1 << 20;
/// Pages of this size keep a page's three copies (plain, levels and values, compressed) in the second-level cache.
const PAGE_BYTES: usize = 1 << 20;
/// Bytes of a string that statistics keep.
pub(crate) const TRUNCATE_BYTES: usize = 64;

/// The writer properties for a file that begins with `batches`.
pub(crate) fn properties(
    options: &ParquetOptions,
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<WriterProperties> {
    let statistics = match options.statistics {
        Statistics::None => EnabledStatistics::None,
        Statistics::Chunk => EnabledStatistics::Chunk,
        Statistics::Page => EnabledStatistics::Page,
    };
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(concat!("arrowload ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(
            options
                .compression
                .codec()
                .map_err(crate::error::invalid_option)?,
        )
        .set_statistics_enabled(statistics)
        .set_offset_index_disabled(options.statistics != Statistics::Page)
        .set_statistics_truncate_length(Some(TRUNCATE_BYTES))
        .set_column_index_truncate_length(Some(TRUNCATE_BYTES))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_data_page_row_count_limit(usize::MAX)
        // Ours ends row groups itself.
        .set_max_row_group_row_count(None);
    for (index, field) in schema.fields().iter().enumerate() {
        if statistics == EnabledStatistics::Chunk && extremes::found_here(field.data_type()) {
            builder = builder.set_column_statistics_enabled(
                ColumnPath::from(field.name().as_str()),
                EnabledStatistics::None,
            );
        }
        // Nested columns keep the defaults: their leaves are not sampled.
        if pays(batches, index, options.row_group_rows) {
            continue;
        }
        let path = ColumnPath::from(field.name().as_str());
        builder = builder.set_column_dictionary_enabled(path.clone(), false);
        if let (Encodings::V2, Some(encoding)) = (options.encodings, delta(field.data_type())) {
            builder = builder.set_column_encoding(path, encoding);
        }
    }
    Ok(builder.build())
}

/// The encoding of format version 2 that suits a type without a dictionary.
fn delta(data_type: &DataType) -> Option<Encoding> {
    use DataType as D;
    match data_type {
        D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary | D::BinaryView => {
            Some(Encoding::DELTA_LENGTH_BYTE_ARRAY)
        }
        D::Decimal32(p, _) | D::Decimal64(p, _) | D::Decimal128(p, _) | D::Decimal256(p, _)
            if *p > 18 =>
        {
            None
        }
        D::Float16 | D::Float32 | D::Float64 | D::Interval(_) => None,
        other if other.is_primitive() => Some(Encoding::DELTA_BINARY_PACKED),
        _ => None,
    }
}

/// Whether a dictionary pays for a column, by the distinct values of its first rows.
fn pays(batches: &[RecordBatch], column: usize, row_group_rows: usize) -> bool {
    let mut sample = Sample::default();
    for batch in batches {
        let rows = batch.num_rows().min(SAMPLE_ROWS - sample.rows);
        if !sample.add(&batch.column(column).slice(0, rows)) {
            return true;
        }
    }
    sample.dictionary_pays(row_group_rows)
}

/// The distinct values among the first rows of a column, by hash.
#[derive(Default)]
struct Sample {
    hasher: RandomState,
    seen: HashSet<u64, RandomState>,
    rows: usize,
    /// Bytes of the values, as a dictionary or a plain page would store them.
    bytes: usize,
    /// How often a value was the one before it: sorted columns repeat at once and never again.
    repeats: usize,
    last: Option<u64>,
}

impl Sample {
    fn dictionary_pays(&self, row_group_rows: usize) -> bool {
        if self.rows < LEAST_ROWS {
            return true;
        }
        let share = self.seen.len() as f64 / self.rows as f64;
        let value_bytes = self.bytes as f64 / self.rows as f64;
        // Sorted values: a plain page compresses as well, and the dictionary grows with every row group.
        if self.repeats > self.rows / 4
            && self.seen.len() + self.repeats >= self.rows * 95 / 100
            && share > 0.05
        {
            return false;
        }
        // If `distinct` values were equally likely, `rows` draws would show distinct·(1 − e^(−rows/distinct)) of them.
        let distinct = estimate_distinct(share, self.rows as f64);
        let fits = distinct * value_bytes <= DICTIONARY_BYTES as f64;
        fits && distinct < row_group_rows as f64 / 8.0
    }

    fn push(&mut self, bytes: &[u8]) {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(bytes);
        let hash = hasher.finish();
        self.rows += 1;
        self.bytes += bytes.len();
        self.repeats += usize::from(self.last == Some(hash));
        self.last = Some(hash);
        self.seen.insert(hash);
    }

    /// Adds all values; false for types that are not sampled.
    fn add(&mut self, array: &dyn Array) -> bool {
        macro_rules! bytes {
            ($array:expr) => {
                $array
                    .iter()
                    .flatten()
                    .for_each(|value| self.push(value.as_ref()))
            };
        }
        downcast_primitive_array! {
            array => array.iter().flatten().for_each(|value| {
                self.push(arrow_buffer::ToByteSlice::to_byte_slice(&value));
            }),
            DataType::Utf8 => bytes!(array.as_string::<i32>()),
            DataType::LargeUtf8 => bytes!(array.as_string::<i64>()),
            DataType::Utf8View => bytes!(array.as_string_view()),
            DataType::Binary => bytes!(array.as_binary::<i32>()),
            DataType::LargeBinary => bytes!(array.as_binary::<i64>()),
            DataType::BinaryView => bytes!(array.as_binary_view()),
            DataType::FixedSizeBinary(_) => bytes!(array.as_fixed_size_binary()),
            _ => return false,
        }
        true
    }
}

/// The number of equally likely values of which `rows` draws show `share · rows`, by bisection.
fn estimate_distinct(share: f64, rows: f64) -> f64 {
    let (mut low, mut high) = (1.0_f64, 1e9_f64);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        let shown = middle * -(-rows / middle).exp_m1();
        if shown < share * rows {
            low = middle
        } else {
            high = middle
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: impl Iterator<Item = u64>) -> Sample {
        let mut sample = Sample::default();
        values
            .take(SAMPLE_ROWS)
            .for_each(|value| sample.push(&value.to_le_bytes()));
        sample
    }

    fn scattered(distinct: u64) -> impl Iterator<Item = u64> {
        (0u64..).map(move |n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) % distinct)
    }

    #[test]
    fn repeated_values_keep_their_dictionary_and_others_do_not() {
        assert!(sample(scattered(3)).dictionary_pays(1 << 18));
        assert!(sample(scattered(10_000)).dictionary_pays(1 << 18));
        assert!(!sample(scattered(400_000)).dictionary_pays(1 << 18));
        assert!(!sample(0..).dictionary_pays(1 << 18));
    }

    #[test]
    fn sorted_keys_do_without() {
        assert!(!sample((0..).map(|n| n / 4)).dictionary_pays(1 << 18));
    }

    #[test]
    fn a_few_rows_decide_nothing() {
        assert!(sample(0..100).dictionary_pays(1 << 18));
    }

    #[test]
    fn the_estimate_finds_the_number_of_values() {
        for distinct in [100.0_f64, 5_000.0, 100_000.0] {
            let shown = distinct * (1.0 - (-8192.0 / distinct).exp());
            let found = estimate_distinct(shown / 8192.0, 8192.0);
            assert!((found / distinct - 1.0).abs() < 0.05, "{distinct} {found}");
        }
    }
}
