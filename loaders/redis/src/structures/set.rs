//! A member of a set.

use arrow_schema::Schema;
use arrowload_core::Result;

use super::values::Values;
use super::{Facts, Row, Structure, Written, maybe};
use crate::RedisOptions;
use crate::pipeline::Pipeline;

pub(super) struct Set {
    member: Option<usize>,
}

impl Structure for Set {
    const FACTS: Facts = Facts {
        name: "set",
        only_adds: true,
        count: Some(b"SCARD"),
        ..Facts::ITEMS
    };

    fn new(schema: &Schema, options: &RedisOptions) -> Result<Self> {
        Ok(Self {
            member: maybe(schema, "member_column", &options.member_column)?,
        })
    }

    fn write(&mut self, row: &Row<'_>, values: &mut Values, out: &mut Pipeline) -> Written {
        values.words.clear();
        values.push_member(row, self.member)?;
        values.command(b"SADD", row, out);
        Ok(())
    }
}
