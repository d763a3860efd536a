//! When the key of a row expires.

use arrow_schema::{DataType, Schema};
use arrowload_core::Result;

use crate::RedisOptions;
use crate::encode::{Column, milliseconds};
use crate::options::ExpireAt;
use crate::rows::{Refused, Rows, column, invalid};

/// When a row's key expires.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expiry {
    Never,
    Seconds(i64),
    SecondsOf(usize),
    At(i64),
    AtOf(usize),
}

/// The command that makes a key expire, and its argument.
pub(crate) type Expires = Option<(&'static str, i64)>;

pub(crate) fn expiry(schema: &Schema, options: &RedisOptions) -> Result<Expiry> {
    let integers = |key: &'static str, name: &str, times: bool| {
        let index = column(schema, key, name)?;
        let data_type = schema.field(index).data_type();
        if data_type.is_integer() || times && matches!(data_type, DataType::Timestamp(..)) {
            return Ok(index);
        }
        Err(invalid(
            key,
            format!(
                "the column `{name}` of {key} is {data_type}; it must hold whole seconds{}",
                if times { " or timestamps" } else { "" }
            ),
        ))
    };
    match (options.ttl, &options.ttl_column, &options.expire_at) {
        (None, None, None) => Ok(Expiry::Never),
        (Some(0), None, None) => Err(invalid(
            "ttl",
            "ttl is 0, with which no row would stay; leave it out for keys that do not expire",
        )),
        (Some(seconds), None, None) => {
            let seconds = i64::try_from(seconds)
                .ok()
                .filter(|seconds| *seconds < i64::MAX / 2_000);
            Ok(Expiry::Seconds(seconds.ok_or_else(|| {
                invalid("ttl", "ttl is longer than Redis can count")
            })?))
        }
        (None, Some(name), None) => integers("ttl_column", name, false).map(Expiry::SecondsOf),
        (None, None, Some(ExpireAt::Second(second))) => Ok(Expiry::At(*second)),
        (None, None, Some(ExpireAt::Column(name))) => {
            integers("expire_at", name, true).map(Expiry::AtOf)
        }
        _ => Err(invalid(
            "ttl",
            "ttl, ttl_column and expire_at exclude one another",
        )),
    }
}

impl Rows {
    /// When the key of this row expires.
    pub(crate) fn expires(&self, columns: &[Column], row: usize) -> Result<Expires, Refused> {
        let refuse = |index: usize, why: &str| Err(Refused::at(&self.names[index], why));
        Ok(match self.expiry {
            Expiry::Never => None,
            Expiry::Seconds(seconds) => Some(("EXPIRE", seconds)),
            Expiry::At(second) => Some(("PEXPIREAT", second.saturating_mul(1000))),
            Expiry::SecondsOf(index) if columns[index].is_null(row) => None,
            Expiry::SecondsOf(index) => match columns[index].integer(row) {
                Some(seconds) if seconds > 0 => Some(("EXPIRE", seconds)),
                _ => return refuse(index, "is no positive number of seconds"),
            },
            Expiry::AtOf(index) if columns[index].is_null(row) => None,
            Expiry::AtOf(index) => match columns[index].integer(row) {
                Some(second) => Some(("PEXPIREAT", second.saturating_mul(1000))),
                None => match milliseconds(&columns[index], row) {
                    Ok(milliseconds) => Some(("PEXPIREAT", milliseconds)),
                    Err(why) => return refuse(index, why),
                },
            },
        })
    }
}
