//! Arrays, composite types and vectors: fields within a field.

use std::sync::Arc;

use arrow_array::types::Float32Type;
use arrow_array::{ArrayRef, FixedSizeListArray, ListArray, PrimitiveArray, StructArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer};
use arrow_schema::{FieldRef, Fields};

use super::column::{Decoder, Wrong};

/// Reads a field's parts from its start.
struct Reader<'a> {
    rest: &'a [u8],
    name: &'static str,
    length: usize,
}

impl<'a> Reader<'a> {
    fn new(field: &'a [u8], name: &'static str) -> Self {
        Self {
            rest: field,
            name,
            length: field.len(),
        }
    }

    fn short(&self) -> Wrong {
        Wrong::length(self.name, self.length)
    }

    fn word(&mut self) -> Result<i32, Wrong> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.short())?;
        self.rest = rest;
        Ok(i32::from_be_bytes(*bytes))
    }

    /// A length and that many bytes; `None` for null.
    fn field(&mut self) -> Result<Option<&'a [u8]>, Wrong> {
        let Ok(length) = usize::try_from(self.word()?) else {
            return Ok(None);
        };
        let (field, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| self.short())?;
        self.rest = rest;
        Ok(Some(field))
    }
}

/// Arrays of one dimension.
pub(super) struct Lists {
    /// Refuses arrays whose first item has another number than 1.
    pub(super) from_one: bool,
    pub(super) item: FieldRef,
    pub(super) items: Box<dyn Decoder>,
    pub(super) offsets: Vec<i32>,
    pub(super) nulls: NullBufferBuilder,
}

impl Lists {
    /// Appends the items of one array, and returns how many there were.
    fn push_items(&mut self, field: &[u8]) -> Result<i32, Wrong> {
        let mut reader = Reader::new(field, "array");
        let (dimensions, _flags, _item_type) = (reader.word()?, reader.word()?, reader.word()?);
        match dimensions {
            0 => Ok(0),
            1 => {
                let (length, first) = (reader.word()?, reader.word()?);
                if self.from_one && first != 1 {
                    return Err(Wrong::new(format!(
                        "the array's first item has the number {first}"
                    )));
                }
                for _ in 0..length {
                    self.items.push(reader.field()?)?;
                }
                Ok(length)
            }
            more => {
                let message = format!(
                    "an array of {more} dimensions cannot be a list; cast the column to jsonb (to_jsonb) or to text"
                );
                Err(Wrong::new(message))
            }
        }
    }
}

impl Decoder for Lists {
    fn push(&mut self, field: Option<&[u8]>) -> Result<(), Wrong> {
        let length = field.map_or(Ok(0), |field| self.push_items(field))?;
        let end = self
            .offsets
            .last()
            .copied()
            .unwrap_or(0)
            .checked_add(length);
        self.offsets.push(end.ok_or_else(|| {
            Wrong::new("a batch holds more than 2^31 items; lower read_batch_size")
        })?);
        self.nulls.append(field.is_some());
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef, (usize, Wrong)> {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let at_row = |(item, wrong): (usize, Wrong)| {
            (
                offsets
                    .partition_point(|end| *end as usize <= item)
                    .saturating_sub(1),
                wrong,
            )
        };
        let items = self.items.finish().map_err(at_row)?;
        let array = ListArray::new(
            Arc::clone(&self.item),
            OffsetBuffer::new(offsets.into()),
            items,
            self.nulls.finish(),
        );
        Ok(Arc::new(array))
    }
}

/// Composite types.
pub(super) struct Structs {
    pub(super) fields: Fields,
    pub(super) columns: Vec<Box<dyn Decoder>>,
    pub(super) nulls: NullBufferBuilder,
}

impl Decoder for Structs {
    fn push(&mut self, field: Option<&[u8]>) -> Result<(), Wrong> {
        self.nulls.append(field.is_some());
        let Some(field) = field else {
            return self
                .columns
                .iter_mut()
                .try_for_each(|column| column.push(None));
        };
        let mut reader = Reader::new(field, "a composite type");
        if usize::try_from(reader.word()?) != Ok(self.columns.len()) {
            return Err(Wrong::new(
                "a composite value has other fields than its type; the type was changed meanwhile",
            ));
        }
        for column in &mut self.columns {
            let _type = reader.word()?;
            column.push(reader.field()?)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef, (usize, Wrong)> {
        let columns = self
            .columns
            .iter_mut()
            .map(|column| column.finish())
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(StructArray::new(
            self.fields.clone(),
            columns,
            self.nulls.finish(),
        )))
    }
}

/// pgvector's `vector(n)`.
pub(super) struct Vectors {
    pub(super) item: FieldRef,
    pub(super) length: i32,
    pub(super) values: Vec<f32>,
    pub(super) nulls: NullBufferBuilder,
}

impl Decoder for Vectors {
    fn push(&mut self, field: Option<&[u8]>) -> Result<(), Wrong> {
        self.nulls.append(field.is_some());
        let Some(field) = field else {
            self.values
                .extend(std::iter::repeat_n(0.0, self.length as usize));
            return Ok(());
        };
        // The length and a reserved word, of two bytes each.
        let values = field
            .get(4..)
            .filter(|values| values.len() == 4 * self.length as usize);
        let values = values.ok_or_else(|| Wrong::length("vector", field.len()))?;
        self.values.extend(
            values
                .chunks_exact(4)
                .map(|bytes| f32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        );
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef, (usize, Wrong)> {
        let values = PrimitiveArray::<Float32Type>::from(std::mem::take(&mut self.values));
        let array = FixedSizeListArray::new(
            Arc::clone(&self.item),
            self.length,
            Arc::new(values),
            self.nulls.finish(),
        );
        Ok(Arc::new(array))
    }
}
