//! Reads data files of a table as batches of the table's columns.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow_cast::cast;
use arrow_schema::{DataType, FieldRef, SchemaRef};
use arrow_select::take::take;
use arrowload_common_object_store::Fault;
use arrowload_core::{Error, ErrorKind, Result, relabel};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{ParquetObjectReader, ParquetRecordBatchStreamBuilder};
use percent_encoding::percent_decode_str;

use crate::batch::build;
use crate::options::Nanoseconds;
use crate::table::TableFile;
use crate::types::convert;

/// Rows of a batch that is read.
const ROWS: usize = 1 << 16;

/// Reads the files of one table.
#[derive(Clone)]
pub(crate) struct Scan {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The columns to read, a part of the table's.
    pub(crate) schema: SchemaRef,
    /// The same columns as files have them.
    pub(crate) file_schema: SchemaRef,
    pub(crate) partition_by: Vec<String>,
}

impl Scan {
    /// The same, with these columns only.
    pub(crate) fn project(&self, columns: &[usize]) -> Result<Self> {
        let (schema, file_schema) = (
            self.schema.project(columns)?,
            self.file_schema.project(columns)?,
        );
        Ok(Self {
            schema: Arc::new(schema),
            file_schema: Arc::new(file_schema),
            ..self.clone()
        })
    }

    /// The rows of a file, in the order in which it has them.
    pub(crate) async fn read(
        &self,
        file: &TableFile,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        if file.remove.deletion_vector.is_some() {
            let message = "the table has files with deletion vectors, which this load would have to read; run REORG TABLE … APPLY (PURGE) first, or append";
            return Err(Error::new(ErrorKind::Unsupported, message).with("file", &file.uri));
        }
        let constants = self.constants(file)?;
        let reader = ParquetObjectReader::new(Arc::clone(&self.store), location(&file.uri)?);
        let reader = match file.remove.size.and_then(|size| u64::try_from(size).ok()) {
            Some(size) => reader.with_file_size(size),
            None => reader,
        };
        let failed = |uri: &str| {
            let uri = uri.to_owned();
            move |error: parquet::errors::ParquetError| {
                let message = format!("a data file of the table could not be read: {error}");
                let failed = match Fault::beneath(&error) {
                    Some(fault) => fault.error(message, error),
                    None => Error::new(ErrorKind::InvalidData, message).with_source(error),
                };
                failed.with("file", &uri)
            }
        };
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, options)
            .await
            .map_err(failed(&file.uri))?;
        let parquet = builder.parquet_schema();
        let wanted = |root: &str| self.file_schema.column_with_name(root).is_some();
        let roots = parquet
            .root_schema()
            .get_fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| wanted(field.name()))
            .map(|(index, _)| index);
        let mask = ProjectionMask::roots(parquet, roots);
        let stream = builder
            .with_projection(mask)
            .with_batch_size(ROWS)
            .build()
            .map_err(failed(&file.uri))?;
        let (schema, file_schema, failed) = (
            Arc::clone(&self.schema),
            Arc::clone(&self.file_schema),
            failed(&file.uri),
        );
        Ok(stream
            .map(move |batch| arrange(&batch.map_err(&failed)?, &schema, &file_schema, &constants))
            .boxed())
    }

    /// All columns of all rows of a file, if they have one value each; one row.
    pub(crate) fn constant_row(&self, file: &TableFile) -> Result<Option<RecordBatch>> {
        let constants: Option<Vec<ArrayRef>> = self.constants(file)?.into_iter().collect();
        let row =
            |columns: Vec<ArrayRef>| Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
        constants
            .filter(|columns| !columns.is_empty() && file.rows.is_some())
            .map(row)
            .transpose()
    }

    /// For each column, the one value that a file's partition has for it.
    pub(crate) fn constants(&self, file: &TableFile) -> Result<Vec<Option<ArrayRef>>> {
        let values = file.partition_values();
        let constant = |(field, in_file): (&FieldRef, &FieldRef)| match self
            .partition_by
            .contains(field.name())
        {
            true => constant(
                values.get(in_file.name()).cloned().flatten(),
                field.data_type(),
            )
            .map(Some),
            false => Ok(None),
        };
        self.schema
            .fields()
            .iter()
            .zip(self.file_schema.fields())
            .map(constant)
            .collect()
    }
}

/// A partition's value with its type: one row.
pub(crate) fn constant(text: Option<String>, data_type: &DataType) -> Result<ArrayRef> {
    // The protocol makes no difference between null and empty text.
    let array: ArrayRef = Arc::new(StringArray::from(vec![
        text.clone().filter(|text| !text.is_empty()),
    ]));
    let value = cast(&array, data_type)?;
    if value.is_null(0) != array.is_null(0) {
        let message = format!(
            "the table has the partition value `{}`, which is no {data_type}",
            text.unwrap_or_default()
        );
        return Err(Error::new(ErrorKind::InvalidData, message));
    }
    Ok(value)
}

/// The place of a data file below its table.
fn location(uri: &str) -> Result<Path> {
    let broken = || {
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "the table's file `{uri}` lies outside of the table (a shallow clone), where this loader does not go"
            ),
        )
    };
    if uri.contains("://") || uri.starts_with('/') || uri.starts_with("file:") {
        return Err(broken());
    }
    let decoded = percent_decode_str(uri)
        .decode_utf8()
        .map_err(|_| broken())?;
    Path::parse(decoded.as_ref()).map_err(|_| broken())
}

fn arrange(
    batch: &RecordBatch,
    schema: &SchemaRef,
    file_schema: &SchemaRef,
    constants: &[Option<ArrayRef>],
) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let column = |((field, in_file), constant): ((&FieldRef, &FieldRef), &Option<ArrayRef>)| match (
        constant,
        batch.column_by_name(in_file.name()),
    ) {
        (Some(value), _) => Ok(take(
            value.as_ref(),
            &UInt32Array::from(vec![0; rows]),
            None,
        )?),
        (None, Some(array)) => relabel(
            &convert(
                array,
                in_file.data_type(),
                field.name(),
                Nanoseconds::Truncate,
                0,
            )?,
            field.data_type(),
        ),
        (None, None) => Ok(new_null_array(field.data_type(), rows)),
    };
    let columns = schema
        .fields()
        .iter()
        .zip(file_schema.fields())
        .zip(constants)
        .map(column)
        .collect::<Result<Vec<_>>>()?;
    build(schema, columns, rows)
}
