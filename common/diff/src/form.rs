//! The common form that values of two types are converted to for the comparison. Values are equal in it exactly if they are equal.
//! No value is changed by the conversion: types without such a form are refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, Decimal128Array, Int64Array, LargeListArray, PrimitiveArray, StructArray,
    UInt64Array, new_null_array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, Field, Fields, IntervalUnit, TimeUnit};
use arrow_select::take::take;

use crate::Side;

/// What values of two types are compared as.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Form {
    /// Both sides have nothing but nulls.
    Nulls,
    /// A type that the values of both sides fit into as they are.
    Cast(DataType),
    /// 64 bits, with one NaN for all.
    Float,
    /// So many nanoseconds a tick.
    Ticks {
        /// For the first side, and the second.
        nanoseconds: [i64; 2],
    },
    /// In months, days and nanoseconds.
    Interval,
    /// Items in their order.
    List(Box<Form>),
    /// Fields by their names.
    Struct(Vec<Member>),
}

/// A field of a struct on both sides.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    name: String,
    /// Where it is on the first side, and on the second.
    positions: [usize; 2],
    form: Form,
}

impl Form {
    /// The form of two types; says why there is none.
    pub(crate) fn of(a: &DataType, b: &DataType) -> Result<Self, String> {
        use DataType as T;
        let (a, b) = (plain(a), plain(b));
        let none = || Err(format!("{a} and {b} are not values of one kind"));
        Ok(match (a, b) {
            (T::Union(..), _) | (_, T::Union(..)) => {
                return Err("values of unions are not compared".to_owned());
            }
            (T::Null, T::Null) => Self::Nulls,
            (T::Null, other) | (other, T::Null) => Self::of(other, other)?,
            (T::Boolean, T::Boolean) => Self::Cast(T::Boolean),
            (a, b) if is_exact(a) && is_exact(b) => Self::Cast(number(a, b)?),
            (a, b) if is_float(a) && is_float(b) => Self::Float,
            (a, b) if (is_float(a) && fits_float(b)) || (fits_float(a) && is_float(b)) => {
                Self::Float
            }
            (a, b) if is_float(a) && is_exact(b) || is_exact(a) && is_float(b) => {
                return Err(format!(
                    "{a} and {b} have no type in common that holds every value of both"
                ));
            }
            (a, b) if is_text(a) && is_text(b) => Self::Cast(T::LargeUtf8),
            (a, b) if is_binary(a) && is_binary(b) => Self::Cast(T::LargeBinary),
            (T::Timestamp(_, zone_a), T::Timestamp(_, zone_b))
                if zone_a.is_some() != zone_b.is_some() =>
            {
                return Err(format!(
                    "{a} and {b} are a point in time and the reading of a clock"
                ));
            }
            (T::Date32 | T::Date64, T::Date32 | T::Date64)
            | (T::Time32(_) | T::Time64(_), T::Time32(_) | T::Time64(_))
            | (T::Timestamp(..), T::Timestamp(..))
            | (T::Duration(_), T::Duration(_)) => match (tick(a), tick(b)) {
                (Some(a), Some(b)) => Self::Ticks {
                    nanoseconds: [a, b],
                },
                _ => return none(),
            },
            (T::Interval(_), T::Interval(_)) => Self::Interval,
            (T::Map(a, _), T::Map(b, _)) => match (a.data_type(), b.data_type()) {
                (T::Struct(a), T::Struct(b)) if a.len() == 2 && b.len() == 2 => {
                    let member = |index: usize, name: &str| {
                        Self::of(a[index].data_type(), b[index].data_type()).map(|form| Member {
                            name: name.to_owned(),
                            positions: [index, index],
                            form,
                        })
                    };
                    let entry = vec![member(0, "key")?, member(1, "value")?];
                    Self::List(Box::new(Self::Struct(entry)))
                }
                _ => return none(),
            },
            (T::Struct(a), T::Struct(b)) => Self::Struct(members(a, b)?),
            (a, b) => match (item(a), item(b)) {
                (Some(a), Some(b)) => Self::List(Box::new(Self::of(a, b)?)),
                _ => return none(),
            },
        })
    }

