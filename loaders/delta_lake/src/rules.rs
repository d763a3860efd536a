//! The rules of a table for its rows: check constraints, invariants and generated columns.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_ord::cmp::not_distinct;
use arrow_schema::SchemaRef;
use arrowload_core::{Error, ErrorKind, Result};
use deltalake::kernel::{MetadataValue, StructField, StructType, StructTypeExt};

use crate::batch::{RowNumbers, build};
use crate::predicate::{Expression, first_false};
use crate::table::Table;

/// The rules of one table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    checks: Vec<(String, Expression)>,
    generated: Vec<Generated>,
}

#[derive(Debug, Clone)]
struct Generated {
    column: usize,
    expression: Expression,
    /// The load brings the column, and its values are checked.
    given: bool,
}

impl Rules {
    /// The rules of a table for a load that fills these columns; what cannot be understood is refused by name.
    pub(crate) fn of(
        table: &Table,
        columns: &StructType,
        schema: &SchemaRef,
        sources: &[Option<usize>],
    ) -> Result<Self> {
        let mut rules = Self::default();
        for (key, sql) in table.state.metadata().configuration() {
            if let Some(name) = key.strip_prefix("delta.constraints.") {
                rules.add_check(format!("the constraint `{name}`"), sql, schema)?;
            }
        }
        let unreadable = |error: deltalake::kernel::Error| {
            Error::new(
                ErrorKind::Unsupported,
                format!("the table's rules could not be read: {error}"),
            )
            .with_source(error)
        };
        for invariant in columns.get_invariants().map_err(unreadable)? {
            rules.add_check(
                format!("the invariant of column `{}`", invariant.field_name),
                &invariant.invariant_sql,
                schema,
            )?;
        }
        for field in columns.fields() {
            if let Some(length) = longest_text(field) {
                let name = field.name().replace('`', "``");
                let sql = format!("`{name}` IS NULL OR character_length(`{name}`) <= {length}");
                rules.add_check(
                    format!("the length of column `{}`", field.name()),
                    &sql,
                    schema,
                )?;
            }
        }
        for generated in columns.get_generated_columns().map_err(unreadable)? {
            let what = format!("the generated column `{}`", generated.name);
            let expression = compile(&what, &generated.generation_expr, schema)?;
            let column = schema.index_of(&generated.name)?;
            rules.generated.push(Generated {
                column,
                expression,
                given: sources[column].is_some(),
            });
        }
        rules.checks.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(rules)
    }

    fn add_check(&mut self, what: String, sql: &str, schema: &SchemaRef) -> Result<()> {
        let expression = compile(&what, sql, schema)?;
        if !expression.is_boolean(schema) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{what} is `{sql}`, which is neither true nor false"),
            ));
        }
        self.checks.push((what, expression));
        Ok(())
    }

    /// Whether a column is generated.
    pub(crate) fn generates(&self, column: usize) -> bool {
        let mut generated = self.generated.iter();
        generated.any(|generated| generated.column == column)
    }

    /// Fills generated columns, and refuses a row that breaks a rule.
    pub(crate) fn apply(&self, batch: RecordBatch, rows: RowNumbers<'_>) -> Result<RecordBatch> {
        let batch = self.fill(batch, rows)?;
        for (what, check) in &self.checks {
            if let Some(row) = first_false(&check.holds(&batch)?) {
                let message = format!("a row breaks {what} of the table: {}", check.sql());
                return Err(Error::new(ErrorKind::InvalidData, message).at_row(rows.of(row)));
            }
        }
        Ok(batch)
    }

    /// Generated columns do not read each other.
    fn fill(&self, batch: RecordBatch, rows: RowNumbers<'_>) -> Result<RecordBatch> {
        if self.generated.is_empty() {
            return Ok(batch);
        }
        let mut columns = batch.columns().to_vec();
        for generated in &self.generated {
            columns[generated.column] = generated.compute(&batch, rows)?;
        }
        build(batch.schema_ref(), columns, batch.num_rows())
    }
}

/// The length that a text may have, where Spark knows the column as `CHAR(n)` or `VARCHAR(n)`.
fn longest_text(field: &StructField) -> Option<u32> {
    let MetadataValue::String(kind) = field.metadata().get("__CHAR_VARCHAR_TYPE_STRING")? else {
        return None;
    };
    let (kind, length) = kind.strip_suffix(')')?.split_once('(')?;
    ["char", "varchar"]
        .contains(&kind.to_ascii_lowercase().as_str())
        .then(|| length.parse().ok())?
}

impl Generated {
    /// The column, whose values are those of the load if it brings them.
    fn compute(&self, batch: &RecordBatch, rows: RowNumbers<'_>) -> Result<ArrayRef> {
        let field = batch.schema_ref().field(self.column);
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let computed: ArrayRef = cast_with_options(
            &self.expression.evaluate(batch)?,
            field.data_type(),
            &strict,
        )?;
        if self.given {
            let given = batch.column(self.column);
            if let Some(row) = first_false(&not_distinct(given, &computed)?) {
                let message = format!(
                    "column `{}` is generated as `{}`, and a row has another value; leave the column out",
                    field.name(),
                    self.expression.sql()
                );
                return Err(Error::new(ErrorKind::InvalidData, message)
                    .with("column", field.name())
                    .at_row(rows.of(row)));
            }
            return Ok(Arc::clone(given));
        }
        if !field.is_nullable() && computed.logical_null_count() > 0 {
            let message = format!(
                "column `{}` is generated as `{}`, which is null, and may not be",
                field.name(),
                self.expression.sql()
            );
            return Err(Error::new(ErrorKind::InvalidData, message).with("column", field.name()));
        }
        Ok(computed)
    }
}

fn compile(what: &str, sql: &str, schema: &SchemaRef) -> Result<Expression> {
    Expression::of_spark(sql, schema).map_err(|error| {
        let message = format!(
            "{what} of the table is `{sql}`, which this loader cannot compute as its own engine does: {error}; write the table with that"
        );
        Error::new(ErrorKind::Unsupported, message).with_source(error)
    })
}
