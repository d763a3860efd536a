//! A hash whose lists of floats are binary, little-endian, as vector search wants them.

use arrow_schema::Schema;
use arrowload_core::Result;

use super::hash::Hash;
use super::values::Values;
use super::{Facts, Row, Structure, Written};
use crate::RedisOptions;
use crate::pipeline::Pipeline;

pub(super) struct Vector(Hash);

impl Structure for Vector {
    const FACTS: Facts = Facts {
        name: "vector",
        ..Hash::FACTS
    };

    fn new(schema: &Schema, options: &RedisOptions) -> Result<Self> {
        Hash::new(schema, options).map(|hash| Self(hash.with_vectors()))
    }

    fn write(&mut self, row: &Row<'_>, values: &mut Values, out: &mut Pipeline) -> Written {
        self.0.write(row, values, out)
    }
}
