//! When the key of a row expires.

use arrow_schema::{DataType, Schema};
use arrowload_core::Result;

use crate::RedisOptions;
use crate::encode::milliseconds;
use crate::options::ExpireAt;
use crate::structures::{Refused, Row, column, invalid};

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

impl Expiry {
    /// When the key of this row expires. `names` are those of the columns.
    pub(crate) fn of(&self, row: &Row<'_>, names: &[String]) -> Result<Expires, Refused> {
        let (columns, row) = (row.columns, row.row);
        let refuse = |index: usize, why: &str| Err(Refused::at(&names[index], why));
        let at = |second: i64| Some(("PEXPIREAT", second.saturating_mul(1000)));
        Ok(match *self {
            Self::Never => None,
            Self::Seconds(seconds) => Some(("EXPIRE", seconds)),
            Self::At(second) => at(second),
            Self::SecondsOf(index) | Self::AtOf(index) if columns[index].is_null(row) => None,
            Self::SecondsOf(index) => match columns[index].integer(row) {
                Some(seconds) if seconds > 0 => Some(("EXPIRE", seconds)),
                _ => return refuse(index, "is not a positive number of seconds"),
            },
            Self::AtOf(index) => match columns[index].integer(row) {
                Some(second) => at(second),
                None => match milliseconds(&columns[index], row) {
                    Ok(milliseconds) => Some(("PEXPIREAT", milliseconds)),
                    Err(why) => return refuse(index, why),
                },
            },
        })
    }
}
