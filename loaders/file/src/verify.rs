//! Reads staged files back, for checksums of what the store holds.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{Field, Schema, SchemaRef};
use arrow_select::take::take;
use arrowload_common_object_store::from_io;
use arrowload_core::{Checksums, ColumnChecksum, Error, ErrorKind, Result};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::from_arrow;

/// A staged file, with the values of partition columns that only its folder's name holds.
#[derive(Debug, Clone)]
pub(crate) struct StagedFile {
    pub(crate) path: PathBuf,
    pub(crate) partition: Option<RecordBatch>,
}

/// The checksums of the load's columns over all staged files.
pub(crate) fn checksums(files: &[StagedFile], schema: &SchemaRef) -> Result<Vec<ColumnChecksum>> {
    let mut checksums = Checksums::new(schema);
    for file in files {
        read(&file.path, &mut |batch| {
            checksums.add(&arrange(batch, file, schema)?)
        })?;
    }
    Ok(checksums.finish())
}

/// The columns of the load, in its order, as the file has them.
fn arrange(batch: &RecordBatch, file: &StagedFile, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    for field in schema.fields() {
        let constant = file
            .partition
            .as_ref()
            .and_then(|values| values.column_by_name(field.name()));
        columns.push(match (batch.column_by_name(field.name()), constant) {
            (Some(column), _) => Arc::clone(column),
            (None, Some(value)) => take(
                value.as_ref(),
                &UInt32Array::from(vec![0; batch.num_rows()]),
                None,
            )?,
            (None, None) => {
                let message = format!(
                    "column `{}` is missing in `{}`",
                    field.name(),
                    file.path.display()
                );
                return Err(Error::new(ErrorKind::Verification, message));
            }
        });
    }
    let fields: Vec<Field> = columns
        .iter()
        .zip(schema.fields())
        .map(|(array, field)| Field::new(field.name(), array.data_type().clone(), true))
        .collect();
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::new(Schema::new(fields)),
        columns,
        &rows,
    )?)
}

/// Hands over every batch of a Parquet or Arrow file.
pub(crate) fn read(path: &Path, each: &mut dyn FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
    let open = || File::open(path).map_err(|error| from_io(path, error));
    let at = |error| from_arrow(path, error);
    let mut head = [0; 4];
    std::io::Read::read_exact(&mut open()?, &mut head).map_err(|error| from_io(path, error))?;
    let mut drain =
        |batches: &mut dyn Iterator<Item = Result<RecordBatch, arrow_schema::ArrowError>>| {
            for batch in batches {
                each(&batch.map_err(at)?)?;
            }
            Ok(())
        };
    match &head {
        b"PAR1" => {
            let reader = ParquetRecordBatchReaderBuilder::try_new(open()?)
                .and_then(|builder| builder.with_batch_size(1 << 16).build());
            drain(&mut reader.map_err(|error| at(error.into()))?)
        }
        b"ARRO" => drain(&mut FileReader::try_new(BufReader::new(open()?), None).map_err(at)?),
        _ => drain(&mut StreamReader::try_new(BufReader::new(open()?), None).map_err(at)?),
    }
}
