//! Makes manifest entries for written files, with the statistics of their footers, so that readers can skip files.

use std::collections::{HashMap, HashSet};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use arrowload_common_parquet::FileInfo;
use arrowload_core::{Error, ErrorKind, Result};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, PrimitiveType, Schema,
    Struct,
};
use parquet::file::statistics::Statistics;

use crate::error::from_iceberg;
use crate::schema::field_id;

/// What a table keeps of each column, as its `write.metadata.metrics.*` properties say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Nothing,
    Counts,
    Bounds,
}

/// Makes entries of written files.
pub(crate) struct Metrics<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) properties: &'a HashMap<String, String>,
    /// Columns that hold a NaN: how many of them are in which file is not known.
    pub(crate) with_nan: &'a HashSet<i32>,
}

impl Metrics<'_> {
    /// The entry of a file at this location.
    pub(crate) fn data_file(
        &self,
        file: &FileInfo,
        location: String,
        partition: Struct,
        spec_id: i32,
    ) -> Result<DataFile> {
        let mut columns = Columns::default();
        for group in file.metadata.row_groups() {
            for chunk in group.columns() {
                let leaf = chunk.column_descr();
                let info = leaf.self_type().get_basic_info();
                if !info.has_id() {
                    continue;
                }
                let id = info.id();
                let kept = self.kept(id);
                *columns.sizes.entry(id).or_default() += size(chunk.compressed_size());
                if kept == Kept::Nothing {
                    continue;
                }
                *columns.values.entry(id).or_default() += size(chunk.num_values());
                let statistics = chunk.statistics();
                columns.count_nulls(id, statistics);
                // Values in lists and maps have no bounds.
                let kind = (leaf.max_rep_level() == 0 && kept == Kept::Bounds)
                    .then(|| self.primitive(id))
                    .flatten();
                if let Some(kind) = kind {
                    columns.bound(id, &kind, statistics)?;
                }
            }
        }
        let nans = self.without_nan(file, &columns);
        let splits = file.metadata.row_groups().iter().filter_map(|group| {
            let first = group.columns().first()?;
            let data = first.data_page_offset();
            Some(
                first
                    .dictionary_page_offset()
                    .map_or(data, |dictionary| dictionary.min(data)),
            )
        });
        let mut builder = DataFileBuilder::default();
        builder
            .content(DataContentType::Data)
            .file_path(location)
            .file_format(DataFileFormat::Parquet)
            .partition(partition)
            .partition_spec_id(spec_id)
            .record_count(file.rows)
            .file_size_in_bytes(file.bytes)
            .column_sizes(columns.sizes)
            .value_counts(columns.values)
            .null_value_counts(columns.nulls.into_iter().filter_map(known).collect())
            .nan_value_counts(nans)
            .lower_bounds(columns.lower.into_iter().filter_map(known).collect())
            .upper_bounds(columns.upper.into_iter().filter_map(known).collect())
            .split_offsets(Some(splits.collect()));
        builder.build().map_err(|error| {
            let message = format!("a data file could not be described: {error}");
            Error::new(ErrorKind::Unexpected, message)
        })
    }

    fn primitive(&self, id: i32) -> Option<PrimitiveType> {
        let field = self.schema.field_by_id(id)?;
        field.field_type.as_primitive_type().cloned()
    }

    fn kept(&self, id: i32) -> Kept {
        let own = self.schema.name_by_field_id(id).and_then(|name| {
            self.properties
                .get(&format!("write.metadata.metrics.column.{name}"))
        });
        let mode = own.or_else(|| self.properties.get("write.metadata.metrics.default"));
        match mode.map(|mode| mode.to_ascii_lowercase()).as_deref() {
            Some("none") => Kept::Nothing,
            Some("counts") => Kept::Counts,
            _ => Kept::Bounds,
        }
    }

    /// Columns of floats of which no row of the load is a NaN.
    fn without_nan(&self, file: &FileInfo, columns: &Columns) -> HashMap<i32, u64> {
        let is_float =
            |data_type: &DataType| matches!(data_type, DataType::Float32 | DataType::Float64);
        let fields = file.schema.fields().iter();
        fields
            .filter(|field| is_float(field.data_type()))
            .filter_map(field_id)
            .filter(|id| columns.values.contains_key(id) && !self.with_nan.contains(id))
            .map(|id| (id, 0))
            .collect()
    }
}

