//! Reads collections back as Arrow, by the `bson` crate and the recorded columns: neither the encoder nor the walker is used.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date64Array, Float64Array, Int32Array, Int64Array,
    ListArray, MapArray, RecordBatch, RecordBatchOptions, StringArray, StructArray,
    TimestampMillisecondArray, new_null_array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, Field, Schema};
use bson::{Bson, Document, doc};
use futures::TryStreamExt;
use mongodb::Database;

type Value<'a> = Option<&'a Bson>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn all(database: &Database, collection: &str) -> Result<Vec<Document>, String> {
    let collection = database.collection::<Document>(collection);
    let mut cursor = collection.find(doc! {}).batch().await.map_err(text)?;
    let mut found = Vec::new();
    while let Some(reply) = cursor.try_next().await.map_err(text)? {
        for document in reply.doc_slices().map_err(text)? {
            let document = document.map_err(text)?;
            let document = document.as_document().ok_or("no document")?;
            found.push(Document::try_from(document).map_err(text)?);
        }
    }
    Ok(found)
}

/// The columns that are recorded for a collection.
async fn columns(
    database: &Database,
    target: &str,
    uuid: Option<&Bson>,
) -> Result<Arc<Schema>, String> {
    let records = all(database, "_arrowload").await?;
    let is_it = |record: &&Document, by_uuid: bool| {
        let Ok(key) = record.get_document("_id") else {
            return false;
        };
        let same = match key.get("uuid") {
            known @ Some(_) => by_uuid && known == uuid,
            None => !by_uuid && key.get_str("target").is_ok_and(|name| name == target),
        };
        key.get_str("kind").is_ok_and(|kind| kind == "columns") && same
    };
    let found = records
        .iter()
        .find(|record| is_it(record, true))
        .or_else(|| records.iter().find(|record| is_it(record, false)));
    let found = found.ok_or_else(|| format!("`{target}` has no recorded columns"))?;
    let bytes = found.get_binary_generic("schema").expect("a schema");
    let reader = StreamReader::try_new(bytes.as_slice(), None);
    Ok(reader.map_err(text)?.schema())
}

/// Everything in a collection; `None` if there is none.
pub(crate) async fn read(database: &Database, target: &str) -> Result<Option<RecordBatch>, String> {
    let list = doc! { "listCollections": 1, "filter": { "name": target } };
    let found = database.run_cursor_command(list).await.map_err(text)?;
    let found: Vec<Document> = found.try_collect().await.map_err(text)?;
    let Some(entry) = found.first() else {
        return Ok(None);
    };
    let uuid = entry
        .get_document("info")
        .ok()
        .and_then(|info| info.get("uuid"));
    let documents = all(database, target).await?;
    let schema = columns(database, target, uuid).await?;
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for field in schema.fields() {
        let values: Vec<Value<'_>> = documents
            .iter()
            .map(|each| each.get(field.name()))
            .collect();
        let array = column(field.data_type(), &values)
            .map_err(|why| format!("column `{}`: {why}", field.name()))?;
        fields.push(Field::new(field.name(), array.data_type().clone(), true));
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(documents.len()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map(Some)
        .map_err(|error| error.to_string())
}

/// The values by `take`; nulls and missing fields are null.
fn each<T>(
    values: &[Value<'_>],
    take: impl Fn(&Bson) -> Option<T>,
) -> Result<Vec<Option<T>>, String> {
    let value = |value: &Value<'_>| match value {
        None | Some(Bson::Null) => Ok(None),
        Some(value) => take(value)
            .map(Some)
            .ok_or_else(|| format!("holds {value:?}")),
    };
    values.iter().map(value).collect()
}

fn whole(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(value) => Some(i64::from(*value)),
        Bson::Int64(value) => Some(*value),
        _ => None,
    }
}

fn millis(value: &Bson) -> Option<i64> {
    match value {
        Bson::DateTime(value) => Some(value.timestamp_millis()),
        _ => None,
    }
}

/// Digits without an exponent.
fn digits(value: &Bson) -> Option<String> {
    let Bson::Decimal128(value) = value else {
        return None;
    };
    let text = value.to_string();
    let Some((mantissa, exponent)) = text.split_once('E') else {
        return Some(text);
    };
    let (sign, mantissa) = mantissa
        .strip_prefix('-')
        .map_or(("", mantissa), |rest| ("-", rest));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let point = whole.len() as i64 + exponent.parse::<i64>().ok()?;
    let all = format!("{whole}{part}");
    let text = if point <= 0 {
        format!("0.{}{all}", "0".repeat(point.unsigned_abs() as usize))
    } else if (point as usize) < all.len() {
        format!("{}.{}", &all[..point as usize], &all[point as usize..])
    } else {
        format!("{all}{}", "0".repeat(point as usize - all.len()))
    };
    Some(format!("{sign}{text}"))
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, String> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, to, &strict).map_err(|error| error.to_string())
}

