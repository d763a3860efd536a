//! One column of a batch, bound to its type once, so that each value is written without asking again.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::{DataType, FieldRef, IntervalUnit, TimeUnit};

use crate::json;

/// Why a value cannot be written, as what is said of its column: "holds NaN".
pub type Refused = &'static str;

/// A column whose values can be written. It shares the buffers of its array.
#[derive(Debug)]
pub struct Column {
    values: Values,
    nulls: Option<NullBuffer>,
}

/// The values of a column, by how they are written.
#[derive(Debug)]
#[expect(missing_docs, reason = "variants are named after Arrow's types")]
pub enum Values {
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
    /// The flag says whether there is a zone.
    Timestamp(Ticks, TimeUnit, bool),
    Duration(Ticks, TimeUnit),
    Months(IntervalYearMonthArray),
    DayTime(IntervalDayTimeArray),
    MonthDayNano(IntervalMonthDayNanoArray),
    List(Ranges, Box<Column>),
    Struct(Vec<Member>),
    Map(Ranges, Box<[Member; 2]>),
    /// The members, each at the place of its type id.
    Union(UnionArray, Vec<Option<Member>>),
    /// A dictionary, or runs: where each row's value is among the values.
    Indexed(Vec<usize>, Box<Column>),
}

/// A field of a struct or a member of a union.
#[derive(Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// `"name":`
    pub(crate) key: Vec<u8>,
    /// Whether there is a NUL byte in the name, which not every format holds.
    pub(crate) has_nul: bool,
    /// Its values.
    pub column: Column,
}

impl Member {
    fn new(field: &FieldRef, array: &ArrayRef) -> Self {
        Self {
            name: field.name().clone(),
            key: json::key(field.name()),
            has_nul: field.name().contains('\0'),
            column: Column::new(array),
        }
    }
}

/// Whole numbers of 32 or 64 bits.
#[derive(Debug)]
pub enum Ticks {
    /// Of 32 bits.
    Narrow(ScalarBuffer<i32>),
    /// Of 64 bits.
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

    /// The number of a row.
    #[inline]
    pub fn get(&self, row: usize) -> i64 {
        match self {
            Self::Narrow(values) => i64::from(values[row]),
            Self::Wide(values) => values[row],
        }
    }
}

/// Where the items of each list are.
#[derive(Debug)]
#[expect(missing_docs, reason = "variants are named after Arrow's types")]
pub enum Ranges {
    List(ScalarBuffer<i32>),
    Large(ScalarBuffer<i64>),
    View(ScalarBuffer<i32>, ScalarBuffer<i32>),
    LargeView(ScalarBuffer<i64>, ScalarBuffer<i64>),
    Fixed(FixedSizeListArray),
}

impl Ranges {
    /// The items of a row.
    #[inline]
    pub fn get(&self, row: usize) -> Range<usize> {
        let sized = |start: usize, length: usize| start..start + length;
        match self {
            Self::List(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Self::Large(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Self::View(starts, sizes) => sized(starts[row] as usize, sizes[row] as usize),
            Self::LargeView(starts, sizes) => sized(starts[row] as usize, sizes[row] as usize),
            Self::Fixed(lists) => sized(
                lists.value_offset(row) as usize,
                lists.value_length() as usize,
            ),
        }
    }
}

impl Column {
    /// Binds a column. Nothing is copied or decoded.
    pub fn new(array: &ArrayRef) -> Self {
        let nulls = match array.data_type() {
            // A member that is null is still that member.
            DataType::Union(..) => None,
            _ => array.logical_nulls().filter(|nulls| nulls.null_count() > 0),
        };
        Self {
            values: values(array),
            nulls,
        }
    }

    /// The values, by their type.
    #[inline]
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Whether no value is null.
    #[inline]
    pub fn has_no_nulls(&self) -> bool {
        self.nulls.is_none() && !matches!(self.values, Values::Union(..))
    }

    /// Whether a value is null, which a union's is with its member.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.is_missing(row) || {
            match &self.values {
                Values::Union(union, members) => member(union, members, row)
                    .is_none_or(|member| member.column.is_null(union.value_offset(row))),
                _ => false,
            }
        }
    }

