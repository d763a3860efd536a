//! Encodes columns in the forms that only Redis needs: times of expiry, vectors, its text format, and the lengths
//! before bytes.

use arrow_schema::TimeUnit;
pub(crate) use arrowload_common_text::{Column, Format, Refused as Refusal, Values, key, object};

use crate::options::{Booleans, RedisOptions, Times};

/// How the options ask for values to be written.
pub(crate) fn format(options: &RedisOptions) -> Format<'static> {
    use arrowload_common_text::Times as Written;
    Format {
        times: match options.times {
            Times::Iso8601 => Written::Iso8601,
            Times::Epoch => Written::Epoch,
        },
        booleans: match options.booleans {
            Booleans::Words => ["false", "true"],
            Booleans::Digits => ["0", "1"],
        },
        ..Format::REDIS
    }
}

/// Milliseconds since 1970, of a timestamp, a date, or a whole number.
pub(crate) fn milliseconds(column: &Column, row: usize) -> Result<i64, Refusal> {
    if column.is_null(row) {
        return Err("is null");
    }
    let far = "is too far away for milliseconds";
    match column.values() {
        Values::Timestamp(ticks, TimeUnit::Second, _) => {
            ticks.get(row).checked_mul(1_000).ok_or(far)
        }
        Values::Timestamp(ticks, TimeUnit::Millisecond, _) | Values::DateMillis(ticks) => {
            Ok(ticks.get(row))
        }
        Values::Timestamp(ticks, unit, _) => {
            let factor = if *unit == TimeUnit::Microsecond {
                1_000
            } else {
                1_000_000
            };
            let value = ticks.get(row);
            if value % factor == 0 {
                Ok(value / factor)
            } else {
                Err("is finer than the milliseconds that Redis has")
            }
        }
        Values::Date(ticks) => ticks.get(row).checked_mul(86_400_000).ok_or(far),
        Values::Indexed(places, values) => milliseconds(values, places[row]),
        _ => column
            .integer(row)
            .ok_or("is neither a time nor a whole number of milliseconds"),
    }
}

/// Writes a list of floats as binary, little-endian; `false` if the column holds none.
pub(crate) fn floats(column: &Column, row: usize, out: &mut Vec<u8>) -> Result<bool, Refusal> {
    match column.values() {
        Values::List(ranges, items) => {
            for index in ranges.get(row) {
                if items.is_null(index) {
                    return Err("has a null in a vector");
                }
                if !float(items, index, out) {
                    return Ok(false);
                }
            }
            Ok(is_float(items))
        }
        Values::Indexed(places, values) => floats(values, places[row], out),
        _ => Ok(false),
    }
}

fn is_float(column: &Column) -> bool {
    match column.values() {
        Values::Float16(_) | Values::Float32(_) | Values::Float64(_) => true,
        Values::Indexed(_, values) => is_float(values),
        _ => false,
    }
}

fn float(column: &Column, row: usize, out: &mut Vec<u8>) -> bool {
    match column.values() {
        Values::Float16(values) => out.extend_from_slice(&values.value(row).to_le_bytes()),
        Values::Float32(values) => out.extend_from_slice(&values.value(row).to_le_bytes()),
        Values::Float64(values) => out.extend_from_slice(&values.value(row).to_le_bytes()),
        Values::Indexed(places, values) => return float(values, places[row], out),
        _ => return false,
    }
    true
}

/// A length before bytes: `$5\r\n`.
#[inline]
pub(crate) fn length(out: &mut Vec<u8>, mark: u8, length: usize) {
    out.push(mark);
    if length < 10 {
        out.push(b'0' + length as u8);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
