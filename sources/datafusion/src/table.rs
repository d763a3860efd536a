//! Files as a table of the engine.

use std::any::Any;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::arrow::array::{Array, BooleanArray, RecordBatch};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, project_schema};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use crate::known::Known;
use crate::look::Aside;
use crate::parquet;
use crate::scan::{FileScan, Reads};
use crate::union::Union;

/// Files as a table.
#[derive(Debug)]
pub(crate) struct FileTable {
    pub(crate) union: Arc<Union>,
    pub(crate) aside: Aside,
    /// Whether types were found in the whole files.
    pub(crate) proved: bool,
    pub(crate) known: Arc<Known>,
    pub(crate) key: String,
}

impl FileTable {
    /// The names of columns that are the same for all rows of a file.
    fn constants(&self) -> Vec<&str> {
        let fields = self.union.schema.fields().iter().skip(self.union.own);
        fields.map(|field| field.name().as_str()).collect()
    }

    /// The files whose rows can satisfy these conditions, which are about such columns only.
    fn kept(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<usize>> {
        let all = 0..self.union.files.len();
        let Some(condition) = conjunction(filters.to_vec()) else {
            return Ok(all.collect());
        };
        let constants = &self.union.constants;
        let schema = DFSchema::try_from(constants.schema())?;
        let condition = strip(condition)?;
        let condition = state.create_physical_expr(condition, &schema)?;
        let kept = condition
            .evaluate(constants)?
            .into_array(constants.num_rows())?;
        let kept = kept
            .as_any()
            .downcast_ref::<BooleanArray>()
            .ok_or_else(|| {
                DataFusionError::Internal("a condition that is neither true nor false".into())
            })?;
        Ok(all
            .filter(|file| kept.is_valid(*file) && kept.value(*file))
            .collect())
    }
}

/// A condition whose columns have no table before them.
fn strip(condition: Expr) -> Result<Expr> {
    datafusion::logical_expr::expr_rewriter::unnormalize_cols([condition])
        .pop()
        .ok_or_else(|| DataFusionError::Internal("a condition was lost".into()))
}

#[async_trait]
impl TableProvider for FileTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.union.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.kept(state, filters)?;
        if files.is_empty() {
            let schema = project_schema(&self.union.schema, projection)?;
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let all = self.union.schema.fields().len();
        let projection = projection.cloned().unwrap_or_else(|| (0..all).collect());
        let first = self.union.files.first();
        if let Some(format) = first.and_then(|looked| looked.engine.as_deref()) {
            return parquet::scan(state, &self.union, format, &files, projection, limit).await;
        }
        let reads = Reads {
            union: Arc::clone(&self.union),
            files,
            projection,
            aside: self.aside.clone(),
            proved: self.proved,
            known: Arc::clone(&self.known),
            key: self.key.clone(),
        };
        Ok(Arc::new(FileScan::new(reads, limit)?))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let constants = self.constants();
        let support = |filter: &&Expr| {
            // One without columns would be decided for no rows.
            match !filter.column_refs().is_empty() && expr_applicable_for_cols(&constants, filter) {
                true => TableProviderFilterPushDown::Exact,
                false => TableProviderFilterPushDown::Unsupported,
            }
        };
        Ok(filters.iter().map(support).collect())
    }
}

/// A table that is in memory.
pub(crate) fn in_memory(batch: RecordBatch) -> Result<Arc<dyn TableProvider>> {
    let schema = batch.schema();
    let table = datafusion::datasource::MemTable::try_new(schema, vec![vec![batch]])?;
    Ok(Arc::new(table))
}
