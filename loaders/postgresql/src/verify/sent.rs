//! What was sent of the columns that are compared as they were sent: sums over the messages of a `COPY`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{Field, Schema};
use arrowload_core::{Checksums, ColumnChecksum, Result};

use super::canonical::Sum;
use crate::decode::{ReadType, RowDecoder};
use crate::types::Kind;

/// Sums of the columns that are compared as they were sent.
pub(crate) struct Sent {
    /// For each column: its kind, if it is compared so.
    kinds: Vec<Option<Kind>>,
    /// Picks these columns out of what is sent; `None` if there are none.
    picker: Option<Picker>,
    sums: Vec<Sum>,
    /// Checksums of the load's own values, in these columns.
    values: Checksums,
    /// These columns of the load.
    columns: Vec<usize>,
}

struct Picker {
    schema: Arc<Schema>,
    types: Vec<ReadType>,
    decoder: RowDecoder,
}

/// Sums at some time, to return to.
#[derive(Clone)]
pub(crate) struct Mark {
    sums: Vec<Sum>,
    values: Checksums,
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sums of the columns {:?}", self.columns)
    }
}

impl Sent {
    pub(super) fn new(schema: &Schema, kinds: Vec<Option<Kind>>, numbered: bool) -> Self {
        let columns: Vec<usize> = (0..kinds.len())
            .filter(|index| kinds[*index].is_some())
            .collect();
        let chosen = columns
            .iter()
            .map(|index| schema.field(*index).clone())
            .collect::<Vec<_>>();
        let picker = (!columns.is_empty()).then(|| {
            let read = |kind: &Option<Kind>| {
                if kind.is_some() {
                    ReadType::Bytea
                } else {
                    ReadType::Skipped
                }
            };
            let mut types: Vec<ReadType> = kinds.iter().map(read).collect();
            types.extend(numbered.then_some(ReadType::Skipped));
            let fields: Vec<Field> = types
                .iter()
                .enumerate()
                .map(|(index, read)| read.field(&index.to_string()))
                .collect();
            let schema = Arc::new(Schema::new(fields));
            Picker {
                decoder: RowDecoder::new(Arc::clone(&schema), &types, usize::MAX),
                schema,
                types,
            }
        });
        Self {
            sums: vec![Sum::default(); kinds.len()],
            kinds,
            picker,
            values: Checksums::new(&Schema::new(chosen)),
            columns,
        }
    }

    /// A `COPY` begins.
    pub(crate) fn start(&mut self) {
        if let Some(picker) = &mut self.picker {
            picker.decoder = RowDecoder::new(Arc::clone(&picker.schema), &picker.types, usize::MAX);
        }
    }

    /// These rows of the load are about to be sent.
    pub(crate) fn add_rows(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.picker.is_some() {
            self.values.add(&batch.project(&self.columns)?)?;
        }
        Ok(())
    }

    /// This message is about to be sent.
    pub(crate) fn add_message(&mut self, message: &[u8]) -> Result<()> {
        let Some(picker) = &mut self.picker else {
            return Ok(());
        };
        picker.decoder.feed(message)?;
        let Some(batch) = picker.decoder.finish()? else {
            return Ok(());
        };
        for index in &self.columns {
            let fields = batch.column(*index).as_binary::<i32>();
            if let Some(kind) = &self.kinds[*index] {
                for row in 0..fields.len() {
                    self.sums[*index].add(kind, fields.is_valid(row).then(|| fields.value(row)))?;
                }
            }
        }
        Ok(())
    }

    /// The sums as they are, to return to if a `COPY` fails.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            sums: self.sums.clone(),
            values: self.values.clone(),
        }
    }

    /// Returns to the sums of then.
    pub(crate) fn go_back(&mut self, mark: Mark) {
        (self.sums, self.values) = (mark.sums, mark.values);
    }

    /// What was sent of a column, and the checksum of the load's own values in it; `None` if it is not compared so.
    pub(super) fn column(&self, index: usize) -> Option<(&Sum, ColumnChecksum)> {
        let place = self.columns.iter().position(|column| *column == index)?;
        Some((
            &self.sums[index],
            self.values.clone().finish().swap_remove(place),
        ))
    }
}
