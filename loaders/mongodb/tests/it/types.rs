//! Arrow values as BSON again, written without the crate's help: what came is compared with what was there.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Decimal256Type, Float64Type, Int32Type, Int64Type, TimestampMillisecondType,
    UInt32Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, TimeUnit};
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document};

fn extension(field: &Field) -> &str {
    field
        .metadata()
        .get("ARROW:extension:name")
        .map_or("", String::as_str)
}

/// One value. Decimals come back as Decimal128 of the same number, perhaps with other zeros.
pub(crate) fn value(field: &Field, array: &ArrayRef, row: usize) -> Bson {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        return Bson::Null;
    }
    let decimal = |digits: String| digits.parse().map(Bson::Decimal128).expect("a decimal");
    match (extension(field), array.data_type()) {
        ("mongodb.objectid", _) => {
            let bytes = array.as_fixed_size_binary().value(row);
            Bson::ObjectId(bson::oid::ObjectId::from_bytes(
                bytes.try_into().expect("12 bytes"),
            ))
        }
        ("arrow.uuid", _) => Bson::Binary(Binary {
            subtype: BinarySubtype::Uuid,
            bytes: array.as_fixed_size_binary().value(row).to_vec(),
        }),
        (name @ ("mongodb.binary" | ""), DataType::Binary) => {
            let facts = field.metadata().get("ARROW:extension:metadata");
            let subtype = facts.map_or(0, |facts| {
                let facts: serde_json::Value = serde_json::from_str(facts).expect("JSON");
                facts["subtype"].as_u64().expect("a subtype") as u8
            });
            assert_eq!(name.is_empty(), subtype == 0);
            Bson::Binary(Binary {
                subtype: subtype.into(),
                bytes: array.as_binary::<i32>().value(row).to_vec(),
            })
        }
        ("mongodb.code", _) => Bson::JavaScriptCode(array.as_string::<i32>().value(row).to_owned()),
        ("mongodb.symbol", _) => Bson::Symbol(array.as_string::<i32>().value(row).to_owned()),
        ("mongodb.decimal128", _) => decimal(array.as_string::<i32>().value(row).to_owned()),
        ("mongodb.timestamp", _) => {
            let part = |index: usize| {
                array
                    .as_struct()
                    .column(index)
                    .as_primitive::<UInt32Type>()
                    .value(row)
            };
            Bson::Timestamp(bson::Timestamp {
                time: part(0),
                increment: part(1),
            })
        }
        ("mongodb.regex", _) => {
            let part = |index: usize| {
                array
                    .as_struct()
                    .column(index)
                    .as_string::<i32>()
                    .value(row)
                    .to_owned()
            };
            let cstr = |text: String| bson::raw::CString::try_from(text).expect("no zero byte");
            Bson::RegularExpression(bson::Regex {
                pattern: cstr(part(0)),
                options: cstr(part(1)),
            })
        }
        (_, DataType::Boolean) => Bson::Boolean(array.as_boolean().value(row)),
        (_, DataType::Int32) => Bson::Int32(array.as_primitive::<Int32Type>().value(row)),
        (_, DataType::Int64) => Bson::Int64(array.as_primitive::<Int64Type>().value(row)),
        (_, DataType::Float64) => Bson::Double(array.as_primitive::<Float64Type>().value(row)),
        (_, DataType::Decimal128(_, scale)) => {
            let number = array.as_primitive::<Decimal128Type>().value(row);
            decimal(format!("{number}E{}", -scale))
        }
        (_, DataType::Decimal256(_, scale)) => {
            let number = array
                .as_primitive::<Decimal256Type>()
                .value(row)
                .to_string();
            let digits = number.trim_end_matches('0');
            let zeros = (number.len() - digits.len()) as i64;
            let digits = if digits.is_empty() { "0" } else { digits };
            decimal(format!("{digits}E{}", zeros - i64::from(*scale)))
        }
        (_, DataType::Utf8) => Bson::String(array.as_string::<i32>().value(row).to_owned()),
        (_, DataType::Timestamp(TimeUnit::Millisecond, Some(zone))) => {
            assert_eq!(&**zone, "UTC");
            let milliseconds = array.as_primitive::<TimestampMillisecondType>().value(row);
            Bson::DateTime(bson::DateTime::from_millis(milliseconds))
        }
        (name, DataType::Struct(fields)) => {
            let columns = array.as_struct().columns();
            let parts = fields.iter().zip(columns);
            let document: Document = parts
                .map(|(field, column)| (field.name().clone(), value(field, column, row)))
                .collect();
            if name == "mongodb.dbpointer" {
                let id = document.get_object_id("id").expect("an id").to_hex();
                let namespace = document.get_str("namespace").expect("a namespace");
                return serde_json::from_value(serde_json::json!({
                    "$dbPointer": { "$ref": namespace, "$id": { "$oid": id } }
                }))
                .expect("a pointer");
            }
            Bson::Document(document)
        }
        (_, DataType::List(item)) => {
            let items = array.as_list::<i32>().value(row);
            let items = (0..items.len()).map(|index| value(item, &items, index));
            Bson::Array(items.collect())
        }
        (_, DataType::Map(entries, _)) => {
            let DataType::Struct(fields) = entries.data_type() else {
                panic!("entries that are no struct");
            };
            let entries = array.as_map().value(row);
            let entry = |index: usize| {
                let name = entries.column(0).as_string::<i32>().value(index).to_owned();
                (name, value(&fields[1], entries.column(1), index))
            };
            Bson::Document((0..entries.len()).map(entry).collect())
        }
        (name, other) => panic!("{name} of {other}"),
    }
}

