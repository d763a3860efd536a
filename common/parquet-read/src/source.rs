//! The rows of Parquet files, as a scan asks for them.

use std::any::Any;
use std::fmt::{self, Formatter};
use std::sync::Arc;

use datafusion::config::ConfigOptions;
use datafusion::datasource::physical_plan::parquet::can_expr_be_pushed_down_with_schemas;
use datafusion::datasource::physical_plan::{
    FileOpener, FileScanConfig, FileSource, ParquetSource,
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::conjunction;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr_common::physical_expr::PhysicalExpr;
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use object_store::ObjectStore;

use crate::facts::Loading;
use crate::opener::Opener;
use crate::options::ParquetOptions;

/// The engine's reader of row groups, without what it would decide by statistics that nobody checked.
#[derive(Clone)]
pub(crate) struct ParquetRows {
    /// Decodes, and projects; it never has a predicate.
    pub(crate) inner: ParquetSource,
    /// What row groups may be skipped for.
    pub(crate) predicate: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) options: ParquetOptions,
    pub(crate) loading: Loading,
}

impl ParquetRows {
    pub(crate) fn new(table_schema: TableSchema, options: ParquetOptions) -> Self {
        Self {
            inner: ParquetSource::new(table_schema),
            predicate: None,
            options,
            loading: Loading::default(),
        }
    }

    pub(crate) fn with_loading(self, loading: Loading) -> Self {
        Self { loading, ..self }
    }

    /// The same with what the engine made from its reader.
    fn around(&self, inner: &Arc<dyn FileSource>) -> Result<Self> {
        let inner = inner.as_any().downcast_ref::<ParquetSource>();
        let inner = inner.ok_or_else(|| {
            DataFusionError::Internal("a reader of Parquet has become another".to_owned())
        })?;
        Ok(Self {
            inner: inner.clone(),
            ..self.clone()
        })
    }
}

impl FileSource for ParquetRows {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        Ok(Arc::new(Opener::new(
            self.clone(),
            store,
            config,
            partition,
        )))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_schema(&self) -> &TableSchema {
        self.inner.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        let inner = self.inner.with_batch_size(batch_size);
        match self.around(&inner) {
            Ok(source) => Arc::new(source),
            // It is always the same type; without a size of batches, opening says so.
            Err(_) => Arc::new(self.clone()),
        }
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.predicate.clone()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.inner.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.inner.metrics()
    }

    fn file_type(&self) -> &str {
        "parquet"
    }

    fn fmt_extra(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.predicate {
            Some(predicate) => write!(f, ", predicate={predicate}"),
            None => Ok(()),
        }
    }

    /// Keeps filters to skip row groups by; the engine still applies them to the rows.
    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let unapplied = vec![PushedDown::No; filters.len()];
        let unchanged = FilterPushdownPropagation::with_parent_pushdown_result(unapplied);
        let schema = self.table_schema().table_schema();
        let mut kept: Vec<Arc<dyn PhysicalExpr>> = filters
            .into_iter()
            .filter(|filter| can_expr_be_pushed_down_with_schemas(filter, schema))
            .collect();
        if kept.is_empty() || !self.options.pruning {
            return Ok(unchanged);
        }
        kept.extend(self.predicate.clone());
        let source = Self {
            predicate: Some(conjunction(kept)),
            ..self.clone()
        };
        Ok(unchanged.with_updated_node(Arc::new(source)))
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        let Some(inner) = self.inner.try_pushdown_projection(projection)? else {
            return Ok(None);
        };
        Ok(Some(Arc::new(self.around(&inner)?)))
    }
}