/// The statistics of each column in the footer. `None` means that the footer does not have them.
#[derive(Default)]
struct Columns {
    sizes: HashMap<i32, u64>,
    values: HashMap<i32, u64>,
    nulls: HashMap<i32, Option<u64>>,
    lower: HashMap<i32, Option<Datum>>,
    upper: HashMap<i32, Option<Datum>>,
}

impl Columns {
    fn count_nulls(&mut self, id: i32, statistics: Option<&Statistics>) {
        let found = statistics.and_then(Statistics::null_count_opt);
        let nulls = self.nulls.entry(id).or_insert(Some(0));
        *nulls = nulls.zip(found).map(|(nulls, more)| nulls + more);
    }

    fn bound(
        &mut self,
        id: i32,
        kind: &PrimitiveType,
        statistics: Option<&Statistics>,
    ) -> Result<()> {
        let is_known = statistics.is_some_and(|found| found.min_bytes_opt().is_some());
        let has_nulls_only = || {
            // A chunk that has nothing but nulls has no bounds to add.
            self.nulls.get(&id).copied().flatten() == self.values.get(&id).copied()
        };
        if !is_known && has_nulls_only() {
            return Ok(());
        }
        let datum = |bytes: Option<&[u8]>| bytes.map(|bytes| datum(bytes, kind)).transpose();
        let least = datum(statistics.and_then(Statistics::min_bytes_opt))?;
        let greatest = datum(statistics.and_then(Statistics::max_bytes_opt))?;
        merge(&mut self.lower, id, least, |new, old| new < old);
        merge(&mut self.upper, id, greatest, |new, old| new > old);
        Ok(())
    }
}

fn merge(
    bounds: &mut HashMap<i32, Option<Datum>>,
    id: i32,
    found: Option<Datum>,
    beyond: impl Fn(&Datum, &Datum) -> bool,
) {
    match bounds.get_mut(&id) {
        None => {
            bounds.insert(id, found);
        }
        Some(known) => {
            let both = known.take().zip(found);
            *known = both.map(|(old, new)| if beyond(&new, &old) { new } else { old });
        }
    }
}

/// A bound as Iceberg writes it, from the bytes that Parquet has for it.
fn datum(bytes: &[u8], kind: &PrimitiveType) -> Result<Datum> {
    let number = || match *bytes {
        [a, b, c, d] => Some(i128::from(i32::from_le_bytes([a, b, c, d]))),
        [a, b, c, d, e, f, g, h] => Some(i128::from(i64::from_le_bytes([a, b, c, d, e, f, g, h]))),
        _ => None,
    };
    let found = match kind {
        // Small decimals are numbers in Parquet, with their least byte first; Iceberg's have their greatest first.
        PrimitiveType::Decimal { precision, .. } if *precision <= 18 => match number() {
            Some(number) => Datum::try_from_bytes(&number.to_be_bytes(), kind.clone()),
            None => Datum::try_from_bytes(bytes, kind.clone()),
        },
        _ => Datum::try_from_bytes(bytes, kind.clone()),
    };
    found.map_err(from_iceberg)
}

fn known<T>((id, value): (i32, Option<T>)) -> Option<(i32, T)> {
    Some((id, value?))
}

fn size(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// Notes the columns of a batch that hold a NaN.
pub(crate) fn note_nan(batch: &RecordBatch, noted: &mut HashSet<i32>) {
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let has = match array.data_type() {
            DataType::Float32 => {
                let values = array.as_primitive::<Float32Type>();
                values.iter().flatten().any(f32::is_nan)
            }
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>();
                values.iter().flatten().any(f64::is_nan)
            }
            _ => continue,
        };
        if has && let Some(id) = field_id(field) {
            noted.insert(id);
        }
    }
}
