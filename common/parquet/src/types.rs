//! What each Arrow type becomes in a Parquet file, decided before the first write.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};
use arrowload_core::arrow_types::holds;
use arrowload_core::{Result, TypeSupport};

use crate::error::{invalid_option, mismatch, unsupported_type, value};

/// How `data_type` arrives in a file.
pub fn supports_type(data_type: &DataType) -> TypeSupport {
    match storage_type(data_type) {
        Ok(to) if to == *data_type => TypeSupport::Exact,
        Ok(to) => TypeSupport::Widened(to.to_string().into()),
        Err(reason) => TypeSupport::Unsupported(reason.into()),
    }
}

/// How a column arrives in a file: its type, and that a column of nulls has to be nullable.
pub fn supports_field(field: &Field) -> TypeSupport {
    match storage_field(&Arc::new(field.clone())) {
        Err(reason) => TypeSupport::Unsupported(reason.into()),
        Ok(_) => supports_type(field.data_type()),
    }
}

/// The schema that files of `schema` store: the same columns, each with the type it is stored as.
///
/// # Errors
/// [`UnsupportedType`](arrowload_core::ErrorKind::UnsupportedType) for the first column whose type has no place in Parquet,
/// and [`InvalidOption`](arrowload_core::ErrorKind::InvalidOption) when two columns share a name.
pub fn storage_schema(schema: &Schema) -> Result<SchemaRef> {
    let mut names = HashSet::new();
    if let Some(twice) = schema
        .fields()
        .iter()
        .find(|field| !names.insert(field.name()))
    {
        return Err(invalid_option(format!(
            "two columns are called `{}`",
            twice.name()
        )));
    }
    let stored = |field: &FieldRef| {
        storage_field(field)
            .map_err(|reason| unsupported_type(field.name(), field.data_type(), &reason))
    };
    let fields = schema
        .fields()
        .iter()
        .map(stored)
        .collect::<Result<Fields>>()?;
    Ok(Arc::new(Schema::new_with_metadata(
        fields,
        schema.metadata().clone(),
    )))
}

fn storage_field(field: &FieldRef) -> Result<FieldRef, String> {
    if *field.data_type() == DataType::Null && !field.is_nullable() {
        return Err("a column of type Null has to be nullable".into());
    }
    let stored = storage_type(field.data_type())?;
    Ok(if stored == *field.data_type() {
        field.clone()
    } else {
        Arc::new(field.as_ref().clone().with_data_type(stored))
    })
}

/// The type that a column of `data_type` is stored as.
///
/// # Errors
/// What Parquet, or its Rust implementation, lacks.
pub fn storage_type(data_type: &DataType) -> Result<DataType, String> {
    use DataType as D;
    let list = |child: &FieldRef| storage_field(child);
    Ok(match data_type {
        // Parquet's own units begin at milliseconds.
        D::Timestamp(TimeUnit::Second, zone) => D::Timestamp(TimeUnit::Millisecond, zone.clone()),
        D::Time32(TimeUnit::Second) => D::Time32(TimeUnit::Millisecond),
        // A DATE counts days. Whole days are what Arrow asks of Date64; others are refused when they come.
        D::Date64 => D::Date32,
        D::Interval(IntervalUnit::MonthDayNano) => {
            return Err(
                "Parquet's INTERVAL has months, days and milliseconds, and cannot hold nanoseconds"
                    .into(),
            );
        }
        D::Decimal32(p, s) | D::Decimal64(p, s) | D::Decimal128(p, s) | D::Decimal256(p, s) => {
            return storage_decimal(data_type, *p, *s);
        }
        D::FixedSizeBinary(0) => {
            return Err("a fixed-size binary of no bytes has no Parquet type".into());
        }
        D::List(child) => D::List(list(child)?),
        D::LargeList(child) => D::LargeList(list(child)?),
        D::ListView(child) => D::ListView(list(child)?),
        D::LargeListView(child) => D::LargeListView(list(child)?),
        // Lists of no elements have no offsets to tell a null from an empty one in every reader.
        D::FixedSizeList(child, 0) => D::List(list(child)?),
        D::FixedSizeList(child, size) => D::FixedSizeList(list(child)?, *size),
        D::Struct(fields) if fields.is_empty() => {
            return Err("a struct without fields has no Parquet type".into());
        }
        D::Struct(fields) => D::Struct(fields.iter().map(storage_field).collect::<Result<_, _>>()?),
        D::Map(entries, sorted) => D::Map(storage_field(entries)?, *sorted),
        D::Dictionary(keys, values) => match values.as_ref() {
            D::Utf8 | D::LargeUtf8 | D::Binary | D::LargeBinary => {
                D::Dictionary(keys.clone(), values.clone())
            }
            // The encoder takes the others apart, and readers do not put all of them together again.
            values => storage_type(values)?,
        },
        D::RunEndEncoded(_, values) => storage_type(values.data_type())?,
        D::Union(..) => return Err("Parquet has no unions".into()),
        other => other.clone(),
    })
}

