//! Reads hashes back by the `redis` crate, and turns their text into Arrow by `arrow-cast`: neither is the loader's code.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::types::IntervalMonthDayNano;
use arrow_array::{
    Array, ArrayRef, IntervalMonthDayNanoArray, ListArray, MapArray, RecordBatch,
    RecordBatchOptions, StringArray, StructArray, UnionArray, new_null_array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_cast::{CastOptions, cast, cast_with_options};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, Field, Schema};
use redis::aio::MultiplexedConnection;
use serde_json::Value;

type Hash = std::collections::HashMap<String, Vec<u8>>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub(crate) async fn connect(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).expect("a URL");
    let config = redis::AsyncConnectionConfig::new()
        .set_response_timeout(Some(std::time::Duration::from_secs(60)));
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .expect("a connection")
}

/// Everything under a target, as its record says that it is.
pub(crate) async fn read(
    connection: &mut MultiplexedConnection,
    target: &str,
) -> Result<Option<RecordBatch>, String> {
    let own = target
        .replace('%', "%25")
        .replace('{', "%7B")
        .replace('}', "%7D");
    let record: Hash = redis::cmd("HGETALL")
        .arg(format!("arrowload:{{{own}}}:target"))
        .query_async(connection)
        .await
        .map_err(text)?;
    let glob: String = target
        .chars()
        .flat_map(|letter| {
            if "*?[]\\^".contains(letter) {
                vec!['\\', letter]
            } else {
                vec![letter]
            }
        })
        .collect();
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS")
        .arg(format!("{glob}:*"))
        .query_async(connection)
        .await
        .map_err(text)?;
    let Some(schema) = record.get("arrow_schema") else {
        return if keys.is_empty() {
            Ok(None)
        } else {
            Err(format!("there are {} keys and no record", keys.len()))
        };
    };
    let schema = StreamReader::try_new(schema.as_slice(), None)
        .map_err(text)?
        .schema();
    let mut rows: Vec<Hash> = Vec::with_capacity(keys.len());
    for some in keys.chunks(20_000) {
        let mut pipeline = redis::pipe();
        for key in some {
            pipeline.cmd("HGETALL").arg(key);
        }
        rows.extend(
            pipeline
                .query_async::<Vec<Hash>>(connection)
                .await
                .map_err(text)?,
        );
    }
    if keys.len() > 100_000 {
        // The million are read once; the server need not look through them ever after.
        let _: () = redis::cmd("FLUSHDB")
            .query_async(connection)
            .await
            .map_err(text)?;
    }
    let columns = schema
        .fields()
        .iter()
        .map(|field| column(field, &rows))
        .collect::<Result<Vec<_>, _>>()?;
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, array)| Field::new(field.name(), array.data_type().clone(), true))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map(Some)
        .map_err(text)
}

fn column(field: &Field, rows: &[Hash]) -> Result<ArrayRef, String> {
    let values = || rows.iter().map(|row| row.get(field.name()));
    let mut strings = StringBuilder::new();
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let mut kind = field.data_type();
    while let DataType::Dictionary(_, inner) = kind {
        kind = inner;
    }
    if let DataType::RunEndEncoded(_, inner) = kind {
        kind = inner.data_type();
    }
    match kind {
        DataType::Null => return Ok(new_null_array(&DataType::Null, rows.len())),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => {
            let mut bytes = BinaryBuilder::new();
            values().for_each(|value| bytes.append_option(value));
            return Ok(Arc::new(bytes.finish()));
        }
        _ => {}
    }
    for value in values() {
        strings.append_option(
            value
                .map(|value| std::str::from_utf8(value))
                .transpose()
                .map_err(text)?,
        );
    }
    let strings: ArrayRef = Arc::new(strings.finish());
    match kind {
        DataType::Duration(_) => cast(
            &cast_with_options(&strings, &DataType::Int64, &strict).map_err(text)?,
            kind,
        )
        .map_err(text),
        DataType::Interval(_) => intervals(&strings),
        DataType::Decimal128(_, scale)
        | DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal256(_, scale) => cast_with_options(
            &strings,
            &DataType::Decimal256(76, (*scale).max(0)),
            &strict,
        )
        .map_err(text),
        kind if kind.is_nested() => {
            let parse = |value: Option<&str>| {
                let json = value.map(serde_json::from_str::<Value>);
                Ok::<_, String>(json.transpose().map_err(text)?.unwrap_or(Value::Null))
            };
            let rows = strings.as_any().downcast_ref::<StringArray>();
            let rows = rows.ok_or("no text")?.iter().map(parse);
            json(kind, &rows.collect::<Result<Vec<_>, _>>()?)
        }
        kind => cast_with_options(&strings, kind, &strict).map_err(text),
    }
}

