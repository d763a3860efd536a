//! `json` and `jsonb` from nested values: structs become objects, lists arrays, maps with text keys objects and other
//! maps arrays of entries, a union an object with the name of its member. Numbers keep all their digits.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, UnionArray};
use arrow_buffer::{NullBuffer, i256};
use arrow_cast::display::{DurationFormat, FormatOptions};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, UnionMode};
use arrowload_core::{Error, ErrorKind, Result};

use super::bind::{Frame, Plain, plain};
use super::column::{Column, Reason};
use super::conversion::TextTarget;
use super::list::items;
use super::staged::staged;
use super::text::{JSONB_VERSION, replace_nul};

/// Writes the value at a row.
type Node = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<(), Reason> + Send>;

pub(super) fn column(
    array: &ArrayRef,
    frame: Frame,
    target: &TextTarget,
    binary: bool,
) -> Result<Box<dyn Column>> {
    let write = bare_node(array, target)?;
    Ok(staged(frame, move |index, out| {
        if binary {
            out.push(JSONB_VERSION);
        }
        write(index, out)
    }))
}

/// A value, or `null`; through dictionaries and run-ends.
fn node(array: &ArrayRef, target: &TextTarget) -> Result<Node> {
    let Plain { values, frame } = plain(array);
    if values.is_empty() {
        return Ok(Box::new(|_, out| put(out, b"null")));
    }
    let write = bare_node(&values, target)?;
    Ok(match frame {
        Frame {
            index: None,
            nulls: None,
        } => write,
        Frame { index, nulls } => Box::new(move |row, out| {
            if is_null(nulls.as_ref(), row) {
                return put(out, b"null");
            }
            write(index.as_ref().map_or(row, |index| index[row] as usize), out)
        }),
    })
}

fn is_null(nulls: Option<&NullBuffer>, row: usize) -> bool {
    nulls.is_some_and(|nulls| nulls.is_null(row))
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Reason> {
    out.extend_from_slice(bytes);
    Ok(())
}

fn put_display(out: &mut Vec<u8>, value: impl std::fmt::Display) -> Result<(), Reason> {
    write!(out, "{value}").map_err(|error| Reason::new(error.to_string()))
}

/// The value of a row that is not null.
fn bare_node(array: &ArrayRef, target: &TextTarget) -> Result<Node> {
    use DataType as T;
    Ok(match array.data_type() {
        T::Null => Box::new(|_, out| put(out, b"null")),
        T::Boolean => {
            let values = array.as_boolean().values().clone();
            Box::new(move |row, out| put(out, if values.value(row) { b"true" } else { b"false" }))
        }
        T::Int8 => integers::<Int8Type>(array),
        T::Int16 => integers::<Int16Type>(array),
        T::Int32 => integers::<Int32Type>(array),
        T::Int64 => integers::<Int64Type>(array),
        T::UInt8 => integers::<UInt8Type>(array),
        T::UInt16 => integers::<UInt16Type>(array),
        T::UInt32 => integers::<UInt32Type>(array),
        T::UInt64 => integers::<UInt64Type>(array),
        T::Float16 => floats::<Float16Type>(array, |value| value.to_f32()),
        T::Float32 => floats::<Float32Type>(array, |value| value),
        T::Float64 => floats::<Float64Type>(array, |value| value),
        T::Decimal32(_, scale) => {
            decimals::<Decimal32Type>(array, *scale, |value| i256::from_i128(value.into()))
        }
        T::Decimal64(_, scale) => {
            decimals::<Decimal64Type>(array, *scale, |value| i256::from_i128(value.into()))
        }
        T::Decimal128(_, scale) => decimals::<Decimal128Type>(array, *scale, i256::from_i128),
        T::Decimal256(_, scale) => decimals::<Decimal256Type>(array, *scale, |value| value),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => strings(array, target),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => binary(array),
        T::Struct(_) => object(array, target)?,
        T::Map(..) => map(array, target)?,
        T::Union(..) => union(array.as_union(), target)?,
        T::List(_)
        | T::LargeList(_)
        | T::ListView(_)
        | T::LargeListView(_)
        | T::FixedSizeList(..) => list(array, target)?,
        _ => strings(&formatted(array)?, target),
    })
}

fn integers<T: ArrowPrimitiveType>(array: &ArrayRef) -> Node
where
    T::Native: std::fmt::Display,
{
    let values = array.as_primitive::<T>().values().clone();
    Box::new(move |row, out| put_display(out, values[row]))
}

fn floats<T: ArrowPrimitiveType + Widens>(
    array: &ArrayRef,
    widen: impl Fn(T::Native) -> FloatOf<T> + Send + 'static,
) -> Node {
    let values = array.as_primitive::<T>().values().clone();
    Box::new(move |row, out| {
        let value = widen(values[row]);
        if T::is_finite(value) {
            return put_display(out, value);
        }
        Err(Reason::new(format!(
            "{value} is no number in JSON; cast the column in the query"
        )))
    })
}

type FloatOf<T> = <T as Widens>::Float;

/// A float that is printed with its own shortest digits.
trait Widens {
    type Float: std::fmt::Display + Copy;
    fn is_finite(value: Self::Float) -> bool;
}

macro_rules! widens {
    ($($arrow:ty => $float:ty),+) => {$(
        impl Widens for $arrow {
            type Float = $float;
            fn is_finite(value: $float) -> bool {
                value.is_finite()
            }
        }
    )+};
}

widens! { Float16Type => f32, Float32Type => f32, Float64Type => f64 }

fn decimals<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    scale: i8,
    widen: impl Fn(T::Native) -> i256 + Send + 'static,
) -> Node {
    let values = array.as_primitive::<T>().values().clone();
    Box::new(move |row, out| {
        let value = widen(values[row]);
        let start = out.len();
        put_display(out, value.wrapping_abs())?;
        match usize::try_from(scale) {
            Ok(scale) => insert_point(out, start, scale),
            Err(_) if value == i256::ZERO => {}
            Err(_) => out.resize(out.len() + usize::from(scale.unsigned_abs()), b'0'),
        }
        if value < i256::ZERO {
            out.insert(start, b'-');
        }
        Ok(())
    })
}

