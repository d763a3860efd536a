//! Reads the data files of a table, without the rows that its delete files delete.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_core::{Error, ErrorKind, Result};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use iceberg::arrow::ArrowReaderBuilder;
use iceberg::scan::FileScanTask;
use iceberg::spec::SchemaRef as TableSchemaRef;

use crate::columns::arrange;
use crate::error::from_iceberg;
use crate::schema::field_id;
use crate::table::{Table, TableFile};

/// Rows of a batch that is read.
const ROWS: usize = 1 << 16;

/// Reads the files of one table.
#[derive(Clone)]
pub(crate) struct Scan {
    /// An existing table.
    pub(crate) table: Option<Table>,
    /// Its columns: files that lack some have nulls in them.
    pub(crate) schema: TableSchemaRef,
    /// Those to read, as this loader writes them.
    pub(crate) columns: SchemaRef,
}

impl Scan {
    /// The same, with these columns only.
    pub(crate) fn project(&self, columns: &[usize]) -> Result<Self> {
        Ok(Self {
            columns: Arc::new(self.columns.project(columns)?),
            ..self.clone()
        })
    }

    /// The rows of a file, in the order in which it has them.
    pub(crate) fn read(&self, file: &TableFile) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let Some(table) = &self.table else {
            return Ok(stream::empty().boxed());
        };
        let mut task: FileScanTask = file.task.as_ref().clone();
        task.schema = Arc::clone(&self.schema);
        let ids = self.columns.fields().iter().map(|field| {
            field_id(field).ok_or_else(|| {
                let message = format!("column `{}` of the table has no id", field.name());
                Error::new(ErrorKind::Unexpected, message)
            })
        });
        task.project_field_ids = ids.collect::<Result<_>>()?;
        let reader: ArrowReaderBuilder = table.reader()?.reader_builder();
        let read = reader
            .with_batch_size(ROWS)
            .with_data_file_concurrency_limit(1)
            .build()
            .read(stream::once(async { Ok(task) }).boxed())
            .map_err(from_iceberg)?;
        let (columns, path) = (Arc::clone(&self.columns), file.path.clone());
        let batches = read.stream().map(move |batch| {
            let batch = batch.map_err(|error| from_iceberg(error).with("file", &path))?;
            arrange(&batch, &columns)
        });
        Ok(batches.boxed())
    }
}
