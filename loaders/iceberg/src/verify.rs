//! Reads the files of a load back before they are committed, for checksums of what the store holds.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{FieldRef, Schema};
use arrowload_common_object_store::Fault;
use arrowload_common_parquet::FileInfo;
use arrowload_core::{Checksums, Error, ErrorKind, Result};
use futures::TryStreamExt;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::{ParquetObjectReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;

use crate::columns::arrange;
use crate::load::Load;
use crate::types::is_cut;

/// The checksums of the load's columns over its files, without those whose values are cut.
pub(crate) async fn checksums(load: &Load, files: &[FileInfo]) -> Result<Checksums> {
    let fields = load.request.schema.fields().iter();
    let proved = fields.filter(|field| !is_cut(field.data_type(), load.target.form));
    let schema = Schema::new(proved.cloned().collect::<Vec<FieldRef>>());
    let columns = &load.target.columns;
    let stored = schema.fields().iter().map(|field| {
        let place = columns.index_of(field.name())?;
        Ok(Arc::clone(&columns.fields()[place]))
    });
    let stored = Arc::new(Schema::new(stored.collect::<Result<Vec<FieldRef>>>()?));
    let mut checksums = Checksums::new(&schema);
    let folder = load.target.stores.place(&load.target.data_location()?)?;
    for file in files {
        let path = format!("{}/{}", folder.path, file.path);
        let path = Path::parse(&path).unwrap_or_else(|_| Path::from(path));
        let failed = |error: ParquetError| {
            let message = format!("a data file of the load could not be read back: {error}");
            match Fault::beneath(&error) {
                Some(fault) => fault.error(message, error),
                None => Error::new(ErrorKind::Verification, message).with_source(error),
            }
        };
        let reader = ParquetObjectReader::new(Arc::clone(&folder.store), path);
        let reader = reader.with_file_size(file.bytes);
        let builder = ParquetRecordBatchStreamBuilder::new(reader).await;
        let builder = builder.map_err(failed)?;
        let parquet = builder.parquet_schema();
        let roots = parquet.root_schema().get_fields().iter().enumerate();
        let roots = roots.filter(|(_, root)| stored.column_with_name(root.name()).is_some());
        let mask = ProjectionMask::roots(parquet, roots.map(|(index, _)| index));
        let mut batches = builder.with_projection(mask).build().map_err(failed)?;
        while let Some(batch) = batches.try_next().await.map_err(failed)? {
            let batch: RecordBatch = arrange(&batch, &stored)?;
            checksums.add(&batch)?;
        }
    }
    Ok(checksums)
}
