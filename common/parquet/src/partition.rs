//! Hive partitions: which rows go to which folder, and what the folder is called.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_cast::cast;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{DataType, Schema, SchemaRef};
use arrow_select::take::take_record_batch;

use arrowload_core::{Result, TypeSupport};

use crate::error::{partition_value, unsupported_type};

/// The folder of rows whose partition value is null, as Hive, Spark and pyarrow call it.
pub const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// One combination of partition values.
#[derive(Debug)]
pub(crate) struct Partition {
    /// `column=value` for each partition column, percent-encoded and joined by slashes.
    pub(crate) folder: String,
    /// The values as text, before encoding.
    pub(crate) values: Vec<(String, Option<String>)>,
    /// The values with their own types: one row.
    pub(crate) row: RecordBatch,
}

/// Splits batches by the values of some of their columns.
pub(crate) struct Splitter {
    columns: Vec<usize>,
    rest: Vec<usize>,
    converter: RowConverter,
    /// The schema of the other columns.
    file_schema: SchemaRef,
}

impl Splitter {
    /// A splitter for `schema` by the columns `names`, which are known to exist.
    ///
    /// # Errors
    /// `UnsupportedType` for a column whose values have no faithful form in a path.
    pub(crate) fn new(schema: &Schema, names: &[String]) -> Result<Self> {
        let columns = names
            .iter()
            .map(|name| schema.index_of(name))
            .collect::<Result<Vec<_>, _>>()?;
        let rest: Vec<_> = (0..schema.fields().len())
            .filter(|index| !columns.contains(index))
            .collect();
        for &index in &columns {
            let field = schema.field(index);
            if !is_partition_type(field.data_type()) {
                return Err(unsupported_type(
                    field.name(),
                    field.data_type(),
                    NO_PARTITION,
                ));
            }
        }
        let sort = columns
            .iter()
            .map(|&index| SortField::new(schema.field(index).data_type().clone()));
        let converter = RowConverter::new(sort.collect())?;
        let file_schema = Arc::new(schema.project(&rest)?);
        Ok(Self {
            columns,
            rest,
            converter,
            file_schema,
        })
    }

    pub(crate) fn file_schema(&self) -> &SchemaRef {
        &self.file_schema
    }

    /// The rows of each partition, without the partition columns, in order of first appearance.
    pub(crate) fn split(&self, batch: &RecordBatch) -> Result<Vec<(Partition, RecordBatch)>> {
        let keys: Vec<ArrayRef> = self
            .columns
            .iter()
            .map(|&index| batch.column(index).clone())
            .collect();
        let rows = self.converter.convert_columns(&keys)?;
        let mut groups: Vec<Vec<u32>> = Vec::new();
        let mut known = HashMap::new();
        let mut last = None;
        for (at, row) in rows.iter().enumerate() {
            // Rows of one partition mostly follow each other.
            let group = match last {
                Some((same, group)) if same == row => group,
                _ => *known.entry(row).or_insert_with(|| {
                    groups.push(Vec::new());
                    groups.len() - 1
                }),
            };
            last = Some((row, group));
            groups[group].push(at as u32);
        }
        let body = batch.project(&self.rest)?;
        let only = groups.len() == 1;
        let part = |indices: Vec<u32>| {
            let partition = self.partition(batch, indices[0] as usize)?;
            let rows = if only {
                body.clone()
            } else {
                take_record_batch(&body, &UInt32Array::from(indices))?
            };
            Ok((partition, rows))
        };
        groups.into_iter().map(part).collect()
    }

    fn partition(&self, batch: &RecordBatch, row: usize) -> Result<Partition> {
        let row = take_record_batch(
            &batch.project(&self.columns)?,
            &UInt32Array::from(vec![row as u32]),
        )?;
        let mut folder = String::new();
        let mut values = Vec::with_capacity(row.num_columns());
        for (field, array) in row.schema_ref().fields().iter().zip(row.columns()) {
            let refused = |reason: &str| partition_value(field.name(), reason);
            let value = text(array).map_err(|reason| refused(&reason))?;
            match value.as_deref() {
                Some("") => {
                    return Err(refused(
                        "an empty text reads back as null from most readers",
                    ));
                }
                Some(NULL_PARTITION) => {
                    return Err(refused("the text is the name that stands for null"));
                }
                _ => {}
            }
            if !folder.is_empty() {
                folder.push('/');
            }
            encode(field.name(), &mut folder);
            folder.push('=');
            encode(value.as_deref().unwrap_or(NULL_PARTITION), &mut folder);
            values.push((field.name().clone(), value));
        }
        Ok(Partition {
            folder,
            values,
            row,
        })
    }
}

