//! Columns: values of one field after the other, parsed straight into the buffers of an array.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::types::*;
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, GenericBinaryArray, GenericStringArray,
    OffsetSizeTrait, PrimitiveArray,
};
use arrow_buffer::{BooleanBufferBuilder, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, TimeUnit};
use arrowload_common_text_files::number::{self, NumberStyle};
use arrowload_common_text_files::time::{self, per_second};
use arrowload_common_text_files::{ColumnType, Rules, Text};
use arrowload_core::{Error, ErrorKind, Result};

use crate::nulls::Nulls;
use crate::syntax::Syntax;
use crate::walk::{Field, unescape};

/// Some rows of a chunk, of which a column takes its field.
#[derive(Clone, Copy)]
pub(crate) struct Cells<'a> {
    pub(crate) syntax: &'a Syntax,
    pub(crate) data: &'a [u8],
    /// The fields of all rows.
    pub(crate) fields: &'a [Field],
    /// The fields of a row.
    pub(crate) width: usize,
}

impl<'a> Cells<'a> {
    pub(crate) fn column(self, index: usize) -> impl Iterator<Item = Field> + 'a {
        self.fields
            .chunks_exact(self.width)
            .map(move |row| row[index])
    }

    /// The text of a field, in `scratch` if its content differs from its bytes.
    #[inline(always)]
    pub(crate) fn text<'b>(self, field: Field, scratch: &'b mut Vec<u8>) -> Text<'b>
    where
        'a: 'b,
    {
        if field.is_escaped() {
            self.unescaped(field, scratch);
            return Text::of(scratch);
        }
        Text::new(&self.data[field.start()..], field.len())
    }

    #[inline(never)]
    fn unescaped(self, field: Field, scratch: &mut Vec<u8>) {
        scratch.clear();
        let content = &self.data[field.start()..field.end()];
        unescape(self.syntax, content, field.is_quoted(), scratch);
    }
}

/// An array in the making.
pub(crate) trait Column: Send {
    /// Adds the field `index` of each row, up to the first that does not fit; its number is the error.
    fn fill(
        &mut self,
        cells: Cells<'_>,
        index: usize,
        nulls: &Nulls,
    ) -> std::result::Result<(), usize>;
    fn finish(&mut self) -> Result<ArrayRef>;
}

