//! SQL expressions over a table's columns: predicates, constraints, generated columns.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use arrowload_core::{Error, ErrorKind, Result};
use datafusion::common::{DFSchema, config::Dialect};
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::scan::Scan;
use crate::spark::alike;

/// An expression that is ready to be evaluated.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    sql: String,
    expression: Arc<dyn PhysicalExpr>,
    /// The columns that it reads.
    columns: Vec<usize>,
}

impl Expression {
    /// Reads an expression, in standard SQL or, where that fails, as Spark writes names.
    pub(crate) fn new(sql: &str, schema: &SchemaRef) -> Result<Self, DataFusionError> {
        Self::in_dialect(sql, schema, Dialect::Generic, false).or_else(|error| {
            Self::in_dialect(sql, schema, Dialect::Databricks, false).map_err(|_| error)
        })
    }

    /// Reads an expression that Spark wrote, and that has to mean the same here.
    pub(crate) fn of_spark(sql: &str, schema: &SchemaRef) -> Result<Self, DataFusionError> {
        Self::in_dialect(sql, schema, Dialect::Databricks, true)
    }

    fn in_dialect(
        sql: &str,
        schema: &SchemaRef,
        dialect: Dialect,
        is_sparks: bool,
    ) -> Result<Self, DataFusionError> {
        let mut config = SessionConfig::new();
        config.options_mut().sql_parser.enable_ident_normalization = false;
        config.options_mut().sql_parser.dialect = dialect;
        // A number with a point is a decimal to Spark.
        config.options_mut().sql_parser.parse_float_as_decimal = is_sparks;
        let state = SessionContext::new_with_config(config).state();
        let columns = DFSchema::try_from(schema.as_ref().clone())?;
        let mut logical = state.create_logical_expr(sql, &columns)?;
        if is_sparks {
            logical = alike(logical, &columns)?;
        }
        let expression = state.create_physical_expr(logical, &columns)?;
        let mut columns: Vec<usize> = collect_columns(&expression)
            .into_iter()
            .map(|column| column.index())
            .collect();
        columns.sort_unstable();
        Ok(Self {
            sql: sql.to_owned(),
            expression,
            columns,
        })
    }

    /// The text.
    pub(crate) fn sql(&self) -> &str {
        &self.sql
    }

    /// The same for batches that have only the columns that it reads, and what reads those.
    pub(crate) fn narrowed(&self, scan: &Scan) -> Result<(Scan, Self)> {
        if self.columns.is_empty() {
            return Ok((scan.clone(), self.clone()));
        }
        let narrow = scan.project(&self.columns)?;
        let expression = Self::new(&self.sql, &narrow.schema).map_err(|error| {
            Error::new(
                ErrorKind::Unexpected,
                format!("`{}` cannot be parsed a second time", self.sql),
            )
            .with_source(error)
        })?;
        Ok((narrow, expression))
    }

    /// One value for each row.
    pub(crate) fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let failed = |error: DataFusionError| {
            Error::new(
                ErrorKind::InvalidData,
                format!("`{}` could not be computed: {error}", self.sql),
            )
            .with_source(error)
        };
        self.expression
            .evaluate(batch)
            .and_then(|value| value.into_array(batch.num_rows()))
            .map_err(failed)
    }

    /// For which rows it is true; null is not.
    pub(crate) fn holds(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let array = self.evaluate(batch)?;
        let Some(values) = array.as_boolean_opt() else {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                format!("`{}` is neither true nor false", self.sql),
            ));
        };
        let values = match values.nulls() {
            Some(nulls) => values.values() & nulls.inner(),
            None => values.values().clone(),
        };
        Ok(BooleanArray::new(values, None))
    }

    /// Whether it can only be true or false.
    pub(crate) fn is_boolean(&self, schema: &SchemaRef) -> bool {
        matches!(self.expression.data_type(schema), Ok(DataType::Boolean))
    }
}

/// The first row for which something does not hold.
pub(crate) fn first_false(values: &BooleanArray) -> Option<u64> {
    (values.true_count() < values.len()).then(|| {
        values
            .values()
            .iter()
            .position(|holds| !holds)
            .unwrap_or_default() as u64
    })
}
