//! An item at the end of a list.

use arrow_schema::Schema;
use arrowload_core::Result;

use super::values::Values;
use super::{Facts, IfNotExists, Row, Structure, Written};
use crate::RedisOptions;
use crate::pipeline::Pipeline;

pub(super) struct List;

impl Structure for List {
    const FACTS: Facts = Facts {
        name: "list",
        repeats: true,
        only_adds: true,
        if_not_exists: IfNotExists::Refused("a list has no items that could be there already"),
        count: Some(b"LLEN"),
        ..Facts::ITEMS
    };

    fn new(_: &Schema, _: &RedisOptions) -> Result<Self> {
        Ok(Self)
    }

    fn write(&mut self, row: &Row<'_>, values: &mut Values, out: &mut Pipeline) -> Written {
        values.words.clear();
        values.push_member(row, None)?;
        values.command(b"RPUSH", row, out);
        Ok(())
    }
}
