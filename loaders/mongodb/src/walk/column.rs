//! The walker: one pass over the bytes of a document, which appends each value to the array of its column.
//!
//! Documents of one collection mostly have their fields in one order. The walker expects each field where it was in the last
//! document, and looks a name up only if another one is there.

use std::sync::Arc;

use arrow_array::builder::BooleanBufferBuilder;
use arrow_array::types::{
    Decimal128Type, Decimal256Type, Float64Type, Int32Type, Int64Type, TimestampMillisecondType,
    UInt32Type,
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, MapArray, NullArray,
    PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray, StructArray,
};
use arrow_buffer::{NullBuffer, NullBufferBuilder, OffsetBuffer, i256};
use arrow_schema::{DataType, SchemaRef};
use foldhash::HashMap;

use super::element::{self, Kind, fixed};
use super::json::{self, Form};
use super::observe::EXACT_IN_DOUBLE;
use super::shape::{self, Shape, Text};
use super::{Fault, Walked, What, decimal};

/// Bytes of varying length, one run of them for each value.
#[derive(Debug)]
struct Runs {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

impl Runs {
    fn new() -> Self {
        Self {
            offsets: vec![0],
            bytes: Vec::new(),
        }
    }

    #[inline]
    fn end(&mut self) -> Walked<()> {
        let Ok(end) = i32::try_from(self.bytes.len()) else {
            return Err(Fault::broken("a batch has more than 2 GiB of one column"));
        };
        self.offsets.push(end);
        Ok(())
    }

    #[inline]
    fn push(&mut self, value: &[u8]) -> Walked<()> {
        self.bytes.extend_from_slice(value);
        self.end()
    }

    fn offsets(&mut self) -> OffsetBuffer<i32> {
        OffsetBuffer::new(std::mem::replace(&mut self.offsets, vec![0]).into())
    }

    fn strings(&mut self, nulls: Option<NullBuffer>) -> Walked<ArrayRef> {
        let bytes = std::mem::take(&mut self.bytes);
        let array = StringArray::try_new(self.offsets(), bytes.into(), nulls);
        // Checked once a column, which is fast; the message names the document after a second look.
        Ok(Arc::new(
            array.map_err(|_| Fault::broken("a text is not UTF-8"))?,
        ))
    }

    fn binaries(&mut self, nulls: Option<NullBuffer>) -> ArrayRef {
        let bytes = std::mem::take(&mut self.bytes);
        Arc::new(BinaryArray::new(self.offsets(), bytes.into(), nulls))
    }
}

#[derive(Debug)]
enum Values {
    Null,
    Bool(BooleanBufferBuilder),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Double(Vec<f64>),
    Date(Vec<i64>),
    Decimal {
        precision: u8,
        scale: i8,
        values: Vec<i256>,
    },
    Text(Text, Runs),
    Binary(u8, Runs),
    Fixed(usize, Vec<u8>),
    Timestamp(Vec<u32>, Vec<u32>),
    /// A pattern and its options, or a namespace and the bytes of an id.
    Regex(Runs, Runs),
    Pointer(Runs, Vec<u8>),
    Struct(Fields),
    List(Vec<i32>, Box<Column>),
    Map(Vec<i32>, Runs, Box<Column>),
}

/// The array of a column, while it is filled.
#[derive(Debug)]
struct Column {
    shape: Shape,
    nulls: NullBufferBuilder,
    values: Values,
}

/// The columns of a document, by name.
#[derive(Debug)]
struct Fields {
    names: Vec<Box<[u8]>>,
    places: HashMap<Box<[u8]>, usize>,
    columns: Vec<Column>,
    /// Fields that have no column are left out, as the schema was given.
    closed: bool,
}

impl Fields {
    fn new(shapes: &[(String, Shape)], closed: bool) -> Self {
        let names: Vec<Box<[u8]>> = shapes
            .iter()
            .map(|(name, _)| name.as_bytes().into())
            .collect();
        let places = names.iter().cloned().zip(0..).collect();
        Self {
            names,
            places,
            columns: shapes
                .iter()
                .map(|(_, shape)| Column::new(shape, closed))
                .collect(),
            closed,
        }
    }

