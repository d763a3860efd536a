//! How each column of the table is made from the load: decided once for the load, and applied to each batch.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{Field, FieldRef, Schema, SchemaRef};
use arrowload_core::{Error, ErrorKind, Result, relabel};

use crate::options::Nanoseconds;
use crate::predicate::{Expression, first_false};
use crate::types::convert;

/// Brings the batches of a load to the columns of its table, as data files have them.
#[derive(Debug, Clone)]
pub(crate) struct ColumnProgram {
    steps: Vec<ColumnStep>,
    schema: SchemaRef,
    nanoseconds: Nanoseconds,
    /// What every row must fulfil, as `replace_where` asks.
    must_hold: Option<Expression>,
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
    /// For no columns.
    pub(crate) fn none() -> Self {
        let none = Arc::new(Schema::empty());
        Self::new(&none, &[], &none, Nanoseconds::Refuse, None)
    }

    /// For a table of these columns, each with the load's column that fills it.
    pub(crate) fn new(
        schema: &SchemaRef,
        sources: &[Option<usize>],
        load: &Schema,
        nanoseconds: Nanoseconds,
        must_hold: Option<Expression>,
    ) -> Self {
        let step = |(field, source): (&FieldRef, &Option<usize>)| ColumnStep {
            source: *source,
            field: Arc::clone(field),
            check_nulls: !field.is_nullable()
                && source.is_some_and(|index| load.field(index).is_nullable()),
        };
        Self {
            steps: schema.fields().iter().zip(sources).map(step).collect(),
            schema: Arc::clone(schema),
            nanoseconds,
            must_hold,
        }
    }

    /// The columns that the load lacks.
    pub(crate) fn lacking(&self) -> Vec<usize> {
        let lacks = |(column, step): (usize, &ColumnStep)| step.source.is_none().then_some(column);
        self.steps.iter().enumerate().filter_map(lacks).collect()
    }

    /// A batch with the columns and types of the table. `first_row` is the number of its first row in the load.
    pub(crate) fn run(&self, batch: &RecordBatch, first_row: u64) -> Result<RecordBatch> {
        let columns = self.steps.iter().map(|step| match step.source {
            Some(index) => self.filled(step, batch.column(index), first_row),
            None => Ok(new_null_array(step.field.data_type(), batch.num_rows())),
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let arranged = build(&self.schema, columns, batch.num_rows())?;
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

/// A batch of these columns, also of none.
pub(crate) fn build(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

/// The columns of a table as this loader writes them, from those that the library has read.
pub(crate) fn arrange(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let column = |field: &FieldRef| -> Result<ArrayRef> {
        let Some(array) = batch.column_by_name(field.name()) else {
            let message = format!("column `{}` of the table was not read", field.name());
            return Err(Error::new(ErrorKind::Unexpected, message));
        };
        // What has one value for all rows of a file comes as runs.
        let array = convert(
            array,
            field.data_type(),
            field.name(),
            Nanoseconds::Exact,
            0,
        )?;
        relabel(&array, field.data_type())
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_>>()?;
    build(schema, columns, rows)
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