/// How a value is read from its text.
trait Parse<N>: Send {
    fn parse(&mut self, text: Text<'_>) -> Option<N>;
}

/// By a function.
struct By<F>(F);

impl<N, F: FnMut(Text<'_>) -> Option<N> + Send> Parse<N> for By<F> {
    #[inline(always)]
    fn parse(&mut self, text: Text<'_>) -> Option<N> {
        (self.0)(text)
    }
}

/// An integer. This and what follows are not functions, so that they are inlined for certain.
struct Integer;

impl<N: TryFrom<i128>> Parse<N> for Integer {
    #[inline(always)]
    fn parse(&mut self, text: Text<'_>) -> Option<N> {
        N::try_from(number::integer(text)?).ok()
    }
}

/// An integer of 64 bits, by the strict grammar.
struct StrictInteger;

impl Parse<i64> for StrictInteger {
    #[inline(always)]
    fn parse(&mut self, text: Text<'_>) -> Option<i64> {
        number::strict_integer(text)
    }
}

/// A date as everyone writes it.
struct Date;

impl Parse<i32> for Date {
    #[inline(always)]
    fn parse(&mut self, text: Text<'_>) -> Option<i32> {
        time::date(text)
    }
}

/// A decimal of up to 38 digits.
struct Decimal {
    precision: u8,
    scale: usize,
    strict: bool,
}

impl Parse<i128> for Decimal {
    #[inline(always)]
    fn parse(&mut self, text: Text<'_>) -> Option<i128> {
        number::decimal(text, self.precision, self.scale, self.strict)
    }
}

struct Values<T: ArrowPrimitiveType, F> {
    data_type: DataType,
    values: Vec<T::Native>,
    valid: NullBufferBuilder,
    scratch: Vec<u8>,
    parse: F,
}

impl<T, F> Column for Values<T, F>
where
    T: ArrowPrimitiveType,
    F: Parse<T::Native>,
{
    fn fill(
        &mut self,
        cells: Cells<'_>,
        index: usize,
        nulls: &Nulls,
    ) -> std::result::Result<(), usize> {
        self.values.reserve(cells.fields.len() / cells.width);
        for (row, field) in cells.column(index).enumerate() {
            let text = cells.text(field, &mut self.scratch);
            if nulls.may_be(text.len()) && nulls.is_null(text.bytes(), field.is_quoted()) {
                self.values.push(T::Native::default());
                self.valid.append_null();
            } else {
                self.values.push(self.parse.parse(text).ok_or(row)?);
                self.valid.append_non_null();
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let values = ScalarBuffer::from(std::mem::take(&mut self.values));
        let array = PrimitiveArray::<T>::try_new(values, self.valid.finish())?;
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }
}

struct Booleans<F> {
    values: BooleanBufferBuilder,
    valid: NullBufferBuilder,
    scratch: Vec<u8>,
    parse: F,
}

impl<F> Column for Booleans<F>
where
    F: Fn(&[u8]) -> Option<bool> + Send,
{
    fn fill(
        &mut self,
        cells: Cells<'_>,
        index: usize,
        nulls: &Nulls,
    ) -> std::result::Result<(), usize> {
        for (row, field) in cells.column(index).enumerate() {
            let text = cells.text(field, &mut self.scratch);
            if nulls.may_be(text.len()) && nulls.is_null(text.bytes(), field.is_quoted()) {
                self.values.append(false);
                self.valid.append_null();
            } else {
                self.values.append((self.parse)(text.bytes()).ok_or(row)?);
                self.valid.append_non_null();
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let values = self.values.finish();
        Ok(Arc::new(BooleanArray::new(values, self.valid.finish())))
    }
}

/// The bytes that are copied at once.
const SHORT: usize = 32;

/// Text, or the bytes that hexadecimal digits stand for.
struct Bytes<O> {
    hexadecimal: bool,
    offsets: Vec<O>,
    values: Vec<u8>,
    valid: NullBufferBuilder,
    scratch: Vec<u8>,
}

impl<O: OffsetSizeTrait> Bytes<O> {
    fn boxed(rows: usize, hexadecimal: bool) -> Box<dyn Column> {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(O::default());
        Box::new(Self {
            hexadecimal,
            offsets,
            values: Vec::new(),
            valid: NullBufferBuilder::new(rows),
            scratch: Vec::new(),
        })
    }
}

impl<O: OffsetSizeTrait> Column for Bytes<O> {
    fn fill(
        &mut self,
        cells: Cells<'_>,
        index: usize,
        nulls: &Nulls,
    ) -> std::result::Result<(), usize> {
        let bytes: usize = cells.column(index).map(Field::len).sum();
        self.values.reserve(bytes + SHORT);
        self.offsets.reserve(cells.fields.len() / cells.width);
        for (row, field) in cells.column(index).enumerate() {
            if field.is_missing() || nulls.may_be(field.len()) && !field.is_escaped() {
                let bytes = &cells.data[field.start()..field.end()];
                if field.is_missing() || nulls.is_null(bytes, field.is_quoted()) {
                    self.valid.append_null();
                    self.offsets.push(O::usize_as(self.values.len()));
                    continue;
                }
            }
            let start = self.values.len();
            let short = cells.data[field.start()..].first_chunk::<SHORT>();
            match short {
                Some(bytes) if !field.is_escaped() && field.len() <= SHORT && !self.hexadecimal => {
                    // A copy of a fixed size is a few moves.
                    self.values.extend_from_slice(bytes);
                    self.values.truncate(start + field.len());
                }
                _ => {
                    let text = cells.text(field, &mut self.scratch);
                    if self.hexadecimal {
                        unhex(text.bytes(), &mut self.values).ok_or(row)?;
                    } else {
                        self.values.extend_from_slice(text.bytes());
                    }
                }
            }
            self.valid.append_non_null();
            self.offsets.push(O::usize_as(self.values.len()));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let offsets = std::mem::replace(&mut self.offsets, vec![O::default()]);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let values = std::mem::take(&mut self.values).into();
        let valid = self.valid.finish();
        Ok(if self.hexadecimal {
            Arc::new(GenericBinaryArray::<O>::try_new(offsets, values, valid)?)
        } else {
            Arc::new(GenericStringArray::<O>::try_new(offsets, values, valid)?)
        })
    }
}

fn unhex(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_chunks::<2>();
    for [high, low] in pairs {
        out.push(digit(*high)? << 4 | digit(*low)?);
    }
    rest.is_empty().then_some(())
}

struct Views {
    values: StringViewBuilder,
    scratch: Vec<u8>,
}

impl Column for Views {
    fn fill(
        &mut self,
        cells: Cells<'_>,
        index: usize,
        nulls: &Nulls,
    ) -> std::result::Result<(), usize> {
        for (row, field) in cells.column(index).enumerate() {
            let text = cells.text(field, &mut self.scratch);
            let null = nulls.may_be(text.len()) && nulls.is_null(text.bytes(), field.is_quoted());
            if null || field.is_missing() {
                self.values.append_null();
            } else {
                let text = std::str::from_utf8(text.bytes()).map_err(|_| row)?;
                self.values.try_append_value(text).map_err(|_| row)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(Arc::new(self.values.finish()))
    }
}

fn values<T: ArrowPrimitiveType>(
    data_type: &DataType,
    rows: usize,
    parse: impl FnMut(Text<'_>) -> Option<T::Native> + Send + 'static,
) -> Box<dyn Column> {
    parsed::<T>(data_type, rows, By(parse))
}

fn parsed<T: ArrowPrimitiveType>(
    data_type: &DataType,
    rows: usize,
    parse: impl Parse<T::Native> + 'static,
) -> Box<dyn Column> {
    Box::new(Values::<T, _> {
        data_type: data_type.clone(),
        values: Vec::with_capacity(rows),
        valid: NullBufferBuilder::new(rows),
        scratch: Vec::new(),
        parse,
    })
}

/// A column of numbers, whose separators are put right first where they are not everyone's.
fn numbers<T: ArrowPrimitiveType>(
    data_type: &DataType,
    rows: usize,
    style: NumberStyle,
    mut parse: impl Parse<T::Native> + 'static,
) -> Box<dyn Column> {
    if style.is_plain() {
        return parsed::<T>(data_type, rows, parse);
    }
    let mut plain = Vec::new();
    values::<T>(data_type, rows, move |text| {
        style.normalise(text.bytes(), &mut plain)?;
        parse.parse(Text::of(&plain))
    })
}

/// As [`numbers`], by a function.
fn by<T: ArrowPrimitiveType>(
    data_type: &DataType,
    rows: usize,
    style: NumberStyle,
    parse: impl FnMut(Text<'_>) -> Option<T::Native> + Send + 'static,
) -> Box<dyn Column> {
    numbers::<T>(data_type, rows, style, By(parse))
}

/// An empty column for about so many rows.
///
/// # Errors
/// [`ErrorKind::UnsupportedType`], if there is no text for the type.
pub(crate) fn column(kind: &ColumnType, rules: &Rules, rows: usize) -> Result<Box<dyn Column>> {
    use DataType as T;
    let data_type = &kind.data_type;
    let (strict, style) = (kind.strict, rules.numbers);
    Ok(match data_type {
        T::Utf8 => Bytes::<i32>::boxed(rows, false),
        T::LargeUtf8 => Bytes::<i64>::boxed(rows, false),
        T::Binary => Bytes::<i32>::boxed(rows, true),
        T::LargeBinary => Bytes::<i64>::boxed(rows, true),
        T::Utf8View => Box::new(Views {
            values: StringViewBuilder::with_capacity(rows),
            scratch: Vec::new(),
        }),
        T::Boolean => {
            let rules = rules.clone();
            Box::new(Booleans {
                values: BooleanBufferBuilder::new(rows),
                valid: NullBufferBuilder::new(rows),
                scratch: Vec::new(),
                parse: move |text: &[u8]| rules.boolean(text, strict),
            })
        }
        T::Int64 if strict => numbers::<Int64Type>(data_type, rows, style, StrictInteger),
        T::Int8 => integers::<Int8Type>(data_type, rows, style),
        T::Int16 => integers::<Int16Type>(data_type, rows, style),
        T::Int32 => integers::<Int32Type>(data_type, rows, style),
        T::Int64 => integers::<Int64Type>(data_type, rows, style),
        T::UInt8 => integers::<UInt8Type>(data_type, rows, style),
        T::UInt16 => integers::<UInt16Type>(data_type, rows, style),
        T::UInt32 => integers::<UInt32Type>(data_type, rows, style),
        T::UInt64 => integers::<UInt64Type>(data_type, rows, style),
        T::Float64 if strict => by::<Float64Type>(data_type, rows, style, number::exact),
        T::Float64 => by::<Float64Type>(data_type, rows, style, number::meant),
        T::Float32 if strict => by::<Float32Type>(data_type, rows, style, number::unchanged_single),
        T::Float32 => by::<Float32Type>(data_type, rows, style, number::meant_single),
        _ => return exact_column(kind, rules, rows),
    })
}

fn integers<T>(data_type: &DataType, rows: usize, style: NumberStyle) -> Box<dyn Column>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i128>,
{
    numbers::<T>(data_type, rows, style, Integer)
}

/// Decimals and times.
fn exact_column(kind: &ColumnType, rules: &Rules, rows: usize) -> Result<Box<dyn Column>> {
    use DataType as T;
    let data_type = &kind.data_type;
    let (strict, style) = (kind.strict, rules.numbers);
    Ok(match *data_type {
        T::Decimal32(precision, scale) if scale >= 0 => {
            by::<Decimal32Type>(data_type, rows, style, move |text| {
                i32::try_from(number::decimal(text, precision, scale as usize, strict)?).ok()
            })
        }
        T::Decimal64(precision, scale) if scale >= 0 => {
            by::<Decimal64Type>(data_type, rows, style, move |text| {
                i64::try_from(number::decimal(text, precision, scale as usize, strict)?).ok()
            })
        }
        T::Decimal128(precision, scale) if scale >= 0 => {
            let decimal = Decimal {
                precision,
                scale: scale as usize,
                strict,
            };
            numbers::<Decimal128Type>(data_type, rows, style, decimal)
        }
        T::Decimal256(precision, scale) if scale >= 0 => {
            by::<Decimal256Type>(data_type, rows, style, move |text| {
                number::wide_decimal(text, precision, scale as usize, strict)
            })
        }
        T::Date32 => match rules.date_format.clone() {
            None => parsed::<Date32Type>(data_type, rows, Date),
            Some(format) => values::<Date32Type>(data_type, rows, move |text| format.date(text)),
        },
        T::Time32(TimeUnit::Second) => values::<Time32SecondType>(data_type, rows, |text| {
            time::clock(text, false)?.units(1)?.try_into().ok()
        }),
        T::Time32(TimeUnit::Millisecond) => {
            values::<Time32MillisecondType>(data_type, rows, |text| {
                time::clock(text, false)?.units(1_000)?.try_into().ok()
            })
        }
        T::Time64(TimeUnit::Microsecond) => {
            values::<Time64MicrosecondType>(data_type, rows, |text| {
                time::clock(text, false)?.units(1_000_000)
            })
        }
        T::Time64(TimeUnit::Nanosecond) => {
            values::<Time64NanosecondType>(data_type, rows, |text| {
                time::clock(text, false)?.units(1_000_000_000)
            })
        }
        T::Timestamp(unit, _) => match unit {
            TimeUnit::Second => stamps::<TimestampSecondType>(kind, rules, rows),
            TimeUnit::Millisecond => stamps::<TimestampMillisecondType>(kind, rules, rows),
            TimeUnit::Microsecond => stamps::<TimestampMicrosecondType>(kind, rules, rows),
            TimeUnit::Nanosecond => stamps::<TimestampNanosecondType>(kind, rules, rows),
        },
        _ => {
            let message = format!("a CSV column cannot be read as {data_type}");
            return Err(Error::new(ErrorKind::UnsupportedType, message));
        }
    })
}

fn stamps<T>(kind: &ColumnType, rules: &Rules, rows: usize) -> Box<dyn Column>
where
    T: ArrowTimestampType,
{
    let per_second = per_second(T::UNIT);
    let zoned = matches!(kind.data_type, DataType::Timestamp(_, Some(_)));
    let units = move |stamp: time::Stamp| {
        (stamp.zoned == zoned)
            .then(|| stamp.units(per_second))
            .flatten()
    };
    match rules.timestamp_format.clone() {
        None => values::<T>(&kind.data_type, rows, move |text| units(time::stamp(text)?)),
        Some(format) => values::<T>(&kind.data_type, rows, move |text| {
            units(format.stamp(text)?)
        }),
    }
}
