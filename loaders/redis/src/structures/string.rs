//! A string that holds the row.

use arrow_schema::Schema;
use arrowload_core::Result;

use super::values::Values;
use super::{Facts, Row, Structure, Written};
use crate::RedisOptions;
use crate::pipeline::{Pipeline, Role};

pub(super) struct Text {
    if_not_exists: bool,
}

impl Structure for Text {
    const FACTS: Facts = Facts {
        name: "string",
        encodes: true,
        ..Facts::KEYS
    };

    fn new(_: &Schema, options: &RedisOptions) -> Result<Self> {
        Ok(Self {
            if_not_exists: options.if_not_exists,
        })
    }

    fn write(&mut self, row: &Row<'_>, values: &mut Values, out: &mut Pipeline) -> Written {
        values.words.clear();
        values.push_member(row, None)?;
        if self.if_not_exists {
            values.words.push(b"NX");
        }
        // One command does both.
        if let Some((command, when)) = values.expires {
            let word: &[u8] = if command == "EXPIRE" { b"EX" } else { b"PXAT" };
            values.words.push(word);
            let mut digits = itoa::Buffer::new();
            values.words.push(digits.format(when).as_bytes());
        }
        values.words.write(Role::Write, b"SET", row, out);
        Ok(())
    }
}
