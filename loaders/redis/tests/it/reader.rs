//! Reads hashes back by the `redis` crate, and turns their text into Arrow by `arrow-cast`: neither is the loader's code.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::types::IntervalMonthDayNano;
use arrow_array::{
    ArrayRef, IntervalMonthDayNanoArray, RecordBatch, RecordBatchOptions, StringArray,
    new_null_array,
};
use arrow_cast::{CastOptions, cast, cast_with_options};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, Field, Schema};
use redis::aio::MultiplexedConnection;

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
        kind if kind.is_nested() => Ok(strings),
        kind => cast_with_options(&strings, kind, &strict).map_err(text),
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
