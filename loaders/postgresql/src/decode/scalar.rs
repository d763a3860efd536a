//! Scalars: of fixed length, text and bytes.

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, FixedSizeBinaryBuilder};
use arrow_array::types::{ArrowPrimitiveType, ByteArrayType};
use arrow_array::{ArrayRef, GenericByteArray, PrimitiveArray};
use arrow_buffer::{Buffer, NullBufferBuilder, OffsetBuffer};
use arrow_schema::DataType;

use super::column::{Decoder, Wrong};

/// Values that are each made from a field of `N` bytes.
struct Fixed<T: ArrowPrimitiveType, F, const N: usize> {
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
    data_type: DataType,
    name: &'static str,
    make: F,
}

/// A column of such values. `name` is the type's in PostgreSQL.
pub(super) fn fixed<T: ArrowPrimitiveType, const N: usize>(
    data_type: DataType,
    name: &'static str,
    make: impl Fn([u8; N]) -> Result<T::Native, Wrong> + Send + Sync + 'static,
) -> Box<dyn Decoder> {
    Box::new(Fixed::<T, _, N> {
        values: Vec::new(),
        nulls: NullBufferBuilder::new(1024),
        data_type,
        name,
        make,
    })
}

impl<
    T: ArrowPrimitiveType,
    F: Fn([u8; N]) -> Result<T::Native, Wrong> + Send + Sync,
    const N: usize,
> Decoder for Fixed<T, F, N>
{
    fn push(&mut self, field: Option<&[u8]>) -> Result<(), Wrong> {
        match field {
            Some(field) => {
                let bytes = <[u8; N]>::try_from(field)
                    .map_err(|_| Wrong::length(self.name, field.len()))?;
                self.values.push((self.make)(bytes)?);
                self.nulls.append_non_null();
            }
            None => {
                self.values.push(T::default_value());
                self.nulls.append_null();
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef, (usize, Wrong)> {
        let room = self.values.len();
        let values = std::mem::replace(&mut self.values, Vec::with_capacity(room));
        let array = PrimitiveArray::<T>::new(values.into(), self.nulls.finish());
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }
}

/// Values that are each made from a field of any length.
struct Made<T: ArrowPrimitiveType, F> {
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
    data_type: DataType,
    make: F,
}

/// A column of such values.
pub(super) fn made<T: ArrowPrimitiveType>(
    data_type: DataType,
    make: impl Fn(&[u8]) -> Result<T::Native, Wrong> + Send + Sync + 'static,
) -> Box<dyn Decoder> {
    Box::new(Made::<T, _> {
        values: Vec::new(),
        nulls: NullBufferBuilder::new(1024),
        data_type,
        make,
    })
}

impl<T: ArrowPrimitiveType, F: Fn(&[u8]) -> Result<T::Native, Wrong> + Send + Sync> Decoder
    for Made<T, F>
{
    fn push(&mut self, field: Option<&[u8]>) -> Result<(), Wrong> {
        self.values
            .push(field.map_or(Ok(T::default_value()), &self.make)?);
        self.nulls.append(field.is_some());
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef, (usize, Wrong)> {
        let array =
            PrimitiveArray::<T>::new(std::mem::take(&mut self.values).into(), self.nulls.finish());
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }
}

/// Booleans.
pub(super) struct Booleans(pub(super) BooleanBuilder);

impl Decoder for Booleans {
    fn push(&mut self, field: Option<&[u8]>) -> Result<(), Wrong> {
        match field {
            Some([byte]) => self.0.append_value(*byte != 0),
            Some(field) => return Err(Wrong::length("boolean", field.len())),
            None => self.0.append_null(),
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef, (usize, Wrong)> {
        Ok(Arc::new(self.0.finish()))
    }
}

/// Values of the same number of bytes.
pub(super) struct FixedBytes(pub(super) FixedSizeBinaryBuilder);

impl Decoder for FixedBytes {
    fn push(&mut self, field: Option<&[u8]>) -> Result<(), Wrong> {
        match field {
            Some(field) => self
                .0
                .append_value(field)
                .map_err(|_| Wrong::length("uuid", field.len())),
            None => {
                self.0.append_null();
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, (usize, Wrong)> {
        Ok(Arc::new(self.0.finish()))
    }
}

/// Text or bytes. Text is checked to be UTF-8 once a batch: a database whose encoding is `SQL_ASCII` may hold anything.
pub(super) struct Bytes<T: ByteArrayType<Offset = i32>, F> {
    offsets: Vec<i32>,
    data: Vec<u8>,
    nulls: NullBufferBuilder,
    /// Appends the value that a field stands for.
    put: F,
    kind: std::marker::PhantomData<T>,
}

/// A column of text or bytes.
pub(super) fn bytes<T: ByteArrayType<Offset = i32>>(
    put: impl Fn(&[u8], &mut Vec<u8>) -> Result<(), Wrong> + Send + Sync + 'static,
) -> Box<dyn Decoder> {
    Box::new(Bytes::<T, _> {
        offsets: vec![0],
        data: Vec::new(),
        nulls: NullBufferBuilder::new(1024),
        put,
        kind: std::marker::PhantomData,
    })
}

/// A field as it is.
pub(super) fn as_is(field: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
    out.extend_from_slice(field);
    Ok(())
}

/// A document after the number of its format.
pub(super) fn jsonb(field: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
    match field {
        [1, text @ ..] => as_is(text, out),
        [version, ..] => Err(Wrong::new(format!(
            "this jsonb is of version {version}, which is not known"
        ))),
        [] => Err(Wrong::length("jsonb", 0)),
    }
}

impl<T: ByteArrayType<Offset = i32>, F: Fn(&[u8], &mut Vec<u8>) -> Result<(), Wrong> + Send + Sync>
    Decoder for Bytes<T, F>
{
    fn push(&mut self, field: Option<&[u8]>) -> Result<(), Wrong> {
        if let Some(field) = field {
            (self.put)(field, &mut self.data)?;
        }
        self.nulls.append(field.is_some());
        let end = i32::try_from(self.data.len()).map_err(|_| {
            Wrong::new("a batch holds more than 2 GiB of text; lower read_batch_size")
        })?;
        self.offsets.push(end);
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef, (usize, Wrong)> {
        let (rows, room) = (self.offsets.len(), self.data.len());
        let offsets = std::mem::replace(&mut self.offsets, Vec::with_capacity(rows));
        self.offsets.push(0);
        let data = Buffer::from(std::mem::replace(&mut self.data, Vec::with_capacity(room)));
        let nulls = self.nulls.finish();
        let array = GenericByteArray::<T>::try_new(
            OffsetBuffer::new(offsets.clone().into()),
            data.clone(),
            nulls,
        );
        array.map(|array| Arc::new(array) as ArrayRef).map_err(|_| {
            let is_wrong = |pair: &[i32]| std::str::from_utf8(&data[pair[0] as usize..pair[1] as usize]).is_err();
            let row = offsets.windows(2).position(is_wrong).unwrap_or(0);
            (row, Wrong::new("the text is not UTF-8; see the encoding of the database, or cast the column to bytea"))
        })
    }
}