/// Puts a point before the last `scale` digits.
fn insert_point(out: &mut Vec<u8>, start: usize, scale: usize) {
    if scale == 0 {
        return;
    }
    let missing = (scale + 1).saturating_sub(out.len() - start);
    out.splice(start..start, std::iter::repeat_n(b'0', missing));
    out.insert(out.len() - scale, b'.');
}

fn put_string(text: &str, target: &TextTarget, out: &mut Vec<u8>) -> Result<(), Reason> {
    let failed = |error: serde_json::Error| Reason::new(error.to_string());
    if memchr::memchr(0, text.as_bytes()).is_none() {
        return serde_json::to_writer(out, text).map_err(failed);
    }
    let Some(replacement) = &target.replace_nul else {
        return Err(Reason::new(
            "the text holds a NUL byte, which PostgreSQL cannot store; set replace_nul to put something in its place",
        ));
    };
    let mut replaced = Vec::with_capacity(text.len());
    replace_nul(text.as_bytes(), replacement, &mut replaced);
    serde_json::to_writer(out, &String::from_utf8_lossy(&replaced)).map_err(failed)
}

/// Hands the text of a row on.
type Reader =
    Box<dyn Fn(usize, &mut dyn FnMut(&str) -> Result<(), Reason>) -> Result<(), Reason> + Send>;

fn reader(array: &ArrayRef) -> Reader {
    match array.data_type() {
        DataType::LargeUtf8 => {
            let values = array.as_string::<i64>().clone();
            Box::new(move |row, read| read(values.value(row)))
        }
        DataType::Utf8View => {
            let values = array.as_string_view().clone();
            Box::new(move |row, read| read(values.value(row)))
        }
        _ => {
            let values = array.as_string::<i32>().clone();
            Box::new(move |row, read| read(values.value(row)))
        }
    }
}

fn strings(array: &ArrayRef, target: &TextTarget) -> Node {
    let (read, target) = (reader(array), target.clone());
    Box::new(move |row, out| read(row, &mut |text| put_string(text, &target, out)))
}

/// As PostgreSQL writes a `bytea`.
fn binary(array: &ArrayRef) -> Node {
    fn hex(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
        out.extend_from_slice(b"\"\\\\x");
        bytes
            .iter()
            .try_for_each(|byte| write!(out, "{byte:02x}"))
            .map_err(|error| Reason::new(error.to_string()))?;
        put(out, b"\"")
    }
    match array.data_type() {
        DataType::LargeBinary => {
            let values = array.as_binary::<i64>().clone();
            Box::new(move |row, out| hex(values.value(row), out))
        }
        DataType::BinaryView => {
            let values = array.as_binary_view().clone();
            Box::new(move |row, out| hex(values.value(row), out))
        }
        DataType::FixedSizeBinary(_) => {
            let values = array.as_fixed_size_binary().clone();
            Box::new(move |row, out| hex(values.value(row), out))
        }
        _ => {
            let values = array.as_binary::<i32>().clone();
            Box::new(move |row, out| hex(values.value(row), out))
        }
    }
}

