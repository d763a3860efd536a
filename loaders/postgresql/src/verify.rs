//! `verify = checksum`: each column's checksum, recomputed from the rows that the table holds, before the commit.
//!
//! Columns are read back and decoded, and must have the same hashes as the load's values. A column that the table stores in
//! another form (a document, an address, a float as a number of digits) cannot be verified in this way; the plan names such
//! columns.

use std::sync::Arc;

use arrow_schema::{DataType, Schema};
use arrowload_core::arrow_types::{decoded, list_item};
use arrowload_core::{Checksums, ColumnChecksum, Error, ErrorKind, Result};
use futures::StreamExt;
use tokio_postgres::Client;

use crate::decode::{ReadType, RowDecoder};
use crate::encode::Conversion;
use crate::error::from_pg;

/// Rows of a batch while it is read back.
const BATCH_ROWS: usize = 1 << 14;

/// A decimal that holds every number of the type; `None` for floats.
fn decimal(data_type: &DataType) -> Option<ReadType> {
    let (precision, scale) = match data_type {
        integer if integer.is_integer() => (20, 0),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => (*p, *s),
        _ => return None,
    };
    let digits = i32::from(precision) - i32::from(scale).min(0);
    Some(ReadType::Decimal(
        if digits <= 38 { 38 } else { 76 },
        scale.max(0),
    ))
}

/// The type that a column is read back as, whose values hash as those of the load; `None` if the table keeps them in another
/// form, or an option lets it change them.
pub(crate) fn read_back(source: &DataType, conversion: &Conversion) -> Option<ReadType> {
    let source = decoded(source);
    let keeps = |keeps: bool, read: ReadType| keeps.then_some(read);
    match conversion {
        Conversion::Null | Conversion::Bytea => Some(ReadType::Bytea),
        Conversion::Bool => Some(ReadType::Bool),
        Conversion::Int2 => Some(ReadType::Int2),
        Conversion::Int4 => Some(ReadType::Int4),
        Conversion::Int8 => Some(ReadType::Int8),
        Conversion::Float4 => keeps(source.is_floating(), ReadType::Float4),
        Conversion::Float8 => keeps(source.is_floating(), ReadType::Float8),
        Conversion::Numeric(target) if target.round && target.limit.is_some() => None,
        Conversion::Numeric(_) => decimal(source),
        // A scale of the column would show in the text.
        Conversion::NumericText(limit) => keeps(limit.is_none(), ReadType::NumericText),
        Conversion::Text(target) => keeps(
            !target.padded && target.replace_nul.is_none(),
            ReadType::Text,
        ),
        Conversion::JsonText(binary) => keeps(!binary, ReadType::Text),
        Conversion::Uuid => keeps(
            matches!(source, DataType::FixedSizeBinary(_)),
            ReadType::Uuid,
        ),
        Conversion::JsonValue(..) | Conversion::Inet(_) => None,
        Conversion::Vector(length) => length
            .and_then(|length| i32::try_from(length).ok())
            .map(ReadType::Vector),
        Conversion::Date => Some(ReadType::Date),
        Conversion::Time(precision) => keeps(!precision.truncate, ReadType::Time),
        Conversion::Timestamp(precision) => keeps(!precision.truncate, ReadType::Timestamp),
        Conversion::Interval(precision) => keeps(
            !precision.truncate && !matches!(source, DataType::Duration(_)),
            ReadType::Interval,
        ),
        Conversion::Array(target) => {
            let item = list_item(source)?;
            let read = read_back(item.data_type(), &target.element)?;
            Some(ReadType::ListFromOne(Box::new(read)))
        }
    }
}

/// Reads columns back by a query that returns them in order, and computes their checksums.
pub(crate) async fn checksums(
    client: &Client,
    columns: &[(&str, &ReadType)],
    query: &str,
) -> Result<Vec<ColumnChecksum>> {
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, read)| read.field(name))
        .collect();
    let types: Vec<ReadType> = columns.iter().map(|(_, read)| (*read).clone()).collect();
    let schema = Arc::new(Schema::new(fields));
    let mut checksums = Checksums::new(&schema);
    let mut decoder = RowDecoder::new(schema, &types, BATCH_ROWS);
    let copy = client
        .copy_out(&format!("COPY ({query}) TO STDOUT (FORMAT binary)"))
        .await
        .map_err(from_pg)?;
    let mut copy = Box::pin(copy);
    while let Some(message) = copy.next().await.transpose().map_err(from_pg)? {
        decoder.feed(&message).map_err(differs)?;
        if decoder.is_full()
            && let Some(batch) = decoder.finish().map_err(differs)?
        {
            checksums.add(&batch)?;
        }
    }
    if !decoder.has_ended() {
        let message = "the server's answer was cut off";
        return Err(Error::new(ErrorKind::Connection, message).transient());
    }
    if let Some(batch) = decoder.finish().map_err(differs)? {
        checksums.add(&batch)?;
    }
    Ok(checksums.finish())
}

/// What cannot be read back as the type that was sent was changed on its way.
fn differs(error: Error) -> Error {
    if error.kind() != ErrorKind::InvalidData {
        return error;
    }
    let message = format!(
        "what the table holds is not what was sent: {}",
        error.message()
    );
    let column = error.get("column").unwrap_or_default().to_owned();
    Error::new(ErrorKind::Verification, message).with("column", column)
}