/// Parquet's decimals have no negative scale, and its encoder no place for a Decimal32 of one digit.
fn storage_decimal(data_type: &DataType, precision: u8, scale: i8) -> Result<DataType, String> {
    use DataType as D;
    if scale >= 0 {
        return match data_type {
            _ if scale.unsigned_abs() > precision => {
                Err("a decimal's scale cannot exceed its precision".into())
            }
            D::Decimal32(1, scale) => Ok(D::Decimal64(1, *scale)),
            other => Ok(other.clone()),
        };
    }
    match precision.saturating_add(scale.unsigned_abs()) {
        digits @ ..=38 => Ok(D::Decimal128(digits, 0)),
        digits @ ..=76 => Ok(D::Decimal256(digits, 0)),
        digits => Err(format!(
            "without its negative scale the decimal needs {digits} digits, and 76 is the most"
        )),
    }
}

/// Turns batches of one schema into batches of the schema that is stored.
#[derive(Debug)]
pub(crate) struct Storage {
    given: SchemaRef,
    stored: SchemaRef,
    /// Whether any column is stored as another type.
    converts: bool,
}

impl Storage {
    pub(crate) fn new(given: SchemaRef) -> Result<Self> {
        let stored = storage_schema(&given)?;
        let converts = stored.fields() != given.fields();
        Ok(Self {
            given,
            stored,
            converts,
        })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.stored
    }

    /// Whether any column has to be converted, which is work for the encoding threads.
    pub(crate) fn converts(&self) -> bool {
        self.converts
    }

    /// Checks a batch against the schema, and converts the columns that are stored as another type.
    pub(crate) fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.check(batch)?;
        if !self.converts {
            // With our own schema, so that later steps may compare pointers and metadata is that of the file.
            return rebuild(&self.stored, batch.columns().to_vec(), batch.num_rows());
        }
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let column = |(array, field): (&ArrayRef, &FieldRef)| {
            if array.data_type() == field.data_type() {
                return Ok(array.clone());
            }
            let refused = |source| value(field.name(), source);
            let stored = cast_with_options(array, field.data_type(), &options).map_err(refused)?;
            whole_days(array, &stored).map_err(refused)?;
            Ok(stored)
        };
        let columns = batch
            .columns()
            .iter()
            .zip(self.stored.fields())
            .map(column)
            .collect::<Result<_>>()?;
        rebuild(&self.stored, columns, batch.num_rows())
    }

    fn check(&self, batch: &RecordBatch) -> Result<()> {
        let schema = batch.schema_ref();
        if Arc::ptr_eq(schema, &self.given) {
            return Ok(());
        }
        let refused = |message: String| Err(mismatch(message));
        if schema.fields().len() != self.given.fields().len() {
            return refused(format!(
                "{} columns instead of {}",
                schema.fields().len(),
                self.given.fields().len()
            ));
        }
        for (found, wanted) in schema.fields().iter().zip(self.given.fields()) {
            if found.name() != wanted.name() {
                return refused(format!(
                    "column `{}` stands where `{}` is expected",
                    found.name(),
                    wanted.name()
                ));
            }
            if !found.data_type().equals_datatype(wanted.data_type()) {
                let (name, found, wanted) = (wanted.name(), found.data_type(), wanted.data_type());
                return refused(format!("column `{name}` is {found} instead of {wanted}"));
            }
        }
        Ok(())
    }
}

fn rebuild(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(mismatch)
}

/// Refuses a Date64 with a time of day, which the cast to days would cut off without a word.
fn whole_days(given: &ArrayRef, stored: &ArrayRef) -> Result<(), arrow_schema::ArrowError> {
    if !holds_date64(given.data_type()) {
        return Ok(());
    }
    // Two dictionaries may hold the same values in other places.
    let given = match given.data_type() {
        DataType::Dictionary(_, values) => {
            &cast_with_options(given, values, &CastOptions::default())?
        }
        _ => given,
    };
    let back = cast_with_options(stored, given.data_type(), &CastOptions::default())?;
    // Compared as data, as the dates may be deep inside lists and structs.
    if back.to_data() == given.to_data() {
        return Ok(());
    }
    Err(arrow_schema::ArrowError::CastError(
        "a Date64 is not a whole day".into(),
    ))
}

fn holds_date64(data_type: &DataType) -> bool {
    holds(data_type, &|kind| *kind == DataType::Date64)
}
