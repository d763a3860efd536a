//! A member of a sorted set, with its score.

use arrow_schema::Schema;
use arrowload_core::Result;

use super::values::Values;
use super::{Facts, Row, Structure, Written, maybe, wanted};
use crate::RedisOptions;
use crate::pipeline::Pipeline;

pub(super) struct SortedSet {
    score: usize,
    member: Option<usize>,
    if_not_exists: bool,
}

impl Structure for SortedSet {
    const FACTS: Facts = Facts {
        name: "sorted_set",
        count: Some(b"ZCARD"),
        ..Facts::ITEMS
    };

    fn new(schema: &Schema, options: &RedisOptions) -> Result<Self> {
        Ok(Self {
            score: wanted((schema, options), "score_column", &options.score_column)?,
            member: maybe(schema, "member_column", &options.member_column)?,
            if_not_exists: options.if_not_exists,
        })
    }

    fn write(&mut self, row: &Row<'_>, values: &mut Values, out: &mut Pipeline) -> Written {
        values.words.clear();
        if self.if_not_exists {
            values.words.push(b"NX");
        }
        values.push_number(row, self.score)?;
        values.push_member(row, self.member)?;
        values.command(b"ZADD", row, out);
        Ok(())
    }
}
