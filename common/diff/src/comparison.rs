//! Which columns are compared, and in which common type.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_select::take::take_record_batch;
use arrowload_core::{BatchStream, Error, ErrorKind, Result, batch_bytes};

use crate::form::{Form, carried, exactly};
use crate::{Differences, Limits, SchemaDiff, Sums};

/// One of the two that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first: what it alone has was removed.
    A = 0,
    /// The second: what it alone has was added.
    B = 1,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// Which columns are compared.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The columns that identify a row; none to compare all rows as one bag.
    pub keys: Vec<String>,
    /// Only these columns, beside the keys; all if it is empty.
    pub columns: Vec<String>,
    /// All but these.
    pub exclude: Vec<String>,
}

/// A column of both sides.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// As each side declares it, with the type that it has on its way.
    pub(crate) fields: [FieldRef; 2],
    /// Where each side has it, and of which type.
    positions: [usize; 2],
    types: [DataType; 2],
    pub(crate) form: Form,
}

/// Two schemas that can be compared, value by value.
#[derive(Debug)]
pub struct Comparison {
    pub(crate) keys: Vec<Column>,
    pub(crate) values: Vec<Column>,
}

/// The column of each sorted batch that holds the keys in the row format.
pub(crate) const KEY: &str = "key";
/// Rows of a batch on its way into the sort, at most.
const ROWS: usize = 8192;