    /// The type that values have in this form.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Nulls => DataType::Null,
            Self::Cast(data_type) => data_type.clone(),
            Self::Float => DataType::Float64,
            Self::Ticks {
                nanoseconds: [a, b],
            } if a == b => DataType::Int64,
            Self::Ticks { .. } => DataType::Decimal128(38, 0),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::List(item) => DataType::LargeList(field("item", item)),
            Self::Struct(members) => DataType::Struct(fields(members)),
        }
    }

    /// Brings the values of one side into the form.
    ///
    /// # Errors
    /// If a value does not fit its own type, so that it has no place in the form.
    pub(crate) fn apply(&self, array: &ArrayRef, side: Side) -> Result<ArrayRef, ArrowError> {
        let array = &decoded(array)?;
        if *array.data_type() == DataType::Null {
            return Ok(new_null_array(&self.data_type(), array.len()));
        }
        Ok(match self {
            Self::Nulls => new_null_array(&DataType::Null, array.len()),
            Self::Cast(data_type) => exactly(array, data_type)?,
            Self::Float => {
                let floats = exactly(array, &DataType::Float64)?;
                let one_nan = |value: f64| if value.is_nan() { f64::NAN } else { value };
                let floats: PrimitiveArray<Float64Type> =
                    floats.as_primitive::<Float64Type>().unary(one_nan);
                Arc::new(floats)
            }
            Self::Ticks { nanoseconds } => ticks(array, *nanoseconds, side)?,
            Self::Interval => exactly(array, &self.data_type())?,
            Self::List(item) => {
                let (values, offsets, nulls) = parts_of_list(array)?;
                let values = item.apply(&values, side)?;
                Arc::new(LargeListArray::try_new(
                    field("item", item),
                    offsets,
                    values,
                    nulls,
                )?)
            }
            Self::Struct(members) => {
                let whole = array.as_struct();
                let columns = members.iter().map(|member| {
                    let column = whole.column(member.positions[side as usize]);
                    member.form.apply(column, side)
                });
                Arc::new(StructArray::try_new_with_length(
                    fields(members),
                    columns.collect::<Result<_, _>>()?,
                    whole.nulls().cloned(),
                    whole.len(),
                )?)
            }
        })
    }
}

fn field(name: &str, form: &Form) -> Arc<Field> {
    Arc::new(Field::new(name, form.data_type(), true))
}

fn fields(members: &[Member]) -> Fields {
    let field = |member: &Member| field(&member.name, &member.form);
    members.iter().map(field).collect()
}

fn members(a: &Fields, b: &Fields) -> Result<Vec<Member>, String> {
    let names = |fields: &Fields| -> BTreeSet<String> {
        fields.iter().map(|field| field.name().clone()).collect()
    };
    let (names_a, names_b) = (names(a), names(b));
    if names_a.len() < a.len() || names_b.len() < b.len() {
        return Err("a name of a field is there more than once".to_owned());
    }
    if names_a != names_b {
        let others: Vec<&str> = names_a
            .symmetric_difference(&names_b)
            .map(String::as_str)
            .collect();
        return Err(format!(
            "the fields are not the same: {} on one side only",
            others.join(", ")
        ));
    }
    let mut members = Vec::with_capacity(a.len());
    for (position, field) in a.iter().enumerate() {
        let Some((other, other_field)) = b.find(field.name()) else {
            continue;
        };
        let form = Form::of(field.data_type(), other_field.data_type())
            .map_err(|why| format!("in `{}`: {why}", field.name()))?;
        members.push(Member {
            name: field.name().clone(),
            positions: [position, other],
            form,
        });
    }
    Ok(members)
}