fn column(kind: &DataType, values: &[Value<'_>]) -> Result<ArrayRef, String> {
    use DataType as T;
    let nulls = NullBuffer::from_iter(
        values
            .iter()
            .map(|value| !matches!(value, None | Some(Bson::Null))),
    );
    let scaled = |scale: i8| -> Result<ArrayRef, String> {
        let texts: ArrayRef = Arc::new(StringArray::from(each(values, digits)?));
        cast(&texts, &T::Decimal256(76, scale.max(0)))
    };
    Ok(match kind {
        T::Null => {
            each(values, |_| None::<()>)?;
            new_null_array(&T::Null, values.len())
        }
        T::Boolean => Arc::new(BooleanArray::from(each(values, Bson::as_bool)?)),
        T::UInt64 => scaled(0)?,
        kind if kind.is_integer() => Arc::new(Int64Array::from(each(values, whole)?)),
        kind if kind.is_floating() => Arc::new(Float64Array::from(each(values, Bson::as_f64)?)),
        T::Decimal32(_, scale)
        | T::Decimal64(_, scale)
        | T::Decimal128(_, scale)
        | T::Decimal256(_, scale) => scaled(*scale)?,
        T::Utf8 | T::LargeUtf8 | T::Utf8View => {
            let texts = each(values, |value| value.as_str().map(str::to_owned))?;
            Arc::new(StringArray::from(texts))
        }
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => {
            let bytes = each(values, |value| match value {
                Bson::Binary(binary) => Some(binary.bytes.clone()),
                Bson::ObjectId(id) => Some(id.bytes().to_vec()),
                _ => None,
            })?;
            Arc::new(bytes.iter().map(Option::as_deref).collect::<BinaryArray>())
        }
        T::Date32 | T::Date64 => Arc::new(Date64Array::from(each(values, millis)?)),
        T::Timestamp(_, zone) => Arc::new(
            TimestampMillisecondArray::from(each(values, millis)?).with_timezone_opt(zone.clone()),
        ),
        T::Time32(_) => {
            let numbers = each(values, |value| whole(value).map(|number| number as i32))?;
            cast(&(Arc::new(Int32Array::from(numbers)) as ArrayRef), kind)?
        }
        T::Time64(_) | T::Duration(_) => {
            let numbers = Int64Array::from(each(values, whole)?);
            cast(&(Arc::new(numbers) as ArrayRef), kind)?
        }
        T::Dictionary(_, inner) => column(inner, values)?,
        T::RunEndEncoded(_, inner) => column(inner.data_type(), values)?,
        T::List(item)
        | T::LargeList(item)
        | T::ListView(item)
        | T::LargeListView(item)
        | T::FixedSizeList(item, _) => {
            let lists = each(values, |value| value.as_array().cloned())?;
            let lists: Vec<Vec<Bson>> = lists.into_iter().map(Option::unwrap_or_default).collect();
            let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
            let items: Vec<Value<'_>> = lists.iter().flatten().map(Some).collect();
            let array = column(item.data_type(), &items)?;
            let field = Arc::new(Field::new("item", array.data_type().clone(), true));
            let list = ListArray::try_new(field, offsets, array, Some(nulls));
            Arc::new(list.map_err(|error| error.to_string())?)
        }
        T::Struct(fields) => {
            each(values, |value| value.as_document().map(|_| ()))?;
            let document = |value: &Value<'_>| value.and_then(Bson::as_document).cloned();
            let documents: Vec<Document> = values
                .iter()
                .map(|value| document(value).unwrap_or_default())
                .collect();
            let (mut parts, mut arrays) = (Vec::new(), Vec::new());
            for field in fields {
                let values: Vec<Value<'_>> = documents
                    .iter()
                    .map(|each| each.get(field.name()))
                    .collect();
                let array = column(field.data_type(), &values)?;
                parts.push(Field::new(field.name(), array.data_type().clone(), true));
                arrays.push(array);
            }
            let array = StructArray::try_new(parts.into(), arrays, Some(nulls));
            Arc::new(array.map_err(|error| error.to_string())?)
        }
        T::Map(entries, _) => {
            let T::Struct(fields) = entries.data_type() else {
                return Err("a map has no entries".into());
            };
            let documents = each(values, |value| value.as_document().cloned())?;
            let documents: Vec<Document> = documents
                .into_iter()
                .map(Option::unwrap_or_default)
                .collect();
            let offsets = OffsetBuffer::from_lengths(documents.iter().map(Document::len));
            let names: StringArray = documents
                .iter()
                .flat_map(Document::keys)
                .map(Some)
                .collect();
            let items: Vec<Value<'_>> = documents
                .iter()
                .flat_map(Document::values)
                .map(Some)
                .collect();
            let items = column(fields[1].data_type(), &items)?;
            let parts = vec![
                Field::new("keys", T::Utf8, false),
                Field::new("values", items.data_type().clone(), true),
            ];
            let entries = StructArray::try_new(parts.into(), vec![Arc::new(names), items], None);
            let entries = entries.map_err(|error| error.to_string())?;
            let field = Field::new("entries", entries.data_type().clone(), false);
            let map = MapArray::try_new(Arc::new(field), offsets, entries, Some(nulls), false);
            let map = map.map_err(|error| error.to_string())?;
            assert!((&map as &dyn Array).as_map_opt().is_some());
            Arc::new(map)
        }
        other => return Err(format!("the reader does not know {other}")),
    })
}