impl Comparison {
    /// Finds the form in which each column can be compared.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], naming every column whose types cannot be compared without loss; [`ErrorKind::InvalidOption`] if
    /// there is no column to compare; what [`SchemaDiff::new`] refuses.
    pub fn new(a: &Schema, b: &Schema, selection: &Selection) -> Result<Self> {
        let schemas = SchemaDiff::new(a, b, selection)?;
        let mut refused = Vec::new();
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let in_order = selection.keys.iter().chain(
            schemas
                .both
                .iter()
                .filter(|name| !selection.keys.contains(name)),
        );
        for (index, name) in in_order.enumerate() {
            let (at_a, at_b) = (a.index_of(name)?, b.index_of(name)?);
            let (field_a, field_b) = (a.field(at_a), b.field(at_b));
            let form = match Form::of(field_a.data_type(), field_b.data_type()) {
                Ok(form) => form,
                Err(why) => {
                    refused.push(format!("`{name}` ({why})"));
                    continue;
                }
            };
            let on_its_way = |field: &Field| {
                let data_type = carried(field.data_type());
                Arc::new(field.clone().with_data_type(data_type).with_nullable(true))
            };
            let column = Column {
                name: name.clone(),
                fields: [on_its_way(field_a), on_its_way(field_b)],
                positions: [at_a, at_b],
                types: [field_a.data_type().clone(), field_b.data_type().clone()],
                form,
            };
            match index < selection.keys.len() {
                true => keys.push(column),
                false => values.push(column),
            }
        }
        if !refused.is_empty() {
            let message = format!(
                "columns that cannot be compared without loss: {}; cast them to one type in the query of a side, or leave them out",
                refused.join(", ")
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if keys.is_empty() && values.is_empty() {
            let message = "A and B have no column in common that could be compared";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        Ok(Self { keys, values })
    }

    /// Compares the rows of two streams by their keys, within a tokio runtime. Both are read from now on; dropping it cancels them.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] without keys, or if a table of the differences would have two columns of one name; what the
    /// streams say of their first rows.
    pub async fn differences(
        self,
        a: BatchStream,
        b: BatchStream,
        limits: &Limits,
    ) -> Result<Differences> {
        Differences::new(Arc::new(self), a, b, limits).await
    }

    /// Adds up checksums of all rows of one side, to be compared with those of the other.
    ///
    /// # Errors
    /// What the stream says, and [`ErrorKind::InvalidData`] for a value that does not fit its own type.
    pub async fn sums(&self, side: Side, stream: BatchStream) -> Result<Sums> {
        Sums::of(self, side, stream).await
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = &Column> {
        self.keys.iter().chain(&self.values)
    }

    /// What a side's batches are like in the sort: the keys in the row format, then the columns as the side has them.
    pub(crate) fn sorted_schema(&self, side: Side) -> SchemaRef {
        let key = Arc::new(Field::new(KEY, DataType::Binary, false));
        let columns = self
            .columns()
            .map(|column| Arc::clone(&column.fields[side as usize]));
        Arc::new(Schema::new(
            std::iter::once(key).chain(columns).collect::<Vec<_>>(),
        ))
    }

    /// A batch of a side as the sort takes it, in parts of about so many bytes at most that share nothing with it, each made when it is
    /// asked for.
    pub(crate) fn parts(
        self: Arc<Self>,
        batch: RecordBatch,
        side: Side,
        first_row: u64,
        bytes: usize,
    ) -> impl Iterator<Item = Result<RecordBatch>> + Send + 'static {
        let rows = (bytes / row_bytes(&batch)).clamp(1, ROWS);
        let starts = (0..batch.num_rows()).step_by(rows);
        starts.map(move |start| {
            let end = batch.num_rows().min(start + rows);
            let rows = UInt32Array::from_iter_values(start as u32..end as u32);
            let part = take_record_batch(&batch, &rows)?;
            let mut columns = vec![self.row_keys(&part, side, first_row + start as u64)?];
            for column in self.columns() {
                let array = column.of(&part, side)?;
                let data_type = column.fields[side as usize].data_type();
                let carried = exactly(array, data_type);
                columns.push(carried.map_err(|error| broken(column, side, error))?);
            }
            Ok(RecordBatch::try_new(self.sorted_schema(side), columns)?)
        })
    }

    /// The keys of rows in the row format: equal if the keys are.
    fn row_keys(&self, batch: &RecordBatch, side: Side, first_row: u64) -> Result<ArrayRef> {
        let mut keys = Vec::with_capacity(self.keys.len());
        for column in &self.keys {
            let array = column.of(batch, side)?;
            let row = array
                .logical_nulls()
                .and_then(|nulls| nulls.iter().position(|has| !has));
            if let Some(row) = row {
                let message = format!(
                    "the key column `{}` is null in {side}, and such a row has no other to be compared with; leave such rows out, or \
                     compare without keys",
                    column.name
                );
                let row = first_row + row as u64;
                return Err(Error::new(ErrorKind::NullKey, message)
                    .with("column", &column.name)
                    .at_row(row));
            }
            keys.push(column.in_form(array, side)?);
        }
        let fields = self
            .keys
            .iter()
            .map(|column| SortField::new(column.form.data_type()));
        let converter = RowConverter::new(fields.collect())?;
        let rows = converter.convert_columns(&keys)?;
        Ok(Arc::new(rows.try_into_binary()?))
    }

    /// The columns that are compared, of a sorted batch.
    pub(crate) fn compared(&self, batch: &RecordBatch, side: Side) -> Result<Vec<ArrayRef>> {
        let behind_keys = 1 + self.keys.len();
        let columns = self.values.iter().enumerate();
        columns
            .map(|(index, column)| column.in_form(batch.column(behind_keys + index), side))
            .collect()
    }

    /// All columns of a batch of a side, in their forms.
    pub(crate) fn all_in_form(&self, batch: &RecordBatch, side: Side) -> Result<Vec<ArrayRef>> {
        let columns = self.columns();
        columns
            .map(|column| column.in_form(column.of(batch, side)?, side))
            .collect()
    }
}

impl Column {
    /// The column of a batch, which is what its stream has announced.
    fn of<'b>(&self, batch: &'b RecordBatch, side: Side) -> Result<&'b ArrayRef> {
        let position = self.positions[side as usize];
        let schema = batch.schema_ref();
        let is_announced = schema.fields().get(position).is_some_and(|field| {
            *field.name() == self.name && *field.data_type() == self.types[side as usize]
        });
        match is_announced {
            true => Ok(batch.column(position)),
            false => {
                let message = format!(
                    "a batch of {side} has another schema than its source has announced, which is a defect of the source"
                );
                Err(Error::new(ErrorKind::SchemaMismatch, message).with("column", &self.name))
            }
        }
    }

    fn in_form(&self, array: &ArrayRef, side: Side) -> Result<ArrayRef> {
        let formed = self.form.apply(array, side);
        formed.map_err(|error| broken(self, side, error))
    }
}

/// Bytes of a row, about.
pub(crate) fn row_bytes(batch: &RecordBatch) -> usize {
    (batch_bytes(batch) / batch.num_rows().max(1)).max(1)
}

fn broken(column: &Column, side: Side, error: arrow_schema::ArrowError) -> Error {
    let name = &column.name;
    let message =
        format!("a value of the column `{name}` of {side} does not fit its own type: {error}");
    Error::new(ErrorKind::InvalidData, message).with("column", name)
}