/// The type of the values of a dictionary or of runs, and any other type as it is.
fn plain(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        DataType::RunEndEncoded(_, values) => plain(values.data_type()),
        other => other,
    }
}

/// The type that a column has on its way through the comparison: of plain values, in buffers of its own.
pub(crate) fn carried(data_type: &DataType) -> DataType {
    match plain(data_type) {
        DataType::Utf8View => DataType::LargeUtf8,
        DataType::BinaryView => DataType::LargeBinary,
        other => other.clone(),
    }
}

/// The values of a dictionary or of runs, and any other array as it is.
fn decoded(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        encoded @ (DataType::Dictionary(..) | DataType::RunEndEncoded(..)) => {
            exactly(array, plain(encoded))
        }
        _ => Ok(Arc::clone(array)),
    }
}

/// A cast that refuses what it would change.
pub(crate) fn exactly(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, to, &options)
}

fn is_exact(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_decimal()
}

fn is_float(data_type: &DataType) -> bool {
    data_type.is_floating()
}

/// Integers that a float of 64 bits holds as they are.
fn fits_float(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(
        data_type,
        T::Int8 | T::Int16 | T::Int32 | T::UInt8 | T::UInt16 | T::UInt32
    )
}

fn is_text(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(data_type, T::Utf8 | T::LargeUtf8 | T::Utf8View)
}

fn is_binary(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(
        data_type,
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_)
    )
}

/// A type that holds every integer and decimal of both.
fn number(a: &DataType, b: &DataType) -> Result<DataType, String> {
    use DataType as T;
    if a.is_integer() && b.is_integer() {
        return Ok(match (a, b) {
            (T::UInt64, other) | (other, T::UInt64) if other.is_unsigned_integer() => T::UInt64,
            (T::UInt64, _) | (_, T::UInt64) => T::Decimal128(20, 0),
            _ => T::Int64,
        });
    }
    let ((whole_a, scale_a), (whole_b, scale_b)) = (digits(a), digits(b));
    let scale = scale_a.max(scale_b);
    match whole_a.max(whole_b) + scale {
        precision @ ..=38 => Ok(T::Decimal128(precision.max(1) as u8, scale as i8)),
        precision @ ..=76 => Ok(T::Decimal256(precision as u8, scale as i8)),
        precision => Err(format!(
            "{a} and {b} need {precision} digits together, and 76 are compared at most"
        )),
    }
}

/// How many digits before and after the point a number has at most.
fn digits(data_type: &DataType) -> (i16, i16) {
    use DataType as T;
    match data_type {
        T::Int8 | T::UInt8 => (3, 0),
        T::Int16 | T::UInt16 => (5, 0),
        T::Int32 | T::UInt32 => (10, 0),
        T::Int64 => (19, 0),
        T::Decimal32(precision, scale)
        | T::Decimal64(precision, scale)
        | T::Decimal128(precision, scale)
        | T::Decimal256(precision, scale) => {
            let whole = i16::from(*precision) - i16::from(*scale);
            (whole.max(0), i16::from(*scale).max(0))
        }
        _ => (20, 0),
    }
}

const DAY: i64 = 86_400_000_000_000;

/// Nanoseconds in each unit of a type of time.
fn tick(data_type: &DataType) -> Option<i64> {
    use DataType as T;
    Some(match data_type {
        T::Date32 => DAY,
        T::Date64 => 1_000_000,
        T::Time32(unit) | T::Time64(unit) | T::Timestamp(unit, _) | T::Duration(unit) => match unit
        {
            TimeUnit::Second => 1_000_000_000,
            TimeUnit::Millisecond => 1_000_000,
            TimeUnit::Microsecond => 1_000,
            TimeUnit::Nanosecond => 1,
        },
        _ => return None,
    })
}

