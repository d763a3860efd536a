//! How each column of the table is made from the load: decided once for the load, and applied to each batch.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{Field, FieldRef, Schema, SchemaRef};
use arrowload_core::{ColumnMapping, Error, ErrorKind, Result};

use crate::batch::{RowNumbers, build};
use crate::options::Nanoseconds;
use crate::predicate::{Expression, first_false};
use crate::rules::Rules;
use crate::types::convert;

/// Brings the batches of a load to the columns of its table.
#[derive(Debug, Clone)]
pub(crate) struct ColumnProgram {
    steps: Vec<ColumnStep>,
    /// The columns of the table.
    schema: SchemaRef,
    nanoseconds: Nanoseconds,
    rules: Rules,
    /// The predicate of `replace_where`, which must be true for every row.
    must_hold: Option<Expression>,
    /// Rows keep some values of the rows that they replace, and the table's rules are checked after that.
    keeps_values: bool,
}

/// How one column of the table is filled.
#[derive(Debug, Clone)]
struct ColumnStep {
    /// The column of the load, or `None` for nulls.
    source: Option<usize>,
    field: FieldRef,
    /// The table allows no null where the load may have one.
    check_nulls: bool,
}

impl ColumnProgram {
    pub(crate) fn new(
        mapping: &ColumnMapping,
        load: &Schema,
        nanoseconds: Nanoseconds,
        rules: Rules,
        must_hold: Option<Expression>,
    ) -> Self {
        let step = |(field, source): (&FieldRef, &Option<usize>)| ColumnStep {
            source: *source,
            field: Arc::clone(field),
            check_nulls: !field.is_nullable()
                && source.is_some_and(|index| load.field(index).is_nullable()),
        };
        let fields = mapping.schema.fields().iter();
        Self {
            steps: fields.zip(&mapping.sources).map(step).collect(),
            schema: Arc::clone(&mapping.schema),
            nanoseconds,
            rules,
            must_hold,
            keeps_values: false,
        }
    }

    /// The columns that the load lacks, and that keep the values of the rows that it replaces.
    pub(crate) fn keep_values(&mut self) -> Vec<usize> {
        let lacks = |(column, step): (usize, &ColumnStep)| {
            (step.source.is_none() && !self.rules.generates(column)).then_some(column)
        };
        let kept: Vec<usize> = self.steps.iter().enumerate().filter_map(lacks).collect();
        self.keeps_values = !kept.is_empty();
        kept
    }

    /// The last step for rows that have got the values that they keep.
    pub(crate) fn finish(&self, batch: RecordBatch, rows: &[u64]) -> Result<RecordBatch> {
        self.rules.apply(batch, RowNumbers::Of(rows))
    }

    /// A batch with the columns and types of the table. `first_row` is the number of its first row in the load.
    pub(crate) fn run(&self, batch: &RecordBatch, first_row: u64) -> Result<RecordBatch> {
        let columns = self.steps.iter().map(|step| match step.source {
            Some(index) => self.filled(step, batch.column(index), first_row),
            None => Ok(new_null_array(step.field.data_type(), batch.num_rows())),
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let arranged = build(&self.schema, columns, batch.num_rows())?;
        if self.keeps_values {
            return Ok(arranged);
        }
        let arranged = self.rules.apply(arranged, RowNumbers::From(first_row))?;
        let Some(expression) = &self.must_hold else {
            return Ok(arranged);
        };
        match first_false(&expression.holds(&arranged)?) {
            None => Ok(arranged),
            Some(row) => {
                let message = format!(
                    "a row does not fulfil replace_where, `{}`; filter it out",
                    expression.sql()
                );
                Err(Error::new(ErrorKind::InvalidData, message).at_row(first_row + row))
            }
        }
    }

    fn filled(&self, step: &ColumnStep, source: &ArrayRef, first_row: u64) -> Result<ArrayRef> {
        let field = &step.field;
        let column = convert(
            source,
            field.data_type(),
            field.name(),
            self.nanoseconds,
            first_row,
        )?;
        if step.check_nulls && column.logical_null_count() > 0 {
            return Err(null_error(field, column.as_ref(), first_row));
        }
        Ok(column)
    }
}

fn null_error(field: &Field, column: &dyn Array, first_row: u64) -> Error {
    let row = column
        .logical_nulls()
        .and_then(|nulls| nulls.iter().position(|valid| !valid))
        .unwrap_or_default() as u64;
    let message = format!(
        "column `{}` of the table may not be null, and a row has a null; filter it out, or give it a value",
        field.name()
    );
    Error::new(ErrorKind::InvalidData, message)
        .with("column", field.name())
        .at_row(first_row + row)
}