    /// Appends one document; `row` is the number of documents before it.
    fn append(&mut self, document: &[u8], row: usize) -> Walked<()> {
        let mut rest = element::body(document)?;
        let (mut next, mut filled) = (0, 0);
        while let Some((&code, after)) = rest.split_first() {
            let expected = self.names.get(next).and_then(|name| {
                let after = after.strip_prefix(&**name)?;
                after.strip_prefix(&[0])
            });
            let (name, place): (&[u8], Option<usize>) = match expected {
                Some(value) => {
                    let name = &after[..after.len() - value.len() - 1];
                    rest = value;
                    (name, Some(next))
                }
                None => {
                    rest = after;
                    let name = element::name(&mut rest)?;
                    (name, self.places.get(name).copied())
                }
            };
            let value = element::value(code, &mut rest).map_err(|fault| fault.within(name))?;
            let Some(place) = place else {
                if self.closed {
                    continue;
                }
                return Err(Fault::new(What::NewField).within(name));
            };
            let column = &mut self.columns[place];
            if column.nulls.len() != row {
                return Err(Fault::broken("the name comes twice").within(name));
            }
            column
                .append(code, value)
                .map_err(|fault| fault.within(name))?;
            next = place + 1;
            filled += 1;
        }
        if filled < self.columns.len() {
            for column in &mut self.columns {
                if column.nulls.len() == row {
                    column.append_null()?;
                }
            }
        }
        Ok(())
    }

    fn append_nulls(&mut self) -> Walked<()> {
        self.columns.iter_mut().try_for_each(Column::append_null)
    }

    fn finish(&mut self) -> Walked<Vec<ArrayRef>> {
        let columns = self.columns.iter_mut().zip(&self.names);
        columns
            .map(|(column, name)| column.finish().map_err(|fault| fault.within(name)))
            .collect()
    }
}

fn end_of(lengths: usize) -> Walked<i32> {
    i32::try_from(lengths)
        .map_err(|_| Fault::broken("a batch has more than 2^31 items of one list"))
}

impl Column {
    fn new(shape: &Shape, closed: bool) -> Self {
        let values = match shape {
            Shape::Null => Values::Null,
            Shape::Bool => Values::Bool(BooleanBufferBuilder::new(0)),
            Shape::Int32 => Values::Int32(Vec::new()),
            Shape::Int64 => Values::Int64(Vec::new()),
            Shape::Double => Values::Double(Vec::new()),
            Shape::Decimal { precision, scale } => Values::Decimal {
                precision: *precision,
                scale: *scale,
                values: Vec::new(),
            },
            Shape::Text(text) => Values::Text(*text, Runs::new()),
            Shape::Binary(subtype) => Values::Binary(*subtype, Runs::new()),
            Shape::Uuid => Values::Fixed(16, Vec::new()),
            Shape::ObjectId => Values::Fixed(12, Vec::new()),
            Shape::Date => Values::Date(Vec::new()),
            Shape::Timestamp => Values::Timestamp(Vec::new(), Vec::new()),
            Shape::Regex => Values::Regex(Runs::new(), Runs::new()),
            Shape::DbPointer => Values::Pointer(Runs::new(), Vec::new()),
            Shape::Struct(fields) => Values::Struct(Fields::new(fields, closed)),
            Shape::List(items) => Values::List(vec![0], Box::new(Self::new(items, closed))),
            Shape::Map(items) => {
                Values::Map(vec![0], Runs::new(), Box::new(Self::new(items, closed)))
            }
        };
        Self {
            shape: shape.clone(),
            nulls: NullBufferBuilder::new(0),
            values,
        }
    }