    /// Whether a row has no value. In a union each has one, be it of a member that is null.
    #[inline]
    pub(crate) fn is_missing(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The bytes of text or binary, as they are.
    #[inline]
    pub fn bytes(&self, row: usize) -> Option<&[u8]> {
        Some(match &self.values {
            Values::Utf8(values) => values.value(row).as_bytes(),
            Values::LargeUtf8(values) => values.value(row).as_bytes(),
            Values::Utf8View(values) => values.value(row).as_bytes(),
            Values::Binary(values) => values.value(row),
            Values::LargeBinary(values) => values.value(row),
            Values::BinaryView(values) => values.value(row),
            Values::FixedSizeBinary(values) => values.value(row),
            Values::Indexed(places, values) => return values.indexed_bytes(places[row]),
            _ => return None,
        })
    }

    /// A call of its own: what calls itself is not inlined.
    #[inline(never)]
    fn indexed_bytes(&self, row: usize) -> Option<&[u8]> {
        self.bytes(row)
    }

    /// Whether the values are text.
    pub fn is_text(&self) -> bool {
        use Values as V;
        match &self.values {
            V::Utf8(_) | V::LargeUtf8(_) | V::Utf8View(_) => true,
            V::Indexed(_, values) => values.is_text(),
            _ => false,
        }
    }

    /// A whole number, if the column holds such and it has no more than 64 bits with its sign.
    pub fn integer(&self, row: usize) -> Option<i64> {
        Some(match &self.values {
            Values::Int8(values) => values.value(row).into(),
            Values::Int16(values) => values.value(row).into(),
            Values::Int32(values) => values.value(row).into(),
            Values::Int64(values) => values.value(row),
            Values::UInt8(values) => values.value(row).into(),
            Values::UInt16(values) => values.value(row).into(),
            Values::UInt32(values) => values.value(row).into(),
            Values::UInt64(values) => i64::try_from(values.value(row)).ok()?,
            Values::Indexed(places, values) => return values.integer(places[row]),
            _ => return None,
        })
    }

    /// Whether the values are numbers.
    pub fn is_numeric(&self) -> bool {
        use Values as V;
        let whole = matches!(
            self.values,
            V::Int8(_)
                | V::Int16(_)
                | V::Int32(_)
                | V::Int64(_)
                | V::UInt8(_)
                | V::UInt16(_)
                | V::UInt32(_)
                | V::UInt64(_)
        );
        match &self.values {
            V::Float16(_) | V::Float32(_) | V::Float64(_) => true,
            V::Decimal32(..) | V::Decimal64(..) | V::Decimal128(..) | V::Decimal256(..) => true,
            V::Indexed(_, values) => values.is_numeric(),
            _ => whole,
        }
    }
}

/// The member that a row of a union has.
#[inline]
pub(crate) fn member<'a>(
    union: &UnionArray,
    members: &'a [Option<Member>],
    row: usize,
) -> Option<&'a Member> {
    members
        .get(usize::try_from(union.type_id(row)).ok()?)?
        .as_ref()
}

fn values(array: &ArrayRef) -> Values {
    use DataType as T;
    macro_rules! typed {
        ($variant:ident, $kind:ty) => {
            Values::$variant(array.as_primitive::<$kind>().clone())
        };
        ($variant:ident, $kind:ty, $scale:expr) => {
            Values::$variant(array.as_primitive::<$kind>().clone(), *$scale)
        };
    }
    match array.data_type() {
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
        T::Duration(unit) => Values::Duration(Ticks::of(array, true), *unit),
        T::Interval(IntervalUnit::YearMonth) => typed!(Months, IntervalYearMonthType),
        T::Interval(IntervalUnit::DayTime) => typed!(DayTime, IntervalDayTimeType),
        T::Interval(IntervalUnit::MonthDayNano) => typed!(MonthDayNano, IntervalMonthDayNanoType),
        _ => nested(array),
    }
}

fn nested(array: &ArrayRef) -> Values {
    use DataType as T;
    let list = |ranges, items: &ArrayRef| Values::List(ranges, Box::new(Column::new(items)));
    let members = |array: &StructArray| -> Vec<Member> {
        let members = array.fields().iter().zip(array.columns());
        members
            .map(|(field, array)| Member::new(field, array))
            .collect()
    };
    match array.data_type() {
        T::List(_) => {
            let lists = array.as_list::<i32>();
            list(
                Ranges::List(lists.offsets().inner().clone()),
                lists.values(),
            )
        }
        T::LargeList(_) => {
            let lists = array.as_list::<i64>();
            list(
                Ranges::Large(lists.offsets().inner().clone()),
                lists.values(),
            )
        }
        T::ListView(_) => {
            let lists = array.as_list_view::<i32>();
            let ranges = Ranges::View(lists.offsets().clone(), lists.sizes().clone());
            list(ranges, lists.values())
        }
        T::LargeListView(_) => {
            let lists = array.as_list_view::<i64>();
            let ranges = Ranges::LargeView(lists.offsets().clone(), lists.sizes().clone());
            list(ranges, lists.values())
        }
        T::FixedSizeList(..) => {
            let lists = array.as_fixed_size_list();
            list(Ranges::Fixed(lists.clone()), lists.values())
        }
        T::Struct(_) => Values::Struct(members(array.as_struct())),
        T::Map(..) => {
            let map = array.as_map();
            match <[Member; 2]>::try_from(members(map.entries())) {
                Ok(entries) => Values::Map(
                    Ranges::List(map.offsets().inner().clone()),
                    Box::new(entries),
                ),
                // Arrow has no other maps.
                Err(_) => Values::Null,
            }
        }
        T::Union(fields, _) => {
            let union = array.as_union();
            let mut members = Vec::new();
            for (id, field) in fields.iter() {
                let place = usize::try_from(id).unwrap_or_default();
                members.resize_with(members.len().max(place + 1), || None);
                members[place] = Some(Member::new(field, union.child(id)));
            }
            Values::Union(union.clone(), members)
        }
        T::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            match dictionary.values().is_empty() {
                // All rows are null.
                true => Values::Null,
                false => Values::Indexed(
                    dictionary.normalized_keys(),
                    Box::new(Column::new(dictionary.values())),
                ),
            }
        }
        T::RunEndEncoded(ends, _) => match ends.data_type() {
            T::Int16 => runs(array.as_run::<Int16Type>()),
            T::Int32 => runs(array.as_run::<Int32Type>()),
            _ => runs(array.as_run::<Int64Type>()),
        },
        _ => Values::Null,
    }
}

fn runs<E: RunEndIndexType>(runs: &RunArray<E>) -> Values {
    let mut places = Vec::with_capacity(runs.len());
    let ends = runs.run_ends();
    let mut place = ends.get_start_physical_index();
    let physical: &[E::Native] = ends.values();
    for row in 0..runs.len() {
        use arrow_buffer::ArrowNativeType;
        while physical[place].as_usize() <= ends.offset() + row {
            place += 1;
        }
        places.push(place);
    }
    Values::Indexed(places, Box::new(Column::new(runs.values())))
}
