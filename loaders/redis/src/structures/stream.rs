//! An entry of a stream: a row, with a field for each column, or a whole batch.

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use arrowload_core::Result;

use super::values::Values;
use super::{Facts, IfNotExists, Refused, Row, Structure};
use crate::RedisOptions;
use crate::expiry::Expires;
use crate::options::Nulls;
use crate::packed::ipc;
use crate::pipeline::{Pipeline, Role};

pub(super) struct Stream;

impl Structure for Stream {
    const FACTS: Facts = Facts {
        name: "stream",
        repeats: true,
        only_adds: true,
        encodes: false,
        if_not_exists: IfNotExists::Refused("a stream has no items that could be there already"),
        count: Some(b"XLEN"),
        ..Facts::ITEMS
    };

    fn new(_: &Schema, _: &RedisOptions) -> Result<Self> {
        Ok(Self)
    }

    fn write(
        &mut self,
        row: &Row<'_>,
        values: &mut Values,
        expires: Expires,
        out: &mut Pipeline,
    ) -> Result<(), Refused> {
        values.words.clear();
        values.words.push(b"*");
        let mut is_empty = true;
        for at in 0..values.fields.len() {
            let index = values.fields[at].0;
            let is_null = row.columns[index].is_null(row.row);
            if is_null && values.nulls == Nulls::Omit {
                continue;
            }
            match is_null {
                true => values.scratch.clear(),
                false => values.plain(row, index)?,
            }
            values.words.push_encoded(&values.fields[at].1);
            values.words.push(&values.scratch);
            is_empty = false;
        }
        if is_empty {
            let why = "all of its values are null, and an entry has at least one field";
            return Err(Refused::row(why));
        }
        values.command(b"XADD", row, expires, out);
        Ok(())
    }
}

pub(super) fn write_batch(
    values: &Values,
    batch: &RecordBatch,
    key: &[u8],
    number: u64,
    out: &mut Pipeline,
) -> Result<()> {
    let (value, rows) = (
        ipc(&batch.project(&values.indices())?)?,
        batch.num_rows().to_string(),
    );
    out.begin_row(number);
    out.rows += batch.num_rows() as u64 - 1;
    let words: [&[u8]; 7] = [
        b"XADD",
        key,
        b"*",
        b"rows",
        rows.as_bytes(),
        b"arrow",
        &value,
    ];
    out.command(Role::Write, number, &words);
    Ok(())
}
