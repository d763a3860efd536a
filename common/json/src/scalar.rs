//! Booleans, numbers and times, parsed straight into the buffers of an array.

use std::sync::Arc;

use arrow_array::types::*;
use arrow_array::{ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray};
use arrow_buffer::{ArrowNativeType, BooleanBufferBuilder, NullBufferBuilder, ScalarBuffer};
use arrow_schema::{DataType, TimeUnit};
use arrowload_common_text_files::number;
use arrowload_common_text_files::time::{self, Stamp, per_second};
use arrowload_common_text_files::{ColumnType, Rules, Text};
use arrowload_core::{Error, ErrorKind, Result};

use crate::lexer::Num;

/// An array of values in the making. What it answers is whether the value fits; it takes none that does not.
///
/// Texts are the first bytes of a tail: what is passed on then fits registers.
pub(crate) trait Scalar: Send {
    fn number(&mut self, num: &Num, tail: &[u8]) -> bool;
    fn string(&mut self, tail: &[u8], len: usize) -> bool;
    fn boolean(&mut self, value: bool) -> bool;
    fn null(&mut self);
    fn len(&self) -> usize;
    fn reserve(&mut self, rows: usize);
    fn truncate(&mut self, len: usize);
    fn finish(&mut self) -> Result<ArrayRef>;
}

/// Values of a fixed size, by the functions that read them from numbers and from strings.
struct Primitives<T: ArrowPrimitiveType, N, S> {
    data_type: DataType,
    values: Vec<T::Native>,
    valid: NullBufferBuilder,
    from_number: N,
    from_string: S,
}

