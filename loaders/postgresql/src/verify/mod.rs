//! `verify = checksum`: each column's checksum, recomputed from the rows that the table holds, before the commit.
//!
//! Most columns are read back and decoded, and must hash as the load's own values do. Where the table's type holds a value
//! in another form than Arrow's (a number in a float, a document, an address), what is read back must equal what was sent,
//! in a canonical form: then the checksum of the values that were sent stands for it.

mod canonical;
mod sent;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use arrowload_core::{Checksums, ColumnChecksum, Error, ErrorKind, Result};
use futures::StreamExt;
use tokio_postgres::Client;

pub(crate) use self::sent::Sent;
use crate::decode::{ReadType, RowDecoder};
use crate::encode::Conversion;
use crate::error::from_pg;
use crate::layout::Layout;
use crate::types::Kind;

/// How a column is proved.
#[derive(Debug, Clone, PartialEq)]
enum How {
    /// Decoded to a type whose values hash as those of the load.
    Decoded(ReadType),
    /// Compared with what was sent.
    AsSent(Kind),
}

/// Rows of a batch while it is read back.
const BATCH_ROWS: usize = 1 << 14;

/// The type of the values, without dictionaries and run-ends around them.
fn plain(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        DataType::RunEndEncoded(_, values) => plain(values.data_type()),
        other => other,
    }
}

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

/// How a column is proved.
///
/// # Errors
/// A sentence, if it cannot be.
fn how(source: &DataType, kind: &Kind, conversion: &Conversion) -> Result<How, String> {
    let source = plain(source);
    let as_sent = || How::AsSent(kind.clone());
    let unless = |changes: bool, read: ReadType| {
        if changes {
            as_sent()
        } else {
            How::Decoded(read)
        }
    };
    Ok(match conversion {
        Conversion::Null | Conversion::Bytea => How::Decoded(ReadType::Bytea),
        Conversion::Bool => How::Decoded(ReadType::Bool),
        Conversion::Int2 => How::Decoded(ReadType::Int2),
        Conversion::Int4 => How::Decoded(ReadType::Int4),
        Conversion::Int8 => How::Decoded(ReadType::Int8),
        Conversion::Float4 => unless(!source.is_floating(), ReadType::Float4),
        Conversion::Float8 => unless(!source.is_floating(), ReadType::Float8),
        Conversion::Numeric(target) if target.round && target.limit.is_some() => {
            return Err(
                "verify = checksum cannot prove what round_decimals changes; leave one of them out"
                    .into(),
            );
        }
        Conversion::Numeric(_) => decimal(source).map_or_else(as_sent, How::Decoded),
        Conversion::Text(target) => unless(
            target.padded || target.replace_nul.is_some(),
            ReadType::Text,
        ),
        Conversion::JsonText(binary) => unless(*binary, ReadType::Text),
        Conversion::Uuid => unless(
            !matches!(source, DataType::FixedSizeBinary(_)),
            ReadType::Uuid,
        ),
        Conversion::JsonValue(..) | Conversion::Inet(_) | Conversion::Vector(_) => as_sent(),
        Conversion::Date => How::Decoded(ReadType::Date),
        Conversion::Time(precision) => unless(precision.truncate, ReadType::Time),
        Conversion::Timestamp(precision) => unless(precision.truncate, ReadType::Timestamp),
        Conversion::Interval(precision) => unless(
            precision.truncate || matches!(source, DataType::Duration(_)),
            ReadType::Interval,
        ),
        // Decoded, a list has no bounds, by which PostgreSQL's arrays differ.
        Conversion::Array(target) => match (crate::matrix::list_item(source), kind) {
            (Some(item), Kind::Array(element)) => {
                how(item.data_type(), &element.kind, &target.element).map(|_| as_sent())?
            }
            _ => as_sent(),
        },
    })
}

/// What is proved of a load, and how.
#[derive(Debug)]
pub(crate) struct Proof {
    /// For each column of the load.
    how: Vec<How>,
    pub(crate) sent: Sent,
}

impl Proof {
    /// For a load of these columns; `numbered` rows carry one column more.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if an option changes values on the server.
    pub(crate) fn new(
        schema: &Schema,
        layout: &Layout,
        conversions: &[Conversion],
        numbered: bool,
    ) -> Result<Self> {
        let mut all = Vec::new();
        for ((field, column), conversion) in
            schema.fields().iter().zip(&layout.columns).zip(conversions)
        {
            let found = how(field.data_type(), &column.pg.kind, conversion);
            all.push(found.map_err(|why| {
                Error::new(ErrorKind::InvalidOption, why).with("column", field.name())
            })?);
        }
        let kinds: Vec<Option<Kind>> = all
            .iter()
            .map(|how| match how {
                How::AsSent(kind) => Some(kind.clone()),
                How::Decoded(_) => None,
            })
            .collect();
        Ok(Self {
            how: all,
            sent: Sent::new(schema, kinds, numbered),
        })
    }

    /// Reads the load's rows back by a query that answers with its columns in order, and compares.
    pub(crate) async fn checksums(
        &self,
        client: &Client,
        schema: &Schema,
        query: &str,
    ) -> Result<Vec<ColumnChecksum>> {
        let types: Vec<ReadType> = self
            .how
            .iter()
            .map(|how| match how {
                How::Decoded(read) => read.clone(),
                How::AsSent(_) => ReadType::Bytea,
            })
            .collect();
        let fields: Vec<Field> = schema
            .fields()
            .iter()
            .zip(&types)
            .map(|(field, read)| read.field(field.name()))
            .collect();
        let read_schema = Arc::new(Schema::new(fields));
        let mut checksums = Checksums::new(&read_schema);
        let mut decoder = RowDecoder::new(read_schema, &types, BATCH_ROWS);
        let mut held = vec![canonical::Sum::default(); self.how.len()];
        let copy = client
            .copy_out(&format!("COPY ({query}) TO STDOUT (FORMAT binary)"))
            .await
            .map_err(from_pg)?;
        let mut copy = Box::pin(copy);
        loop {
            let message = copy.next().await.transpose().map_err(from_pg)?;
            match &message {
                Some(message) => decoder.feed(message)?,
                None if decoder.has_ended() => {}
                None => {
                    return Err(Error::new(
                        ErrorKind::Connection,
                        "the server's answer was cut off",
                    )
                    .transient());
                }
            }
            if (message.is_none() || decoder.is_full())
                && let Some(batch) = decoder.finish()?
            {
                checksums.add(&batch)?;
                self.add_fields(&batch, &mut held)?;
            }
            if message.is_none() {
                break;
            }
        }
        let mut all = checksums.finish();
        for (index, (checksum, held)) in all.iter_mut().zip(&held).enumerate() {
            if let Some((sent, values)) = self.sent.column(index) {
                // What differs from what was sent has another checksum than the load's.
                *checksum = if *sent == *held {
                    values
                } else {
                    ColumnChecksum {
                        sum: !values.sum,
                        ..values
                    }
                };
            }
        }
        Ok(all)
    }

    fn add_fields(&self, batch: &RecordBatch, held: &mut [canonical::Sum]) -> Result<()> {
        for ((how, array), sum) in self.how.iter().zip(batch.columns()).zip(held) {
            if let How::AsSent(kind) = how {
                let fields = array.as_binary::<i32>();
                for row in 0..fields.len() {
                    sum.add(kind, fields.is_valid(row).then(|| fields.value(row)))?;
                }
            }
        }
        Ok(())
    }
}
