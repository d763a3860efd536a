//! Reads a table back as Arrow, by way of the server's own text, and with nothing of the loader's code.

use std::sync::Arc;

use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::{IntervalMonthDayNano, i256};
use arrow_schema::{DataType, Field, Schema};
use tokio_postgres::{Client, SimpleQueryMessage};

type Texts = Vec<Option<String>>;

/// The table's rows, or `None` if there is no such table in the schema `public`.
pub(crate) async fn read(client: &Client, table: &str) -> Result<Option<RecordBatch>, String> {
    let text = |error: tokio_postgres::Error| format!("{error:?}");
    let columns = client
        .query(
            "SELECT a.attname::text, t.typname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t \
             ON t.oid = a.atttypid WHERE c.relname = $1 AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 \
             AND NOT a.attisdropped ORDER BY a.attnum",
            &[&table],
        )
        .await
        .map_err(text)?;
    if columns.is_empty() {
        return Ok(None);
    }
    let columns: Vec<(String, String)> =
        columns.iter().map(|row| (row.get(0), row.get(1))).collect();
    let list: Vec<String> = columns
        .iter()
        .map(|(name, kind)| expression(&format!("\"{}\"", name.replace('"', "\"\"")), kind))
        .collect();
    let sql = format!(
        "SELECT {} FROM public.\"{}\"",
        list.join(", "),
        table.replace('"', "\"\"")
    );
    client
        .batch_execute("SET timezone = 'UTC'")
        .await
        .map_err(text)?;
    let mut values: Vec<Texts> = vec![Vec::new(); columns.len()];
    for message in client.simple_query(&sql).await.map_err(text)? {
        if let SimpleQueryMessage::Row(row) = message {
            for (index, column) in values.iter_mut().enumerate() {
                column.push(row.get(index).map(str::to_owned));
            }
        }
    }
    let arrays: Vec<ArrayRef> = columns
        .iter()
        .zip(values)
        .map(|((_, kind), values)| array(kind, values))
        .collect();
    let fields: Vec<Field> = columns
        .iter()
        .zip(&arrays)
        .map(|((name, _), array)| Field::new(name, array.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map(Some)
        .map_err(|error| error.to_string())
}

/// What is asked for, so that the text is a number where the type counts something.
fn expression(column: &str, kind: &str) -> String {
    match kind {
        "date" => format!("{column} - DATE '1970-01-01'"),
        "time" | "timestamp" | "timestamptz" => {
            format!("(extract(epoch FROM {column}) * 1000000)::numeric(30)")
        }
        "interval" => format!(
            "extract(year FROM {column}) * 12 + extract(month FROM {column}) || ' ' || extract(day FROM {column}) || ' ' || \
             ((extract(hour FROM {column}) * 3600 + extract(minute FROM {column}) * 60 + extract(second FROM {column})) * 1000000)::numeric(30)"
        ),
        _ => column.to_owned(),
    }
}

fn parse<T: std::str::FromStr>(values: &Texts) -> impl Iterator<Item = Option<T>> {
    values.iter().map(|value| {
        value.as_ref().map(|text| {
            text.parse()
                .unwrap_or_else(|_| panic!("`{text}` is malformed"))
        })
    })
}

fn array(kind: &str, values: Texts) -> ArrayRef {
    match kind {
        "bool" => Arc::new(BooleanArray::from_iter(
            values
                .iter()
                .map(|value| value.as_ref().map(|text| text == "t")),
        )),
        "int2" | "int4" | "int8" => Arc::new(Int64Array::from_iter(parse::<i64>(&values))),
        "float4" => Arc::new(Float32Array::from_iter(parse::<f32>(&values))),
        "float8" => Arc::new(Float64Array::from_iter(parse::<f64>(&values))),
        "numeric" => numeric(&values),
        "bytea" => {
            let bytes: Vec<Option<Vec<u8>>> = values
                .iter()
                .map(|value| value.as_ref().map(|text| unhex(&text[2..])))
                .collect();
            Arc::new(BinaryArray::from_iter(bytes))
        }
        "uuid" => {
            let bytes: Vec<Option<Vec<u8>>> = values
                .iter()
                .map(|value| value.as_ref().map(|text| unhex(&text.replace('-', ""))))
                .collect();
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes.into_iter(), 16)
                    .expect("16 bytes"),
            )
        }
        "date" => Arc::new(Date32Array::from_iter(parse::<i32>(&values))),
        "time" => Arc::new(Time64MicrosecondArray::from_iter(parse::<i64>(&values))),
        "timestamp" => Arc::new(TimestampMicrosecondArray::from_iter(parse::<i64>(&values))),
        "timestamptz" => Arc::new(
            TimestampMicrosecondArray::from_iter(parse::<i64>(&values)).with_timezone("UTC"),
        ),
        "interval" => interval(&values),
        "_int4" => list::<Int32Type>(&values),
        "_float4" => list::<Float32Type>(&values),
        "_text" => text_list(&values),
        _ => Arc::new(StringArray::from_iter(values)),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

/// Digits with the scale that all values fit in.
fn numeric(values: &Texts) -> ArrayRef {
    let scale_of = |text: &String| text.split_once('.').map_or(0, |(_, digits)| digits.len());
    let scale = values.iter().flatten().map(scale_of).max().unwrap_or(0);
    let digits = |text: &String| {
        let padded = format!(
            "{}{}",
            text.replace('.', ""),
            "0".repeat(scale - scale_of(text))
        );
        i256::from_string(&padded).expect("digits")
    };
    let array = Decimal256Array::from_iter(values.iter().map(|value| value.as_ref().map(digits)));
    Arc::new(
        array
            .with_precision_and_scale(76, scale as i8)
            .expect("a scale"),
    )
}

/// Intervals of nothing but time are durations: which of the two it was, the server does not say.
fn interval(values: &Texts) -> ArrayRef {
    let parts = |text: &String| {
        let parts: Vec<i64> = text
            .split(' ')
            .map(|part| part.parse().expect("a number"))
            .collect();
        IntervalMonthDayNano::new(parts[0] as i32, parts[1] as i32, parts[2] * 1_000)
    };
    let values: Vec<Option<IntervalMonthDayNano>> = values
        .iter()
        .map(|value| value.as_ref().map(parts))
        .collect();
    if values
        .iter()
        .flatten()
        .all(|value| value.months == 0 && value.days == 0)
    {
        return Arc::new(DurationMicrosecondArray::from_iter(
            values
                .iter()
                .map(|value| value.map(|value| value.nanoseconds / 1_000)),
        ));
    }
    Arc::new(IntervalMonthDayNanoArray::from(values))
}

fn items(text: &str) -> Vec<Option<String>> {
    let inner = &text[1..text.len() - 1];
    if inner.is_empty() {
        return Vec::new();
    }
    inner
        .split(',')
        .map(|item| (item != "NULL").then(|| item.trim_matches('"').to_owned()))
        .collect()
}

fn list<T: ArrowPrimitiveType>(values: &Texts) -> ArrayRef
where
    T::Native: std::str::FromStr,
{
    let rows = values.iter().map(|value| {
        value.as_ref().map(|text| {
            items(text)
                .into_iter()
                .map(|item| item.and_then(|item| item.parse::<T::Native>().ok()))
                .collect::<Vec<_>>()
        })
    });
    Arc::new(ListArray::from_iter_primitive::<T, _, _>(rows))
}

fn text_list(values: &Texts) -> ArrayRef {
    let mut builder = builder::ListBuilder::new(builder::StringBuilder::new());
    for value in values {
        builder.append_option(value.as_ref().map(|text| items(text)));
    }
    let list = builder.finish();
    assert!(matches!(list.data_type(), DataType::List(_)));
    Arc::new(list)
}
