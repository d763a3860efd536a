//! A row or a batch as one value: MessagePack, or Arrow IPC.

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrowload_core::Result;

use crate::encode::{Column, Format, Refusal, Values};

/// A batch as an Arrow IPC stream.
pub(crate) fn ipc(batch: &RecordBatch) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref())?;
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner()?)
}

fn refuse<T>(result: Result<T, impl std::fmt::Debug>) -> Result<(), Refusal> {
    result
        .map(|_| ())
        .map_err(|_| "is too long for MessagePack")
}

fn count(length: usize) -> Result<u32, Refusal> {
    u32::try_from(length).map_err(|_| "is too long for MessagePack")
}

/// Some columns of a row as a MessagePack map.
pub(crate) fn msgpack<'a>(
    columns: impl Iterator<Item = (&'a str, &'a Column)> + Clone,
    row: usize,
    format: &Format<'_>,
    out: &mut Vec<u8>,
) -> Result<(), (String, Refusal)> {
    let written = count(columns.clone().count())
        .and_then(|length| refuse(rmp::encode::write_map_len(out, length)));
    written.map_err(|why| (String::new(), why))?;
    for (name, column) in columns {
        refuse(rmp::encode::write_str(out, name))
            .and_then(|()| value(column, row, format, out))
            .map_err(|why| (name.to_owned(), why))?;
    }
    Ok(())
}

fn value(
    column: &Column,
    row: usize,
    format: &Format<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    if column.is_null(row) {
        return refuse(rmp::encode::write_nil(out));
    }
    if let Some(integer) = column.integer(row) {
        return refuse(rmp::encode::write_sint(out, integer));
    }
    match column.values() {
        Values::Null => refuse(rmp::encode::write_nil(out)),
        Values::Boolean(values) => refuse(rmp::encode::write_bool(out, values.value(row))),
        Values::UInt64(values) => refuse(rmp::encode::write_uint(out, values.value(row))),
        Values::Float16(values) => refuse(rmp::encode::write_f32(out, values.value(row).to_f32())),
        Values::Float32(values) => refuse(rmp::encode::write_f32(out, values.value(row))),
        Values::Float64(values) => refuse(rmp::encode::write_f64(out, values.value(row))),
        Values::Binary(_)
        | Values::LargeBinary(_)
        | Values::BinaryView(_)
        | Values::FixedSizeBinary(_) => refuse(rmp::encode::write_bin(
            out,
            column.bytes(row).unwrap_or_default(),
        )),
        Values::List(ranges, items) => {
            let range = ranges.get(row);
            refuse(rmp::encode::write_array_len(out, count(range.len())?))?;
            range
                .into_iter()
                .try_for_each(|index| value(items, index, format, out))
        }
        Values::Struct(members) => {
            refuse(rmp::encode::write_map_len(out, count(members.len())?))?;
            members.iter().try_for_each(|member| {
                refuse(rmp::encode::write_str(out, &member.name))?;
                value(&member.column, row, format, out)
            })
        }
        Values::Map(ranges, entries) => {
            let range = ranges.get(row);
            refuse(rmp::encode::write_map_len(out, count(range.len())?))?;
            range.into_iter().try_for_each(|index| {
                entries
                    .iter()
                    .try_for_each(|member| value(&member.column, index, format, out))
            })
        }
        Values::Union(union, members) => {
            let member = usize::try_from(union.type_id(row))
                .ok()
                .and_then(|id| members.get(id)?.as_ref())
                .ok_or("holds a union with a member that its type does not name")?;
            refuse(rmp::encode::write_map_len(out, 1))?;
            refuse(rmp::encode::write_str(out, &member.name))?;
            value(&member.column, union.value_offset(row), format, out)
        }
        Values::Indexed(places, values) => value(values, places[row], format, out),
        // Text, decimals and times are text.
        _ => {
            let mut text = Vec::new();
            column.text(row, format, &mut text)?;
            let text = std::str::from_utf8(&text).map_err(|_| "is no UTF-8")?;
            refuse(rmp::encode::write_str(out, text))
        }
    }
}
