//! A query's whole answer in memory.

use std::fmt;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_core::BatchStream;

/// A schema and all batches of an answer. `Display` prints it as a table.
#[derive(Debug, Clone)]
pub struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Table {
    /// A table of batches, which all have this schema.
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches }
    }

    /// The schema of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The batches, in the order of the answer.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// The batches.
    pub fn into_batches(self) -> Vec<RecordBatch> {
        self.batches
    }

    /// How many rows there are.
    pub fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// As a stream, for loading.
    pub fn into_stream(self) -> BatchStream {
        BatchStream::from_batches(self.schema, self.batches)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let empty = [RecordBatch::new_empty(self.schema.clone())];
        let batches = if self.batches.is_empty() {
            &empty[..]
        } else {
            &self.batches
        };
        let text = arrow_cast::pretty::pretty_format_batches(batches).map_err(|_| fmt::Error)?;
        // A terminal would obey what a value may hold.
        f.write_str(&arrowload_common_text::printable_lines(&text.to_string()))
    }
}