impl<T, N, S> Scalar for Primitives<T, N, S>
where
    T: ArrowPrimitiveType,
    N: Fn(&Num, Text<'_>) -> Option<T::Native> + Send,
    S: Fn(Text<'_>) -> Option<T::Native> + Send,
{
    #[inline]
    fn number(&mut self, num: &Num, tail: &[u8]) -> bool {
        let text = Text::new(tail, num.end - num.start);
        let Some(value) = (self.from_number)(num, text) else {
            return false;
        };
        self.values.push(value);
        self.valid.append_non_null();
        true
    }

    fn string(&mut self, tail: &[u8], len: usize) -> bool {
        let Some(value) = (self.from_string)(Text::new(tail, len)) else {
            return false;
        };
        self.values.push(value);
        self.valid.append_non_null();
        true
    }

    fn boolean(&mut self, _value: bool) -> bool {
        false
    }

    fn null(&mut self) {
        self.values.push(T::Native::usize_as(0));
        self.valid.append_null();
    }

    fn len(&self) -> usize {
        self.values.len()
    }

    fn reserve(&mut self, rows: usize) {
        self.values.reserve(rows);
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.valid.truncate(len);
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let capacity = self.values.len();
        let values = std::mem::replace(&mut self.values, Vec::with_capacity(capacity));
        let array = PrimitiveArray::<T>::try_new(ScalarBuffer::from(values), self.valid.finish())?;
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }
}

struct Booleans {
    values: BooleanBufferBuilder,
    valid: NullBufferBuilder,
    /// Whether its words as strings are read too.
    rules: Option<Arc<Rules>>,
}

impl Scalar for Booleans {
    fn number(&mut self, num: &Num, tail: &[u8]) -> bool {
        self.string(tail, num.end - num.start)
    }

    fn string(&mut self, tail: &[u8], len: usize) -> bool {
        let (rules, text) = (self.rules.as_ref(), Text::new(tail, len));
        match rules.and_then(|rules| rules.boolean(text.bytes(), false)) {
            Some(value) => self.boolean(value),
            None => false,
        }
    }

    fn boolean(&mut self, value: bool) -> bool {
        self.values.append(value);
        self.valid.append_non_null();
        true
    }

    fn null(&mut self) {
        self.values.append(false);
        self.valid.append_null();
    }

    fn len(&self) -> usize {
        self.values.len()
    }

    fn reserve(&mut self, rows: usize) {
        self.values.reserve(rows);
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.valid.truncate(len);
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let values = self.values.finish();
        Ok(Arc::new(BooleanArray::new(values, self.valid.finish())))
    }
}

fn primitives<T: ArrowPrimitiveType>(
    data_type: &DataType,
    from_number: impl Fn(&Num, Text<'_>) -> Option<T::Native> + Send + 'static,
    from_string: impl Fn(Text<'_>) -> Option<T::Native> + Send + 'static,
) -> Box<dyn Scalar> {
    Box::new(Primitives::<T, _, _> {
        data_type: data_type.clone(),
        values: Vec::new(),
        valid: NullBufferBuilder::new(1_024),
        from_number,
        from_string,
    })
}

fn signed(num: &Num) -> i64 {
    let value = num.mantissa as i64;
    if num.negative { -value } else { value }
}

fn integers<T>(data_type: &DataType) -> Box<dyn Scalar>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i64> + TryFrom<i128>,
{
    primitives::<T>(
        data_type,
        |num, text| {
            if num.is_short() && num.scale == 0 {
                return T::Native::try_from(signed(num)).ok();
            }
            T::Native::try_from(number::integer(text)?).ok()
        },
        |text| T::Native::try_from(number::integer(text)?).ok(),
    )
}

const POWERS: [u128; 39] = {
    let mut powers = [1; 39];
    let mut index = 1;
    while index < 39 {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// A decimal of up to 38 digits.
#[inline(always)]
fn decimal(num: &Num, text: Text<'_>, precision: u8, scale: usize, strict: bool) -> Option<i128> {
    let places = num.scale as usize;
    if num.is_short() && places <= scale {
        let value = u128::from(num.mantissa).checked_mul(*POWERS.get(scale - places)?)?;
        if value >= *POWERS.get(usize::from(precision))? || (strict && num.negative && value == 0) {
            return None;
        }
        let value = value as i128;
        return Some(if num.negative { -value } else { value });
    }
    let (tail, len) = text.parts();
    long_decimal(num.exponent, tail, len, precision, scale, strict)
}

#[inline(never)]
fn long_decimal(
    exponent: bool,
    tail: &[u8],
    len: usize,
    precision: u8,
    scale: usize,
    strict: bool,
) -> Option<i128> {
    let text = Text::new(tail, len);
    if exponent && !strict {
        let plain = without_exponent(text)?;
        return number::decimal(Text::of(&plain), precision, scale, false);
    }
    number::decimal(text, precision, scale, strict)
}

/// A number that is written with an exponent, as it is written without.
fn without_exponent(text: Text<'_>) -> Option<Vec<u8>> {
    let bytes = text.bytes();
    let mark = bytes.iter().position(|byte| matches!(byte, b'e' | b'E'))?;
    let exponent: i32 = std::str::from_utf8(&bytes[mark + 1..]).ok()?.parse().ok()?;
    // Beyond that no decimal has a place.
    if exponent.unsigned_abs() > 200 {
        return None;
    }
    let (sign, digits) = match &bytes[..mark] {
        [b'-', rest @ ..] => (&b"-"[..], rest),
        rest => (&b""[..], rest),
    };
    let point = digits
        .iter()
        .position(|byte| *byte == b'.')
        .unwrap_or(digits.len());
    let all: Vec<u8> = digits.iter().copied().filter(u8::is_ascii_digit).collect();
    let at = point as i32 + exponent;
    let mut out = sign.to_vec();
    if at <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + at.unsigned_abs() as usize, b'0');
        out.extend_from_slice(&all);
    } else if at as usize >= all.len() {
        out.extend_from_slice(&all);
        out.resize(out.len() + at as usize - all.len(), b'0');
    } else {
        let (whole, fraction) = all.split_at(at as usize);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
    Some(out)
}

/// Powers of ten that are exact.
const EXACT: [f64; 19] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18,
];

/// The float nearest to a number of few digits: both parts are exact, so that their quotient is rounded once.
#[inline]
fn short_float(num: &Num) -> Option<f64> {
    if num.is_short() && num.whole + num.scale <= 15 {
        let value = num.mantissa as f64 / EXACT[num.scale as usize];
        return Some(if num.negative { -value } else { value });
    }
    None
}

/// An empty array of this type.
///
/// # Errors
/// [`ErrorKind::UnsupportedType`], if values of JSON cannot be read as it.
pub(crate) fn scalar(kind: &ColumnType, rules: &Arc<Rules>) -> Result<Box<dyn Scalar>> {
    use DataType as T;
    let (data_type, strict) = (&kind.data_type, kind.strict);
    Ok(match data_type {
        T::Boolean => Box::new(Booleans {
            values: BooleanBufferBuilder::new(0),
            valid: NullBufferBuilder::new(1_024),
            rules: (!strict).then(|| Arc::clone(rules)),
        }),
        T::Int64 if strict => primitives::<Int64Type>(
            data_type,
            |num, text| {
                if num.is_short() && num.scale == 0 && (num.mantissa != 0 || !num.negative) {
                    return Some(signed(num));
                }
                number::strict_integer(text)
            },
            |_| None,
        ),
        T::Int8 => integers::<Int8Type>(data_type),
        T::Int16 => integers::<Int16Type>(data_type),
        T::Int32 => integers::<Int32Type>(data_type),
        T::Int64 => integers::<Int64Type>(data_type),
        T::UInt8 => integers::<UInt8Type>(data_type),
        T::UInt16 => integers::<UInt16Type>(data_type),
        T::UInt32 => integers::<UInt32Type>(data_type),
        T::UInt64 => integers::<UInt64Type>(data_type),
        T::Float64 if strict => primitives::<Float64Type>(
            data_type,
            |num, text| short_float(num).or_else(|| number::exact(text)),
            |_| None,
        ),
        T::Float64 => primitives::<Float64Type>(
            data_type,
            |num, text| short_float(num).or_else(|| number::meant(text)),
            number::meant,
        ),
        T::Float32 if strict => primitives::<Float32Type>(
            data_type,
            |_, text| number::unchanged_single(text),
            |_| None,
        ),
        T::Float32 => primitives::<Float32Type>(
            data_type,
            |_, text| number::meant_single(text),
            number::meant_single,
        ),
        _ => return exact(kind, rules),
    })
}

/// Decimals and times.
fn exact(kind: &ColumnType, rules: &Arc<Rules>) -> Result<Box<dyn Scalar>> {
    use DataType as T;
    let (data_type, strict) = (&kind.data_type, kind.strict);
    Ok(match *data_type {
        T::Decimal32(precision, scale) if scale >= 0 => {
            let places = scale as usize;
            primitives::<Decimal32Type>(
                data_type,
                move |num, text| {
                    decimal(num, text, precision, places, strict)?
                        .try_into()
                        .ok()
                },
                move |text| {
                    number::decimal(text, precision, places, strict)?
                        .try_into()
                        .ok()
                },
            )
        }
        T::Decimal64(precision, scale) if scale >= 0 => {
            let places = scale as usize;
            primitives::<Decimal64Type>(
                data_type,
                move |num, text| {
                    decimal(num, text, precision, places, strict)?
                        .try_into()
                        .ok()
                },
                move |text| {
                    number::decimal(text, precision, places, strict)?
                        .try_into()
                        .ok()
                },
            )
        }
        T::Decimal128(precision, scale) if scale >= 0 => {
            let places = scale as usize;
            primitives::<Decimal128Type>(
                data_type,
                move |num, text| decimal(num, text, precision, places, strict),
                move |text| (!strict).then(|| number::decimal(text, precision, places, false))?,
            )
        }
        T::Decimal256(precision, scale) if scale >= 0 => {
            let places = scale as usize;
            primitives::<Decimal256Type>(
                data_type,
                move |num, text| {
                    if num.exponent && !strict {
                        let plain = without_exponent(text)?;
                        return number::wide_decimal(Text::of(&plain), precision, places, false);
                    }
                    number::wide_decimal(text, precision, places, strict)
                },
                move |text| {
                    (!strict).then(|| number::wide_decimal(text, precision, places, false))?
                },
            )
        }
        T::Date32 => {
            let rules = Arc::clone(rules);
            strings::<Date32Type>(data_type, move |text| rules.date(text))
        }
        T::Time32(TimeUnit::Second) => strings::<Time32SecondType>(data_type, |text| {
            time::clock(text, false)?.units(1)?.try_into().ok()
        }),
        T::Time32(TimeUnit::Millisecond) => strings::<Time32MillisecondType>(data_type, |text| {
            time::clock(text, false)?.units(1_000)?.try_into().ok()
        }),
        T::Time64(TimeUnit::Microsecond) => strings::<Time64MicrosecondType>(data_type, |text| {
            time::clock(text, false)?.units(1_000_000)
        }),
        T::Time64(TimeUnit::Nanosecond) => strings::<Time64NanosecondType>(data_type, |text| {
            time::clock(text, false)?.units(1_000_000_000)
        }),
        T::Timestamp(unit, _) => match unit {
            TimeUnit::Second => stamps::<TimestampSecondType>(kind, rules),
            TimeUnit::Millisecond => stamps::<TimestampMillisecondType>(kind, rules),
            TimeUnit::Microsecond => stamps::<TimestampMicrosecondType>(kind, rules),
            TimeUnit::Nanosecond => stamps::<TimestampNanosecondType>(kind, rules),
        },
        _ => {
            let message = format!("JSON cannot be read as {data_type}");
            return Err(Error::new(ErrorKind::UnsupportedType, message));
        }
    })
}

/// Values that JSON has as strings.
fn strings<T: ArrowPrimitiveType>(
    data_type: &DataType,
    from_string: impl Fn(Text<'_>) -> Option<T::Native> + Send + 'static,
) -> Box<dyn Scalar> {
    primitives::<T>(data_type, |_, _| None, from_string)
}

fn stamps<T: ArrowTimestampType>(kind: &ColumnType, rules: &Arc<Rules>) -> Box<dyn Scalar> {
    let per_second = per_second(T::UNIT);
    let zoned = matches!(kind.data_type, DataType::Timestamp(_, Some(_)));
    let units = move |stamp: Stamp| {
        (stamp.zoned == zoned)
            .then(|| stamp.units(per_second))
            .flatten()
    };
    let rules = Arc::clone(rules);
    strings::<T>(&kind.data_type, move |text| units(rules.stamp(text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_written_out() {
        let cases = [
            ("1e3", "1000"),
            ("1.5e3", "1500"),
            ("-1.5E-3", "-0.0015"),
            ("123.456e1", "1234.56"),
            ("0e0", "0"),
            ("1e+2", "100"),
        ];
        for (text, expected) in cases {
            let plain = without_exponent(Text::of(text.as_bytes())).expect("in range");
            assert_eq!(String::from_utf8_lossy(&plain), expected);
        }
        assert_eq!(without_exponent(Text::of(b"1e999999999")), None);
    }
}