/// Dates, times and intervals as text: ISO 8601 for all but intervals, and with all their digits.
fn formatted(array: &ArrayRef) -> Result<ArrayRef> {
    let format = FormatOptions::new().with_duration_format(DurationFormat::ISO8601);
    let options = CastOptions {
        safe: false,
        format_options: format,
    };
    cast_with_options(array, &DataType::Utf8, &options).map_err(|error| {
        let message = format!("a value of {} cannot be written as JSON", array.data_type());
        Error::new(ErrorKind::InvalidData, message).with_source(error)
    })
}

fn object(array: &ArrayRef, target: &TextTarget) -> Result<Node> {
    let fields = array.as_struct();
    let mut members = Vec::new();
    for (field, values) in fields.fields().iter().zip(fields.columns()) {
        members.push((key(field.name(), target)?, node(values, target)?));
    }
    Ok(Box::new(move |row, out| {
        let mut before = b'{';
        for (key, write) in &members {
            out.push(before);
            out.extend_from_slice(key);
            write(row, out)?;
            before = b',';
        }
        put(out, if members.is_empty() { b"{}" } else { b"}" })
    }))
}

/// `"name":`
fn key(name: &str, target: &TextTarget) -> Result<Vec<u8>> {
    let mut key = Vec::new();
    let refuse = |reason: Reason| {
        Error::new(
            ErrorKind::UnsupportedType,
            format!("the field `{name}` has no JSON key: {}", reason.text()),
        )
    };
    put_string(name, target, &mut key).map_err(refuse)?;
    key.push(b':');
    Ok(key)
}

fn list(array: &ArrayRef, target: &TextTarget) -> Result<Node> {
    let Some((values, places)) = items(array) else {
        return Ok(Box::new(|_, out| put(out, b"[]")));
    };
    let write = node(&values, target)?;
    Ok(Box::new(move |row, out| {
        out.push(b'[');
        for (number, item) in places.of(row).enumerate() {
            if number > 0 {
                out.push(b',');
            }
            write(item, out)?;
        }
        put(out, b"]")
    }))
}

fn map(array: &ArrayRef, target: &TextTarget) -> Result<Node> {
    let map = array.as_map();
    let keys = Arc::clone(map.keys());
    if !matches!(
        keys.data_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    ) {
        return list(array, target);
    }
    let (read, places) = (reader(&keys), map.offsets().inner().clone());
    let (write, target) = (node(map.values(), target)?, target.clone());
    Ok(Box::new(move |row, out| {
        let (start, end) = (places[row] as usize, places[row + 1] as usize);
        let mut seen = HashSet::new();
        out.push(b'{');
        for entry in start..end {
            if entry > start {
                out.push(b',');
            }
            read(entry, &mut |key| {
                if !seen.insert(key.to_owned()) {
                    return Err(Reason::new(format!(
                        "a map has the key `{key}` twice, and a JSON object would keep one"
                    )));
                }
                put_string(key, &target, out)
            })?;
            out.push(b':');
            write(entry, out)?;
        }
        put(out, b"}")
    }))
}

fn union(array: &UnionArray, target: &TextTarget) -> Result<Node> {
    let DataType::Union(fields, mode) = array.data_type() else {
        return Ok(Box::new(|_, out| put(out, b"null")));
    };
    let mut members: Vec<Option<(Vec<u8>, Node)>> =
        std::iter::repeat_with(|| None).take(128).collect();
    for (id, field) in fields.iter() {
        members[id as usize] = Some((key(field.name(), target)?, node(array.child(id), target)?));
    }
    let ids = array.type_ids().clone();
    let offsets = array
        .offsets()
        .filter(|_| *mode == UnionMode::Dense)
        .cloned();
    Ok(Box::new(move |row, out| {
        let Some((key, write)) = members.get(ids[row] as usize).and_then(Option::as_ref) else {
            return Err(Reason::new(format!(
                "a union has no member with the id {}",
                ids[row]
            )));
        };
        out.push(b'{');
        out.extend_from_slice(key);
        write(
            offsets
                .as_ref()
                .map_or(row, |offsets| offsets[row] as usize),
            out,
        )?;
        put(out, b"}")
    }))
}