/// Times as numbers: as they are where both sides count alike, else in nanoseconds, which 64 bits may not hold.
fn ticks(array: &ArrayRef, nanoseconds: [i64; 2], side: Side) -> Result<ArrayRef, ArrowError> {
    let counted: Int64Array = match array.data_type() {
        DataType::Date32 | DataType::Time32(_) => {
            let narrow = exactly(array, &DataType::Int32)?;
            narrow.as_primitive::<Int32Type>().unary(i64::from)
        }
        _ => {
            let wide = exactly(array, &DataType::Int64)?;
            wide.as_primitive::<Int64Type>().clone()
        }
    };
    if nanoseconds[0] == nanoseconds[1] {
        return Ok(Arc::new(counted));
    }
    // The largest product has 33 digits.
    let factor = i128::from(nanoseconds[side as usize]);
    let all: Decimal128Array = counted.unary(|value| i128::from(value) * factor);
    Ok(Arc::new(all.with_precision_and_scale(38, 0)?))
}

/// The type of the items of a list of any kind.
fn item(data_type: &DataType) -> Option<&DataType> {
    use DataType as T;
    match data_type {
        T::List(item)
        | T::LargeList(item)
        | T::ListView(item)
        | T::LargeListView(item)
        | T::FixedSizeList(item, _) => Some(item.data_type()),
        _ => None,
    }
}

type Parts = (ArrayRef, OffsetBuffer<i64>, Option<NullBuffer>);

/// The items of a list of any kind or of a map, and where those of each row are.
fn parts_of_list(array: &ArrayRef) -> Result<Parts, ArrowError> {
    use DataType as T;
    let nulls = array.nulls().cloned();
    let wide = |offsets: &OffsetBuffer<i32>| {
        let offsets = offsets.iter().map(|offset| i64::from(*offset));
        OffsetBuffer::new(ScalarBuffer::from_iter(offsets))
    };
    Ok(match array.data_type() {
        T::List(_) => {
            let list = array.as_list::<i32>();
            (Arc::clone(list.values()), wide(list.offsets()), nulls)
        }
        T::LargeList(_) => {
            let list = array.as_list::<i64>();
            (Arc::clone(list.values()), list.offsets().clone(), nulls)
        }
        T::Map(..) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            (entries, wide(map.offsets()), nulls)
        }
        T::FixedSizeList(..) => {
            let list = array.as_fixed_size_list();
            let size = list.value_length() as usize;
            let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(size, list.len()));
            let offsets = wide(&offsets);
            (Arc::clone(list.values()), offsets, nulls)
        }
        T::ListView(_) => {
            let list = array.as_list_view::<i32>();
            let ranges = list.offsets().iter().zip(list.sizes());
            let ranges = ranges.map(|(start, size)| (*start as u64, *size as u64));
            gathered(list.values(), ranges.collect(), nulls)?
        }
        T::LargeListView(_) => {
            let list = array.as_list_view::<i64>();
            let ranges = list.offsets().iter().zip(list.sizes());
            let ranges = ranges.map(|(start, size)| (*start as u64, *size as u64));
            gathered(list.values(), ranges.collect(), nulls)?
        }
        other => {
            return Err(ArrowError::InvalidArgumentError(format!(
                "{other} has no items"
            )));
        }
    })
}

/// Lists whose items lie in any order, one after the other.
fn gathered(
    values: &ArrayRef,
    ranges: Vec<(u64, u64)>,
    nulls: Option<NullBuffer>,
) -> Result<Parts, ArrowError> {
    let size = |row: usize, size: u64| match nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    {
        true => 0,
        false => size,
    };
    let ranges: Vec<(u64, u64)> = ranges
        .into_iter()
        .enumerate()
        .map(|(row, (start, length))| (start, size(row, length)))
        .collect();
    let offsets = OffsetBuffer::<i64>::from_lengths(ranges.iter().map(|(_, size)| *size as usize));
    let indices: UInt64Array = ranges
        .iter()
        .flat_map(|(start, size)| *start..*start + *size)
        .collect::<Vec<u64>>()
        .into();
    Ok((take(values, &indices, None)?, offsets, nulls))
}
