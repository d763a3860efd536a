//! Differing rows as a table: what changed, the keys, and the values of both sides.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_select::take::take;
use arrowload_core::{Error, ErrorKind, Result};

use crate::Side;
use crate::comparison::Comparison;

/// What happened to a row between the first side and the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Only the second side has it.
    Added,
    /// Only the first side has it.
    Removed,
    /// Both have it, with other values.
    Changed,
}

impl Change {
    /// Its name in tables and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

/// Rows that differ.
#[derive(Debug)]
pub struct Block {
    /// `_change`, the keys, and each other column of the first side (`name_a`) and of the second (`name_b`). A key whose types differ is
    /// there twice too.
    pub batch: RecordBatch,
    /// What happened to each row.
    pub changes: Vec<Change>,
    /// For each row, which of the compared columns differ, in their order. None of a row that one side has alone.
    pub columns: Vec<Vec<usize>>,
    /// The rows as each side has them: the keys, then the other columns. Null where a side has none.
    pub sides: [RecordBatch; 2],
}

impl Block {
    /// Its first rows, so many at most.
    #[must_use]
    pub fn first(mut self, rows: usize) -> Self {
        let rows = rows.min(self.changes.len());
        self.changes.truncate(rows);
        self.columns.truncate(rows);
        Self {
            batch: self.batch.slice(0, rows),
            sides: self.sides.map(|side| side.slice(0, rows)),
            ..self
        }
    }
}

/// The column that says what happened to a row.
const CHANGE: &str = "_change";

/// Where a column of the table of differences is from.
#[derive(Debug, Clone, Copy)]
enum From {
    /// A key of one type on both sides: from the side that has the row.
    Either(usize),
    One(Side, usize),
}

/// What the table of differences is like.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) schema: SchemaRef,
    froms: Vec<From>,
    sides: [SchemaRef; 2],
}

impl Layout {
    pub(crate) fn of(comparison: &Comparison) -> Result<Self> {
        let mut fields: Vec<FieldRef> = vec![Arc::new(Field::new(CHANGE, DataType::Utf8, false))];
        let mut froms = Vec::new();
        for (index, column) in comparison.columns().enumerate() {
            let [a, b] = &column.fields;
            if index < comparison.keys.len() && a.data_type() == b.data_type() {
                fields.push(Arc::clone(a));
                froms.push(From::Either(index));
                continue;
            }
            for (side, field, ending) in [(Side::A, a, "a"), (Side::B, b, "b")] {
                let name = format!("{}_{ending}", column.name);
                fields.push(Arc::new(field.as_ref().clone().with_name(name)));
                froms.push(From::One(side, index));
            }
        }
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = fields.iter().find(|field| !seen.insert(field.name())) {
            let name = twice.name();
            let message = format!(
                "the table of differences would have two columns `{name}`; give the column another name in the queries"
            );
            return Err(Error::new(ErrorKind::InvalidOption, message).with("column", name));
        }
        let side = |side: Side| {
            let fields = comparison
                .columns()
                .map(|column| Arc::clone(&column.fields[side as usize]));
            Arc::new(Schema::new(fields.collect::<Vec<_>>()))
        };
        Ok(Self {
            schema: Arc::new(Schema::new(fields)),
            froms,
            sides: [side(Side::A), side(Side::B)],
        })
    }

    /// The table of rows that differ: where each is on both sides, and which columns differ.
    pub(crate) fn block(
        &self,
        batches: [Option<&RecordBatch>; 2],
        rows: &[(Option<u32>, Option<u32>)],
        columns: Vec<Vec<usize>>,
    ) -> Result<Block> {
        let changes: Vec<Change> = rows
            .iter()
            .map(|row| match row {
                (None, _) => Change::Added,
                (_, None) => Change::Removed,
                _ => Change::Changed,
            })
            .collect();
        let indices = [
            rows.iter().map(|row| row.0).collect::<UInt32Array>(),
            rows.iter().map(|row| row.1).collect::<UInt32Array>(),
        ];
        let side = |side: Side| -> Result<RecordBatch> {
            let schema = &self.sides[side as usize];
            let Some(batch) = batches[side as usize] else {
                return Ok(nulls(schema, rows.len())?);
            };
            // The first column is that of the sort.
            let columns = batch.columns()[1..]
                .iter()
                .map(|column| take(column, &indices[side as usize], None));
            let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
            Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
        };
        let sides = [side(Side::A)?, side(Side::B)?];
        let names: StringArray = changes.iter().map(|change| Some(change.name())).collect();
        let mut all: Vec<ArrayRef> = vec![Arc::new(names)];
        for from in &self.froms {
            all.push(match *from {
                From::One(side, index) => Arc::clone(sides[side as usize].column(index)),
                From::Either(index) => {
                    let (a, b) = (sides[0].column(index), sides[1].column(index));
                    let from_b: Vec<(usize, usize)> = (0..rows.len())
                        .map(|row| (usize::from(rows[row].0.is_none()), row))
                        .collect();
                    arrow_select::interleave::interleave(
                        &[a.as_ref() as &dyn Array, b.as_ref()],
                        &from_b,
                    )?
                }
            });
        }
        Ok(Block {
            batch: RecordBatch::try_new(Arc::clone(&self.schema), all)?,
            changes,
            columns,
            sides,
        })
    }
}

fn nulls(
    schema: &SchemaRef,
    rows: usize,
) -> std::result::Result<RecordBatch, arrow_schema::ArrowError> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| arrow_array::new_null_array(field.data_type(), rows));
    RecordBatch::try_new(Arc::clone(schema), columns.collect())
}
