//! Floats that JSON has no numbers for: they are written as text, where arrow-json would write null.

use std::fmt::Debug;
use std::io::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrowPrimitiveType, PrimitiveArray};
use arrow_json::{Encoder, EncoderFactory, EncoderOptions, writer::NullableEncoder};
use arrow_schema::{ArrowError, DataType, FieldRef};

/// Writes `"NaN"`, `"Infinity"` and `"-Infinity"`, as PostgreSQL does.
#[derive(Debug)]
pub(crate) struct Floats;

impl EncoderFactory for Floats {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        Ok(match array.data_type() {
            DataType::Float16 => {
                encoder(array.as_primitive::<Float16Type>(), |value| value.to_f32())
            }
            DataType::Float32 => encoder(array.as_primitive::<Float32Type>(), |value| value),
            DataType::Float64 => encoder(array.as_primitive::<Float64Type>(), |value| value),
            _ => None,
        })
    }
}

/// The encoder of an array with such values; others are arrow-json's own.
fn encoder<'a, T: ArrowPrimitiveType, F: Float + 'a>(
    array: &'a PrimitiveArray<T>,
    number: fn(T::Native) -> F,
) -> Option<NullableEncoder<'a>> {
    let plain = array
        .values()
        .iter()
        .all(|value| number(*value).wide().is_finite());
    (!plain)
        .then(|| NullableEncoder::new(Box::new(Values { array, number }), array.nulls().cloned()))
}

trait Float: Copy + Debug {
    fn wide(self) -> f64;
}

impl Float for f32 {
    fn wide(self) -> f64 {
        self.into()
    }
}

impl Float for f64 {
    fn wide(self) -> f64 {
        self
    }
}

struct Values<'a, T: ArrowPrimitiveType, F> {
    array: &'a PrimitiveArray<T>,
    number: fn(T::Native) -> F,
}

impl<T: ArrowPrimitiveType, F: Float> Encoder for Values<'_, T, F> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let number = (self.number)(self.array.value(row));
        // Writing to memory does not fail.
        let _ = match number.wide() {
            wide if wide.is_nan() => out.write_all(b"\"NaN\""),
            f64::INFINITY => out.write_all(b"\"Infinity\""),
            f64::NEG_INFINITY => out.write_all(b"\"-Infinity\""),
            // The shortest digits that read back equal.
            _ => write!(out, "{number:?}"),
        };
    }
}
