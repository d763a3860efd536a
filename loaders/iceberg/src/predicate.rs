//! SQL predicates over a table's columns.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use arrowload_core::{Error, ErrorKind, Result};
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::config::invalid;

/// A predicate that is ready to be evaluated.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    sql: String,
    expression: Arc<dyn PhysicalExpr>,
    /// The columns that it reads.
    columns: Vec<usize>,
}

impl Expression {
    /// The predicate of an option.
    pub(crate) fn of_option(key: &'static str, sql: &str, schema: &SchemaRef) -> Result<Self> {
        let wrong = |why: String| invalid(key, format!("`{key}` is `{sql}`: {why}"));
        let expression = Self::new(sql, schema).map_err(|error| wrong(error.to_string()))?;
        match expression.expression.data_type(schema) {
            Ok(DataType::Boolean) => Ok(expression),
            _ => Err(wrong("it is neither true nor false".into())),
        }
    }

    fn new(sql: &str, schema: &SchemaRef) -> Result<Self, DataFusionError> {
        let mut config = SessionConfig::new();
        config.options_mut().sql_parser.enable_ident_normalization = false;
        let state = SessionContext::new_with_config(config).state();
        let known = DFSchema::try_from(schema.as_ref().clone())?;
        let logical = state.create_logical_expr(sql, &known)?;
        let expression = state.create_physical_expr(logical, &known)?;
        let columns = collect_columns(&expression).into_iter();
        let mut columns: Vec<usize> = columns.map(|column| column.index()).collect();
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

    /// The columns that it reads, and the same predicate over these columns alone. One that reads none gets the first.
    pub(crate) fn narrowed(&self, schema: &SchemaRef) -> Result<(Vec<usize>, Self)> {
        let columns = match self.columns.is_empty() {
            true => vec![0],
            false => self.columns.clone(),
        };
        let narrow = Arc::new(schema.project(&columns)?);
        let expression = Self::new(&self.sql, &narrow).map_err(|error| {
            let message = format!("`{}` cannot be parsed a second time", self.sql);
            Error::new(ErrorKind::Unexpected, message).with_source(error)
        })?;
        Ok((columns, expression))
    }

    /// For which rows it is true; null is not.
    pub(crate) fn holds(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let value = self.expression.evaluate(batch);
        let array = value.and_then(|value| value.into_array(batch.num_rows()));
        let array = array.map_err(|error| {
            let message = format!("`{}` could not be computed: {error}", self.sql);
            Error::new(ErrorKind::InvalidData, message).with_source(error)
        })?;
        let Some(values) = array.as_boolean_opt() else {
            let message = format!("`{}` is neither true nor false", self.sql);
            return Err(Error::new(ErrorKind::InvalidOption, message));
        };
        let values = match values.nulls() {
            Some(nulls) => values.values() & nulls.inner(),
            None => values.values().clone(),
        };
        Ok(BooleanArray::new(values, None))
    }
}

/// The first row for which something does not hold.
pub(crate) fn first_false(values: &BooleanArray) -> Option<u64> {
    let position = values.values().iter().position(|holds| !holds)?;
    Some(position as u64)
}
