//! Checksums of all rows of a side, whatever their order.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StructArray};
use arrow_schema::{DataType, Field, Fields, Schema};
use arrowload_core::{BatchStream, Checksums, ColumnChecksum, Result};
use futures::TryStreamExt;

use crate::Side;
use crate::comparison::Comparison;

/// The rows of one side, added up.
///
/// Two sides with the same rows, whatever their order, have the same sums. Sides whose rows differ have the same sums only if hashes of
/// 64 bits collide: by chance with a probability of 2⁻⁶⁴, though who chooses the values can find such rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums {
    /// How many rows there are.
    pub rows: u64,
    /// Of the values of each column.
    pub columns: Vec<ColumnChecksum>,
    /// Of whole rows: two rows that have exchanged a value have another sum.
    pub whole: u64,
}

impl Sums {
    pub(crate) async fn of(
        comparison: &Comparison,
        side: Side,
        mut stream: BatchStream,
    ) -> Result<Self> {
        let fields: Fields = comparison
            .columns()
            .map(|column| Field::new(&column.name, column.form.data_type(), true))
            .collect();
        let whole = Field::new("row", DataType::Struct(fields.clone()), false);
        let all = fields.iter().cloned().chain([Arc::new(whole)]);
        let schema = Arc::new(Schema::new(all.collect::<Vec<_>>()));
        let (mut rows, mut checksums) = (0, Checksums::new(&schema));
        while let Some(batch) = stream.try_next().await? {
            let mut columns = comparison.all_in_form(&batch, side)?;
            let whole = StructArray::try_new_with_length(
                fields.clone(),
                columns.clone(),
                None,
                batch.num_rows(),
            )?;
            columns.push(Arc::new(whole) as ArrayRef);
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
            checksums.add(&batch)?;
            rows += batch.num_rows() as u64;
        }
        let mut columns = checksums.finish();
        let whole = columns.pop().map_or(0, |whole| whole.sum);
        Ok(Self {
            rows,
            columns,
            whole,
        })
    }

    /// The columns whose values differ.
    pub fn differing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        let pairs = self.columns.iter().zip(&other.columns);
        pairs
            .filter(|(a, b)| a != b)
            .map(|(column, _)| column.column.as_str())
    }
}
