//! One column of a batch, bound to its type once, so that each value is written without asking again.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_cast::cast;
use arrow_schema::{DataType, Fields, IntervalUnit, TimeUnit};
use arrowload_core::Result;

/// A column whose values can be written.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) values: Values,
    nulls: Option<NullBuffer>,
}

/// The values of a column, by how they are written.
#[derive(Debug)]
pub(crate) enum Values {
    Null,
    Boolean(BooleanArray),
    Int8(Int8Array),
    Int16(Int16Array),
    Int32(Int32Array),
    Int64(Int64Array),
    UInt8(UInt8Array),
    UInt16(UInt16Array),
    UInt32(UInt32Array),
    UInt64(UInt64Array),
    Float16(Float16Array),
    Float32(Float32Array),
    Float64(Float64Array),
    Decimal32(Decimal32Array, i8),
    Decimal64(Decimal64Array, i8),
    Decimal128(Decimal128Array, i8),
    Decimal256(Decimal256Array, i8),
    Utf8(StringArray),
    LargeUtf8(LargeStringArray),
    Utf8View(StringViewArray),
    Binary(BinaryArray),
    LargeBinary(LargeBinaryArray),
    BinaryView(BinaryViewArray),
    FixedSizeBinary(FixedSizeBinaryArray),
    /// Days since 1970.
    Date(Ticks),
    /// Milliseconds since 1970, of whole days.
    DateMillis(Ticks),
    Time(Ticks, TimeUnit),
    Timestamp(Ticks, TimeUnit, bool),
    Duration(Ticks),
    Months(IntervalYearMonthArray),
    DayTime(IntervalDayTimeArray),
    MonthDayNano(IntervalMonthDayNanoArray),
    List(Ranges, Box<Column>),
    Struct(Fields, Vec<Column>),
    Map(MapArray, Box<Column>, Box<Column>),
    Union(UnionArray, Vec<(i8, String, Column)>),
}

/// Whole numbers of 32 or 64 bits.
#[derive(Debug)]
pub(crate) enum Ticks {
    Narrow(ScalarBuffer<i32>),
    Wide(ScalarBuffer<i64>),
}

impl Ticks {
    fn of(array: &dyn Array, wide: bool) -> Self {
        let data = array.to_data();
        let buffer = data.buffers()[0].clone();
        match wide {
            true => Self::Wide(ScalarBuffer::new(buffer, data.offset(), data.len())),
            false => Self::Narrow(ScalarBuffer::new(buffer, data.offset(), data.len())),
        }
    }

    #[inline]
    pub(crate) fn get(&self, row: usize) -> i64 {
        match self {
            Self::Narrow(values) => i64::from(values[row]),
            Self::Wide(values) => values[row],
        }
    }
}

/// Where the items of each list are.
#[derive(Debug)]
pub(crate) enum Ranges {
    List(ListArray),
    Large(LargeListArray),
    View(ListViewArray),
    LargeView(LargeListViewArray),
    Fixed(FixedSizeListArray),
}

impl Ranges {
    pub(crate) fn get(&self, row: usize) -> std::ops::Range<usize> {
        let sized = |start: usize, length: usize| start..start + length;
        match self {
            Self::List(lists) => {
                lists.value_offsets()[row] as usize..lists.value_offsets()[row + 1] as usize
            }
            Self::Large(lists) => {
                lists.value_offsets()[row] as usize..lists.value_offsets()[row + 1] as usize
            }
            Self::View(lists) => sized(
                lists.value_offset(row) as usize,
                lists.value_size(row) as usize,
            ),
            Self::LargeView(lists) => sized(
                lists.value_offset(row) as usize,
                lists.value_size(row) as usize,
            ),
            Self::Fixed(lists) => sized(
                lists.value_offset(row) as usize,
                lists.value_length() as usize,
            ),
        }
    }
}