/// JSON as an array of a type. Lists are of one kind, whatever kind of list they were.
fn json(kind: &DataType, values: &[Value]) -> Result<ArrayRef, String> {
    let nulls = NullBuffer::from_iter(values.iter().map(|value| !value.is_null()));
    let list = |items: Vec<&[Value]>, item: &Field| {
        let offsets = OffsetBuffer::from_lengths(items.iter().map(|items| items.len()));
        let array = json(item.data_type(), &items.concat())?;
        let item = Arc::new(Field::new("item", array.data_type().clone(), true));
        let list = ListArray::try_new(item, offsets, array, Some(nulls.clone())).map_err(text)?;
        Ok(Arc::new(list) as ArrayRef)
    };
    let members = |name: &str| -> Vec<Value> {
        let member = |value: &Value| value.get(name).cloned().unwrap_or_default();
        values.iter().map(member).collect()
    };
    match kind {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => {
            let items = values.iter().map(|value| match value {
                Value::Array(items) => Ok(items.as_slice()),
                Value::Null => Ok(&[][..]),
                other => Err(format!("{other} is not a list")),
            });
            list(items.collect::<Result<_, _>>()?, item)
        }
        DataType::Struct(fields) => {
            let column = |field: &Arc<Field>| {
                let array = json(field.data_type(), &members(field.name()))?;
                Ok((
                    Arc::new(Field::new(field.name(), array.data_type().clone(), true)),
                    array,
                ))
            };
            let columns = fields.iter().map(column);
            let (fields, arrays): (Vec<_>, Vec<_>) = columns
                .collect::<Result<Vec<_>, String>>()?
                .into_iter()
                .unzip();
            let array = StructArray::try_new(fields.into(), arrays, Some(nulls));
            Ok(Arc::new(array.map_err(text)?))
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return Err("a map has no entries".into());
            };
            let objects = values
                .iter()
                .map(|value| value.as_object().cloned().unwrap_or_default());
            let objects: Vec<_> = objects.collect();
            let offsets = OffsetBuffer::from_lengths(objects.iter().map(|object| object.len()));
            let (keys, items): (Vec<Value>, Vec<Value>) = objects
                .into_iter()
                .flatten()
                .map(|(key, item)| (Value::String(key), item))
                .unzip();
            let columns = vec![
                json(fields[0].data_type(), &keys)?,
                json(fields[1].data_type(), &items)?,
            ];
            let entries = StructArray::try_new(fields.clone(), columns, None).map_err(text)?;
            let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
            let map = MapArray::try_new(field, offsets, entries, Some(nulls), false);
            Ok(Arc::new(map.map_err(text)?))
        }
        DataType::Union(fields, _) => {
            let id = |value: &Value| {
                let mut ids = fields.iter();
                let id = ids.find(|(_, field)| value.get(field.name()).is_some());
                id.map(|(id, _)| id).ok_or(format!("{value} is no union"))
            };
            let ids = values.iter().map(id).collect::<Result<Vec<_>, _>>()?;
            let column =
                |(_, field): (i8, &Arc<Field>)| json(field.data_type(), &members(field.name()));
            let columns = fields.iter().map(column).collect::<Result<_, _>>()?;
            let union = UnionArray::try_new(fields.clone(), ids.into(), None, columns);
            Ok(Arc::new(union.map_err(text)?))
        }
        plain => {
            let texts = values.iter().map(|value| match value {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            });
            let texts: StringArray = texts.collect();
            cast(&texts, plain).map_err(text)
        }
    }
}

/// `P1M-2DT0.000000003S`
fn intervals(strings: &ArrayRef) -> Result<ArrayRef, String> {
    let strings = strings
        .as_any()
        .downcast_ref::<StringArray>()
        .ok_or("no text")?;
    let parse = |text: &str| -> Option<IntervalMonthDayNano> {
        let text = text.strip_prefix('P')?;
        let (date, time) = text.split_once('T').unwrap_or((text, "0S"));
        let (months, rest) = date.split_once('M').unwrap_or(("0", date));
        let days = rest.strip_suffix('D').unwrap_or("0");
        let (seconds, part) = time
            .strip_suffix('S')?
            .split_once('.')
            .unwrap_or((time.strip_suffix('S')?, "0"));
        let sign = if seconds.starts_with('-') { -1 } else { 1 };
        let part: i64 = format!("{part:0<9}").parse().ok()?;
        let seconds: i64 = seconds.parse().ok()?;
        Some(IntervalMonthDayNano::new(
            months.parse().ok()?,
            days.parse().ok()?,
            seconds * 1_000_000_000 + sign * part,
        ))
    };
    let parsed = strings.iter().map(|value| {
        value
            .map(|text| parse(text).ok_or(format!("{text} is no interval")))
            .transpose()
    });
    Ok(Arc::new(
        parsed.collect::<Result<IntervalMonthDayNanoArray, _>>()?,
    ))
}
