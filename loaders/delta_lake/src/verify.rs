//! Reads the files of a load back before they are committed, for checksums of what the store holds.

use std::collections::HashMap;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use arrowload_common_parquet::FileInfo;
use arrowload_core::{Checksums, ColumnChecksum, Result};
use deltalake::kernel::Remove;
use futures::TryStreamExt;

use crate::load::Load;
use crate::stats::{partition_values, uri};
use crate::table::TableFile;
use crate::types::is_cut;

/// The checksums of the load's columns over its files, without those whose values are cut.
pub(crate) async fn checksums(load: &Load, files: &[FileInfo]) -> Result<Vec<ColumnChecksum>> {
    let nanoseconds = load.request.options.nanoseconds;
    let fields = load.request.schema.fields().iter();
    let proved = fields.filter(|field| !is_cut(field.data_type(), nanoseconds));
    let schema = Schema::new(proved.cloned().collect::<Vec<_>>());
    let places = schema
        .fields()
        .iter()
        .map(|field| Ok(load.target.mapping.schema.index_of(field.name())?));
    let places = places.collect::<Result<Vec<usize>>>()?;
    let scan = load.target.scan().project(&places)?;
    let mut checksums = Checksums::new(&schema);
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