impl Column {
    /// Binds a column. Dictionaries and runs are decoded; everything else is shared.
    pub(crate) fn bind(array: &ArrayRef) -> Result<Self> {
        use DataType as T;
        macro_rules! typed {
            ($variant:ident, $kind:ty) => {
                Values::$variant(array.as_primitive::<$kind>().clone())
            };
            ($variant:ident, $kind:ty, $scale:expr) => {
                Values::$variant(array.as_primitive::<$kind>().clone(), *$scale)
            };
        }
        let boxed = |items: &ArrayRef| Self::bind(items).map(Box::new);
        let values = match array.data_type() {
            T::Null => Values::Null,
            T::Boolean => Values::Boolean(array.as_boolean().clone()),
            T::Int8 => typed!(Int8, Int8Type),
            T::Int16 => typed!(Int16, Int16Type),
            T::Int32 => typed!(Int32, Int32Type),
            T::Int64 => typed!(Int64, Int64Type),
            T::UInt8 => typed!(UInt8, UInt8Type),
            T::UInt16 => typed!(UInt16, UInt16Type),
            T::UInt32 => typed!(UInt32, UInt32Type),
            T::UInt64 => typed!(UInt64, UInt64Type),
            T::Float16 => typed!(Float16, Float16Type),
            T::Float32 => typed!(Float32, Float32Type),
            T::Float64 => typed!(Float64, Float64Type),
            T::Decimal32(_, scale) => typed!(Decimal32, Decimal32Type, scale),
            T::Decimal64(_, scale) => typed!(Decimal64, Decimal64Type, scale),
            T::Decimal128(_, scale) => typed!(Decimal128, Decimal128Type, scale),
            T::Decimal256(_, scale) => typed!(Decimal256, Decimal256Type, scale),
            T::Utf8 => Values::Utf8(array.as_string::<i32>().clone()),
            T::LargeUtf8 => Values::LargeUtf8(array.as_string::<i64>().clone()),
            T::Utf8View => Values::Utf8View(array.as_string_view().clone()),
            T::Binary => Values::Binary(array.as_binary::<i32>().clone()),
            T::LargeBinary => Values::LargeBinary(array.as_binary::<i64>().clone()),
            T::BinaryView => Values::BinaryView(array.as_binary_view().clone()),
            T::FixedSizeBinary(_) => Values::FixedSizeBinary(array.as_fixed_size_binary().clone()),
            T::Date32 => Values::Date(Ticks::of(array, false)),
            T::Date64 => Values::DateMillis(Ticks::of(array, true)),
            T::Time32(unit) => Values::Time(Ticks::of(array, false), *unit),
            T::Time64(unit) => Values::Time(Ticks::of(array, true), *unit),
            T::Timestamp(unit, zone) => {
                Values::Timestamp(Ticks::of(array, true), *unit, zone.is_some())
            }
            T::Duration(_) => Values::Duration(Ticks::of(array, true)),
            T::Interval(IntervalUnit::YearMonth) => typed!(Months, IntervalYearMonthType),
            T::Interval(IntervalUnit::DayTime) => typed!(DayTime, IntervalDayTimeType),
            T::Interval(IntervalUnit::MonthDayNano) => {
                typed!(MonthDayNano, IntervalMonthDayNanoType)
            }
            T::List(_) => Values::List(
                Ranges::List(array.as_list().clone()),
                boxed(array.as_list::<i32>().values())?,
            ),
            T::LargeList(_) => Values::List(
                Ranges::Large(array.as_list().clone()),
                boxed(array.as_list::<i64>().values())?,
            ),
            T::ListView(_) => Values::List(
                Ranges::View(array.as_list_view().clone()),
                boxed(array.as_list_view::<i32>().values())?,
            ),
            T::LargeListView(_) => Values::List(
                Ranges::LargeView(array.as_list_view().clone()),
                boxed(array.as_list_view::<i64>().values())?,
            ),
            T::FixedSizeList(..) => Values::List(
                Ranges::Fixed(array.as_fixed_size_list().clone()),
                boxed(array.as_fixed_size_list().values())?,
            ),
            T::Struct(fields) => {
                let columns = array
                    .as_struct()
                    .columns()
                    .iter()
                    .map(Self::bind)
                    .collect::<Result<_>>()?;
                Values::Struct(fields.clone(), columns)
            }
            T::Map(..) => {
                let map = array.as_map();
                Values::Map(map.clone(), boxed(map.keys())?, boxed(map.values())?)
            }
            T::Union(fields, _) => {
                let union = array.as_union();
                let member = |(id, field): (i8, &arrow_schema::FieldRef)| {
                    Ok((id, field.name().clone(), Self::bind(union.child(id))?))
                };
                Values::Union(
                    union.clone(),
                    fields.iter().map(member).collect::<Result<_>>()?,
                )
            }
            T::Dictionary(_, inner) => return Self::bind(&cast(array, inner)?),
            T::RunEndEncoded(_, inner) => return Self::bind(&cast(array, inner.data_type())?),
        };
        Ok(Self {
            values,
            nulls: array.logical_nulls().filter(|nulls| nulls.null_count() > 0),
        })
    }

