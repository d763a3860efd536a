//! Parquet files, read by the engine's reader with our checks.

use std::sync::Arc;

use arrow_schema::{FieldRef, Schema};
use arrowload_common_datafusion::from_datafusion;
use arrowload_common_parquet_read::parquet_format;
use arrowload_core::{Error, ErrorKind, Result};
use datafusion::catalog::Session;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result as EngineResult;
use datafusion::execution::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::scalar::ScalarValue;
use tokio::runtime::Handle;

use crate::file::DataFile;
use crate::how::How;
use crate::kind::Kind;
use crate::look::{Column, Looked};
use crate::union::Union;

/// Finds out what a file is, from its footer.
pub(crate) fn look(file: &DataFile, how: &How, session: &SessionState) -> Result<Looked> {
    let format = parquet_format(how.parquet()?);
    let file = &file.in_pieces()?;
    let (store, metas) = (&file.store.store, [file.meta.clone()]);
    let at = |error: datafusion::error::DataFusionError| {
        from_datafusion(error.context(format!("`{}`", file.shown()))).with("file", file.shown())
    };
    let runtime = Handle::current();
    let schema = format.infer_schema(session, store, &metas);
    let schema = runtime.block_on(schema).map_err(at)?;
    let statistics = format.infer_stats(session, store, Arc::clone(&schema), &file.meta);
    let rows = match runtime.block_on(statistics).map_err(at)?.num_rows {
        Precision::Exact(rows) => u64::try_from(rows).ok(),
        _ => None,
    };
    let columns = schema
        .fields()
        .iter()
        .map(|field| Column::typed(&plain(field)));
    Ok(Looked {
        file: file.clone(),
        kind: Kind::Parquet,
        columns: columns.collect(),
        rows,
        header: None,
        found: rows.map_or_else(String::new, |rows| format!("{rows} rows")),
        notes: Vec::new(),
        left_out: Vec::new(),
        layout: None,
        engine: Some(format),
    })
}

/// A column without what only its file knows, such as the number that it has there; an extension type is kept.
fn plain(field: &FieldRef) -> FieldRef {
    let mut metadata = field.metadata().clone();
    metadata.retain(|key, _| key.starts_with("ARROW:extension:"));
    Arc::new(field.as_ref().clone().with_metadata(metadata))
}

/// The scan of these files.
pub(crate) async fn scan(
    state: &dyn Session,
    union: &Union,
    format: &dyn FileFormat,
    files: &[usize],
    projection: Vec<usize>,
    limit: Option<usize>,
) -> EngineResult<Arc<dyn ExecutionPlan>> {
    let fields = union.schema.fields();
    let own = Arc::new(Schema::new(fields[..union.own].to_vec()));
    let constants = fields[union.own..].to_vec();
    let table = TableSchema::new(own, constants);
    let source = format.file_source(table);
    let (mut parts, mut rows) = (Vec::with_capacity(files.len()), Some(0));
    let mut url = None;
    for number in files {
        let looked = &union.files[*number];
        let values = union.constants.columns().iter();
        let values = values.map(|values| ScalarValue::try_from_array(values, *number));
        let mut part = PartitionedFile::from(looked.file.meta.clone());
        part.partition_values = values.collect::<EngineResult<_>>()?;
        parts.push(part);
        rows = rows.zip(looked.rows).map(|(rows, more)| rows + more);
        let store = &looked.file.store.url;
        if url.get_or_insert_with(|| store.clone()) != store {
            let message = "the Parquet files of one table are in one store; join those of several with UNION ALL";
            let error = Error::new(ErrorKind::Unsupported, message);
            return Err(datafusion::error::DataFusionError::External(Box::new(
                error,
            )));
        }
    }
    let url =
        url.unwrap_or_else(datafusion::execution::object_store::ObjectStoreUrl::local_filesystem);
    let mut statistics = Statistics::new_unknown(&union.schema);
    if let Some(rows) = rows.and_then(|rows| usize::try_from(rows).ok()) {
        statistics.num_rows = Precision::Exact(rows);
    }
    let groups = FileGroup::new(parts).split_files(state.config().target_partitions());
    let config = FileScanConfigBuilder::new(url, source)
        .with_file_groups(groups)
        .with_statistics(statistics)
        .with_projection_indices(Some(projection))?
        .with_limit(limit)
        .build();
    format.create_physical_plan(state, config).await
}
