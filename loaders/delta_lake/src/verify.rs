//! Reads the files of a load back before they are committed, for checksums of what the store holds.

use std::collections::HashMap;

use arrow_array::RecordBatch;
use arrowload_common_parquet::FileInfo;
use arrowload_core::{
    Checksums, ColumnChecksum, Error, ErrorKind, LoadRequest, Mode, Result, Verify,
};
use deltalake::kernel::Remove;
use futures::TryStreamExt;

use crate::finish::Load;
use crate::options::DeltaLakeOptions;
use crate::removal::scan_of;
use crate::stats::{partition_values, uri};
use crate::table::TableFile;

/// Refuses checksums where the new files hold rows of the table too.
pub(crate) fn check(request: &LoadRequest<DeltaLakeOptions>) -> Result<()> {
    let mixed = request.mode == Mode::Upsert || request.options.replace_where.is_some();
    if request.verify == Verify::Checksum && mixed {
        let message = "an upsert or replace_where writes rows of the table again, so that its files have no checksum of the load; set verify = counts";
        return Err(Error::new(ErrorKind::Unsupported, message).with("key", "verify"));
    }
    Ok(())
}

/// The checksums of the load's columns over its files.
pub(crate) async fn checksums(load: &Load, files: &[FileInfo]) -> Result<Vec<ColumnChecksum>> {
    let schema = &load.request.schema;
    let places = schema
        .fields()
        .iter()
        .map(|field| Ok(load.target.mapping.schema.index_of(field.name())?));
    let places = places.collect::<Result<Vec<usize>>>()?;
    let scan = scan_of(&load.target).project(&places)?;
    let mut checksums = Checksums::new(schema);
    for file in files {
        let mut batches = scan.read(&as_table_file(file)).await?;
        while let Some(batch) = batches.try_next().await? {
            let batch: RecordBatch = batch;
            checksums.add(&batch)?;
        }
    }
    Ok(checksums.finish())
}

/// A file as the table will have it.
fn as_table_file(file: &FileInfo) -> TableFile {
    let text = |(key, value): (String, serde_json::Value)| (key, value.as_str().map(str::to_owned));
    let values: HashMap<String, Option<String>> =
        partition_values(file).into_iter().map(text).collect();
    let remove = Remove {
        partition_values: Some(values),
        size: i64::try_from(file.bytes).ok(),
        ..Remove::default()
    };
    TableFile {
        uri: uri(file.path.as_ref()),
        remove,
        rows: Some(file.rows),
    }
}