/// How a partition column of this type arrives: as text in the names of folders.
pub fn partition_support(data_type: &DataType) -> TypeSupport {
    if is_partition_type(data_type) {
        TypeSupport::Exact
    } else {
        TypeSupport::Unsupported(NO_PARTITION.into())
    }
}

const NO_PARTITION: &str = "values of this type cannot name a partition's folder";

fn is_partition_type(data_type: &DataType) -> bool {
    use DataType as D;
    match data_type {
        D::Dictionary(_, values) => is_partition_type(values),
        D::RunEndEncoded(..) | D::Duration(_) | D::Interval(_) | D::Null => false,
        // Their text is exact, but zeros with a sign, NaNs and rounding in other readers make them bad names.
        D::Float16 | D::Float32 | D::Float64 => false,
        other => !other.is_nested(),
    }
}

/// The one value of `array` as text; `None` is null.
fn text(array: &ArrayRef) -> Result<Option<String>, String> {
    let failed = |error: arrow_schema::ArrowError| error.to_string();
    let plain = match array.data_type() {
        DataType::Dictionary(_, values) => cast(array, values).map_err(failed)?,
        // In UTC and with a `Z`, as the zone's own clock shows some times twice.
        DataType::Timestamp(unit, Some(_)) => {
            cast(array, &DataType::Timestamp(*unit, Some("+00:00".into()))).map_err(failed)?
        }
        _ => array.clone(),
    };
    if plain.is_null(0) {
        return Ok(None);
    }
    let bytes = match plain.data_type() {
        DataType::Binary => Some(plain.as_binary::<i32>().value(0)),
        DataType::LargeBinary => Some(plain.as_binary::<i64>().value(0)),
        DataType::BinaryView => Some(plain.as_binary_view().value(0)),
        DataType::FixedSizeBinary(_) => Some(plain.as_fixed_size_binary().value(0)),
        _ => None,
    };
    if let Some(bytes) = bytes {
        let text =
            std::str::from_utf8(bytes).map_err(|_| "the bytes are not UTF-8 text".to_owned())?;
        return Ok(Some(text.to_owned()));
    }
    let format = FormatOptions::new()
        .with_display_error(false)
        .with_date_format(Some("%Y-%m-%d"))
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.fZ"))
        .with_time_format(Some("%H:%M:%S%.f"));
    let formatter = ArrayFormatter::try_new(plain.as_ref(), &format).map_err(failed)?;
    formatter.value(0).try_to_string().map(Some).map_err(failed)
}

/// Appends `text` percent-encoded as pyarrow and DuckDB do: all but letters, digits and `-_.~`.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_hold_only_safe_characters() {
        let mut out = String::new();
        encode("a b/c=d%é:*?", &mut out);
        assert_eq!(out, "a%20b%2Fc%3Dd%25%C3%A9%3A%2A%3F");
    }

    #[test]
    fn times_and_decimals_have_one_text() {
        let text = |array: ArrayRef| text(&array).unwrap().unwrap();
        let stamp = arrow_array::TimestampMillisecondArray::from(vec![1_500]);
        assert_eq!(text(Arc::new(stamp.clone())), "1970-01-01 00:00:01.500");
        assert_eq!(
            text(Arc::new(stamp.with_timezone("+02:00"))),
            "1970-01-01 00:00:01.500Z"
        );
        let decimal = arrow_array::Decimal128Array::from(vec![-150])
            .with_precision_and_scale(9, 2)
            .unwrap();
        assert_eq!(text(Arc::new(decimal)), "-1.50");
        assert_eq!(
            text(Arc::new(arrow_array::BooleanArray::from(vec![true]))),
            "true"
        );
    }
}
