//! An entry of a stream: a row, with a field for each column, or a whole batch.

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use arrowload_core::Result;

use super::values::Values;
use super::{Facts, IfNotExists, Refused, Row, Structure, Written};
use crate::RedisOptions;
use crate::options::Nulls;
use crate::packed::ipc;
use crate::pipeline::{Pipeline, Role};

pub(super) struct Stream {
    /// `MAXLEN` or `MINID`, and which.
    trim: Option<(&'static str, String)>,
}

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

    fn new(_: &Schema, options: &RedisOptions) -> Result<Self> {
        let longest = options.maxlen.map(|maxlen| ("MAXLEN", maxlen.to_string()));
        let trim = longest.or_else(|| Some(("MINID", options.minid.clone()?)));
        Ok(Self { trim })
    }

    fn write(&mut self, row: &Row<'_>, values: &mut Values, out: &mut Pipeline) -> Written {
        self.begin(values);
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
        values.command(b"XADD", row, out);
        Ok(())
    }
}

impl Stream {
    /// Writes a whole batch as one entry.
    pub(super) fn write_batch(
        &self,
        values: &mut Values,
        batch: &RecordBatch,
        (key, number): (&[u8], u64),
        out: &mut Pipeline,
    ) -> Result<()> {
        let value = ipc(&batch.project(&values.indices())?)?;
        self.begin(values);
        values.words.push(b"rows");
        values.words.push(batch.num_rows().to_string().as_bytes());
        values.words.push(b"arrow");
        values.words.push(&value);
        out.begin_row(number);
        out.rows += batch.num_rows() as u64 - 1;
        let row = Row {
            batch,
            columns: &[],
            row: 0,
            key,
            number,
        };
        values.words.write(Role::Write, b"XADD", &row, out);
        Ok(())
    }

    /// Begins an entry: what the stream keeps, and that the server makes the id.
    fn begin(&self, values: &mut Values) {
        values.words.clear();
        if let Some((bound, limit)) = &self.trim {
            for word in [bound.as_bytes(), b"~", limit.as_bytes()] {
                values.words.push(word);
            }
        }
        values.words.push(b"*");
    }
}
