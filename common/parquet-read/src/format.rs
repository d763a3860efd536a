//! The format as the engine's tables use it.

use std::any::Any;
use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use arrowload_common_ipc::refuse_twins;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, FileSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::ExecutionPlan;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStore};

use crate::error::through;
use crate::facts::{Facts, Loading};
use crate::options::ParquetOptions;
use crate::source::ParquetRows;

/// The format of Parquet files, for the engine's tables of files.
pub fn parquet_format(options: ParquetOptions) -> Arc<dyn FileFormat> {
    Arc::new(Format { options })
}

#[derive(Debug)]
struct Format {
    options: ParquetOptions,
}

fn loading(state: &dyn Session) -> Loading {
    let options = &state.config_options().execution.parquet;
    Loading {
        cache: Some(state.runtime_env().cache_manager.get_file_metadata_cache()),
        size_hint: options.metadata_size_hint,
    }
}

#[async_trait]
impl FileFormat for Format {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn get_ext(&self) -> String {
        "parquet".to_owned()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        match compression.is_compressed() {
            false => Ok(self.get_ext()),
            true => Err(DataFusionError::NotImplemented(
                "Parquet files are compressed within, not as a whole".to_owned(),
            )),
        }
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        None
    }

    async fn infer_schema(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> Result<SchemaRef> {
        let at_once = state.config_options().execution.meta_fetch_concurrency;
        let loading = loading(state);
        let mut sorted: Vec<&ObjectMeta> = objects.iter().collect();
        sorted.sort_unstable_by(|one, two| one.location.cmp(&two.location));
        let schemas: Vec<Schema> = futures::stream::iter(sorted)
            .map(|object| async {
                let facts = Facts::load(store, object, &loading, &self.options).await?;
                // Schemas that are merged keep one column of a name.
                refuse_twins(&facts.schema).map_err(through)?;
                Ok::<_, DataFusionError>(facts.schema.as_ref().clone())
            })
            .boxed()
            .buffered(at_once.max(1))
            .try_collect()
            .await?;
        Ok(Arc::new(Schema::try_merge(schemas)?))
    }

    /// The row count is that of the row groups, which is compared with the rows that are decoded. Extremes and nulls are only
    /// estimates, so that no answer is made from them.
    async fn infer_stats(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        table_schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<Statistics> {
        let facts = Facts::load(store, object, &loading(state), &self.options).await?;
        let rows = facts.metadata.file_metadata().num_rows();
        let stated =
            DFParquetMetadata::statistics_from_parquet_metadata(&facts.metadata, &table_schema)?;
        let mut statistics = stated.to_inexact();
        statistics.num_rows = usize::try_from(rows).map_or(Precision::Absent, Precision::Exact);
        Ok(statistics)
    }

    async fn create_physical_plan(
        &self,
        state: &dyn Session,
        conf: FileScanConfig,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let source = conf.file_source().as_any().downcast_ref::<ParquetRows>();
        let source = source.ok_or_else(|| {
            DataFusionError::Internal(
                "a scan of Parquet has the source of another format".to_owned(),
            )
        })?;
        let source = source.clone().with_loading(loading(state));
        let conf = FileScanConfigBuilder::from(conf)
            .with_source(Arc::new(source))
            .build();
        Ok(DataSourceExec::from_data_source(conf))
    }

    fn file_source(&self, table_schema: TableSchema) -> Arc<dyn FileSource> {
        Arc::new(ParquetRows::new(table_schema, self.options.clone()))
    }
}
