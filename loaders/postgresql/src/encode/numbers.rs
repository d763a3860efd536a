//! Booleans, integers and floats, as PostgreSQL's own of any width that holds them.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType};
use arrow_schema::DataType;

use super::bind::Frame;
use super::column::{Column, Reason};
use super::fixed::fixed;

/// A column whose values are each made from one native value.
pub(super) fn map<T, const N: usize>(
    array: &ArrayRef,
    frame: Frame,
    make: impl Fn(T::Native) -> Result<[u8; N], Reason> + Send + 'static,
) -> Box<dyn Column>
where
    T: ArrowPrimitiveType,
{
    let values = array.as_primitive::<T>().values().clone();
    fixed(frame, move |index| make(values[index]))
}

pub(super) fn bool(array: &ArrayRef, frame: Frame) -> Option<Box<dyn Column>> {
    let values = array.as_boolean_opt()?.values().clone();
    Some(fixed(frame, move |index| {
        Ok([u8::from(values.value(index))])
    }))
}

#[cold]
fn out_of_range(value: impl std::fmt::Display, target: &str) -> Reason {
    Reason::new(format!("{value} does not fit into {target}"))
}

/// Integers, in the bytes of a narrower or wider one.
macro_rules! integer {
    ($name:ident, $native:ty, $bytes:literal, $target:literal) => {
        pub(super) fn $name(array: &ArrayRef, frame: Frame) -> Option<Box<dyn Column>> {
            macro_rules! from {
                ($arrow:ty) => {
                    map::<$arrow, $bytes>(array, frame, |value| match <$native>::try_from(value) {
                        Ok(value) => Ok(value.to_be_bytes()),
                        Err(_) => Err(out_of_range(value, $target)),
                    })
                };
            }
            Some(match array.data_type() {
                DataType::Int8 => from!(Int8Type),
                DataType::Int16 => from!(Int16Type),
                DataType::Int32 => from!(Int32Type),
                DataType::Int64 => from!(Int64Type),
                DataType::UInt8 => from!(UInt8Type),
                DataType::UInt16 => from!(UInt16Type),
                DataType::UInt32 => from!(UInt32Type),
                DataType::UInt64 => from!(UInt64Type),
                _ => return None,
            })
        }
    };
}

integer!(int2, i16, 2, "smallint");
integer!(int4, i32, 4, "integer");
integer!(int8, i64, 8, "bigint");

/// A float of the target that equals the integer.
macro_rules! exact_float {
    ($array:ident, $frame:ident, $arrow:ty, $float:ty, $bytes:literal, $target:literal) => {
        map::<$arrow, $bytes>($array, $frame, |value| {
            let float = value as $float;
            // Casts back saturate, so the largest integers are compared in a wider type.
            if float as i128 == i128::from(value) {
                Ok(float.to_be_bytes())
            } else {
                Err(inexact(value, $target))
            }
        })
    };
}

#[cold]
fn inexact(value: impl std::fmt::Display, target: &str) -> Reason {
    Reason::new(format!("{value} has no exact counterpart in {target}"))
}

macro_rules! float {
    ($name:ident, $float:ty, $bytes:literal, $target:literal) => {
        pub(super) fn $name(array: &ArrayRef, frame: Frame) -> Option<Box<dyn Column>> {
            Some(match array.data_type() {
                DataType::Float16 => map::<Float16Type, $bytes>(array, frame, |value| {
                    Ok(<$float>::from(value).to_be_bytes())
                }),
                DataType::Float32 => map::<Float32Type, $bytes>(array, frame, |value| {
                    Ok(<$float>::from(value).to_be_bytes())
                }),
                DataType::Float64 => map::<Float64Type, $bytes>(array, frame, |value| {
                    let float = value as $float;
                    if f64::from(float) == value || value.is_nan() {
                        Ok(float.to_be_bytes())
                    } else {
                        Err(inexact(value, $target))
                    }
                }),
                DataType::Int8 => exact_float!(array, frame, Int8Type, $float, $bytes, $target),
                DataType::Int16 => exact_float!(array, frame, Int16Type, $float, $bytes, $target),
                DataType::Int32 => exact_float!(array, frame, Int32Type, $float, $bytes, $target),
                DataType::Int64 => exact_float!(array, frame, Int64Type, $float, $bytes, $target),
                DataType::UInt8 => exact_float!(array, frame, UInt8Type, $float, $bytes, $target),
                DataType::UInt16 => exact_float!(array, frame, UInt16Type, $float, $bytes, $target),
                DataType::UInt32 => exact_float!(array, frame, UInt32Type, $float, $bytes, $target),
                DataType::UInt64 => exact_float!(array, frame, UInt64Type, $float, $bytes, $target),
                _ => return None,
            })
        }
    };
}

float!(float4, f32, 4, "real");
float!(float8, f64, 8, "double precision");
