//! Parquet files, by the engine's own reader: it prunes row groups and pages by their statistics.

use std::sync::Arc;

use arrow_schema::{FieldRef, Schema, TimeUnit};
use arrowload_common_datafusion::from_datafusion;
use arrowload_core::{Error, ErrorKind, Result};
use datafusion::catalog::Session;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
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
    how.files(Kind::Parquet)?;
    let file = &file.in_pieces()?;
    let cache = session
        .runtime_env()
        .cache_manager
        .get_file_metadata_cache();
    let footer = DFParquetMetadata::new(file.store.store.as_ref(), &file.meta)
        .with_metadata_size_hint(Some(512 << 10))
        .with_coerce_int96(Some(TimeUnit::Microsecond))
        .with_file_metadata_cache(Some(cache));
    let at = |error: datafusion::error::DataFusionError| {
        from_datafusion(error.context(format!("`{}`", file.shown()))).with("file", file.shown())
    };
    let runtime = Handle::current();
    let metadata = runtime.block_on(footer.fetch_metadata()).map_err(at)?;
    let schema = runtime.block_on(footer.fetch_schema()).map_err(at)?;
    let stated = metadata.file_metadata().num_rows();
    let held: i64 = metadata
        .row_groups()
        .iter()
        .map(|group| group.num_rows())
        .sum();
    if stated != held {
        let message = format!(
            "the footer of `{}` states {stated} rows, and its row groups {held}: the file is damaged",
            file.shown()
        );
        return Err(Error::new(ErrorKind::InvalidData, message).with("file", file.shown()));
    }
    let columns = schema
        .fields()
        .iter()
        .map(|field| Column::typed(&plain(field)));
    let groups = metadata.num_row_groups();
    let by = metadata.file_metadata().created_by().unwrap_or("unknown");
    Ok(Looked {
        file: file.clone(),
        kind: Kind::Parquet,
        columns: columns.collect(),
        rows: u64::try_from(held).ok(),
        found: format!("{groups} row groups, written by {by}"),
        notes: Vec::new(),
        layout: None,
        engine: Some(Arc::new(
            ParquetFormat::default().with_options(session.default_table_options().parquet),
        )),
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
