//! Maps the columns of a load to the columns of a target: by name, with missing ones null and new ones added.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};

use crate::{Error, ErrorKind, Result};

/// Which column of the load fills each column of the target.
#[derive(Debug, Clone)]
pub struct ColumnMapping {
    /// The target's schema, with the added columns at its end.
    pub schema: SchemaRef,
    /// For each column of `schema`, the load's column that fills it, or `None` for nulls.
    pub sources: Vec<Option<usize>>,
    /// The columns that the load adds to the target.
    pub added: Vec<FieldRef>,
}

impl ColumnMapping {
    /// Maps the columns of a load onto an existing target by name. `fits` says whether a load's type may go into a
    /// target's type.
    ///
    /// # Errors
    /// [`ErrorKind::SchemaMismatch`], naming the column: a type that does not fit, a new column without `evolve`, or a
    /// missing column that may not be null.
    pub fn by_name(
        load: &Schema,
        target: &Schema,
        evolve: bool,
        fits: impl Fn(&DataType, &DataType) -> bool,
    ) -> Result<Self> {
        let mut sources = Vec::with_capacity(target.fields().len());
        for column in target.fields() {
            let source = load
                .fields()
                .iter()
                .position(|field| field.name() == column.name());
            match source.map(|index| load.field(index)) {
                Some(field) if !fits(field.data_type(), column.data_type()) => {
                    return Err(wrong_type(field, column));
                }
                None if !column.is_nullable() => {
                    let message = format!(
                        "the load has no column `{}`, and the target's may not be null",
                        column.name()
                    );
                    return Err(Error::new(ErrorKind::SchemaMismatch, message)
                        .with("column", column.name()));
                }
                _ => sources.push(source),
            }
        }
        let mut fields: Vec<FieldRef> = target.fields().to_vec();
        let mut added = Vec::new();
        for (index, field) in load.fields().iter().enumerate() {
            if target.column_with_name(field.name()).is_some() {
                continue;
            }
            if !evolve {
                let message = format!(
                    "the target has no column `{}`; set schema_evolution = true to add it, or leave it out of the query",
                    field.name()
                );
                return Err(
                    Error::new(ErrorKind::SchemaMismatch, message).with("column", field.name())
                );
            }
            // Existing rows have no value for it.
            let nullable = Arc::new(field.as_ref().clone().with_nullable(true));
            fields.push(Arc::clone(&nullable));
            added.push(nullable);
            sources.push(Some(index));
        }
        let schema = Arc::new(Schema::new_with_metadata(fields, target.metadata().clone()));
        Ok(Self {
            schema,
            sources,
            added,
        })
    }

    /// Arranges a batch of the load as the target has it. Types are not converted.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] if a column that may not be null holds one; the row is counted from `first_row`.
    pub fn apply(&self, batch: &RecordBatch, first_row: u64) -> Result<RecordBatch> {
        let column = |(field, source): (&FieldRef, &Option<usize>)| match source {
            Some(index) => Arc::clone(batch.column(*index)),
            None => new_null_array(field.data_type(), batch.num_rows()),
        };
        let columns: Vec<_> = self
            .schema
            .fields()
            .iter()
            .zip(&self.sources)
            .map(column)
            .collect();
        for (field, array) in self.schema.fields().iter().zip(&columns) {
            check_not_null(field, array.as_ref(), first_row)?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            columns,
            &options,
        )?)
    }
}

fn wrong_type(field: &Field, column: &Field) -> Error {
    let message = format!(
        "column `{}` is {} in the load and {} in the target; cast it in the query",
        field.name(),
        field.data_type(),
        column.data_type()
    );
    Error::new(ErrorKind::SchemaMismatch, message).with("column", field.name())
}

fn check_not_null(field: &Field, array: &dyn Array, first_row: u64) -> Result<()> {
    if field.is_nullable() || array.logical_null_count() == 0 {
        return Ok(());
    }
    let row = array
        .logical_nulls()
        .and_then(|nulls| nulls.iter().position(|valid| !valid))
        .unwrap_or_default() as u64;
    let message = format!(
        "column `{}` holds a null, and the target's may not be null",
        field.name()
    );
    Err(Error::new(ErrorKind::InvalidData, message)
        .with("column", field.name())
        .at_row(first_row + row))
}

/// Refuses a schema that no target could hold: no columns, or two of one name.
pub(crate) fn check_loadable(schema: &Schema) -> Result<()> {
    if schema.fields().is_empty() {
        let message =
            "the query answers with no columns, so there is nothing to load; is it a SELECT?";
        return Err(Error::new(ErrorKind::SchemaMismatch, message));
    }
    for (index, field) in schema.fields().iter().enumerate() {
        if schema.fields()[..index]
            .iter()
            .any(|earlier| earlier.name() == field.name())
        {
            let message = format!(
                "the query answers with two columns named `{}`; rename one with AS",
                field.name()
            );
            return Err(Error::new(ErrorKind::SchemaMismatch, message).with("column", field.name()));
        }
    }
    Ok(())
}

/// Gives a batch the schema that was announced for its stream.
///
/// Sources may be careless about metadata and nullability, but not about names, order, types, or nulls in columns that
/// were announced without.
pub(crate) fn conform(
    batch: RecordBatch,
    announced: &SchemaRef,
    first_row: u64,
) -> Result<RecordBatch> {
    let found = batch.schema_ref();
    if Arc::ptr_eq(found, announced) || found == announced {
        return Ok(batch);
    }
    let drift = |message: String| {
        Error::new(ErrorKind::SchemaMismatch, message).with("batch at row", first_row)
    };
    let (expected, got) = (announced.fields().len(), found.fields().len());
    if expected != got {
        return Err(drift(format!(
            "the schema changed mid-load: {expected} columns were announced, and a batch has {got}"
        )));
    }
    for (field, column) in announced.fields().iter().zip(found.fields()) {
        if field.name() != column.name() {
            let message = format!(
                "the schema changed mid-load: column `{}` was announced, and a batch has `{}`",
                field.name(),
                column.name()
            );
            return Err(drift(message).with("column", field.name()));
        }
        if !field.data_type().equals_datatype(column.data_type()) {
            let (was, is) = (field.data_type(), column.data_type());
            let message = format!(
                "the schema changed mid-load: column `{}` was announced as {was}, and a batch has {is}",
                field.name()
            );
            return Err(drift(message).with("column", field.name()));
        }
    }
    for (field, array) in announced.fields().iter().zip(batch.columns()) {
        check_not_null(field, array.as_ref(), first_row)?;
    }
    // Sources differ in what they call the items of a list; the types are equal but for that.
    let options = RecordBatchOptions::new()
        .with_row_count(Some(batch.num_rows()))
        .with_match_field_names(false);
    RecordBatch::try_new_with_options(Arc::clone(announced), batch.columns().to_vec(), &options)
        .map_err(|error| drift("the schema changed mid-load".into()).with_source(error))
}