/// One row as a document.
pub(crate) fn document(batch: &RecordBatch, row: usize) -> Document {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    columns
        .map(|(field, column)| (field.name().clone(), value(field, column, row)))
        .collect()
}

/// The number that a decimal stands for: sign, digits without zeros at the end, exponent.
fn number(decimal: &bson::Decimal128) -> String {
    let text = decimal.to_string();
    if text.contains(['N', 'I']) {
        return text;
    }
    let (mantissa, exponent) = text.split_once('E').unwrap_or((&text, "0"));
    let (sign, mantissa) = mantissa
        .strip_prefix('-')
        .map_or(("", mantissa), |rest| ("-", rest));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut exponent: i64 = exponent.parse::<i64>().expect("an exponent") - part.len() as i64;
    let digits = format!("{whole}{part}");
    let digits = digits.trim_start_matches('0');
    let stripped = digits.trim_end_matches('0');
    exponent += (digits.len() - stripped.len()) as i64;
    if stripped.is_empty() {
        return format!("{sign}0");
    }
    format!("{sign}{stripped}E{exponent}")
}

/// The letters in order: a regular expression's options mean the same in any.
pub(crate) fn sorted(letters: &str) -> String {
    let mut letters: Vec<char> = letters.chars().collect();
    letters.sort_unstable();
    letters.into_iter().collect()
}

/// Whether two values are the same, bit for bit but for the zeros of decimals.
pub(crate) fn same(one: &Bson, other: &Bson) -> bool {
    match (one, other) {
        (Bson::Double(one), Bson::Double(other)) => one.to_bits() == other.to_bits(),
        (Bson::Decimal128(one), Bson::Decimal128(other)) => number(one) == number(other),
        (Bson::RegularExpression(one), Bson::RegularExpression(other)) => {
            one.pattern == other.pattern
                && sorted(one.options.as_str()) == sorted(other.options.as_str())
        }
        (Bson::Document(one), Bson::Document(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|((name, one), (other_name, other))| {
                        name == other_name && same(one, other)
                    })
        }
        (Bson::Array(one), Bson::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (one, other) => one == other,
    }
}
