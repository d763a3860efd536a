//! A document of RedisJSON.

use arrow_schema::Schema;
use arrowload_core::Result;

use super::values::Values;
use super::{Facts, IfNotExists, Row, Structure, Written};
use crate::RedisOptions;
use crate::pipeline::Pipeline;

pub(super) struct Json {
    if_not_exists: bool,
}

impl Structure for Json {
    const FACTS: Facts = Facts {
        name: "json",
        if_not_exists: IfNotExists::WithoutExpiry,
        module: Some(("RedisJSON", [b"JSON.TYPE", b"arrowload:module"])),
        ..Facts::KEYS
    };

    fn new(_: &Schema, options: &RedisOptions) -> Result<Self> {
        Ok(Self {
            if_not_exists: options.if_not_exists,
        })
    }

    fn write(&mut self, row: &Row<'_>, values: &mut Values, out: &mut Pipeline) -> Written {
        values.object(row)?;
        values.words.clear();
        values.words.push(b"$");
        values.words.push(&values.scratch);
        if self.if_not_exists {
            values.words.push(b"NX");
        }
        values.command(b"JSON.SET", row, out);
        Ok(())
    }
}
