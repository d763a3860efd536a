//! The parts of a table's definition that Arrow types do not express. They are put into the metadata of the schema, for loaders
//! that create tables.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{Field, FieldRef, Schema, SchemaRef};
use arrowload::{BatchStream, Error, ErrorKind, Operator};

use crate::sync_tables::Table;

/// Puts what a source says of a table into the schema of its rows: which columns may not be null, their types in the source's words
/// (`postgresql.type`), the primary key and the comments. No value is touched; a null where none may be ends the load.
#[derive(Debug, Clone)]
pub(crate) struct Carried {
    /// The source, if the tables go to a store of its kind: types and keys are only for such a store. In a file they would remain,
    /// and be wrong after a query has changed the rows.
    pub(crate) own_kind: Option<&'static str>,
    pub(crate) table: Arc<Table>,
}

impl Operator for Carried {
    fn definition(&self) -> String {
        // What a table is like may change between two attempts, and its rows are loaded all the same.
        "with its definition".to_owned()
    }

    fn schema(&self, input: &SchemaRef) -> Result<SchemaRef, Error> {
        let table = &self.table;
        if table.hides_rows {
            let message = format!(
                "row-level security hides rows of {} from this user; read it as its owner or as one who bypasses it, or leave it out",
                table.label()
            );
            return Err(Error::new(ErrorKind::PermissionDenied, message));
        }
        let is_same = |(field, column): (&FieldRef, &crate::sync_tables::Column)| {
            *field.name() == column.name
        };
        let columns = input.fields().iter().zip(&table.columns);
        if input.fields().len() != table.columns.len() || !columns.clone().all(is_same) {
            let message = format!(
                "the columns of {} have changed since they were listed",
                table.label()
            );
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let fields: Vec<Field> = columns
            .map(|(field, column)| {
                let mut metadata = field.metadata().clone();
                let type_key = self.own_kind.map(|source| format!("{source}.type"));
                metadata.extend(type_key.map(|key| (key, column.type_name.clone())));
                metadata.extend(comment(column.comment.as_ref()));
                let is_nullable = field.is_nullable() && column.is_nullable;
                let field = field.as_ref().clone().with_nullable(is_nullable);
                field.with_metadata(metadata)
            })
            .collect();
        let mut metadata: HashMap<String, String> = input.metadata().clone();
        metadata.extend(comment(table.comment.as_ref()));
        let keys = table.primary_key();
        if self.own_kind.is_some() && !keys.is_empty() {
            metadata.insert(
                "primary_key".to_owned(),
                serde_json::json!(keys).to_string(),
            );
        }
        Ok(Arc::new(Schema::new_with_metadata(fields, metadata)))
    }

    fn apply(&self, stream: BatchStream) -> Result<BatchStream, Error> {
        let (schema, rows) = (self.schema(stream.schema())?, stream.expected_rows());
        // Each batch is checked against the schema on its way, nulls included.
        let stream = BatchStream::new(schema, stream);
        Ok(match rows {
            Some(rows) => stream.with_expected_rows(rows),
            None => stream,
        })
    }

    fn changes_rows(&self) -> bool {
        false
    }
}

fn comment(text: Option<&String>) -> Option<(String, String)> {
    text.map(|text| ("comment".to_owned(), text.clone()))
}