    #[inline]
    fn append(&mut self, code: u8, value: &[u8]) -> Walked<()> {
        if code == 0x0a {
            return self.append_null();
        }
        let row = self.nulls.len();
        match (&mut self.values, code) {
            (Values::Text(Text::String, runs), 0x02)
            | (Values::Text(Text::Plain, runs), 0x02)
            | (Values::Text(Text::Code, runs), 0x0d)
            | (Values::Text(Text::Symbol, runs), 0x0e) => runs.push(element::text(value)?)?,
            (Values::Int32(values), 0x10) => values.push(i32::from_le_bytes(fixed(value)?)),
            (Values::Int64(values), 0x12) => values.push(i64::from_le_bytes(fixed(value)?)),
            (Values::Int64(values), 0x10) => {
                values.push(i64::from(i32::from_le_bytes(fixed(value)?)));
            }
            (Values::Double(values), 0x01) => values.push(f64::from_le_bytes(fixed(value)?)),
            (Values::Double(values), 0x10) => {
                values.push(f64::from(i32::from_le_bytes(fixed(value)?)));
            }
            (Values::Double(values), 0x12) => {
                let number = i64::from_le_bytes(fixed(value)?);
                if !(-EXACT_IN_DOUBLE..=EXACT_IN_DOUBLE).contains(&number) {
                    return Err(Fault::unfit(Kind::Int64));
                }
                values.push(number as f64);
            }
            (Values::Bool(values), 0x08) => values.append(element::boolean(value)?),
            (Values::Date(values), 0x09) => values.push(i64::from_le_bytes(fixed(value)?)),
            (Values::Fixed(12, bytes), 0x07) => bytes.extend_from_slice(value),
            (Values::Fixed(16, bytes), 0x05) => match element::binary(value)? {
                (4, uuid) if uuid.len() == 16 => bytes.extend_from_slice(uuid),
                _ => return Err(Fault::unfit(element::kind(code, value))),
            },
            (Values::Binary(subtype, runs), 0x05) => match element::binary(value)? {
                (found, bytes) if found == *subtype => runs.push(bytes)?,
                _ => return Err(Fault::unfit(element::kind(code, value))),
            },
            (
                Values::Decimal {
                    precision,
                    scale,
                    values,
                },
                0x10 | 0x12 | 0x13,
            ) => {
                let found = scaled(code, value, *precision, *scale)?;
                values.push(found.ok_or_else(|| Fault::unfit(element::kind(code, value)))?);
            }
            (Values::Text(Text::Decimal, runs), 0x10 | 0x12 | 0x13) => {
                runs.push(number_text(code, value)?.as_bytes())?;
            }
            (Values::Text(text @ (Text::Json | Text::Plain), runs), code) => {
                let form = if *text == Text::Json {
                    Form::Canonical
                } else {
                    Form::Relaxed
                };
                let mut json = String::new();
                json::write(&mut json, code, value, form, 0)?;
                runs.push(json.as_bytes())?;
            }
            (Values::Timestamp(times, increments), 0x11) => {
                let bits = u64::from_le_bytes(fixed(value)?);
                times.push((bits >> 32) as u32);
                increments.push(bits as u32);
            }
            (Values::Regex(patterns, options), 0x0b) => {
                let (pattern, option) = element::regex(value)?;
                patterns.push(pattern)?;
                options.push(option)?;
            }
            (Values::Pointer(namespaces, ids), 0x0c) => {
                let (namespace, id) = element::pointer(value)?;
                namespaces.push(namespace)?;
                ids.extend_from_slice(id);
            }
            (Values::Struct(fields), 0x03) => fields.append(value, row)?,
            (Values::List(offsets, items), 0x04) => {
                let mut rest = element::body(value)?;
                while let Some(item) = element::next(&mut rest)? {
                    items
                        .append(item.code, item.value)
                        .map_err(|fault| fault.within(item.name))?;
                }
                offsets.push(end_of(items.nulls.len())?);
            }
            (Values::Map(offsets, names, items), 0x03) => {
                let mut rest = element::body(value)?;
                let mut known = std::collections::HashSet::new();
                while let Some(entry) = element::next(&mut rest)? {
                    if !known.insert(entry.name) {
                        return Err(Fault::broken("the name comes twice").within(entry.name));
                    }
                    names.push(entry.name)?;
                    items
                        .append(entry.code, entry.value)
                        .map_err(|fault| fault.within(entry.name))?;
                }
                offsets.push(end_of(items.nulls.len())?);
            }
            _ => return Err(Fault::unfit(element::kind(code, value))),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    fn append_null(&mut self) -> Walked<()> {
        match &mut self.values {
            Values::Null => {}
            Values::Bool(values) => values.append(false),
            Values::Int32(values) => values.push(0),
            Values::Int64(values) | Values::Date(values) => values.push(0),
            Values::Double(values) => values.push(0.0),
            Values::Decimal { values, .. } => values.push(i256::ZERO),
            Values::Text(_, runs) | Values::Binary(_, runs) => runs.end()?,
            Values::Fixed(width, bytes) => bytes.resize(bytes.len() + *width, 0),
            Values::Timestamp(times, increments) => {
                times.push(0);
                increments.push(0);
            }
            Values::Regex(one, other) => {
                one.end()?;
                other.end()?;
            }
            Values::Pointer(namespaces, ids) => {
                namespaces.end()?;
                ids.resize(ids.len() + 12, 0);
            }
            Values::Struct(fields) => fields.append_nulls()?,
            Values::List(offsets, items) | Values::Map(offsets, _, items) => {
                offsets.push(end_of(items.nulls.len())?);
            }
        }
        self.nulls.append_null();
        Ok(())
    }

    /// The array; the column is empty again.
    fn finish(&mut self) -> Walked<ArrayRef> {
        let rows = self.nulls.len();
        let nulls = self.nulls.finish();
        Ok(match &mut self.values {
            Values::Null => Arc::new(NullArray::new(rows)),
            Values::Bool(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Int32(values) => primitive::<Int32Type>(values, nulls),
            Values::Int64(values) => primitive::<Int64Type>(values, nulls),
            Values::Double(values) => primitive::<Float64Type>(values, nulls),
            Values::Date(values) => {
                let values = std::mem::take(values);
                let array = PrimitiveArray::<TimestampMillisecondType>::new(values.into(), nulls);
                Arc::new(array.with_timezone("UTC"))
            }
            Values::Decimal {
                precision,
                scale,
                values,
            } => decimals(std::mem::take(values), (*precision, *scale), nulls),
            Values::Text(_, runs) => runs.strings(nulls)?,
            Values::Binary(_, runs) => runs.binaries(nulls),
            Values::Fixed(width, bytes) => fixed_size(*width, bytes, nulls),
            Values::Timestamp(times, increments) => {
                let columns = vec![
                    primitive::<UInt32Type>(times, None),
                    primitive::<UInt32Type>(increments, None),
                ];
                Arc::new(StructArray::new(shape::timestamp_fields(), columns, nulls))
            }
            Values::Regex(patterns, options) => {
                let columns = vec![patterns.strings(None)?, options.strings(None)?];
                Arc::new(StructArray::new(shape::regex_fields(), columns, nulls))
            }
            Values::Pointer(namespaces, ids) => {
                let columns = vec![namespaces.strings(None)?, fixed_size(12, ids, None)];
                Arc::new(StructArray::new(shape::pointer_fields(), columns, nulls))
            }
            Values::Struct(fields) => {
                let columns = fields.finish()?;
                let Shape::Struct(shapes) = &self.shape else {
                    return Err(Fault::broken("internal error: a struct of another shape"));
                };
                let array =
                    StructArray::try_new_with_length(shape::fields(shapes), columns, nulls, rows);
                Arc::new(array.map_err(internal)?)
            }
            Values::List(offsets, items) => {
                let offsets = OffsetBuffer::new(std::mem::replace(offsets, vec![0]).into());
                let field = shape::item(&items.shape);
                let array = ListArray::try_new(field, offsets, items.finish()?, nulls);
                Arc::new(array.map_err(internal)?)
            }
            Values::Map(offsets, names, items) => {
                let offsets = OffsetBuffer::new(std::mem::replace(offsets, vec![0]).into());
                let field = shape::entries(&items.shape);
                let DataType::Struct(fields) = field.data_type() else {
                    return Err(Fault::broken("internal error: entries of another type"));
                };
                let columns = vec![names.strings(None)?, items.finish()?];
                let entries = StructArray::try_new(fields.clone(), columns, None);
                let entries = entries.map_err(internal)?;
                let array = MapArray::try_new(field, offsets, entries, nulls, false);
                Arc::new(array.map_err(internal)?)
            }
        })
    }
}

fn internal(error: arrow_schema::ArrowError) -> Box<Fault> {
    Fault::broken(format!("internal error: {error}"))
}

fn primitive<T: arrow_array::types::ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let values = std::mem::take(values);
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls))
}

fn fixed_size(width: usize, bytes: &mut Vec<u8>, nulls: Option<NullBuffer>) -> ArrayRef {
    let bytes = std::mem::take(bytes);
    Arc::new(FixedSizeBinaryArray::new(width as i32, bytes.into(), nulls))
}

fn decimals(
    values: Vec<i256>,
    (precision, scale): (u8, i8),
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let kind = |precision, scale| DataType::Decimal128(precision, scale);
    if precision > 38 {
        let array = PrimitiveArray::<Decimal256Type>::new(values.into(), nulls);
        return Arc::new(array.with_data_type(DataType::Decimal256(precision, scale)));
    }
    // `scaled` keeps to the precision, so that the upper half only repeats the sign.
    let values: Vec<i128> = values.into_iter().map(i256::as_i128).collect();
    let array = PrimitiveArray::<Decimal128Type>::new(values.into(), nulls);
    Arc::new(array.with_data_type(kind(precision, scale)))
}

/// A number as a whole multiple of `10^-scale`, if that is exact.
fn scaled(code: u8, value: &[u8], precision: u8, scale: i8) -> Walked<Option<i256>> {
    let number = match code {
        0x10 => i128::from(i32::from_le_bytes(fixed(value)?)),
        0x12 => i128::from(i64::from_le_bytes(fixed(value)?)),
        _ => {
            let finite = decimal::finite(fixed(value)?);
            return Ok(finite.and_then(|finite| finite.scaled(scale, precision)));
        }
    };
    let digits = number
        .unsigned_abs()
        .checked_ilog10()
        .map_or(0, |log| log + 1);
    let shift = u32::from(scale.unsigned_abs());
    if digits + shift > u32::from(precision) && number != 0 {
        return Ok(None);
    }
    let factor = i256::from_i128(10).checked_pow(shift);
    Ok(factor.and_then(|factor| i256::from_i128(number).checked_mul(factor)))
}

fn number_text(code: u8, value: &[u8]) -> Walked<String> {
    Ok(match code {
        0x10 => i32::from_le_bytes(fixed(value)?).to_string(),
        0x12 => i64::from_le_bytes(fixed(value)?).to_string(),
        _ => bson::Decimal128::from_bytes(fixed(value)?).to_string(),
    })
}

/// Turns documents into batches of one schema.
#[derive(Debug)]
pub(crate) struct Walker {
    schema: SchemaRef,
    fields: Fields,
    rows: usize,
}

impl Walker {
    /// For these columns; `closed` leaves fields out that have none.
    pub(crate) fn new(columns: &[(String, Shape)], closed: bool) -> Self {
        Self {
            schema: Arc::new(shape::schema(columns)),
            fields: Fields::new(columns, closed),
            rows: 0,
        }
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Appends a document. After an error the walker is of no use any more.
    pub(crate) fn append(&mut self, document: &[u8]) -> Walked<()> {
        self.fields.append(document, self.rows)?;
        self.rows += 1;
        Ok(())
    }

    /// The batch of the documents since the last one.
    pub(crate) fn finish(&mut self) -> Walked<RecordBatch> {
        let rows = std::mem::take(&mut self.rows);
        let columns = self.fields.finish()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(internal)
    }
}