    /// Whether no value is null.
    #[inline]
    pub(crate) fn has_no_nulls(&self) -> bool {
        self.nulls.is_none() && !matches!(self.values, Values::Union(..))
    }

    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return true;
        }
        match &self.values {
            Values::Union(union, members) => {
                let id = union.type_id(row);
                members
                    .iter()
                    .find(|member| member.0 == id)
                    .is_none_or(|(_, _, column)| column.is_null(union.value_offset(row)))
            }
            _ => false,
        }
    }
}

impl Column {
    /// A whole number, if the column holds such.
    pub(crate) fn integer(&self, row: usize) -> Option<i64> {
        Some(match &self.values {
            Values::Int8(values) => values.value(row).into(),
            Values::Int16(values) => values.value(row).into(),
            Values::Int32(values) => values.value(row).into(),
            Values::Int64(values) => values.value(row),
            Values::UInt8(values) => values.value(row).into(),
            Values::UInt16(values) => values.value(row).into(),
            Values::UInt32(values) => values.value(row).into(),
            Values::UInt64(values) => i64::try_from(values.value(row)).ok()?,
            _ => return None,
        })
    }

    /// Whether the values are numbers.
    pub(crate) fn is_numeric(&self) -> bool {
        use Values as V;
        let floats = matches!(self.values, V::Float16(_) | V::Float32(_) | V::Float64(_));
        let decimals = matches!(
            self.values,
            V::Decimal32(..) | V::Decimal64(..) | V::Decimal128(..) | V::Decimal256(..)
        );
        let small = matches!(
            self.values,
            V::Int8(_) | V::Int16(_) | V::Int32(_) | V::UInt8(_) | V::UInt16(_) | V::UInt32(_)
        );
        floats || decimals || small || matches!(self.values, V::Int64(_) | V::UInt64(_))
    }

    /// Milliseconds since 1970, of a timestamp, a date, or a whole number.
    pub(crate) fn milliseconds(&self, row: usize) -> Result<i64, &'static str> {
        if self.is_null(row) {
            return Err("is null");
        }
        let far = "is too far away for milliseconds";
        match &self.values {
            Values::Timestamp(ticks, TimeUnit::Second, _) => {
                ticks.get(row).checked_mul(1_000).ok_or(far)
            }
            Values::Timestamp(ticks, TimeUnit::Millisecond, _) | Values::DateMillis(ticks) => {
                Ok(ticks.get(row))
            }
            Values::Timestamp(ticks, unit, _) => {
                let factor = if *unit == TimeUnit::Microsecond {
                    1_000
                } else {
                    1_000_000
                };
                let value = ticks.get(row);
                if value % factor == 0 {
                    Ok(value / factor)
                } else {
                    Err("is finer than the milliseconds that Redis has")
                }
            }
            Values::Date(ticks) => ticks.get(row).checked_mul(86_400_000).ok_or(far),
            _ => self
                .integer(row)
                .ok_or("is neither a time nor a whole number of milliseconds"),
        }
    }

    /// Writes a list of floats as binary, little end first; `false` if the column holds none.
    pub(crate) fn floats(&self, row: usize, out: &mut Vec<u8>) -> Result<bool, &'static str> {
        let Values::List(ranges, items) = &self.values else {
            return Ok(false);
        };
        if !matches!(
            items.values,
            Values::Float16(_) | Values::Float32(_) | Values::Float64(_)
        ) {
            return Ok(false);
        }
        for index in ranges.get(row) {
            if items.is_null(index) {
                return Err("has a null in a vector");
            }
            match &items.values {
                Values::Float16(values) => {
                    out.extend_from_slice(&values.value(index).to_le_bytes())
                }
                Values::Float32(values) => {
                    out.extend_from_slice(&values.value(index).to_le_bytes())
                }
                Values::Float64(values) => {
                    out.extend_from_slice(&values.value(index).to_le_bytes())
                }
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}
